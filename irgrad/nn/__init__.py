"""Neural network layers as plain functions."""

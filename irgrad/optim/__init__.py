"""Optimizers as plain functions."""

"""Measured errors of the mathematical functions, in units of the last place."""

"""The traced functions, by family; each does what the NumPy function of its name does."""

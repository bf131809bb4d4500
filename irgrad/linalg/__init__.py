"""Linear algebra on dense and structured matrices."""

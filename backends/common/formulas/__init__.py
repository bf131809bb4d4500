"""The mathematical functions as formulas over an abstract vector of floats."""

"""What the emitters share: formulas of mathematical functions, and scalars as Python source."""

"""The second form of a compiled unit: readable Python source that Numba compiles."""

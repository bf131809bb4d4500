"""The reference backend: runs a graph through the interpreter."""

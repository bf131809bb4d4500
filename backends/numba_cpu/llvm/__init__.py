"""Emission of kernels as one LLVM module."""

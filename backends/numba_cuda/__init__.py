"""Kernels for CUDA from the neutral kernel IR: Numba-CUDA source, a block emulator, cubins.

Nothing here is a target of `compile` yet: there is no launcher. Kernels are printed, run by the
emulator on any machine, and built to machine code for real architectures without a GPU.
"""

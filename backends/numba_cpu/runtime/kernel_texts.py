"""The code of one kernel as text, in each form that there is."""

from __future__ import annotations

from irgrad.errors import ArgumentError, brief
from irgrad.kernel.ir import Kernel
from irgrad.kernel.program import Program

FORMS = ("numba", "llvm", "asm")


def kernel_text(program: Program, name: str, form: str) -> str:
    """The code of one kernel, emitted alone.

    form: "numba", a file of Python that runs by itself; "llvm", as emitted; "asm", after LLVM.
    Raises ArgumentError for another form.
    """
    if form not in FORMS:
        listed = ", ".join(map(repr, FORMS[:-1]))
        raise ArgumentError(f"source: expected {listed} or {FORMS[-1]!r}, got {brief(form)}")
    kernel = next(kernel for kernel in program.kernels if kernel.name == name)
    if form == "numba":
        from ..source.program_text import standalone_text

        return standalone_text(kernel)
    return _llvm_text(kernel, form)


def _llvm_text(kernel: Kernel, form: str) -> str:
    from llvmlite import ir

    from ..llvm.compile import assembly
    from ..llvm.cpu import host_cpu
    from ..llvm.function import kernel_function

    module = ir.Module(name=kernel.name)
    function = kernel_function(module, kernel, host_cpu().vector_bytes)
    function.linkage = "external"  # else LLVM drops it, as nothing calls it
    return str(module) if form == "llvm" else assembly(module)

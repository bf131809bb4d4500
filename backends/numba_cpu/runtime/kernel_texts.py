"""The code of one kernel as text, in each form that there is."""

from __future__ import annotations

from irgrad.errors import ArgumentError, brief
from irgrad.kernel.ir import Kernel
from irgrad.kernel.program import Program

FORMS = ("numba", "llvm", "asm", "llvm-lines", "asm-lines")


def kernel_text(program: Program, name: str, form: str) -> str:
    """The code of one kernel, emitted alone.

    form: "numba", a file of Python that runs by itself; "llvm", as emitted; "asm", after LLVM;
    "llvm-lines" and "asm-lines" are listings of these, in which each line begins with the number
    of the line of the kernel's text that it computes, or blanks, then " | ".
    Raises ArgumentError for another form.
    """
    if form not in FORMS:
        listed = ", ".join(map(repr, FORMS[:-1]))
        raise ArgumentError(f"source: expected {listed} or {FORMS[-1]!r}, got {brief(form)}")
    kernel = next(kernel for kernel in program.kernels if kernel.name == name)
    if form == "numba":
        from ..source.program_text import standalone_text

        return standalone_text(kernel)
    if form.endswith("-lines"):
        from .kernel_listing import listing

        return listing(kernel, form)
    return _llvm_text(kernel, form)


def _llvm_text(kernel: Kernel, form: str) -> str:
    from llvmlite import ir

    from ..llvm.compile import assembly
    from .kernel_listing import emit_alone

    module = ir.Module(name=kernel.name)
    emit_alone(module, kernel)
    return str(module) if form == "llvm" else assembly(module)

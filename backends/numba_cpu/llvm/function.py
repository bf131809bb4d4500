"""The LLVM function of one kernel, and the scratch memory that it needs."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contract import contract_workspace, emit_contract
from irgrad.backends.numba_cpu.llvm.emit import KernelEmitter, Mark, Scope, scalar_dtypes
from irgrad.backends.numba_cpu.llvm.loops import emit_loop
from irgrad.backends.numba_cpu.llvm.sizes import Sizes
from irgrad.backends.numba_cpu.llvm.vectors import POINTER, VOID
from irgrad.kernel.ir import Check, Contract, Kernel, walk


def needs_context(kernel: Kernel) -> bool:
    """Whether the kernel's function takes the irg_ctx: it has checks."""
    return any(isinstance(s, Check) for s in walk(kernel.body))


def kernel_workspace(kernel: Kernel, vector_bytes: int) -> int:
    """Bytes of scratch, aligned to 64, that the kernel's function takes; 0: none, no parameter.

    Enough for all named sizes.
    """
    contracts = [s for s in kernel.body if isinstance(s, Contract)]
    return max((contract_workspace(s, vector_bytes) for s in contracts), default=0)


def kernel_function(
    module: ir.Module,
    kernel: Kernel,
    vector_bytes: int,
    mark: Mark | None = None,
    dims: Sequence[str] = (),
) -> ir.Function:
    """Emit `internal void <name>(buffers..., [const i64* dims], [workspace], [irg_ctx*])`.

    A pointer for each buffer in order, none of which aliases another; the values of `dims` where
    the kernel has named sizes; the workspace where
    `kernel_workspace` is not 0, the context where `needs_context` holds. vector_bytes: 16, 32
    or 64. mark: as in `KernelEmitter`.
    """
    assert vector_bytes in (16, 32, 64)
    named = bool(kernel.dims)
    workspace = kernel_workspace(kernel, vector_bytes) > 0
    context = needs_context(kernel)
    count = len(kernel.buffers) + named + workspace + context
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER] * count), kernel.name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    for argument in function.args:
        argument.add_attribute("noalias")
    stack = ir.IRBuilder(function.append_basic_block("entry"))
    start = function.append_basic_block("start")
    builder = ir.IRBuilder(start)
    pointers = {b.name: p for b, p in zip(kernel.buffers, function.args)}
    emitter = KernelEmitter(
        {b.name: b for b in kernel.buffers},
        pointers,
        scalar_dtypes(kernel.body),
        vector_bytes,
        function.args[-1] if context else None,
        emit_loop,
        stack,
        mark,
        Sizes(stack, function.args[len(kernel.buffers)], dims) if named else None,
    )
    scope = Scope(builder, {}, {})
    scratch = function.args[len(kernel.buffers) + named] if workspace else None
    for statement in kernel.body:
        if isinstance(statement, Contract):
            if mark is not None:
                mark(builder, statement)
            emit_contract(emitter, scope, kernel, statement, scratch)
        else:
            emitter.emit(scope, (statement,))
    builder.ret_void()
    stack.branch(start)
    return function

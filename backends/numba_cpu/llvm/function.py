"""The LLVM function of one kernel, and the scratch memory that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contract import contract_workspace, emit_contract
from irgrad.backends.numba_cpu.llvm.emit import (
    KernelEmitter,
    Mark,
    Part,
    Scalar,
    Scope,
    scalar_dtypes,
)
from irgrad.backends.numba_cpu.llvm.loops import emit_loop
from irgrad.backends.numba_cpu.llvm.parts import Divided, call_parts
from irgrad.backends.numba_cpu.llvm.sizes import Sizes, as_value
from irgrad.backends.numba_cpu.llvm.split import PART_WORK, SPLIT_WORK, Split, plan_splits
from irgrad.backends.numba_cpu.llvm.vectors import I8, I64, POINTER, VOID, integer
from irgrad.kernel.ir import (
    Accumulate,
    Check,
    Contract,
    For,
    Kernel,
    Let,
    Reduce,
    Store,
    walk,
)


def needs_context(kernel: Kernel, vector_bytes: int) -> bool:
    """Whether the kernel's function takes the irg_ctx: it has checks, or is divided."""
    checks = any(isinstance(s, Check) for s in walk(kernel.body))
    return checks or bool(plan_splits(kernel, vector_bytes))


def kernel_workspace(kernel: Kernel, vector_bytes: int) -> int:
    """Bytes of scratch, aligned to 64, that the kernel's function takes; 0: none, no parameter.

    Enough for all named sizes; each worker of a divided kernel has as much.
    """
    contracts = [s for s in kernel.body if isinstance(s, Contract)]
    needed = [contract_workspace(s, vector_bytes) for s in contracts]
    needed += [split.scratch for split in plan_splits(kernel, vector_bytes).values()]
    return max(needed, default=0)


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
    code = _Code(module, kernel, vector_bytes, mark, tuple(dims))
    body = _Body(code, kernel.name, [])
    scope, builder = body.scope, body.scope.builder
    splits = plan_splits(kernel, vector_bytes)
    for position, statement in enumerate(kernel.body):
        if mark is not None and (isinstance(statement, Contract) or position in splits):
            mark(builder, statement)
        if isinstance(statement, For) and position in splits:
            _emit_divided_loop(body, statement, splits[position], position)
        elif isinstance(statement, Contract) and position in splits:
            _emit_divided_contract(body, statement, splits[position])
        elif not isinstance(statement, Contract):
            body.emitter.emit(scope, (statement,))
        else:
            emit_contract(body.emitter, scope, kernel, statement, body.workspace)
    return body.close()


@dataclass(frozen=True)
class _Code:
    """What is emitted, and where."""

    module: ir.Module
    kernel: Kernel
    vector_bytes: int
    mark: Mark | None
    dims: tuple[str, ...]

    @cached_property
    def workspace(self) -> int | None:
        """The position of the workspace among the arguments."""
        position = len(self.kernel.buffers) + bool(self.kernel.dims)
        return position if kernel_workspace(self.kernel, self.vector_bytes) else None

    @cached_property
    def context(self) -> int | None:
        """The position of the irg_ctx."""
        position = len(self.kernel.buffers) + bool(self.kernel.dims)
        position += self.workspace is not None
        return position if needs_context(self.kernel, self.vector_bytes) else None

    @cached_property
    def arguments(self) -> int:
        """The number of arguments."""
        kernel = self.kernel
        extra = bool(kernel.dims), self.workspace is not None, self.context is not None
        return len(kernel.buffers) + sum(extra)


class _Body:
    """A function with a kernel's arguments, then some more: `more` are their types."""

    def __init__(self, code: _Code, name: str, more: Sequence[ir.Type]) -> None:
        kernel = code.kernel
        kinds = [*[POINTER] * code.arguments, *more]
        function = ir.Function(code.module, ir.FunctionType(VOID, kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        for argument in function.args[: code.arguments]:
            argument.add_attribute("noalias")
        self.code = code
        self.function = function
        self.stack = ir.IRBuilder(function.append_basic_block("entry"))
        self.start = function.append_basic_block("start")
        self.pointers = {b.name: p for b, p in zip(kernel.buffers, function.args)}
        self.workspace = None if code.workspace is None else function.args[code.workspace]
        self.context = None if code.context is None else function.args[code.context]
        named = function.args[len(kernel.buffers)] if kernel.dims else None
        self.emitter = KernelEmitter(
            {b.name: b for b in kernel.buffers},
            self.pointers,
            scalar_dtypes(kernel.body),
            code.vector_bytes,
            self.context,
            emit_loop,
            self.stack,
            code.mark,
            None if named is None else Sizes(self.stack, named, code.dims),
        )
        self.scope = Scope(ir.IRBuilder(self.start), {}, {})

    def close(self) -> ir.Function:
        """End the function."""
        self.scope.builder.ret_void()
        self.stack.branch(self.start)
        return self.function


# -- divided loops ---------------------------------------------------------------------------------


def _emit_divided_loop(body: _Body, loop: For, split: Split, position: int) -> None:
    """The loop as a function of a part of its range, and the call of it."""
    code, shared = body.code, body.scope.shared
    used = {name: shared[name] for name in dict.fromkeys(_uses(loop)) if name in shared}
    passed = {n: x for n, x in used.items() if not isinstance(x.value, ir.Constant)}
    function = _loop_function(body, loop, split, position, used, list(passed))
    arguments = [*body.function.args, *(x.value for x in passed.values())]
    _call_parts(body, split, function, arguments, code.workspace)


def _emit_divided_contract(body: _Body, contract: Contract, split: Split) -> None:
    """The contraction as a function of a part of its rows, and the call of it."""

    def call(function: ir.Function, arguments: list[ir.Value], workspace: int) -> None:
        _call_parts(body, split, function, arguments, workspace)

    kernel = body.code.kernel
    emit_contract(body.emitter, body.scope, kernel, contract, body.workspace, call)


def _call_parts(
    body: _Body,
    split: Split,
    function: ir.Function,
    arguments: list[ir.Value],
    workspace: int | None,
) -> None:
    code, builder = body.code, body.scope.builder
    scratch = kernel_workspace(code.kernel, code.vector_bytes)
    divided = Divided(function, arguments, workspace if scratch else None, scratch)
    assert body.context is not None
    limits = _limits(body.emitter, builder, split)
    call_parts(builder, body.stack, body.context, divided, limits)


def _limits(
    emitter: KernelEmitter, builder: ir.IRBuilder, split: Split
) -> tuple[ir.Value, ir.Value]:
    """The most parts of a statement, and how many are enough with fewer workers."""
    if isinstance(split.extent, int) and isinstance(split.work, int):
        units, most = -(-split.extent // split.step), split.work // PART_WORK
        most = min(units, most) if split.index else most
        return integer(most), integer(units)
    work = as_value(emitter.size(split.work))
    most = builder.udiv(work, integer(PART_WORK))
    large = builder.icmp_signed(">=", work, integer(SPLIT_WORK))
    units = _units(emitter, builder, split)
    if split.index:
        less = builder.icmp_signed("<", units, most)
        most = builder.select(less, units, most)
    return builder.select(large, most, integer(0)), units


def _units(emitter: KernelEmitter, builder: ir.IRBuilder, split: Split) -> ir.Value:
    if isinstance(split.extent, int):
        return integer(-(-split.extent // split.step))
    extent = builder.add(as_value(emitter.size(split.extent)), integer(split.step - 1))
    return builder.udiv(extent, integer(split.step))


def _loop_function(
    body: _Body,
    loop: For,
    split: Split,
    position: int,
    used: dict[str, Scalar],
    passed: list[str],
) -> ir.Function:
    """void (a kernel's arguments, the values of `passed`, i64 part, i64 parts)."""
    kinds = [used[name].value.type for name in passed]
    inner = _Body(body.code, f"{body.function.name}_part{position}", [*kinds, I64, I64])
    emitter, scope, builder = inner.emitter, inner.scope, inner.scope.builder
    *values, part, parts = inner.function.args[body.code.arguments :]
    scope.shared.update(used)
    scope.shared.update({name: Scalar(x, 1) for name, x in zip(passed, values, strict=True)})
    for name, offset in split.private.items():
        inner.pointers[name] = builder.gep(inner.workspace, [integer(offset)], source_etype=I8)
    units, extent = _units(emitter, builder, split), as_value(emitter.size(split.extent))
    start, stop = (
        builder.mul(builder.udiv(builder.mul(units, number), parts), integer(split.step))
        for number in (part, builder.add(part, integer(1)))
    )
    stop = builder.select(builder.icmp_signed("<", stop, extent), stop, extent)
    emitter.part = Part(split.index, start, stop)
    with builder.if_then(builder.icmp_signed("<", start, stop)):
        emitter.emit(scope, (loop,))
    return inner.close()


def _uses(loop: For) -> Iterator[str]:
    """The scalars that the statements of a loop use."""
    for statement in walk((loop,)):
        match statement:
            case Let():
                yield from statement.operands
            case Store() | Accumulate() | Check():
                yield statement.value
            case Reduce():
                yield from (result.value for result in statement.results)

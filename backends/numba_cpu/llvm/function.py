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
from irgrad.backends.numba_cpu.llvm.parts import Amount, Ranged, call_parts
from irgrad.backends.numba_cpu.llvm.sizes import Sizes, as_value
from irgrad.backends.numba_cpu.llvm.split import PART_WORK, SPLIT_WORK, Split, plan_splits
from irgrad.backends.numba_cpu.llvm.vectors import I8, I64, POINTER, VOID, integer
from irgrad.ir.dims import as_number
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
    code, builder, emitter = body.code, body.scope.builder, body.emitter
    shared = body.scope.shared
    used = {
        name: shared[name] for name in dict.fromkeys(_uses(loop)) if name in shared
    }
    passed = {n: x for n, x in used.items() if not isinstance(x.value, ir.Constant)}
    function = _loop_function(body, loop, split, position, used, list(passed))
    arguments = [*body.function.args, *(x.value for x in passed.values())]
    ranged = Ranged(
        function, arguments, code.workspace, kernel_workspace(code.kernel, code.vector_bytes)
    )
    assert body.context is not None
    call_parts(builder, body.stack, body.context, ranged, _amount(emitter, builder, split))


def _amount(emitter: KernelEmitter, builder: ir.IRBuilder, split: Split) -> Amount:
    if isinstance(split.extent, int) and isinstance(split.work, int):
        units = -(-split.extent // split.step)
        most = min(units, split.work // PART_WORK)
        return Amount(integer(units), integer(most), integer(min(most, as_number(split.coarse))))
    extent, work = (as_value(emitter.size(x)) for x in (split.extent, split.work))
    units = builder.udiv(builder.add(extent, integer(split.step - 1)), integer(split.step))
    most = builder.udiv(work, integer(PART_WORK))
    most = builder.select(builder.icmp_signed("<", most, units), most, units)
    enough = builder.icmp_signed(">=", work, integer(SPLIT_WORK))
    most = builder.select(enough, most, integer(0))
    return Amount(units, most, most)


def _loop_function(
    body: _Body,
    loop: For,
    split: Split,
    position: int,
    used: dict[str, Scalar],
    passed: list[str],
) -> ir.Function:
    """void (a kernel's arguments, the values of `passed`, i64 first, i64 last)."""
    kinds = [used[name].value.type for name in passed]
    part = _Body(body.code, f"{body.function.name}_part{position}", [*kinds, I64, I64])
    emitter, scope, builder = part.emitter, part.scope, part.scope.builder
    *values, first, last = part.function.args[body.code.arguments :]
    scope.shared.update(used)
    scope.shared.update({name: Scalar(x, 1) for name, x in zip(passed, values, strict=True)})
    for name, offset in split.private.items():
        part.pointers[name] = builder.gep(part.workspace, [integer(offset)], source_etype=I8)
    step, extent = integer(split.step), as_value(emitter.size(split.extent))
    start, stop = (builder.mul(limit, step) for limit in (first, last))
    stop = builder.select(builder.icmp_signed("<", stop, extent), stop, extent)
    emitter.part = Part(split.index, start, stop)
    emitter.emit(scope, (loop,))
    return part.close()


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

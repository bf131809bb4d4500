"""The call of a divided statement: its parts are handed to the caller's `parallel_for`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.checks import PARALLEL_FOR, POOL, WORKERS, context_field
from irgrad.backends.numba_cpu.llvm.vectors import I8, I64, POINTER, VOID, integer

PARTS_PER_WORKER = 4  # so that a worker that is held up leaves little for others to wait for
BODY = ir.FunctionType(VOID, [POINTER, I64, I64])


@dataclass(frozen=True, slots=True)
class Divided:
    """A statement as a function of one of its parts.

    function: `void (arguments..., i64 part, i64 parts)`, 0 <= part < parts. workspace: position of
    the scratch among the arguments, of which each worker has `scratch` bytes; None for none.
    """

    function: ir.Function
    arguments: Sequence[ir.Value]
    workspace: int | None
    scratch: int


def call_parts(
    builder: ir.IRBuilder,
    stack: ir.IRBuilder,
    context: ir.Value,
    divided: Divided,
    limits: tuple[ir.Value, ir.Value],
) -> None:
    """Run all parts: side by side where there is more than one worker, else as a single one.

    stack: builds in the function's first block, where stack memory belongs. limits: the most parts,
    and how many are enough where there are fewer workers.
    """
    most, enough = limits
    run = builder.load(context_field(builder, context, PARALLEL_FOR), typ=POINTER, align=8)
    workers = builder.load(context_field(builder, context, WORKERS), typ=I64, align=8)
    many = _minimum(builder, builder.mul(workers, integer(PARTS_PER_WORKER)), enough)
    few = builder.icmp_signed("<", many, workers)
    parts = _minimum(builder, builder.select(few, workers, many), most)
    given = builder.icmp_unsigned("!=", run, ir.Constant(POINTER, None))
    several = builder.icmp_signed(">", parts, integer(1))
    more = builder.icmp_signed(">", workers, integer(1))
    split = builder.and_(builder.and_(given, several), more)
    with builder.if_else(split) as (together, alone):
        with together:
            kind = ir.LiteralStructType([*(x.type for x in divided.arguments), I64])
            frame = stack.alloca(kind)
            frame.type = POINTER
            for i, value in enumerate((*divided.arguments, parts)):
                builder.store(value, _field(builder, frame, kind, i))
            pool = builder.load(context_field(builder, context, POOL), typ=POINTER, align=8)
            body = _body(divided, kind, builder.module)
            run.type = ir.FunctionType(VOID, [POINTER, POINTER, POINTER, I64]).as_pointer()
            builder.call(run, [pool, body, frame, parts])
        with alone:
            builder.call(divided.function, [*divided.arguments, integer(0), integer(1)])


def _body(divided: Divided, kind: ir.LiteralStructType, module: ir.Module) -> ir.Function:
    """void (data, part, worker): runs a part of what the frame at `data` says."""
    function = ir.Function(module, BODY, f"{divided.function.name}_body")
    function.linkage = "internal"
    function.attributes.add("nounwind")
    data, part, worker = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    *arguments, parts = (
        builder.load(_field(builder, data, kind, i), typ=element)
        for i, element in enumerate(kind.elements)
    )
    if divided.workspace is not None:
        own = builder.mul(worker, integer(divided.scratch))
        scratch = arguments[divided.workspace]
        moved = builder.gep(scratch, [own], source_etype=I8)
        moved.type = scratch.type
        arguments[divided.workspace] = moved
    builder.call(divided.function, [*arguments, part, parts])
    builder.ret_void()
    return function


def _field(
    builder: ir.IRBuilder, frame: ir.Value, kind: ir.LiteralStructType, number: int
) -> ir.Value:
    return builder.gep(frame, [integer(0), ir.IntType(32)(number)], source_etype=kind)


def _minimum(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed("<", left, right), left, right)

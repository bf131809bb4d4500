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
class Ranged:
    """A statement as a function of a range of its units.

    function: `void (arguments..., i64 first, i64 last)`, for 0 <= first < last. workspace: position
    of the scratch among the arguments, of which each worker has `scratch` bytes; None for none.
    """

    function: ir.Function
    arguments: Sequence[ir.Value]
    workspace: int | None
    scratch: int


@dataclass(frozen=True, slots=True)
class Amount:
    """How many units there are, how many parts at most, and how many are enough with few workers.
    """

    units: ir.Value
    most: ir.Value
    coarse: ir.Value


def call_parts(
    builder: ir.IRBuilder,
    stack: ir.IRBuilder,
    context: ir.Value,
    ranged: Ranged,
    amount: Amount,
) -> None:
    """Run all units: in parts where there is more than one worker, else on this thread.

    stack: builds in the function's first block, where stack memory belongs.
    """
    run = builder.load(context_field(builder, context, PARALLEL_FOR), typ=POINTER, align=8)
    workers = builder.load(context_field(builder, context, WORKERS), typ=I64, align=8)
    many = _minimum(builder, builder.mul(workers, integer(PARTS_PER_WORKER)), amount.coarse)
    few = builder.icmp_signed("<", many, workers)
    parts = _minimum(builder, builder.select(few, workers, many), amount.most)
    given = builder.icmp_unsigned("!=", run, ir.Constant(POINTER, None))
    several = builder.icmp_signed(">", parts, integer(1))
    more = builder.icmp_signed(">", workers, integer(1))
    split = builder.and_(builder.and_(given, several), more)
    with builder.if_else(split) as (divided, whole):
        with divided:
            kinds = [*(x.type for x in ranged.arguments), I64, I64]
            frame_type = ir.LiteralStructType(kinds)
            frame = stack.alloca(frame_type)
            frame.type = POINTER
            for i, value in enumerate((*ranged.arguments, amount.units, parts)):
                builder.store(value, _field(builder, frame, frame_type, i))
            pool = builder.load(context_field(builder, context, POOL), typ=POINTER, align=8)
            body = _body(ranged, frame_type, builder.module)
            run.type = ir.FunctionType(VOID, [POINTER, POINTER, POINTER, I64]).as_pointer()
            builder.call(run, [pool, body, frame, parts])
        with whole, builder.if_then(builder.icmp_signed(">", amount.units, integer(0))):
            builder.call(ranged.function, [*ranged.arguments, integer(0), amount.units])


def _body(ranged: Ranged, frame_type: ir.LiteralStructType, module: ir.Module) -> ir.Function:
    """void (data, part, worker): runs a part of what the frame at `data` says."""
    function = ir.Function(module, BODY, f"{ranged.function.name}_body")
    function.linkage = "internal"
    function.attributes.add("nounwind")
    data, part, worker = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    values = [
        builder.load(_field(builder, data, frame_type, i), typ=kind)
        for i, kind in enumerate(frame_type.elements)
    ]
    *arguments, units, parts = values
    if ranged.workspace is not None:
        own = builder.mul(worker, integer(ranged.scratch))
        scratch = arguments[ranged.workspace]
        arguments[ranged.workspace] = builder.gep(scratch, [own], source_etype=I8)
    limits = [
        builder.udiv(builder.mul(units, number), parts)
        for number in (part, builder.add(part, integer(1)))
    ]
    builder.call(ranged.function, [*arguments, *limits])
    builder.ret_void()
    return function


def _field(
    builder: ir.IRBuilder, frame: ir.Value, kind: ir.LiteralStructType, number: int
) -> ir.Value:
    return builder.gep(frame, [integer(0), ir.IntType(32)(number)], source_etype=kind)


def _minimum(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed("<", left, right), left, right)

"""Loops of a kernel: counted loops, unrolled loops, and loops whose iterations are lanes of
vectors."""

from __future__ import annotations

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.emit import Group, KernelEmitter, Part, Scope
from irgrad.backends.numba_cpu.llvm.reductions import (
    define_results,
    emit_sequential_reduce,
    emit_vector_reduce,
    tree,
)
from irgrad.backends.numba_cpu.llvm.schedule import LoopPlan, cost, plan_loop
from irgrad.backends.numba_cpu.llvm.sizes import as_value, lanes_below
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop
from irgrad.backends.numba_cpu.llvm.tiles import emit_tiles, plan_tiles
from irgrad.backends.numba_cpu.llvm.vectors import first_lanes, integer
from irgrad.ir.dims import as_number
from irgrad.kernel.ir import Every, For, Reduce, Statement, kernel_dims

STRAIGHT_GROUPS = 4
STRAIGHT_COST = 48


def emit_loop(emitter: KernelEmitter, scope: Scope, loop: For | Every | Reduce) -> None:
    """Emit a loop by the plan for it; a loop inside of a vector loop is unrolled."""
    if isinstance(loop, Every):
        _every(emitter, scope, loop)
        return
    if isinstance(loop, For) and loop.extent == 0:
        return
    if scope.group is not None:
        plan = LoopPlan("unrolled")
    elif isinstance(loop, For) and not kernel_dims((), (loop,)) and (
        tiles := plan_tiles(loop, emitter.dtypes, emitter.vector_bytes)
    ):
        emit_tiles(emitter, scope, tiles)
        return
    else:
        plan = plan_loop(loop, emitter.dtypes, emitter.vector_bytes)
    if plan.kind == "unrolled":
        _unrolled(emitter, scope, loop)
    elif isinstance(loop, Reduce):
        assert plan.kind != "nest", "a loop within a reduction"
        if plan.kind == "vector":
            emit_vector_reduce(emitter, scope, loop, plan.lanes)
        else:
            emit_sequential_reduce(emitter, scope, loop)
    elif plan.kind == "vector":
        _vector_for(emitter, scope, loop, plan.lanes)
    else:
        _counted(emitter, scope, loop)


def _every(emitter: KernelEmitter, scope: Scope, every: Every) -> None:
    """What runs in the first or the last iteration of a block; its loop is one of single turns."""
    index, extent = scope.indices[every.index], emitter.size(every.extent)
    if isinstance(index, int):
        if every.runs_at(index, as_number(every.extent)):
            emitter.emit(scope.child(), every.body)
        return
    builder = scope.builder
    place = builder.urem(index, integer(every.block))
    runs = builder.icmp_signed("==", place, integer(every.block - 1 if every.last else 0))
    if every.last:
        end = builder.sub(as_value(extent), integer(1))
        runs = builder.or_(runs, builder.icmp_signed("==", index, end))
    with builder.if_then(runs):
        emitter.emit(_group_scope(scope, builder), every.body)


def _counted(emitter: KernelEmitter, scope: Scope, loop: For) -> None:
    part = emitter.part_of(loop)
    if part is not None:
        _turns(emitter, scope, loop, part.stop, part.start)
        return
    if isinstance(loop.extent, int):
        _turns(emitter, scope, loop, loop.extent)
        return
    extent = as_value(emitter.size(loop.extent))
    with scope.builder.if_then(scope.builder.icmp_signed(">", extent, integer(0))):
        _turns(emitter, scope, loop, extent)


def _turns(
    emitter: KernelEmitter,
    scope: Scope,
    loop: For,
    stop: ir.Value | int,
    start: ir.Value | None = None,
) -> None:
    """A loop of one turn or more."""
    counted = CountedLoop(scope.builder, stop, start=start)
    inner = scope.child()
    inner.indices[loop.index] = counted.index
    emitter.emit(inner, loop.body)
    counted.close([])


def _unrolled(emitter: KernelEmitter, scope: Scope, loop: For | Reduce) -> None:
    """A copy of the body for each iteration; each lane of a reduction has one element."""
    results = loop.results if isinstance(loop, Reduce) else ()
    elements: list[list[ir.Value]] = [[] for _ in results]
    for i in range(as_number(loop.extent)):
        inner = scope.child()
        inner.indices[loop.index] = i
        emitter.emit(inner, loop.body)
        for element, result in zip(elements, results, strict=True):
            element.append(emitter.vector(inner, result.value))
    totals = [
        tree(scope.builder, result, element, scope.lanes)
        for element, result in zip(elements, results, strict=True)
    ]
    define_results(scope, results, totals)


def _vector_for(emitter: KernelEmitter, scope: Scope, loop: For, lanes: int) -> None:
    """Full groups in a loop, or one by one where they are few, then the rest under a mask."""
    part = emitter.part_of(loop)
    if part is not None or not isinstance(loop.extent, int):
        _ranged_vector_for(emitter, scope, loop, lanes, part)
        return
    full, rest = divmod(as_number(loop.extent), lanes)
    builder = scope.builder
    straight = full <= STRAIGHT_GROUPS and full * cost(loop.body) <= STRAIGHT_COST
    if full <= 1 or straight:
        inner = _group_scope(scope, builder)
        for turn in range(full):
            _body(emitter, inner, loop.body, Group(loop.index, lanes, turn * lanes, None, lanes))
    else:
        counted = CountedLoop(builder, full * lanes, lanes)
        inner = _group_scope(scope, counted.hoist)
        _body(emitter, inner, loop.body, Group(loop.index, lanes, counted.index, None, lanes))
        counted.close([])
    if rest:
        _body(emitter, inner, loop.body, tail_group(loop.index, lanes, full * lanes, rest))


def _ranged_vector_for(
    emitter: KernelEmitter, scope: Scope, loop: For, lanes: int, part: Part | None
) -> None:
    """The same where the range is known when the kernel runs; a part starts with a full group."""
    builder = scope.builder
    start = None if part is None else part.start
    stop = as_value(emitter.size(loop.extent)) if part is None else part.stop
    rest = builder.and_(stop, integer(lanes - 1))
    full = builder.sub(stop, rest)
    with builder.if_then(builder.icmp_signed(">", full, start or integer(0))):
        counted = CountedLoop(builder, full, lanes, start)
        inner = _group_scope(scope, counted.hoist)
        _body(emitter, inner, loop.body, Group(loop.index, lanes, counted.index, None, lanes))
        counted.close([])
    if isinstance(loop.extent, int) and loop.extent % lanes == 0:
        return
    with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
        inner = _group_scope(scope, builder)
        if isinstance(loop.extent, int):
            last, active = divmod(loop.extent, lanes)
            group = tail_group(loop.index, lanes, last * lanes, active)
        else:
            mask = lanes_below(builder, rest, lanes)
            group = Group(loop.index, lanes, full, mask, None)
        _body(emitter, inner, loop.body, group)


def _group_scope(scope: Scope, hoist: ir.IRBuilder) -> Scope:
    inner = scope.child()
    inner.hoist = hoist
    inner.cache = {}
    return inner


def tail_group(index: str, lanes: int, start: int, active: int) -> Group:
    """The last iterations of a loop, fewer than there are lanes."""
    return Group(index, lanes, start, first_lanes(lanes, active), active)


def _body(
    emitter: KernelEmitter, scope: Scope, body: tuple[Statement, ...], group: Group
) -> None:
    emitter.emit(scope.with_group(group), body)

"""Reductions over a loop, with the order of combination that the kernel IR fixes.

A reduction has L logical lanes, L/W vectors of W lanes. They are kept in registers, with L
iterations a turn, where the body is small, else in memory with W iterations a turn. A lane that has
no element yet holds the neutral value, whose combination with any x gives the bits of x; so lanes
without an element need no case of their own. A position is carried as (value, index).
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.emit import Group, KernelEmitter, Scope
from irgrad.backends.numba_cpu.llvm.scalars import combine, neutral
from irgrad.backends.numba_cpu.llvm.schedule import cost
from irgrad.backends.numba_cpu.llvm.sizes import as_value, lanes_below
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop
from irgrad.backends.numba_cpu.llvm.vectors import (
    I8,
    I64,
    constant,
    element_pointer,
    first_lanes,
    frozen,
    integer,
    load_lanes,
    memory_type,
    ramp,
    shuffle,
    splat,
    store_lanes,
    vector_of,
)
from irgrad.errors import LoweringError
from irgrad.ir.dims import as_number
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Reduce, Reduction
from irgrad.kernel.ir import lanes as logical_lanes

REGISTER_COST = 64
Part = tuple[ir.Value, ...]


def is_position(result: Reduction) -> bool:
    """Whether a reduction gives an index."""
    return result.kind.startswith("arg")


def lane_count(result: Reduction) -> int:
    """Logical lanes of a reduction."""
    return logical_lanes(DTYPES[result.dtype].itemsize)


def define_results(scope: Scope, results: Sequence[Reduction], totals: Sequence[Part]) -> None:
    """Make the totals scalars of the scope; of a position the index counts."""
    for result, total in zip(results, totals, strict=True):
        value = total[-1]
        if is_position(result) and value.type != vector_of(I64, scope.lanes):
            value = scope.builder.sext(value, vector_of(I64, scope.lanes))
        scope.define(result.name, value, scope.lanes)


# -- combination -----------------------------------------------------------------------------------


def _comparable(builder: ir.IRBuilder, result: Reduction, value: ir.Value, lanes: int) -> ir.Value:
    """The value that a position is found by: bools as integers."""
    if is_position(result) and result.dtype == "bool":
        return builder.zext(value, vector_of(I8, lanes))
    return value


def _start(result: Reduction, lanes: int, first: int) -> Part:
    """A vector of logical lanes from lane `first` on, before any element."""
    dtype = "u8" if is_position(result) and result.dtype == "bool" else result.dtype
    value = neutral(result.kind, dtype, lanes)
    if not is_position(result):
        return (value,)
    kind = ir.IntType(32)
    if lanes == 1:
        return (value, ir.Constant(kind, first))
    return (value, ir.Constant(ir.VectorType(kind, lanes), list(range(first, first + lanes))))


def _better(builder: ir.IRBuilder, result: Reduction, new: ir.Value, old: ir.Value) -> ir.Value:
    """Whether `new` is more extreme than `old`: NaN is the most extreme."""
    relation = ">" if result.kind == "argmax" else "<"
    if DTYPES[result.dtype].is_float:
        known = builder.fcmp_ordered("ord", old, old)
        return builder.and_(builder.fcmp_unordered(relation, new, old), known)
    signed = DTYPES[result.dtype].kind == "i"
    return (builder.icmp_signed if signed else builder.icmp_unsigned)(relation, new, old)


def _merge(builder: ir.IRBuilder, result: Reduction, a: Part, b: Part, lanes: int) -> Part:
    """Combine two lanes of results; of equal extremes the smaller index counts."""
    if not is_position(result):
        return (combine(builder, result.kind, result.dtype, lanes, a[0], b[0]),)
    more = _better(builder, result, b[0], a[0])
    less = _better(builder, result, a[0], b[0])
    nearer = builder.icmp_signed("<", b[1], a[1])
    take = builder.or_(more, builder.and_(builder.not_(less), nearer))
    return tuple(builder.select(take, y, x) for x, y in zip(a, b, strict=True))


def _step(
    builder: ir.IRBuilder, result: Reduction, total: Part, value: ir.Value, group: Group
) -> Part:
    """Combine the next element of each lane; lanes that are not active stay as they are."""
    lanes = group.lanes
    value = _comparable(builder, result, value, lanes)
    if is_position(result):
        start = group.start
        if isinstance(start, int):
            index: ir.Value = constant("i32", start, lanes)
        else:
            index = splat(builder, builder.trunc(start, ir.IntType(32)), lanes)
        index = builder.add(index, ramp(32, lanes))
        take = _better(builder, result, value, total[0])
        if group.mask is not None:
            take = builder.and_(take, group.mask)
        return (builder.select(take, value, total[0]), builder.select(take, index, total[1]))
    if group.mask is not None:
        # Frozen since LLVM 22.1 makes select(mask, masked load, x) a masked load where the select
        # is, behind a store of the body to the same elements (its issue 215453).
        nothing = neutral(result.kind, result.dtype, lanes)
        value = builder.select(group.mask, frozen(builder, value), nothing)
    return (combine(builder, result.kind, result.dtype, lanes, total[0], value),)


def tree(
    builder: ir.IRBuilder, result: Reduction, elements: Sequence[ir.Value], lanes: int
) -> Part:
    """Combine logical lanes 0, 1, ... that have one element each; a value may itself be a vector of
    results side by side."""
    if not elements:
        if is_position(result):
            return (constant("i64", 0, lanes),)
        if result.kind == "sum":
            return (constant(result.dtype, 0, lanes),)
        return (neutral(result.kind, result.dtype, lanes),)
    parts: list[Part] = [(_comparable(builder, result, x, lanes),) for x in elements]
    if is_position(result):
        parts = [(*part, constant("i32", i, lanes)) for i, part in enumerate(parts)]
    assert len(parts) <= lane_count(result), "an unrolled reduction longer than its lanes"
    return _merge_parts(builder, result, parts, lanes, lane_count(result))


def _merge_parts(
    builder: ir.IRBuilder, result: Reduction, parts: list[Part], lanes: int, total: int
) -> Part:
    """Combine part i with part i + w for w = total/2, ..., 1, where there is one."""
    width = total // 2
    while width:
        parts = [
            _merge(builder, result, part, parts[i + width], lanes)
            if i + width < len(parts)
            else part
            for i, part in enumerate(parts[:width])
        ]
        width //= 2
    return parts[0]


def _collapse(
    builder: ir.IRBuilder, result: Reduction, parts: list[Part], lanes: int
) -> Part:
    """The fixed tree over vectors of logical lanes."""
    part = _merge_parts(builder, result, parts, lanes, max(1, lane_count(result) // lanes))
    while lanes > 1:
        lanes //= 2
        low = tuple(shuffle(builder, x, range(lanes)) for x in part)
        high = tuple(shuffle(builder, x, range(lanes, 2 * lanes)) for x in part)
        part = _merge(builder, result, low, high, lanes)
    return part


# -- loops -----------------------------------------------------------------------------------------


def emit_vector_reduce(
    emitter: KernelEmitter, scope: Scope, loop: Reduce, lanes: int
) -> None:
    """A reduction whose iterations are lanes."""
    if not isinstance(loop.extent, int):
        _named_reduce(emitter, scope, loop, min(lanes, *(lane_count(r) for r in loop.results)))
        return
    if loop.extent >= 1 << 31:
        raise LoweringError(
            f"cpu kernel: expected reductions of fewer than 2**31 elements, got {loop.extent}"
        )
    lanes = min(lanes, *(lane_count(r) for r in loop.results))
    groups = max(lane_count(r) for r in loop.results) // lanes
    full = as_number(loop.extent) // lanes
    if min(groups, full) * cost(loop.body) <= REGISTER_COST or full <= 1:
        totals = _in_registers(emitter, scope, loop, lanes, groups)
    else:
        totals = _in_memory(emitter, scope, loop, lanes)
    collapsed = [
        _collapse(scope.builder, r, parts, lanes)
        for r, parts in zip(loop.results, totals, strict=True)
    ]
    define_results(scope, loop.results, collapsed)


def emit_sequential_reduce(emitter: KernelEmitter, scope: Scope, loop: Reduce) -> None:
    """A reduction whose body must run one iteration after another."""
    if not isinstance(loop.extent, int):
        _named_reduce(emitter, scope, loop, 1)
        return
    totals = _in_memory(emitter, scope, loop, 1)
    collapsed = [
        _collapse(scope.builder, r, parts, 1)
        for r, parts in zip(loop.results, totals, strict=True)
    ]
    define_results(scope, loop.results, collapsed)


def _named_reduce(emitter: KernelEmitter, scope: Scope, loop: Reduce, lanes: int) -> None:
    """A reduction whose extent is known when the kernel runs.

    All logical lanes are in memory; those without an element stay neutral, so that the tree over
    all of them gives what the tree without them gives.
    """
    builder, extent = scope.builder, as_value(emitter.size(loop.extent))
    arrays = [
        _allocate(emitter, builder, r, lane_count(r) // lanes, lanes) for r in loop.results
    ]
    rest = builder.and_(extent, integer(lanes - 1))
    full = builder.sub(extent, rest)
    with builder.if_then(builder.icmp_signed(">", full, integer(0))):
        inner = scope.child()
        counted = CountedLoop(builder, full, lanes)
        if lanes > 1:
            inner.cache, inner.hoist = {}, counted.hoist
        else:
            inner.indices[loop.index] = counted.index
        _accumulate_memory(emitter, inner, loop, _group(loop, lanes, counted.index, None), arrays)
        counted.close([])
    if lanes > 1:
        with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
            inner = scope.child()
            inner.cache, inner.hoist = {}, builder
            mask = lanes_below(builder, rest, lanes)
            group = Group(loop.index, lanes, full, mask, None)
            _accumulate_memory(emitter, inner, loop, group, arrays)
    parts = [
        [_load_part(builder, r, array, i * lanes, lanes) for i in range(lane_count(r) // lanes)]
        for r, array in zip(loop.results, arrays, strict=True)
    ]
    totals = [_collapse(builder, r, p, lanes) for r, p in zip(loop.results, parts, strict=True)]
    empty = builder.icmp_signed("==", extent, integer(0))
    for i, result in enumerate(loop.results):
        if result.kind == "sum":  # which is 0, not the neutral -0.0, where there is nothing
            totals[i] = (builder.select(empty, constant(result.dtype, 0, 1), totals[i][0]),)
    define_results(scope, loop.results, totals)


def _vectors(result: Reduction, extent: int, lanes: int) -> int:
    """How many vectors of logical lanes have an element."""
    return min(lane_count(result) // lanes, -(-extent // lanes))


def _group(loop: Reduce, lanes: int, start: ir.Value | int, left: int | None) -> Group:
    if left is None or left >= lanes:
        return Group(loop.index, lanes, start, None, lanes)
    return Group(loop.index, lanes, start, first_lanes(lanes, left), left)


def _in_registers(
    emitter: KernelEmitter, scope: Scope, loop: Reduce, lanes: int, groups: int
) -> list[list[Part]]:
    """Totals by vector; a turn of the loop handles `groups` vectors, the rest is straight."""
    builder = scope.builder
    totals = [
        [_start(r, lanes, i * lanes) for i in range(_vectors(r, as_number(loop.extent), lanes))]
        for r in loop.results
    ]
    chunk = groups * lanes
    turns = as_number(loop.extent) // chunk
    inner = scope.child()
    inner.cache, inner.hoist = {}, builder
    if turns > 1:
        counted = CountedLoop(builder, turns * chunk, chunk)
        inner.hoist = counted.hoist
        totals = [
            [tuple(counted.carry(x) for x in part) for part in parts] for parts in totals
        ]
        for i in range(groups):
            start = builder.add(counted.index, integer(i * lanes)) if i else counted.index
            _accumulate(emitter, inner, loop, _group(loop, lanes, start, None), totals, i)
        counted.close([x for parts in totals for part in parts for x in part])
    first = turns * chunk if turns > 1 else 0
    for i, start in enumerate(range(first, as_number(loop.extent), lanes)):
        group = _group(loop, lanes, start, as_number(loop.extent) - start)
        _accumulate(emitter, inner, loop, group, totals, i)
    return totals


def _accumulate(
    emitter: KernelEmitter,
    scope: Scope,
    loop: Reduce,
    group: Group,
    totals: list[list[Part]],
    turn: int,
) -> None:
    """Emit the body for a group and combine its values into vector `turn` of each result."""
    inner = scope.with_group(group)
    emitter.emit(inner, loop.body)
    for result, parts in zip(loop.results, totals, strict=True):
        i = turn % len(parts)
        value = emitter.vector(inner, result.value)
        parts[i] = _step(inner.builder, result, parts[i], value, group)


def _in_memory(
    emitter: KernelEmitter, scope: Scope, loop: Reduce, lanes: int
) -> list[list[Part]]:
    """The same with the vectors in memory: one copy of the body, and one for what is left."""
    builder = scope.builder
    arrays = [
        _allocate(emitter, builder, r, _vectors(r, as_number(loop.extent), lanes), lanes)
        for r in loop.results
    ]
    full, rest = divmod(as_number(loop.extent), lanes)
    inner = scope.child()
    counted = CountedLoop(builder, full * lanes, lanes)
    if lanes > 1:
        inner.cache, inner.hoist = {}, counted.hoist
        _accumulate_memory(emitter, inner, loop, _group(loop, lanes, counted.index, None), arrays)
    else:
        inner.indices[loop.index] = counted.index
        _accumulate_memory(emitter, inner, loop, _group(loop, 1, counted.index, None), arrays)
    counted.close([])
    if rest:
        group = _group(loop, lanes, full * lanes, rest)
        _accumulate_memory(emitter, inner, loop, group, arrays)
    return [
        [_load_part(builder, r, array, i * lanes, lanes)
         for i in range(_vectors(r, as_number(loop.extent), lanes))]
        for r, array in zip(loop.results, arrays, strict=True)
    ]  # fmt: skip


def _accumulate_memory(
    emitter: KernelEmitter, scope: Scope, loop: Reduce, group: Group, arrays: list[Part]
) -> None:
    inner = scope.with_group(group) if group.lanes > 1 else scope
    builder = scope.builder
    emitter.emit(inner, loop.body)
    for result, array in zip(loop.results, arrays, strict=True):
        period = lane_count(result)
        if isinstance(group.start, int):
            place: ir.Value | int = group.start % period
        else:
            place = builder.and_(group.start, integer(period - 1))
        total = _load_part(builder, result, array, place, group.lanes)
        value = emitter.vector(inner, result.value)
        total = _step(builder, result, total, value, group)
        for pointer, x, dtype in zip(array, total, _dtypes(result), strict=True):
            at = element_pointer(builder, dtype, pointer, place)
            store_lanes(builder, dtype, x, at, group.lanes, None)


def _dtypes(result: Reduction) -> tuple[str, ...]:
    if is_position(result):
        return ("u8" if result.dtype == "bool" else result.dtype, "i32")
    return (result.dtype,)


def _allocate(
    emitter: KernelEmitter, builder: ir.IRBuilder, result: Reduction, count: int, lanes: int
) -> Part:
    """Stack arrays for the logical lanes, set to their neutral values."""
    pointers = []
    for n, dtype in enumerate(_dtypes(result)):
        pointer = emitter.stack_array(memory_type(dtype, 1), lane_count(result))
        for i in range(count):
            at = element_pointer(builder, dtype, pointer, i * lanes)
            store_lanes(builder, dtype, _start(result, lanes, i * lanes)[n], at, lanes, None)
        pointers.append(pointer)
    return tuple(pointers)


def _load_part(
    builder: ir.IRBuilder, result: Reduction, array: Part, place: ir.Value | int, lanes: int
) -> Part:
    parts = []
    for pointer, dtype in zip(array, _dtypes(result), strict=True):
        at = element_pointer(builder, dtype, pointer, place)
        parts.append(load_lanes(builder, dtype, at, lanes, None))
    return tuple(parts)

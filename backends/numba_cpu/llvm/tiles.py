"""Nests that read along one index and write along another: square tiles, transposed in registers.

Without tiles such a nest touches a new cache line for every element. With them, W lines of each
strided operand are read whole, transposed into a small array on the stack, and read from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_transpose import transpose_block
from irgrad.backends.numba_cpu.llvm.emit import Group, KernelEmitter, Scope
from irgrad.backends.numba_cpu.llvm.schedule import choose_lanes, lanes_are_independent
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop
from irgrad.backends.numba_cpu.llvm.vectors import (
    I64,
    POINTER,
    VOID,
    element_pointer,
    first_lanes,
    integer,
    load_lanes,
    store_lanes,
    value_type,
)
from irgrad.ir.dims import as_number
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Affine, For, Let, Load, Statement, Store

FAR_BYTES = 64
LARGEST_BODY = 60
BLOCK_TILES = 4


@dataclass(frozen=True, slots=True)
class Tiles:
    """A perfect nest of parallel loops, reordered.

    outer: the other loops in order. across: the loop along which `strided` loads are adjacent.
    along: the loop whose iterations are lanes. body: the statements inside, `strided` among them.
    """

    outer: tuple[For, ...]
    across: For
    along: For
    lanes: int
    body: tuple[Statement, ...]
    strided: tuple[Load, ...]


def plan_tiles(loop: For, dtypes: Mapping[str, str], vector_bytes: int) -> Tiles | None:
    """How to tile the nest that a loop opens; None where it is no such nest or gains nothing."""
    chain = [loop]
    while len(chain[-1].body) == 1 and isinstance(chain[-1].body[0], For):
        chain.append(chain[-1].body[0])
    body = chain[-1].body
    if len(chain) < 2 or len(body) > LARGEST_BODY or not all(f.parallel for f in chain):
        return None
    if not all(isinstance(s, Let | Load | Store) for s in body):
        return None
    stores = [s for s in body if isinstance(s, Store)]
    lanes = choose_lanes(body, dtypes, vector_bytes, None)
    along = next((f for f in reversed(chain) if _all_adjacent(stores, f.index)), None)
    if along is None or lanes < 4 or as_number(along.extent) < lanes:
        return None
    if not lanes_are_independent(along) or not lanes_are_independent(loop):
        return None
    strided = tuple(
        s for s in body if isinstance(s, Load) and _is_far(s.at, along.index, s.dtype)
    )
    for across in reversed(chain):
        tiled = tuple(s for s in strided if s.at.coefficient(across.index) == 1)
        if across is not along and tiled and as_number(across.extent) >= lanes:
            outer = tuple(f for f in chain if f is not across and f is not along)
            return Tiles(outer, across, along, lanes, body, tiled)
    return None


def _all_adjacent(stores: list[Store], index: str) -> bool:
    return bool(stores) and all(s.at.coefficient(index) == 1 for s in stores)


def _is_far(at: Affine, index: str, dtype: str) -> bool:
    size = DTYPES[dtype].itemsize
    return size >= 4 and as_number(at.coefficient(index)) * size >= FAR_BYTES


def block_rows(tiles: Tiles) -> int:
    """Rows of a block, of which a part of the loop across has whole ones."""
    return BLOCK_TILES * tiles.lanes


def emit_tiles(emitter: KernelEmitter, scope: Scope, tiles: Tiles) -> None:
    """Full tiles, then the columns and the rows that are left over."""
    inner = scope.child()
    loops = []
    for outer in tiles.outer:
        part = emitter.part_of(outer)
        if part is None:
            counted = CountedLoop(scope.builder, outer.extent)
        else:
            counted = CountedLoop(scope.builder, part.stop, start=part.start)
        inner.indices[outer.index] = counted.index
        loops.append(counted)
    _emit_rows(emitter, inner, tiles)
    for counted in reversed(loops):
        counted.close([])


def _emit_rows(emitter: KernelEmitter, scope: Scope, tiles: Tiles) -> None:
    """Blocks of rows, then those that make no full tile."""
    builder, lanes, rows = scope.builder, tiles.lanes, as_number(tiles.across.extent)
    part = emitter.part_of(tiles.across)
    full, height = rows // lanes * lanes, block_rows(tiles)
    with ExitStack() as guards:
        start, stop = None, integer(full)
        if part is not None:
            start = part.start
            guards.enter_context(builder.if_then(builder.icmp_signed("<", start, stop)))
            less = builder.icmp_signed("<", part.stop, stop)
            stop = builder.select(less, part.stop, stop)
        blocks = CountedLoop(builder, stop, height, start)
        left = builder.sub(stop, blocks.index)
        less = builder.icmp_signed("<", left, integer(height))
        count = builder.select(less, left, integer(height))
        _emit_block(emitter, scope, tiles, (blocks.index, count))
        blocks.close([])
    with ExitStack() as guards:
        if part is not None and full < rows:
            last = builder.icmp_signed("==", part.stop, integer(rows))
            guards.enter_context(builder.if_then(last))
        for row in range(full, rows):
            inner = scope.child()
            inner.indices[tiles.across.index] = row
            emitter.emit_loop(emitter, inner, replace(tiles.along, body=tiles.body))


def _emit_block(
    emitter: KernelEmitter, scope: Scope, tiles: Tiles, block: tuple[ir.Value, ir.Value]
) -> None:
    """A block of rows, (first, how many): tile after tile, then the masked columns."""
    builder, lanes, along = scope.builder, tiles.lanes, tiles.along
    first, count = block
    full, rest = divmod(as_number(along.extent), lanes)
    arrays = [
        emitter.stack_array(value_type(load.dtype, 1), lanes * lanes) for load in tiles.strided
    ]
    columns = CountedLoop(builder, full * lanes, lanes)
    tile = CountedLoop(builder, count, lanes)
    top = builder.add(first, tile.index)
    for load, array in zip(tiles.strided, arrays, strict=True):
        _transpose_tile(emitter, scope, tiles, load, array, (top, columns.index))
    simple = tuple(s for s in tiles.body if s not in tiles.strided)
    turn = CountedLoop(builder, lanes)
    inner = _row_scope(scope, tiles, builder.add(top, turn.index))
    lane = inner.with_group(Group(along.index, lanes, columns.index, None, lanes))
    for load, array in zip(tiles.strided, arrays, strict=True):
        place = builder.mul(turn.index, integer(lanes))
        at = element_pointer(builder, load.dtype, array, place)
        lane.define(load.name, load_lanes(builder, load.dtype, at, lanes, None), lanes)
    emitter.emit(lane, simple)
    for loop in (turn, tile, columns):
        loop.close([])
    if rest:
        turn = CountedLoop(builder, count)
        inner = _row_scope(scope, tiles, builder.add(first, turn.index))
        group = Group(along.index, lanes, full * lanes, first_lanes(lanes, rest), rest)
        emitter.emit(inner.with_group(group), tiles.body)
        turn.close([])


def _row_scope(scope: Scope, tiles: Tiles, row: ir.Value) -> Scope:
    inner = scope.child()
    inner.indices[tiles.across.index] = row
    inner.hoist, inner.cache = scope.builder, {}
    return inner


def _transpose_tile(
    emitter: KernelEmitter,
    scope: Scope,
    tiles: Tiles,
    load: Load,
    array: ir.Value,
    place: tuple[ir.Value, ir.Value],
) -> None:
    builder = scope.builder
    corner = scope.child()
    corner.indices[tiles.across.index], corner.indices[tiles.along.index] = place
    offset = emitter.offset(builder, corner, load.at)
    source = element_pointer(builder, load.dtype, emitter.pointers[load.buffer], offset)
    stride = integer(load.at.coefficient(tiles.along.index))
    function = _tile_function(builder.module, load.dtype, tiles.lanes)
    builder.call(function, [source, stride, array])


def _tile_function(module: ir.Module, dtype: str, lanes: int) -> ir.Function:
    """void irg_tile_...(source, stride, target): target[j * lanes + i] = source[i * stride + j]."""
    symbol = f"irg_tile_v{lanes}{dtype}"
    found = module.globals.get(symbol)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER, I64, POINTER]), symbol)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    source, stride, target = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows = []
    for i in range(lanes):
        at = element_pointer(builder, dtype, source, builder.mul(stride, integer(i)))
        rows.append(load_lanes(builder, dtype, at, lanes, None))
    for j, row in enumerate(transpose_block(builder, rows)):
        at = element_pointer(builder, dtype, target, j * lanes)
        store_lanes(builder, dtype, row, at, lanes, None)
    builder.ret_void()
    return function

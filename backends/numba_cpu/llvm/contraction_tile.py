"""The micro-kernel: one register tile of a matrix product over one panel of k."""

from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    I64,
    INTEGERS,
    advance,
    broadcast,
    fma,
    integer,
    internal_function,
    keep_rolled,
    lane_mask,
    load,
    store,
    times,
    turning_loop,
    zero,
)
from irgrad.backends.numba_cpu.llvm.contraction_params import read, slot
from irgrad.backends.numba_cpu.llvm.contraction_plan import ITEM_BYTES, Segment, segments

_CHAINS_PER_TURN = 12
_ROWS_PER_POINTER = 3
KERNEL_ARGUMENTS = [INTEGERS, BYTES, BYTES, BYTES, I64, I64, INTEGERS]


@dataclass(frozen=True, slots=True)
class MicroTile:
    """Shape of a micro-kernel; contractions that use equal ones share one function of the module.

    `masked` leaves the number of columns that exist to run time. `empty` is for sums of nothing.
    """

    dtype: str
    lanes: int
    rows: int
    columns: int
    masked: bool
    empty: bool

    @property
    def name(self) -> str:
        """The function's name in the module."""
        more = "_masked" * self.masked + "_empty" * self.empty
        return f"tile_{self.dtype}x{self.lanes}_{self.rows}x{self.columns}{more}"

    @property
    def parts(self) -> tuple[Segment, ...]:
        """The vectors that hold one row."""
        return segments(self.columns, self.lanes)


@dataclass(slots=True)
class _Frame:
    """Values of one micro-kernel that its parts share; strides are in bytes."""

    builder: ir.IRBuilder
    tile: MicroTile
    masks: list[ir.Value | None]
    a_row: ir.Value
    a_step: ir.Value
    b_step: ir.Value


def micro_kernel(module: ir.Module, tile: MicroTile) -> ir.Function:
    """The internal function `(parameters, a, b, c, c_row, k, shape)` that computes one tile.

    Element (i, p) of A lies at i * a_row + p * a_step (parameters), row i of C at i * c_row.
    `shape` points to the step between rows of B, whose columns are adjacent, and to the mask of the
    columns that exist. Every sum is one chain of fused multiply-adds over p = 0 .. k-1 that starts
    from 0; k >= 1 unless the tile is an empty one.
    """

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, a, b, c, c_row, k, shape = values
        bits = builder.load(advance(builder, shape, 1)) if tile.masked else None
        masks = [_part_mask(builder, part, bits) for part in tile.parts]
        a_row, a_step = (read(builder, parameters, name) for name in ("a_row", "a_step"))
        frame = _Frame(builder, tile, masks, a_row, a_step, builder.load(shape))
        _store_sums(frame, c, c_row, _sums(frame, a, b, k))

    return internal_function(module, tile.name, KERNEL_ARGUMENTS, emit)


def zero_kernel(module: ir.Module, dtype: str) -> ir.Function:
    """The micro-kernel of any tile for sums that turn out to be of nothing."""
    item = ITEM_BYTES[dtype]

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, _, _, c, c_row, _, shape = values
        rows, columns, n, full_columns = (
            read(builder, parameters, name) for name in ("rows", "columns", "n", "full_columns")
        )
        is_full = builder.icmp_unsigned("==", shape, slot(builder, parameters, "step"))
        count = builder.select(is_full, columns, builder.sub(n, full_columns))
        with turning_loop(builder, 2) as turns:
            i, j = turns.indices
            place = advance(builder, c, builder.mul(i, c_row), times(builder, j, item))
            store(builder, dtype, zero(builder, dtype, 1), place, 1)
            turns.limits = [(rows, integer(1)), (count, integer(1))]

    return internal_function(module, f"zeros_{dtype}", KERNEL_ARGUMENTS, emit)


def _part_mask(builder: ir.IRBuilder, part: Segment, bits: ir.Value | None) -> ir.Value | None:
    """The lanes of a part that exist: static, or from the run-time mask of the row."""
    if bits is not None:
        return lane_mask(builder, builder.lshr(bits, integer(part.offset)), part.width)
    if part.valid == part.width:
        return None
    return lane_mask(builder, integer((1 << part.valid) - 1), part.width)


def _sums(frame: _Frame, a: ir.Value, b: ir.Value, k: ir.Value) -> list[ir.Value]:
    """The sums of one panel, row by row and vector by vector."""
    builder, tile = frame.builder, frame.tile
    pointers = [
        advance(builder, a, times(builder, frame.a_row, row)) if row else a
        for row in range(0, tile.rows, _ROWS_PER_POINTER)
    ]
    starts = {part.width: zero(builder, tile.dtype, part.width) for part in tile.parts}
    sums = [starts[part.width] for part in tile.parts] * tile.rows
    if tile.empty:
        return sums
    state = [b, *pointers, *sums]
    unroll = min(4, max(1, _CHAINS_PER_TURN // len(sums)))
    if unroll > 1:
        state = _guarded_loop(frame, builder.udiv(k, integer(unroll)), unroll, state)
        state = _guarded_loop(frame, builder.urem(k, integer(unroll)), 1, state)
    else:
        state = _chain_loop(frame, k, 1, state)
    return state[1 + len(pointers) :]


def _guarded_loop(
    frame: _Frame, turns: ir.Value, unroll: int, state: list[ir.Value]
) -> list[ir.Value]:
    """A chain loop that may turn zero times."""
    builder = frame.builder
    before = builder.block
    with builder.if_then(builder.icmp_signed(">", turns, integer(0))):
        after = _chain_loop(frame, turns, unroll, state)
        inside = builder.block
    merged = []
    for old, new in zip(state, after):
        phi = builder.phi(old.type)
        phi.add_incoming(old, before)
        phi.add_incoming(new, inside)
        merged.append(phi)
    return merged


def _chain_loop(
    frame: _Frame, turns: ir.Value, unroll: int, state: list[ir.Value]
) -> list[ir.Value]:
    """Run `turns` >= 1 times `unroll` steps of k; `state` is (b, pointers into A, sums)."""
    builder = frame.builder
    before = builder.block
    body = builder.append_basic_block("chain")
    done = builder.append_basic_block("chained")
    builder.branch(body)
    builder.position_at_end(body)
    carried = []
    for value in [turns, *state]:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        carried.append(phi)
    after = carried[1:]
    for _ in range(unroll):
        after = _step(frame, after)
    left = builder.sub(carried[0], integer(1))
    for phi, value in zip(carried, [left, *after]):
        phi.add_incoming(value, body)
    keep_rolled(builder.cbranch(builder.icmp_signed(">", left, integer(0)), body, done))
    builder.position_at_end(done)
    return after


def _step(frame: _Frame, state: list[ir.Value]) -> list[ir.Value]:
    """One rank-1 update of the tile."""
    builder, tile = frame.builder, frame.tile
    item = ITEM_BYTES[tile.dtype]
    count = -(-tile.rows // _ROWS_PER_POINTER)
    b, pointers, sums = state[0], state[1 : 1 + count], state[1 + count :]
    parts = tile.parts
    row = [
        load(builder, tile.dtype, advance(builder, b, part.offset * item), part.width, mask)
        for part, mask in zip(parts, frame.masks)
    ]
    updated = []
    for i in range(tile.rows):
        down = [frame.a_row] * (i % _ROWS_PER_POINTER)
        place = advance(builder, pointers[i // _ROWS_PER_POINTER], *down)
        scalar = load(builder, tile.dtype, place, 1)
        factors = {width: broadcast(builder, scalar, width) for width in {p.width for p in parts}}
        for j, part in enumerate(parts):
            operands = [factors[part.width], row[j], sums[i * len(parts) + j]]
            updated.append(fma(builder, tile.dtype, part.width, operands))
    after = [advance(builder, pointer, frame.a_step) for pointer in pointers]
    return [advance(builder, b, frame.b_step), *after, *updated]


def _store_sums(frame: _Frame, c: ir.Value, c_row: ir.Value, sums: list[ir.Value]) -> None:
    """Write the tile."""
    builder, tile = frame.builder, frame.tile
    item = ITEM_BYTES[tile.dtype]
    values = iter(sums)
    for i in range(tile.rows):
        for part, mask in zip(tile.parts, frame.masks):
            place = advance(builder, c, part.offset * item)
            store(builder, tile.dtype, next(values), place, part.width, mask)
        if i + 1 < tile.rows:
            c = advance(builder, c, c_row)

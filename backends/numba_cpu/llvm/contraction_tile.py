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
    zero,
)
from irgrad.backends.numba_cpu.llvm.contraction_params import read
from irgrad.backends.numba_cpu.llvm.contraction_plan import ITEM_BYTES, Segment, segments

_CHAINS_PER_TURN = 12
_ROWS_PER_POINTER = 3
KERNEL_ARGUMENTS = [INTEGERS, BYTES, BYTES, BYTES, I64, INTEGERS, I64, BYTES]


@dataclass(frozen=True, slots=True)
class MicroTile:
    """Shape of a micro-kernel; contractions that use equal ones share one function of the module.

    `masked` leaves the number of columns that exist to run time. `adds` is for sums of several panels.
    """

    dtype: str
    lanes: int
    rows: int
    columns: int
    masked: bool
    adds: bool

    @property
    def name(self) -> str:
        """The function's name in the module."""
        more = "_masked" * self.masked + "_add" * self.adds
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
    """The internal function `(parameters, a, b, c, k, shape, again, spare)` that computes one tile.

    Element (i, p) of A lies at i * a_row + p * a_step, row i of C at i * c_row (parameters). `shape`
    points to the step between rows of B, whose columns are adjacent, and to the mask of the columns
    that exist. Every sum is one chain of fused multiply-adds over p = 0 .. k-1 that starts from 0.
    Where the tile adds: `again` is negative in the first panel; later the sums are added to what C
    holds, except that the first `again` rows are left alone and go to the scratch row `spare`.
    """

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, a, b, c, k, shape, again, spare = values
        bits = builder.load(advance(builder, shape, 1)) if tile.masked else None
        frame = _Frame(
            builder,
            tile,
            [_part_mask(builder, part, bits) for part in tile.parts],
            read(builder, parameters, "a_row"),
            read(builder, parameters, "a_step"),
            builder.load(shape),
        )
        sums = _sums(frame, a, b, k)
        _store_sums(frame, c, read(builder, parameters, "c_row"), sums, (again, spare))

    return internal_function(module, tile.name, KERNEL_ARGUMENTS, emit)


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
    state = [b, *pointers, *sums]
    unroll = min(4, max(1, _CHAINS_PER_TURN // len(sums)))
    if unroll > 1:
        state = _chain_loop(frame, builder.udiv(k, integer(unroll)), unroll, state)
        k = builder.urem(k, integer(unroll))
    return _chain_loop(frame, k, 1, state)[1 + len(pointers) :]


def _chain_loop(
    frame: _Frame, turns: ir.Value, unroll: int, state: list[ir.Value]
) -> list[ir.Value]:
    """Run `turns` times `unroll` steps of k; `state` is (b, pointers into A, sums)."""
    builder = frame.builder
    before = builder.block
    head = builder.append_basic_block("chain")
    body = builder.append_basic_block("step")
    done = builder.append_basic_block("chained")
    builder.branch(head)
    builder.position_at_end(head)
    left = builder.phi(I64)
    left.add_incoming(turns, before)
    carried = []
    for value in state:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        carried.append(phi)
    builder.cbranch(builder.icmp_signed(">", left, integer(0)), body, done)
    builder.position_at_end(body)
    after = list(carried)
    for _ in range(unroll):
        after = _step(frame, after)
    for phi, value in zip(carried, after):
        phi.add_incoming(value, body)
    left.add_incoming(builder.sub(left, integer(1)), body)
    keep_rolled(builder.branch(head))
    builder.position_at_end(done)
    return carried


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


def _store_sums(
    frame: _Frame,
    c: ir.Value,
    c_row: ir.Value,
    sums: list[ir.Value],
    state: tuple[ir.Value, ir.Value],
) -> None:
    """Write the tile, or add it to the totals of earlier panels."""
    builder, tile = frame.builder, frame.tile
    again, spare = state
    item = ITEM_BYTES[tile.dtype]
    parts = tile.parts
    filters = _total_filters(builder, tile, again) if tile.adds else {}
    row = c
    for i in range(tile.rows):
        target = row
        if tile.adds:
            target = builder.select(builder.icmp_signed("<", integer(i), again), spare, row)
        for j, (part, mask) in enumerate(zip(parts, frame.masks)):
            place = advance(builder, target, part.offset * item)
            value = sums[i * len(parts) + j]
            if tile.adds:
                keep, fill = filters[part.width]
                total = load(builder, tile.dtype, place, part.width, mask)
                bits = builder.and_(builder.bitcast(total, keep.type), keep)
                total = builder.bitcast(builder.or_(bits, fill), value.type)
                value = builder.fadd(total, value)
            store(builder, tile.dtype, value, place, part.width, mask)
        row = advance(builder, row, c_row)


def _total_filters(
    builder: ir.IRBuilder, tile: MicroTile, again: ir.Value
) -> dict[int, tuple[ir.Value, ir.Value]]:
    """Bit patterns (and, or) by vector width that keep what C holds, or turn it into -0.0.

    Adding -0.0 leaves every value as it is, so that one piece of code serves all panels.
    """
    size = 8 * ITEM_BYTES[tile.dtype]
    keep = builder.sext(builder.icmp_signed(">=", again, integer(0)), ir.IntType(size))
    fill = builder.and_(builder.not_(keep), ir.Constant(keep.type, -1 << (size - 1)))
    return {
        width: (broadcast(builder, keep, width), broadcast(builder, fill, width))
        for width in sorted({part.width for part in tile.parts})
    }

"""The micro-kernel: one register tile of a matrix product over one panel of k."""

from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    I1,
    I64,
    advance,
    broadcast,
    element_type,
    fma,
    integer,
    internal_function,
    keep_rolled,
    lane_mask,
    load,
    store,
    zero,
)
from irgrad.backends.numba_cpu.llvm.contraction_plan import ITEM_BYTES, Segment, segments

_CHAINS_PER_TURN = 12
_ROWS_PER_POINTER = 3


@dataclass(frozen=True, slots=True)
class MicroTile:
    """Shape of a micro-kernel; contractions that use equal ones share one function of the module.

    `masked` leaves the number of columns that exist to run time. `adds` is for sums of several panels:
    run-time arguments say whether to add to what C holds, and how many first rows to leave alone.
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
    """Values of one micro-kernel that its parts share."""

    builder: ir.IRBuilder
    tile: MicroTile
    masks: list[ir.Value | None]
    a_row: ir.Value
    a_step: ir.Value
    b_step: ir.Value


def micro_kernel(module: ir.Module, tile: MicroTile) -> ir.Function:
    """The internal function `(a, a_row, a_step, b, b_step, c, c_row, k[, mask][, add, skip, spare])`.

    Element (i, p) of A lies at i * a_row + p * a_step, row p of B at p * b_step and row i of C at
    i * c_row with adjacent columns. Every sum is one chain of fused multiply-adds over p = 0 .. k-1
    that starts from 0; k >= 1. Bit j of `mask` says that column j exists. The first `skip` rows go to
    the scratch row `spare`.
    """
    pointer = element_type(tile.dtype).as_pointer()
    arguments = [pointer, I64, I64, pointer, I64, pointer, I64, I64] + [I64] * tile.masked
    if tile.adds:
        arguments += [I1, I64, pointer]

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        a, a_row, a_step, b, b_step, c, c_row, k = values[:8]
        bits = values[8] if tile.masked else None
        masks = [_part_mask(builder, part, bits) for part in tile.parts]
        frame = _Frame(builder, tile, masks, a_row, a_step, b_step)
        sums = _sums(frame, a, b, k)
        _store_sums(frame, c, c_row, sums, values[8 + tile.masked :])

    return internal_function(module, tile.name, arguments, emit)


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
        builder.gep(a, [builder.mul(frame.a_row, integer(row))])
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
    count = -(-tile.rows // _ROWS_PER_POINTER)
    b, pointers, sums = state[0], state[1 : 1 + count], state[1 + count :]
    parts = tile.parts
    row = [
        load(builder, tile.dtype, advance(builder, b, part.offset), part.width, mask)
        for part, mask in zip(parts, frame.masks)
    ]
    updated = []
    for i in range(tile.rows):
        place = pointers[i // _ROWS_PER_POINTER]
        for _ in range(i % _ROWS_PER_POINTER):
            place = builder.gep(place, [frame.a_row])
        scalar = builder.load(place)
        for j, part in enumerate(parts):
            factor = broadcast(builder, scalar, part.width)
            operands = [factor, row[j], sums[i * len(parts) + j]]
            updated.append(fma(builder, tile.dtype, part.width, operands))
    after = [builder.gep(pointer, [frame.a_step]) for pointer in pointers]
    return [builder.gep(b, [frame.b_step]), *after, *updated]


def _store_sums(
    frame: _Frame, c: ir.Value, c_row: ir.Value, sums: list[ir.Value], more: list[ir.Value]
) -> None:
    """Write the tile, or add it to the totals of earlier panels."""
    builder, tile = frame.builder, frame.tile
    parts = tile.parts
    filters = _total_filters(builder, tile, more[0]) if tile.adds else {}
    for i in range(tile.rows):
        row = builder.gep(c, [builder.mul(c_row, integer(i))])
        if tile.adds:
            skipped = builder.icmp_signed("<", integer(i), more[1])
            row = builder.select(skipped, more[2], row)
        for j, (part, mask) in enumerate(zip(parts, frame.masks)):
            place = advance(builder, row, part.offset)
            value = sums[i * len(parts) + j]
            if tile.adds:
                keep, fill = filters[part.width]
                total = load(builder, tile.dtype, place, part.width, mask)
                bits = builder.and_(builder.bitcast(total, keep.type), keep)
                total = builder.bitcast(builder.or_(bits, fill), value.type)
                value = builder.fadd(total, value)
            store(builder, tile.dtype, value, place, part.width, mask)


def _total_filters(
    builder: ir.IRBuilder, tile: MicroTile, add: ir.Value
) -> dict[int, tuple[ir.Value, ir.Value]]:
    """Bit patterns (and, or) by vector width that keep what C holds, or turn it into -0.0.

    Adding -0.0 leaves every value as it is, so that one piece of code serves all panels.
    """
    size = 8 * ITEM_BYTES[tile.dtype]
    keep = builder.sext(add, ir.IntType(size))
    fill = builder.and_(builder.not_(keep), ir.Constant(keep.type, -1 << (size - 1)))
    return {
        part.width: (broadcast(builder, keep, part.width), broadcast(builder, fill, part.width))
        for part in tile.parts
    }

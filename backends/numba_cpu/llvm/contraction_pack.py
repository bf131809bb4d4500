"""Copies between strided operands and packed panels, and the offset tables of multi-axis groups.

A side of a copy is described by the byte offsets of its rows: an i64 stride, or a pointer to a table.
Functions are internal to the module and shared by all contractions in it.
"""

from collections.abc import Callable

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    I32,
    I64,
    INTEGERS,
    VOID,
    advance,
    counted_loop,
    integer,
    internal_function,
    lane_mask,
    load,
    minimum,
    store,
    tail_mask,
    times,
)
from irgrad.backends.numba_cpu.llvm.contraction_params import read
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    IndexMap,
    Plan,
    segments,
    table_maps,
)

PACK_ARGUMENTS = [INTEGERS, BYTES, BYTES, I64, I64, I64, I64]
PACK = ir.FunctionType(VOID, PACK_ARGUMENTS).as_pointer()


def row_offset(builder: ir.IRBuilder, rows: ir.Value, index: ir.Value) -> ir.Value:
    """Byte offset of row `index` where `rows` is a stride or a table."""
    if rows.type == I64:
        return builder.mul(rows, index)
    return builder.load(builder.gep(rows, [index]))


def window(
    builder: ir.IRBuilder, start: ir.Value, rows: ir.Value, first: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """An operand's (pointer, rows) from row `first` on."""
    if rows.type == I64:
        return advance(builder, start, builder.mul(rows, first)), rows
    return start, builder.gep(rows, [first])


def _kind(rows: ir.Value) -> str:
    return "s" if rows.type == I64 else "t"


def map_rows(
    builder: ir.IRBuilder, plan: Plan, parameters: ir.Value, workspace: ir.Value, name: str
) -> ir.Value:
    """The offsets of an index map: its stride or, where the plan has one, its table."""
    value = read(builder, parameters, f"{name}_map")
    if name in dict(table_maps(plan)):
        return builder.bitcast(advance(builder, workspace, value), INTEGERS)
    return value


def fill_table(builder: ir.IRBuilder, table: ir.Value, index_map: IndexMap, item: int) -> None:
    """Write the byte offset of every index of the map to `table`."""

    def nest(level: int, index: ir.Value, offset: ir.Value) -> None:
        if level == len(index_map.axes):
            builder.store(offset, builder.gep(table, [index]))
            return
        extent, stride = index_map.axes[level]
        with counted_loop(builder, integer(extent)) as turn:
            nest(
                level + 1,
                builder.add(times(builder, index, extent), turn),
                builder.add(offset, times(builder, turn, stride * item)),
            )

    nest(0, integer(0), integer(0))


def call_shared(
    builder: ir.IRBuilder,
    name: str,
    arguments: list[ir.Value],
    emit: Callable[[ir.IRBuilder, list[ir.Value]], None],
) -> None:
    """Call a function that is emitted once per module."""
    types = [value.type for value in arguments]
    builder.call(internal_function(builder.module, name, types, emit), arguments)


def copy_rows(
    builder: ir.IRBuilder,
    dtype: str,
    lanes: int,
    source: tuple[ir.Value, ir.Value],
    target: tuple[ir.Value, ir.Value],
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Copy `shape` = (rows, columns) elements between (pointer, rows) sides of adjacent columns."""
    item = ITEM_BYTES[dtype]

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, place, to_rows, rows, columns = values
        whole = inner.and_(columns, integer(-lanes))
        rest = inner.sub(columns, whole)
        mask = tail_mask(inner, rest, lanes)
        ragged = inner.icmp_signed(">", rest, integer(0))
        size = times(inner, whole, item)
        with counted_loop(inner, rows) as i:
            read_at = advance(inner, start, row_offset(inner, from_rows, i))
            write_at = advance(inner, place, row_offset(inner, to_rows, i))
            with counted_loop(inner, size, lanes * item) as j:
                value = load(inner, dtype, advance(inner, read_at, j), lanes)
                store(inner, dtype, value, advance(inner, write_at, j), lanes)
            with inner.if_then(ragged):
                value = load(inner, dtype, advance(inner, read_at, size), lanes, mask)
                store(inner, dtype, value, advance(inner, write_at, size), lanes, mask)

    name = f"copy_rows_{dtype}x{lanes}_{_kind(source[1])}{_kind(target[1])}"
    call_shared(builder, name, [*source, *target, *shape], emit)


def copy_panels(
    builder: ir.IRBuilder,
    dtype: str,
    lanes: int,
    source: tuple[ir.Value, ir.Value],
    target: ir.Value,
    shape: tuple[ir.Value, ir.Value, int],
    last: ir.Value,
) -> None:
    """Copy a matrix of adjacent columns into dense panels, one after the other.

    `shape` is (rows, total of the panels' columns, columns of a panel); panel t holds the columns
    from min(t * columns, last) on. Rows are the outer loop: the source is read along its rows.
    """
    columns, item = shape[2], ITEM_BYTES[dtype]

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, place, rows, total, final = values
        deep = times(inner, rows, item)
        with counted_loop(inner, rows) as i:
            read_at = advance(inner, start, row_offset(inner, from_rows, i))
            write_at = advance(inner, place, times(inner, i, columns * item))
            with counted_loop(inner, total, columns) as t:
                here = advance(inner, read_at, times(inner, minimum(inner, t, final), item))
                there = advance(inner, write_at, inner.mul(t, deep))
                for part in segments(columns, lanes):
                    mask = None
                    if part.valid < part.width:
                        mask = lane_mask(inner, integer((1 << part.valid) - 1), part.width)
                    offset = part.offset * item
                    value = load(inner, dtype, advance(inner, here, offset), part.width, mask)
                    store(inner, dtype, value, advance(inner, there, offset), part.width, mask)

    name = f"copy_panels_{dtype}x{lanes}_{columns}_{_kind(source[1])}"
    call_shared(builder, name, [*source, target, *shape[:2], last], emit)


def transpose_panel(
    builder: ir.IRBuilder,
    dtype: str,
    vector_bytes: int,
    source: tuple[ir.Value, ir.Value],
    target: ir.Value,
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Write the transpose of (columns, rows) elements, adjacent along rows, as a dense panel.

    `source` rows are the columns of the panel; `shape` is (rows, columns) of the panel. Square blocks
    are transposed in registers; the last block of a side overlaps its neighbour.
    """
    item = ITEM_BYTES[dtype]
    side = min(vector_bytes, 32) // item

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, place, rows, columns = values
        square = inner.icmp_signed(">=", minimum(inner, rows, columns), integer(side))
        last_row = inner.sub(rows, integer(side))
        last_column = inner.sub(columns, integer(side))
        step = times(inner, columns, item)
        with inner.if_else(square) as (blocked, small):
            with blocked, counted_loop(inner, columns, side) as j_turn:
                j = minimum(inner, j_turn, last_column)
                lines = [
                    advance(inner, start, row_offset(inner, from_rows, inner.add(j, integer(t))))
                    for t in range(side)
                ]
                corner = advance(inner, place, times(inner, j, item))
                with counted_loop(inner, rows, side) as i_turn:
                    i = minimum(inner, i_turn, last_row)
                    along = times(inner, i, item)
                    block = [load(inner, dtype, advance(inner, line, along), side) for line in lines]
                    write_at = advance(inner, corner, inner.mul(i, step))
                    for value in transpose_block(inner, block):
                        store(inner, dtype, value, write_at, side)
                        write_at = advance(inner, write_at, step)
            with small, counted_loop(inner, columns) as j:
                line = advance(inner, start, row_offset(inner, from_rows, j))
                column = advance(inner, place, times(inner, j, item))
                with counted_loop(inner, rows) as i:
                    value = load(inner, dtype, advance(inner, line, times(inner, i, item)), 1)
                    store(inner, dtype, value, advance(inner, column, inner.mul(i, step)), 1)

    name = f"transpose_panel_{dtype}x{side}_{_kind(source[1])}"
    call_shared(builder, name, [*source, target, *shape], emit)


def transpose_block(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square block of vectors held in registers, by rounds of two-row shuffles.

    Groups of 16 bytes are transposed by interleaving, which is one instruction a shuffle on x86 and
    Arm; whole groups are then exchanged.
    """
    side = len(rows)
    distance = 1
    if side >= 4 and isinstance(rows[0].type.element, ir.FloatType):
        rows = _transpose_fours(builder, rows)
        distance = 4
    while distance < side:
        low, high = [], []
        for lane in range(side):
            upper = lane & distance
            other = side if upper else 0
            low.append(lane - upper + other)
            high.append(lane - upper + distance + other)
        mixed = list(rows)
        for first in range(side):
            if not first & distance:
                pair = rows[first], rows[first + distance]
                mixed[first] = _shuffle(builder, pair, low)
                mixed[first + distance] = _shuffle(builder, pair, high)
        rows = mixed
        distance *= 2
    return rows


def _transpose_fours(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose every 4x4 block of f32 within its 16 bytes."""
    side = len(rows)
    fours = range(0, side, 4)
    ones = [g + t + other for g in fours for t in (0, 1) for other in (0, side)]
    twos = [g + t + other for g in fours for other in (0, side) for t in (0, 1)]
    result = []
    for g in fours:
        r0, r1, r2, r3 = rows[g : g + 4]
        for shift in (0, 2):
            lanes = [lane + shift for lane in ones]
            pair = _shuffle(builder, (r0, r1), lanes), _shuffle(builder, (r2, r3), lanes)
            result.append(_shuffle(builder, pair, twos))
            result.append(_shuffle(builder, pair, [lane + 2 for lane in twos]))
    return result


def _shuffle(
    builder: ir.IRBuilder, pair: tuple[ir.Value, ir.Value], lanes: list[int]
) -> ir.Value:
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def copy_elements(
    builder: ir.IRBuilder,
    dtype: str,
    source: tuple[ir.Value, ir.Value, ir.Value],
    target: tuple[ir.Value, ir.Value, ir.Value],
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Copy element by element between (pointer, rows, columns) sides."""

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, from_columns, place, to_rows, to_columns, rows, columns = values
        with counted_loop(inner, rows) as i:
            read_at = advance(inner, start, row_offset(inner, from_rows, i))
            write_at = advance(inner, place, row_offset(inner, to_rows, i))
            with counted_loop(inner, columns) as j:
                here = advance(inner, read_at, row_offset(inner, from_columns, j))
                there = advance(inner, write_at, row_offset(inner, to_columns, j))
                store(inner, dtype, load(inner, dtype, here, 1), there, 1)

    arguments = [*source, *target, *shape]
    kinds = "".join(_kind(arguments[i]) for i in (1, 2, 4, 5))
    call_shared(builder, f"copy_elements_{dtype}_{kinds}", arguments, emit)

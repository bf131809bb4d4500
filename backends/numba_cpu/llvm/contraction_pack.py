"""Copies between strided operands and packed panels, and the offset tables of multi-axis groups.

A side of a copy is described by the offsets of its rows: an i64 stride, or a pointer to a table of
offsets. Functions are internal to the module and shared by all contractions in it.
"""

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    I32,
    I64,
    advance,
    counted_loop,
    element_type,
    integer,
    internal_function,
    lane_mask,
    load,
    minimum,
    store,
    tail_mask,
)
from irgrad.backends.numba_cpu.llvm.contraction_plan import ITEM_BYTES, IndexMap, segments

TABLE = I64.as_pointer()


def row_offset(builder: ir.IRBuilder, rows: ir.Value, index: ir.Value) -> ir.Value:
    """Offset of row `index` where `rows` is a stride or a table."""
    if rows.type == I64:
        return builder.mul(rows, index)
    return builder.load(builder.gep(rows, [index]))


def _kind(rows: ir.Value) -> str:
    return "s" if rows.type == I64 else "t"


def fill_table(builder: ir.IRBuilder, table: ir.Value, index_map: IndexMap) -> None:
    """Write the offset of every index of the map to `table`."""

    def nest(level: int, index: ir.Value, offset: ir.Value) -> None:
        if level == len(index_map.axes):
            builder.store(offset, builder.gep(table, [index]))
            return
        extent, stride = index_map.axes[level]
        with counted_loop(builder, extent) as turn:
            nest(
                level + 1,
                builder.add(builder.mul(index, integer(extent)), turn),
                builder.add(offset, builder.mul(turn, integer(stride))),
            )

    nest(0, integer(0), integer(0))


def copy_rows(
    builder: ir.IRBuilder,
    dtype: str,
    lanes: int,
    source: tuple[ir.Value, ir.Value],
    target: tuple[ir.Value, ir.Value],
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Copy `shape` = (rows, columns) elements between (pointer, rows) sides with adjacent columns."""

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, place, to_rows, rows, columns = values
        whole = inner.and_(columns, integer(-lanes))
        rest = inner.sub(columns, whole)
        mask = tail_mask(inner, rest, lanes)
        ragged = inner.icmp_signed(">", rest, integer(0))
        with counted_loop(inner, rows) as i:
            read = inner.gep(start, [row_offset(inner, from_rows, i)])
            write = inner.gep(place, [row_offset(inner, to_rows, i)])
            with counted_loop(inner, whole, lanes) as j:
                value = load(inner, dtype, inner.gep(read, [j]), lanes)
                store(inner, dtype, value, inner.gep(write, [j]), lanes)
            with inner.if_then(ragged):
                value = load(inner, dtype, inner.gep(read, [whole]), lanes, mask)
                store(inner, dtype, value, inner.gep(write, [whole]), lanes, mask)

    name = f"copy_rows_{dtype}x{lanes}_{_kind(source[1])}{_kind(target[1])}"
    arguments = [*source, *target, *shape]
    types = [value.type for value in arguments]
    builder.call(internal_function(builder.module, name, types, emit), arguments)


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

    `shape` is (rows, panels, columns of a panel); panel t holds the columns from
    min(t * columns, last) on. Rows are the outer loop, so that the source is read along its rows.
    """
    columns = shape[2]

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, place, rows, panels, final = values
        panel = inner.mul(rows, integer(columns))
        with counted_loop(inner, rows) as i:
            read = inner.gep(start, [row_offset(inner, from_rows, i)])
            write = inner.gep(place, [inner.mul(i, integer(columns))])
            with counted_loop(inner, panels) as t:
                first = minimum(inner, inner.mul(t, integer(columns)), final)
                here = inner.gep(read, [first])
                there = inner.gep(write, [inner.mul(t, panel)])
                for part in segments(columns, lanes):
                    mask = None
                    if part.valid < part.width:
                        mask = lane_mask(inner, integer((1 << part.valid) - 1), part.width)
                    value = load(inner, dtype, advance(inner, here, part.offset), part.width, mask)
                    store(inner, dtype, value, advance(inner, there, part.offset), part.width, mask)

    name = f"copy_panels_{dtype}x{lanes}_{columns}_{_kind(source[1])}"
    arguments = [*source, target, shape[0], shape[1], last]
    types = [value.type for value in arguments]
    builder.call(internal_function(builder.module, name, types, emit), arguments)


def transpose_panel(
    builder: ir.IRBuilder,
    dtype: str,
    vector_bytes: int,
    source: tuple[ir.Value, ir.Value],
    target: ir.Value,
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Write the transpose of (columns, rows) adjacent-row elements as a dense (rows, columns) panel.

    `source` rows are the columns of the panel; `shape` is (rows, columns) of the panel. Square blocks
    are transposed in registers; the last block of a side overlaps its neighbour.
    """
    side = min(vector_bytes, 32) // ITEM_BYTES[dtype]

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, from_rows, place, rows, columns = values
        square = inner.icmp_signed(">=", minimum(inner, rows, columns), integer(side))
        last_row = inner.sub(rows, integer(side))
        last_column = inner.sub(columns, integer(side))
        with inner.if_else(square) as (blocked, small):
            with blocked, counted_loop(inner, columns, side) as j_turn:
                j = minimum(inner, j_turn, last_column)
                reads = [
                    inner.gep(start, [row_offset(inner, from_rows, inner.add(j, integer(t)))])
                    for t in range(side)
                ]
                with counted_loop(inner, rows, side) as i_turn:
                    i = minimum(inner, i_turn, last_row)
                    block = [load(inner, dtype, inner.gep(read, [i]), side) for read in reads]
                    for t, value in enumerate(transpose_block(inner, block)):
                        row = inner.mul(inner.add(i, integer(t)), columns)
                        store(inner, dtype, value, inner.gep(place, [inner.add(row, j)]), side)
            with small, counted_loop(inner, columns) as j:
                read = inner.gep(start, [row_offset(inner, from_rows, j)])
                with counted_loop(inner, rows) as i:
                    value = inner.load(inner.gep(read, [i]))
                    inner.store(
                        value, inner.gep(place, [inner.add(inner.mul(i, columns), j)])
                    )

    name = f"transpose_panel_{dtype}x{side}_{_kind(source[1])}"
    arguments = [*source, target, *shape]
    types = [value.type for value in arguments]
    builder.call(internal_function(builder.module, name, types, emit), arguments)


def transpose_block(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square block of vectors held in registers, by log2(side) rounds of two-row shuffles.

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


def gather(
    builder: ir.IRBuilder,
    dtype: str,
    source: ir.Value,
    tables: tuple[ir.Value, ir.Value],
    target: tuple[ir.Value, ir.Value],
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Copy scattered elements source[rows[i] + columns[j]] to rows of adjacent elements."""

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, row_table, column_table, place, stride, rows, columns = values
        with counted_loop(inner, rows) as i:
            read = inner.gep(start, [row_offset(inner, row_table, i)])
            write = inner.gep(place, [inner.mul(i, stride)])
            with counted_loop(inner, columns) as j:
                value = inner.load(inner.gep(read, [row_offset(inner, column_table, j)]))
                inner.store(value, inner.gep(write, [j]))

    pointer = element_type(dtype).as_pointer()
    types = [pointer, TABLE, TABLE, pointer, I64, I64, I64]
    function = internal_function(builder.module, f"gather_{dtype}", types, emit)
    builder.call(function, [source, *tables, *target, *shape])


def scatter(
    builder: ir.IRBuilder,
    dtype: str,
    source: tuple[ir.Value, ir.Value],
    target: ir.Value,
    tables: tuple[ir.Value, ir.Value],
    shape: tuple[ir.Value, ir.Value],
) -> None:
    """Copy rows of adjacent elements to target[rows[i] + columns[j]]."""

    def emit(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        start, stride, place, row_table, column_table, rows, columns = values
        with counted_loop(inner, rows) as i:
            read = inner.gep(start, [inner.mul(i, stride)])
            write = inner.gep(place, [row_offset(inner, row_table, i)])
            with counted_loop(inner, columns) as j:
                value = inner.load(inner.gep(read, [j]))
                inner.store(value, inner.gep(write, [row_offset(inner, column_table, j)]))

    pointer = element_type(dtype).as_pointer()
    types = [pointer, I64, pointer, TABLE, TABLE, I64, I64]
    function = internal_function(builder.module, f"scatter_{dtype}", types, emit)
    builder.call(function, [*source, target, *tables, *shape])

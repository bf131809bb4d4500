"""Packing of panels, storing of tiles, and the offset tables of multi-axis groups.

The panels of A and B have the same form: for each tile of rows of A or columns of B a dense matrix
with k as its rows. One function per way of packing serves all contractions of a module.
"""

from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
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
    prefetch,
    store,
    times,
    turning_loop,
)
from irgrad.backends.numba_cpu.llvm.contraction_params import LAYOUT, read
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    IndexMap,
    Plan,
    is_thin,
    packed_row,
    segments,
    table_maps,
)
from irgrad.backends.numba_cpu.llvm.contraction_transpose import transpose_block
from irgrad.ir.dims import as_number

PACK_ARGUMENTS = [INTEGERS, BYTES, BYTES, *[I64] * 5]
ADD_ARGUMENTS = [BYTES, I64, BYTES, I64, I64, I64]
FINISH_ARGUMENTS = [INTEGERS, BYTES, BYTES, BYTES, BYTES, *[I64] * 5]
PACK, ADD, FINISH = (
    ir.FunctionType(VOID, arguments).as_pointer()
    for arguments in (PACK_ARGUMENTS, ADD_ARGUMENTS, FINISH_ARGUMENTS)
)


def offset_at(builder: ir.IRBuilder, offsets: ir.Value, index: ir.Value) -> ir.Value:
    """Byte offset of an index where `offsets` is a stride or a table."""
    if offsets.type == I64:
        return builder.mul(offsets, index)
    return builder.load(builder.gep(offsets, [index]))


def as_offsets(
    builder: ir.IRBuilder, workspace: ir.Value, value: ir.Value, tabled: bool
) -> ir.Value:
    """The stride that a map's parameter holds, or the table whose place it holds."""
    return builder.bitcast(advance(builder, workspace, value), INTEGERS) if tabled else value


def fill_table(builder: ir.IRBuilder, table: ir.Value, index_map: IndexMap, item: int) -> None:
    """Write the byte offset of every index of the map to `table`."""

    def nest(level: int, index: ir.Value, offset: ir.Value) -> None:
        if level == len(index_map.axes):
            builder.store(offset, builder.gep(table, [index]))
            return
        extent, stride = map(as_number, index_map.axes[level])
        with counted_loop(builder, extent) as turn:
            nest(
                level + 1,
                builder.add(times(builder, index, extent), turn),
                builder.add(offset, times(builder, turn, stride * item)),
            )

    nest(0, integer(0), integer(0))


@dataclass(frozen=True, slots=True)
class _Packing:
    """Static shape and live values of one packing function."""

    builder: ir.IRBuilder
    dtype: str
    lanes: int
    columns: int
    side: int
    source: ir.Value
    target: ir.Value
    first: ir.Value
    total: ir.Value
    last: ir.Value
    k: ir.Value
    k_count: ir.Value
    k_offsets: ir.Value
    offsets: ir.Value

    @property
    def item(self) -> int:
        """Bytes of an element."""
        return ITEM_BYTES[self.dtype]

    def start(self, tile: ir.Value) -> ir.Value:
        """First index of a tile."""
        return self.builder.add(self.first, minimum(self.builder, tile, self.last))

    def read_at(self, p: ir.Value, index: ir.Value) -> ir.Value:
        """Place of element (p, index) of the source."""
        along = offset_at(self.builder, self.k_offsets, self.builder.add(self.k, p))
        across = offset_at(self.builder, self.offsets, index)
        return advance(self.builder, self.source, along, across)

    def write_at(self, tile: ir.Value, p: ir.Value, j: ir.Value) -> ir.Value:
        """Place of element (p, j) of a tile's panel."""
        builder = self.builder
        row = builder.add(builder.mul(tile, self.k_count), times(builder, p, self.columns))
        return advance(builder, self.target, times(builder, builder.add(row, j), self.item))


def pack_function(
    module: ir.Module, plan: Plan, layout: str, columns: int, maps: tuple[str, str]
) -> ir.Function:
    """`(layout, workspace, source, first, total, last, k, k_count)`: pack tiles of `columns`.

    Tile t = 0, columns, .. < total holds the indices from first + min(t, last) on as a dense
    (k, index) matrix; tiles follow one another at the layout's place. The layout "rows" makes one
    (index, k) matrix instead, with rows at a fixed distance. `maps` names the k and the index map.
    Where `is_thin` holds the last tile starts in its turn and has fewer columns.
    """
    item = ITEM_BYTES[plan.dtype]
    side = min(plan.lanes, 8, 1 << (columns.bit_length() - 1))
    tables = dict(table_maps(plan))
    tabled = [name in tables for name in maps]
    thin = maps[1] == "b_n" and is_thin(plan)

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        fields, workspace, source, first, total, last, k, k_count = values
        k_map, index_map, place = (
            builder.load(advance(builder, fields, LAYOUT.index(name)))
            for name in ("k_map", "index_map", "place")
        )
        offsets = as_offsets(builder, workspace, index_map, tabled[1])
        packing = _Packing(
            builder,
            plan.dtype,
            plan.lanes,
            columns,
            side,
            source,
            advance(builder, workspace, place),
            first,
            total,
            last,
            k,
            k_count,
            as_offsets(builder, workspace, k_map, tabled[0]),
            integer(item) if layout == "copy" else offsets,
        )
        emitters = {"copy": _copy, "transpose": _transpose, "elements": _elements, "rows": _rows}
        if thin:
            emitters = {"transpose": _transpose_thin, "elements": _elements_thin}
        emitters[layout](packing)

    kinds = "".join("t" if flag else "s" for flag in tabled)
    shape = plan.lanes if layout == "rows" else f"{plan.lanes}_{columns}"
    name = f"pack_{layout}_{plan.dtype}x{shape}_{kinds}{'_thin' * thin}"
    return internal_function(module, name, PACK_ARGUMENTS, emit)


def _copy(packing: _Packing) -> None:
    """Indices are adjacent: copy vectors, with k as the outer loop so that rows are read along."""
    builder, dtype, item = packing.builder, packing.dtype, packing.item
    ahead = times(builder, packing.total, item)
    with turning_loop(builder, 2) as turns:
        p, tile = turns.indices
        read_at = packing.read_at(p, packing.start(tile))
        write_at = packing.write_at(tile, p, integer(0))
        prefetch(builder, advance(builder, read_at, ahead))
        for part in segments(packing.columns, packing.lanes):
            mask = None
            if part.valid < part.width:
                mask = lane_mask(builder, integer((1 << part.valid) - 1), part.width)
            here, there = (advance(builder, at, part.offset * item) for at in (read_at, write_at))
            value = load(builder, dtype, here, part.width, mask)
            store(builder, dtype, value, there, part.width, mask)
        turns.limits = [(packing.k_count, integer(1)), (packing.total, integer(packing.columns))]


def _elements(packing: _Packing) -> None:
    """Any offsets: copy element by element."""
    builder, dtype = packing.builder, packing.dtype
    with turning_loop(builder, 3) as turns:
        tile, p, j = turns.indices
        index = builder.add(packing.start(tile), j)
        value = load(builder, dtype, packing.read_at(p, index), 1)
        store(builder, dtype, value, packing.write_at(tile, p, j), 1)
        columns, one = integer(packing.columns), integer(1)
        turns.limits = [(packing.total, columns), (packing.k_count, one), (columns, one)]


def _rows(packing: _Packing) -> None:
    """Steps of k are adjacent: copy rows to rows at a fixed distance, of one tile."""
    builder, dtype, lanes = packing.builder, packing.dtype, packing.lanes
    distance = packed_row(dtype) * packing.item
    if packing.offsets.type == I64:
        ahead = builder.mul(packing.total, packing.offsets)
    with turning_loop(builder, 2) as turns:
        i, p = turns.indices
        read_at = packing.read_at(p, builder.add(packing.first, i))
        if packing.offsets.type == I64:
            prefetch(builder, advance(builder, read_at, ahead))
        write_at = advance(builder, packing.target, times(builder, i, distance))
        write_at = advance(builder, write_at, times(builder, p, packing.item))
        fits = builder.icmp_signed("<=", builder.add(p, integer(lanes)), packing.k_count)
        _copy_vector_or_element(builder, dtype, (read_at, write_at), fits, lanes)
        step = builder.select(fits, integer(lanes), integer(1))
        turns.limits = [(packing.total, integer(1)), (packing.k_count, step)]


def _copy_vector_or_element(
    builder: ir.IRBuilder,
    dtype: str,
    places: tuple[ir.Value, ir.Value],
    fits: ir.Value,
    lanes: int,
) -> None:
    """Copy a whole vector from the first place to the second where it fits, else one element."""
    with builder.if_else(fits) as (vector, single):
        for branch, width in ((vector, lanes), (single, 1)):
            with branch:
                store(builder, dtype, load(builder, dtype, places[0], width), places[1], width)


def _lines(packing: _Packing, p: ir.Value, start: ir.Value) -> list[ir.Value]:
    """Places of element p of `side` neighbouring indices."""
    builder = packing.builder
    if packing.offsets.type != I64:
        return [packing.read_at(p, builder.add(start, integer(t))) for t in range(packing.side)]
    lines = [packing.read_at(p, start)]
    while len(lines) < packing.side:
        lines.append(advance(builder, lines[-1], packing.offsets))
    return lines


def _transpose(packing: _Packing) -> None:
    """Steps of k are adjacent: transpose square blocks in registers.

    The last block of a side overlaps its neighbour; a panel with fewer steps of k than a block has
    rows is copied element by element.
    """
    builder, dtype, side = packing.builder, packing.dtype, packing.side
    square = builder.icmp_signed(">=", packing.k_count, integer(side))
    step = builder.select(square, integer(side), integer(1))
    with turning_loop(builder, 3) as turns:
        tile, j_turn, p_turn = turns.indices
        with builder.if_else(square) as (whole, thin):
            with whole:
                j = minimum(builder, j_turn, integer(packing.columns - side))
                p = minimum(builder, p_turn, builder.sub(packing.k_count, integer(side)))
                start = builder.add(packing.start(tile), j)
                lines = _lines(packing, p, start)
                block = [load(builder, dtype, line, side) for line in lines]
                write_at = packing.write_at(tile, p, j)
                for value in transpose_block(builder, block):
                    store(builder, dtype, value, write_at, side)
                    write_at = advance(builder, write_at, packing.columns * packing.item)
            with thin:
                index = builder.add(packing.start(tile), j_turn)
                value = load(builder, dtype, packing.read_at(p_turn, index), 1)
                store(builder, dtype, value, packing.write_at(tile, p_turn, j_turn), 1)
        columns = integer(packing.columns)
        turns.limits = [(packing.total, columns), (columns, step), (packing.k_count, step)]


def _elements_thin(packing: _Packing) -> None:
    """Any offsets: copy the elements of columns that exist."""
    builder, dtype = packing.builder, packing.dtype
    with turning_loop(builder, 3) as turns:
        tile, p, j = turns.indices
        index = builder.add(packing.first, builder.add(tile, j))
        value = load(builder, dtype, packing.read_at(p, index), 1)
        store(builder, dtype, value, packing.write_at(tile, p, j), 1)
        columns, one = integer(packing.columns), integer(1)
        valid = minimum(builder, builder.sub(packing.total, tile), columns)
        turns.limits = [(packing.total, columns), (packing.k_count, one), (valid, one)]


def _transpose_thin(packing: _Packing) -> None:
    """Steps of k are adjacent: transpose square blocks, the last column again where none follows.

    The last steps of k overlap their neighbours; fewer than a block has are copied one by one.
    """
    builder, dtype, item = packing.builder, packing.dtype, packing.item
    side, columns = integer(packing.side), integer(packing.columns)
    last = builder.sub(builder.add(packing.first, packing.total), integer(1))
    square = builder.icmp_signed(">=", packing.k_count, side)
    step = builder.select(square, side, integer(1))
    with turning_loop(builder, 2) as turns:
        tile, j = turns.indices
        start = builder.add(packing.first, builder.add(tile, j))
        indices = [builder.add(start, integer(t)) for t in range(packing.side)]
        lines = [packing.read_at(integer(0), minimum(builder, i, last)) for i in indices]
        with turning_loop(builder, 1) as steps:
            whole_p = minimum(builder, steps.indices[0], builder.sub(packing.k_count, side))
            p = builder.select(square, whole_p, steps.indices[0])
            places = [advance(builder, line, times(builder, p, item)) for line in lines]
            write_at = packing.write_at(tile, p, j)
            with builder.if_else(square) as (whole, single):
                with whole:
                    block = [load(builder, dtype, place, packing.side) for place in places]
                    there = write_at
                    for value in transpose_block(builder, block):
                        store(builder, dtype, value, there, packing.side)
                        there = advance(builder, there, packing.columns * item)
                with single:
                    for t, place in enumerate(places):
                        value = load(builder, dtype, place, 1)
                        store(builder, dtype, value, advance(builder, write_at, t * item), 1)
            steps.limits = [(packing.k_count, step)]
        valid = minimum(builder, builder.sub(packing.total, tile), columns)
        turns.limits = [(packing.total, columns), (valid, side)]


def add_function(module: ir.Module, dtype: str, lanes: int) -> ir.Function:
    """`(c, c_row, sums, sums_row, rows, columns)`: c += sums, rows of adjacent elements."""
    item = ITEM_BYTES[dtype]

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        c, c_row, sums, sums_row, rows, columns = values
        ahead = builder.mul(rows, c_row)
        with turning_loop(builder, 2) as turns:
            i, j = turns.indices
            across = times(builder, j, item)
            total_at = advance(builder, c, builder.mul(i, c_row), across)
            sum_at = advance(builder, sums, builder.mul(i, sums_row), across)
            prefetch(builder, advance(builder, total_at, ahead))
            fits = builder.icmp_signed("<=", builder.add(j, integer(lanes)), columns)
            step = builder.select(fits, integer(lanes), integer(1))
            with builder.if_else(fits) as (vector, single):
                for branch, width in ((vector, lanes), (single, 1)):
                    with branch:
                        total = load(builder, dtype, total_at, width)
                        total = builder.fadd(total, load(builder, dtype, sum_at, width))
                        store(builder, dtype, total, total_at, width)
            turns.limits = [(rows, integer(1)), (columns, step)]

    return internal_function(module, f"add_rows_{dtype}x{lanes}", ADD_ARGUMENTS, emit)


def store_function(module: ir.Module, plan: Plan) -> ir.Function:
    """`(parameters, workspace, frame, c, tile, batch, m, n, m_count, n_count)`: store to C."""
    item, lanes, dtype = ITEM_BYTES[plan.dtype], plan.lanes, plan.dtype
    tables = dict(table_maps(plan))
    unit = plan.c_n.is_unit()

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, workspace, _, c, tile, _, m, n, m_count, n_count = values
        m_offsets, n_offsets = (
            as_offsets(builder, workspace, read(builder, parameters, f"{name}_map"), name in tables)
            for name in ("c_m", "c_n")
        )
        row = read(builder, parameters, "c_row")
        with turning_loop(builder, 2) as turns:
            i, j = turns.indices
            read_at = advance(builder, tile, builder.mul(i, row), times(builder, j, item))
            across = offset_at(builder, integer(item) if unit else n_offsets, builder.add(n, j))
            along = offset_at(builder, m_offsets, builder.add(m, i))
            write_at = advance(builder, c, along, across)
            if unit:
                fits = builder.icmp_signed("<=", builder.add(j, integer(lanes)), n_count)
                step = builder.select(fits, integer(lanes), integer(1))
                _copy_vector_or_element(builder, dtype, (read_at, write_at), fits, lanes)
            else:
                step = integer(1)
                store(builder, dtype, load(builder, dtype, read_at, 1), write_at, 1)
            turns.limits = [(m_count, integer(1)), (n_count, step)]

    kinds = "".join("t" if name in tables else "s" for name in ("c_m", "c_n"))
    name = f"store_{'rows' if unit else 'elements'}_{dtype}x{lanes}_{kinds}"
    return internal_function(module, name, FINISH_ARGUMENTS, emit)

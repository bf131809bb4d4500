"""The packing and storing steps of the loops, as functions of one layout each.

Each reads a contraction's numbers from its parameters, so that contractions of equal layout share it.
"""

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm import contraction_pack as pack
from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    advance,
    counted_loop,
    integer,
    internal_function,
    minimum,
    times,
)
from irgrad.backends.numba_cpu.llvm.contraction_loops import FINISH_ARGUMENTS
from irgrad.backends.numba_cpu.llvm.contraction_params import read
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    Plan,
    packed_row,
    table_maps,
)


def _name(plan: Plan, kind: str, maps: tuple[str, str]) -> str:
    tables = dict(table_maps(plan))
    kinds = "".join("t" if name in tables else "s" for name in maps)
    return f"{kind}_{plan.dtype}x{plan.lanes}_{kinds}"


def pack_a_function(module: ir.Module, plan: Plan) -> ir.Function:
    """`(parameters, workspace, a, tile, m, k, k_count)`: pack the row tiles that `tile` leads.

    "rows" packs one tile as (row, k) with a fixed row stride; "columns" packs a group of tiles, each as
    a dense (k, row) matrix. `m` is the first row of the leading tile.
    """
    item = ITEM_BYTES[plan.dtype]

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, workspace, a, tile, m, k, k_count = values
        target = advance(builder, workspace, read(builder, parameters, "a_place"))
        m_rows, k_rows = (
            pack.map_rows(builder, plan, parameters, workspace, name) for name in ("a_m", "a_k")
        )
        if plan.a_layout == "columns":
            start, rows = pack.window(builder, a, k_rows, k)
            source = advance(builder, start, times(builder, m, item)), rows
            left = builder.sub(read(builder, parameters, "row_tiles"), tile)
            group = builder.add(read(builder, parameters, "group_mask"), integer(1))
            total = times(builder, minimum(builder, left, group), plan.rows)
            last = builder.sub(read(builder, parameters, "last_row"), m)
            shape = k_count, total, plan.rows
            pack.copy_panels(builder, plan.dtype, plan.lanes, source, target, shape, last)
            return
        start, rows = pack.window(builder, a, m_rows, m)
        place = target, integer(packed_row(plan.dtype) * item)
        shape = read(builder, parameters, "rows"), k_count
        if plan.a_k.is_unit():
            source = advance(builder, start, times(builder, k, item)), rows
            pack.copy_rows(builder, plan.dtype, plan.lanes, source, place, shape)
        else:
            start, columns = pack.window(builder, start, k_rows, k)
            elements = start, rows, columns
            pack.copy_elements(builder, plan.dtype, elements, (*place, integer(item)), shape)

    kind = "pack_a_columns_" + str(plan.rows) if plan.a_layout == "columns" else "pack_a_rows"
    if plan.a_layout == "rows" and not plan.a_k.is_unit():
        kind = "pack_a_elements"
    name = _name(plan, kind, ("a_m", "a_k"))
    return internal_function(module, name, pack.PACK_ARGUMENTS, emit)


def pack_b_function(module: ir.Module, plan: Plan) -> ir.Function:
    """`(parameters, workspace, b, n, n_count, k, k_count)`: pack a column block's panel of B.

    Each column tile becomes a dense (k, column) matrix, the last, narrower one too.
    """

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, workspace, b, n, n_count, k, k_count = values
        target = advance(builder, workspace, read(builder, parameters, "b_place"))
        maps = tuple(
            pack.map_rows(builder, plan, parameters, workspace, name) for name in ("b_k", "b_n")
        )
        step = integer(plan.columns)
        if plan.b_layout == "copy":
            rest = builder.srem(n_count, step)
            whole = builder.sub(n_count, rest)
            start, rows = pack.window(builder, b, maps[0], k)
            source = advance(builder, start, times(builder, n, ITEM_BYTES[plan.dtype])), rows
            shape = k_count, whole, plan.columns
            pack.copy_panels(builder, plan.dtype, plan.lanes, source, target, shape, n_count)
            if plan.tail:
                with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
                    column = builder.add(n, whole)
                    place = _panel_place(builder, plan, target, whole, k_count)
                    _pack_b_tile(builder, plan, (b, *maps), place, (column, rest, k, k_count))
            return
        with counted_loop(builder, n_count, plan.columns) as start:
            width = minimum(builder, builder.sub(n_count, start), step)
            column = builder.add(n, start)
            place = _panel_place(builder, plan, target, start, k_count)
            _pack_b_tile(builder, plan, (b, *maps), place, (column, width, k, k_count))

    kind = f"pack_b_{plan.b_layout}_{plan.columns}"
    if plan.b_layout == "copy" and plan.tail:
        kind += "_tail"
    name = _name(plan, kind, ("b_k", "b_n"))
    return internal_function(module, name, pack.PACK_ARGUMENTS, emit)


def _panel_place(
    builder: ir.IRBuilder, plan: Plan, target: ir.Value, start: ir.Value, k_count: ir.Value
) -> ir.Value:
    """Where the packed tile of the columns from `start` on begins."""
    size = times(builder, builder.mul(start, k_count), ITEM_BYTES[plan.dtype])
    return advance(builder, target, size)


def _pack_b_tile(
    builder: ir.IRBuilder,
    plan: Plan,
    operand: tuple[ir.Value, ir.Value, ir.Value],
    target: ir.Value,
    place: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
) -> None:
    """Pack one column tile; `operand` is (b, k offsets, n offsets), `place` (n, columns, k, length)."""
    b, k_rows, n_rows = operand
    n, width, k, k_count = place
    item = ITEM_BYTES[plan.dtype]
    shape = k_count, width
    row = times(builder, width, item)
    if plan.b_layout == "copy":
        start, rows = pack.window(builder, b, k_rows, k)
        source = advance(builder, start, times(builder, n, item)), rows
        pack.copy_rows(builder, plan.dtype, plan.lanes, source, (target, row), shape)
    elif plan.b_layout == "transpose":
        start, rows = pack.window(builder, b, n_rows, n)
        source = advance(builder, start, times(builder, k, item)), rows
        width_bytes = plan.lanes * item
        pack.transpose_panel(builder, plan.dtype, width_bytes, source, target, shape)
    else:
        start, rows = pack.window(builder, b, k_rows, k)
        start, columns = pack.window(builder, start, n_rows, n)
        side = target, row, integer(item)
        pack.copy_elements(builder, plan.dtype, (start, rows, columns), side, shape)


def store_function(module: ir.Module, plan: Plan) -> ir.Function:
    """`(parameters, workspace, frame, c, tile, batch, m, n, m_count, n_count)`: store a tile to C."""

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, workspace, _, c, tile, _, m, n, m_count, n_count = values
        item = ITEM_BYTES[plan.dtype]
        m_rows, n_rows = (
            pack.map_rows(builder, plan, parameters, workspace, name) for name in ("c_m", "c_n")
        )
        source = tile, read(builder, parameters, "c_row")
        start, rows = pack.window(builder, c, m_rows, m)
        shape = m_count, n_count
        if plan.c_n.is_unit():
            target = advance(builder, start, times(builder, n, item)), rows
            pack.copy_rows(builder, plan.dtype, plan.lanes, source, target, shape)
        else:
            start, columns = pack.window(builder, start, n_rows, n)
            elements = start, rows, columns
            pack.copy_elements(builder, plan.dtype, (*source, integer(item)), elements, shape)

    kind = "store_rows" if plan.c_n.is_unit() else "store_elements"
    return internal_function(module, _name(plan, kind, ("c_m", "c_n")), FINISH_ARGUMENTS, emit)

"""Packing of a named number of columns that do not lie side by side.

The last tile starts in its turn and has the columns that are left, where other packing moves it up
to be full: there may be fewer columns than one tile has.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    advance,
    integer,
    internal_function,
    load,
    minimum,
    store,
    times,
    turning_loop,
)
from irgrad.backends.numba_cpu.llvm.contraction_pack import (
    PACK_ARGUMENTS,
    as_offsets,
    offset_at,
)
from irgrad.backends.numba_cpu.llvm.contraction_params import LAYOUT, Parameters
from irgrad.backends.numba_cpu.llvm.contraction_plan import ITEM_BYTES, Plan, table_maps
from irgrad.backends.numba_cpu.llvm.contraction_transpose import transpose_block

MAPS = ("b_k", "b_n")
_STEP = Parameters._fields.index("step") - Parameters._fields.index("b_k_map")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Live values of a packing function: `columns` a tile, a row of them in `width` bytes."""

    builder: ir.IRBuilder
    dtype: str
    lanes: int
    source: ir.Value
    target: ir.Value
    columns: ir.Value
    width: ir.Value
    first: ir.Value
    total: ir.Value
    k: ir.Value
    k_count: ir.Value
    k_offsets: ir.Value
    offsets: ir.Value

    def valid(self, tile: ir.Value) -> ir.Value:
        """How many columns a tile has."""
        builder = self.builder
        return minimum(builder, builder.sub(self.total, tile), self.columns)

    def read_at(self, p: ir.Value, index: ir.Value) -> ir.Value:
        """Place of element (p, index) of the source."""
        builder = self.builder
        along = offset_at(builder, self.k_offsets, builder.add(self.k, p))
        return advance(builder, self.source, along, offset_at(builder, self.offsets, index))

    def write_at(self, tile: ir.Value, p: ir.Value, j: ir.Value) -> ir.Value:
        """Place of element (p, j) of a tile's panel."""
        builder, item = self.builder, ITEM_BYTES[self.dtype]
        start = times(builder, builder.add(builder.mul(tile, self.k_count), j), item)
        return advance(builder, self.target, start, builder.mul(p, self.width))


def thin_packer(module: ir.Module, plan: Plan) -> ir.Function:
    """The packing function of B where `is_thin` holds, for tiles of any number of columns.

    Its arguments are those of `pack_function`.
    """
    item, tables = ITEM_BYTES[plan.dtype], dict(table_maps(plan))
    tabled = [name in tables for name in MAPS]

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        fields, workspace, source, first, total, _, k, k_count = values
        k_map, index_map, place = (
            builder.load(advance(builder, fields, LAYOUT.index(name)))
            for name in ("k_map", "index_map", "place")
        )
        width = builder.load(advance(builder, fields, _STEP))
        shape = builder.udiv(width, integer(item)), width
        target = advance(builder, workspace, place)
        maps = (
            as_offsets(builder, workspace, k_map, tabled[0]),
            as_offsets(builder, workspace, index_map, tabled[1]),
        )
        part = first, total, k, k_count
        what = _Columns(builder, plan.dtype, plan.lanes, source, target, *shape, *part, *maps)
        (_transpose if plan.b_layout == "transpose" else _elements)(what)

    kinds = "".join("t" if flag else "s" for flag in tabled)
    name = f"pack_{plan.b_layout}_{plan.dtype}x{plan.lanes}_{kinds}_thin"
    return internal_function(module, name, PACK_ARGUMENTS, emit)


def _elements(what: _Columns) -> None:
    """Any offsets: copy element by element."""
    builder, dtype = what.builder, what.dtype
    with turning_loop(builder, 3) as turns:
        tile, p, j = turns.indices
        index = builder.add(what.first, builder.add(tile, j))
        value = load(builder, dtype, what.read_at(p, index), 1)
        store(builder, dtype, value, what.write_at(tile, p, j), 1)
        one = integer(1)
        turns.limits = [
            (what.total, what.columns), (what.k_count, one), (what.valid(tile), one)
        ]  # fmt: skip


def _transpose(what: _Columns) -> None:
    """Steps of k are adjacent: transpose square blocks, the last column again where none follows.

    The last steps of k overlap their neighbours; fewer than a block has are copied one by one.
    """
    builder, dtype, item = what.builder, what.dtype, ITEM_BYTES[what.dtype]
    side = min(what.lanes, 8)
    last = builder.sub(builder.add(what.first, what.total), integer(1))
    square = builder.icmp_signed(">=", what.k_count, integer(side))
    step = builder.select(square, integer(side), integer(1))
    with turning_loop(builder, 2) as turns:
        tile, j = turns.indices
        start = builder.add(what.first, builder.add(tile, j))
        indices = [builder.add(start, integer(t)) for t in range(side)]
        lines = [what.read_at(integer(0), minimum(builder, i, last)) for i in indices]
        with turning_loop(builder, 1) as steps:
            turn = steps.indices[0]
            whole_p = minimum(builder, turn, builder.sub(what.k_count, integer(side)))
            p = builder.select(square, whole_p, turn)
            places = [advance(builder, line, times(builder, p, item)) for line in lines]
            there = what.write_at(tile, p, j)
            with builder.if_else(square) as (whole, single):
                with whole:
                    block = [load(builder, dtype, place, side) for place in places]
                    row = there
                    for value in transpose_block(builder, block):
                        store(builder, dtype, value, row, side)
                        row = advance(builder, row, what.width)
                with single:
                    for t, place in enumerate(places):
                        value = load(builder, dtype, place, 1)
                        store(builder, dtype, value, advance(builder, there, t * item), 1)
            steps.limits = [(what.k_count, step)]
        turns.limits = [(what.total, what.columns), (what.valid(tile), integer(side))]

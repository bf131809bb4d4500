"""Offset tables of named index maps, filled for one panel at a time.

A table of all offsets would be as large as the sizes of a call. A packing function reads the
entries of its panel alone, so these are written just before it runs.
"""

from __future__ import annotations

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    I64,
    INTEGERS,
    advance,
    integer,
    internal_function,
)
from irgrad.backends.numba_cpu.llvm.contraction_pack import PACK_ARGUMENTS
from irgrad.backends.numba_cpu.llvm.contraction_params import LAYOUT, Parameters
from irgrad.backends.numba_cpu.llvm.contraction_plan import Plan, table_maps
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop

Axes = list[tuple[ir.Value, ir.Value]]


def windowed_packer(
    module: ir.Module, name: str, plan: Plan, packer: ir.Function, maps: tuple[str, str]
) -> ir.Function:
    """The packing function that fills the tables of named maps, then calls `packer`.

    `packer` finds the panel at index 0 of the tables. Extents and strides of named maps follow the
    parameters, as `window_sizes` orders them. `maps`: as in `pack_function`.
    """
    found = [(key, index_map) for key, index_map in table_maps(plan) if index_map.named]
    if not any(key in maps for key, _ in found):
        return packer
    here = Parameters._fields.index(f"{maps[0]}_map")

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        fields, workspace, source, first, total, last, k, k_count = values
        place = len(Parameters._fields) - here
        for key, index_map in found:
            sizes = [
                builder.load(advance(builder, fields, place + i))
                for i in range(2 * len(index_map.axes))
            ]
            place += len(sizes)
            if key not in maps:
                continue
            field = LAYOUT.index("k_map" if key == maps[0] else "index_map")
            table = advance(builder, workspace, builder.load(advance(builder, fields, field)))
            table = builder.bitcast(table, INTEGERS)
            axes = list(zip(sizes[::2], sizes[1::2], strict=True))
            if key == maps[0]:
                _fill(builder, table, axes, k, k_count)
                k = integer(0)
            else:
                _fill(builder, table, axes, first, total)
                first = integer(0)
        builder.call(packer, [fields, workspace, source, first, total, last, k, k_count])

    return internal_function(module, name, PACK_ARGUMENTS, emit, noalias=False)


def _fill(
    builder: ir.IRBuilder, table: ir.Value, axes: Axes, first: ir.Value, count: ir.Value
) -> None:
    """Write the offsets of `count` >= 1 indices of a row-major group from `first` on."""
    digits: list[ir.Value] = []
    rest, offset = first, integer(0)
    for extent, stride in reversed(axes[1:]):
        digits.append(builder.urem(rest, extent))
        rest = builder.udiv(rest, extent)
        offset = builder.add(offset, builder.mul(digits[-1], stride))
    offset = builder.add(offset, builder.mul(rest, axes[0][1]))
    loop = CountedLoop(builder, count)
    offset, *digits = (loop.carry(value) for value in (offset, *digits))
    builder.store(offset, builder.gep(table, [loop.index], source_etype=I64))
    after, carries = [], None
    offset = builder.add(offset, axes[-1][1])
    for digit, (extent, stride), (_, outer) in zip(digits, axes[:0:-1], axes[-2::-1], strict=True):
        step = integer(1) if carries is None else builder.zext(carries, I64)
        moved = builder.add(digit, step)
        carries = builder.icmp_signed("==", moved, extent)
        after.append(builder.select(carries, integer(0), moved))
        back = builder.sub(outer, builder.mul(extent, stride))
        offset = builder.add(offset, builder.select(carries, back, integer(0)))
    loop.close([offset, *after])

"""The numbers of one contraction that generated code reads at run time.

Contractions of a module share their loops, packing and micro-kernels; what differs between them is a
constant array of i64, one slot per field of `Parameters`. Offsets and strides are in bytes.
"""

from typing import NamedTuple

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import I64, INTEGERS, integer
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    IndexMap,
    Plan,
    Scratch,
    packed_row,
)


class Parameters(NamedTuple):
    """Fields ending in `_place` are offsets into the workspace; see the loops for their use.

    `*_map` is the stride of an index map or, where it has a table, the table's place. `step` and
    `mask` belong to a full column tile, `tail_step` and `tail_mask` to the last one; each pair is
    adjacent so that the micro-kernel gets one pointer to it.
    """

    item: int
    batches: int
    a_batch: int
    b_batch: int
    c_batch: int
    rows: int
    row_tiles: int
    row_block: int
    last_row: int
    group_mask: int
    n: int
    full_columns: int
    block_columns: int
    columns: int
    k: int
    k_stop: int
    panel: int
    a_packed: int
    a_place: int
    a_m: int
    a_k: int
    a_member: int
    a_row: int
    a_step: int
    b_packed: int
    b_place: int
    b_k: int
    b_n: int
    b_column: int
    b_deep: int
    step: int
    mask: int
    tail_step: int
    tail_mask: int
    c_buffered: int
    c_place: int
    c_m: int
    c_n: int
    c_tile: int
    c_row: int
    spare_place: int
    a_m_map: int
    a_k_map: int
    b_k_map: int
    b_n_map: int
    c_m_map: int
    c_n_map: int


def make_parameters(plan: Plan, scratch: Scratch) -> Parameters:
    """The parameters of a plan; the innermost batch axis is looped over inside."""
    item = ITEM_BYTES[plan.dtype]
    tables = dict(scratch.tables)

    def describe(name: str) -> int:
        index_map: IndexMap = getattr(plan, name)
        return tables[name] if name in tables else index_map.stride * item

    a_packed, b_packed = plan.a_layout != "direct", plan.b_layout != "direct"
    a_k = {"direct": plan.a_k.linear and plan.a_k.stride, "rows": 1, "columns": plan.rows}
    a_row = {"direct": plan.a_m.linear and plan.a_m.stride, "rows": packed_row(plan.dtype)}
    width = plan.columns * item
    batch = plan.batch[-1] if plan.batch else None
    return Parameters(
        item=item,
        batches=batch.extent if batch else 1,
        a_batch=batch.a * item if batch else 0,
        b_batch=batch.b * item if batch else 0,
        c_batch=batch.c * item if batch else 0,
        rows=plan.rows,
        row_tiles=plan.row_tiles,
        row_block=plan.row_block,
        last_row=plan.m - plan.rows,
        group_mask=plan.group - 1,
        n=plan.n,
        full_columns=plan.n - plan.tail,
        block_columns=plan.block_columns,
        columns=plan.columns,
        k=plan.k,
        k_stop=max(plan.k, 1),
        panel=plan.panel,
        a_packed=int(a_packed),
        a_place=scratch.a,
        a_m=0 if a_packed else plan.a_m.stride * item,
        a_k=0 if a_packed else plan.a_k.stride * item,
        a_member=plan.rows * item if plan.a_layout == "columns" else 0,
        a_row=a_row.get(plan.a_layout, 1) * item,
        a_step=a_k[plan.a_layout] * item,
        b_packed=int(b_packed),
        b_place=scratch.b,
        b_k=0 if b_packed else plan.b_k.stride * item,
        b_n=0 if b_packed else item,
        b_column=0 if b_packed else item,
        b_deep=item if b_packed else 0,
        step=width if b_packed else plan.b_k.stride * item,
        mask=(1 << plan.columns) - 1 if plan.columns < 64 else -1,
        tail_step=plan.tail * item if b_packed else plan.b_k.stride * item,
        tail_mask=(1 << plan.tail) - 1 if plan.tail < 64 else -1,
        c_buffered=int(plan.buffered),
        c_place=scratch.buffer,
        c_m=0 if plan.buffered else plan.c_m.stride * item,
        c_n=0 if plan.buffered else item,
        c_tile=plan.rows * plan.buffer_row * item if plan.buffered and plan.panels > 1 else 0,
        c_row=(plan.buffer_row if plan.buffered else plan.c_m.stride) * item,
        spare_place=scratch.spare,
        a_m_map=describe("a_m"),
        a_k_map=describe("a_k"),
        b_k_map=describe("b_k"),
        b_n_map=describe("b_n"),
        c_m_map=describe("c_m"),
        c_n_map=describe("c_n"),
    )


def parameter_array(module: ir.Module, name: str, parameters: Parameters) -> ir.Value:
    """A constant of the module that holds the parameters, as a pointer to its first slot."""
    kind = ir.ArrayType(I64, len(parameters))
    array = ir.GlobalVariable(module, kind, name)
    array.linkage = "internal"
    array.global_constant = True
    array.initializer = ir.Constant(kind, list(parameters))
    return array.bitcast(INTEGERS)


def slot(builder: ir.IRBuilder, parameters: ir.Value, name: str) -> ir.Value:
    """Pointer to one parameter."""
    return builder.gep(parameters, [integer(Parameters._fields.index(name))])


def read(builder: ir.IRBuilder, parameters: ir.Value, name: str) -> ir.Value:
    """Load one parameter."""
    return builder.load(slot(builder, parameters, name))

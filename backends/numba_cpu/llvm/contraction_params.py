"""The numbers of one contraction that generated code reads at run time.

Contractions of a module share their loops, packing and micro-kernels; what differs between them is
a constant array of i64, one slot per field of `Parameters`. Offsets and strides are in bytes.
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

LAYOUT = ("k_map", "index_map", "place")


class Parameters(NamedTuple):
    """Fields ending in `_place` are offsets into the workspace; the loops say how fields are used.

    `*_map` is the stride of an index map or, where it has a table, the table's place. Some
    functions get one pointer to a run of fields: the packing of A or of B (`LAYOUT`), or the step
    and mask of a full column tile or of the last, narrower one.
    """

    item: int
    rows: int
    last_row: int
    group_mask: int
    n: int
    full_columns: int
    block_columns: int
    columns: int
    k: int
    k_stop: int
    panel: int
    a_m: int
    a_k: int
    a_member: int
    a_row: int
    a_step: int
    b_k: int
    b_n: int
    b_column: int
    b_deep: int
    b_tail_shift: int
    step: int
    mask: int
    tail_step: int
    tail_mask: int
    c_m: int
    c_n: int
    c_tile: int
    c_row: int
    sums_row: int
    sums_place: int
    a_k_map: int
    a_m_map: int
    a_place: int
    b_k_map: int
    b_n_map: int
    b_place: int
    c_m_map: int
    c_n_map: int


def make_parameters(plan: Plan, scratch: Scratch) -> Parameters:
    """The parameters of a plan."""
    item = ITEM_BYTES[plan.dtype]
    tables = dict(scratch.tables)

    def describe(name: str) -> int:
        index_map: IndexMap = getattr(plan, name)
        return tables[name] if name in tables else index_map.stride * item

    a_packed, b_packed = plan.a_layout != "direct", plan.b_layout != "direct"
    a_row, a_step = plan.a_m.stride, plan.a_k.stride
    if a_packed:
        a_row, a_step = (packed_row(plan.dtype), 1) if plan.a_layout == "rows" else (1, plan.rows)
    width = plan.columns * item
    b_step = width if b_packed else plan.b_k.stride * item
    return Parameters(
        item=item,
        rows=plan.rows,
        last_row=plan.m - plan.rows,
        group_mask=plan.group - 1,
        n=plan.n,
        full_columns=plan.n - plan.tail,
        block_columns=plan.block_columns,
        columns=plan.columns,
        k=plan.k,
        k_stop=max(plan.k, 1),
        panel=plan.panel,
        a_m=0 if a_packed else plan.a_m.stride * item,
        a_k=0 if a_packed else plan.a_k.stride * item,
        a_member=plan.rows * item if a_packed else 0,
        a_row=a_row * item,
        a_step=a_step * item,
        b_k=0 if b_packed else plan.b_k.stride * item,
        b_n=0 if b_packed else item,
        b_column=0 if b_packed else item,
        b_deep=item if b_packed else 0,
        b_tail_shift=(plan.columns - plan.tail) * item if b_packed else 0,
        step=b_step,
        mask=_low_bits(plan.columns),
        tail_step=b_step,
        tail_mask=_low_bits(plan.tail),
        c_m=0 if plan.buffered else plan.c_m.stride * item,
        c_n=0 if plan.buffered else item,
        c_tile=plan.rows * plan.buffer_row * item if plan.buffered and plan.panels > 1 else 0,
        sums_row=plan.buffer_row * item,
        sums_place=scratch.sums,
        c_row=(plan.buffer_row if plan.buffered else plan.c_m.stride) * item,
        a_k_map=describe("a_k"),
        a_m_map=describe("a_m"),
        a_place=scratch.a,
        b_k_map=describe("b_k"),
        b_n_map=describe("b_n"),
        b_place=scratch.b,
        c_m_map=describe("c_m"),
        c_n_map=describe("c_n"),
    )


def _low_bits(count: int) -> int:
    return (1 << count) - 1 if count < 64 else -1


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

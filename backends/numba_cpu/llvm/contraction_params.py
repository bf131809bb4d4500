"""The numbers of one contraction that generated code reads at run time.

Contractions of a module share their loops, packing and micro-kernels; what differs between them is
an array of i64, one slot per field of `Parameters`: a constant, or filled where sizes are named.
Offsets and strides are in bytes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    I64,
    INTEGERS,
    copy_bytes,
    integer,
)
from irgrad.backends.numba_cpu.llvm.contraction_numbers import (
    Number,
    Truth,
    choose,
    tiles_of,
)
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    DEEP,
    ITEM_BYTES,
    MASK_BITS,
    IndexMap,
    Plan,
    Scratch,
    column_cycles,
    is_thin,
    packed_row,
)
from irgrad.ir.dims import Size, as_number

LAYOUT = ("k_map", "index_map", "place")


class Parameters(NamedTuple):
    """Fields ending in `_place` are offsets into the workspace; the loops say how fields are used.

    `*_map` is the stride of an index map or, where it has a table, the table's place. Some
    functions get one pointer to a run of fields: the packing of A or of B (`LAYOUT`), or the step
    and mask of a full column tile or of the last, narrower one.
    """

    item: Number
    rows: Number
    last_row: Number
    group_mask: Number
    n: Number
    full_columns: Number
    block_columns: Number
    columns: Number
    k: Number
    k_stop: Number
    panel: Number
    a_m: Number
    a_k: Number
    a_member: Number
    a_row: Number
    a_step: Number
    b_k: Number
    b_n: Number
    b_column: Number
    b_deep: Number
    b_tail_shift: Number
    step: Number
    mask: Number
    tail_step: Number
    tail_mask: Number
    c_m: Number
    c_n: Number
    c_tile: Number
    c_row: Number
    sums_row: Number
    sums_place: Number
    a_k_map: Number
    a_m_map: Number
    a_place: Number
    b_k_map: Number
    b_n_map: Number
    b_place: Number
    c_m_map: Number
    c_n_map: Number


Value = Callable[[Size], Number]


def packs_b(plan: Plan, value: Value) -> Truth:
    """Whether B is packed; in place it is read where that is possible and few rows use it."""
    if plan.b_layout == "direct":
        return False
    if not plan.direct_tiles:
        return value(plan.n) > 1 if is_thin(plan) and plan.b_k.linear else True
    many = tiles_of(value(plan.m), plan.rows) > plan.direct_tiles
    return many if isinstance(plan.n, int) else many & (value(plan.n) >= plan.columns)


def best_plan(plans: Sequence[Plan], vector_bytes: int, value: Value) -> Number:
    """The number of the plan that is estimated to take the least time.

    Among those whose tiles have no more rows than there are, which always holds for the first of
    either assignment of roles; roles are swapped where the sum is deep.
    """
    best: Number = 0
    least: Number = 0
    for number, plan in enumerate(plans):
        time = _cycles(plan, vector_bytes, value)
        first = number == 0 or plan.swapped != plans[number - 1].swapped
        better: Truth = first or (time < least) & (value(plan.m) >= plan.rows)
        if plan.swapped != plans[0].swapped:
            better = better & (value(plan.k) >= DEEP)
        best, least = choose(better, number, best), choose(better, time, least)
    return best


def _cycles(plan: Plan, vector_bytes: int, value: Value) -> Number:
    """The estimated time of a plan."""
    n = value(plan.n)
    tail = n % plan.columns
    full = column_cycles(plan, plan.columns, vector_bytes)
    if isinstance(tail, int):
        rest: Number = column_cycles(plan, tail, vector_bytes) if tail and not plan.masked else full
    else:
        narrow = column_cycles(plan, plan.lanes, vector_bytes)
        rest = choose(tail > plan.lanes, full, narrow)
    row = n // plan.columns * full + choose(tail > 0, rest, 0)
    return row * tiles_of(value(plan.m), plan.rows)


def make_parameters(plan: Plan, scratch: Scratch, value: Value = as_number) -> Parameters:
    """The parameters of a plan; `value` gives the numbers that its sizes are."""
    item = ITEM_BYTES[plan.dtype]
    tables = dict(scratch.tables)

    def describe(name: str) -> Number:
        index_map: IndexMap = getattr(plan, name)
        return tables[name] if name in tables else value(index_map.stride) * item

    m, n, k = (value(size) for size in (plan.m, plan.n, plan.k))
    a_packed, b_packed = plan.a_layout != "direct", packs_b(plan, value)
    a_m, a_k, b_k, c_m = (
        value(part.stride) * item for part in (plan.a_m, plan.a_k, plan.b_k, plan.c_m)
    )
    a_row, a_step = a_m, a_k
    if a_packed:
        row, step = (packed_row(plan.dtype), 1) if plan.a_layout == "rows" else (1, plan.rows)
        a_row, a_step = row * item, step * item
    tail = n % plan.columns
    b_step = choose(b_packed, plan.columns * item, b_k)
    shifted = 0 if is_thin(plan) else (plan.columns - tail) * item
    buffer_row = plan.buffer_row * item
    c_tile = plan.rows * buffer_row if plan.buffered else 0
    return Parameters(
        item=item,
        rows=plan.rows,
        last_row=m - plan.rows,
        group_mask=plan.group - 1,
        n=n,
        full_columns=n - tail,
        block_columns=plan.block_columns,
        columns=plan.columns,
        k=k,
        k_stop=choose(k > 0, k, 1),
        panel=plan.panel,
        a_m=0 if a_packed else a_m,
        a_k=0 if a_packed else a_k,
        a_member=plan.rows * item if a_packed else 0,
        a_row=a_row,
        a_step=a_step,
        b_k=choose(b_packed, 0, b_k),
        b_n=choose(b_packed, 0, item),
        b_column=choose(b_packed, 0, item),
        b_deep=choose(b_packed, item, 0),
        b_tail_shift=choose(b_packed, shifted, 0),
        step=b_step,
        mask=_low_bits(plan.columns),
        tail_step=b_step,
        tail_mask=_low_bits(tail),
        c_m=0 if plan.buffered else c_m,
        c_n=0 if plan.buffered else item,
        c_tile=choose(k > plan.panel, c_tile, 0),
        sums_row=buffer_row,
        sums_place=scratch.sums,
        c_row=buffer_row if plan.buffered else c_m,
        a_k_map=describe("a_k"),
        a_m_map=describe("a_m"),
        a_place=scratch.a,
        b_k_map=describe("b_k"),
        b_n_map=describe("b_n"),
        b_place=scratch.b,
        c_m_map=describe("c_m"),
        c_n_map=describe("c_n"),
    )


def _low_bits(count: Number) -> Number:
    if isinstance(count, int) and count >= MASK_BITS:
        return -1
    return (1 << count) - 1


def parameter_array(
    builder: ir.IRBuilder,
    name: str,
    parameters: Sequence[Number],
    stack: ir.IRBuilder | None = None,
) -> ir.Value:
    """An array that holds the parameters, as a pointer to its first slot.

    A constant of the module `name`; where sizes are named a copy that `stack` allocates, in which
    the numbers of the call replace zeros.
    """
    kind = ir.ArrayType(I64, len(parameters))
    array = ir.GlobalVariable(builder.module, kind, name)
    array.linkage = "internal"
    array.global_constant = True
    array.initializer = ir.Constant(kind, [x if isinstance(x, int) else 0 for x in parameters])
    known = array.bitcast(INTEGERS)
    named = [(place, x) for place, x in enumerate(parameters) if not isinstance(x, int)]
    if not named:
        return known
    assert stack is not None, "a named size"
    pointer = stack.bitcast(stack.alloca(kind), INTEGERS)
    copy_bytes(builder, known, pointer, 8 * len(parameters))
    for place, number in named:
        builder.store(number.value, builder.gep(pointer, [integer(place)]))
    return pointer


def slot(builder: ir.IRBuilder, parameters: ir.Value, name: str) -> ir.Value:
    """Pointer to one parameter."""
    return builder.gep(parameters, [integer(Parameters._fields.index(name))])


def read(builder: ir.IRBuilder, parameters: ir.Value, name: str) -> ir.Value:
    """Load one parameter."""
    return builder.load(slot(builder, parameters, name))

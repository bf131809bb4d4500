"""Blocked contraction as one LLVM function: C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n].

Numerics. The k axis is cut into panels of `PANEL_LENGTH[dtype]`. The sum of a panel is one chain of
`llvm.fma` in the order of k that starts from 0; the totals of the panels are added in their order.
So the bits of an element depend on its values and on the size of k alone: not on vector width, tile
shape, strides, or the element's place. There is no fast-math flag, and no padding is ever
multiplied into a result.

Blocking. For a block of columns and a panel of k, B is packed or read in place; for each tile of
rows A is read in place or copied so that its rows do not collide in the cache; the micro-kernel
then runs over the column tiles. A contraction adds little code of its own to a module: a call of
loops that all contractions share, with its numbers in a constant array, and a micro-kernel where
its tile shape is new. Where C is written directly (rows of adjacent elements, no epilogue) it holds
the partial sums of several panels, and a few elements may be written twice with the same bits; else
partial sums lie in the workspace and every element is written once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    INTEGERS,
    VOID,
    advance,
    element_type,
    integer,
    minimum,
    times,
    turning_loop,
)
from irgrad.backends.numba_cpu.llvm.contraction_loops import Context, Operands, Steps, call_loops
from irgrad.backends.numba_cpu.llvm.contraction_pack import (
    ADD,
    FINISH,
    FINISH_ARGUMENTS,
    PACK,
    add_function,
    fill_table,
    pack_function,
    store_function,
)
from irgrad.backends.numba_cpu.llvm.contraction_params import make_parameters, parameter_array
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    PANEL_LENGTH,
    Axis,
    ContractionSpec,
    Plan,
    Scratch,
    make_plan,
    make_scratch,
    table_maps,
    takes_mask,
)
from irgrad.backends.numba_cpu.llvm.contraction_tile import MicroTile, micro_kernel

__all__ = [
    "PANEL_LENGTH",
    "Axis",
    "ContractionSpec",
    "EpilogueTile",
    "contraction_function",
    "workspace_bytes",
]


@dataclass(frozen=True, slots=True)
class EpilogueTile:
    """A finished tile: element (i, j), i < m_count, j < n_count, is tile[i * row_stride + j].

    `m` and `n` are the flattened indices of its first element, `batch` the flattened batch index;
    `a`, `b`, `c` and `extra` are the arguments of the function. `m_divisor` divides every `m_count`
    and `n_divisor` every `n_count`; a count that is the same for all tiles is an ir.Constant. All
    but `row_stride` and the divisors are IR values.
    """

    tile: ir.Value
    row_stride: int
    batch: ir.Value
    m: ir.Value
    n: ir.Value
    m_count: ir.Value
    n_count: ir.Value
    m_divisor: int
    n_divisor: int
    a: ir.Value
    b: ir.Value
    c: ir.Value
    extra: tuple[ir.Value, ...]


Epilogue = Callable[[ir.IRBuilder, EpilogueTile], None]


def workspace_bytes(spec: ContractionSpec, vector_bytes: int) -> int:
    """Bytes of scratch, aligned to 64, that the caller provides, with or without an epilogue."""
    return max(
        make_scratch(make_plan(spec, vector_bytes, epilogue)).total for epilogue in (False, True)
    )


def contraction_function(
    module: ir.Module,
    name: str,
    spec: ContractionSpec,
    vector_bytes: int,
    epilogue: Epilogue | None = None,
    extra_pointers: int = 0,
) -> ir.Function:
    """Emit `internal void name(T* a, T* b, T* c, i8* workspace, i8* extra...)` and return it.

    C and the workspace alias nothing else; C may be uninitialised, and every element of it is
    written. An empty k gives zeros. `vector_bytes` is 64, 32 or 16. With an epilogue nothing is
    stored to C: the callback is called once, with a builder in a function of its own that runs for
    each finished tile, and leaves the builder at the end of an open block.
    """
    assert vector_bytes in (16, 32, 64) and spec.dtype in PANEL_LENGTH
    pointer = element_type(spec.dtype).as_pointer()
    arguments = [pointer, pointer, pointer] + [BYTES] * (1 + extra_pointers)
    function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    for argument in function.args[:4]:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    plan = make_plan(spec, vector_bytes, epilogue is not None)
    if not plan.empty:
        _emit_body(builder, plan, vector_bytes, epilogue)
    builder.ret_void()
    return function


def _emit_body(
    builder: ir.IRBuilder, plan: Plan, vector_bytes: int, epilogue: Epilogue | None
) -> None:
    """Fill the offset tables, then run the shared loops for every batch element and row block."""
    function, item = builder.function, ITEM_BYTES[plan.dtype]
    scratch = make_scratch(plan)
    workspace = function.args[3]
    maps = dict(table_maps(plan))
    for name, place in scratch.tables:
        table = builder.bitcast(advance(builder, workspace, place), INTEGERS)
        fill_table(builder, table, maps[name], item)
    parameters = make_parameters(plan, scratch)
    array = parameter_array(builder.module, f"{function.name}.parameters", parameters)
    frame = ir.Constant(BYTES, None) if epilogue is None else _frame(builder)
    steps = _steps(builder, plan, vector_bytes, epilogue)
    axes = [*plan.batch]
    blocks = -(-plan.row_tiles // plan.row_block)
    if blocks > 1:
        axes.append(Axis(blocks, 0, 0, 0))
    with _nest(builder, axes) as indices:
        batch = integer(0)
        for axis, index in zip(plan.batch, indices):
            batch = builder.add(times(builder, batch, axis.extent), index)
        first, tiles = integer(0), integer(plan.row_tiles)
        if blocks > 1:
            first = times(builder, indices[-1], plan.row_block)
            tiles = minimum(builder, builder.sub(tiles, first), integer(plan.row_block))
        operands = _operands(builder, plan, scratch, indices)
        context = Context(workspace, frame, batch)
        call_loops(builder, array, operands, context, steps, (first, tiles))


@contextmanager
def _nest(builder: ir.IRBuilder, axes: list[Axis]) -> Iterator[list[ir.Value]]:
    """A loop over all indices of some axes; straight code where there are none."""
    if not axes:
        yield []
        return
    with turning_loop(builder, len(axes)) as turns:
        turns.limits = [(integer(axis.extent), integer(1)) for axis in axes]
        yield turns.indices


def _operands(
    builder: ir.IRBuilder, plan: Plan, scratch: Scratch, indices: list[ir.Value]
) -> Operands:
    """The operands at a batch element, in the plan's roles, and where tiles are kept."""
    item = ITEM_BYTES[plan.dtype]
    a, b, c, workspace = (builder.bitcast(value, BYTES) for value in builder.function.args[:4])
    if plan.swapped:
        a, b = b, a
    for axis, index in zip(plan.batch, indices):
        a = advance(builder, a, times(builder, index, axis.a * item))
        b = advance(builder, b, times(builder, index, axis.b * item))
        c = advance(builder, c, times(builder, index, axis.c * item))
    a_panel = a if plan.a_layout == "direct" else advance(builder, workspace, scratch.a)
    b_panel = b if plan.b_layout == "direct" else advance(builder, workspace, scratch.b)
    c_tile = advance(builder, workspace, scratch.buffer) if plan.buffered else c
    return Operands(a, a_panel, b, b_panel, c, c_tile)


def _steps(
    builder: ir.IRBuilder, plan: Plan, vector_bytes: int, epilogue: Epilogue | None
) -> Steps:
    """The functions that the loops call for this plan."""
    module = builder.module
    finish: ir.Value = ir.Constant(FINISH, None)
    if epilogue is not None:
        finish = _epilogue_function(builder, plan, epilogue)
    elif plan.buffered:
        finish = store_function(module, plan)
    several = plan.panels > 1
    return Steps(
        *_kernels(module, plan, vector_bytes),
        _packer(module, plan, plan.a_layout, plan.rows, ("a_k", "a_m")),
        _packer(module, plan, plan.b_layout, plan.columns, ("b_k", "b_n")),
        add_function(module, plan.dtype, plan.lanes) if several else ir.Constant(ADD, None),
        finish,
    )


def _kernels(module: ir.Module, plan: Plan, vector_bytes: int) -> tuple[ir.Function, ir.Function]:
    """The micro-kernels of full column tiles and of the last one."""

    def kernel(columns: int) -> ir.Function:
        masked = takes_mask(columns, plan.lanes, vector_bytes)
        shape = plan.dtype, plan.lanes, plan.rows, columns
        return micro_kernel(module, MicroTile(*shape, masked, plan.k == 0))

    full = kernel(plan.columns)
    return full, full if plan.masked or not plan.tail else kernel(plan.tail)


def _packer(
    module: ir.Module, plan: Plan, layout: str, columns: int, maps: tuple[str, str]
) -> ir.Value:
    """The packing function of one operand, null where it is read in place."""
    if layout == "direct":
        return ir.Constant(PACK, None)
    return pack_function(module, plan, layout, columns, maps)


def _frame(builder: ir.IRBuilder) -> ir.Value:
    """The arguments that an epilogue may use, stored where its function finds them."""
    a, b, c, _, *extra = builder.function.args
    values = [builder.bitcast(value, BYTES) for value in (a, b, c, *extra)]
    frame = builder.alloca(ir.ArrayType(BYTES, len(values)))
    first = builder.bitcast(frame, BYTES.as_pointer())
    for index, value in enumerate(values):
        builder.store(value, advance(builder, first, index))
    return builder.bitcast(frame, BYTES)


def _epilogue_function(caller: ir.IRBuilder, plan: Plan, epilogue: Epilogue) -> ir.Function:
    """The function that the loops call for a finished row tile, with the epilogue's code inside."""
    name = f"{caller.function.name}.epilogue"
    function = ir.Function(caller.module, ir.FunctionType(VOID, FINISH_ARGUMENTS), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _, _, frame, _, tile, batch, m, n, m_count, n_count = function.args
    first = builder.bitcast(frame, BYTES.as_pointer())
    extra = range(3, len(caller.function.args) - 1)
    pointer = element_type(plan.dtype).as_pointer()
    values = [builder.load(advance(builder, first, index)) for index in (0, 1, 2, *extra)]
    a, b, c = (builder.bitcast(value, pointer) for value in values[:3])
    divisors = gcd(plan.m, plan.rows), gcd(plan.n, plan.block_columns)
    if divisors[0] == plan.rows:
        m_count = integer(plan.rows)
    if plan.n - plan.tail <= plan.block_columns:
        n_count, divisors = integer(plan.n), (divisors[0], plan.n)
    place, row_stride = (m, n, m_count, n_count, *divisors), plan.buffer_row
    if plan.swapped:
        place, row_stride = (n, m, n_count, m_count, *divisors[::-1]), 1
    tile = builder.bitcast(tile, pointer)
    epilogue(builder, EpilogueTile(tile, row_stride, batch, *place, a, b, c, tuple(values[3:])))
    builder.ret_void()
    return function

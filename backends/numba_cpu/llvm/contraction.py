"""Blocked matrix contraction as one LLVM function: C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n].

Numerics. The k axis is cut into panels of `PANEL_LENGTH[dtype]`. The sum of a panel is one chain of
`llvm.fma` in the order of k that starts from 0; the totals of the panels are added in their order. So
the bits of an element depend on its values and on the size of k alone: not on vector width, tile shape,
strides, or the element's place. There is no fast-math flag, and no padding is ever multiplied into a
result.

Blocking. For a block of columns and a panel of k, B is packed (or read in place); for each tile of rows
A is read in place or copied so that its rows do not collide in the cache; the micro-kernel then runs
over the column tiles. Partial sums of several panels are kept in C itself where C is written directly
(rows of adjacent elements, no epilogue), else in the workspace.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    INTEGERS,
    VOID,
    advance,
    counted_loop,
    element_type,
    integer,
    times,
)
from irgrad.backends.numba_cpu.llvm.contraction_layout import (
    pack_a_function,
    pack_b_function,
    store_function,
)
from irgrad.backends.numba_cpu.llvm.contraction_loops import (
    FINISH,
    FINISH_ARGUMENTS,
    loops_function,
)
from irgrad.backends.numba_cpu.llvm.contraction_pack import PACK, fill_table
from irgrad.backends.numba_cpu.llvm.contraction_params import make_parameters, parameter_array
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    PANEL_LENGTH,
    Axis,
    ContractionSpec,
    Plan,
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
    `a`, `b`, `c` and `extra` are the arguments of the function. All but `row_stride` are IR values.
    """

    tile: ir.Value
    row_stride: int
    batch: ir.Value
    m: ir.Value
    n: ir.Value
    m_count: ir.Value
    n_count: ir.Value
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

    No pointer aliases another; C may be uninitialised and every element of it is written. An empty k
    gives zeros. `vector_bytes` is 64, 32 or 16. With an epilogue nothing is stored to C: the callback
    is called once, inside code that runs for each finished tile, and leaves the builder in an open
    block.
    """
    assert vector_bytes in (16, 32, 64) and spec.dtype in PANEL_LENGTH
    pointer = element_type(spec.dtype).as_pointer()
    arguments = [pointer, pointer, pointer] + [BYTES] * (1 + extra_pointers)
    function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    for argument in function.args:
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
    """Fill the offset tables, then run the shared loops once per outer batch index."""
    module, function = builder.module, builder.function
    item = ITEM_BYTES[plan.dtype]
    scratch = make_scratch(plan)
    a, b, c = (builder.bitcast(value, BYTES) for value in function.args[:3])
    workspace = function.args[3]
    maps = dict(table_maps(plan))
    for name, place in scratch.tables:
        table = builder.bitcast(advance(builder, workspace, place), INTEGERS)
        fill_table(builder, table, maps[name], item)
    parameters = make_parameters(plan, scratch)
    array = parameter_array(module, f"{function.name}.parameters", parameters)
    frame = ir.Constant(BYTES, None)
    finish = ir.Constant(FINISH, None)
    if epilogue is not None:
        frame = _frame(builder)
        finish = _epilogue_function(builder, plan, epilogue)
    elif plan.buffered:
        finish = store_function(module, plan)
    steps = [
        *_kernels(module, plan, vector_bytes),
        ir.Constant(PACK, None) if plan.a_layout == "direct" else pack_a_function(module, plan),
        ir.Constant(PACK, None) if plan.b_layout == "direct" else pack_b_function(module, plan),
        finish,
    ]
    operands = (b, a, c) if plan.swapped else (a, b, c)

    def nest(level: int, pointers: tuple[ir.Value, ...], batch: ir.Value) -> None:
        if level >= len(plan.batch) - 1:
            if plan.batch:
                batch = times(builder, batch, plan.batch[-1].extent)
            arguments = [array, *pointers, workspace, frame, batch, *steps]
            builder.call(loops_function(module), arguments)
            return
        axis = plan.batch[level]
        with counted_loop(builder, integer(axis.extent)) as index:
            strides = axis.a * item, axis.b * item, axis.c * item
            moved = tuple(
                advance(builder, pointer, times(builder, index, stride))
                for pointer, stride in zip(pointers, strides)
            )
            nest(level + 1, moved, builder.add(times(builder, batch, axis.extent), index))

    nest(0, operands, integer(0))


def _kernels(module: ir.Module, plan: Plan, vector_bytes: int) -> tuple[ir.Function, ir.Function]:
    """The micro-kernels of full column tiles and of the last one."""

    def kernel(columns: int) -> ir.Function:
        masked = takes_mask(columns, plan.lanes, vector_bytes)
        adds = plan.panels > 1
        return micro_kernel(
            module, MicroTile(plan.dtype, plan.lanes, plan.rows, columns, masked, adds)
        )

    full = kernel(plan.columns)
    return full, full if plan.masked or not plan.tail else kernel(plan.tail)


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
    place, row_stride = (m, n, m_count, n_count), plan.buffer_row
    if plan.swapped:
        place, row_stride = (n, m, n_count, m_count), 1
    tile = builder.bitcast(tile, pointer)
    epilogue(
        builder, EpilogueTile(tile, row_stride, batch, *place, a, b, c, tuple(values[3:]))
    )
    builder.ret_void()
    return function

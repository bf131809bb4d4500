"""Blocked contraction as one LLVM function: C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n].

Numerics. The k axis is cut into panels of `PANEL_LENGTH`. The sum of a panel is one chain of
`llvm.fma` in the order of k that starts from 0; the totals of the panels are added in their order.
So the bits of an element depend on its values and on the size of k alone: not on vector width, tile
shape, strides, or the element's place. There is no fast-math flag, and no padding is ever
multiplied into a result.

Blocking. For a block of columns and a panel of k, B is packed or read in place; for each tile of
rows A is read in place or copied so that its rows do not collide in the cache; the micro-kernel
then runs over the column tiles. A contraction adds little code of its own to a module: a call of
loops that all contractions share, with its numbers in a constant array, and a micro-kernel where
its tile shape is new. Of named sizes the same loops read the same numbers, which are then computed
first; where rows or columns are named the code has a few tile shapes and takes the one that the
plan's estimate finds fastest for the sizes of the call. Where C is written directly (rows of
adjacent elements, no epilogue) it holds the partial sums of several panels, and a few elements may
be written twice with the same bits; else partial sums lie in the workspace and every element is
written once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from math import gcd
from operator import mul

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    I1,
    I64,
    INTEGERS,
    VOID,
    advance,
    element_type,
    integer,
    minimum,
    turning_loop,
)
from irgrad.backends.numba_cpu.llvm.contraction_loops import Context, Operands, Steps, call_loops
from irgrad.backends.numba_cpu.llvm.contraction_numbers import (
    Condition,
    Count,
    Number,
    Truth,
    as_value,
    choose,
    select,
    tiles_of,
    times,
)
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
from irgrad.backends.numba_cpu.llvm.contraction_params import (
    best_plan,
    make_parameters,
    packs_b,
    parameter_array,
)
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    Axis,
    ContractionSpec,
    Plan,
    is_thin,
    make_plans,
    make_scratch,
    table_maps,
    takes_mask,
    window_sizes,
)
from irgrad.backends.numba_cpu.llvm.contraction_thin import MAPS, thin_packer
from irgrad.backends.numba_cpu.llvm.contraction_tile import MicroTile, micro_kernel, zero_kernel
from irgrad.backends.numba_cpu.llvm.contraction_window import windowed_packer
from irgrad.backends.numba_cpu.llvm.sizes import Sizes
from irgrad.backends.numba_cpu.llvm.sizes import as_value as as_i64
from irgrad.backends.numba_cpu.llvm.vectors import POINTER
from irgrad.ir.dims import Dim, Size, as_number

__all__ = [
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
    """Bytes of scratch, aligned to 64, that the caller provides, with or without an epilogue.

    A bound for all sizes where some are named.
    """
    return max(
        make_scratch(plan).total
        for epilogue in (False, True)
        for plan in make_plans(spec, vector_bytes, epilogue)
    )


def contraction_function(
    module: ir.Module,
    name: str,
    spec: ContractionSpec,
    vector_bytes: int,
    epilogue: Epilogue | None = None,
    extra_pointers: int = 0,
    dims: Sequence[str] = (),
    divided: bool = False,
) -> ir.Function:
    """Emit `internal void name(T* a, T* b, T* c, i8* workspace, i8* extra...)` and return it.

    Where `dims` names sizes one more pointer follows, to their i64 values, which also is the last
    of the epilogue's `extra`. A divided one also takes `i64 part, i64 parts`: it computes part
    `part` of so many, by row tiles of batch elements, with a workspace of its own.

    C and the workspace alias nothing else; C may be uninitialised, and every element of it is
    written. An empty k gives zeros. `vector_bytes` is 64, 32 or 16. With an epilogue nothing is
    stored to C: the callback is called once, with a builder in a function of its own that runs for
    each finished tile, and leaves the builder at the end of an open block.
    """
    assert vector_bytes in (16, 32, 64) and spec.dtype in ITEM_BYTES
    pointer = element_type(spec.dtype).as_pointer()
    arguments = [pointer, pointer, pointer] + [BYTES] * (1 + extra_pointers + bool(dims))
    arguments += [I64] * (2 * divided)
    function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    for argument in function.args[:4]:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    plans = make_plans(spec, vector_bytes, epilogue is not None)
    if not plans[0].empty:
        with _sizes(builder, dims) as sizes:
            _emit_body(_Code(builder, vector_bytes, sizes, divided), plans, epilogue)
    builder.ret_void()
    return function


@contextmanager
def _sizes(builder: ir.IRBuilder, dims: Sequence[str]) -> Iterator[Sizes | None]:
    """The named sizes, computed in the first block; the builder goes on in the next."""
    if not dims:
        yield None
        return
    first = ir.IRBuilder(builder.block)
    start = builder.append_basic_block("start")
    builder.position_at_end(start)
    yield Sizes(first, first.bitcast(_pointers(builder)[-1], POINTER), dims)
    first.branch(start)


def _pointers(builder: ir.IRBuilder) -> list[ir.Value]:
    """The arguments of the function that are pointers."""
    return [value for value in builder.function.args if value.type != I64]


@dataclass(frozen=True, slots=True)
class _Code:
    """Where a contraction is built, for which vectors, its named sizes, and whether in parts."""

    builder: ir.IRBuilder
    vector_bytes: int
    sizes: Sizes | None
    divided: bool

    def value(self, size: Size) -> Number:
        """The number that a size is."""
        if self.sizes is None or isinstance(size, int):
            return as_number(size)
        return Count(self.builder, as_i64(self.sizes.value(size)))


@dataclass(frozen=True, slots=True)
class _Setup:
    """What the loops of a plan need, all but the operands.

    `flags` say whether roles are swapped, A and B are packed, tiles are buffered; `places` where in
    the workspace panels and tiles then are. `row_block` row tiles of `row_tiles` share a buffer.
    `row_units` can be computed apart; the last of them has all row tiles that are left.
    """

    parameters: ir.Value
    steps: Steps
    flags: tuple[Truth, ...]
    places: tuple[Number, ...]
    row_tiles: Number
    row_block: Number
    row_units: Number

    def values(self) -> list[ir.Value]:
        """All of it as values."""
        steps = [getattr(self.steps, name) for name in Steps.__slots__]
        flags = [I1(x) if isinstance(x, bool) else x.value for x in self.flags]
        numbers = (*self.places, self.row_tiles, self.row_block, self.row_units)
        return [self.parameters, *steps, *flags, *map(as_value, numbers)]

    @staticmethod
    def of(builder: ir.IRBuilder, values: list[ir.Value]) -> "_Setup":
        """The reverse of `values`."""
        parameters, *rest = values
        steps, rest = Steps(*rest[:6]), rest[6:]
        flags = tuple(Condition(builder, value) for value in rest[:4])
        *places, tiles, block, units = (Count(builder, value) for value in rest[4:])
        return _Setup(parameters, steps, flags, tuple(places), tiles, block, units)


def _emit_body(code: _Code, plans: tuple[Plan, ...], epilogue: Epilogue | None) -> None:
    """Prepare what the loops read, then run them for every batch element and row block."""
    builder, plan = code.builder, plans[0]
    workspace = builder.function.args[3]
    with ExitStack() as guards:
        for size in (plan.m, plan.n, *(axis.extent for axis in plan.batch)):
            number = code.value(size)
            if isinstance(number, Count):
                guards.enter_context(builder.if_then((number > 0).value))
        setup = _setup(code, plans, epilogue)
        frame = ir.Constant(BYTES, None) if epilogue is None else _frame(builder)
        if code.divided:
            _emit_part(code, plan, setup, frame)
            return
        axes = [code.value(axis.extent) for axis in plan.batch]
        blocks = tiles_of(setup.row_tiles, setup.row_block)
        if not isinstance(blocks, int) or blocks > 1:
            axes.append(blocks)
        with _nest(builder, axes) as indices:
            batch = Count(builder, integer(0))
            for axis, index in zip(plan.batch, indices):
                batch = batch * code.value(axis.extent) + Count(builder, index)
            first, tiles = integer(0), as_value(setup.row_tiles)
            if len(axes) > len(plan.batch):
                first = times(builder, indices[-1], setup.row_block)
                tiles = minimum(builder, builder.sub(tiles, first), as_value(setup.row_block))
            operands = _operands(code, plan, setup, indices)
            context = Context(workspace, frame, batch.value)
            call_loops(builder, setup.parameters, operands, context, setup.steps, (first, tiles))


def _emit_part(code: _Code, plan: Plan, setup: _Setup, frame: ir.Value) -> None:
    """The same for a range of units, which are those of rows for one batch element after another.

    C in its place has row tiles that overlap, the last two: one unit has both.
    """
    builder = code.builder
    *_, part, parts = builder.function.args
    extents = [code.value(axis.extent) for axis in plan.batch]
    units, total = setup.row_units, reduce(mul, extents, setup.row_units)
    start, stop = (
        builder.udiv(builder.mul(as_value(total), number), parts)
        for number in (part, builder.add(part, integer(1)))
    )
    with builder.if_then(builder.icmp_signed("<", start, stop)), turning_loop(builder, 1) as turns:
        unit = builder.add(start, turns.indices[0])
        batch, first = (f(unit, as_value(units)) for f in (builder.udiv, builder.urem))
        count = minimum(builder, builder.sub(stop, unit), as_value(setup.row_block))
        left = builder.sub(as_value(units), first)
        last = builder.icmp_signed(">=", count, left)
        rest = builder.sub(as_value(setup.row_tiles), first)
        tiles = builder.select(last, rest, count)
        indices: list[ir.Value] = []
        flat = batch
        for extent in reversed(extents):
            indices.insert(0, builder.urem(flat, as_value(extent)))
            flat = builder.udiv(flat, as_value(extent))
        operands = _operands(code, plan, setup, indices)
        context = Context(builder.function.args[3], frame, batch)
        call_loops(builder, setup.parameters, operands, context, setup.steps, (first, tiles))
        turns.limits = [(builder.sub(stop, start), minimum(builder, count, left))]


def _setup(code: _Code, plans: tuple[Plan, ...], epilogue: Epilogue | None) -> _Setup:
    """What the loops need for the sizes of a call: the setup of the plan that fits them best."""
    builder = code.builder
    if len(plans) == 1:
        return _setup_of(code, plans, 0, epilogue)
    assert code.sizes is not None
    best = best_plan(plans, code.vector_bytes, code.value)
    slots: list[ir.Value] = []
    for number in range(len(plans)):
        chosen = builder.icmp_signed("==", as_value(best), integer(number))
        with builder.if_then(chosen):
            values = _setup_of(code, plans, number, epilogue).values()
            slots = slots or [code.sizes.builder.alloca(value.type) for value in values]
            for value, slot in zip(values, slots, strict=True):
                builder.store(value, slot)
    return _Setup.of(builder, [builder.load(slot) for slot in slots])


def _setup_of(
    code: _Code, plans: tuple[Plan, ...], number: int, epilogue: Epilogue | None
) -> _Setup:
    """Fill the offset tables and the parameters of a plan."""
    builder, plan = code.builder, plans[number]
    scratch, workspace, item = make_scratch(plan), builder.function.args[3], ITEM_BYTES[plan.dtype]
    maps = dict(table_maps(plan))
    for name, place in scratch.tables:
        if not maps[name].named:
            table = builder.bitcast(advance(builder, workspace, place), INTEGERS)
            fill_table(builder, table, maps[name], item)
    parameters = (
        *make_parameters(plan, scratch, code.value),
        *(code.value(size) for size in window_sizes(plan)),
    )
    stack = None if code.sizes is None else code.sizes.builder
    name = f"{builder.function.name}.parameters{number or ''}"
    array = parameter_array(builder, name, parameters, stack)
    row_tiles = tiles_of(code.value(plan.m), plan.rows)
    row_block: Number = plan.row_block
    if isinstance(plan.m, Dim) or isinstance(plan.k, Dim):
        several = code.value(plan.k) > plan.panel if plan.buffered else False
        row_block = choose(several, row_block, row_tiles)
    return _Setup(
        array,
        _steps(code, plans, number, epilogue),
        (plan.swapped, plan.a_layout != "direct", packs_b(plan, code.value), plan.buffered),
        (scratch.a, scratch.b, scratch.buffer),
        row_tiles,
        row_block,
        _row_units(code, plan, row_tiles),
    )


def _row_units(code: _Code, plan: Plan, row_tiles: Number) -> Number:
    """Row tiles, but for the last where it overlaps the one before it in C."""
    if plan.buffered:
        return row_tiles
    full = code.value(plan.m) // plan.rows
    return choose(full > 0, full, 1)


@contextmanager
def _nest(builder: ir.IRBuilder, extents: list[Number]) -> Iterator[list[ir.Value]]:
    """A loop over all indices of some axes; straight code where there are none."""
    if not extents:
        yield []
        return
    with turning_loop(builder, len(extents)) as turns:
        turns.limits = [(as_value(extent), integer(1)) for extent in extents]
        yield turns.indices


def _operands(code: _Code, plan: Plan, setup: _Setup, indices: list[ir.Value]) -> Operands:
    """The operands at a batch element, in the plan's roles, and where tiles are kept."""
    builder, item = code.builder, ITEM_BYTES[plan.dtype]
    a, b, c, workspace = (builder.bitcast(value, BYTES) for value in builder.function.args[:4])
    swapped, *packed = setup.flags
    a, b = select(swapped, b, a), select(swapped, a, b)
    other: Truth = swapped if isinstance(swapped, Condition) and not plan.swapped else False
    for axis, index in zip(plan.batch, indices):
        x, y = (code.value(stride) * item for stride in (axis.a, axis.b))
        a = advance(builder, a, times(builder, index, choose(other, y, x)))
        b = advance(builder, b, times(builder, index, choose(other, x, y)))
        c = advance(builder, c, times(builder, index, code.value(axis.c) * item))
    kept = []
    for flag, place, operand in zip(packed, setup.places, (a, b, c), strict=True):
        if flag is False:
            kept.append(operand)
            continue
        scratch = advance(builder, workspace, place if place == 0 else as_value(place))
        kept.append(select(flag, scratch, operand))
    a_panel, b_panel, c_tile = kept
    return Operands(a, a_panel, b, b_panel, c, c_tile)


def _steps(
    code: _Code, plans: tuple[Plan, ...], number: int, epilogue: Epilogue | None
) -> Steps:
    """The functions that the loops call for a plan."""
    builder, plan = code.builder, plans[number]
    module = builder.module
    finish: ir.Value = ir.Constant(FINISH, None)
    if epilogue is not None:
        finish = _epilogue_function(builder, plans, epilogue)
    elif plan.buffered:
        finish = store_function(module, plan)
    kernels = _kernels(code, plan)
    name = f"{builder.function.name}.pack{number}"
    pack_a = _packer(module, name, plan, plan.a_layout, plan.rows, ("a_k", "a_m"))
    pack_b = _packer(module, name, plan, plan.b_layout, plan.columns, ("b_k", "b_n"))
    nothing = ir.Constant(PACK, None)
    pack_b = select(packs_b(plan, code.value), pack_b, nothing)
    if isinstance(plan.k, Dim):
        some = code.value(plan.k) > 0
        zeros = zero_kernel(module, plan.dtype)
        kernels = select(some, kernels[0], zeros), select(some, kernels[1], zeros)
        pack_a, pack_b = select(some, pack_a, nothing), select(some, pack_b, nothing)
    add = add_function(module, plan.dtype, plan.lanes) if plan.several else ir.Constant(ADD, None)
    return Steps(*kernels, pack_a, pack_b, add, finish)


def _kernels(code: _Code, plan: Plan) -> tuple[ir.Value, ir.Value]:
    """The micro-kernels of full column tiles and of the last one."""

    def kernel(columns: int, masked: bool) -> ir.Function:
        shape = plan.dtype, plan.lanes, plan.rows, columns
        masked = masked or takes_mask(columns, plan.lanes, code.vector_bytes)
        empty = isinstance(plan.k, int) and plan.k == 0
        return micro_kernel(code.builder.module, MicroTile(*shape, masked, empty))

    full = kernel(plan.columns, False)
    tail = code.value(plan.n) % plan.columns
    if isinstance(tail, int):
        return full, full if plan.masked or not tail else kernel(tail, False)
    wide = kernel(plan.columns, True)
    if plan.columns == plan.lanes:
        return full, wide
    return full, select(tail > plan.lanes, wide, kernel(plan.lanes, True))


def _packer(
    module: ir.Module, name: str, plan: Plan, layout: str, columns: int, maps: tuple[str, str]
) -> ir.Value:
    """The packing function of one operand, null where it is read in place."""
    if layout == "direct":
        return ir.Constant(PACK, None)
    if maps == MAPS and is_thin(plan):
        packer = thin_packer(module, plan)
    else:
        packer = pack_function(module, plan, layout, columns, maps)
    return windowed_packer(module, f"{name}.{maps[1]}", plan, packer, maps)


def _frame(builder: ir.IRBuilder) -> ir.Value:
    """The arguments that an epilogue may use, stored where its function finds them."""
    a, b, c, _, *extra = _pointers(builder)
    values = [builder.bitcast(value, BYTES) for value in (a, b, c, *extra)]
    frame = builder.alloca(ir.ArrayType(BYTES, len(values)))
    first = builder.bitcast(frame, BYTES.as_pointer())
    for index, value in enumerate(values):
        builder.store(value, advance(builder, first, index))
    return builder.bitcast(frame, BYTES)


def _epilogue_function(
    caller: ir.IRBuilder, plans: tuple[Plan, ...], epilogue: Epilogue
) -> ir.Function:
    """The function that the loops call for a finished row tile, with the epilogue's code inside."""
    name, plan = f"{caller.function.name}.epilogue", plans[0]
    found = caller.module.globals.get(name)
    if found is not None:
        return found
    function = ir.Function(caller.module, ir.FunctionType(VOID, FINISH_ARGUMENTS), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _, _, frame, _, tile, batch, m, n, m_count, n_count = function.args
    first = builder.bitcast(frame, BYTES.as_pointer())
    extra = range(3, len(_pointers(caller)) - 1)
    pointer = element_type(plan.dtype).as_pointer()
    values = [builder.load(advance(builder, first, index)) for index in (0, 1, 2, *extra)]
    a, b, c = (builder.bitcast(value, pointer) for value in values[:3])
    m_divisor = _divisor(plan.m, [x.rows for x in plans])
    n_divisor = _divisor(plan.n, [x.block_columns for x in plans])
    if m_divisor == max(x.rows for x in plans):
        m_count = integer(m_divisor)
    if isinstance(plan.n, int) and all(plan.n - x.tail <= x.block_columns for x in plans):
        n_count, n_divisor = integer(plan.n), plan.n
    place = m, n, m_count, n_count, m_divisor, n_divisor
    row_stride = plan.buffer_row
    if plan.swapped:
        place, row_stride = (n, m, n_count, m_count, n_divisor, m_divisor), 1
    tile = builder.bitcast(tile, pointer)
    epilogue(builder, EpilogueTile(tile, row_stride, batch, *place, a, b, c, tuple(values[3:])))
    builder.ret_void()
    return function


def _divisor(size: Size, steps: list[int]) -> int:
    """What divides a size and some numbers; 1 where the size is named."""
    return reduce(gcd, steps, size) if isinstance(size, int) else 1

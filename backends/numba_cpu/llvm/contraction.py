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

from irgrad.backends.numba_cpu.llvm import contraction_pack as pack
from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    I1,
    I8,
    I64,
    VOID,
    advance,
    counted_loop,
    element_type,
    integer,
    intrinsic,
    minimum,
)
from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    ITEM_BYTES,
    PANEL_LENGTH,
    Axis,
    ContractionSpec,
    Plan,
    make_plan,
    make_scratch,
    packed_row,
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


@dataclass(slots=True)
class _Emission:
    """What the parts of one emission share: the builder, the static plan and the live pointers.

    `a`, `b` and `c` are the operands at the current batch element, in the plan's (swapped) roles.
    """

    builder: ir.IRBuilder
    plan: Plan
    vector_bytes: int
    epilogue: Epilogue | None
    arguments: tuple[ir.Value, ...]
    tables: dict[str, ir.Value]
    packed_a: ir.Value
    packed_b: ir.Value
    buffer: ir.Value
    spare: ir.Value
    batch: ir.Value
    a: ir.Value
    b: ir.Value
    c: ir.Value

    def rows(self, name: str) -> ir.Value:
        """The offsets of an index map as a stride or, where it has one, as a table."""
        if name in self.tables:
            return self.tables[name]
        return integer(getattr(self.plan, name).stride)

    def offset(self, name: str, index: ir.Value) -> ir.Value:
        """The offset of one index of an index map."""
        return pack.row_offset(self.builder, self.rows(name), index)


@dataclass(frozen=True, slots=True)
class _Block:
    """One column block and one panel of k: first column, columns, full tiles; first k, length."""

    n: ir.Value
    n_count: ir.Value
    tiles: ir.Value
    last: ir.Value
    k: ir.Value
    k_count: ir.Value


@dataclass(frozen=True, slots=True)
class _RowTile:
    """Number of a row tile: among all, in its row block, in its group."""

    index: ir.Value
    in_block: ir.Value
    in_group: ir.Value


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
    arguments = [pointer, pointer, pointer] + [I8.as_pointer()] * (1 + extra_pointers)
    function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    for argument in function.args:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    plan = make_plan(spec, vector_bytes, epilogue is not None)
    if not plan.empty:
        _emit_batches(_begin(builder, plan, vector_bytes, epilogue))
    builder.ret_void()
    return function


def _begin(
    builder: ir.IRBuilder, plan: Plan, vector_bytes: int, epilogue: Epilogue | None
) -> _Emission:
    """Carve the workspace and fill the offset tables."""
    a, b, c, workspace = builder.function.args[:4]
    scratch = make_scratch(plan)

    def carve(offset: int, kind: ir.Type) -> ir.Value:
        return builder.bitcast(advance(builder, workspace, offset), kind)

    tables = {name: carve(offset, pack.TABLE) for name, offset in scratch.tables}
    for name, index_map in table_maps(plan):
        pack.fill_table(builder, tables[name], index_map)
    left, right = (b, a) if plan.swapped else (a, b)
    return _Emission(
        builder=builder,
        plan=plan,
        vector_bytes=vector_bytes,
        epilogue=epilogue,
        arguments=tuple(builder.function.args),
        tables=tables,
        packed_a=carve(scratch.a, a.type),
        packed_b=carve(scratch.b, a.type),
        buffer=carve(scratch.buffer, a.type),
        spare=carve(scratch.spare, a.type),
        batch=integer(0),
        a=left,
        b=right,
        c=c,
    )


def _emit_batches(state: _Emission, level: int = 0) -> None:
    """Nested loops over the batch axes around the loops of one matrix product."""
    if level == len(state.plan.batch):
        _emit_column_blocks(state)
        return
    axis = state.plan.batch[level]
    builder = state.builder
    outer = state.batch, state.a, state.b, state.c
    with counted_loop(builder, axis.extent) as index:
        state.batch = builder.add(builder.mul(state.batch, integer(axis.extent)), index)
        state.a = builder.gep(state.a, [builder.mul(index, integer(axis.a))])
        state.b = builder.gep(state.b, [builder.mul(index, integer(axis.b))])
        state.c = builder.gep(state.c, [builder.mul(index, integer(axis.c))])
        _emit_batches(state, level + 1)
    state.batch, state.a, state.b, state.c = outer


def _emit_column_blocks(state: _Emission) -> None:
    """Loops over column blocks, row blocks and panels of k."""
    builder, plan = state.builder, state.plan
    full = plan.n // plan.columns
    blocks = -(-full // plan.block_tiles)
    with counted_loop(builder, blocks) as index:
        first_tile = builder.mul(index, integer(plan.block_tiles))
        n = builder.mul(first_tile, integer(plan.columns))
        tiles = minimum(builder, integer(plan.block_tiles), builder.sub(integer(full), first_tile))
        last = builder.icmp_signed("==", index, integer(blocks - 1))
        n_count = builder.mul(tiles, integer(plan.columns))
        if plan.tail:
            more = builder.select(last, integer(plan.tail), integer(0))
            n_count = builder.add(n_count, more)
        with (
            counted_loop(builder, plan.row_tiles, plan.row_block) as first,
            counted_loop(builder, max(plan.k, 1), plan.panel) as k,
        ):
            k_count = minimum(builder, integer(plan.panel), builder.sub(integer(plan.k), k))
            block = _Block(n, n_count, tiles, last, k, k_count)
            if plan.b_layout != "direct" and plan.k:
                _emit_pack_b(state, block)
            _emit_row_tiles(state, block, first)


def _emit_pack_b(state: _Emission, block: _Block) -> None:
    """Pack the block's panel of B, each column tile a dense (k, columns) matrix."""
    builder, plan = state.builder, state.plan
    if plan.b_layout == "copy":
        start, rows = _window(builder, state.b, state.rows("b_k"), block.k)
        source = builder.gep(start, [block.n]), rows
        shape = block.k_count, block.tiles, plan.columns
        end = integer(plan.n)
        pack.copy_panels(builder, plan.dtype, plan.lanes, source, state.packed_b, shape, end)
    else:
        with counted_loop(builder, block.tiles) as tile:
            start = builder.mul(tile, integer(plan.columns))
            _emit_pack_b_tile(state, block, start, plan.columns)
    if plan.tail:
        with builder.if_then(block.last):
            start = builder.mul(block.tiles, integer(plan.columns))
            _emit_pack_b_tile(state, block, start, plan.tail)


def _emit_pack_b_tile(state: _Emission, block: _Block, start: ir.Value, columns: int) -> None:
    """Pack one column tile."""
    builder, plan = state.builder, state.plan
    target = builder.gep(state.packed_b, [builder.mul(start, block.k_count)])
    column = builder.add(block.n, start)
    k_rows, n_rows = state.rows("b_k"), state.rows("b_n")
    shape = block.k_count, integer(columns)
    if plan.b_layout == "gather":
        tables = builder.gep(k_rows, [block.k]), builder.gep(n_rows, [column])
        pack.gather(builder, plan.dtype, state.b, tables, (target, shape[1]), shape)
    elif plan.b_layout == "copy":
        start, rows = _window(builder, state.b, k_rows, block.k)
        source = builder.gep(start, [column]), rows
        pack.copy_rows(builder, plan.dtype, plan.lanes, source, (target, shape[1]), shape)
    else:
        start, rows = _window(builder, state.b, n_rows, column)
        source = builder.gep(start, [block.k]), rows
        pack.transpose_panel(builder, plan.dtype, state.vector_bytes, source, target, shape)


def _window(
    builder: ir.IRBuilder, start: ir.Value, rows: ir.Value, first: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """An operand's (pointer, rows) from row `first` on."""
    if rows.type == I64:
        return builder.gep(start, [builder.mul(rows, first)]), rows
    return start, builder.gep(rows, [first])


def _emit_row_tiles(state: _Emission, block: _Block, first: ir.Value) -> None:
    """Loops over the row tiles of a row block, packed in groups."""
    builder, plan = state.builder, state.plan
    left = builder.sub(integer(plan.row_tiles), first)
    height: ir.Value | int = plan.row_block
    if plan.row_tiles % plan.row_block:
        height = minimum(builder, left, integer(plan.row_block))
    with counted_loop(builder, height, plan.group) as start:
        leader = builder.add(first, start)
        if plan.a_layout == "columns" and plan.k:
            _emit_pack_a_group(state, block, leader)
        members: ir.Value | int = plan.group
        if plan.row_block % plan.group or plan.row_tiles % plan.row_block:
            rest = builder.sub(integer(height) if isinstance(height, int) else height, start)
            members = minimum(builder, rest, integer(plan.group))
        with counted_loop(builder, members) as member:
            tile = builder.add(start, member)
            row_tile = _RowTile(builder.add(first, tile), tile, member)
            _emit_row_tile(state, block, row_tile)


def _row_start(builder: ir.IRBuilder, plan: Plan, tile: ir.Value) -> ir.Value:
    """First row of a tile; the last tile is moved up so that it is full."""
    start = builder.mul(tile, integer(plan.rows))
    return minimum(builder, start, integer(plan.m - plan.rows))


def _emit_row_tile(state: _Emission, block: _Block, row_tile: _RowTile) -> None:
    """Compute one row tile: pack A, run the micro-kernels, finish the sums."""
    builder, plan = state.builder, state.plan
    m = _row_start(builder, plan, row_tile.index)
    skip = builder.sub(builder.mul(row_tile.index, integer(plan.rows)), m)
    if plan.buffered:
        place = row_tile.in_block if plan.panels > 1 else integer(0)
        place = builder.mul(place, integer(plan.rows * plan.buffer_row))
        c, c_row = builder.gep(state.buffer, [place]), integer(plan.buffer_row)
    else:
        c = builder.gep(state.c, [builder.add(state.offset("c_m", m), block.n)])
        c_row = integer(plan.c_m.stride)
    if plan.k:
        a = _emit_a_panel(state, block, m, row_tile)
        overlap = integer(0) if plan.buffered else skip
        _emit_tiles(state, block, a, (c, c_row), overlap)
    else:
        _emit_zeros(builder, c, plan.rows * plan.buffer_row * ITEM_BYTES[plan.dtype])
    if plan.buffered:
        done = builder.icmp_signed(">=", block.k, integer((plan.panels - 1) * plan.panel))
        with builder.if_then(done):
            tile = builder.gep(c, [builder.mul(skip, integer(plan.buffer_row))])
            rows = builder.add(m, skip), builder.sub(integer(plan.rows), skip)
            _emit_finish(state, block, tile, rows)


def _emit_zeros(builder: ir.IRBuilder, pointer: ir.Value, size: int) -> None:
    """Fill a tile of an empty sum; all-zero bytes are 0.0."""
    target = builder.bitcast(pointer, I8.as_pointer())
    arguments = [I8.as_pointer(), I8, I64, I1]
    function = intrinsic(builder.module, "llvm.memset.p0.i64", VOID, arguments)
    builder.call(function, [target, ir.Constant(I8, 0), integer(size), ir.Constant(I1, 0)])


def _emit_pack_a_group(state: _Emission, block: _Block, leader: ir.Value) -> None:
    """Pack the row tiles of a group, each a dense (k, rows) matrix."""
    builder, plan = state.builder, state.plan
    m = _row_start(builder, plan, leader)
    last = builder.sub(integer(plan.m - plan.rows), m)
    tiles = minimum(builder, builder.sub(integer(plan.row_tiles), leader), integer(plan.group))
    start, rows = _window(builder, state.a, state.rows("a_k"), block.k)
    source = builder.gep(start, [m]), rows
    shape = block.k_count, tiles, plan.rows
    pack.copy_panels(builder, plan.dtype, plan.lanes, source, state.packed_a, shape, last)


def _emit_a_panel(
    state: _Emission, block: _Block, m: ir.Value, row_tile: _RowTile
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The row tile's panel of A as (pointer, row stride, k stride), packed where the plan says so."""
    builder, plan = state.builder, state.plan
    if plan.a_layout == "direct":
        offset = builder.add(state.offset("a_m", m), state.offset("a_k", block.k))
        panel = builder.gep(state.a, [offset])
        return panel, integer(plan.a_m.stride), integer(plan.a_k.stride)
    if plan.a_layout == "columns":
        size = builder.mul(block.k_count, integer(plan.rows))
        panel = builder.gep(state.packed_a, [builder.mul(row_tile.in_group, size)])
        return panel, integer(1), integer(plan.rows)
    m_rows, k_rows = state.rows("a_m"), state.rows("a_k")
    target = state.packed_a, integer(packed_row(plan.dtype))
    shape = integer(plan.rows), block.k_count
    if plan.a_k.is_unit():
        start, rows = _window(builder, state.a, m_rows, m)
        source = builder.gep(start, [block.k]), rows
        pack.copy_rows(builder, plan.dtype, plan.lanes, source, target, shape)
    else:
        tables = builder.gep(m_rows, [m]), builder.gep(k_rows, [block.k])
        pack.gather(builder, plan.dtype, state.a, tables, target, shape)
    return *target, integer(1)


def _emit_tiles(
    state: _Emission,
    block: _Block,
    a: tuple[ir.Value, ir.Value, ir.Value],
    c: tuple[ir.Value, ir.Value],
    skip: ir.Value,
) -> None:
    """Run the micro-kernel over the column tiles of one row tile."""
    builder, plan = state.builder, state.plan
    with counted_loop(builder, block.tiles) as tile:
        start = builder.mul(tile, integer(plan.columns))
        _emit_tile(state, block, a, c, skip, start, plan.columns)
    if plan.tail:
        with builder.if_then(block.last):
            start = builder.mul(block.tiles, integer(plan.columns))
            _emit_tile(state, block, a, c, skip, start, plan.tail)


def _emit_tile(
    state: _Emission,
    block: _Block,
    a: tuple[ir.Value, ir.Value, ir.Value],
    c: tuple[ir.Value, ir.Value],
    skip: ir.Value,
    start: ir.Value,
    columns: int,
) -> None:
    """Call the micro-kernel for one column tile."""
    builder, plan = state.builder, state.plan
    if plan.b_layout == "direct":
        column = builder.add(block.n, start)
        b = builder.gep(state.b, [builder.add(state.offset("b_k", block.k), column)])
        b_step = plan.b_k.stride
    else:
        b = builder.gep(state.packed_b, [builder.mul(start, block.k_count)])
        b_step = columns
    width = plan.columns if plan.masked else columns
    masked = takes_mask(width, plan.lanes, state.vector_bytes)
    tile = MicroTile(plan.dtype, plan.lanes, plan.rows, width, masked, plan.panels > 1)
    arguments = [*a, b, integer(b_step), builder.gep(c[0], [start]), c[1], block.k_count]
    if masked:
        arguments.append(integer((1 << columns) - 1))
    if plan.panels > 1:
        again = builder.icmp_signed(">", block.k, integer(0))
        arguments += [again, skip, state.spare]
    builder.call(micro_kernel(builder.module, tile), arguments)


def _emit_finish(
    state: _Emission, block: _Block, tile: ir.Value, rows: tuple[ir.Value, ir.Value]
) -> None:
    """Hand a finished tile to the epilogue, or store it to C."""
    builder, plan = state.builder, state.plan
    m, m_count = rows
    shape = m_count, block.n_count
    if state.epilogue is not None:
        a, b, c, _, *extra = state.arguments
        place = (m, block.n, m_count, block.n_count)
        row_stride = plan.buffer_row
        if plan.swapped:
            place, row_stride = (block.n, m, block.n_count, m_count), 1
        state.epilogue(
            builder,
            EpilogueTile(tile, row_stride, state.batch, *place, a, b, c, tuple(extra)),
        )
        return
    source = tile, integer(plan.buffer_row)
    m_rows, n_rows = state.rows("c_m"), state.rows("c_n")
    if plan.c_n.is_unit():
        start, to_rows = _window(builder, state.c, m_rows, m)
        target = builder.gep(start, [block.n]), to_rows
        pack.copy_rows(builder, plan.dtype, plan.lanes, source, target, shape)
        return
    tables = builder.gep(m_rows, [m]), builder.gep(n_rows, [block.n])
    pack.scatter(builder, plan.dtype, source, state.c, tables, shape)

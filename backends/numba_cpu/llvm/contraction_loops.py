"""The loops around the micro-kernel: two functions of the module for all contractions in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    I64,
    INTEGERS,
    VOID,
    advance,
    integer,
    internal_function,
    minimum,
    turning_loop,
)
from irgrad.backends.numba_cpu.llvm.contraction_pack import ADD, FINISH, PACK
from irgrad.backends.numba_cpu.llvm.contraction_params import read, slot
from irgrad.backends.numba_cpu.llvm.contraction_tile import KERNEL_ARGUMENTS

KERNEL = ir.FunctionType(VOID, KERNEL_ARGUMENTS).as_pointer()
_ROW_FIELDS = (
    "rows",
    "last_row",
    "group_mask",
    "columns",
    "item",
    "a_m",
    "c_m",
    "c_tile",
    "b_tail_shift",
)


@dataclass(frozen=True, slots=True)
class Operands:
    """Arguments of the loops that depend on the batch element.

    `a`, `b` and `c` are the operands; `a_panel` and `b_panel` are where the micro-kernel reads from
    (the operand or its packed panels), `c_tile` where tiles are written to (C or the buffer).
    """

    a: ir.Value
    a_panel: ir.Value
    b: ir.Value
    b_panel: ir.Value
    c: ir.Value
    c_tile: ir.Value


@dataclass(frozen=True, slots=True)
class Steps:
    """Functions that the loops call; all but the kernels may be null.

    `tail` is the kernel of the last column tile where that is narrower. `add` adds the sums of a
    later panel to a row tile, `finish` is called for every finished row tile of a column block.
    """

    kernel: ir.Value
    tail: ir.Value
    pack_a: ir.Value
    pack_b: ir.Value
    add: ir.Value
    finish: ir.Value


@dataclass(frozen=True, slots=True)
class Context:
    """What the loops hand on: workspace, the epilogue's frame, the flattened batch index."""

    workspace: ir.Value
    frame: ir.Value
    batch: ir.Value


@dataclass(frozen=True, slots=True)
class _Block:
    """A column block and a panel of k; whether earlier panels exist, whether `finish` is due."""

    n: ir.Value
    n_count: ir.Value
    k: ir.Value
    k_count: ir.Value
    later: ir.Value
    finishes: ir.Value


@dataclass(frozen=True, slots=True)
class _Loops:
    """The builder and the arguments of the loops."""

    builder: ir.IRBuilder
    parameters: ir.Value
    operands: Operands
    context: Context
    steps: Steps
    first: ir.Value
    tiles: ir.Value

    def __getitem__(self, name: str) -> ir.Value:
        return read(self.builder, self.parameters, name)

    def place(self, pointer: ir.Value, *terms: tuple[ir.Value, str]) -> ir.Value:
        """`pointer` plus the sum of index * parameter."""
        for index, name in terms:
            pointer = advance(self.builder, pointer, self.builder.mul(index, self[name]))
        return pointer

    def exists(self, function: ir.Value) -> ir.Value:
        """Whether a step is not null."""
        return self.builder.icmp_unsigned("!=", function, ir.Constant(function.type, None))


def call_loops(
    builder: ir.IRBuilder,
    parameters: ir.Value,
    operands: Operands,
    context: Context,
    steps: Steps,
    rows: tuple[ir.Value, ir.Value],
) -> None:
    """Compute `rows` = (first row tile, number of row tiles) of one matrix product."""
    _call(builder, "contraction_loops", (parameters, operands, context, steps, *rows), _emit_blocks)


def _call(
    builder: ir.IRBuilder,
    name: str,
    state: tuple[ir.Value, Operands, Context, Steps, ir.Value, ir.Value],
    emit: Callable[[_Loops, list[ir.Value]], None],
    more: Sequence[ir.Value] = (),
) -> None:
    """Call a shared function on the state of the loops and `more` values."""
    parameters, operands, context, steps, first, tiles = state
    groups = operands, context, steps
    values = [getattr(group, field) for group in groups for field in group.__slots__]
    types = [INTEGERS, *[BYTES] * 8, I64, KERNEL, KERNEL, PACK, PACK, ADD, FINISH, I64, I64]

    def inside(inner: ir.IRBuilder, values: list[ir.Value]) -> None:
        parts = Operands(*values[1:7]), Context(*values[7:10]), Steps(*values[10:16])
        emit(_Loops(inner, values[0], *parts, *values[16:18]), values[18:])

    types += [value.type for value in more]
    function = internal_function(builder.module, name, types, inside, noalias=False)
    builder.call(function, [parameters, *values, first, tiles, *more])


def _emit_blocks(loops: _Loops, _: list[ir.Value]) -> None:
    """Column blocks and panels of k; packs B."""
    builder = loops.builder
    operands, steps, context = loops.operands, loops.steps, loops.context
    with turning_loop(builder, 2) as turns:
        n, k = turns.indices
        left = builder.sub(loops["full_columns"], n)
        full = minimum(builder, left, loops["block_columns"])
        last = builder.icmp_signed("==", full, left)
        n_count = builder.select(last, builder.sub(loops["n"], n), full)
        k_count = minimum(builder, builder.sub(loops["k"], k), loops["panel"])
        with builder.if_then(loops.exists(steps.pack_b)):
            layout = slot(builder, loops.parameters, "b_k_map")
            final = builder.sub(n_count, loops["columns"])
            arguments = [layout, context.workspace, operands.b, n, n_count, final, k, k_count]
            builder.call(steps.pack_b, arguments)
        state = loops.parameters, operands, context, steps, loops.first, loops.tiles
        _call(builder, "contraction_rows", state, _emit_rows, (n, n_count, k, k_count))
        turns.limits = [
            (loops["full_columns"], loops["block_columns"]),
            (loops["k_stop"], loops["panel"]),
        ]


def _emit_rows(loops: _Loops, more: list[ir.Value]) -> None:
    """Row tiles and column tiles of one block and panel.

    The last row tile of all is moved up so that it is full, and overlaps its neighbour. Sums of a
    later panel go to scratch memory first, and from there, without the rows that the neighbour
    has done, to their place.
    """
    builder = loops.builder
    n, n_count, k, k_count = more
    later = builder.icmp_signed(">", k, integer(0))
    finished = builder.icmp_signed(">=", builder.add(k, k_count), loops["k"])
    finishes = builder.and_(finished, loops.exists(loops.steps.finish))
    block = _Block(n, n_count, k, k_count, later, finishes)
    a_base = loops.place(loops.operands.a_panel, (k, "a_k"))
    b_base = loops.place(loops.operands.b_panel, (n, "b_n"), (k, "b_k"))
    c_base = loops.place(loops.operands.c_tile, (n, "c_n"))
    sums = advance(builder, loops.context.workspace, loops["sums_place"])
    target_row = builder.select(later, loops["sums_row"], loops["c_row"])
    a_deep = builder.mul(k_count, loops["a_member"])
    b_deep = builder.add(loops["b_column"], builder.mul(k_count, loops["b_deep"]))
    shapes = [slot(builder, loops.parameters, name) for name in ("step", "tail_step")]
    row_ends = builder.or_(later, finishes)
    fixed = {name: loops[name] for name in _ROW_FIELDS}
    with turning_loop(builder, 2) as turns:
        tile, start = turns.indices
        wanted = builder.mul(builder.add(loops.first, tile), fixed["rows"])
        m = minimum(builder, wanted, fixed["last_row"])
        member = builder.and_(tile, fixed["group_mask"])
        _pack_a(loops, block, tile, builder.or_(start, member), m)
        a = advance(builder, a_base, builder.mul(m, fixed["a_m"]), builder.mul(member, a_deep))
        c = advance(builder, c_base, builder.mul(m, fixed["c_m"]))
        c = advance(builder, c, builder.mul(tile, fixed["c_tile"]))
        after = builder.add(start, fixed["columns"])
        fits = builder.icmp_signed("<=", after, n_count)
        shift = builder.select(fits, integer(0), fixed["b_tail_shift"])
        b = advance(builder, b_base, builder.mul(start, b_deep), shift)
        target = advance(builder, builder.select(later, sums, c), builder.mul(start, fixed["item"]))
        kernel = builder.select(fits, loops.steps.kernel, loops.steps.tail)
        shape = builder.select(fits, *shapes)
        builder.call(kernel, [loops.parameters, a, b, target, target_row, k_count, shape])
        ends = builder.icmp_signed(">=", after, n_count)
        with builder.if_then(builder.and_(ends, row_ends)):
            _end_row(loops, block, (c, sums), (m, builder.sub(wanted, m)))
        turns.limits = [(loops.tiles, integer(1)), (n_count, fixed["columns"])]


def _pack_a(loops: _Loops, block: _Block, tile: ir.Value, position: ir.Value, m: ir.Value) -> None:
    """Pack a group of row tiles where `position`, in the row and in the group, is 0."""
    builder, steps = loops.builder, loops.steps
    leads = builder.icmp_signed("==", position, integer(0))
    with builder.if_then(builder.and_(leads, loops.exists(steps.pack_a))):
        layout = slot(builder, loops.parameters, "a_k_map")
        last = builder.sub(loops["last_row"], m)
        group = builder.add(loops["group_mask"], integer(1))
        tiles = minimum(builder, builder.sub(loops.tiles, tile), group)
        total = builder.mul(tiles, loops["rows"])
        arguments = [layout, loops.context.workspace, loops.operands.a, m, total, last]
        builder.call(steps.pack_a, [*arguments, block.k, block.k_count])


def _end_row(
    loops: _Loops,
    block: _Block,
    pointers: tuple[ir.Value, ir.Value],
    place: tuple[ir.Value, ir.Value],
) -> None:
    """Add the sums of a row tile to those of earlier panels; finish it after the last panel."""
    builder, steps, context = loops.builder, loops.steps, loops.context
    c, sums = pointers
    m, skip = place
    rows = builder.sub(loops["rows"], skip)
    c_row, sums_row = loops["c_row"], loops["sums_row"]
    tile = advance(builder, c, builder.mul(skip, c_row))
    with builder.if_then(block.later):
        sums = advance(builder, sums, builder.mul(skip, sums_row))
        builder.call(steps.add, [tile, c_row, sums, sums_row, rows, block.n_count])
    with builder.if_then(block.finishes):
        arguments = [loops.parameters, context.workspace, context.frame, loops.operands.c, tile]
        arguments += [context.batch, builder.add(m, skip), block.n, rows, block.n_count]
        builder.call(steps.finish, arguments)

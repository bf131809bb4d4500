"""The loops around the micro-kernel, one function of the module for all contractions in it."""

from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import (
    BYTES,
    I64,
    INTEGERS,
    VOID,
    advance,
    counted_loop,
    integer,
    internal_function,
    minimum,
)
from irgrad.backends.numba_cpu.llvm.contraction_pack import PACK
from irgrad.backends.numba_cpu.llvm.contraction_params import Parameters, read, slot
from irgrad.backends.numba_cpu.llvm.contraction_tile import KERNEL_ARGUMENTS

FINISH_ARGUMENTS = [INTEGERS, BYTES, BYTES, BYTES, BYTES, *[I64] * 5]
KERNEL = ir.FunctionType(VOID, KERNEL_ARGUMENTS).as_pointer()
FINISH = ir.FunctionType(VOID, FINISH_ARGUMENTS).as_pointer()


@dataclass(slots=True)
class _Loops:
    """Arguments and parameters of the loops, and the indices of the current turn."""

    builder: ir.IRBuilder
    parameters: ir.Value
    workspace: ir.Value
    frame: ir.Value
    kernels: tuple[ir.Value, ir.Value]
    packers: tuple[ir.Value, ir.Value]
    finish: ir.Value
    values: dict[str, ir.Value]

    def __getitem__(self, name: str) -> ir.Value:
        return self.values[name]

    def place(self, pointer: ir.Value, *terms: tuple[ir.Value, str]) -> ir.Value:
        """`pointer` plus the sum of index * parameter."""
        for index, name in terms:
            pointer = advance(self.builder, pointer, self.builder.mul(index, self[name]))
        return pointer

    def chosen(self, flag: str, place: str, otherwise: ir.Value) -> ir.Value:
        """A place in the workspace where the flag is set, else another pointer."""
        builder = self.builder
        set_ = builder.icmp_signed("!=", self[flag], integer(0))
        return builder.select(set_, advance(builder, self.workspace, self[place]), otherwise)


def loops_function(module: ir.Module) -> ir.Function:
    """`(parameters, a, b, c, workspace, frame, batch, kernel, tail, pack_a, pack_b, finish)`.

    Loops over the innermost batch axis, column blocks, row blocks, panels of k, row tiles and column
    tiles. `batch` is the flattened index of the first batch element, `frame` is passed on to `finish`,
    which is called for every finished row tile of a column block. `tail` is the micro-kernel of the
    last column tile where that is narrower. `pack_a`, `pack_b` and `finish` may be null.
    """
    arguments = [INTEGERS, *[BYTES] * 5, I64, KERNEL, KERNEL, PACK, PACK, FINISH]

    def emit(builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        parameters, a, b, c, workspace, frame, batch = values[:7]
        fields = {name: read(builder, parameters, name) for name in _USED}
        kernels, packers = (values[7], values[8]), (values[9], values[10])
        loops = _Loops(builder, parameters, workspace, frame, kernels, packers, values[11], fields)
        with counted_loop(builder, loops["batches"]) as index:
            _matrix(
                loops,
                loops.place(a, (index, "a_batch")),
                loops.place(b, (index, "b_batch")),
                loops.place(c, (index, "c_batch")),
                builder.add(batch, index),
            )

    return internal_function(module, "contraction_loops", arguments, emit)


_KERNEL_ONLY = {"a_row", "a_step", "step", "mask", "tail_step", "tail_mask", "c_row"}
_USED = [name for name in Parameters._fields if name not in _KERNEL_ONLY and "_map" not in name]


def _matrix(loops: _Loops, a: ir.Value, b: ir.Value, c: ir.Value, batch: ir.Value) -> None:
    """One matrix product: column blocks, row blocks, panels of k."""
    builder = loops.builder
    with counted_loop(builder, loops["full_columns"], loops["block_columns"]) as n:
        left = builder.sub(loops["full_columns"], n)
        full = minimum(builder, left, loops["block_columns"])
        last = builder.icmp_signed("==", full, left)
        n_count = builder.select(last, builder.sub(loops["n"], n), full)
        with (
            counted_loop(builder, loops["row_tiles"], loops["row_block"]) as first,
            counted_loop(builder, loops["k_stop"], loops["panel"]) as k,
        ):
            rest = builder.sub(loops["k"], k)
            k_count = minimum(builder, rest, loops["panel"])
            done = builder.icmp_signed("==", rest, k_count)
            with builder.if_then(_is_set(builder, loops["b_packed"])):
                arguments = [loops.parameters, loops.workspace, b, n, n_count, k, k_count]
                builder.call(loops.packers[1], arguments)
            loops.values |= {"n": n, "n_count": n_count, "first": first, "batch": batch}
            loops.values |= {"k": k, "k_count": k_count, "done": done}
            _row_tiles(loops, a, b, c)


def _is_set(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    return builder.icmp_signed("!=", value, integer(0))


def _row_tiles(loops: _Loops, a: ir.Value, b: ir.Value, c: ir.Value) -> None:
    """The row tiles of a row block; the last one of all is moved up so that it is full."""
    builder = loops.builder
    left = builder.sub(loops["row_tiles"], loops["first"])
    terms = (loops["k"], "b_k"), (loops["n"], "b_n")
    b_panel = loops.place(loops.chosen("b_packed", "b_place", b), *terms)
    with counted_loop(builder, minimum(builder, left, loops["row_block"])) as tile:
        index = builder.add(loops["first"], tile)
        wanted = builder.mul(index, loops["rows"])
        m = minimum(builder, wanted, loops["last_row"])
        skip = builder.sub(wanted, m)
        member = builder.and_(tile, loops["group_mask"])
        leads = builder.icmp_signed("==", member, integer(0))
        with builder.if_then(builder.and_(leads, _is_set(builder, loops["a_packed"]))):
            arguments = [loops.parameters, loops.workspace, a, index, m, loops["k"]]
            builder.call(loops.packers[0], [*arguments, loops["k_count"]])
        a_panel = loops.chosen("a_packed", "a_place", a)
        a_panel = loops.place(a_panel, (m, "a_m"), (loops["k"], "a_k"))
        deep = builder.mul(member, loops["k_count"])
        a_panel = loops.place(a_panel, (deep, "a_member"))
        c_tile = loops.chosen("c_buffered", "c_place", c)
        terms = (m, "c_m"), (loops["n"], "c_n"), (tile, "c_tile")
        c_tile = loops.place(c_tile, *terms)
        buffered = _is_set(builder, loops["c_buffered"])
        _column_tiles(loops, (a_panel, b_panel, c_tile), builder.select(buffered, integer(0), skip))
        with builder.if_then(builder.and_(loops["done"], buffered)):
            row = builder.mul(skip, read(builder, loops.parameters, "c_row"))
            finished = advance(builder, c_tile, row)
            rows = builder.add(m, skip), builder.sub(loops["rows"], skip)
            arguments = [loops.parameters, loops.workspace, loops.frame, c, finished]
            arguments += [loops["batch"], rows[0], loops["n"], rows[1], loops["n_count"]]
            builder.call(loops.finish, arguments)


def _column_tiles(
    loops: _Loops, panels: tuple[ir.Value, ir.Value, ir.Value], skip: ir.Value
) -> None:
    """The micro-kernel over the column tiles of one row tile, the narrower last one included."""
    builder = loops.builder
    a, b, c = panels
    later = builder.icmp_signed(">", loops["k"], integer(0))
    again = builder.select(later, skip, integer(-1))
    spare = advance(builder, loops.workspace, loops["spare_place"])
    deep = builder.mul(loops["k_count"], loops["b_deep"])
    b_column = builder.add(loops["b_column"], deep)
    full_shape = slot(builder, loops.parameters, "step")
    tail_shape = slot(builder, loops.parameters, "tail_step")
    with counted_loop(builder, loops["n_count"], loops["columns"]) as start:
        left = builder.sub(loops["n_count"], start)
        fits = builder.icmp_signed(">=", left, loops["columns"])
        kernel = builder.select(fits, *loops.kernels)
        shape = builder.select(fits, full_shape, tail_shape)
        b_tile = advance(builder, b, builder.mul(start, b_column))
        c_tile = advance(builder, c, builder.mul(start, loops["item"]))
        arguments = [loops.parameters, a, b_tile, c_tile, loops["k_count"], shape, again, spare]
        builder.call(kernel, arguments)

"""Whole derivatives: jacobian and hessian.

Both push a basis through the linear part of a function in one batch: the function itself is
computed once, and the graph does not grow with the number of directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from .autodiff import jvp_graph, split_graph, transpose_graph, vjp_graph
from .autodiff.batch import batch_in_place
from .differentiation import (
    ActivePart,
    active_parts,
    call_graph,
    grad,
    like_function,
    read_argnums,
)
from .errors import ArgumentError, DifferentiationError, TraceError, brief
from .ir.dims import Size, lower_bound
from .ir.graph import Graph, Value
from .ir.types import I64, DType, TensorType
from .jitted import Jitted, Plan
from .ops.batching import with_batch
from .ops.build import Builder, Expr
from .ops.movement import iota, reshape, slice_axes, transpose
from .ops.record import Batched
from .ops.registry import builder
from .ops.structured import has_tangent
from .subgraph import TracedFunction, at_call, fail, trace_function
from .tracing.locations import ends_at_call, user_locations
from .tracing.trace import find_trace, require_function
from .tracing.trees import unflatten_object

Function = Callable[..., Any]
Name = Literal["jacobian", "hessian"]
Mode = Literal["forward", "reverse"]
Types = Sequence[TensorType]


@ends_at_call
def jacobian(
    f: Function,
    argnums: int | Sequence[int] = 0,
    mode: Mode | None = None,
    chunk: int | None = None,
) -> Function:
    """All partial derivatives of a function, as a function of the same arguments.

    f: returns a tree of float arrays. argnums: the positions of the arguments to differentiate by,
    whose leaves must be float. The result has the tree of the output of f, in the place of each of
    its leaves the tree of the argument (a tuple of trees for several), whose leaves have the shape
    of the output's leaf followed by that of the argument's, and the dtype of the output's.

    mode: "forward" pushes a direction for each element of the arguments, "reverse" pulls one back
    for each element of the output. None takes the one with fewer, forward where they are as many;
    of sizes that are names, forward unless the output is proved to be smaller.
    chunk: how many directions are held in memory at once, all by default. A chunk is one call of
    code that is compiled once for all chunks; what does not depend on the direction is computed
    before. As this is a loop, it works on arrays alone.

    The returned function raises DifferentiationError for an argument or an output that is not
    float, and where an op on the way has no derivative; TraceError for a chunk inside of a trace.
    """
    if mode not in ("forward", "reverse", None):
        raise ArgumentError(
            f"jacobian: expected mode 'forward', 'reverse' or None, got {brief(mode)}"
        )
    return _derivative("jacobian", f, argnums, mode, chunk)


@ends_at_call
def hessian(
    f: Function, argnums: int | Sequence[int] = 0, chunk: int | None = None
) -> Function:
    """All second derivatives of a scalar function, as a function of the same arguments.

    The gradient is differentiated again by forward mode: in the place of each leaf of the argument
    stands its tree (a tuple of tuples of trees for several argnums), whose leaves have the shapes
    of both leaves: those of the second differentiation, then those of the gradient. The order only
    shows where a function has derivatives of its own that contradict one another. argnums and chunk
    are those of `jacobian`; f is as for `grad`.
    """
    require_function("hessian", f)
    read_argnums("hessian", argnums)
    return _derivative("hessian", grad(f, argnums), argnums, "forward", chunk)


def _derivative(
    name: Name, f: Function, argnums: int | Sequence[int], mode: Mode | None, chunk: int | None
) -> Function:
    require_function(name, f)
    numbers = read_argnums(name, argnums)
    single = isinstance(argnums, int)
    if chunk is not None and (not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1):
        raise ArgumentError(f"{name}: expected chunk as an integer >= 1, got {brief(chunk)}")

    def plan(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Plan:
        parts = active_parts(name, numbers, args)
        return _make_plan(name, trace_function(f, args, kwargs), parts, mode)

    @like_function(f)
    def whole(*args: Any, **kwargs: Any) -> Any:
        made = plan(args, kwargs)
        graph = at_call(_whole_graph, made)
        return made.tree(call_graph(graph, made.traced.arguments), single)

    if chunk is None:
        return Jitted(Plan(whole))

    @ends_at_call
    @like_function(f)
    def in_chunks(*args: Any, **kwargs: Any) -> Any:
        made = plan(args, kwargs)
        if find_trace(made.traced.arguments) is not None:
            fail(TraceError(
                f"{name}: expected chunk=None inside of a trace, got {chunk}; chunks are a loop "
                "over compiled calls, call it on arrays"
            ))
        return made.tree(_run_chunks(made, chunk), single)

    return in_chunks


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to differentiate, and how.

    parts: the arguments to differentiate by. forward: the mode. leading: whether directions come
    before what they become, in the axes of a block and in the order of the blocks; that is so for
    the rows of a reverse jacobian, and for a hessian, which is symmetric. columns: the types of the
    active leaves. rows: those of the outputs.
    """

    traced: TracedFunction
    parts: list[ActivePart]
    forward: bool
    leading: bool
    columns: Types
    rows: Types

    @property
    def active(self) -> list[int]:
        """The positions of the active leaves."""
        return [position for part in self.parts for position in part.positions]

    @property
    def basis(self) -> Types:
        """The types of the values whose elements are the directions."""
        return self.columns if self.forward else self.rows

    @property
    def other(self) -> Types:
        """The types of what the directions become."""
        return self.rows if self.forward else self.columns

    def tree(self, blocks: Sequence[Any], single: bool) -> Any:
        """The blocks, by output and then by active leaf, as the user's trees."""
        rest = iter(blocks)
        rows = []
        for _ in self.rows:
            trees = tuple(
                unflatten_object(part.tree, [next(rest) for _ in part.positions])
                for part in self.parts
            )
            rows.append(trees[0] if single else trees)
        return unflatten_object(self.traced.outputs, rows)


def _make_plan(
    name: Name, traced: TracedFunction, parts: list[ActivePart], mode: Mode | None
) -> _Plan:
    rows = traced.output_types
    for type_, path in zip(rows, traced.outputs.paths()):
        if not has_tangent(type_):
            entries = "".join(f"[{entry!r}]" for entry in path)
            fail(DifferentiationError(
                f"{name}: expected outputs of float type, got {type_} as the result{entries}"
            ))
    columns = [traced.types[position] for part in parts for position in part.positions]
    fewer_rows = lower_bound(_total(columns) - _total(rows) - 1)
    forward = mode == "forward" or (mode is None and (fewer_rows is None or fewer_rows < 0))
    leading = name == "hessian" or not forward
    return _Plan(traced, parts, forward, leading, columns, rows)


def _total(types: Types) -> Size:
    """The number of elements of several values."""
    total: Size = 0
    for type_ in types:
        total = total + type_.size
    return total


# -- all directions at once ------------------------------------------------------------------------


def _whole_graph(plan: _Plan) -> Graph:
    """The graph from the inputs of the function to the blocks."""
    source = plan.traced.graph
    derive = jvp_graph if plan.forward else vjp_graph
    derived = derive(source, plan.active)
    derived.outputs = derived.outputs[len(source.outputs) :]
    count = _total(plan.basis)
    graph = Graph(source.name)
    build = builder(graph, user_locations())
    inputs = [(build.wrap(graph.add_input(source.type(Value(k)))), False) for k in source.inputs]
    results = _push_basis(build, derived, inputs, plan.basis, count)
    graph.outputs = [x.value for x in _blocks(plan, results, _cut_expr)]
    graph.widenings = list(source.widenings)
    return graph


def _push_basis(
    build: Builder,
    linear: Graph,
    inputs: Sequence[Batched],
    basis: Types,
    count: Size,
    start: Expr | None = None,
) -> list[Expr]:
    """What a linear function, whose last inputs are of the types `basis`, makes of `count` rows of
    the identity, each row as an element of a batch. start: the first row."""
    directions: list[Batched] = []
    offset: Size = 0
    for type_ in basis:
        directions.append((_identity_columns(build, type_, count, offset, start), True))
        offset = offset + type_.size
    results = batch_in_place(build, linear, [*inputs, *directions], count)
    return [with_batch(x, batched, count) for x, batched in results]


def _identity_columns(
    build: Builder, type_: TensorType, count: Size, offset: Size, start: Expr | None
) -> Expr:
    """Rows of the identity matrix, of its columns those from `offset` on that fill the type."""
    shape = (count, type_.size)
    row = build.one("iota", shape=shape, axis=0, dtype=I64)
    column = iota(row, shape, 1, I64)
    if start is not None:
        row = row + build.broadcast(start, shape, ())
    if isinstance(offset, int):
        column = column + offset if offset else column
    else:
        column = column + build.broadcast(build.one("dim_size", size=offset), shape, ())
    return reshape(row.eq(column).op("cast", dtype=type_.dtype), (count, *type_.shape))


class _Block(NamedTuple):
    """Where a block lies among the directions, and how it is to be laid out.

    offset, size: its directions. axes: what they are the elements of. shape: of what a direction
    becomes. leading: whether `axes` come first. dtype: of the block.
    """

    offset: Size
    size: Size
    axes: tuple[Size, ...]
    shape: tuple[Size, ...]
    leading: bool
    dtype: DType


Cut = Callable[[Any, _Block], Any]


def _blocks(plan: _Plan, results: Sequence[Any], cut: Cut) -> list[Any]:
    """The blocks by output and then by active leaf, from what the directions became."""
    found = {}
    offset: Size = 0
    for i, one in enumerate(plan.basis):
        for j, (other, result) in enumerate(zip(plan.other, results, strict=True)):
            dtype = (other if plan.forward else one).dtype
            block = _Block(offset, one.size, one.shape, other.shape, plan.leading, dtype)
            found[(i, j) if plan.leading else (j, i)] = cut(result, block)
        offset = offset + one.size
    return [found[key] for key in sorted(found)]


def _cut_expr(x: Expr, block: _Block) -> Expr:
    none = (0,) * len(block.shape)
    first, last = block.offset, block.offset + block.size
    if block.leading:
        part = slice_axes(x, (first, *none), (last, *block.shape))
        shape = (*block.axes, *block.shape)
    else:
        moved = transpose(x, (*range(1, x.type.rank), 0))
        part = slice_axes(moved, (*none, first), (*block.shape, last))
        shape = (*block.shape, *block.axes)
    part = reshape(part, shape)
    return part if part.dtype is block.dtype else part.op("cast", dtype=block.dtype)


# -- chunks of directions --------------------------------------------------------------------------


def _run_chunks(plan: _Plan, chunk: int) -> list[np.ndarray]:
    """The blocks, from as many calls of one compiled function as there are chunks."""
    split = at_call(split_graph, plan.traced.graph, plan.active)
    values = call_graph(split.forward, plan.traced.arguments)[len(plan.rows) :]
    linear = split.linear
    if not plan.forward:
        linear = transpose_graph(linear, range(split.residuals, len(linear.inputs)))
    count = _total(plan.basis)
    assert isinstance(count, int), "arrays have sizes that are numbers"
    chunk = min(chunk, max(count, 1))
    graph = Graph(plan.traced.graph.name)
    build = builder(graph, user_locations())
    kept = linear.inputs[: split.residuals]
    inputs = [(build.wrap(graph.add_input(linear.type(Value(k)))), False) for k in kept]
    start = build.wrap(graph.add_input(TensorType(I64, ())))
    results = _push_basis(build, linear, inputs, plan.basis, chunk, start)
    graph.outputs = [x.value for x in results]
    whole = [np.empty((count, *map(int, type_.shape)), type_.dtype.numpy)  # type: ignore[arg-type]
             for type_ in plan.other]  # fmt: skip
    for first in range(0, count, chunk):
        parts = call_graph(graph, [*values, np.asarray(first, np.int64)])
        for target, part in zip(whole, parts, strict=True):
            target[first : first + chunk] = part[: count - first]
    return _blocks(plan, whole, _cut_array)


def _cut_array(x: np.ndarray, block: _Block) -> np.ndarray:
    part = x[block.offset : block.offset + block.size]  # type: ignore[misc]
    shape: tuple[Any, ...] = (*block.axes, *block.shape)
    if not block.leading:
        part = np.moveaxis(part, 0, -1)
        shape = (*block.shape, *block.axes)
    return np.array(part, block.dtype.numpy, order="C").reshape(shape)

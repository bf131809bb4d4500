"""Whole derivatives: jacobian and hessian.

Both push a basis through the linear part of a function in one batch: the function itself is
computed once, and the graph does not grow with the number of directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from .autodiff import jvp_graph, split_graph, transpose_graph, vjp_graph
from .autodiff.batch import batch_in_place
from .autodiff.gradient import SplitGraph
from .differentiation import active_parts, call_graph, grad, like_function, read_argnums
from .errors import ArgumentError, TraceError, brief
from .ir.dims import Size, evaluate
from .ir.graph import Graph, Value
from .ir.types import I64, TensorType
from .jacobian_layout import Layout, Mode, Name, Types, cut_array, cut_expr, make_layout
from .jitted import Jitted, Plan
from .ops.batching import with_batch
from .ops.build import Builder, Expr
from .ops.movement import iota, reshape
from .ops.record import Batched
from .ops.registry import builder
from .runtime.signatures import at_positions
from .subgraph import TracedFunction, at_call, fail, leaf_type, trace_function
from .tracing.locations import ends_at_call, user_locations
from .tracing.trace import find_trace, require_function
from .tracing.trees import flatten_object, unflatten_object

Function = Callable[..., Any]


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
    if mode is not None and not (isinstance(mode, str) and mode in ("forward", "reverse")):
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
    if chunk is not None and (not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1):
        raise ArgumentError(f"{name}: expected chunk as an integer >= 1, got {brief(chunk)}")

    def lay_out(args: tuple[Any, ...], outputs: optree.PyTreeSpec, rows: Types) -> Layout:
        parts = active_parts(name, numbers, args)
        return make_layout(name, parts, args, outputs, rows, mode)

    single = isinstance(argnums, int)
    if chunk is None:
        return _at_once(f, lay_out, single)
    return _in_chunks(name, f, lay_out, single, chunk)


# The layout for arguments, the tree of a result, and the types of its leaves.
LayOut = Callable[[tuple[Any, ...], optree.PyTreeSpec, Types], Layout]


# -- all directions at once ------------------------------------------------------------------------


def _at_once(f: Function, lay_out: LayOut, single: bool) -> Jitted:
    @like_function(f)
    def whole(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = at_call(at_positions, f, args, kwargs)
        traced = trace_function(f, args, kwargs)
        layout = lay_out(args, traced.outputs, traced.output_types)
        graph = at_call(_whole_graph, traced, layout)
        return layout.tree(call_graph(graph, traced.arguments), single)

    return Jitted(Plan(whole))


def _whole_graph(traced: TracedFunction, layout: Layout) -> Graph:
    """The graph from the inputs of the function to the blocks."""
    source = traced.graph
    derived = (jvp_graph if layout.forward else vjp_graph)(source, layout.active)
    derived.outputs = derived.outputs[len(source.outputs) :]
    graph = Graph(source.name)
    build = builder(graph, user_locations())
    inputs = [
        (build.wrap(graph.add_input(source.type(Value(k)), "", source[k].locations)), False)
        for k in source.inputs
    ]
    results = _push_basis(build, derived, inputs, layout.basis, layout.count)
    graph.outputs = [x.value for x in layout.blocks(results, cut_expr)]
    graph.widenings = list(derived.widenings)
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


# -- chunks of directions --------------------------------------------------------------------------


def _in_chunks(name: Name, f: Function, lay_out: LayOut, single: bool, chunk: int) -> Function:
    """A loop over two jitted functions: of what all directions share, and of a chunk of them."""

    def split(args: Any, kwargs: Any) -> tuple[TracedFunction, Layout, SplitGraph]:
        traced = trace_function(f, args, kwargs)
        layout = lay_out(args, traced.outputs, traced.output_types)
        return traced, layout, at_call(split_graph, traced.graph, layout.active)

    @like_function(f)
    def begin(*args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        traced, layout, parts = split(args, kwargs)
        _refuse_trace(name, chunk, traced.closed)
        results = call_graph(parts.forward, traced.arguments)
        count = len(layout.rows)
        return unflatten_object(traced.outputs, results[:count]), results[count:]

    def proceed(start: Any, residuals: Sequence[Any], args: Any, kwargs: Any) -> list[Any]:
        _, layout, parts = split(args, kwargs)
        return call_graph(_chunk_graph(parts, layout, chunk), [*residuals, start])

    first, each = Jitted(Plan(begin)), Jitted(Plan(proceed))

    @ends_at_call
    @like_function(f)
    def in_chunks(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = at_positions(f, args, kwargs)
        _refuse_trace(name, chunk, flatten_object((args, kwargs))[0])
        out, residuals = first(*args, **kwargs)
        leaves, outputs = flatten_object(out)
        layout = lay_out(args, outputs, [leaf_type(x) for x in leaves])
        count = evaluate(layout.count, {})
        whole = [_empty(count, type_) for type_ in layout.other]
        for start in range(0, count, chunk):
            parts = each(np.asarray(start, np.int64), residuals, args, kwargs)
            for target, part in zip(whole, parts, strict=True):
                target[start : start + chunk] = part[: count - start]
        return layout.tree(layout.blocks(whole, cut_array), single)

    return in_chunks


def _refuse_trace(name: Name, chunk: int, values: Sequence[Any]) -> None:
    if find_trace(values) is not None:
        fail(TraceError(
            f"{name}: expected chunk=None inside of a trace, got {chunk}; chunks are a loop over "
            "compiled calls, call it on arrays"
        ))


def _chunk_graph(split: SplitGraph, layout: Layout, chunk: int) -> Graph:
    """The graph from the residuals and the first direction to what the directions become."""
    linear = split.linear
    if not layout.forward:
        linear = transpose_graph(linear, range(split.residuals, len(linear.inputs)))
    graph = Graph(linear.name)
    build = builder(graph, user_locations())
    kept = linear.inputs[: split.residuals]
    inputs = [(build.wrap(graph.add_input(linear.type(Value(k)))), False) for k in kept]
    start = build.wrap(graph.add_input(TensorType(I64, ())))
    size = min(chunk, max(evaluate(layout.count, {}), 1))
    results = _push_basis(build, linear, inputs, layout.basis, size, start)
    graph.outputs = [x.value for x in results]
    return graph


def _empty(count: int, type_: TensorType) -> np.ndarray:
    return np.empty((count, *(evaluate(size, {}) for size in type_.shape)), type_.dtype.numpy)

"""Functions of trees as graphs: tracing them, calling graphs on arrays or traced values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import optree

from .errors import ArgumentError, IrgradError
from .interpret import interpret
from .ir.graph import Graph, Value
from .ir.types import I64, TensorType, dtype_of
from .ops.structured import has_tangent
from .tracing.context import scalar_type
from .tracing.locations import add_location, user_locations
from .tracing.sizes import SymbolicSize
from .tracing.trace import at_user_line, find_trace, inline_graph, trace_flat
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object, unflatten_object

_NUMBERS = (bool, int, float, np.generic)


@dataclass(frozen=True, slots=True)
class TracedFunction:
    """A function of trees as a graph.

    graph: inputs are the leaves of the arguments, then what the function closes over; outputs are
    the leaves of its result. arguments: the values of those inputs: arrays, numbers, or traced
    values of an enclosing trace. leaves: how many of them are leaves of arguments. outputs: the
    tree of the result.
    """

    graph: Graph
    arguments: tuple[Any, ...]
    leaves: int
    outputs: optree.PyTreeSpec

    @property
    def types(self) -> list[TensorType]:
        """The types of the leaves of the arguments."""
        return [self.graph.type(Value(key)) for key in self.graph.inputs[: self.leaves]]

    @property
    def output_types(self) -> list[TensorType]:
        """The types of the leaves of the result."""
        return [self.graph.type(value) for value in self.graph.outputs]

    def tangent_tree(self, tangents: Sequence[Any]) -> Any:
        """Tangents of the float outputs in the tree of the result, None in the other places."""
        rest = iter(tangents)
        leaves = [next(rest) if has_tangent(type_) else None for type_ in self.output_types]
        return unflatten_object(self.outputs, leaves)


def trace_function(
    f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> TracedFunction:
    """Trace a function of trees for arguments like the given ones.

    Raises ArgumentError for a leaf that is no array and no number; what the trace raises.
    """
    leaves, tree = flatten_object((tuple(args), dict(kwargs or {})))
    types = [leaf_type(x) for x in leaves]

    def call(*tracers: Tracer) -> Any:
        positional, named = unflatten_object(tree, tracers)
        return f(*positional, **named)

    flat = trace_flat(call, types, weak=[_is_weak(x) for x in leaves])
    return TracedFunction(flat.graph, (*leaves, *flat.closed), len(leaves), flat.outputs)


def call_graph(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a graph: traced values where an argument is one, else arrays.

    arguments: arrays, numbers and traced values, of the types of the inputs.
    """
    trace = find_trace(arguments)
    if trace is not None:
        return at_user_line(trace, inline_graph, graph, arguments)
    types = [graph.type(Value(key)) for key in graph.inputs]
    arrays = [np.asarray(x, t.dtype.numpy) for x, t in zip(arguments, types, strict=True)]
    return execute(graph, arrays)


def execute(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a graph on arrays: the one way by which derivatives outside a trace are computed."""
    return interpret(graph, arrays)


def leaf_type(x: Any) -> TensorType:
    """The type of an array, a number or a traced value.

    Raises ArgumentError for anything else, DTypeError for an element type that irgrad lacks.
    """
    if isinstance(x, Tracer):
        return x.type
    if isinstance(x, SymbolicSize):
        return TensorType(I64, ())
    if isinstance(x, np.ndarray):
        return TensorType(dtype_of(x.dtype), x.shape)
    if isinstance(x, _NUMBERS):
        return scalar_type(x)[0]
    error = ArgumentError(f"argument: expected an array or a number, got {type(x).__name__}")
    add_location(error, user_locations())
    raise error


def _is_weak(x: Any) -> bool:
    if isinstance(x, Tracer):
        return x.weak
    return isinstance(x, SymbolicSize) or (isinstance(x, _NUMBERS) and scalar_type(x)[1])


def match_leaves(
    what: str, like: Any, given: Any, types: Sequence[TensorType]
) -> list[Any | None]:
    """The leaves of `given`, which has the tree of `like`, or None in the place of a leaf.

    types: of the leaves of `like`. A Python number may stand for a float of rank 0.
    Raises ArgumentError, starting with `what`, where trees or types differ, or where there is a
    value for a leaf that is not float.
    """
    tree = optree.tree_structure(like)
    try:
        leaves = tree.flatten_up_to(given)
    except (ValueError, TypeError) as error:
        got = optree.tree_structure(given)
        fail(ArgumentError(f"{what}: expected the tree {tree}, got {got}"), error)
    return [_match(f"{what} {i}", x, t) for i, (x, t) in enumerate(zip(leaves, types, strict=True))]


def _match(what: str, x: Any, type_: TensorType) -> Any | None:
    if x is None:
        return None
    if not has_tangent(type_):
        fail(ArgumentError(f"{what}: expected None for a value of type {type_}, got one"))
    if type_.shape == () and isinstance(x, (bool, int, float)) and not isinstance(x, np.generic):
        return type_.dtype.numpy.type(x)
    if isinstance(x, Tracer) and x.weak and x.type.shape == type_.shape:
        return x.context.wrap(x.context.convert(x, type_.dtype))
    got = leaf_type(x)
    if got != type_:
        fail(ArgumentError(f"{what}: expected {type_}, got {got}"))
    return x


def fail(error: IrgradError, cause: Exception | None = None) -> NoReturn:
    """Raise an error whose message ends with the line of the user's program that is being run."""
    add_location(error, user_locations())
    raise error from cause

"""Functions of trees as graphs, and trees of values that must fit them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import optree

from .errors import ArgumentError, IrgradError, brief
from .ir.graph import Graph, Value
from .ir.types import I64, TensorType, dtype_of
from .ops.structured import has_tangent
from .tracing.context import scalar_type
from .tracing.locations import add_location, call_function, user_locations
from .tracing.sizes import SymbolicSize
from .tracing.trace import trace_flat
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object, tree_text, unflatten_object

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
    def closed(self) -> tuple[Any, ...]:
        """The values that the function closes over."""
        return self.arguments[self.leaves :]

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
    """Trace a function of trees for arguments like the given ones, or of the given types.

    Raises ArgumentError for a leaf that is no array and no number; what the trace raises.
    """
    leaves, tree = flatten_object((tuple(args), dict(kwargs or {})))
    types = [leaf_type(x) for x in leaves]

    def call(*tracers: Tracer) -> Any:
        positional, named = unflatten_object(tree, tracers)
        return call_function(f, positional, named)

    flat = at_call(trace_flat, call, types, weak=[_is_weak(x) for x in leaves])
    return TracedFunction(flat.graph, (*leaves, *flat.closed), len(leaves), flat.outputs)


def leaf_type(x: Any) -> TensorType:
    """The type of an array, a number or a traced value; a type stands for an array of it.

    Raises ArgumentError for anything else, DTypeError for an element type that irgrad lacks.
    """
    if isinstance(x, Tracer):
        return x.type
    if isinstance(x, TensorType):
        return x
    if isinstance(x, SymbolicSize):
        return TensorType(I64, ())
    if type(x) in (np.ndarray, np.memmap):
        return TensorType(dtype_of(x.dtype), x.shape)
    if isinstance(x, _NUMBERS):
        return scalar_type(x)[0]
    wanted = "a plain ndarray" if isinstance(x, np.ndarray) else "an array or a number"
    return fail(
        ArgumentError(f"argument: expected {wanted}, got {brief(x)} of type {type(x).__name__}")
    )


def require_values(what: str, tree: Any) -> None:
    """Raise ArgumentError for a tree that holds a type in the place of a value."""
    for x in flatten_object(tree)[0]:
        if isinstance(x, TensorType):
            fail(ArgumentError(f"{what}: expected an array or a number, got the type {x}"))


def _is_weak(x: Any) -> bool:
    if isinstance(x, Tracer):
        return x.weak
    return isinstance(x, SymbolicSize) or (isinstance(x, _NUMBERS) and scalar_type(x)[1])


def match_leaves(
    what: str,
    tree: optree.PyTreeSpec,
    given: Any,
    types: Sequence[TensorType],
    error: type[IrgradError] = ArgumentError,
    *,
    tangents: bool = True,
) -> list[Any]:
    """The leaves of `given`, which must have a tree and the types of its leaves.

    tangents: leaves may also be None, which stands for zero, and must be where the type is not
    float. A Python number may stand for a float of rank 0.
    Raises `error`, starting with `what`, where the tree or a type differs.
    """
    try:
        leaves = tree.flatten_up_to(given)
    except (ValueError, TypeError) as mismatch:
        other = tree_text(flatten_object(given)[1])
        fail(error(f"{what}: expected the tree {tree_text(tree)}, got {other}"), mismatch)
    found = []
    for position, (x, type_) in enumerate(zip(leaves, types, strict=True)):
        if tangents and x is None:
            found.append(None)
            continue
        if tangents and not has_tangent(type_):
            fail(error(f"{what} {position}: expected None for a value of type {type_}"))
        x = _fit(x, type_)
        if not _is_leaf(x) or leaf_type(x) != type_:
            got = leaf_type(x) if _is_leaf(x) else type(x).__name__
            fail(error(f"{what} {position}: expected {type_}, got {got}"))
        found.append(x)
    return found


def _is_leaf(x: Any) -> bool:
    return isinstance(x, (Tracer, SymbolicSize, np.ndarray, *_NUMBERS))


def _fit(x: Any, type_: TensorType) -> Any:
    """A Python number, or a value that one became, in the dtype of `type_`; else `x` itself."""
    if isinstance(x, Tracer) and x.weak:
        return x.context.wrap(x.context.convert(x, type_.dtype))
    if isinstance(x, (int, float)) and not isinstance(x, np.generic) and has_tangent(type_):
        try:
            return type_.dtype.numpy.type(x)
        except OverflowError:
            fail(ArgumentError(f"argument: expected a number that {type_.dtype} holds, got "
                               f"{brief(x)}"))
    return x


def at_call(derive: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function so that its errors end with the line of the user's program that is being
    run, unless they name a line already."""
    try:
        return derive(*args, **options)
    except IrgradError as error:
        add_location(error, user_locations())
        raise


def fail(error: IrgradError, cause: Exception | None = None) -> NoReturn:
    """Raise an error whose message ends with the line of the user's program that is being run."""
    add_location(error, user_locations())
    raise error from cause

"""Derivatives of Python functions: grad, value_and_grad, vjp, jvp, linearize, hvp, stop_gradient.

Each traces the function once and derives a graph from its graph. Called on traced values, that
graph becomes part of the enclosing trace; called on arrays, it is compiled and run. What `grad` and
`value_and_grad` return is jitted: it keeps its compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import WRAPPER_ASSIGNMENTS, wraps
from typing import Any, Literal, NamedTuple

import numpy as np
import optree

from .autodiff import (
    bind_zeros,
    gradient_graph,
    jvp_graph,
    split_graph,
    transpose_graph,
)
from .errors import ArgumentError, DifferentiationError, brief
from .ir.graph import Graph, Value
from .jitted import Jitted, Plan
from .ops.structured import has_tangent
from .subgraph import (
    TracedFunction,
    at_call,
    fail,
    leaf_type,
    match_leaves,
    require_values,
    trace_function,
)
from .tracing.locations import ends_at_call
from .tracing.trace import at_user_line, find_trace, inline_graph, require_function
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object, tree_text, unflatten_object

Function = Callable[..., Any]


@ends_at_call
def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Jitted:
    """The gradient of a scalar function, as a function of the same arguments.

    f: returns a float scalar, or with has_aux a pair of it and a tree that is passed on. argnums:
    the positions of the arguments to differentiate by, whose leaves must be float. The gradient has
    the tree of that argument, or is a tuple for several; with has_aux the result is a pair
    (gradient, auxiliary tree).

    The returned function raises DifferentiationError for another output, for an argument that is
    not float, and where an op on the way has no derivative.
    """
    both = _value_and_grad("grad", f, argnums, has_aux)

    @like_function(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return Jitted(Plan(gradient))


@ends_at_call
def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Jitted:
    """As `grad`, but the returned function gives a pair (result of f, gradient)."""
    return Jitted(Plan(_value_and_grad("value_and_grad", f, argnums, has_aux)))


@ends_at_call
def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of `f` and its derivative in a direction, by forward mode.

    primals: the arguments. tangents: one for each, with its tree, shapes and dtypes; None stands
    for zero, and is what a leaf that is not float must have. Returns (output, tangent of the
    output), the tangent with None for leaves that are not float.

    Raises ArgumentError for tangents that do not match, DifferentiationError where an op has no
    derivative.
    """
    require_function("jvp", f)
    primals = tuple(_sequence("jvp: primals", primals))
    require_values("jvp: primals", primals)
    tangents = tuple(_sequence("jvp: tangents", tangents))
    traced = trace_function(f, primals)
    _, tree = flatten_object(primals)
    given = match_leaves("jvp: tangent", tree, tangents, traced.types)
    active = [position for position, tangent in enumerate(given) if tangent is not None]
    graph = at_call(jvp_graph, traced.graph, active)
    results = call_graph(graph, [*traced.arguments, *(given[position] for position in active)])
    count = traced.outputs.num_leaves
    out = unflatten_object(traced.outputs, results[:count])
    return out, traced.tangent_tree(results[count:])


@ends_at_call
def linearize(f: Function, *primals: Any) -> tuple[Any, Function]:
    """The value of `f` and its derivative as a linear function of tangents.

    Returns (output, function). The function takes a tangent for each argument, as `jvp` does, and
    gives the tangent of the output. It keeps the values that it needs of the run of `f`, also where
    the arguments are written later.
    """
    require_function("linearize", f)
    split = _split("linearize", f, primals)
    _, tree = flatten_object(primals)

    @ends_at_call
    def pushed(*tangents: Any) -> Any:
        given = match_leaves("linearize: tangent", tree, tangents, split.traced.types)
        moved = [given[position] for position in split.active]
        return split.traced.tangent_tree(_call_linear(split.linear, split.residuals, moved))

    return split.out, pushed


@ends_at_call
def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """The value of `f` and its pullback, by reverse mode.

    Returns (output, pullback). The pullback takes a cotangent with the tree of the output, None
    standing for zero and for leaves that are not float, and gives a tuple with a cotangent for each
    argument, None in the place of leaves that are not float. It keeps the values that it needs of
    the run of `f`, also where the arguments are written later.

    Raises DifferentiationError where an op has no derivative; the pullback raises ArgumentError for
    a cotangent that does not match.
    """
    require_function("vjp", f)
    split = _split("vjp", f, primals)
    first = len(split.residuals)
    backward = transpose_graph(split.linear, range(first, len(split.linear.inputs)))
    types = split.traced.output_types
    leaves, tree = flatten_object(primals)

    @ends_at_call
    def pullback(cotangent: Any) -> tuple[Any, ...]:
        given = match_leaves("vjp: cotangent", split.traced.outputs, cotangent, types)
        arriving = [ct for ct, type_ in zip(given, types) if has_tangent(type_)]
        found = dict(zip(split.active, _call_linear(backward, split.residuals, arriving)))
        pulled: tuple[Any, ...] = unflatten_object(
            tree, [found.get(position) for position in range(len(leaves))]
        )
        return pulled

    return split.out, pullback


@ends_at_call
def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The product of the Hessian of a scalar function with a vector, by forward over reverse.

    primals: the arguments. tangents: the vector, as in `jvp`. The result is the tree of the
    argument, or a tuple for several arguments, None in the place of those that are not float.

    Raises as `grad` and `jvp` do.
    """
    require_function("hvp", f)
    primals = _sequence("hvp: primals", primals)
    numbers = tuple(i for i, x in enumerate(primals) if _is_float(x))
    if not numbers:
        fail(DifferentiationError("hvp: expected an argument of float type, got none"))
    found = dict(zip(numbers, jvp(grad(f, numbers), primals, tangents)[1]))
    products = tuple(found.get(i) for i in range(len(primals)))
    return products[0] if len(products) == 1 else products


@ends_at_call
def stop_gradient(x: Any) -> Any:
    """The same tree of values, whose derivative is zero.

    Raises ArgumentError for a leaf that is no array, number or text, as such an object might hold
    values whose derivative would go on.
    """
    leaves, tree = flatten_object(x)
    for leaf in leaves:
        if not isinstance(leaf, (np.ndarray, np.generic, complex, str, bytes)):
            leaf_type(leaf)
    return unflatten_object(tree, map(_stop, leaves))


def like_function(f: Function) -> Callable[[Function], Function]:
    """Decorate a derivative of `f` with what Python calls `f`, where that is text."""
    named = [name for name in WRAPPER_ASSIGNMENTS if isinstance(getattr(f, name, None), str)]
    return wraps(f, named, ())


class ActivePart(NamedTuple):
    """An argument to differentiate by: the positions of its leaves, and its tree."""

    positions: list[int]
    tree: optree.PyTreeSpec


def _value_and_grad(
    name: Literal["grad", "value_and_grad"],
    f: Function,
    argnums: int | Sequence[int],
    has_aux: bool,
) -> Function:
    require_function(name, f)
    if not isinstance(has_aux, bool):
        raise ArgumentError(f"{name}: expected has_aux as a bool, got {brief(has_aux)}")
    numbers = read_argnums(name, argnums)

    @like_function(f)
    def derived(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        parts = active_parts(name, numbers, args)
        traced = trace_function(f, args, kwargs)
        _require_value(name, traced, has_aux)
        active = [position for part in parts for position in part.positions]
        graph = at_call(gradient_graph, traced.graph, active, has_aux=has_aux)
        results = call_graph(graph, traced.arguments)
        count = traced.outputs.num_leaves
        rest = iter(results[count:])
        gradients = tuple(
            unflatten_object(part.tree, [next(rest) for _ in part.positions]) for part in parts
        )
        value = unflatten_object(traced.outputs, results[:count])
        return value, gradients[0] if isinstance(argnums, int) else gradients

    return derived


def read_argnums(name: str, argnums: int | Sequence[int]) -> tuple[int, ...]:
    """The positions of the arguments to differentiate by; ArgumentError where they are none."""
    numbers = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)
    whole = all(isinstance(x, int) and not isinstance(x, bool) for x in numbers)
    if not numbers or not whole or len(set(numbers)) != len(numbers):
        raise ArgumentError(
            f"{name}: expected argnums as distinct argument positions, got {brief(argnums)}"
        )
    return numbers


def active_parts(
    name: str, numbers: tuple[int, ...], args: Sequence[Any]
) -> list[ActivePart]:
    """The leaves of the arguments at distinct positions, all float."""
    parts = [_active_part(name, number, args) for number in numbers]
    if len({number % len(args) for number in numbers}) < len(numbers):
        fail(ArgumentError(
            f"{name}: expected argnums as distinct argument positions, got {brief(numbers)} of "
            f"{len(args)} arguments"
        ))
    return parts


def _active_part(name: str, number: int, args: Sequence[Any]) -> ActivePart:
    """The leaves of one argument, which must all be float."""
    if not -len(args) <= number < len(args):
        fail(ArgumentError(
            f"{name}: expected argnums below the {len(args)} positional arguments, got "
            f"{brief(number)}"
        ))
    number %= len(args)
    leaves, tree = flatten_object(args[number])
    for leaf, path in zip(leaves, tree.paths()):
        type_ = leaf_type(leaf)
        if not has_tangent(type_):
            entries = "".join(f"[{brief(entry)}]" for entry in path)
            fail(DifferentiationError(
                f"{name}: expected argument {number}{entries} of float type to differentiate by, "
                f"got {type_}"
            ))
    first = len(flatten_object(tuple(args[:number]))[0])
    return ActivePart(list(range(first, first + len(leaves))), tree)


def _require_value(name: str, traced: TracedFunction, has_aux: bool) -> None:
    """Raise DifferentiationError unless the result is one leaf, or with has_aux a pair with one."""
    tree = traced.outputs
    if not has_aux and tree.num_leaves != 1:
        fail(DifferentiationError(
            f"{name}: expected a scalar float output, got {tree.num_leaves} values; return the "
            "others with has_aux=True"
        ))
    if has_aux:
        parts = tree.children() if tree.type is tuple else []
        if len(parts) != 2 or parts[0].num_leaves != 1:
            fail(DifferentiationError(
                f"{name}: expected a pair of a scalar float and a tree where has_aux is true, got "
                f"{tree_text(tree)}"
            ))


def call_graph(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a graph: traced values where an argument is one, else arrays.

    arguments: arrays, numbers and traced values, of the types of the inputs.
    """
    trace = find_trace(arguments)
    if trace is not None:
        return at_user_line(trace, inline_graph, graph, arguments)
    types = [graph.type(Value(key)) for key in graph.inputs]
    try:
        arrays = [np.asarray(x, t.dtype.numpy) for x, t in zip(arguments, types, strict=True)]
    except OverflowError:
        fail(ArgumentError("argument: expected integers that i64 holds, got a larger one"))
    return _execute(graph, arrays)


def _execute(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a graph on arrays: the one way by which derivatives outside a trace are computed.

    The results are fresh arrays, which no later write to the arguments changes.
    """
    from .cached import run_graph  # loads the backend, which importing irgrad need not

    return run_graph(graph, arrays)


@dataclass(frozen=True, slots=True)
class _Split:
    """A function at its arguments, cut where its derivative begins.

    out: its result. linear: the derivative, a graph of the residuals and of tangents of the leaves
    at the positions `active`. residuals: values of this run.
    """

    traced: TracedFunction
    out: Any
    linear: Graph
    residuals: list[Any]
    active: list[int]


def _split(name: str, f: Function, primals: tuple[Any, ...]) -> _Split:
    require_values(f"{name}: argument", primals)
    traced = trace_function(f, primals)
    active = [i for i, type_ in enumerate(traced.types) if has_tangent(type_)]
    split = at_call(split_graph, traced.graph, active)
    results = call_graph(split.forward, traced.arguments)
    count = traced.outputs.num_leaves
    out = unflatten_object(traced.outputs, results[:count])
    return _Split(traced, out, split.linear, results[count:], active)


def _call_linear(
    graph: Graph, residuals: Sequence[Any], moved: Sequence[Any | None]
) -> list[Any]:
    """Call a linear function on residuals and tangents, None being zero."""
    first = len(residuals)
    absent = [first + i for i, x in enumerate(moved) if x is None]
    present = [x for x in moved if x is not None]
    return call_graph(bind_zeros(graph, absent), [*residuals, *present])


def _sequence(what: str, values: Any) -> Sequence[Any]:
    if not isinstance(values, (tuple, list)):
        fail(ArgumentError(
            f"{what}: expected a tuple with one entry for each argument, got "
            f"{type(values).__name__}"
        ))
    return values


def _is_float(x: Any) -> bool:
    leaves, _ = flatten_object(x)
    return bool(leaves) and all(has_tangent(leaf_type(leaf)) for leaf in leaves)


def _stop(x: Any) -> Any:
    if isinstance(x, Tracer) and has_tangent(x.type):
        return x.context.one("stop_gradient", x)
    return x

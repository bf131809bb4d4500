"""Derivatives of Python functions: grad, value_and_grad, vjp, jvp, linearize, hvp, stop_gradient.

Each traces the function once and derives a graph from its graph. Called on traced values, that
graph becomes part of the enclosing trace; called on arrays, it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import optree

from .autodiff import gradient_graph, jvp_graph, split_graph, transpose_graph
from .errors import ArgumentError, DifferentiationError
from .ir.types import TensorType
from .subgraph import (
    TracedFunction,
    call_graph,
    cast_leaf,
    has_tangent,
    leaf_type,
    match_leaves,
    trace_function,
)
from .tracing.dispatch import find_trace
from .tracing.tracer import Tracer

Function = Callable[..., Any]


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """The gradient of a scalar function, as a function of the same arguments.

    f: returns a float scalar, or with has_aux a pair of it and a tree that is passed on. argnums:
    the positions of the arguments to differentiate by, whose leaves must be float. The result has
    the tree of that argument, or is a tuple for several; with has_aux it is a pair with the tree.

    The returned function raises DifferentiationError for another output, for an argument that is
    not float, and where an op on the way has no derivative.
    """
    both = _value_and_grad(f, argnums, has_aux, "grad")

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return gradient


def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """As `grad`, but the returned function gives (value, gradient), with has_aux
    ((value, auxiliary tree), gradient)."""
    return _value_and_grad(f, argnums, has_aux, "value_and_grad")


def _value_and_grad(
    f: Function, argnums: int | Sequence[int], has_aux: bool, name: str
) -> Function:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not numbers or len(set(numbers)) != len(numbers):
        raise ArgumentError(f"{name}: expected argnums that are distinct, got {argnums}")

    @wraps(f)
    def derived(*args: Any, **kwargs: Any) -> Any:
        parts = _active_leaves(name, numbers, args)
        traced = trace_function(f, args, kwargs)
        if has_aux:
            _require_pair(name, traced)
        elif traced.outputs.num_leaves != 1:
            raise DifferentiationError(
                f"{name}: expected a scalar float output, got {traced.outputs.num_leaves} values; "
                "return the others with has_aux=True"
            )
        active = [position for positions, _ in parts for position in positions]
        graph = gradient_graph(traced.graph, active, has_aux=has_aux)
        results = call_graph(graph, traced.arguments)
        count = traced.outputs.num_leaves
        value = optree.tree_unflatten(traced.outputs, results[:count])
        rest = iter(results[count:])
        gradients = tuple(
            optree.tree_unflatten(tree, [next(rest) for _ in positions])
            for positions, tree in parts
        )
        return value, gradients[0] if isinstance(argnums, int) else gradients

    return derived


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of `f` and its derivative in a direction, by forward mode.

    primals: the arguments. tangents: one for each, with its tree, shapes and dtypes; None stands
    for zero and is what a leaf that is not float must have. Returns (output, tangent of the
    output), the tangent with None for leaves that are not float.

    Raises ArgumentError for tangents that do not match, DifferentiationError where an op has no
    derivative.
    """
    primals = _arguments("jvp: primals", primals)
    tangents = _arguments("jvp: tangents", tangents)
    traced = trace_function(f, primals, {})
    types = traced.types
    given = match_leaves("jvp: tangent", primals, tangents, types)
    active = [position for position, tangent in enumerate(given) if tangent is not None]
    graph = jvp_graph(traced.graph, active)
    moved = [given[position] for position in active]
    results = call_graph(graph, [*traced.arguments, *moved])
    count = traced.outputs.num_leaves
    out = optree.tree_unflatten(traced.outputs, results[:count])
    return out, traced.tangent_tree(results[count:])


def linearize(f: Function, *primals: Any) -> tuple[Any, Function]:
    """The value of `f` and its derivative as a linear function of tangents.

    Returns (output, function): the function takes a tangent for each argument, as `jvp` does, and
    gives the tangent of the output without running `f` again. It keeps the values that it needs.
    """
    split = _Split(f, primals)

    def pushed(*tangents: Any) -> Any:
        given = match_leaves("linearize: tangent", primals, tangents, split.traced.types)
        moved = [split.or_zeros(position, given[position]) for position in split.active]
        results = call_graph(split.linear, [*split.residuals, *moved])
        return split.traced.tangent_tree(results)

    return split.out, pushed


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """The value of `f` and its pullback, by reverse mode.

    Returns (output, pullback). The pullback takes a cotangent with the tree of the output, None
    standing for zero and for leaves that are not float, and gives a tuple with a cotangent for each
    argument, None in the place of leaves that are not float. It keeps the values that it needs of
    the forward run and does not run `f` again.

    Raises DifferentiationError where an op has no derivative; the pullback raises ArgumentError for
    a cotangent that does not match.
    """
    split = _Split(f, primals)
    first = len(split.residuals)
    backward = transpose_graph(split.linear, range(first, len(split.linear.inputs)))
    leaves, tree = optree.tree_flatten(tuple(primals))

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        types = split.traced.output_types
        given = match_leaves("vjp: cotangent", split.out, cotangent, types)
        arriving = [
            _zeros(type_) if ct is None else ct
            for ct, type_ in zip(given, types)
            if has_tangent(type_)
        ]
        results = iter(call_graph(backward, [*split.residuals, *arriving]))
        active = set(split.active)
        return optree.tree_unflatten(
            tree, [next(results) if i in active else None for i in range(len(leaves))]
        )

    return split.out, pullback

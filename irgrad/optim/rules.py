"""The common first-order update rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from .. import numpy as inp
from ..errors import ArgumentError, DTypeError, ShapeError, brief
from ..ir.types import TensorType
from ..subgraph import fail, leaf_type
from ..tracing.dispatch import formula
from ..tracing.tracer import Tracer
from ..tracing.trees import flatten_object, tree_text
from .optimiser import Optimiser

ADAM_STATE = ("mean", "square", "step")


# -- what rules accept -----------------------------------------------------------------------------


def _number(name: str, value: Any, low: float, high: float) -> float:
    """A setting as a Python float, which adapts to the dtype of the parameters."""
    if isinstance(value, (int, float, np.floating, np.integer)) and low <= value < high:
        try:
            return float(value)
        except OverflowError:
            pass
    return fail(ArgumentError(f"{name}: expected a number in [{low}, {high}), got {brief(value)}"))


def _types(name: str, tree: Any) -> tuple[list[TensorType], optree.PyTreeSpec]:
    """The types of the leaves, which must be float arrays or numbers, and the tree."""
    leaves, spec = flatten_object(tree)
    types = []
    for leaf in leaves:
        if isinstance(leaf, TensorType):
            fail(ArgumentError(f"{name}: expected arrays, got the type {leaf}"))
        types.append(leaf_type(leaf))
        if not types[-1].dtype.is_float:
            fail(ArgumentError(f"{name}: expected leaves of float type, got {brief(leaf)}"))
    return types, spec


def _require_alike(name: str, params: Any, others: Any) -> None:
    """Raise unless `others` has the tree of params and, leaf by leaf, its shapes and no wider
    dtypes, so that the update changes no type."""
    types, spec = _types(f"{name}: params", params)
    given, got = _types(name, others)
    if spec != got:
        fail(ArgumentError(f"{name}: expected the tree {tree_text(spec)}, got {tree_text(got)}"))
    for position, (x, type_) in enumerate(zip(given, types, strict=True)):
        if x.shape != type_.shape:
            fail(ShapeError(f"{name}: expected the shape of {type_} at leaf {position}, got {x}"))
        if np.result_type(x.dtype.numpy, type_.dtype.numpy) != type_.dtype.numpy:
            fail(DTypeError(
                f"{name}: expected a dtype no wider than that of {type_} at leaf {position}, got "
                f"{x}; convert it with astype"
            ))


def _map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`f` of the leaves; what NumPy computes as a scalar is an array of rank 0."""

    def array(*leaves: Any) -> Any:
        result = f(*leaves)
        return np.asarray(result) if isinstance(result, np.generic) else result

    return optree.tree_map(array, tree, *rest)


def _zeros(name: str, params: Any) -> Any:
    _types(f"{name}: params", params)

    def zero(p: Any) -> Any:
        type_ = leaf_type(p)
        traced = isinstance(p, Tracer)
        return inp.zeros_like(p) if traced else np.zeros(type_.shape, type_.dtype.numpy)

    return optree.tree_map(zero, params)


# -- rules -----------------------------------------------------------------------------------------


@formula
def sgd(rate: float) -> Optimiser:
    """Gradient descent: p - rate * g.

    Raises ArgumentError for a negative rate.
    """
    pace = _number("sgd: rate", rate, 0.0, np.inf)

    @formula
    def init(params: Any) -> Any:
        _types("sgd: params", params)
        return ()

    @formula
    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        _require_alike("sgd: gradients", params, gradients)
        if flatten_object(state)[0]:
            fail(ArgumentError(f"sgd: expected the state that init gave, (), got {brief(state)}"))
        return _map(lambda p, g: p - pace * g, params, gradients), state

    return Optimiser(init, update)


@formula
def momentum(rate: float, decay: float = 0.9, nesterov: bool = False) -> Optimiser:
    """Heavy-ball momentum v = decay * v + g, p - rate * v (Polyak 1964); nesterov: steps along
    decay * v + g instead (Sutskever et al. 2013).

    Raises ArgumentError for a negative rate or a decay outside of [0, 1).
    """
    pace = _number("momentum: rate", rate, 0.0, np.inf)
    kept = _number("momentum: decay", decay, 0.0, 1.0)
    if not isinstance(nesterov, (bool, np.bool_)):
        fail(ArgumentError(
            f"momentum: nesterov: expected True or False, got {brief(nesterov)}"
        ))

    @formula
    def init(params: Any) -> Any:
        return _zeros("momentum", params)

    @formula
    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        _require_alike("momentum: gradients", params, gradients)
        _require_alike("momentum: state", params, state)
        velocity = _map(lambda v, g: kept * v + g, state, gradients)
        along = velocity
        if nesterov:
            along = _map(lambda v, g: kept * v + g, velocity, gradients)
        return _map(lambda p, v: p - pace * v, params, along), velocity

    return Optimiser(init, update)


@formula
def adam(
    rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
) -> Optimiser:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1).

    The state is {"step", "mean", "square"}; step is a float64 scalar array.
    Raises ArgumentError for a negative rate or eps, or a beta outside of [0, 1).
    """
    return adamw(rate, beta1, beta2, eps, decay=0.0)


@formula
def adamw(
    rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 1e-2,
) -> Optimiser:
    """Adam with decoupled weight decay: p - rate * (step + decay * p) (Loshchilov and Hutter 2019).

    Raises ArgumentError as `adam` does, and for a negative decay.
    """
    pace = _number("adam: rate", rate, 0.0, np.inf)
    first, second = _number("adam: beta1", beta1, 0.0, 1.0), _number("adam: beta2", beta2, 0.0, 1.0)
    least = _number("adam: eps", eps, 0.0, np.inf)
    shrink = pace * _number("adam: decay", decay, 0.0, np.inf)

    @formula
    def init(params: Any) -> Any:
        return {"mean": _zeros("adam", params), "square": _zeros("adam", params),
                "step": np.zeros(())}

    @formula
    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        _require_alike("adam: gradients", params, gradients)
        _require_adam_state(params, state)
        step = _map(lambda n: n + 1.0, state["step"])
        mean = _map(lambda m, g: first * m + (1 - first) * g, state["mean"], gradients)
        square = _map(lambda s, g: second * s + (1 - second) * g * g, state["square"], gradients)
        scale = pace / (1 - first**step)
        root = 1 / inp.sqrt(1 - second**step)

        def move(p: Any, m: Any, s: Any) -> Any:
            dtype = leaf_type(p).dtype.numpy
            along = inp.astype(scale, dtype) * m / (inp.sqrt(s) * inp.astype(root, dtype) + least)
            return p - along - shrink * p if shrink else p - along

        return _map(move, params, mean, square), {"mean": mean, "square": square, "step": step}

    return Optimiser(init, update)


def _require_adam_state(params: Any, state: Any) -> None:
    if not isinstance(state, dict) or set(state) != set(ADAM_STATE):
        fail(ArgumentError(
            f"adam: expected the state that init gave, a dict of {', '.join(ADAM_STATE)}, got "
            f"{brief(state)}"
        ))
    _require_alike("adam: mean", params, state["mean"])
    _require_alike("adam: square", params, state["square"])
    types, _ = _types("adam: step", state["step"])
    if [type_.shape for type_ in types] != [()]:
        fail(ShapeError(f"adam: expected one number as step, got {brief(state['step'])}"))

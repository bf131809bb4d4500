"""The common first-order update rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from .. import numpy as inp
from ..errors import ArgumentError, brief
from ..ops.structured import has_tangent
from ..subgraph import fail, leaf_type
from ..tracing.trees import flatten_object
from .optimiser import Optimiser


def _require(name: str, value: float, low: float, high: float) -> None:
    if not isinstance(value, (int, float, np.floating, np.integer)) or not low <= value < high:
        fail(ArgumentError(f"{name}: expected a number in [{low}, {high}), got {brief(value)}"))


def _require_trees(name: str, params: Any, gradients: Any) -> None:
    wanted, got = (flatten_object(tree)[1] for tree in (params, gradients))
    if wanted != got:
        fail(ArgumentError(f"{name}: expected gradients of the tree {wanted}, got {got}"))
    for leaf in flatten_object(gradients)[0]:
        if isinstance(leaf, int) or not has_tangent(leaf_type(leaf)):
            fail(ArgumentError(f"{name}: expected gradients of float type, got {brief(leaf)}"))


def _zeros(params: Any) -> Any:
    flatten_object(params)
    return optree.tree_map(lambda p: np.zeros(np.shape(p), np.asarray(p).dtype), params)


def sgd(rate: float) -> Optimiser:
    """Gradient descent: p - rate * g.

    Raises ArgumentError for a negative rate.
    """
    _require("sgd: rate", rate, 0.0, np.inf)

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        _require_trees("sgd", params, gradients)
        return optree.tree_map(lambda p, g: p - rate * g, params, gradients), state

    return Optimiser(lambda params: (), update)


def momentum(rate: float, decay: float = 0.9, nesterov: bool = False) -> Optimiser:
    """Heavy-ball momentum v = decay * v + g, p - rate * v (Polyak 1964); nesterov: steps along
    decay * v + g instead (Sutskever et al. 2013).

    Raises ArgumentError for a negative rate or a decay outside of [0, 1).
    """
    _require("momentum: rate", rate, 0.0, np.inf)
    _require("momentum: decay", decay, 0.0, 1.0)

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        _require_trees("momentum", params, gradients)
        velocity = optree.tree_map(lambda v, g: decay * v + g, state, gradients)
        along = velocity
        if nesterov:
            along = optree.tree_map(lambda v, g: decay * v + g, velocity, gradients)
        return optree.tree_map(lambda p, v: p - rate * v, params, along), velocity

    return Optimiser(_zeros, update)


def adam(
    rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
) -> Optimiser:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1).

    The state is {"step", "mean", "square"}; step is a float64 scalar array.
    Raises ArgumentError for a negative rate or eps, or a beta outside of [0, 1).
    """
    return adamw(rate, beta1, beta2, eps, decay=0.0)


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
    _require("adam: rate", rate, 0.0, np.inf)
    _require("adam: beta1", beta1, 0.0, 1.0)
    _require("adam: beta2", beta2, 0.0, 1.0)
    _require("adam: eps", eps, 0.0, np.inf)
    _require("adam: decay", decay, 0.0, np.inf)

    def init(params: Any) -> Any:
        return {"mean": _zeros(params), "square": _zeros(params), "step": np.zeros(())}

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        _require_trees("adam", params, gradients)
        step = state["step"] + 1.0
        mean = optree.tree_map(lambda m, g: beta1 * m + (1 - beta1) * g, state["mean"], gradients)
        square = optree.tree_map(
            lambda s, g: beta2 * s + (1 - beta2) * g * g, state["square"], gradients
        )
        scale = rate / (1 - beta1**step)
        root = 1 / inp.sqrt(1 - beta2**step)

        def move(p: Any, m: Any, s: Any) -> Any:
            along = scale.astype(p.dtype) * m / (inp.sqrt(s) * root.astype(p.dtype) + eps)
            return p - along - (rate * decay) * p if decay else p - along

        moved = optree.tree_map(move, params, mean, square)
        return moved, {"mean": mean, "square": square, "step": step}

    return Optimiser(init, update)

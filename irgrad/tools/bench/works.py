"""The works of `irgrad bench peers`: their inputs, and what float64 NumPy makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..report import UsageError

Arrays = list[np.ndarray]
GELU_SCALE = 0.79788456
GELU_CUBE = 0.044715
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Work:
    """One function with the sizes it is timed at.

    what: for the reader. shape: of the main array. inputs: of a shape, float32. reference: the
    results in float64.
    """

    name: str
    what: str
    shape: tuple[int, int]
    inputs: Callable[[tuple[int, int]], Arrays]
    reference: Callable[[Arrays], Arrays]


def _normal(*shapes: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def _gelu(arrays: Arrays) -> Arrays:
    x, a, b, c = arrays
    v = x * a + b
    inner = GELU_SCALE * (v + GELU_CUBE * v**3)
    return [0.5 * v * (1 + np.tanh(inner)) / (1 + np.exp(-c)) - np.tanh(x)]


def _softmax(arrays: Arrays) -> Arrays:
    (x,) = arrays
    weight = np.exp(x - x.max(-1, keepdims=True))
    return [weight / weight.sum(-1, keepdims=True)]


def _layernorm(arrays: Arrays) -> Arrays:
    """The loss and its gradients by x, scale and shift, written out."""
    x, scale, shift = arrays
    centred = x - x.mean(-1, keepdims=True)
    slope = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    normed = centred * slope
    y = normed * scale + shift
    inner = GELU_SCALE * (y + GELU_CUBE * y**3)
    t = np.tanh(inner)
    loss = (0.5 * y * (1 + t)).sum()
    dy = 0.5 * (1 + t) + 0.5 * y * (1 - t * t) * GELU_SCALE * (1 + 3 * GELU_CUBE * y**2)
    dn = dy * scale
    mean, along = dn.mean(-1, keepdims=True), (dn * normed).mean(-1, keepdims=True)
    dx = slope * (dn - mean - normed * along)
    return [np.asarray(loss), dx, (dy * normed).sum(0), dy.sum(0)]


def all_works() -> dict[str, Work]:
    """Every work by name."""
    works = (
        Work(
            "gelu",
            "0.5*v*(1+tanh(0.798*(v+0.0447*v**3)))*sigmoid(c)-tanh(x), v=x*a+b",
            (2048, 2048),
            lambda shape: _normal(shape, shape, shape, shape),
            _gelu,
        ),
        Work("softmax", "softmax over the last axis", (4096, 1024), lambda s: _normal(s), _softmax),
        Work(
            "layernorm",
            "sum(gelu(layernorm(x))) with the gradients of x, scale and shift",
            (4096, 1024),
            lambda shape: _normal(shape, shape[-1:], shape[-1:]),
            _layernorm,
        ),
    )
    return {work.name: work for work in works}


def find_works(names: list[str] | None) -> list[Work]:
    """The works of such names, all where there are none; UsageError for an unknown name."""
    known = all_works()
    for name in names or ():
        if name not in known:
            raise UsageError(f"--work: expected one of {', '.join(known)}, got {name!r}")
    return [known[name] for name in names or known]


def largest_error(got: Arrays, expected: Arrays) -> float:
    """The largest difference of any result in units of that result's largest element; inf where
    shapes differ or something is not finite."""
    worst = 0.0
    if len(got) != len(expected):
        return float("inf")
    for have, want in zip(got, expected):
        if have.shape != want.shape or not np.isfinite(have).all():
            return float("inf")
        scale = float(np.abs(want).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(have - want).max(initial=0.0)) / scale)
    return worst



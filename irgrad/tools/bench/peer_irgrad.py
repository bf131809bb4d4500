"""The works of the benchmark in irgrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import irgrad as ig
import irgrad.numpy as inp

from .functions import find_function
from .hessians import find_hessian
from .works import EPSILON, GELU_CUBE, GELU_SCALE


def versions() -> dict[str, str]:
    """What is measured."""
    return {"irgrad": ig.__version__}


def _tanh_gelu(v: Any) -> Any:
    return 0.5 * v * (1 + inp.tanh(GELU_SCALE * (v + GELU_CUBE * v**3)))


def gelu(x: Any, a: Any, b: Any, c: Any) -> Any:
    """The elementwise work."""
    return _tanh_gelu(x * a + b) * ig.nn.sigmoid(c) - inp.tanh(x)


def softmax(x: Any) -> Any:
    """The row-wise work."""
    return ig.nn.softmax(x, axis=-1)


def layernorm(x: Any, scale: Any, shift: Any) -> Any:
    """The loss whose gradients are taken."""
    return inp.sum(_tanh_gelu(ig.nn.layer_norm(x, scale, shift, eps=EPSILON)))


def make_call(work: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """The call to be timed."""
    functions: dict[str, Callable[..., Any]] = {
        "gelu": gelu,
        "softmax": softmax,
        "layernorm": ig.value_and_grad(layernorm, argnums=(0, 1, 2)),
    }
    function = ig.jit(
        functions.get(work)
        or find_hessian(work, inp, ig.nn.softplus, ig.hessian)
        or find_function(work, inp, ig.nn, _Missing)
    )
    return lambda: function(*arrays)


class _Missing:
    """What the namespaces have no name for."""

    @staticmethod
    def rsqrt(x: Any) -> Any:
        return 1 / inp.sqrt(x)


def to_arrays(result: Any) -> list[np.ndarray]:
    """The leaves of a result."""
    if isinstance(result, tuple):
        return [leaf for part in result for leaf in to_arrays(part)]
    return [np.asarray(result)]

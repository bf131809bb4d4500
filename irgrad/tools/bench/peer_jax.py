"""The works of the benchmark in JAX, compiled by jax.jit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from .functions import find_function
from .hessians import find_hessian
from .works import EPSILON, GELU_CUBE, GELU_SCALE


def versions() -> dict[str, str]:
    """What is measured."""
    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}


def _tanh_gelu(v: Any) -> Any:
    return 0.5 * v * (1 + jnp.tanh(GELU_SCALE * (v + GELU_CUBE * v**3)))


def gelu(x: Any, a: Any, b: Any, c: Any) -> Any:
    """The elementwise work."""
    return _tanh_gelu(x * a + b) * jax.nn.sigmoid(c) - jnp.tanh(x)


def softmax(x: Any) -> Any:
    """The row-wise work."""
    return jax.nn.softmax(x, axis=-1)


def layernorm(x: Any, scale: Any, shift: Any) -> Any:
    """The loss whose gradients are taken."""
    centred = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(centred * centred, -1, keepdims=True)
    return jnp.sum(_tanh_gelu(centred / jnp.sqrt(variance + EPSILON) * scale + shift))


def make_call(work: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """The call to be timed; it waits for the result."""
    functions = {
        "gelu": gelu,
        "softmax": softmax,
        "layernorm": jax.value_and_grad(layernorm, argnums=(0, 1, 2)),
    }
    if work.endswith(" f64"):
        jax.config.update("jax_enable_x64", True)
    function = jax.jit(
        functions.get(work)
        or find_hessian(work, jnp, jax.nn.softplus, jax.hessian)
        or find_function(work, jnp, jax.nn, jax.scipy.special, jax.lax)
    )
    arguments = [jax.device_put(array) for array in arrays]
    return lambda: jax.block_until_ready(function(*arguments))


def to_arrays(result: Any) -> list[np.ndarray]:
    """The leaves of a result."""
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(result)]

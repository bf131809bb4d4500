"""The works of the benchmark in PyTorch, eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .works import EPSILON, GELU_CUBE, GELU_SCALE


def versions() -> dict[str, str]:
    """What is measured."""
    return {"torch": torch.__version__}


def _tanh_gelu(v: Any) -> Any:
    return 0.5 * v * (1 + torch.tanh(GELU_SCALE * (v + GELU_CUBE * v**3)))


def gelu(x: Any, a: Any, b: Any, c: Any) -> Any:
    """The elementwise work."""
    return _tanh_gelu(x * a + b) * torch.sigmoid(c) - torch.tanh(x)


def softmax(x: Any) -> Any:
    """The row-wise work."""
    return torch.softmax(x, dim=-1)


def layernorm(x: Any, scale: Any, shift: Any) -> Any:
    """The loss whose gradients are taken, in torch's fused functions."""
    y = torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift, eps=EPSILON)
    return torch.nn.functional.gelu(y, approximate="tanh").sum()


def compiled_call(
    work: str, arrays: list[np.ndarray], change: Callable[[Any], Any]
) -> Callable[[], Any]:
    """The call to be timed, of a function after `change`."""
    torch.set_num_threads(1)
    function = change({"gelu": gelu, "softmax": softmax, "layernorm": layernorm}[work])
    arguments = [torch.from_numpy(array) for array in arrays]
    if work == "layernorm":
        arguments = [argument.requires_grad_() for argument in arguments]

        def with_gradients() -> Any:
            loss = function(*arguments)
            return (loss.detach(), *torch.autograd.grad(loss, arguments))

        return with_gradients

    def without() -> Any:
        with torch.inference_mode():
            return function(*arguments)

    return without


def make_call(work: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """The call to be timed."""
    return compiled_call(work, arrays, lambda function: function)


def to_arrays(result: Any) -> list[np.ndarray]:
    """The leaves of a result."""
    leaves = result if isinstance(result, tuple) else (result,)
    return [leaf.numpy() for leaf in leaves]

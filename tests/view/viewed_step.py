"""A training step with contractions, reductions, a loss and donated parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import irgrad as ig
import irgrad.numpy as inp
from irgrad.view.data import View


@dataclass(frozen=True)
class Step:
    """A compiled training step, what its page shows, and the page."""

    compiled: ig.Compiled
    view: View
    page: str


def loss(params, x, target):
    hidden = inp.tanh(x @ params["w"] + params["b"])
    error = hidden - target
    return (error * error).mean()


def step(params, x, target):
    value, gradients = ig.value_and_grad(loss)(params, x, target)
    return value, {name: params[name] - 0.1234567 * gradients[name] for name in params}


def compile_step() -> ig.Compiled:
    """The step for small sizes."""
    params = {"w": np.ones((20, 24), np.float32), "b": np.ones(24, np.float32)}
    x, wanted = np.ones((48, 20), np.float32), np.ones((48, 24), np.float32)
    return ig.compile(step, params, x, wanted, donate=(0,))

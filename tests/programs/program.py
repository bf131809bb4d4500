"""The decorator of programs that mean the same to NumPy and to irgrad, and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Program:
    """A function of arrays, written with NumPy alone, and arguments for it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        return self.function(*args)


def program(*args: Any) -> Callable[[Callable[..., Any]], Program]:
    """Make a function a Program with these arguments."""
    return lambda function: Program(function, args)


class Random:
    """Arrays of random numbers, the same in each run."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def f64(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def f32(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def i64(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-5, 6, shape)

    def i32(self, *shape: int) -> np.ndarray:
        return self.i64(*shape).astype(np.int32)

    def truth(self, *shape: int) -> np.ndarray:
        return self.rng.random(shape) > 0.5

    def positive(self, *shape: int) -> np.ndarray:
        return np.abs(self.f64(*shape)) + 0.3

"""Sample calls of the functions of irgrad.numpy, for the tests that compare them with NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

F32, F64, I32, I64, BOOL = np.float32, np.float64, np.int32, np.int64, np.bool_


@dataclass(frozen=True)
class Call:
    """One call: `function` applied to arrays, with other arguments bound inside it."""

    name: str
    function: Callable[..., Any]
    operands: tuple[np.ndarray, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = ",".join(f"{x.dtype.name}{list(x.shape)}" for x in self.operands)
        return f"{self.name}({shapes}{',' if self.options else ''}{self.options or ''})"


def array(shape: tuple[int, ...] | int = (), dtype: Any = F32, seed: int = 0) -> np.ndarray:
    """Random values, of both signs for signed dtypes."""
    rng = np.random.default_rng(seed + 7)
    values = rng.normal(size=shape) * 2
    if np.dtype(dtype).kind == "b":
        return np.asarray(values > 0)
    if np.dtype(dtype).kind == "i":
        return np.asarray(np.rint(values * 2), dtype)
    return np.asarray(values, dtype)

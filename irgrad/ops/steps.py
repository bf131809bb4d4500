"""Ops that are defined by their steps: one formula, run over arrays and lowered to kernels.

The formula is written in kernel primitives. As the op's `scalar` it becomes a kernel's statements;
over arrays each primitive is the NumPy function of the same meaning. Integer steps, and sums,
products, quotients and square roots of floats, are exact or rounded once in both: so the results
have the same bits in the interpreter and in every kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..ir.types import DType, dtype_of


def shift_left(x: Any, count: Any) -> Any:
    """The bits of unsigned integers moved up by a count modulo the width."""
    return x << _within_width(count)


def shift_right(x: Any, count: Any) -> Any:
    """The bits of unsigned integers moved down by a count modulo the width."""
    return x >> _within_width(count)


def _within_width(count: Any) -> Any:
    return count & count.dtype.type(8 * count.dtype.itemsize - 1)


_STEPS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "abs": np.abs, "sqrt": np.sqrt, "round": np.rint, "maximum": np.maximum, "minimum": np.minimum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.bitwise_not,
    "shl": shift_left, "shr": shift_right, "eq": np.equal, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "select": np.where,
})


class ArraySteps:
    """Kernel primitives over arrays, named as in a `scalar` expression.

    dtype: that of the op's first operand, which constants have unless they name another.
    """

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype

    def constant(self, value: float | int | bool, dtype: DType | None = None) -> Any:
        return (dtype or self.dtype).numpy.type(value)

    def cast(self, x: Any, dtype: DType) -> Any:
        assert np.asarray(x).dtype.kind != "f", "casts of floats saturate"
        return np.asarray(x).astype(dtype.numpy)

    def bitcast(self, x: Any, dtype: DType) -> Any:
        return np.asarray(x).view(dtype.numpy)

    def __getattr__(self, primitive: str) -> Callable[..., Any]:
        return _STEPS[primitive.rstrip("_")]


def over_arrays(formula: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """The NumPy meaning of an op whose `scalar` is `formula(k, *operands)`."""

    def meaning(*operands: np.ndarray) -> np.ndarray:
        return np.asarray(formula(ArraySteps(dtype_of(operands[0].dtype)), *operands))

    return meaning

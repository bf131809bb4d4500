"""The functions whose errors are measured, with their references and where they are hard."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Reference = Callable[..., Array]
LN2 = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    name: as users know it. reference: its values in the dtype of its arguments, float64 or long
    double; None where NumPy has none for long double. exact: its name in `exact.EXACT`.
    region: the interval in which it moves. inverse: in float64, of `results`, an interval of its
    values. spots: arguments beside which it is hard. step: it is hard beside multiples of it.
    every_scale: whether it is hard beside spots times any power of two.
    """

    name: str
    reference: Reference
    region: tuple[float, float]
    spots: tuple[float, ...] = ()
    step: float = 0.0
    every_scale: bool = False
    inverse: Reference | None = None
    results: tuple[float, float] = (0.0, 0.0)
    arity: int = 1
    long_double: bool = True

    @property
    def op(self) -> str:
        """The name of its op in IR text."""
        return "power" if self.name == "pow" else self.name


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def _erf(x: Array) -> Array:
    from scipy.special import erf  # only where it is measured: irgrad may be loaded without SciPy

    return erf(x)


def _erfc(x: Array) -> Array:
    from scipy.special import erfc

    return erfc(x)


def _erf_inverse(y: Array) -> Array:
    from scipy.special import erfinv

    return erfinv(y)


def _erfc_inverse(y: Array) -> Array:
    from scipy.special import erfcinv

    return erfcinv(y)


def all_functions() -> dict[str, Function]:
    """Every function by name."""
    turn, root = math.pi / 4, math.sqrt(0.5)
    functions = (
        Function("exp", np.exp, (-746, 710), (-708.4, 88.72, -87.3, -103.9), LN2 / 2,
                 inverse=np.log, results=(0.5, 2)),
        Function("exp2", np.exp2, (-1076, 1025), (-1022, -1074, 1024), 0.5,
                 inverse=np.log2, results=(0.5, 2)),
        Function("expm1", np.expm1, (-40, 710), (-37.4, -17.3, 709.78), LN2 / 2,
                 inverse=np.log1p, results=(-0.9, 2)),
        Function("log", np.log, (0, 4), (1, root, 2 / 3), every_scale=True,
                 inverse=np.exp, results=(-700, 700)),
        Function("log2", np.log2, (0, 4), (1, root, 2 / 3), every_scale=True,
                 inverse=np.exp2, results=(-1022, 1023)),
        Function("log10", np.log10, (0, 4), (1, root, 2 / 3, 10, 100), every_scale=True,
                 inverse=lambda y: 10.0**y, results=(-300, 300)),
        Function("log1p", np.log1p, (-1, 4), (-1, root - 1, math.sqrt(2) - 1, -1 / 3, 1 / 3),
                 inverse=np.expm1, results=(-30, 30)),
        Function("tanh", np.tanh, (-20, 20), (9.01, 19.06), LN2 / 4,
                 inverse=np.arctanh, results=(-1, 1)),
        Function("sigmoid", _sigmoid, (-746, 40), (-709.8, -103.9, 16.6, 36.7), LN2 / 2,
                 inverse=lambda y: np.log(y / (1 - y)), results=(0, 1)),
        Function("softplus", _softplus, (-746, 40), (-709.8, -103.9, 16.6, 36.7), LN2 / 2,
                 inverse=lambda y: np.log(np.expm1(y)), results=(0, 5)),
        Function("erf", _erf, (-6.5, 6.5), (0.925, 1, 3.92, 5.92), 0.125,
                 inverse=_erf_inverse, results=(-1, 1), long_double=False),
        Function("erfc", _erfc, (-6.5, 27.5), (0.75, 26.54, 27.22, 9.19, 10.05), 0.125,
                 inverse=_erfc_inverse, results=(0, 2), long_double=False),
        Function("sin", np.sin, (-100, 100), (2.0**17, 2.0**30), turn,
                 inverse=np.arcsin, results=(-1, 1)),
        Function("cos", np.cos, (-100, 100), (2.0**17, 2.0**30), turn,
                 inverse=np.arccos, results=(-1, 1)),
        Function("tan", np.tan, (-100, 100), (2.0**17, 2.0**30), turn,
                 inverse=np.arctan, results=(-20, 20)),
        Function("asin", np.arcsin, (-1, 1), (0.5, root, 1), inverse=np.sin, results=(-1.57, 1.57)),
        Function("acos", np.arccos, (-1, 1), (0.5, root, 1), inverse=np.cos, results=(0, 3.14)),
        Function("atan", np.arctan, (-30, 30), (0.5, 1, 2, 2.0**26, 2.0**53),
                 inverse=np.tan, results=(-1.57, 1.57)),
        Function("cbrt", np.cbrt, (-8, 8), (1, 2, 4), every_scale=True,
                 inverse=lambda y: y**3, results=(-100, 100)),
        Function("rsqrt", _rsqrt, (0, 4), (1, 2), every_scale=True,
                 inverse=lambda y: 1 / (y * y), results=(0, 100)),
        Function("sinh", np.sinh, (-711, 711), (1, 710.47, 89.4), LN2 / 2,
                 inverse=np.arcsinh, results=(-100, 100)),
        Function("cosh", np.cosh, (-711, 711), (1, 710.47, 89.4), LN2 / 2,
                 inverse=np.arccosh, results=(1, 100)),
        Function("atan2", np.arctan2, (-2, 2), (0.5, 1), arity=2),
        Function("pow", np.power, (-2, 2), (1, root), arity=2),
    )  # fmt: skip
    return {function.name: function for function in functions}

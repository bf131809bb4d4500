"""Correctly rounded references: MPFR by way of gmpy2, as long doubles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import BackendError

PRECISION = 80  # bits of the values, before they are rounded to the 64 of a long double
EXACT_ERROR = 2.0**-12  # of `exact_values`, in ulp of float64


def load_gmpy2() -> ModuleType:
    """The module; BackendError where it is not installed."""
    try:
        import gmpy2
    except ImportError:
        raise BackendError(
            "accuracy: expected gmpy2 to be installed, for values of MPFR; install irgrad[accuracy]"
        ) from None
    return gmpy2


def exact_values(name: str, *arguments: np.ndarray) -> np.ndarray:
    """The function of such a name over float64 or float32 arrays, as long doubles.

    The error is half a unit in the last place of a long double. Special values are those of C99.
    Raises BackendError without gmpy2, or where a long double is no wider than a double.
    """
    gmpy2 = load_gmpy2()
    if np.finfo(np.longdouble).nmant < 63:
        raise BackendError("accuracy: expected long double to be wider than double, got as wide")
    function = _function(gmpy2, name)
    lists = [a.astype(np.float64).tolist() for a in arguments]
    with _precision(gmpy2, PRECISION):
        mpfr = gmpy2.mpfr
        values = [function(*map(mpfr, numbers)) for numbers in zip(*lists, strict=True)]
    with _precision(gmpy2, 64):
        return _long_doubles(gmpy2, values)


def _precision(gmpy2: ModuleType, bits: int) -> AbstractContextManager[Any]:
    return gmpy2.context(precision=bits)


def _function(gmpy2: ModuleType, name: str) -> Callable[..., Any]:
    exp, log1p, sqrt = gmpy2.exp, gmpy2.log1p, gmpy2.sqrt
    composed: dict[str, Callable[..., Any]] = {
        "sigmoid": lambda x: 1 / (1 + exp(-x)),
        "softplus": lambda x: (x if x > 0 else 0) + log1p(exp(-abs(x))),
        "rsqrt": lambda x: 1 / sqrt(x),
        "pow": lambda x, y: x**y,
    }
    return composed.get(name) or getattr(gmpy2, name)


def _long_doubles(gmpy2: ModuleType, values: list[Any]) -> np.ndarray:
    mantissas, exponents, others = [], [], []
    finite, mpfr = gmpy2.is_finite, gmpy2.mpfr
    for i, value in enumerate(values):
        if finite(value) and value:
            mantissa, exponent = mpfr(value, 64).as_mantissa_exp()
            mantissas.append(int(abs(mantissa)))
            exponents.append(int(exponent))
        else:  # zeros keep their sign
            mantissas.append(0)
            exponents.append(0)
            others.append((i, float(value)))
    # Beyond what any result is rounded to, so that no exponent overflows.
    scales = np.clip(np.array(exponents, np.int64), -12000, 12000).astype(np.int32)
    found = np.ldexp(np.array(mantissas, np.uint64).astype(np.longdouble), scales)
    negative = [bool(gmpy2.is_signed(value)) for value in values]
    found = np.where(negative, -found, found)
    for i, value in others:
        found[i] = value
    return found

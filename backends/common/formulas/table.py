"""The mathematical functions by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from . import error_functions, exponentials, inverses, logarithms, powers, trigonometry

# Each is called with lanes and its arguments.
FORMULAS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "acos": inverses.acos,
        "asin": inverses.asin,
        "atan": inverses.atan,
        "atan2": inverses.atan2,
        "cbrt": powers.cbrt,
        "cos": trigonometry.cos,
        "cosh": exponentials.cosh,
        "erf": error_functions.erf,
        "erfc": error_functions.erfc,
        "exp": exponentials.exp,
        "exp2": exponentials.exp2,
        "expm1": exponentials.expm1,
        "log": logarithms.log,
        "log10": logarithms.log10,
        "log1p": logarithms.log1p,
        "log2": logarithms.log2,
        "pow": powers.power,
        "rsqrt": powers.rsqrt,
        "sigmoid": exponentials.sigmoid,
        "sin": trigonometry.sin,
        "sinh": exponentials.sinh,
        "softplus": logarithms.softplus,
        "tan": trigonometry.tan,
        "tanh": exponentials.tanh,
    }
)
ARITY: Mapping[str, int] = MappingProxyType({"atan2": 2, "pow": 2})  # where it is not 1

FUNCTIONS: frozenset[str] = frozenset(FORMULAS)

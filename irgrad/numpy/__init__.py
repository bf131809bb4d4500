"""NumPy's functions, under NumPy's and the array API's names, for traced values and arrays alike.

With a traced value among the arguments a call is recorded in its trace. Otherwise it is NumPy's own
function, computed at once, which returns an ndarray (of rank 0 where NumPy gives a scalar), or a
Python number where only Python numbers came in.

Names are looked up in `irgrad.tracing.functions.namespace`, where the elementwise ones follow from
the op registry; constants and dtypes are NumPy's. `linalg` is the submodule of that name.
"""

from __future__ import annotations

from typing import Any

import numpy

from ..tracing.functions.namespace import FUNCTIONS
from . import linalg as linalg

_DATA = frozenset({"bool", "bool_", "dtype", "e", "euler_gamma", "finfo", "float32", "float64",
                   "iinfo", "inf", "int32", "int64", "nan", "ndarray", "newaxis", "pi"})
_INTERNAL = frozenset({"getitem"})

__all__ = sorted({name for name in FUNCTIONS if "." not in name} - _INTERNAL | _DATA)


def __getattr__(name: str) -> Any:
    if name in _DATA:
        return getattr(numpy, name)
    if name in _INTERNAL or name not in FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return FUNCTIONS[name]


def __dir__() -> list[str]:
    return __all__

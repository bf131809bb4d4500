"""All traced functions by their NumPy names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from . import contraction, creation, elementwise, joining, movement, norms, reductions

# Names of numpy.linalg for functions that the main namespace has too.
_IN_LINALG = ("matmul", "outer", "tensordot", "vecdot", "trace", "diagonal", "matrix_transpose")


def _gather() -> dict[str, Callable[..., Any]]:
    found = elementwise.registry_functions()
    for family in (elementwise.COMPOSED, movement.FUNCTIONS, joining.FUNCTIONS, creation.FUNCTIONS,
                   reductions.FUNCTIONS, contraction.FUNCTIONS, norms.FUNCTIONS):
        found.update(family)
    found["around"] = found["round"]
    for name in dir(np):
        # NumPy's second names, such as concat and acos, are the same object as the first.
        first = getattr(getattr(np, name), "__name__", None)
        if not name.startswith("_") and callable(getattr(np, name)) and first in found:
            found[name] = found[first]
    found.update({f"linalg.{name}": found[name] for name in _IN_LINALG})
    return found


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(_gather())

"""All traced functions by their NumPy names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from . import composed, contraction, creation, elementwise, joining, movement, norms, reductions

# Names of numpy.linalg for functions that the main namespace has too.
_IN_LINALG = ("matmul", "outer", "tensordot", "vecdot", "trace", "diagonal", "matrix_transpose")


def _gather() -> dict[str, Callable[..., Any]]:
    found = elementwise.registry_functions()
    for family in (elementwise, composed, movement, joining, creation, reductions, contraction,
                   norms):
        found.update(family.FUNCTIONS)
    found["around"] = found["round"]
    for name, value in list(vars(np).items()):  # dir(np) would load numpy.f2py and numpy.testing
        # NumPy's second names, such as concat and acos, are the same object as the first.
        first = getattr(value, "__name__", None)
        if not name.startswith("_") and callable(value) and first in found:
            found[name] = found[first]
    found.update({f"linalg.{name}": found[name] for name in _IN_LINALG})
    return found


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(_gather())

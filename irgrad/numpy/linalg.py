"""The functions of numpy.linalg that are sums of products and norms.

Factorisations, solves and matrix functions are in `irgrad.linalg`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracing.functions.namespace import FUNCTIONS

_PREFIX = "linalg."

__all__ = sorted(n.removeprefix(_PREFIX) for n in FUNCTIONS if n.startswith(_PREFIX))


def __getattr__(name: str) -> Callable[..., Any]:
    found = FUNCTIONS.get(_PREFIX + name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return __all__

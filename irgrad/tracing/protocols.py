"""NumPy's own functions on traced values: the dispatch protocols of NumPy's NEP 13 and NEP 18."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import TraceError

Functions = Mapping[str, Callable[..., Any]]
CREATION = frozenset({"arange", "array", "asarray", "eye", "full", "identity", "ones", "tri",
                      "zeros", "empty"})
REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}


def call_ufunc(
    functions: Functions,
    ufunc: np.ufunc,
    method: str,
    inputs: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:
    """Apply a NumPy ufunc to operands of which some are traced.

    Raises TraceError for a ufunc or a method that cannot be traced, and for the options that write
    into an array.
    """
    name = ufunc.__name__
    kept = ("axis", "where", "casting")  # to which None is no default of NumPy
    given = {key: v for key, v in options.items() if v is not None or key in kept}
    if "out" in given:
        raise TraceError(
            f"{name}: expected no array to write into, got out= (or an in-place operator on an "
            f"ndarray); write a new value instead, such as y = np.{name}(...)"
        )
    if method == "reduce" and name in REDUCTIONS:
        given.setdefault("axis", 0)
        return functions[REDUCTIONS[name]](*inputs, **given)
    if method != "__call__":
        raise TraceError(
            f"{name}.{method}: expected a call or a reduction of {', '.join(REDUCTIONS)}, got a "
            "method that cannot be traced"
        )
    if given and not (ufunc.signature and set(given) <= {"axis"}):
        raise TraceError(
            f"{name}: expected operands alone, got the options {', '.join(given)}; use astype and "
            "np.where instead"
        )
    return find_function(functions, name)(*inputs, **given)


def call_function(
    functions: Functions,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:
    """Apply a NumPy function that is not a ufunc to arguments of which some are traced."""
    module = function.__module__.removeprefix("numpy").lstrip(".")
    prefix = "" if module.startswith(("_", "lib", "core", "ma")) or not module else f"{module}."
    name = prefix + function.__name__
    given = {key: value for key, value in options.items() if key != "device" or value is not None}
    found = find_function(functions, name)
    if given:
        accepted = inspect.signature(found).parameters
        unknown = [key for key in given if key not in accepted]
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            raise TraceError(
                f"{name}: expected arguments among {', '.join(accepted)}, got {', '.join(unknown)}"
            )
    return found(*arguments, **given)


def find_function(functions: Functions, name: str) -> Callable[..., Any]:
    """The traced function of a name; TraceError naming near ones where there is none."""
    found = functions.get(name)
    if found is None:
        near = difflib.get_close_matches(name.split(".")[-1], functions, 4, 0.6)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise TraceError(
            f"{name}: expected a function that irgrad.numpy offers on traced values, got "
            f"numpy.{name}{hint}"
        )
    return found

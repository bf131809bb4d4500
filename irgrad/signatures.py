"""How arguments are given to a function: positions, names, and what a compile depends on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from .errors import ArgumentError
from .ir.spec import parse_type
from .ir.types import TensorType, dtype_of
from .runtime.boundary import describe_value
from .tracing.trees import leaf_names

Function = Callable[..., Any]
Position = int | str


def positions(given: int | str | Sequence[Position]) -> tuple[Position, ...]:
    return (given,) if isinstance(given, (int, str)) else tuple(given)


def parameters_of(f: Function) -> dict[str, inspect.Parameter]:
    """The parameters of a function that can be given by position; empty where unknown."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p for p in parameters if p.kind in kinds}


def spec_type(one: Any) -> TensorType:
    if isinstance(one, TensorType):
        return one
    if isinstance(one, str):
        return parse_type(one)
    array = np.asarray(one)
    return TensorType(dtype_of(array.dtype), array.shape)


def roots_of(f: Function, count: int) -> list[str]:
    """Names for the positional arguments of a call."""
    names = list(parameters_of(f))
    return [names[i] if i < len(names) else f"arg{i}" for i in range(count)]


def leaf_key(leaf: Any) -> Any:
    """What a compile depends on in one leaf: dtype and shape, or the type of a Python number."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.dtype.newbyteorder("="), leaf.shape
    return type(leaf)


def key_text(key: Any) -> str:
    return f"{key[0].name}{list(key[1])}" if isinstance(key, tuple) else key.__name__


def static_key(fixed: dict[Position, Any]) -> tuple[tuple[Position, type, Any], ...]:
    for position, value in fixed.items():
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                f"static argument {position}: expected a hashable value, got "
                f"{describe_value(value)}"
            ) from None
    return tuple((position, type(value), value) for position, value in fixed.items())


def check_leaves(
    f: Function, dynamic: Sequence[Any], leaves: Sequence[Any], spec: optree.PyTreeSpec
) -> None:
    """Raise ArgumentError for leaves that are no arrays or numbers, and for lists of numbers."""
    roots = roots_of(f, len(dynamic))
    for label, leaf in zip(leaf_names(spec, roots), leaves):
        if isinstance(leaf, np.ndarray) and type(leaf) not in (np.ndarray, np.memmap):
            raise ArgumentError(
                f"{label}: expected a plain ndarray, got the subclass {type(leaf).__name__}, whose "
                "rules compiled code does not follow; pass numpy.asarray(x)"
            )
        if not isinstance(leaf, (np.ndarray, np.generic, bool, int, float)):
            raise ArgumentError(
                f"{label}: expected an array or a number, got {describe_value(leaf)}; name "
                "arguments that are neither in static="
            )
    for label, argument in zip(roots, dynamic):
        _refuse_number_lists(label, argument)


def _refuse_number_lists(label: str, value: Any) -> None:
    """A list of numbers is nearly always meant as an array, and would be traced as scalars."""
    if isinstance(value, list) and value and all(isinstance(x, (bool, int, float)) for x in value):
        raise ArgumentError(
            f"{label}: expected an array, got a list of numbers; pass numpy.asarray(x), or a tuple "
            "where each number is an argument of its own"
        )
    if isinstance(value, (list, tuple)):
        for position, part in enumerate(value):
            _refuse_number_lists(f"{label}.{position}", part)
    elif isinstance(value, dict):
        for key, part in value.items():
            _refuse_number_lists(f"{label}.{key}", part)


def by_position(
    f: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """The arguments by position, defaults filled in before those given by name."""
    parameters = parameters_of(f)
    names = list(parameters)
    for name in kwargs:
        if name not in names or names.index(name) < len(args):
            raise ArgumentError(
                f"{function_name(f)}: expected keywords among "
                f"{', '.join(names[len(args) :]) or 'none'}, got {name!r}"
            )
    last = max(names.index(name) for name in kwargs)
    result = list(args)
    for name in names[len(args) : last + 1]:
        default = parameters[name].default
        if name not in kwargs and default is inspect.Parameter.empty:
            raise ArgumentError(
                f"{function_name(f)}: expected argument {name!r}, got none"
            )
        result.append(kwargs.get(name, default))
    return tuple(result)


def function_name(f: Function) -> str:
    """How messages call a function."""
    return getattr(f, "__name__", type(f).__name__)

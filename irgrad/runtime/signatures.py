"""How arguments are given to a function: positions, names, and what a compile depends on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

import numpy as np
import optree

from ..errors import ArgumentError, brief
from ..ir.spec import parse_type
from ..ir.types import TensorType, dtype_of
from ..tracing.locations import call_function
from ..tracing.trace import is_position
from ..tracing.trace import parameters_of as function_parameters
from ..tracing.trees import (
    MAX_NESTING,
    entry_text,
    flatten_object,
    leaf_names,
    too_deep,
    tree_text,
)
from .boundary import Boundary, Parameter, describe_value
from .guards import value_key

Function = Callable[..., Any]
Position = int | str


def positions(given: int | str | Sequence[Position]) -> tuple[Position, ...]:
    """One position or name, or several of them, as a tuple; ArgumentError for anything else."""
    found = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not all(map(is_position, found)):
        raise ArgumentError(
            "donate, static: expected positions from 0 on, or names, of arguments, got "
            f"{brief(given)}"
        )
    return found


def function_name(f: Function) -> str:
    """How messages call a function."""
    name = getattr(f, "__name__", None)
    return name if isinstance(name, str) else type(f).__name__


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a function.

    placed: those that may be given by position, with their defaults (`inspect.Parameter.empty` for
    none). nameless: those of them that may not be given by name. named: those that may be given by
    name alone. open: whether it takes any name. longer: whether it takes more positions than
    `placed`, or its parameters are not known.
    """

    function: str
    placed: Mapping[str, Any]
    nameless: frozenset[str]
    named: frozenset[str]
    open: bool
    longer: bool

    def root(self, position: int) -> str:
        """The name of a positional argument."""
        names = list(self.placed)
        return names[position] if position < len(names) else f"arg{position}"


def parameters_of(f: Function) -> Parameters:
    """The parameters of a function; none but positions where they cannot be found out."""
    found = function_parameters(f)
    placed = {
        p.name: p.default for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    nameless = frozenset(p.name for p in found if p.kind is p.POSITIONAL_ONLY)
    named = frozenset(p.name for p in found if p.kind is p.KEYWORD_ONLY)
    kinds = {p.kind for p in found}
    longer = not found or inspect.Parameter.VAR_POSITIONAL in kinds
    return Parameters(
        function_name(f), placed, nameless, named, inspect.Parameter.VAR_KEYWORD in kinds, longer
    )


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call.

    fixed: the static ones by position, or by name. dynamic: the others; where `keywords`, the last
    one is the dict of those that can only be given by name. places: the positions of the dynamic
    ones in the call.
    """

    parameters: Parameters
    fixed: Mapping[Position, Any]
    dynamic: tuple[Any, ...]
    places: Sequence[int]
    keywords: bool = False

    @property
    def roots(self) -> list[str]:
        """The names of the dynamic arguments."""
        names = [self.parameters.root(place) for place in self.places]
        return [*names, "keywords"] if self.keywords else names


def arrange(
    parameters: Parameters,
    static: Sequence[Position],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Arguments:
    """Sort the arguments of a call; names go to their positions, defaults fill gaps before them.

    Raises ArgumentError for names that the function does not have and for missing arguments.
    """
    if not static and not kwargs:
        return Arguments(parameters, {}, args, range(len(args)))
    by_position = {name for name in parameters.placed if name not in parameters.nameless}
    rest = {name: x for name, x in kwargs.items() if name not in by_position}
    args = _by_position(parameters, args, {n: x for n, x in kwargs.items() if n not in rest})
    for name in rest:
        if name not in parameters.named and not parameters.open:
            raise _other_keyword(parameters, args, name)
    chosen = [_static_position(parameters, entry) for entry in static]
    fixed: dict[Position, Any] = {i: x for i, x in enumerate(args) if i in chosen}
    fixed.update((name, rest.pop(name)) for name in chosen if name in rest)
    free = [i for i in range(len(args)) if i not in fixed]
    dynamic = [args[i] for i in free]
    if rest:
        dynamic.append(rest)
    return Arguments(parameters, fixed, tuple(dynamic), free, bool(rest))


def at_positions(
    f: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of `f` with names at their positions, and those by name alone.

    Raises ArgumentError as `arrange` does.
    """
    if not kwargs:
        return args, kwargs
    found = arrange(parameters_of(f), (), args, kwargs)
    return (found.dynamic[:-1], found.dynamic[-1]) if found.keywords else (found.dynamic, {})


def _by_position(
    parameters: Parameters, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    if not kwargs:
        return args
    names = list(parameters.placed)
    last = max(names.index(name) for name in kwargs)
    repeated = [name for name in kwargs if names.index(name) < len(args)]
    if repeated:
        raise _other_keyword(parameters, args, repeated[0])
    result = list(args)
    for name in names[len(args) : last + 1]:
        value = kwargs.get(name, parameters.placed[name])
        if value is inspect.Parameter.empty:
            raise ArgumentError(f"{parameters.function}: expected argument {name!r}, got none")
        result.append(value)
    return tuple(result)


def _other_keyword(parameters: Parameters, args: tuple[Any, ...], name: str) -> ArgumentError:
    """The error for a name that no argument is left to be given by."""
    left = [p for p in list(parameters.placed)[len(args) :] if p not in parameters.nameless]
    known = ", ".join([*left, *sorted(parameters.named)]) or "none"
    return ArgumentError(f"{parameters.function}: expected keywords among {known}, got {name!r}")


def _static_position(parameters: Parameters, entry: Position) -> Position:
    """The position of a static argument, or its name where it is given by name alone."""
    if isinstance(entry, str):
        if entry in parameters.named or (parameters.open and entry not in parameters.placed):
            return entry
        if entry not in parameters.placed:
            known = ", ".join([*parameters.placed, *sorted(parameters.named)])
            raise ArgumentError(f"static: expected a parameter among {known}, got {entry!r}")
        return list(parameters.placed).index(entry)
    if entry >= len(parameters.placed) and not parameters.longer:
        raise ArgumentError(
            f"static: expected positions below the {len(parameters.placed)} of "
            f"{parameters.function}, got {brief(entry)}"
        )
    return entry


def with_keywords(f: Function, arguments: Arguments) -> Function:
    """`f` as a function whose last positional argument is the dict of its keywords, if any."""
    if not arguments.keywords:
        return f
    place = len(arguments.dynamic) - 1 + sum(isinstance(key, int) for key in arguments.fixed)
    call = update_wrapper(partial(_call_with_keywords, f, place), f, updated=())
    by_name = [key for key in arguments.fixed if isinstance(key, str)]
    names = list(arguments.parameters.placed)[:place]
    for wanted in [*(f"argument_{i}" for i in range(len(names), place)), "keywords"]:
        while wanted in names or wanted in by_name:
            wanted += "_"
        names.append(wanted)
    new = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    new += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in by_name]
    call.__signature__ = inspect.Signature(new)  # type: ignore[attr-defined]
    return call


def _call_with_keywords(f: Function, place: int, *args: Any, **named: Any) -> Any:
    return call_function(f, args[:place], {**args[place], **named})


# -- what a compile depends on -------------------------------------------------------------------


def leaf_key(leaf: Any) -> Any:
    """What a compile depends on in one leaf, or type: dtype and shape, or the type of a Python
    number."""
    if isinstance(leaf, TensorType):
        return leaf.dtype.numpy, leaf.shape
    if isinstance(leaf, (np.ndarray, np.generic)):
        dtype = leaf.dtype
        return dtype if dtype.isnative else dtype.newbyteorder("="), leaf.shape
    return type(leaf)


def key_text(key: Any) -> str:
    """A leaf key in messages."""
    return f"{key[0].name}{list(key[1])}" if isinstance(key, tuple) else key.__name__


def static_key(fixed: Mapping[Position, Any]) -> tuple[tuple[Position, Any], ...]:
    """What a compile depends on in static arguments; ArgumentError for unhashable ones."""
    for position, value in fixed.items():
        try:
            hash(value)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"static argument {position}: expected a hashable value, got "
                f"{describe_value(value)}"
            ) from None
    try:
        return tuple((position, value_key(value)) for position, value in fixed.items())
    except RecursionError:
        raise too_deep() from None


# -- what may be traced --------------------------------------------------------------------------


def check_leaves(arguments: Arguments, leaves: Sequence[Any], spec: optree.PyTreeSpec) -> None:
    """Raise ArgumentError for leaves that are no arrays or numbers, and for lists of numbers."""
    for label, leaf in zip(leaf_names(spec, arguments.roots), leaves):
        if isinstance(leaf, np.ndarray) and type(leaf) not in (np.ndarray, np.memmap):
            raise ArgumentError(
                f"{label}: expected a plain ndarray, got the subclass {type(leaf).__name__}, whose "
                "rules compiled code does not follow; pass numpy.asarray(x)"
            )
        if not isinstance(leaf, (np.ndarray, np.generic, bool, int, float, TensorType)):
            raise ArgumentError(
                f"{label}: expected an array or a number, got {describe_value(leaf)}; name "
                "arguments that are neither in static="
            )
    for label, argument in zip(arguments.roots, arguments.dynamic):
        _refuse_number_lists(label, argument)


def _refuse_number_lists(label: str, value: Any, level: int = 0) -> None:
    """A list of numbers is nearly always meant as an array, and would be traced as scalars."""
    if level > MAX_NESTING:
        raise too_deep()
    if isinstance(value, list) and value and all(isinstance(x, (bool, int, float)) for x in value):
        raise ArgumentError(
            f"{label}: expected an array, got a list of numbers; pass numpy.asarray(x), or a tuple "
            "where each number is an argument of its own"
        )
    if isinstance(value, (list, tuple)):
        for position, part in enumerate(value):
            _refuse_number_lists(f"{label}.{position}", part, level + 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            _refuse_number_lists(f"{label}.{entry_text(key)}", part, level + 1)


def admit_specs(
    function: str, specs: tuple[Any, ...], arguments: Arguments
) -> tuple[list[np.ndarray], list[TensorType]]:
    """The leaves of arguments that have the structure and the types of `specs`, numbers as arrays,
    and these types.

    Raises ArgumentError for others.
    """
    wanted, spec = flatten_object(specs)
    given: Any = arguments.dynamic
    try:
        leaves = spec.flatten_up_to(given)
    except (ValueError, TypeError):
        got = tree_text(flatten_object(given)[1])
        raise ArgumentError(
            f"{function}: expected arguments {tree_text(spec)} as in specs, got {got}"
        ) from None
    labels = leaf_names(spec, arguments.roots)
    types = [_spec_type(one) for one in wanted]
    arrays = Boundary([Parameter(a, b) for a, b in zip(labels, types)]).admit(leaves)
    return [x if isinstance(x, np.ndarray) else a for x, a in zip(leaves, arrays)], types


def _spec_type(one: Any) -> TensorType:
    if isinstance(one, TensorType):
        return one
    if isinstance(one, str):
        return parse_type(one)
    array = np.asarray(one)
    return TensorType(dtype_of(array.dtype), array.shape)

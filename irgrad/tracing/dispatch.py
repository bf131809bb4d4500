"""From a call to its meaning: recorded where an argument is traced, NumPy's own otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from ..errors import ArgumentError, IrgradError, LimitError, TraceError
from .context import Trace, escaped
from .locations import add_location, user_locations
from .sizes import SymbolicSize
from .tracer import Tracer

P = ParamSpec("P")
R = TypeVar("R")
_NUMBERS = (bool, int, float)
MAX_NESTING = 64  # levels of lists, as many as an array of NumPy has axes


def find_trace(values: Iterable[Any], level: int = 0) -> Trace | None:
    """The innermost trace among values and the lists and tuples of values; None for none.

    level: how many lists and tuples the values are in.
    Raises TraceError for a traced value whose trace has ended, LimitError for lists too deep.
    """
    if level > MAX_NESTING:
        raise LimitError(
            f"irgrad.numpy: expected lists nested at most {MAX_NESTING} deep, got deeper ones"
        )
    found: Trace | None = None
    for value in values:
        if isinstance(value, (Tracer, SymbolicSize)):
            trace: Trace | None = value.context
            if trace is not None and not trace.live:
                raise _escaped(value)
        elif isinstance(value, (list, tuple)):
            trace = find_trace(value, level + 1)
        else:
            continue
        if trace is not None and (found is None or trace.begun > found.begun):
            found = trace
    return found


def _escaped(value: Tracer | SymbolicSize) -> TraceError:
    if isinstance(value, Tracer):
        error = TraceError(escaped(value))
    else:
        error = TraceError(
            f"size {value}: expected to be used while its function is traced, got a use after the "
            "trace has ended"
        )
    add_location(error, user_locations())
    return error


def run_traced(trace: Trace, body: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Call `body(trace, ...)` so that its nodes and its errors carry the user's line.

    Only the outermost of nested calls looks for the line.
    """
    builder = trace.builder
    if builder.locations:
        return body(trace, *args, **kwargs)
    builder.locations = user_locations()
    try:
        return body(trace, *args, **kwargs)
    except IrgradError as error:
        add_location(error, builder.locations)
        raise
    finally:
        builder.locations = ()


def traced(
    outside: Callable[..., Any],
) -> Callable[[Callable[Concatenate[Trace, P], Any]], Callable[P, Any]]:
    """Decorate the traced form of a function, which gets the trace as its first argument.

    outside: what is called, with the same arguments, where none of them is traced: the NumPy
    function of the same meaning.
    """

    def decorate(body: Callable[Concatenate[Trace, P], Any]) -> Callable[P, Any]:
        @wraps(body)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            trace = find_trace(args)
            if trace is None and kwargs:
                trace = find_trace(kwargs.values())
            if trace is None:
                return as_arrays(outside(*args, **kwargs), (*args, *kwargs.values()))
            outermost = not trace.builder.locations
            try:
                return run_traced(trace, body, *args, **kwargs)
            except (TypeError, ValueError, OverflowError) as error:
                if isinstance(error, IrgradError) or not outermost:
                    raise
                raise _argument_error(call, args, kwargs, error) from error

        signature = inspect.signature(body)
        parameters = list(signature.parameters.values())[1:]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return call

    return decorate


def _argument_error(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> ArgumentError:
    """The error for arguments that the traced form of a function makes nothing of."""
    signature = inspect.signature(function)
    reason = f"got what raises {type(error).__name__}: {error}"
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        reason = f"got a call with {str(mismatch).removeprefix('got ')}"
    name = getattr(function, "__name__", "function")
    found = ArgumentError(
        f"{name}: expected arguments that fit ({', '.join(signature.parameters)}), {reason}"
    )
    add_location(found, user_locations())
    return found


def as_arrays(result: Any, arguments: Iterable[Any]) -> Any:
    """A result of NumPy, scalars as arrays of rank 0, or as Python numbers where those came in."""
    if isinstance(result, np.generic):
        plain = all(x is None or isinstance(x, (str, *_NUMBERS)) for x in arguments)
        plain = plain and not any(isinstance(x, np.generic) for x in arguments)
        return result.item() if plain else np.asarray(result)
    if isinstance(result, (list, tuple)) and any(isinstance(x, np.generic) for x in result):
        return type(result)(as_arrays(part, arguments) for part in result)
    return result


def refuse(function: str, **options: Any) -> None:
    """Raise TraceError for an option of NumPy that is given but has no traced meaning."""
    for name, value in options.items():
        if value is not None:
            raise TraceError(f"{function}: expected no argument {name!r}, got one; it cannot be "
                             "traced, write the result of the call instead")

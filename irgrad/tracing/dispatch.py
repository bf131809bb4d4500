"""From a call to its meaning: recorded where an argument is traced, NumPy's own otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import numpy as np

from ..errors import (
    ArgumentError,
    DTypeError,
    IrgradError,
    LimitError,
    ShapeError,
    TraceError,
)
from .context import Trace, escaped
from .locations import add_location, user_locations
from .sizes import SymbolicSize
from .tracer import Tracer

P = ParamSpec("P")
R = TypeVar("R")
_NUMBERS = (bool, int, float)
MAX_NESTING = 64  # levels of lists, as many as an array of NumPy has axes
# What Python and NumPy raise for arguments that mean nothing to them, with the error of irgrad that
# is raised instead: one of the same Python class where there is one. A FloatingPointError is left
# out: np.errstate(all="raise") asks for it.
_REFUSALS: tuple[tuple[tuple[type[Exception], ...], type[IrgradError]], ...] = (
    ((RecursionError, MemoryError), LimitError),
    ((np.exceptions.DTypePromotionError,), DTypeError),
    ((ValueError, LookupError), ShapeError),
    ((TypeError, AttributeError, OverflowError, ZeroDivisionError, NotImplementedError),
     ArgumentError),
)
_REFUSED: tuple[type[Exception], ...] = (
    IrgradError,
    *(kind for kinds, _ in _REFUSALS for kind in kinds),
)
_MAX_REASON = 240  # characters that are quoted of another library's message


def find_trace(values: Iterable[Any], level: int = 0) -> Trace | None:
    """The innermost trace among values and the lists and tuples of values; None for none.

    level: how many lists and tuples the values are in.
    Raises TraceError for a traced value whose trace has ended, LimitError for lists too deep.
    """
    if level > MAX_NESTING:
        error = LimitError(
            f"irgrad.numpy: expected lists nested at most {MAX_NESTING} deep, got deeper ones"
        )
        add_location(error, user_locations())
        raise error
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
                try:
                    return as_arrays(outside(*args, **kwargs), (*args, *kwargs.values()))
                except _REFUSED as error:
                    _refuse_call(call, None, error)
            outermost = not trace.builder.locations
            try:
                return run_traced(trace, body, *args, **kwargs)
            except _REFUSED as error:
                if not outermost:
                    raise
                _refuse_call(call, (args, kwargs), error)

        signature = inspect.signature(body)
        parameters = list(signature.parameters.values())[1:]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return call

    return decorate


def formula(body: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that is written in traced functions: one boundary for all of them."""
    call = wraps(body)(traced(body)(lambda t, *args, **kwargs: body(*args, **kwargs)))
    call.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]
    return call


def _refuse_call(
    function: Callable[..., Any],
    traced_with: tuple[tuple[Any, ...], Mapping[str, Any]] | None,
    error: Exception,
) -> NoReturn:
    """Raise the named error for arguments that a function makes nothing of, or the named `error`.

    traced_with: the arguments of a call of the traced form, None for one of NumPy's function, whose
    message says what does not fit its signature.
    """
    if isinstance(error, IrgradError):
        add_location(error, user_locations())
        raise error
    reason = f"got what raises {type(error).__name__}: {_one_line(error)}"
    name = getattr(function, "__name__", "function").rstrip("_")
    signature = inspect.signature(function)
    accepted = f"({', '.join(signature.parameters)})"
    if traced_with is None:
        if hasattr(np, name) or hasattr(np.linalg, name):
            accepted = f"NumPy's {name}"
    else:
        args, kwargs = traced_with
        try:
            signature.bind(*args, **kwargs)
        except TypeError as mismatch:
            reason = f"got a call with {str(mismatch).removeprefix('got ')}"
    kind = next(found for kinds, found in _REFUSALS if isinstance(error, kinds))
    found = kind(f"{name}: expected arguments that fit {accepted}, {reason}")
    add_location(found, user_locations())
    raise found from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."


def plain_array(function: str, x: Any) -> np.ndarray:
    """What NumPy converts to an ndarray, as one.

    Raises ArgumentError for a subclass with rules of its own, of which a conversion would lose
    them: the mask of a masked array, the product of a matrix.
    """
    if isinstance(x, np.ndarray) and type(x) not in (np.ndarray, np.memmap):
        raise ArgumentError(
            f"{function}: expected a plain ndarray, got {type(x).__name__}; convert it with "
            "np.asarray"
        )
    return np.asarray(x)


def as_arrays(result: Any, arguments: Iterable[Any]) -> Any:
    """A result of NumPy, scalars as arrays of rank 0, or as Python numbers where those came in.

    A scalar of a dtype that no Python number has stays an array: sin(True) is of float16.
    """
    if isinstance(result, np.generic):
        plain = all(x is None or isinstance(x, (str, *_NUMBERS)) for x in arguments)
        plain = plain and not any(isinstance(x, np.generic) for x in arguments)
        if plain and np.asarray(result.item()).dtype == result.dtype:
            return result.item()
        return np.asarray(result)
    if isinstance(result, (list, tuple)) and any(isinstance(x, np.generic) for x in result):
        return type(result)(as_arrays(part, arguments) for part in result)
    return result


def refuse(function: str, **options: Any) -> None:
    """Raise TraceError for an option of NumPy that is given but has no traced meaning."""
    for name, value in options.items():
        if value is not None:
            raise TraceError(f"{function}: expected no argument {name!r}, got one; it cannot be "
                             "traced, write the result of the call instead")

"""Functions that join arrays, and that read what is known of them while tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import ArgumentError, DTypeError, ShapeError, TraceError, brief
from ...ir.types import DType
from ...ops import movement as ir
from ...ops.build import Expr
from ..context import Trace
from ..dispatch import refuse, traced
from ..sizes import SymbolicSize, visible
from ..tracer import Tracer
from .elementwise import cast
from .movement import FUNCTIONS as MOVEMENT
from .operands import as_axis, as_dtype, as_flag, as_order, common_dtype, fit, operands


def _parts(t: Trace, function: str, arrays: Any, dtype: Any) -> list[Expr]:
    """The arrays to join, in their common dtype."""
    if isinstance(arrays, Tracer):
        arrays = list(arrays)
    given = operands(t, *arrays)
    if not given:
        raise ShapeError(f"{function}: expected at least one array, got none")
    common, _ = common_dtype(function, given)
    parts = [fit(t, x, common, x.type.shape) for x in given]
    if dtype is None:
        return parts
    target = as_dtype(dtype)
    if not np.can_cast(common.numpy, target.numpy, "same_kind"):
        raise DTypeError(
            f"{function}: expected a dtype that holds {common}, got {target}; use astype"
        )
    return [_as(t, part, target) for part in parts]


def _as(t: Trace, x: Expr, dtype: DType) -> Expr:
    return cast(t, t.wrap(x), dtype).expr


@traced(np.concatenate)
def concatenate(
    t: Trace, arrays: Any, /, axis: int | None = 0, out: None = None, *, dtype: Any = None
) -> Tracer:
    """The arrays one after another along an axis, raveled first where that is None."""
    refuse("concatenate", out=out)
    parts = _parts(t, "concatenate", arrays, dtype)
    if axis is None:
        return t.wrap(ir.concatenate([ir.reshape(x, (x.type.size,)) for x in parts], 0))
    if not parts[0].type.rank:
        raise ShapeError(
            f"concatenate: expected arrays with axes, got {parts[0].type}; use stack for numbers"
        )
    return t.wrap(ir.concatenate(parts, as_axis("concatenate", axis, parts[0].type.rank)))


@traced(np.stack)
def stack(t: Trace, arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None) -> Tracer:
    """The arrays, all of one shape, along a new axis."""
    refuse("stack", out=out)
    parts = _parts(t, "stack", arrays, dtype)
    for position, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ShapeError(
                f"stack: expected arrays of equal shape, got {parts[0].type} and {part.type} "
                f"(operand {position})"
            )
    place = as_axis("stack", axis, parts[0].type.rank + 1)
    shape = parts[0].shape
    thin = [ir.reshape(x, (*shape[:place], 1, *shape[place:])) for x in parts]
    return t.wrap(ir.concatenate(thin, place))


def _numpy_dstack(tup: Any) -> Any:
    """numpy.dstack, which breaks the memory of the process where it gets rows of np.matrix."""
    parts = tup if isinstance(tup, (list, tuple)) else (tup,)
    if any(isinstance(part, np.matrix) for part in parts):
        raise ArgumentError("dstack: expected plain arrays, got matrix; convert it with np.asarray")
    return np.dstack(tup)


def _raised_and_joined(
    name: str, raise_to: str, axis: int, outside: Callable[..., Any]
) -> Callable[..., Tracer]:
    """Join arrays along an axis after raising their rank."""

    @traced(outside)
    def function(t: Trace, tup: Any, *, dtype: Any = None) -> Tracer:
        if name == "dstack":
            refuse(name, dtype=dtype)
        parts = [t.wrap(x) for x in _parts(t, name, tup, dtype)]
        raised = [MOVEMENT[raise_to](part) for part in parts]
        first_axis_only = name == "hstack" and raised[0].ndim == 1
        return concatenate(raised, 0 if first_axis_only else axis)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}."
    return function


@traced(np.column_stack)
def column_stack(t: Trace, tup: Any) -> Tracer:
    """Vectors as the columns of a matrix, matrices side by side."""
    parts = _parts(t, "column_stack", tup, None)
    columns = [
        t.wrap(ir.reshape(x, (x.type.size, 1)) if x.type.rank < 2 else x) for x in parts
    ]
    return concatenate(columns, 1)


@traced(np.asarray)
def asarray(t: Trace, a: Any, dtype: Any = None, **options: Any) -> Tracer:
    """A traced value as it is; lists of traced values stacked, level by level."""
    refuse("asarray", **{k: v for k, v in options.items() if k not in ("copy", "like", "order")})
    if isinstance(a, (list, tuple)):
        result = stack([asarray(x) if _is_nested(x) else x for x in a])
    else:
        result = t.lift(a)
    return result if dtype is None else cast(t, result, as_dtype(dtype))


def _is_nested(x: Any) -> bool:
    return isinstance(x, (list, tuple))


@traced(np.meshgrid)
def meshgrid(
    t: Trace, *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Tracer, ...]:
    """Coordinate arrays of a grid from vectors."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: expected indexing 'xy' or 'ij', got {brief(indexing)}")
    thin = as_flag("meshgrid", "sparse", sparse)
    xs = [t.lift(x).expr for x in xi]
    for position, x in enumerate(xs):
        if x.type.rank > 1:
            raise ShapeError(f"meshgrid: expected vectors, got {x.type} (operand {position})")
    rank = len(xs)
    order = list(range(rank))
    if indexing == "xy" and rank > 1:
        order[0], order[1] = 1, 0
    whole = [xs[order[i]].type.size for i in range(rank)]
    results = []
    for position, x in enumerate(xs):
        shape = [1] * rank if thin else whole
        shape = [x.type.size if i == order[position] else size for i, size in enumerate(shape)]
        flat = ir.reshape(x, (x.type.size,))
        results.append(t.wrap(ir.broadcast(flat, shape, (order[position],))))
    return tuple(results)


# -- what is known while tracing -------------------------------------------------------------------


@traced(np.shape)
def shape(t: Trace, a: Any) -> tuple[Any, ...]:
    """The sizes of the axes."""
    return t.lift(a).shape


@traced(np.ndim)
def ndim(t: Trace, a: Any) -> int:
    """The number of axes."""
    return t.lift(a).ndim


@traced(np.size)
def size(t: Trace, a: Any, axis: int | None = None) -> int | SymbolicSize:
    """The number of elements, or the size of one axis."""
    x = t.lift(a)
    if axis is None:
        return x.size
    return visible(t, x.type.shape[as_axis("size", axis, x.type.rank)])


@traced(np.result_type)
def result_type(t: Trace, *arrays_and_dtypes: Any) -> np.dtype:
    """The dtype that promotion gives."""
    plain = [
        np.zeros(0, x.dtype) if isinstance(x, Tracer) and not x.weak else
        x.dtype.type(0).item() if isinstance(x, Tracer) else
        0 if isinstance(x, SymbolicSize) else x
        for x in arrays_and_dtypes
    ]
    return np.result_type(*plain)


@traced(np.copy)
def copy(t: Trace, a: Any, order: str = "K", subok: bool = False) -> Tracer:
    """The value itself: traced values are never written."""
    as_order("copy", order)
    return t.lift(a)


def refused(name: str, instead: str, outside: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function that cannot be traced; the message says what to write."""

    @traced(outside)
    def function(t: Trace, *args: Any, **kwargs: Any) -> Any:
        raise TraceError(f"{name}: expected a function that can be traced, got {name}; {instead}")

    function.__name__ = function.__qualname__ = name
    return function


_BY_DATA = "its result has a shape that depends on the data; write np.where(condition, x, y)"
REFUSED: Sequence[tuple[str, str]] = (
    ("nonzero", _BY_DATA), ("flatnonzero", _BY_DATA), ("argwhere", _BY_DATA),
    ("unique", _BY_DATA), ("compress", _BY_DATA), ("extract", _BY_DATA),
    ("take", "index with integers and slices, or contract with a one-hot matrix"),
    ("put", "build the new value with np.where"),
    ("copyto", "build the new value with np.where"),
    ("sort", "sorting is not offered"), ("argsort", "sorting is not offered"),
)

FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "concatenate": concatenate,
    "stack": stack,
    "vstack": _raised_and_joined("vstack", "atleast_2d", 0, np.vstack),
    "hstack": _raised_and_joined("hstack", "atleast_1d", 1, np.hstack),
    "dstack": _raised_and_joined("dstack", "atleast_3d", 2, _numpy_dstack),
    "column_stack": column_stack,
    "asarray": asarray,
    "array": asarray,
    "meshgrid": meshgrid,
    "shape": shape,
    "ndim": ndim,
    "size": size,
    "result_type": result_type,
    "copy": copy,
    **{name: refused(name, instead, getattr(np, name)) for name, instead in REFUSED},
})

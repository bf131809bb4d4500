"""Functions that make arrays, masks and diagonals.

Called with plain sizes they are NumPy's functions and return ordinary ndarrays, which become
captures where a trace meets them: nothing tells a fresh array from one that the program will write
again, and a capture is read at each call. They build constants and index grids of the graph where
an argument is traced: a symbolic size, a traced value, or `like=` (`zeros((3, 4), like=x)`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import ShapeError, TraceError
from ...ir.dims import Size, divide_exact, lower_bound
from ...ir.types import BOOL, F64, I64, DType, TensorType
from ...ops import movement as ir
from ...ops.build import Expr
from ...ops.reduce import reduce_sum
from ..context import Trace
from ..dispatch import traced
from ..sizes import SymbolicSize
from ..tracer import Tracer
from .elementwise import cast
from .operands import (
    Number,
    as_axes,
    as_axis,
    as_dtype,
    as_flag,
    as_order,
    as_static_int,
    broadcast_shapes,
    common_dtype,
    fit,
    operand,
    operands,
)


def _without_like(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function, called with arrays that are not traced as `like`."""

    def outside(*args: Any, like: Any = None, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return outside


def _filled(t: Trace, value: Any, shape: tuple[Size, ...], dtype: Any) -> Tracer:
    given = operand(t, value)
    default, _ = common_dtype("full", [given])
    target = default if dtype is None else as_dtype(dtype)
    if isinstance(given, Number):
        return t.wrap(t.constant(value, TensorType(target, shape)))
    return t.wrap(fit(t, cast(t, given, target), target, shape))


def _constant_function(name: str, value: int) -> Callable[..., Any]:
    @traced(_without_like(getattr(np, name)))
    def function(
        t: Trace, shape: Any, dtype: Any = None, order: str = "C", *, like: Any = None
    ) -> Tracer:
        as_order(name, order)
        return _filled(t, float(value), t.shape(shape, name), dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"An array of {value}s, of float64 where no dtype is given."
    return function


def _constant_like_function(name: str, value: int) -> Callable[..., Any]:
    @traced(getattr(np, name))
    def function(
        t: Trace, a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
    ) -> Tracer:
        as_order(name, order)
        type_ = t.lift(a).type
        sizes = type_.shape if shape is None else t.shape(shape, name)
        return _filled(t, value, sizes, type_.dtype if dtype is None else dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"An array of {value}s with the shape and the dtype of another."
    return function


@traced(_without_like(np.full))
def full(
    t: Trace, shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, like: Any = None
) -> Tracer:
    """An array of one value, or of a value repeated to a shape."""
    as_order("full", order)
    return _filled(t, fill_value, t.shape(shape, "full"), dtype)


@traced(np.full_like)
def full_like(
    t: Trace, a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
    shape: Any = None,
) -> Tracer:
    """An array of one value with the shape and the dtype of another."""
    as_order("full_like", order)
    type_ = t.lift(a).type
    sizes = type_.shape if shape is None else t.shape(shape, "full_like")
    return _filled(t, fill_value, sizes, type_.dtype if dtype is None else dtype)


# -- ranges ----------------------------------------------------------------------------------------


def _is_size(x: Any) -> bool:
    return isinstance(x, (SymbolicSize, int, np.integer)) and not isinstance(x, bool)


@traced(_without_like(np.arange))
def arange(
    t: Trace, start: Any, stop: Any = None, step: Any = None, dtype: Any = None, *, like: Any = None
) -> Tracer:
    """The integers from start (0 where one bound is given) to below stop, in steps."""
    first, end = (0, start) if stop is None else (start, stop)
    stride = 1 if step is None else step
    if not all(map(_is_size, (first, end))):
        if like is not None and not isinstance(first, Tracer) and not isinstance(end, Tracer):
            numbers: tuple[Any, ...] = (first, end, stride)
            return t.lift(np.arange(*numbers, dtype=dtype))
        raise TraceError(
            f"arange: expected integers or sizes known while tracing, got {start}, {stop}, {step}; "
            "scale np.arange(n) instead"
        )
    low, high = t.size(first, "arange"), t.size(end, "arange")
    pace = as_static_int("arange", "step", stride)
    if pace == 0:
        raise ShapeError("arange: expected a step other than 0, got 0")
    extent = (high - low) if pace > 0 else (low - high)
    if isinstance(extent, int):
        count: Size | None = max(-(-extent // abs(pace)), 0)
    else:
        count = divide_exact(extent, abs(pace))
    if count is None:
        raise ShapeError(
            f"arange: expected a step that divides the symbolic extent {extent}, got {pace}"
        )
    index = t.builder.one("iota", shape=(count,), axis=0, dtype=I64)
    if pace != 1:
        index = index * pace
    if isinstance(first, SymbolicSize):
        index = index + fit(t, t.lift(first), I64, (count,))
    elif low != 0:
        index = index + int(first)
    return cast(t, t.wrap(index), I64 if dtype is None else as_dtype(dtype))


@traced(np.linspace)
def linspace(
    t: Trace, start: Any, stop: Any, num: Any = 50, endpoint: bool = True, *, dtype: Any = None
) -> Tracer:
    """Evenly spaced numbers from start to stop, along a new first axis."""
    count = t.size(num, "linspace")
    ends_at_stop = as_flag("linspace", "endpoint", endpoint)
    given = operands(t, start, stop)
    common, _ = common_dtype("linspace", given)
    work = common if common.is_float else F64
    inner = broadcast_shapes("linspace", [x.type for x in given])
    a, b = (fit(t, x, work, inner) for x in given)
    shape = (count, *inner)
    index = t.builder.one("iota", shape=shape, axis=0, dtype=work)
    last = fit(t, t.lift(num) if isinstance(num, SymbolicSize) else operand(t, count), work, shape)
    divisor = last - 1.0 if ends_at_stop else last
    spaced = range(1, len(shape))
    low, high = ir.broadcast(a, shape, spaced), ir.broadcast(b, shape, spaced)
    single = divisor.eq(0)
    safe = single.op("select", divisor.like(1.0), divisor)
    result = low + index * ((high - low) / safe)
    if ends_at_stop:
        ends = index.eq(divisor).op("logical_and", single.op("logical_not"))
        result = ends.op("select", high, result)
    return cast(t, t.wrap(result), work if dtype is None else as_dtype(dtype))


# -- masks and diagonals ---------------------------------------------------------------------------


def index_grid(like: Expr, shape: tuple[Size, ...], axis: int) -> Expr:
    """The index along an axis as i64 at each element of a shape."""
    return ir.iota(like, shape, axis, I64)


def _offset_rows(t: Trace, shape: tuple[Size, ...], k: int) -> tuple[Expr, Expr]:
    """Row index plus k, and column index, over the last two axes of a shape."""
    rank = len(shape)
    rows = t.builder.one("iota", shape=shape, axis=rank - 2, dtype=I64)
    columns = t.builder.one("iota", shape=shape, axis=rank - 1, dtype=I64)
    return (rows + k if k else rows), columns


@traced(_without_like(np.eye))
def eye(
    t: Trace, N: Any, M: Any = None, k: Any = 0, dtype: Any = float, order: str = "C", *,  # noqa: N803
    like: Any = None,
) -> Tracer:
    """1 on a diagonal, 0 elsewhere."""
    as_order("eye", order)
    rows = t.size(N, "eye")
    columns = rows if M is None else t.size(M, "eye")
    row, column = _offset_rows(t, (rows, columns), as_static_int("eye", "k", k))
    return cast(t, t.wrap(row.eq(column)), as_dtype(dtype))


@traced(_without_like(np.identity))
def identity(t: Trace, n: Any, dtype: Any = None, *, like: Any = None) -> Tracer:
    """The identity matrix."""
    return eye(n, dtype=float if dtype is None else dtype, like=like)


@traced(_without_like(np.tri))
def tri(
    t: Trace, N: Any, M: Any = None, k: Any = 0, dtype: Any = float, *, like: Any = None  # noqa: N803
) -> Tracer:
    """1 at and below a diagonal, 0 above."""
    rows = t.size(N, "tri")
    columns = rows if M is None else t.size(M, "tri")
    row, column = _offset_rows(t, (rows, columns), as_static_int("tri", "k", k))
    return cast(t, t.wrap(row.op("ge", column)), as_dtype(dtype))


def _triangle(t: Trace, name: str, m: Any, k: Any) -> Tracer:
    x = t.lift(m).expr
    if x.type.rank < 2:
        raise ShapeError(f"{name}: expected rank 2 or more, got {x.type}")
    row, column = _offset_rows(t, x.shape, as_static_int(name, "k", k))
    kept = row.op("ge", column) if name == "tril" else row.op("le", column)
    return t.wrap(kept.op("select", x, x.like(0)))


@traced(np.tril)
def tril(t: Trace, m: Any, k: Any = 0) -> Tracer:
    """The elements at and below a diagonal of the last two axes, 0 above."""
    return _triangle(t, "tril", m, k)


@traced(np.triu)
def triu(t: Trace, m: Any, k: Any = 0) -> Tracer:
    """The elements at and above a diagonal of the last two axes, 0 below."""
    return _triangle(t, "triu", m, k)


def take_diagonal(x: Expr, offset: int = 0) -> Expr:
    """A diagonal of the last two axes as the last axis, as a masked sum along rows."""
    rank = x.type.rank
    rows, columns = x.shape[rank - 2 :]
    low: list[Size] = [0] * (rank - 2)
    low += [_clamped(-offset, rows), _clamped(offset, columns)]
    height, width = rows - low[-2], columns - low[-1]
    length = _smaller(height, width)
    stop = [*x.shape[: rank - 2], low[-2] + length, low[-1] + length]
    block = ir.slice_axes(x, low, stop)
    mask = index_grid(block, block.shape, rank - 2).eq(index_grid(block, block.shape, rank - 1))
    if block.dtype is BOOL:
        return mask.op("logical_and", block).op("reduce_any", axes=(rank - 2,))
    return reduce_sum(mask.op("select", block, block.like(0)), (rank - 2,))


def _clamped(start: int, size: Size) -> Size:
    """A start held to 0..size, the end only where that is a number."""
    return max(min(start, size), 0) if isinstance(size, int) else max(start, 0)


def _smaller(a: Size, b: Size) -> Size:
    """The smaller of two sizes, not below 0 where that is known."""
    if isinstance(a, int) and isinstance(b, int):
        return max(min(a, b), 0)
    for small, large in ((a, b), (b, a)):
        low = lower_bound(large - small)
        if low is not None and low >= 0:
            return small
    raise ShapeError(
        f"diagonal: expected axes of which one is known to be the shorter, got sizes {a} and {b}"
    )


def _diagonal(t: Trace, a: Any, offset: Any, axis1: Any, axis2: Any, name: str) -> Expr:
    x = t.lift(a).expr
    rank = x.type.rank
    if rank < 2:
        raise ShapeError(f"{name}: expected rank 2 or more, got {x.type}")
    first, second = as_axis(name, axis1, rank), as_axis(name, axis2, rank)
    as_axes(name, (first, second), rank)
    rest = [axis for axis in range(rank) if axis not in (first, second)]
    moved = ir.transpose(x, (*rest, first, second))
    return take_diagonal(moved, as_static_int(name, "offset", offset))


@traced(np.diagonal)
def diagonal(t: Trace, a: Any, offset: Any = 0, axis1: int = 0, axis2: int = 1) -> Tracer:
    """A diagonal of two axes as the last axis of the result."""
    return t.wrap(_diagonal(t, a, offset, axis1, axis2, "diagonal"))


@traced(np.trace)
def trace(
    t: Trace, a: Any, offset: Any = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Tracer:
    """The sum of a diagonal of two axes."""
    diagonal_values = t.wrap(_diagonal(t, a, offset, axis1, axis2, "trace"))
    return t.functions["sum"](diagonal_values, -1, dtype)


@traced(np.diag)
def diag(t: Trace, v: Any, k: Any = 0) -> Tracer:
    """A vector as a diagonal of a matrix, or a diagonal of a matrix as a vector."""
    x = t.lift(v).expr
    offset = as_static_int("diag", "k", k)
    if x.type.rank == 2:
        return t.wrap(take_diagonal(x, offset))
    if x.type.rank != 1:
        raise ShapeError(f"diag: expected rank 1 or 2, got {x.type}")
    padded = ir.pad(x, [max(offset, 0)], [max(-offset, 0)])
    size = padded.shape[0]
    row, column = _offset_rows(t, (size, size), offset)
    return t.wrap(row.eq(column).op(
        "select", *_with_zero(ir.broadcast(padded, (size, size), (1,)))
    ))


def _with_zero(x: Expr) -> tuple[Expr, Expr]:
    return x, x.like(0)


def one_hot(t: Trace, labels: Expr, count: Size, dtype: DType) -> Expr:
    """1 where the index along a new last axis is the label, 0 elsewhere."""
    shape = (*labels.shape, count)
    wide = ir.broadcast(labels, shape, range(labels.type.rank))
    grid = ir.iota(labels, shape, len(shape) - 1, labels.dtype)
    return wide.eq(grid).op("cast", dtype=dtype)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "zeros": _constant_function("zeros", 0),
    "ones": _constant_function("ones", 1),
    "empty": _constant_function("empty", 0),
    "zeros_like": _constant_like_function("zeros_like", 0),
    "ones_like": _constant_like_function("ones_like", 1),
    "empty_like": _constant_like_function("empty_like", 0),
    "full": full,
    "full_like": full_like,
    "arange": arange,
    "linspace": linspace,
    "eye": eye,
    "identity": identity,
    "tri": tri,
    "tril": tril,
    "triu": triu,
    "diagonal": diagonal,
    "trace": trace,
    "diag": diag,
})

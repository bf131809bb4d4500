"""Functions that reduce along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ...ir.dims import Size, product
from ...ir.types import BOOL, I64, DType, TensorType
from ...ops import movement as ir
from ...ops.build import Expr
from ...ops.movement import broadcast
from ...ops.reduce import kept_axes, reduce_sum
from ..context import Trace
from ..dispatch import refuse, traced
from ..promotion import accumulator, inexact
from ..tracer import Tracer
from .elementwise import as_condition, cast
from .operands import as_axes, as_axis, as_dtype, as_flag, as_number

Axes = tuple[int, ...]


def _with_sizes_1(result: Expr, shape: tuple[Size, ...], axes: Axes) -> Expr:
    """A reduction's result with the reduced axes kept as size 1."""
    return ir.reshape(result, tuple(1 if i in axes else size for i, size in enumerate(shape)))


def _reduce(x: Expr, op: str, axes: Axes, keepdims: bool) -> Expr:
    result = x.op(op, axes=axes) if axes else x
    return _with_sizes_1(result, x.shape, axes) if keepdims else result


def _total_function(name: str, op: str) -> Callable[..., Any]:
    """sum and prod: integers and bool are accumulated in 64 bits."""

    @traced(getattr(np, name))
    def function(
        t: Trace, a: Any, axis: Any = None, dtype: Any = None, out: None = None,
        keepdims: bool = False,
    ) -> Tracer:
        refuse(name, out=out)
        x = t.lift(a)
        target = accumulator(x.type.dtype) if dtype is None else as_dtype(dtype)
        value = cast(t, x, target).expr
        if target is BOOL:
            raise DTypeError(f"{name}: expected a numeric dtype, got bool; use any or all")
        axes, kept = as_axes(name, axis, x.ndim), as_flag(name, "keepdims", keepdims)
        return t.wrap(_reduce(value, op, axes, kept))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}: along axes, or along all."
    return function


def _extremum_function(name: str, op: str) -> Callable[..., Any]:
    """max and min: NaN where there is one; an empty axis is a ShapeError."""

    @traced(getattr(np, name))
    def function(
        t: Trace, a: Any, axis: Any = None, out: None = None, keepdims: bool = False
    ) -> Tracer:
        refuse(name, out=out)
        x = t.lift(a)
        axes = as_axes(name, axis, x.ndim)
        for i in axes:
            if x.type.shape[i] == 0:
                raise ShapeError(f"{name}: expected an element along axis {i}, got {x.type}")
        return t.wrap(_reduce(x.expr, op, axes, as_flag(name, "keepdims", keepdims)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}: along axes, or along all."
    return function


def _truth_function(name: str, op: str) -> Callable[..., Any]:
    """any and all, on the truth values of the elements."""

    @traced(getattr(np, name))
    def function(
        t: Trace, a: Any, axis: Any = None, out: None = None, keepdims: bool = False
    ) -> Tracer:
        refuse(name, out=out)
        x = as_condition(t, a)
        axes, kept = as_axes(name, axis, x.type.rank), as_flag(name, "keepdims", keepdims)
        return t.wrap(_reduce(x, op, axes, kept))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}: along axes, or along all."
    return function


def _position_function(name: str) -> Callable[..., Any]:
    """argmax and argmin: the first position, in the raveled array where no axis is given."""

    @traced(getattr(np, name))
    def function(
        t: Trace, a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False
    ) -> Tracer:
        refuse(name, out=out)
        x = t.lift(a).expr
        shape, rank = x.shape, x.type.rank
        axes = as_axes(name, axis, rank)
        line = ir.reshape(x, (x.type.size,)) if axis is None else x
        place = 0 if axis is None else as_axis(name, axis, rank)
        if line.shape[place] == 0:
            raise ShapeError(f"{name}: expected at least 1 element, got {x.type}")
        result = line.op(name, axis=place)
        kept = as_flag(name, "keepdims", keepdims)
        return t.wrap(_with_sizes_1(result, shape, axes) if kept else result)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}: the first position of the extremum."
    return function


# -- moments ---------------------------------------------------------------------------------------


def count_of(x: Expr, axes: Axes, like: TensorType) -> Expr:
    """The number of elements along axes as a tensor of a float type."""
    count = product(x.shape[axis] for axis in axes)
    if isinstance(count, int):
        return x.builder.constant(count, like)
    number = x.builder.one("dim_size", size=count).op("cast", dtype=like.dtype)
    return broadcast(number, like.shape, ())


def _mean(x: Expr, axes: Axes) -> Expr:
    total = reduce_sum(x, axes)
    return total / count_of(x, axes, total.type)


def _float_operand(t: Trace, a: Any, dtype: Any) -> Expr:
    x = t.lift(a)
    target: DType = inexact(x.type.dtype) if dtype is None else as_dtype(dtype)
    return cast(t, x, target).expr


@traced(np.mean)
def mean(
    t: Trace, a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> Tracer:
    """The mean along axes, of float64 for integers."""
    refuse("mean", out=out)
    x = _float_operand(t, a, dtype)
    axes = as_axes("mean", axis, x.type.rank)
    result = _mean(x, axes)
    kept = as_flag("mean", "keepdims", keepdims)
    return t.wrap(_with_sizes_1(result, x.shape, axes) if kept else result)


def _variance(x: Expr, axes: Axes, ddof: float) -> Expr:
    """sum((x - mean)^2) / (count - ddof)."""
    centred = x - broadcast(_mean(x, axes), x.shape, kept_axes(x.type.rank, axes))
    total = reduce_sum(centred * centred, axes)
    count = count_of(x, axes, total.type)
    if ddof:
        count = (count - ddof).op("maximum", count.like(0))
    return total / count


def _spread_function(name: str, finish: Callable[[Expr], Expr]) -> Callable[..., Any]:
    """var and std."""

    @traced(getattr(np, name))
    def function(
        t: Trace, a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
        keepdims: bool = False, *, correction: float | None = None,
    ) -> Tracer:
        refuse(name, out=out)
        x = _float_operand(t, a, dtype)
        axes = as_axes(name, axis, x.type.rank)
        lost = as_number(name, "ddof", ddof if correction is None else correction)
        result = finish(_variance(x, axes, lost))
        kept = as_flag(name, "keepdims", keepdims)
        return t.wrap(_with_sizes_1(result, x.shape, axes) if kept else result)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}: along axes, or along all."
    return function


@traced(np.average)
def average(
    t: Trace, a: Any, axis: Any = None, weights: None = None, *, keepdims: bool = False
) -> Tracer:
    """The mean along axes; weights are not accepted."""
    refuse("average", weights=weights)
    return mean(t.lift(a), axis, keepdims=keepdims)


@traced(np.count_nonzero)
def count_nonzero(t: Trace, a: Any, axis: Any = None, *, keepdims: bool = False) -> Tracer:
    """The number of elements that are not 0."""
    x = as_condition(t, a).op("cast", dtype=I64)
    axes = as_axes("count_nonzero", axis, x.type.rank)
    kept = as_flag("count_nonzero", "keepdims", keepdims)
    return t.wrap(_reduce(x, "reduce_sum", axes, kept))


@traced(np.ptp)
def ptp(t: Trace, a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Tracer:
    """The largest element minus the smallest."""
    refuse("ptp", out=out)
    x = t.lift(a)
    return max_(x, axis, keepdims=keepdims) - min_(x, axis, keepdims=keepdims)


sum_, prod = _total_function("sum", "reduce_sum"), _total_function("prod", "reduce_prod")
max_, min_ = _extremum_function("max", "reduce_max"), _extremum_function("min", "reduce_min")

FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "sum": sum_,
    "prod": prod,
    "max": max_,
    "min": min_,
    "amax": _extremum_function("amax", "reduce_max"),
    "amin": _extremum_function("amin", "reduce_min"),
    "any": _truth_function("any", "reduce_any"),
    "all": _truth_function("all", "reduce_all"),
    "argmax": _position_function("argmax"),
    "argmin": _position_function("argmin"),
    "mean": mean,
    "var": _spread_function("var", lambda x: x),
    "std": _spread_function("std", lambda x: x.op("sqrt")),
    "average": average,
    "count_nonzero": count_nonzero,
    "ptp": ptp,
})

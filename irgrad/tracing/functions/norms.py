"""Norms, of which the Euclidean one has its own derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import ShapeError, TraceError, brief
from ...ir.graph import Graph
from ...ir.types import TensorType
from ...ops.build import Expr
from ...ops.movement import reshape
from ...ops.reduce import reduce_sum
from ...ops.registry import builder
from ..context import Trace
from ..dispatch import traced
from ..promotion import inexact
from ..tracer import Tracer
from .elementwise import cast
from .operands import as_axes, as_axis, as_flag, as_number, require_real

Axes = tuple[int, ...]


def euclidean(x: Expr, axes: Axes) -> Expr:
    """sqrt(sum(x*x)) along axes as a custom_jvp_call: its derivative at 0 is 0, in every order."""
    body = _region("norm", x.type, 1, lambda x: _length(x, axes))
    rule = _region("norm_tangent", x.type, 2, lambda x, dx: _tangent(x, dx, axes))
    return x.op("custom_jvp_call", body=body, rule=rule)


def _region(name: str, type_: TensorType, count: int, build: Callable[..., Expr]) -> Graph:
    region = Graph(name)
    b = builder(region)
    inputs = [b.wrap(region.add_input(type_)) for _ in range(count)]
    region.outputs = [build(*inputs).value]
    return region


def _length(x: Expr, axes: Axes) -> Expr:
    return reduce_sum(x * x, axes).op("sqrt")


def _tangent(x: Expr, dx: Expr, axes: Axes) -> Expr:
    """sum(x*dx)/|x|, and 0 where |x| is 0; selected twice so that its own derivative is 0 too."""
    length = _length(x, axes)
    positive = length.gt(0)
    safe = positive.op("select", length, length.like(1))
    return positive.op("select", reduce_sum(x * dx, axes) / safe, length.like(0))


def _vector_norm(x: Expr, order: Any, axes: Axes) -> Expr:
    size = x.op("abs")
    if order is None or order == 2:
        return euclidean(x, axes)
    if order == np.inf:
        return size.op("reduce_max", axes=axes)
    if order == -np.inf:
        return size.op("reduce_min", axes=axes)
    if order == 0:
        return reduce_sum(x.op("ne", x.like(0)).op("cast", dtype=x.dtype), axes)
    if order == 1:
        return reduce_sum(size, axes)
    power = as_number("norm", "ord of vectors", order)
    total = reduce_sum(size.op("power", size.like(power)), axes)
    return total.op("power", total.like(1 / power))


def _matrix_norm(x: Expr, order: Any, axes: Axes) -> Expr:
    """Frobenius, and the largest or smallest sum of magnitudes of a column (1) or row (inf)."""
    if order is None or order == "fro":
        return euclidean(x, tuple(sorted(axes)))
    rows, columns = axes
    along = {1: rows, -1: rows, np.inf: columns, -np.inf: columns}
    if not isinstance(order, (int, float, np.number)) or order not in along:
        raise TraceError(
            f"norm: expected ord None, 'fro', 1, -1, inf or -inf for matrices, got {brief(order)}; "
            "singular values are in irgrad.linalg"
        )
    summed = along[float(order)]
    other = columns if summed == rows else rows
    sums = reduce_sum(x.op("abs"), (summed,))
    return sums.op(
        "reduce_max" if order > 0 else "reduce_min", axes=(other - (other > summed),)
    )


def _float(t: Trace, x: Any) -> Expr:
    value = t.lift(x)
    require_real("norm", value.type.dtype)
    return cast(t, value, inexact(value.type.dtype)).expr


def _finish(t: Trace, x: Expr, result: Expr, axes: Axes, keepdims: bool) -> Tracer:
    if not as_flag("norm", "keepdims", keepdims):
        return t.wrap(result)
    kept = tuple(1 if i in axes else size for i, size in enumerate(x.shape))
    return t.wrap(reshape(result, kept))


@traced(np.linalg.norm)
def norm(t: Trace, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tracer:
    """The norm of vectors (one axis) or matrices (two axes), or of all elements."""
    value = _float(t, x)
    rank = value.type.rank
    if axis is None:
        axes = tuple(range(rank))
        if ord is None:
            return _finish(t, value, euclidean(value, axes), axes, keepdims)
        if rank not in (1, 2):
            raise ShapeError(f"norm: expected rank 1 or 2 where ord is given, got {value.type}")
    elif isinstance(axis, (list, tuple)):
        axes = tuple(as_axis("norm", one, rank) for one in axis)
        as_axes("norm", axes, rank)
    else:
        axes = (as_axis("norm", axis, rank),)
    if len(axes) not in (1, 2):
        raise ShapeError(f"norm: expected 1 or 2 axes, got {len(axes)}")
    result = (_vector_norm if len(axes) == 1 else _matrix_norm)(value, ord, axes)
    return _finish(t, value, result, axes, keepdims)


@traced(np.linalg.vector_norm)
def vector_norm(
    t: Trace, x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2
) -> Tracer:
    """The norm of vectors along axes, of all elements where none is given."""
    value = _float(t, x)
    axes = as_axes("vector_norm", axis, value.type.rank)
    return _finish(t, value, _vector_norm(value, ord, axes), axes, keepdims)


@traced(np.linalg.matrix_norm)
def matrix_norm(t: Trace, x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tracer:
    """The norm of matrices, which are the last two axes."""
    return norm(t.lift(x), ord, (-2, -1), keepdims)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "linalg.norm": norm,
    "linalg.vector_norm": vector_norm,
    "linalg.matrix_norm": matrix_norm,
})

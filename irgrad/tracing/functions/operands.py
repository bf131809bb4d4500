"""Operands of traced functions: promotion, broadcasting and axes, as NumPy defines them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import ArgumentError, DTypeError, ShapeError, TraceError, brief
from ...ir.dims import Size
from ...ir.types import BOOL, DType, TensorType, dtype_of
from ...ops.build import Expr
from ...ops.movement import broadcast
from ...ops.rules import unequal_sizes
from ..context import Trace, scalar_type
from ..promotion import Kind, result_kind
from ..tracer import Tracer


class Number(NamedTuple):
    """A Python or NumPy number as operand, which needs no node before its dtype is known."""

    value: Any
    type: TensorType
    weak: bool


Operand = Tracer | Number


def operand(t: Trace, x: Any) -> Operand:
    """An array-like as an operand of the trace."""
    if isinstance(x, (np.generic, bool, int, float)):
        return Number(x, *scalar_type(x))
    return t.lift(x)


def operands(t: Trace, *xs: Any) -> list[Operand]:
    """Array-likes as operands of the trace."""
    return [operand(t, x) for x in xs]


def kind_of(x: Operand) -> Kind:
    """What promotion looks at: the dtype, or the Python type of a number that adapts."""
    if not x.weak or x.type.dtype is BOOL:
        return x.type.dtype.numpy
    return int if x.type.dtype.is_integer else float


def common_dtype(function: str, xs: Sequence[Operand]) -> tuple[DType, bool]:
    """The dtype of `np.result_type`, and whether all operands are numbers that adapt."""
    return result_kind(function, tuple(kind_of(x) for x in xs))


def broadcast_shapes(function: str, types: Sequence[TensorType]) -> tuple[Size, ...]:
    """The shape that all operands are repeated to; a size 1 repeats, a symbolic size never does.

    Raises ShapeError naming the first operands and the axis that do not fit.
    """
    if not types:
        return ()
    longest = max(types, key=lambda type_: type_.rank)
    result = list(longest.shape)
    source = [longest] * len(result)
    for type_ in types:
        offset = len(result) - type_.rank
        for axis, size in enumerate(type_.shape, offset):
            if size == result[axis] or size == 1:
                continue
            if result[axis] != 1:
                raise ShapeError(
                    f"{function}: expected shapes that broadcast, got {source[axis]} and {type_} "
                    f"(axis {axis}: {unequal_sizes(result[axis], size)})"
                )
            result[axis], source[axis] = size, type_
    return tuple(result)


def fit(t: Trace, x: Operand, dtype: DType, shape: Sequence[Size]) -> Expr:
    """An operand in the dtype and the shape that promotion and broadcasting found."""
    if isinstance(x, Number):
        if dtype.is_integer and isinstance(x.value, int) and not _holds(dtype, x.value):
            raise DTypeError(
                f"operand: expected a number that {dtype} holds, got {brief(x.value)}, which is "
                f"out of bounds for {dtype}"
            )
        return t.constant(x.value, TensorType(dtype, tuple(shape)))
    return spread(t.convert(x, dtype), shape)


def _holds(dtype: DType, value: int) -> bool:
    limits = np.iinfo(dtype.numpy)
    return int(limits.min) <= value <= int(limits.max)


def spread(x: Expr, shape: Sequence[Size]) -> Expr:
    """`x` repeated to a shape with which it broadcasts."""
    offset = len(shape) - x.type.rank
    return broadcast(x, shape, range(offset, len(shape)))


def as_dtype(dtype: Any) -> DType:
    """The IR dtype of a dtype argument: an IR dtype, a NumPy dtype, a Python type or a name."""
    if isinstance(dtype, DType):
        return dtype
    # NumPy would take the dtype of any object that has one, but refuses that of an array.
    if isinstance(dtype, (Tracer, np.ndarray)):
        raise DTypeError("dtype: expected a NumPy dtype, got an array; write x.dtype")
    try:
        return dtype_of(dtype)
    except (TypeError, ValueError) as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError(f"dtype: expected a NumPy dtype, got {brief(dtype)}") from error


def require_real(function: str, dtype: DType) -> None:
    """Raise DTypeError for complex numbers, of which most functions have no traced form."""
    if dtype.kind == "c":
        raise DTypeError(f"{function}: expected a real dtype, got {dtype}")


def as_axis(function: str, axis: Any, rank: int) -> int:
    """An axis counted from 0; ShapeError where there is none of that number."""
    if isinstance(axis, Tracer):
        raise TraceError(f"{function}: expected an axis that is known while tracing, got {axis}")
    try:
        number = operator.index(axis)
    except TypeError:
        number = None
    if number is None or isinstance(axis, bool):
        raise ArgumentError(f"{function}: expected an integer as axis, got {brief(axis)}")
    if not -rank <= number < rank:
        raise ShapeError(
            f"{function}: expected an axis in {-rank}..{rank - 1}, got {number} (rank {rank})"
            if rank
            else f"{function}: expected no axis for an array of rank 0, got {number}"
        )
    return number % rank


def as_axes(function: str, axis: Any, rank: int) -> tuple[int, ...]:
    """The axes of an axis argument (None for all, an int, a sequence), increasing."""
    if axis is None:
        return tuple(range(rank))
    chosen = axis if isinstance(axis, (list, tuple)) else (axis,)
    axes = tuple(as_axis(function, one, rank) for one in chosen)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{function}: expected each axis once, got {tuple(chosen)}")
    return tuple(sorted(axes))


def as_static_int(function: str, what: str, value: Any) -> int:
    """An argument that must be a plain integer."""
    if isinstance(value, Tracer):
        raise TraceError(
            f"{function}: expected {what} to be known while tracing, got {value}; pass it as "
            "static="
        )
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"{function}: expected {what} to be an integer, got {brief(value)}"
        ) from None


def as_flag(function: str, what: str, value: Any) -> bool:
    """An argument that is true or false."""
    if not isinstance(value, (bool, np.bool_, int, np.integer)):
        raise ArgumentError(f"{function}: expected {what} to be True or False, got {brief(value)}")
    return bool(value)


def as_number(function: str, what: str, value: Any) -> float:
    """An argument that must be a plain real number in the range of float64."""
    if isinstance(value, Tracer):
        raise TraceError(f"{function}: expected {what} to be known while tracing, got {value}")
    try:
        if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
            return float(value)
    except OverflowError:
        pass
    raise ArgumentError(f"{function}: expected {what} to be a number, got {brief(value)}")


def as_order(function: str, order: Any) -> None:
    """Check a layout in memory, which traced values do not have."""
    if order is not None and not (isinstance(order, str) and order in "CFAK" and len(order) == 1):
        raise ArgumentError(f"{function}: expected order 'C', 'F', 'A' or 'K', got {brief(order)}")

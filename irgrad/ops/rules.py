"""Type rules shared by the ops of a family, with errors that name operands, shapes and axes."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import DTypeError, ShapeError
from ..ir.dims import Dim, Size
from ..ir.types import BOOL, DType, TensorType
from .record import Attrs, Infer, Types

NUMERIC = "iuf"
ANY = "biufc"
INEXACT = "fc"  # the kinds that have tangents


def require_count(op: str, types: Types, count: int) -> None:
    """Raise ShapeError unless there are `count` operands."""
    if len(types) != count:
        raise ShapeError(f"{op}: expected {count} operands, got {len(types)}")


def require_kind(op: str, type_: TensorType, kinds: str, position: int) -> None:
    """Raise DTypeError unless the operand's dtype is of one of the kinds."""
    if type_.dtype.kind not in kinds:
        words = {"b": "bool", "i": "signed integer", "u": "unsigned integer", "f": "float",
                 "c": "complex"}
        expected = " or ".join(words[k] for k in kinds)
        raise DTypeError(f"{op}: expected operand {position} of {expected} type, got {type_}")


def unequal_sizes(a: Size, b: Size) -> str:
    """How two sizes differ, in words."""
    if isinstance(a, Dim) or isinstance(b, Dim):
        return f"{a} == {b} cannot be proved"
    return f"{a} against {b}"


def require_same_shape(op: str, types: Types) -> tuple[Size, ...]:
    """The common shape of all operands; ShapeError naming the first axis that differs."""
    first = types[0]
    for other in types[1:]:
        if other.shape == first.shape:
            continue
        if other.rank != first.rank:
            why = f"rank {first.rank} against {other.rank}"
        else:
            axis = next(i for i in range(first.rank) if first.shape[i] != other.shape[i])
            why = f"axis {axis}: {unequal_sizes(first.shape[axis], other.shape[axis])}"
        raise ShapeError(f"{op}: expected operands of equal shape, got {first} and {other} ({why})")
    return first.shape


def require_same_dtype(op: str, types: Types) -> DType:
    """The common dtype of all operands."""
    for other in types[1:]:
        if other.dtype is not types[0].dtype:
            raise DTypeError(
                f"{op}: expected operands of equal dtype, got {types[0]} and {other}"
            )
    return types[0].dtype


def require_axis(op: str, axis: int, rank: int) -> int:
    """`axis` itself where 0 <= axis < rank, else ShapeError."""
    if not 0 <= axis < rank:
        raise ShapeError(f"{op}: expected an axis in 0..{rank - 1}, got {axis} (rank {rank})")
    return axis


def elementwise_rule(
    op: str, arity: int, kinds: str, result: Callable[[DType], DType] | None = None
) -> Infer:
    """The rule of an op whose operands and result share shape and dtype.

    result: maps the operands' dtype to the result's where it differs (comparisons give bool).
    """

    def infer(types: Types, attrs: Attrs) -> Types:
        require_count(op, types, arity)
        for position, type_ in enumerate(types):
            require_kind(op, type_, kinds, position)
        shape = require_same_shape(op, types)
        dtype = require_same_dtype(op, types)
        return (TensorType(result(dtype) if result else dtype, shape),)

    return infer


def to_bool(_: DType) -> DType:
    """The result dtype of comparisons and predicates."""
    return BOOL

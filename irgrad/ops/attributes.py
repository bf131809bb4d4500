"""Reading the attributes of ops, which may come from text of unknown origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ArgumentError, DTypeError, LimitError, ShapeError
from ..ir.dims import Dim, Size, evaluate, lower_bound
from ..ir.types import DType
from .record import Attrs, Evaluation
from .rules import require_axis

MAX_RANK = 64  # NumPy's limit
SIZE_BITS = 63  # sizes and size arithmetic are signed 64-bit numbers in kernels


def read_attribute(op: str, attrs: Attrs, name: str) -> Any:
    """The value of an attribute; ArgumentError where the op has none of that name."""
    if name not in attrs:
        raise ArgumentError(f"{op}: expected the attribute {name!r}, got none")
    return attrs[name]


def kind_error(op: str, name: str, expected: str, value: object) -> ArgumentError:
    """The error for an attribute whose value is of another Python type than `expected`."""
    return ArgumentError(f"{op}: expected {name!r} to be {expected}, got {type(value).__name__}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def require_size(op: str, name: str, value: object) -> Size:
    """`value` itself where it is a size of any sign; ArgumentError or ShapeError where not."""
    if not isinstance(value, int | Dim) or isinstance(value, bool):
        raise kind_error(op, name, "made of sizes", value)
    if isinstance(value, int) and value.bit_length() > SIZE_BITS:
        raise ShapeError(f"{op}: expected {name!r} to fit 64 bits, got a larger number")
    return value


def _read_tuple(op: str, attrs: Attrs, name: str) -> tuple[Any, ...]:
    value = read_attribute(op, attrs, name)
    if not isinstance(value, tuple):
        raise kind_error(op, name, "a tuple", value)
    if len(value) > MAX_RANK:
        raise LimitError(f"{op}: expected {name!r} of at most {MAX_RANK} axes, got {len(value)}")
    return value


def read_int(op: str, attrs: Attrs, name: str) -> int:
    """An attribute that is a plain integer."""
    value = read_attribute(op, attrs, name)
    if not _is_int(value):
        raise kind_error(op, name, "an integer", value)
    require_size(op, name, value)
    return value


def read_ints(op: str, attrs: Attrs, name: str) -> tuple[int, ...]:
    """An attribute that is a tuple of plain integers."""
    values = _read_tuple(op, attrs, name)
    for value in values:
        if not _is_int(value):
            raise kind_error(op, name, "a tuple of integers", value)
        require_size(op, name, value)
    return values


def read_sizes(op: str, attrs: Attrs, name: str) -> tuple[Size, ...]:
    """An attribute that is a tuple of sizes of any sign."""
    return tuple(require_size(op, name, value) for value in _read_tuple(op, attrs, name))


def read_shape(op: str, attrs: Attrs, name: str = "shape") -> tuple[Size, ...]:
    """An attribute that is a shape: sizes that are not known to be negative."""
    shape = read_sizes(op, attrs, name)
    for axis, size in enumerate(shape):
        if is_negative(size):
            raise ShapeError(f"{op}: expected {name!r} of sizes >= 0, got {size} at axis {axis}")
    return shape


def read_dtype(op: str, attrs: Attrs, kinds: str, name: str = "dtype") -> DType:
    """An attribute that is a dtype of one of `kinds`; DTypeError for another one."""
    dtype = read_attribute(op, attrs, name)
    if not isinstance(dtype, DType):
        raise kind_error(op, name, "a dtype", dtype)
    if dtype.kind not in kinds:
        raise DTypeError(f"{op}: expected a dtype of kind {' or '.join(kinds)}, got {dtype}")
    return dtype


def read_axes(op: str, attrs: Attrs, name: str, rank: int) -> tuple[int, ...]:
    """An attribute that is a strictly increasing tuple of axes below `rank`."""
    axes = read_ints(op, attrs, name)
    for axis in axes:
        require_axis(op, axis, rank)
    if any(a >= b for a, b in zip(axes, axes[1:])):
        raise ShapeError(f"{op}: expected {name!r} strictly increasing, got {axes}")
    return axes


def is_negative(size: Size) -> bool:
    """Whether a size is below 0 for every value of its names."""
    bound = lower_bound(size * -1)
    return bound is not None and bound > 0


def resolve(sizes: Iterable[Size], env: Evaluation) -> tuple[int, ...]:
    """The numbers that sizes are under the dims of an evaluation."""
    return tuple(evaluate(size, env.dims) for size in sizes)

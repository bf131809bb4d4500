"""Sums of products: matrix products and their relatives, and einsum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import ArgumentError, ShapeError
from ...ir.dims import Size
from ...ops import movement as ir
from ...ops.build import Expr
from ...ops.rules import unequal_sizes
from ..context import Trace
from ..dispatch import refuse, traced
from ..tracer import Tracer
from .einsum import einsum
from .labelled import Label, Labelled, contract, from_sums, in_sums, label, without_axes_of_1
from .operands import as_axes, as_axis, common_dtype, fit, operands


def _operands(t: Trace, function: str, *xs: Any) -> list[Expr]:
    """Operands in their common dtype, each in its own shape."""
    given = operands(t, *xs)
    dtype, _ = common_dtype(function, given)
    return [fit(t, x, dtype, x.type.shape) for x in given]


def _require_equal(function: str, x: Expr, y: Expr, i: int, j: int) -> None:
    if x.shape[i] != y.shape[j]:
        raise ShapeError(
            f"{function}: expected contracted axes of equal size, got {x.type} and {y.type} (axis "
            f"{i} against axis {j}: {unequal_sizes(x.shape[i], y.shape[j])})"
        )


def _product(t: Trace, x: Expr, y: Expr, xl: Sequence[Label], yl: Sequence[Label],
             output: Sequence[Label]) -> Tracer:
    pair = [label(in_sums(x), xl), label(in_sums(y), yl)]
    return t.wrap(from_sums(contract(pair, output), x.dtype))


# -- matmul ----------------------------------------------------------------------------------------


def _batch_size(x: Expr, y: Expr, axis: int) -> Size:
    """The size of a batch axis, counted from the end, after broadcasting."""
    sizes = [v.shape[axis] for v in (x, y) if v.type.rank >= -axis]
    larger = [size for size in sizes if size != 1]
    if len(larger) == 2 and larger[0] != larger[1]:
        raise ShapeError(
            f"matmul: expected batch axes that broadcast, got {x.type} and {y.type} (axis {axis}: "
            f"{unequal_sizes(larger[0], larger[1])})"
        )
    return larger[0] if larger else 1


@traced(np.matmul)
def matmul(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """The matrix product over the last two axes; vectors lose the axis that they gain."""
    x, y = _operands(t, "matmul", x1, x2)
    for position, v in enumerate((x, y)):
        if not v.type.rank:
            raise ShapeError(
                f"matmul: expected rank 1 or more, got {v.type} (operand {position}); use *"
            )
    if y.type.rank == 1:
        _require_equal("matmul", x, y, x.type.rank - 1, 0)
    else:
        _require_equal("matmul", x, y, x.type.rank - 1, y.type.rank - 2)
    rank = max(x.type.rank, y.type.rank)
    batch = [-axis for axis in range(rank, 2, -1)]
    sizes: dict[Label, Size] = {axis: _batch_size(x, y, axis) for axis in batch}
    sizes |= {"row": x.shape[-2] if x.type.rank > 1 else 1, "column": y.shape[-1],
              "sum": x.shape[-1]}
    xl: list[Label] = [*range(-x.type.rank, -2), "row", "sum"][-x.type.rank :]
    yl: list[Label] = [*range(-y.type.rank, -2), "sum", "column"] if y.type.rank > 1 else ["sum"]
    parts = [
        without_axes_of_1(label(in_sums(v), names), sizes) for v, names in ((x, xl), (y, yl))
    ]
    result = _contract_broadcast(parts, [*batch, *(["row"] if "row" in xl else []),
                                         *(["column"] if "column" in yl else [])], sizes)
    return t.wrap(from_sums(result, x.dtype))


def _contract_broadcast(
    parts: Sequence[Labelled], output: Sequence[Label], sizes: Mapping[Label, Size]
) -> Expr:
    """A contraction whose output may have labels of size 1 that no part carries any more."""
    present = [name for name in output if any(name in part.labels for part in parts)]
    result = contract(parts, present)
    return ir.reshape(result, tuple(sizes[name] for name in output))


# -- relatives of matmul ---------------------------------------------------------------------------


@traced(np.dot)
def dot(t: Trace, a: Any, b: Any, out: None = None) -> Tracer:
    """The sum over the last axis of `a` and the last but one of `b`; a product with numbers."""
    refuse("dot", out=out)
    x, y = _operands(t, "dot", a, b)
    if not x.type.rank or not y.type.rank:
        return t.functions["multiply"](t.wrap(x), t.wrap(y))
    place = max(y.type.rank - 2, 0)
    _require_equal("dot", x, y, x.type.rank - 1, place)
    xl = [("x", i) for i in range(x.type.rank - 1)]
    yl = [("y", i) for i in range(y.type.rank - 1)]
    return _product(t, x, y, [*xl, "sum"], [*yl[:place], "sum", *yl[place:]], [*xl, *yl])


@traced(np.inner)
def inner(t: Trace, a: Any, b: Any, /) -> Tracer:
    """The sum over the last axes of both."""
    x, y = _operands(t, "inner", a, b)
    if not x.type.rank or not y.type.rank:
        return t.functions["multiply"](t.wrap(x), t.wrap(y))
    _require_equal("inner", x, y, x.type.rank - 1, y.type.rank - 1)
    xl = [("x", i) for i in range(x.type.rank - 1)]
    yl = [("y", i) for i in range(y.type.rank - 1)]
    return _product(t, x, y, [*xl, "sum"], [*yl, "sum"], [*xl, *yl])


def _raveled(x: Expr) -> Expr:
    return ir.reshape(x, (x.type.size,))


@traced(np.vdot)
def vdot(t: Trace, a: Any, b: Any, /) -> Tracer:
    """The sum of the products of all elements."""
    x, y = (_raveled(v) for v in _operands(t, "vdot", a, b))
    _require_equal("vdot", x, y, 0, 0)
    return _product(t, x, y, ["sum"], ["sum"], [])


@traced(np.vecdot)
def vecdot(t: Trace, x1: Any, x2: Any, /, *, axis: int = -1) -> Tracer:
    """The sum of products along one axis, the others broadcast."""
    x, y = _operands(t, "vecdot", x1, x2)
    for v in (x, y):
        as_axis("vecdot", axis, v.type.rank)
    moved = [t.functions["moveaxis"](t.wrap(v), axis, -1) for v in (x, y)]
    _require_equal("vecdot", moved[0].expr, moved[1].expr, -1, -1)
    return einsum("...i,...i->...", *moved)


@traced(np.outer)
def outer(t: Trace, a: Any, b: Any, out: None = None) -> Tracer:
    """All products of an element of `a` and one of `b`, both raveled."""
    refuse("outer", out=out)
    x, y = (_raveled(v) for v in _operands(t, "outer", a, b))
    return _product(t, x, y, ["row"], ["column"], ["row", "column"])


def _tensordot_axes(axes: Any, x: Expr, y: Expr) -> tuple[list[int], list[int]]:
    if isinstance(axes, (int, np.integer)):
        count = int(axes)
        if not 0 <= count <= min(x.type.rank, y.type.rank):
            raise ShapeError(
                f"tensordot: expected axes in 0..{min(x.type.rank, y.type.rank)}, got {count}"
            )
        return list(range(x.type.rank - count, x.type.rank)), list(range(count))
    first, second = ([s] if isinstance(s, (int, np.integer)) else list(s) for s in axes)
    if len(first) != len(second):
        raise ShapeError(f"tensordot: expected as many axes of both, got {first} and {second}")
    for listed, v in ((first, x), (second, y)):
        as_axes("tensordot", tuple(listed), v.type.rank)
    return (
        [as_axis("tensordot", axis, x.type.rank) for axis in first],
        [as_axis("tensordot", axis, y.type.rank) for axis in second],
    )


@traced(np.tensordot)
def tensordot(t: Trace, a: Any, b: Any, axes: Any = 2) -> Tracer:
    """The sum of products over pairs of axes."""
    x, y = _operands(t, "tensordot", a, b)
    first, second = _tensordot_axes(axes, x, y)
    xl: list[Label] = [("x", i) for i in range(x.type.rank)]
    yl: list[Label] = [("y", i) for i in range(y.type.rank)]
    for pair, (i, j) in enumerate(zip(first, second)):
        _require_equal("tensordot", x, y, i, j)
        xl[i] = yl[j] = ("sum", pair)
    output = [n for i, n in enumerate(xl) if i not in first]
    output += [n for j, n in enumerate(yl) if j not in second]
    return _product(t, x, y, xl, yl, output)


@traced(np.kron)
def kron(t: Trace, a: Any, b: Any) -> Tracer:
    """Blocks: `b` times each element of `a`, as one broadcast product."""
    x, y = _operands(t, "kron", a, b)
    rank = max(x.type.rank, y.type.rank)
    x = ir.reshape(x, (1,) * (rank - x.type.rank) + x.shape)
    y = ir.reshape(y, (1,) * (rank - y.type.rank) + y.shape)
    xl, yl = ([(side, i) for i in range(rank)] for side in "xy")
    woven = [name for pair in zip(xl, yl) for name in pair]
    product_ = _product(t, x, y, xl, yl, woven).expr
    shape = tuple(p * q for p, q in zip(x.shape, y.shape))
    return t.wrap(ir.reshape(product_, shape))


@traced(np.linalg.multi_dot)
def multi_dot(t: Trace, arrays: Any) -> Tracer:
    """The matrix product of several arrays, in the order that costs least."""
    xs = _operands(t, "multi_dot", *arrays)
    if len(xs) < 2:
        raise ArgumentError(f"multi_dot: expected at least 2 arrays, got {len(xs)}")
    for position, x in enumerate(xs):
        if x.type.rank != 2 and not (x.type.rank == 1 and position in (0, len(xs) - 1)):
            raise ShapeError(f"multi_dot: expected matrices, got {x.type} (operand {position})")
    for x, y in zip(xs, xs[1:]):
        _require_equal("multi_dot", x, y, x.type.rank - 1, 0)
    spans = [(i, i + 1) if x.type.rank == 2 else ((i or 1),) for i, x in enumerate(xs)]
    parts = [label(in_sums(x), span) for x, span in zip(xs, spans)]
    output = [end for end in (0, len(xs)) if end in (*spans[0], *spans[-1])]
    return t.wrap(from_sums(contract(parts, output), xs[0].dtype))


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "matmul": matmul,
    "dot": dot,
    "inner": inner,
    "vdot": vdot,
    "vecdot": vecdot,
    "outer": outer,
    "tensordot": tensordot,
    "kron": kron,
    "einsum": einsum,
    "linalg.multi_dot": multi_dot,
})

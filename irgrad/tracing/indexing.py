"""Basic indexing: integers, slices, None and Ellipsis, as one slice, one flip and one reshape."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ..errors import ShapeError, TraceError, brief
from ..ir.dims import Dim, Size, lower_bound
from ..ops.build import Expr
from ..ops.movement import flip, reshape, slice_axes
from .context import Trace
from .sizes import SymbolicSize
from .tracer import Tracer


@dataclass(slots=True)
class _Plan:
    """What an index does to each axis of the operand, and the shape of the result."""

    start: list[Size] = field(default_factory=list)
    stop: list[Size] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    flipped: list[int] = field(default_factory=list)
    # For each axis of the result, the axis of the operand, or None for a new one.
    kept: list[int | None] = field(default_factory=list)

    def take(self, start: Size, stop: Size, step: int = 1) -> None:
        """Describe the next axis of the operand."""
        self.start.append(start)
        self.stop.append(stop)
        self.step.append(step)


def getitem(t: Trace, x: Any, index: Any) -> Tracer:
    """The elements of `x` that a basic index chooses.

    On an axis of symbolic size, bounds are taken to lie inside it; where that is not known for
    every size, it is checked when the graph is run.
    Raises TraceError for an index that is an array, a list or traced, ShapeError for an integer
    out of range or too many indices.
    """
    traced_x = t.lift(x)
    expr = traced_x.expr
    plan = _Plan()
    for item in _expand(index if isinstance(index, tuple) else (index,), expr):
        axis = len(plan.start)
        if item is None:
            plan.kept.append(None)
        elif isinstance(item, slice):
            plan.kept.append(axis)
            _slice(t, item, expr.shape[axis], axis, plan)
        else:
            first = _position(t, item, expr.shape[axis], axis, expr)
            plan.take(first, first + 1)
    return t.wrap(_apply(expr, plan), traced_x.weak)


def _apply(expr: Expr, plan: _Plan) -> Expr:
    chosen = flip(slice_axes(expr, plan.start, plan.stop, plan.step), plan.flipped)
    shape = tuple(1 if axis is None else chosen.shape[axis] for axis in plan.kept)
    return reshape(chosen, shape)


def _expand(items: tuple[Any, ...], x: Expr) -> Iterable[Any]:
    """The index items with the Ellipsis, or the end, filled up by whole slices."""
    for item in items:
        _require_basic(item)
    rank = x.type.rank
    consumed = sum(item is not None and item is not Ellipsis for item in items)
    if consumed > rank:
        raise ShapeError(f"index: expected at most {rank} indices for {x.type}, got {consumed}")
    fill = [slice(None)] * (rank - consumed)
    places = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(places) > 1:
        raise ShapeError("index: expected at most one '...', got several")
    at = places[0] if places else len(items)
    return [*items[:at], *fill, *items[at + 1 :]]


def _require_basic(item: Any) -> None:
    if item is None or item is Ellipsis or isinstance(item, (slice, SymbolicSize)):
        return
    if isinstance(item, Tracer):
        _refuse(f"a traced value of type {item.type}", item.type.dtype.kind == "b")
    if isinstance(item, (bool, np.bool_)):
        _refuse("a bool", True)
    if isinstance(item, (list, np.ndarray)) and np.ndim(item):
        _refuse("an array of positions", np.asarray(item).dtype.kind == "b")
    try:
        operator.index(item)
    except TypeError:
        _refuse(brief(item), False)


def _refuse(what: str, is_mask: bool) -> NoReturn:
    instead = (
        "write np.where(mask, x, 0) and reduce that"
        if is_mask
        else "write np.where(np.arange(n) == i, x, 0).sum() for one element, or stack x[i] for "
        "positions that are known while tracing"
    )
    raise TraceError(
        "index: expected integers, slices, None or '...' known while tracing, got "
        f"{what}; {instead}"
    )


def _position(t: Trace, item: Any, size: Size, axis: int, x: Expr) -> Size:
    """An integer index, counted from 0."""
    if isinstance(item, SymbolicSize):
        return item.size
    number = operator.index(item)
    if isinstance(size, int) and not -size <= number < size:
        raise ShapeError(
            f"index: expected a position in {-size}..{size - 1} for axis {axis} of {x.type}, got "
            f"{number}"
            if size
            else f"index: expected no position in the empty axis {axis} of {x.type}, got {number}"
        )
    return number if number >= 0 else size + number


def _bound(t: Trace, value: Any, size: Size, default: Size) -> Size:
    """A bound of a slice, counted from 0, held to 0..size where both are known."""
    if value is None:
        return default
    if isinstance(value, Tracer):
        raise TraceError(
            f"index: expected bounds of slices that are known while tracing, got {value}; use "
            "np.where with np.arange(n) >= start"
        )
    bound = value.size if isinstance(value, SymbolicSize) else _whole(value)
    if isinstance(bound, int) and bound < 0:
        bound = size + bound
    if isinstance(bound, Dim) or isinstance(size, Dim):
        return bound
    return min(max(bound, 0), size)


def _slice(t: Trace, item: slice, size: Size, axis: int, plan: _Plan) -> None:
    step = 1 if item.step is None else _step(item.step)
    if isinstance(size, int):  # a longer step chooses the same single element
        step = max(min(step, size or 1), -(size or 1))
    if step > 0:
        start, stop = _bound(t, item.start, size, 0), _bound(t, item.stop, size, size)
        plan.take(start, _not_before(start, stop), step)
        return
    plan.flipped.append(axis)
    if isinstance(size, int):
        positions = range(*slice(item.start, item.stop, step).indices(size))
        if not positions:
            plan.take(0, 0)
        else:
            plan.take(positions[-1], positions[0] + 1, -step)
        return
    if step != -1:
        raise ShapeError(
            f"index: expected step -1, 1 or more on axis {axis} of symbolic size {size}, got {step}"
        )
    top = _bound(t, item.start, size, size - 1)
    bottom = -1 if item.stop is None else _bound(t, item.stop, size, 0)
    plan.take(bottom + 1, _not_before(bottom + 1, top + 1))


def _not_before(start: Size, stop: Size) -> Size:
    """`stop`, or `start` where the slice is empty for every size."""
    low = lower_bound(start - stop)
    return start if low is not None and low > 0 else stop


def _step(step: Any) -> int:
    if isinstance(step, (Tracer, SymbolicSize)):
        raise TraceError(f"index: expected a step that is known while tracing, got {step}")
    number = _whole(step)
    if number == 0:
        raise ShapeError("index: expected a step other than 0, got 0")
    return number


def _whole(value: Any) -> int:
    """A part of a slice that is known while tracing."""
    try:
        return operator.index(value)
    except TypeError:
        raise TraceError(
            f"index: expected integers or None as the parts of a slice, got {brief(value)}"
        ) from None

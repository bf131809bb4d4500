"""Reductions along axes, which the result loses: sum, product, extrema, any, all, positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.dims import product
from ..ir.types import BOOL, F32, F64, I32, I64, DType, TensorType
from .attributes import read_axes, read_int
from .batching import next_axes, next_axis, shifted
from .build import Expr
from .elementwise import linear_jvp
from .movement import broadcast, iota, reshape, sample_calls, transpose
from .record import (
    Attrs,
    Bound,
    Evaluation,
    Infer,
    Jvp,
    NotLinear,
    OpDef,
    RuleContext,
    Sample,
    Samples,
    Transpose,
    Types,
    no_bounds,
)
from .rules import NUMERIC, require_axis, require_count, require_kind

Parts = tuple[Expr | None, ...]
Arrays = tuple[np.ndarray, ...]
ORDERED = "biuf"


# -- building on expressions ---------------------------------------------------------------------


def kept_axes(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes below `rank` that are not in `axes`, in order."""
    return tuple(axis for axis in range(rank) if axis not in axes)


def reduce_sum(x: Expr, axes: Sequence[int]) -> Expr:
    """The sum of `x` along axes; `x` itself for none."""
    return x.op("reduce_sum", axes=tuple(sorted(axes))) if axes else x


def spread(reduced: Expr, like: Expr, axes: Sequence[int]) -> Expr:
    """The result of a reduction of `like` along `axes`, repeated back to the shape of `like`."""
    return broadcast(reduced, like.shape, kept_axes(like.type.rank, axes))


# -- type rules ----------------------------------------------------------------------------------


def _require_extent(op: str, x: TensorType, axes: Sequence[int]) -> None:
    for axis in axes:
        if x.shape[axis] == 0:
            raise ShapeError(f"{op}: expected at least 1 element along axis {axis}, got {x}")


def _bounds_of_extremum(types: Types, attrs: Attrs) -> Sequence[Bound]:
    return _one_element(types[0], attrs["axes"])


def _bounds_of_position(types: Types, attrs: Attrs) -> Sequence[Bound]:
    return _one_element(types[0], (attrs["axis"],))


def _one_element(x: TensorType, axes: Sequence[int]) -> Sequence[Bound]:
    return [Bound(axis, "at least 1 element", x.shape[axis] - 1) for axis in axes]


def _reduction_rule(op: str, kinds: str, needs_element: bool) -> Infer:
    def infer(types: Types, attrs: Attrs) -> Types:
        require_count(op, types, 1)
        (x,) = types
        require_kind(op, x, kinds, 0)
        axes = read_axes(op, attrs, "axes", x.rank)
        if needs_element:
            _require_extent(op, x, axes)
        return (TensorType(x.dtype, tuple(x.shape[i] for i in kept_axes(x.rank, axes))),)

    return infer


def _position_rule(op: str) -> Infer:
    def infer(types: Types, attrs: Attrs) -> Types:
        require_count(op, types, 1)
        (x,) = types
        require_kind(op, x, ORDERED, 0)
        axis = require_axis(op, read_int(op, attrs, "axis"), x.rank)
        _require_extent(op, x, (axis,))
        return (TensorType(I64, x.shape[:axis] + x.shape[axis + 1 :]),)

    return infer


# -- NumPy meanings ------------------------------------------------------------------------------


def _accumulate(function: Callable[..., np.ndarray]) -> Any:
    """Floats are accumulated in float64 and rounded once; integers wrap around in their dtype."""

    def evaluate(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
        (x,) = inputs
        wide = x.dtype if x.dtype.kind in "iub" else np.dtype(np.float64)
        with np.errstate(all="ignore"):
            result = np.asarray(function(x.astype(wide), axis=attrs["axes"], dtype=wide))
            return (result.astype(x.dtype),)

    return evaluate


def _pick(op: str, function: Callable[..., np.ndarray]) -> Any:
    """A reduction that returns one of its operand's elements, of which there must be one."""

    def evaluate(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
        (x,) = inputs
        _require_elements(op, x, attrs["axes"])
        return (np.array(function(x, axis=attrs["axes"])),)

    return evaluate


def _position(op: str, function: Callable[..., np.ndarray]) -> Any:
    """The first index of the extremum; NaN counts as the extremum."""

    def evaluate(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
        (x,) = inputs
        _require_elements(op, x, (attrs["axis"],))
        return (np.asarray(function(x, axis=attrs["axis"]), np.int64),)

    return evaluate


def _require_elements(op: str, x: np.ndarray, axes: Sequence[int]) -> None:
    for axis in axes:
        if x.shape[axis] == 0:
            raise ShapeError(
                f"{op}: expected at least 1 element along axis {axis}, got shape {x.shape}"
            )


def _logical(function: Callable[..., np.ndarray]) -> Any:
    def evaluate(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
        return (np.asarray(function(inputs[0], axis=attrs["axes"])),)

    return evaluate


# -- derivatives ---------------------------------------------------------------------------------


def _no_tangent(ctx: RuleContext, t: Parts) -> Parts:
    return (None,)


def _sum_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None
    return (spread(ct[0], ctx.inputs[0], ctx.attrs["axes"]),)


def _extremum_jvp(ctx: RuleContext, t: Parts) -> Parts:
    """The mean of the tangents at the positions that hold the extremum."""
    if t[0] is None:
        return (None,)
    (x,), (out,), axes = ctx.inputs, ctx.outputs, ctx.attrs["axes"]
    mask = x.eq(spread(out, x, axes)).op("select", x.like(1), x.like(0))
    weight = mask / spread(reduce_sum(mask, axes), x, axes)
    return (reduce_sum(t[0] * weight, axes),)


def _merge_last(x: Expr, axes: Sequence[int]) -> Expr:
    """`x` with `axes` moved to the end and merged into one."""
    kept = kept_axes(x.type.rank, axes)
    moved = transpose(x, (*kept, *axes))
    sizes = [x.shape[axis] for axis in kept]
    return reshape(moved, (*sizes, product(x.shape[axis] for axis in axes)))


def _product_jvp(ctx: RuleContext, t: Parts) -> Parts:
    """sum_i t_i * prod_{j != i} x_j, without a division, so right at zeros and in every order."""
    if t[0] is None:
        return (None,)
    axes = ctx.attrs["axes"]
    x, dx = _merge_last(ctx.inputs[0], axes), _merge_last(t[0], axes)
    rank = x.type.rank
    square = (*x.shape, x.shape[-1])  # the last axis runs over j, the one before over i
    rows = iota(x, square, rank - 1, I64)
    columns = iota(x, square, rank, I64)
    grid = x.builder.broadcast(x, square, (*range(rank - 1), rank))
    others = rows.eq(columns).op("select", grid.like(1), grid)
    return (reduce_sum(dx * others.op("reduce_prod", axes=(rank,)), (rank - 1,)),)


# -- samples -------------------------------------------------------------------------------------

_CASES = (((), ()), ((1,), (0,)), ((7,), (0,)), ((3, 5), (0,)), ((3, 5), (1,)), ((3, 5), (0, 1)),
          ((2, 1, 3), (0, 2)), ((2, 3, 4), (1,)), ((0, 3), (1,)), ((3, 5), ()))
_EMPTY = (((0,), (0,)), ((3, 0), (1,)), ((0, 2, 3), (0, 2)))


def _axes_samples(dtypes: Sequence[DType], empty: bool, spread_of: float = 3.0) -> Samples:
    cases = [((a,), {"axes": axes}) for a, axes in (_CASES + _EMPTY if empty else _CASES)]

    def samples(rng: np.random.Generator) -> list[Sample]:
        return sample_calls(rng, cases, dtypes, spread_of)

    return samples


def _position_samples(rng: np.random.Generator) -> list[Sample]:
    pairs = (((1,), 0), ((7,), 0), ((3, 5), 0), ((3, 5), 1), ((2, 3, 4), 1), ((0, 3), 1))
    calls = sample_calls(rng, [((a,), {"axis": axis}) for a, axis in pairs])
    nan = np.array([[1.0, np.nan, np.nan], [2.0, 2.0, -1.0]], np.float32)
    return [*calls, Sample((nan,), {"axis": 1}), Sample((nan,), {"axis": 0})]


# -- records -------------------------------------------------------------------------------------


def _reduction(
    name: str,
    evaluate: Any,
    jvp: Jvp,
    transpose_rule: Transpose | NotLinear,
    kinds: str,
    numpy: tuple[str, ...],
    *,
    dtypes: Sequence[DType] = (F32, F64, I32),
    needs_element: bool = False,
    spread_of: float = 3.0,
) -> OpDef:
    """The record of a reduction whose result has the operand's dtype."""
    return OpDef(name, "reduce", {"axes": "ints"}, _reduction_rule(name, kinds, needs_element),
                 evaluate, jvp, transpose_rule,
                 _axes_samples(dtypes, not needs_element, spread_of),
                 batch=shifted(axes=next_axes), numpy=numpy,
                 bounds=_bounds_of_extremum if needs_element else no_bounds)


def _position_op(name: str, function: Callable[..., np.ndarray]) -> OpDef:
    return OpDef(name, "reduce", {"axis": "int"}, _position_rule(name),
                 _position(name, function), _no_tangent, NotLinear(), _position_samples,
                 batch=shifted(axis=next_axis), numpy=(name,), bounds=_bounds_of_position)


_ORDERED_DTYPES = (F32, F64, I32, BOOL)
OPS: tuple[OpDef, ...] = (
    _reduction("reduce_sum", _accumulate(np.sum), linear_jvp("reduce_sum"), _sum_transpose,
               NUMERIC, ("sum",)),
    _reduction("reduce_prod", _accumulate(np.prod), _product_jvp, NotLinear(), NUMERIC, ("prod",),
               spread_of=1.2),
    _reduction("reduce_max", _pick("reduce_max", np.max), _extremum_jvp, NotLinear(), ORDERED,
               ("max", "amax"), dtypes=_ORDERED_DTYPES, needs_element=True),
    _reduction("reduce_min", _pick("reduce_min", np.min), _extremum_jvp, NotLinear(), ORDERED,
               ("min", "amin"), dtypes=_ORDERED_DTYPES, needs_element=True),
    _reduction("reduce_any", _logical(np.any), _no_tangent, NotLinear(), "b", ("any",),
               dtypes=(BOOL,)),
    _reduction("reduce_all", _logical(np.all), _no_tangent, NotLinear(), "b", ("all",),
               dtypes=(BOOL,)),
    _position_op("argmax", np.argmax),
    _position_op("argmin", np.argmin),
)

"""Movement: the ops that place elements without computing on them.

Besides the records this file holds functions that build movement nodes on expressions and leave out
those that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import DimError, ShapeError
from ..ir.dims import Size, divide_exact, product
from ..ir.types import BOOL, F32, F64, I32, DType, TensorType
from .attributes import (
    is_negative,
    read_axes,
    read_int,
    read_ints,
    read_shape,
    read_sizes,
    resolve,
)
from .batching import after_first, next_axes, next_axis, shifted, with_one, with_size, with_zero
from .build import Expr
from .elementwise import linear_jvp
from .record import (
    Attrs,
    Bound,
    Evaluation,
    OpDef,
    RuleContext,
    Sample,
    Transpose,
    Types,
)
from .rules import require_axis, require_count, require_same_dtype, unequal_sizes

Parts = tuple[Expr | None, ...]
Arrays = tuple[np.ndarray, ...]
# -- building on expressions ---------------------------------------------------------------------


def reshape(x: Expr, shape: Sequence[Size]) -> Expr:
    """`x` with its elements, in row-major order, in another shape of equal product."""
    return x if x.shape == tuple(shape) else x.op("reshape", shape=tuple(shape))


def transpose(x: Expr, permutation: Sequence[int]) -> Expr:
    """`x` with result axis i taken from axis `permutation[i]`."""
    if tuple(permutation) == tuple(range(x.type.rank)):
        return x
    return x.op("transpose", permutation=tuple(permutation))


def broadcast(x: Expr, shape: Sequence[Size], dims: Sequence[int]) -> Expr:
    """`x` with its axis i placed at axis `dims[i]` of `shape`, repeated along the others."""
    return x if x.shape == tuple(shape) else x.builder.broadcast(x, shape, dims)


def slice_axes(
    x: Expr, start: Sequence[Size], stop: Sequence[Size], step: Sequence[int] | None = None
) -> Expr:
    """The elements start, start+step, ... below stop of each axis; step is 1 where not given."""
    steps = (1,) * x.type.rank if step is None else tuple(step)
    whole = all(size == 0 for size in start) and tuple(stop) == x.shape
    if whole and all(s == 1 for s in steps):
        return x
    return x.op("slice", start=tuple(start), stop=tuple(stop), step=steps)


def pad(
    x: Expr, low: Sequence[Size], high: Sequence[Size], interior: Sequence[int] | None = None
) -> Expr:
    """`x` with zeros before, after and between the elements of each axis."""
    gaps = (0,) * x.type.rank if interior is None else tuple(interior)
    if all(size == 0 for size in (*low, *high, *gaps)):
        return x
    return x.op("pad", low=tuple(low), high=tuple(high), interior=gaps)


def concatenate(parts: Sequence[Expr], axis: int) -> Expr:
    """The parts one after another along an axis."""
    return parts[0] if len(parts) == 1 else parts[0].op("concatenate", *parts[1:], axis=axis)


def flip(x: Expr, axes: Sequence[int]) -> Expr:
    """`x` with the order along the axes reversed."""
    return x.op("flip", axes=tuple(sorted(axes))) if axes else x


def iota(like: Expr, shape: Sequence[Size], axis: int, dtype: DType) -> Expr:
    """The index along an axis at each element of a new tensor, in the graph of `like`."""
    return like.builder.one("iota", shape=tuple(shape), axis=axis, dtype=dtype)


def invert(permutation: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(sorted(range(len(permutation)), key=lambda i: permutation[i]))


# -- reshape, transpose, broadcast, flip ---------------------------------------------------------


def _infer_reshape(types: Types, attrs: Attrs) -> Types:
    require_count("reshape", types, 1)
    (x,) = types
    shape = read_shape("reshape", attrs)
    count = product(shape)
    if count != x.size:
        result = TensorType(x.dtype, shape)
        why = unequal_sizes(x.size, count)
        raise ShapeError(f"reshape: expected as many elements as {x}, got {result} ({why})")
    return (TensorType(x.dtype, shape),)


def _infer_transpose(types: Types, attrs: Attrs) -> Types:
    require_count("transpose", types, 1)
    (x,) = types
    permutation = read_ints("transpose", attrs, "permutation")
    if sorted(permutation) != list(range(x.rank)):
        raise ShapeError(
            f"transpose: expected a permutation of the {x.rank} axes of {x}, got {permutation}"
        )
    return (TensorType(x.dtype, tuple(x.shape[i] for i in permutation)),)


def _infer_broadcast(types: Types, attrs: Attrs) -> Types:
    require_count("broadcast", types, 1)
    (x,) = types
    shape = read_shape("broadcast", attrs)
    dims = read_axes("broadcast", attrs, "dims", len(shape))
    if len(dims) != x.rank:
        raise ShapeError(f"broadcast: expected one of 'dims' for each axis of {x}, got {dims}")
    for axis, (dim, size) in enumerate(zip(dims, x.shape)):
        if size != 1 and size != shape[dim]:
            raise ShapeError(
                f"broadcast: expected axis {axis} of {x} to be 1 or the size of axis {dim} of "
                f"{TensorType(x.dtype, shape)} ({unequal_sizes(size, shape[dim])})"
            )
    return (TensorType(x.dtype, shape),)


def _infer_flip(types: Types, attrs: Attrs) -> Types:
    require_count("flip", types, 1)
    read_axes("flip", attrs, "axes", types[0].rank)
    return types


def _evaluate_broadcast(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
    shape = resolve(attrs["shape"], env)
    aligned = [1] * len(shape)
    for dim, size in zip(attrs["dims"], inputs[0].shape):
        aligned[dim] = size
    return (np.array(np.broadcast_to(inputs[0].reshape(aligned), shape), order="C"),)


def _broadcast_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    """Sum over the axes along which elements were repeated."""
    assert ct[0] is not None
    shape = ctx.inputs[0].shape
    source = dict(zip(ctx.attrs["dims"], shape))
    repeated = tuple(i for i, size in enumerate(ct[0].shape) if source.get(i) != size)
    summed = ct[0].op("reduce_sum", axes=repeated) if repeated else ct[0]
    return (reshape(summed, shape),)


# -- slice and pad -------------------------------------------------------------------------------


def slice_lengths(start: Sequence[Size], stop: Sequence[Size], step: Sequence[int]) -> list[Size]:
    """The sizes ceil((stop - start) / step) of a slice.

    Raises DimError where that is no polynomial of the names.
    """
    lengths: list[Size] = []
    for axis, (first, end, stride) in enumerate(zip(start, stop, step)):
        extent = end - first
        constant = extent if isinstance(extent, int) else dict(extent.terms).get((), 0)
        length = divide_exact(extent + (-constant) % stride, stride)
        if length is None:
            raise DimError(
                f"slice: expected step 1 or an extent that the step divides, got step {stride} for "
                f"extent {extent} (axis {axis})"
            )
        lengths.append(length)
    return lengths


def slice_bounds(
    shape: Sequence[Size], start: Sequence[Size], stop: Sequence[Size], step: Sequence[int]
) -> list[Bound]:
    """What must be >= 0 for a slice to stay inside its operand; a guard where not provable."""
    bounds = []
    for axis, length in enumerate(slice_lengths(start, stop, step)):
        bounds.append(Bound(axis, "start >= 0", start[axis]))
        bounds.append(Bound(axis, "stop <= size", shape[axis] - stop[axis]))
        bounds.append(Bound(axis, "start <= stop", length))
    return bounds


def pad_sizes(
    shape: Sequence[Size], low: Sequence[Size], high: Sequence[Size], interior: Sequence[int]
) -> list[Size]:
    """The sizes low + size + (size - 1)*interior + high of a padded operand.

    The formula holds at size 0 too, so that it stays a polynomial: there it is
    low + high - interior.
    """
    return [
        before + size + (size - 1) * gap + after
        for size, before, after, gap in zip(shape, low, high, interior)
    ]


def pad_bounds(
    shape: Sequence[Size], low: Sequence[Size], high: Sequence[Size], interior: Sequence[int]
) -> list[Bound]:
    """What must be >= 0 for a pad to be defined; a guard where not provable."""
    bounds = []
    for axis, size in enumerate(pad_sizes(shape, low, high, interior)):
        bounds.append(Bound(axis, "low >= 0", low[axis]))
        bounds.append(Bound(axis, "high >= 0", high[axis]))
        bounds.append(Bound(axis, "a result size >= 0", size))
    return bounds


def _bounds_of_slice(types: Types, attrs: Attrs) -> Sequence[Bound]:
    return slice_bounds(types[0].shape, attrs["start"], attrs["stop"], attrs["step"])


def _bounds_of_pad(types: Types, attrs: Attrs) -> Sequence[Bound]:
    return pad_bounds(types[0].shape, attrs["low"], attrs["high"], attrs["interior"])


def _require_bounds(op: str, operand: str, bounds: Iterable[Bound], given: str) -> None:
    for bound in bounds:
        if is_negative(bound.size):
            raise ShapeError(
                f"{op}: expected {bound.meaning} at axis {bound.axis} of {operand}, got {given}"
            )


def _require_lengths(op: str, x: TensorType, attrs: Attrs, names: Sequence[str]) -> None:
    for name in names:
        count = len(attrs[name])
        if count != x.rank:
            raise ShapeError(
                f"{op}: expected {name!r} with an entry for each axis of {x}, got {count}"
            )


def _infer_slice(types: Types, attrs: Attrs) -> Types:
    require_count("slice", types, 1)
    (x,) = types
    start, stop = read_sizes("slice", attrs, "start"), read_sizes("slice", attrs, "stop")
    step = read_ints("slice", attrs, "step")
    _require_lengths("slice", x, attrs, ("start", "stop", "step"))
    if any(stride < 1 for stride in step):
        raise ShapeError(f"slice: expected steps >= 1, got {step}")
    given = f"start {start}, stop {stop}, step {step}"
    _require_bounds("slice", str(x), slice_bounds(x.shape, start, stop, step), given)
    return (TensorType(x.dtype, tuple(slice_lengths(start, stop, step))),)


def _evaluate_slice(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
    (x,) = inputs
    start, stop = resolve(attrs["start"], env), resolve(attrs["stop"], env)
    step = attrs["step"]
    given = f"start {start}, stop {stop}, step {step}"
    _require_bounds("slice", str(x.shape), slice_bounds(x.shape, start, stop, step), given)
    lengths = slice_lengths(start, stop, step)
    index = tuple(
        _strided(first, int(length), stride)  # type: ignore[arg-type]
        for first, length, stride in zip(start, lengths, step)
    )
    return (np.array(x[index], order="C"),)


def _strided(first: int, length: int, step: int) -> slice:
    return slice(first, first + (length - 1) * step + 1, step) if length else slice(0, 0)


def _slice_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    """Put the elements back where they were taken from, zeros elsewhere."""
    assert ct[0] is not None
    start, step = ctx.attrs["start"], ctx.attrs["step"]
    high = [
        size - first - (length - 1) * stride - 1
        for size, first, length, stride in zip(ctx.inputs[0].shape, start, ct[0].shape, step)
    ]
    return (pad(ct[0], start, high, [stride - 1 for stride in step]),)


def _infer_pad(types: Types, attrs: Attrs) -> Types:
    require_count("pad", types, 1)
    (x,) = types
    low, high = read_sizes("pad", attrs, "low"), read_sizes("pad", attrs, "high")
    interior = read_ints("pad", attrs, "interior")
    _require_lengths("pad", x, attrs, ("low", "high", "interior"))
    if any(gap < 0 for gap in interior):
        raise ShapeError(f"pad: expected interior sizes >= 0, got {interior}")
    given = f"low {low}, high {high}, interior {interior}"
    _require_bounds("pad", str(x), pad_bounds(x.shape, low, high, interior), given)
    return (TensorType(x.dtype, tuple(pad_sizes(x.shape, low, high, interior))),)


def _evaluate_pad(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
    (x,) = inputs
    low, high = resolve(attrs["low"], env), resolve(attrs["high"], env)
    interior = attrs["interior"]
    given = f"low {low}, high {high}, interior {interior}"
    _require_bounds("pad", str(x.shape), pad_bounds(x.shape, low, high, interior), given)
    sizes = pad_sizes(x.shape, low, high, interior)
    result = np.zeros(resolve(sizes, env), x.dtype)
    index = tuple(
        _strided(first, size, gap + 1) for first, size, gap in zip(low, x.shape, interior)
    )
    result[index] = x
    return (result,)


def _pad_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    """Take the elements out of their padding."""
    assert ct[0] is not None
    low, interior = ctx.attrs["low"], ctx.attrs["interior"]
    stop = [
        first + (size - 1) * (gap + 1) + 1
        for first, size, gap in zip(low, ctx.inputs[0].shape, interior)
    ]
    return (slice_axes(ct[0], low, stop, [gap + 1 for gap in interior]),)


# -- concatenate ---------------------------------------------------------------------------------


def _infer_concatenate(types: Types, attrs: Attrs) -> Types:
    if not types:
        raise ShapeError("concatenate: expected at least 1 operand, got 0")
    first = types[0]
    axis = require_axis("concatenate", read_int("concatenate", attrs, "axis"), first.rank)
    dtype = require_same_dtype("concatenate", types)
    total: Size = 0
    for position, other in enumerate(types):
        if other.rank != first.rank:
            raise ShapeError(
                f"concatenate: expected operands of equal rank, got {first} and {other} "
                f"(operand {position})"
            )
        for i, (a, b) in enumerate(zip(first.shape, other.shape)):
            if i != axis and a != b:
                raise ShapeError(
                    f"concatenate: expected equal sizes off axis {axis}, got {first} and {other} "
                    f"(operand {position}, axis {i}: {unequal_sizes(a, b)})"
                )
        total = total + other.shape[axis]
    return (TensorType(dtype, first.shape[:axis] + (total,) + first.shape[axis + 1 :]),)


def _concatenate_jvp(ctx: RuleContext, t: Parts) -> Parts:
    if all(tangent is None for tangent in t):
        return (None,)
    parts = [x.like(0) if dx is None else dx for x, dx in zip(ctx.inputs, t)]
    return (parts[0].op("concatenate", *parts[1:], axis=ctx.attrs["axis"]),)


def _concatenate_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None
    axis = ctx.attrs["axis"]
    parts: list[Expr | None] = []
    offset: Size = 0
    for x, wanted in zip(ctx.inputs, linear):
        start: list[Size] = [0] * ct[0].type.rank
        stop = list(ct[0].shape)
        start[axis], stop[axis] = offset, offset + x.shape[axis]
        parts.append(slice_axes(ct[0], start, stop) if wanted else None)
        offset = offset + x.shape[axis]
    return tuple(parts)


# -- samples -------------------------------------------------------------------------------------

def random_array(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, spread: float = 3.0
) -> np.ndarray:
    """Normal values times `spread`, rounded for integers, compared with 0 for bool."""
    values = rng.normal(size=shape) * spread
    if dtype.kind == "b":
        return np.asarray(values > 0)
    return np.asarray(np.rint(values) if dtype.is_integer else values, dtype=dtype.numpy)


def sample_calls(
    rng: np.random.Generator,
    cases: Iterable[tuple[Sequence[tuple[int, ...]], dict[str, Any]]],
    dtypes: Sequence[DType] = (F32, F64, I32, BOOL),
    spread: float = 3.0,
) -> list[Sample]:
    """Calls with random operands of the given shapes, one for each case and dtype."""
    return [
        Sample(tuple(random_array(rng, shape, dtype, spread) for shape in shapes), attrs)
        for shapes, attrs in cases
        for dtype in dtypes
    ]


def _reshape_samples(rng: np.random.Generator) -> list[Sample]:
    pairs = (((), (1, 1)), ((0,), (3, 0)), ((6,), (2, 3)), ((3, 5), (15,)), ((2, 3, 4), (4, 3, 2)))
    return sample_calls(rng, [((a,), {"shape": b}) for a, b in pairs])


def _transpose_samples(rng: np.random.Generator) -> list[Sample]:
    pairs = (((), ()), ((5,), (0,)), ((3, 5), (1, 0)), ((2, 0, 3), (2, 0, 1)),
             ((2, 3, 5), (1, 2, 0)), ((2, 3, 1, 4), (3, 1, 0, 2)))
    return sample_calls(rng, [((a,), {"permutation": p}) for a, p in pairs])


def _broadcast_samples(rng: np.random.Generator) -> list[Sample]:
    triples = (((), (), ()), ((), (3, 5), ()), ((5,), (3, 5), (1,)), ((3,), (3, 5), (0,)),
               ((3, 1), (3, 7), (0, 1)), ((1,), (0,), (0,)), ((2, 1), (2, 3, 4), (0, 2)))
    return sample_calls(rng, [((a,), {"shape": b, "dims": d}) for a, b, d in triples])


def _slice_samples(rng: np.random.Generator) -> list[Sample]:
    quads = (((), (), (), ()), ((7,), (1,), (6,), (1,)), ((7,), (0,), (7,), (3,)),
             ((8,), (1,), (8,), (2,)), ((5,), (2,), (2,), (1,)), ((0,), (0,), (0,), (2,)),
             ((3, 5), (1, 0), (3, 5), (1, 2)), ((2, 3, 9), (0, 1, 2), (2, 2, 8), (1, 1, 4)))
    return sample_calls(
        rng, [((a,), {"start": b, "stop": e, "step": s}) for a, b, e, s in quads]
    )


def _pad_samples(rng: np.random.Generator) -> list[Sample]:
    quads = (((), (), (), ()), ((5,), (2,), (1,), (0,)), ((4,), (0,), (0,), (2,)),
             ((0,), (1,), (2,), (0,)), ((0,), (1,), (2,), (3,)), ((1,), (0,), (3,), (5,)),
             ((3, 5), (1, 0), (0, 2), (0, 1)), ((2, 1, 3), (0, 0, 1), (0, 2, 0), (1, 0, 2)))
    return sample_calls(
        rng, [((a,), {"low": b, "high": h, "interior": i}) for a, b, h, i in quads]
    )


def _concatenate_samples(rng: np.random.Generator) -> list[Sample]:
    cases = ((((3,),), 0), (((3,), (0,), (4,)), 0), (((2, 3), (2, 1)), 1),
             (((2, 3), (5, 3), (1, 3)), 0), (((2, 1, 3), (2, 4, 3)), 1), (((0, 2), (0, 3)), 1))
    return sample_calls(rng, [(shapes, {"axis": axis}) for shapes, axis in cases])


def _flip_samples(rng: np.random.Generator) -> list[Sample]:
    pairs = (((), ()), ((0,), (0,)), ((5,), (0,)), ((3, 5), (1,)), ((3, 5), (0, 1)),
             ((2, 3, 4), (0, 2)))
    return sample_calls(rng, [((a,), {"axes": axes}) for a, axes in pairs])


# -- records -------------------------------------------------------------------------------------


def _fresh(function: Callable[..., np.ndarray]) -> Any:
    """The NumPy meaning of an op of one operand, as a new array in row-major order."""

    def evaluate_op(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
        return (np.array(function(inputs[0], attrs, env), order="C"),)

    return evaluate_op


def _undone_by(build: Callable[[Expr, RuleContext], Expr]) -> Transpose:
    """The transpose of an op of one operand, from the function that builds it of the cotangent."""

    def rule(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
        assert ct[0] is not None
        return (build(ct[0], ctx),)

    return rule


OPS: tuple[OpDef, ...] = (
    OpDef("reshape", "movement", {"shape": "sizes"}, _infer_reshape,
          _fresh(lambda x, attrs, env: x.reshape(resolve(attrs["shape"], env))),
          linear_jvp("reshape"), _undone_by(lambda ct, ctx: reshape(ct, ctx.inputs[0].shape)),
          _reshape_samples, batch=shifted(shape=with_size), flops=0, numpy=("reshape",)),
    OpDef("transpose", "movement", {"permutation": "ints"}, _infer_transpose,
          _fresh(lambda x, attrs, env: x.transpose(attrs["permutation"])),
          linear_jvp("transpose"),
          _undone_by(lambda ct, ctx: transpose(ct, invert(ctx.attrs["permutation"]))),
          _transpose_samples, batch=shifted(permutation=after_first), flops=0,
          numpy=("transpose", "permute_dims")),
    OpDef("broadcast", "movement", {"shape": "sizes", "dims": "ints"}, _infer_broadcast,
          _evaluate_broadcast, linear_jvp("broadcast"), _broadcast_transpose, _broadcast_samples,
          batch=shifted(shape=with_size, dims=after_first), flops=0, numpy=("broadcast_to",)),
    OpDef("slice", "movement", {"start": "sizes", "stop": "sizes", "step": "ints"}, _infer_slice,
          _evaluate_slice, linear_jvp("slice"), _slice_transpose, _slice_samples,
          batch=shifted(start=with_zero, stop=with_size, step=with_one), flops=0,
          bounds=_bounds_of_slice),
    OpDef("pad", "movement", {"low": "sizes", "high": "sizes", "interior": "ints"}, _infer_pad,
          _evaluate_pad, linear_jvp("pad"), _pad_transpose, _pad_samples,
          batch=shifted(low=with_zero, high=with_zero, interior=with_zero), flops=0,
          numpy=("pad",), bounds=_bounds_of_pad),
    OpDef("concatenate", "movement", {"axis": "int"}, _infer_concatenate,
          lambda inputs, attrs, env: (np.array(np.concatenate(inputs, attrs["axis"]), order="C"),),
          _concatenate_jvp, _concatenate_transpose, _concatenate_samples,
          batch=shifted(axis=next_axis), flops=0, numpy=("concatenate", "concat")),
    OpDef("flip", "movement", {"axes": "ints"}, _infer_flip,
          _fresh(lambda x, attrs, env: np.flip(x, attrs["axes"])), linear_jvp("flip"),
          _undone_by(lambda ct, ctx: flip(ct, ctx.attrs["axes"])), _flip_samples,
          batch=shifted(axes=next_axes), flops=0, numpy=("flip",)),
)

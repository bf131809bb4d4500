"""Functions that place elements without computing on them, on one array."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import ArgumentError, LimitError, ShapeError, TraceError
from ...ir.dims import Dim, Size, divide_exact, lower_bound, product
from ...ir.types import BOOL, TensorType
from ...ops import movement as ir
from ...ops.build import Expr
from ..context import Trace
from ..dispatch import traced
from ..indexing import getitem as index_value
from ..tracer import Tracer
from .operands import as_axes, as_axis, as_static_int, broadcast_shapes, spread

MAX_ELEMENTS = 2**48
MAX_PARTS = 2**16  # of one array, each a value of the graph


def _one(
    name: str, numpy_function: Callable[..., Any], build: Callable[..., Expr]
) -> Callable[..., Any]:
    """A function of one array that keeps weakness: `build(expression, *arguments)`."""

    @traced(numpy_function)
    def function(t: Trace, a: Any, *args: Any, **kwargs: Any) -> Tracer:
        x = t.lift(a)
        return t.wrap(build(x.expr, *args, **kwargs), x.weak)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = build.__doc__
    function.__signature__ = inspect.signature(build)  # type: ignore[attr-defined]
    return function


# -- shape -----------------------------------------------------------------------------------------


def _free_size(x: Expr, shape: Sequence[Size], function: str) -> tuple[Size, ...]:
    """A shape with its one -1 replaced by what is left of the elements."""
    if shape.count(-1) > 1:
        raise ShapeError(f"{function}: expected at most one size -1, got {tuple(shape)}")
    others = product(size for size in shape if size != -1)
    rest = divide_exact(x.type.size, others)
    if rest is None:
        raise ShapeError(
            f"{function}: expected sizes whose product divides the {x.type.size} elements of "
            f"{x.type}, got {tuple(shape)}"
        )
    return tuple(rest if size == -1 else size for size in shape)


@traced(np.reshape)
def reshape(t: Trace, a: Any, /, shape: Any, order: str = "C", *, copy: Any = None) -> Tracer:
    """The elements in row-major order in another shape; one size may be -1."""
    if order != "C":
        raise TraceError(f"reshape: expected order 'C', got {order!r}; transpose before and after")
    x = t.lift(a)
    sizes = t.shape(shape, "reshape")
    if -1 in sizes:
        sizes = _free_size(x.expr, sizes, "reshape")
    return t.wrap(ir.reshape(x.expr, sizes), x.weak)


def _ravel(x: Expr, order: str = "C") -> Expr:
    """The elements in row-major order along one axis."""
    if order != "C":
        raise TraceError(f"ravel: expected order 'C', got {order!r}; transpose before")
    return ir.reshape(x, (x.type.size,))


def _expand_dims(x: Expr, axis: Any) -> Expr:
    """New axes of size 1 at positions of the result."""
    places = axis if isinstance(axis, (list, tuple)) else (axis,)
    rank = x.type.rank + len(places)
    new = as_axes("expand_dims", tuple(places), rank)
    sizes = iter(x.shape)
    return ir.reshape(x, tuple(1 if i in new else next(sizes) for i in range(rank)))


def _squeeze(x: Expr, axis: Any = None) -> Expr:
    """Without the axes of size 1, or without the given ones, which must have it."""
    if axis is None:
        dropped = tuple(i for i, size in enumerate(x.shape) if size == 1)
    else:
        dropped = as_axes("squeeze", axis, x.type.rank)
    for i in dropped:
        if x.shape[i] != 1:
            raise ShapeError(f"squeeze: expected size 1 at axis {i}, got {x.type}")
    return ir.reshape(x, tuple(size for i, size in enumerate(x.shape) if i not in dropped))


def _raised(shape: tuple[Size, ...], rank: int) -> tuple[Size, ...]:
    """A shape with sizes 1 up to a rank: before it, and after the second axis for rank 3."""
    if rank == 3 and len(shape) == 2:
        return (*shape, 1)
    if rank == 3 and len(shape) == 1:
        return (1, *shape, 1)
    return (1,) * (rank - len(shape)) + shape


def _at_least(rank: int, numpy_function: Callable[..., Any]) -> Callable[..., Any]:
    @traced(numpy_function)
    def function(t: Trace, *arys: Any) -> Any:
        xs = [t.lift(a).expr for a in arys]
        results = tuple(t.wrap(ir.reshape(x, _raised(x.shape, rank))) for x in xs)
        return results[0] if len(results) == 1 else results

    function.__name__ = function.__qualname__ = f"atleast_{rank}d"
    function.__doc__ = f"With axes of size 1 up to rank {rank}."
    return function


@traced(np.broadcast_to)
def broadcast_to(t: Trace, array: Any, /, shape: Any) -> Tracer:
    """Repeated to a shape with which it broadcasts."""
    x = t.lift(array)
    target = t.shape(shape, "broadcast_to")
    if broadcast_shapes("broadcast_to", [TensorType(x.type.dtype, target), x.type]) != target:
        raise ShapeError(
            f"broadcast_to: expected a shape that {x.type} broadcasts to, got {target}"
        )
    return t.wrap(spread(x.expr, target), x.weak)


@traced(np.broadcast_arrays)
def broadcast_arrays(t: Trace, *args: Any) -> tuple[Tracer, ...]:
    """All arrays repeated to their common shape, each in its own dtype."""
    xs = [t.lift(a) for a in args]
    shape = broadcast_shapes("broadcast_arrays", [x.type for x in xs])
    return tuple(t.wrap(spread(x.expr, shape), x.weak) for x in xs)


# -- order of axes ---------------------------------------------------------------------------------


def _transpose(x: Expr, axes: Any = None) -> Expr:
    """The axes in another order, reversed where none is given."""
    rank = x.type.rank
    if axes is None:
        return ir.transpose(x, tuple(reversed(range(rank))))
    listed = axes if isinstance(axes, (list, tuple)) else (axes,)
    order = tuple(as_axis("transpose", axis, rank) for axis in listed)
    if sorted(order) != list(range(rank)):
        raise ShapeError(
            f"transpose: expected each of the {rank} axes of {x.type} once, got {listed}"
        )
    return ir.transpose(x, order)


def _matrix_transpose(x: Expr) -> Expr:
    """The last two axes exchanged."""
    if x.type.rank < 2:
        raise ShapeError(f"matrix_transpose: expected rank 2 or more, got {x.type}")
    return _swapaxes(x, -1, -2)


def _swapaxes(x: Expr, axis1: Any, axis2: Any) -> Expr:
    """Two axes exchanged."""
    rank = x.type.rank
    a, b = as_axis("swapaxes", axis1, rank), as_axis("swapaxes", axis2, rank)
    order = list(range(rank))
    order[a], order[b] = b, a
    return ir.transpose(x, order)


def _moveaxis(x: Expr, source: Any, destination: Any) -> Expr:
    """Axes moved to other positions, the rest keeping their order."""
    rank = x.type.rank
    listed = (source, destination)
    sources, places = (
        [as_axis("moveaxis", axis, rank) for axis in (s if isinstance(s, (list, tuple)) else (s,))]
        for s in listed
    )
    if len(sources) != len(places) or len(set(sources)) != len(sources):
        raise ShapeError(
            f"moveaxis: expected as many different sources as destinations, got {source} and "
            f"{destination}"
        )
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(places, sources)):
        order.insert(place, axis)
    return ir.transpose(x, order)


def _flip(x: Expr, axis: Any = None) -> Expr:
    """The order along axes reversed."""
    return ir.flip(x, as_axes("flip", axis, x.type.rank))


def _flip_at(name: str, axis: int) -> Callable[[Expr], Expr]:
    def build(x: Expr) -> Expr:
        """The order along one axis reversed."""
        if x.type.rank <= axis:
            raise ShapeError(f"{name}: expected rank {axis + 1} or more, got {x.type}")
        return ir.flip(x, (axis,))

    return build


# -- repeated and shifted --------------------------------------------------------------------------


def _roll(x: Expr, shift: Any, axis: Any = None) -> Expr:
    """Shifted along axes, what leaves at one end entering at the other."""
    if axis is None:
        return ir.reshape(_roll(_ravel(x), shift, 0), x.shape)
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    given = shift if isinstance(shift, (list, tuple)) else (shift,)
    shifts = [as_static_int("roll", "shift", places) for places in given]
    if len(axes) == 1:
        axes = tuple(axes) * len(shifts)
    elif len(shifts) == 1:
        shifts *= len(axes)
    if len(axes) != len(shifts):
        raise ShapeError(f"roll: expected as many shifts as axes, got {shift} and {axis}")
    for one, places in zip(axes, shifts):
        x = _roll_axis(x, places, as_axis("roll", one, x.type.rank))
    return x


def _roll_axis(x: Expr, shift: int, axis: int) -> Expr:
    size = x.shape[axis]
    if isinstance(size, int):
        shift = shift % size if size else 0
    if shift == 0:
        return x
    cut = size - shift if shift > 0 else -shift
    return ir.concatenate([_part(x, axis, cut, size), _part(x, axis, 0, cut)], axis)


def _part(x: Expr, axis: int, start: Size, stop: Size) -> Expr:
    """The elements from start to stop along one axis."""
    low: list[Size] = [0] * x.type.rank
    high = list(x.shape)
    low[axis], high[axis] = start, stop
    return ir.slice_axes(x, low, high)


def _require_room(function: str, a: Any, *counts: Any) -> None:
    """Raise LimitError for copies of an array that NumPy would not count, and crash on."""
    size = float(max(np.size(a), 1))
    for count in counts:
        size *= float(np.max(np.abs(np.asarray(count, np.float64)), initial=1.0))
    if size > MAX_ELEMENTS:
        raise LimitError(f"{function}: expected a result that fits in memory, got {size:.3g} "
                         "elements")


def _numpy_tile(A: Any, reps: Any) -> Any:  # noqa: N803
    """numpy.tile, which leaves the process where the number of elements overflows."""
    _require_room("tile", A, *(reps if isinstance(reps, (list, tuple)) else (reps,)))
    return np.tile(A, reps)


def _numpy_repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """numpy.repeat, which leaves the process where the number of elements overflows."""
    _require_room("repeat", a, repeats)
    return np.repeat(a, repeats, axis)


@traced(_numpy_tile)
def tile(t: Trace, A: Any, reps: Any) -> Tracer:  # noqa: N803
    """Copies of the array side by side, a number along each axis."""
    x = t.lift(A)
    given = t.shape(reps, "tile")
    rank = max(len(given), x.type.rank)
    shape = (1,) * (rank - x.type.rank) + x.type.shape
    counts = (1,) * (rank - len(given)) + given
    source = ir.reshape(x.expr, shape)
    spaced = ir.broadcast(
        source,
        tuple(size for pair in zip(counts, shape) for size in pair),
        tuple(range(1, 2 * rank, 2)),
    )
    return t.wrap(ir.reshape(spaced, tuple(c * s for c, s in zip(counts, shape))), x.weak)


@traced(_numpy_repeat)
def repeat(t: Trace, a: Any, repeats: Any, axis: int | None = None) -> Tracer:
    """Each element a number of times, one after another."""
    if isinstance(repeats, (list, tuple, np.ndarray)) and np.ndim(repeats):
        raise TraceError(
            "repeat: expected one number of repeats, got an array; concatenate the parts instead"
        )
    x = t.lift(a)
    source = _ravel(x.expr) if axis is None else x.expr
    place = 0 if axis is None else as_axis("repeat", axis, x.type.rank)
    count = t.size(repeats, "repeat")
    shape = source.shape
    spaced = ir.broadcast(
        source,
        (*shape[: place + 1], count, *shape[place + 1 :]),
        tuple(i if i <= place else i + 1 for i in range(len(shape))),
    )
    result = (*shape[:place], shape[place] * count, *shape[place + 1 :])
    return t.wrap(ir.reshape(spaced, result), x.weak)


# -- parts -----------------------------------------------------------------------------------------


def _cuts(size: Size, sections: Any, function: str, equal: bool) -> list[Size]:
    """The borders of the parts of an axis, from 0 to its size."""
    if isinstance(sections, (list, tuple, np.ndarray)):
        inner = [as_static_int(function, "a border", s) for s in sections]
        if isinstance(size, Dim):
            low = lower_bound(size - max(inner, default=0))
            if low is None or low < 0 or any(s < 0 for s in inner):
                raise ShapeError(
                    f"{function}: expected borders known to lie in the axis of size {size}, got "
                    f"{inner}"
                )
            return [0, *inner, size]
        return [0, *(slice(s).indices(size)[1] for s in inner), size]
    count = as_static_int(function, "the number of parts", sections)
    if count < 1:
        raise ArgumentError(f"{function}: expected 1 part or more, got {count}")
    if count > MAX_PARTS:
        raise LimitError(f"{function}: expected at most {MAX_PARTS} parts, got {count}")
    share = divide_exact(size, count)
    if share is not None:
        return [share * i for i in range(count + 1)]
    if equal or isinstance(size, Dim):
        raise ShapeError(f"{function}: expected {count} parts of equal size, got size {size}")
    short, longer = divmod(size, count)
    return [short * i + min(i, longer) for i in range(count + 1)]


def _split(
    t: Trace, ary: Any, sections: Any, axis: Any, function: str, equal: bool
) -> list[Tracer]:
    x = t.lift(ary)
    place = as_axis(function, axis, x.type.rank)
    cuts = _cuts(x.type.shape[place], sections, function, equal)
    return [
        t.wrap(_part(x.expr, place, a, a if _surely_less(b, a) else b))
        for a, b in zip(cuts, cuts[1:])
    ]


def _surely_less(a: Size, b: Size) -> bool:
    low = lower_bound(b - a)
    return low is not None and low > 0


@traced(np.split)
def split(t: Trace, ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tracer]:
    """Parts along an axis, of equal size or between given borders."""
    return _split(t, ary, indices_or_sections, axis, "split", equal=True)


@traced(np.array_split)
def array_split(t: Trace, ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tracer]:
    """Parts along an axis, of sizes that differ by at most 1."""
    return _split(t, ary, indices_or_sections, axis, "array_split", equal=False)


@traced(np.unstack)
def unstack(t: Trace, x: Any, /, *, axis: int = 0) -> tuple[Tracer, ...]:
    """The slices along an axis, without it."""
    moved = t.wrap(_moveaxis(t.lift(x).expr, axis, 0))
    return tuple(moved)


@traced(lambda x, index: x[index])
def getitem(t: Trace, x: Any, index: Any) -> Tracer:
    """The elements that a basic index chooses."""
    return index_value(t, x, index)


# -- padding ---------------------------------------------------------------------------------------


def _pad_widths(t: Trace, pad_width: Any, rank: int) -> list[tuple[Size, Size]]:
    """The widths before and after each axis, from any of NumPy's spellings."""
    if isinstance(pad_width, Mapping):
        given = {as_axis("pad", axis, rank): width for axis, width in pad_width.items()}
        spelled = [given.get(axis, 0) for axis in range(rank)]
    else:
        if isinstance(pad_width, Tracer):
            t.size(pad_width, "pad")
        widths = pad_width.tolist() if isinstance(pad_width, np.ndarray) else pad_width
        if not isinstance(widths, (list, tuple)):
            widths = [(widths, widths)]
        elif widths and not isinstance(widths[0], (list, tuple)):
            widths = [tuple(widths) * 2 if len(widths) == 1 else tuple(widths)]
        spelled = list(widths) * rank if len(widths) == 1 else list(widths)
    if len(spelled) != rank:
        raise ShapeError(f"pad: expected widths for {rank} axes, got {len(spelled)}")
    sizes = {len(width) if isinstance(width, (list, tuple)) else 0 for width in spelled}
    if len(sizes) > 1 and not isinstance(pad_width, Mapping):
        raise ShapeError(f"pad: expected the same number of widths for each axis, got {pad_width}")
    pairs = []
    for width in spelled:
        pair = t.shape(width, "pad")
        pair = pair * 2 if len(pair) == 1 else pair
        if len(pair) != 2 or any(isinstance(size, int) and size < 0 for size in pair):
            raise ShapeError(f"pad: expected two widths >= 0 for an axis, got {width}")
        pairs.append((pair[0], pair[1]))
    return pairs


@traced(np.pad)
def pad(
    t: Trace, array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0
) -> Tracer:
    """A constant before and after the elements of each axis."""
    if mode != "constant":
        raise TraceError(
            f"pad: expected mode 'constant', got {mode!r}; concatenate the parts x[...] instead"
        )
    if not isinstance(constant_values, (bool, int, float, np.generic)):
        raise TraceError(
            f"pad: expected one number as constant_values, got {constant_values!r}; pad by "
            "np.concatenate or np.where instead"
        )
    x = t.lift(array).expr
    pairs = _pad_widths(t, pad_width, x.type.rank)
    low, high = [before for before, _ in pairs], [after for _, after in pairs]
    padded = ir.pad(x, low, high)
    if constant_values == 0 or padded is x:
        return t.wrap(padded)
    inside = ir.pad(t.builder.constant(True, TensorType(BOOL, x.shape)), low, high)
    return t.wrap(inside.op("select", padded, t.constant(constant_values, padded.type)))


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "reshape": reshape,
    "ravel": _one("ravel", np.ravel, _ravel),
    "expand_dims": _one("expand_dims", np.expand_dims, _expand_dims),
    "squeeze": _one("squeeze", np.squeeze, _squeeze),
    "atleast_1d": _at_least(1, np.atleast_1d),
    "atleast_2d": _at_least(2, np.atleast_2d),
    "atleast_3d": _at_least(3, np.atleast_3d),
    "broadcast_to": broadcast_to,
    "broadcast_arrays": broadcast_arrays,
    "transpose": _one("transpose", np.transpose, _transpose),
    "matrix_transpose": _one("matrix_transpose", np.matrix_transpose, _matrix_transpose),
    "swapaxes": _one("swapaxes", np.swapaxes, _swapaxes),
    "moveaxis": _one("moveaxis", np.moveaxis, _moveaxis),
    "flip": _one("flip", np.flip, _flip),
    "fliplr": _one("fliplr", np.fliplr, _flip_at("fliplr", 1)),
    "flipud": _one("flipud", np.flipud, _flip_at("flipud", 0)),
    "roll": _one("roll", np.roll, _roll),
    "tile": tile,
    "repeat": repeat,
    "split": split,
    "array_split": array_split,
    "unstack": unstack,
    "getitem": getitem,
    "pad": pad,
})

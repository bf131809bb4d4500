"""Identities of the ops that move elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.dims import Size, lower_bound
from ...ops import movement as build
from ...ops.build import Expr
from ..pattern import Var, op
from ..predicates import all_one, same_operator, single_use
from ..rule import Match, Rule

x, y = Var("x"), Var("y")
Shape = tuple[Size, ...]


def _unchanged(m: Match) -> bool:
    return m["x"].shape == m["root"].shape


def without_ones(shape: Sequence[Size]) -> tuple[int, ...]:
    """The axes whose size is not 1."""
    return tuple(axis for axis, size in enumerate(shape) if size != 1)


def same_but_ones(a: Sequence[Size], b: Sequence[Size]) -> bool:
    """True where two shapes differ by axes of size 1 alone."""
    return [s for s in a if s != 1] == [s for s in b if s != 1]


def not_below(a: Size, b: Size) -> bool:
    """True where a >= b is proved for all values of the names."""
    least = lower_bound(a - b)
    return least is not None and least >= 0


# -- reshape and transpose -------------------------------------------------------------------------


def _permutation(m: Match, name: str = "root") -> tuple[int, ...]:
    return m.attr(name, "permutation")


def _compose(m: Match) -> Expr:
    inner = _permutation(m, "inner")
    return build.transpose(m["x"], [inner[axis] for axis in _permutation(m)])


def _keeps_order(m: Match) -> bool:
    moved = [axis for axis in _permutation(m) if m["x"].shape[axis] != 1]
    return moved == sorted(moved)


RESHAPE_RULES = (
    Rule("reshape_same", "reshape(x, shape of x) -> x",
         op("reshape", x), lambda m: m["x"], (_unchanged,)),
    Rule("reshape_reshape", "reshape(reshape(x)) -> reshape(x)",
         op("reshape", op("reshape", x)), lambda m: build.reshape(m["x"], m["root"].shape)),
    Rule("transpose_identity", "transpose(x, axes in order) -> x",
         op("transpose", x), lambda m: m["x"],
         (lambda m: _permutation(m) == tuple(range(m["x"].type.rank)),)),
    Rule("transpose_transpose", "transpose(transpose(x, p), q) -> transpose(x, p after q)",
         op("transpose", op("transpose", x, name="inner")), _compose),
    Rule("transpose_to_reshape", "transpose that moves axes of size 1 alone -> reshape",
         op("transpose", x), lambda m: build.reshape(m["x"], m["root"].shape), (_keeps_order,)),
)  # fmt: skip


# -- broadcast -------------------------------------------------------------------------------------


def _dims(m: Match, name: str = "root") -> tuple[int, ...]:
    return m.attr(name, "dims")


def _compose_broadcasts(m: Match) -> Expr:
    inner, outer = _dims(m, "inner"), _dims(m)
    return m["x"].builder.broadcast(m["x"], m["root"].shape, [outer[dim] for dim in inner])


def _drop_ones(m: Match) -> Expr:
    kept = without_ones(m["x"].shape)
    small = build.reshape(m["x"], [m["x"].shape[axis] for axis in kept])
    dims = _dims(m)
    return small.builder.broadcast(small, m["root"].shape, [dims[axis] for axis in kept])


def _adds_ones(m: Match) -> bool:
    inner = m["inner"].shape
    return same_but_ones(m["x"].shape, inner) and len(without_ones(m["x"].shape)) == (
        m["x"].type.rank
    )


def _broadcast_unreshaped(m: Match) -> Expr:
    dims = _dims(m)
    kept = [dims[axis] for axis in without_ones(m["inner"].shape)]
    return m["x"].builder.broadcast(m["x"], m["root"].shape, kept)


def _reshaped_dims(m: Match) -> list[int] | None:
    """Where the axes of a repeated value lie after a reshape of its repetition, None if nowhere."""
    before, after, dims = m["inner"].shape, m["root"].shape, _dims(m, "inner")
    if not dims:
        return []
    if not same_but_ones(before, after):
        return None
    places: Mapping[int, int] = dict(zip(without_ones(before), without_ones(after)))
    return [places[dim] for dim in dims] if all(dim in places for dim in dims) else None


def _broadcast_reshaped(m: Match) -> Expr:
    dims = _reshaped_dims(m)
    assert dims is not None
    return m["x"].builder.broadcast(m["x"], m["root"].shape, dims)


def _transpose_first(m: Match) -> Expr:
    """Result axis i is axis p[i] of the broadcast; the operand's axes follow in that order."""
    place = build.invert(_permutation(m))
    moved = [place[dim] for dim in _dims(m, "inner")]
    order = sorted(range(len(moved)), key=lambda axis: moved[axis])
    small = build.transpose(m["x"], order)
    return small.builder.broadcast(small, m["root"].shape, sorted(moved))


BROADCAST_RULES = (
    Rule("broadcast_identity", "broadcast(x, shape of x) -> x",
         op("broadcast", x), lambda m: m["x"], (_unchanged,)),
    Rule("broadcast_to_reshape", "broadcast that adds axes of size 1 alone -> reshape",
         op("broadcast", x), lambda m: build.reshape(m["x"], m["root"].shape),
         (lambda m: same_but_ones(m["x"].shape, m["root"].shape),)),
    Rule("broadcast_broadcast", "broadcast(broadcast(x)) -> broadcast(x)",
         op("broadcast", op("broadcast", x, name="inner")), _compose_broadcasts),
    Rule("broadcast_of_reshape", "broadcast(reshape(x)) -> broadcast(x) where reshape adds ones",
         op("broadcast", op("reshape", x, name="inner")), _broadcast_unreshaped, (_adds_ones,)),
    Rule("broadcast_of_ones", "broadcast(x) -> broadcast(reshape(x)) without axes of size 1",
         op("broadcast", x), _drop_ones,
         (lambda m: len(without_ones(m["x"].shape)) < m["x"].type.rank,)),
    Rule("reshape_of_broadcast", "reshape(broadcast(x)) -> broadcast(x) where ones alone change",
         op("reshape", op("broadcast", x, name="inner")), _broadcast_reshaped,
         (lambda m: _reshaped_dims(m) is not None,)),
    Rule("transpose_of_broadcast", "transpose(broadcast(x)) -> broadcast(transpose(x))",
         op("transpose", op("broadcast", x, name="inner")), _transpose_first),
)  # fmt: skip


# -- slice, pad, concatenate, flip -----------------------------------------------------------------


def _slice_of(m: Match, name: str = "root") -> tuple[Shape, Shape, tuple[int, ...]]:
    return m.attr(name, "start"), m.attr(name, "stop"), m.attr(name, "step")


def _starts_compose(m: Match) -> bool:
    """With an inner step other than 1, every bound must be known so that the last index is."""
    sizes = [*_slice_of(m)[0], *_slice_of(m, "inner")[0], *m["root"].shape]
    return all(step == 1 for step in _slice_of(m, "inner")[2]) or all(
        isinstance(size, int) for size in sizes
    )


def _compose_slices(m: Match) -> Expr:
    start, stop, step = _slice_of(m)
    first, _, stride = _slice_of(m, "inner")
    shape = m["root"].shape
    # Of an empty axis, the first index of a strided operand may lie beyond its end.
    starts = [
        b if length == 0 and s != 1 else b + a * s
        for a, b, s, length in zip(start, first, stride, shape)
    ]
    # Where no second element follows, the step means nothing, and the product could be any size.
    steps = [
        1 if s != 1 and length in (0, 1) else a * s
        for a, s, length in zip(step, stride, shape)
    ]
    stops = [
        b + e if s == 1 else low if length == 0 else low + (length - 1) * whole + 1
        for e, b, s, low, length, whole in zip(stop, first, stride, starts, shape, steps)
    ]
    return build.slice_axes(m["x"], starts, stops, steps)


def _slice_first(m: Match) -> Expr:
    start, stop, step = _slice_of(m)
    dims, shape = _dims(m, "inner"), m["x"].shape
    spread = [size == 1 for size in shape]
    small = build.slice_axes(
        m["x"],
        [0 if one else start[dim] for one, dim in zip(spread, dims)],
        [1 if one else stop[dim] for one, dim in zip(spread, dims)],
        [1 if one else step[dim] for one, dim in zip(spread, dims)],
    )
    return small.builder.broadcast(small, m["root"].shape, dims)


def _inside_padding(m: Match) -> bool:
    start, stop, _ = _slice_of(m)
    return all(gap == 0 for gap in m.attr("inner", "interior")) and all(
        not_below(first, low) and not_below(low + size, end)
        for first, end, low, size in zip(start, stop, m.attr("inner", "low"), m["x"].shape)
    )


def _slice_unpadded(m: Match) -> Expr:
    start, stop, step = _slice_of(m)
    low = m.attr("inner", "low")
    return build.slice_axes(
        m["x"], [a - b for a, b in zip(start, low)], [a - b for a, b in zip(stop, low)], step
    )


def _part(m: Match) -> tuple[Expr, Size] | None:
    """The part of a concatenation that a slice lies in, and where that part starts."""
    axis = m.attr("inner", "axis")
    start, stop, _ = _slice_of(m)
    offset: Size = 0
    for part in m.operands("inner"):
        end = offset + part.shape[axis]
        if not_below(start[axis], offset) and not_below(end, stop[axis]):
            return part, offset
        offset = end
    return None


def _slice_part(m: Match) -> Expr:
    found = _part(m)
    assert found is not None
    part, offset = found
    axis = m.attr("inner", "axis")
    start, stop, step = _slice_of(m)
    shift = [offset if i == axis else 0 for i in range(len(start))]
    return build.slice_axes(
        part, [a - b for a, b in zip(start, shift)], [a - b for a, b in zip(stop, shift)], step
    )


def _whole(m: Match) -> bool:
    start, stop, step = _slice_of(m)
    return stop == m["x"].shape and all(a == 0 for a in start) and all(s == 1 for s in step)


def _pad_sum(m: Match) -> Expr:
    return (m["x"] + m["y"]).op("pad", **dict(m["left"].node.attributes))


def _flip_fewer(m: Match) -> Expr:
    shape = m["x"].shape
    return build.flip(m["x"], [axis for axis in m.attr("root", "axes") if shape[axis] != 1])


def _flip_once(m: Match) -> Expr:
    return build.flip(m["x"], tuple({*m.attr("root", "axes")} ^ {*m.attr("inner", "axes")}))


WINDOW_RULES = (
    Rule("slice_whole", "slice of all elements -> x",
         op("slice", x), lambda m: m["x"], (_whole,)),
    Rule("slice_slice", "slice(slice(x)) -> slice(x)",
         op("slice", op("slice", x, name="inner")), _compose_slices, (_starts_compose,)),
    Rule("slice_of_broadcast", "slice(broadcast(x)) -> broadcast(slice(x))",
         op("slice", op("broadcast", x, name="inner")), _slice_first),
    Rule("slice_of_pad", "slice(pad(x)) -> slice(x) where it lies inside x",
         op("slice", op("pad", x, name="inner")), _slice_unpadded, (_inside_padding,)),
    Rule("slice_of_concatenate", "slice(concatenate(x, y)) -> slice(x) where it lies inside x",
         op("slice", op("concatenate", name="inner")), _slice_part,
         (lambda m: _part(m) is not None,)),
    Rule("pad_none", "pad by nothing -> x",
         op("pad", x), lambda m: m["x"],
         (lambda m: not any((*m.attr("root", "low"), *m.attr("root", "high"),
                             *m.attr("root", "interior"))),)),
    Rule("add_of_pads", "pad(x) + pad(y) -> pad(x + y) for equal pads",
         op("add", op("pad", x, name="left"), op("pad", y, name="right")), _pad_sum,
         (same_operator("left", "right"), single_use("left"), single_use("right"))),
    Rule("concatenate_one", "concatenate(x) -> x",
         op("concatenate", x), lambda m: m["x"]),
    Rule("flip_short", "flip along axes of size 1 -> no flip along them",
         op("flip", x), _flip_fewer,
         (lambda m: any(all_one([m["x"].shape[a]]) for a in m.attr("root", "axes")),)),
    Rule("flip_none", "flip along no axis -> x",
         op("flip", x), lambda m: m["x"], (lambda m: not m.attr("root", "axes"),)),
    Rule("flip_flip", "flip(flip(x)) -> flip(x) along the axes of one of them",
         op("flip", op("flip", x, name="inner")), _flip_once),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*RESHAPE_RULES, *BROADCAST_RULES, *WINDOW_RULES)

"""For rules whose conditions a bare pattern seldom meets: a function that builds what they match.

Each takes a `Growth`, draws operands and sizes from it, and returns the root of the match. Rules of
elementwise ops need none: `random_graphs` builds them from their patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from ..ir.types import BOOL, F32, F64, I32, I64, DType, TensorType
from ..ops.build import Expr
from ..ops.contract import dot_general
from ..rewrite.rules.constants import EXACT_OPS, MOVES, PICKS, ROUNDED_OPS
from ..rewrite.rules.logic import COMPARISONS
from .growth import Growth

Snippet = Callable[[Growth], Expr]
FLOATS = (F32, F64)
SUMS = ("reduce_sum", "reduce_prod")
EXTREMA = ("reduce_max", "reduce_min")

# -- parts -----------------------------------------------------------------------------------------


def _spread(x: Expr, shape: Sequence[int], *dims: int) -> Expr:
    return x.builder.broadcast(x, tuple(shape), dims)


def _reduce(g: Growth, x: Expr, names: Sequence[str], axes: Sequence[int]) -> Expr:
    return x.op(g.choose(names), axes=tuple(sorted(axes)))


def _some_axes(g: Growth, rank: int, least: int = 1) -> tuple[int, ...]:
    count = int(g.rng.integers(least, rank + 1))
    return tuple(sorted(int(axis) for axis in g.rng.permutation(rank)[:count]))


def _permutation(g: Growth, rank: int) -> tuple[int, ...]:
    return tuple(int(axis) for axis in g.rng.permutation(rank))


def _ints(x: Expr) -> tuple[int, ...]:
    return tuple(int(size) for size in x.shape)  # type: ignore[arg-type]


def _with_one(g: Growth, x: Expr) -> Expr:
    """The value with an axis of size 1 somewhere."""
    at = int(g.rng.integers(x.type.rank + 1))
    return x.op("reshape", shape=x.shape[:at] + (1,) + x.shape[at:])


def _has_one(g: Growth, kinds: str = "if") -> Expr:
    """A value of rank 2 or 3 with an axis of size 1, which is no reshape."""
    x = g.find(kinds, 2, 1, lambda shape: 1 in shape)
    return x if x.node.op != "reshape" else x.op("maximum", x.like(1))


def _constant(g: Growth, dtypes: Sequence[DType], rank: int = 2, least: int = 1) -> Expr:
    type_ = TensorType(g.choose(dtypes), g.shape(rank, least))
    return g.constant(g.choose((0.0, 1.0, 2.0, -3.0, 0.5)), type_)


def _condition(g: Growth, x: Expr) -> Expr:
    return g.of_type(TensorType(BOOL, x.shape))


def _window(g: Growth, shape: Sequence[int], step: int = 1) -> dict[str, tuple[int, ...]]:
    """Attributes of a slice that lies inside of a shape."""
    start = tuple(int(g.rng.integers(size + 1)) for size in shape)
    stop = tuple(int(g.rng.integers(first, size + 1)) for first, size in zip(start, shape))
    return {"start": start, "stop": stop, "step": (step,) * len(shape)}


def _split(g: Growth, x: Expr) -> tuple[int, ...]:
    """Another shape of as many elements."""
    count = x.type.size
    assert isinstance(count, int)
    for divisor in (2, 3, 5):
        if count and count % divisor == 0 and (divisor, count // divisor) != x.shape:
            return (divisor, count // divisor)
    return (count,)


# -- constants -------------------------------------------------------------------------------------


def _fold_op(names: Sequence[str]) -> Snippet:
    def build(g: Growth) -> Expr:
        name = g.choose(names)
        types, attrs = g.sample(name)
        made = [g.constant(g.choose((0.5, 1.0, 2.0, 0.25)), type_) for type_ in types]
        return made[0].op(name, *made[1:], **attrs)

    return build


def _fold_concatenate(g: Growth) -> Expr:
    x = _constant(g, (F32, I32))
    rows = TensorType(x.dtype, (g.size(1), *x.shape[1:]))
    return x.op("concatenate", g.constant(x.node.attribute("value"), rows), axis=0)


def _fold_sum(g: Growth) -> Expr:
    x = _constant(g, (F32, F64, I32, I64), least=0)
    return x.op("reduce_sum", axes=_some_axes(g, 2))


def _fold_prod(g: Growth) -> Expr:
    x = g.constant(g.choose((1.0, 2.0)), TensorType(g.choose((I32, I64)), g.shape(2)))
    return x.op("reduce_prod", axes=_some_axes(g, 2))


def _fold_dot(g: Growth) -> Expr:
    m, k, n = (g.size(1) for _ in range(3))
    dtype = g.choose((F32, F64, I32))
    x, y = (g.constant(2.0, TensorType(dtype, shape)) for shape in ((m, k), (k, n)))
    return dot_general(x, y, ((1,), (0,)))


def _fold_iota(g: Growth) -> Expr:
    return g.one("iota", shape=(g.size(), 1), axis=1, dtype=g.choose((F32, I32, I64)))


CONSTANTS: Mapping[str, Snippet] = MappingProxyType(
    {
        "fold": _fold_op([name for name in EXACT_OPS if name != "cast"]),
        "fold_rounded": _fold_op(ROUNDED_OPS),
        "fold_move": _fold_op(MOVES),
        "fold_pick": _fold_op(PICKS),
        "fold_pad": lambda g: _constant(g, (F32, I32)).like(0).op(
            "pad", low=(1, 0), high=(0, 2), interior=(0, 1)),
        "fold_concatenate": _fold_concatenate,
        "fold_dim_size": lambda g: g.one("dim_size", size=g.size()),
        "fold_iota": _fold_iota,
        "fold_position": lambda g: _constant(g, (F32, I32)).op(
            g.choose(("argmax", "argmin")), axis=1),
        "fold_sum": _fold_sum,
        "fold_prod": _fold_prod,
        "fold_dot": _fold_dot,
    }
)  # fmt: skip

# -- truth values and selection --------------------------------------------------------------------


def _ranges(g: Growth) -> Expr:
    """A comparison of an iota with a number that it never reaches, or always exceeds."""
    size = g.size(1)
    x = g.one("iota", shape=(size, g.size(1)), axis=0, dtype=g.choose((I32, I64)))
    if g.chance(0.5):
        x = x + 2
    return x.op(g.choose(COMPARISONS), x.like(g.choose((-3, size + 2))))


def _select(g: Growth, kinds: str = "if") -> tuple[Expr, Expr, Expr]:
    x = g.find(kinds)
    return _condition(g, x), x, g.of_type(x.type)


def _select_not(g: Growth) -> Expr:
    c, x, y = _select(g)
    return c.op("logical_not").op("select", x, y)


def _select_of_select(taken: bool) -> Snippet:
    def build(g: Growth) -> Expr:
        c, x, y = _select(g)
        z = g.of_type(x.type)
        inner = c.op("select", x, y)
        return c.op("select", inner, z) if taken else c.op("select", z, inner)

    return build


def _select_constant(value: bool) -> Snippet:
    def build(g: Growth) -> Expr:
        c, x, y = _select(g)
        return c.like(value).op("select", x, y)

    return build


def _select_same(g: Growth) -> Expr:
    c, x, _ = _select(g)
    return c.op("select", x, x)


def _select_truth(first: bool) -> Snippet:
    def build(g: Growth) -> Expr:
        c = g.find("b")
        return c.op("select", c.like(first), c.like(not first))

    return build


def _mask(first: float) -> Snippet:
    def build(g: Growth) -> Expr:
        x = g.find("if")
        return x * _condition(g, x).op("select", x.like(first), x.like(1 - first))

    return build


def _cast_cast(g: Growth) -> Expr:
    x = g.find("bi")
    inner = x.op("cast", dtype=g.choose((F64, I64)))
    return inner.op("cast", dtype=g.choose([d for d in (F32, I32, BOOL) if d is not inner.dtype]))


def _cast_mask(g: Growth) -> Expr:
    x = g.find("if")
    return x * _condition(g, x).op("cast", dtype=x.dtype)


def _cast_same(g: Growth) -> Expr:
    x = g.find("bif")
    return x.op("cast", dtype=x.dtype)


LOGIC: Mapping[str, Snippet] = MappingProxyType(
    {
        "compare_ranges": _ranges,
        "select_true": _select_constant(True),
        "select_false": _select_constant(False),
        "select_same": _select_same,
        "select_truth": _select_truth(True),
        "select_untruth": _select_truth(False),
        "select_not": _select_not,
        "select_select_taken": _select_of_select(True),
        "select_select_other": _select_of_select(False),
        "mul_mask": _mask(1.0),
        "mul_unmask": _mask(0.0),
        "mul_cast_mask": _cast_mask,
        "cast_same": _cast_same,
        "cast_cast": _cast_cast,
    }
)

# -- movement --------------------------------------------------------------------------------------


def _transposes(g: Growth) -> Expr:
    x = g.find(rank=g.choose((2, 3)), least=2)
    first, second = (_permutation(g, x.type.rank) for _ in range(2))
    return x.op("transpose", permutation=first).op("transpose", permutation=second)


def _identity_transpose(g: Growth) -> Expr:
    x = g.find()
    return x.op("transpose", permutation=tuple(range(x.type.rank)))


def _transpose_ones(g: Growth) -> Expr:
    x = _has_one(g)
    return x.op("transpose", permutation=(1, 0))


def _repeated(g: Growth, rank: int = 1) -> Expr:
    """A value repeated along a new axis."""
    x = g.find("if", rank, 1)
    at = int(g.rng.integers(rank + 1))
    shape = _ints(x)[:at] + (g.size(1),) + _ints(x)[at:]
    return _spread(x, shape, *(axis for axis in range(rank + 1) if axis != at))


def _broadcast_broadcast(g: Growth) -> Expr:
    x = _repeated(g)
    return _spread(x, (g.size(1), *_ints(x)), 1, 2)


def _broadcast_reshape(g: Growth) -> Expr:
    x = g.find("if", 1, 2)
    return _spread(x.op("reshape", shape=(*x.shape, 1)), (*_ints(x), g.size(2)), 0, 1)


def _broadcast_ones(g: Growth) -> Expr:
    x = _has_one(g)
    shape = tuple(g.size(1) if size == 1 else size for size in _ints(x))
    return _spread(x, (g.size(2), *shape), 1, 2)


def _reshape_broadcast(g: Growth) -> Expr:
    x = _repeated(g)
    return _with_one(g, x)


def _slice_slice(g: Growth) -> Expr:
    x = g.find(rank=g.choose((1, 2)), least=3)
    inner = x.op("slice", **_window(g, _ints(x), g.choose((1, 2))))
    return inner.op("slice", **_window(g, _ints(inner), g.choose((1, 2))))


def _slice_broadcast(g: Growth) -> Expr:
    x = _repeated(g)
    return x.op("slice", **_window(g, _ints(x)))


def _slice_pad(g: Growth) -> Expr:
    x = g.find(rank=1, least=2)
    low = int(g.rng.integers(3))
    window = _window(g, _ints(x))
    start, stop = ((window[name][0] + low,) for name in ("start", "stop"))
    padded = x.op("pad", low=(low,), high=(g.choose((0, 2)),), interior=(0,))
    return padded.op("slice", start=start, stop=stop, step=(1,))


def _slice_concatenate(g: Growth) -> Expr:
    x = g.find(rank=g.choose((1, 2)), least=1)
    y = g.of_type(x.type)
    joined = x.op("concatenate", y, axis=0)
    window = _window(g, _ints(x))
    shift = _ints(x)[0] if g.chance(0.5) else 0
    start, stop = ((window[n][0] + shift, *window[n][1:]) for n in ("start", "stop"))
    return joined.op("slice", start=start, stop=stop, step=window["step"])


def _slice_whole(g: Growth) -> Expr:
    x = g.find()
    rank = x.type.rank
    return x.op("slice", start=(0,) * rank, stop=x.shape, step=(1,) * rank)


def _pad_none(g: Growth) -> Expr:
    x = g.find()
    zeros = (0,) * x.type.rank
    return x.op("pad", low=zeros, high=zeros, interior=zeros)


def _flip_flip(g: Growth) -> Expr:
    x = g.find(rank=2, least=2)
    return x.op("flip", axes=_some_axes(g, 2)).op("flip", axes=_some_axes(g, 2))


def _reshape_reshape(g: Growth) -> Expr:
    x = g.find(rank=g.choose((1, 2, 3)))
    return _with_one(g, x).op("reshape", shape=_split(g, x))


def _broadcast_identity(g: Growth) -> Expr:
    x = g.find()
    return _spread(x, _ints(x), *range(x.type.rank))


def _broadcast_to_reshape(g: Growth) -> Expr:
    x = g.find(rank=g.choose((0, 1, 2)))
    return _spread(x, (1, *_ints(x)), *range(1, x.type.rank + 1))


MOVEMENT: Mapping[str, Snippet] = MappingProxyType(
    {
        "reshape_same": lambda g: (lambda x: x.op("reshape", shape=x.shape))(g.find()),
        "reshape_reshape": _reshape_reshape,
        "transpose_identity": _identity_transpose,
        "transpose_transpose": _transposes,
        "transpose_to_reshape": _transpose_ones,
        "broadcast_identity": _broadcast_identity,
        "broadcast_to_reshape": _broadcast_to_reshape,
        "broadcast_broadcast": _broadcast_broadcast,
        "broadcast_of_reshape": _broadcast_reshape,
        "broadcast_of_ones": _broadcast_ones,
        "reshape_of_broadcast": _reshape_broadcast,
        "transpose_of_broadcast": lambda g: _repeated(g).op("transpose", permutation=(1, 0)),
        "slice_whole": _slice_whole,
        "slice_slice": _slice_slice,
        "slice_of_broadcast": _slice_broadcast,
        "slice_of_pad": _slice_pad,
        "slice_of_concatenate": _slice_concatenate,
        "pad_none": _pad_none,
        "concatenate_one": lambda g: g.find(rank=g.choose((1, 2))).op("concatenate", axis=0),
        "flip_short": lambda g: _has_one(g).op("flip", axes=(0, 1)),
        "flip_none": lambda g: g.find().op("flip", axes=()),
        "flip_flip": _flip_flip,
    }
)

# -- reductions and contractions -------------------------------------------------------------------


def _of_one(names: Sequence[str]) -> Snippet:
    def build(g: Growth) -> Expr:
        x = _has_one(g)
        return _reduce(g, x, names, [axis for axis, size in enumerate(x.shape) if size == 1][:1])

    return build


def _of_same(names: Sequence[str]) -> Snippet:
    """A reduction of a reduction of the same kind."""

    def build(g: Growth) -> Expr:
        x = g.find("if", 3, 2)
        name = g.choose(names)
        inner = x.op(name, axes=(g.choose((0, 1, 2)),))
        return inner.op(name, axes=(g.choose((0, 1)),))

    return build


def _of_transpose(names: Sequence[str]) -> Snippet:
    def build(g: Growth) -> Expr:
        x = g.find("if", g.choose((2, 3)), 2)
        order = _permutation(g, x.type.rank)
        moved = x.op("transpose", permutation=order)
        return _reduce(g, moved, names, _some_axes(g, x.type.rank))

    return build


def _of_reshape(g: Growth) -> Expr:
    x = _with_one(g, g.find("if", 2, 2))
    return _reduce(g, x, (*SUMS, *EXTREMA), (x.type.rank - 1, 0))


def _all_of_reshape(names: Sequence[str]) -> Snippet:
    def build(g: Growth) -> Expr:
        x = g.find("if", g.choose((1, 2)), 2)
        other = x.op("reshape", shape=_split(g, x))
        return _reduce(g, other, names, range(other.type.rank))

    return build


def _of_repeated(names: Sequence[str]) -> Snippet:
    def build(g: Growth) -> Expr:
        x = _repeated(g)
        return _reduce(g, x, names, _some_axes(g, x.type.rank))

    return build


def _sum_constant(g: Growth) -> Expr:
    x = g.constant(0.1, TensorType(g.choose(FLOATS), g.shape(2, 3)))
    return x.op("reduce_sum", axes=(0,))


def _sum_of(name: str) -> Snippet:
    """The sum of a value times or over one that is the same all along the sum."""

    def build(g: Growth) -> Expr:
        x = g.find("f" if name == "div" else "if", 2, 2)
        row = g.of_type(TensorType(x.dtype, x.shape[1:]))
        row = g.positive(row) if name == "div" else row
        factor = _spread(row, _ints(x), 1) if g.chance(0.6) else x.like(3)
        return x.op(name, factor).op("reduce_sum", axes=(0,))

    return build


def _sum_neg(g: Growth) -> Expr:
    x = g.find("if", g.choose((1, 2)), 1)
    return (-x).op("reduce_sum", axes=_some_axes(g, x.type.rank))


def _dot_transpose(lhs: bool) -> Snippet:
    def build(g: Growth) -> Expr:
        x = g.find("if", 2, 1)
        k, n = (*_ints(x)[:1], g.size(1)) if lhs else (*_ints(x)[1:], g.size(1))
        moved = x.op("transpose", permutation=(1, 0))
        if lhs:
            return dot_general(moved, g.of_type(TensorType(x.dtype, (k, n))), ((1,), (0,)))
        return dot_general(g.of_type(TensorType(x.dtype, (n, k))), moved, ((1,), (0,)))

    return build


def _transpose_dot(g: Growth) -> Expr:
    x = g.find("if", 2, 2)
    y = g.of_type(TensorType(x.dtype, (_ints(x)[1], g.size(2))))
    return dot_general(x, y, ((1,), (0,))).op("transpose", permutation=(1, 0))


def _outer(g: Growth) -> Expr:
    x = g.find("if", 1, 1)
    return dot_general(x, g.of_type(TensorType(x.dtype, (g.size(1),))), ((), ()))


def _diagonal(g: Growth, dtype: DType, shape: tuple[int, int]) -> Expr:
    """A diagonal matrix: a mask that is cast, or that selects a row or a column."""
    like = g.of_type(TensorType(dtype, shape))
    rows, columns = (like.builder.one("iota", shape=shape, axis=i, dtype=I64) for i in (0, 1))
    shift = int(g.rng.integers(-2, 3))
    mask = (rows + shift if shift else rows).eq(columns)
    if g.chance(0.5):
        return mask.op("cast", dtype=dtype)
    axis = int(g.rng.integers(2))
    line = g.of_type(TensorType(dtype, (shape[axis],)))
    return mask.op("select", _spread(line, shape, axis), like.like(0))


def _dot_diagonal(lhs: bool) -> Snippet:
    def build(g: Growth) -> Expr:
        x = g.find("if", 2, 1)
        if lhs:
            return dot_general(_diagonal(g, x.dtype, (g.size(1), _ints(x)[0])), x, ((1,), (0,)))
        return dot_general(x, _diagonal(g, x.dtype, (_ints(x)[1], g.size(1))), ((1,), (0,)))

    return build


def _slice_diagonal(g: Growth) -> Expr:
    rows, columns = g.shape(2, 2)
    x = _diagonal(g, g.choose((F32, F64, I32)), (rows, columns))
    return x.op("slice", start=(1, 0), stop=(rows, columns - 1), step=(1, 1))


def _dot_apart(lhs: bool) -> Snippet:
    """A product over the middle axis of one operand."""

    def build(g: Growth) -> Expr:
        x = g.find("if", 3, 2, lambda shape: shape[1] >= 4)  # type: ignore[operator]
        y = g.of_type(TensorType(x.dtype, (_ints(x)[1], g.size(1))))
        return dot_general(x, y, ((1,), (0,))) if lhs else dot_general(y, x, ((0,), (1,)))

    return build


def _sum_of_pads(g: Growth) -> Expr:
    x = g.find("if", g.choose((1, 2)), 1)
    attrs = {name: tuple(int(g.rng.integers(3)) for _ in x.shape) for name in ("low", "high")}
    attrs["interior"] = (g.choose((0, 0, 1)),) * x.type.rank
    return x.op("pad", **attrs) + g.of_type(x.type).op("pad", **attrs)


REDUCTIONS: Mapping[str, Snippet] = MappingProxyType(
    {
        "reduce_none": lambda g: _reduce(g, g.find(), (*SUMS, *EXTREMA), ()),
        "pick_of_one": _of_one(EXTREMA),
        "sum_of_one": _of_one(SUMS),
        "pick_of_pick": _of_same(EXTREMA),
        "sum_of_sum": _of_same(SUMS),
        "pick_of_transpose": _of_transpose(EXTREMA),
        "sum_of_transpose": _of_transpose(SUMS),
        "reduce_of_reshape": _of_reshape,
        "pick_all_of_reshape": _all_of_reshape(EXTREMA),
        "sum_all_of_reshape": _all_of_reshape(SUMS),
        "pick_of_broadcast": _of_repeated(EXTREMA),
        "sum_of_broadcast": _of_repeated(("reduce_sum",)),
        "sum_of_constant": _sum_constant,
        "sum_of_mul": _sum_of("mul"),
        "sum_of_div": _sum_of("div"),
        "sum_of_neg": _sum_neg,
        "dot_of_transpose_lhs": _dot_transpose(True),
        "dot_of_transpose_rhs": _dot_transpose(False),
        "transpose_of_dot": _transpose_dot,
        "dot_to_mul": _outer,
        "dot_of_diagonal_lhs": _dot_diagonal(True),
        "dot_of_diagonal_rhs": _dot_diagonal(False),
        "slice_of_diagonal": _slice_diagonal,
        "dot_of_rows_apart": _dot_apart(True),
        "dot_of_columns_apart": _dot_apart(False),
        "add_of_pads": _sum_of_pads,
    }
)


def _of_broadcast(g: Growth) -> Expr:
    """An elementwise op of repeated values."""
    x = _repeated(g)
    if g.chance(0.5):
        return x.op(g.choose(("neg", "abs", "sign")))
    return x.op(g.choose(("add", "mul", "maximum")), x.like(2))


SNIPPETS: Mapping[str, Snippet] = MappingProxyType(
    {
        **CONSTANTS, **LOGIC, **MOVEMENT, **REDUCTIONS,
        "elementwise_of_broadcast": _of_broadcast,
    }
)  # fmt: skip

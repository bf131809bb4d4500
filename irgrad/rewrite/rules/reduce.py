"""Reductions: of nothing, of reductions, of moved and repeated values, and factors taken out.

Rules that change the order of a maximum or minimum are stable for one reason: which of 0.0 and -0.0
is found first may differ.
"""

from __future__ import annotations

from ...ir.dims import Size, product
from ...ops.build import Expr
from ...ops.movement import broadcast, reshape, transpose
from ...ops.reduce import kept_axes
from ..pattern import OpPattern, Pattern, Var, op
from ..predicates import all_one, at_least_one, single_use
from ..rule import Match, Rule
from .movement import same_but_ones, without_ones

x, y = Var("x"), Var("y")
SUMS = ("reduce_sum", "reduce_prod")
PICKS = ("reduce_max", "reduce_min", "reduce_any", "reduce_all")
REDUCTIONS = SUMS + PICKS
Axes = tuple[int, ...]


def _axes(m: Match, name: str = "root") -> Axes:
    return m.attr(name, "axes")


def _reduce(m: Match, value: Expr, axes: Axes | list[int]) -> Expr:
    """The root's reduction of another value; the value itself for no axes."""
    return value.op(m["root"].node.op, axes=tuple(sorted(axes))) if axes else value


def _flat(m: Match) -> bool:
    return all_one([m["x"].shape[axis] for axis in _axes(m)])


# -- of reductions and moved values ----------------------------------------------------------------


def _merge(m: Match) -> Expr:
    kept = kept_axes(m["x"].type.rank, _axes(m, "inner"))
    return _reduce(m, m["x"], [*_axes(m, "inner"), *(kept[axis] for axis in _axes(m))])


def _same_reduction(m: Match) -> bool:
    return m["inner"].node.op == m["root"].node.op


def _before_transpose(m: Match) -> Expr:
    """Reduce the axes where they came from, then move those that are left."""
    permutation = m.attr("inner", "permutation")
    reduced = [permutation[axis] for axis in _axes(m)]
    left = kept_axes(m["x"].type.rank, reduced)
    order = [left.index(axis) for i, axis in enumerate(permutation) if i not in _axes(m)]
    return transpose(_reduce(m, m["x"], reduced), order)


def _before_reshape(m: Match) -> Expr:
    places = dict(zip(without_ones(m["inner"].shape), without_ones(m["x"].shape)))
    reduced = [places[axis] for axis in _axes(m) if axis in places]
    return reshape(_reduce(m, m["x"], reduced), m["root"].shape)


def _reduces_more_than_ones(m: Match) -> bool:
    return same_but_ones(m["x"].shape, m["inner"].shape) and any(
        m["inner"].shape[axis] != 1 for axis in _axes(m)
    )


def _all_axes(m: Match) -> Expr:
    return _reduce(m, m["x"], tuple(range(m["x"].type.rank)))


def _reduces_all(m: Match) -> bool:
    return len(_axes(m)) == m["inner"].type.rank and m["x"].type.rank > 0


MERGE_RULES = (
    Rule("reduce_none", "reduction along no axis -> x",
         op(REDUCTIONS, x), lambda m: m["x"], (lambda m: not _axes(m),)),
    Rule("pick_of_one", "max, min, any, all along axes of size 1 -> reshape(x)",
         op(PICKS, x), lambda m: reshape(m["x"], m["root"].shape), (_flat,)),
    Rule("sum_of_one", "sum, prod along axes of size 1 -> reshape(x); -0.0 keeps its sign",
         op(SUMS, x), lambda m: reshape(m["x"], m["root"].shape), (_flat,), "stable"),
    Rule("pick_of_pick", "max(max(x)) -> max(x) along all axes; so min, any, all",
         op(PICKS, op(PICKS, x, name="inner")), _merge,
         (_same_reduction, single_use("inner")), "stable"),
    Rule("sum_of_sum", "sum(sum(x)) -> sum(x) along all axes, in another order; so prod",
         op(SUMS, op(SUMS, x, name="inner")), _merge,
         (_same_reduction, single_use("inner")), "stable"),
    Rule("pick_of_transpose", "max(transpose(x)) -> transpose(max(x)); so min, any, all",
         op(PICKS, op("transpose", x, name="inner")), _before_transpose, numerics="stable"),
    Rule("sum_of_transpose", "sum(transpose(x)) -> transpose(sum(x)), in another order; so prod",
         op(SUMS, op("transpose", x, name="inner")), _before_transpose, numerics="stable"),
    Rule("reduce_of_reshape", "reduction of reshape(x) -> reshape(reduction of x) if ones change",
         op(REDUCTIONS, op("reshape", x, name="inner")), _before_reshape,
         (_reduces_more_than_ones,)),
    Rule("pick_all_of_reshape", "max(reshape(x)) -> max(x) along all axes; so min, any, all",
         op(PICKS, op("reshape", x, name="inner")), _all_axes, (_reduces_all,), "stable"),
    Rule("sum_all_of_reshape", "sum(reshape(x)) -> sum(x) of all, in another order; so prod",
         op(SUMS, op("reshape", x, name="inner")), _all_axes, (_reduces_all,), "stable"),
)  # fmt: skip


# -- of repeated values ----------------------------------------------------------------------------


def _source_axes(m: Match) -> tuple[list[int], list[int]]:
    """The operand's axes that a reduction of its repetition reduces, and the axes that it repeats.

    An operand's axis of size 1 counts as both: reducing it only drops it.
    """
    dims, sizes = m.attr("inner", "dims"), m["x"].shape
    own = [i for i, dim in enumerate(dims) if dim in _axes(m)]
    real = {dims[i] for i in own if sizes[i] != 1}
    return own, [axis for axis in _axes(m) if axis not in real]


def _count(m: Match) -> Size:
    return product(m["inner"].shape[axis] for axis in _source_axes(m)[1])


def _repeated_some(m: Match) -> bool:
    return at_least_one([m["inner"].shape[axis] for axis in _source_axes(m)[1]])


def _reduced_source(m: Match) -> tuple[Expr, list[int]]:
    """The operand reduced along its own axes, and where its other axes lie in the result."""
    own, _ = _source_axes(m)
    kept = kept_axes(m["inner"].type.rank, _axes(m))
    dims = m.attr("inner", "dims")
    places = [kept.index(dim) for i, dim in enumerate(dims) if i not in own]
    return _reduce(m, m["x"], own), places


def _pick_source(m: Match) -> Expr:
    small, places = _reduced_source(m)
    return broadcast(small, m["root"].shape, places)


def size_as_number(like: Expr, size: Size) -> Expr:
    """A size as a value of the type of `like`."""
    if isinstance(size, int):
        return like.like(size)
    scalar = like.builder.one("dim_size", size=size).op("cast", dtype=like.dtype)
    return broadcast(scalar, like.shape, ())


def _sum_source(m: Match) -> Expr:
    small, places = _reduced_source(m)
    count = _count(m)
    scaled = small if count == 1 else small * size_as_number(small, count)
    return broadcast(scaled, m["root"].shape, places)


REPEAT_RULES = (
    Rule("pick_of_broadcast", "max(broadcast(x)) -> broadcast(max(x)); so min, any, all",
         op(PICKS, op("broadcast", x, name="inner")), _pick_source,
         (_repeated_some,), "stable"),
    Rule("sum_of_broadcast", "sum(broadcast(x)) -> broadcast(sum(x) * repetitions summed)",
         op("reduce_sum", op("broadcast", x, name="inner")), _sum_source, (), "stable"),
    Rule("sum_of_constant", "sum(c) -> c * the number of elements, where rounding or a name is met",
         op("reduce_sum", op("constant", name="x")), lambda m: _sum_constant(m), (), "stable"),
)  # fmt: skip


def _sum_constant(m: Match) -> Expr:
    count = product(m["x"].shape[axis] for axis in _axes(m))
    result = m["root"].like(m.number("x"))
    return result * size_as_number(result, count)


# -- factors taken out -----------------------------------------------------------------------------


def _moved(m: Match, name: str) -> Expr | None:
    """A factor of the summed value as a factor of the sum; None where it varies along the sum."""
    factor, root = m[name], m["root"]
    if factor.node.op == "constant":
        return root.like(m.number(name))
    if factor.node.op != "broadcast":
        return None
    (source,) = m.operands(name)
    dims = factor.node.attribute("dims")
    if any(dim in _axes(m) for dim in dims):
        return None
    kept = kept_axes(factor.type.rank, _axes(m))
    return broadcast(source, root.shape, [kept.index(dim) for dim in dims])


def _constant_along_sum(m: Match) -> bool:
    node = m["y"].node
    if node.op == "constant":
        return True
    return node.op == "broadcast" and not {*node.attribute("dims")} & {*_axes(m)}


def _take_out(operator: str) -> Rule:
    inner: tuple[Pattern, ...] = (x, y)
    pattern: OpPattern = op("reduce_sum", op(operator, *inner, name="inner"))
    sign = {"mul": "*", "div": "/"}[operator]

    def build(m: Match) -> Expr:
        factor = _moved(m, "y")
        assert factor is not None
        return _reduce(m, m["x"], _axes(m)).op(operator, factor)

    return Rule(
        f"sum_of_{operator}",
        f"sum(x {sign} y) -> sum(x) {sign} y where y is the same all along the sum",
        pattern, build, (_constant_along_sum, single_use("inner")), "stable",
    )  # fmt: skip


FACTOR_RULES = (
    _take_out("mul"),
    _take_out("div"),
    Rule("sum_of_neg", "sum(-x) -> -sum(x); the sign of a zero changes",
         op("reduce_sum", op("neg", x, name="inner")), lambda m: -_reduce(m, m["x"], _axes(m)),
         (single_use("inner"),), "stable"),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*MERGE_RULES, *REPEAT_RULES, *FACTOR_RULES)

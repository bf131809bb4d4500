"""Contractions: transposes absorbed into the axes, and outer products as plain products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ...ir.dims import evaluate, product
from ...ops.build import Expr
from ...ops.contract import free_axes
from ...ops.movement import broadcast, reshape, transpose
from ..pattern import Var, op
from ..predicates import all_one, single_use
from ..rule import Match, Predicate, Rule

x, y = Var("x"), Var("y")
Axes = tuple[int, ...]


def _taken(m: Match, name: str, side: str) -> tuple[Axes, Axes]:
    return m.attr(name, f"{side}_batch"), m.attr(name, f"{side}_contract")


def _origin(m: Match, axes: Axes) -> Axes:
    """Where axes of the transposed operand lie in the operand itself."""
    permutation = m.attr("moved", "permutation")
    return tuple(permutation[axis] for axis in axes)


def _free_in_order(side: str) -> Predicate:
    """The transposed operand's free axes come in the same order as the operand's own."""

    def holds(m: Match) -> bool:
        free = free_axes(m["moved"].type.rank, *_taken(m, "root", side))
        return list(_origin(m, free)) == sorted(_origin(m, free))

    return holds


def _absorb_lhs(m: Match) -> Expr:
    batch, contract = _taken(m, "root", "lhs")
    attrs = dict(m["root"].node.attributes)
    attrs |= {"lhs_batch": _origin(m, batch), "lhs_contract": _origin(m, contract)}
    return m["x"].op("dot_general", m["y"], **attrs)


def _absorb_rhs(m: Match) -> Expr:
    batch, contract = _taken(m, "root", "rhs")
    attrs = dict(m["root"].node.attributes)
    attrs |= {"rhs_batch": _origin(m, batch), "rhs_contract": _origin(m, contract)}
    return m["x"].op("dot_general", m["y"], **attrs)


def _swaps_sides(m: Match) -> bool:
    """The transpose keeps the batch axes and exchanges the left free axes with the right ones."""
    batch = len(m.attr("dot", "lhs_batch"))
    left = len(free_axes(m["x"].type.rank, *_taken(m, "dot", "lhs")))
    rank = m["root"].type.rank
    swapped = (*range(batch), *range(batch + left, rank), *range(batch, batch + left))
    return m.attr("root", "permutation") == swapped


def _swap(m: Match) -> Expr:
    (lhs_batch, lhs_contract), (rhs_batch, rhs_contract) = (
        _taken(m, "dot", "lhs"), _taken(m, "dot", "rhs"))  # fmt: skip
    return m["y"].op(
        "dot_general", m["x"], lhs_batch=rhs_batch, lhs_contract=rhs_contract,
        rhs_batch=lhs_batch, rhs_contract=lhs_contract,
    )  # fmt: skip


def _nothing_to_sum(m: Match) -> bool:
    return all_one([m["x"].shape[axis] for axis in m.attr("root", "lhs_contract")])


def _outer(m: Match) -> Expr:
    """The operands without contracted axes and with batch axes first, repeated and multiplied."""
    result = m["root"]
    factors = []
    for name, side in (("x", "lhs"), ("y", "rhs")):
        value = m[name]
        batch, contract = _taken(m, "root", side)
        free = free_axes(value.type.rank, batch, contract)
        kept = [axis for axis in range(value.type.rank) if axis not in contract]
        moved = reshape(value, [value.shape[axis] for axis in kept])
        moved = transpose(moved, [kept.index(axis) for axis in (*batch, *free)])
        first = len(batch) if side == "lhs" else result.type.rank - len(free)
        dims = (*range(len(batch)), *range(first, first + len(free)))
        factors.append(broadcast(moved, result.shape, dims))
    return factors[0] * factors[1]


# Measured: where sums are shorter, a product of its own for each outer element is no faster.
LEAST_DEPTH = 4
# The same where it would be this many times longer along the other operand than along this one.
LONGEST: Mapping[str, int] = MappingProxyType({"lhs": 64, "rhs": 8})


def _outer_axes(m: Match, side: str) -> Axes:
    """The free axes of an operand that lie before a contracted one, others being behind it; no
    stride leads from one row of such an operand to the next."""
    value = m["x" if side == "lhs" else "y"]
    batch, contract = _taken(m, "root", side)
    free = free_axes(value.type.rank, batch, contract)
    before = tuple(axis for axis in free if contract and axis < min(contract))
    return before if len(before) < len(free) else ()


def _elements(value: Expr, axes: Iterable[int]) -> int:
    """The product of sizes, which must be numbers."""
    return evaluate(product(value.shape[axis] for axis in axes), {})


def _rows_apart(side: str) -> Predicate:
    """Each outer element's product is large and square enough to be one of its own."""

    def holds(m: Match) -> bool:
        outer = _outer_axes(m, side)
        mine, theirs = (m["x"], m["y"]) if side == "lhs" else (m["y"], m["x"])
        if not outer or not all(isinstance(size, int) for size in (*mine.shape, *theirs.shape)):
            return False
        batch, contract = _taken(m, "root", side)
        depth, count = _elements(mine, contract), _elements(mine, outer)
        shared = depth * _elements(mine, batch)
        rows = _elements(mine, range(mine.type.rank)) // max(shared * count, 1)
        columns = _elements(theirs, range(theirs.type.rank)) // max(shared, 1)
        return depth >= LEAST_DEPTH and count > 1 and rows > 1 and columns <= LONGEST[side] * rows

    return holds


def _separated(m: Match, side: str) -> Expr:
    """The product with the outer axes of one operand as last batch axes, the other repeated."""
    other = "rhs" if side == "lhs" else "lhs"
    mine, theirs = (m["x"], m["y"]) if side == "lhs" else (m["y"], m["x"])
    outer = _outer_axes(m, side)
    count = len(outer)
    shape = (*(mine.shape[axis] for axis in outer), *theirs.shape)
    repeated = broadcast(theirs, shape, range(count, len(shape)))
    batch, contract = _taken(m, "root", other)
    attrs = dict(m["root"].node.attributes)
    attrs[f"{side}_batch"] += outer
    attrs[f"{other}_batch"] = (*(axis + count for axis in batch), *range(count))
    attrs[f"{other}_contract"] = tuple(axis + count for axis in contract)
    left, right = (mine, repeated) if side == "lhs" else (repeated, mine)
    return left.op("dot_general", right, **attrs)


def _separate_rhs(m: Match) -> Expr:
    """The outer axes go back from behind the batch to behind the left operand's free axes."""
    result = _separated(m, "rhs")
    batch = len(m.attr("root", "lhs_batch"))
    outer = range(batch, batch + len(_outer_axes(m, "rhs")))
    free = len(free_axes(m["x"].type.rank, *_taken(m, "root", "lhs")))
    left = range(outer.stop, outer.stop + free)
    return transpose(result, (*range(batch), *left, *outer, *range(left.stop, result.type.rank)))


RULES: tuple[Rule, ...] = (
    Rule("dot_of_transpose_lhs", "transpose(x) . y -> x . y over other axes",
         op("dot_general", op("transpose", x, name="moved"), y), _absorb_lhs,
         (_free_in_order("lhs"),)),
    Rule("dot_of_transpose_rhs", "x . transpose(y) -> x . y over other axes",
         op("dot_general", x, op("transpose", y, name="moved")), _absorb_rhs,
         (_free_in_order("rhs"),)),
    Rule("transpose_of_dot", "transpose(x . y) -> y . x where it exchanges their free axes",
         op("transpose", op("dot_general", x, y, name="dot")), _swap,
         (_swaps_sides, single_use("dot"))),
    Rule("dot_of_rows_apart", "x . y -> a product for each outer element of x, y being repeated",
         op("dot_general", x, y), lambda m: _separated(m, "lhs"), (_rows_apart("lhs"),), "stable"),
    Rule("dot_of_columns_apart", "x . y -> a product for each outer element of y, x being repeated",
         op("dot_general", x, y), _separate_rhs, (_rows_apart("rhs"),), "stable"),
    Rule("dot_to_mul", "x . y -> x * y, repeated, where nothing is summed; -0.0 keeps its sign",
         op("dot_general", x, y), _outer, (_nothing_to_sum,), "stable"),
)  # fmt: skip

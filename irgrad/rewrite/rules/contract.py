"""Contractions: transposes absorbed into the axes, and outer products as plain products."""

from __future__ import annotations

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
    Rule("dot_to_mul", "x . y -> x * y, repeated, where nothing is summed; -0.0 keeps its sign",
         op("dot_general", x, y), _outer, (_nothing_to_sum,), "stable"),
)  # fmt: skip

"""Diagonal matrices, as the bases of Jacobians are: products with them only scale and move."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.types import I64
from ...ops.build import Expr
from ...ops.contract import free_axes
from ...ops.movement import broadcast, iota, pad, slice_axes, transpose
from ..pattern import Var, op
from ..rule import Match, Predicate, Rule

x, y = Var("x"), Var("y")
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Diagonal:
    """A matrix that is zero where column != row + shift.

    value: what stands on the diagonal: an expression of the matrix's shape of which the other
    elements do not matter; None for ones. rest: the constant zero elsewhere; None in a cast mask.
    """

    shift: int
    value: Expr | None
    rest: Expr | None


def _index(x: Expr) -> Pair | None:
    """(axis, offset) of an integer that is offset + index along the axis; None for others."""
    node = x.node
    if x.dtype is not I64:
        return None  # smaller integers may wrap round
    if node.op == "iota":
        return node.attribute("axis"), 0
    if node.op not in ("add", "sub"):
        return None
    left, right = (x.builder.wrap(value) for value in node.operands)
    if node.op == "add" and left.node.op == "constant":
        left, right = right, left
    inner = _index(left)
    if inner is None or right.node.op != "constant":
        return None
    offset = right.node.attribute("value")
    return inner[0], inner[1] + (offset if node.op == "add" else -offset)


def find_diagonal(x: Expr) -> Diagonal | None:
    """What is known of a value that was written as `row == column`, cast or used to select."""
    node = x.node
    if x.type.rank != 2 or node.op not in ("cast", "select"):
        return None
    mask, *rest = (x.builder.wrap(value) for value in node.operands)
    if rest and not (rest[1].node.op == "constant" and rest[1].node.attribute("value") == 0):
        return None
    if mask.node.op != "eq":
        return None
    found = [_index(x.builder.wrap(value)) for value in mask.node.operands]
    if found[0] is None or found[1] is None or {found[0][0], found[1][0]} != {0, 1}:
        return None
    (_, row), (_, column) = sorted(pair for pair in found if pair is not None)
    return Diagonal(row - column, *(rest or (None, None)))


def _repeated_axis(value: Expr | None) -> int | None:
    """The one axis along which the diagonal's value varies; -1 for none, None for both."""
    if value is None or value.node.op == "constant":
        return -1
    if value.node.op != "broadcast" or len(value.node.attribute("dims")) > 1:
        return None
    return value.node.attribute("dims")[0] if value.node.attribute("dims") else -1


def _contracts(name: str, side: str) -> Predicate:
    """The operand is diagonal, of known size unless square, and one of its axes is contracted."""

    def holds(m: Match) -> bool:
        if m.attr("root", "lhs_batch") or len(m.attr("root", f"{side}_contract")) != 1:
            return False
        found = find_diagonal(m[name])
        if found is None or _repeated_axis(found.value) is None:
            return False
        rows, columns = m[name].shape
        known = isinstance(rows, int) and isinstance(columns, int)
        return known or (rows == columns and found.shift == 0)

    return holds


def _scaled(value: Expr, factor: Expr | None, axis: int) -> Expr:
    """The value times what stands on the diagonal, which varies along this axis at most."""
    if factor is None:
        return value
    if factor.node.op == "constant":
        return value * factor.node.attribute("value")
    (source,) = factor.node.operands
    small = factor.builder.wrap(source)
    return value * broadcast(small, value.shape, (axis,) * small.type.rank)


def _moved(diagonal: Expr, contracted: int, other: Expr, axis: int) -> Expr:
    """The diagonal matrix times another value along `axis`; the product's axis comes first.

    Element i of it is element i + shift of the other value, where there is one.
    """
    found = find_diagonal(diagonal)
    assert found is not None
    varies = _repeated_axis(found.value)
    shift = found.shift if contracted == 1 else -found.shift
    if varies == contracted:
        other = _scaled(other, found.value, axis)
    rest = [i for i in range(other.type.rank) if i != axis]
    result = transpose(other, (axis, *rest))
    rows, columns = diagonal.shape[1 - contracted], diagonal.shape[contracted]
    if rows != columns or shift != 0:
        assert isinstance(rows, int) and isinstance(columns, int)
        first = min(max(shift, 0), columns)
        last = max(min(columns, rows + shift), first)
        low = min(max(-shift, 0), rows)
        none = (0,) * len(rest)
        result = slice_axes(result, (first, *none), (last, *result.shape[1:]))
        result = pad(result, (low, *none), (rows - low - (last - first), *none))
    return result if varies == contracted else _scaled(result, found.value, 0)


def _lhs_moves(m: Match) -> Expr:
    (contracted,), (axis,) = m.attr("root", "lhs_contract"), m.attr("root", "rhs_contract")
    return _moved(m["x"], contracted, m["y"], axis)


def _rhs_moves(m: Match) -> Expr:
    (contracted,), (axis,) = m.attr("root", "rhs_contract"), m.attr("root", "lhs_contract")
    result = _moved(m["y"], contracted, m["x"], axis)
    free = len(free_axes(m["x"].type.rank, (axis,)))
    return transpose(result, (*range(1, free + 1), 0))


def _window(m: Match) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return m.attr("root", "start"), m.attr("root", "step")


def _stays_diagonal(m: Match) -> bool:
    start, step = _window(m)
    known = all(isinstance(size, int) for size in start)
    return known and set(step) == {1} and find_diagonal(m["inner"]) is not None


def _diagonal_of_window(m: Match) -> Expr:
    found = find_diagonal(m["inner"])
    assert found is not None
    (row, column), root = _window(m)[0], m["root"]
    rows, columns = (iota(m["inner"], root.shape, axis, I64) for axis in (0, 1))
    shift = found.shift + row - column
    mask = (rows + shift if shift else rows).eq(columns)
    if found.value is None or found.rest is None:
        return mask.op("cast", dtype=root.dtype)
    value = slice_axes(found.value, (row, column), m.attr("root", "stop"))
    return mask.op("select", value, root.like(found.rest.node.attribute("value")))


RULES: tuple[Rule, ...] = (
    Rule("dot_of_diagonal_lhs", "diagonal . y -> y, scaled, cut and padded; 0 of the rest is 0",
         op("dot_general", x, y), _lhs_moves, (_contracts("x", "lhs"),), "stable"),
    Rule("dot_of_diagonal_rhs", "x . diagonal -> x, scaled, cut and padded; 0 of the rest is 0",
         op("dot_general", x, y), _rhs_moves, (_contracts("y", "rhs"),), "stable"),
    Rule("slice_of_diagonal", "slice(row == column) -> row + shift == column, cast or selecting",
         op("slice", op(("cast", "select"), name="inner")), _diagonal_of_window,
         (_stays_diagonal,)),
)  # fmt: skip

"""Elementwise ops of repeated values, computed before the repetition."""

from __future__ import annotations

from ...ops.build import Expr
from ...ops.movement import broadcast, reshape
from ...ops.registry import REGISTRY
from ..pattern import op
from ..predicates import all_one
from ..rule import Match, Rule

ELEMENTWISE = tuple(
    name for name, definition in REGISTRY.items() if definition.family == "elementwise"
)


def _varying_axes(operand: Expr) -> set[int] | None:
    """The axes along which a repeated value or constant varies; None for other values."""
    if operand.node.op == "constant":
        return set()
    if operand.node.op != "broadcast":
        return None
    source = operand.builder.wrap(operand.node.operands[0])
    return {
        dim
        for dim, size in zip(operand.node.attribute("dims"), source.shape)
        if size != 1 or operand.shape[dim] == 1
    }


def _common_axes(m: Match) -> tuple[int, ...]:
    axes: set[int] = set()
    for operand in m.operands("root"):
        axes |= _varying_axes(operand) or set()
    return tuple(sorted(axes))


def _repeats(m: Match) -> bool:
    """Every operand is repeated along an axis of the result, and not all are constants."""
    operands = m.operands("root")
    if any(_varying_axes(operand) is None for operand in operands):
        return False
    if all(operand.node.op == "constant" for operand in operands):
        return False
    axes = _common_axes(m)
    return not all_one([size for i, size in enumerate(m["root"].shape) if i not in axes])


def _shrink(operand: Expr, axes: tuple[int, ...]) -> Expr:
    """A repeated value or constant on `axes` of its shape alone."""
    shape = tuple(operand.shape[axis] for axis in axes)
    if operand.node.op == "constant":
        return operand.builder.one(
            "constant", **{**dict(operand.node.attributes), "shape": shape}
        )
    source = operand.builder.wrap(operand.node.operands[0])
    dims = operand.node.attribute("dims")
    kept = [i for i, dim in enumerate(dims) if dim in axes]
    small = reshape(source, [source.shape[i] for i in kept])
    return broadcast(small, shape, [axes.index(dims[i]) for i in kept])


def _compute_first(m: Match) -> Expr:
    axes = _common_axes(m)
    node = m["root"].node
    small = [_shrink(operand, axes) for operand in m.operands("root")]
    result = m.builder.one(node.op, *small, **dict(node.attributes))
    return m.builder.broadcast(result, m["root"].shape, axes)


RULES: tuple[Rule, ...] = (
    Rule("elementwise_of_broadcast",
         "f(broadcast(x), broadcast(y), c) -> broadcast(f(x, y, c)), computed once an element",
         op(ELEMENTWISE), _compute_first, (_repeats,)),
)  # fmt: skip

"""Patterns over values of a graph: what a rule looks for, and how it is found.

    Var("x")                                any value
    Const(0.0), Const(name="c")             a constant, of one number or of any
    op("mul", Var("x"), Const(1))           a node of op mul; both orders of its operands are tried
    op(("lt", "le"), name="root")           a node of either op, whatever its operands

A name binds the value; the same name twice asks for the same value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..ir.graph import Graph, Value

Bindings = Mapping[str, Value]
COMMUTATIVE = frozenset(
    (
        "add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or", "logical_xor",
        "bitwise_and", "bitwise_or", "bitwise_xor",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Var:
    """Matches every value and binds it."""

    name: str


@dataclass(frozen=True, slots=True)
class Const:
    """Matches a constant (every element the same number) of any shape and dtype.

    value: the number it must be, None for any; 0.0 and -0.0 differ, 1 and 1.0 do not, True is
    matched by True alone. name: binds it.
    """

    value: bool | int | float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class OpPattern:
    """Matches the single result of a node of one of `ops`.

    operands: their patterns in order, None where the operands do not matter.
    """

    ops: tuple[str, ...]
    operands: tuple[Pattern, ...] | None
    name: str = ""


Pattern = Var | Const | OpPattern


def op(ops: str | Iterable[str], *operands: Pattern, name: str = "") -> OpPattern:
    """The pattern of a node; without operand patterns its operands do not matter."""
    names = (ops,) if isinstance(ops, str) else tuple(ops)
    return OpPattern(names, operands or None, name)


def depth(pattern: Pattern) -> int:
    """How many nodes lie on the longest path of a pattern, the root included."""
    if isinstance(pattern, Var):
        return 0
    if isinstance(pattern, Const) or pattern.operands is None:
        return 1
    return 1 + max(map(depth, pattern.operands))


def variables(pattern: Pattern) -> frozenset[str]:
    """The names of the places of a pattern where any value fits."""
    if isinstance(pattern, Var):
        return frozenset((pattern.name,))
    if isinstance(pattern, Const) or pattern.operands is None:
        return frozenset()
    return frozenset().union(*map(variables, pattern.operands))


def covered(pattern: Pattern, root: Value, graph: Graph, bound: Bindings) -> list[int]:
    """The nodes that a match stands on, root first: those above the values of its variables."""
    ends = {bound[name] for name in variables(pattern)}
    found: dict[int, None] = {}
    layer = [root]
    for _ in range(depth(pattern)):
        found.update((value.node, None) for value in layer)
        below = (v for value in layer for v in graph[value.node].operands)
        layer = [value for value in below if value not in ends]
    return list(found)


def same_number(a: Any, b: Any) -> bool:
    """Equality that tells True from 1 and 0.0 from -0.0; NaN equals nothing."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b) and math.copysign(1.0, a) == math.copysign(1.0, b)


def matches(
    pattern: Pattern, value: Value, graph: Graph, bound: Bindings
) -> Iterator[dict[str, Value]]:
    """Every way in which `pattern` fits `value`, each as the bindings that extend `bound`."""
    if not isinstance(pattern, Var):
        node = graph[value.node]
        if isinstance(pattern, Const):
            if node.op != "constant":
                return
            if pattern.value is not None and not same_number(
                node.attribute("value"), pattern.value
            ):
                return
        elif node.op not in pattern.ops or len(node.types) != 1:
            return
    if pattern.name:
        if bound.get(pattern.name, value) != value:
            return
        bound = {**bound, pattern.name: value}
    if isinstance(pattern, OpPattern) and pattern.operands is not None:
        operands = node.operands
        if len(operands) != len(pattern.operands):
            return
        yield from _match_all(pattern.operands, operands, graph, bound)
        if node.op in COMMUTATIVE and operands[0] != operands[1]:
            yield from _match_all(pattern.operands, operands[::-1], graph, bound)
        return
    yield dict(bound)


def _match_all(
    patterns: tuple[Pattern, ...], values: tuple[Value, ...], graph: Graph, bound: Bindings
) -> Iterator[dict[str, Value]]:
    if not patterns:
        yield dict(bound)
        return
    for found in matches(patterns[0], values[0], graph, bound):
        yield from _match_all(patterns[1:], values[1:], graph, found)


def may_match(pattern: OpPattern, value: Value, graph: Graph) -> bool:
    """False only where `pattern` cannot fit, by the ops of the operands alone.

    A cheap guard before `matches`; for commutative ops each operand pattern needs some operand.
    """
    if pattern.operands is None:
        return True
    node = graph[value.node]
    if len(node.operands) != len(pattern.operands):
        return False
    ops = [graph[operand.node].op for operand in node.operands]
    for index, part in enumerate(pattern.operands):
        if isinstance(part, Var):
            continue
        wanted = ("constant",) if isinstance(part, Const) else part.ops
        here = ops if node.op in COMMUTATIVE else ops[index : index + 1]
        if not any(name in wanted for name in here):
            return False
    return True

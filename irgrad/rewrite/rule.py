"""A rewrite rule as data, its numeric class, and what its parts see of a match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ..ir.graph import Graph, Value
from ..ops.build import Builder, Expr
from .pattern import OpPattern

if TYPE_CHECKING:
    from .drivers import Uses

Numerics = Literal["exact", "stable", "approximate"]
LEVELS: Mapping[str, int] = MappingProxyType({"exact": 0, "stable": 1, "approximate": 2})


@dataclass(frozen=True, slots=True)
class Match:
    """A place where a rule's pattern fits.

    builder: emits the replacement. root: the value to be replaced. bindings: the named values.
    uses: how often each value is read by nodes that are alive. known: answers of analyses, kept
    for the whole run (a rewrite changes no value, so they stay true).
    """

    builder: Builder
    root: Value
    bindings: Mapping[str, Value]
    uses: Uses
    known: dict[Value, str]

    @property
    def graph(self) -> Graph:
        return self.builder.graph

    def __getitem__(self, name: str) -> Expr:
        """The value bound to `name`; "root" is the matched node itself."""
        return self.builder.wrap(self.root if name == "root" else self.bindings[name])

    def attr(self, name: str, attribute: str) -> Any:
        """An attribute of the node that computes the value bound to `name`."""
        return self[name].node.attribute(attribute)

    def number(self, name: str) -> bool | int | float:
        """The number of the constant bound to `name`."""
        return self.attr(name, "value")

    def operands(self, name: str) -> tuple[Expr, ...]:
        """The operands of the node that computes the value bound to `name`."""
        return tuple(map(self.builder.wrap, self[name].node.operands))


Predicate = Callable[[Match], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewrite: where `pattern` fits and every predicate of `when` holds, `build` replaces it.

    name: unique, in snake case. doc: "before -> after" and the numeric condition.
    numerics: "exact" gives the same bits on every input, NaN, infinity and -0.0 included (the
    sign and payload of a NaN excepted); "stable" keeps a backward-error bound where inputs and
    intermediate values are finite; "approximate" is used only where it is asked for by name.
    Where no float takes part a stable rule is an identity of modular arithmetic and counts as
    exact. build: emits nodes and returns the value to be read instead, of the same type.
    """

    name: str
    doc: str
    pattern: OpPattern
    build: Callable[[Match], Expr]
    when: tuple[Predicate, ...] = ()
    numerics: Numerics = "exact"

    def numerics_at(self, graph: Graph, root: Value) -> Numerics:
        """The class of this rule at one node."""
        values = (root, *graph[root.node].operands)
        if self.numerics == "stable" and all(graph.type(v).dtype.kind in "biu" for v in values):
            return "exact"
        return self.numerics


def index_rules(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    """The rules by the op of their root, in order; an assertion fails where a name occurs twice."""
    rules = tuple(rules)
    assert len({rule.name for rule in rules}) == len(rules), "two rules of one name"
    table: dict[str, tuple[Rule, ...]] = {}
    for rule in rules:
        for name in rule.pattern.ops:
            table[name] = (*table.get(name, ()), rule)
    return table

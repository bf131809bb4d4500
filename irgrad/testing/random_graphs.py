"""Random graphs over the whole registry, drawn from a seed, for round trips and comparisons.

Nodes come from three sources: the samples in the records of the ops, with operands coerced from
values that the graph already has; what the rewrite rules look for, so that each rule has something
to fire at; and chains of related shapes, for fusion. Some graphs have NaN and infinities in their
inputs, some have named sizes, some donate inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np

from ..errors import IrgradError
from ..ir.dims import symbol
from ..ir.graph import Graph, Value
from ..ir.signature import flat_signature
from ..ir.types import BOOL, F32, I32, TensorType
from ..ops.build import Expr
from ..ops.registry import REGISTRY
from ..rewrite.pattern import Const, OpPattern, Pattern, Var, matches
from ..rewrite.rule import Match, Rule, index_rules
from ..rewrite.rules import RULES
from .fusion_steps import fabric, start, step
from .growth import Dropped, Growth
from .snippets import SNIPPETS

Style = Literal["mixed", "fusion", "symbolic"]
OPS = tuple(sorted(name for name, op in REGISTRY.items() if name != "fused" and not op.effect))
EFFECTS = tuple(sorted(name for name, op in REGISTRY.items() if op.effect))
MAX_OUTPUTS = 8
# Rules whose matches often meet another rule first; they are drawn twice as often.
HARD = frozenset(
    (
        "add_add_constants", "mul_mask", "mul_unmask", "mul_neg_neg", "neg_sub", "scale_zero",
        "one_over_one_plus_exp", "log_one_plus_exp", "log_one_plus", "exp_minus_one",
        "mul_reciprocal", "neg_div_constant", "div_neg_constant", "div_by_neg", "select_not",
        "select_untruth", "select_select_other", "select_select_taken", "power_two",
        "power_three", "power_half", "power_minus_half", "and_true",
        "div_neg_neg", "scale_one", "log1p_exp", "log_exp", "sub_neg",
        "dot_of_diagonal_lhs", "dot_of_diagonal_rhs",
    )
)  # fmt: skip
TRIES = 6


@dataclass(frozen=True, slots=True)
class RandomGraph:
    """A graph with arrays to call it on.

    special: whether NaN, infinities and extreme numbers may occur. dims: the numbers behind named
    sizes, empty for a graph without.
    """

    seed: int
    graph: Graph
    arguments: tuple[np.ndarray, ...]
    special: bool
    dims: Mapping[str, int] = field(default_factory=dict)


def random_graph(
    seed: int, steps: int = 12, rules: Sequence[Rule] = RULES, style: Style | None = None
) -> RandomGraph:
    """The graph of a seed: about `steps` ops and matches of rules over one to eight inputs.

    style: "mixed" (ops, rules and fusion), "fusion" (without NaN and infinities) or "symbolic"
    (named sizes); None lets the seed choose.
    """
    rng = np.random.default_rng(seed)
    drawn = float(rng.random())
    style = style or ("symbolic" if drawn < 0.1 else "fusion" if drawn < 0.3 else "mixed")
    special = style == "mixed" and bool(rng.random() < 0.15)
    dims = _named_sizes(rng) if style == "symbolic" else {}
    growth = Growth(rng, special, dims)
    if style == "mixed":
        _grow_mixed(growth, steps, tuple(rules))
    else:
        _grow_fabric(growth, steps, dims)
    _finish(growth)
    return RandomGraph(seed, growth.graph, tuple(growth.arguments), special, dims)


def _named_sizes(rng: np.random.Generator) -> dict[str, int]:
    return {name: int(rng.integers(0 if rng.random() < 0.2 else 1, 6)) for name in ("m", "n")}


def _grow_fabric(g: Growth, steps: int, dims: Mapping[str, int]) -> None:
    n, m = symbol("n"), symbol("m")
    sizes = (n, m, n + m, 2 * n, 3) if dims else (g.size(1), g.size(1), g.size())
    shapes = fabric(g, sizes)
    start(g, shapes, int(g.rng.integers(1, 4)))
    if dims:
        g.input(TensorType(F32, (n, m)))  # so that every name has a value
    for _ in range(2 * steps):
        g.attempt(lambda: step(g, shapes))


def _grow_mixed(g: Growth, steps: int, rules: tuple[Rule, ...]) -> None:
    sizes = (g.size(1), g.size(1), g.size())
    shapes = fabric(g, sizes)
    start(g, shapes, int(g.rng.integers(0, 3)))
    wanted = [rule for rule in rules if rule.numerics != "approximate"]
    wanted += [rule for rule in wanted if rule.name in HARD]
    for _ in range(steps):
        drawn = float(g.rng.random())
        if drawn < 0.56 and wanted:
            _grow_match(g, g.choose(wanted), _table(rules))
        elif drawn < 0.58:
            _grow_check(g)
        elif drawn < 0.66:
            g.attempt(lambda: step(g, shapes))
        else:
            _grow_sample(g, g.choose(OPS))


# -- ops -------------------------------------------------------------------------------------------


def _grow_sample(g: Growth, name: str) -> None:
    """A call of an op; where its values are not finite, on operands in a smaller range."""
    for prepare in ("", "positive", "unit"):

        def make(prepare: str = prepare) -> Expr:
            types, attrs = g.sample(name)
            operands = [_prepared(g, g.of_type(type_), prepare) for type_ in types]
            return g.emit(name, operands, **attrs)[0]

        made = g.attempt(make)
        if made is not None:
            g.roots.append(made.value)
            return


def _prepared(g: Growth, x: Expr, prepare: str) -> Expr:
    if not prepare or not x.dtype.is_float:
        return x
    return g.positive(x) if prepare == "positive" else g.unit(x)


def _grow_check(g: Growth) -> None:
    """A check that holds, of a value that is computed."""

    def make() -> Expr:
        x = g.pick()
        return g.one("logical_or", g.one("eq", x, x), g.one("ne", x, x))

    holds = g.attempt(make)
    if holds is not None:
        for name in EFFECTS:
            key = g.graph.add(name, [holds.value], (), (("message", "always true"),))
            g.graph.effects.append(key)


# -- what rules look for ---------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _table(rules: tuple[Rule, ...]) -> Mapping[str, tuple[Rule, ...]]:
    return MappingProxyType(dict(index_rules(rules)))


def _grow_match(g: Growth, rule: Rule, table: Mapping[str, tuple[Rule, ...]]) -> None:
    """What a rule looks for, tried until it is the first rule that fits there."""
    for attempt in range(TRIES):
        before = len(g.graph)

        def make(prepare: str = "positive" if attempt % 2 else "") -> Expr:
            if rule.name in SNIPPETS:
                return SNIPPETS[rule.name](g)
            return _Instance(g, rule.pattern, prepare).build()

        root = g.attempt(make)
        if root is not None and _first_rule(g.graph, root, table) is rule:
            new = [v for v in g.values if v.node >= before and g.graph[v.node].op != "input"]
            g.taken.update(v for v in new if v != root.value)
            g.roots.append(root.value)
            return


class _Reads:
    """How often values are read, for the predicates of rules, in a graph that only grows."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def count(self, value: Value) -> int:
        return self.graph.use_count(value)


def _first_rule(graph: Graph, root: Expr, table: Mapping[str, tuple[Rule, ...]]) -> Rule | None:
    """The rule that fires at a node."""
    for rule in table.get(root.node.op, ()):
        if rule.numerics == "approximate":
            continue
        for bindings in matches(rule.pattern, root.value, graph, {}):
            match = Match(root.builder, root.value, bindings, _Reads(graph), {})  # type: ignore[arg-type]
            if all(predicate(match) for predicate in rule.when):
                return rule
    return None


class _Instance:
    """A pattern of elementwise ops, filled with values of one type."""

    def __init__(self, g: Growth, pattern: OpPattern, prepare: str) -> None:
        self.g = g
        self.pattern = pattern
        self.prepare = prepare
        self.bound: dict[str, Expr] = {}

    def build(self) -> Expr:
        """The root."""
        kinds = self.g.choose(("f", "f", "i", "b"))
        return self._make(self.pattern, self.g.find(kinds).type)

    def _make(self, pattern: Pattern, type_: TensorType) -> Expr:
        name = pattern.name
        if name and name in self.bound:
            return self.bound[name]
        if isinstance(pattern, Var):
            made = _prepared(self.g, self.g.of_type(type_), self.prepare)
        elif isinstance(pattern, Const):
            value = pattern.value
            if value is None:
                value = self.g.choose((0.5, 2.0, -3.0, 1.0, 0.0, 4.0, 3.0))
            made = self.g.constant(value, type_)
        else:
            made = self._node(pattern, type_)
        if name:
            self.bound[name] = made
        return made

    def _node(self, pattern: OpPattern, type_: TensorType) -> Expr:
        """A node of the pattern's op: operands from below, or from a sample of the op."""
        g, name = self.g, self.g.choose(pattern.ops)
        if pattern.operands is None:
            types, attrs = g.sample(name)
            return g.one(name, *map(g.of_type, types), **attrs)
        operand = self._accepted(name, type_)
        operands = [self._make(part, operand) for part in pattern.operands]
        return g.one(name, *operands)

    def _accepted(self, name: str, type_: TensorType) -> TensorType:
        """The type, with a dtype that the op takes."""
        count = len(REGISTRY[name].samples(self.g.rng)[0].operands)
        for dtype in (type_.dtype, F32, I32, BOOL):
            candidate = TensorType(dtype, type_.shape)
            try:
                REGISTRY[name].infer((candidate,) * count, {})
            except IrgradError:
                continue
            return candidate
        raise Dropped


# -- results ---------------------------------------------------------------------------------------


def _finish(g: Growth) -> None:
    """Choose outputs (values that nothing reads, others that are read, now and then an input or a
    value twice), donate inputs, and prune."""
    graph = g.graph
    read = {v for key in graph for v in graph[key].operands}
    roots = [v for v in dict.fromkeys(g.roots) if v not in read]
    unread = [v for v in g.values if v not in read and graph[v.node].op != "input"]
    chosen = list(dict.fromkeys([*roots[::-1], *unread[::-1]]))[:MAX_OUTPUTS]
    everything = list(g.values)
    chosen = chosen or everything[-1:]
    for _ in range(int(g.rng.integers(0, 3))):
        chosen.append(g.choose(everything))
    if g.chance(0.05):
        chosen.append(chosen[0])
    graph.outputs = chosen
    donated: frozenset[int] = frozenset()
    if g.chance(0.4):
        donated = frozenset(i for i in range(len(graph.inputs)) if g.chance(0.5))
    signature = flat_signature(len(graph.inputs), len(graph.outputs))
    graph.signature = changed(signature, donated=donated)
    graph.prune()

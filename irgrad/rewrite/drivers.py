"""The two ways to apply rules: one walk, and a worklist until nothing fires."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import InternalError
from ..ir.graph import Graph, Value
from ..ir.location import merge
from ..ops.registry import builder
from .pattern import covered, depth, matches, may_match
from .rule import LEVELS, Match, Numerics, Rule, index_rules

RECENT = 100  # firings that the error of an exceeded budget looks back on


class Uses:
    """How often each value is read by live nodes and outputs, kept up to date between rewrites.

    A node is alive where a root of the graph reaches it; `Graph.use_count` also counts readers that
    a rewrite has left behind and that only `prune` removes.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order = graph.order()
        self._alive = set(self.order)
        self._kept = {*graph.inputs, *graph.effects}
        self._counts = Counter(v for key in self.order for v in graph[key].operands)
        self._counts.update(graph.outputs)

    def count(self, value: Value) -> int:
        """The number of reads."""
        return self._counts[value]

    def alive(self, node: int) -> bool:
        """True where a root reaches the node."""
        return node in self._alive

    def move(self, old: Value, new: Value) -> list[int]:
        """Record that readers of `old` now read `new`; return the nodes that this brings to life.

        Those come operands first.
        """
        born = self._revive(new.node)
        self._counts[new] += self._counts.pop(old, 0)
        dying = [old.node]
        while dying:
            key = dying.pop()
            node = self.graph[key]
            read = any(self._counts[Value(key, r)] for r in range(len(node.types)))
            if key not in self._alive or key in self._kept or read:
                continue
            self._alive.discard(key)
            for value in node.operands:
                self._counts[value] -= 1
                dying.append(value.node)
        return born

    def _revive(self, key: int) -> list[int]:
        born: list[int] = []
        stack = [(key, False)]
        while stack:
            node, operands_done = stack.pop()
            if operands_done:
                born.append(node)
            elif node not in self._alive:
                self._alive.add(node)
                stack.append((node, True))
                operands = self.graph[node].operands
                self._counts.update(operands)
                stack.extend((value.node, False) for value in operands)
        return born


@dataclass(slots=True)
class Report:
    """What a driver did: firings by rule name, and how many nodes it looked at."""

    fired: Counter[str] = field(default_factory=Counter)
    visits: int = 0


@dataclass(slots=True)
class _Run:
    """One run over one graph: its rules by op, the highest class allowed, and what it keeps."""

    graph: Graph
    rules: Mapping[str, tuple[Rule, ...]]
    level: int
    label: str
    uses: Uses
    known: dict[Value, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)

    def visit(self, key: int) -> tuple[Rule, list[int], list[int]] | None:
        """Apply the first rule that fits a node.

        Returns the rule, the nodes that came to life, and the nodes that read the old value.
        """
        self.report.visits += 1
        node = self.graph[key]
        if len(node.types) != 1:
            return None
        root = Value(key)
        for rule in self.rules.get(node.op, ()):
            if not may_match(rule.pattern, root, self.graph):
                continue
            numerics = rule.numerics_at(self.graph, root)
            if LEVELS[numerics] > self.level:
                continue
            match = self._match(rule, root)
            if match is not None:
                born, readers = self._fire(rule, match, numerics)
                return rule, born, readers
        return None

    def _match(self, rule: Rule, root: Value) -> Match | None:
        for bindings in matches(rule.pattern, root, self.graph, {}):
            match = Match(builder(self.graph), root, bindings, self.uses, self.known)
            if all(predicate(match) for predicate in rule.when):
                nodes = covered(rule.pattern, root, self.graph, bindings)
                match.builder.locations = merge(*(self.graph[key].locations for key in nodes))
                return match
        return None

    def _fire(self, rule: Rule, match: Match, numerics: Numerics) -> tuple[list[int], list[int]]:
        new = rule.build(match).value
        old = match.root
        assert new != old, f"rule {rule.name} gave back its root"
        expected, got = self.graph.type(old), self.graph.type(new)
        assert got == expected, f"rule {rule.name}: expected {expected}, got {got}"
        readers = self.graph.users(old.node)
        self.graph.replace(old, new, f"{self.label}: {rule.name} ({numerics})")
        self.report.fired[rule.name] += 1
        return self.uses.move(old, new), readers


def rewrite_once(
    graph: Graph, rules: Iterable[Rule], *, level: Numerics = "stable", label: str = "rewrite"
) -> Report:
    """Visit each node once, operands first, and apply the first rule that fits it.

    level: the highest numeric class that may fire. label: begins the reasons in `graph.edits`.
    Nodes that nothing reads any more stay until `prune`.
    """
    uses = Uses(graph)
    run = _Run(graph, index_rules(rules), LEVELS[level], label, uses)
    for key in uses.order:
        if uses.alive(key):
            run.visit(key)
    return run.report


def rewrite_to_fixpoint(
    graph: Graph,
    rules: Iterable[Rule],
    *,
    level: Numerics = "stable",
    label: str = "rewrite",
    budget: int = 20,
) -> Report:
    """Apply rules until none fires; after a firing the new nodes and the readers are visited again.

    budget: firings allowed for each node of the graph at the start (as if it had 100 at least).
    Raises InternalError naming the rules that kept firing where that is not enough: then two rules
    undo each other. The other parameters are those of `rewrite_once`.
    """
    rules = tuple(rules)
    uses = Uses(graph)
    run = _Run(graph, index_rules(rules), LEVELS[level], label, uses)
    reach = max((depth(rule.pattern) for rule in rules), default=1) - 1
    limit = budget * max(100, len(uses.order))
    recent: deque[str] = deque(maxlen=RECENT)
    work = deque(uses.order)
    waiting = set(work)
    while work:
        key = work.popleft()
        waiting.discard(key)
        result = run.visit(key) if uses.alive(key) else None
        if result is None:
            continue
        rule, born, readers = result
        recent.append(rule.name)
        limit -= 1
        if limit < 0:
            often = ", ".join(f"{name} ({n})" for name, n in Counter(recent).most_common())
            raise InternalError(
                f"{label}: expected at most {budget} firings a node, got more; the last "
                f"{len(recent)} were {often}"
            )
        for again in (*born, *_near(graph, readers, reach)):
            if again not in waiting and uses.alive(again):
                waiting.add(again)
                work.append(again)
    return run.report


def _near(graph: Graph, readers: list[int], reach: int) -> list[int]:
    """The nodes within `reach` steps from a replaced value, its readers being the first step."""
    found = dict.fromkeys(readers)
    step = readers
    for _ in range(reach - 1):
        step = [user for key in step for user in graph.users(key) if user not in found]
        found.update(dict.fromkeys(step))
    return list(found)

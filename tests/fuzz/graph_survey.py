"""Everything that is checked of one random graph, and counts over many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from irgrad.errors import IrgradError
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.parser import parse
from irgrad.ops.check import verify
from irgrad.ops.registry import REGISTRY
from irgrad.passes.infer import Infer
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.rewrite.rules import RULES
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.programs import run_program
from irgrad.testing.random_graphs import RandomGraph, random_graph
from irgrad.testing.shrink import shrink

FAULTS = (AssertionError, IrgradError, LookupError, TypeError, ValueError)
DEEP = 8  # of so many seeds, one is compared after each pass, and one kernel by kernel
SHRUNK = 3  # failures that are made small before they are printed


@dataclass
class Survey:
    """Counts by seed, and the report of each failure."""

    seeds: int = 0
    ops: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def run_survey(seeds: Sequence[int]) -> Survey:
    """Check the graphs of some seeds."""
    survey = Survey()
    for seed in seeds:
        survey.seeds += 1
        drawn = random_graph(seed)
        survey.ops.update({drawn.graph[key].op for key in drawn.graph})
        survey.traits.update(traits(drawn))
        try:
            survey.rules.update(check_graph(drawn, drawn.graph, drawn.arguments))
        except FAULTS as error:
            small = shrunk(drawn) if len(survey.failures) < SHRUNK else drawn.graph
            survey.failures.append(f"seed {seed}: {type(error).__name__}: {error}\n{small}")
    return survey


def traits(drawn: RandomGraph) -> set[str]:
    """What is unusual about a graph and its arguments."""
    floats = [a for a in drawn.arguments if a.dtype.kind == "f"]
    found = {
        "special": drawn.special,
        "symbolic": bool(drawn.dims),
        "empty": any(a.size == 0 for a in drawn.arguments),
        "nan": any(np.isnan(a).any() for a in floats),
        "infinity": any(np.isinf(a).any() for a in floats),
        "donated": bool(drawn.graph.signature.donated),
        "check": bool(drawn.graph.effects),
    }
    return {name for name, holds in found.items() if holds}


def shrunk(drawn: RandomGraph) -> Graph:
    """A small graph that fails as well."""

    def fails(graph: Graph, arguments: Sequence[np.ndarray]) -> bool:
        try:
            check_graph(drawn, graph, arguments, every=True)
        except FAULTS:
            return True
        return False

    return shrink(drawn.graph, drawn.arguments, fails, budget=300)[0]


def check_graph(
    drawn: RandomGraph, graph: Graph, arguments: Sequence[np.ndarray], every: bool = False
) -> set[str]:
    """Text, verification, inference, passes and lowering of one graph; the rules that fired.

    every: do for this graph what otherwise only one seed of DEEP goes through.
    """
    verify(graph, "traced")
    text = str(graph)
    parsed = parse(text)
    assert parsed == graph, "parse(str(graph)) differs"
    odd = every or drawn.seed % 2 == 1
    if odd:
        assert str(parsed) == text, "the text of the parsed graph differs"
        check_inference(graph)
    exact, bounds = condition_bound(graph, arguments)
    after_each = every or drawn.seed % DEEP == 0
    work = graph.copy()
    for step in pipeline("exact" if drawn.special else "stable"):
        if step.name == "fuse":
            compare("optimised", exact, interpret(work, arguments), bounds)
            verify(work, "optimised")
        step.apply(work)
        if after_each:
            compare(step.name, exact, interpret(work, arguments), bounds)
    compare("fused", exact, interpret(work, arguments), bounds)
    verify(work, "fused")
    if after_each:
        assert parse(str(work)) == work, "the fused graph's text differs"
    if odd:
        program = lower(work)
        if every or drawn.seed % DEEP == 1:
            outcome = run_program(program, arguments, drawn.dims)
            compare("kernels", exact, outcome.results, bounds)
            assert outcome.completed and not outcome.failures
            check_inputs_kept(graph, arguments, outcome.inputs)
    return {fired(edit.reason) for edit in work.edits}


def check_inference(graph: Graph) -> None:
    """Types that are dropped are inferred again."""
    plain = graph.copy()
    for key in plain:
        if plain[key].op != "input":
            plain.update(key, types=(None,) * len(plain[key].types))
    Infer().apply(plain)
    assert plain == graph, "inference gives other types"


def check_inputs_kept(
    graph: Graph, before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> None:
    """Inputs that are not donated are as they were."""
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if i not in graph.signature.donated:
            assert np.array_equal(old, new, equal_nan=old.dtype.kind == "f"), f"input {i} changed"


def compare(
    what: str,
    exact: Sequence[np.ndarray],
    got: Sequence[np.ndarray],
    bounds: Sequence[np.ndarray],
) -> None:
    """Assert that results agree with the interpreter's."""
    for i, (expected, found, bound) in enumerate(zip(exact, got, bounds, strict=True)):
        assert within(expected, found, bound), (
            f"{what}: output {i}: expected {expected}, got {found}, allowed {bound}"
        )


def fired(reason: str) -> str:
    """The rule in the reason of an edit, such as "simplify: add_zero (stable)"."""
    return reason.partition(": ")[2].partition(" (")[0]


def table(survey: Survey) -> list[str]:
    """The histogram of ops and rules, the rarest first."""
    lines = [f"{survey.seeds} random graphs; seeds in which each occurs, the rarest first"]
    rules = {rule.name: survey.rules[rule.name] for rule in RULES if rule.numerics != "approximate"}
    ops = {name: survey.ops[name] for name in REGISTRY if name != "fused"}
    for what, counts in (("ops", ops), ("rules", rules), ("traits", survey.traits)):
        listed = sorted(counts.items(), key=lambda item: (item[1], item[0]))
        lines.append(f"{what}: " + ", ".join(f"{name} {count}" for name, count in listed))
    return lines

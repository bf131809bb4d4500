"""Mutated texts of whole programs, through everything that a parsed graph goes through.

What the type rules accept must keep its text, compile, run and differentiate, or be refused by a
named error; the optimised graph and the kernels must agree with the interpreter.
`python tests/ir/test_ir_mutations.py FIRST COUNT` tries as many as it is told to.
"""

from __future__ import annotations

import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_ir_fuzz import GOOD, TOKEN

import irgrad as ig
from irgrad.autodiff import jvp_graph, vjp_graph
from irgrad.errors import InternalError, IrgradError
from irgrad.interpret import graph_dims, interpret
from irgrad.ir import Graph, Value, diff, parse, print_graph
from irgrad.ir.dims import evaluate, names
from irgrad.ir.types import DTYPES
from irgrad.ops.check import verify
from irgrad.ops.registry import REGISTRY
from irgrad.ops.structured import has_tangent
from irgrad.passes.infer import Infer
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.rewrite.rule import Numerics
from irgrad.runtime.compare import random_inputs
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.programs import run_program
from irgrad.testing.random_graphs import random_graph

SEED = 7_000_000
SECONDS = 3.5
LEAST = 150  # texts that are tried whatever they cost
GOLDEN = Path(__file__).parent.parent / "golden" / "data"
TEXTS = [
    *GOOD,
    *(path.read_text() for path in sorted(GOLDEN.glob("*.traced.txt"))),
    *(str(random_graph(seed).graph) for seed in range(30)),
]
OPS = sorted(REGISTRY)
NUMBERS = [
    "0", "1", "2", "3", "4", "7", "-1", str(2**31), str(2**40), str(2**62), str(2**63 - 1),
    str(2**63), str(2**64 - 1), str(-(2**63)), "n", "m", "2*n", "n+1", "n-1", "-n", "n*m", "nan",
    "inf", "-inf", "1e308", "0.5", "-0.0", "1.0", "true", "()", "(1,)", "(0, 1)", "(n,)", "f32",
    "bf16", "u64", "c64", "bool", '"x"',
]  # fmt: skip
MANY = 10**5  # elements of an array that is computed here


def mutate(rng: random.Random, text: str) -> str:
    """The text with one to three changes that mostly keep its grammar."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(7)
        if kind == 0:
            text = replace_everywhere(rng, text, r"\b[a-z]+\d*\[[^\]]*\]", another_type)
        elif kind == 1:
            text = replace_everywhere(
                rng, text, r"(?<![\w%.])\d+\b", lambda rng, _: rng.choice(NUMBERS[:15])
            )
        else:
            tokens = TOKEN.findall(text)
            wanted = (r"\d+", r"\d+", "|".join(OPS), "|".join(DTYPES), r"%[\w.]+")[kind - 2]
            places = [i for i, token in enumerate(tokens) if re.fullmatch(wanted, token)]
            pool = (NUMBERS, NUMBERS, OPS, [*DTYPES], [tokens[i] for i in places])[kind - 2]
            if places:
                tokens[rng.choice(places)] = rng.choice(pool)
            text = "".join(tokens)
    return text


def another_type(rng: random.Random, type_: str) -> str:
    """A type that differs in its dtype, or in its shape too."""
    dtype = rng.choice([*DTYPES])
    kept = type_[type_.index("[") :]
    return dtype + rng.choice([kept, kept, "[]", "[0]", "[n,3]", f"[{2**62}]", "[1,1]", "[n]"])


def replace_everywhere(
    rng: random.Random, text: str, pattern: str, change: Callable[..., str]
) -> str:
    """The text with one of the words that a pattern finds exchanged wherever it stands."""
    found = sorted(set(re.findall(pattern, text)))
    if not found:
        return text
    word = rng.choice(found)
    new = change(rng, word)
    return re.sub(rf"(?<![\w%.]){re.escape(word)}(?!\w)", lambda _: new, text)


def is_small(graph: Graph, dims: Mapping[str, int]) -> bool:
    """Whether no array of a graph is too large to compute it here."""
    for key in graph:
        for type_ in graph[key].types:
            assert type_ is not None
            if names(type_.size) - dims.keys() or evaluate(type_.size, dims) > MANY:
                return False
        if not all(is_small(region, dims) for _, region in graph[key].regions()):
            return False
    return True


def arguments_for(graph: Graph) -> list[np.ndarray] | None:
    """Random arguments, None where there are none or where they would be large."""
    types = [graph.type(Value(key)) for key in graph.inputs]
    known = {name for type_ in types for size in type_.shape for name in names(size)}
    if graph.captures or not is_small(graph, dict.fromkeys(known, 8)):
        return None
    try:
        return random_inputs(graph, 1, 0.25)
    except IrgradError:
        return None


def named(call: Callable[..., Any], *args: Any) -> Any:
    """What a call gives, None where it raises a named error."""
    try:
        return call(*args)
    except InternalError:
        raise
    except IrgradError:
        return None


def check_text(graph: Graph, other: Graph) -> None:
    """All forms of the text lead back to the graph."""
    text = str(graph)
    assert str(parse(text)) == text
    assert parse(print_graph(graph, locations=True, names=True)) == graph
    assert diff(graph, parse(text)) == ""
    diff(graph, other)
    diff(other, graph)


def check_results(graph: Graph, arguments: Sequence[np.ndarray]) -> set[str]:
    """Passes and kernels agree with the interpreter; what was compared."""
    found = named(condition_bound, graph, arguments)
    if found is None:  # a check of the graph failed, or sizes have no bound
        return set()
    done = set()
    exact, bounds = found
    halves = has_halves(graph)
    if not halves and is_finite(graph, arguments):  # rewrites that are not exact assume it
        work = optimised(graph, "stable")
        agree("stable", exact, interpret(work, arguments), bounds)
        done.add("stable")
    work = optimised(graph, "exact")
    agree("exact", exact, interpret(work, arguments), bounds)
    done.add("exact")
    program = named(lower, work)
    if program is not None and not halves:
        outcome = run_program(program, arguments, graph_dims(graph, arguments))
        agree("kernels", exact, outcome.results, bounds)
        done.add("kernels")
    return done


def is_finite(graph: Graph, arguments: Sequence[np.ndarray]) -> bool:
    """Whether no value on the way is NaN or infinite."""
    found: list[bool] = []

    def watch(key: int, results: Sequence[np.ndarray]) -> None:
        found.extend(bool(np.isfinite(x).all()) for x in results if x.dtype.kind not in "biu")

    interpret(graph, arguments, watch=watch)
    return all(found)


def optimised(graph: Graph, numerics: Numerics) -> Graph:
    """The graph after all passes."""
    work = graph.copy()
    for step in pipeline(numerics):
        step.apply(work)
    verify(work, "fused")
    return work


def has_halves(graph: Graph) -> bool:
    """Whether a graph has floats of two bytes, whose rounding on the way the bounds leave out."""
    types = [graph.type(Value(key, r)) for key in graph for r in range(len(graph[key].types))]
    return any(type_.dtype.is_float and type_.dtype.itemsize == 2 for type_ in types)


def agree(
    what: str,
    exact: Sequence[np.ndarray],
    got: Sequence[np.ndarray],
    bounds: Sequence[np.ndarray],
) -> None:
    """Assert that results are within their bounds of the interpreter's."""
    for i, (a, b, bound) in enumerate(zip(exact, got, bounds, strict=True)):
        assert within(a, b, bound), f"{what}, output {i}: expected {a}, got {b}"


def check_derivatives(graph: Graph) -> None:
    """Derivatives are valid graphs, or refused by name."""
    active = [i for i, key in enumerate(graph.inputs) if has_tangent(graph.type(Value(key)))]
    if active:
        for derive in (jvp_graph, vjp_graph):
            derived = named(derive, graph, active)
            if derived is not None:
                verify(derived)


def accepted(text: str) -> Graph | None:
    """The graph of a text, None where it is refused in a few lines."""
    try:
        graph = parse(text)
        Infer().apply(graph)
        verify(graph)
    except InternalError:
        raise
    except IrgradError as error:
        assert len(str(error).splitlines()) <= 12, str(error)
        return None
    return graph


def check(graph: Graph, other: Graph) -> set[str]:
    """Everything that is asked of an accepted graph; what it came to."""
    done = {"accepted"}
    check_text(graph, other)
    check_derivatives(graph)
    arguments = arguments_for(graph)
    if arguments is not None:
        done |= check_results(graph, arguments)
    compiled = named(lambda: ig.compile(graph, target="reference"))
    if compiled is not None:
        done.add("compiled")
        assert compiled.ir() and compiled.report() and compiled.explain()
        if arguments is not None:
            named(compiled.call_leaves, [np.array(array) for array in arguments])
    return done


@pytest.mark.filterwarnings("error")
def test_mutated_programs() -> None:
    """Texts from one seed, as many as there is time for."""
    print(f"seed {SEED}")
    end = time.process_time() + SECONDS
    counts: Counter[str] = Counter()
    for number in range(100_000):
        if number >= LEAST and time.process_time() > end:
            break
        counts.update(outcomes(number))
    print(dict(counts))
    assert min(counts[what] for what in ("refused", "accepted", "stable", "exact", "compiled")) > 5


@cache
def another() -> Graph:
    """A graph that none of the texts is."""
    graph = parse(GOOD[0])
    Infer().apply(graph)
    return graph


def mutated(number: int) -> str:
    """The text of a number."""
    rng = random.Random(SEED + number)
    text = rng.choice(TEXTS)
    if rng.random() < 0.6:
        text = re.sub(r"(\)|\}) : [^\n]*", r"\1", text)
    return mutate(rng, text)


def outcomes(number: int) -> set[str]:
    """What the text of a number came to; it is printed where something is wrong."""
    text = mutated(number)
    try:
        graph = accepted(text)
        return {"refused"} if graph is None else check(graph, another())
    except BaseException:
        print(number, text, sep="\n")
        raise


def main(first: int, count: int) -> None:
    """Try many texts; print what they came to, the slowest one to read, and the most memory."""
    counts: Counter[str] = Counter()
    slowest = 0.0
    for number in range(first, first + count):
        begin = time.process_time()
        accepted(mutated(number))
        slowest = max(slowest, time.process_time() - begin)
        counts.update(outcomes(number))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{dict(counts)}, slowest {slowest:.3f} s, at most {memory:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""Mutated IR text: whatever comes in, only named errors of irgrad come out."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest

from irgrad.errors import IrgradError, ParseError
from irgrad.ir import Graph, TensorType, parse
from irgrad.ir.types import dtype_of
from irgrad.ops.check import verify
from irgrad.ops.registry import REGISTRY, builder
from irgrad.passes.infer import Infer


def one_node(name: str) -> str:
    """The text of a graph that holds one node of an op, from the op's samples."""
    calls = REGISTRY[name].samples(np.random.default_rng(1))
    call = max(calls, key=lambda call: sum(x.ndim for x in call.operands))
    graph = Graph(name)
    b = builder(graph)
    types = [TensorType(dtype_of(x.dtype), x.shape) for x in call.operands]
    results = b.emit(name, [b.wrap(graph.add_input(type_)) for type_ in types], **call.attrs)
    graph.outputs = [x.value for x in results]
    if REGISTRY[name].effect:
        graph.effects.append(max(graph))
    return str(graph)


FILES = [path.read_text() for path in sorted((Path(__file__).parent / "good").glob("*.txt"))]
SAMPLED = sorted(name for name in REGISTRY if REGISTRY[name].samples(np.random.default_rng(1)))
GOOD = [*FILES, *map(one_node, SAMPLED)]
SEED = 20240611
MUTATIONS = 1500
TOKEN = re.compile(r'%[\w.]+|\w+|"[^"\n]*"|->|\s+|.')
POOL = sorted({token for text in GOOD for token in TOKEN.findall(text)})
STRANGE = ["\x00", "é", "\"", "\\", "9" * 30, str(2**63), "-1", "1e999", "nan", "-inf", "true", "?",
           "((((", "f32[", "f32[]", "graph (", "}", "%", "effect ", "0.5", "n*n*n", "loc(", "#",
           "custom_jvp_call", "concatenate", "c64", "bf16", "u64", "(1,)", "()"]


def mutate(rng: random.Random, text: str) -> str:
    """The text with one to three changes of tokens, lines or characters."""
    tokens = TOKEN.findall(text)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(tokens))
        kind = rng.randrange(7)
        if kind == 0:
            del tokens[place]
        elif kind == 1:
            tokens.insert(place, rng.choice(POOL))
        elif kind == 2:
            tokens[place] = rng.choice(POOL)
        elif kind == 3:
            tokens[place] = rng.choice(STRANGE)
        elif kind == 4:
            other = rng.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        elif kind == 5:
            lines = "".join(tokens).split("\n")
            lines.insert(rng.randrange(len(lines)), lines[rng.randrange(len(lines))])
            tokens = TOKEN.findall("\n".join(lines))
        else:
            digits = [i for i, token in enumerate(tokens) if token.isdigit()]
            tokens[rng.choice(digits)] = rng.choice(["0", "1", "2", "3", "64", str(2**62), "007"])
    return "".join(tokens)


def strip_types(text: str) -> str:
    """The text with the types of all nodes left to inference."""
    return re.sub(r"(\)|\}) : [^\n]*", r"\1", text)


def run(text: str, level: str = "traced") -> Graph | None:
    """Parse, infer and verify; the graph, or None where a named error was raised."""
    try:
        graph = parse(text)
        Infer().apply(graph)
        verify(graph, level)
    except ParseError as error:
        assert error.line >= 1
        assert error.column >= 1
        assert len(str(error).splitlines()) == 4
        return None
    except IrgradError as error:
        assert len(str(error).splitlines()) <= 12, str(error)
        return None
    return graph


@pytest.mark.parametrize("part", range(5))
def test_only_named_errors(part: int) -> None:
    """Texts that survive also print and parse back."""
    print(f"seed {SEED + part}")
    rng = random.Random(SEED + part)
    survivors = 0
    for _ in range(MUTATIONS // 5):
        text = rng.choice(FILES if rng.random() < 0.5 else GOOD)
        text = mutate(rng, strip_types(text) if rng.random() < 0.5 else text)
        try:
            graph = run(text)
        except Exception:
            print(text)
            raise
        if graph is not None:
            survivors += 1
            printed = str(graph)
            assert str(parse(printed)) == printed
    assert 0 < survivors < MUTATIONS // 5


def test_truncated_text_is_a_parse_error() -> None:
    """Every prefix of a valid text is refused with a position."""
    text = GOOD[0].rstrip()
    for stop in range(0, len(text) - 1, 7):
        with pytest.raises(ParseError):
            parse(text[:stop])


@pytest.mark.parametrize("name", SAMPLED)
def test_each_op_round_trips(name: str) -> None:
    """Text, with and without the types of nodes, gives the graph back."""
    text = one_node(name)
    level = "fused" if name == "fused" else "traced"
    graph = run(text, level)
    assert graph is not None
    assert str(graph) == text
    assert run(strip_types(text), level) == graph

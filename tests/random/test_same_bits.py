"""Each draw has the same bits at once, in the interpreter, in both CPU forms, and in any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cuda_ops import OpCase, memory_of, run_plain
from draws import DRAWS

import irgrad as ig
from irgrad import random
from irgrad.interpret import interpret
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline

KEY = random.key(11)
# Too long for the plain run of a loop's every statement; their ops are compared one by one.
LONG = frozenset({"gamma"})
JITTED = ("uniform between bounds", "bernoulli", "randint of i64", "normal")


def assert_same(got: Any, wanted: Any, name: str) -> None:
    x, y = np.asarray(got), np.asarray(wanted)
    assert (x.dtype, x.shape) == (y.dtype, y.shape), name
    assert x.tobytes() == y.tobytes(), name


def everything(key: Any) -> dict[str, Any]:
    return {name: draw(key) for name, draw in DRAWS.items()}


@pytest.fixture(scope="module")
def compiled() -> Any:
    return ig.compile(everything, "u32[2]")


def test_compiled_draws_are_those_at_once(compiled: Any) -> None:
    for seed in (11, 12):
        key = random.key(seed)
        for name, result in compiled(key).items():
            assert_same(result, DRAWS[name](key), name)


def test_any_number_of_threads_draws_the_same(compiled: Any) -> None:
    wanted = compiled(KEY)
    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(compiled, [KEY] * 40):
            for name, result in results.items():
                assert_same(result, wanted[name], name)


def test_draws_of_the_interpreter_and_of_the_optimised_graph() -> None:
    graph = ig.trace(everything, "u32[2]")
    wanted = interpret(graph, [KEY])
    for name, result in zip(sorted(DRAWS), wanted, strict=True):
        assert_same(result, DRAWS[name](KEY), name)
    run_passes(graph, pipeline("stable"), [])
    for name, result, other in zip(sorted(DRAWS), interpret(graph, [KEY]), wanted, strict=True):
        assert_same(result, other, name)


@pytest.mark.parametrize("name", sorted(DRAWS.keys() - LONG))
def test_source_as_plain_python(name: str) -> None:
    graph = ig.trace(DRAWS[name], "u32[2]")
    captured = [np.asarray(graph.captures[key]) for key in graph.inputs[1:]]
    run_passes(graph, pipeline("stable"), [])
    case = OpCase(name, lower(graph), (KEY, *captured))
    found: dict[int, np.ndarray] = {}
    for kernel, memory in memory_of(case):
        run_plain(kernel, memory)
        found |= {id(x): x for x in memory.values()}
    wanted = np.asarray(DRAWS[name](KEY)).reshape(-1)
    # The program's only output is the last thing written.
    assert any(
        x.dtype == wanted.dtype and x.tobytes() == wanted.tobytes() for x in found.values()
    ), name


def test_source_compiled_by_numba() -> None:
    call = ig.compile(lambda key: [DRAWS[name](key) for name in JITTED], "u32[2]", emit="numba")
    for name, result in zip(JITTED, call(KEY), strict=True):
        assert_same(result, DRAWS[name](KEY), name)

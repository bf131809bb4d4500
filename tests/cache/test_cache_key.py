"""What a key covers: one ingredient is edited at a time, and the code is no longer found."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_programs import SPECS, WEIGHTS, find, is_hit, model, same_model

import irgrad as ig
from irgrad.backends import numba_cpu
from irgrad.backends.numba_cpu.llvm import cpu
from irgrad.cached import _Miss
from irgrad.driver import lower_graph
from irgrad.ir import Graph
from irgrad.ir.printer import canonical_text
from irgrad.runtime import cache_key
from irgrad.runtime.options import Options


def traced(function: Callable[..., Any] = model, *specs: str) -> Graph:
    return ig.trace(function, *(specs or SPECS))


def test_the_same_program_is_found(warm: Path) -> None:
    assert is_hit(traced())
    assert is_hit(traced(same_model))  # names and lines are no part of the key


def test_weights_are_no_part_of_it(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model.__globals__, "WEIGHTS", WEIGHTS[::-1] * 3)
    assert is_hit(traced())
    monkeypatch.setitem(model.__globals__, "WEIGHTS", WEIGHTS.astype(np.float64))
    assert isinstance(find(traced()), _Miss)


def other_edge(x: Any, y: Any) -> Any:
    ig.check((y > 0).all(), "positive")
    return np.tanh(x @ WEIGHTS) * y, np.negative(y)


def other_message(x: Any, y: Any) -> Any:
    ig.check((y > 0).all(), "above zero")
    return np.tanh(x @ WEIGHTS) * y, y


def other_constant(x: Any, y: Any) -> Any:
    ig.check((y > 1).all(), "positive")
    return np.tanh(x @ WEIGHTS) * y, y


@pytest.mark.parametrize("function", [other_edge, other_message, other_constant])
def test_another_program_is_a_miss(warm: Path, function: Callable[..., Any]) -> None:
    found = find(traced(function))
    assert isinstance(found, _Miss)
    assert found.why == "no such entry"


@pytest.mark.parametrize("specs", [("f32[6,4]", "f32[3]"), ("f64[5,4]", "f32[3]")])
def test_other_types_are_a_miss(warm: Path, specs: tuple[str, str]) -> None:
    assert isinstance(find(traced(model, *specs)), _Miss)


def key(graph: Graph, options: Options | None = None, *backend: str) -> str:
    return cache_key.cache_key(graph, "cpu", options or Options(), backend)


def variants() -> dict[str, str]:
    """Keys of small graphs that differ in one thing."""
    bodies: dict[str, Callable[..., Any]] = {
        "x-y": lambda x, y: x - y,
        "y-x": lambda x, y: y - x,
        "x-x": lambda x, y: x - x,
        "zero": lambda x, y: x - 0.0,
        "negative zero": lambda x, y: x - -0.0,
        "next float": lambda x, y: x - float(np.nextafter(np.float32(0), np.float32(1))),
        "NaN": lambda x, y: x - float("nan"),
        "negative NaN": lambda x, y: x - -float("nan"),
        "two results": lambda x, y: (x - y, x - y),
        "a list": lambda x, y: [x - y],
    }
    found = {name: key(ig.trace(body, "f32[3]", "f32[3]")) for name, body in bodies.items()}
    found["donated"] = key(ig.trace(bodies["x-y"], "f32[3]", "f32[3]", donate=0))
    found["integers"] = key(ig.trace(bodies["x-y"], "i32[3]", "i32[3]"))
    return found


def test_bits_of_constants_edges_and_the_signature_count() -> None:
    found = variants()
    assert len(set(found.values())) == len(found), found
    assert variants() == found


def test_nans_of_other_bits_stay_apart() -> None:
    bits = (0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFFC00001)
    nans = np.array(bits, np.uint32).view(np.float32)
    pairs = [(a, b) for a in nans for b in nans]
    x = np.array([1, -1], np.float32)

    def chosen(x: Any) -> Any:
        return [np.where(x > 0, a, b) for a, b in pairs]

    for options in ({}, {"emit": "numba"}, {"target": "reference"}):
        for found, wanted in zip(ig.compile(chosen, x, **options)(x), chosen(x), strict=True):
            assert found.view(np.uint32).tolist() == wanted.view(np.uint32).tolist(), options
    digests = set()
    for a, b in pairs:
        graph = ig.trace(lambda x, a=a, b=b: np.where(x > 0, a, b), "f32[2]")
        program = lower_graph(graph, Options())[1]
        assert program is not None
        digests.add(numba_cpu.program_digest(program, "llvm"))
    assert len(digests) == len(pairs)


def test_the_order_of_a_trace_counts_and_names_do_not() -> None:
    def sum_first(x: Any, y: Any) -> Any:
        total = (x * y).sum()
        return total, np.exp(x)

    def exp_first(x: Any, y: Any) -> Any:
        grown = np.exp(x)
        return (x * y).sum(), grown

    def with_waste(x: Any, y: Any) -> Any:
        np.sin(x)
        total = (x * y).sum()
        return total, np.exp(x)

    def renamed(other: Any, name: Any) -> Any:
        result = (other * name).sum()
        return result, np.exp(other)

    graphs = [traced(f, "f32[3]", "f32[3]") for f in (sum_first, exp_first, with_waste, renamed)]
    first, second, third, fourth = map(key, graphs)
    assert len({canonical_text(graph) for graph in graphs}) == 1
    assert len({first, second, third}) == 3  # passes may go by what a canonical text leaves out
    assert first == fourth


def forged(**changes: Any) -> Options:
    """Options with values that this version does not accept yet."""
    options = Options()
    for name, value in changes.items():
        object.__setattr__(options, name, value)
    return options


def test_every_option_that_code_depends_on_counts(warm: Path) -> None:
    graph = traced()
    others = {"emit": "other", "numerics": "exact", "memory_budget": 1 << 20,
              "arch": "x86-64-v3", "profile": "other"}  # fmt: skip
    neutral = cache_key.NOT_IN_CODE
    assert {field.name for field in fields(Options)} == others.keys() | neutral
    for name, value in others.items():
        assert key(graph, forged(**{name: value})) != key(graph), name
    for name in ("numerics", "memory_budget", "arch", "profile"):
        assert isinstance(find(graph, forged(**{name: others[name]})), _Miss), name
    assert is_hit(graph, Options(strict=True, max_retraces=1, debug_nan=True))


# -- the machine and the compiler ------------------------------------------------------------------


def test_another_processor_is_a_miss(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, host = traced(), cpu.host_cpu()
    for field, value in (("name", "other"), ("features", "-avx2"), ("vector_bytes", 128)):
        parts = {f.name: getattr(host, f.name) for f in fields(cpu.Cpu)} | {field: value}
        monkeypatch.setattr(cpu, "host_cpu", lambda parts=parts: cpu.Cpu(**parts))
        assert isinstance(find(graph), _Miss), field


def test_other_versions_are_a_miss(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite
    import networkx

    graph = traced()
    for module in (llvmlite, networkx, np):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "0.0.1")
            assert isinstance(find(graph), _Miss), module
    assert is_hit(graph)


def test_every_edit_of_the_source_is_a_miss(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    (package / "passes").mkdir(parents=True)
    file = package / "passes" / "fuse.py"
    file.write_text("LIMIT = 1\n")
    seen = []
    for edit in (
        lambda: None,
        lambda: file.write_text("LIMIT = 2\n"),
        lambda: os.rename(file, package / "fuse.py"),
        lambda: (package / "empty.py").write_text(""),
    ):
        edit()
        seen.append(cache_key.package_source.__wrapped__(str(package)).digest)
    assert len(set(seen)) == 4
    graph = traced()
    with monkeypatch.context() as patch:
        patch.setattr(numba_cpu, "SOURCE", str(package))
        assert isinstance(find(graph), _Miss)
    with monkeypatch.context() as patch:
        patch.setattr(cache_key, "PACKAGE", str(package))
        assert isinstance(find(graph), _Miss)
    assert is_hit(graph)


def test_source_newer_than_the_process_is_not_trusted(
    warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start, why in ((1.0, cache_key.NEWER), (None, "the start of this process is not known")):
        monkeypatch.setattr(cache_key, "process_start", lambda start=start: start)
        assert find(traced()) == why


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the start is read from /proc")
def test_the_start_of_the_process_is_known() -> None:
    before = cache_key.process_start()
    assert before is not None
    assert 0 < time.time() - before < 10 * 24 * 3600

"""Objects in a line: short, quick, of any name; and their texts."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any
from unittest import mock

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad import cached
from irgrad.kernel.text import print_kernel
from irgrad.runtime import cache_key
from irgrad.testing.bisection import Bisection

X = np.ones((5, 4), np.float32)
W = np.ones((4, 3), np.float32)
SPEC = "f32[5,4]"


def model(x: Any) -> Any:
    hidden = inp.tanh(x @ W)
    return hidden / (1 + (hidden * hidden).sum(axis=0)), hidden


@pytest.fixture(scope="module")
def compiled() -> ig.Compiled:
    return ig.compile(model, SPEC)


def test_reprs_are_one_short_line(compiled: ig.Compiled) -> None:
    program = compiled._parts.program
    assert program is not None
    jitted = ig.jit(model, target="reference")
    jitted(X)
    jitted(X[:2])
    product = next(k for k in compiled.graph if compiled.graph[k].op == "dot_general")
    kernels = len(compiled.kernels)
    calls = len(program.calls)
    wanted: dict[Any, str] = {
        compiled: f"Compiled(model, cpu, {kernels} kernels)",
        compiled.bind(X): "Bound(model)",
        compiled.plan: f"MemoryPlan({compiled.plan.peak_bytes:,} bytes)",
        jitted: "Jitted(model, 2 compiles)",
        jitted.history: "History(model, 2 compiles)",
        jitted.history.records[1]: "Retrace(model, compile 2)",
        jitted.compiled(X): "Compiled(model, reference, 0 kernels)",
        ig.grad(model): "Jitted(model, 0 compiles)",
        ig.custom_jvp(model): "custom_jvp(model)",
        ig.custom_vjp(model): "custom_vjp(model)",
        compiled.signature: "Signature((*) -> (*, *))",
        compiled.signature.inputs: "Tree((*))",
        compiled.graph[product]: "Node(dot_general: f32[5,3])",
        Bisection("", "the passes"): "Bisection(no difference)",
        program: f"Program({kernels} kernels, {calls} calls, arena {program.arena_bytes} bytes)",
    }
    for one, text in wanted.items():
        assert repr(one) == text
    assert repr(compiled.graph) == f"Graph(model, {len(compiled.graph)} nodes)"
    first, info = program.kernels[0], compiled.kernels[0]
    assert repr([first]) == f"[Kernel({first.name}, {len(first.buffers)} buffers)]"
    assert repr([info]) == f"[KernelInfo({info.name}, {info.calls} call)]"
    assert repr(compiled.captured).startswith("[Capture(W: f32[4,3], ")
    assert repr(jitted.cache_info()).startswith("JitInfo(compiles=2, seconds=")
    everything = [*wanted, compiled.graph, first, info, *compiled.captured, jitted.cache_info(),
                  compiled.cache_info(), compiled.options,
                  compiled._parts.executable._code]  # fmt: skip
    for one in everything:
        assert len(repr(one)) < 400
        assert "\n" not in repr(one)


def test_texts_tell_more(compiled: ig.Compiled) -> None:
    program = compiled._parts.program
    assert program is not None
    assert str(compiled) == compiled.report()
    for info, kernel in zip(compiled.kernels, program.kernels, strict=True):
        assert str(kernel) == print_kernel(kernel) == info.text
        assert str(info).endswith(f"\n{info.text}")
        assert f"# {info.origin[0]}: {info.origin[0].source()}\n" in str(info)
    lines = str(program).splitlines()
    assert lines[0].startswith(f"program: {len(program.kernels)} kernels, ")
    assert "  result 1: output 1 as f32[5,3]" in lines
    first = program.kernels[program.calls[0].kernel]
    assert f"  0: {first.name}({first.buffers[0].name}=input 0, " in str(program)
    assert str(program).endswith(print_kernel(program.kernels[-1]))
    assert str(compiled.plan).startswith(f"memory of a run: {compiled.plan.peak_bytes:,} bytes")


def test_a_program_with_checks_and_donation_as_text() -> None:
    from irgrad.driver import stage_graphs
    from irgrad.passes.lower import lower

    def f(p: Any, x: Any) -> Any:
        ig.check(x > 0, "positive\nnumbers")
        return p + x, p * 2, x

    graph = ig.trace(f, "f64[3]", "f64[3]", donate=0)
    text = str(lower(list(stage_graphs(graph, ig.Options()).values())[-1]))
    assert "  input 0: f64[3] overwritten\n" in text
    assert "  result 0: donated 0 as f64[3]\n" in text
    assert "  result 2: copy of input 1 as f64[3]\n" in text or "  result 2: output" in text
    assert "  check 0: positive?numbers\n" in text
    assert "  stop here where a check has failed\n" in text


def test_any_name_is_one_line() -> None:
    def f(x: Any) -> Any:
        return x * 2

    f.__name__ = "a\nb" * 100
    graph = ig.trace(f, "f64[3]")
    graph.name = "a\nb\x1b[31m" * 100
    jitted = ig.jit(f, target="reference")
    compiled = ig.compile(graph, target="reference")
    for one in (graph, jitted, compiled, compiled.bind(np.ones(3)), jitted.history):
        assert "\n" not in repr(one)
        assert repr(one).isprintable()
        assert len(repr(one)) < 150


def test_a_repr_lowers_and_compiles_nothing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a function whose code is from the disk: its program is made when it is asked for."""
    monkeypatch.setattr(cache_key, "process_start", lambda: math.inf)  # whoever edits the source
    monkeypatch.setenv("IRGRAD_CACHE", str(tmp_path))
    made = ig.compile(lambda x: inp.cosh(x).sum(), "f64[7]")
    wanted = repr(made)
    del made
    found = ig.compile(lambda x: inp.cosh(x).sum(), "f64[7]")
    assert found.cache_info().disk == "hit"
    with mock.patch.object(cached, "_lower_again", side_effect=AssertionError):
        program = found._parts.executable._program
        assert repr(found) == wanted == "Compiled(main, cpu, 1 kernel)"
        assert repr(program) == "LateProgram(1 result)"
        assert repr(found.plan).endswith(" bytes)")
        assert repr(found.bind(np.ones(7))) == "Bound(main)"
    assert str(found).startswith("main for cpu: 1 kernels, ")
    assert "cosh" in found.kernels[0]._repr_html_()


def test_what_draws_is_not_loaded_before_it_is_asked_for() -> None:
    code = (
        "import sys, irgrad as ig\n"
        "f = ig.jit(lambda x: x * 2, target='reference'); f(1.0)\n"
        "c = ig.compile(lambda x: x * 2, 'f64[3]', target='reference')\n"
        "repr(c), str(c), repr(f), repr(c.graph), repr(c.plan), repr(c.kernels)\n"
        "assert not [m for m in sys.modules if m.startswith('irgrad.view')]\n"
        "assert c._repr_html_().startswith('<div class=\"irgrad-view\">')\n"
        "assert 'irgrad.view' in sys.modules\n"
        "assert not {'numba', 'llvmlite', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

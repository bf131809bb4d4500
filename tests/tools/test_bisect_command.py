"""`irgrad bisect` and `irgrad.testing.bisect` name planted faults and make their cases small.

The faults are those that check="all" is tested with. Kernels run in their form of Python source as
plain Python, but for one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from cli_runs import error_of, run, run_well

import irgrad as ig
from irgrad.backends import numba_cpu
from irgrad.backends.numba_cpu.llvm import reductions
from irgrad.errors import ArgumentError, CheckError
from irgrad.ir import Graph
from irgrad.ops import registry
from irgrad.passes.base import Pass
from irgrad.passes.pipeline import pipeline
from irgrad.passes.simplify import Simplify
from irgrad.rewrite.rule import Rule
from irgrad.runtime.options import Options
from irgrad.testing import Bisection, bisect
from irgrad.testing.random_graphs import random_graph
from irgrad.tools import command_bisect

for folder_ in ("faults", "rewrite"):
    sys.path.append(str(Path(__file__).parent.parent / folder_))
import test_wrong_derivatives as derivatives  # noqa: E402
import test_wrong_fusion as fusions  # noqa: E402
import test_wrong_kernels as kernels  # noqa: E402
import test_wrong_rules as rules  # noqa: E402

SOURCE = Options(emit="numba")
SMALL = 15


@pytest.fixture(autouse=True)
def _plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)


def passes_with(wrong: Rule) -> tuple[Pass, ...]:
    """The passes of a compile with a wrong rule in the place of the right one."""
    return tuple(
        replace(step, rules=rules.with_rule(wrong)) if isinstance(step, Simplify) else step
        for step in pipeline()
    )


def again(found: Bisection, **settings: Any) -> Bisection:
    """What a bisection of the text of the small case finds."""
    graph = ig.ir.parse(found.ir)
    return bisect(graph, *(() if found.random else found.arguments), **settings)


def assert_small(found: Bisection, **settings: Any) -> None:
    """Assert that the small case is small, complete, and shows the same fault."""
    assert found.graph is not None and len(found.graph) <= SMALL
    seen = again(found, **settings)
    assert (seen.stage, seen.rule) == (found.stage, found.rule)
    if found.stage != "code" and found.stage != "lowering":
        assert seen.name == found.name


@pytest.mark.parametrize("kind", rules.WRONG)
def test_a_wrong_rule(kind: str) -> None:
    rule, f, specs = rules.WRONG[kind]
    steps = passes_with(rule)
    found = bisect(f, *specs, check="passes", passes=steps)
    assert (found.stage, found.name, found.rule) == ("pass", "simplify", rule.name)
    assert 1 <= found.number <= found.count and found.op
    assert found.lines[0].line == f.__code__.co_firstlineno
    assert f"pass simplify, rule {rule.name}, edit {found.number}" in str(found)
    assert_small(found, check="passes", passes=steps)


@pytest.mark.parametrize("fault", fusions.WRONG)
def test_a_wrong_fusion(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, f, what, _, lines = fusions.WRONG[fault]
    assert not bisect(f, *fusions.SPECS, options=SOURCE).found
    monkeypatch.setattr(*place)
    found = bisect(f, *fusions.SPECS, options=SOURCE)
    assert found.stage == what.split()[0].replace("kernel", "lowering")
    assert found.name == what.split()[1]
    assert {f.__code__.co_firstlineno + line for line in lines} & {x.line for x in found.lines}
    assert_small(found, options=SOURCE)


@pytest.mark.parametrize("fault", kernels.SOURCE)
def test_a_kernel_off_by_one(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, f, specs, kernel, _ = kernels.SOURCE[fault]
    monkeypatch.setattr(*place)
    found = bisect(f, *specs, options=SOURCE)
    assert (found.stage, found.name) == ("code", kernel)
    assert str(found).startswith(f"wrong: code of kernel {kernel}: ")
    assert "right as lowered, wrong as compiled for numba" in found.message
    assert_small(found, options=SOURCE)


def test_a_kernel_off_by_one_of_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    place, f, specs, kernel, _ = kernels.LLVM["elementwise: the last element dropped"]
    monkeypatch.setattr(*place)
    found = bisect(f, *specs, check="kernels", budget=0)
    assert (found.stage, found.name) == ("code", kernel)
    assert found.graph is not None and len(found.graph) == 4


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("case", derivatives.WRONG)
def test_a_wrong_derivative(case: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, rule, wrong, f = derivatives.WRONG[case]
    record = replace(derivatives.RIGHT[name], **{rule: wrong})
    monkeypatch.setattr(registry, "REGISTRY", {**derivatives.RIGHT, name: record})
    found = bisect(f, f"{dtype}[2,3]", check="gradients")
    assert (found.stage, found.name, found.rule) == ("derivative", name, rule)
    assert str(found).startswith(f"wrong: {rule} of {name}\n")
    assert "test_wrong_derivatives.py" in str(found)
    assert_small(found, check="gradients")


def test_a_wrong_derivative_of_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of a gradient no longer holds the op that it is the derivative of."""
    record = replace(derivatives.RIGHT["sin"], jvp=derivatives.sine)
    monkeypatch.setattr(registry, "REGISTRY", {**derivatives.RIGHT, "sin": record})
    slope = ig.grad(lambda x: np.sin(x).sum())
    found = bisect(slope, "f64[3]", check="gradients")
    assert (found.name, found.rule) == ("sin", "jvp")
    assert "sin(" in found.ir
    assert_small(found, check="gradients")


def test_the_rule_of_a_user_is_no_fault() -> None:
    @ig.custom_jvp
    def straight_through(x: Any) -> Any:
        return np.round(x)

    straight_through.defjvp(lambda primals, tangents: (np.round(primals[0]), tangents[0]))
    assert not bisect(lambda x: straight_through(x) * 2, "f64[3]", check="gradients").found


# -- graphs and arrays -----------------------------------------------------------------------------


class Halved:
    """A pass that takes exp(x) for exp(x) / 2."""

    name = "halve"

    def apply(self, graph: Graph) -> None:
        """Edit in place."""
        for key in graph.order():
            if graph[key].op == "exp":
                b = registry.builder(graph, graph[key].locations)
                value = b.wrap(graph[key].operands[0]).op("exp") * 0.5
                old = ig.ir.graph.Value(key)
                graph.replace(old, value.value, "halve: half (exact)")
        graph.prune()


def test_large_graphs_become_small() -> None:
    sizes = []
    for seed in range(30):
        drawn = random_graph(seed, style="mixed")
        ops = [drawn.graph[key].op for key in drawn.graph]
        if drawn.special or drawn.dims or ops.count("exp") != 1 or len(ops) < 15:
            continue
        found = bisect(drawn.graph, *drawn.arguments, check="passes", passes=[Halved()])
        if found.found:
            sizes.append((len(ops), len(found.graph or ())))
            assert found.rule == "half"
    assert sizes and max(small for _, small in sizes) <= SMALL


def test_a_long_program_is_cut_by_bisection() -> None:
    def f(x: Any) -> Any:
        for i in range(150):
            x = np.exp(x) if i == 70 else 0.5 - x
        return x

    found = bisect(f, "f64[3]", check="passes", passes=[Halved()])
    assert found.graph is not None and len(found.graph) == 2


def test_named_sizes_and_captures() -> None:
    table = np.arange(3.0)
    rule, _, _ = rules.WRONG["a number"]
    steps = passes_with(rule)
    found = bisect(
        lambda x: (np.exp(x) + np.exp(x)) * table, "f64[n,3]", check="passes", passes=steps
    )
    assert found.rule == rule.name and "captures" not in found.ir
    assert_small(found, check="passes", passes=steps)
    right = bisect(lambda x: np.exp(x) * table, "f64[n,3]", check="passes")
    said = "no difference found; checked passes of main on 3 random inputs of sizes [3, 3], [3]\n"
    assert str(right) == said


def test_code_for_all_sizes_that_is_wrong_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    right = reductions.lanes_below

    def fewer(builder: Any, rest: Any, lanes: int) -> Any:
        return right(builder, builder.sub(rest, rest.type(1)), lanes)

    monkeypatch.setattr(reductions, "lanes_below", fewer)
    assert not bisect(kernels.long_total, "f64[5]", check="kernels").found
    found = bisect(kernels.long_total, "f64[n]", check="kernels", budget=0)
    numba_cpu._codes.cache_clear()
    assert found.stage == "code" and "%x: f64[n]" in found.ir


def test_arguments_are_checked() -> None:
    with pytest.raises(ArgumentError, match="bisect: expected check as one of all, passes"):
        bisect(np.tanh, "f64[3]", check="none")
    with pytest.raises(ArgumentError, match="bisect: expected budget as an integer >= 0"):
        bisect(np.tanh, "f64[3]", budget=-1)
    with pytest.raises(ArgumentError, match="bisect: expected arrays for the inputs of a graph"):
        bisect(ig.trace(np.tanh, "f64[3]"), "f64[3]")

    def positive(x: Any) -> Any:
        ig.check(x > 5, "x is large")
        return np.log(x)

    with pytest.raises(CheckError, match="inputs that its checks accept, got none; give inputs"):
        bisect(positive, "f64[3]", check="passes")
    assert not bisect(positive, np.full(3, 6.0), check="passes").found
    with pytest.raises(CheckError, match="x is large"):
        bisect(positive, np.zeros(3), check="passes")


# -- the command -----------------------------------------------------------------------------------


def plant(monkeypatch: pytest.MonkeyPatch, steps: Sequence[Any]) -> None:
    monkeypatch.setattr(command_bisect, "pipeline", lambda numerics: tuple(steps))


@pytest.fixture
def model(folder: Path) -> Path:
    (folder / "m.py").write_text(
        "import irgrad.numpy as np\n\n\n"
        "def f(x, y):\n    z = np.tanh(x)\n    return np.exp(z) @ y\n\n\n"
        "def stops(x):\n    return np.exp(x) / undefined\n"
    )
    rng = np.random.default_rng(0)
    np.savez("m.npz", x=rng.standard_normal((5, 3)), y=rng.standard_normal(3))
    return folder


TYPES = ("--spec", "f64[5,3]", "--spec", "f64[3]")


def test_nothing_wrong(model: Path) -> None:
    for given in (TYPES, ("--inputs", "m.npz")):
        text = run_well("bisect", "m.py:f", *given, "--emit", "numba")
        assert text.startswith("no difference found; checked passes, kernels, gradients of f on ")
    assert "sizes [3, 3], [3]" in run_well(
        "bisect", "m.py:f", "--spec", "f64[n,3]", "--spec", "f64[3]", "--check", "passes"
    )


@pytest.mark.parametrize("given", [TYPES, ("--inputs", "m.npz")])
def test_a_fault_goes_to_a_file(
    model: Path, given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, [Halved()])
    options = ("--check", "passes")
    result = run("bisect", "m.py:f", *given, *options, "--output", "small.irg")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "wrong: pass halve, rule half, edit 1 of 1, of exp"
    assert '    File "m.py", line 6, in f' in lines
    assert lines[-1] == "small.irg: 2 nodes; again: irgrad bisect small.irg"
    assert not (model / "small.npz").exists()
    text = (model / "small.irg").read_text()
    assert text.startswith("# irgrad bisect: pass halve, rule half") and 'loc("m.py":6' in text
    result = run("bisect", "small.irg", *options)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines()[0] == lines[0]
    assert ig.ir.parse(result.stdout[result.stdout.index("irgrad 1") :]) == ig.ir.parse(text)


@pytest.mark.parametrize("output", ["loop.irg", "pipe.irg", "beside.irg", "\0.irg"])
def test_outputs_that_cannot_be_written(
    model: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed, and nothing is changed; the file of arrays has to be writable too."""
    plant(monkeypatch, [Halved()])
    os.symlink("loop.irg", "loop.irg")
    os.mkfifo("pipe.irg")
    os.mkdir("beside.npz")
    before = sorted(model.rglob("*"))
    assert len(error_of("bisect", "m.py:f", *TYPES, "--output", output)) < 200
    assert sorted(model.rglob("*")) == before


class Negated:
    """A pass that takes a tanh for its negative where an input is larger than any random one."""

    name = "negate"

    def apply(self, graph: Graph) -> None:
        """Edit in place."""
        for key in graph.order():
            if graph[key].op == "tanh":
                b = registry.builder(graph, graph[key].locations)
                x = b.wrap(graph[key].operands[0])
                large = b.constant(50, x.type)
                new = x.op("tanh") * (1 - 2 * large.lt(x).op("cast", dtype=x.type.dtype))
                graph.replace(ig.ir.graph.Value(key), new.value, "negate: minus (exact)")
        graph.prune()


def test_arrays_go_beside_the_file_where_they_are_needed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, [Negated()])
    np.savez("large.npz", x=np.array([[1.0, 99.0, 0.0]]), y=np.ones(3))
    options = ("--check", "passes")
    assert run("bisect", "m.py:f", *TYPES, *options).exit_code == 0
    result = run("bisect", "m.py:f", "--inputs", "large.npz", *options, "--output", "s.irg")
    assert result.exit_code == 1
    end = result.stdout.splitlines()[-1]
    assert end == "s.irg: 2 nodes; again: irgrad bisect s.irg --inputs s.npz"
    result = run("bisect", "s.irg", "--inputs", "s.npz", *options)
    assert result.exit_code == 1
    assert result.stdout.startswith("wrong: pass negate, rule minus")
    assert run("bisect", "s.irg", *options).exit_code == 0


def test_a_pass_that_raises(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks(Halved):
        name = "breaks"

        def apply(self, graph: Graph) -> None:
            assert all(graph[key].op != "exp" for key in graph), "no exp"

    plant(monkeypatch, [Breaks()])
    result = run("bisect", "m.py:f", *TYPES, "--check", "passes")
    assert result.exit_code == 1
    assert "pass breaks: expected a valid graph, got AssertionError: no exp" in result.stdout
    assert "exp(" in result.stdout and "tanh(" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("m.py:f", *TYPES, "--output", "s.txt"), "expected a file that ends in .irg", 2),
        (("f.irg", "--output", "f.irg"), "expected a file beside the source, got 'f.irg'", 2),
        (("m.py:f", *TYPES, "--output", "no/s.irg"), "expected its folder to exist", 1),
        (("m.py:f",), "expected a --spec such as 'f32[n,784]'", 1),
        (("m.py:f", "--inputs", "nosuch.npz"), "expected a .npz file of arrays, got no such", 1),
        (("m.py:f", "--inputs", "m.py"), "m.py: expected a .npz file of arrays", 1),
        (("f.irg", "--inputs", "m.npz"), "expected f32[n,4]", 1),
        (("m.py:stops", "--spec", "f64[3]"), "name 'undefined' is not defined (m.py:10)", 1),
        (("huge.irg",), "expected values of at most", 1),
        (("text.irg",), "expected a token of the grammar", 1),
    ],
)
def test_bad_input(
    model: Path, arguments: tuple[str, ...], message: str, code: int
) -> None:
    (model / "huge.irg").write_text(f"graph @f(%x: f32[{2**50}]) {{\n return %x }}")
    (model / "text.irg").write_text("\x1b[2J")
    before = sorted(model.rglob("*"))
    assert message in error_of("bisect", *arguments, code=code)
    assert sorted(model.rglob("*")) == before


def test_texts_with_changed_bytes(model: Path) -> None:
    whole = run_well("ir", "m.py:f", *TYPES).encode()
    rng = np.random.default_rng(5)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(32, 127)
        (model / "e.irg").write_bytes(data)
        try:
            run_well("bisect", "e.irg", "--check", "passes")
        except AssertionError:
            assert len(error_of("bisect", "e.irg", "--check", "passes")) < 600


def test_help_has_an_example() -> None:
    assert "irgrad bisect model.py:loss" in run_well("bisect", "--help").split("Example", 1)[1]

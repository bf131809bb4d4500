"""The texts of the programs, whole: as traced, as fused, and as kernels with their plan."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_files import DATA, GoldenMismatch, compare_with_golden, golden_path, may_update
from golden_programs import PROGRAMS, SYMBOLIC, compiled, kernels_text, stages

import irgrad as ig
from irgrad.ir.graph import Graph
from irgrad.kernel.text import print_kernel
from irgrad.kernel.verify import verify_kernel
from irgrad.ops.check import verify

HERE = Path(__file__).parent
MAX_BYTES = 16_000
Golden = Callable[[str], None]


def checked_text(graph: Graph, level: str) -> str:
    """The text of a graph, which reads back to an equal graph that is right at its level."""
    text = str(graph)
    again = ig.ir.parse(text)
    assert again == graph
    assert str(again) == text
    verify(again, level)
    verify(graph, level)
    return text


# -- texts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PROGRAMS, "symbolic"])
def test_traced(name: str, golden: Golden) -> None:
    graph = ig.trace(*SYMBOLIC) if name == "symbolic" else stages(name).traced
    golden(checked_text(graph, "traced"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_fused(name: str, golden: Golden) -> None:
    graph = stages(name).fused
    for node in (graph[key] for key in graph.order()):
        for _, body in node.regions():
            assert ig.ir.parse(str(body)) == body
    golden(checked_text(graph, "fused"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels(name: str, golden: Golden) -> None:
    program = stages(name).program
    for kernel in program.kernels:
        verify_kernel(kernel)
    text = kernels_text(program)
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    machine = re.compile(r"0x|/|\\|avx|sse|neon|x86|zmm|ymm|align|vector|<\d+ x", re.I)
    assert not machine.search(code)
    golden(text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_was_compiled_is_what_is_kept(name: str) -> None:
    found, kept = compiled(name), stages(name)
    assert found.ir() == found.ir("fuse") == str(kept.fused)
    assert found.ir("traced") == str(kept.traced)
    texts = [kernel.text for kernel in found.kernels]
    assert texts == [print_kernel(kernel) for kernel in kept.program.kernels]
    assert all(text in kernels_text(kept.program) for text in texts)


def test_two_processes_write_the_same_bytes() -> None:
    code = "import golden_programs, sys; sys.stdout.write(golden_programs.dump())"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=HERE,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    first, second = (run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert first == second
    for name in PROGRAMS:
        assert kernels_text(stages(name).program).encode() in first


# -- the files themselves --------------------------------------------------------------------------


def test_files_are_small_and_all_in_use() -> None:
    kinds = ("traced", "fused", "kernels")
    wanted = {f"test_{kind}[{name}]" for kind in kinds for name in PROGRAMS}
    wanted.add("test_traced[symbolic]")
    assert {path.name for path in DATA.iterdir()} == {golden_path(test).name for test in wanted}
    sizes = {path.name: path.stat().st_size for path in DATA.iterdir()}
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}


def test_a_golden_file_is_missed_compared_and_rewritten(tmp_path: Path) -> None:
    path = golden_path("test_traced[one]", tmp_path / "data")
    assert path.name == "one.traced.txt"
    with pytest.raises(GoldenMismatch, match="one.traced.txt: expected a golden file, got none"):
        compare_with_golden(path, "a\nb\n", update=False)
    compare_with_golden(path, "a\nb\n", update=True)
    compare_with_golden(path, "a\nb\n", update=False)
    with pytest.raises(GoldenMismatch, match=r"one.traced.txt differs; (.|\n)*\n-b\n\+c"):
        compare_with_golden(path, "a\nc\n", update=False)
    compare_with_golden(path, "a\nc\n", update=True)
    assert path.read_text() == "a\nc\n"


def test_rewriting_is_refused_in_ci() -> None:
    assert may_update(True, {}) and may_update(True, {"CI": "false"})
    assert not may_update(False, {"CI": "true"})
    for value in ("true", "1"):
        with pytest.raises(PermissionError, match="expected a run outside of CI"):
            may_update(True, {"CI": value})

"""Forks, Ctrl-C and pickles: each in processes of their own, which have to end well."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp

HERE = Path(__file__).parent


def run(program: str, *arguments: str) -> str:
    """The output of a program of this folder, which has to end well and soon."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / program), *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_children_of_a_fork_call_and_compile() -> None:
    """Also while another thread of the parent is inside of LLVM, and when forked by a pool."""
    assert run("forking.py").split() == ["children", "8", "ended", "8"]


def test_interrupts_leave_all_usable() -> None:
    """SIGINT at any time of a compile: afterwards the same call, other calls, and other threads."""
    words = run("interrupted.py").split()
    assert int(words[words.index("interrupted") + 1]) >= 10
    assert float(words[words.index("waited") + 1]) < 2.0


# -- pickles ---------------------------------------------------------------------------------------


class Pair(NamedTuple):
    first: Any
    second: Any


OFFSET = np.arange(3.0)


def pairs(p: Pair, scale: Any) -> Any:
    return {"sum": p.first * OFFSET + p.second, "pair": Pair(inp.tanh(p.first) * scale, None)}


SPEC = Pair("f64[3]", "f64[3]")
GIVEN = Pair(np.linspace(0, 1, 3), np.ones(3))


def test_pickles_are_text_and_compile_where_they_are_read() -> None:
    compiled = ig.compile(pairs, SPEC, 2.0, progress=lambda *step: None)
    data = pickle.dumps(compiled)
    assert b"irgrad 1\n" in data and b"tanh" in data
    assert b"\x7fELF" not in data and len(data) < 4000
    again = pickle.loads(data)
    expected, got = compiled(GIVEN, 3.0), again(GIVEN, 3.0)
    np.testing.assert_array_equal(got["sum"], expected["sum"])
    assert type(got["pair"]) is Pair and got["pair"].second is None
    np.testing.assert_array_equal(got["pair"].first, expected["pair"].first)
    assert again.ir("traced") == compiled.ir("traced")
    assert again.options == compiled.options and again.options.progress is None
    assert [str(k.origin[0]) for k in again.kernels] == [str(k.origin[0]) for k in compiled.kernels]
    (capture,) = again.captured
    assert capture.name == "OFFSET" and capture.array is not OFFSET
    assert again.cache_info().origin == "memory"


def test_pickles_keep_donation_target_and_report() -> None:
    compiled = ig.compile(lambda x, y: x + y, "f64[4]", "f64[4]", donate=0, target="reference")
    again = pickle.loads(pickle.dumps(compiled))
    x = np.ones(4)
    assert again(x, np.ones(4)) is x
    assert again.target == "reference"
    symbolic = ig.compile(lambda x: x * 2, "f64[n]", target="reference")
    assert pickle.loads(pickle.dumps(symbolic))(np.ones(5)).tolist() == [2] * 5
    with pytest.raises((pickle.PicklingError, AttributeError)):
        Local = type("Local", (tuple,), {"__slots__": ()})
        pickle.dumps((compiled, Local()))


def apply(compiled: ig.Compiled, given: Pair) -> Any:
    """What a worker does with a compiled function that was sent to it."""
    return compiled(given, 3.0)["sum"]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_compiled_functions_are_sent_to_processes(method: str) -> None:
    compiled = ig.compile(pairs, SPEC, 2.0)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        np.testing.assert_array_equal(
            pool.submit(apply, compiled, GIVEN).result(60), apply(compiled, GIVEN)
        )

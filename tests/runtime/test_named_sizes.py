"""Functions of arrays with named sizes: compiled once, called for every size."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends.numba_cpu import BACKEND
from irgrad.backends.numba_cpu.runtime.executable import Executable
from irgrad.backends.numba_cpu.runtime.instances import MAX_INSTANCES, Instances
from irgrad.errors import ArgumentError, DimError, DonationError, ShapeError
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.bounds import condition_bound, within

BATCHES = (1, 2, 3, 7, 31, 64, 257, 0)
CLASSES = 5


def loss(params: Any, x: Any, labels: Any) -> Any:
    hidden = inp.tanh(x @ params["w"] + params["b"])
    logits = hidden @ params["v"]
    logits = logits - inp.max(logits, axis=1, keepdims=True)
    chosen = inp.where(labels[:, None] == inp.arange(CLASSES), logits, 0).sum()
    return inp.log(inp.exp(logits).sum(axis=1)).sum() - chosen


def train_step(params: Any, x: Any, labels: Any) -> Any:
    value, slopes = ig.value_and_grad(loss)(params, x, labels)
    return value, {name: params[name] - 0.01 * slopes[name] for name in params}


TYPES = ({"w": "f32[9,6]", "b": "f32[6]", "v": f"f32[6,{CLASSES}]"}, "f32[n,9]", "i32[n]")


def batch(n: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    params = {
        "w": rng.normal(size=(9, 6)), "b": rng.normal(size=6), "v": rng.normal(size=(6, CLASSES))
    }  # fmt: skip
    x, labels = rng.normal(size=(n, 9)), rng.integers(0, CLASSES, n)
    typed = {name: array.astype(np.float32) for name, array in params.items()}
    return typed, x.astype(np.float32), labels.astype(np.int32)


def test_a_training_step_for_every_batch_size_is_one_compile() -> None:
    step = ig.jit(train_step, specs=TYPES)
    graph = ig.trace(train_step, *TYPES)
    for n in (*BATCHES, 7, 0):
        params, x, labels = batch(n)
        value, new = step(params, x, labels)
        leaves = [params["b"], params["v"], params["w"], x, labels]
        exact, bounds = condition_bound(graph, [*leaves, *graph.captures.values()])
        got = [value, new["b"], new["v"], new["w"]]
        for a, b, bound in zip(exact, got, bounds, strict=True):
            assert within(a, b, bound), f"n={n}: {a} but {b}"
    info = step.cache_info()
    assert (info.compiles, info.retraces) == (1, ())


def total(x: Any, y: Any) -> Any:
    return (x * 2 + y[1:]).sum(axis=0), inp.max(x)


SPECS = ("f64[n,3]", "f64[n+1,3]")


@pytest.fixture(scope="module", params=["cpu", "reference"])
def compiled(request: pytest.FixtureRequest) -> Iterator[ig.Compiled]:
    yield ig.compile(total, *SPECS, target=request.param)


def arrays(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(3.0 * n).reshape(n, 3), np.ones((n + 1, 3))


def test_shapes_that_do_not_fit_are_named(compiled: ig.Compiled) -> None:
    x, y = arrays(4)
    np.testing.assert_array_equal(compiled(x, y)[0], (2 * x + 1).sum(axis=0))
    for given, message in (
        ((x, x), r"y: expected f64\[n\+1,3\], got shape \(4, 3\) \(axis 0: n\+1 is 5 for n=4"),
        ((x[:, :2], y), r"x: expected f64\[n,3\], got f64\[4,2\]"),
        ((x[0], y), r"x: expected f64\[n,3\], got f64\[3\]"),
        ((x.astype("f"), y), r"x: expected f64\[n,3\], got f32\[4,3\]"),
    ):
        with pytest.raises(ArgumentError, match=message):
            compiled(*given)
    strided = np.repeat(x, 2, axis=0)[::2]
    np.testing.assert_array_equal(compiled(strided, y)[0], (2 * x + 1).sum(axis=0))


def test_sizes_that_a_program_cannot_have_are_refused_with_the_line(
    compiled: ig.Compiled,
) -> None:
    with pytest.raises(ShapeError, match=r"reduce_max: expected at least 1 element along") as error:
        compiled(*arrays(0))
    assert "got n=0" in str(error.value)
    assert "inp.max(x)" in str(error.value)
    np.testing.assert_array_equal(compiled(*arrays(1))[1], 2.0)


def test_bound_calls_have_sizes_of_their_own(compiled: ig.Compiled) -> None:
    calls = []
    for n in (5, 2, 9):
        x, y = arrays(n)
        calls.append((x, compiled.bind(x, y)))
    for x, call in calls * 2:
        x += 1
        np.testing.assert_array_equal(call()[0], (2 * x + 1).sum(axis=0))


def test_slices_that_reach_outside_are_refused() -> None:
    inner = ig.compile(lambda x: x[2:-1] * 2, "f32[n]", target="reference")
    assert inner(np.arange(5, dtype=np.float32)).tolist() == [4, 6]
    assert inner(np.arange(3, dtype=np.float32)).tolist() == []
    with pytest.raises(ShapeError, match=r"slice: expected start <= stop along axis 0.* got n=2"):
        inner(np.zeros(2, np.float32))


def test_memory_depends_on_sizes() -> None:
    sized = ig.compile(lambda x, w: inp.tanh(x @ w) @ w, "f32[n,16]", "f32[16,16]").plan
    assert sized.peak_bytes_at(n=1000) - sized.peak_bytes_at(n=500) == 500 * 64
    with pytest.raises(DimError, match="peak_bytes: expected memory that does not depend"):
        _ = sized.peak_bytes
    for wrong in ({}, {"m": 3}, {"n": -1}, {"n": 2.0}):
        with pytest.raises(ArgumentError, match="peak_bytes_at: expected"):
            sized.peak_bytes_at(**wrong)


def test_what_is_known_of_a_size_is_dropped_after_many_others() -> None:
    """Calls of ever new sizes keep a bounded number of instances, and are right."""
    graph = ig.trace(lambda x: x + 1, "f32[n]")
    work = graph.copy()
    for step in pipeline():
        step.apply(work)
    run = BACKEND.compile(lower(work), work, ig.Options())
    assert isinstance(run, Executable)
    for n in [*range(MAX_INSTANCES + 20), 3, 5]:
        (got,) = run.call((np.arange(n, dtype=np.float32),)) or ()
        np.testing.assert_array_equal(got, np.arange(n) + 1)
    assert len(run._instances._known) == MAX_INSTANCES
    before = len(gc.get_referrers(run._instances))
    del got
    assert before == len(gc.get_referrers(run._instances))


def test_a_call_that_fails_leaves_those_of_other_sizes_alone() -> None:
    """Each call goes to the instance of its own sizes, whatever the last one was."""

    class Failing:
        def __init__(self, dims: Mapping[str, int]) -> None:
            self.size = dims["n"]

        def call(self, arguments: Sequence[object]) -> list[np.ndarray]:
            if self.size == 9:
                raise MemoryError("as many bytes as 9 takes")
            return [np.full(self.size, 1.0)]

    graph = ig.trace(lambda x: x + 1, "f32[n]")
    run_passes(graph, pipeline())
    call = Instances(lower(graph), graph, Failing).call()
    for n in (3, 9, 3, 9, 4):
        if n == 9:
            with pytest.raises(MemoryError):
                call((np.zeros(9, np.float32),))
        else:
            (got,) = call((np.zeros(n, np.float32),)) or ()
            assert got.shape == (n,)


def test_donated_arrays_of_named_sizes() -> None:
    update = ig.compile(lambda w, g: w - g, "f32[n]", "f32[n]", donate=0)
    for n in (4, 9, 0, 4):
        w = np.full(n, 3.0, np.float32)
        assert update(w, np.ones(n, np.float32)) is w
        assert w.tolist() == [2.0] * n
    with pytest.raises(DonationError, match="shares no memory"):
        update(w, w)
    assert w.tolist() == [2.0] * 4


def test_the_report_names_what_code_chooses_by_size() -> None:
    text = ig.compile(lambda x, w: inp.tanh(x @ w) @ w, "f32[n,64]", "f32[64,64]").report()
    assert "chosen by size:\n  k0_dot_general_tanh: tile for n by 64 (rows x columns): 1 x " in text
    assert "arena 256*n + " in text
    numbers = ig.compile(lambda x, w: x @ w, "f32[3,64]", "f32[64,64]").report()
    assert "chosen by size" not in numbers and "named sizes" not in numbers


def test_the_report_names_sizes() -> None:
    text = ig.compile(total, *SPECS, target="reference").report()
    assert "n: axis 0 of x f64[n,3]" in text
    assert "where n-1 < 0: reduce_max (" in text


def test_numbers_from_sizes_and_names_from_two_arguments() -> None:
    def f(x: Any, y: Any) -> Any:
        return x.sum() / x.shape[0] + y.sum() * (x.shape[0] - y.shape[0])

    run = ig.jit(f, specs=("f64[n]", "f64[m]"))
    for n, m in ((3, 4), (4, 3), (1, 0), (7, 7)):
        assert run(np.ones(n), np.ones(m)) == 1 + m * (n - m)
    assert run.cache_info().compiles == 1

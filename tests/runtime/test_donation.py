"""Donated arguments: whose memory results take over, and which arrays are refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import irgrad as ig

TARGETS = ("cpu", "reference")


def step(params: Any, x: Any) -> Any:
    return {"w": params["w"] - 0.5 * x, "b": params["b"] + 1.0}, x.sum()


def make() -> dict[str, np.ndarray]:
    return {"w": np.full(4, 3.0, np.float32), "b": np.zeros(2, np.float32)}


X = np.arange(4, dtype=np.float32)


@pytest.mark.parametrize("target", TARGETS)
def test_donated_arrays_are_overwritten_and_returned(target: str) -> None:
    jitted = ig.jit(step, donate=(0,), target=target)
    params = make()
    for number in range(1, 4):
        new, _ = jitted(params, X)
        assert new["w"] is params["w"]
        assert new["b"] is params["b"]
        np.testing.assert_array_equal(new["w"], 3 - 0.5 * number * X)
        np.testing.assert_array_equal(new["b"], np.full(2, number))
    assert jitted.cache_info().compiles == 1


def test_names_and_aot_compiles() -> None:
    for donate in ("params", [0], 0):
        compiled = ig.compile(step, make(), X, donate=donate)
        assert "params.w is result 1" in compiled.report()
        params = make()
        assert compiled(params, X)[0]["w"] is params["w"]
    with pytest.raises(ig.errors.ArgumentError, match="donate: expected one of params, x"):
        ig.compile(step, make(), X, donate="y")
    graph = ig.trace(step, make(), X)
    compiled = ig.compile(graph, donate=(0,))
    params = make()
    assert compiled(params, X)[0]["w"] is params["w"]
    with pytest.raises(ig.errors.ArgumentError, match="donate: expected positions below 2"):
        ig.compile(graph, donate=(2,))


def test_what_no_result_can_take_is_reported() -> None:
    compiled = ig.compile(lambda x, y: x.sum() + y, "f32[4]", "f32[]", donate=(0,))
    assert "x is not donated: no result of type f32[4] could take its memory" in compiled.report()
    x = X.copy()
    np.testing.assert_array_equal(compiled(x, np.float32(1)), 7)
    np.testing.assert_array_equal(x, X)


def faulty(kind: str) -> Any:
    w = make()["w"]
    if kind == "read-only":
        w.flags.writeable = False
    elif kind == "strided":
        w = np.zeros(8, np.float32)[::2]
    elif kind == "byte-swapped":
        w = w.astype(">f4")
    elif kind == "a number":
        return 1.0
    elif kind == "a NumPy scalar":
        return np.float32(1)
    return w


FAULTS = {
    "read-only": "got a read-only array",
    "strided": "got an array that is not C-contiguous",
    "byte-swapped": "got an array of foreign byte order",
    "a number": "expected an ndarray to donate, got the Python float",
    "a NumPy scalar": "expected an ndarray to donate, got the NumPy scalar",
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", FAULTS)
def test_arrays_that_cannot_be_overwritten_are_refused(kind: str, target: str) -> None:
    compiled = ig.compile(step, make(), X, donate=(0,), target=target)
    params = {"w": faulty(kind), "b": make()["b"]}
    with pytest.raises(ig.errors.DonationError, match=f"^params.w: .*{FAULTS[kind]}") as caught:
        compiled(params, X)
    assert str(caught.value).endswith("compiled(params, X)")
    np.testing.assert_array_equal(params["b"], np.zeros(2))


@pytest.mark.parametrize("target", TARGETS)
def test_overlaps_are_refused_before_anything_is_written(target: str) -> None:
    compiled = ig.compile(lambda x, y: (x + y, y * 2), "f32[4]", "f32[4]", donate=(0,),
                          target=target)
    block = np.arange(8, dtype=np.float32)
    before = block.copy()
    for x, y in [
        (block[:4], block[:4]),
        (block[:4], block[3:7]),
        (block[2:6], block[1:5]),
        (block[:4], block[::2]),
    ]:
        with pytest.raises(ig.errors.DonationError, match="^x: expected .* overlaps y"):
            compiled(x, y)
        np.testing.assert_array_equal(block, before)
    np.testing.assert_array_equal(compiled(block[:4], block[4:])[0], before[:4] + before[4:])


@pytest.mark.parametrize("target", TARGETS)
def test_two_donated_arrays_and_captures_may_not_overlap(target: str) -> None:
    weights = np.ones(4, np.float32)

    def f(x: Any, y: Any) -> Any:
        return x + weights, y * 2

    compiled = ig.compile(f, "f32[4]", "f32[4]", donate=(0, 1), target=target)
    x = X.copy()
    with pytest.raises(ig.errors.DonationError, match="overlaps [xy]"):
        compiled(x, x)
    with pytest.raises(ig.errors.DonationError, match="^x: .* overlaps a captured array"):
        compiled(weights, x)
    np.testing.assert_array_equal(weights, np.ones(4))
    np.testing.assert_array_equal(x, X)


def test_interleaved_views_do_not_count_as_overlap() -> None:
    compiled = ig.compile(lambda x, y: x + y, "f32[4]", "f32[2,4]", donate=(0,))
    grid = np.arange(16, dtype=np.float32).reshape(4, 4)
    expected = grid[1] + grid[::2]
    np.testing.assert_array_equal(compiled(grid[1], grid[::2]), expected)


def test_empty_arrays_never_overlap() -> None:
    compiled = ig.compile(lambda x, y: (x + 1, y + 1), "f32[4]", "f32[0]", donate=(0, 1))
    x = X.copy()
    first, second = compiled(x, x[2:2])
    assert first is x
    assert second.shape == (0,)


def test_a_donated_array_of_an_equal_dtype_object_is_itself_returned() -> None:
    compiled = ig.compile(lambda x: x + 1, "f32[4]", donate=(0,))
    x = pickle.loads(pickle.dumps(X))
    assert compiled(x) is x
    np.testing.assert_array_equal(x, X + 1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_failed_check_leaves_donated_arrays_alone(target: str) -> None:
    def f(x: Any, low: Any) -> Any:
        ig.check(x > low, "x is above low")
        return x * 2

    jitted = ig.jit(f, donate=(0,), target=target)
    x = np.array([3.0, 1.0, 2.0, 0.5])
    np.testing.assert_array_equal(jitted(x, 0.0), [6, 2, 4, 1])
    message = "check: x is above low .*false at flat index 1"
    with pytest.raises(ig.errors.CheckError, match=message) as caught:
        jitted(x, 2.0)
    assert str(caught.value).endswith('ig.check(x > low, "x is above low")')
    np.testing.assert_array_equal(x, [6, 2, 4, 1])
    np.testing.assert_array_equal(jitted(x, 0.0), [12, 4, 8, 2])

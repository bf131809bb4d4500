"""Bound calls: fixed arrays, no checks, one caller at a time."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import irgrad as ig

TARGETS = ("cpu", "reference")


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_arrays_are_returned_with_new_values(target: str) -> None:
    compiled = ig.compile(lambda x, y: {"a": x * y, "b": x}, "f32[4]", "f32[]", target=target)
    x, y = np.arange(4, dtype=np.float32), np.array(2, np.float32)
    bound = compiled.bind(x, y)
    first = bound()
    arrays = first["a"], first["b"]
    np.testing.assert_array_equal(first["a"], [0, 2, 4, 6])
    x += 1
    y[...] = 3
    second = bound()
    assert (second["a"], second["b"]) == arrays or all(
        new is old for new, old in zip((second["a"], second["b"]), arrays)
    )
    np.testing.assert_array_equal(second["a"], [3, 6, 9, 12])
    np.testing.assert_array_equal(second["b"], x)
    assert not np.shares_memory(second["b"], x)


@pytest.mark.parametrize("target", TARGETS)
def test_donated_arguments_go_on_from_call_to_call(target: str) -> None:
    compiled = ig.compile(lambda w, x: w + x, "f64[3]", "f64[3]", donate=(0,), target=target)
    w, x = np.zeros(3), np.arange(3.0)
    bound = compiled.bind(w, x)
    for _ in range(5):
        assert bound() is w
    np.testing.assert_array_equal(w, 5 * x)


@pytest.mark.parametrize("target", TARGETS)
def test_given_outputs_are_used(target: str) -> None:
    compiled = ig.compile(lambda x: (x + 1, x * 2), "f32[3]", target=target)
    x = np.arange(3, dtype=np.float32)
    out = np.zeros(3, np.float32)
    bound = compiled.bind(x, out=(out, None))
    result = bound()
    assert result[0] is out
    np.testing.assert_array_equal(out, x + 1)
    np.testing.assert_array_equal(result[1], x * 2)


@pytest.mark.parametrize("target", TARGETS)
def test_captures_are_read_at_each_call_in_any_layout(target: str) -> None:
    plain, columns = np.ones(3), np.arange(6.0).reshape(3, 2)[:, 1]
    swapped = np.ones(3).astype(">f8")
    compiled = ig.compile(lambda x: x + plain + columns + swapped, "f64[3]", target=target)
    x = np.zeros(3)
    bound = compiled.bind(x)
    for _ in range(2):
        plain += 1
        columns *= 2
        swapped += 1
        np.testing.assert_array_equal(bound(), plain + columns + swapped)
        np.testing.assert_array_equal(compiled(x), plain + columns + swapped)


def test_unfit_arrays_are_refused() -> None:
    compiled = ig.compile(lambda x, n: (x + n, x), "f32[3]", "f32[]", target="reference")
    x, n = np.zeros(3, np.float32), np.float32(1)
    error = ig.errors.ArgumentError
    with pytest.raises(error, match="^bind: expected x C-contiguous") as caught:
        compiled.bind(np.zeros(6, np.float32)[::2], n)
    assert str(caught.value).endswith("compiled.bind(np.zeros(6, np.float32)[::2], n)")
    with pytest.raises(error, match="^out: expected the structure of the result"):
        compiled.bind(x, n, out=np.zeros(3, np.float32))
    with pytest.raises(error, match=r"^out: result 1: expected a writeable C-contiguous f32\[3\]"):
        compiled.bind(x, n, out=(None, np.zeros(3)))
    with pytest.raises(error, match="^out: result 0: .* shares memory"):
        compiled.bind(x, n, out=(x, None))
    same = np.zeros(3, np.float32)
    with pytest.raises(error, match="^out: result 1: .* shares memory"):
        compiled.bind(x, n, out=(same, same))
    donating = ig.compile(lambda x: x + 1, "f32[3]", donate=(0,), target="reference")
    with pytest.raises(error, match="^out: result 0: expected None or the donated argument"):
        donating.bind(x, out=np.zeros(3, np.float32))
    np.testing.assert_array_equal(donating.bind(x, out=x)(), np.ones(3))


@pytest.mark.parametrize("target", TARGETS)
def test_a_failed_check_raises_and_the_next_call_works(target: str) -> None:
    def f(x: Any) -> Any:
        ig.check(x > 0, "x is positive")
        return x + 1

    x = np.array([1.0, 2.0, 3.0])
    bound = ig.compile(f, "f64[3]", target=target).bind(x)
    for _ in range(2):
        x[1:] = -1
        with pytest.raises(ig.errors.CheckError, match="x is positive .*flat index 1"):
            bound()
        x[1:] = 5
        np.testing.assert_array_equal(bound(), [2, 6, 6])


def test_a_second_caller_is_refused() -> None:
    compiled = ig.compile(lambda x: np.exp(np.sin(x)).sum(), "f64[200000]")
    bound = compiled.bind(np.linspace(0, 1, 200000))
    expected = bound().copy()
    refused: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(50):
            try:
                bound()
            except ig.errors.ArgumentError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert all("one caller of a bound call at a time" in text for text in refused)
    np.testing.assert_array_equal(bound(), expected)

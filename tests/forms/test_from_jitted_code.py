"""Compiled functions called from jitted code, in both forms of their kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError

import irgrad as ig
from irgrad.errors import CheckError

X = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
Y = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
SHIFT = np.array([0.5, -0.5], np.float32)


def product(x: Any, y: Any, scale: Any) -> Any:
    """Two results, a captured array, a scalar, and a check."""
    total = x.sum()
    ig.check(total > 0, "the sum is positive")
    return np.tanh(x) @ y * scale + SHIFT, total


def advanced(state: Any, x: Any) -> Any:
    """What is donated comes first."""
    return state * 2 + x, x.max()


@pytest.fixture(scope="module", params=["llvm", "numba"])
def forms(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return (
        ig.compile(product, "f32[3,4]", "f32[4,2]", "f32[]", emit=request.param),
        ig.compile(advanced, "f32[5]", "f32[5]", donate=(0,), emit=request.param),
    )


@pytest.fixture(scope="module")
def caller(forms: tuple[Any, Any]) -> Any:
    compiled = forms[0]

    @njit(error_model="numpy", nogil=True)
    def call(x: Any, y: Any, scale: float) -> Any:
        result, total = compiled(x, y, scale)
        return result + 0, total

    return call


def test_results_are_those_of_python(forms: tuple[Any, Any], caller: Any) -> None:
    expected = forms[0](X, Y, np.float32(3))
    for found in (caller(X, Y, 3.0), caller(X, Y, 3.0)):
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]
    assert [type(x) for x in found] == [np.ndarray, np.ndarray] and found[1].shape == ()


def test_captured_arrays_are_read_at_each_call(forms: tuple[Any, Any], caller: Any) -> None:
    before = caller(X, Y, 1.0)[0]
    SHIFT[0] += 1
    try:
        np.testing.assert_allclose(caller(X, Y, 1.0)[0] - before, [[1, 0]] * 3, atol=1e-5)
    finally:
        SHIFT[0] -= 1


def test_a_failed_check_is_the_same_error(forms: tuple[Any, Any], caller: Any) -> None:
    with pytest.raises(CheckError) as here:
        forms[0](-X, Y, np.float32(3))
    with pytest.raises(CheckError) as there:
        caller(-X, Y, 3.0)
    assert str(there.value) == str(here.value).replace(" at flat index 0", "")
    assert "the sum is positive" in str(there.value)
    assert "test_from_jitted_code.py" in str(there.value)
    caller(X, Y, 3.0)


def test_other_types_are_typing_errors_and_other_shapes_value_errors(caller: Any) -> None:
    with pytest.raises(TypingError, match=r"product: x: expected an array f32\[3,4\], got"):
        caller(X.astype(np.float64), Y, 3.0)
    with pytest.raises(TypingError, match=r"product: y: expected an array f32\[4,2\], got"):
        caller(X, Y[0], 3.0)
    with pytest.raises(ValueError, match=r"product: x: expected a contiguous f32\[3,4\]"):
        caller(X[:2], Y, 3.0)
    wide = np.zeros((3, 8), np.float32)
    with pytest.raises(ValueError, match=r"product: x: expected a contiguous f32\[3,4\]"):
        caller(wide[:, ::2], Y, 3.0)


def test_donated_arrays_are_overwritten_and_returned(forms: tuple[Any, Any]) -> None:
    compiled = forms[1]

    @njit
    def steps(state: Any, x: Any, count: int) -> Any:
        largest = np.float32(0)
        for _ in range(count):
            state, top = compiled(state, x)
            largest += top[()]
        return state, largest

    state, x = np.ones(5, np.float32), np.arange(5, dtype=np.float32)
    result, largest = steps(state, x, 3)
    np.testing.assert_array_equal(state, 8 + 7 * x)
    assert np.shares_memory(result, state) and largest == 12
    with pytest.raises(ValueError, match="expected a donated array that shares no memory with x"):
        steps(x, x, 1)
    frozen = np.ones(5, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(TypingError, match="expected a writeable array"):
        steps(frozen, x, 1)


def test_threads_share_a_function(caller: Any) -> None:
    wanted = [caller(X, Y, float(scale))[0].tobytes() for scale in range(8)]
    wrong: list[int] = []

    def work(scale: int) -> None:
        for _ in range(50):
            if caller(X, Y, float(scale))[0].tobytes() != wanted[scale]:
                wrong.append(scale)

    threads = [threading.Thread(target=work, args=(scale,)) for scale in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_another_caller_spreads_its_calls_over_threads(forms: tuple[Any, Any]) -> None:
    compiled = forms[1]

    @njit(parallel=True)
    def spread(states: Any, x: Any, out: Any) -> None:
        for i in prange(out.shape[0]):
            state, top = compiled(states[i], x)
            out[i] = state[1] + top[()]

    states, x = np.arange(100, dtype=np.float32).reshape(20, 5), np.arange(5, dtype=np.float32)
    expected = 2 * states + x
    out = np.zeros(20, np.float32)
    spread(states, x, out)
    np.testing.assert_array_equal(states, expected)
    np.testing.assert_array_equal(out, expected[:, 1] + 4)


PLAIN = """
import numpy as np
from numba import njit
import test_from_jitted_code as tests
from irgrad.errors import CheckError
import irgrad as ig
for emit in ("llvm", "numba"):
    c = ig.compile(tests.product, "f32[3,4]", "f32[4,2]", "f32[]", emit=emit)
    @njit
    def call(x, y):
        return c(x, y, 3.0)
    result, total = call(tests.X, tests.Y)
    print(result.tobytes().hex(), total)
    try:
        call(-tests.X, tests.Y)
    except CheckError as error:
        print(str(error).partition("(")[0])
"""


def test_callers_run_as_plain_python(forms: tuple[Any, Any]) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True, check=False
    )
    result, total = forms[0](X, Y, np.float32(3))
    lines = [f"{result.tobytes().hex()} {total}", "check: the sum is positive "]
    assert done.stdout.splitlines() == lines * 2, done.stderr

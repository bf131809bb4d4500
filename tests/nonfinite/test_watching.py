"""debug_nan on compiled code: both forms, donated and bound arrays, kernels that alone overflow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import irgrad as ig
from irgrad.errors import NonFiniteError
from irgrad.nonfinite import WatchedExecutable, search

FORMS = ("llvm", "numba")
PIXELS, HIDDEN, BATCH = 5, 7, 3


def loss(params: Any, x: Any, keep: Any) -> Any:
    hidden = x
    for number, w in enumerate(params["layers"]):
        hidden = np.tanh(hidden @ w)
        if number == 2:
            hidden = np.log(hidden - params["shift"])  # forward
    angles = np.arctan2(params["a"], params["b"]).sum()  # backward
    masked = np.where(keep, np.sqrt(x), 0.0).sum()  # masked
    return (hidden * hidden).mean() + angles + masked


OPTIMISERS = {"llvm": ig.optim.adam(1e-3), "numba": ig.optim.sgd(1e-3)}


def arguments(form: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    sizes = (PIXELS, HIDDEN, HIDDEN, HIDDEN)
    params = {
        "layers": [rng.normal(size=pair) for pair in zip(sizes, sizes[1:])],
        "shift": np.full(HIDDEN, -2.0),
        "a": np.ones(3),
        "b": np.ones(3),
    }
    state = OPTIMISERS[form].init(params)
    x = rng.uniform(0.5, 1, (BATCH, PIXELS))
    return params, state, x, np.ones((BATCH, PIXELS), bool)


LARGE = np.ones(256, np.float32)


@cache
def compiled(form: str, debug_nan: bool) -> Any:
    """A training step and a sum; the same code with the option and without."""

    def both(params: Any, state: Any, x: Any, keep: Any, large: Any) -> Any:
        value, gradients = ig.value_and_grad(loss)(params, x, keep)
        params, state = OPTIMISERS[form].update(gradients, state, params)
        total = large.sum()  # overflow
        return (value, params, state, np.argmax(np.log(x))), total

    return ig.compile(
        both, *arguments(form), LARGE, donate=(0, 1), emit=form, debug_nan=debug_nan
    )


def bytes_of(tree: Any) -> list[bytes]:
    if isinstance(tree, dict):
        return [part for value in tree.values() for part in bytes_of(value)]
    if isinstance(tree, (list, tuple)):
        return [part for value in tree for part in bytes_of(value)]
    return [np.asarray(tree).tobytes()]


def faulty(form: str, name: str) -> tuple[tuple[Any, ...], str, tuple[int, ...], str]:
    """Arguments with a planted fault: the op, the index and the comment of its line."""
    args = arguments(form)
    if name == "forward":
        args[0]["shift"][4] = 3.0
        return args, "log", (0, 4), "# forward"
    if name == "backward":
        args[0]["a"][1] = args[0]["b"][1] = 0.0
        return args, "div", (1,), "# backward"
    args[2][1, 2] = -1.0
    return args, "sqrt", (1, 2), "# masked"


# -- both forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_results_are_the_same_bits(form: str) -> None:
    a, b = arguments(form), arguments(form)
    for _ in range(3):
        found = compiled(form, True)(*a, LARGE)
        plain = compiled(form, False)(*b, LARGE)
        assert bytes_of(found) == bytes_of(plain)
        a, b = (*found[0][1:3], *a[2:]), (*plain[0][1:3], *b[2:])
    masked = faulty(form, "masked")[0]
    masked[3][1, 2] = False
    compiled(form, True)(*masked, LARGE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["forward", "backward", "masked"])
def test_faults_in_a_training_step(form: str, name: str) -> None:
    args, op, index, comment = faulty(form, name)
    before = bytes_of(args)
    with pytest.raises(NonFiniteError, match="expected a finite result") as raised:
        compiled(form, True)(*args, LARGE)
    error = raised.value
    location: Any = error.location
    assert (error.op, error.index) == (op, index)
    assert comment in location.source()
    assert (location.role == "gradient of") == (name == "backward")
    assert bytes_of(args) == before  # donated arrays too


@pytest.mark.parametrize("form", FORMS)
def test_an_overflow_of_the_kernel_alone(form: str) -> None:
    large = np.zeros(256, np.float32)
    large[[0, 64]] = 3e38  # one lane of the kernel sums these two; float64 holds the sum of all
    large[[1, 65]] = -3e38
    with pytest.raises(NonFiniteError) as raised:
        compiled(form, True)(*arguments(form), large)
    error = raised.value
    assert error.op.startswith("kernel ")
    assert "sum" in error.op
    assert "finite result (debug_nan), got" in str(error)
    assert " where the interpreter gives finite results; result[1] depends on it" in str(error)
    assert {value for _, value in error.inputs} == {float(np.float32(s * 3e38)) for s in (-1, 1)}
    assert str(error).endswith("# overflow")
    assert str(error).count("\n") < 12


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_values_that_are_too_large_to_keep(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_BYTES", 1000)
    args, op, index, _ = faulty("llvm", name)
    f = ig.jit(ig.value_and_grad(loss), target="reference", debug_nan=True)
    with pytest.raises(NonFiniteError, match="in a program of which not all values can be") as got:
        f(args[0], *args[2:])
    location: Any = got.value.location
    assert got.value.op.startswith("kernel ")
    assert op in got.value.op
    assert got.value.index == index
    assert location.source()


@pytest.mark.parametrize("form", FORMS)
def test_bound_calls(form: str) -> None:
    args, op, index, _ = faulty(form, "backward")
    good = arguments(form)
    run = compiled(form, True).bind(*good, LARGE)
    run()
    before = bytes_of(good[0])
    good[2][:] = -1.0
    kept = bytes_of(good)
    with pytest.raises(NonFiniteError, match=r"^sqrt: expected a finite result \(debug_nan\)"):
        run()
    assert bytes_of(good) == kept
    assert bytes_of(good[0]) == before
    good[2][:] = 0.5
    run()  # goes on from where it was
    with pytest.raises(NonFiniteError) as raised:
        compiled(form, True).bind(*args, LARGE)()
    assert (raised.value.op, raised.value.index) == (op, index)


# -- what the option costs -------------------------------------------------------------------------


def test_nothing_is_added_without_the_option() -> None:
    on, off = compiled("llvm", True), compiled("llvm", False)
    assert isinstance(on._parts.executable, WatchedExecutable)
    executable = off._parts.executable
    assert not isinstance(executable, WatchedExecutable)
    assert off._run == executable.call
    assert off.attempt.__code__ is on.attempt.__code__
    assert on.object_file() == off.object_file()
    assert [k.text for k in on.kernels] == [k.text for k in off.kernels]
    assert on.kernels[0].source("llvm") == off.kernels[0].source("llvm")
    with pytest.raises(ig.errors.ArgumentError, match="expected debug_nan=False for calls from"):
        _ = on.numba_function


# -- errors, threads, changes ----------------------------------------------------------------------


def test_what_numpy_is_told_about_errors_does_not_matter() -> None:
    f = ig.jit(lambda x: x * 2, target="reference", debug_nan=True)
    with np.errstate(all="raise"):
        for size in (4, 10_000, 20_001):
            for dtype in (np.float32, np.float64):
                top = np.finfo(dtype).max / 4
                assert (f(np.full(size, top, dtype)) == top * 2).all()
                x = np.full(size, top, dtype)
                x[-1] *= 4
                with pytest.raises(NonFiniteError, match=f"^mul: .* got inf at index .{size - 1},"):
                    f(x)


def test_small_floats_and_wrong_arguments() -> None:
    f = ig.jit(lambda x: (x / 2, x > 1), target="reference", debug_nan=True)
    halves = np.full(300, 60_000, np.float16)
    f(halves)
    halves[7] = np.nan
    with pytest.raises(NonFiniteError, match=r"^argument x: .* got nan at index \(7,\) of f16"):
        f(halves)
    fixed = ig.compile(lambda x, y: np.log(x + y), "f64[2]", "f64[2]", target="reference",
                       donate=0, debug_nan=True)
    for wrong in ((), (np.ones(2),), (np.ones(3), np.ones(2)), (1.0, np.ones(2)), (None, None)):
        with pytest.raises(ig.errors.IrgradError, match="expected"):
            fixed(*wrong)
    swapped = np.ones(2, ">f8")
    with pytest.raises((NonFiniteError, ig.errors.DonationError)):
        fixed(swapped, -np.ones(2))
    with pytest.raises(NonFiniteError, match=r"\(1,\) of f64\[2\] from -1.0"):
        fixed(np.array([3.0, 1.0]), np.full(2, -2.0))


def test_an_argument_that_changes_meanwhile() -> None:
    f = ig.compile(np.log, "f64[2]", target="reference", debug_nan=True)
    executable = f._parts.executable
    assert isinstance(executable, WatchedExecutable)
    x = np.array([1.0, -1.0])
    found = executable._executable.call((x,))
    x[1] = 1.0
    with pytest.raises(NonFiniteError, match="which is finite when it is computed again; did an"):
        executable._watcher._require_finite((x,), found, [])


def test_threads() -> None:
    f = ig.jit(lambda x: np.log(x).sum(), target="reference", debug_nan=True)
    found: list[tuple[int, ...]] = []

    def work(position: int) -> None:
        for _ in range(20):
            x = np.ones(16)
            f(x)
            x[position] = -1
            try:
                f(x)
            except NonFiniteError as error:
                found.append((position, *error.index))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    calls: list[Callable[[], None]] = [thread.start for thread in threads]
    for call in (*calls, *(thread.join for thread in threads)):
        call()
    assert sorted(found) == sorted((i, i) for i in range(8) for _ in range(20))

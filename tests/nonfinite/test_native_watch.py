"""debug_nan on compiled code: the native code that reads results and copies donated arrays."""

from __future__ import annotations

import ctypes
import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optree import tree_leaves

import irgrad as ig
from irgrad.backends.numba_cpu.runtime.call_plan import CallPlan
from irgrad.backends.numba_cpu.runtime.door import Input
from irgrad.backends.numba_cpu.runtime.executable import Executable
from irgrad.backends.numba_cpu.runtime.watch import FLOATS, load_watch, make_watch
from irgrad.errors import CheckError, NonFiniteError
from irgrad.ir.types import DTYPES
from irgrad.kernel.program import Result
from irgrad.nonfinite import WatchedExecutable

INF = float("inf")
READ = (*FLOATS, "c64", "c128")
SIZES = (1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 64, 65, 130)


def reader(dtype: str) -> Callable[[np.ndarray], bool]:
    """The native function that tells whether an array holds NaN or an infinity."""
    found = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int64)(
        load_watch().readers[dtype]
    )
    return lambda array: found(array.__array_interface__["data"][0], array.nbytes)


# -- the functions that read -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", READ)
def test_one_element_anywhere_is_found(dtype: str) -> None:
    bad, kind = reader(dtype), DTYPES[dtype].numpy
    limits = ml_dtypes.finfo(kind)
    harmless = [limits.max, limits.min, limits.smallest_subnormal, -0.0, 1.0]
    for size in SIZES:
        for skip in (0, 1):
            x = np.resize(np.array(harmless, kind), size + skip)[skip:]
            assert not bad(x)
            for at in range(size):
                kept = x[at]
                for value in (np.nan, INF, -INF):
                    x[at] = value
                    assert bad(x), (size, skip, at, value)
                x[at] = kept
    assert not bad(np.zeros(0, kind))


@pytest.mark.parametrize("dtype", ["c64", "c128"])
def test_either_part_of_a_complex_number_counts(dtype: str) -> None:
    bad, x = reader(dtype), np.ones(9, DTYPES[dtype].numpy)
    for value in (complex(0, np.nan), complex(-INF, 0), complex(0, INF)):
        x[4] = value
        assert bad(x)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_every_small_float(dtype: str) -> None:
    bad = reader(dtype)
    every = np.arange(2**16, dtype=np.uint16).view(DTYPES[dtype].numpy)
    with np.errstate(invalid="ignore"):  # of signalling NaN
        expected = ~np.isfinite(every)
    assert [bad(every[i : i + 1]) for i in range(2**16)] == expected.tolist()


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_bits_of_any_kind(dtype: str) -> None:
    bad, kind = reader(dtype), DTYPES[dtype].numpy
    bits = np.random.default_rng(0).integers(0, 2**63, 5000, np.uint64)
    exponent = np.array(INF, kind).view(f"u{kind.itemsize}")
    every = bits.astype(f"u{kind.itemsize}")
    every[::3] |= exponent  # NaN of many payloads and signs
    every[1::3] &= ~(exponent & -exponent)  # next to it
    every = every.view(kind)
    expected = ~np.isfinite(every)
    assert expected.any() and not expected.all()
    assert [bad(every[i : i + 1]) for i in range(len(every))] == expected.tolist()


def test_integers_are_not_read() -> None:
    whole = Result("output", 0, (3,), "i32"), Result("output", 1, (3,), "bool")
    empty, one = Result("output", 2, (0, 3), "f32"), Result("output", 2, (), "f32")
    donated = Input(0, np.dtype("i4"), (3,), True)

    def words(*results: Result) -> tuple[list[int], int]:
        program: Any = None
        plan = CallPlan(program, "f", ("x",), (), (donated,), (), results)
        watch = make_watch(1, plan, 100, lambda *_: pytest.fail("is not called"))
        return watch.table[:3].tolist(), watch.arena_bytes

    assert words(*whole) == words(*whole, empty) == ([1, 0, 0], 128)
    assert words(*whole, one) == ([1, 1, 1], 192)


# -- programs --------------------------------------------------------------------------------------


TABLE = np.linspace(1, 2, 5)
SWAPPED = np.linspace(1, 2, 6).astype(">f4")


def many(donated: Any, given: Any, rest: Any, numbers: Any) -> Any:
    ig.check(numbers >= 0, "a number is negative")
    return {
        "same": {name: x for name, x in rest.items() if name not in ("f32", "f64")},
        "squares": (rest["f32"] * rest["f32"], rest["f64"] * rest["f64"]),
        "total": rest["f64"].sum(),
        "table": TABLE,
        "swapped": SWAPPED,
        "given": given,
        "empty": given[:0] * 2,
        "numbers": (numbers // 2, np.isnan(given), np.where(np.isnan(rest["f32"]), 0, 1).sum()),
        "next": {name: x + 1 for name, x in donated.items()},
    }


def arguments(n: int = 13, k: int = 33) -> tuple[Any, ...]:
    """n: elements of the arrays of each dtype, k: of one that is donated."""
    donated = {"a": np.ones((3, 7), np.float32), "b": np.ones(k), "c": np.ones(()),
               "none": np.ones((0, 2))}  # fmt: skip
    rest = {name: np.ones(n, DTYPES[name].numpy) for name in READ}
    return donated, np.ones((2, 3), np.float32), rest, np.arange(4)


@cache
def compiled(debug_nan: bool) -> Any:
    """The same code with the option and without, for named sizes n and k."""
    donated, given, _, numbers = arguments()
    specs = donated | {"b": "f64[k]"}, given, {name: f"{name}[n]" for name in READ}, numbers
    return ig.compile(many, *specs, donate=0, debug_nan=debug_nan)


def bytes_of(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in tree_leaves(tree)]


def test_every_kind_of_result() -> None:
    a, b = arguments(), arguments()
    for _ in range(3):
        found, plain = compiled(True)(*a), compiled(False)(*b)
        assert bytes_of(found) == bytes_of(plain)
        assert found["next"]["a"] is a[0]["a"]
    assert a[0]["c"] == 4


def raised_by(call: Callable[[], Any]) -> NonFiniteError:
    with pytest.raises(NonFiniteError) as raised:
        call()
    return raised.value


@pytest.mark.parametrize("name", READ)
def test_results_of_every_dtype(name: str) -> None:
    args = arguments()
    args[2][name][11] = np.nan if name != "bf16" else ml_dtypes.bfloat16(INF)
    before = bytes_of(args)
    error = raised_by(lambda: compiled(True)(*args))
    assert error.op.startswith("argument rest")
    assert name in error.op
    assert error.index == (11,)
    assert bytes_of(args) == before
    assert all((leaf == 1).all() for leaf in args[0].values())


def test_any_size() -> None:
    for n, k in ((1, 0), (0, 1), (200, 5000), (1, 0), (13, 65), (3000, 64)):
        args = arguments(n, k)
        calls = partial(compiled(True), *args), compiled(True).bind(*args)
        for call in calls:
            call()
        assert (args[0]["b"] == 3).all()
        for array in (args[2]["f32"], args[0]["b"]):
            if array.size:
                kept, array[-1] = array[-1], np.nan
                for call in (*calls, *calls):
                    assert raised_by(call).index == (array.size - 1,)
                array[-1] = kept
        assert (args[0]["b"] == 3).all()


@pytest.mark.parametrize("bound", [False, True])
def test_what_was_given_and_captured(bound: bool) -> None:
    args = arguments()
    call = compiled(True).bind(*args) if bound else lambda: compiled(True)(*args)
    places: list[tuple[str, np.ndarray, tuple[int, ...]]] = [
        ("argument given", args[1], (1, 2)),
        ("captured array", TABLE, (3,)),
        ("captured array", SWAPPED, (5,)),
        ("argument donated", args[0]["b"], (32,)),
    ]
    for op, array, at in places:
        kept = array[at]
        array[at] = -INF
        before = bytes_of(args)
        error = raised_by(call)
        after = bytes_of(args)
        array[at] = kept
        assert error.op.startswith(op)
        assert error.index == at
        assert after == before
    call()
    assert (args[0]["b"] == 2).all()


@pytest.mark.parametrize("bound", [False, True])
def test_failed_checks_stay_what_they_are(bound: bool) -> None:
    args = arguments()
    call = compiled(True).bind(*args) if bound else lambda: compiled(True)(*args)
    before = bytes_of(args[0])
    for _ in range(2):
        args[3][2], args[1][0, 0] = -1, np.nan
        with pytest.raises(CheckError, match="a number is negative .* at flat index 2"):
            call()
        args[3][2] = 1
        assert raised_by(call).index == (0, 0)
        assert bytes_of(args[0]) == before
    args[1][0, 0] = 1
    call()
    assert (args[0]["a"] == 2).all()


def test_what_is_not_plain_goes_another_way() -> None:
    args = arguments()
    args[1][1, 0] = np.nan
    turned = np.array(args[1].T, order="C").T
    assert not turned.flags.c_contiguous
    assert raised_by(lambda: compiled(True)(args[0], turned, *args[2:])).index == (1, 0)
    assert (args[0]["a"] == 1).all()


def test_calls_that_python_makes() -> None:
    watched = compiled(True)._parts.executable
    assert isinstance(watched, WatchedExecutable)
    inner = watched._executable
    assert isinstance(inner, Executable)
    graph = compiled(True).graph
    outside = Executable(inner._program, graph, inner._code, through_door=False)
    assert outside.watch(lambda *_: pytest.fail("is not asked")) is None
    again = WatchedExecutable(outside, watched._subject)
    good, bad = (tuple(tree_leaves(arguments())) for _ in range(2))
    a, b = again.call(good), inner.call(tuple(tree_leaves(arguments())))
    assert a is not None and b is not None
    assert bytes_of(tuple(a)) == bytes_of(tuple(b))
    bad[1][4] = np.nan
    assert raised_by(lambda: again.call(bad)).index == (4,)
    assert (bad[0] == 1).all()


def test_executables_go_with_their_last_user() -> None:
    watched = compiled(True)._parts.executable
    inner = watched._executable
    gc.disable()  # so that reference cycles would stay
    try:
        plain = Executable(inner._program, compiled(True).graph, inner._code)
        again = WatchedExecutable(plain, watched._subject)
        assert again.call(tuple(tree_leaves(arguments()))) is not None
        left = weakref.ref(plain), weakref.ref(again)
        del plain, again
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


def test_memory_of_many_sizes() -> None:
    """Scratch memory and copies of donated arrays are not kept for each size that came along."""
    def f(x: Any) -> Any:
        return ig.numpy.exp(x - ig.numpy.max(x))

    compiled = ig.compile(f, "f64[n]", donate=(0,), debug_nan=True)
    tracemalloc.start()
    try:
        for n in range(30_000, 30_060):
            x = np.zeros(n)
            assert compiled(x) is x
        assert tracemalloc.get_traced_memory()[0] < 20 * x.nbytes
    finally:
        tracemalloc.stop()
    x[:] = 0.5
    x[3] = np.inf
    given = x.copy()
    assert (compiled(np.zeros(30_001)) == 1.0).all()
    with pytest.raises(NonFiniteError):
        compiled(x)
    assert np.array_equal(x, given)
    assert (compiled(np.zeros(30_002)) == 1.0).all()


def test_results_that_change_before_the_search() -> None:
    watched = compiled(True)._parts.executable
    args = arguments()
    found = watched._executable.call(tuple(tree_leaves(arguments())))
    assert found is not None
    with pytest.raises(NonFiniteError, match="many: expected finite results .* and then changed"):
        watched._watcher.fail(tuple(tree_leaves(args)), found, [(0, np.zeros((3, 7), np.float32))])
    assert (args[0]["a"] == 0).all()


def test_threads() -> None:
    found: list[tuple[int, int]] = []

    def work(position: int) -> None:
        args = arguments()
        for turn in range(10):
            compiled(True)(*args)
            args[0]["b"][position] = np.nan
            index = raised_by(lambda: compiled(True)(*args)).index
            args[0]["b"][position] = 1
            assert (args[0]["a"] == turn + 2).all()
            found.append((position, *index))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted((i, i) for i in range(6) for _ in range(10))

"""Inputs of extreme size, depth or memory layout: a named error or the right answer, never a crash.

What could take the process down with it runs in a process of its own.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.errors import (
    ArgumentError,
    DonationError,
    LimitError,
    LoweringError,
    ParseError,
    ShapeError,
    VerifyError,
)

X = np.arange(3.0)
DEEP = 100_000


def run(program: str) -> str:
    """What a program prints, in a new process with 8 GiB of address space."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- depth -----------------------------------------------------------------------------------------


def test_containers_without_end() -> None:
    out = run(f"""
        import numpy as np
        import irgrad as ig
        import irgrad.numpy as inp

        x = np.arange(3.0)
        compiled = ig.compile(lambda x: x, x, target="reference")
        adam = ig.optim.adam()
        circle = []
        circle.append(circle)

        def nest(make, leaf=x):
            for _ in range({DEEP}):
                leaf = make(leaf)
            return leaf

        def reads(deep):
            return ig.jit(lambda x: x if deep else 0, target="reference")

        values = [nest(lambda v: [v]), nest(lambda v: (v,)), nest(lambda v: {{"a": v}}), circle]
        calls = dict(
            jit=lambda v: ig.jit(lambda t: 1.0)(v), compiled=compiled, bind=compiled.bind,
            out=lambda v: compiled.bind(x, out=v), compile=lambda v: ig.compile(lambda t: 1.0, v),
            grad=lambda v: ig.grad(lambda t: 1.0)(v), vjp=lambda v: ig.vjp(lambda t: 1.0, v),
            jvp=lambda v: ig.jvp(lambda t: 1.0, (v,), (v,)), stop=ig.stop_gradient,
            result=lambda v: ig.trace(lambda x: v, x), static=lambda v: ig.jit(
                lambda x, s: x, static=1, target="reference")(x, v),
            closure=lambda v: reads(v)(x), init=adam.init, check=lambda v: ig.check(v, "m"),
            add=lambda v: ig.trace(lambda x: inp.add(x, v), x),
            grads=lambda v: ig.testing.check_grads(lambda t: 1.0, (v,)),
        )
        for name, call in calls.items():
            for value in values:
                try:
                    call(value)
                except ig.errors.IrgradError as error:
                    assert len(str(error)) < 2000
                    print(name, type(error).__name__)
                else:
                    print(name, "accepted")
    """)
    lines = out.splitlines()
    assert len(lines) == 16 * 4
    assert {line.split()[1] for line in lines} <= {"LimitError", "ArgumentError", "TraceError"}
    assert sum("LimitError" in line for line in lines) > 40


def test_static_arguments_without_end() -> None:
    out = run(f"""
        import irgrad as ig
        deep = 1
        for _ in range({DEEP}):
            deep = (deep,)
        try:
            ig.jit(lambda x, s: x, static=1)(1.0, deep)
        except (ig.errors.LimitError, ig.errors.ArgumentError) as error:
            print("refused")
    """)
    assert out == "refused\n"


# -- texts -----------------------------------------------------------------------------------------

HEAD = "graph (%x: f64[3]) { "


@pytest.mark.parametrize("text", [
    HEAD + "%0 = slice(%x) {start=" + "(" * DEEP,
    HEAD + "%0 = fused(%x) {body=" + "graph () { %0 = fused() {body=" * DEEP,
    HEAD + "signature " + "(" * DEEP,
    HEAD + "signature " + "[" * DEEP,
    HEAD + "signature " + "{a:" * DEEP,
    "graph (" + ",".join(f"%{i}" for i in range(2**17 + 1)) + ") { return }",
    "#" * (64 * 2**20 + 1),
])
def test_texts_beyond_the_limits(text: str) -> None:
    with pytest.raises(LimitError, match="parse: expected at most") as raised:
        ig.ir.parse(text)
    assert len(str(raised.value).splitlines()) <= 12


@pytest.mark.parametrize("text", [
    "", " ", "f32", "f32[", "f32[]]", "[3]", "f32[,]", "f32[-1]", "f32[1.5]", "f33[2]",
    "f32[9223372036854775808]", "f32[f32]", "f32[n\x00]", "f32[é]", "f32[" + "1," * 65 + "1]",
    "f32[" + "n+" * 100 + "1]", "f32[" + "n*" * 100 + "1]", "f32[" + "9" * 10**5 + "]",
])
def test_texts_that_are_no_types(text: str) -> None:
    with pytest.raises(ParseError):
        ig.spec(text)
    with pytest.raises(ParseError):
        ig.compile(lambda x: x, text)


def test_texts_that_cannot_run() -> None:
    untyped = ig.ir.parse("graph (%x: f64[3]) { %0 = sin(%x) return %0 }")
    with pytest.raises(VerifyError, match="sin: result 0: expected a type, got none"):
        ig.compile(untyped)
    captured = "graph (%x: f64[3]; captures %c: f64[3]) { %0 = add(%x, %c) : f64[3] return %0 }"
    for target in ("cpu", "reference"):
        compiled = ig.compile(ig.ir.parse(captured), target=target)
        for call in (compiled, compiled.bind):
            with pytest.raises(ArgumentError, match=r"captured array c: expected f64\[3\]"):
                call(X)


def test_a_symbolic_size_on_the_way_is_named() -> None:
    text = """graph (%x: f64[3]) {
      %0 = slice(%x) {start=(n,), step=(1,), stop=(3,)} : f64[-n+3]
      %1 = reduce_sum(%0) {axes=(0,)} : f64[]
      return %1
    }"""
    with pytest.raises(LoweringError, match=r"slice: expected sizes that the inputs det"):
        ig.compile(ig.ir.parse(text))


# -- sizes -----------------------------------------------------------------------------------------

HUGE = 2**62


@pytest.mark.parametrize("body", [
    lambda x: inp.broadcast_to(x[0], (HUGE,)),
    lambda x: inp.broadcast_to(x[0], (2**40, 2**40)),
    lambda x: inp.zeros((2**31, 2), like=x) @ inp.zeros((2, 2**31), like=x),
    lambda x: inp.tile(x, HUGE),
    lambda x: inp.pad(x, HUGE),
    lambda x: inp.eye(2**40, like=x),
    lambda x: inp.linspace(x[0], 1, HUGE),
    lambda x: inp.array_split(x, HUGE),
    lambda x: inp.reshape(x, (1,) * 65 + (3,)),
])
def test_results_larger_than_any_array(body: Callable[[Any], Any]) -> None:
    for target in ("cpu", "reference"):
        with pytest.raises((LimitError, ShapeError, VerifyError)):
            ig.jit(body, target=target)(X)


def test_huge_sizes_on_the_way_are_fine() -> None:
    def body(x: Any) -> Any:
        return (
            inp.broadcast_to(x, (HUGE, 3)).sum(), inp.zeros((10**7, 10**7), like=x).sum(),
            x[2**70 :], x[-(2**70) : 2**70], x[:: 2**70], inp.roll(x, 2**70 + 1), x[:: -(2**70)],
        )  # fmt: skip

    got = ig.jit(body)(X)
    assert got[0] == 3.0 * HUGE and got[1] == 0 and got[2].shape == (0,)
    np.testing.assert_array_equal(got[3], X)
    np.testing.assert_array_equal(got[4], X[:1])
    np.testing.assert_array_equal(got[5], np.roll(X, (2**70 + 1) % 3))
    np.testing.assert_array_equal(got[6], X[2:])
    with pytest.raises(LoweringError, match=r"fewer than 2\*\*31 elements"):
        ig.compile(lambda x: (x + 1).sum(), "f32[2147483648]")
    with pytest.raises(LimitError, match=r"fewer than 2\*\*63 bytes"):
        ig.compile(lambda x: x.sum(), "f32[4611686018427387904]")


def test_trees_of_many_leaves() -> None:
    many = {f"k{i}": float(i) for i in range(5_000)}
    function = ig.jit(lambda t: t["k3"] * 2, target="reference")
    assert function(many) == 6
    assert function(many) == 6
    assert function.cache_info().compiles == 1


# -- layouts ---------------------------------------------------------------------------------------


def layouts() -> dict[str, np.ndarray]:
    """Arrays equal to X in ways that compiled code cannot read as they are, and one that it can."""
    frozen = X.copy()
    frozen.flags.writeable = False
    misaligned = np.frombuffer(bytearray(25), np.uint8)[1:].view(np.float64)
    misaligned[:] = X
    return {
        "plain": X.copy(), "read-only": frozen, "misaligned": misaligned,
        "swapped": X.astype(">f8"), "reversed": X[::-1].copy()[::-1],
        "strided": np.repeat(X, 2)[::2], "column": np.stack([X, X], 1)[:, 0],
        "repeated": np.broadcast_to(X, (2, 3))[1],
    }  # fmt: skip


@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_layouts_of_arguments_and_captures(target: str) -> None:
    square = ig.jit(lambda x: (x * x, x.sum()), target=target)
    update = ig.jit(lambda x: x * 2, donate=0, target=target)
    for name, array in layouts().items():
        before = array.copy()
        got, total = square(array)
        np.testing.assert_array_equal(got, X * X, name)
        assert total == 3 and got.flags.owndata
        np.testing.assert_array_equal(array, before)
        if name in ("plain", "repeated"):  # a row of a repeated array is plain, but read-only
            continue
        with pytest.raises(DonationError, match="expected an array to donate"):
            update(array)
        np.testing.assert_array_equal(array, before)
    assert square.cache_info().compiles == 1
    for array in layouts().values():
        captured = ig.jit(lambda x, a=array: x + a, target="reference")
        np.testing.assert_array_equal(captured(1.0), X + 1)


def test_empty_arrays_and_numbers() -> None:
    for target in ("cpu", "reference"):
        function = ig.jit(
            lambda *xs: [(x * 2, x.sum(), x.reshape(-1)) for x in xs], target=target
        )
        arrays = [np.ones(shape) for shape in ((0,), (0, 3), (3, 0), (), (1,), (1, 1, 1))]
        for array, (double, total, flat) in zip(arrays, function(*arrays), strict=True):
            assert double.shape == array.shape and flat.shape == (array.size,)
            assert total == array.size
        update = ig.jit(lambda x, y: (x + 1, y + 1), donate=(0, 1), target=target)
        given = np.zeros(()), np.zeros((0, 3))
        assert all(new is old for new, old in zip(update(*given), given, strict=True))


# -- copies ----------------------------------------------------------------------------------------


def test_compiled_functions_are_copied_as_functions_are() -> None:
    jitted = ig.jit(lambda x: copy.deepcopy(x) * 2)
    compiled = ig.compile(lambda x: copy.copy(x) * 2, X)
    np.testing.assert_array_equal(jitted(X), 2 * X)
    assert copy.deepcopy({"f": jitted})["f"] is jitted
    assert copy.copy(compiled) is compiled and copy.deepcopy([compiled])[0] is compiled
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(compiled))(X), 2 * X)

"""Functions of arrays with named sizes in both forms, called from Python and from jitted code."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numba.core.errors import TypingError

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends.numba_cpu.runtime.jitted_plan import determined
from irgrad.backends.numba_cpu.runtime.numba_stubs import quotient
from irgrad.errors import ArgumentError, CheckError, ShapeError
from irgrad.ir.dims import substitute, symbol
from irgrad.ir.spec import parse_type

SPECS = ("f64[n,3]", "f64[2*m+n,3]", "f64[m]", "f64[]")
SHIFT = np.array([0.5, -0.5, 0.25])


def mixed(x: Any, y: Any, z: Any, scale: Any) -> Any:
    """Intermediate arrays, a captured one, a check, an extreme, and a donated result."""
    ig.check(x >= 0, "x is not negative")
    hidden = inp.exp(-(x + SHIFT) @ y.T) * scale
    return hidden @ y, inp.max(x, axis=0), z * 2, y


@pytest.fixture(scope="module")
def forms() -> dict[str, ig.Compiled]:
    return {emit: ig.compile(mixed, *SPECS, donate=(2,), emit=emit) for emit in ("llvm", "numba")}


@pytest.fixture(scope="module")
def callers(forms: dict[str, ig.Compiled]) -> dict[str, Any]:
    return {emit: compiled.numba_function for emit, compiled in forms.items()}


def arrays(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(n)
    return rng.random((n, 3)), rng.random((2 * m + n, 3)), rng.random(m), 1.5


def bits(results: Any) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in results]


SIZES = ((1, 0), (2, 3), (7, 1), (40, 31), (300, 2))


def test_both_forms_and_their_callers_give_the_same_bits(
    forms: dict[str, ig.Compiled], callers: dict[str, Any]
) -> None:
    for n, m in SIZES:
        expected = bits(forms["llvm"](*arrays(n, m)))
        for run in (forms["numba"], callers["llvm"], callers["numba"]):
            assert bits(run(*arrays(n, m))) == expected, f"n={n}, m={m}"


def test_donated_arrays_of_any_size_are_returned(callers: dict[str, Any]) -> None:
    for call in callers.values():
        x, y, z, scale = arrays(4, 6)
        wanted = 2 * z
        found = call(x, y, z, scale)[2]
        assert np.shares_memory(found, z)
        np.testing.assert_array_equal(z, wanted)
        with pytest.raises(ValueError, match="z: expected a donated array that shares no memory"):
            call(x, y, x.reshape(-1)[:6], scale)


def test_arguments_that_do_not_fit_are_refused(callers: dict[str, Any]) -> None:
    x, y, z, scale = arrays(4, 6)
    for call in callers.values():
        for wrong in ((x[:3], y, z), (x, y, z[:5])):
            with pytest.raises(ValueError, match=r"mixed: y: expected a contiguous f64\[2\*m\+n"):
                call(*wrong, scale)
        with pytest.raises(CheckError, match="x is not negative"):
            call(-x, y, z, scale)
    with pytest.raises(ValueError, match=r"mixed: x: expected a contiguous f64\[n,3\]"):
        callers["llvm"](x[::2], y[:14], z, scale)
    with pytest.raises(TypingError, match=r"mixed: x: expected an array f64\[n,3\], got"):
        callers["llvm"](x[0], y, z, scale)


def test_sizes_that_the_program_cannot_have_are_refused(
    forms: dict[str, ig.Compiled], callers: dict[str, Any]
) -> None:
    for call in (*forms.values(), *callers.values()):
        with pytest.raises(ShapeError, match="reduce_max: expected at least 1 element") as error:
            call(*arrays(0, 2))
        assert "inp.max(x, axis=0)" in str(error.value)


def test_bound_and_profiled_calls_of_source(forms: dict[str, ig.Compiled]) -> None:
    for n, m in SIZES[1:3]:
        given = arrays(n, m)
        call = forms["numba"].bind(*given)
        call()
        assert bits(call()[:2]) == bits(forms["llvm"](*arrays(n, m))[:2])
    assert forms["numba"].profile(*arrays(5, 2), rounds=1).kernels


# -- which axes determine the names ----------------------------------------------------------------


def solve(*specs: str) -> dict[str, list[tuple[int, int, str, str]]]:
    found = determined([parse_type(spec) for spec in specs])
    return {
        name: [(way.input, way.axis, str(way.rest), str(way.slope)) for way in ways]
        for name, ways in found.items()
    }


def test_single_names_determine_before_sizes_with_one_unknown() -> None:
    assert solve("f32[2*n+1,m]", "f32[n]") == {"m": [(0, 1, "0", "1")], "n": [(1, 0, "0", "1")]}
    assert solve("f32[n*m-m,3]", "f32[n]") == {
        "n": [(1, 0, "0", "1")], "m": [(0, 0, "0", "n-1")],
    }  # fmt: skip
    assert solve("f32[2*n]", "f32[n+4]") == {"n": [(0, 0, "0", "2"), (1, 0, "4", "1")]}
    assert solve("f32[n*m]", "f32[n*n]") == {}


def test_a_determined_name_gives_the_size() -> None:
    for way in determined([parse_type("f32[n*m-m,3]"), parse_type("f32[n]")])["m"]:
        size = way.rest + way.slope * symbol("m")
        assert substitute(size, {"n": 5, "m": 3}) == 12


def test_quotients_are_whole_and_not_negative() -> None:
    pairs = ((6, 2), (7, 2), (-6, 2), (6, 0), (0, 3), (-6, -3))
    assert [quotient(a, b) for a, b in pairs] == [3, -1, -1, -1, 0, 2]


def test_names_that_no_axis_determines_are_refused() -> None:
    compiled = ig.compile(lambda x: x + 1, "f32[n*m]", emit="numba")
    with pytest.raises(ArgumentError, match="expected sizes of arguments that determine m, n"):
        _ = compiled.numba_function


PLAIN = """
import numpy as np
import test_named_sizes_of_callers as tests
import irgrad as ig
for emit in ("llvm", "numba"):
    call = ig.compile(tests.mixed, *tests.SPECS, donate=(2,), emit=emit).numba_function
    print(call(*tests.arrays(7, 1))[0].tobytes().hex())
    for wrong in (tests.arrays(0, 2), (*tests.arrays(4, 1)[:2], np.zeros(3), 1.0)):
        try:
            call(*wrong)
        except ValueError as error:
            print(str(error).partition("[")[0])
"""


def test_the_function_of_jitted_code_runs_as_plain_python(forms: dict[str, ig.Compiled]) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True, check=False
    )
    lines = [
        forms["llvm"](*arrays(7, 1))[0].tobytes().hex(),
        "reduce_max: expected at least 1 element along axis 0 of f64",
        "mixed: expected contiguous arrays f64",
    ]
    assert done.stdout.splitlines() == lines * 2, done.stderr

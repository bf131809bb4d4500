"""Mathematical functions as Python source: the bits of the LLVM form, in jitted and plain runs."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core import types
from numba.np.numpy_support import as_dtype
from vector_functions import CASES, DTYPES, Kernels, compiled_loops, sample_arguments

from irgrad.backends.common.formula_source import function_text
from irgrad.backends.common.formulas.table import ARITY
from irgrad.backends.common.formulas.trigonometry import MODERATE
from irgrad.backends.numba_cpu.source import functions

POINTS = 100_000
PLAIN_POINTS = 300
WIDTH = 8
SCALARS = {"f32": types.float32, "f64": types.float64}
TEXTS = {(name, scalar): function_text(name, scalar) for name, scalar in CASES}
EXP = '''\
def exp_f32(x: f32) -> f32:
    """e**x."""
    t0 = minimum(maximum(x, f32(-104.0)), f32(89.0))
    t1 = fma(t0, f32(1.442695), f32(12583166.0))
    t2 = t1 - f32(12583166.0)
    t3 = fma(t2, f32(1.9046542e-09), fma(t2, f32(-0.6931472), t0))
    t4 = t3 * t3
    p0 = fma(f32(0.008366975), t4, f32(0.16666539))
    p1 = fma(f32(0.0013841963), t4, f32(0.04166775))
    p1 = fma(p1, t4, f32(0.49999997))
    t5 = bits_f32(t1)
    t6 = u32((t5 << u32(22)) & u32(0xFF800000))
    t7 = (fma(t4, fma(p0, t3, p1), t3) + f32(1.0)) * real_f32(t6)
    return t7 * real_f32(u32((t5 << u32(23)) - t6))
'''


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return compiled_loops({"f32": (WIDTH,), "f64": (WIDTH,)})


@pytest.fixture(scope="module")
def jitted() -> dict[tuple[str, str], Any]:
    """Every function, compiled by Numba for its own type."""
    found = {}
    for (name, scalar), function in _plain_functions().items():
        compiled = njit(error_model="numpy", no_cfunc_wrapper=True)(function)
        compiled.compile((SCALARS[scalar],) * ARITY.get(name, 1))
        found[name, scalar] = compiled
    return found


def _plain_functions() -> dict[tuple[str, str], Callable[..., Any]]:
    """Every function, as Python runs it: all texts in one module with the helpers."""
    names = dict(vars(functions))
    exec("\n\n".join(TEXTS.values()), names)
    return {(name, scalar): names[f"{name}_{scalar}"] for name, scalar in CASES}


def _arguments(name: str, scalar: str, points: int) -> list[np.ndarray]:
    """Sample arguments, and those next to the places where the formulas change."""
    dtype = DTYPES[scalar]
    edges = [MODERATE[scalar], 0.5, 1.0, 0.925, 0.75, 2.0**-27, np.finfo(dtype).tiny, 2.0**20]
    near = [np.nextafter(dtype.type(x), dtype.type(to)) for x in edges for to in (0, x, np.inf)]
    rng = np.random.default_rng(7)
    low, high = (0x48000000, 0x7F800000) if scalar == "f32" else (0x41D << 52, 0x7FF << 52)
    huge = rng.integers(low, high, points // 10).astype(f"u{dtype.itemsize}").view(dtype)
    denormal = rng.integers(1, low >> 6, points // 50).astype(f"u{dtype.itemsize}").view(dtype)
    more = np.concatenate([near, huge, denormal])
    more = np.concatenate([more, -more])
    samples = sample_arguments(name, scalar, points)
    found = [np.concatenate([a, np.roll(more, 5 * i)]) for i, a in enumerate(samples)]
    return [a[: a.size - a.size % WIDTH].astype(dtype) for a in found]


def _differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the bits differ; every NaN equals every other: its sign and digits are not defined."""
    unsigned = f"u{a.dtype.itemsize}"
    return (a.view(unsigned) != b.view(unsigned)) & ~(np.isnan(a) & np.isnan(b))


def _apply(function: Callable[..., Any], arguments: list[np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = [function(*x) for x in zip(*arguments, strict=True)]
    return np.array(values, dtype=arguments[0].dtype)


def _assert_equal_bits(
    name: str, arguments: list[np.ndarray], got: np.ndarray, wanted: np.ndarray
) -> None:
    wrong = np.flatnonzero(_differing(got, wanted))
    at = [a[wrong[:3]].tolist() for a in arguments]
    assert not wrong.size, f"{name}{at}: {got[wrong[:3]]}, wanted {wanted[wrong[:3]]}"


# -- the text --------------------------------------------------------------------------------------


def test_a_text_reads_like_its_formula() -> None:
    assert TEXTS["exp", "f32"] == EXP


def test_texts_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib\n"
        "from irgrad.backends.common.formula_source import FUNCTIONS, function_text\n"
        "texts = [function_text(n, s) for n in sorted(FUNCTIONS) for s in ('f32', 'f64')]\n"
        "print(hashlib.sha256(''.join(texts).encode()).hexdigest())\n"
        "import sys\n"
        "assert not {'numba', 'llvmlite'} & set(sys.modules)\n"
    )
    wanted = hashlib.sha256("".join(TEXTS[case] for case in CASES).encode()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == wanted


@pytest.mark.parametrize(("name", "scalar"), CASES)
def test_a_text_is_one_documented_function_of_typed_constants_and_helpers(
    name: str, scalar: str
) -> None:
    text = TEXTS[name, scalar]
    assert max(map(len, text.splitlines())) <= 100
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef) and ast.get_docstring(function)
    types_ = {scalar, f"u{scalar[1:]}"}
    typed = set()
    stored, loaded = set(), set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.func.id in types_:  # type: ignore[attr-defined]
            typed |= {id(part) for part in ast.walk(node.args[0])}
        if isinstance(node, ast.Name):
            (stored if isinstance(node.ctx, ast.Store) else loaded).add(node.id)
    constants = [node for node in ast.walk(function) if isinstance(node, ast.Constant)]
    assert all(id(c) in typed or isinstance(c.value, str) for c in constants), "without a type"
    parameters = {a.arg for a in function.args.args}
    assert loaded - stored - parameters <= set(functions.__all__)
    assert stored - {"_"} <= loaded, "a local that nothing reads"


# -- the bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scalar"), CASES)
def test_jitted_source_has_the_bits_of_the_llvm_form(
    kernels: Kernels, jitted: dict[tuple[str, str], Any], name: str, scalar: str
) -> None:
    arguments = _arguments(name, scalar, POINTS)
    wanted = kernels(name, scalar, WIDTH, *arguments)
    _assert_equal_bits(name, arguments, _apply(jitted[name, scalar], arguments), wanted)


@pytest.mark.parametrize(("name", "scalar"), CASES)
def test_plain_source_has_the_bits_and_dtypes_of_the_jitted_one(
    jitted: dict[tuple[str, str], Any], name: str, scalar: str
) -> None:
    function = jitted[name, scalar].py_func
    arguments = _arguments(name, scalar, 8000)
    chosen = np.random.default_rng(3).permutation(arguments[0].size)[:PLAIN_POINTS]
    arguments = [a[chosen] for a in arguments]
    with _LocalTypes(function) as seen:
        got = _apply(function, arguments)
    _assert_equal_bits(name, arguments, got, _apply(jitted[name, scalar], arguments))
    assert seen.types["return"] == {DTYPES[scalar]}
    (compiled,) = jitted[name, scalar].overloads.values()
    inferred: dict[str, set[np.dtype]] = {}
    for variable, kind in compiled.type_annotation.typemap.items():
        if not variable.startswith(("$", "arg.")):
            inferred.setdefault(variable.split(".")[0], set()).add(as_dtype(kind))
    locals_ = {n: kinds for n, kinds in seen.types.items() if n not in ("return", "_")}
    assert locals_ == {n: kinds for n, kinds in inferred.items() if n != "_"}


class _LocalTypes:
    """Records the dtypes of the locals and the result of a function at its returns."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.code = function.__code__
        self.types: dict[str, set[np.dtype]] = {}

    def __enter__(self) -> _LocalTypes:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, value: object) -> None:
        if event == "return" and frame.f_code is self.code:
            for name, local in [*frame.f_locals.items(), ("return", value)]:
                assert isinstance(local, np.generic), f"{name}: {type(local)}"
                self.types.setdefault(name, set()).add(local.dtype)


def test_sources_run_with_the_compiler_switched_off() -> None:
    cases = [("sin", "f32", 1e10), ("tan", "f64", 1e300), ("pow", "f64", 1.7), ("erfc", "f32", 2.5)]
    body = "\n\n".join(f"@njit\n{TEXTS[name, scalar]}" for name, scalar, _ in cases)
    calls = [f"{n}_{s}({', '.join([f'{s}({x})'] * ARITY.get(n, 1))})" for n, s, x in cases]
    code = (
        f"from numba import njit\nfrom {functions.__name__} import *\n\n{body}\n"
        f"print([float(x).hex() for x in ({', '.join(calls)})])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plain = _plain_functions()
    wanted = []
    for name, scalar, x in cases:
        wanted.append(float(plain[name, scalar](*[DTYPES[scalar].type(x)] * ARITY.get(name, 1))))
    assert ast.literal_eval(done.stdout) == [x.hex() for x in wanted]

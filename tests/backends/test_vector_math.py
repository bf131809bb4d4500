"""Own vector functions: error bounds, special values, the same bits at every width, no libm."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numpy as np
import pytest
import scipy.special
from vector_functions import (
    CASES,
    DTYPES,
    Kernels,
    compiled_loops,
    math_module,
    object_code,
    sample_arguments,
    target_machine,
)

from irgrad.backends.numba_cpu.llvm.vector_math import math_function

WIDTHS = {"f32": (1, 4, 16), "f64": (1, 4, 8, 16)}
WIDER = {"f32": np.float64, "f64": np.longdouble}
MAX_ULP = 2.0


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return compiled_loops(WIDTHS)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _exp_minus_square(x: np.ndarray) -> np.ndarray:
    """exp(-x**2) with the square split so that its large part is exact."""
    large = x.astype(np.float32).astype(x.dtype)
    return np.exp(-large * large) * np.exp(-(x - large) * (x + large))


def _erf_series(x: np.ndarray) -> np.ndarray:
    """erf by its series of positive terms (Abramowitz and Stegun 7.1.6), for |x| <= 2."""
    term = total = 2 * x / np.sqrt(np.arccos(x.dtype.type(-1)))
    for n in range(1, 60):
        term = term * (2 * x * x) / (2 * n + 1)
        total = total + term
    return total * _exp_minus_square(x)


def _erfc_fraction(x: np.ndarray) -> np.ndarray:
    """erfc by its continued fraction (Abramowitz and Stegun 7.1.14), for x >= 1."""
    tail = x
    for k in range(300, 0, -1):
        tail = x + k * x.dtype.type(0.5) / tail
    return _exp_minus_square(x) / (tail * np.sqrt(np.arccos(x.dtype.type(-1))))


def _erfc(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.float64:
        return scipy.special.erfc(x)
    a = np.clip(np.abs(x), 0, 28)
    y = np.where(a < 1, 1 - _erf_series(np.minimum(a, 1)), _erfc_fraction(np.maximum(a, 1)))
    return np.where(np.isnan(x), x, np.where(x < 0, 2 - y, y))


def _erf(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.float64:
        return scipy.special.erf(x)
    a = np.clip(np.abs(x), 0, 28)
    large = 1 - _erfc_fraction(np.maximum(a, 1))
    y = np.where(a < 1, _erf_series(np.minimum(a, 1)), large)
    return np.where(np.isnan(x), x, np.copysign(y, x))


REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "acos": np.arccos, "asin": np.arcsin, "atan": np.arctan, "atan2": np.arctan2,
    "cbrt": np.cbrt, "cos": np.cos, "cosh": np.cosh, "erf": _erf, "erfc": _erfc, "exp": np.exp,
    "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log10": np.log10, "log1p": np.log1p,
    "log2": np.log2, "pow": np.power, "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": _sigmoid,
    "sin": np.sin, "sinh": np.sinh, "softplus": _softplus, "tan": np.tan, "tanh": np.tanh,
}  # fmt: skip


# By dtype the largest errors that `irgrad bench accuracy` has found, in ulp, and where: in f32 with
# one argument the largest that there are. A formula that changes is measured anew.
LARGEST: dict[str, dict[str, tuple[float, ...]]] = {
    "f32": {
        "acos": (1.16, -0.60982466), "asin": (1.19, 0.5301238), "atan": (1.78, 1.551288),
        "atan2": (1.80, 1.2280958, 0.78954136), "cbrt": (0.50, 4.609932e-38),
        "cos": (1.56, 1.5096178e+29), "cosh": (1.50, 4.533946), "erf": (1.65, 0.95065373),
        "erfc": (1.31, 6.579037), "exp": (1.05, -5.8633), "exp2": (0.88, -126.4965),
        "expm1": (1.27, 0.34889188), "log": (0.94, 1.3335577), "log10": (1.51, 1.3334775),
        "log1p": (1.69, 0.3335577), "log2": (1.59, 1.3345048), "pow": (0.80, 1.0033063, -26557.236),
        "rsqrt": (1.49, 1.1827658e-38), "sigmoid": (1.72, -1.1101483), "sin": (1.56, 1.0360361e+34),
        "sinh": (1.62, 1.4182405), "softplus": (1.94, -1.0867344), "tan": (1.72, 16.487228),
        "tanh": (1.64, 0.17791346),
    },
    "f64": {
        "acos": (1.20, 0.5559488677941566), "asin": (1.23, -0.5271840656426663),
        "atan": (1.78, 1.5496186529541205), "atan2": (1.63, -3.038262015222596, 1.9574687193967155),
        "cbrt": (0.52, 7.348579658261906e+260), "cos": (0.87, 29.05973204687285),
        "cosh": (1.52, -3.812355765397084), "erf": (1.10, -1.0583441675253251),
        "erfc": (1.36, 12.336720878067746), "exp": (1.06, -620.020153010858),
        "exp2": (0.88, -1022.4999264144808), "expm1": (1.49, 459.5565807112437),
        "log": (0.89, 0.7071023753762703), "log10": (1.01, 0.6666666647949596),
        "log1p": (1.43, 0.41424116379482206), "log2": (1.15, 1.4130933509603667),
        "pow": (1.01, 1.4137964580017865, -1817.560369530199), "rsqrt": (1.50, 1.0000076453995868),
        "sigmoid": (1.77, -1.100841054976931), "sin": (0.88, 8.638026405569239),
        "sinh": (1.64, -1.4224961049494023), "softplus": (1.69, -0.6967228671887864),
        "tan": (1.67, 1166719.1819029695), "tanh": (1.62, 0.1733685541924131),
    },
}  # fmt: skip


def _ulp_error(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """|got - wanted| in units of the last place of `got.dtype`; inf for a wrong NaN or sign."""
    dtype = got.dtype
    with np.errstate(all="ignore"):
        rounded = wanted.astype(dtype)
        unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(dtype).max)).astype(wanted.dtype)
        error = np.abs(got.astype(wanted.dtype) - wanted) / unit
        # Beyond the largest number the distance counts from the next power of two.
        top = wanted.dtype.type(2.0) ** np.finfo(dtype).maxexp
        beyond = np.abs(np.where(np.isinf(got), np.copysign(top, wanted), got) - wanted) / unit
    error = np.where(np.isinf(got) != np.isinf(rounded), beyond, error)
    error = np.where(got == rounded, np.minimum(np.nan_to_num(error), 1.0), error)
    zero_sign = (got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(rounded))
    wrong = (np.isnan(got) != np.isnan(wanted)) | zero_sign
    return np.where(wrong, np.inf, np.where(np.isnan(wanted) & np.isnan(got), 0.0, error))


@pytest.mark.parametrize(("name", "scalar"), CASES)
def test_error_is_at_most_two_ulp(kernels: Kernels, name: str, scalar: str) -> None:
    wide = WIDER[scalar]
    if np.finfo(wide).nmant < 60 and scalar == "f64":
        pytest.skip("long double is no wider than double here")
    arguments = sample_arguments(name, scalar)
    got = kernels(name, scalar, WIDTHS[scalar][-1], *arguments)
    with np.errstate(all="ignore"):
        wanted = REFERENCES[name](*(a.astype(wide) for a in arguments))
    error = _ulp_error(got, wanted)
    worst = int(np.argmax(error))
    at = [a[worst].item() for a in arguments]
    assert error[worst] <= MAX_ULP, f"{name}{at}: {got[worst]!r}, wanted {wanted[worst]!r}"


@pytest.mark.parametrize(("name", "scalar"), CASES)
def test_the_largest_known_errors(kernels: Kernels, name: str, scalar: str) -> None:
    wide = WIDER[scalar]
    if np.finfo(wide).nmant < 60 and scalar == "f64":
        pytest.skip("long double is no wider than double here")
    known, *at = LARGEST[scalar][name]
    arguments = [np.array([x], DTYPES[scalar]) for x in at]
    wanted = REFERENCES[name](*(a.astype(wide) for a in arguments))
    error = _ulp_error(kernels(name, scalar, 1, *arguments), wanted)
    # Half a unit of what is written down, and the error of the reference.
    assert error[0] == pytest.approx(known, abs=0.006)


@pytest.mark.parametrize(("name", "scalar"), CASES)
def test_bits_are_the_same_at_every_width(kernels: Kernels, name: str, scalar: str) -> None:
    arguments = sample_arguments(name, scalar, 8000)
    unsigned = f"u{DTYPES[scalar].itemsize}"
    first, *others = (kernels(name, scalar, width, *arguments) for width in WIDTHS[scalar])
    for other in others:
        np.testing.assert_array_equal(first.view(unsigned), other.view(unsigned))


@pytest.mark.parametrize("scalar", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_a_large_lane_leaves_the_others_alone(kernels: Kernels, name: str, scalar: str) -> None:
    x = np.linspace(-20, 20, 16 * 16).astype(DTYPES[scalar])
    alone = kernels(name, scalar, 4, x)
    mixed = x.copy()
    mixed[::4] = 1e30
    beside = kernels(name, scalar, 4, mixed)
    lanes = np.arange(x.size) % 4 != 0
    np.testing.assert_array_equal(alone[lanes], beside[lanes])
    np.testing.assert_array_equal(beside[::4], kernels(name, scalar, 1, mixed)[::4])


@pytest.mark.parametrize("scalar", DTYPES)
def test_exact_values(kernels: Kernels, scalar: str) -> None:
    dtype = DTYPES[scalar]

    def apply(name: str, *values: object) -> np.ndarray:
        return kernels(name, scalar, 1, *(np.atleast_1d(np.array(v, dtype=dtype)) for v in values))

    low, high = (-149, 127) if scalar == "f32" else (-1074, 1023)
    exponents = np.arange(low, high + 1)
    powers = np.ldexp(dtype.type(1), exponents)
    np.testing.assert_array_equal(apply("exp2", exponents), powers)
    np.testing.assert_array_equal(apply("log2", powers), exponents)
    np.testing.assert_array_equal(apply("pow", np.full(exponents.size, 2.0), exponents), powers)
    np.testing.assert_array_equal(apply("cbrt", np.arange(-40.0, 41) ** 3), np.arange(-40, 41))
    for name in ("exp", "cos", "cosh", "erfc", "exp2"):
        np.testing.assert_array_equal(apply(name, [0.0, -0.0]), [1.0, 1.0])
    np.testing.assert_array_equal(apply("sigmoid", [0.0, -0.0, 40.0, -np.inf]), [0.5, 0.5, 1, 0])
    np.testing.assert_array_equal(apply("tanh", [25.0, -25.0]), [1.0, -1.0])
    np.testing.assert_array_equal(apply("erf", [7.0, -7.0]), [1.0, -1.0])
    for name in ("log", "log2", "log10"):
        np.testing.assert_array_equal(apply(name, [1.0, 0.0, -0.0]), [0.0, -np.inf, -np.inf])
    np.testing.assert_array_equal(apply("pow", np.nan, 0.0), [1.0])
    np.testing.assert_array_equal(apply("pow", 1.0, np.nan), [1.0])


@pytest.mark.parametrize("scalar", DTYPES)
@pytest.mark.parametrize(
    "name", ["asin", "atan", "cbrt", "erf", "expm1", "log1p", "sin", "sinh", "tan", "tanh"]
)
def test_zeros_keep_their_sign(kernels: Kernels, name: str, scalar: str) -> None:
    got = kernels(name, scalar, 1, np.array([0.0, -0.0]))
    np.testing.assert_array_equal(got, [0.0, 0.0])
    np.testing.assert_array_equal(np.signbit(got), [False, True])


def _undefined_symbols(data: bytes) -> set[str]:
    """Names of the undefined symbols of a 64-bit little-endian ELF object."""
    file = llvm.object_file.ObjectFileRef.from_data(data)
    sections = {s.name(): s.data() for s in file.sections()}
    names = sections[b".strtab"]
    undefined = set()
    for name, _info, _other, section, _value, _size in struct.iter_unpack(
        "<IBBHQQ", sections[b".symtab"]
    ):
        if section == 0 and name:
            undefined.add(names[name : names.index(b"\0", name)].decode())
    return undefined


@pytest.mark.skipif(
    not llvm.get_default_triple().startswith("x86_64-") or "linux" not in llvm.get_default_triple(),
    reason="reads ELF objects of x86-64",
)
@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4"])
def test_object_calls_nothing(cpu: str) -> None:
    data = object_code(math_module({"f32": (1, 16), "f64": (1, 8)}), target_machine(cpu))
    assert _undefined_symbols(data) == set()


def test_undefined_symbols_are_seen() -> None:
    module = ir.Module("calls_libm")
    module.triple = llvm.get_default_triple()
    double = ir.DoubleType()
    outer = ir.Function(module, ir.FunctionType(double, [double]), "outer")
    expm1 = ir.Function(module, ir.FunctionType(double, [double]), "expm1")
    b = ir.IRBuilder(outer.append_basic_block())
    b.ret(b.call(expm1, outer.args))
    assert _undefined_symbols(object_code(module, target_machine())) == {"expm1"}


def test_text_has_no_fast_math_and_only_plain_intrinsics() -> None:
    text = str(math_module({"f32": (16,), "f64": (8,)}))
    flags = r"\b(fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b"
    assert re.search(flags, text) is None
    declared = set(re.findall(r'^declare .*@"?([\w.]+?)(?:\.v?\d*f\d+)?"?\(', text, re.MULTILINE))
    assert declared == {"llvm.fma", "llvm.sqrt", "llvm.floor"}


def test_a_function_is_made_once_and_inlined_everywhere() -> None:
    module = ir.Module()
    function = math_function(module, "exp", "f32", 8)
    assert function is math_function(module, "exp", "f32", 8)
    assert function is not math_function(module, "exp", "f32", 4)
    assert function.name == "irg_exp_v8f32"
    assert function.linkage == "internal"
    assert {"alwaysinline", "nounwind"} <= set(function.attributes)

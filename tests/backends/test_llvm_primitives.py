"""Every kernel primitive of every dtype against its NumPy meaning, over special values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_cases import Arrays, Body, Runner, buffers, copy_arrays, processors, same_bits

from irgrad.ir.types import DTYPES
from irgrad.kernel.evaluate import evaluate_kernel
from irgrad.kernel.ir import For, Kernel
from irgrad.kernel.verify import PRIMITIVES, TO_BOOL

EXACT = frozenset(
    {"neg", "add", "sub", "mul", "div", "abs", "sign", "floor", "ceil", "round", "trunc",
     "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "select",
     "cast", "isnan", "sqrt", "floor_divide", "remainder"}
)  # fmt: skip
TESTED_DTYPES = ("bool", "i8", "i16", "i32", "i64", "u8", "u32", "u64", "f32", "f64")
CAST_TARGETS = ("bool", "i8", "i32", "i64", "u8", "u32", "f32", "f64")
FLOAT_VALUES = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -7.25, 100.0, 1e-3, 1e9, -3e9,
                1e19, -1e19, 1e30, np.inf, -np.inf, np.nan)  # fmt: skip


def values(dtype: str) -> np.ndarray:
    """Values of a dtype, borders included."""
    numpy = DTYPES[dtype].numpy
    if numpy.kind == "b":
        return np.array([False, True])
    if numpy.kind == "f":
        return np.array(FLOAT_VALUES, numpy)
    limits = np.iinfo(numpy)
    inside = [x for x in (-7, -2, -1, 0, 1, 2, 3, 10, 63) if x >= limits.min]
    return np.array([*inside, limits.min, limits.max], numpy)


def operations(dtype: str) -> list[tuple[str, str]]:
    """(primitive, result dtype) of all that the dtype has."""
    found = []
    for op, (_, kinds) in PRIMITIVES.items():
        if op in ("constant", "index", "cast") or DTYPES[dtype].kind not in kinds:
            continue
        found.append((op, "bool" if op in TO_BOOL else dtype))
    return found + [("cast", target) for target in CAST_TARGETS]


def primitive_kernel(dtype: str) -> tuple[Kernel, Arrays]:
    """One kernel with an output for each primitive; the loop's last group is not full."""
    pairs = itertools.product(values(dtype), repeat=2)
    # NumPy takes a lone exponent of 0.5 for a square root: there it differs from its own power.
    pairs = (pair for pair in pairs if pair != (-np.inf, 0.5))
    x, y = (np.array(column) for column in zip(*pairs))
    n = x.size
    arrays: Arrays = {"x": x, "y": y, "z": np.roll(x, 1), "k": np.arange(n) % 3 == 0}
    b = Body()
    given = [b.load("x", dtype, j=1), b.load("y", dtype, j=1), b.load("z", dtype, j=1)]
    condition = b.load("k", "bool", j=1)
    text = f"read x {dtype} {n}, read y {dtype} {n}, read z {dtype} {n}, read k bool {n}"
    for number, (op, result) in enumerate(operations(dtype)):
        operands = given[: PRIMITIVES[op][0]]
        if op == "select":
            operands = [condition, *given[:2]]
        name = f"o{number}"
        b.store(name, b.let(op, *operands, dtype=result), j=1)
        text += f", write {name} {result} {n}"
        arrays[name] = np.zeros(n, DTYPES[result].numpy)
    return Kernel(f"primitives_{dtype}", buffers(text), (For("j", n, b.body),)), arrays


@pytest.fixture(scope="module")
def found_arrays() -> dict[int, dict[str, Arrays]]:
    """What the kernel of each dtype computes, by the bytes of vectors; one module for each."""
    cases = {dtype: primitive_kernel(dtype) for dtype in TESTED_DTYPES}
    results = {}
    for cpu in processors():
        found = {dtype: copy_arrays(given) for dtype, (_, given) in cases.items()}
        Runner([kernel for kernel, _ in cases.values()], cpu).run(list(found.values()))
        results[cpu.vector_bytes] = found
    return results


@pytest.mark.parametrize("dtype", TESTED_DTYPES)
def test_primitives(found_arrays: dict[int, dict[str, Arrays]], dtype: str) -> None:
    kernel, wanted = primitive_kernel(dtype)
    evaluate_kernel(kernel, wanted)
    first: Arrays | None = None
    for size, by_dtype in found_arrays.items():
        found = by_dtype[dtype]
        for number, (op, result) in enumerate(operations(dtype)):
            a, b = found[f"o{number}"], wanted[f"o{number}"]
            message = f"{op} of {dtype} to {result} at {size} bytes"
            if a.dtype.kind != "f" or op in EXACT:
                np.testing.assert_array_equal(a, b, err_msg=message)
            else:
                tolerance = 4 * float(np.finfo(a.dtype).eps)
                tiny = float(np.finfo(a.dtype).tiny)
                np.testing.assert_allclose(
                    a, b, rtol=tolerance, atol=tiny, equal_nan=True, err_msg=message
                )
        first = first or found
        assert same_bits(found, first, kernel)


@pytest.mark.parametrize("dtype", ("f32", "f64"))
def test_remainders_over_the_whole_range(dtype: str) -> None:
    rng = np.random.default_rng(0)
    numpy = DTYPES[dtype].numpy
    n, bits = 4001, 8 * numpy.itemsize
    x, y = (rng.integers(0, 1 << bits, n, np.uint64).astype(f"u{bits // 8}") for _ in range(2))
    arrays: Arrays = {"x": x.view(numpy), "y": y.view(numpy)}
    arrays["x"][::7] = np.finfo(numpy).max
    arrays["y"][::5] = np.finfo(numpy).smallest_subnormal * rng.integers(1, 99, y[::5].size)
    b = Body()
    for name, op in (("r", "remainder"), ("q", "floor_divide")):
        b.store(name, b.let(op, b.load("x", dtype, j=1), b.load("y", dtype, j=1)), j=1)
        arrays[name] = np.zeros(n, numpy)
    text = ", ".join(f"{'read' if name in 'xy' else 'write'} {name} {dtype} {n}" for name in arrays)
    Runner([Kernel("remainders", buffers(text), (For("j", n, b.body),))]).run([arrays])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(arrays["r"], np.remainder(arrays["x"], arrays["y"]))
        np.testing.assert_array_equal(arrays["q"], np.floor_divide(arrays["x"], arrays["y"]))

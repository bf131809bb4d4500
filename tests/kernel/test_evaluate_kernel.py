"""The slow meaning of kernels: the order of reductions, and loops against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from irgrad.kernel.evaluate import evaluate_kernel, failed_checks, reduce_values
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Check,
    Contract,
    ContractionIndex,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Reduction,
    Store,
    affine,
)


@pytest.mark.parametrize("n", (1, 3, 64, 65, 200))
def test_sum_has_64_lanes_and_a_tree(n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    lanes = np.full(64, -0.0, np.float32)
    for i, value in enumerate(x):
        lanes[i % 64] += value
    width = 32
    while width:
        lanes = lanes[:width] + lanes[width : 2 * width]
        width //= 2
    assert reduce_values(Reduction("s", "sum", "v", "f32"), list(x)) == lanes[0]


def test_sum_of_f64_has_32_lanes() -> None:
    x = np.random.default_rng(0).standard_normal(64)
    lanes = x[:32] + x[32:]
    for width in (16, 8, 4, 2, 1):
        lanes = lanes[:width] + lanes[width:]
    assert reduce_values(Reduction("s", "sum", "v", "f64"), list(x)) == lanes[0]


def test_empty_and_special_reductions() -> None:
    def reduced(kind: str, values: list, dtype: str = "f32") -> object:
        array = np.array(values, {"f32": np.float32, "bool": bool}[dtype])
        return reduce_values(Reduction("s", kind, "v", dtype), list(array))

    assert reduced("sum", []) == 0 and not np.signbit(reduced("sum", []))
    assert np.signbit(reduced("sum", [-0.0])) and reduced("prod", []) == 1
    assert reduced("all", [], "bool") and not reduced("any", [], "bool")
    assert np.isnan(reduced("max", [1.0, np.nan, 3.0]))
    assert reduced("argmax", [1.0, 3.0, 3.0]) == 1
    assert reduced("argmin", [1.0, np.nan, -3.0, np.nan]) == 1


def test_loops_against_numpy() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal(12),
        "s": np.zeros(3),
        "c": np.zeros(4),
        "t": np.zeros(12, bool),
    }
    at = affine(0, {"i": 4, "j": 1})
    body = (
        Load("a", "x", at, "f64"),
        Accumulate("sum", "c", affine(0, {"j": 1}), "a"),
        Let("zero", "constant", (), "f64", 0.0),
        Let("less", "lt", ("a", "zero"), "bool"),
        Store("t", at, "less"),
        Check("less", 2, at),
    )
    kernel = Kernel(
        "rows",
        (Buffer("x", "f64", 12, "read"), Buffer("s", "f64", 3, "write"),
         Buffer("c", "f64", 4, "update"), Buffer("t", "bool", 12, "write")),
        (For("i", 3, (
            Reduce("j", 4, body, (Reduction("r", "sum", "a", "f64"),)),
            Store("s", affine(0, {"i": 1}), "r"),
        )),),
    )  # fmt: skip
    failures = failed_checks(kernel, arrays)
    x = arrays["x"].reshape(3, 4)
    np.testing.assert_allclose(arrays["s"], x.sum(1))
    np.testing.assert_allclose(arrays["c"], x.sum(0))
    np.testing.assert_array_equal(arrays["t"], x.ravel() < 0)
    assert failures == [(2, int(i)) for i in np.flatnonzero(x.ravel() >= 0)]


def test_contraction_against_numpy() -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(size) for name, size in (("x", 600), ("w", 900))}
    arrays["o"] = np.zeros(6)
    contract = Contract(
        "c", "f64", (), (ContractionIndex("m", 2),), (ContractionIndex("n", 3),),
        (ContractionIndex("k", 300),), "x", affine(0, {"k": 1, "m": 300}), "w",
        affine(0, {"k": 3, "n": 1}), "row", "column",
        (Let("y", "neg", ("c",), "f64"), Store("o", affine(0, {"column": 1, "row": 3}), "y")),
    )  # fmt: skip
    buffers = tuple(
        Buffer(name, "f64", a.size, "write" if name == "o" else "read")
        for name, a in arrays.items()
    )
    evaluate_kernel(Kernel("product", buffers, (contract,)), arrays)
    wanted = -(arrays["x"].reshape(2, 300) @ arrays["w"].reshape(300, 3))
    np.testing.assert_allclose(arrays["o"].reshape(2, 3), wanted)


def test_an_access_outside_is_refused() -> None:
    kernel = Kernel(
        "outside",
        (Buffer("x", "f32", 2, "read"),),
        (Load("a", "x", Affine(2), "f32"),),
    )
    with pytest.raises(AssertionError, match="expected an index below 2, got 2"):
        evaluate_kernel(kernel, {"x": np.zeros(2, np.float32)})

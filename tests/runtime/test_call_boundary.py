"""What compiled functions accept as arguments, and how they refuse the rest."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irgrad as ig

TARGETS = ("cpu", "reference")


def affine(x: Any, scale: Any) -> Any:
    return x * scale + 1.0


@pytest.fixture(scope="module", params=TARGETS)
def compiled(request: pytest.FixtureRequest) -> ig.Compiled:
    return ig.compile(affine, "f32[3,4]", "f32[]", target=request.param)


def array() -> np.ndarray:
    return np.arange(12, dtype=np.float32).reshape(3, 4)


TWO = np.float32(2.0)


def strided() -> np.ndarray:
    return np.repeat(array(), 2, axis=1)[:, ::2]


def misaligned() -> np.ndarray:
    raw = np.zeros(12 * 4 + 1, dtype=np.uint8)[1:]
    result = raw.view(np.float32).reshape(3, 4)
    result[...] = array()
    return result


def read_only() -> np.ndarray:
    result = array()
    result.flags.writeable = False
    return result


ACCEPTED: dict[str, tuple[Callable[[], np.ndarray], bool]] = {
    "plain": (array, False),
    "strided": (strided, True),
    "column-major": (lambda: np.asfortranarray(array()), True),
    "byte-swapped": (lambda: array().astype(">f4"), True),
    "misaligned": (misaligned, True),
    "read-only": (read_only, False),
    "unpickled": (lambda: pickle.loads(pickle.dumps(array())), False),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_arrays_of_any_layout_give_the_same_result(compiled: ig.Compiled, kind: str) -> None:
    make, copied = ACCEPTED[kind]
    before = compiled.report().count("x: ")
    np.testing.assert_array_equal(compiled(make(), TWO), array() * TWO + 1)
    if copied:
        assert "copied at the boundary:\n  x: " in compiled.report()
    elif before == 0:
        assert "copied at the boundary" not in compiled.report()


def test_copies_are_counted() -> None:
    compiled = ig.compile(affine, "f32[3,4]", "f32[]")
    for _ in range(3):
        compiled(strided(), TWO)
    assert "x: 3 times" in compiled.report()


def test_memory_maps_are_read_in_place(compiled: ig.Compiled, tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(3, 4))
    mapped[...] = array()
    np.testing.assert_array_equal(compiled(mapped, TWO), array() * TWO + 1)


@pytest.mark.parametrize("scale", [2, 2.0, np.float32(2), np.array(2, np.float32)])
def test_numbers_stand_for_arrays_of_rank_0(compiled: ig.Compiled, scale: Any) -> None:
    result = compiled(array(), scale)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, array() * TWO + 1)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "shape": (np.zeros((3, 5), np.float32), TWO, r"^x: expected f32\[3,4\], got f32\[3,5\]"),
    "rank": (np.zeros(12, np.float32), TWO, r"^x: expected f32\[3,4\], got f32\[12\]"),
    "dtype": (np.zeros((3, 4)), TWO, r"^x: expected f32\[3,4\], got f64\[3,4\]; convert it with"),
    "list": ([[1.0]], TWO, r"^x: expected an array f32\[3,4\], got .*; pass numpy.asarray"),
    "none": (None, TWO, r"^x: expected an array f32\[3,4\], got None of type NoneType"),
    "matrix": (array().view(np.matrix), TWO, "^x: .* subclass matrix"),
    "masked": (np.ma.zeros((3, 4), np.float32), TWO, "^x: .* subclass MaskedArray"),
    "number for an array": (1.0, TWO, r"^x: expected f32\[3,4\], got the Python float 1.0"),
    "NumPy scalar of another dtype": (array(), np.float64(2), r"^scale: expected f32\[\], got"),
    "object": (array(), object(), r"^scale: expected an array f32\[\], got"),
    "text": (array(), np.array("a"), r"^scale: expected f32\[\], got"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_name_the_argument_and_the_line(compiled: ig.Compiled, kind: str) -> None:
    x, scale, message = REFUSED[kind]
    with pytest.raises(ig.errors.ArgumentError, match=message) as caught:
        compiled(x, scale)
    lines = str(caught.value).split("\n")
    assert len(lines) <= 12
    assert lines[-1].strip() == "compiled(x, scale)"


def test_integers_are_refused_where_they_do_not_fit() -> None:
    compiled = ig.compile(lambda n: n + 1, "i32[]", target="reference")
    assert compiled(41) == 42
    with pytest.raises(ig.errors.ArgumentError, match="n: expected a number that i32 holds"):
        compiled(2**40)
    with pytest.raises(ig.errors.ArgumentError, match="n: expected i32.*, got the Python float"):
        compiled(1.0)
    with pytest.raises(ig.errors.ArgumentError, match="n: expected i32.*, got the Python bool"):
        compiled(True)


def test_argument_count_and_keywords(compiled: ig.Compiled) -> None:
    expected = array() * TWO + 1
    np.testing.assert_array_equal(compiled(array(), scale=TWO), expected)
    np.testing.assert_array_equal(compiled(scale=TWO, x=array()), expected)
    with pytest.raises(ig.errors.ArgumentError, match=r"expected 2 arguments \(x, scale\), got 1"):
        compiled(array())
    with pytest.raises(ig.errors.ArgumentError, match=r"got 1 by position and \['factor'\]"):
        compiled(array(), factor=TWO)


def test_structures_are_checked_by_name() -> None:
    compiled = ig.compile(
        lambda p: p["w"] + p["b"][0], {"w": "f32[2]", "b": ("f32[2]",)}, target="reference"
    )
    two = np.ones(2, np.float32)
    np.testing.assert_array_equal(compiled({"b": (two,), "w": two}), two + two)
    with pytest.raises(ig.errors.ArgumentError, match=r"^p: expected a dict with keys"):
        compiled({"w": two})
    with pytest.raises(ig.errors.ArgumentError, match=r"^p.b: expected a tuple of 1, got list"):
        compiled({"w": two, "b": [two]})
    with pytest.raises(ig.errors.ArgumentError, match=r"^p.w: expected f32\[2\]"):
        compiled({"w": two.astype(int), "b": (two,)})


def test_results_keep_their_structure() -> None:
    def f(x: Any) -> Any:
        return {"sum": x.sum(), "parts": [x * 2, (x, None)]}

    for target in TARGETS:
        x = np.arange(3, dtype=np.float32)
        result = ig.compile(f, "f32[3]", target=target)(x)
        assert result["parts"][1][1] is None
        assert isinstance(result["sum"], np.ndarray)
        assert result["sum"].shape == ()
        np.testing.assert_array_equal(result["parts"][0], x * 2)
        np.testing.assert_array_equal(result["parts"][1][0], x)
        assert not np.shares_memory(result["parts"][1][0], x)


def test_results_are_fresh_and_do_not_alias() -> None:
    compiled = ig.compile(lambda x: (x + 1, x + 1, x, x), "f64[5]")
    x = np.arange(5.0)
    first, second = compiled(x), compiled(x)
    everything = [x, *first, *second]
    for i, one in enumerate(everything):
        assert not any(np.shares_memory(one, other) for other in everything[i + 1 :])


def test_empty_arrays_and_no_arguments() -> None:
    empty = ig.compile(lambda x: x * 2, "f32[0,3]")(np.zeros((0, 3), np.float32))
    assert empty.shape == (0, 3)
    weights = np.arange(3.0)
    assert ig.compile(lambda: weights.sum() + 0 * weights)().shape == (3,)

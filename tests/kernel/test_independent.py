"""What is known of iterations: which addresses tell them apart, which local buffers are private."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from irgrad.ir.dims import symbol
from irgrad.kernel.independent import (
    private_buffers,
    shared_buffer,
    tells_apart,
    touched_outside,
)
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Every,
    For,
    Load,
    Statement,
    Store,
    affine,
)

N, M = symbol("n"), symbol("m")
BUFFERS = (Buffer("o", "f32", 99, "update"), Buffer("t", "f32", 99, "local"))
J = affine(0, {"j": 1})


def meets(places: list[tuple[Affine, dict[str, int]]], index: str) -> bool:
    """Whether addresses of two values of an index are equal somewhere, by trying all."""
    found: dict[int, int] = {}
    for at, extents in places:
        for values in itertools.product(*(range(extent) for extent in extents.values())):
            point = dict(zip(extents, values))
            address = int(at.constant) + sum(int(c) * point[name] for name, c in at.terms)
            if found.setdefault(address, point[index]) != point[index]:
                return True
    return False


def test_what_is_told_apart_never_meets() -> None:
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(3000):
        extents = {name: int(rng.integers(1, 5)) for name in "ijk"}
        coefficients = {name: int(rng.integers(-9, 10)) for name in "ijk"}
        places = [(affine(0, coefficients), extents)]
        for _ in range(int(rng.integers(0, 3))):
            changed = {**coefficients, "k": int(rng.integers(-3, 4))}
            places.append((affine(int(rng.integers(0, 4)), changed), extents))
        if tells_apart(places, "i"):
            told += 1
            assert not meets(places, "i"), places
    assert told > 200


@pytest.mark.parametrize(
    "coefficients, extents, index, holds",
    [
        ({"i": N, "j": 1}, {"i": M, "j": N}, "i", True),
        ({"i": N, "j": 1}, {"i": M, "j": N}, "j", True),
        ({"i": N, "j": 1}, {"i": M, "j": N + 1}, "i", False),
        ({"i": N * M, "j": N, "k": 1}, {"i": 5, "j": M, "k": N}, "j", True),
        ({"i": -1, "j": M}, {"i": M, "j": N}, "i", True),
        ({"j": 1}, {"i": M, "j": N}, "i", False),
    ],
)
def test_named_sizes(coefficients: dict, extents: dict, index: str, holds: bool) -> None:
    assert tells_apart([(affine(0, coefficients), extents)], index) is holds


def test_loops_of_another_place_may_be_empty() -> None:
    """Two places that meet where n is 0 do so whatever a third one is, which then has no turn."""
    places = [
        (affine(2, {"i": N * 2 + 1}), {"i": M}),
        (affine(0, {"i": N * 2 + 1}), {"i": M}),
    ]
    third = (affine(1, {"i": N * 2 + 1}), {"i": M, "j": N})
    assert not tells_apart(places, "i") and not tells_apart([*places, third], "i")
    assert tells_apart([places[0], third], "i") and tells_apart([places[1], third], "i")


def rows(*body: Statement) -> For:
    """A loop over rows of `o`, of 5 elements each."""
    return For("i", 4, body)


def columns(*body: Statement) -> For:
    return For("j", 5, body)


OWN = affine(0, {"i": 5, "j": 1})
KEEP = columns(Load("x", "o", OWN, "f32"), Store("t", J, "x"))
USE = columns(Load("y", "t", J, "f32"), Store("o", OWN, "y"))
ELEMENT = Store("t", Affine(), "x")
GROW = Accumulate("sum", "t", Affine(), "x")
BACK = columns(Load("y", "t", affine(4, {"j": -1}), "f32"), Store("o", OWN, "y"))


@pytest.mark.parametrize(
    "loop, private, shared",
    [
        (rows(KEEP, USE), {"t"}, None),
        (rows(USE, KEEP), set(), "t"),  # read before it is stored
        (rows(KEEP, BACK), set(), "t"),  # not known to have been stored
        (rows(columns(Store("t", affine(0, {"j": 2}), "x")), USE), set(), "t"),
        (rows(ELEMENT, GROW), {"t"}, None),
        (rows(GROW), set(), "t"),
        (rows(For("j", 3, KEEP.body), USE), set(), "t"),  # another loop, of fewer turns
        (rows(For("j", N, (ELEMENT,)), GROW), set(), "t"),  # no turn where n is 0
        (rows(For("j", N, (ELEMENT,)), For("k", N, (GROW,))), {"t"}, None),
        (rows(For("j", N, (Every("j", N, 4, False, (ELEMENT,)), GROW))), {"t"}, None),
        (rows(For("j", N, (Every("j", N, 4, True, (ELEMENT,)), GROW))), set(), "t"),
        (rows(Every("i", 4, 2, False, (ELEMENT,)), GROW), set(), "t"),
        (rows(Every("i", 4, 2, True, (ELEMENT, GROW))), {"t"}, None),
        (rows(columns(Every("j", 5, 2, False, KEEP.body)), USE), set(), "t"),
        (rows(Store("o", Affine(), "x")), set(), "o"),
        (rows(columns(Load("x", "o", J, "f32"), Store("o", OWN, "x"))), set(), "o"),
    ],
)
def test_buffers_of_iterations(loop: For, private: set[str], shared: str | None) -> None:
    assert private_buffers(loop, BUFFERS) == private
    assert shared_buffer(loop, "i", BUFFERS, frozenset(private)) == shared


def test_uses_outside_of_a_loop() -> None:
    loop = rows(KEEP, USE)
    assert not touched_outside((loop, rows(Store("o", OWN, "x"))), loop, "t")
    assert touched_outside((loop, rows(KEEP)), loop, "t")
    assert touched_outside((For("b", 2, (loop, KEEP)),), loop, "t")

"""What is known of named sizes from the guards of a program."""

from __future__ import annotations

import pytest

from irgrad.ir.dims import Size, symbol
from irgrad.ops.size_guards import SizeGuard, first_new_guard

N, M = symbol("n"), symbol("m")


def guards(*sizes: Size) -> list[SizeGuard]:
    return [SizeGuard("slice", "a size", size, (), None) for size in sizes]


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ((3 * M - 1,), M - 1),
        ((M - 1,), 3 * M - 1),
        ((2 * M - 5,), M - 3),
        ((N * M - 1,), N - 1),
        ((N * N + N * M - 1,), N + M - 1),
        ((4 * N * N - N * M - 3,), N - 1),
        ((N - M - 2,), N - 2),
        ((N - 1, M - 1), N * M - 1),
        ((N - 3,), 2 * N + M - 6),
        ((N - M,), N - M + 2),
        ((2 * N - 2 * M - 3,), N - M - 2),
        ((), N + M),
    ],
)
def test_implied(known: tuple[Size, ...], wanted: Size) -> None:
    assert first_new_guard(guards(wanted), guards(*known)) is None


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ((), N - 1),
        ((2 * M - 5,), M - 4),
        ((N * M - 2,), N - 2),
        ((N - M,), M - N),
        ((N + M - 1,), N - 1),
        ((1 - N,), N - 1),
        ((N * N + M - 1,), N - 1),
        ((N - M - 2,), N - 3),
        ((N - N * M,), N - 1),
    ],
)
def test_not_implied(known: tuple[Size, ...], wanted: Size) -> None:
    found = first_new_guard(guards(wanted), guards(*known))
    assert found is not None and found.size == wanted

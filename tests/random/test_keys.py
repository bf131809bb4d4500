"""Threefry against its published vectors, and what keys promise."""

from __future__ import annotations

import numpy as np
import pytest

import irgrad as ig
from irgrad import random
from irgrad.ops.registry import REGISTRY

# kat_vectors of Random123 for threefry2x32 with 20 rounds: counter, key, result.
VECTORS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]
KEY = random.key(2026)
SEEDS = [0, 1, 2, -1, -2, 2**31, 2**32 - 1, 2**63 - 1, -(2**63)]


def word(number: int, *operands: int) -> int:
    arrays = [np.array(x, np.uint32) for x in operands]
    (result,) = REGISTRY[f"threefry2x32_word{number}"].evaluate(arrays, {}, None)  # type: ignore[arg-type]
    return int(result)


@pytest.mark.parametrize("counter, key, result", VECTORS)
def test_published_vectors(
    counter: tuple[int, int], key: tuple[int, int], result: tuple[int, int]
) -> None:
    with np.errstate(over="ignore"):
        assert (word(0, *key, *counter), word(1, *key, *counter)) == result


def test_draws_are_the_words_of_counters() -> None:
    first, second = (int(x) for x in KEY)
    with np.errstate(over="ignore"):
        words = [[word(i, first, second, n, 0) for n in range(6)] for i in (0, 1)]
    np.testing.assert_array_equal(random.bits(KEY, (2, 3)).ravel(), words[0])
    wide = [low + (high << 32) for low, high in zip(*words)]
    np.testing.assert_array_equal(random.bits(KEY, (6,), np.uint64), np.array(wide, np.uint64))
    units = random.uniform(KEY, (6,))
    np.testing.assert_array_equal(units, [(w >> 8) / 2**24 for w in words[0]])
    doubles = [((a >> 5) * 2**26 + (b >> 6)) / 2**53 for a, b in zip(*words)]
    np.testing.assert_array_equal(random.uniform(KEY, (6,), np.float64), doubles)


@pytest.mark.parametrize("name", ["bits", "uniform", "normal", "gumbel", "exponential", "laplace"])
def test_an_element_depends_on_the_key_and_its_position_alone(name: str) -> None:
    draw = getattr(random, name)
    line = draw(KEY, (60,))
    np.testing.assert_array_equal(draw(KEY, (3, 4, 5)).ravel(), line)
    np.testing.assert_array_equal(draw(KEY, 7), line[:7])
    np.testing.assert_array_equal(draw(KEY), line[0])
    assert draw(KEY, (0, 3)).shape == (0, 3)


def test_gamma_elements_depend_on_their_position_alone() -> None:
    line = random.gamma(KEY, 1.5, (12,))
    np.testing.assert_array_equal(random.gamma(KEY, 1.5, (3, 4)).ravel(), line)
    np.testing.assert_array_equal(random.gamma(KEY, 1.5, (5,)), line[:5])


def test_sizes_of_a_trace_draw_the_same() -> None:
    def both(key: object, x: object) -> object:
        n = x.shape[0]  # type: ignore[attr-defined]
        orders = random.permutation(key, n), random.choice(random.fold_in(key, n), n + 1, (5,))
        return random.normal(key, (n, 3)), random.split(key, n), *orders

    call = ig.jit(both, specs=("u32[2]", "f32[n]"), target="reference")
    for n in (0, 1, 3, 16, 17, 64, 1000):
        got = call(KEY, np.zeros(n, np.float32))
        np.testing.assert_array_equal(got[0], random.normal(KEY, (n, 3)))
        np.testing.assert_array_equal(got[1], random.split(KEY, n))
        np.testing.assert_array_equal(got[2], random.permutation(KEY, n))
        chosen = random.choice(random.fold_in(KEY, n), n + 1, (5,))
        np.testing.assert_array_equal(got[3], chosen)


def test_a_key_that_is_used_again_draws_the_same() -> None:
    np.testing.assert_array_equal(random.normal(KEY, (5,)), random.normal(KEY, (5,)))


# -- keys ------------------------------------------------------------------------------------------


def test_seeds_of_any_size_give_different_keys() -> None:
    seeds = [*range(-300, 300), *(s << k for s in (1, -1, 3) for k in range(60, 200, 7))]
    seeds = sorted({*seeds, *SEEDS, 2**64, 2**64 - 1, -(2**64), 10**400, 10**400 + 1})
    keys = {tuple(random.key(seed).tolist()) for seed in seeds}
    assert len(keys) == len(seeds)
    assert random.key(0).dtype == np.uint32 and random.key(0).shape == (2,)


def test_equal_seeds_give_equal_keys_whatever_their_dtype() -> None:
    for seed in SEEDS:
        key = random.key(seed)
        np.testing.assert_array_equal(random.key(np.int64(seed)), key)
        np.testing.assert_array_equal(random.key(np.array(seed)), key)
    np.testing.assert_array_equal(random.key(np.array(-7, np.int32)), random.key(-7))
    np.testing.assert_array_equal(random.key(np.array(2**64 - 1, np.uint64)), random.key(2**64 - 1))
    traced = ig.jit(random.key, target="reference")
    np.testing.assert_array_equal(traced(np.array(-7)), random.key(-7))


def test_fold_in_takes_64_bits() -> None:
    numbers = [*SEEDS, 2**62 + 5]
    keys = {tuple(random.fold_in(KEY, n).tolist()) for n in numbers}
    assert len(keys) == len(numbers)
    np.testing.assert_array_equal(random.fold_in(KEY, 2**64 - 1), random.fold_in(KEY, -1))
    np.testing.assert_array_equal(
        random.fold_in(KEY, np.array(-3, np.int32)), random.fold_in(KEY, -3)
    )


def test_split_keys_do_not_depend_on_their_number() -> None:
    keys = random.split(KEY, 5)
    assert keys.shape == (5, 2) and len({tuple(k) for k in keys.tolist()}) == 5
    np.testing.assert_array_equal(random.split(KEY), keys[:2])
    assert random.split(KEY, 0).shape == (0, 2)
    first, second = random.split(KEY)
    np.testing.assert_array_equal(first, keys[0])
    np.testing.assert_array_equal(second, keys[1])


def test_keys_are_mapped_over() -> None:
    keys = random.split(KEY, 3)

    def draws(key: object, number: object) -> tuple[object, ...]:
        folded = random.fold_in(key, number)
        return random.normal(folded, (4,)), random.split(key, 2), random.permutation(key, 5)

    numbers = np.arange(3)
    mapped = ig.jit(ig.vmap(draws), target="reference")(keys, numbers)
    for i, key in enumerate(keys):
        for got, wanted in zip(mapped, draws(key, numbers[i])):
            np.testing.assert_array_equal(got[i], wanted)

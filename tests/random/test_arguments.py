"""Bad arguments of `irgrad.random`: named errors, outside a trace and inside one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irgrad as ig
from irgrad import random
from irgrad.errors import ArgumentError, DTypeError, IrgradError, LimitError, ShapeError

KEY = random.key(3)
NOT_KEYS = [None, 7, 2.5, "key", b"key", [1, 2], (1, 2), {}, object(), np.float64(2.0),
            np.zeros(2), np.zeros(2, np.int64), np.zeros(3, np.uint32), np.uint32(5),
            np.zeros((2, 2), np.uint32), np.zeros((0,), np.uint32), np.zeros(2, "M8[s]"),
            np.array([None, 1]), np.ma.zeros(2, np.uint32)]  # fmt: skip
# What follows the key.
MORE: dict[str, tuple[Any, ...]] = {
    "categorical": (np.zeros(3),), "choice": (3,), "dirichlet": (np.ones(3),), "fold_in": (1,),
    "gamma": (2.0,), "beta": (1.0, 2.0), "permutation": (4,), "randint": ((2,), 0, 3),
    "truncated_normal": (-1.0, 1.0),
}  # fmt: skip
DRAWN = sorted(set(random.__all__) - {"key"})
BAD: list[tuple[Callable[[Any], Any], type[IrgradError], str]] = [
    (lambda k: random.uniform(k, (-1,)), ShapeError, "at least 0"),
    (lambda k: random.uniform(k, (2.5,)), DTypeError, "integer as size"),
    (lambda k: random.uniform(k, None), DTypeError, "integer as size"),
    (lambda k: random.uniform(k, (2**40, 2**30)), ShapeError, r"2\*\*56"),
    (lambda k: random.uniform(k, 3, np.int32), DTypeError, "float32 or float64"),
    (lambda k: random.uniform(k, 3, np.float16), DTypeError, "float32 or float64"),
    (lambda k: random.uniform(k, 3, "no dtype"), DTypeError, "dtype"),
    (lambda k: random.uniform(k, 3, np.float32, 2, 1), ArgumentError, "minval < maxval"),
    (lambda k: random.uniform(k, 3, np.float32, 0, np.inf), ArgumentError, "finite"),
    (lambda k: random.uniform(k, 3, np.float32, 0, np.nan), ArgumentError, "minval < maxval"),
    (lambda k: random.uniform(k, 3, np.float32, -3e38, 3e38), ArgumentError, "finite"),
    (lambda k: random.uniform(k, 3, np.float32, np.zeros(4)), ShapeError, "uniform"),
    (lambda k: random.uniform(k, 3, np.float32, "0"), IrgradError, "expected"),
    (lambda k: random.bits(k, 3, np.int32), DTypeError, "unsigned"),
    (lambda k: random.bernoulli(k, 1.5), ArgumentError, r"\[0, 1\]"),
    (lambda k: random.bernoulli(k, -1e-9), ArgumentError, r"\[0, 1\]"),
    (lambda k: random.bernoulli(k, float("nan")), ArgumentError, r"\[0, 1\]"),
    (lambda k: random.bernoulli(k, np.array([0, 1])), DTypeError, "f32 or f64"),
    (lambda k: random.bernoulli(k, True), IrgradError, "expected"),
    (lambda k: random.bernoulli(k, np.zeros(3), (2,)), ShapeError, "broadcast"),
    (lambda k: random.bernoulli(k, np.zeros((2, 1)), (2,)), ShapeError, "broadcast"),
    (lambda k: random.randint(k, 3, 5, 5), ArgumentError, "minval < maxval"),
    (lambda k: random.randint(k, 3, -(2**63), 2**63, np.int64), ArgumentError, r"2\*\*64"),
    (lambda k: random.randint(k, 3, 0, 257, np.uint8), ArgumentError, "range of u8"),
    (lambda k: random.randint(k, 3, 0.5, 7), DTypeError, "integer bounds"),
    (lambda k: random.randint(k, 3, 0, 7, np.float32), DTypeError, "integer dtype"),
    (lambda k: random.permutation(k, -1), ShapeError, "at least 0"),
    (lambda k: random.permutation(k, 2.5), DTypeError, "integer as size"),
    (lambda k: random.permutation(k, np.arange(4)), ArgumentError, "gather"),
    (lambda k: random.permutation(k, [1, 2]), ArgumentError, "gather"),
    (lambda k: random.permutation(k, 2**31 + 1), LimitError, r"2\*\*31"),
    (lambda k: random.categorical(k, np.arange(3)), DTypeError, "f32 or f64"),
    (lambda k: random.categorical(k, 2.0), ShapeError, "axis"),
    (lambda k: random.categorical(k, np.zeros(3), axis=1), ShapeError, "axis"),
    (lambda k: random.categorical(k, np.zeros((2, 0))), ShapeError, "argmax"),
    (lambda k: random.choice(k, 0, 2), ArgumentError, "at least 1"),
    (lambda k: random.choice(k, 3, 4, replace=False), ShapeError, "at most n = 3"),
    (lambda k: random.choice(k, 3, 4, replace=-1), ArgumentError, "True or False, got -1"),
    (lambda k: random.choice(k, 3, 4, replace=None), ArgumentError, "True or False, got None"),
    (lambda k: random.choice(k, 3, 4, p=np.ones(4)), ShapeError, "of shape"),
    (lambda k: random.choice(k, 3, 4, p=np.arange(3)), DTypeError, "f32 or f64"),
    (lambda k: random.choice(k, 3, 2, replace=False, p=np.ones(3)), ArgumentError, "replace"),
    (lambda k: random.split(k, -1), ShapeError, "number of keys"),
    (lambda k: random.split(k, 1.5), DTypeError, "integer"),
    (lambda k: random.fold_in(k, 2**64), ArgumentError, "64 bits"),
    (lambda k: random.fold_in(k, 1.5), ArgumentError, "integer"),
    (lambda k: random.fold_in(k, np.zeros(2, int)), ShapeError, "vmap"),
    (lambda k: random.truncated_normal(k, 2, 1), ArgumentError, "lower < upper"),
    (lambda k: random.truncated_normal(k, 50, 60), ArgumentError, "probability"),
    (lambda k: random.truncated_normal(k, np.nan, 1), ArgumentError, "lower < upper"),
    (lambda k: random.truncated_normal(k, np.zeros(2), 1), ArgumentError, "number"),
    (lambda k: random.gamma(k, 0.0), ArgumentError, "above 0"),
    (lambda k: random.gamma(k, np.array([1, 2])), DTypeError, "f32 or f64"),
    (lambda k: random.dirichlet(k, 1.0), ShapeError, "along an axis"),
    (lambda k: random.normal(k, 3, scale=np.ones(4)), ShapeError, "normal"),
    (lambda k: random.normal(k, 3, no_such=1), ArgumentError, "normal"),
    (lambda k: ig.nn.dropout(k, np.zeros(3), 1.5), ArgumentError, r"\[0, 1\]"),
    (lambda k: ig.nn.dropout(k, np.zeros(3), float("nan")), ArgumentError, r"\[0, 1\]"),
    (lambda k: ig.nn.dropout(k, np.zeros(3, int)), DTypeError, "f32 or f64"),
    (lambda k: ig.nn.dropout(k, np.zeros(3), "rate"), ArgumentError, "number"),
    (lambda k: ig.nn.dropout(np.zeros(3), k), DTypeError, "key"),
]  # fmt: skip


@pytest.mark.parametrize("seed", [None, 1.0, "1", True, np.True_, np.float64(1), [1], (), {},
                                  np.zeros(2, int), np.array(1.0), np.array(True), 1j])
def test_seeds_are_integers(seed: Any) -> None:
    with pytest.raises(IrgradError, match="key: expected"):
        random.key(seed)


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_no_key_is_refused(name: str) -> None:
    function = getattr(random, name)
    assert list(inspect.signature(function).parameters)[0] == "key"
    for x in NOT_KEYS:
        with pytest.raises(IrgradError, match="expected"):
            function(x, *MORE.get(name, ()))
    function(KEY, *MORE.get(name, ()))


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_arguments(number: int) -> None:
    call, kind, words = BAD[number]
    for run in (lambda: call(KEY), lambda: ig.trace(call, "u32[2]")):
        with pytest.raises(kind, match=words) as caught:
            run()
        assert "\n" in str(caught.value) and len(str(caught.value).splitlines()) <= 12


def test_keys_and_shape_parameters_of_gamma_have_no_derivative() -> None:
    with pytest.raises(IrgradError, match="float type"):
        ig.grad(lambda key: random.normal(key))(KEY)
    with pytest.raises(ig.errors.DifferentiationError, match="gamma"):
        ig.grad(lambda a: random.gamma(KEY, a))(2.0)


def test_captured_keys_draw_inside_of_a_trace() -> None:
    call = ig.jit(lambda x: x + random.normal(KEY, x.shape), target="reference")
    np.testing.assert_array_equal(call(np.zeros(4, np.float32)), random.normal(KEY, 4))

"""Batched programs as kernels: per-sample gradients of a network, and many things at once."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import irgrad.numpy as np
from irgrad import nn
from irgrad.batching import vmap
from irgrad.custom_rules import custom_vjp
from irgrad.differentiation import grad
from irgrad.errors import CheckError
from irgrad.jacobians import hessian, jacobian
from irgrad.transforms import check, jit

CLASSES, HIDDEN, PIXELS, SAMPLES = 10, 128, 64, 32


def predict(params: Any, x: Any) -> Any:
    hidden = nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss(params: Any, x: Any, label: Any) -> Any:
    """Of one picture."""
    return nn.cross_entropy(predict(params, x[None]), label[None])


def test_per_sample_gradients_of_the_digits_network_equal_the_loop() -> None:
    rng = numpy.random.default_rng(0)
    shapes = {"w1": (PIXELS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}
    params = {name: rng.normal(size=s).astype("f4") / 8 for name, s in shapes.items()}
    x = rng.random((SAMPLES, PIXELS)).astype("f4")
    labels = rng.integers(0, CLASSES, SAMPLES)
    per_sample = vmap(grad(loss), in_axes=(None, 0, 0))
    found = per_sample(params, x, labels)
    one = grad(loss)
    for i in range(SAMPLES):
        for name, expected in one(params, x[i], labels[i]).items():
            numpy.testing.assert_allclose(found[name][i], expected, rtol=2e-5, atol=2e-6)
    compiled = per_sample.compiled(params, x, labels)
    assert all(k.flops < 3 * SAMPLES * PIXELS * HIDDEN for k in compiled.kernels)


def test_hessian_of_200_parameters_is_one_call_of_few_kernels() -> None:
    """Of the three products of a Hessian by a basis, that of the basis itself is not computed."""
    rng = numpy.random.default_rng(2)
    w, x = rng.normal(size=200), rng.normal(size=(64, 200))
    derive = hessian(lambda w, x: np.sum(nn.softplus(x @ w)))
    found = derive(w, x)
    chance = 1 / (1 + numpy.exp(-(x @ w)))
    expected = (x.T * (chance * (1 - chance))) @ x
    numpy.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert derive.cache_info().compiles == 1
    kernels = derive.compiled(w, x).kernels
    assert len(kernels) <= 4
    assert sum(k.flops > 64 * 200 * 200 for k in kernels) == 1


@custom_vjp
def clipped(x: Any) -> Any:
    return np.maximum(x, -1.0)


clipped.defvjp(lambda x: (np.maximum(x, -1.0), ()), lambda kept, ct: (ct * 0.5,))


def joined(w: Any, x: Any, y: Any) -> Any:
    """Maps, derivatives of maps, maps of derivatives, bases, own rules and a check in one."""
    check(vmap(np.sum)(x) > -100, "rows are not far below zero")

    def one(w: Any, x: Any, y: Any) -> Any:
        return np.sum((np.tanh(w @ x) - y) ** 2) + np.sum(clipped(x))

    rows = vmap(grad(one, (0, 1)), (None, 0, 0), (0, -1))(w, x, y)
    curvature = vmap(hessian(lambda x, y: one(w, x, y)), (0, 0))(x, y)
    slopes = jacobian(lambda w: vmap(lambda x: np.exp(w @ x))(x))(w)
    total = grad(lambda w: np.sum(vmap(one, (None, 0, 0))(w, x, y)))(w)
    pairs = vmap(vmap(lambda a, b: np.sum(a * b), (None, 0)), (0, None), 1)(x, x)
    return rows, curvature, slopes, total, pairs, np.argmax(x, 1)


def test_joined_program_is_as_its_interpretation() -> None:
    rng = numpy.random.default_rng(1)
    w, x, y = rng.normal(size=(4, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
    compiled = jit(joined)
    found, expected = compiled(w, x, y), jit(joined, target="reference")(w, x, y)
    flat = zip((*found[0], *found[1:]), (*expected[0], *expected[1:]), strict=True)
    for a, b in flat:
        assert a.dtype == b.dtype and a.shape == b.shape
        numpy.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    numpy.testing.assert_allclose(found[3], found[0][0].sum(0), rtol=1e-10, atol=1e-10)
    x[3] = -50
    with pytest.raises(CheckError, match="flat index 3"):
        compiled(w, x, y)

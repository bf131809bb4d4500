"""The check of derivatives that users run: passes right functions and names what is wrong."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import irgrad.numpy as np
from irgrad.custom_rules import custom_jvp, custom_vjp
from irgrad.differentiation import stop_gradient
from irgrad.errors import ArgumentError, CheckError
from irgrad.testing import check_grads

X = numpy.array([0.3, -0.8, 1.2])


def test_right_functions_pass() -> None:
    check_grads(lambda x: np.exp(np.sin(x)), (X,), order=4)
    check_grads(lambda p, k: {"a": p["x"] * k, "k": k}, ({"x": X}, numpy.array([1, 2, 3])))
    check_grads(np.tanh, (0.5,), order=3)


def test_f32_arguments_are_compared_with_float64_differences() -> None:
    check_grads(lambda x, y: np.sum(np.tanh(x @ y)), (numpy.ones((2, 3), "f4"), X.astype("f4")))


def wrong_jvp() -> Any:
    f = custom_jvp(np.sin)
    f.defjvp(lambda p, t: (np.sin(p[0]), t[0] * p[0]))
    return f


def wrong_second_order() -> Any:
    """A right first derivative that hides what it depends on from the second."""
    f = custom_vjp(np.sin)
    f.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (stop_gradient(np.cos(x)) * ct,))
    return f


def test_wrong_derivatives_are_found() -> None:
    with pytest.raises(CheckError, match="check_grads: jvp against differences, output 0"):
        check_grads(wrong_jvp(), (X,))
    with pytest.raises(CheckError, match="check_grads: vjp against the directional derivative"):
        check_grads(wrong_jvp(), (X,), modes=("rev",))
    check_grads(wrong_second_order(), (X,), order=1)
    with pytest.raises(CheckError, match="jvp, then jvp against differences"):
        check_grads(wrong_second_order(), (X,))


def test_nan_is_found() -> None:
    f = custom_jvp(np.sin)
    f.defjvp(lambda p, t: (np.sin(p[0]), t[0] * np.nan))
    with pytest.raises(CheckError, match="got nan"):
        check_grads(f, (X,), order=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": ("sideways",)}, "expected modes among"),
        ({"modes": ()}, "expected modes among"),
        ({"order": 0}, r"expected an order in 1\.\.8, got 0"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_grads(np.sin, (X,), **options)
    with pytest.raises(ArgumentError, match="a float leaf, got none"):
        check_grads(lambda k: k, (3,))

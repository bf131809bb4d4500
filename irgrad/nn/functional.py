"""Functions of neural networks: activations, normalisation and losses.

Each is its formula in `irgrad.numpy`: on traced values it is recorded, on arrays computed at once.
"""

from __future__ import annotations

import math
from typing import Any

from .. import numpy as np
from ..errors import DTypeError, ShapeError
from ..subgraph import fail
from ..tracing.dispatch import find_trace, formula, plain_array
from ..tracing.functions import elementwise, norms

Axis = int | tuple[int, ...] | None

erf = elementwise.erf
erfc = elementwise.erfc
relu = elementwise.relu
sigmoid = elementwise.sigmoid
softplus = elementwise.softplus
stop_gradient = elementwise.stop_gradient
norm = norms.norm


def _array(function: str, x: Any) -> Any:
    """A traced value, an array or a number: what all formulas compute on by Python's operators."""
    if isinstance(x, (bool, int, float)):
        return x
    return np.asarray(x) if find_trace((x,)) is not None else plain_array(function, x)


@formula
def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x)


@formula
def silu(x: Any) -> Any:
    """x * sigmoid(x)."""
    x = _array("silu", x)
    return x * sigmoid(x)


@formula
def gelu(x: Any, approximate: bool = True) -> Any:
    """x times the normal distribution function of x (Hendrycks and Gimpel, 2016).

    approximate: by tanh, the paper's formula; else by erfc, which keeps the lower tail's digits.
    """
    x = _array("gelu", x)
    if approximate:
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1.0 + np.tanh(inner))
    return 0.5 * x * erfc(-x * math.sqrt(0.5))


@formula
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, alpha * (exp(x) - 1) below (Clevert, Unterthiner and Hochreiter, 2015)."""
    x = _array("elu", x)
    negative = np.where(x > 0, 0.0, x)
    return np.where(x > 0, x, alpha * np.expm1(negative))


@formula
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x above 0, negative_slope * x below."""
    x = _array("leaky_relu", x)
    return np.where(x > 0, x, negative_slope * x)


# -- normalised exponentials -----------------------------------------------------------------------


def _shift(x: Any, axis: Axis) -> Any:
    """The largest element as a constant to subtract before exp, 0 where it is not finite."""
    largest = stop_gradient(np.max(x, axis=axis, keepdims=True))
    return np.where(np.isfinite(largest), largest, 0)


@formula
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) along axes.

    inf where an element is; -inf, with derivative 0, where all are -inf.
    """
    x = _array("logsumexp", x)
    shift = _shift(x, axis)
    total = np.sum(np.exp(x - shift), axis=axis, keepdims=True)
    empty = total == 0
    result = np.where(empty, -math.inf, np.log(np.where(empty, 1, total))) + shift
    return result if keepdims else np.squeeze(result, _dropped(x, axis))


def _dropped(x: Any, axis: Axis) -> tuple[int, ...]:
    """The axes that a reduction loses."""
    if axis is None:
        return tuple(range(np.ndim(x)))
    return tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)


@formula
def softmax(x: Any, axis: Axis = -1) -> Any:
    """exp(x) / sum(exp(x)) along axes; NaN where an element is inf or all are -inf."""
    x = _array("softmax", x)
    shifted = np.exp(x - stop_gradient(np.max(x, axis=axis, keepdims=True)))
    return shifted / np.sum(shifted, axis=axis, keepdims=True)


@formula
def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """log(softmax(x)) without forming the quotient."""
    x = _array("log_softmax", x)
    shifted = x - _shift(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


# -- normalisation ---------------------------------------------------------------------------------


@formula
def layer_norm(
    x: Any, scale: Any = None, shift: Any = None, axis: int | tuple[int, ...] = -1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(variance + eps) along axes, times `scale` plus `shift` where given.

    (Ba, Kiros and Hinton, 2016.) scale, shift: broadcast against x.
    """
    x = _array("layer_norm", x)
    centred = x - np.mean(x, axis=axis, keepdims=True)
    variance = np.mean(centred * centred, axis=axis, keepdims=True)
    result = centred / np.sqrt(variance + eps)
    if scale is not None:
        result = result * _array("layer_norm", scale)
    return result if shift is None else result + _array("layer_norm", shift)


# -- losses ----------------------------------------------------------------------------------------


@formula
def cross_entropy(logits: Any, labels: Any, axis: int = -1) -> Any:
    """The mean over all samples of -log softmax(logits) at the labels.

    labels: integers of the shape of `logits` without `axis`, from 0 to below its size (the loss is
    NaN where one lies outside); or probabilities of the shape of `logits`.
    Raises ShapeError or DTypeError for anything else.
    """
    logits, labels = _array("cross_entropy", logits), _array("cross_entropy", labels)
    shape, wanted = np.shape(logits), np.shape(labels)
    kind = np.result_type(labels).kind
    place = axis % len(shape) if shape else 0
    if kind == "f" and wanted == shape:
        log_p = log_softmax(logits, axis)
        terms = np.where(labels == 0, 0.0, labels * np.where(labels == 0, 0.0, log_p))
        return -np.mean(np.sum(terms, axis=axis))
    if kind not in "iu":
        fail(DTypeError(
            "cross_entropy: expected integer labels, or float probabilities of the shape of the "
            f"logits {shape}, got {np.result_type(labels)} of shape {wanted}"
        ))
    if wanted != shape[:place] + shape[place + 1 :]:
        fail(ShapeError(
            f"cross_entropy: expected labels of the shape of logits {shape} without axis {axis}, "
            f"got {wanted}"
        ))
    chosen = np.sum(np.where(_is_label(labels, logits, place), logits, 0), axis=axis)
    known = (labels >= 0) & (labels < shape[place])
    return np.mean(logsumexp(logits, axis) - np.where(known, chosen, np.nan))


def _is_label(labels: Any, logits: Any, axis: int) -> Any:
    """Whether the position along an axis of `logits` is the label."""
    shape = np.shape(logits)
    positions = np.arange(shape[axis], dtype=np.result_type(labels), like=logits)
    column = np.reshape(positions, (-1,) + (1,) * (len(shape) - axis - 1))
    return np.expand_dims(labels, axis) == column


@formula
def mse_loss(prediction: Any, target: Any) -> Any:
    """The mean of (prediction - target)**2 over all elements."""
    difference = _array("mse_loss", prediction) - _array("mse_loss", target)
    return np.mean(difference * difference)

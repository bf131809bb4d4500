"""Scalar functions of one array, smooth at their argument, whose derivatives are compared with
differences of their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from program import Random, program

import irgrad as ig

R = Random(4)


@program(R.f64(3, 4))
def sums_and_products(x: Any) -> Any:
    return (x * x).sum() + np.prod(x, axis=1).sum() + np.prod(x) + x.mean(0) @ x[0]


@program(np.array([[1.0, 0, 3], [0, 0, 2], [1, 2, 3]]))
def products_with_zeros(x: Any) -> Any:
    return np.prod(x, axis=1).sum() + np.prod(x, axis=0) @ np.arange(3.0)


@program(R.f64(3, 4))
def extrema(x: Any) -> Any:
    return x.max(axis=1).sum() * x.min() + np.ptp(x, 0).sum() + (x * (x.argmax() == 3)).sum()


@program(R.f64(2, 3, 4))
def extrema_of_several_axes(x: Any) -> Any:
    return x.max((0, 2)).sum() + x.min(1).sum() + np.sin(x).max()


@program(R.f64(3, 4))
def spreads(x: Any) -> Any:
    return x.var() + x.std(0, ddof=1).sum() + np.var(x, 1).sum()


@program(R.f64(3, 4))
def norms(x: Any) -> Any:
    return (
        np.linalg.norm(x) + np.linalg.norm(x, axis=0).sum() + np.linalg.norm(x, 1, axis=1).sum()
        + np.linalg.norm(x, np.inf, axis=1).sum()
    )  # fmt: skip


@program(R.f64(3, 4))
def activations(x: Any) -> Any:
    weights = np.arange(12.0).reshape(3, 4)
    functions = (
        ig.nn.gelu, ig.nn.silu, ig.nn.sigmoid, ig.nn.softplus, ig.nn.elu, ig.nn.leaky_relu,
        ig.nn.erf, ig.nn.erfc, ig.nn.layer_norm, ig.nn.tanh, ig.nn.relu, ig.nn.softmax,
        ig.nn.log_softmax,
    )  # fmt: skip
    return sum((f(x) * weights).sum() for f in functions) + ig.nn.logsumexp(x)


@program(R.f64(3, 4))
def losses(x: Any) -> Any:
    return ig.nn.cross_entropy(x, np.array([0, 2, 1])) + ig.nn.mse_loss(x, x * 2)


@program(R.positive(5))
def elementary(x: Any) -> Any:
    functions = (
        np.sin, np.cos, np.tan, np.exp, np.log, np.sqrt, np.tanh, np.sinh, np.cosh, np.arctan,
        np.exp2, np.log2, np.log10, np.log1p, np.expm1, np.cbrt, np.square, np.reciprocal, np.abs,
    )  # fmt: skip
    return sum((f(x) * (1 + x)).sum() for f in functions)


@program(np.array([-0.5, 0.1, 0.7]))
def inverse_functions(x: Any) -> Any:
    return (np.arcsin(x) * x + np.arccos(x) + np.arctan(x) ** 2).sum()


@program(R.f64(5))
def two_arguments(x: Any) -> Any:
    y = x[::-1]
    return (np.arctan2(x, y) * x + np.hypot(x, y) + np.maximum(x, y * 2) * np.minimum(x, 0.3)).sum()


@program(R.positive(5))
def powers(x: Any) -> Any:
    return (x**3 + x**-1 + x**2.5 + 2.0**x + x**x + x**0.5 + (x - 1) ** 2 + (-x) ** 3).sum()


@program(R.positive(7))
def pieces(x: Any) -> Any:
    y = x - 0.9
    return (
        x % 0.7 + x // 0.7 + np.floor(x) * x + np.clip(y, -0.2, 0.2) * x
        + np.where(y > 0, np.sqrt(np.where(y > 0, y, 1)), y * y) + x / (1 + x * x)
        + (x * (y > 0)) + x * np.floor(x).astype(np.int64) + np.nan_to_num(x)
    ).sum()  # fmt: skip


@program(R.f64(3, 4))
def contractions(x: Any) -> Any:
    return (
        np.tanh(x @ x.T).sum() + x[0] @ x[1] + np.outer(x[0], x[1]).sum()
        + np.einsum("ij,kj->", x, x) + np.kron(x, x).sum() + np.tensordot(x, x, 2)
        + (x.T @ x)[0, 0] + (x @ x.T).trace() + 0.1 * (x[0] @ x[0])
    )  # fmt: skip


@program(R.f64(2, 3, 4))
def batched_contractions(x: Any) -> Any:
    return np.sin(np.einsum("bij,bkj->bik", x, x)).sum() + (x @ x.swapaxes(1, 2)).max()


@program(R.f64(4, 4))
def diagonals(x: Any) -> Any:
    return (
        np.einsum("ii->i", x) @ np.einsum("ij->j", x) + np.einsum("ii", x) ** 2
        + np.trace(x @ x) + np.diag(x) @ np.arange(4.0) + (np.tril(x) * np.triu(x, -1)).sum()
    )  # fmt: skip


@program(R.f64(3, 4))
def movement(x: Any) -> Any:
    return (
        (x[::-1, 1::2] * 2).sum() + (x.T.reshape(-1)[3:9] ** 2).sum()
        + np.concatenate([x, x * 2], 1)[1, 3] + np.stack([x, x**2])[1].sum()
        + np.roll(x, 1, 0)[0] @ np.flip(x, 1)[2] + np.pad(x, 1)[1:3].sum() ** 2
        + np.tile(x, 2).sum() + np.repeat(x, 2, 0)[3].sum() + np.linspace(x[0, 0], x[1, 1], 5)[3]
    )  # fmt: skip


@program(R.f64(5))
def broadcasts(x: Any) -> Any:
    return (
        (x[:, None] * x[None, :] + x).sum() + np.broadcast_to(x.sum(), (3,)).sum()
        + (x[:, None] / (1 + x[None] ** 2)).max() + (x * np.ones((3, 1))).sum()
    )  # fmt: skip


@program(R.f64(3, 2))
def empty_parts(x: Any) -> Any:
    return x.sum() + (x[:, :0] ** 2).sum() + np.prod(x[:, :0]) + (x[:0].T @ x[:0]).sum()


@program(R.f64(1, 1))
def single_element(x: Any) -> Any:
    return (x * np.ones((3, 4))).sum() + x.sum() * x[0, 0] + np.linalg.norm(x) + x.max()


@program(R.f64(4))
def loop(x: Any) -> Any:
    for _ in range(6):
        x = np.sin(x) + x * 0.1
    return x.sum() * x.mean()


@program(R.f64(5, 3))
def kernel_density(x: Any) -> Any:
    return np.log(np.exp(-((x[:, None] - x[None]) ** 2).sum(-1)).sum(1)).mean()

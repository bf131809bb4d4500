"""Models, losses, statistics and solvers as users write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from program import Random, program

R = Random(3)


@program([(R.f64(5, 8), R.f64(8)), (R.f64(8, 3), R.f64(3))], R.f64(7, 5))
def perceptron(layers: Any, x: Any) -> Any:
    for w, b in layers[:-1]:
        x = np.maximum(x @ w + b, 0)
    w, b = layers[-1]
    return x @ w + b


@program(R.f64(2, 3, 4), R.f64(2, 5, 4), R.f64(2, 5, 4), R.truth(2, 3, 5))
def attention(q: Any, k: Any, v: Any, mask: Any) -> Any:
    scores = np.einsum("bqd,bkd->bqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -1e9)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bqk,bkd->bqd", weights / weights.sum(-1, keepdims=True), v)


@program(R.f64(8, 4), R.f64(4), R.f64(4))
def batch_norm(x: Any, gain: Any, bias: Any) -> Any:
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * gain + bias


@program(R.f64(3, 20), R.f64(5))
def convolution(x: Any, w: Any) -> Any:
    return sum(x[:, i : x.shape[1] - 4 + i] * w[i] for i in range(5))


@program(R.f64(10, 11), R.f64(3, 3, 4))
def convolution_of_images(x: Any, w: Any) -> Any:
    height, width = x.shape[0] - 2, x.shape[1] - 2
    rows = [np.stack([x[i : i + height, j : j + width] for j in range(3)]) for i in range(3)]
    return np.stack(rows).reshape(9, height * width).T @ w.reshape(9, -1)


@program(R.f64(2, 4), R.f64(6, 2, 3), R.f64(3, 3, 4), R.f64(3, 4, 4))
def recurrent_cell(h: Any, x: Any, w: Any, u: Any) -> Any:
    for t in range(x.shape[0]):
        z = 1 / (1 + np.exp(-(x[t] @ w[0] + h @ u[0])))
        r = 1 / (1 + np.exp(-(x[t] @ w[1] + h @ u[1])))
        h = (1 - z) * h + z * np.tanh(x[t] @ w[2] + (r * h) @ u[2])
    return h


@program(R.f64(20), R.f64(20))
def huber(a: Any, b: Any) -> Any:
    error = np.abs(a - b)
    return np.where(error < 1, 0.5 * error**2, error - 0.5).mean()


@program(R.f64(4), R.f64(10, 4), np.sign(R.f64(10)))
def hinge(w: Any, x: Any, y: Any) -> Any:
    return np.maximum(0, 1 - y * (x @ w)).mean() + 0.1 * (w @ w)


@program(R.f64(4), R.f64(10, 4), R.truth(10))
def logistic_regression(w: Any, x: Any, y: Any) -> Any:
    p = 1 / (1 + np.exp(-x @ w))
    return -np.mean(np.where(y, np.log(p), np.log(1 - p)))


@program(R.positive(3, 4), R.positive(3, 4))
def divergence(p: Any, q: Any) -> Any:
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    return (p * np.log(p / q)).sum(-1), (p - q).max(), (p * q).sum(1)


@program(R.f64(3, 4), np.array([0, 3, 2]))
def cross_entropy(x: Any, labels: Any) -> Any:
    p = np.exp(x - x.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    return -(np.log(p) * (labels[:, None] == np.arange(4))).sum(1).mean()


@program(R.f64(30, 4), R.rng.integers(0, 4, 30))
def accuracy(x: Any, labels: Any) -> Any:
    return (x.argmax(1) == labels).mean()


@program(R.f64(10, 4))
def covariance(x: Any) -> Any:
    centred = x - x.mean(0)
    c = centred.T @ centred / (len(x) - 1)
    deviation = np.sqrt(np.diag(c))
    return c, c / np.outer(deviation, deviation), (x - x.mean(0)) / x.std(0, ddof=1)


@program(R.f64(6, 3), R.f64(4, 3))
def distances(x: Any, y: Any) -> Any:
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * x @ y.T
    direct = ((x[:, None] - y[None]) ** 2).sum(-1)
    return squares, np.sqrt(direct), np.exp(-direct / 2), direct.argmin(1)


@program(R.f64(12))
def moving_average(x: Any) -> Any:
    return np.stack([x[i : len(x) - 4 + i] for i in range(5)]).mean(0), x[2:] - 2 * x[1:-1] + x[:-2]


@program(R.f64(6, 7))
def heat_step(u: Any) -> Any:
    inner = u[1:-1, 2:] + u[1:-1, :-2] + u[2:, 1:-1] + u[:-2, 1:-1] - 4 * u[1:-1, 1:-1]
    return u + 0.1 * np.pad(inner, 1)


@program(R.f64(4), R.f64(5))
def polynomials(c: Any, x: Any) -> Any:
    return sum(c[i] * x**i for i in range(4)), ((c[3] * x + c[2]) * x + c[1]) * x + c[0]


@program(R.f64(4, 4), R.f64(4))
def power_iteration(a: Any, v: Any) -> Any:
    for _ in range(3):
        v = a @ v
        v = v / np.linalg.norm(v)
    return v, v @ a @ v


@program(R.positive(4))
def square_root_by_iteration(x: Any) -> Any:
    root = np.ones_like(x)
    for _ in range(6):
        root = 0.5 * (root + x / root)
    return root


@program(R.f64(4, 5), R.truth(4, 5))
def masked_mean(x: Any, mask: Any) -> Any:
    return (x * mask).sum(1) / np.maximum(mask.sum(1), 1), np.where(mask, x, -np.inf).max(1)


@program(R.f64(4), R.f64(10, 4), R.f64(10))
def gradient_step_by_hand(w: Any, x: Any, y: Any) -> Any:
    return w - 0.1 * 2 * x.T @ (x @ w - y) / len(x)


@program(R.f64(5, 6))
def reductions_that_are_used_again(x: Any) -> Any:
    return (
        x.sum() + x.sum(0).sum() + x.mean() * x.size, x / x.sum(), x - x.max(1)[:, None],
        (x - x.mean()) / x.std(), x - x.sum(1, keepdims=True) / x.sum(0), x == x.max(),
    )  # fmt: skip


@program([R.f64(3), R.f64(3), R.f64(3)])
def mean_of_a_list(xs: Any) -> Any:
    mean = sum(xs) / len(xs)
    return mean, [x - mean for x in xs], max(len(xs), 2)


@program(R.f64(3, 4))
def rows_one_by_one(x: Any) -> Any:
    total = 0
    for i, row in enumerate(x):
        total = total + row * i
    first, *rest = x
    return total, first, sum(rest)

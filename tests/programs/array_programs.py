"""Programs that index, move, join, reduce and contract arrays, with corners of size 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from program import Random, program

R = Random(1)


# -- reductions ------------------------------------------------------------------------------------


@program(R.f64(3, 4))
def sums(x: Any) -> Any:
    return (
        x.sum(), x.sum(0), x.sum(-1), x.sum((0, 1)), x.sum(axis=(1,), keepdims=True),
        np.sum(x, axis=()), np.add.reduce(x), np.multiply.reduce(x), np.maximum.reduce(x),
    )  # fmt: skip


@program(R.i32(3, 4), R.truth(3, 4))
def sums_of_integers_and_truths(x: Any, b: Any) -> Any:
    return (
        x.sum(), x.sum(0), x.mean(), x.mean(1), x.prod(1), b.sum(), b.mean(0), b.prod(),
        np.mean(x, dtype=np.float32), np.count_nonzero(b, 0), np.ptp(x, 1),
    )  # fmt: skip


@program(R.i64(3, 4, 5))
def positions_of_extrema(x: Any) -> Any:
    largest = [np.argmax(x, axis=axis) for axis in (None, 0, 1, 2, -1)]
    smallest = [np.argmin(x, axis=axis, keepdims=True) for axis in (None, 0, 1, 2)]
    return largest, smallest, x.max((0, 2)), x.min(1)


def _with_specials() -> np.ndarray:
    x = R.f64(3, 4, 5)
    x[1, 2, 3], x[0, 0, 0], x[2, 1, 0] = np.nan, np.inf, -np.inf
    return x


@program(_with_specials())
def extrema_with_nan(x: Any) -> Any:
    return (
        np.argmax(x, 0), np.argmax(x, 2), np.argmin(x, 1), np.argmax(x), np.argmin(x), x.max(),
        np.max(x, 0), np.min(x, 2), np.sum(x, 1), np.prod(x, 1), np.any(x > 9, 0), x.mean(2),
    )  # fmt: skip


@program(R.truth(3, 4))
def extrema_of_truths(b: Any) -> Any:
    return (
        np.argmax(b, 0), np.argmin(b, 1), b.max(0), b.min(1), b.any(), b.all(0), b.any(1),
        np.ptp(b.astype(int), 0),
    )  # fmt: skip


@program(R.f64(3, 4), R.i64(3, 4), R.f32(3, 4))
def spreads(x: Any, i: Any, f: Any) -> Any:
    return (
        np.var(x), np.var(x, 0), np.var(x, 1, ddof=1), np.std(x, 0, ddof=2),
        np.std(x, axis=(0, 1), keepdims=True), np.var(x, axis=0, correction=1),
        np.var(i), np.std(i, 1, ddof=1), np.var(f), np.std(f, 1, ddof=1), np.average(f, axis=1),
    )  # fmt: skip


@program(R.f64(1, 3))
def variance_without_freedom(x: Any) -> Any:
    return np.var(x, 0, ddof=1), np.var(x, 0, ddof=2), x.std(1)


@program(R.f32(67, 129))
def long_reductions(x: Any) -> Any:
    return x.sum(0), x.sum(1), x.T.sum(0), x.argmax(1), x.argmax(0), x.max(0), x.mean(), x.var()


@program(R.f64(2, 3, 5, 7))
def reductions_of_inner_axes(x: Any) -> Any:
    return (
        x.sum((0, 2)), x.max((1, 3)), x.reshape(2, -1, 7).mean(1),
        x.transpose(3, 1, 0, 2)[::-1].sum(0), x[:, :, 0].argmax(1),
    )  # fmt: skip


@program(R.f64(2, 1, 3, 2, 1, 2, 3))
def seven_axes(x: Any) -> Any:
    return x.sum((1, 3, 5)), np.moveaxis(x, (0, 6), (3, 2)), x[..., ::2, :].max(0)


# -- empty arrays and single elements --------------------------------------------------------------


@program(np.zeros((0, 3)), R.f64(2, 3))
def empty(x: Any, y: Any) -> Any:
    return (
        x.sum(0), x.sum(1), x.prod(0), x.prod(1), x.mean(1), x.any(0), x.all(0), x.max(1),
        x.argmax(1), x.T.sum(0), x.reshape(-1), x + 1, x * y[:0], np.concatenate([x, y]),
        np.concatenate([y, x, y]).sum(0), np.pad(x, 1), x[:, None] + y[None], x.T @ x, y @ x.T,
    )  # fmt: skip


@program(np.zeros((3, 0)), np.zeros((0, 4)), R.f64(2, 3))
def products_over_nothing(a: Any, b: Any, c: Any) -> Any:
    return a @ b, c @ a, (a @ b).sum(), np.einsum("ij,jk->k", a, b), np.tensordot(a, b, 1)


@program(R.f64(1, 1), R.f64(1, 1))
def single_elements(a: Any, b: Any) -> Any:
    return (
        a.sum(0), a.mean(), a.var(), a.max(0), a.argmax(0), a @ b, a.T, a.squeeze(), a[0, 0],
        (a * b).reshape(()), a[0, 0] * np.ones(3), np.stack([a, b]).sum((1, 2)),
    )  # fmt: skip


@program(R.f64(4))
def single_products(w: Any) -> Any:
    return 0.1 * (w @ w), (w @ w).reshape(1) * 2, (w @ w) * w, np.stack([w @ w, w.sum()]) + 1


@program(np.float64(2.5), 3, 2.5, True, np.array(2.5))
def numbers(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    return (
        a + b, a * 2, a / 3, a // 2, a % 2, a**2, -a, abs(a), a > b, c * d, b + d, c / b, e * c,
        e[()], e[...], e[None], b + 1, d + 1,
    )  # fmt: skip


# -- indexing and movement -------------------------------------------------------------------------


@program(R.f64(4, 5))
def basic_indexing(x: Any) -> Any:
    return (
        x[::-1], x[:, ::-1], x[::-2, 1::2], x[-1], x[..., 0], x[None], x[:, None, :], x[1:1],
        x[5:], x[-2:], x[::-1, ::-1].sum(0), x[2:0:-1], x[:-1] - x[1:], x[-100:100], x[0:3:2],
        x[3:0:-2, -4:-1], x[True:], x[np.int64(1), np.int32(2)],
    )  # fmt: skip


@program(R.f64(3, 4))
def shapes(x: Any) -> Any:
    return (
        x.reshape(4, 3), x.reshape(-1), x.reshape((2, -1)), x.ravel(), x.T.reshape(-1),
        x.T.reshape(3, 4), x.flatten(), np.reshape(x.T[::-1], (2, 6)),
        x.reshape(3, 2, 2).transpose(2, 0, 1), np.atleast_3d(x), np.atleast_1d(x[0, 0]),
    )  # fmt: skip


@program(R.f64(2, 3, 4))
def movement(x: Any) -> Any:
    return (
        np.swapaxes(x, 0, 2), np.moveaxis(x, 0, -1), np.moveaxis(x, [0, 1], [1, 0]),
        np.transpose(x, (1, 2, 0)), np.expand_dims(x, (0, 2)), np.squeeze(x[:1]),
        np.squeeze(x[:1], 0), np.roll(x, 1), np.roll(x, (1, 2), (0, 1)), np.roll(x, -1, axis=2),
        np.flip(x), np.flip(x, 1), np.tile(x, (2, 1, 1)), np.tile(x, 2), np.repeat(x, 2, axis=1),
        np.repeat(x, 2), np.fliplr(x), np.flipud(x), x.mT, x.T[::-1],
    )  # fmt: skip


@program(R.f64(3, 4), R.f64(3, 4))
def joins_and_splits(x: Any, y: Any) -> Any:
    return (
        np.concatenate([x, y]), np.concatenate([x, y], axis=1), np.concatenate([x, y], axis=None),
        np.stack([x, y], 1), np.stack([x, y], -1), np.vstack([x, y]), np.hstack([x, y]),
        np.dstack([x, y]), np.column_stack([x[0], y[0]]), np.split(x, 2, axis=1),
        np.array_split(x, 3, axis=1), np.split(x, [1], 0), np.array_split(x, 5, 0),
        np.stack([x[0], y[0]], -1).reshape(-1), np.concatenate([x[0, ::2], x[0, 1::2]]),
    )  # fmt: skip


@program(R.f64(3, 4))
def padding(x: Any) -> Any:
    return (
        np.pad(x, 1), np.pad(x, ((1, 2), (0, 3))), np.pad(x, (1, 2)),
        np.pad(x, 1, constant_values=5), np.pad(x[:0], 1), np.pad(np.pad(x, 1)[1:], 1).sum(0),
    )  # fmt: skip


@program(R.f64(4, 5), R.f64(3))
def diagonals(m: Any, v: Any) -> Any:
    return (
        np.diag(m), np.diag(v), np.diag(v, 1), np.diag(v, -2), np.diag(m, 1), np.trace(m),
        np.diagonal(m, -1), np.tril(m), np.triu(m, 1), np.tril(m, -1),
    )  # fmt: skip


@program(R.f64(3, 1), R.f64(1, 4), R.f64(1), R.f64(0, 1))
def broadcasting(a: Any, b: Any, c: Any, e: Any) -> Any:
    return (
        a + b, a * c, b * c, np.broadcast_to(c, (3, 4)), np.broadcast_arrays(a, b),
        (a - b).sum(0), e + b, (e + b).sum(), (a[:, None] * b[None] * c).max((0, 2)),
        np.add(a[:, :, None, None], b).mean(), *np.meshgrid(a[:, 0], b[0]),
        *np.meshgrid(a[:, 0], b[0], indexing="ij", sparse=True),
    )  # fmt: skip


@program(R.f64(3, 4))
def creation(x: Any) -> Any:
    return (
        np.zeros_like(x), np.ones_like(x, dtype=np.int32), np.full_like(x, 7),
        np.full_like(x, 2.9, dtype=np.int64), np.linspace(x[0, 0], x[0, 1], 4), x * np.arange(4),
        x + np.eye(3, 4), np.where(np.tri(3, 4) > 0, x, -1),
    )  # fmt: skip


@program({"a": R.f64(2), "b": [R.f64(3), R.f64(1)]}, (R.f64(3),))
def trees(t: Any, u: Any) -> Any:
    return {"b": (t["a"] + 1, [t["b"][0], None]), "a": (), "c": u[0] * sum(t["b"])}


@program(R.f64(2), R.f64(3))
def results_that_are_arguments(x: Any, y: Any) -> Any:
    return x, x, x + 0, -1 * -x, x[:], x.T.T, 1, 2.5, True, np.float32(3), np.arange(3), y * 2


# -- contractions ----------------------------------------------------------------------------------


@program(R.f64(3, 4), R.f64(4), R.f64(3), R.f64(2, 5, 4))
def products(m: Any, v: Any, w: Any, b: Any) -> Any:
    return (
        m @ v, w @ m, v @ v, b @ m.T, b @ v, np.matmul(b, b.swapaxes(1, 2)), np.dot(b, m.T),
        np.inner(m, m), np.outer(v, w), np.vdot(m, m), np.tensordot(b, m, axes=([2], [1])),
        np.tensordot(m, m, 2), np.kron(m, m[:2, :2]), np.linalg.multi_dot([w, m, v]), m.T @ m,
        m[::2] @ m[::2].T, m[:, ::-1] @ m[:, ::-1].T, m[:, 1:3] @ m[:, 1:3].T, m * v @ v,
    )  # fmt: skip


@program(R.f64(2, 1, 3, 4), R.f64(5, 4, 2))
def batched_products(a: Any, b: Any) -> Any:
    return (
        a @ b, np.matmul(a, b[0]), np.einsum("xbij,bjk->xbik", a * np.ones((1, 5, 1, 1)), b),
        np.einsum("bij->jb", b), (a @ b).max((0, 1)),
    )  # fmt: skip


@program(R.f64(3, 4), R.f64(4, 5), R.f64(5, 2))
def einsums(a: Any, b: Any, c: Any) -> Any:
    return (
        np.einsum("ij,jk->ik", a, b), np.einsum("ij,jk", a, b), np.einsum("ij->ji", a),
        np.einsum("ij->", a), np.einsum("ij,jk,kl->il", a, b, c), np.einsum("ij,ij->i", a, a),
        np.einsum("...j,jk->...k", a, b), np.einsum("ij,kl->ijkl", a, c), np.einsum("ij->j", a),
        np.einsum("ba", a), np.einsum("ij,jk,kl,mi->ml", a, b, c, a.T),
    )  # fmt: skip


@program(R.f64(4, 4), R.f64(4))
def einsums_with_diagonals(a: Any, v: Any) -> Any:
    return (
        np.einsum("ii", a), np.einsum("ii->i", a), np.einsum("ij,j,i->", a, v, v),
        np.einsum("i,j->ij", v, v), np.einsum("i,i", v, v), np.einsum(",i->i", a[0, 0], v),
        np.einsum("ii,i->i", a, v), np.einsum("ij,ji->", a, a), np.trace(a @ a),
    )  # fmt: skip


@program(R.i32(3, 4), R.i64(4, 2), R.truth(3, 4), R.truth(4, 2))
def products_of_integers(a: Any, b: Any, p: Any, q: Any) -> Any:
    return a @ b, np.dot(a, b), np.einsum("ij,jk->ik", a, b), p @ q, np.dot(p, q), a @ a.T


@program(R.f32(130, 70), R.f32(70, 65))
def large_products(a: Any, b: Any) -> Any:
    return (a @ b).sum(1), np.maximum(a @ b, 0).max(0), a.T @ a


@program(R.f64(3, 4))
def norms(x: Any) -> Any:
    return (
        np.linalg.norm(x), np.linalg.norm(x, axis=0), np.linalg.norm(x, axis=1, keepdims=True),
        np.linalg.norm(x, 1, axis=0), np.linalg.norm(x, np.inf, axis=1),
        np.linalg.norm(x, ord="fro"), np.linalg.norm(x * 0),
    )  # fmt: skip

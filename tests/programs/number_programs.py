"""Programs of elementwise functions: dtypes that meet, special numbers, integers and truths."""

from __future__ import annotations

from typing import Any

import numpy as np
from program import Random, program

R = Random(2)
SPECIAL = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2.5, -2.5])
LOWEST = np.iinfo(np.int64).min


@program(np.repeat(SPECIAL, 9), np.tile(SPECIAL, 9))
def pairs_of_special_numbers(a: Any, b: Any) -> Any:
    return (
        a // b, a % b, a / b, a * b, a + b, a - b, np.power(a, b), np.arctan2(a, b),
        np.hypot(a, b), a < b, a == b, a != b, a <= b, np.where(a > b, a, b), abs(a) ** b,
    )  # fmt: skip


@program(SPECIAL)
def special_numbers(a: Any) -> Any:
    return (
        np.sqrt(a), np.exp(a), np.log(a), np.tanh(a), np.sin(a), np.abs(a), np.floor(a),
        np.ceil(a), np.round(a), np.rint(a), np.trunc(a), np.sign(a), np.isnan(a), np.isinf(a),
        np.isfinite(a), np.log1p(a), np.expm1(a), np.square(a), np.reciprocal(a), np.cbrt(a),
        np.arcsin(a), np.exp2(a), np.log2(a), np.log10(a), np.nan_to_num(a),
        np.nan_to_num(a, nan=1, posinf=2, neginf=3), np.cosh(a), np.arctan(a), a == a, -a,
    )  # fmt: skip


@program(SPECIAL.astype(np.float32))
def special_numbers_of_32_bits(a: Any) -> Any:
    return (
        np.sqrt(a), np.exp(a), np.log(a), np.tanh(a), np.sin(a), np.floor(a), np.ceil(a),
        np.round(a), np.sign(a), np.log1p(a), np.expm1(a), np.reciprocal(a), np.cbrt(a),
        np.arcsin(a), a % 2, a // 2,
    )  # fmt: skip


@program(np.array([1.0, np.nan, 3.0]), np.array([np.inf, -np.inf, 1.0]))
def nan_and_infinity_go_on(x: Any, y: Any) -> Any:
    return (
        x.sum(), x.max(), x.min(), x.mean(), np.where(np.isnan(x), 0, x).sum(), x.prod(),
        np.nan_to_num(x).max(), x.argmax(), y / y, np.exp(-y), np.maximum(y, 0), 1 / y, y @ x,
    )  # fmt: skip


@program(np.array([1.0, -1.0, 0.0]))
def signs_of_zero(x: Any) -> Any:
    zero, negative = np.zeros_like(x), np.full_like(x, -0.0)
    return (
        zero, negative, zero + negative, 1 / zero, 1 / negative, zero * -1.0, x * 0.0, x * -0.0,
        np.pad(x, 1), x[:0].sum(), np.where(x > 0, zero, negative), np.sqrt(negative),
        -zero, x + 0.0, x + -0.0, np.diag(x), np.maximum(x, 0.5) * -0.0,
    )  # fmt: skip


@program(R.f64(20) * 10)
def rounding(a: Any) -> Any:
    halves = np.floor(a) + 0.5
    return (
        np.round(a), np.round(a, 1), np.round(a, -1), a.round(2), np.round(halves), np.rint(halves),
        np.fix(a), a % 0.7, a // 0.7, divmod(a, 3), np.clip(a, -0.5, 0.5), a.clip(0),
        a.clip(max=0), np.clip(a, 1, -1), a.clip(min=-1, max=1),
    )  # fmt: skip


@program(R.f32(3, 4), R.f64(3, 4), R.i32(3, 4), R.truth(3, 4))
def dtypes_that_meet(f: Any, d: Any, i: Any, b: Any) -> Any:
    return (
        f + d, f + i, f + b, f * 2, f * 2.5, i * 2.5, b + 1, b * 2.5, b + b, i + b, i // 2, i / 2,
        f**2, i**2, f + np.float32(1), f + np.float64(1), i + np.int32(1), f @ f.T, f > d, f > 1,
        np.where(f > 0, f, 0), np.where(f > 0, 1, 0), np.where(b, f, 1.0), np.maximum(f, 0),
        np.minimum(f, 1.5), np.clip(f, -1, 1), np.concatenate([f, f.astype(np.float64)]),
        np.power(2, f), np.power(2.0, f), i + f, np.where(i > 0, i, f), f / np.int8(3), i * True,
    )  # fmt: skip


@program(R.f32(4), np.float64(2.5), 2.5, np.array(2.5), R.i32(4), np.array(2))
def numbers_that_meet_arrays(f: Any, s: Any, p: Any, z: Any, i: Any, k: Any) -> Any:
    return (
        f * s, f + s, s * 2, f * p, f + p, p * 2, f * z, z * 2, i * k, i / k, i + k, f * k,
        f * np.float64(2), f + np.int64(1), f * np.float32(2),
    )  # fmt: skip


@program(R.f64(10) * 5)
def conversions(x: Any) -> Any:
    return (
        x.astype(int), x.astype(np.int32), x.astype(bool), x.astype(np.float32),
        x.astype("f4").astype(np.float64), (x > 0).astype(np.float32), x.astype(np.int32) / 2,
        x.astype(np.int8), (x * x).astype(np.uint8),
    )  # fmt: skip


@program(np.arange(-10, 10), np.where(np.arange(-10, 10) % 3 == 0, -3, 2))
def integers(a: Any, b: Any) -> Any:
    return (
        a // b, a % b, a / b, np.floor_divide(a, b), np.divmod(a, b), np.remainder(a, b), a & b,
        a | b, a ^ b, ~a, np.logical_or(a, b), -a, abs(a), np.sign(a), a**2, np.square(a),
        np.floor(a), np.sqrt(np.abs(a)), a**3, (-2) ** abs(a), a < 0.5, a == 1.0,
        np.where(a % 2 == 0, a // 2, 3 * a + 1), a.sum() // len(a), (a // 3) * 3 + a % 3,
    )  # fmt: skip


@program(np.array([5, -5, 0, 7, LOWEST, LOWEST]), np.array([0, 0, 0, -2, -1, 3]))
def integers_at_their_limits(a: Any, b: Any) -> Any:
    return a // b, a % b, -a, abs(a), a + a, a * a, a - 1


@program(np.array([2**31 - 1, -(2**31), 5], np.int32), np.array([0, 200, 255], np.uint8))
def integers_that_wrap(a: Any, u: Any) -> Any:
    return a + a, a * a, a.sum(), -a, u + u, u * u, u.sum(), ~u, u // 7, u - np.uint8(1), u > 100


@program(R.truth(3, 4), R.truth(3, 4))
def truths(a: Any, b: Any) -> Any:
    return (
        a & b, a | b, a ^ b, ~a, np.logical_and(a, b), np.logical_not(a), a == b, a != b, a < b,
        a >= b, np.maximum(a, b), np.any(a, 1), (~a).sum(), np.where(a & ~b, 1, -1), a.any() & b,
    )  # fmt: skip


@program(R.positive(6), R.f64(6))
def powers(x: Any, y: Any) -> Any:
    return (
        x**0, x**1, x**2, x**3, x**-1, x**-2, x**0.5, x**1.5, 2**x, x**x, np.float_power(x, 2),
        y**2, y**3, y**-1, y**2.0, y**0.5, x**y,
    )  # fmt: skip


@program(R.positive(9))
def elementary(x: Any) -> Any:
    return (
        np.sin(x), np.cos(x), np.tan(x), np.exp(x), np.log(x), np.sinh(x), np.cosh(x), np.tanh(x),
        np.arctan(x), np.arcsin(x / 9), np.arccos(x / 9), np.log1p(x), np.expm1(x), np.cbrt(x),
        np.exp2(x), np.log2(x), np.log10(x), np.hypot(x, 2), np.arctan2(x, -1), np.float32(2) * x,
    )  # fmt: skip

"""Counter-based random words, and floats made of them with the same bits everywhere.

Threefry-2x32 of 20 rounds: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random
numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DTypeError
from ..ir.types import F32, F64, U32, U64, DType
from .bits import SHAPES, random_words
from .build import Expr
from .elementwise import Partial, elementwise
from .float_steps import (
    gamma_step,
    gumbel_quantile,
    mul_add,
    normal_quantile,
    stepped_exp,
    stepped_log,
)
from .record import Attrs, NotDifferentiable, OpDef, Sample, Samples, Types
from .steps import over_arrays

Formula = Callable[..., Any]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA  # of the key schedule
GROUPS = 5  # of four rounds


def _rotate_left(k: Any, x: Any, count: int) -> Any:
    return k.or_(k.shl(x, k.constant(count)), k.shr(x, k.constant(32 - count)))


def _threefry(word: int) -> Formula:
    """One of the two words that the cipher makes of the counter (c0, c1) under a key."""

    def scalar(k: Any, key0: Any, key1: Any, c0: Any, c1: Any) -> Any:
        schedule = (key0, key1, k.xor(k.xor(key0, key1), k.constant(PARITY)))
        x0, x1 = k.add(c0, key0), k.add(c1, key1)
        for group in range(GROUPS):
            for count in ROTATIONS[group % 2]:
                x0 = k.add(x0, x1)
                x1 = k.xor(_rotate_left(k, x1, count), x0)
            injected = k.add(schedule[(group + 2) % 3], k.constant(group + 1))
            x0, x1 = k.add(x0, schedule[(group + 1) % 3]), k.add(x1, injected)
        return (x0, x1)[word]

    return scalar


# -- permutations ----------------------------------------------------------------------------------

SHUFFLE_STEPS = 20
GOLDEN = 0x9E3779B9  # 2**32 divided by the golden ratio


def _hash(k: Any, x: Any, key0: Any, key1: Any) -> Any:
    """A word of which every bit depends on x and both keys: MurmurHash3's finaliser (A. Appleby),
    a key, and its second half again."""
    x = k.add(x, key0)
    x = k.mul(k.xor(x, k.shr(x, k.constant(16))), k.constant(0x85EBCA6B))
    x = k.mul(k.xor(x, k.shr(x, k.constant(13))), k.constant(0xC2B2AE35))
    x = k.xor(k.xor(x, k.shr(x, k.constant(16))), key1)
    x = k.mul(x, k.constant(0x85EBCA6B))
    return k.xor(x, k.shr(x, k.constant(15)))


def _below(k: Any, word: Any, n: Any) -> Any:
    """floor(word * n / 2**32)."""
    product = k.mul(k.cast(word, U64), k.cast(n, U64))
    return k.cast(k.shr(product, k.constant(32, U64)), U32)


def _shuffled_index(k: Any, index: Any, n: Any, width: Any, key0: Any, key1: Any) -> Any:
    """Where `index` lies in a random order of {0, ..., n-1}, as a Feistel network on a ragged grid.

    The numbers fill a grid of 2**width columns, whose last row may be short. Each step moves along
    every column, or along every row in turn, by one hashed amount for each line, and in reverse
    order by a hashed bit: a bijection of every line, so the whole is one for any n, width and keys.
    """
    one = k.constant(1)
    columns = k.shl(one, width)
    x = index
    for number in range(SHUFFLE_STEPS):
        row, column = k.shr(x, width), k.and_(x, k.sub(columns, one))
        along_column = number % 2 == 0
        place, line = (row, column) if along_column else (column, row)
        if along_column:
            length = k.add(k.shr(k.sub(k.sub(n, one), column), width), one)
        else:
            length = k.minimum(columns, k.sub(n, k.shl(row, width)))
        step = k.constant((number + 1) * GOLDEN % 2**32)
        word = _hash(k, line, k.add(key0, step), k.xor(key1, step))
        turned = k.eq(k.and_(word, one), one)
        place = k.select(turned, k.sub(k.sub(length, one), place), place)
        moved = k.add(place, _below(k, word, length))
        moved = k.select(k.ge(moved, length), k.sub(moved, length), moved)
        row, column = (moved, column) if along_column else (row, moved)
        x = k.or_(k.shl(row, width), column)
    return x


def _word_samples(arity: int) -> Samples:
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample(tuple(random_words(rng, shape, "u4") for _ in range(arity))) for shape in SHAPES
        ]

    return samples


def _shuffle_samples(rng: np.random.Generator) -> list[Sample]:
    calls = []
    for shape in SHAPES:
        n = rng.integers(1, 50, shape).astype(np.uint32)
        index = (rng.random(shape) * n).astype(np.uint32)
        keys = (random_words(rng, shape, "u4"), random_words(rng, shape, "u4"))
        width = np.maximum(np.log2(n) // 2, 1).astype(np.uint32)
        calls.append(Sample((np.asarray(index), np.asarray(n), np.asarray(width), *keys)))
    return calls


def _of_dtypes(op: OpDef, *dtypes: DType) -> OpDef:
    """The record with a type rule that takes these dtypes alone."""

    def infer(types: Types, attrs: Attrs) -> Types:
        result = op.infer(types, attrs)
        if types[0].dtype not in dtypes:
            expected = " or ".join(map(str, dtypes))
            raise DTypeError(f"{op.name}: expected operands of {expected}, got {types[0]}")
        return result

    return replace(op, infer=infer)


def _words(name: str, formula: Formula, samples: Samples, arity: int, flops: int) -> OpDef:
    """The record of an op of u32 operands."""
    op = elementwise(name, over_arrays(formula), [None] * arity, kinds="u", scalar=formula,
                     samples=samples, flops=flops)
    return _of_dtypes(op, U32)


def _floats(
    name: str, formula: Formula, partials: Sequence[Partial | None] | NotDifferentiable, flops: int,
    domain: tuple[float, float] = (-3.0, 3.0), guarded: bool = False, arity: int | None = None,
) -> OpDef:
    """The record of an op of f32 or f64 that is defined by its steps."""
    op = elementwise(name, over_arrays(formula), partials, scalar=formula, flops=flops,
                     domain=domain, guarded=guarded, arity=arity)
    return _of_dtypes(op, F32, F64)


def _normal_slope(p: Expr, out: Expr) -> Expr:
    """1 over the normal density at the quantile."""
    return (out * out * 0.5).op("exp") * math.sqrt(2.0 * math.pi)


def _gumbel_slope(v: Expr, out: Expr) -> Expr:
    return -(out.op("exp") / (1 - v))


OPS: tuple[OpDef, ...] = (
    _words("threefry2x32_word0", _threefry(0), _word_samples(4), 4, 100),
    _words("threefry2x32_word1", _threefry(1), _word_samples(4), 4, 100),
    _words("shuffled_index", _shuffled_index, _shuffle_samples, 5, 36 * SHUFFLE_STEPS),
    _floats("mul_add", mul_add,
            [lambda x, y, z, out: y, lambda x, y, z, out: x, lambda x, y, z, out: x.like(1)], 2),
    _floats("stepped_log", stepped_log, [lambda x, out: 1 / x], 30, (0.2, 4.0), guarded=True),
    _floats("stepped_exp", stepped_exp, [lambda x, out: out], 30),
    _floats("normal_quantile", normal_quantile, [_normal_slope], 100, (0.02, 0.98), guarded=True),
    _floats("gumbel_quantile", gumbel_quantile, [_gumbel_slope], 60, (0.02, 0.98), guarded=True),
    _floats("gamma_step", gamma_step,
            NotDifferentiable("a gamma variable has no derivative by its shape here"), 70,
            (0.7, 3.0), arity=4),
)

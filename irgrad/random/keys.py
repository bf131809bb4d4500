"""Keys: what all randomness of a program comes from, as u32[2] arrays.

A key is a value like any other: pass it as an argument, split it, index what comes out, map over
it. Use each key for one draw alone; two draws from one key are made of the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, brief
from ..ir.types import I64, U32, U64, TensorType
from ..ops.build import Expr
from ..ops.movement import concatenate, reshape
from ..ops.registry import REGISTRY
from ..tracing.context import Trace
from ..tracing.sizes import SymbolicSize
from ..tracing.tracer import Tracer
from .draws import FOLD_HIGH, FOLD_LOW, SPLIT, Draw, Key, as_key, draw_at, drawn, split_word

LIMB = 64  # bits of a seed that are taken at once
MASK = (1 << LIMB) - 1


def _joined(words: Draw) -> Expr:
    """Both words along a new last axis."""
    parts = (words.word0, words.word1)
    return concatenate([reshape(x, (*x.shape, 1)) for x in parts], len(parts[0].shape))


def _limbs(seed: int) -> list[int]:
    """A number in two's complement, 64 bits each, lowest first, without a bit for the sign."""
    width = (seed if seed >= 0 else ~seed).bit_length()
    return [seed >> start & MASK for start in range(0, max(width, 1), LIMB)]


def _hash_seed(seed: int) -> np.ndarray:
    """The words after all limbs of a seed were taken as counters, each under the key before it."""
    limbs = _limbs(seed)
    words = np.array([len(limbs) & 0xFFFFFFFF, seed < 0], np.uint32)
    ops = [REGISTRY[f"threefry2x32_word{i}"].evaluate for i in (0, 1)]
    for limb in limbs:
        halves = np.array([limb & 0xFFFFFFFF, limb >> 32], np.uint32)
        operands = [np.asarray(x) for x in (*words, *halves)]
        words = np.array([op(operands, {}, None)[0] for op in ops])  # type: ignore[arg-type]
    return words


def _as_integer(t: Trace, function: str, what: str, x: Any) -> int | Expr:
    """A plain int, or a size, a traced or an array integer of rank 0; else a named error."""
    if isinstance(x, (int, np.integer)) and not isinstance(x, bool):
        return int(x)
    if not isinstance(x, (Tracer, SymbolicSize, np.ndarray)):
        raise ArgumentError(f"{function}: expected {what} to be an integer, got {brief(x)}")
    value = t.lift(x).expr
    if not value.dtype.is_integer:
        raise DTypeError(f"{function}: expected {what} to be an integer, got {value.type}")
    if value.shape:
        raise ShapeError(
            f"{function}: expected {what} of rank 0, got {value.type}; map over it with vmap"
        )
    return value


def _two_words(value: Expr) -> tuple[Expr, Expr]:
    """An integer in two's complement of 64 bits as its low and its high word."""
    wide = value.op("cast", dtype=I64) if value.dtype.kind == "i" else value
    return split_word(wide.op("cast", dtype=U64))


@drawn
def key(t: Trace, seed: Any) -> Tracer:
    """The key of a seed, u32[2]: all bits of any Python int count, and of a traced integer.

    Seeds of up to 64 bits give different keys where their signs are alike. Equal numbers give equal
    keys, whatever dtype they have.
    Raises ArgumentError or DTypeError for what is no integer.
    """
    number = _as_integer(t, "key", "the seed", seed)
    if isinstance(number, int):
        first, second = (t.constant(int(x), TensorType(U32, (1,))) for x in _hash_seed(number))
        return t.wrap(concatenate([first, second], 0))
    low, high = _two_words(number)
    sign = number.lt(0) if number.dtype.kind == "i" else number.op("ne", number)
    start = Key(low.like(1), sign.op("cast", dtype=U32))
    return t.wrap(_joined(draw_at(start, low, high)))


@drawn
def split(t: Trace, key: Any, n: Any = 2) -> Tracer:
    """`n` new keys, u32[n,2], that are independent of each other and of what `key` draws.

    They differ from each other, and the first ones do not depend on n.
    """
    source = as_key(t, "split", key)
    count = t.size(n, "split")
    if isinstance(count, int) and not 0 <= count <= 1 << 32:
        raise ShapeError(f"split: expected a number of keys in 0..2**32, got {count}")
    low = t.builder.one("iota", shape=(count,), axis=0, dtype=U32)
    return t.wrap(_joined(draw_at(source, low, low.like(SPLIT << 24))))


@drawn
def fold_in(t: Trace, key: Any, data: Any) -> Tracer:
    """A new key made of a key and an integer of 64 bits, such as a step or a layer's number.

    Raises ArgumentError for a number outside -2**63..2**64-1.
    """
    source = as_key(t, "fold_in", key)
    number = _as_integer(t, "fold_in", "the data", data)
    halves: Sequence[Expr]
    if isinstance(number, int):
        if not -(1 << 63) <= number < 1 << 64:
            raise ArgumentError(f"fold_in: expected a number of 64 bits, got {brief(data)}")
        scalar = TensorType(U32, ())
        halves = [t.constant(number >> start & 0xFFFFFFFF, scalar) for start in (0, 32)]
    else:
        halves = _two_words(number)
    for half, tag in zip(halves, (FOLD_LOW, FOLD_HIGH), strict=True):
        words = draw_at(source, half, half.like(tag << 24))
        source = Key(words.word0, words.word1)
    return t.wrap(_joined(words))

"""Words and unit floats of a key, which all distributions are made of.

Element i of a draw is made of the two words that Threefry-2x32 gives for the counter (i, tag) under
the key: i is the position in row-major order, and the tag, in the top byte of the counter, tells
apart what one key is used for. So an element depends on (key, i) alone, whatever the shape is.

Units are exact: a whole number of 24 (f32) or 53 bits (f64) times a power of two. All that follows
is made of ops whose steps are rounded alike everywhere (`irgrad.ops.float_steps`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, brief
from ..interpret import interpret
from ..ir.dims import Size, product
from ..ir.types import F32, F64, I32, U32, U64, DType, TensorType
from ..ops.build import Expr
from ..ops.movement import broadcast, reshape, slice_axes
from ..tracing.context import Trace
from ..tracing.dispatch import traced
from ..tracing.functions.namespace import FUNCTIONS
from ..tracing.functions.operands import as_dtype, broadcast_shapes, fit, operand
from ..tracing.tracer import Tracer

P = ParamSpec("P")
ELEMENTS, SPLIT, FOLD_LOW, FOLD_HIGH, ROUNDS = 0, 0x80, 0x81, 0x82, 0x40  # tags
MAX_SIZE = 1 << 56  # elements of one draw: the counter's bits below the tag


def drawn(body: Callable[Concatenate[Trace, P], Tracer]) -> Callable[P, Any]:
    """Decorate a function of this package, which gets the trace as its first argument.

    Where no argument is traced it is recorded in a trace of its own, which is interpreted at once:
    the same bits as compiled.
    """

    def at_once(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        trace = Trace(body.__name__, FUNCTIONS)
        try:
            trace.graph.outputs = [body(trace, *args, **kwargs).value]
        finally:
            trace.live = False
        arrays = [np.asarray(x) for x in trace.closed]
        return np.array(interpret(trace.graph, arrays)[0])

    return traced(at_once)(body)


@dataclass(frozen=True, slots=True)
class Key:
    """A key in a trace: its two words, u32 of rank 0."""

    word0: Expr
    word1: Expr


def as_key(t: Trace, function: str, key: Any) -> Key:
    """The words of a key; a named error for anything else than u32[2]."""
    if not isinstance(key, (Tracer, np.ndarray)):
        raise ArgumentError(
            f"{function}: expected a key, got {brief(key)}; make one by random.key(seed)"
        )
    x = t.lift(key).expr
    if x.dtype is not U32:
        raise DTypeError(f"{function}: expected a key u32[2] as random.key gives, got {x.type}")
    if x.shape != (2,):
        raise ShapeError(
            f"{function}: expected one key u32[2], got {x.type}; take one of several by its index, "
            "or map over them with vmap"
        )
    return Key(*(reshape(slice_axes(x, (i,), (i + 1,)), ()) for i in (0, 1)))


@dataclass(frozen=True, slots=True)
class Draw:
    """The words of a key at all positions of a shape."""

    operands: tuple[Expr, Expr, Expr, Expr]

    @property
    def word0(self) -> Expr:
        first, *rest = self.operands
        return first.op("threefry2x32_word0", *rest)

    @property
    def word1(self) -> Expr:
        first, *rest = self.operands
        return first.op("threefry2x32_word1", *rest)


def draw(t: Trace, key: Key, shape: Sequence[Size], tag: int = ELEMENTS) -> Draw:
    """The words of the elements of a shape."""
    sizes = tuple(shape)
    return draw_at(key, *_counter(t, sizes, tag))


def draw_at(key: Key, low: Expr, high: Expr) -> Draw:
    """The words of counters that are given as two words of one shape."""
    return Draw((broadcast(key.word0, low.shape, ()), broadcast(key.word1, low.shape, ()),
                 low, high))  # fmt: skip


def _counter(t: Trace, shape: tuple[Size, ...], tag: int) -> tuple[Expr, Expr]:
    """The positions in row-major order as two words, the tag on top."""
    size = product(shape)
    type_ = TensorType(U32, shape)
    if isinstance(size, int) and size <= 1 << 32:
        if not shape:
            return t.constant(0, type_), t.constant(tag << 24, type_)
        low = reshape(t.builder.one("iota", shape=(size,), axis=0, dtype=U32), shape)
        return low, t.constant(tag << 24, type_)
    if isinstance(size, int) and size > MAX_SIZE:
        raise ShapeError(f"random: expected at most 2**56 elements, got {size}")
    flat = reshape(t.builder.one("iota", shape=(size,), axis=0, dtype=U64), shape)
    low, high = split_word(flat)
    return low, high.op("bitwise_or", high.like(tag << 24))


def split_word(x: Expr) -> tuple[Expr, Expr]:
    """The low and the high half of u64."""
    return x.op("cast", dtype=U32), x.op("shift_right", x.like(32)).op("cast", dtype=U32)


# -- unit floats -----------------------------------------------------------------------------------


def small_float(word: Expr, shift: int, dtype: DType) -> Expr:
    """The upper bits of words as whole floats, exact where the dtype holds as many bits.

    shift: at least 1, so that the conversion is one of signed integers.
    """
    whole = word.op("shift_right", word.like(shift)).op("cast", dtype=I32)
    return whole.op("cast", dtype=dtype)


def half_open_unit(words: Draw, dtype: DType) -> Expr:
    """Uniform in [0, 1): 24 bits of f32, 53 bits of f64."""
    if dtype is F32:
        return small_float(words.word0, 8, F32) * 2.0**-24
    high, low = small_float(words.word0, 5, F64), small_float(words.word1, 6, F64)
    return (high * 2.0**26 + low) * 2.0**-53


def positive_unit(words: Draw, dtype: DType) -> Expr:
    """Uniform in (0, 1]: (m + 1/2) / 2**31 of f32, of f64 the same with 63 bits, rounded.

    Small values keep all their digits. The lowest bit of the first word is left over.
    """
    if dtype is F32:
        return (small_float(words.word0, 1, F32) + 0.5) * 2.0**-31
    high, low = small_float(words.word0, 1, F64), words.word1.op("cast", dtype=F64)
    return ((high * 2.0**32 + low) + 0.5) * 2.0**-63


def leftover_bit(words: Draw) -> Expr:
    """A fair truth value that `positive_unit` of the same words does not depend on."""
    word = words.word0
    return word.op("bitwise_and", word.like(1)).eq(1)


# -- arguments -------------------------------------------------------------------------------------


def as_shape(t: Trace, function: str, shape: Any) -> tuple[Size, ...]:
    """A shape argument; ShapeError for a negative size."""
    sizes = t.shape(shape, function)
    for size in sizes:
        if isinstance(size, int) and size < 0:
            raise ShapeError(f"{function}: expected sizes of at least 0, got {brief(shape)}")
    return sizes


def as_float(function: str, dtype: Any) -> DType:
    """A float dtype that samples have; DTypeError for another one."""
    found = as_dtype(dtype)
    if found not in (F32, F64):
        raise DTypeError(f"{function}: expected float32 or float64, got {found}")
    return found


def as_parameter(t: Trace, function: str, x: Any, dtype: DType, shape: Sequence[Size]) -> Expr:
    """A number or a float array as a parameter for each element of a shape."""
    given = operand(t, x)
    if given.type.dtype.kind not in "iuf":
        raise DTypeError(f"{function}: expected real parameters, got {given.type}")
    wanted = tuple(shape)
    if broadcast_shapes(function, [given.type, TensorType(dtype, wanted)]) != wanted:
        raise ShapeError(
            f"{function}: expected parameters that broadcast to {TensorType(dtype, wanted)}, got "
            f"{given.type}"
        )
    return fit(t, given, dtype, wanted)


def as_probability(function: str, x: Any) -> float | None:
    """A number as a probability; None for an array. ArgumentError outside [0, 1]."""
    number = as_plain_number(x)
    if number is not None and not 0.0 <= number <= 1.0:
        raise ArgumentError(f"{function}: expected a probability in [0, 1], got {brief(x)}")
    return number


def as_plain_number(x: Any) -> float | None:
    """A Python or NumPy number as a float, None for anything else."""
    plain = isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool)
    return float(x) if plain else None


def shifted_and_scaled(
    t: Trace, function: str, x: Expr, loc: Any, scale: Any
) -> Expr:
    """loc + scale*x, the product rounded before the sum."""
    if as_plain_number(loc) == 0.0 and as_plain_number(scale) == 1.0:
        return x
    factor = as_parameter(t, function, scale, x.dtype, x.shape)
    return x.op("mul_add", factor, as_parameter(t, function, loc, x.dtype, x.shape))

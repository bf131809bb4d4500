"""What generated kernels call beside arithmetic: integer division and powers, saturating casts,
reductions over logical lanes, and the record of failed checks.

Each is plain Python over NumPy scalars that Numba compiles as it stands, so that both give the bits
of the LLVM form. In plain Python overflow and division by zero warn, unless NumPy is told not to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload, register_jitable
from numba.np.numpy_support import as_dtype

from irgrad.backends.numba_cpu.source.functions import maximum, minimum

Scalar = Any
Function = Callable[..., Any]
_RULES: Any = {"error_model": "numpy"}
_jitable = register_jitable(**_RULES)


def inner(function: Function) -> Function:
    """As `@njit(error_model="numpy")`, for a function that jitted code alone calls: without the
    wrappers that make it callable from Python."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_RULES}
    return njit(**options)(function)


# -- sizes -----------------------------------------------------------------------------------------


@_jitable
def aligned(size: int) -> int:
    """A size in bytes, rounded up to a multiple of 64."""
    return (size + 63) // 64 * 64


# -- division --------------------------------------------------------------------------------------


def floor_divide(a: Scalar, b: Scalar) -> Scalar:
    """floor(a / b); of integers 0 for a divisor of 0, of floats a / b."""
    return division_of(a.dtype)[0](a, b)


def remainder(a: Scalar, b: Scalar) -> Scalar:
    """a - b * floor(a / b); for a divisor of 0 it is 0 of integers and NaN of floats."""
    return division_of(a.dtype)[1](a, b)


def _same_number_types(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, types.Integer | types.Float)


@overload(floor_divide, jit_options=_RULES, strict=False)
def _floor_divide_of_types(a: Any, b: Any) -> Function | None:
    return division_of(as_dtype(a))[0] if _same_number_types(a, b) else None


@overload(remainder, jit_options=_RULES, strict=False)
def _remainder_of_types(a: Any, b: Any) -> Function | None:
    return division_of(as_dtype(a))[1] if _same_number_types(a, b) else None


@cache
def division_of(dtype: np.dtype) -> tuple[Function, Function]:
    """(floor_divide, remainder) of a dtype."""
    if dtype.kind == "f":
        return float_division(dtype.type, np.fmod, np.copysign, np.floor)
    return (_signed_division if dtype.kind == "i" else _unsigned_division)(dtype.type)


def _signed_division(scalar: Any) -> tuple[Function, Function]:
    """The smallest integer divided by -1 wraps around."""

    @_jitable
    def floor_divide(a: Scalar, b: Scalar) -> Scalar:
        if b == scalar(0):
            return scalar(0)
        if b == scalar(-1):
            return scalar(-a)
        return scalar(a // b)

    @_jitable
    def remainder(a: Scalar, b: Scalar) -> Scalar:
        if b == scalar(0) or b == scalar(-1):
            return scalar(0)
        return scalar(a % b)

    return floor_divide, remainder


def _unsigned_division(scalar: Any) -> tuple[Function, Function]:
    @_jitable
    def floor_divide(a: Scalar, b: Scalar) -> Scalar:
        return scalar(0) if b == scalar(0) else scalar(a // b)

    @_jitable
    def remainder(a: Scalar, b: Scalar) -> Scalar:
        return scalar(0) if b == scalar(0) else scalar(a % b)

    return floor_divide, remainder


def float_division(
    scalar: Any, fmod: Function, copysign: Function, floor: Function
) -> tuple[Function, Function]:
    """(floor_divide, remainder) of floats, from the exact remainder that `fmod` gives, as in NumPy
    and Python; a zero has the sign of the exact result.

    The functions are those of the processor that the code is for.
    """
    zero, half, one = scalar(0.0), scalar(0.5), scalar(1.0)

    @_jitable
    def floor_divide(a: Scalar, b: Scalar) -> Scalar:
        if b == zero:
            return a / b
        rest = fmod(a, b)
        quotient = (a - rest) / b
        if rest != zero and (rest < zero) != (b < zero):
            quotient = quotient - one
        if quotient == zero:
            return copysign(zero, a / b)
        below = floor(quotient)
        return below + one if quotient - below > half else below

    @_jitable
    def remainder(a: Scalar, b: Scalar) -> Scalar:
        rest = fmod(a, b)
        if rest == zero:
            return copysign(zero, b)
        return rest + b if (rest < zero) != (b < zero) else rest

    return floor_divide, remainder


# -- integers --------------------------------------------------------------------------------------


def integer_power(x: Scalar, y: Scalar) -> Scalar:
    """x ** y, wrapped around; a negative exponent gives 1/x truncated: 1 and -1 by parity, or 0."""
    return power_of(x.dtype)(x, y)


@overload(integer_power, jit_options=_RULES, strict=False)
def _integer_power_of_types(x: Any, y: Any) -> Function | None:
    return power_of(as_dtype(x)) if _same_number_types(x, y) else None


@cache
def power_of(dtype: np.dtype) -> Function:
    """The power of integers of a dtype."""
    scalar: Any = dtype.type

    @_jitable
    def power(x: Scalar, y: Scalar) -> Scalar:
        one, zero = scalar(1), scalar(0)
        if y < zero:
            if x == one or x == -one:
                return one if x == one or (y & one) == zero else x
            return zero
        result, square, left = one, x, y
        while left != zero:
            if (left & one) != zero:
                result = scalar(result * square)
            square = scalar(square * square)
            left = scalar(left >> one)
        return result

    return power


def integer_abs(x: Scalar) -> Scalar:
    """|x|, the smallest integer wrapped around to itself."""
    return absolute_of(x.dtype)(x)


@overload(integer_abs, jit_options=_RULES, strict=False)
def _integer_abs_of_types(x: Any) -> Function:
    return absolute_of(as_dtype(x))


@cache
def absolute_of(dtype: np.dtype) -> Function:
    """The absolute value of integers of a dtype."""
    scalar: Any = dtype.type

    @_jitable
    def absolute(x: Scalar) -> Scalar:
        return scalar(-x) if x < scalar(0) else x

    return absolute


def _saturating(scalar: Any) -> Function:
    """The conversion of floats to an integer type: towards 0, to the nearest limit, NaN to 0."""
    least, most = int(np.iinfo(scalar).min), int(np.iinfo(scalar).max)
    low, high = float(least), float(most)

    @_jitable
    def saturate(x: Scalar) -> Scalar:
        if x != x:
            return scalar(0)
        if x <= low:
            return scalar(least)
        return scalar(most) if x >= high else scalar(x)

    return saturate


saturate_i8 = _saturating(np.int8)
saturate_i16 = _saturating(np.int16)
saturate_i32 = _saturating(np.int32)
saturate_i64 = _saturating(np.int64)
saturate_u8 = _saturating(np.uint8)
saturate_u16 = _saturating(np.uint16)
saturate_u32 = _saturating(np.uint32)
saturate_u64 = _saturating(np.uint64)


# -- reductions ------------------------------------------------------------------------------------


def _tree(combine: Function) -> Function:
    """The fixed tree over the lanes of a reduction: lane l takes in lane l + w for w = 32, 16, ...,
    1, where there is one. The array is scratch and holds at most 64 lanes."""

    @_jitable
    def over_lanes(lanes: np.ndarray) -> Scalar:
        count, width = lanes.size, 32
        while width > 0:
            for lane in range(min(width, count - width)):
                lanes[lane] = combine(lanes[lane], lanes[lane + width])
            count, width = min(count, width), width // 2
        return lanes[0]

    return over_lanes


def _position_tree(beats: Function) -> Function:
    """The same for positions: the more extreme value wins, of equal ones the smaller position."""

    @_jitable
    def over_lanes(lanes: np.ndarray, positions: np.ndarray) -> Scalar:
        count, width = lanes.size, 32
        while width > 0:
            for lane in range(min(width, count - width)):
                other = lane + width
                nearer = positions[other] < positions[lane]
                if beats(lanes[other], lanes[lane]) or (
                    nearer and not beats(lanes[lane], lanes[other])
                ):
                    lanes[lane] = lanes[other]
                    positions[lane] = positions[other]
            count, width = min(count, width), width // 2
        return positions[0]

    return over_lanes


@_jitable
def is_larger(new: Scalar, old: Scalar) -> bool:
    """Whether a new value is more extreme for argmax: NaN is more extreme than any number."""
    return (new > old or new != new) and old == old


@_jitable
def is_smaller(new: Scalar, old: Scalar) -> bool:
    """Whether a new value is more extreme for argmin: NaN is more extreme than any number."""
    return (new < old or new != new) and old == old


@_jitable
def _add(a: Scalar, b: Scalar) -> Scalar:
    return a + b


@_jitable
def _multiply(a: Scalar, b: Scalar) -> Scalar:
    return a * b


@_jitable
def _either(a: Scalar, b: Scalar) -> Scalar:
    return a | b


@_jitable
def _both(a: Scalar, b: Scalar) -> Scalar:
    return a & b


sum_of_lanes = _tree(_add)
prod_of_lanes = _tree(_multiply)
max_of_lanes = _tree(maximum)
min_of_lanes = _tree(minimum)
any_of_lanes = _tree(_either)
all_of_lanes = _tree(_both)
argmax_of_lanes = _position_tree(is_larger)
argmin_of_lanes = _position_tree(is_smaller)


# -- checks ----------------------------------------------------------------------------------------


@_jitable
def record_failure(failures: np.ndarray, check: int, position: int) -> None:
    """Note a failed check in (1 after a failure, check, position); the smallest pair stays."""
    if failures[0] != 0:
        if check > failures[1]:
            return
        if check == failures[1] and position >= failures[2]:
            return
    failures[0] = 1
    failures[1] = check
    failures[2] = position

"""What generated CUDA sources call: device functions with the meaning of the kernel primitives.

Only generated sources import this module, as it needs numba-cuda. Products and sums fuse in `fma`
alone (see `cubin`). Functions that the CPU's sources call and that are made of these primitives are
the same code, bound to the primitives of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import cuda
from numba.core import types
from numba.cuda.extending import lower_builtin, type_callable  # type: ignore[attr-defined]
from numpy import bool_ as boolean
from numpy import float32 as f32
from numpy import float64 as f64
from numpy import int8 as i8
from numpy import int16 as i16
from numpy import int32 as i32
from numpy import int64 as i64
from numpy import uint8 as u8
from numpy import uint16 as u16
from numpy import uint32 as u32
from numpy import uint64 as u64

from irgrad.backends.numba_cpu.source import functions as plain
from irgrad.backends.numba_cpu.source import lowered

__all__ = [
    "bits_f32", "bits_f64", "boolean", "ceil", "device", "f32", "f64", "fabs", "floor", "fma",
    "i16", "i32", "i64", "i8", "inf", "maximum", "minimum", "nan", "pi_2_remainder_f32",
    "pi_2_remainder_f64", "real_f32", "real_f64", "round", "select", "shuffle_down", "sign", "sqrt",
    "syncthreads", "trunc", "u16", "u32", "u64", "u8",
]  # fmt: skip

Function = Callable[..., Any]
# Inlined by Numba itself: a device function of its own would ask a driver for the architecture.
device = cuda.jit(device=True, inline="always")
syncthreads = cuda.syncthreads
_from = lowered.conversion


def _lowered(typing: Function, emit: Function) -> Function:
    """A function that device code alone can call: its typing and its emitter."""

    def primitive(*operands: Any) -> Any:
        raise NotImplementedError("a function of device code")

    def implementation(_context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return emit(builder, signature.args[-1], *args)

    type_callable(primitive)(lambda _context: typing)
    lower_builtin(primitive, types.VarArg(types.Any))(implementation)
    return primitive


def _fabs(builder: ir.IRBuilder, _: Any, x: ir.Value) -> ir.Value:
    """x without its sign bit; NVVM has no llvm.fabs."""
    single = isinstance(x.type, ir.FloatType)
    word = ir.IntType(32 if single else 64)
    mask = ir.Constant(word, (1 << (word.width - 1)) - 1)
    return builder.bitcast(builder.and_(builder.bitcast(x, word), mask), x.type)


def _round(builder: ir.IRBuilder, kind: Any, x: ir.Value) -> ir.Value:
    """The nearest whole number, of two the even one, with the sign of x; NVVM has no llvm.rint.

    A sum with 2**(digits - 1) has no place for a fraction; numbers that large have none.
    """
    single = isinstance(x.type, ir.FloatType)
    word = ir.IntType(32 if single else 64)
    limit = ir.Constant(x.type, 2.0**23 if single else 2.0**52)
    size = _fabs(builder, kind, x)
    whole = builder.bitcast(builder.fsub(builder.fadd(size, limit), limit), word)
    sign = ir.Constant(word, 1 << (word.width - 1))
    signed = builder.or_(whole, builder.and_(builder.bitcast(x, word), sign))
    small = builder.fcmp_ordered("<", size, limit)
    return builder.select(small, builder.bitcast(signed, x.type), x)


fma = _lowered(lowered.three_floats, lowered.intrinsic("llvm.fma"))
select = _lowered(lowered.chosen, lowered.select)
sqrt = _lowered(lowered.one_float, lowered.intrinsic("llvm.sqrt"))
floor = _lowered(lowered.one_float, lowered.intrinsic("llvm.floor"))
ceil = _lowered(lowered.one_float, lowered.intrinsic("llvm.ceil"))
round = _lowered(lowered.one_float, _round)
trunc = _lowered(lowered.one_float, lowered.intrinsic("llvm.trunc"))
fabs = _lowered(lowered.one_float, _fabs)
maximum = _lowered(lowered.two_numbers, lowered.extremum(">"))
minimum = _lowered(lowered.two_numbers, lowered.extremum("<"))
sign = _lowered(lowered.one_number, lowered.sign)
bits_f32 = _lowered(_from(types.float32, types.uint32), lowered.bitcast(ir.IntType(32)))
bits_f64 = _lowered(_from(types.float64, types.uint64), lowered.bitcast(ir.IntType(64)))
real_f32 = _lowered(_from(types.uint32, types.float32), lowered.bitcast(ir.FloatType()))
real_f64 = _lowered(_from(types.uint64, types.float64), lowered.bitcast(ir.DoubleType()))


@device
def shuffle_down(value: Any, offset: Any) -> Any:
    """The value of the thread `offset` above in the warp, the own one where there is none."""
    return cuda.shfl_down_sync(0xFFFFFFFF, value, offset)


def _bound_here(function: Function) -> Function:
    """A plain function as a device function whose globals are those of this module."""
    return device(
        FunctionType(function.__code__, globals(), function.__name__, None, function.__closure__)
    )


_LOW_32 = plain._LOW_32
_TWO_OVER_PI = plain._TWO_OVER_PI
_PI_2_HIGH, _PI_2_LOW = plain._PI_2_HIGH, plain._PI_2_LOW
_window_product = _bound_here(plain._window_product)
_signed_fraction = _bound_here(plain._signed_fraction)
pi_2_remainder_f64 = _bound_here(plain.pi_2_remainder_f64)
pi_2_remainder_f32 = _bound_here(plain.pi_2_remainder_f32)

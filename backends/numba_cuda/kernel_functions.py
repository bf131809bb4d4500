"""Division, integer powers, saturating casts and the record of failed checks for device code.

Only generated sources import this module, as it needs numba-cuda. All but the record is the code of
the CPU's sources, inlined for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.cuda.extending import lower_builtin, type_callable  # type: ignore[attr-defined]

from irgrad.backends.numba_cpu.source import kernel_functions as plain
from irgrad.backends.numba_cuda.functions import device, floor

__all__ = [
    "atomic_min", "saturate_i16", "saturate_i32", "saturate_i64", "saturate_i8", "saturate_u16",
    "saturate_u32", "saturate_u64", "saturate_u8", "specialised",
]  # fmt: skip

Scalar = Any
Function = Callable[..., Any]


def specialised(name: str, scalar: Any) -> Function:
    """The device function of operands of one NumPy scalar type.

    name: "floor_divide", "remainder", "integer_power" or "integer_abs".
    """
    dtype = np.dtype(scalar)
    if name == "integer_power":
        return device(plain.power_of(dtype))
    if name == "integer_abs":
        return device(plain.absolute_of(dtype))
    if dtype.kind == "f":
        # `math.fmod` is that of libdevice, which is exact; LLVM's frem, which `np.fmod` gives, is
        # not on a GPU.
        division = plain.float_division(scalar, math.fmod, math.copysign, floor)
    else:
        division = plain.division_of(dtype)
    return device(division[("floor_divide", "remainder").index(name)])


saturate_i8 = device(plain.saturate_i8)
saturate_i16 = device(plain.saturate_i16)
saturate_i32 = device(plain.saturate_i32)
saturate_i64 = device(plain.saturate_i64)
saturate_u8 = device(plain.saturate_u8)
saturate_u16 = device(plain.saturate_u16)
saturate_u32 = device(plain.saturate_u32)
saturate_u64 = device(plain.saturate_u64)


def atomic_min(record: Any, place: int, value: int) -> int:
    """Lower record[place] to value, at once for all threads; gives what it was before."""
    raise NotImplementedError("atomic_min: a function of device code")


@type_callable(atomic_min)
def _type_of_atomic_min(_context: Any) -> Function:
    def typing(record: Any, place: Any, value: Any) -> Any:
        whole = isinstance(place, types.Integer) and isinstance(value, types.Integer)
        return types.int64 if record == types.CPointer(types.int64) and whole else None

    return typing


@lower_builtin(atomic_min, types.CPointer, types.Integer, types.Integer)
def _emit_atomic_min(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
    record, place, value = args
    _, place_type, value_type = signature.args
    place = context.cast(builder, place, place_type, types.int64)
    value = context.cast(builder, value, value_type, types.int64)
    return builder.atomic_rmw("min", builder.gep(record, [place]), value, "monotonic")

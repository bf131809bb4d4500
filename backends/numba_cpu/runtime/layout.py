"""Where CPython and NumPy keep what the door reads of their objects, checked on live objects."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np

# Of CPython 3.11 to 3.13 with a global lock, and NumPy 2 (PyArrayObject_fields), 64 bits.
OB_TYPE = 8
TUPLE_SIZE = 16
TUPLE_ITEMS = 24
ARRAY_DATA = 16
ARRAY_NDIM = 24
ARRAY_SHAPE = 32
ARRAY_DESCR = 56
ARRAY_FLAGS = 64

C_CONTIGUOUS = 0x1
ALIGNED = 0x100
WRITEABLE = 0x400


@dataclass(frozen=True, slots=True)
class Memory:
    """Reads words of memory at addresses."""

    @staticmethod
    def word(address: int) -> int:
        """The unsigned 64-bit word at an address."""
        return ctypes.c_uint64.from_address(address).value

    @staticmethod
    def int32(address: int) -> int:
        """The signed 32-bit word at an address."""
        return ctypes.c_int32.from_address(address).value


@cache
def layout_is_known() -> bool:
    """Whether live objects of this process have the layout that this module's numbers describe."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if np.ndarray.__basicsize__ <= ARRAY_FLAGS or tuple.__basicsize__ != TUPLE_ITEMS:
        return False
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    frozen = plain.T
    frozen.flags.writeable = False
    pair = (plain, frozen)
    start = id(pair)
    return (
        Memory.word(start + TUPLE_SIZE) == 2
        and Memory.word(start + TUPLE_ITEMS) == id(plain)
        and Memory.word(start + TUPLE_ITEMS + 8) == id(frozen)
        and _array_fits(plain, C_CONTIGUOUS | ALIGNED | WRITEABLE)
        and _array_fits(frozen, ALIGNED)
    )


def _array_fits(array: np.ndarray, flags: int) -> bool:
    start = id(array)
    # Flags and dtype lie behind the pointer to the sizes: where both fit, it is safe to follow.
    found = Memory.int32(start + ARRAY_FLAGS) & (C_CONTIGUOUS | ALIGNED | WRITEABLE)
    fits = (
        found == flags
        and Memory.word(start + OB_TYPE) == id(np.ndarray)
        and Memory.word(start + ARRAY_DESCR) == id(array.dtype)
        and Memory.word(start + ARRAY_DATA) == array.__array_interface__["data"][0]
        and Memory.int32(start + ARRAY_NDIM) == array.ndim
    )
    if not fits:
        return False
    sizes = Memory.word(start + ARRAY_SHAPE)
    return all(Memory.word(sizes + 8 * i) == size for i, size in enumerate(array.shape))

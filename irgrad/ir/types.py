"""Element types and tensor types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import ml_dtypes
import numpy as np

from ..errors import ArgumentError, DTypeError, brief
from .dims import Dim, Size, product


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: its IR name, kind ("b" bool, "i" signed, "u" unsigned, "f" float,
    "c" complex), size in bytes, and the equal NumPy dtype."""

    name: str
    kind: str
    itemsize: int
    numpy: np.dtype

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"


def _dtype(name: str, kind: str, numpy_type: type) -> DType:
    dtype = np.dtype(numpy_type)
    return DType(name, kind, dtype.itemsize, dtype)


BOOL = _dtype("bool", "b", np.bool_)
I8 = _dtype("i8", "i", np.int8)
I16 = _dtype("i16", "i", np.int16)
I32 = _dtype("i32", "i", np.int32)
I64 = _dtype("i64", "i", np.int64)
U8 = _dtype("u8", "u", np.uint8)
U16 = _dtype("u16", "u", np.uint16)
U32 = _dtype("u32", "u", np.uint32)
U64 = _dtype("u64", "u", np.uint64)
F16 = _dtype("f16", "f", np.float16)
BF16 = _dtype("bf16", "f", ml_dtypes.bfloat16)
F32 = _dtype("f32", "f", np.float32)
F64 = _dtype("f64", "f", np.float64)
C64 = _dtype("c64", "c", np.complex64)
C128 = _dtype("c128", "c", np.complex128)

DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        d.name: d
        for d in (BOOL, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64, C64, C128)
    }
)
_BY_NUMPY: Mapping[np.dtype, DType] = MappingProxyType({d.numpy: d for d in DTYPES.values()})


def dtype_of(numpy_dtype: np.dtype | type | str) -> DType:
    """The IR dtype of a NumPy dtype, byte order ignored.

    Raises DTypeError for a dtype that irgrad does not know (objects, strings, dates, long double).
    """
    dtype = np.dtype(numpy_dtype)
    found = _BY_NUMPY.get(dtype)
    if found is None and not dtype.isnative:
        found = _BY_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        known = ", ".join(DTYPES)
        raise DTypeError(f"dtype: expected one of {known}, got {dtype!r}")
    return found


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of a value: element type and shape, whose sizes are ints or symbolic dims.

    Raises ArgumentError for fields of other kinds.
    """

    dtype: DType
    shape: tuple[Size, ...]

    def __post_init__(self) -> None:
        if type(self.dtype) is not DType:
            raise ArgumentError(f"type: expected a DType, got {brief(self.dtype)}")
        if type(self.shape) is not tuple:
            raise ArgumentError(f"type: expected the sizes in a tuple, got {brief(self.shape)}")
        for size in self.shape:
            if type(size) is not int and type(size) is not Dim:
                raise ArgumentError(f"type: expected sizes, int or Dim, got {brief(size)}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        """Number of elements."""
        return product(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__

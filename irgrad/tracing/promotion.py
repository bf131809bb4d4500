"""NumPy's type promotion (NEP 50), asked of NumPy itself.

A kind of operand is written as NumPy's own functions take it: a `np.dtype` for arrays and all else
with a fixed dtype, the Python types `int` and `float` for numbers that adapt to the others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..errors import DTypeError
from ..ir.location import Location, describe
from ..ir.types import BOOL, F32, F64, I32, I64, DType, dtype_of

Kind = np.dtype | type
SUPPORTED = (BOOL, I32, I64, F32, F64)


class Widening(NamedTuple):
    """A float array that promotion converted to a wider float dtype, and the line that did it."""

    location: Location | None
    source: DType
    target: DType

    def __str__(self) -> str:
        text = f"{self.source} is widened to {self.target}"
        return f"{text}\n{describe(self.location)}" if self.location else text


class Loop(NamedTuple):
    """The dtypes in which an elementwise function computes, and whether its result is weak."""

    operands: tuple[DType, ...]
    result: DType
    weak: bool


def _default(kind: Kind) -> np.dtype:
    """The dtype of a Python number that meets no array."""
    return kind if isinstance(kind, np.dtype) else np.dtype(np.int64 if kind is int else np.float64)


def _all_weak(kinds: tuple[Kind, ...]) -> bool:
    return not any(isinstance(kind, np.dtype) for kind in kinds)


def _checked(function: str, kinds: tuple[Kind, ...], dtype: np.dtype) -> DType:
    """The IR dtype, refused where promotion leaves the supported dtypes."""
    found = dtype_of(dtype)
    known = all(dtype_of(_default(kind)) in SUPPORTED for kind in kinds)
    if known and found not in SUPPORTED:
        operands = " and ".join(map(name_of, kinds))
        raise DTypeError(
            f"{function}: expected operands that NumPy computes in "
            f"{', '.join(d.name for d in SUPPORTED)}, got {operands}, computed in {found}; "
            "convert them first with astype"
        )
    return found


def name_of(kind: Kind) -> str:
    """How a kind of operand is called in messages."""
    return dtype_of(kind).name if isinstance(kind, np.dtype) else f"a Python {kind.__name__}"


@lru_cache(maxsize=4096)
def ufunc_loop(ufunc: np.ufunc, kinds: tuple[Kind, ...]) -> Loop:
    """The dtypes that a NumPy ufunc of one result computes in, for operands of these kinds.

    Raises DTypeError where NumPy has no loop for them, or computes in a dtype that irgrad lacks.
    """
    weak = _all_weak(kinds)
    asked = tuple(map(_default, kinds)) if weak else kinds
    try:
        resolved = ufunc.resolve_dtypes((*asked, None))  # type: ignore[arg-type]
    except TypeError:
        operands = " and ".join(map(name_of, kinds))
        raise DTypeError(
            f"{ufunc.__name__}: expected operands of dtypes that NumPy accepts, got {operands}"
        ) from None
    dtypes = tuple(_checked(ufunc.__name__, kinds, dtype) for dtype in resolved)
    return Loop(dtypes[:-1], dtypes[-1], weak and dtypes[-1] is not BOOL)


@lru_cache(maxsize=4096)
def result_kind(function: str, kinds: tuple[Kind, ...]) -> tuple[DType, bool]:
    """The common dtype of operands, and whether it is that of Python numbers alone."""
    if _all_weak(kinds):
        return dtype_of(_default(float if float in kinds else int)), True
    examples = [kind if isinstance(kind, np.dtype) else kind(0) for kind in kinds]
    return _checked(function, kinds, np.result_type(*examples)), False


def inexact(dtype: DType) -> DType:
    """The dtype in which NumPy takes means of a dtype: float64 for integers and bool."""
    return dtype if dtype.kind in "fc" else F64


def accumulator(dtype: DType) -> DType:
    """The dtype in which NumPy sums and multiplies a dtype: 64 bits for integers and bool."""
    return dtype_of(np.add.reduce(np.zeros(0, dtype.numpy)).dtype)

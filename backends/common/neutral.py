"""The values that reductions start from."""

from __future__ import annotations

import math

from irgrad.ir.types import DTYPES


def neutral_value(kind: str, dtype: str) -> bool | int | float:
    """The value whose combination with any x is x, bit for bit.

    kind: of a Reduction; argmax starts from what max does, argmin from what min does.
    """
    type_ = DTYPES[dtype]
    if kind == "sum":
        return -0.0 if type_.is_float else 0
    if kind == "prod":
        return 1.0 if type_.is_float else 1
    if kind in ("any", "all"):
        return kind == "all"
    largest = kind in ("min", "argmin")
    if type_.is_float:
        return math.inf if largest else -math.inf
    if type_.kind == "b":
        return largest
    bits = 8 * type_.itemsize
    if type_.kind == "u":
        return (1 << bits) - 1 if largest else 0
    return (1 << (bits - 1)) - 1 if largest else -(1 << (bits - 1))

"""Floats by their bits: numbers that compare equal, or never do, told apart."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

from .graph import Graph


def exact_text(number: float) -> str:
    """A text that two floats share if they have the same bits: by it 0.0 and -0.0 differ, and so do
    NaNs of another sign or payload."""
    return struct.pack("<d", number).hex() if math.isnan(number) else number.hex()


def nan_bits(graph: Graph) -> Iterator[str]:
    """The bits of NaN constants, which have one canonical text; in canonical order."""
    for key in graph.order():
        for _, value in graph[key].attributes:
            yield from _nans(value)


def _nans(value: Any) -> Iterator[str]:
    if isinstance(value, float) and math.isnan(value):
        yield exact_text(value)
    elif isinstance(value, tuple):
        for item in value:
            yield from _nans(item)
    elif isinstance(value, Graph):
        yield from nan_bits(value)

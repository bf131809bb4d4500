"""The call boundary: what users pass, made into the arrays that compiled code takes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, DonationError, DTypeError, brief
from ..interpret import bind_dims
from ..ir.dims import Dim
from ..ir.types import TensorType, dtype_of
from ..ops.size_guards import SizeGuard, check_sizes

LARGE = 1e4  # numbers below are within the range of every float dtype


@dataclass(frozen=True, slots=True)
class Parameter:
    """One array argument: its name in messages, its type, and whether it is donated."""

    label: str
    type: TensorType
    donated: bool = False


def describe_value(value: object) -> str:
    """How messages call an argument that was passed."""
    if isinstance(value, np.ndarray):
        kind = "" if type(value) is np.ndarray else f"{type(value).__name__} "
        try:
            return f"{kind}{TensorType(dtype_of(value.dtype), value.shape)}"
        except DTypeError:
            return f"{kind}{value.dtype}{list(value.shape)}"
    if isinstance(value, np.generic):
        return f"the NumPy scalar {brief(value)}"
    if isinstance(value, (bool, int, float)):
        return f"the Python {type(value).__name__} {brief(value)}"
    return f"{brief(value)} of type {type(value).__name__}"


def is_plain(value: object, dtype: np.dtype, writeable: bool) -> bool:
    """Whether a value is an ndarray whose memory compiled code can use as it is."""
    if type(value) is not np.ndarray or value.dtype != dtype or not value.dtype.isnative:
        return False
    flags = value.flags
    return flags.c_contiguous and flags.aligned and (flags.writeable or not writeable)


class Boundary:
    """Checks and converts the arguments of one compiled function.

    guards: what the numbers behind named sizes have to fulfil.
    copies: how often each argument had to be copied, by label.
    """

    def __init__(
        self, parameters: Sequence[Parameter], guards: tuple[SizeGuard, ...] = ()
    ) -> None:
        self.parameters = tuple(parameters)
        self._guards = guards
        self.copies: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._symbolic = any(
            isinstance(size, Dim) for parameter in self.parameters for size in parameter.type.shape
        )

    def admit(self, leaves: Sequence[object]) -> tuple[np.ndarray, ...]:
        """The leaves as plain arrays of the expected types: the same objects wherever possible.

        Strided, misaligned and byte-swapped arrays are copied; NumPy scalars, and Python numbers
        that the dtype holds, become arrays of rank 0.
        Raises ArgumentError that names the argument, DonationError for a donated array that cannot
        be overwritten or shares memory with another argument, ShapeError or LimitError for sizes
        that the guards refuse.
        """
        arrays = [_admit(leaf, p) for leaf, p in zip(leaves, self.parameters, strict=True)]
        if self._symbolic:
            dims = bind_dims(
                [p.type for p in self.parameters],
                [array.shape for array in arrays],
                [p.label for p in self.parameters],
            )
            check_sizes(self._guards, dims)
        self._count(leaves, arrays)
        return tuple(arrays)

    def check_overlap(self, leaves: Sequence[object], captures: Iterable[np.ndarray]) -> None:
        """Raise DonationError where donated memory also belongs to another argument or capture."""
        named = [(x, p.label, p.donated) for x, p in zip(leaves, self.parameters)]
        named += [(x, "a captured array", False) for x in captures]
        _check_overlap([(x, label, d) for x, label, d in named if isinstance(x, np.ndarray)])

    def _count(self, leaves: Sequence[object], arrays: Sequence[np.ndarray]) -> None:
        for parameter, leaf, array in zip(self.parameters, leaves, arrays):
            if array is leaf or not isinstance(leaf, np.ndarray):
                continue
            if array.base is not leaf:
                with self._lock:
                    self.copies[parameter.label] += 1


def _admit(value: object, parameter: Parameter) -> np.ndarray:
    if type(value) is not np.ndarray:
        if parameter.donated:
            raise DonationError(
                f"{parameter.label}: expected an ndarray to donate, got {describe_value(value)}"
            )
        value = _as_array(value, parameter)
    expected = parameter.type
    dtype = expected.dtype.numpy
    fits = value.ndim == expected.rank and all(
        isinstance(size, Dim) or size == got for size, got in zip(expected.shape, value.shape)
    )
    if not fits or (value.dtype != dtype and value.dtype.newbyteorder("=") != dtype):
        hint = f"; convert it with astype({dtype.name!r})" if fits else ""
        raise ArgumentError(
            f"{parameter.label}: expected {expected}, got {describe_value(value)}{hint}"
        )
    if is_plain(value, dtype, writeable=parameter.donated):
        # An equal dtype that is another object (unpickled arrays have one) gets the usual one.
        return value if value.dtype is dtype else value.view(dtype)
    if parameter.donated:
        raise DonationError(
            f"{parameter.label}: expected an array to donate that is writeable, C-contiguous, "
            f"aligned and of native byte order, got {_faults(value)}"
        )
    return np.array(value, dtype=dtype, order="C")


def _faults(value: np.ndarray) -> str:
    flags = value.flags
    faults = [
        text
        for text, fault in (
            ("a read-only array", not flags.writeable),
            ("an array that is not C-contiguous", not flags.c_contiguous),
            ("a misaligned array", not flags.aligned),
            ("an array of foreign byte order", not value.dtype.isnative),
        )
        if fault
    ]
    return " and ".join(faults)


def _as_array(value: object, parameter: Parameter) -> np.ndarray:
    """The array of rank 0 of a number, or the ndarray below a memory map."""
    if isinstance(value, np.memmap):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray):
        raise ArgumentError(
            f"{parameter.label}: expected a plain ndarray {parameter.type}, got the subclass "
            f"{type(value).__name__}, whose rules compiled code does not follow; pass "
            "numpy.asarray(x)"
        )
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, (bool, int, float)):
        return _from_number(value, parameter)
    hint = "; pass numpy.asarray(x)" if isinstance(value, (list, tuple)) else ""
    if isinstance(value, dict):
        hint = "; a spec has the structure of its argument"
    raise ArgumentError(
        f"{parameter.label}: expected an array {parameter.type}, got {describe_value(value)}{hint}"
    )


def _from_number(value: bool | int | float, parameter: Parameter) -> np.ndarray:
    """A Python number as an array of rank 0, where NumPy's promotion would keep the dtype."""
    dtype = parameter.type.dtype
    kinds = "b" if isinstance(value, bool) else "iufc" if isinstance(value, int) else "fc"
    if parameter.type.shape or dtype.kind not in kinds:
        raise ArgumentError(
            f"{parameter.label}: expected {parameter.type}, got {describe_value(value)}"
        )
    try:
        if -LARGE < value < LARGE:
            return np.array(value, dtype.numpy)
        with np.errstate(over="ignore"):
            return np.asarray(dtype.numpy.type(value))
    except OverflowError:
        raise ArgumentError(
            f"{parameter.label}: expected a number that {dtype} holds, got {brief(value)}"
        ) from None


def _check_overlap(arrays: Sequence[tuple[np.ndarray, str, bool]]) -> None:
    """Look at neighbours by address only: donated memory is one block."""
    spans = sorted(
        (
            (*np.lib.array_utils.byte_bounds(array), array, label, donated)
            for array, label, donated in arrays
            if array.size
        ),
        key=lambda span: span[:2],
    )
    alive: list[tuple[int, int, np.ndarray, str, bool]] = []
    for span in spans:
        alive = [other for other in alive if other[1] > span[0]]
        for other in alive:
            if (span[4] or other[4]) and np.shares_memory(span[2], other[2]):
                first, second = (span, other) if span[4] else (other, span)
                raise DonationError(
                    f"{first[3]}: expected a donated array that shares no memory with other "
                    f"arguments, got one that overlaps {second[3]}"
                )
        alive.append(span)

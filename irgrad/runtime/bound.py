"""Bound calls: arguments and results fixed, nothing checked and nothing allocated at a call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import ArgumentError, LimitError
from ..ir.dims import as_shape
from ..ir.shown import short
from ..ir.types import DTYPES, TensorType
from ..tracing.locations import add_location, user_locations
from .boundary import describe_value, is_plain

if TYPE_CHECKING:
    from ..kernel.program import Result
    from .backend import BoundRun


class Bound:
    """A compiled function on fixed arrays: each call computes anew into the same result arrays.

    Donated arguments are results too, so a call goes on from where the last one ended. One caller
    at a time: a second one meanwhile gets an ArgumentError.
    """

    __slots__ = ("_acquire", "_fail", "_keep", "_release", "_run", "name", "result")

    def __init__(self, name: str, run: BoundRun, result: Any) -> None:
        lock = threading.Lock()
        self.name = name
        self.result = result
        self._run = run.run
        self._fail = run.fail
        self._acquire = lock.acquire
        self._release = lock.release
        self._keep = run

    def __call__(self) -> Any:
        """Compute, and return `result`, whose arrays now hold the new values.

        Raises CheckError where a check of the program fails; ArgumentError where another thread is
        inside of this very call.
        """
        if not self._acquire(False):
            raise ArgumentError(
                f"{self.name}: expected one caller of a bound call at a time, got a second one; "
                "bind once for each thread"
            )
        try:
            if self._run():
                self._fail()
        finally:
            self._release()
        return self.result

    def __repr__(self) -> str:
        return f"Bound({short(self.name)})"

    def __copy__(self) -> Bound:
        """The call itself: its arrays are fixed."""
        return self

    def __deepcopy__(self, memo: object) -> Bound:
        return self

    def __reduce__(self) -> NoReturn:
        error = ArgumentError(
            f"{self.name}: expected no pickle of a bound call; bind anew where it is read"
        )
        add_location(error, user_locations())
        raise error


def make_result_arrays(
    results: Sequence[Result],
    given: Sequence[Any],
    arguments: Sequence[np.ndarray],
    captures: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """The array that receives each result: the donated argument, the given one, or a new one.

    given: arrays, or None where one has to be allocated.
    Raises ArgumentError for a given array of another type, one that cannot be written as it is, or
    one that shares memory with an argument, a capture or another result.
    """
    made: list[np.ndarray] = []
    fresh: list[np.ndarray] = []
    for position, (result, array) in enumerate(zip(results, given, strict=True)):
        label = f"out: result {position}"
        if result.kind == "donated":
            if array is not None and array is not arguments[result.number]:
                raise ArgumentError(
                    f"{label}: expected None or the donated argument itself, got "
                    f"{describe_value(array)}"
                )
            made.append(arguments[result.number])
            continue
        dtype = DTYPES[result.dtype]
        if array is None:
            try:
                made.append(np.empty(as_shape(result.shape), dtype.numpy))
            except MemoryError:
                raise LimitError(
                    f"{label}: expected a result that fits in memory, got "
                    f"{TensorType(dtype, result.shape)}"
                ) from None
            continue
        if not is_plain(array, dtype.numpy, True) or array.shape != result.shape:
            raise ArgumentError(
                f"{label}: expected a writeable C-contiguous {TensorType(dtype, result.shape)}, "
                f"got {describe_value(array)}"
            )
        others = [*arguments, *captures, *fresh]
        if any(np.shares_memory(array, other) for other in others):
            raise ArgumentError(
                f"{label}: expected an array of its own, got one that shares memory with an "
                "argument, a captured array or another result"
            )
        fresh.append(array)
        made.append(array)
    return made

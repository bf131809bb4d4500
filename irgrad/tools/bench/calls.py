"""`irgrad bench calls`: what a call costs beside the work that it does."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import optree

from ...transforms import jit
from .process import on_measuring_core
from .rounds import Clock, batch_timer, compare_rounds, interleave, time_batch

CALLS = 2000  # of a batch
_EMPTY = """
define i32 @empty() {
  ret i32 0
}

define i32 @empty_of_four(ptr %context, ptr %sizes, ptr %buffers, ptr %arena) {
  ret i32 0
}
"""


@dataclass(frozen=True, slots=True)
class CallCost:
    """The seconds of a call by round, of `name` and of what it is measured in, `unit`."""

    name: str
    unit: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """The median over the rounds of the call's time / the unit's."""
        return compare_rounds(self.ours, self.theirs).ratio

    @property
    def best(self) -> float:
        """The call's shortest round / the unit's."""
        return compare_rounds(self.ours, self.theirs).best


def run_calls(rounds: int, calls: int, clock: Clock) -> list[CallCost]:
    """Time a jitted and a bound call of a sum of two small arrays, in batches of `calls`."""
    x, y = np.ones(8, np.float32), np.ones(8, np.float32)
    jitted = jit(lambda a, b: a + b)
    bound = jitted.compiled(x, y).bind(x, y)
    flatten: Callable[[Any], Any] = optree.tree_flatten
    empty, empty_of_four, owner = _empty_functions()
    contenders: dict[str, Callable[[], Any]] = {
        "jit": lambda: jitted(x, y),
        "flatten": lambda: flatten((x, y)),
        "bind": bound,
        "empty": empty,
        "empty of four": lambda: empty_of_four(None, None, None, None),
    }
    try:
        with on_measuring_core():
            for call in contenders.values():
                time_batch(call, calls, clock)
            timed = {name: batch_timer(call, calls, clock) for name, call in contenders.items()}
            found = interleave(timed, rounds)
    finally:
        del owner
    return [
        CallCost("jit: two arrays in, one out", "optree flatten of the arguments",
                 found["jit"], found["flatten"]),
        CallCost("bind", "ctypes call of an empty function", found["bind"], found["empty"]),
        CallCost("bind", "the same with four pointers", found["bind"], found["empty of four"]),
    ]  # fmt: skip


def _empty_functions() -> tuple[Callable[..., int], Callable[..., int], object]:
    """C functions that do nothing, through ctypes, and what keeps their code in memory.

    The second takes the four pointers that the entry of a compiled graph takes.
    """
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_EMPTY), machine)
    engine.finalize_object()
    none = ctypes.CFUNCTYPE(ctypes.c_int32)
    four = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)
    addresses = [engine.get_function_address(name) for name in ("empty", "empty_of_four")]
    return none(addresses[0]), four(addresses[1]), engine


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("call", "us", "unit", "unit us", "call / unit", "by minima")


def call_rows(costs: list[CallCost]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (c.name, f"{median(c.ours) * 1e6:.3f}", c.unit, f"{median(c.theirs) * 1e6:.3f}",
         f"{c.ratio:.2f}", f"{c.best:.2f}")
        for c in costs
    ]  # fmt: skip


def call_json(costs: list[CallCost]) -> dict[str, Any]:
    """The report as data: seconds by round."""
    return {
        "calls": [
            {"name": c.name, "unit": c.unit, "ratio": c.ratio, "best": c.best,
             "call": c.ours, "of_unit": c.theirs}
            for c in costs
        ]
    }  # fmt: skip

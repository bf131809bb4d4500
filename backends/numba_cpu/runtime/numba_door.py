"""The door from jitted code: a function of Numba around the entry of a compiled program.

The function is made as text for its number of arguments: it checks them, allocates the results and
the scratch memory by Numba's own means, which free them, runs the entry and raises where a check
failed. It raises in its own body alone, as Numba drops no references of the frames in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import config, njit

from irgrad.errors import CheckError

from ..source.load import SourceCode
from ..source.names import Identifiers
from .call_plan import Call, CallPlan, failure_text
from .door import FRAME_HEADER
from .executable import Code
from .frames import ALIGNMENT
from .numba_stubs import Function, admission, captured, flat, native_entry, overlap, type_text


def numba_function(plan: CallPlan, code: Code | SourceCode, call: Call) -> Function:
    """The function that jitted code calls, the same one each time; it keeps the code in memory.

    call: runs the code from Python, for processes in which Numba compiles nothing.
    Raises ArgumentError for a captured array that has to be copied at each call.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return _plain_function(plan, call)
    return _native_function(plan, code) if isinstance(code, Code) else _source_function(plan, code)


@cache
def _native_function(plan: CallPlan, code: Code) -> Function:
    """The function around machine code."""
    size = FRAME_HEADER + code.arena_bytes + ALIGNMENT

    def run(buffers: Sequence[str]) -> list[str]:
        listed = f"({', '.join(buffers)},)" if buffers else "()"
        return [
            f"frame = np.empty({size}, np.uint8)",
            f"status, check = run({listed}, frame)",
        ]

    return _function(plan, run, native_entry(f"{code.symbol}_{code.address:x}", code.address))


@cache
def _source_function(plan: CallPlan, code: SourceCode) -> Function:
    """The function around jitted source."""

    def run(buffers: Sequence[str]) -> list[str]:
        return [
            "failures = np.zeros(3, np.int64)",
            f"arena = np.empty({code.arena_bytes}, np.uint8)",
            f"status = run({', '.join([*buffers, 'failures', 'arena'])})",
            "check = failures[1]",
        ]

    return _function(plan, run, code.entry)


def _plain_function(plan: CallPlan, call: Call) -> Function:
    """The same in plain Python."""
    wanted = [one for one in plan.inputs if isinstance(one.source, int)]
    expected = ", ".join(map(type_text, wanted))

    def function(*arguments: Any) -> Any:
        arrays = tuple(
            x if isinstance(x, np.ndarray) or one.shape else np.asarray(x, one.dtype)
            for x, one in zip(arguments, wanted, strict=True)
        )
        leaves = call(arrays)
        if leaves is None:
            raise ValueError(f"{plan.name}: expected contiguous arrays {expected}")
        return leaves[0] if len(leaves) == 1 else tuple(leaves)

    return function


# -- the text of the function ----------------------------------------------------------------------


def _function(
    plan: CallPlan, run: Callable[[Sequence[str]], list[str]], entry: Function
) -> Function:
    """The function that checks, allocates, runs and returns.

    run: gives the lines that call `entry`, as `run`, on some buffers, and set status and check.
    """
    count = len(plan.inputs) - len(plan.captures)
    identifiers = Identifiers(("np", "failures", "frame", "arena", "run", "status", "check"))
    parameters = [identifiers.fresh(label) for label in plan.labels[:count]]
    space: dict[str, Any] = {
        "np": np, "CheckError": CheckError, "flat": flat, "overlap": overlap, "run": entry,
    }  # fmt: skip
    checks: list[str] = []
    views: list[str] = []
    for i, one in enumerate(plan.inputs):
        if i >= count:
            space[f"captured_{i}"] = captured(plan.name, plan.labels[i], one)
            views.append(f"input_{i} = captured_{i}()")
            continue
        space[f"fits_{i}"], space[f"view_{i}"] = admission(one, f"{plan.name}: {plan.labels[i]}")
        message = f"{plan.name}: {plan.labels[i]}: expected a contiguous {type_text(one)}"
        checks += _refusal(f"not fits_{i}({parameters[i]})", message)
        views.append(f"input_{i} = view_{i}({parameters[i]})")
    buffers = [f"input_{i}" for i in range(len(plan.inputs))]
    buffers += [f"flat(output_{i})" for i in range(len(plan.outputs))]
    lines = [
        *checks,
        *views,
        *_overlaps(plan),
        *_allocations(plan, space),
        *run(buffers),
        *_failures(plan),
        *_results(plan, parameters),
    ]
    text = "\n".join([f"def call({', '.join(parameters)}):", *(f"    {line}" for line in lines)])
    exec(compile(text, "<irgrad from jitted code>", "exec"), space)
    return njit(nogil=True, error_model="numpy")(space["call"])


def _refusal(condition: str, message: str) -> list[str]:
    return [f"if {condition}:", f"    raise ValueError({message!r})"]


def _overlaps(plan: CallPlan) -> list[str]:
    """Refuse donated memory that is another input's, too."""
    lines: list[str] = []
    for i, one in enumerate(plan.inputs):
        for j in range(len(plan.inputs)) if one.donated else ():
            if j > i or (j < i and not plan.inputs[j].donated):
                message = (
                    f"{plan.name}: {plan.labels[i]}: expected a donated array that shares no "
                    f"memory with {plan.labels[j]}"
                )
                lines += _refusal(f"overlap(input_{i}, input_{j})", message)
    return lines


def _allocations(plan: CallPlan, space: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for i, (shape, dtype) in enumerate(plan.outputs):
        space[f"dtype_{i}"] = dtype.type
        lines.append(f"output_{i} = np.empty({shape}, dtype_{i})")
    return lines


def _failures(plan: CallPlan) -> list[str]:
    """Raise the error of the check that failed."""
    lines: list[str] = []
    for number, site in enumerate(plan.program.checks):
        message = failure_text(site, None)
        lines += [f"if status != 0 and check == {number}:", f"    raise CheckError({message!r})"]
    return lines


def _results(plan: CallPlan, parameters: Sequence[str]) -> list[str]:
    """Copies of inputs that are results, then the statement that returns all of them."""
    lines: list[str] = []
    leaves: list[str] = []
    for i, result in enumerate(plan.program.results):
        if result.kind == "output":
            leaves.append(f"output_{result.number}")
        elif result.kind == "donated":
            leaves.append(parameters[result.number])
        else:
            lines += [
                f"copy_{i} = np.empty({result.shape}, input_{result.number}.dtype)",
                f"flat(copy_{i})[:] = input_{result.number}",
            ]
            leaves.append(f"copy_{i}")
    listed = leaves[0] if len(leaves) == 1 else f"({', '.join(leaves)})"
    return [*lines, f"return {listed}"]

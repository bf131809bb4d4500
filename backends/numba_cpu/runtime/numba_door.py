"""The door from jitted code: a function of Numba around the entry of a compiled program.

The function is made as text for its number of arguments: it finds the numbers behind named sizes,
checks the arguments, allocates the results and the scratch memory by Numba's own means, which free
them, runs the entry and raises where a check failed. It raises in its own body alone, as Numba
drops no references of the frames in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numba import config, njit

from irgrad.errors import ArgumentError, CheckError, LimitError, ShapeError
from irgrad.interpret import bind_dims
from irgrad.ir.dims import Size
from irgrad.ir.location import describe
from irgrad.kernel.slots import ALIGNMENT
from irgrad.ops.size_guards import check_sizes

from ..source.kernel_functions import aligned
from ..source.load import SourceCode
from ..source.names import Identifiers, free_names
from ..source.sizes import SizeTexts
from .call_plan import Call, failure_text
from .door import FRAME_HEADER
from .executable import Code
from .jitted_plan import JittedPlan
from .numba_stubs import Function, admission, captured, flat, native_entry, overlap, quotient

Run = Callable[[Sequence[str], Sequence[str], str], list[str]]
TAKEN = (
    "np", "failures", "frame", "arena", "run", "status", "check", "flat", "overlap", "quotient",
    "call",
)  # fmt: skip


def numba_function(plan: JittedPlan, code: Code | SourceCode, call: Call) -> Function:
    """The function that jitted code calls, the same one each time; it keeps the code in memory.

    call: runs the code from Python, for processes in which Numba compiles nothing.
    Raises ArgumentError for a captured array that has to be copied at each call.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return _plain_function(plan, call)
    return _native_function(plan, code) if isinstance(code, Code) else _source_function(plan, code)


@cache
def _native_function(plan: JittedPlan, code: Code) -> Function:
    """The function around machine code."""
    fixed = FRAME_HEADER + code.arena_bytes + ALIGNMENT

    def run(buffers: Sequence[str], dims: Sequence[str], slots: str) -> list[str]:
        return [
            f"frame = np.empty({fixed}{slots}, np.uint8)",
            f"status, check = run({_listed(buffers)}, frame, {_listed(dims)})",
        ]

    return _Printer(plan).function(
        run, native_entry(f"{code.symbol}_{code.address:x}", code.address)
    )


@cache
def _source_function(plan: JittedPlan, code: SourceCode) -> Function:
    """The function around jitted source."""

    def run(buffers: Sequence[str], dims: Sequence[str], slots: str) -> list[str]:
        return [
            "failures = np.zeros(3, np.int64)",
            f"arena = np.empty({code.arena_bytes}{slots}, np.uint8)",
            f"status = run({', '.join([*buffers, 'failures', 'arena', *dims])})",
            "check = failures[1]",
        ]

    return _Printer(plan).function(run, code.entry)


def _plain_function(plan: JittedPlan, call: Call) -> Function:
    """The same in plain Python."""
    types = plan.types
    expected = ", ".join(map(str, types))

    def function(*arguments: Any) -> Any:
        arrays = tuple(
            x if isinstance(x, np.ndarray) or type_.rank else np.asarray(x, type_.dtype.numpy)
            for x, type_ in zip(arguments, types, strict=True)
        )
        leaves = call(arrays)
        if leaves is None:
            with suppress(ArgumentError):
                shapes = [np.shape(array) for array in arrays]
                check_sizes(plan.guards, bind_dims(types, shapes, plan.labels[: len(types)]))
            raise ValueError(f"{plan.name}: expected contiguous arrays {expected}")
        return leaves[0] if len(leaves) == 1 else tuple(leaves)

    return function


# -- the text of the function ----------------------------------------------------------------------


class _Printer:
    """Prints the function that binds named sizes, checks, allocates, runs and returns.

    space: what its text needs by name.
    """

    def __init__(self, plan: JittedPlan) -> None:
        self.plan = plan
        made = (
            f"{name}_{i}"
            for name in ("fits", "view", "size", "captured", "input", "dtype", "output", "copy",
                         "slot")
            for i in range(len(plan.inputs) + len(plan.results) + len(plan.program.slots) + 1)
        )  # fmt: skip
        self.identifiers = Identifiers((*TAKEN, *made))
        self.parameters = [
            self.identifiers.fresh(label) for label in plan.labels[: plan.arguments]
        ]
        self.dims = {name: self.identifiers.fresh(name) for name in plan.names}
        self.sizes = SizeTexts(self.dims)
        self.space: dict[str, Any] = {
            "np": np, "CheckError": CheckError, "ShapeError": ShapeError, "LimitError": LimitError,
            "flat": flat, "overlap": overlap, "quotient": quotient, "aligned": aligned,
        }  # fmt: skip

    def function(self, run: Run, entry: Function) -> Function:
        """The function, compiled when it is first called.

        run: gives the lines that call `entry`, as `run`, on buffers and dims, and set status and
        check; it is given the text that adds the bytes of slots to others.
        """
        plan, count = self.plan, len(self.plan.inputs)
        buffers = [f"input_{i}" for i in range(count)]
        buffers += [f"flat(output_{i})" for i in range(len(plan.outputs))]
        slots = plan.program.slots
        lines = [
            *self._admission(),
            *self._guards(),
            *self._overlaps(),
            *self._allocations(),
            *(self.sizes.slot_lines(slots) if slots else ()),
            *run(buffers, list(self.dims.values()), f"+slot_{len(slots)}" if slots else ""),
            *self._failures(),
            *self._results(),
        ]
        head = f"def call({', '.join(self.parameters)}):"
        text = "\n".join([head, *(f"    {line}" for line in lines)])
        space = self.space | {"run": entry}
        exec(compile(text, "<irgrad from jitted code>", "exec"), space)
        return njit(nogil=True, error_model="numpy")(space["call"])

    def _shape(self, shape: Sequence[Size]) -> str:
        return _listed([self.sizes.of(size) for size in shape])

    def _admission(self) -> list[str]:
        """Bind the names, check the arguments, and view all inputs as flat arrays."""
        plan, space = self.plan, self.space
        checks: list[str] = []
        views: list[str] = []
        for i, one in enumerate(plan.inputs):
            label = f"{plan.name}: {plan.labels[i]}"
            if i >= plan.arguments:
                space[f"captured_{i}"] = captured(label, one)
                views.append(f"input_{i} = captured_{i}()")
                continue
            space[f"fits_{i}"], space[f"view_{i}"], space[f"size_{i}"] = admission(one, label)
            fits = f"fits_{i}({self.parameters[i]}, {self._shape(one.type.shape)})"
            checks += _refusal(f"not {fits}", f"{label}: expected a contiguous {one.type}")
            views.append(f"input_{i} = view_{i}({self.parameters[i]})")
        return [*self._binding(), *checks, *views]

    def _binding(self) -> list[str]:
        """Set each name by the first axis that determines it."""
        plan = self.plan
        lines: list[str] = []
        for name, ways in plan.dims.items():
            found = self.dims[name]
            for position, way in enumerate(ways):
                size = f"size_{way.input}({self.parameters[way.input]}, {way.axis})"
                if way.slope == 1 and way.rest == 0:
                    lines.append(f"{found} = {size}")
                    continue
                slope = self.sizes.of(way.slope)
                rest = f"{size} - {self.sizes.operand(way.rest)}"
                lines += [f"if {found} < 0:"] if position else []
                indent = "    " if position else ""
                lines.append(f"{indent}{found} = quotient({rest}, {slope})")
            first = ways[0]
            if first.slope != 1 or first.rest != 0:
                message = (
                    f"{plan.name}: {plan.labels[first.input]}: expected sizes that determine "
                    f"{name} in axis {first.axis} of {plan.inputs[first.input].type}"
                )
                lines += _refusal(f"{found} < 0", message)
        return lines

    def _guards(self) -> list[str]:
        """Refuse numbers that do not fulfil what the program needs."""
        reals = {name: self.identifiers.fresh(f"real_{name}") for name in self.dims}
        texts = SizeTexts(reals)
        lines: list[str] = []
        for guard in self.plan.guards:
            line = f"\n{describe(guard.location)}" if guard.location else ""
            message = f"{guard.op}: expected {guard.meaning}{line}"
            if guard.size is not None:
                lines += _refusal(f"{self.sizes.of(guard.size)} < 0", message, "ShapeError")
            elif not self._is_input(guard.factors):
                known = math.prod(x or 1 for x in guard.factors if isinstance(x, int))
                others = [texts.of(x) for x in guard.factors if not isinstance(x, int)]
                text = " * ".join([f"{known}.0", *(f"max(1.0, {other})" for other in others)])
                lines += _refusal(f"{text} >= 2.0**63", message, "LimitError")
        used = free_names("\n".join(lines))
        # Integers would wrap around.
        floats = [f"{reals[n]} = float({x})" for n, x in self.dims.items() if reals[n] in used]
        return [*floats, *lines]

    def _is_input(self, factors: Sequence[Size]) -> bool:
        """Whether an argument has these sizes and bytes of an element, which then are not many."""
        known = ((*type_.shape, type_.dtype.itemsize) for type_ in self.plan.types)
        return sorted(map(str, factors)) in [sorted(map(str, sizes)) for sizes in known]

    def _overlaps(self) -> list[str]:
        """Refuse donated memory that is another input's, too."""
        plan, lines = self.plan, list[str]()
        for i, one in enumerate(plan.inputs):
            for j in range(len(plan.inputs)) if one.donated else ():
                if j > i or (j < i and not plan.inputs[j].donated):
                    message = (
                        f"{plan.name}: {plan.labels[i]}: expected a donated array that shares no "
                        f"memory with {plan.labels[j]}"
                    )
                    lines += _refusal(f"overlap(input_{i}, input_{j})", message)
        return lines

    def _allocations(self) -> list[str]:
        lines: list[str] = []
        for i, (shape, dtype) in enumerate(self.plan.outputs):
            self.space[f"dtype_{i}"] = dtype.type
            lines.append(f"output_{i} = np.empty({self._shape(shape)}, dtype_{i})")
        return lines

    def _failures(self) -> list[str]:
        """Raise the error of the check that failed."""
        lines: list[str] = []
        for number, site in enumerate(self.plan.checks):
            condition = f"status != 0 and check == {number}"
            lines += _refusal(condition, failure_text(site, None), "CheckError")
        return lines

    def _results(self) -> list[str]:
        """Copies of inputs that are results, then the statement that returns all of them."""
        lines: list[str] = []
        leaves: list[str] = []
        for i, result in enumerate(self.plan.results):
            if result.kind == "output":
                leaves.append(f"output_{result.number}")
            elif result.kind == "donated":
                leaves.append(self.parameters[result.number])
            else:
                shape = self._shape(result.shape)
                lines += [
                    f"copy_{i} = np.empty({shape}, input_{result.number}.dtype)",
                    f"flat(copy_{i})[:] = input_{result.number}",
                ]
                leaves.append(f"copy_{i}")
        return [*lines, f"return {leaves[0] if len(leaves) == 1 else _listed(leaves)}"]


def _listed(parts: Sequence[str]) -> str:
    """A tuple."""
    return f"({', '.join(parts)},)" if parts else "()"


def _refusal(condition: str, message: str, error: str = "ValueError") -> list[str]:
    return [f"if {condition}:", f"    raise {error}({message!r})"]

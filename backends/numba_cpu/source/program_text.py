"""A program as one flat module of Python, and one kernel as a file that runs by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from irgrad.backends.common.formula_source import function_text
from irgrad.backends.common.formulas.table import FUNCTIONS
from irgrad.backends.common.scalar_source import type_name
from irgrad.ir.dims import Size, evaluate
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import For, Kernel, Reduce, walk
from irgrad.kernel.program import Call, Program, Slot

from .names import Identifiers, free_names, identifier, import_lines
from .printer import FAILURES, KernelSource, kernel_source
from .sizes import SizeTexts

ENTRY = "entry"
ARENA = "arena"
CLOCK = "clock"
LAPS = "laps"


@dataclass(frozen=True, slots=True)
class ProgramText:
    """The module of a program: its text, and the kernels in it, each once."""

    text: str
    kernels: tuple[KernelSource, ...]


def program_text(program: Program) -> ProgramText:
    """The module of a program: helpers, functions of the mathematics, kernels, and the entry.

    `entry(inputs..., outputs..., failures, arena, sizes...)` takes flat arrays: a record of failed
    checks of 3 int64, zeroed, and `workspace_bytes` bytes; then the program's named sizes in order.
    It gives 1 where a check has failed, else 0; where it is one of the guards, no later kernel has
    run.
    """
    kernels, numbers = _unique_kernels(program)
    functions = [f"@inner\n{text}" for text in _math_functions(k.text for k in kernels)]
    functions += [f'@njit(error_model="numpy", nogil=True)\n{k.text}' for k in kernels]
    entry = _entry_text(program, [kernels[numbers[call.kernel]] for call in program.calls])
    return ProgramText(_module([*functions, entry]), tuple(kernels))


def standalone_text(kernel: Kernel) -> str:
    """A file with one kernel that runs it on random arrays and prints what it wrote."""
    source = kernel_source(kernel, identifier(kernel.name))
    functions = [*_math_functions([source.text]), source.text]
    decorated = [f'@njit(error_model="numpy")\n{text}' for text in functions]
    return _module([*decorated, _main_text(kernel, source)])


def _module(parts: Sequence[str]) -> str:
    """Parts of a module below the imports that they need."""
    body = "\n\n\n".join(parts) + "\n"
    names = free_names(body)
    plain = ["import numpy as np"] if "np" in names else []
    plain += ["from numba import njit"] if "njit" in names else []
    groups = [group for group in (plain, import_lines(names)) if group]
    head = "\n\n".join("\n".join(group) for group in groups)
    main = '\n\nif __name__ == "__main__":\n    main()\n' if "def main(" in body else ""
    return f"{head}\n\n\n{body}{main}"


# -- functions of the mathematics ------------------------------------------------------------------


def _math_functions(texts: Iterable[str]) -> list[str]:
    """The functions that some texts call, each once."""
    found: dict[str, str] = {}
    for text in texts:
        for name in sorted(free_names(text)):
            base, _, scalar = name.rpartition("_")
            if name not in found and base in FUNCTIONS and scalar in ("f32", "f64"):
                found[name] = function_text(base, scalar).strip()
    return list(found.values())


# -- kernels and the entry -------------------------------------------------------------------------


def _unique_kernels(program: Program) -> tuple[list[KernelSource], list[int]]:
    """Kernels of equal meaning once; and the position of each of the program's kernels."""
    found: dict[object, int] = {}
    sources: list[KernelSource] = []
    numbers: list[int] = []
    taken: set[str] = set()
    for kernel in program.kernels:
        key = (tuple((b.name, b.dtype) for b in kernel.buffers), kernel.body)
        if key not in found:
            name = identifier(kernel.name)
            if name in taken:
                name = f"{name}_{len(sources)}"
            taken.add(name)
            found[key] = len(sources)
            sources.append(kernel_source(kernel, name))
        numbers.append(found[key])
    return sources, numbers


def timed_entry_text(program: Program) -> str:
    """The entry once more, as plain Python for the names of the module.

    Two further parameters: a function that reads a clock, and the list that it clears and fills
    with two readings in a row, then with one before and one after each call.
    """
    kernels, numbers = _unique_kernels(program)
    text = _entry_text(program, [kernels[numbers[call.kernel]] for call in program.calls], True)
    return text.split("\n", 1)[1]  # the first line has Numba compile it


def _entry_text(program: Program, kernels: Sequence[KernelSource], timed: bool = False) -> str:
    """The entry of a program; kernels: the one of each call."""
    return "\n".join(_EntryPrinter(program, kernels).lines(timed))


class _EntryPrinter:
    """Prints the entry of a program."""

    def __init__(self, program: Program, kernels: Sequence[KernelSource]) -> None:
        self.program = program
        self.kernels = kernels
        self.parameters = [f"input_{i}" for i in range(len(program.inputs))]
        self.parameters += [f"output_{i}" for i in range(len(program.outputs))]
        self.views: dict[tuple[Slot, str, Size], str] = {}
        made = (f"{kind}_{i}" for kind in ("slot", "view") for i in range(_places(program)))
        names = Identifiers((*self.parameters, *made, *(kernel.name for kernel in kernels)))
        self.dims = {dim: names.fresh(dim) for dim in program.dims}
        self.sizes = SizeTexts(self.dims)

    def lines(self, timed: bool) -> list[str]:
        """The entry, with readings of a clock where it is timed."""
        parameters = [*self.parameters, FAILURES, ARENA, *self.dims.values()]
        parameters += [CLOCK, LAPS] if timed else []
        reading = f"    {LAPS}.append({CLOCK}())"
        lines = [
            '@njit(error_model="numpy")',
            f"def {ENTRY}({', '.join(parameters)}):",
            '    """Run the kernels in order; 1 where a check failed, else 0."""',
        ]
        if timed:
            lines += [f"    {LAPS}.clear()", reading, reading]
        if self.program.slots:
            # Only the caller has to know where the last slot ends.
            lines += [f"    {line}" for line in self.sizes.slot_lines(self.program.slots)[:-1]]
        for position, (call, kernel) in enumerate(
            zip(self.program.calls, self.kernels, strict=True)
        ):
            *before, line = self._call_lines(call, kernel)
            lines += [*before, reading, line, reading] if timed else [*before, line]
            if position + 1 == self.program.guard_calls:
                lines += [f"    if {FAILURES}[0] != 0:", "        return 1"]
        return [*lines, f"    return {FAILURES}[0]"]

    def _call_lines(self, call: Call, kernel: KernelSource) -> list[str]:
        """A call, below the views of the arena that it is the first to use."""
        lines: list[str] = []
        arguments: list[str] = []
        for slot, buffer in zip(call.slots, self.program.kernels[call.kernel].buffers, strict=True):
            if slot.kind not in ("arena", "slot"):
                arguments.append(f"{slot.kind}_{slot.number}")
                continue
            key = (slot, buffer.dtype, buffer.size)
            if key not in self.views:
                self.views[key] = f"view_{len(self.views)}"
                lines.append(f"    {self.views[key]} = {self._view(*key)}")
            arguments.append(self.views[key])
        if kernel.checks:
            arguments.append(FAILURES)
        arguments += [self.dims[dim] for dim in kernel.dims]
        return [*lines, f"    {kernel.name}({', '.join(arguments)})"]

    def _view(self, slot: Slot, dtype: str, size: Size) -> str:
        """A part of the arena as an array."""
        count = size * DTYPES[dtype].itemsize
        if slot.kind == "arena":
            start, stop = str(slot.number), self.sizes.of(slot.number + count)
        else:
            start = f"slot_{slot.number}"
            stop = f"{start} + {self.sizes.of(count)}".replace("+ -", "- ")
        return f"{ARENA}[{start}:{stop}].view({type_name(dtype)})"


def _places(program: Program) -> int:
    """At least as many as a program has slots, and views of the arena."""
    return len(program.slots) + sum(len(call.slots) for call in program.calls)


# -- one kernel alone ------------------------------------------------------------------------------


def _main_text(kernel: Kernel, source: KernelSource) -> str:
    """The function `main` of a file with one kernel."""
    names = Identifiers((*source.parameters, source.name, "random"))
    dims = dict(zip(source.dims, source.parameters[len(kernel.buffers) + source.checks :]))
    dims |= {dim: names.fresh(dim) for dim in kernel.dims if dim not in dims}
    sizes = SizeTexts(dims)
    lines = [
        "def main() -> None:",
        '    """Run the kernel on random arrays and print what it wrote."""',
        "    random = np.random.default_rng(0)",
        *(f"    {dims[name]} = {value}" for name, value in _example_dims(kernel).items()),
    ]
    written: list[str] = []
    for name, buffer in zip(source.parameters, kernel.buffers):
        count = sizes.of(buffer.size)
        if buffer.access in ("read", "update"):
            lines.append(f"    {name} = {_random_array(buffer.dtype, count)}")
        else:
            lines.append(f"    {name} = np.zeros({count}, {type_name(buffer.dtype)})")
        if buffer.access in ("write", "update"):
            written.append(name)
    if source.checks:
        lines.append(f"    {FAILURES} = np.zeros(3, i64)")
    lines += [
        '    with np.errstate(all="ignore"):',
        f"        {source.name}({', '.join(source.parameters)})",
    ]
    for name in written:
        lines.append(f'    print("{name}", {name}.dtype, {name}.size, "elements:", {name}[:6])')
    if source.checks:
        lines.append(f'    print("failed check and position:", {FAILURES}[1:] if {FAILURES}[0] '
                     'else "none")')  # fmt: skip
    return "\n".join(lines)


def _example_dims(kernel: Kernel) -> dict[str, int]:
    """Numbers for a kernel's names under which its sizes are positive, where some of a few are."""
    extents = [s.extent for s in walk(kernel.body) if isinstance(s, For | Reduce)]
    sizes = [*(buffer.size for buffer in kernel.buffers), *extents]
    count = len(kernel.dims)
    rising = [tuple(range(first, first + count)) for first in (5, 8, 16, 64)]
    for numbers in (*rising, *(numbers[::-1] for numbers in rising)):
        dims = dict(zip(kernel.dims, numbers, strict=True))
        if all(evaluate(size, dims) > 0 for size in sizes):
            return dims
    return dict(zip(kernel.dims, rising[0], strict=True))


def _random_array(dtype: str, size: str) -> str:
    kind = type_name(dtype)
    if DTYPES[dtype].is_float:
        return f"random.uniform(0.5, 2.0, {size}).astype({kind})"
    if dtype == "bool":
        return f"random.integers(0, 2, {size}).astype({kind})"
    return f"random.integers(1, 5, {size}).astype({kind})"

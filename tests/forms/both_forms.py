"""Programs run in each form of code: from LLVM, from source jitted by Numba, from source as it is.

Many programs are joined and compiled as one. The source is loaded once for both of its runs: the
plain one replaces each jitted function by the Python function that it was made of. Programs with
named sizes are run at several sizes.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import FrameType, MappingProxyType
from typing import Any

import numpy as np
from merged_kernels import is_mergeable, merge_kernels
from numba.core.dispatcher import Dispatcher

from irgrad.backends.numba_cpu import compile_code
from irgrad.backends.numba_cpu.runtime.executable import Code
from irgrad.backends.numba_cpu.source.load import load_module
from irgrad.backends.numba_cpu.source.program_text import ENTRY, ProgramText, program_text
from irgrad.ir.dims import evaluate
from irgrad.ir.graph import Graph
from irgrad.ir.types import DTYPES
from irgrad.kernel.instantiate import instantiate
from irgrad.kernel.program import Program
from irgrad.kernel.verify import verify_kernel
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.programs import FILL, Place, collect_results, join_programs

ALIGNMENT = 64
CONTEXT_WORDS = 8
FILE = "<irgrad of a test>"
Types = dict[tuple[str, str], set[str]]
Dims = Mapping[str, int]
NUMBERS: Dims = MappingProxyType({})  # of programs without named sizes


@dataclass(frozen=True)
class Case:
    """A program with arguments to run it on."""

    name: str
    program: Program
    arguments: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class NamedCase:
    """A program with named sizes, and the arguments at each of some sizes."""

    name: str
    program: Program
    arguments: Callable[[Dims], Sequence[np.ndarray]]


@dataclass
class Run:
    """What a run of a program left: its inputs and outputs, flat, and (failed, check, position)."""

    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    failures: list[int] = field(default_factory=lambda: [0, 0, 0])


def case(
    name: str, graph: Graph, arguments: Sequence[np.ndarray], numerics: str = "stable"
) -> Case:
    """The case of a graph that has not been optimised."""
    work = graph.copy()
    for step in pipeline(numerics):
        step.apply(work)
    return Case(name, lower(work), tuple(arguments))


# -- the three runs --------------------------------------------------------------------------------


def start(program: Program, arguments: Sequence[np.ndarray], dims: Dims = NUMBERS) -> Run:
    """Copies of the arguments, and outputs that hold garbage."""
    outputs = []
    for dtype, count in program.outputs:
        size = evaluate(count, dims) * DTYPES[dtype].itemsize
        fill = np.full(size, 1 if dtype == "bool" else FILL, np.uint8)
        outputs.append(fill.view(DTYPES[dtype].numpy))
    return Run([np.array(a, order="C").reshape(-1) for a in arguments], outputs)


def run_llvm(
    program: Program,
    arguments: Sequence[np.ndarray],
    dims: Dims = NUMBERS,
    code: Code | None = None,
) -> Run:
    """Compile a program by LLVM, unless its code is given, and run it."""
    run, code = start(program, arguments, dims), code or compile_code(program)
    slots = program.workspace_bytes(dims) if program.slots else 0
    arena = np.full(slots + code.arena_bytes + ALIGNMENT, FILL, np.uint8)
    first = -(-arena.ctypes.data // ALIGNMENT) * ALIGNMENT
    addresses = [array.ctypes.data for array in (*run.inputs, *run.outputs)]
    buffers = (ctypes.c_void_p * max(1, len(addresses)))(*addresses)
    context = (ctypes.c_int64 * CONTEXT_WORDS)()
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)(code.address)
    sizes = (ctypes.c_int64 * max(1, len(program.dims)))(*(dims[name] for name in program.dims))
    entry(ctypes.addressof(context), sizes, ctypes.addressof(buffers), first)
    run.failures = list(context[:3])
    return run


@dataclass
class Source:
    """A program's module, with its functions jitted and plain."""

    program: Program
    text: ProgramText
    jitted: dict[str, Any]

    def run_jitted(self, arguments: Sequence[np.ndarray], dims: Dims = NUMBERS) -> Run:
        """Run the kernels that Numba compiled."""
        return self._run(self.jitted[ENTRY].py_func, arguments, dims)

    def run_plain(self, arguments: Sequence[np.ndarray], dims: Dims = NUMBERS) -> Run:
        """Run it as plain Python."""
        plain = dict(self.jitted)
        code = compile(self.text.text, FILE, "exec")
        exec(code, plain)
        for name, value in plain.items():
            if isinstance(value, Dispatcher) and name in self.own_names():
                plain[name] = value.py_func
        with np.errstate(all="ignore"):
            return self._run(plain[ENTRY], arguments, dims)

    def own_names(self) -> set[str]:
        """The functions that the module defines."""
        return {
            name for name, value in self.jitted.items()
            if isinstance(value, Dispatcher) and value.py_func.__globals__ is self.jitted
        }  # fmt: skip

    def _run(self, entry: Any, arguments: Sequence[np.ndarray], dims: Dims) -> Run:
        run, failures = start(self.program, arguments, dims), np.zeros(3, np.int64)
        arena = np.full(self.program.workspace_bytes(dims), FILL, np.uint8)
        sizes = (dims[name] for name in self.program.dims)
        entry(*run.inputs, *run.outputs, failures, arena, *sizes)
        run.failures = failures.tolist()
        return run


def load_source(program: Program, compiled: bool = True) -> Source:
    """Print a program and have Numba compile its kernels, unless it only runs as plain Python."""
    text = program_text(program)
    if not compiled:
        module: dict[str, Any] = {}
        exec(compile(text.text, FILE, "exec"), module)
        return Source(program, text, module)
    # Numba makes so many objects that collecting takes a fifth of the time.
    gc.disable()
    try:
        return Source(program, text, load_module(text, FILE))
    finally:
        gc.enable()


# -- types of locals -------------------------------------------------------------------------------

NUMBA_NAMES = {
    "bool": "bool", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
    "float32": "f32", "float64": "f64",
}  # fmt: skip
NUMPY_NAMES = {DTYPES[name].numpy.type: name for name in NUMBA_NAMES.values()} | {int: "i64"}


def jitted_types(source: Source) -> Types:
    """The types that Numba gives the locals of each function of a module."""
    found: Types = defaultdict(set)
    for name in source.own_names() - {ENTRY}:
        for result in source.jitted[name].overloads.values():
            variables = source.jitted[name].py_func.__code__.co_varnames
            for version, kind in result.type_annotation.typemap.items():
                variable = version.partition(".")[0]
                if variable in variables:
                    found[name, variable].add(_numba_name(kind))
    return found


def _numba_name(kind: Any) -> str:
    if hasattr(kind, "literal_type"):
        kind = kind.literal_type
    if hasattr(kind, "ndim"):
        return f"array {NUMBA_NAMES[str(kind.dtype)]}"
    return NUMBA_NAMES.get(str(kind), str(kind))


class LocalTypes:
    """While it is entered, notes the types of all locals when a function of FILE returns."""

    def __init__(self) -> None:
        self.found: Types = defaultdict(set)

    def __enter__(self) -> LocalTypes:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "return" or code.co_filename != FILE or code.co_name in ("<module>", ENTRY):
            return
        for name, value in frame.f_locals.items():
            if isinstance(value, np.ndarray):
                kind = f"array {NUMPY_NAMES[value.dtype.type]}"
            else:
                kind = NUMPY_NAMES.get(type(value), type(value).__name__)
            self.found[frame.f_code.co_name, name].add(kind)


# -- comparison ------------------------------------------------------------------------------------


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether arrays are equal bit for bit; all NaN count as one."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    bits = f"i{a.itemsize}"
    return bool(np.all((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))))


def differences(cases: Sequence[Case], plain: bool = True, size: int = 8) -> list[str]:
    """Run the cases, joined, in every form; what differs, each with the name of its case.

    plain: also run the source as plain Python, and compare the types of all locals. size: how many
    programs of one kernel each become one kernel.
    """
    named = [NamedCase(one.name, one.program, one_of(one.arguments)) for one in cases]
    return named_differences(named, [NUMBERS], [NUMBERS] if plain else [], size)


def one_of(arguments: Sequence[np.ndarray]) -> Callable[[Dims], Sequence[np.ndarray]]:
    """The same arguments whatever the sizes are."""
    return lambda dims: arguments


def named_differences(
    cases: Sequence[NamedCase],
    sizes: Sequence[Dims],
    plain: Sequence[Dims],
    size: int = 8,
    jitted: bool = True,
) -> list[str]:
    """The same at each of some sizes, from one compile.

    plain: the sizes at which plain Python runs. jitted: else that alone is compared with LLVM.
    """
    cases = sorted(cases, key=lambda one: not is_mergeable(one.program))
    joined, places = join_programs([one.program for one in cases])
    joined = merge_kernels(joined, sum(is_mergeable(one.program) for one in cases), size)
    for kernel in joined.kernels:
        verify_kernel(kernel)
    source, code = load_source(joined, jitted), compile_code(joined)
    wrong: list[str] = []
    types = LocalTypes()
    for dims in sizes:
        arguments = [a for one in cases for a in one.arguments(dims)]
        expected, found = run_llvm(joined, arguments, dims, code), None
        if jitted:
            found = source.run_jitted(arguments, dims)
            wrong += _unlike(cases, places, dims, found, expected, "LLVM")
        if dims in plain:
            with types if jitted else nullcontext():
                run = source.run_plain(arguments, dims)
            wrong += _unlike(cases, places, dims, run, found or expected, "the other form")
    return wrong + (_other_types(source, types.found) if plain and jitted else [])


def _other_types(source: Source, found: Types) -> list[str]:
    """The locals that have other types in plain Python than in jitted code."""
    numba = jitted_types(source)
    missing = {kernel.name for kernel in source.text.kernels} - {f for f, _ in found}
    assert not missing, f"no locals were seen of {missing}"
    return [
        f"{function}: {name} is {sorted(kinds)}, jitted {sorted(numba[function, name])}"
        for (function, name), kinds in found.items()
        if kinds != numba[function, name]
    ]


def _unlike(
    cases: Sequence[NamedCase],
    places: Sequence[Place],
    dims: Dims,
    found: Run,
    expected: Run,
    form: str,
) -> list[str]:
    """The results that differ, and the records of failed checks."""
    wrong = []
    at = " at " + ", ".join(f"{name}={dims[name]}" for name in dims) if dims else ""
    if found.failures != expected.failures:
        wrong.append(f"checks{at}: source {found.failures}, {form} {expected.failures}")
    for one, place in zip(cases, places):
        got, want = (
            collect_results(
                instantiate(one.program, dims),
                run.inputs[place.input : place.input + len(one.program.inputs)],
                run.outputs[place.output : place.output + len(one.program.outputs)],
            )
            for run in (found, expected)
        )
        wrong += [
            f"{one.name}{at}: result {i}: source {a}, {form} {b}"
            for i, (a, b) in enumerate(zip(got, want, strict=True))
            if not same_bits(a, b)
        ]
    return wrong

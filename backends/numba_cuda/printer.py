"""The source of a kernel for CUDA: one Python function over raw pointers.

The same text serves the block emulator, with `yield` where threads meet (a barrier, a shuffle) and
the special registers given as the first parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

from irgrad.backends.common.formula_source import FUNCTIONS, function_text
from irgrad.backends.numba_cpu.source.names import identifier
from irgrad.backends.numba_cuda.block_printer import (
    FAILURES,
    SPECIALISED,
    BlockPrinter,
    memory_dtype,
)
from irgrad.backends.numba_cuda.lines import MEETING
from irgrad.backends.numba_cuda.schedule import Schedule, nest, schedule
from irgrad.errors import LoweringError
from irgrad.ir.dims import as_number
from irgrad.ir.location import describe
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Check, Kernel, Statement, walk

HELPERS = frozenset(
    [
        "bits_f32", "bits_f64", "boolean", "ceil", "f32", "f64", "fabs", "floor", "fma", "i16",
        "i32", "i64", "i8", "inf", "maximum", "minimum", "nan", "pi_2_remainder_f32",
        "pi_2_remainder_f64", "real_f32", "real_f64", "round", "select", "sign", "sqrt", "trunc",
        "u16", "u32", "u64", "u8",
    ]
)  # fmt: skip
KERNEL_HELPERS = frozenset(
    f"saturate_{kind}{bits}" for kind in "iu" for bits in (8, 16, 32, 64)
)  # fmt: skip
MEETINGS = frozenset({"syncthreads", "shuffle_down"})
CUDA_MODULE = "irgrad.backends.numba_cuda.functions"
CUDA_KERNEL_MODULE = "irgrad.backends.numba_cuda.kernel_functions"
PLAIN_MODULE = "irgrad.backends.numba_cpu.source.functions"
PLAIN_KERNEL_MODULE = "irgrad.backends.numba_cpu.source.kernel_functions"
EMULATOR_MODULE = "irgrad.backends.numba_cuda.emulator"
NO_FAILURE = 2**63 - 1
SHARED_BYTES = 48 * 1024  # of a block, without asking for more at the launch


@dataclass(frozen=True, slots=True)
class CudaSource:
    """A kernel as source.

    text: a module with one function `name` over pointers. emulated: the same for `emulator.run`.
    parameters: (name, dtype) of its pointers, in order: the buffers of the kernel that are not
    local, truth values as bytes; then `failures` where it has checks. schedule: how it has to be
    launched. checks: elements of `failures`, 0 without checks: element n is the least position at
    which check n failed and has to be NO_FAILURE before the launch.
    """

    name: str
    text: str
    emulated: str
    parameters: tuple[tuple[str, str], ...]
    schedule: Schedule
    checks: int = 0


def cuda_source(kernel: Kernel) -> CudaSource:
    """The source of a kernel.

    Raises LoweringError for what CUDA kernels do not cover: contractions, dtypes without device
    code, reductions that add up in place, and more scratch than a block has shared memory.
    """
    name = identifier(kernel.name)
    plan = schedule(kernel)
    printer = BlockPrinter(kernel, plan.threads)
    if plan.kind == "elementwise":
        for loop in kernel.body:
            _grid_stride(printer, loop, plan.threads)
    elif plan.kind == "rows":
        for loop in kernel.body:
            _rows(printer, loop)
    else:
        printer.block(kernel.body)
    parameters = tuple(
        (b.name, memory_dtype(b.dtype)) for b in kernel.buffers if b.access != "local"
    )
    checks = 1 + max((s.check for s in walk(kernel.body) if isinstance(s, Check)), default=-1)
    if checks:
        parameters += ((FAILURES, "i64"),)
    body = [*_shared(kernel, printer.shared), *printer.lines] or ["pass"]
    names = [name for name, _ in parameters]
    functions = sorted(f for f in printer.used if "_" in f and _formula(f))
    specialised = sorted(f for f in printer.used if f.rpartition("_")[0] in SPECIALISED)
    heading = _docstring(kernel, plan)

    def module(emulated: bool) -> str:
        texts = [function_text(*f.rsplit("_", 1)) for f in functions]
        if not emulated:
            texts = [f"@device\n{text}" for text in texts]
        signature = ", ".join(["cuda", *names] if emulated else names)
        lines = [line.replace(MEETING, "yield " if emulated else "") for line in body]
        function = "\n".join([f"def {name}({signature}):", *_indented([*heading, *lines])])
        code = "\n\n\n".join([*(text.strip() for text in texts), function])
        return "\n".join([*_imports(code, specialised, emulated), "", "", code, ""])

    return CudaSource(name, module(False), module(True), parameters, plan, checks)


def _formula(name: str) -> bool:
    function, _, scalar = name.rpartition("_")
    return scalar in ("f32", "f64") and function in FUNCTIONS


def _grid_stride(printer: BlockPrinter, loop: Statement, threads: int) -> None:
    indices, extents, body = nest(loop)
    start = f"cuda.blockIdx.x * {threads} + cuda.threadIdx.x"
    with printer.points(indices, extents, start, f"cuda.gridDim.x * {threads}"):
        printer.thread(body)


def _rows(printer: BlockPrinter, loop: Statement) -> None:
    indices, extents, body = nest(loop)
    with printer.points(indices, extents, "cuda.blockIdx.x", "cuda.gridDim.x"):
        printer.block(body)
        printer.meet_if_touched()


def _shared(kernel: Kernel, lanes: Mapping[str, tuple[str, int]]) -> list[str]:
    """The arrays in shared memory: the kernel's scratch and a slot for each thread of a lane.

    Raises LoweringError where they do not fit into it.
    """
    lines = [
        f"{b.name} = cuda.shared.array({max(as_number(b.size), 1)}, {memory_dtype(b.dtype)})"
        for b in kernel.buffers
        if b.access == "local"
    ]
    used = sum(
        as_number(b.size) * DTYPES[b.dtype].itemsize for b in kernel.buffers if b.access == "local"
    )
    for name, (dtype, count) in lanes.items():
        lines.append(f"{name} = cuda.shared.array({count}, {memory_dtype(dtype)})")
        used += count * DTYPES[dtype].itemsize
    if used > SHARED_BYTES:
        raise LoweringError(
            f"cuda kernel {kernel.name}: expected scratch arrays of at most {SHARED_BYTES} bytes, "
            f"got {used}"
        )
    return lines


def _docstring(kernel: Kernel, plan: Schedule) -> list[str]:
    how = {
        "elementwise": f"A grid-stride loop over blocks of {plan.threads} threads.",
        "rows": f"One block of {plan.threads} threads a row.",
        "block": f"One block of {plan.threads} threads.",
    }[plan.kind]
    lines = [describe(location) for location in kernel.origin]
    if not lines:
        return [f'"""{how}"""']
    return [f'"""{how}', "", *map(_harmless, lines), '"""']


def _harmless(line: str) -> str:
    """A line of the user's that can end no docstring."""
    text = line.replace("\\", "/").replace('"', "'")
    return "".join(c if c.isprintable() else " " for c in text)


def _imports(code: str, specialised: list[str], emulated: bool) -> list[str]:
    """The imports of a module, and the functions that it has made for a dtype."""
    words = set(re.findall(r"\b[a-z]\w*\b", code))
    helpers, meetings = words & HELPERS, words & MEETINGS
    own, record = words & KERNEL_HELPERS, words & {"atomic_min"}
    if not emulated:
        helpers |= {f.rpartition("_")[2] for f in specialised}
        own |= {"specialised"} if specialised else set()
        return [
            "from numba import cuda",
            "",
            *_import(CUDA_MODULE, helpers | meetings | words & {"device"}),
            *_import(CUDA_KERNEL_MODULE, own | record),
            *([""] if specialised else []),
            *(f'{f} = specialised("{base}", {scalar})'
              for f in specialised for base, _, scalar in [f.rpartition("_")]),
        ]  # fmt: skip
    own |= {f"{f.rpartition('_')[0]} as {f}" for f in specialised}
    return [
        *_import(PLAIN_MODULE, helpers),
        *_import(PLAIN_KERNEL_MODULE, own),
        *_import(EMULATOR_MODULE, meetings | record),
    ]


def _import(module: str, names: Set[str]) -> list[str]:
    return [f"from {module} import {', '.join(sorted(names))}"] if names else []


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


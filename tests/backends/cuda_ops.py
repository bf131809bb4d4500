"""Kernels of every op of the registry, with arguments, and the CPU's source of a kernel run as
plain Python, whose bits the CUDA form has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irgrad.backends.common.formula_source import FUNCTIONS, function_text
from irgrad.backends.numba_cpu.source import functions, kernel_functions
from irgrad.backends.numba_cpu.source.printer import FAILURES, kernel_source
from irgrad.ir.graph import Graph
from irgrad.ir.types import DTYPES, TensorType, dtype_of
from irgrad.kernel.ir import Kernel
from irgrad.kernel.program import Program
from irgrad.ops.record import Sample
from irgrad.ops.registry import REGISTRY, builder
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline

INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1.5, 3.7, 1e6, -88.5, 127.5, 255.0, 256.0, -129.0,
    2.0**31, 2.0**32, 2.0**63, -(2.0**63), 2.0**64, 1e30, 3e-39, np.inf, -np.inf, np.nan,
)  # fmt: skip
FEW = 4  # samples of an op that is not elementwise


@dataclass(frozen=True)
class OpCase:
    """An op of some operands as a program."""

    label: str
    program: Program
    operands: tuple[np.ndarray, ...]


def op_case(name: str, operands: Sequence[Any], attributes: Mapping[str, Any]) -> OpCase:
    """The program of one op on the types of arrays."""
    arrays = tuple(np.asarray(x) for x in operands)
    graph = Graph(name)
    b = builder(graph)
    types = [TensorType(dtype_of(x.dtype), x.shape) for x in arrays]
    results = b.emit(name, [b.wrap(graph.add_input(t)) for t in types], **attributes)
    graph.outputs = [x.value for x in results]
    if REGISTRY[name].effect:
        graph.effects.append(max(graph))
    run_passes(graph, pipeline("exact"), [])
    kinds = ",".join(f"{x.dtype}{list(x.shape)}" for x in arrays)
    return OpCase(f"{name} {kinds} {dict(attributes)}", lower(graph), arrays)


def registry_cases(name: str) -> Iterator[OpCase]:
    """The samples of an op: of an elementwise one with unusual numbers, of another one a few."""
    rng = np.random.default_rng(7)
    found: list[Sample] = REGISTRY[name].samples(rng)
    if REGISTRY[name].family != "elementwise":
        for sample in found[:: max(1, len(found) // FEW)]:
            yield op_case(name, sample.operands, sample.attrs)
        return
    for sample in found:
        arrays = [np.asarray(x) for x in sample.operands]
        if arrays[0].size > 20:
            arrays = [unusual(x, rng) for x in arrays]
        if arrays[0].size != 15:
            yield op_case(name, arrays, sample.attrs)


def unusual(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An array with half of its numbers replaced by limits, zeros, infinities and NaN."""
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            values = np.array(NUMBERS).astype(array.dtype)
    else:
        info = np.iinfo(array.dtype)
        values = np.array([info.min, info.max, 0, 1, info.max // 2, info.max // 2 + 2], array.dtype)
        if info.min:
            values[-1] = -1
    mixed = np.array(array)
    where = rng.random(array.shape) < 0.5
    mixed[where] = rng.choice(values, int(where.sum()))
    return mixed


def integer_cases(name: str, arity: int) -> Iterator[OpCase]:
    """An elementwise op of each integer dtype that it takes, on unusual numbers."""
    rng = np.random.default_rng(5)
    for dtype in map(np.dtype, INTEGERS):
        if dtype.kind == "u" and name in ("power", "abs", "sign", "neg"):
            continue
        info = np.iinfo(dtype)
        drawn = [rng.integers(max(info.min, -9), 9, 61).astype(dtype) for _ in range(arity)]
        yield op_case(name, [unusual(x, rng) for x in drawn], {})


def cast_cases() -> Iterator[OpCase]:
    """Casts between all dtypes that kernels compute with."""
    rng = np.random.default_rng(3)
    targets = [t for t in DTYPES.values() if t.kind in "biu" or t.name in ("f32", "f64")]
    for source in ("f4", "f8", *INTEGERS, "?"):
        values = np.array(NUMBERS) if source in ("f4", "f8") else rng.integers(0, 2, 40)
        with np.errstate(all="ignore"):
            array = unusual(values.astype(source), rng)
            if source == "f4":
                array = np.concatenate([array, np.nextafter(array, np.float32(0))])
        for target in targets:
            if target.numpy != array.dtype:
                yield op_case("cast", [array], {"dtype": target})


def reduction_cases() -> Iterator[OpCase]:
    """Reductions of each dtype: no element, fewer than lanes, more than a block has threads."""
    rng = np.random.default_rng(9)
    for dtype in map(np.dtype, ("f4", "f8", *INTEGERS, "?")):
        for name in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "argmax", "argmin"):
            if dtype.kind == "b" and name in ("reduce_sum", "reduce_prod"):
                continue
            for size in (0, 1, 33, 131):
                if not size and name not in ("reduce_sum", "reduce_prod"):
                    continue
                x = (rng.standard_normal((2, size)) * 40).astype(dtype)
                if size > 1:
                    x = unusual(x, rng)
                axes = {"axis": 1} if name.startswith("arg") else {"axes": (1,)}
                yield op_case(name, [x], axes)


def memory_of(case: OpCase) -> Iterator[tuple[Kernel, dict[str, np.ndarray]]]:
    """The kernels of a case in order, with the memory of each by buffer name: the reader runs the
    kernel on it before the next. What is not written yet is garbage."""
    program = case.program
    inputs = [np.array(x, order="C").reshape(-1) for x in case.operands]
    outputs = [_garbage(count * DTYPES[d].itemsize).view(DTYPES[d].numpy)
               for d, count in program.outputs]  # fmt: skip
    arena = _garbage(program.arena_bytes)
    for call in program.calls:
        kernel = program.kernels[call.kernel]
        memory = {}
        for buffer, slot in zip(kernel.buffers, call.slots, strict=True):
            if slot.kind == "arena":
                dtype = DTYPES[buffer.dtype].numpy
                stop = slot.number + buffer.size * dtype.itemsize
                memory[buffer.name] = arena[slot.number : stop].view(dtype)
            else:
                memory[buffer.name] = (inputs if slot.kind == "input" else outputs)[slot.number]
        yield kernel, memory


def _garbage(size: int) -> np.ndarray:
    return np.full(size, 1, np.uint8)


def run_plain(kernel: Kernel, arrays: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    """Run the CPU's source of a kernel in place; (check, position) of what failed first."""
    source = kernel_source(kernel, "kernel")
    called = {f for f in re.findall(r"\b(\w+_f(?:32|64))\(", source.text)
              if f.rpartition("_")[0] in FUNCTIONS}  # fmt: skip
    namespace: dict[str, Any] = {"np": np, **vars(functions), **vars(kernel_functions)}
    for text in (*(function_text(*f.rsplit("_", 1)) for f in sorted(called)), source.text):
        exec(text, namespace)
    failures = np.zeros(3, np.int64)
    with np.errstate(all="ignore"):
        namespace["kernel"](*({**arrays, FAILURES: failures}[p] for p in source.parameters))
    return (int(failures[1]), int(failures[2])) if failures[0] else None

"""Machine code stands alone: it calls nothing outside, and no instruction allows inexact maths."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from golden_programs import PROGRAMS, compiled, stages

from irgrad.backends.numba_cpu.llvm.compile import compile_module, undefined_symbols
from irgrad.backends.numba_cpu.llvm.cpu import host_cpu
from irgrad.backends.numba_cpu.llvm.entry import program_module
from irgrad.ir.graph import Graph
from irgrad.ir.types import TensorType, dtype_of
from irgrad.kernel.program import Program
from irgrad.ops.record import Sample
from irgrad.ops.registry import REGISTRY, builder
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.programs import join_programs

LONG = 131  # elements: whole vectors of every size, and some left over
# What a compiler may call although the program says nothing of it.
RUNTIME = frozenset({"memcpy", "memset", "memmove"})
# LLVM makes calls of libm of these.
MATHS = re.compile(
    r"\bfrem\b|@\"llvm\.(exp|exp2|exp10|log|log2|log10|pow|powi|sin|cos|sincos|tan|asin|acos|atan|"
    r"atan2|sinh|cosh|tanh|ldexp|frexp|modf)\."
)
FLAG = r"(?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b"
FLAGGED = re.compile(rf"= *(?:tail )?(?:f[a-z]+|call|select|phi) +{FLAG}|unsafe-fp-math")


def op_program(name: str, sample: Sample) -> Program:
    """The program of one call of an op, long where its operands may have any shape."""
    op = REGISTRY[name]
    graph = Graph(name)
    b = builder(graph)
    long = op.family == "elementwise"
    types = [
        TensorType(dtype_of(x.dtype), (LONG,) if long else x.shape) for x in sample.operands
    ]
    results = b.emit(name, [b.wrap(graph.add_input(type_)) for type_ in types], **sample.attrs)
    graph.outputs = [x.value for x in results]
    if op.effect:
        graph.effects.append(max(graph))
    if name != "fused":
        run_passes(graph, pipeline())
    return lower(graph)


@cache
def ops_program() -> Program:
    """Every op of the registry, once for each combination of dtypes in its samples."""
    programs = []
    for name in sorted(REGISTRY):
        samples = REGISTRY[name].samples(np.random.default_rng(7))
        by_dtypes = {tuple(x.dtype for x in sample.operands): sample for sample in samples}
        programs += [op_program(name, sample) for sample in by_dtypes.values()]
    return join_programs(programs)[0]


def module_texts(vector_bytes: int) -> dict[str, str]:
    """The LLVM text of all ops, and of each program at its large sizes."""
    programs = {name: stages(name, large=True).program for name in PROGRAMS}
    return {
        name: str(program_module(program, "one", vector_bytes))
        for name, program in {"ops": ops_program(), **programs}.items()
    }


def test_objects_need_nothing() -> None:
    cpu = host_cpu()
    ops = compile_module(program_module(ops_program(), "ops", cpu.vector_bytes), cpu)
    objects = {"ops": ops, **{name: compiled(name).object_file() for name in PROGRAMS}}
    assert len(ops) > 50_000
    for name, data in objects.items():
        assert data is not None
        assert undefined_symbols(data) <= RUNTIME, name


@pytest.mark.parametrize("vector_bytes", (16, 64))
def test_modules_call_no_function_and_set_no_flag(vector_bytes: int) -> None:
    texts = module_texts(vector_bytes)
    for name, text in texts.items():
        declared = re.findall(r'^declare [^@]*@"([^"]+)"', text, re.M)
        assert [symbol for symbol in declared if not symbol.startswith("llvm.")] == [], name
        assert not MATHS.search(text), name
        assert not FLAGGED.search(text), name
    assert "llvm.fma" in texts["ops"] and f"<{vector_bytes // 4} x float>" in texts["ops"]


def test_calls_and_flags_would_be_seen() -> None:
    assert MATHS.search('%3 = call float @"llvm.exp.f32"(float %1)')
    assert MATHS.search("%3 = frem float %1, %2")
    for line in (
        "%3 = fadd fast <8 x float> %1, %2",
        "%3 = fmul contract float %1, %2",
        "%3 = call nnan float @f(float %1)",
        'attributes #0 = { "unsafe-fp-math"="true" }',
    ):
        assert FLAGGED.search(line)
    assert not FLAGGED.search("%contract = fadd <8 x float> %fast, %2")

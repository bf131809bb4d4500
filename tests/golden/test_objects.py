"""Machine code stands alone: it calls nothing outside, and no instruction allows inexact maths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from golden_programs import PROGRAMS, compiled, stages

from irgrad.backends.numba_cpu.llvm.compile import compile_module, undefined_symbols
from irgrad.backends.numba_cpu.llvm.entry import program_module
from irgrad.ir.types import TensorType, dtype_of
from irgrad.ir.graph import Graph
from irgrad.kernel.program import Program
from irgrad.ops.build import Expr
from irgrad.ops.record import Sample
from irgrad.ops.registry import REGISTRY, builder
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.programs import join_programs

# What a compiler may call although the program says nothing of it.
RUNTIME = frozenset({"memcpy", "memset", "memmove"})
MATHS = ("exp", "exp2", "expm1", "log", "log2", "log1p", "log10", "pow", "sin", "cos", "tan", "asin",
         "acos", "atan", "atan2", "sinh", "cosh", "tanh", "erf", "erfc", "cbrt", "fmod")  # fmt: skip
# Intrinsics that LLVM makes an instruction or a few of, on every processor that kernels run on.
INTRINSICS = frozenset()
FLAGS = "fast|nnan|ninf|nsz|arcp|contract|afn|reassoc"
FLAGGED = re.compile(rf"\b(f\w+|call|select|phi)\s+({FLAGS})\b")


def op_program(name: str, sample: Sample) -> Program:
    """The program of one call of an op."""
    graph = Graph(name)
    b = builder(graph)
    operands = [b.wrap(graph.add_input(TensorType(dtype_of(x.dtype), x.shape)))
                for x in sample.operands]
    results = b.emit(name, operands, **sample.attrs)
    graph.outputs = [x.value for x in results]
    if REGISTRY[name].effect:
        graph.effects.append(max(graph))
    run_passes(graph, pipeline())
    return lower(graph)

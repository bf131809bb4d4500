"""Programs with one of each kind of statement that is divided, as one piece of code; and runs of it
with pools of any size."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import irgrad as ig
import irgrad.numpy as inp
from irgrad import nn
from irgrad.backends.numba_cpu.runtime.door import FRAME_HEADER, new_door
from irgrad.backends.numba_cpu.runtime.executable import Code
from irgrad.backends.numba_cpu.runtime.frames import Frame
from irgrad.backends.numba_cpu.runtime.pool import Services, make_services
from irgrad.kernel.program import Program
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.programs import join_programs

FAILS_AT = (400_001, 200_003, 539_999)  # flat positions, far apart


def checked(x: Any) -> Any:
    """A check that fails at several places."""
    ig.check(x > 0, "x must be positive")
    return inp.tanh(x[:100])


CASES: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "elementwise": (lambda x: inp.tanh(x) * 2 + x, ("f32[50019]",)),
    "softmax": (nn.softmax, ("f32[40,1003]",)),
    "two row buffers": (
        lambda x: nn.softmax(inp.tanh(inp.sin(inp.exp(x)))), ("f64[17,1003]",)
    ),
    "layer norm": (nn.layer_norm, ("f32[80,1003]", "f32[1003]", "f32[1003]")),
    "row sums": (lambda x: x.sum(axis=1), ("f32[503,2100]",)),
    "few rows": (lambda x: inp.tanh(x * inp.arange(3.0)[:, None]), ("f64[20019]",)),
    "positions": (lambda x: x.argmax(axis=1), ("f32[503,2100]",)),
    "transpose": (lambda x: inp.tanh(x.T), ("f32[203,207]",)),
    "three axes": (lambda x: inp.tanh(inp.transpose(x, (2, 0, 1))), ("f32[7,81,83]",)),
    "pieces": (
        lambda x: inp.concatenate([x[:9, 1:], inp.flip(x[:, 1:], axis=1)]), ("f32[530,1001]",)
    ),
    "product": (lambda x, y: x @ y, ("f32[133,300]", "f32[300,110]")),
    "product of several panels": (lambda x, y: x.T @ y, ("f64[600,61]", "f64[600,70]")),
    "product and more": (
        lambda x, y, b: inp.tanh(x @ y + b), ("f32[101,600]", "f32[600,70]", "f32[70]")
    ),
    "batch": (lambda x, y: x @ y, ("f32[7,20,300]", "f32[7,300,40]")),
    "check": (checked, ("f32[540000]",)),
}  # fmt: skip


def program_of(case: str) -> Program:
    """The program of a case."""
    function, specs = CASES[case]
    graph = ig.trace(function, *specs)
    run_passes(graph, pipeline())
    return lower(graph)


def joined() -> Program:
    """All cases one after another."""
    return join_programs([program_of(case) for case in CASES])[0]


def services_of(code: Code, workers: int) -> Services | None:
    """A new pool."""
    return make_services(new_door(code.door).addresses, workers)


def helpers_of(services: Services) -> int:
    """How many threads of its own a pool has."""
    count = ctypes.CFUNCTYPE(ctypes.c_int64)(services.helpers)()
    return int(count)


@dataclass(slots=True)
class Runs:
    """Code with inputs and outputs of its own."""

    code: Code
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]

    @staticmethod
    def of(code: Code, program: Program) -> Runs:
        """Random inputs; the last one is of `checked`."""
        rng = np.random.default_rng(0)
        types = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "bool": np.bool_}
        inputs = [rng.normal(size=int(n)).astype(types[dtype]) for dtype, n in program.inputs]
        inputs[-1] = np.abs(inputs[-1]) + 1
        inputs[-1][list(FAILS_AT)] = -1
        return Runs(code, inputs, [np.empty(int(n), types[dtype]) for dtype, n in program.outputs])

    def digest(self, services: Services | None) -> tuple[str, tuple[int, int]]:
        """A hash of all results of a run, and the failed check with its position."""
        for output in self.outputs:
            output.view(np.uint8)[:] = 77
        frame = Frame(self.code.arena_bytes, services, self.code.worker_bytes)
        arrays = [x.__array_interface__["data"][0] for x in (*self.inputs, *self.outputs)]
        buffers = (ctypes.c_void_p * len(arrays))(*arrays)
        entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)(self.code.address)
        assert entry(frame.address, None, buffers, frame.address + FRAME_HEADER) == 0
        found = hashlib.sha256()
        for output in self.outputs:
            found.update(output)
        return found.hexdigest(), frame.take_failure()

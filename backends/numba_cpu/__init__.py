"""The CPU backend: one LLVM module for a program, called through the door."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from irgrad.ir.graph import Graph
from irgrad.kernel.program import Program
from irgrad.runtime.options import Options

from .runtime.executable import Code, Executable

T = TypeVar("T")
KEPT = 256  # programs whose code stays in memory although nothing uses it


@dataclass(frozen=True, slots=True)
class CpuBackend:
    """Compiles programs for the processor that it runs on."""

    name: str = "cpu"
    lowers: bool = True

    def compile(self, program: Program | None, graph: Graph, options: Options) -> Executable:
        """Emit, optimise and load the code of a program.

        Raises BackendError on a processor without vectors and fused multiply-add.
        """
        assert program is not None, "the CPU backend compiles programs"
        code, fresh = load_code(program)
        return Executable(program, graph, code, fresh=fresh)


def load_code(program: Program) -> tuple[Code, bool]:
    """The code of a program, and whether it had to be compiled: equal programs share theirs."""
    slot = _slot(_Key(program))
    with slot.lock:
        fresh = slot.code is None
        if slot.code is None:
            slot.code = compile_code(program)
        return slot.code, fresh


def compile_code(program: Program) -> Code:
    """Emit, optimise and load the code of a program."""
    from .llvm.compile import compile_module, load_object
    from .llvm.cpu import host_cpu
    from .llvm.entry import arena_bytes, program_module

    cpu = host_cpu()
    clock = _Clock()
    name = hashlib.sha256(_Key(program).text.encode()).hexdigest()[:16]
    module = clock.time("emit", lambda: program_module(program, name, cpu.vector_bytes))
    data = clock.time("optimise", lambda: compile_module(module, cpu))
    loaded = clock.time("load", lambda: load_object(data))
    return Code(
        address=loaded.address(f"irg_{name}"),
        arena_bytes=arena_bytes(program, cpu.vector_bytes),
        data=data,
        source=lambda form, kernel: kernel_source(program, kernel, form),
        seconds=clock.seconds,
        owner=loaded,
    )


class _Key:
    """What the code of a program depends on, as text, in which 0.0 and -0.0 differ; lines and
    messages are no part of it."""

    def __init__(self, program: Program) -> None:
        kernels = tuple((k.name, k.buffers, k.body) for k in program.kernels)
        parts = (
            kernels,
            program.calls,
            program.inputs,
            program.outputs,
            program.arena_bytes,
            program.guard_calls,
        )
        self.text = repr(parts)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@dataclass(slots=True)
class _Slot:
    """A place for the code of one program, filled by the first who needs it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    code: Code | None = None


@lru_cache(maxsize=KEPT)
def _slot(key: _Key) -> _Slot:
    return _Slot()


class _Clock:
    """Times phases by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, phase: str, body: Callable[[], T]) -> T:
        """Run `body` and note how long it took."""
        start = time.perf_counter()
        result = body()
        self.seconds[phase] = time.perf_counter() - start
        return result


def kernel_source(program: Program, name: str, form: str) -> str:
    """The code of one kernel, emitted alone: "llvm" text as emitted, "asm" text after LLVM."""
    from llvmlite import ir

    from .llvm.compile import assembly
    from .llvm.cpu import host_cpu
    from .llvm.function import kernel_function

    kernel = next(kernel for kernel in program.kernels if kernel.name == name)
    module = ir.Module(name=name)
    function = kernel_function(module, kernel, host_cpu().vector_bytes)
    function.linkage = "external"  # else LLVM drops it, as nothing calls it
    return str(module) if form == "llvm" else assembly(module)


BACKEND = CpuBackend()

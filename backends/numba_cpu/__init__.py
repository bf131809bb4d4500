"""The CPU backend: one LLVM module for a program, called through the door."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from irgrad.ir.graph import Graph
from irgrad.ir.printer import canonical_text
from irgrad.kernel.program import Program
from irgrad.runtime.options import Options

from .runtime.executable import Code, Executable

T = TypeVar("T")


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
        code, arena_bytes = compile_code(program, graph)
        return Executable(program, graph, code, arena_bytes)


def compile_code(program: Program, graph: Graph) -> tuple[Code, int]:
    """The loaded code of a program, lowered from `graph`, and the arena bytes that it wants."""
    from .llvm.compile import compile_module, load_object
    from .llvm.cpu import host_cpu
    from .llvm.entry import arena_bytes, program_module

    cpu = host_cpu()
    clock = _Clock()
    digest = hashlib.sha256(canonical_text(graph).encode()).hexdigest()[:16]
    module = clock.time("emit", lambda: program_module(program, digest, cpu.vector_bytes))
    data = clock.time("optimise", lambda: compile_module(module, cpu))
    loaded = clock.time("load", lambda: load_object(data))
    code = Code(
        loaded.address(f"irg_{digest}"),
        data,
        lambda form, kernel: kernel_source(program, kernel, form),
        clock.seconds,
        loaded,
    )
    return code, arena_bytes(program, cpu.vector_bytes)


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

"""The CPU backend: one LLVM module for a program, called through the door; or, with
`emit="numba"`, a module of Python that Numba compiles."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from irgrad.ir.graph import Graph
from irgrad.kernel.program import Program
from irgrad.runtime.options import Options

from .runtime.executable import Code, Executable

if TYPE_CHECKING:
    from .source.executable import SourceExecutable
    from .source.load import SourceCode

T = TypeVar("T")
KEPT = 256  # programs whose code stays in memory although nothing uses it


@dataclass(frozen=True, slots=True)
class CpuBackend:
    """Compiles programs for the processor that it runs on."""

    name: str = "cpu"
    lowers: bool = True

    def compile(
        self, program: Program | None, graph: Graph, options: Options
    ) -> Executable | SourceExecutable:
        """Emit, optimise and load the code of a program in the form that the options name.

        Raises BackendError on a processor without vectors and fused multiply-add, for "llvm".
        """
        assert program is not None, "the CPU backend compiles programs"
        if options.emit == "numba":
            from .source.executable import SourceExecutable

            source, fresh = load_source(program)
            return SourceExecutable(program, graph, source, fresh=fresh)
        code, fresh = load_code(program)
        return Executable(program, graph, code, fresh=fresh)


def load_code(program: Program) -> tuple[Code, bool]:
    """The code of a program, and whether it had to be compiled: equal programs share theirs."""
    return _kept(_Key(program, "llvm"), lambda: compile_code(program))


def load_source(program: Program) -> tuple[SourceCode, bool]:
    """The same in the form of Python source.

    Where it runs as plain Python nothing is shared: there the comments are of use, which name the
    program's own lines.
    """
    from numba import config

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return compile_source(program), True
    return _kept(_Key(program, "numba"), lambda: compile_source(program))


def compile_code(program: Program) -> Code:
    """Emit, optimise and load the code of a program."""
    from .llvm.compile import compile_module, load_object
    from .llvm.cpu import host_cpu
    from .llvm.entry import arena_bytes, program_module

    cpu = host_cpu()
    clock = _Clock()
    name = _Key(program, "llvm").digest
    module = clock.time("emit", lambda: program_module(program, name, cpu.vector_bytes))
    data = clock.time("optimise", lambda: compile_module(module, cpu))
    loaded = clock.time("load", lambda: load_object(data))
    symbol = f"irg_{name}"
    return Code(
        address=loaded.address(symbol),
        symbol=symbol,
        arena_bytes=arena_bytes(program, cpu.vector_bytes),
        data=data,
        seconds=clock.seconds,
        owner=loaded,
    )


def compile_source(program: Program) -> SourceCode:
    """Print a program as a module of Python, and have Numba compile its kernels."""
    from .source.load import load_module, loaded_code
    from .source.program_text import program_text

    clock = _Clock()
    name = f"<irgrad {_Key(program, 'numba').digest}>"
    found = clock.time("emit", lambda: program_text(program))
    module = clock.time("numba", lambda: load_module(found, name))
    return loaded_code(module, program, found.text, name, clock.seconds)


class _Key:
    """What the code of a program depends on, as text, in which 0.0 and -0.0 differ; lines and
    messages are no part of it."""

    def __init__(self, program: Program, form: str) -> None:
        kernels = tuple((k.name, k.buffers, k.body) for k in program.kernels)
        parts = (
            form,
            kernels,
            program.calls,
            program.inputs,
            program.outputs,
            program.arena_bytes,
            program.guard_calls,
        )
        self.text = repr(parts)

    @property
    def digest(self) -> str:
        """A short name that no other key has."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@dataclass(slots=True)
class _Slot:
    """A place for the code of one program, filled by the first who needs it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    code: Any = None


@lru_cache(maxsize=KEPT)
def _slot(key: _Key) -> _Slot:
    return _Slot()


def _kept(key: _Key, make: Callable[[], T]) -> tuple[T, bool]:
    """The code of a key, and whether it had to be made."""
    slot = _slot(key)
    with slot.lock:
        fresh = slot.code is None
        if slot.code is None:
            slot.code = make()
        return slot.code, fresh


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


BACKEND = CpuBackend()

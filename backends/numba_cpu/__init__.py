"""The CPU backend: one LLVM module for a program, called through the door; or, with
`emit="numba"`, a module of Python that Numba compiles."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from irgrad.errors import FileError, InternalError
from irgrad.ir.graph import Graph
from irgrad.kernel.ir import Let, walk
from irgrad.kernel.program import LateProgram, Program
from irgrad.ops.size_guards import size_guards
from irgrad.runtime.options import Options
from irgrad.runtime.progress import OnProgress, no_progress
from irgrad.runtime.stored_code import StoredCode

from .runtime.executable import Code, Executable

if TYPE_CHECKING:
    from llvmlite import ir

    from .source.executable import SourceExecutable
    from .source.load import SourceCode

T = TypeVar("T")
MANY_KERNELS = 50  # which take LLVM more than half a second, too long to wait for with Ctrl-C
SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # with what backends share


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
        progress = options.progress or no_progress
        if options.emit == "numba":
            from .source.executable import SourceExecutable

            source, fresh = load_source(program, progress)
            return SourceExecutable(program, graph, source, fresh=fresh)
        code, fresh = load_code(program, progress)
        return Executable(program, graph, code, fresh=fresh)

    # -- what the disk cache needs ---------------------------------------------------------------

    @property
    def source(self) -> str:
        """The folder of the files that code depends on."""
        return SOURCE

    def fingerprint(self, options: Options) -> tuple[str, ...] | None:
        """What code depends on beside the program: the processor and the versions of LLVM.

        None for a form that has no object file. Raises BackendError as `compile` does.
        """
        if options.emit != "llvm":
            return None
        import llvmlite
        import llvmlite.binding as llvm

        from .llvm.cpu import host_cpu

        version = ".".join(map(str, llvm.llvm_version_info))
        return f"llvmlite {llvmlite.__version__}, LLVM {version}", repr(host_cpu())

    def load(self, stored: StoredCode, graph: Graph, lower: Callable[[], Program]) -> Executable:
        """What `compile` gives, from code that it made before; lower: gives the program when asked.

        Raises FileError for code that cannot be loaded.
        """
        program = LateProgram(
            stored.inputs, stored.outputs, stored.results, stored.work, lower, stored.slots,
            size_guards(graph),
        )  # fmt: skip
        code, fresh = _codes().get(stored.program, lambda: _load_stored(stored))
        return Executable(program, graph, code, fresh=fresh)


def load_code(program: Program, progress: OnProgress = no_progress) -> tuple[Code, bool]:
    """The code of a program, and whether it had to be compiled: equal programs share theirs."""
    return _codes().get(program_digest(program, "llvm"), lambda: compile_code(program, progress))


def load_source(
    program: Program, progress: OnProgress = no_progress
) -> tuple[SourceCode, bool]:
    """The same in the form of Python source.

    Where it runs as plain Python nothing is shared: there the comments are of use, which name the
    program's own lines.
    """
    from numba import config

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return compile_source(program, progress), True
    digest = program_digest(program, "numba")
    return _codes().get(digest, lambda: compile_source(program, progress))


def compile_code(program: Program, progress: OnProgress = no_progress) -> Code:
    """Emit, optimise and load the code of a program."""
    from .llvm.compile import compile_module, load_object
    from .llvm.cpu import host_cpu
    from .llvm.entry import arena_bytes, program_module, worker_bytes
    from .llvm.interrupt import interruptible
    from .runtime.door import door_object

    cpu = host_cpu()
    clock = _Clock()
    digest = program_digest(program, "llvm")
    name = digest[:16]
    count = len(program.kernels)

    def emit() -> ir.Module:
        return program_module(
            program, name, cpu.vector_bytes, lambda done: progress("kernels", done, count)
        )

    module = clock.time("emit", emit)

    def optimise() -> bytes:
        if count <= MANY_KERNELS:
            return compile_module(module, cpu)
        return interruptible(
            lambda: compile_module(module, cpu), lambda: progress("optimise", 0, 1)
        )

    progress("optimise", 0, 1)
    data = clock.time("optimise", optimise)
    progress("optimise", 1, 1)
    loaded = clock.time("load", lambda: load_object(data))
    symbol = f"irg_{name}"
    return Code(
        address=loaded.address(symbol),
        symbol=symbol,
        digest=digest,
        arena_bytes=arena_bytes(program, cpu.vector_bytes),
        worker_bytes=worker_bytes(program, cpu.vector_bytes),
        data=data,
        door=door_object(),
        seconds=clock.seconds,
        owner=loaded,
    )


def compile_source(program: Program, progress: OnProgress = no_progress) -> SourceCode:
    """Print a program as a module of Python, and have Numba compile its kernels."""
    from .source.load import load_module, loaded_code
    from .source.program_text import program_text

    clock = _Clock()
    name = f"<irgrad {program_digest(program, 'numba')[:16]}>"
    found = clock.time("emit", lambda: program_text(program))
    count = len(found.kernels)

    def load() -> dict[str, Any]:
        return load_module(found, name, lambda done: progress("kernels", done, count))

    module = clock.time("numba", load)
    return loaded_code(module, program, found.text, name, clock.seconds)


def _load_stored(stored: StoredCode) -> Code:
    from .llvm.compile import load_object, undefined_symbols

    clock = _Clock()
    try:
        outside = undefined_symbols(stored.data) | undefined_symbols(stored.door)
        loaded = clock.time("load", lambda: load_object(stored.data))
        address = loaded.address(stored.symbol)
    except (InternalError, RuntimeError, ValueError, IndexError) as error:
        raise FileError(f"cache entry: expected an object file to load, got {error}") from error
    if outside:
        raise FileError(f"cache entry: expected no undefined symbols, got {sorted(outside)}")
    return Code(
        address=address,
        symbol=stored.symbol,
        digest=stored.program,
        arena_bytes=stored.arena_bytes,
        worker_bytes=stored.worker_bytes,
        data=stored.data,
        door=stored.door,
        seconds=clock.seconds,
        owner=loaded,
    )


def program_digest(program: Program, form: str) -> str:
    """64 hexadecimal digits that stand for what the code of a program depends on, in which 0.0 and
    -0.0 differ, and NaNs of other bits; lines and messages are no part of it."""
    nans = [
        let.literal
        for kernel in program.kernels
        for let in walk(kernel.body)
        if isinstance(let, Let) and isinstance(let.value, float) and math.isnan(let.value)
    ]
    parts = (
        form,
        tuple((k.name, k.buffers, k.body) for k in program.kernels),
        program.calls,
        program.inputs,
        program.outputs,
        program.arena_bytes,
        program.guard_calls,
        program.dims,
        program.slots,
        *nans,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(slots=True, weakref_slot=True)
class _Gate:
    """Lets one thread at a time make the code of a program."""

    lock: threading.Lock = field(default_factory=threading.Lock)


class _Codes:
    """The code of this process by the digest of its program, as long as something uses it."""

    def __init__(self) -> None:
        self._codes: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._renew_locks()
        os.register_at_fork(after_in_child=self._renew_locks)

    def _renew_locks(self) -> None:
        """New locks: threads that hold them do not exist in the child of a fork."""
        self._guard = threading.Lock()
        self._gates: weakref.WeakValueDictionary[str, _Gate] = weakref.WeakValueDictionary()

    def get(self, digest: str, make: Callable[[], T]) -> tuple[T, bool]:
        """The code of a program, and whether it had to be made."""
        with self._guard:
            gate = self._gates.setdefault(digest, _Gate())
        with gate.lock:
            found = self._codes.get(digest)
            if found is not None:
                return found, False
            made = self._codes[digest] = make()
            return made, True


@cache
def _codes() -> _Codes:
    return _Codes()


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

"""What a backend is, and how the installed ones are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

import numpy as np

from ..errors import ArgumentError, BackendError, brief

if TYPE_CHECKING:
    from ..ir.graph import Graph
    from ..kernel.program import Program, Result
    from ..kernel.slots import Workspace
    from .options import Options
    from .stored_code import StoredCode

GROUP = "irgrad.backends"
Saved = Sequence[tuple[int, np.ndarray]]  # donated arrays as they were, by position
OnNonFinite = Callable[[Sequence[object], Sequence[np.ndarray], Saved], NoReturn]
INSTALL = "install irgrad with pip (in a checkout: pip install -e .)"


@dataclass(frozen=True, slots=True)
class BoundRun:
    """A call whose arrays are fixed.

    run: computes the results in place, gives 0, or another number where a check failed. fail:
    raises the CheckError of the run that just failed. keep: what must live as long as `run`.
    """

    run: Callable[[], int]
    fail: Callable[[], NoReturn]
    keep: tuple[object, ...] = ()


class Executable(Protocol):
    """A compiled graph. Any number of threads may call it at once."""

    @property
    def workspace(self) -> Workspace:
        """The scratch memory that one call uses."""
        ...

    @property
    def origin(self) -> str:
        """Where the code comes from: "compiled" just now, from "memory" or "disk", or
        "interpreted"."""
        ...

    @property
    def seconds(self) -> dict[str, float]:
        """Compile time by phase."""
        ...

    def call(self, arguments: tuple[object, ...]) -> Sequence[np.ndarray] | None:
        """Run on the arguments of the graph (captures excluded) and give its results in order.

        None, with nothing run, where an argument is not an ndarray of exactly its input's dtype and
        shape, contiguous and aligned (writeable where donated), where donated memory overlaps
        another input, or where a capture no longer has its type. Raises CheckError where a check of
        the graph fails.
        """
        ...

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result of a call on such arguments comes from, and its shape and dtype."""
        ...

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Sequence[np.ndarray]) -> BoundRun:
        """Fix the arguments, which `call` would take, and the arrays that receive the results."""
        ...

    def object_file(self) -> bytes | None:
        """The machine code as an object file, None where there is none."""
        ...

    def source(self, form: str, kernel: str) -> str:
        """The code of one kernel as "numba", "llvm" or "asm" text; ArgumentError for another
        form."""
        ...

    def divided(self) -> tuple[str, ...]:
        """The names of the kernels that are divided between threads where they have the work."""
        ...

    def switches(self) -> tuple[tuple[str, str], ...]:
        """(kernel, sentence) for each choice that code makes by the numbers of named sizes."""
        ...

    def numba_function(self) -> object:
        """A function of Numba that jitted code calls with the flat list of array arguments.

        Raises ArgumentError where there is no compiled code to call.
        """
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """Calls that look at their results; call, bind: as those of Executable."""

    call: Callable[[tuple[object, ...]], Sequence[np.ndarray] | None]
    bind: Callable[[tuple[np.ndarray, ...], Sequence[np.ndarray]], BoundRun]


@runtime_checkable
class WatchingExecutable(Protocol):
    """An executable that can look at its results itself."""

    def watch(self, found: OnNonFinite) -> Watched | None:
        """Calls that hand over what they did where a result holds NaN or an infinity.

        found: raises the error; it gets the arguments, behind which there may be more arrays, the
        results, and copies of the donated arguments, which may be overwritten. None where results
        have to be looked at by others.
        """
        ...


class Backend(Protocol):
    """Turns a graph into an Executable.

    name: the target that it serves. lowers: whether it wants a lowered program; else it runs the
    graph itself and gets None.
    """

    @property
    def name(self) -> str: ...

    @property
    def lowers(self) -> bool: ...

    def compile(self, program: Program | None, graph: Graph, options: Options) -> Executable:
        """Compile an optimised graph, of which `program` is the lowered form."""
        ...


class StorableExecutable(Executable, Protocol):
    """An executable whose code can be kept on disk."""

    def stored(self, text: str) -> StoredCode:
        """The code as the disk cache keeps it; text: the optimised graph."""
        ...


@runtime_checkable
class StoringBackend(Protocol):
    """A backend whose code can be kept on disk, which `Backend` alone does not promise."""

    @property
    def source(self) -> str:
        """The folder of the files that code depends on."""
        ...

    def fingerprint(self, options: Options) -> tuple[str, ...] | None:
        """What code depends on beside the program; None for options whose code is not kept."""
        ...

    def compile(
        self, program: Program | None, graph: Graph, options: Options
    ) -> StorableExecutable:
        """As that of `Backend`."""
        ...

    def load(
        self, stored: StoredCode, graph: Graph, lower: Callable[[], Program]
    ) -> StorableExecutable:
        """What `compile` gives, from code that it made before; lower: gives the program when asked.

        Raises FileError for code that cannot be loaded.
        """
        ...


def installed_backends() -> list[str]:
    """The names of the targets that can be asked for."""
    from importlib.metadata import entry_points  # slow to import, and needed by compiling alone

    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find_backend(target: str) -> Backend:
    """The backend of a target.

    Raises BackendError that names the installed ones where there is none of that name, or where it
    cannot be imported; ArgumentError for what is no name.
    """
    if not isinstance(target, str):
        raise ArgumentError(f"target: expected the name of a backend, got {brief(target)}")
    return _load_backend(target)


@cache
def _load_backend(target: str) -> Backend:
    from importlib.metadata import entry_points

    found = [entry for entry in entry_points(group=GROUP) if entry.name == target]
    if not found:
        names = ", ".join(installed_backends())
        hint = f"installed: {names}" if names else f"none is installed; {INSTALL}"
        raise BackendError(f"target: expected the name of a backend, got {brief(target)} ({hint})")
    try:
        return found[0].load()
    except ImportError as error:
        raise BackendError(
            f"target {target!r}: expected an importable backend, got {error}; {INSTALL}"
        ) from error

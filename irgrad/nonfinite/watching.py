"""Code whose results are looked at after each call, and the error for those that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import numpy as np
import optree

from ..errors import ArgumentError, LimitError, NonFiniteError
from ..ir.graph import Graph, Value
from ..ir.location import Location, describe
from ..kernel.program import Program, Result
from ..runtime.backend import BoundRun, Executable, Saved, Watched, WatchingExecutable, find_backend
from ..runtime.options import Options
from ..tracing.locations import add_location, user_locations
from .kernels import find_kernel
from .search import Index, Origin, Reading, find_origin, first_nonfinite

Trees = tuple[optree.PyTreeSpec, optree.PyTreeSpec]
SHOWN = 4  # elements of operands in a message
ROW = 8192  # elements of which BLAS sums squares without waking threads


@dataclass(frozen=True, slots=True)
class Subject:
    """What is watched: the graph as traced, what gives the graph and the program after all passes,
    how they were compiled, and the structure of the result where it is known."""

    graph: Graph
    lowered: Callable[[], tuple[Graph, Program | None]]
    target: str
    options: Options
    trees: Trees | None


class WatchedExecutable:
    """An executable that raises NonFiniteError for results that are NaN or infinite.

    It runs the same code, which looks at its results itself where it can. Donated arrays are copied
    before a call and restored before the error. See `irgrad.runtime.backend.Executable` for the
    methods.
    """

    def __init__(self, executable: Executable, subject: Subject) -> None:
        self.workspace = executable.workspace
        self.origin = executable.origin
        self.seconds = executable.seconds
        self.results: Callable[[Sequence[np.ndarray]], tuple[Result, ...]] = executable.results
        self.object_file = executable.object_file
        self.source = executable.source
        self._executable = executable
        self._subject = subject
        self._watcher = watcher = Watcher(subject)
        native = executable if isinstance(executable, WatchingExecutable) else None
        watched = native.watch(watcher.fail) if native is not None else None
        self.switches = executable.switches
        self.divided: Callable[[], tuple[str, ...]] = tuple  # native watching is on one thread
        if watched is None:
            self.divided = executable.divided
            watched = Watched(partial(watcher.call, executable), partial(watcher.bind, executable))
        self.call, self.bind = watched.call, watched.bind

    def numba_function(self) -> object:
        """Refused: jitted code would run without being looked at."""
        raise ArgumentError(
            f"{self._subject.graph.name}: expected debug_nan=False for calls from jitted code, got "
            "True, which looks at the results of calls from Python"
        )


class Watcher:
    """Looks at results, and finds out what made those that are not finite."""

    def __init__(self, subject: Subject) -> None:
        graph = subject.graph
        self._subject = subject
        self._count = len(graph.inputs) - len(graph.captures)
        self._donated = sorted(graph.signature.donated)
        types = [graph.type(value) for value in graph.outputs]
        # BLAS reads an array of these two dtypes once; where squares overflow, elements are read.
        self._quick = [i for i, t in enumerate(types) if t.dtype.name in ("f32", "f64")]
        others = ("f16", "bf16", "c64", "c128")
        self._slow = [i for i, t in enumerate(types) if t.dtype.name in others]

    def call(
        self, executable: Executable, arguments: tuple[object, ...]
    ) -> Sequence[np.ndarray] | None:
        """Run and look at the results."""
        saved = self._save(arguments)
        found = executable.call(arguments)
        if found is not None and self._suspicious(found):
            self._require_finite(arguments, found, saved)
        return found

    def bind(
        self,
        executable: Executable,
        arguments: tuple[np.ndarray, ...],
        leaves: Sequence[np.ndarray],
    ) -> BoundRun:
        """Fix the arrays. Each run copies donated ones, so it allocates."""
        inner = executable.bind(arguments, leaves)

        def run() -> int:
            saved = self._save(arguments)
            status = inner.run()
            if not status and self._suspicious(leaves):
                self._require_finite(arguments, leaves, saved)
            return status

        return BoundRun(run, inner.fail, (*inner.keep, inner))

    def fail(
        self, arguments: Sequence[object], leaves: Sequence[np.ndarray], saved: Saved
    ) -> NoReturn:
        """Raise for the first elements that are not finite, once donated arrays are as before."""
        bad = self._bad(leaves)
        given = [array for array in arguments[: self._count] if isinstance(array, np.ndarray)]
        first = leaves[bad[0][0]][bad[0][1]] if bad else None
        for i, copy in saved:
            np.copyto(given[i], copy)
            given[i] = copy
        error = self._changed() if first is None else self._explain(given, bad, first)
        add_location(error, user_locations())
        raise error

    # -- looking ---------------------------------------------------------------------------------

    def _save(self, arguments: Sequence[object]) -> Saved:
        """Copies of the donated arrays, with their positions."""
        if len(arguments) != self._count:
            return []
        return [
            (i, array.copy())
            for i in self._donated
            if isinstance(array := arguments[i], np.ndarray)
        ]

    def _suspicious(self, leaves: Sequence[np.ndarray]) -> bool:
        """Whether a sum of squares, or an element, is not finite."""
        for i in self._quick:
            x = leaves[i]
            if x.size > ROW:
                whole = x.size // ROW * ROW
                flat = x.reshape(-1)
                rows, x = flat[:whole].reshape(-1, ROW), flat[whole:]
                with np.errstate(all="ignore"):
                    if not np.isfinite(np.vecdot(rows, rows)).all():
                        return True
            if not math.isfinite(np.vdot(x, x)):  # of BLAS alone, which heeds no errstate
                return True
        return any(not np.isfinite(leaves[i]).all() for i in self._slow)

    def _require_finite(
        self, arguments: Sequence[object], leaves: Sequence[np.ndarray], saved: Saved
    ) -> None:
        """Raise where an element is not finite: sums of squares may overflow."""
        if self._bad(leaves):
            self.fail(arguments, leaves, saved)

    def _bad(self, leaves: Sequence[np.ndarray]) -> list[tuple[int, Index]]:
        """The first element of each result that is not finite."""
        return [
            (i, at)
            for i in sorted((*self._quick, *self._slow))
            if (at := first_nonfinite(leaves[i])) is not None
        ]

    # -- explaining ------------------------------------------------------------------------------

    def _explain(
        self, given: Sequence[np.ndarray], bad: Sequence[tuple[int, Index]], first: np.generic
    ) -> NonFiniteError:
        """The error for elements of results, from what running again on the arguments shows."""
        graph = self._subject.graph
        note = " where the interpreter gives finite results"
        try:
            found = find_origin(graph, [*given, *_captures(graph)], bad)
            if found is not None:
                origin, (leaf, at) = found
                return _error(origin, self._label(leaf, at))
        except LimitError:  # the search keeps every value, where kernels keep few
            note = " in a program of which not all values can be kept"
        optimised, _ = self._subject.lowered()
        backend = find_backend(self._subject.target)
        leaves = [leaf for leaf, _ in bad]
        inputs = [*given, *_captures(optimised)]
        label = self._label(*bad[0])
        try:
            kernel = find_kernel(optimised, backend, self._subject.options, inputs, leaves)
        except LimitError:
            kernel = None
        if kernel is not None:
            return _error(kernel, label, note)
        value = graph.outputs[bad[0][0]]
        node = graph[value.node]
        return NonFiniteError(
            f"{label}: expected a finite result (debug_nan), got {first}, which is finite when it "
            f"is computed again; did an argument change meanwhile?{_line(node.locations)}",
            node.op,
            bad[0][1],
            (),
            node.locations[0] if node.locations else None,
        )

    def _changed(self) -> NonFiniteError:
        """The error for results that were finite again before anybody could look for the cause."""
        return NonFiniteError(
            f"{self._subject.graph.name}: expected finite results (debug_nan), got an element that "
            "was not finite and then changed; does another thread write into the same array?"
        )

    def _label(self, leaf: int, index: Index) -> str:
        """An element of the results, as in "result['w1'][0, 3]"."""
        trees = self._subject.trees
        count = len(self._subject.graph.outputs)
        path = trees[1].paths()[leaf] if trees is not None else (leaf,) if count > 1 else ()
        place = "".join(f"[{part!r}]" for part in path)
        return f"result{place}{_bracketed(index)}"


def _captures(graph: Graph) -> list[np.ndarray]:
    """The captured arrays as the graph reads them."""
    return [
        np.asarray(graph.captures[key], graph.type(Value(key)).dtype.numpy)
        for key in graph.inputs
        if key in graph.captures
    ]


def _error(origin: Origin, result: str, note: str = "") -> NonFiniteError:
    """The error that tells of an origin. result: an element that depends on it."""
    where = f"at index {origin.index} of {origin.type}" if origin.index else f"({origin.type})"
    if origin.given:
        text = f"{origin.op}: expected finite elements (debug_nan), got {origin.value} {where}"
    else:
        gradient = bool(origin.locations) and origin.locations[0].role != ""
        text = (
            f"{origin.op}{', in the gradient' if gradient else ''}: expected a finite result "
            f"(debug_nan), got {origin.value} {where}{_from(origin.readings)}"
        )
    line = _line(origin.locations)
    return NonFiniteError(
        f"{text}{note}; {result} depends on it{line}",
        origin.op,
        origin.index,
        tuple((index, value.item()) for index, value in origin.readings),
        origin.locations[0] if origin.locations else None,
    )


def _from(readings: Sequence[Reading]) -> str:
    """The elements that something was made of, in words."""
    if not readings:
        return ""
    same = len({index for index, _ in readings}) == 1
    shown = [
        str(value) if same or not index else f"{value!s} at {index}"
        for index, value in readings[:SHOWN]
    ]
    more = len(readings) - len(shown)
    return f" from {', '.join(shown)}" + (f" and {more} more" if more else "")


def _line(locations: Sequence[Location]) -> str:
    return f"\n{describe(locations[0])}" if locations else ""


def _bracketed(index: Index) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""

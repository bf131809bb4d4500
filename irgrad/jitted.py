"""Functions that compile themselves for each signature of their arguments."""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

import numpy as np
import optree

from .errors import ArgumentError, IrgradError, LimitError, LoweringError
from .ir.dims import names as size_names
from .ir.graph import Graph, Value
from .runtime.boundary import Boundary, Parameter
from .runtime.compiled import Compiled
from .runtime.guards import Guards, watch
from .runtime.options import Options
from .signatures import (
    Position,
    by_position,
    check_leaves,
    function_name,
    key_text,
    leaf_key,
    parameters_of,
    roots_of,
    spec_type,
    static_key,
)
from .tracing.locations import add_location, user_locations
from .tracing.sizes import SymbolicSize
from .tracing.trace import trace_program
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object, leaf_names

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compile and how; static and donated arguments as the user named them."""

    f: Function
    donate: tuple[Position, ...]
    static: tuple[Position, ...]
    target: str
    options: Options

    def split(self, args: Sequence[Any]) -> tuple[dict[Position, Any], list[Any]]:
        """Static values by position, and the other arguments."""
        chosen = set(self.static_positions(len(args)))
        fixed: dict[Position, Any] = {i: args[i] for i in sorted(chosen)}
        return fixed, [arg for i, arg in enumerate(args) if i not in chosen]

    def static_positions(self, count: int) -> list[int]:
        """The positions of the static arguments among `count` of them."""
        found: list[int] = []
        for entry in self.static:
            position = entry
            if isinstance(entry, str):
                known = list(parameters_of(self.f))
                if entry not in known:
                    raise ArgumentError(
                        f"static: expected a parameter among {', '.join(known)}, got {entry!r}"
                    )
                position = known.index(entry)
            assert isinstance(position, int)
            if position < 0:
                raise ArgumentError(f"static: expected positions from 0 on, got {position}")
            if position < count:
                found.append(position)
        return found

    def compile(
        self, dynamic: tuple[Any, ...], fixed: dict[Position, Any], guards: Guards
    ) -> Compiled:
        """Trace and compile for arguments, or specs, of this kind."""
        from .driver import compile_graph  # loads the passes, which importing irgrad need not

        start = time.perf_counter()
        program = trace_program(self.f, *dynamic, static=fixed, donate=self.donate)
        seconds = {"trace": time.perf_counter() - start}
        _require_numbers(program.graph, self.target)
        return compile_graph(
            program.graph,
            target=self.target,
            options=self.options,
            trees=(program.inputs, program.outputs),
            seconds=seconds,
            frozen=tuple(guards.frozen),
        )


def _require_numbers(graph: Graph, target: str) -> None:
    """Raise LoweringError for sizes that are names, where the target needs numbers."""
    symbolic = {
        name
        for key in graph.inputs
        for size in graph.type(Value(key)).shape
        for name in size_names(size)
    }
    if symbolic and target != "reference":
        raise LoweringError(
            f"{graph.name}: expected sizes that are numbers for target {target!r}, got "
            f"{', '.join(sorted(symbolic))}; jit compiles for the sizes of each call, and "
            "target='reference' runs symbolic sizes"
        )


# -- jit -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """A compile of one signature: its code and the variables that it depends on."""

    compiled: Compiled
    guards: Guards


@dataclass(frozen=True, slots=True)
class JitInfo:
    """The compiles of a jitted function.

    compiles: their number. seconds: time spent on them. reasons: why each one was needed, in order.
    """

    compiles: int
    seconds: float
    reasons: tuple[str, ...]


class Jitted:
    """A function that compiles itself for each signature of its arguments; made by `jit`.

    specs: the types that its arguments must have, or None.
    """

    def __init__(self, plan: Plan, specs: tuple[Any, ...] | None) -> None:
        update_wrapper(self, plan.f)
        self.__wrapped__ = plan.f
        self.specs = specs
        self._plan = plan
        self._entries: dict[Any, list[_Entry]] = {}
        self._last: _Entry | None = None
        self._lock = threading.RLock()
        self._reasons: list[str] = []
        self._seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, after compiling where this signature is new."""
        last = self._last
        if last is not None and not kwargs and last.guards.hold():
            leaves = last.compiled.attempt(args)
            if leaves is not None:
                return last.compiled.finish(leaves)
        return self._dispatch(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind to an instance, as functions do."""
        return self if instance is None else types.MethodType(self, instance)

    def cache_info(self) -> JitInfo:
        """How often this function was compiled, and why."""
        return JitInfo(len(self._reasons), self._seconds, tuple(self._reasons))

    def compiled(self, *args: Any, **kwargs: Any) -> Compiled:
        """The compiled function for the signature of these arguments, which is not run."""
        return self._find(*self._arrange(args, kwargs)).compiled

    def trace(self, *specs: Any) -> Graph:
        """The graph for arguments of these types, by default those of `specs`, as `trace` gives it.

        Static arguments are given as their values.
        """
        fixed, dynamic = self._plan.split(specs or self.specs or ())
        plan = self._plan
        return trace_program(plan.f, *dynamic, static=fixed, donate=plan.donate).graph

    # -- from a call to an entry -----------------------------------------------------------------

    def _dispatch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in general: keywords, static arguments, numbers, new signatures, traces."""
        try:
            fixed, dynamic, leaves, spec = self._arrange(args, kwargs)
            if any(isinstance(leaf, (Tracer, SymbolicSize)) for leaf in leaves):
                return self._plan.f(*args, **kwargs)
            entry = self._find(fixed, dynamic, leaves, spec)
        except IrgradError as error:
            add_location(error, user_locations())
            raise
        if not fixed and all(type(leaf) is np.ndarray for leaf in leaves):
            self._last = entry
        return entry.compiled.finish(entry.compiled.call_leaves(leaves))

    def _arrange(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[Position, Any], list[Any], list[Any], optree.PyTreeSpec]:
        """Static values, the other arguments, and the leaves and the structure of those."""
        if kwargs:
            args = by_position(self._plan.f, args, kwargs)
        fixed, dynamic = self._plan.split(args)
        leaves, spec = flatten_object(tuple(dynamic))
        return fixed, dynamic, leaves, spec

    def _find(
        self,
        fixed: dict[Position, Any],
        dynamic: list[Any],
        leaves: list[Any],
        spec: optree.PyTreeSpec,
    ) -> _Entry:
        """The entry for a signature; compiled if it is new or what it read has changed."""
        key = (spec, tuple(map(leaf_key, leaves)), static_key(fixed))
        for entry in reversed(self._entries.get(key, ())):
            if entry.guards.hold():
                return entry
        with self._lock:
            known = self._entries.get(key, [])
            for entry in reversed(known):
                if entry.guards.hold():
                    return entry
            reason = self._reason(key, known)
            check_leaves(self._plan.f, dynamic, leaves, spec)
            if self.specs is not None:
                self._check_specs(dynamic, leaves)
            guards = watch(self._plan.f)
            start = time.perf_counter()
            compiled = self._plan.compile(tuple(dynamic), fixed, guards)
            self._seconds += time.perf_counter() - start
            self._reasons.append(reason)
            entry = _Entry(compiled, guards)
            self._entries[key] = [*known, entry]
            return entry

    def _reason(self, key: Any, known: list[_Entry]) -> str:
        """Why a compile is needed. Raises LimitError where it is one too many."""
        if known:
            changed = known[-1].guards.changed()
            reason = f"variable {changed}" if changed else "variables changed"
        elif not self._entries:
            reason = "first call"
        else:
            reason = "new signature " + ", ".join(map(key_text, key[1]))
            if key[2]:
                reason += f" with static {[value for _, _, value in key[2]]!r:.60}"
        limit = self._plan.options.max_retraces
        if len(self._reasons) > limit:
            raise LimitError(
                f"{function_name(self._plan.f)}: expected at most {limit} retraces "
                f"(max_retraces), got one more: {reason}"
            )
        return reason

    def _check_specs(self, dynamic: list[Any], leaves: list[Any]) -> None:
        """Raise ArgumentError where the arguments do not have the types of `specs`."""
        assert self.specs is not None
        expected, spec = flatten_object(self.specs)
        given: Any = tuple(dynamic)
        found = spec.flatten_up_to(given) if len(dynamic) == len(self.specs) else None
        if found is None:
            raise ArgumentError(
                f"{function_name(self._plan.f)}: expected {len(self.specs)} arguments as in "
                f"specs, got {len(dynamic)}"
            )
        labels = leaf_names(spec, roots_of(self._plan.f, len(self.specs)))
        Boundary(
            [Parameter(label, spec_type(one)) for label, one in zip(labels, expected)]
        ).admit(found)



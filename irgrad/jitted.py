"""Functions that compile themselves for each signature of their arguments."""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any

import numpy as np
import optree

from .errors import IrgradError, LimitError, LoweringError, TraceError, brief
from .ir.dims import names as size_names
from .ir.graph import Graph, Value
from .runtime.compiled import Compiled
from .runtime.copies import reduce_to_name
from .runtime.guards import Guards, watch
from .runtime.options import Options
from .runtime.signatures import (
    Arguments,
    Position,
    admit_specs,
    arrange,
    check_leaves,
    key_text,
    leaf_key,
    parameters_of,
    positions,
    static_key,
    with_keywords,
)
from .tracing.locations import add_location, call_function, ends_at_call, user_locations
from .tracing.sizes import SymbolicSize
from .tracing.trace import Program, trace_program
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object

Function = Callable[..., Any]


class Plan:
    """What to compile and how; static and donated arguments as the user named them."""

    def __init__(
        self,
        f: Function,
        donate: int | str | Sequence[Position] = (),
        static: int | str | Sequence[Position] = (),
        target: str = "cpu",
        options: Options | None = None,
    ) -> None:
        self.f = f
        self.donate = positions(donate)
        self.static = positions(static)
        self.target = target
        self.options = options or Options()
        self.parameters = parameters_of(f)

    def arrange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Static arguments apart from the others, names at their positions."""
        return arrange(self.parameters, self.static, args, kwargs)

    def trace(self, arguments: Arguments) -> Program:
        """Trace for arguments, or specs, of this kind."""
        return trace_program(
            with_keywords(self.f, arguments),
            *arguments.dynamic,
            static=arguments.fixed,
            donate=self.donate,
        )

    def compile(self, arguments: Arguments, guards: Guards) -> Compiled:
        """Trace and compile for arguments, or specs, of this kind."""
        from .driver import compile_graph  # loads the passes, which importing irgrad need not

        start = time.perf_counter()
        program = self.trace(arguments)
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

    def __init__(self, plan: Plan, specs: tuple[Any, ...] | None = None) -> None:
        update_wrapper(self, plan.f, updated=())
        self.__wrapped__ = plan.f
        self.specs = specs
        self._plan = plan
        self._entries: dict[Any, list[_Entry]] = {}
        self._last: _Entry | None = None
        self._lock = threading.Lock()
        self._building: dict[Any, threading.RLock] = {}
        self._reasons: list[str] = []
        self._seconds = 0.0

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
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

    def __copy__(self) -> Jitted:
        """The function itself, as for any function of Python."""
        return self

    def __deepcopy__(self, memo: object) -> Jitted:
        return self

    def __reduce__(self) -> str:
        """Its name, as for any function of Python; ArgumentError where a module lacks it."""
        return reduce_to_name(self)

    def cache_info(self) -> JitInfo:
        """How often this function was compiled, and why."""
        return JitInfo(len(self._reasons), self._seconds, tuple(self._reasons))

    @ends_at_call
    def compiled(self, /, *args: Any, **kwargs: Any) -> Compiled:
        """The compiled function for the signature of these arguments, which is not run."""
        arguments = self._plan.arrange(args, kwargs)
        entry = self._find(arguments, *self._flatten(arguments))
        if entry is None:
            raise TraceError(
                f"{self._plan.parameters.function}: expected a function that uses no value of a "
                "trace that is going on, got one that does"
            )
        return entry.compiled

    @ends_at_call
    def trace(self, *specs: Any) -> Graph:
        """The graph for arguments of these types, by default those of `specs`, as `trace` gives it.

        Static arguments are given as their values.
        """
        return self._plan.trace(self._plan.arrange(specs or self.specs or (), {})).graph

    def replan(
        self,
        donate: tuple[Position, ...],
        static: tuple[Position, ...],
        target: str,
        options: Options | None,
    ) -> Plan:
        """A plan for the same function, with this one's settings where none are given."""
        own = self._plan
        options = options or own.options
        return Plan(own.f, donate or own.donate, static or own.static, target, options)

    # -- from a call to an entry -----------------------------------------------------------------

    def _dispatch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in general: keywords, static arguments, numbers, new signatures, traces."""
        try:
            arguments = self._plan.arrange(args, kwargs)
            leaves, spec = flatten_object(arguments.dynamic)
            if any(isinstance(leaf, (Tracer, SymbolicSize)) for leaf in leaves):
                return call_function(self._plan.f, args, kwargs)
            if self.specs is not None:
                leaves, spec = self._flatten(arguments)
            entry = self._find(arguments, leaves, spec)
            if entry is None:
                return call_function(self._plan.f, args, kwargs)
        except IrgradError as error:
            add_location(error, user_locations())
            raise
        plain = not arguments.fixed and not arguments.keywords
        if plain and all(type(leaf) is np.ndarray for leaf in leaves):
            self._last = entry
        return entry.compiled.finish(entry.compiled.call_leaves(leaves))

    def _flatten(self, arguments: Arguments) -> tuple[list[Any], optree.PyTreeSpec]:
        """The leaves of the arguments and their structure; where there are specs, as they ask."""
        leaves, spec = flatten_object(arguments.dynamic)
        if self.specs is not None:
            function = self._plan.parameters.function
            leaves = admit_specs(function, self.specs, arguments)
        return leaves, spec

    def _find(
        self, arguments: Arguments, leaves: list[Any], spec: optree.PyTreeSpec
    ) -> _Entry | None:
        """The entry for a signature; compiled if it is new or what it read has changed.

        None where the function uses values of a trace that is going on.
        """
        kinds = tuple(map(leaf_key, leaves))
        key = (spec, kinds, static_key(arguments.fixed), arguments.keywords)
        for entry in reversed(self._entries.get(key, ())):
            if entry.guards.hold():
                return entry
        with self._lock:  # one for each key: tracing may run threads that need other signatures
            building = self._building.setdefault(key, threading.RLock())
        with building:
            known = self._entries.get(key, [])
            for entry in reversed(known):
                if entry.guards.hold():
                    return entry
            guards = watch(self._plan.f)
            if guards.traced:
                return None
            reason = self._reason(key, known, list(arguments.fixed.values()))
            check_leaves(arguments, leaves, spec)
            dynamic: Any = spec.unflatten(leaves)
            traced = replace(arguments, dynamic=dynamic)
            start = time.perf_counter()
            compiled = self._plan.compile(traced, guards)
            self._seconds += time.perf_counter() - start
            self._reasons.append(reason)
            entry = _Entry(compiled, guards)
            self._entries[key] = [*known, entry]
            return entry

    def _reason(self, key: Any, known: list[_Entry], fixed: list[Any]) -> str:
        """Why a compile is needed. Raises LimitError where it is one too many.

        fixed: the static arguments.
        """
        if known:
            changed = known[-1].guards.changed()
            reason = f"variable {changed}" if changed else "variables changed"
        elif not self._entries:
            reason = "first call"
        else:
            reason = "new signature " + ", ".join(map(key_text, key[1]))
            if key[2]:
                reason += f" with static {brief(fixed, 60)}"
        limit = self._plan.options.max_retraces
        if len(self._reasons) > limit:
            raise LimitError(
                f"{self._plan.parameters.function}: expected at most {limit} retraces "
                f"(max_retraces), got one more: {reason}"
            )
        return reason

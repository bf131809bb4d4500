"""The driver: the one place where stages meet, from a graph to a Compiled."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

import optree

from .config import Config, read_config
from .errors import DTypeError, LimitError, LoweringError
from .ir.graph import Graph, Value
from .kernel.program import Program
from .nonfinite import Subject, WatchedExecutable
from .op_rules import check_rules_behind
from .ops.check import verify
from .ops.size_guards import first_new_guard, size_guards
from .passes.base import OnPass, Pass, run_passes
from .passes.lower import lower
from .passes.pipeline import pipeline
from .runtime.backend import Executable, find_backend
from .runtime.compiled import Compiled, DiskNote, Lowered, Parts
from .runtime.options import Options
from .runtime.progress import Progress
from .self_check import NamedPass, PassChecker, check_code, check_lowering

Trees = tuple[optree.PyTreeSpec, optree.PyTreeSpec]
Keep = Callable[[Graph, Executable], DiskNote]
MAX_PLACES = 4  # that the error for widened floats names beside the first


def compile_graph(
    graph: Graph,
    *,
    target: str = "cpu",
    options: Options | None = None,
    donate: Sequence[int] | None = None,
    trees: Trees | None = None,
    seconds: Mapping[str, float] | None = None,
    frozen: tuple[str, ...] = (),
    keep: Keep = lambda optimised, executable: DiskNote("off", "not asked for"),
) -> Compiled:
    """Compile a graph for a target.

    donate: positions of the input leaves that may be overwritten, None for those of the signature.
    trees: the optree structures of arguments and result, where they say more than the signature.
    seconds: what earlier phases took. frozen: names of objects that only the trace has read. keep:
    told of the optimised graph and its code, and says what became of them on disk.

    Raises BackendError for an unknown target, LoweringError for what it cannot compile, DTypeError
    for a widened float array under `strict`, CheckError where `check="all"` finds a fault.
    """
    options = options or Options()
    if donate is not None:
        graph = graph.copy()
        graph.signature = replace(graph.signature, donated=frozenset(donate))
    _check_strict(graph, options)
    verify(graph, "traced")
    _check_sizes(graph)
    backend = find_backend(target)
    config = read_config()
    clock = _Clock(dict(seconds or {}))
    progress = Progress(graph.name, options.progress, sys.stderr, sum(clock.seconds.values()))
    with progress:
        optimised = _optimise(graph, options, clock, config, progress)
    if options.check == "all" and backend.lowers:
        check_lowering(optimised)
    program = _lower(optimised, graph) if backend.lowers else None
    clock.lap("lower")
    with progress:
        progress("lower", 1, 1)
        executable = backend.compile(program, optimised, replace(options, progress=progress))
    clock.lap(backend.name)
    if executable.seconds:
        del clock.seconds[backend.name]
        clock.seconds.update(executable.seconds)
    if options.check == "all":
        check_code(graph, optimised, program, backend, executable, options)
    if config.debug:
        _print_line(graph, target, program, clock)
    note = keep(optimised, executable)
    if options.debug_nan:
        subject = Subject(graph, lambda: (optimised, program), target, options, trees)
        executable = WatchedExecutable(executable, subject)
    return Compiled(
        Parts(
            graph, lambda: (optimised, program), executable, options, target, trees,
            lambda: stage_graphs(graph, options), clock.seconds, page, frozen, note,
            len(program.kernels) if program is not None else 0,
        )
    )  # fmt: skip


def lower_graph(graph: Graph, options: Options) -> Lowered:
    """The graph after all passes and its program, for a target that lowers."""
    progress = Progress(graph.name, None, sys.stderr)
    optimised = _optimise(graph, options, _Clock({}), Config(), progress)
    return optimised, _lower(optimised, graph)


def _lower(optimised: Graph, graph: Graph) -> Program:
    """The program of a graph after all passes, with the guards of the graph as traced.

    Raises LoweringError where the passes have made a program for fewer sizes than that.
    """
    program = lower(optimised)
    guards = size_guards(graph)
    new = first_new_guard(size_guards(optimised), guards)
    if new is not None:
        raise LoweringError(
            f"{graph.name}: expected a program for all sizes that the function has, got one for "
            f"{new.size} >= 0 ({new.op}: {new.meaning}); target='reference' runs the others"
        )
    return replace(program, size_guards=guards)


def page(compiled: Compiled, parts: Parts) -> str:
    """The page of HTML about a compiled function."""
    from .view import page_text  # not needed to compile

    return page_text(compiled, parts)


# -- passes ----------------------------------------------------------------------------------------


class _Clock:
    """Adds up the time between laps, by name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Count the time since the last lap for a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def _optimise(
    graph: Graph, options: Options, clock: _Clock, config: Config, progress: Progress
) -> Graph:
    """The graph after all passes; the given one is left alone."""
    work = graph.copy()
    passes: tuple[Pass, ...] = pipeline(options.numerics)
    numbers = count(1)
    callbacks: list[OnPass] = [
        lambda step, now: progress("passes", next(numbers), len(passes)),
    ]
    if config.verify:
        callbacks.append(lambda step, now: verify(now, level_after(step)))
    if config.dump:
        callbacks.append(_dumper(graph, config.dump))
    if options.check == "all":
        check_rules_behind(graph)
        callbacks.append(PassChecker(graph))
        passes = tuple(map(NamedPass, passes))
    run_passes(work, passes, callbacks)
    verify(work, "fused")
    clock.lap("passes")
    return work


def level_after(step: Pass) -> str:
    """The level of `verify` that a graph has to meet after a pass: calls are inlined by the second.
    """
    return {"infer": "traced", "fuse": "fused"}.get(step.name, "optimised")


def stage_graphs(graph: Graph, options: Options) -> dict[str, Graph]:
    """The graph as traced and after each pass, by name, from a new run of the passes.

    A pass that runs again is named with its number, as in "simplify.2".
    """
    stages = {"traced": graph}

    def keep(step: Pass, now: Graph) -> None:
        name, number = step.name, 2
        while name in stages:
            name, number = f"{step.name}.{number}", number + 1
        stages[name] = now.copy()

    run_passes(graph.copy(), pipeline(options.numerics), [keep])
    return stages


def _dumper(graph: Graph, folder: str) -> OnPass:
    """A callback that writes the text after each pass into `folder/<graph>/`."""
    path = os.path.join(folder, graph.name)
    os.makedirs(path, exist_ok=True)
    steps: list[str] = []

    def dump(step: Pass, now: Graph) -> None:
        steps.append(step.name)
        with open(os.path.join(path, f"{len(steps):02}_{step.name}.irg"), "w") as file:
            file.write(str(now))

    return dump


def _print_line(graph: Graph, target: str, program: Program | None, clock: _Clock) -> None:
    kernels = len(program.kernels) if program is not None else 0
    total = sum(clock.seconds.values()) * 1e3
    print(f"irgrad: {graph.name} for {target}: {kernels} kernels, {total:.1f} ms", file=sys.stderr)


def _check_strict(graph: Graph, options: Options) -> None:
    if options.strict and graph.widenings:
        first, *others = graph.widenings
        places = [str(x.location or "no line") for x in others[:MAX_PLACES]]
        more = [f"{len(others) - MAX_PLACES} more"] if len(others) > MAX_PLACES else []
        also = f" (others at {', '.join([*places, *more])})" if others else ""
        raise DTypeError(
            f"{graph.name}: expected no widened float array (strict=True), got "
            f"{len(graph.widenings)}{also}: {first}"
        )


def _check_sizes(graph: Graph) -> None:
    """Raise LimitError for an input or output larger than any array; NumPy counts sizes of 0 as
    1. Values on the way may be of any size, as kernels need not store them."""
    for value in (*map(Value, graph.inputs), *graph.outputs):
        type_ = graph.type(value)
        sizes = [size or 1 for size in type_.shape if isinstance(size, int)]
        if math.prod(sizes) * type_.dtype.itemsize > sys.maxsize:
            limit = "arrays of fewer than 2**63 bytes"
            raise LimitError(f"{graph.name}: expected {limit}, got {type_}")

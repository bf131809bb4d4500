"""Compiling through the disk cache: code that was made before is loaded, without passes, lowering
or LLVM; what is new is compiled by the driver and kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import optree

from .config import Config, read_config
from .errors import CacheError, FileError, InternalError, IrgradError, brief
from .ir.floats import nan_bits
from .ir.graph import Graph
from .ir.printer import canonical_text
from .ir.signature import flat_signature
from .runtime.backend import Executable, StorableExecutable, StoringBackend, find_backend
from .runtime.cache_folder import open_folder
from .runtime.cache_key import (
    NEWER,
    PACKAGE,
    cache_key,
    package_source,
    source_changed,
    source_problem,
)
from .runtime.compiled import Compiled, DiskNote, Lowered, Parts
from .runtime.options import Options
from .runtime.stored_code import MAX_BYTES, StoredCode, pack, unpack

if TYPE_CHECKING:
    from .kernel.program import Program

Trees = tuple[optree.PyTreeSpec, optree.PyTreeSpec]


def compile_cached(
    graph: Graph,
    *,
    target: str = "cpu",
    options: Options | None = None,
    donate: Sequence[int] | None = None,
    trees: Trees | None = None,
    seconds: Mapping[str, float] | None = None,
    frozen: tuple[str, ...] = (),
) -> Compiled:
    """As `compile_graph`, whose arguments these are, from the disk cache where it has the code.

    Raises CacheError where the user named a cache that is not theirs alone, and what
    `compile_graph` raises. A disk that fails is no error: `cache_info` tells of it.
    """
    options = options or Options()
    config = read_config()
    if donate is not None:
        graph = graph.copy()
        graph.signature = replace(graph.signature, donated=frozenset(donate))
    start = time.perf_counter()
    found = _find(graph, target, options, config)
    if isinstance(found, _Hit):
        spent = dict(seconds or {}) | {"cache": time.perf_counter() - start}
        return _restore(found, graph, target, options, trees, spent, frozen)
    from .driver import compile_graph  # loads the passes, which a hit does without

    keep = (
        partial(_keep, found, config)
        if isinstance(found, _Miss)
        else lambda optimised, executable: DiskNote("off", found)
    )
    return compile_graph(
        graph, target=target, options=options, trees=trees, seconds=seconds, frozen=frozen,
        keep=keep,
    )  # fmt: skip


# -- looking it up ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Hit:
    """Code from the disk, loaded. lowered: makes what the entry does not hold."""

    executable: StorableExecutable
    stored: StoredCode
    lowered: Callable[[], Lowered]
    note: DiskNote


@dataclass(frozen=True, slots=True)
class _Miss:
    """A key whose code is to be made, and why it was not found. folders: of source files."""

    key: str
    why: str
    folders: tuple[str, ...]


def _find(graph: Graph, target: str, options: Options, config: Config) -> _Hit | _Miss | str:
    """The code of a graph, or the key to keep it under; or why the cache is left alone."""
    backend = find_backend(target)
    reason = _reason_without(graph, backend, options, config)
    if reason:
        return reason
    assert isinstance(backend, StoringBackend)
    byte_limit(config)
    folders = (PACKAGE, backend.source)
    try:
        fingerprint = backend.fingerprint(options)
        if fingerprint is None:
            return "there is no object file of this form"
        reason = source_problem(folders)
        if reason:
            return reason
        own = package_source(backend.source).digest
        key = cache_key(graph, target, options, (own, *fingerprint))
    except IrgradError:  # the driver says what is wrong with the graph or the processor
        return "it has no key"
    try:
        return _look_up(key, graph, backend, options, config, folders)
    except CacheError as error:
        if config.cache_named:
            raise
        return str(error)
    except OSError as error:
        return f"{config.cache}: {error.strerror or error}"


def _reason_without(graph: Graph, backend: object, options: Options, config: Config) -> str:
    """Why a compile does without the cache, "" where it does not."""
    if config.cache == "off":
        return "IRGRAD_CACHE=off"
    if not isinstance(backend, StoringBackend):
        return "the target has no object files"
    if options.check != "none":
        return f"check={options.check!r} looks at each step"
    if config.dump or config.verify:
        return "IRGRAD_DUMP and IRGRAD_VERIFY look at each step"
    if options.strict and graph.widenings:
        return "it is not strict"
    return ""


def byte_limit(config: Config) -> int:
    """The most bytes that the cache may hold; CacheError for a setting that is no number."""
    if not (config.cache_bytes.isascii() and config.cache_bytes.isdigit()):
        raise CacheError(
            f"IRGRAD_CACHE_BYTES: expected a number of bytes, got {brief(config.cache_bytes)}"
        )
    return int(config.cache_bytes[:19])


def _look_up(
    key: str,
    graph: Graph,
    backend: StoringBackend,
    options: Options,
    config: Config,
    folders: tuple[str, ...],
) -> _Hit | _Miss:
    with open_folder(config.cache) as folder:
        try:
            data = folder.read(key, MAX_BYTES)
            if data is None:
                folder.count("misses")
                return _Miss(key, "no such entry", folders)
            stored = unpack(data, key, graph)
            lowered = cache(partial(_lower_again, graph, options, stored.text))
            executable = backend.load(stored, graph, partial(_program, lowered))
        except (FileError, CacheError, OSError) as error:
            folder.count("misses")
            return _Miss(key, f"a damaged entry: {error}", folders)
        folder.count("hits")
    return _Hit(executable, stored, lowered, DiskNote("hit", config.cache, key, len(data)))


def _keep(miss: _Miss, config: Config, optimised: Graph, executable: Executable) -> DiskNote:
    """Write the code that was made; a disk that refuses is told of in the note."""
    why = miss.why
    try:
        if source_changed(miss.folders):
            return DiskNote("off", NEWER)
        data = pack(miss.key, executable.stored(canonical_text(optimised)))  # type: ignore[attr-defined]
        limit = byte_limit(config)
        if len(data) > min(limit, MAX_BYTES):
            return DiskNote("miss", f"{why}; not kept: {len(data)} bytes", miss.key)
        with open_folder(config.cache) as folder:
            folder.write(miss.key, data, limit)
    except OSError as error:
        return DiskNote("miss", f"{why}; not kept: {error.strerror or error}", miss.key)
    return DiskNote("miss", why, miss.key, len(data))


# -- a hit -----------------------------------------------------------------------------------------


def _restore(
    hit: _Hit,
    graph: Graph,
    target: str,
    options: Options,
    trees: Trees | None,
    seconds: dict[str, float],
    frozen: tuple[str, ...],
) -> Compiled:
    """The compiled function of a hit; stages, kernels and lines are made of the fresh trace, when
    somebody asks for them."""
    if read_config().debug:
        total = sum(seconds.values()) * 1e3
        text = f"{hit.stored.kernels} kernels from the cache, {total:.1f} ms"
        print(f"irgrad: {graph.name} for {target}: {text}", file=sys.stderr)
    executable: Executable = hit.executable
    if options.debug_nan:
        from .nonfinite import Subject, WatchedExecutable  # loads the passes

        subject = Subject(graph, hit.lowered, target, options, trees)
        executable = WatchedExecutable(executable, subject)
    return Compiled(
        Parts(
            graph,
            hit.lowered,
            executable,
            options,
            target,
            trees,
            partial(_stages, graph, options),
            seconds,
            _page,
            frozen,
            hit.note,
            hit.stored.kernels,
        )
    )


def _lower_again(graph: Graph, options: Options, text: str) -> Lowered:
    """The optimised graph and the program of a hit, by the passes that once made its code."""
    from .driver import lower_graph

    lowered = lower_graph(graph, options)
    if canonical_text(lowered[0]) != text:
        raise InternalError(
            f"{graph.name}: expected the passes to give the graph in the cache again, got another; "
            "`irgrad doctor --clear` removes the cache"
        )
    return lowered


def _program(lowered: Callable[[], Lowered]) -> Program:
    program = lowered()[1]
    assert program is not None, "targets whose code is kept lower"
    return program


def _stages(graph: Graph, options: Options) -> Mapping[str, Graph]:
    from .driver import stage_graphs

    return stage_graphs(graph, options)


def _page(compiled: Compiled, parts: Parts) -> str:
    from .driver import page

    return page(compiled, parts)


# -- graphs on arrays ------------------------------------------------------------------------------


def run_graph(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph for arrays of exactly its inputs' types, compiled for the CPU.

    Graphs of equal text are compiled once and kept. Captures at the end may be left out.
    """
    values = [*arrays, *(graph.captures[key] for key in graph.inputs[len(arrays) :])]
    return list(_compiled_text(_Keyed(_text_of(graph), graph)).call_leaves(values))


def _text_of(graph: Graph) -> str:
    """A text that graphs share if they compute the same bits."""
    return "\n".join((canonical_text(graph), *nan_bits(graph)))


class _Keyed:
    """A graph that equals another of the same text."""

    def __init__(self, text: str, graph: Graph) -> None:
        self.text = text
        self.graph = graph

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.text == other.text


@lru_cache(maxsize=256)
def _compiled_text(keyed: _Keyed) -> Compiled:
    plain = keyed.graph.copy()
    plain.captures = {}
    plain.signature = flat_signature(len(plain.inputs), len(plain.outputs))
    return compile_cached(plain)

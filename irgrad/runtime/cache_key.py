"""What compiled code depends on, and the key of the disk cache that is made of it."""

from __future__ import annotations

import hashlib
import os
import platform
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import ml_dtypes
import networkx
import numpy as np

from ..ir.floats import nan_bits
from ..ir.graph import Graph
from ..ir.printer import canonical_text
from .options import Options

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Options that no code depends on: they say when to raise, and what to look at while compiling.
NOT_IN_CODE = frozenset({"strict", "check", "debug_nan", "max_retraces", "progress"})
NEWER = "the compiler's source is newer than this process"
CLOCK_STEP = 2.0  # seconds by which the times of files and processes may be off


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a package. digest: of their names and bytes; newest: the last change of one."""

    digest: str
    newest: float


def cache_key(graph: Graph, target: str, options: Options, backend: Sequence[str]) -> str:
    """64 hexadecimal digits that no other program, way of compiling, version or processor has.

    backend: what the code depends on in the backend and the machine. Names, source lines and the
    values of captured arrays are no part of it.
    """
    parts = [
        canonical_text(graph),
        *nan_bits(graph),
        repr(_layout(graph)),
        target,
        *(f"{f.name}={getattr(options, f.name)!r}" for f in fields(options)
          if f.name not in NOT_IN_CODE),
        *versions(),
        package_source(PACKAGE).digest,
        *backend,
    ]  # fmt: skip
    found = hashlib.blake2b(digest_size=32)
    for part in parts:
        data = part.encode(errors="surrogatepass")
        found.update(struct.pack("<Q", len(data)))
        found.update(data)
    return found.hexdigest()


def versions() -> tuple[str, ...]:
    """The versions of what passes are built on."""
    return (
        f"python {platform.python_version()}",
        f"numpy {np.__version__}",
        f"ml_dtypes {ml_dtypes.__version__}",
        f"networkx {networkx.__version__}",
    )


def _layout(graph: Graph) -> list[Any]:
    """What a canonical text leaves out and passes may go by: in which order the nodes were made,
    and those that nothing needs."""
    numbers = {key: number for number, key in enumerate(graph.order())}
    found: list[Any] = []
    for key in graph:
        node = graph[key]
        inner = [_layout(region) for _, region in node.regions()]
        own = numbers.get(key) if key in numbers else (node.op, node.operands)
        found.append((own, inner) if inner else own)
    return found


# -- the compiler's own source ---------------------------------------------------------------------


@cache
def package_source(folder: str) -> Source:
    """All Python files below a folder, read once in a process; no digest where there are none."""
    found = hashlib.blake2b(digest_size=32)
    newest, count = 0.0, 0
    for path in sorted(_python_files(folder)):
        with open(path, "rb") as file:
            newest = max(newest, os.fstat(file.fileno()).st_mtime)
            data = file.read()
        name = os.path.relpath(path, folder).encode(errors="surrogateescape")
        found.update(struct.pack("<QQ", len(name), len(data)) + name + data)
        count += 1
    return Source(found.hexdigest() if count else "", newest)


def _python_files(folder: str) -> Iterator[str]:
    for where, _, files in os.walk(folder):
        yield from (os.path.join(where, name) for name in files if name.endswith(".py"))


def source_problem(folders: Sequence[str]) -> str:
    """Why the source files may not be those that this process runs, or "" where they are.

    A file that is newer than the process may have been edited after it was imported.
    """
    start = process_start()
    if start is None:
        return "the start of this process is not known"
    for folder in folders:
        source = package_source(folder)
        if not source.digest:
            return "the compiler's source is not at hand"
        if source.newest > start - CLOCK_STEP:
            return NEWER
    return ""


def source_changed(folders: Sequence[str]) -> bool:
    """Whether a file was written since this process started, looked up anew."""
    start = process_start() or 0.0
    return any(
        os.stat(path).st_mtime > start - CLOCK_STEP
        for folder in folders
        for path in _python_files(folder)
    )


@cache
def process_start() -> float | None:
    """When this process started, in seconds of `time.time`; None where the system does not say."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        age = up - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return time.time() - age

"""`irgrad doctor`: what irgrad finds on this machine, and its disk cache."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from ..cached import byte_limit
from ..config import Config, read_config
from ..errors import BackendError, CacheError, IrgradError
from ..runtime.backend import StoringBackend, find_backend, installed_backends
from ..runtime.cache_folder import obstacle, open_folder
from ..runtime.cache_key import PACKAGE, source_problem
from ..runtime.options import Options
from ..runtime.processors import available_threads
from .bench.process import processor
from .options import VerboseOption
from .report import printable, reported, say

HELP = """Show what irgrad finds on this machine, and its disk cache.

Example:

    irgrad doctor

Prints versions, the targets and whether they work here, the processor, how many threads compute and
why, and the cache of compiled code: its folder, entries, bytes, and how often it was asked.
IRGRAD_THREADS, 1 or more, bounds the threads. IRGRAD_CACHE names the folder, or is "off";
IRGRAD_CACHE_BYTES bounds it. The exit code is 1 where something would keep irgrad from working or
the cache from being used.
"""
PACKAGES = ("numpy", "ml_dtypes", "networkx", "optree", "scipy", "llvmlite", "numba")


def doctor(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all code from the cache first.")
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    """Print the report."""
    with reported(verbose):
        config = read_config()
        cleared = _clear(config) if clear else ""
        problems: list[IrgradError] = []
        lines = [*_machine(problems), *_targets(problems), *_cache(config, problems)]
        say("\n".join(lines) + "\n")
        say(cleared)
        if problems:
            raise problems[0]


def _machine(problems: list[IrgradError]) -> Iterator[str]:
    yield f"irgrad {version('irgrad')}, Python {platform.python_version()}"
    yield ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    yield f"processor: {printable(processor())}"
    try:
        yield f"threads: {available_threads()}"
    except BackendError as error:
        problems.append(error)
        yield f"threads: {printable(str(error))}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _targets(problems: list[IrgradError]) -> Iterator[str]:
    for name in installed_backends():
        try:
            backend = find_backend(name)
            if isinstance(backend, StoringBackend):
                backend.fingerprint(Options())
            yield f"target {name}: works"
        except BackendError as error:
            problems.append(error)
            yield f"target {name}: {str(error).splitlines()[0]}"


# -- the cache -------------------------------------------------------------------------------------


def _cache(config: Config, problems: list[IrgradError]) -> Iterator[str]:
    """The folder, what it holds and what it was asked; nothing is made by looking."""
    where = printable(config.cache)
    if config.cache == "off":
        yield "cache: off"
        return
    try:
        limit = byte_limit(config)
        if not os.path.lexists(config.cache):
            why = obstacle(config.cache)
            if why:
                raise CacheError(
                    f"cache: expected a folder that can be made, got {config.cache}: {why}"
                )
            yield f"cache: {where}, not made yet"
            return
        with open_folder(config.cache) as folder:
            entries = folder.entries()
            hits, misses = folder.counted("hits"), folder.counted("misses")
    except CacheError as error:
        problems.append(error)
        yield f"cache: not used: {printable(str(error))}"
        return
    except OSError as error:
        problems.append(CacheError(f"cache: expected a folder to use, got {error}"))
        yield f"cache: not used: {printable(str(error))}"
        return
    size = sum(entry.bytes for entry in entries)
    yield f"cache: {where}"
    yield f"  {len(entries)} entries, {size:,} of at most {limit:,} bytes"
    yield f"  {hits} hits, {misses} misses"
    reason = source_problem((PACKAGE,))
    if reason:
        yield f"  not used now: {reason}"


def _clear(config: Config) -> str:
    """Empty the cache and say how much went."""
    if config.cache == "off" or not os.path.lexists(config.cache):
        return "cleared: there is no cache\n"
    try:
        with open_folder(config.cache) as folder:
            return f"cleared: {folder.clear()} entries\n"
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(f"cache: expected a folder to clear, got {error}") from error

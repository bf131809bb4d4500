"""The settings that come from the environment; no other module reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Settings of one process.

    debug: 0 to 5; 1 and above prints one line for each compile.
    dump: folder that receives the IR after each pass, or "" for none.
    verify: verify the graph after each pass, not only at the ends of the pipeline.
    cache: folder of compiled code, "off" for none; cache_named: whether the user named it.
    cache_bytes: the most that it may hold, as given.
    threads: the most threads that compute, as given; "" for as many as there are processors.
    """

    debug: int = 0
    dump: str = ""
    verify: bool = False
    cache: str = "off"
    cache_named: bool = False
    cache_bytes: str = "1000000000"
    threads: str = ""


def read_config() -> Config:
    """Read IRGRAD_DEBUG, IRGRAD_DUMP, IRGRAD_VERIFY, IRGRAD_CACHE, IRGRAD_CACHE_BYTES and
    IRGRAD_THREADS from the environment."""
    debug = os.environ.get("IRGRAD_DEBUG", "0")
    cache = os.path.expanduser(os.environ.get("IRGRAD_CACHE", ""))
    cache = "off" if cache.lower() == "off" else cache
    return Config(
        debug=int(debug) if debug.isdigit() else 0,
        dump=os.environ.get("IRGRAD_DUMP", ""),
        verify=os.environ.get("IRGRAD_VERIFY", "0") not in ("", "0"),
        cache=cache or _user_cache(),
        cache_named=bool(cache) and cache != "off",
        cache_bytes=os.environ.get("IRGRAD_CACHE_BYTES", "") or Config.cache_bytes,
        threads=os.environ.get("IRGRAD_THREADS", ""),
    )


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with some settings replaced, for a child process."""
    return {**os.environ, **settings}


def _user_cache() -> str:
    """The folder for irgrad among the user's caches, "off" where the user has no home."""
    home = os.path.expanduser("~")
    usual = os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = named if os.path.isabs(named) else usual
    return os.path.join(base, "irgrad") if os.path.isabs(base) else "off"

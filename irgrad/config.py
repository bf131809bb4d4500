"""The settings that come from the environment; no other module reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Settings of one process.

    debug: 0 to 5; 1 and above prints one line for each compile.
    dump: folder that receives the IR after each pass, or "" for none.
    verify: verify the graph after each pass, not only at the ends of the pipeline.
    """

    debug: int = 0
    dump: str = ""
    verify: bool = False


def read_config() -> Config:
    """Read the settings IRGRAD_DEBUG, IRGRAD_DUMP and IRGRAD_VERIFY from the environment."""
    debug = os.environ.get("IRGRAD_DEBUG", "0")
    return Config(
        debug=int(debug) if debug.isdigit() else 0,
        dump=os.environ.get("IRGRAD_DUMP", ""),
        verify=os.environ.get("IRGRAD_VERIFY", "0") not in ("", "0"),
    )


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with some settings replaced, for a child process."""
    return {**os.environ, **settings}

"""The package's public face: its names, and what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import irgrad as ig

ROOT = Path(__file__).parent.parent


def run(code: str) -> str:
    """The output of a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_names_exist() -> None:
    for name in ig.__all__:
        assert getattr(ig, name) is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ig.__version__ == project["version"]


def test_importing_and_tracing_load_no_compiler() -> None:
    code = """
import json, sys
import irgrad as ig
import irgrad.numpy as np
graph = ig.trace(lambda x: np.tanh(x).sum(), "f32[n]")
str(graph)
heavy = ["numba", "scipy", "llvmlite", "rich", "typer", "irgrad.backends", "irgrad.passes"]
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    assert json.loads(run(code)) == []


def test_interpreting_loads_no_compiler() -> None:
    code = """
import sys
import irgrad as ig
print(ig.jit(lambda x: x * 2, target="reference")(3.0), "llvmlite" in sys.modules)
"""
    assert run(code).split() == ["6.0", "False"]

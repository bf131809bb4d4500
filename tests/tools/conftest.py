"""A folder with a model file, as the working directory."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_runs import MODEL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """tmp_path as working directory, with model.py, a.npz and, in IR text, f.irg."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "f.irg").write_text(
        "irgrad 1\n"
        "graph @f(%x: f32[n,4], %y: f32[4]) {\n"
        "  signature (*, *) -> *\n"
        "  %0 = tanh(%x)\n"
        "  %1 = dot_general(%0, %y) {lhs_batch=(), lhs_contract=(1,), rhs_batch=(), "
        "rhs_contract=(0,)}\n"
        "  return %1\n"
        "}\n"
    )
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        x=rng.standard_normal((3, 4)).astype(np.float32),
        y=rng.standard_normal(4).astype(np.float32),
    )
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    linecache.cache.pop("model.py", None)  # which is another file in the next folder

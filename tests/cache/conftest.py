"""A cache with the code of one program, and an empty one, each for one test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cache_programs import SPECS, forget, model, settle_source

import irgrad as ig


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, which is not made yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("IRGRAD_CACHE", str(folder))
    settle_source(monkeypatch)
    return folder


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with `model`, which was compiled for it."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IRGRAD_CACHE", str(folder))
        settle_source(patch)
        info = ig.compile(model, *SPECS).cache_info()
    forget()
    assert (info.origin, info.disk, info.why) == ("compiled", "miss", "no such entry")
    assert (folder / f"{info.key}.irgc").stat().st_size == info.bytes > 1000
    return folder


@pytest.fixture
def warm(filled: Path, empty: Path) -> Path:
    """A copy of the filled cache, in use."""
    shutil.copytree(filled, empty)
    return empty

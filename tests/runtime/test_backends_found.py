"""How backends are found, and what is said where one is not."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

import irgrad as ig
from irgrad.runtime import backend
from irgrad.runtime.backend import GROUP, find_backend, installed_backends


@pytest.fixture
def entries(monkeypatch: Any) -> Any:
    """A function that sets the entry points that are seen."""
    backend._load_backend.cache_clear()

    def install(**points: str) -> None:
        found = EntryPoints(EntryPoint(name, value, GROUP) for name, value in points.items())
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)

    yield install
    backend._load_backend.cache_clear()


def test_both_backends_are_installed() -> None:
    assert {"cpu", "reference"} <= set(installed_backends())
    assert find_backend("cpu").name == "cpu"
    assert find_backend("reference").name == "reference"


def test_unknown_targets_name_the_known_ones() -> None:
    with pytest.raises(ig.errors.BackendError, match=r"got 'tpu' \(installed: cpu, .*reference"):
        ig.compile(lambda x: x, "f64[]", target="tpu")


def test_a_checkout_without_installation_says_what_to_do(entries: Any) -> None:
    entries()
    with pytest.raises(ig.errors.BackendError, match=r"none is installed; .* pip install -e \."):
        find_backend("cpu")
    entries(cpu="irgrad.backends.no_such_module:BACKEND")
    with pytest.raises(ig.errors.BackendError, match=r"'cpu': .* pip install -e \."):
        find_backend("cpu")

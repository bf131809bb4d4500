"""Entries that are damaged, that lie, or that do not fit: refused by name, and made anew."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_programs import SPECS, X, Y, expected, find, is_hit, model
from entry_mutations import refuses, survey

import irgrad as ig
from irgrad.cached import _Miss
from irgrad.errors import FileError
from irgrad.kernel.program import Result
from irgrad.runtime.stored_code import StoredCode, pack, unpack


def test_mutated_entries_are_refused(warm: Path) -> None:
    tally = survey(warm, 300)
    assert tally.refused + tally.good == 300
    assert tally.good < 60
    assert tally.slowest < 1
    assert is_hit(ig.trace(model, *SPECS))


def test_a_damaged_entry_is_replaced(warm: Path) -> None:
    (path,) = warm.glob("*.irgc")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    compiled = ig.compile(model, *SPECS)
    info = compiled.cache_info()
    assert (info.origin, info.disk) == ("compiled", "miss")
    assert info.why == "a damaged entry: cache entry: expected its checksum, got another one"
    np.testing.assert_allclose(compiled(X, Y)[0], expected(), rtol=1e-5)
    assert path.read_bytes() == good  # the same bytes whenever and wherever it is made


LIES: dict[str, Callable[[StoredCode], StoredCode]] = {
    "input dtype": lambda c: replace(c, inputs=(("f64", 20), *c.inputs[1:])),
    "input size": lambda c: replace(c, inputs=(("f32", 21), *c.inputs[1:])),
    "one input": lambda c: replace(c, inputs=c.inputs[:1]),
    "no results": lambda c: replace(c, results=()),
    "result shape": lambda c: replace(
        c, results=(Result("output", 0, (3, 5), "f32"), c.results[1])
    ),
    "output size": lambda c: replace(c, outputs=(("f32", 1), *c.outputs[1:])),
    "no output": lambda c: replace(c, outputs=()),
    "donated": lambda c: replace(c, results=(c.results[0], Result("donated", 1, (3,), "f32"))),
    "other input": lambda c: replace(c, results=(c.results[0], Result("input", 0, (3,), "f32"))),
    "far input": lambda c: replace(c, results=(c.results[0], Result("input", 9, (3,), "f32"))),
    "kind": lambda c: replace(c, results=(c.results[0], Result("global", 1, (3,), "f32"))),
    "arena": lambda c: replace(c, arena_bytes=1 << 60),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_has_to_fit_the_graph(warm: Path, lie: str) -> None:
    graph = ig.trace(model, *SPECS)
    (path,) = warm.glob("*.irgc")
    stored = unpack(path.read_bytes(), path.stem, graph)
    assert pack(path.stem, stored) == path.read_bytes()
    assert refuses(pack(path.stem, LIES[lie](stored)), path.stem, graph)


def test_an_entry_belongs_to_its_key(warm: Path) -> None:
    (path,) = warm.glob("*.irgc")
    with pytest.raises(FileError, match="expected its own key"):
        unpack(path.read_bytes(), "0" * 64, ig.trace(model, *SPECS))


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x02", b"MZ" * 40])
def test_code_that_cannot_be_loaded_is_a_miss(warm: Path, data: bytes) -> None:
    gc.collect()
    graph = ig.trace(model, *SPECS)
    (path,) = warm.glob("*.irgc")
    stored = unpack(path.read_bytes(), path.stem, graph)
    for change in ({"data": data}, {"door": data}, {"symbol": "irg_other"}):
        lying: dict[str, Any] = {**change, "program": "other"}
        path.write_bytes(pack(path.stem, replace(stored, **lying)))
        found = find(graph)
        assert isinstance(found, _Miss)
        assert "object file" in found.why

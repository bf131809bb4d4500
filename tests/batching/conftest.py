"""Batched functions called on arrays are interpreted here, except where kernels are tested."""

from __future__ import annotations

from functools import partial

import pytest

import irgrad.batching
import irgrad.jacobians
from irgrad.jitted import Plan


@pytest.fixture(autouse=True)
def _batches_by_the_interpreter(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.path.name == "test_batch_compiled.py":
        return
    for module in (irgrad.batching, irgrad.jacobians):
        monkeypatch.setattr(module, "Plan", partial(Plan, target="reference"))

"""The page that the tests look at: a small training step, compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest
from viewed_step import Step, compile_step

from irgrad.view.collect import collect


@pytest.fixture(scope="session")
def step() -> Step:
    compiled = compile_step()
    return Step(compiled, collect(compiled, compiled._parts), compiled.report(html=True))


@pytest.fixture(scope="session")
def page_file(step: Step, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "step.html"
    path.write_text(step.page)
    return path

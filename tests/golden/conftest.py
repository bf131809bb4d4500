"""The option `--update-golden` and the fixture `golden`."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from golden_files import compare_with_golden, golden_path, may_update

OPTION = "--update-golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="rewrite the golden files")


def _updating(config: pytest.Config) -> bool:
    return may_update(config.getoption(OPTION, default=False), os.environ)


def pytest_configure(config: pytest.Config) -> None:
    try:
        _updating(config)
    except PermissionError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compares a text with the file of the test that asks."""
    path = golden_path(request.node.name)
    update = _updating(request.config)
    return lambda text: compare_with_golden(path, text, update)

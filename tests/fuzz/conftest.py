"""One survey of random graphs for all tests of this folder, and its histogram at the end."""

from __future__ import annotations

import pytest
from graph_survey import Survey, run_survey, table

SEEDS = 2000
SURVEY = pytest.StashKey[Survey]()


@pytest.fixture(scope="session")
def survey(request: pytest.FixtureRequest) -> Survey:
    found = request.config.stash[SURVEY] = run_survey(range(SEEDS))
    return found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if SURVEY in config.stash:
        terminalreporter.section("random graphs")
        for line in table(config.stash[SURVEY]):
            terminalreporter.write_line(line)

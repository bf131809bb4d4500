"""The README's blocks run and print what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
# Run by continuous integration from the README's words, in an environment of their own.
INSTALLING = "pip install"


def test_every_kind_of_block_is_known() -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "text"}


def test_the_two_commands_are_the_ones_that_ci_runs() -> None:
    commands = [line for kind, body in BLOCKS if kind == "sh" for line in body.splitlines()]
    script = (ROOT / ".ci" / "run").read_text()
    installing = [line for line in commands if INSTALLING in line]
    assert len(installing) == 2
    for line in installing:
        install, command = line.split(" && ")
        assert install.removeprefix("pip install ") in script
        assert f"\n{command}\n" in script


@pytest.mark.parametrize("at", [i for i, (kind, _) in enumerate(BLOCKS) if kind == "python"])
def test_python_blocks_print_the_text_that_follows(at: int) -> None:
    kind, expected = BLOCKS[at + 1]
    assert kind == "text"
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[at][1]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert _without_hashes(done.stdout) == _without_hashes(expected)


def _without_hashes(text: str) -> str:
    """Text in which generated files have no number, which says nothing to a reader."""
    return re.sub(r"<irgrad [0-9a-f]{16}>", "<irgrad>", text)


def test_other_shell_lines_run() -> None:
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    for kind, body in BLOCKS:
        for line in body.splitlines() if kind == "sh" else []:
            if INSTALLING not in line:
                done = subprocess.run(
                    line, shell=True, cwd=ROOT, env=environment, capture_output=True, check=False
                )
                assert done.returncode == 0, done.stderr

"""Texts kept in files: comparing with them, and rewriting them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

DATA = Path(__file__).parent / "data"
HINT = "look at the change, then run `pytest tests/golden --update-golden`"


class GoldenMismatch(AssertionError):
    """A text that differs from the one that is kept, or has none to compare with."""


def golden_path(test: str, folder: Path = DATA) -> Path:
    """The file of a test, named like `test_text[case]`: `case.text.txt`."""
    found = re.fullmatch(r"test_(\w+)\[(\w+)\]", test)
    assert found, f"golden: expected a test named like test_text[case], got {test}"
    return folder / f"{found[2]}.{found[1]}.txt"


def may_update(asked: bool, environment: Mapping[str, str]) -> bool:
    """Whether files are rewritten; raises PermissionError where that is asked for in CI."""
    in_ci = environment.get("CI", "").lower() not in ("", "0", "false")
    if asked and in_ci:
        raise PermissionError("--update-golden: expected a run outside of CI, got one with CI set")
    return asked


def compare_with_golden(path: Path, text: str, update: bool) -> None:
    """Raise GoldenMismatch where a file is missing or holds another text; write it on `update`."""
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return
    if not path.exists():
        raise GoldenMismatch(f"{path.name}: expected a golden file, got none; {HINT}")
    kept = path.read_text()
    if kept != text:
        lines = difflib.unified_diff(
            kept.splitlines(), text.splitlines(), f"{path.name} as kept", "now", lineterm=""
        )
        raise GoldenMismatch("\n".join([f"{path.name} differs; {HINT}", *lines]))

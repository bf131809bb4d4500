"""The progress file: what is measured so far, replaced as a whole after every few seconds."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from ...errors import FileError
from ..files import check_output, read_text, write_file
from .errors import Tally
from .measure import Progress

MAX_BYTES = 10_000_000
_KIND = "a progress file of `irgrad bench accuracy`"
_FORMAT = "irgrad accuracy 1"


@dataclass(slots=True)
class ProgressFile:
    """The progress of jobs by `Job.key`, in memory and, after `save`, at `path`."""

    path: str
    jobs: dict[str, Progress] = field(default_factory=dict)

    def save(self) -> None:
        """Write the file: all of it or, where that fails with a FileError, nothing."""
        data = {"format": _FORMAT, "jobs": {key: _to_json(p) for key, p in self.jobs.items()}}
        text = json.dumps(data, indent=1) + "\n"
        write_file(self.path, lambda file: file.write(text.encode()))


def open_progress(path: str) -> ProgressFile:
    """The file at `path`, empty where there is none.

    Raises FileError where it is of another kind or could not be written.
    """
    check_output(path)
    if not os.path.exists(path):
        return ProgressFile(path)
    text = read_text(path, _KIND, MAX_BYTES)
    try:
        data = json.loads(text)
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']!r}")
        return ProgressFile(path, {str(k): _from_json(v) for k, v in data["jobs"].items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(
            f"{path}: expected {_KIND}, got {type(error).__name__}: {error}; remove it, or choose "
            "another name"
        ) from None


def _to_json(progress: Progress) -> dict[str, Any]:
    return {"code": progress.code, "done": progress.done, "tally": progress.tally.to_json(),
            "reference_error": progress.reference_error}  # fmt: skip


def _from_json(data: dict[str, Any]) -> Progress:
    error, done = data["reference_error"], int(data["done"])
    if done < 0:
        raise ValueError(f"{done} points")
    return Progress(str(data["code"]), done, Tally.from_json(data["tally"]),
                    None if error is None else float(error))  # fmt: skip

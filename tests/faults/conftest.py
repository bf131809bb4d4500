"""Makes the cases of the rewrite rules importable here, and keeps planted code out of the cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from irgrad.backends import numba_cpu

sys.path.append(str(Path(__file__).parent.parent / "rewrite"))


@pytest.fixture
def no_kept_code() -> Iterator[None]:
    """Compiled code is forgotten before and after the test."""
    numba_cpu._codes.cache_clear()
    yield
    numba_cpu._codes.cache_clear()

"""The works of the benchmark in PyTorch, compiled by torch.compile, which needs a C++ compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import peer_torch

versions = peer_torch.versions
to_arrays = peer_torch.to_arrays


def make_call(work: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """The call to be timed."""
    return peer_torch.compiled_call(work, arrays, torch.compile)

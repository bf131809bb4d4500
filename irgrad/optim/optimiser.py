"""What an optimiser is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Optimiser:
    """An update rule over trees of arrays.

    init(params) gives the state, a tree of arrays; update(gradients, state, params) gives
    (new params, new state). Both are plain functions: call `update` inside a function given to
    `jit` and donate params and state, and the whole step is one compiled function that writes in
    place.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]

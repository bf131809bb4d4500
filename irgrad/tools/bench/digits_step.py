"""A training step of a small network on 8x8 images, run as a process of `irgrad bench start`.

Prints a JSON object: seconds of importing irgrad, of the first compile and call, of all from before
the import to the first result; how many modules were compiled until then and whether Numba was
imported; then, warm, kernels and seconds of a compile of the step.
"""

from __future__ import annotations

import time

BEGIN = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

import irgrad as ig  # noqa: E402

IMPORTED = time.perf_counter()
BATCH, PIXELS, HIDDEN, CLASSES = 128, 64, 128, 10


def loss(params: Any, x: Any, labels: Any) -> Any:
    """The mean cross entropy of two layers."""
    hidden = ig.nn.relu(x @ params["w1"] + params["b1"])
    return ig.nn.cross_entropy(hidden @ params["w2"] + params["b2"], labels)


def step_of(rate: float) -> Any:
    """The training step of a rate, a constant of its kernels: another rate is another program."""

    def step(params: Any, state: Any, x: Any, labels: Any) -> Any:
        """The loss, and parameters and state after a step of Adam."""
        value, gradients = ig.value_and_grad(loss)(params, x, labels)
        params, state = ig.optim.adam(rate).update(gradients, state, params)
        return value, params, state

    return step


def arguments() -> tuple[Any, ...]:
    """Random parameters and data of the sample's shapes."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    params = {
        "w1": normal(PIXELS, HIDDEN) * np.float32(0.2), "b1": np.zeros(HIDDEN, np.float32),
        "w2": normal(HIDDEN, CLASSES) * np.float32(0.1), "b2": np.zeros(CLASSES, np.float32),
    }  # fmt: skip
    labels = rng.integers(0, CLASSES, BATCH)
    return params, ig.optim.adam(2e-3).init(params), normal(BATCH, PIXELS), labels


def main() -> None:
    """Measure and print."""
    given = arguments()
    ready = time.perf_counter()
    step = ig.jit(step_of(2e-3), donate=(0, 1))
    value = step(*given)[0]
    first = time.perf_counter()
    origin = step.compiled(*given).cache_info().origin
    imported = "numba" in sys.modules
    assert np.isfinite(value).all(), "the first result is not finite"
    seconds: list[float] = []
    for rate in (1e-3, 3e-3, 4e-3):  # equal programs would share the first one's machine code
        begin = time.perf_counter()
        compiled = ig.compile(step_of(rate), *given, donate=(0, 1))
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({
        "import": IMPORTED - BEGIN,
        "first": first - ready,
        "total": first - BEGIN,
        "compiles": int(origin == "compiled"),
        "numba": int(imported),
        "warm": min(seconds),
        "kernels": len(compiled.kernels),
    }))  # fmt: skip


if __name__ == "__main__":
    main()

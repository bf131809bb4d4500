"""Comparing what a compiler step gives with what the interpreter gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import CheckError
from ..ir.dims import evaluate, names
from ..ir.graph import Graph, Value
from ..ir.types import DType

# Differences allowed in units of the result's scale, by size of the float dtype in bytes.
TOLERANCES = {2: 2e-2, 4: 1e-4, 8: 1e-9}
SIZES = (3, 5, 7, 4, 6)


def random_inputs(graph: Graph, seed: int, low: float) -> list[np.ndarray]:
    """An array for each input of a graph, captures included, which are copied.

    Floats are uniform in [low, low + 1], integers in 0..3; size names get small numbers.
    """
    rng = np.random.default_rng(seed)
    types = [graph.type(Value(key)) for key in graph.inputs]
    known = sorted({name for t in types for size in t.shape for name in names(size)})
    dims: Mapping[str, int] = {name: SIZES[i % len(SIZES)] for i, name in enumerate(known)}
    arrays: list[np.ndarray] = []
    for key, type_ in zip(graph.inputs, types):
        if key in graph.captures:
            arrays.append(np.array(graph.captures[key], dtype=type_.dtype.numpy, order="C"))
            continue
        shape = tuple(evaluate(size, dims) for size in type_.shape)
        arrays.append(_random(rng, type_.dtype, shape, low))
    return arrays


def _random(
    rng: np.random.Generator, dtype: DType, shape: tuple[int, ...], low: float
) -> np.ndarray:
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        return rng.integers(0, 4, shape).astype(dtype.numpy)
    return np.asarray(rng.uniform(low, low + 1.0, shape), dtype=dtype.numpy)


def compare(step: str, expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> None:
    """Raise CheckError, naming the step, unless the arrays agree to the precision of their dtype.

    NaN agrees with NaN, infinities with equal ones; integers and bools have to be equal.
    """
    for position, (want, have) in enumerate(zip(expected, got, strict=True)):
        if want.dtype != have.dtype or want.shape != have.shape:
            raise CheckError(
                f"{step}: expected result {position} of {want.dtype.name}{list(want.shape)}, got "
                f"{have.dtype.name}{list(have.shape)}"
            )
        close = _close(want, have)
        if not close.all():
            at = int(np.flatnonzero(~close.reshape(-1))[0])
            raise CheckError(
                f"{step}: expected result {position} equal to the interpreter's, got "
                f"{have.item(at)!r} instead of {want.item(at)!r} at flat index {at}"
            )


def _close(want: np.ndarray, have: np.ndarray) -> np.ndarray:
    if want.dtype.kind != "f":
        return want == have
    finite = np.isfinite(want)
    scale = 1.0 + (float(np.abs(want[finite]).max()) if finite.any() else 0.0)
    with np.errstate(all="ignore"):
        near = np.abs(want - have) <= TOLERANCES[want.dtype.itemsize] * scale
    return near | (want == have) | (np.isnan(want) & np.isnan(have))

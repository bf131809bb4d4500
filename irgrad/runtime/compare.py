"""Comparing what a compiler step gives with what the interpreter gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from ..errors import CheckError, DimError, LimitError, ShapeError
from ..interpret import require_array
from ..ir.dims import evaluate, names
from ..ir.graph import Graph, Value
from ..ir.types import DType, TensorType
from ..ops.size_guards import SizeGuard, check_sizes, size_guards

# Differences allowed in units of the result's scale, by size of the float dtype in bytes.
TOLERANCES = {2: 2e-2, 4: 1e-4, 8: 1e-9}
SIZES = (3, 5, 7, 4, 6)
MAX_ELEMENTS = 2**24  # of an input with named sizes


def random_inputs(
    graph: Graph, seed: int, low: float, first: int | None = None
) -> list[np.ndarray]:
    """An array for each input of a graph, captures included, which are copied.

    Floats are uniform in [low, low + 1], integers in 0..3; size names get small numbers that the
    graph's sizes allow, where `first` is given that one if they do.
    Raises DimError where none are found, LimitError for an array that does not fit in memory.
    """
    rng = np.random.default_rng(seed)
    types = [graph.type(Value(key)) for key in graph.inputs]
    dims = _small_sizes(types, size_guards(graph), first)
    arrays: list[np.ndarray] = []
    for key, type_ in zip(graph.inputs, types):
        if key in graph.captures:
            arrays.append(np.array(graph.captures[key], dtype=type_.dtype.numpy, order="C"))
            continue
        shape = tuple(evaluate(size, dims) for size in type_.shape)
        require_array("inputs", shape, 8)
        try:
            arrays.append(_random(rng, type_.dtype, shape, low))
        except MemoryError:
            raise LimitError(
                f"inputs: expected arrays that fit in memory, got {type_}"
            ) from None
    return arrays


def _small_sizes(
    types: Sequence[TensorType], guards: tuple[SizeGuard, ...], first: int | None
) -> Mapping[str, int]:
    """Numbers for the size names of some types, of which all arrays exist and are not large."""
    sizes = [t.shape for t in types]
    known = sorted({name for shape in sizes for size in shape for name in names(size)})
    tries = [] if first is None else [{n: first + i for i, n in enumerate(known)}]
    tries.append({name: SIZES[i % len(SIZES)] for i, name in enumerate(known)})
    tries += [dict.fromkeys(known, size) for size in (8, 16, 64, 1, 0)]
    for dims in tries if known else tries[:1]:
        shapes = [[evaluate(size, dims) for size in shape] for shape in sizes]
        if not known or all(
            min(shape, default=0) >= 0 and math.prod(shape) <= MAX_ELEMENTS for shape in shapes
        ):
            with suppress(ShapeError, LimitError):
                check_sizes(guards, dims)
                return dims
    raise DimError(
        f"inputs: expected small {', '.join(known)} for which {', '.join(map(str, types))} exist, "
        "got none"
    )


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
    found = difference(expected, got)
    if found:
        raise CheckError(f"{step}: {found}")


def coarsest(graph: Graph) -> int:
    """The size in bytes of the coarsest float dtype in a graph and its regions; 8 without any."""
    sizes = [8]
    for key in graph:
        node = graph[key]
        sizes += [t.dtype.itemsize for t in node.types if t is not None and t.dtype.is_float]
        sizes += [coarsest(region) for _, region in node.regions()]
    return min(sizes)


def difference(
    expected: Sequence[np.ndarray], got: Sequence[np.ndarray], coarse: int = 8
) -> str:
    """How arrays differ beyond the precision of their dtype, as "expected X, got Y"; "" where they
    agree.

    coarse: the size in bytes of the coarsest float dtype that they were computed in.
    """
    if len(expected) != len(got):
        return f"expected {len(expected)} results, got {len(got)}"
    for position, (want, have) in enumerate(zip(expected, got, strict=True)):
        if want.dtype != have.dtype or want.shape != have.shape:
            return (
                f"expected result {position} of {want.dtype.name}{list(want.shape)}, got "
                f"{have.dtype.name}{list(have.shape)}"
            )
        close = _close(want, have, coarse)
        if not close.all():
            at = int(np.flatnonzero(~close.reshape(-1))[0])
            place = ", ".join(map(str, np.unravel_index(at, want.shape)))
            element = f" (element [{place}] of {list(want.shape)})" if want.ndim else ""
            return (
                f"expected result {position} equal to the interpreter's, got "
                f"{have.item(at)!r} instead of {want.item(at)!r} at flat index {at}{element}"
            )
    return ""


def _close(want: np.ndarray, have: np.ndarray, coarse: int) -> np.ndarray:
    if want.dtype.kind in "biu":
        return want == have
    finite = np.isfinite(want)
    scale = 1.0 + (float(np.abs(want[finite]).max()) if finite.any() else 0.0)
    with np.errstate(all="ignore"):
        near = np.abs(want - have) <= TOLERANCES[min(want.dtype.itemsize, coarse)] * scale
    return near | (want == have) | (np.isnan(want) & np.isnan(have))

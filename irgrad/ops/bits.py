"""The bits of numbers: shifts of unsigned integers, and bits read as another dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError
from ..ir.types import DTYPES, DType, TensorType
from .attributes import read_dtype
from .batching import shifted
from .elementwise import elementwise
from .record import Attrs, Evaluation, NotLinear, OpDef, RuleContext, Sample, Types
from .rules import require_count, require_kind

SHAPES = ((), (0,), (1,), (3, 5), (37,))


def random_words(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Unsigned integers of all sizes."""
    info = np.iinfo(dtype)
    return np.asarray(rng.integers(0, info.max, shape, dtype, endpoint=True))


def _shift(name: str, function: Callable[..., np.ndarray], primitive: str) -> OpDef:
    """x moved by a count of bits, zeros coming in; 0 for a count that is not below the width.

    primitive: that of kernels, which takes the count modulo the width.
    """

    def scalar(k: Any, x: Any, count: Any) -> Any:
        inside = k.lt(count, k.constant(8 * k.dtype.itemsize))
        return k.select(inside, getattr(k, primitive)(x, count), k.constant(0))

    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample((
                random_words(rng, shape, dtype),
                np.asarray(rng.integers(0, 8 * np.dtype(dtype).itemsize + 3, shape), dtype),
            ))
            for shape in SHAPES
            for dtype in ("u4", "u8", "u1")
        ]

    return elementwise(name, function, [None, None], kinds="u", scalar=scalar, samples=samples)


def _infer_bitcast(types: Types, attrs: Attrs) -> Types:
    require_count("bitcast", types, 1)
    require_kind("bitcast", types[0], "iuf", 0)
    source, target = types[0].dtype, read_dtype("bitcast", attrs, "iuf")
    if source.itemsize != target.itemsize or (source.is_float and target.is_float):
        raise DTypeError(
            f"bitcast: expected a dtype as wide as {source}, and an integer on one side, got "
            f"{target}"
        )
    return (TensorType(target, types[0].shape),)


def _evaluate_bitcast(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> tuple[np.ndarray, ...]:
    target: DType = attrs["dtype"]
    return (inputs[0].view(target.numpy),)


def _no_tangent(ctx: RuleContext, t: tuple[object, ...]) -> tuple[None, ...]:
    return (None,)


def _bitcast_samples(rng: np.random.Generator) -> list[Sample]:
    pairs = (("f4", "u32"), ("f4", "i32"), ("f8", "u64"), ("u4", "f32"), ("i8", "f64"),
             ("u4", "i32"), ("i8", "u64"))  # fmt: skip
    # Small whole numbers, which are no NaN as floats: those may change their bits in a register.
    return [
        Sample((np.asarray(np.rint(rng.uniform(0, 99, shape)), source),), {"dtype": DTYPES[target]})
        for shape in SHAPES
        for source, target in pairs
    ]


OPS: tuple[OpDef, ...] = (
    _shift("shift_left", np.left_shift, "shl"),
    _shift("shift_right", np.right_shift, "shr"),
    OpDef("bitcast", "elementwise", {"dtype": "dtype"}, _infer_bitcast, _evaluate_bitcast,
          _no_tangent, NotLinear(), _bitcast_samples, batch=shifted(), flops=0),
)

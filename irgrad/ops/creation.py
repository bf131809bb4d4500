"""Creation: constants, index grids, and sizes as values; ops without operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DTypeError, LimitError
from ..ir.dims import evaluate
from ..ir.types import BOOL, F32, F64, I32, I64, TensorType
from .attributes import (
    SIZE_BITS,
    kind_error,
    read_attribute,
    read_dtype,
    read_int,
    read_shape,
    require_size,
    resolve,
)
from .build import Expr
from .record import (
    Attrs,
    Evaluation,
    NeverBatched,
    NotLinear,
    OpDef,
    RuleContext,
    Sample,
    Types,
)
from .rules import require_axis, require_count

Parts = tuple[Expr | None, ...]
Arrays = tuple[np.ndarray, ...]
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (7,), (3, 5), (2, 1, 3), (4, 0))


def _infer_constant(types: Types, attrs: Attrs) -> Types:
    require_count("constant", types, 0)
    dtype = read_dtype("constant", attrs, "biuf")
    value = read_attribute("constant", attrs, "value")
    wanted = {"b": bool, "f": float}.get(dtype.kind, int)
    if type(value) is not wanted:
        raise kind_error("constant", "value", f"a {wanted.__name__} for {dtype}", value)
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        if not info.min <= value <= info.max:
            raise DTypeError(f"constant: expected a value of {dtype}, got one out of its range")
    elif dtype.is_float:
        with np.errstate(all="ignore"):
            rounded = float(dtype.numpy.type(value))
        if rounded != value and value == value:
            raise DTypeError(f"constant: expected a value rounded to {dtype}, got {value!r}")
    return (TensorType(dtype, read_shape("constant", attrs)),)


def _evaluate_constant(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
    return (np.full(resolve(attrs["shape"], env), attrs["value"], attrs["dtype"].numpy),)


def _infer_iota(types: Types, attrs: Attrs) -> Types:
    require_count("iota", types, 0)
    dtype = read_dtype("iota", attrs, "iuf")
    shape = read_shape("iota", attrs)
    require_axis("iota", read_int("iota", attrs, "axis"), len(shape))
    return (TensorType(dtype, shape),)


def _evaluate_iota(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
    shape, axis = resolve(attrs["shape"], env), attrs["axis"]
    line = np.arange(shape[axis]).astype(attrs["dtype"].numpy)
    column = line.reshape((-1,) + (1,) * (len(shape) - axis - 1))
    return (np.array(np.broadcast_to(column, shape), order="C"),)


def _infer_dim_size(types: Types, attrs: Attrs) -> Types:
    require_count("dim_size", types, 0)
    require_size("dim_size", "size", read_attribute("dim_size", attrs, "size"))
    return (TensorType(I64, ()),)


def _evaluate_dim_size(inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation) -> Arrays:
    value = evaluate(attrs["size"], env.dims)
    if value.bit_length() > SIZE_BITS:
        size = attrs["size"]
        raise LimitError(f"dim_size: expected a number of 64 bits, got a larger one for {size}")
    return (np.array(value, np.int64),)


def _no_tangent(ctx: RuleContext, t: Parts) -> Parts:
    return (None,)


def _constant_samples(rng: np.random.Generator) -> list[Sample]:
    values = ((F32, 0.5), (F64, -0.1), (I32, -3), (BOOL, True))
    return [
        Sample((), {"value": value, "dtype": dtype, "shape": shape})
        for shape in SHAPES
        for dtype, value in values
    ]


def _iota_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((), {"shape": shape, "axis": axis, "dtype": dtype})
        for shape in SHAPES
        for axis in range(len(shape))
        for dtype in (F32, F64, I32, I64)
    ]


def _dim_size_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((), {"size": size}) for size in (0, 1, 784)]


OPS: tuple[OpDef, ...] = (
    OpDef("constant", "movement", {"value": "scalar", "dtype": "dtype", "shape": "sizes"},
          _infer_constant, _evaluate_constant, _no_tangent, NotLinear(), _constant_samples,
          batch=NeverBatched(), flops=0, numpy=("full",)),
    OpDef("iota", "movement", {"shape": "sizes", "axis": "int", "dtype": "dtype"},
          _infer_iota, _evaluate_iota, _no_tangent, NotLinear(), _iota_samples,
          batch=NeverBatched(), flops=0),
    OpDef("dim_size", "movement", {"size": "size"},
          _infer_dim_size, _evaluate_dim_size, _no_tangent, NotLinear(), _dim_size_samples,
          batch=NeverBatched(), flops=0),
)

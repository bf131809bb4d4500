"""Sample calls for each function of irgrad.numpy: a function of a namespace and of some arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

DTYPES = ("f4", "f8", "i4", "i8", "?")
SCALARS = (2, 1.5, True, np.float32(2), np.float64(2), np.int32(3), np.int64(2))
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, -3.5, 2.5])


class Call(NamedTuple):
    """`function(namespace, *arrays)`, where the namespace is numpy or irgrad.numpy."""

    label: str
    function: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]


Calls = list[Call]


def array(shape: tuple[int, ...], dtype: str = "f4", seed: int = 0) -> np.ndarray:
    """Random values of both signs."""
    values = np.random.default_rng(seed + 11).normal(size=shape) * 2
    if dtype == "?":
        return np.asarray(values > 0)
    return np.asarray(np.rint(values * 2) if dtype[0] == "i" else values, dtype)


UNARY = (
    "absolute", "sign", "floor", "ceil", "rint", "trunc", "exp", "exp2", "expm1", "log",
    "log2", "log1p", "log10", "sqrt", "cbrt", "tanh", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "reciprocal", "square", "negative", "isnan", "isinf", "isfinite",
    "logical_not", "arcsinh", "arccosh", "arctanh", "degrees", "radians", "rad2deg", "deg2rad",
    "sinc", "signbit", "positive", "conjugate", "real", "imag", "invert", "fix", "round",
    "around", "nan_to_num", "fabs", "copy",
)
BINARY = (
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "maximum",
    "minimum", "arctan2", "hypot", "equal", "not_equal", "less", "less_equal", "greater",
    "greater_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
    "bitwise_xor", "logaddexp", "logaddexp2", "fmax", "fmin", "copysign", "heaviside", "fmod",
    "float_power", "divmod", "isclose",
)
DIVISIONS = frozenset({
    "power", "float_power", "floor_divide", "remainder", "fmod", "divmod", "divide",
})
REDUCTIONS = (
    "sum", "prod", "mean", "var", "std", "max", "min", "amax", "amin", "any", "all", "argmax",
    "argmin", "count_nonzero", "ptp", "average",
)


def unary_calls(name: str) -> Iterator[Call]:
    """All dtypes, and special values of floats."""
    for dtype in DTYPES:
        x = array((3, 4), dtype)
        # NumPy's integer reciprocal of 0 is no defined number.
        safe = np.where(x == 0, 1, x).astype(dtype) if name == "reciprocal" else x
        yield Call(dtype, lambda m, x: getattr(m, name)(x), (safe,))
    for dtype in ("f4", "f8"):
        yield Call(f"special {dtype}", lambda m, x: getattr(m, name)(x), (SPECIAL.astype(dtype),))


def binary_calls(name: str) -> Iterator[Call]:
    """All pairs of dtypes with broadcasting, numbers on either side, special values of floats."""
    for first in DTYPES:
        for second in DTYPES:
            y = array((3, 1), second, seed=1)
            if name in DIVISIONS and second != "?":
                y = np.abs(y) + np.asarray(1, second)
            x = array((2, 1, 4), first)
            yield Call(f"{first} {second}", lambda m, x, y: getattr(m, name)(x, y), (x, y))
        # Integers to a negative power are an error of NumPy that depends on the data.
        x = np.abs(array((2, 3), first)) if name == "power" else array((2, 3), first)
        for number in SCALARS:
            label = f"{first} {number!r}"
            yield Call(label, lambda m, x, s=number: getattr(m, name)(x, s), (x,))
            yield Call(f"{label} left", lambda m, x, s=number: getattr(m, name)(s, x), (x,))
    x, y = np.meshgrid(SPECIAL, SPECIAL)
    if name == "copysign":
        y = np.where(np.isnan(y), 1.0, y)  # the sign of NaN is not kept
    if not name.startswith("bitwise"):
        yield Call("special", lambda m, x, y: getattr(m, name)(x, y), (x, y))


def reduction_calls(name: str) -> Iterator[Call]:
    """All dtypes and axes, kept and dropped; rank 0, NaN, and an empty axis."""
    for dtype in DTYPES:
        x = array((2, 3, 4), dtype)
        for axis in (None, 0, -1, 1, (0, 2), (1,)):
            if name.startswith("arg") and isinstance(axis, tuple):
                continue
            for kept in (False, True):
                yield Call(
                    f"{dtype} {axis} {kept}",
                    lambda m, x, a=axis, k=kept: getattr(m, name)(x, axis=a, keepdims=k),
                    (x,),
                )
    yield Call("rank 0", lambda m, x: getattr(m, name)(x), (array(()),))
    if name != "average":  # NumPy divides the sizes of operand and result, which are 0 here
        yield Call("no row", lambda m, x: getattr(m, name)(x, axis=1), (array((0, 3)),))
    yield Call("empty", lambda m, x: getattr(m, name)(x, axis=0), (array((0, 3)),))
    x = array((4, 3))
    x[1, 1] = np.nan
    yield Call("nan", lambda m, x: getattr(m, name)(x, axis=0), (x,))


def on_cube(*functions: Callable[..., Any], dtypes: tuple[str, ...] = DTYPES) -> Calls:
    """Calls on an array of shape (2, 3, 4)."""
    return [
        Call(f"{i} {dtype}", function, (array((2, 3, 4), dtype),))
        for i, function in enumerate(functions)
        for dtype in dtypes
    ]


def on_shapes(
    function: Callable[..., Any],
    *cases: tuple[tuple[int, ...], ...],
    dtypes: tuple[str, ...] = ("f4 f4 f4", "f8 f4 f8", "i4 i4 i4", "? ? ?", "i4 f4 i8"),
) -> Calls:
    """Calls on arrays of given shapes, in several combinations of dtypes."""
    return [
        Call(f"{shapes} {kinds}", function, tuple(
            array(shape, kind, i) for i, (shape, kind) in enumerate(zip(shapes, kinds.split()))
        ))
        for shapes in cases
        for kinds in dtypes
    ]


MOVEMENT: dict[str, Calls] = {
    "reshape": on_cube(lambda m, x: m.reshape(x, (4, -1)), lambda m, x: m.reshape(x, 24),
                       lambda m, x: m.reshape(x[:0], (0, 3, -1))),
    "ravel": on_cube(lambda m, x: m.ravel(x)),
    "expand_dims": on_cube(lambda m, x: m.expand_dims(x, (0, -1)),
                           lambda m, x: m.expand_dims(x, 1)),
    "squeeze": on_cube(lambda m, x: m.squeeze(x[:1, None]),
                       lambda m, x: m.squeeze(x[:1, None], axis=1)),
    "atleast_1d": on_cube(lambda m, x: m.atleast_1d(x[0, 0, 0])),
    "atleast_2d": on_cube(lambda m, x: m.atleast_2d(x[0, 0])),
    "atleast_3d": on_cube(lambda m, x: m.atleast_3d(x[0]), lambda m, x: m.atleast_3d(x[0, 0])),
    "broadcast_to": on_cube(lambda m, x: m.broadcast_to(x, (5, 2, 3, 4)),
                            lambda m, x: m.broadcast_to(x[:, :1], (2, 3, 4))),
    "broadcast_arrays": on_cube(lambda m, x: m.broadcast_arrays(x, x[:1], x[0, 0])),
    "transpose": on_cube(lambda m, x: m.transpose(x), lambda m, x: m.transpose(x, (1, 0, -1))),
    "matrix_transpose": on_cube(lambda m, x: m.matrix_transpose(x)),
    "swapaxes": on_cube(lambda m, x: m.swapaxes(x, 0, -1)),
    "moveaxis": on_cube(lambda m, x: m.moveaxis(x, 0, -1),
                        lambda m, x: m.moveaxis(x, (0, 1), (-1, 0))),
    "flip": on_cube(lambda m, x: m.flip(x), lambda m, x: m.flip(x, 1),
                    lambda m, x: m.flip(x, (0, -1))),
    "fliplr": on_cube(lambda m, x: m.fliplr(x)),
    "flipud": on_cube(lambda m, x: m.flipud(x)),
    "roll": on_cube(lambda m, x: m.roll(x, 2, axis=-1), lambda m, x: m.roll(x, 5),
                    lambda m, x: m.roll(x, -1, axis=1), lambda m, x: m.roll(x[:0], 1, axis=0),
                    lambda m, x: m.roll(x, (1, 2), axis=(0, 2))),
    "tile": on_cube(lambda m, x: m.tile(x, (2, 1, 3)), lambda m, x: m.tile(x, (2, 1, 1, 3)),
                    lambda m, x: m.tile(x, 2), lambda m, x: m.tile(x, (0, 1, 1))),
    "repeat": on_cube(lambda m, x: m.repeat(x, 3, axis=1), lambda m, x: m.repeat(x, 2),
                      lambda m, x: m.repeat(x, 0, axis=-1)),
    "split": on_cube(lambda m, x: m.split(x, 2, axis=2), lambda m, x: m.split(x, [1, 3], axis=2),
                     lambda m, x: m.split(x, [3, 1], axis=2), lambda m, x: m.split(x, [9], axis=2)),
    "array_split": on_cube(lambda m, x: m.array_split(x, 3, axis=2),
                           lambda m, x: m.array_split(x, 7, axis=0)),
    "unstack": on_cube(lambda m, x: m.unstack(x, axis=1)),
    "pad": on_cube(
        lambda m, x: m.pad(x, 1), lambda m, x: m.pad(x, (1, 2)), lambda m, x: m.pad(x, {-1: 2}),
        lambda m, x: m.pad(x, ((0, 1), (2, 0), (1, 1)), constant_values=3)),
    "concatenate": on_cube(
        lambda m, x: m.concatenate([x, x], axis=-1),
        lambda m, x: m.concatenate([x, x[0]], axis=None),
        lambda m, x: m.concatenate((x, x[:, :0], x * 1.5), axis=1, dtype=np.float64)),
    "stack": on_cube(lambda m, x: m.stack([x, x], axis=-1), lambda m, x: m.stack([x[0], x[1]])),
    "vstack": on_cube(lambda m, x: m.vstack([x, x]), lambda m, x: m.vstack([x[0, 0], x[1, 1]])),
    "hstack": on_cube(lambda m, x: m.hstack([x, x]), lambda m, x: m.hstack([x[0, 0], x[1, 1]])),
    "dstack": on_cube(lambda m, x: m.dstack([x, x]), lambda m, x: m.dstack([x[0, 0], x[0, 1]])),
    "column_stack": on_cube(lambda m, x: m.column_stack([x[0, 0], x[0, 1]]),
                            lambda m, x: m.column_stack([x[0], x[1, :, 0]])),
    "meshgrid": on_cube(
        lambda m, x: m.meshgrid(x[0, 0], x[0, 1, :2]), lambda m, x: m.meshgrid(x[0, 0]),
        lambda m, x: m.meshgrid(x[0, 0], x[0, 1, :2], x[0, 2], indexing="ij"),
        lambda m, x: m.meshgrid(x[0, 0], x[0, 1, :2], x[0, 2], sparse=True)),
}
VALUES: dict[str, Calls] = {
    "astype": on_cube(*(lambda m, x, d=d: m.astype(x, d) for d in DTYPES)),
    "where": on_cube(lambda m, x: m.where(x > 0, x, 0), lambda m, x: m.where(x > 0, 1.5, x),
                     lambda m, x: m.where(x, 1, 2), lambda m, x: m.where(x > 0, x[0], x[1, :, :1])),
    "clip": on_cube(lambda m, x: m.clip(x, -1, 1), lambda m, x: m.clip(x, None, 0.5),
                    lambda m, x: m.clip(x, min=0), lambda m, x: m.clip(x, x[0], np.float64(1))),
    "round": on_cube(lambda m, x: m.round(x, 2), lambda m, x: m.round(x * 100, -1),
                     dtypes=("f4", "f8")),
    "nan_to_num": [Call("given", lambda m, x: m.nan_to_num(x, nan=1.0, posinf=2.0, neginf=3.0),
                        (SPECIAL,))],
    "allclose": on_cube(lambda m, x: m.allclose(x, x), lambda m, x: m.allclose(x, 0.5)),
    "isclose": [Call("nan", lambda m, x, y: m.isclose(x, y, equal_nan=True),
                     tuple(np.meshgrid(SPECIAL, SPECIAL)))],
    "array_equal": on_cube(lambda m, x: m.array_equal(x, x), lambda m, x: m.array_equal(x, x[0])),
    "power": [Call(f"{dtype} {n}", lambda m, x, n=n: m.power(x, n), (array((3, 4), dtype),))
              for dtype in DTYPES for n in (0, 1, 2, 3, 0.5, -1.0, 2.0)],
    "shape": on_cube(lambda m, x: m.shape(x)),
    "ndim": on_cube(lambda m, x: m.ndim(x)),
    "size": on_cube(lambda m, x: m.size(x), lambda m, x: m.size(x, 1)),
}
CREATION: dict[str, Calls] = {
    "zeros": on_cube(lambda m, x: m.zeros((2, 3), like=x), lambda m, x: m.zeros(2, "i4", like=x)),
    "ones": on_cube(lambda m, x: m.ones((2, 3), like=x)),
    "full": on_cube(lambda m, x: m.full((2,), 7, like=x), lambda m, x: m.full(2, 0.5, like=x)),
    "zeros_like": on_cube(lambda m, x: m.zeros_like(x), lambda m, x: m.zeros_like(x, shape=(2, 2))),
    "ones_like": on_cube(lambda m, x: m.ones_like(x, dtype=np.int32)),
    "full_like": on_cube(lambda m, x: m.full_like(x, 3)),
    "arange": on_cube(lambda m, x: m.arange(3, like=x), lambda m, x: m.arange(7, 1, -2, like=x),
                      lambda m, x: m.arange(2, 9, 3, dtype="f4", like=x)),
    "eye": on_cube(lambda m, x: m.eye(3, like=x), lambda m, x: m.eye(3, 4, k=1, like=x)),
    "identity": on_cube(lambda m, x: m.identity(3, like=x)),
    "tri": on_cube(lambda m, x: m.tri(3, like=x), lambda m, x: m.tri(3, 4, -1, like=x)),
    "linspace": on_cube(lambda m, x: m.linspace(x[0, 0, 0], x[0, 0, 1], 5),
                        lambda m, x: m.linspace(0, x[1], 4, endpoint=False),
                        lambda m, x: m.linspace(0, x[1], 1), dtypes=("f4", "f8", "i4")),
    "tril": on_cube(lambda m, x: m.tril(x), lambda m, x: m.tril(x, -1)),
    "triu": on_cube(lambda m, x: m.triu(x), lambda m, x: m.triu(x, 1)),
    "diag": on_cube(*(lambda m, x, k=k: m.diag(x[0], k) for k in (0, 1, -1, 9)),
                    *(lambda m, x, k=k: m.diag(x[0, 0], k) for k in (0, 1, -2))),
    "diagonal": on_cube(lambda m, x: m.diagonal(x), lambda m, x: m.diagonal(x, 1, 1, 2),
                        lambda m, x: m.diagonal(x, -1, -1, 0), lambda m, x: m.diagonal(x, 9)),
    "trace": on_cube(lambda m, x: m.trace(x), lambda m, x: m.trace(x, 1, 1, 2)),
}
MATMUL_SHAPES = (
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)),
    ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((5, 1, 2, 3), (1, 6, 3, 4)), ((1, 1, 2, 3), (3, 1)),
    ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((1, 2, 3), (1, 3, 4)), ((2, 1), (1, 3)),
    ((6, 5, 1, 3), (3, 1)),
)
EINSUMS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 4))), ("ii", ((3, 3),)),
    ("ii->i", ((3, 3),)), ("ij->ji", ((2, 3),)), ("ij->", ((2, 3),)), ("ij->j", ((2, 3),)),
    ("i,i", ((3,), (3,))), ("i,j->ij", ((2,), (3,))), ("bij,bjk->bik", ((5, 2, 3), (5, 3, 4))),
    ("...ij,...jk->...ik", ((5, 2, 3), (3, 4))), ("...ij,...jk->...ik", ((5, 1, 2, 3), (6, 3, 4))),
    ("bhqd,bhkd->bhqk", ((2, 3, 4, 5), (2, 3, 6, 5))), ("ij,j,i->", ((2, 3), (3,), (2,))),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5))), ("iij->j", ((3, 3, 4),)),
    ("ijij->ij", ((2, 3, 2, 3),)), ("i...->...", ((2, 3, 4),)), ("...->...", ((2, 3),)),
    ("ba", ((2, 3),)), ("a,a,a->a", ((3,), (3,), (3,))), ("ij,ij->ij", ((2, 1), (2, 3))),
    ("ij,jk->ik", ((2, 1), (3, 4))), ("...i,...i", ((2, 3), (2, 3))),
    ("iiii->i", ((2, 2, 2, 2),)), ("i,->i", ((3,), ())), ("ij , jk -> ki", ((2, 3), (3, 4))),
    ("abc,cd,de->abe", ((2, 3, 4), (4, 5), (5, 2))), ("ij,kj->", ((2, 3), (4, 3))),
)
CONTRACTION: dict[str, Calls] = {
    "matmul": [*on_shapes(lambda m, x, y: m.matmul(x, y), *MATMUL_SHAPES),
               *on_shapes(lambda m, x, y: x @ y, *MATMUL_SHAPES)],
    "dot": on_shapes(lambda m, x, y: m.dot(x, y), ((), (3,)), ((3,), (3,)), ((2, 3), (3,)),
                     ((2, 3), (3, 4)), ((2, 5, 3), (6, 3, 4)), ((3,), (2, 3, 4))),
    "inner": on_shapes(lambda m, x, y: m.inner(x, y), ((), (3,)), ((3,), (3,)), ((2, 3), (3,)),
                       ((2, 3), (4, 3)), ((2, 5, 3), (6, 3))),
    "vdot": on_shapes(lambda m, x, y: m.vdot(x, y), ((2, 3), (3, 2))),
    "vecdot": [*on_shapes(lambda m, x, y: m.vecdot(x, y), ((2, 3), (3,))),
               *on_shapes(lambda m, x, y: m.vecdot(x, y, axis=0), ((3, 2), (3, 1)))],
    "outer": on_shapes(lambda m, x, y: m.outer(x, y), ((2, 3), (4,))),
    "tensordot": [
        *on_shapes(lambda m, x, y: m.tensordot(x, y), ((2, 3, 4), (3, 4, 5))),
        *on_shapes(lambda m, x, y: m.tensordot(x, y, axes=1), ((2, 3), (3, 5))),
        *on_shapes(lambda m, x, y: m.tensordot(x, y, axes=0), ((2, 3), (4,))),
        *on_shapes(lambda m, x, y: m.tensordot(x, y, axes=([0, 2], [1, -1])),
                   ((2, 3, 4), (5, 2, 4)))],
    "kron": on_shapes(lambda m, x, y: m.kron(x, y), ((2, 3), (4, 5)), ((2, 3), (4,)),
                      ((3,), (2, 2)), ((2, 3, 2), (2, 1))),
    "einsum": [call for text, shapes in EINSUMS
               for call in on_shapes(lambda m, *xs, t=text: m.einsum(t, *xs), shapes)],
    "linalg.multi_dot": on_shapes(lambda m, *xs: m.linalg.multi_dot(xs),
                                  ((2, 3), (3, 4), (4, 2)), ((3,), (3, 4), (4,))),
}
VECTOR_ORDERS = (None, 0, 1, 2, 3, 0.5, np.inf, -np.inf)
MATRIX_ORDERS = (None, "fro", 1, -1, np.inf, -np.inf)
NORMS: dict[str, Calls] = {
    "linalg.norm": [
        *on_cube(*(lambda m, x, o=o: m.linalg.norm(x, o, axis=1) for o in VECTOR_ORDERS),
                 *(lambda m, x, o=o: m.linalg.norm(x[0], o) for o in MATRIX_ORDERS),
                 *(lambda m, x, o=o: m.linalg.norm(x, o, (2, 0), True) for o in MATRIX_ORDERS),
                 lambda m, x: m.linalg.norm(x), dtypes=("f4", "f8", "i4"))],
    "linalg.vector_norm": on_cube(lambda m, x: m.linalg.vector_norm(x, axis=0),
                                  lambda m, x: m.linalg.vector_norm(x, axis=(0, 1), ord=1),
                                  dtypes=("f4", "i4")),
    "linalg.matrix_norm": on_cube(lambda m, x: m.linalg.matrix_norm(x), dtypes=("f4", "i4")),
}


def all_calls() -> dict[str, Calls]:
    """The sample calls by function name."""
    found: dict[str, Calls] = {}
    for names, calls_of in ((UNARY, unary_calls), (BINARY, binary_calls),
                            (REDUCTIONS, reduction_calls)):
        found |= {name: list(calls_of(name)) for name in names}
    found["sum"] += on_cube(lambda m, x: m.sum(x, dtype=np.float64))
    found["var"] += on_cube(lambda m, x: m.var(x, axis=0, ddof=1))
    found["std"] += on_cube(lambda m, x: m.std(x, axis=0, correction=1), dtypes=("f4", "f8", "i4"))
    for table in (MOVEMENT, VALUES, CREATION, CONTRACTION, NORMS):
        for name, calls in table.items():
            found.setdefault(name, []).extend(calls)
    return found

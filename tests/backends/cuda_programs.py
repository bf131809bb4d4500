"""Programs whose kernels are printed for CUDA: elementwise loops, rows, and sums over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

import irgrad as ig
from irgrad import nn
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Kernel
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline


def norm_loss(x: Any, scale: Any, shift: Any) -> Any:
    """A normalisation under an activation."""
    return nn.gelu(nn.layer_norm(x, scale, shift)).sum()


def checked(x: Any) -> Any:
    """A check of each element."""
    ig.check(x < 4, "small elements")
    return x * 2


PROGRAMS: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = MappingProxyType(
    {
        "gelu": (lambda x, y: nn.gelu(x) * nn.sigmoid(y + 1.5), ("f32[7,13]",) * 2),
        "softmax": (nn.softmax, ("f32[3,100]",)),
        "softmax of f64": (nn.softmax, ("f64[3,70]",)),
        "logsumexp": (lambda x: nn.logsumexp(x, axis=1), ("f32[5,200]",)),
        "norm": (
            ig.grad(norm_loss, argnums=(0, 1, 2)), ("f32[5,16]", "f32[16]", "f32[16]")
        ),
        "loss": (ig.value_and_grad(nn.cross_entropy), ("f32[4,10]", "i64[4]")),
        "variance": (lambda x: x.var(axis=1), ("f64[4,40]",)),
        "positions": (lambda x: (x.argmax(axis=1), x.argmin(axis=1)), ("f32[4,140]",)),
        "position of truth": (lambda x: (x > 0).argmax(axis=1), ("f32[4,140]",)),
        "truth": (lambda x: ((x > 1).any(axis=1), (x > -3).all(axis=1)), ("f32[4,140]",)),
        "sum of squares": (lambda x: (x * x).sum(), ("f32[4,40]",)),
        "columns": (lambda x: x.sum(axis=0), ("f32[9,40]",)),
        "one row": (lambda x: x.sum(axis=1), ("f32[1,1]",)),
        "empty": (lambda x: (x.sum(axis=1), x * 2), ("f32[3,0]",)),
        "both sizes": (
            lambda x, y: (x.argmax(axis=1), x.sum(axis=1), y.sum(axis=1)),
            ("f32[4,140]", "f64[4,140]"),
        ),
        "trigonometry": (lambda x: np.sin(x * 1e7) + np.tan(x), ("f32[50]",)),
        "largest": (lambda x: (x.max(axis=1), x.prod(axis=1)), ("i32[5,100]",)),
        "rounding": (lambda x: (np.round(x), np.floor(x), np.trunc(x), np.sign(x)), ("f64[40]",)),
        "division": (
            lambda x, y, i, j: (x // y, x % y, i // j, i % j), ("f32[9]",) * 2 + ("i32[9]",) * 2
        ),
        "division of f64": (lambda x, y: (x // y, x % y), ("f64[9]",) * 2),
        "integers": (
            lambda x, y: (abs(x), x**2, y * y, np.maximum(y, 3), y.max(axis=1), y.argmin(axis=1)),
            ("i64[3,70]", "u32[3,70]"),
        ),
        "small integers": (
            lambda x, y: (x.sum(axis=1), x.min(axis=1), y.max(axis=1), y // 3),
            ("i8[3,70]", "u64[3,70]"),
        ),
        "casts": (
            lambda x, y: (*map(x.astype, ("int8", "uint64")), *map(y.astype, ("int64", "uint16"))),
            ("f32[40]", "f64[40]"),
        ),
        "check": (checked, ("f32[5,30]",)),
        "padded": (lambda x: np.pad(x, ((1, 2), (0, 3))), ("f32[3,5]",)),
        "truth values": (lambda x, y: ((x > 0) & (y > 0), np.where(x > 0, x, y)), ("f32[9]",) * 2),
    }
)  # fmt: skip


@cache
def kernels(name: str) -> tuple[Kernel, ...]:
    """The kernels of a program."""
    function, specs = PROGRAMS[name]
    graph = ig.trace(function, *specs)
    run_passes(graph, pipeline("stable"), [])
    return lower(graph).kernels


def arrays_for(kernel: Kernel, seed: int) -> dict[str, np.ndarray]:
    """Random contents of each buffer of a kernel, with some special values."""
    rng = np.random.default_rng(seed)
    found = {}
    for buffer in kernel.buffers:
        dtype = DTYPES[buffer.dtype].numpy
        if dtype.kind == "f":
            array = (rng.standard_normal(buffer.size) * 3).astype(dtype)
            if buffer.access == "read" and array.size > 20 and seed % 2:
                array[rng.integers(0, array.size, 3)] = [np.nan, -0.0, 2.5]
        elif dtype.kind == "b":
            array = rng.integers(0, 2, buffer.size).astype(dtype)
        else:
            array = rng.integers(0, 9, buffer.size).astype(dtype)
        found[buffer.name] = array
    return found

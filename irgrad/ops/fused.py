"""The op that holds a kernel's region after fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ShapeError
from .record import Attrs, Evaluation, NotDifferentiable, NotLinear, OpDef, Types


def _infer(types: Types, attrs: Attrs) -> Types:
    body = attrs["body"]
    expected = tuple(body[key].types[0] for key in body.inputs)
    if expected != types:
        raise ShapeError(f"fused: expected operands {list(expected)}, got {list(types)}")
    return tuple(body.type(value) for value in body.outputs)


def _evaluate(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> Sequence[np.ndarray]:
    return env.run(attrs["body"], inputs)


_AFTER = NotDifferentiable("fusion comes after differentiation")
OPS: tuple[OpDef, ...] = (
    OpDef(
        name="fused",
        family="structured",
        attributes={"body": "graph", "kind": "str", "rows": "int"},
        infer=_infer,
        evaluate=_evaluate,
        jvp=_AFTER,
        transpose=NotLinear(),
        samples=lambda rng: [],
    ),
)

"""The op that holds a kernel's region after fusion."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Graph, Value
from ..ir.types import F64, TensorType
from .attributes import kind_error, read_attribute
from .record import Attrs, BatchedByEngine, NotDifferentiable, NotLinear, OpDef, Sample, Types
from .structured import input_types, output_types, read_region, require_types, run_region


def _infer(types: Types, attrs: Attrs) -> Types:
    body = read_region("fused", attrs, "body")
    for name, kind in (("kind", str), ("rows", int)):
        value = read_attribute("fused", attrs, name)
        if type(value) is not kind:
            raise kind_error("fused", name, kind.__name__, value)
    require_types("fused: inputs of body", types, input_types(body))
    return output_types(body)


def _samples(rng: np.random.Generator) -> list[Sample]:
    """A kernel that negates."""
    body = Graph("body")
    type_ = TensorType(F64, (3,))
    x = body.add_input(type_)
    body.outputs = [Value(body.add("neg", [x], [type_]))]
    return [Sample((rng.standard_normal(3),), {"body": body, "kind": "loop", "rows": 0})]


_AFTER = NotDifferentiable("fusion comes after differentiation")
OPS: tuple[OpDef, ...] = (
    OpDef(
        name="fused",
        family="structured",
        attributes={"body": "graph", "kind": "str", "rows": "int"},
        infer=_infer,
        evaluate=run_region("body"),
        jvp=_AFTER,
        transpose=NotLinear(),
        samples=_samples,
        batch=BatchedByEngine(),
    ),
)

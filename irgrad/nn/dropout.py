"""Dropout: elements left out at random while a network is trained."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, DTypeError, brief
from ..ir.types import F32, F64
from ..random.draws import as_key, drawn
from ..random.uniforms import bernoulli
from ..tracing.context import Trace
from ..tracing.functions.operands import as_number
from ..tracing.tracer import Tracer


@drawn
def dropout(t: Trace, key: Any, x: Any, rate: Any = 0.5) -> Tracer:
    """0 with probability `rate`, else x / (1 - rate) (Srivastava and others, 2014).

    What is kept is `random.bernoulli(key, 1 - rate, x.shape)`; the gradient is masked by the same
    truth values. key: u32[2], another one for each call. x: f32 or f64. rate: a number in [0, 1]
    that is known while tracing; at 1 all is 0, and so is the gradient.
    """
    as_key(t, "dropout", key)
    share = as_number("dropout", "the rate", rate)
    if not 0.0 <= share <= 1.0:
        raise ArgumentError(f"dropout: expected a rate in [0, 1], got {brief(rate)}")
    value = t.lift(x).expr
    if value.dtype not in (F32, F64):
        raise DTypeError(f"dropout: expected f32 or f64, got {value.type}")
    kept = bernoulli(t.wrap(t.lift(key).expr), 1.0 - share, value.shape).expr
    scaled = value * (1.0 / (1.0 - share)) if share < 1.0 else value
    return t.wrap(kept.op("select", scaled, value.like(0)))

"""Ops that hold regions (functions with their own derivatives), and the run-time check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import CheckError, DTypeError, ShapeError
from ..ir.dims import Size
from ..ir.graph import Graph, Value, attributes
from ..ir.location import gradient_of
from ..ir.types import F64, TensorType
from .attributes import kind_error, read_attribute, read_int
from .build import Builder, Expr
from .record import (
    Attrs,
    BatchContext,
    Batched,
    BatchedByEngine,
    DifferentiatedByEngine,
    Evaluate,
    Evaluation,
    NotLinear,
    OpDef,
    RuleContext,
    Sample,
    Types,
)
from .rules import INEXACT, require_count, require_kind

Parts = tuple[Expr | None, ...]


def has_tangent(type_: TensorType) -> bool:
    """True where values of the type are real or complex numbers, which alone have tangents."""
    return type_.dtype.kind in INEXACT


def input_types(region: Graph) -> Types:
    """The types of a region's inputs, in order."""
    return tuple(region.type(Value(key)) for key in region.inputs)


def output_types(region: Graph) -> Types:
    """The types of a region's outputs, in order."""
    return tuple(region.type(value) for value in region.outputs)


def read_region(op: str, attrs: Attrs, name: str) -> Graph:
    """An attribute that is a graph whose inputs and outputs all have types."""
    region = read_attribute(op, attrs, name)
    if not isinstance(region, Graph):
        raise kind_error(op, name, "a graph", region)
    ends = [*(Value(key) for key in region.inputs), *region.outputs]
    if any(region[value.node].types[value.result] is None for value in ends):
        raise ShapeError(f"{op}: expected {name!r} with a type on each input and output, got none")
    return region


def _tangent_types(types: Types) -> Types:
    return tuple(type_ for type_ in types if has_tangent(type_))


def _listed(types: Iterable[TensorType]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"


def require_types(what: str, expected: Types, got: Types) -> None:
    """Raise ShapeError or DTypeError unless the two lists of types are equal.

    what: names the op, the region and its side, for the message.
    """
    if expected == got:
        return
    message = f"{what}: expected {_listed(expected)}, got {_listed(got)}"
    same_dtypes = [t.dtype.name for t in expected] == [t.dtype.name for t in got]
    if len(expected) == len(got) and not same_dtypes:
        raise DTypeError(message)
    raise ShapeError(message)


def _or_zeros(builder: Builder, part: Expr | None, type_: TensorType) -> Expr:
    return builder.zeros(type_) if part is None else part


# -- custom_jvp_call -------------------------------------------------------------------------------


def _custom_jvp_infer(types: Types, attrs: Attrs) -> Types:
    body, rule = (read_region("custom_jvp_call", attrs, name) for name in ("body", "rule"))
    results = output_types(body)
    require_types("custom_jvp_call: inputs of body", types, input_types(body))
    require_types(
        "custom_jvp_call: inputs of rule", types + _tangent_types(types), input_types(rule)
    )
    require_types(
        "custom_jvp_call: outputs of rule", _tangent_types(results), output_types(rule)
    )
    return results


def run_region(region: str) -> Evaluate:
    """The NumPy meaning of an op that is one of its regions applied to its operands."""

    def evaluate(
        inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
    ) -> tuple[np.ndarray, ...]:
        return tuple(env.run(attrs[region], inputs))

    return evaluate


def _custom_jvp_jvp(ctx: RuleContext, t: Parts) -> Parts:
    """The rule, inlined on the primals and the tangents of the float primals."""
    if all(part is None for part in t):
        return (None,) * len(ctx.outputs)
    tangents = [
        _or_zeros(ctx.builder, part, x.type)
        for part, x in zip(t, ctx.inputs)
        if has_tangent(x.type)
    ]
    operands = [x.value for x in (*ctx.inputs, *tangents)]
    here = ctx.builder.locations
    results = iter(ctx.builder.graph.inline(
        ctx.attrs["rule"], operands, lambda found: gradient_of(found) or here
    ))
    return tuple(
        ctx.builder.wrap(next(results)) if has_tangent(out.type) else None for out in ctx.outputs
    )


# -- custom_vjp_call -------------------------------------------------------------------------------


def _custom_vjp_infer(types: Types, attrs: Attrs) -> Types:
    body, forward, backward = (
        read_region("custom_vjp_call", attrs, name) for name in ("body", "forward", "backward")
    )
    results = output_types(body)
    produced = output_types(forward)
    require_types("custom_vjp_call: inputs of body", types, input_types(body))
    require_types("custom_vjp_call: inputs of forward", types, input_types(forward))
    require_types(
        "custom_vjp_call: first outputs of forward", results, produced[: len(results)]
    )
    require_types(
        "custom_vjp_call: inputs of backward",
        produced[len(results) :] + _tangent_types(results),
        input_types(backward),
    )
    require_types(
        "custom_vjp_call: outputs of backward", _tangent_types(types), output_types(backward)
    )
    return results


# -- linear_call -----------------------------------------------------------------------------------


def _linear_infer(types: Types, attrs: Attrs) -> Types:
    forward, backward = (
        read_region("linear_call", attrs, name) for name in ("forward", "backward")
    )
    count = read_int("linear_call", attrs, "residuals")
    if not 0 <= count <= len(types):
        raise ShapeError(
            f"linear_call: expected residuals in 0..{len(types)} (the operands), got {count}"
        )
    residuals, linear = types[:count], types[count:]
    for position, type_ in enumerate(linear):
        require_kind("linear_call", type_, INEXACT, count + position)
    results = output_types(forward)
    for type_ in results:
        if not has_tangent(type_):
            raise DTypeError(f"linear_call: expected results of float type, got {type_}")
    require_types("linear_call: inputs of forward", types, input_types(forward))
    require_types("linear_call: inputs of backward", residuals + results, input_types(backward))
    require_types("linear_call: outputs of backward", linear, output_types(backward))
    return results


def _linear_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    """The same op with its regions exchanged, on the residuals and the cotangents."""
    count: int = ctx.attrs["residuals"]
    assert not any(linear[:count]), "linear_call: a residual cannot be linear"
    cotangents = [
        _or_zeros(ctx.builder, part, out.type) for part, out in zip(ct, ctx.outputs)
    ]
    ctx.builder.graph.note_widenings(ctx.attrs["backward"].widenings)
    results = ctx.builder.emit(
        "linear_call",
        (*ctx.inputs[:count], *cotangents),
        forward=ctx.attrs["backward"],
        backward=ctx.attrs["forward"],
        residuals=count,
    )
    wanted = (
        result if is_linear else None for result, is_linear in zip(results, linear[count:])
    )
    return (None,) * count + tuple(wanted)


# -- check -----------------------------------------------------------------------------------------


def _check_infer(types: Types, attrs: Attrs) -> Types:
    require_count("check", types, 1)
    require_kind("check", types[0], "b", 0)
    message = read_attribute("check", attrs, "message")
    if not isinstance(message, str):
        raise kind_error("check", "message", "a string", message)
    return ()


def _check_evaluate(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> tuple[np.ndarray, ...]:
    """Raise CheckError with the message and the flat index of the first false element."""
    failing = np.flatnonzero(~inputs[0])
    if failing.size:
        raise CheckError(
            f"check: {attrs['message']} (expected true everywhere, got false at flat index "
            f"{failing[0]} of {inputs[0].size})"
        )
    return ()


def _check_batch(
    ctx: BatchContext, operands: tuple[Expr, ...], batched: tuple[bool, ...], size: Size
) -> tuple[Batched, ...]:
    """One check of all elements; its flat index counts through the batch."""
    graph = ctx.builder.graph
    key = graph.add(
        ctx.op, [operands[0].value], (), attributes(ctx.attrs), "", ctx.builder.locations
    )
    graph.effects.append(key)
    return ()


# -- samples ---------------------------------------------------------------------------------------

SAMPLE_TYPE = TensorType(F64, (4,))


def _sample_region(name: str, count: int) -> tuple[Graph, Builder, list[Expr]]:
    """A region with `count` inputs of the sample type, its builder, and the inputs."""
    from .registry import builder  # the registry imports this module

    region = Graph(name)
    b = builder(region)
    return region, b, [b.wrap(region.add_input(SAMPLE_TYPE)) for _ in range(count)]


def _finish(region: Graph, *outputs: Expr) -> Graph:
    region.outputs = [x.value for x in outputs]
    return region


def _sample_array(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.uniform(-2.0, 2.0, [int(s) for s in SAMPLE_TYPE.shape]))  # type: ignore[arg-type]


def _custom_jvp_samples(rng: np.random.Generator) -> list[Sample]:
    """x*sin(y), with its own tangent rule."""
    body, _, (x, y) = _sample_region("body", 2)
    _finish(body, x * y.op("sin"))
    rule, _, (x, y, dx, dy) = _sample_region("rule", 4)
    _finish(rule, dx * y.op("sin") + dy * (x * y.op("cos")))
    arrays = (_sample_array(rng), _sample_array(rng))
    return [Sample(arrays, {"body": body, "rule": rule})]


def _custom_vjp_samples(rng: np.random.Generator) -> list[Sample]:
    """exp(x)*x, whose backward reads exp(x) and x as residuals."""
    body, _, (x,) = _sample_region("body", 1)
    _finish(body, x.op("exp") * x)
    forward, _, (x,) = _sample_region("forward", 1)
    growth = x.op("exp")
    _finish(forward, growth * x, growth, x)
    backward, _, (growth, x, ct) = _sample_region("backward", 3)
    _finish(backward, ct * (growth * (x + 1)))
    regions = {"body": body, "forward": forward, "backward": backward}
    return [Sample((_sample_array(rng),), regions)]


def _linear_samples(rng: np.random.Generator) -> list[Sample]:
    """(r*a + b, b) from the residual r and the linear operands a and b."""
    forward, _, (r, a, b) = _sample_region("forward", 3)
    _finish(forward, r * a + b, b)
    backward, _, (r, ct, ct_b) = _sample_region("backward", 3)
    _finish(backward, r * ct, ct + ct_b)
    arrays = tuple(_sample_array(rng) for _ in range(3))
    return [Sample(arrays, {"forward": forward, "backward": backward, "residuals": 1})]


def _check_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((np.ones(shape, bool),), {"message": "all"}) for shape in ((), (0,), (3, 5))]


OPS: tuple[OpDef, ...] = (
    OpDef("custom_jvp_call", "structured", {"body": "graph", "rule": "graph"}, _custom_jvp_infer,
          run_region("body"), _custom_jvp_jvp, NotLinear(), _custom_jvp_samples,
          batch=BatchedByEngine(), flops=0),
    OpDef("custom_vjp_call", "structured",
          {"body": "graph", "forward": "graph", "backward": "graph"}, _custom_vjp_infer,
          run_region("body"), DifferentiatedByEngine(), NotLinear(), _custom_vjp_samples,
          batch=BatchedByEngine(), flops=0),
    OpDef("linear_call", "structured",
          {"forward": "graph", "backward": "graph", "residuals": "int"}, _linear_infer,
          run_region("forward"), DifferentiatedByEngine(), _linear_transpose, _linear_samples,
          batch=BatchedByEngine(), flops=0),
    OpDef("check", "structured", {"message": "str"}, _check_infer, _check_evaluate,
          lambda ctx, t: (), NotLinear(), _check_samples, batch=_check_batch, flops=0, effect=True),
)

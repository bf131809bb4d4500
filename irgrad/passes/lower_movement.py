"""Kernels of the movement ops that need memory: pad and concatenate, as copies into place."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import LoweringError
from ..ir.graph import Graph, Value
from ..kernel.ir import Affine, Buffer, For, Kernel, Statement, Store
from .axes import index_space
from .fusion_groups import Reads
from .lower_scalar import Names, Scope, constant, index_value, load
from .views import View, contiguous_strides

RESULT = "r0"


def lower_movement(region: Graph, name: str) -> Kernel:
    """The kernel of a region that holds one pad or concatenate."""
    (output,) = region.outputs
    node = region[output.node]
    if node.op not in ("pad", "concatenate"):
        raise LoweringError(f"{node.op}: expected an op that the cpu target compiles")
    views = Reads(region, is_region=True).of(output.node)
    shape = _sizes(region.type(output).shape)
    strides = _sizes(contiguous_strides(shape))
    names = Names()
    body: list[Statement] = []
    if node.op == "pad":
        low, interior = _sizes(node.attribute("low")), _sizes(node.attribute("interior"))
        if math.prod(shape) != math.prod(_sizes(views[0].shape)):
            body.append(_zero_fill(names, region, output, math.prod(shape)))
        offset = sum(a * s for a, s in zip(low, strides))
        spread = [s * (gap + 1) for s, gap in zip(strides, interior)]
        body.append(_copy(region, names, views[0], offset, spread))
    else:
        axis, start = node.attribute("axis"), 0
        for view in views:
            body.append(_copy(region, names, view, start * strides[axis], strides))
            start += int(view.shape[axis])  # type: ignore[arg-type]
    buffers = [
        Buffer(f"a{i}", region.type(Value(k)).dtype.name, math.prod(_sizes(_shape(region, k))),
               "read")
        for i, k in enumerate(region.inputs)
    ]
    type_ = region.type(output)
    buffers.append(Buffer(RESULT, type_.dtype.name, math.prod(shape), "write"))
    moved = sum(b.size for b in buffers) * type_.dtype.itemsize
    return Kernel(name, tuple(buffers), tuple(body), bytes=moved)


def _shape(region: Graph, key: int) -> tuple:
    return region.type(Value(key)).shape


def _sizes(values: Sequence) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _zero_fill(names: Names, region: Graph, output: Value, size: int) -> Statement:
    scope = Scope()
    zero = constant(scope, names, 0, region.type(output).dtype)
    scope.statements.append(Store(RESULT, Affine(0, (("z",1),)), zero))
    return For("z", size, tuple(scope.statements))


def _copy(
    region: Graph, names: Names, view: View, offset: int, strides: Sequence[int]
) -> Statement:
    """Loops that store each element of a view at offset + index * strides of the result."""
    shape = _sizes(view.shape)
    space = index_space(shape, 0, [_sizes(view.strides), tuple(strides)])
    scope = Scope()
    at = space.at(int(view.offset), _sizes(view.strides))  # type: ignore[arg-type]
    node = region[view.source.node]
    type_ = region.type(view.source)
    if node.op == "constant":
        value = constant(scope, names, node.attribute("value"), type_.dtype)
    elif node.op == "iota":
        bound = sum(abs(s) * e for s, e in zip(_sizes(view.strides), shape)) + abs(at.constant)
        value = index_value(scope, names, at, type_.dtype, bound)
    else:
        buffer = f"a{region.inputs.index(view.source.node)}"
        value = load(scope, names, buffer, at, type_.dtype.name)
    scope.statements.append(Store(RESULT, space.at(offset, strides), value))
    body: tuple[Statement, ...] = tuple(scope.statements)
    for axis in reversed(space.outer + space.inner):
        body = (For(axis.index, axis.extent, body),)
    return body[0]

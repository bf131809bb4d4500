"""Kernels of the movement ops that need memory: pad and concatenate, as copies into place."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import LoweringError
from ..ir.dims import Size, product
from ..ir.graph import Graph, Value
from ..kernel.ir import Affine, Buffer, For, Kernel, Statement, Store
from .axes import index_space
from .fusion_groups import Reads
from .lower_scalar import Names, Scope, constant, generated, index_value, load, reach
from .views import View, contiguous_strides

RESULT = "r0"


def lower_movement(region: Graph, name: str) -> Kernel:
    """The kernel of a region that holds one pad or concatenate."""
    (output,) = region.outputs
    node = region[output.node]
    if node.op not in ("pad", "concatenate"):
        raise LoweringError(f"{node.op}: expected an op that the cpu target compiles")
    views = Reads(region, is_region=True).of(output.node)
    shape = region.type(output).shape
    strides = contiguous_strides(shape)
    names = Names()
    body: list[Statement] = []
    if node.op == "pad":
        low, interior = node.attribute("low"), node.attribute("interior")
        if product(shape) != product(views[0].shape):
            body.append(_zero_fill(names, region, output, product(shape)))
        offset: Size = 0
        for a, s in zip(low, strides):
            offset = offset + a * s
        spread = [s * (gap + 1) for s, gap in zip(strides, interior)]
        body.append(_copy(region, names, views[0], offset, spread))
    else:
        axis = node.attribute("axis")
        start: Size = 0
        for view in views:
            body.append(_copy(region, names, view, start * strides[axis], strides))
            start = start + view.shape[axis]
    buffers = [
        Buffer(f"a{i}", region.type(Value(k)).dtype.name, product(_shape(region, k)),
               "read")
        for i, k in enumerate(region.inputs)
    ]
    type_ = region.type(output)
    buffers.append(Buffer(RESULT, type_.dtype.name, product(shape), "write"))
    moved: Size = 0
    for buffer in buffers:
        moved = moved + buffer.size * type_.dtype.itemsize
    return Kernel(name, tuple(buffers), tuple(body), bytes=moved)


def _shape(region: Graph, key: int) -> tuple:
    return region.type(Value(key)).shape


def _zero_fill(names: Names, region: Graph, output: Value, size: Size) -> Statement:
    scope = Scope()
    zero = constant(scope, names, 0, region.type(output).dtype)
    scope.statements.append(Store(RESULT, Affine(0, (("z",1),)), zero))
    return For("z", size, tuple(scope.statements))


def _copy(
    region: Graph, names: Names, view: View, offset: Size, strides: Sequence[Size]
) -> Statement:
    """Loops that store each element of a view at offset + index * strides of the result."""
    shape = view.shape
    space = index_space(shape, 0, [view.strides, tuple(strides)])
    scope = Scope()
    at = space.at(view.offset, view.strides)
    node = region[view.source.node]
    type_ = region.type(view.source)
    if node.op in ("constant", "dim_size"):
        value = generated(scope, names, node, type_.dtype)
    elif node.op == "iota":
        bound = reach(at.constant, view.strides, shape)
        value = index_value(scope, names, at, type_.dtype, bound)
    else:
        buffer = f"a{region.inputs.index(view.source.node)}"
        value = load(scope, names, buffer, at, type_.dtype.name)
    scope.statements.append(Store(RESULT, space.at(offset, strides), value))
    body: tuple[Statement, ...] = tuple(scope.statements)
    for axis in reversed(space.outer + space.inner):
        body = (For(axis.index, axis.extent, body),)
    return body[0]

"""Strided views: how a chain of movement ops reads the memory of the value that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.dims import Size
from ..ir.graph import Graph, Node, Value

VIEW_OPS = frozenset({"reshape", "transpose", "broadcast", "slice", "flip"})
GENERATORS = frozenset({"constant", "iota", "dim_size"})
MEMORY_READERS = frozenset({"dot_general"})  # ops that read operands from memory alone


@dataclass(frozen=True, slots=True)
class View:
    """Element (i, j, ...) of a value is element offset + i*strides[0] + j*strides[1] + ... of the
    contiguous memory of `source`.

    An iota is a view of an endless arange; a constant or a dim_size has stride 0 everywhere. axes:
    for each axis the axis of the source that it runs along in full, None where it repeats or has
    size 1; the whole is None where the view is not such a plain mapping of axes.
    """

    source: Value
    offset: Size
    shape: tuple[Size, ...]
    strides: tuple[Size, ...]
    axes: tuple[int | None, ...] | None


def contiguous_strides(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Row-major strides in elements."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.append(step)
        step = step * size
    return tuple(reversed(strides))


def whole(source: Value, shape: tuple[Size, ...]) -> View:
    """The view of all of a contiguous value."""
    return View(source, 0, shape, contiguous_strides(shape), tuple(range(len(shape))))


def generator_view(value: Value, node: Node) -> View:
    """The view that a constant, an iota or a dim_size is."""
    shape = () if node.op == "dim_size" else node.attribute("shape")
    strides: list[Size] = [0] * len(shape)
    if node.op == "iota":
        strides[node.attribute("axis")] = 1
    return View(value, 0, shape, tuple(strides), None)


def apply_movement(node: Node, view: View) -> View | None:
    """The view after one op of VIEW_OPS; None for a reshape that these strides cannot express."""
    return _MOVES[node.op](node, view)


def _transpose(node: Node, view: View) -> View:
    order = node.attribute("permutation")
    axes = None if view.axes is None else tuple(view.axes[i] for i in order)
    return View(
        view.source,
        view.offset,
        tuple(view.shape[i] for i in order),
        tuple(view.strides[i] for i in order),
        axes,
    )


def _broadcast(node: Node, view: View) -> View:
    shape = node.attribute("shape")
    strides: list[Size] = [0] * len(shape)
    axes: list[int | None] = [None] * len(shape)
    for axis, target in enumerate(node.attribute("dims")):
        if view.shape[axis] == shape[target]:
            strides[target] = view.strides[axis]
            axes[target] = None if view.axes is None else view.axes[axis]
    return View(
        view.source, view.offset, shape, tuple(strides), None if view.axes is None else tuple(axes)
    )


def _slice(node: Node, view: View) -> View:
    type_ = node.types[0]
    assert type_ is not None
    offset = view.offset
    strides: list[Size] = []
    for start, step, stride in zip(
        node.attribute("start"), node.attribute("step"), view.strides, strict=True
    ):
        offset = offset + start * stride
        strides.append(stride * step)
    axes = view.axes if type_.shape == view.shape else None
    return View(view.source, offset, type_.shape, tuple(strides), axes)


def _flip(node: Node, view: View) -> View:
    offset = view.offset
    strides = list(view.strides)
    for axis in node.attribute("axes"):
        offset = offset + (view.shape[axis] - 1) * strides[axis]
        strides[axis] = strides[axis] * -1
    return View(view.source, offset, view.shape, tuple(strides), None)


def _reshape(node: Node, view: View) -> View | None:
    shape = node.attribute("shape")
    strides = reshape_strides(view.shape, view.strides, shape)
    if strides is None:
        return None
    return View(view.source, view.offset, shape, strides, _reshape_axes(view, shape))


def _reshape_axes(view: View, shape: tuple[Size, ...]) -> tuple[int | None, ...] | None:
    """Axes survive a reshape that only adds or drops axes of size 1."""
    if view.axes is None or [s for s in view.shape if s != 1] != [s for s in shape if s != 1]:
        return None
    kept = iter([axis for axis, size in zip(view.axes, view.shape) if size != 1])
    return tuple(None if size == 1 else next(kept) for size in shape)


def reshape_strides(
    old: Sequence[Size], strides: Sequence[Size], new: Sequence[Size]
) -> tuple[Size, ...] | None:
    """Strides of a reshaped view without a copy, or None where it needs one.

    Both shapes are cut into the shortest runs of equal product; a run can be regrouped where its
    old axes follow one another in memory.
    """
    if 0 in new:
        return contiguous_strides(new)
    source = [(size, stride) for size, stride in zip(old, strides) if size != 1]
    result: list[Size] = [0] * len(new)
    at = 0
    target = [axis for axis, size in enumerate(new) if size != 1]
    first = 0
    while at < len(source):
        end, last = at + 1, first + 1
        have, want = source[at][0], new[target[first]] if first < len(target) else 1
        while have != want:
            grow_old = _smaller(have, want)
            if grow_old and end < len(source):
                have = have * source[end][0]
                end += 1
            elif last < len(target):
                want = want * new[target[last]]
                last += 1
            elif end < len(source):
                have = have * source[end][0]
                end += 1
            else:
                return None
        for (_, stride), (size, inner) in zip(source[at:end], source[at + 1 : end]):
            if stride != size * inner:
                return None
        step = source[end - 1][1]
        for axis in reversed(target[first:last]):
            result[axis] = step
            step = step * new[axis]
        at, first = end, last
    return tuple(result)


def _smaller(a: Size, b: Size) -> bool:
    """Whether a is the smaller of two sizes; for symbolic ones, the one of fewer terms' factors."""
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    return isinstance(a, int) or (not isinstance(b, int) and len(str(a)) < len(str(b)))


_MOVES: dict[str, Callable[[Node, View], View | None]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "slice": _slice,
    "flip": _flip,
}


def collect_views(graph: Graph, order: Sequence[int]) -> tuple[dict[int, View], set[int]]:
    """The view behind each single-result node, and the nodes that need memory of their own.

    A movement node needs memory where a reshape follows that its view cannot express, and a
    generator where an op reads it that reads memory alone. Every other node that is not a movement
    op or a generator is the whole view of itself.
    """
    views: dict[int, View] = {}
    copies: set[int] = set()
    for key in order:
        node = graph[key]
        for operand in node.operands if node.op in MEMORY_READERS else ():
            source = view_of(graph, views, operand).source
            if graph[source.node].op in GENERATORS and source.node not in copies:
                copies.add(operand.node)
                views[operand.node] = whole(operand, graph.type(operand).shape)
        if node.op in GENERATORS:
            views[key] = generator_view(Value(key), node)
        elif node.op in VIEW_OPS:
            operand = node.operands[0]
            base = view_of(graph, views, operand)
            moved = apply_movement(node, base)
            if moved is None:
                copies.add(operand.node)
                views[operand.node] = whole(operand, graph.type(operand).shape)
                moved = apply_movement(node, views[operand.node])
                assert moved is not None, "a contiguous value can take any shape"
            views[key] = moved
        elif len(node.types) == 1:
            views[key] = whole(Value(key), graph.type(Value(key)).shape)
    return views, copies


def view_of(graph: Graph, views: dict[int, View], value: Value) -> View:
    """The view that reads a value, multi-result nodes included."""
    return views.get(value.node) or whole(value, graph.type(value).shape)


def merged_stride(extents: Sequence[Size], strides: Sequence[Size]) -> Size | None:
    """The one stride that walks all axes as a single flat index, or None (0 for no axes)."""
    axes = [(e, s) for e, s in zip(extents, strides) if e != 1]
    for (_, outer), (extent, inner) in zip(axes, axes[1:]):
        if outer != inner * extent:
            return None
    return axes[-1][1] if axes else 0

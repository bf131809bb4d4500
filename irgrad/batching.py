"""vmap: a Python function on each element of a batch at once.

The function is traced once, for one element; its graph is batched as a whole. Called on traced
values, the batched graph becomes part of the enclosing trace; called on arrays, it is jitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import optree

from .autodiff.batch import batch_in_place
from .differentiation import call_graph, like_function
from .errors import ArgumentError, ShapeError, brief
from .ir.dims import Size
from .ir.graph import Graph
from .ir.types import TensorType
from .jitted import Jitted, Plan
from .ops.batching import with_batch
from .ops.build import Expr
from .ops.movement import transpose
from .ops.record import Batched
from .ops.registry import builder
from .runtime.signatures import at_positions
from .subgraph import TracedFunction, at_call, fail, leaf_type, trace_function
from .tracing.locations import ends_at_call, user_locations
from .tracing.trace import require_function
from .tracing.trees import flatten_object, too_deep, tree_text, unflatten_object

Function = Callable[..., Any]


@ends_at_call
def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Jitted:
    """A function that applies `f` to each element of a batch, and stacks the results.

    in_axes: which axis of the arguments counts the elements: an int (negative from the end), None
    for an argument that all elements share, or a tuple with an entry for each positional argument,
    where an entry may be a tree of ints and None that begins the argument's tree. An argument given
    by name counts at its position; those that have none are mapped along axis 0. out_axes: where
    that axis goes in the results, in the same way as a tree that begins the tree of the result;
    None for a result that is equal for all elements.

    What does not depend on a mapped argument is computed once; a loop is never made, and the graph
    does not grow with the batch. Checks see the whole batch. Functions with own derivatives keep
    them. `vmap(grad(loss), in_axes=(None, 0, 0))` gives per-sample gradients.

    The returned function raises ArgumentError for axes that do not fit the trees or map nothing,
    ShapeError for axes out of range, sizes that disagree, and out_axes of None for a result that
    differs between elements.
    """
    require_function("vmap", f)
    _check_axes("in_axes", in_axes)
    _check_axes("out_axes", out_axes)
    if not isinstance(in_axes, (int, tuple, list, type(None))):
        raise ArgumentError(
            f"vmap: expected in_axes as an int, None or a tuple with an entry for each argument, "
            f"got {brief(in_axes)}"
        )

    @like_function(f)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = at_call(at_positions, f, args, kwargs)
        leaves, tree = flatten_object((args, kwargs))
        slots = _slots(tree, leaves, _argument_axes(in_axes, args, kwargs))
        size = _batch_size(slots)
        elements = [x if slot.axis is None else slot.element for x, slot in zip(leaves, slots)]
        positional, named = unflatten_object(tree, elements)
        traced = trace_function(f, positional, named)
        graph = _mapped_graph(traced, slots, size, out_axes)
        return unflatten_object(traced.outputs, call_graph(graph, [*leaves, *traced.closed]))

    return Jitted(Plan(mapped))


class _Slot(NamedTuple):
    """A leaf of the arguments: what to call it, its type, and the axis that is mapped, if any."""

    name: str
    type: TensorType
    axis: int | None

    @property
    def element(self) -> TensorType:
        """The type without the mapped axis."""
        assert self.axis is not None
        shape = self.type.shape
        return TensorType(self.type.dtype, shape[: self.axis] + shape[self.axis + 1 :])


def _check_axes(what: str, axes: Any) -> None:
    try:
        leaves = optree.tree_leaves(axes, none_is_leaf=True)
    except RecursionError:
        raise too_deep() from None
    for axis in leaves:
        if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool)):
            raise ArgumentError(f"vmap: expected {what} of ints and None, got {brief(axis)}")


def _argument_axes(
    in_axes: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[int | None]:
    """The axis of each leaf of the arguments, as given."""
    if isinstance(in_axes, (tuple, list)):
        if len(in_axes) != len(args):
            fail(ArgumentError(
                f"vmap: expected in_axes with an entry for each of {len(args)} positional "
                f"arguments, got {len(in_axes)}"
            ))
    else:
        in_axes = (in_axes,) * len(args)
    axes: list[int | None] = []
    for position, (prefix, value) in enumerate(zip(in_axes, args)):
        axes += _spread(f"in_axes of argument {position}", prefix, value)
    return axes + [0] * len(flatten_object(kwargs)[0])


def _spread(what: str, prefix: Any, value: Any) -> list[int | None]:
    """An axis for each leaf of a value, from a tree of axes that begins the value's tree."""
    leaves, whole = flatten_object(value)
    axes, tree = optree.tree_flatten(prefix, none_is_leaf=True)
    try:
        parts = tree.flatten_up_to(unflatten_object(whole, range(len(leaves))))
    except (ValueError, TypeError):
        fail(ArgumentError(
            f"vmap: expected {what} as a tree that begins {tree_text(whole)}, got "
            f"{brief(prefix, 60)}"
        ))
    # Dicts of both trees may list their keys in another order.
    pairs = [(place, axis) for axis, part in zip(axes, parts) for place in flatten_object(part)[0]]
    return [axis for _, axis in sorted(pairs, key=lambda pair: pair[0])]


def _slots(
    tree: optree.PyTreeSpec, leaves: Sequence[Any], axes: Sequence[int | None]
) -> list[_Slot]:
    """The leaves of the arguments with their axes, counted from the front."""
    slots = []
    for x, path, given in zip(leaves, tree.paths(), axes, strict=True):
        name = _leaf_name(path)
        type_ = leaf_type(x)
        if given is not None and not -type_.rank <= given < type_.rank:
            why = "; give it the axis None" if type_.rank == 0 else ""
            fail(ShapeError(f"vmap: expected {name} to have an axis {given}, got {type_}{why}"))
        slots.append(_Slot(name, type_, given if given is None else given % type_.rank))
    return slots


def _leaf_name(path: tuple[Any, ...]) -> str:
    """What to call a leaf of (args, kwargs)."""
    _, first, *rest = path
    entries = "".join(f"[{brief(entry)}]" for entry in rest)
    return f"argument {first!r}{entries}"


def _batch_size(slots: Sequence[_Slot]) -> Size:
    """The size that all mapped axes have."""
    found: tuple[_Slot, Size] | None = None
    for slot in slots:
        if slot.axis is None:
            continue
        size = slot.type.shape[slot.axis]
        if found is None:
            found = slot, size
        elif size != found[1]:
            one, other = (
                f"{n} (axis {s.axis} of {s.name}, {s.type})" for s, n in (found, (slot, size))
            )
            fail(ShapeError(f"vmap: expected mapped axes of equal size, got {one} and {other}"))
    if found is None:
        fail(ArgumentError(
            "vmap: expected at least one array to map over, got in_axes of None for all"
        ))
    return found[1]


def _mapped_graph(
    traced: TracedFunction, slots: Sequence[_Slot], size: Size, out_axes: Any
) -> Graph:
    """The graph of whole arguments and what the function closes over, to whole results."""
    graph = Graph(traced.graph.name)
    build = builder(graph, user_locations())
    operands: list[Batched] = []
    for slot in slots:
        x = build.wrap(graph.add_input(slot.type))
        moved = x if slot.axis is None else _moved(x, slot.axis, 0)
        operands.append((moved, slot.axis is not None))
    for key in traced.graph.inputs[traced.leaves :]:
        node = traced.graph[key]
        operands.append((build.wrap(graph.add_input(node.types[0], "", node.locations)), False))
    results = batch_in_place(build, traced.graph, operands, size)
    places = _spread("out_axes", out_axes, unflatten_object(traced.outputs, range(len(results))))
    graph.outputs = [
        _placed(traced, position, result, place, size).value
        for position, (result, place) in enumerate(zip(results, places, strict=True))
    ]
    graph.widenings = list(traced.graph.widenings)
    return graph


def _placed(
    traced: TracedFunction, position: int, result: Batched, place: int | None, size: Size
) -> Expr:
    """A result with its batch where out_axes has it."""
    x, batched = result
    if place is None:
        if batched:
            fail(ShapeError(
                f"vmap: expected {_output_name(traced, position)} to be the same for all elements, "
                "as out_axes is None, got one that depends on a mapped argument"
            ))
        return x
    x = with_batch(x, batched, size)
    rank = x.type.rank
    if not -rank <= place < rank:
        fail(ShapeError(
            f"vmap: expected an axis of the {rank} of {_output_name(traced, position)} in "
            f"out_axes, got {place}"
        ))
    return _moved(x, 0, place % rank)


def _output_name(traced: TracedFunction, position: int) -> str:
    path = traced.outputs.paths()[position]
    return "the result" + "".join(f"[{brief(entry)}]" for entry in path)


def _moved(x: Expr, source: int, target: int) -> Expr:
    """`x` with one axis moved, the others in order."""
    order = [axis for axis in range(x.type.rank) if axis != source]
    order.insert(target, source)
    return transpose(x, order)

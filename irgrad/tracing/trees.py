"""Argument and result trees: optree's description for the user's objects, `Tree` for graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import optree
from optree import NamedTupleEntry, PyTreeEntry, PyTreeKind, PyTreeSpec

from ..errors import ArgumentError, LimitError
from ..ir.signature import LEAF, Tree

_TUPLES = frozenset({PyTreeKind.TUPLE, PyTreeKind.NAMEDTUPLE, PyTreeKind.STRUCTSEQUENCE})
_LISTS = frozenset({PyTreeKind.LIST, PyTreeKind.DEQUE})
_DICTS = frozenset({PyTreeKind.DICT, PyTreeKind.ORDEREDDICT, PyTreeKind.DEFAULTDICT})


def flatten_object(value: Any) -> tuple[list[Any], PyTreeSpec]:
    """The leaves of nested tuples, lists, dicts and registered classes, and their structure.

    None is no leaf; dict keys are taken in sorted order.
    Raises LimitError for objects nested too deep, or inside of themselves.
    """
    try:
        leaves, spec = optree.tree_flatten(value)
    except RecursionError:
        raise too_deep() from None
    return leaves, spec


def too_deep() -> LimitError:
    """The error for containers nested deeper than Python can follow."""
    return LimitError(
        "arguments: expected containers nested at most some hundreds deep, got deeper ones, or one "
        "that holds itself"
    )


def unflatten_object(spec: PyTreeSpec, leaves: Iterable[Any]) -> Any:
    """The nested object with other leaves."""
    return optree.tree_unflatten(spec, leaves)


def tree_of(spec: PyTreeSpec) -> Tree:
    """The tree of an optree description: named tuples and registered classes become tuples."""
    kind = spec.kind
    if kind == PyTreeKind.LEAF:
        return LEAF
    if kind == PyTreeKind.NONE:
        return Tree("none")
    children = tuple(tree_of(child) for child in spec.children())
    if kind in _DICTS:
        return Tree("dict", children, tuple(str(key) for key in spec.entries()))
    return Tree("list" if kind in _LISTS else "tuple", children)


def spec_of(tree: Tree) -> PyTreeSpec:
    """The optree description of a tree."""
    return optree.tree_structure(unflatten(tree, [0] * tree.leaves))


def leaf_names(spec: PyTreeSpec, roots: Sequence[str]) -> tuple[str, ...]:
    """A name such as "params.layers.0.w" for each leaf of a tuple of arguments named `roots`."""
    return tuple(
        ".".join([roots[accessor[0].entry], *map(_entry_name, accessor[1:])])
        for accessor in spec.accessors()
    )


def _entry_name(entry: PyTreeEntry) -> str:
    return entry.field if isinstance(entry, NamedTupleEntry) else str(entry.entry)


def flatten(tree: Tree, value: Any, label: str = "argument") -> list[Any]:
    """The leaves of a value of a tree's structure.

    Raises ArgumentError naming the position where the structures differ.
    """
    return list(_flatten(tree, value, label))


def _flatten(tree: Tree, value: Any, label: str) -> Iterator[Any]:
    if tree.kind == "leaf":
        yield value
    elif tree.kind == "none":
        if value is not None:
            raise ArgumentError(f"{label}: expected None, got {type(value).__name__}")
    elif tree.kind == "dict":
        given = {str(key): part for key, part in value.items()} if isinstance(value, dict) else None
        if given is None or set(given) != set(tree.keys):
            got = type(value).__name__ if given is None else f"keys {sorted(given)}"
            wanted_keys = sorted(tree.keys)
            raise ArgumentError(f"{label}: expected a dict with keys {wanted_keys}, got {got}")
        for key, child in zip(tree.keys, tree.children):
            yield from _flatten(child, given[key], f"{label}.{key}")
    else:
        wanted = tuple if tree.kind == "tuple" else list
        if not isinstance(value, wanted) or len(value) != len(tree.children):
            size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
            raise ArgumentError(
                f"{label}: expected a {tree.kind} of {len(tree.children)}, got "
                f"{type(value).__name__}{size}"
            )
        for position, (child, part) in enumerate(zip(tree.children, value)):
            yield from _flatten(child, part, f"{label}.{position}")


def unflatten(tree: Tree, leaves: Sequence[Any]) -> Any:
    """The nested tuples, lists and dicts of a tree with the given leaves."""
    assert len(leaves) == tree.leaves
    return _unflatten(tree, iter(leaves))


def _unflatten(tree: Tree, leaves: Iterator[Any]) -> Any:
    if tree.kind == "leaf":
        return next(leaves)
    if tree.kind == "none":
        return None
    parts = [_unflatten(child, leaves) for child in tree.children]
    if tree.kind == "dict":
        return dict(zip(tree.keys, parts))
    return tuple(parts) if tree.kind == "tuple" else parts

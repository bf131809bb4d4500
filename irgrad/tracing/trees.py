"""Argument and result trees: optree's description for the user's objects, `Tree` for graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import optree
from optree import NamedTupleEntry, PyTreeEntry, PyTreeKind, PyTreeSpec

from ..errors import ArgumentError, LimitError, brief
from ..ir.lexer import MAX_DEPTH
from ..ir.signature import LEAF, Tree

_TUPLES = frozenset({PyTreeKind.TUPLE, PyTreeKind.NAMEDTUPLE, PyTreeKind.STRUCTSEQUENCE})
_LISTS = frozenset({PyTreeKind.LIST, PyTreeKind.DEQUE})
_DICTS = frozenset({PyTreeKind.DICT, PyTreeKind.ORDEREDDICT, PyTreeKind.DEFAULTDICT})
# Levels of containers around an argument or in a result, so that the text of a graph, where they
# stand inside of the graph and the tuple of arguments, can be read back.
MAX_NESTING = MAX_DEPTH - 2
MAX_TEXT = 200  # characters of a structure that messages quote


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
        f"arguments: expected containers nested at most {MAX_NESTING} deep, got deeper ones, or "
        "one that holds itself"
    )


def unflatten_object(spec: PyTreeSpec, leaves: Iterable[Any]) -> Any:
    """The nested object with other leaves."""
    return optree.tree_unflatten(spec, leaves)


def tree_of(spec: PyTreeSpec, level: int = 0) -> Tree:
    """The tree of an optree description: named tuples and registered classes become tuples.

    level: how many containers it is in. Raises LimitError where they are nested too deep.
    """
    kind = spec.kind
    if level > MAX_NESTING + 1:
        raise too_deep()
    if kind == PyTreeKind.LEAF:
        return LEAF
    if kind == PyTreeKind.NONE:
        return Tree("none")
    children = tuple(tree_of(child, level + 1) for child in spec.children())
    if kind in _DICTS:
        return Tree("dict", children, _key_texts(spec.entries()))
    return Tree("list" if kind in _LISTS else "tuple", children)


def tree_text(spec: PyTreeSpec) -> str:
    """A structure in messages: its tree, cut where it is long."""
    text = str(tree_of(spec))
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


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
    return entry.field if isinstance(entry, NamedTupleEntry) else entry_text(entry.entry)


def _key_texts(keys: Iterable[Any]) -> tuple[str, ...]:
    """The keys of a dict as texts that all differ: 1 and "1" in one dict are `1` and `1_2`."""
    found: dict[str, Any] = {}
    for key in keys:
        text, number = entry_text(key), 2
        while text in found:
            text, number = f"{entry_text(key)}_{number}", number + 1
        found[text] = key
    return tuple(found)


def entry_text(key: Any) -> str:
    """A key of a dict, or a position, in names."""
    try:
        return str(key)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return brief(key)


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
        items = value if isinstance(value, dict) else {}
        given = {entry_text(key): part for key, part in items.items()}
        if not isinstance(value, dict) or len(given) < len(value) or set(given) != set(tree.keys):
            known = sorted(map(entry_text, items))
            got = f"keys {brief(known, 200)}" if isinstance(value, dict) else type(value).__name__
            wanted_keys = brief(sorted(tree.keys), 200)
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

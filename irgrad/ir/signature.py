"""How a graph is called: the argument and result trees, the donated arguments and their names."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ArgumentError, brief
from .shown import short

_KINDS = ("leaf", "none", "tuple", "list", "dict")


@dataclass(frozen=True, slots=True)
class Tree:
    """The structure of nested arguments.

    kind: "leaf", "none", "tuple", "list" or "dict"; children in order; keys for "dict" alone, one
    for each child and each once. Raises ArgumentError for other fields.
    """

    kind: str
    children: tuple[Tree, ...] = ()
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in _KINDS:
            kinds = ", ".join(_KINDS)
            raise ArgumentError(f"tree: expected one of {kinds}, got {brief(self.kind)}")
        if not _all_of(self.children, Tree) or (self.children and self.kind in _KINDS[:2]):
            raise ArgumentError(f"tree: expected trees as children, got {brief(self.children)}")
        count = len(self.children) if self.kind == "dict" else 0
        keys = self.keys
        if not _all_of(keys, str) or len(keys) != count or len(set(keys)) != count:
            raise ArgumentError(f"tree: expected {count} keys, each once, got {brief(keys)}")

    @property
    def leaves(self) -> int:
        """Number of leaves below."""
        return 1 if self.kind == "leaf" else sum(child.leaves for child in self.children)

    def __str__(self) -> str:
        if self.kind == "leaf":
            return "*"
        if self.kind == "none":
            return "-"
        parts = list(map(str, self.children))  # once: a second time at each level doubles the work
        inner = ", ".join(parts)
        if self.kind == "tuple":
            return f"({inner})"
        if self.kind == "list":
            return f"[{inner}]"
        pairs = (f"{key}: {part}" for key, part in zip(self.keys, parts))
        return "{" + ", ".join(pairs) + "}"


    def __repr__(self) -> str:
        return f"Tree({short(self)})"


def _all_of(items: object, kind: type) -> bool:
    return isinstance(items, tuple) and all(isinstance(item, kind) for item in items)


LEAF = Tree("leaf")


def flat_tree(count: int) -> Tree:
    """The tuple of `count` leaves."""
    return Tree("tuple", (LEAF,) * count)


@dataclass(frozen=True, slots=True)
class Signature:
    """The calling convention of a graph.

    inputs: a tuple tree of the positional arguments; outputs: the tree of the result. Their leaves
    match the graph's first inputs and its outputs in order; inputs after those are captures.
    names: one for each input leaf, such as "params.w". donated: positions of donated input leaves.
    static: text of the static arguments, for the header alone. Raises ArgumentError for fields of
    other kinds.
    """

    inputs: Tree
    outputs: Tree
    names: tuple[str, ...] = ()
    donated: frozenset[int] = frozenset()
    static: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, Tree) or self.inputs.kind != "tuple":
            got = brief(self.inputs)
            raise ArgumentError(f"signature: expected inputs as a tuple tree, got {got}")
        if not isinstance(self.outputs, Tree):
            raise ArgumentError(f"signature: expected outputs as a tree, got {brief(self.outputs)}")
        for what, texts in (("names", self.names), ("static", self.static)):
            if not _all_of(texts, str):
                raise ArgumentError(f"signature: expected {what} as strings, got {brief(texts)}")
        if not isinstance(self.donated, frozenset) or not all(
            type(position) is int for position in self.donated
        ):
            raise ArgumentError(
                f"signature: expected donated as positions, got {brief(self.donated)}"
            )


    def __repr__(self) -> str:
        return f"Signature({short(self.inputs)} -> {short(self.outputs)})"


def flat_signature(inputs: int, outputs: int) -> Signature:
    """The convention of a plain function of arrays: a tuple of leaves in and out."""
    return Signature(flat_tree(inputs), flat_tree(outputs))

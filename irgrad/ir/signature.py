"""How a graph is called: the argument and result trees, the donated arguments and their names."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Tree:
    """The structure of nested arguments.

    kind: "leaf", "none", "tuple", "list" or "dict"; children in order; keys for "dict" alone.
    """

    kind: str
    children: tuple[Tree, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def leaves(self) -> int:
        """Number of leaves below."""
        return 1 if self.kind == "leaf" else sum(child.leaves for child in self.children)

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.children))
        if self.kind == "leaf":
            return "*"
        if self.kind == "none":
            return "-"
        if self.kind == "tuple":
            return f"({inner})"
        if self.kind == "list":
            return f"[{inner}]"
        pairs = (f"{key}: {child}" for key, child in zip(self.keys, self.children))
        return "{" + ", ".join(pairs) + "}"


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
    static: text of the static arguments, for the header alone.
    """

    inputs: Tree
    outputs: Tree
    names: tuple[str, ...] = ()
    donated: frozenset[int] = frozenset()
    static: tuple[str, ...] = field(default=())


def flat_signature(inputs: int, outputs: int) -> Signature:
    """The convention of a plain function of arrays: a tuple of leaves in and out."""
    return Signature(flat_tree(inputs), flat_tree(outputs))

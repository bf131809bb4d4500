"""From the leaves of a result to what the user gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import optree

from ..ir.signature import Signature, Tree

Finish = Callable[[Sequence[np.ndarray]], Any]


def make_finish(tree: Tree, spec: optree.PyTreeSpec) -> Finish:
    """The function that arranges the leaves of a result in its structure.

    tree: the structure in the signature. spec: the same, where named tuples and the user's classes
    are still known.
    """
    if tree.kind == "leaf":
        return itemgetter(0)
    flat: Any = (0,) * tree.leaves
    if spec == optree.tree_structure(flat):
        return tuple
    return spec.unflatten


def parameter_names(signature: Signature) -> tuple[str, ...]:
    """The names of the positional arguments, from the names of their leaves."""
    names: list[str] = []
    leaf = 0
    for position, child in enumerate(signature.inputs.children):
        found = signature.names[leaf] if child.leaves and leaf < len(signature.names) else ""
        names.append(re.split(r"[.\[]", found)[0] or f"argument {position}")
        leaf += child.leaves
    return tuple(names)

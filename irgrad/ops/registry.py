"""All ops by name, gathered from the files of the families."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..ir.graph import Graph
from ..ir.location import Location
from . import (
    arithmetic,
    bits,
    contract,
    creation,
    elementary,
    fused,
    logic,
    movement,
    random,
    reduce,
    structured,
)
from .build import Builder
from .record import OpDef

REGISTRY: Mapping[str, OpDef] = MappingProxyType(
    {
        op.name: op
        for family in (
            arithmetic, elementary, logic, bits, random, creation, movement, reduce, contract,
            structured, fused,
        )
        for op in family.OPS
    }
)


def builder(graph: Graph, locations: tuple[Location, ...] = ()) -> Builder:
    """A builder over all ops."""
    return Builder(graph, REGISTRY, locations)

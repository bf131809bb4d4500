"""What the fields of nodes and graphs may hold, whoever sets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ArgumentError, brief
from .lexer import MAX_NAME
from .location import Location
from .signature import Signature
from .types import TensorType

Attributes = tuple[tuple[str, Any], ...]


class Value(NamedTuple):
    """One result of one node."""

    node: int
    result: int = 0


def is_value(x: object) -> bool:
    """Whether something is a Value made of integers."""
    return type(x) is Value and type(x.node) is int and type(x.result) is int


def require_node(
    op: str,
    operands: tuple[Value, ...],
    types: tuple[TensorType | None, ...],
    attributes: Attributes,
    name: str,
    locations: tuple[Location, ...],
) -> None:
    """Raise ArgumentError unless each field of a node is of its kind.

    Every node passes here, so the loops are plain ones.
    """
    if not isinstance(op, str) or len(op) > MAX_NAME:
        raise ArgumentError(f"node: expected the name of an op, got {brief(op)}")
    fields = (
        ("operands", operands), ("types", types), ("attributes", attributes),
        ("locations", locations),
    )  # fmt: skip
    for what, field in fields:
        if type(field) is not tuple:
            raise _unlike(op, f"{what} in a tuple", field)
    for value in operands:
        if type(value) is not Value or type(value[0]) is not int or type(value[1]) is not int:
            raise _unlike(op, "operands as values", value)
    for type_ in types:
        if type_ is not None and type(type_) is not TensorType:
            raise _unlike(op, "types, or None for those that are not known", type_)
    for pair in attributes:
        if type(pair) is not tuple or len(pair) != 2 or not isinstance(pair[0], str):
            raise _unlike(op, "attributes as pairs of a name and a value", pair)
    if not isinstance(name, str):
        raise _unlike(op, "a name", name)
    for location in locations:
        if type(location) is not Location:
            raise _unlike(op, "locations", location)


def as_tuple(op: str, what: str, values: Any) -> tuple[Any, ...]:
    """What a caller gave as the values of a field, in a tuple; ArgumentError for no iterable."""
    if isinstance(values, tuple):
        return values
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise _unlike(op, f"{what} in a tuple", values)
    try:
        return tuple(values)
    except TypeError:  # arrays of rank 0 only look iterable
        raise _unlike(op, f"{what} in a tuple", values) from None


def graph_problem(fields: Mapping[str, Any]) -> str | None:
    """Which field of a graph is of another kind than it has to be; None where none is.

    fields: name, signature, captures, inputs, effects, outputs, widenings and edits.
    """
    kinds = (("name", str), ("signature", Signature), ("captures", dict))
    for field, kind in kinds:
        if not isinstance(fields[field], kind):
            return f"expected {field} as a {kind.__name__}, got {brief(fields[field])}"
    for field in ("inputs", "effects", "outputs", "widenings", "edits"):
        if not isinstance(fields[field], list):
            return f"expected {field} in a list, got {brief(fields[field])}"
    for field in ("inputs", "effects"):
        for key in fields[field]:
            if type(key) is not int:
                return f"expected {field} that are keys of nodes, got {brief(key)}"
    for value in fields["outputs"]:
        if not is_value(value):
            return f"expected outputs that are values, got {brief(value)}"
    return None


def _unlike(op: str, expected: str, got: object) -> ArgumentError:
    return ArgumentError(f"{brief(op)}: expected {expected}, got {brief(got)}")

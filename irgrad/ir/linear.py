"""Checking that the outputs of a graph are linear in some of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import VerifyError
from .excerpt import fault
from .graph import Graph, Node, Value

if TYPE_CHECKING:
    from .verify import Ops

Terms = tuple[tuple[int, ...], ...]

# The result of a linear op is a sum of terms, each a product of the operands at these positions; an
# operand in no term may not be linear. For ops not listed, each float operand is a term of its own.
TERMS: Mapping[str, Terms] = MappingProxyType(
    {
        "mul": ((0, 1),),
        "dot_general": ((0, 1),),
        "fma": ((0, 1), (2,)),
        "div": ((0,),),
        "scale_or_zero": ((0,),),
        "select": ((1,), (2,)),
    }
)


class Role(Enum):
    """How a value depends on the linear inputs: not at all, linearly, or it is zero."""

    FREE = "free"
    LINEAR = "linear"
    ZERO = "zero"


def verify_linear(graph: Graph, linear_inputs: Iterable[int], ops: Ops) -> None:
    """Raise VerifyError unless all outputs are jointly linear in the inputs at the positions.

    Each op that reads a linear value must have a transpose and be linear in what it reads: one
    linear factor in each product, no sum of a linear with another value than zero, no linear
    condition or divisor. The graph must be typed.
    """
    positions = set(linear_inputs)
    roles: dict[Value, Role] = {}
    for position, key in enumerate(graph.inputs):
        roles[Value(key)] = Role.LINEAR if position in positions else Role.FREE
    inputs = set(graph.inputs)
    for key in graph.order():
        if key in inputs:
            continue
        node = graph[key]
        role, problem = _role(graph, node, [roles[value] for value in node.operands], ops)
        if problem is not None:
            raise VerifyError(fault(graph, key, f"{node.op}: {problem}"))
        if node.op == "linear_call":
            _verify_call(node, ops)
        for result in range(len(node.types)):
            roles[Value(key, result)] = role
    for position, value in enumerate(graph.outputs):
        if roles[value] is Role.FREE:
            message = (
                f"return: expected output {position} to be linear in the linear inputs or zero, "
                "got a value that does not depend on them"
            )
            raise VerifyError(fault(graph, value.node, message))


def _role(graph: Graph, node: Node, roles: list[Role], ops: Ops) -> tuple[Role, str | None]:
    """The role of a node's results, and what keeps them from being linear if that is needed."""
    if node.op == "constant":
        return (Role.FREE if node.attribute("value") else Role.ZERO), None
    linear = [i for i, role in enumerate(roles) if role is Role.LINEAR]
    has_transpose = node.op in ops and callable(ops[node.op].transpose)
    if not has_transpose:
        if linear:
            return Role.FREE, f"expected a linear op as operand {linear[0]} is linear, got another"
        return Role.FREE, None
    terms = _terms(graph, node)
    kinds = [_product([roles[i] for i in term if i < len(roles)]) for term in terms]
    if not linear:
        zero = bool(kinds) and all(kind == 0 for kind in kinds)
        return (Role.ZERO if zero else Role.FREE), None
    outside = [i for i in linear if not any(i in term for term in terms)]
    if outside:
        return Role.FREE, f"expected operand {outside[0]} not to be linear, got a linear one"
    for term, kind in zip(terms, kinds):
        if kind is not None and kind > 1:
            return Role.FREE, f"expected one linear operand of {term}, got {kind}"
        if kind is None:
            return Role.FREE, (
                f"expected operand {term[0]} to be linear or zero as operand {linear[0]} is "
                "linear, got another"
            )
    for type_ in node.types:
        if type_ is not None and type_.dtype.kind not in "fc":
            return Role.FREE, f"expected linear results of float type, got {type_}"
    return Role.LINEAR, None


def _product(roles: list[Role]) -> int | None:
    """The number of linear factors; 0 for a product with a zero, None for one without either."""
    if Role.ZERO in roles:
        return 0
    return roles.count(Role.LINEAR) or None


def _terms(graph: Graph, node: Node) -> Terms:
    if node.op in TERMS:
        return TERMS[node.op]
    first = node.attribute("residuals") if node.op == "linear_call" else 0
    return tuple(
        (i,)
        for i, value in enumerate(node.operands)
        if i >= first and graph.type(value).dtype.kind in "fc"
    )


def _verify_call(node: Node, ops: Ops) -> None:
    """The regions of a linear_call are linear in all inputs but the residuals."""
    count = node.attribute("residuals")
    for _, region in node.regions():
        verify_linear(region, range(count, len(region.inputs)), ops)

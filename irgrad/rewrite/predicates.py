"""The named preconditions of rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..ir.dims import Size, lower_bound
from ..ir.graph import Graph, Node, Value
from ..ops.build import Expr
from .numbers import is_normal, rounded_inverse, rounded_product
from .rule import Match, Predicate

# -- dtypes and uses -------------------------------------------------------------------------------


def floating(name: str = "root") -> Predicate:
    """The value is of float dtype."""
    return lambda m: m[name].dtype.is_float


def integer(name: str = "root") -> Predicate:
    """The value is of integer dtype."""
    return lambda m: m[name].dtype.is_integer


def signed(name: str = "root") -> Predicate:
    """The value is of signed integer or float dtype, which `neg` accepts."""
    return lambda m: m[name].dtype.kind in "if"


def boolean(name: str) -> Predicate:
    """The value is of dtype bool."""
    return lambda m: m[name].dtype.kind == "b"


def single_use(name: str) -> Predicate:
    """The value is read once, so that the node behind it goes when the match is replaced."""
    return lambda m: m.uses.count(m[name].value) == 1


def same_operator(first: str, second: str) -> Predicate:
    """Both values are computed by the same op with the same attributes."""
    return lambda m: (m[first].node.op, m[first].node.attributes) == (
        m[second].node.op, m[second].node.attributes)  # fmt: skip


# -- numbers ---------------------------------------------------------------------------------------


def power_of_two(name: str) -> Predicate:
    """The constant is a float 2**k or -2**k of which the reciprocal is representable too."""

    def holds(m: Match) -> bool:
        value, dtype = m.number(name), m[name].dtype
        if not dtype.is_float or not math.isfinite(value) or abs(math.frexp(value)[0]) != 0.5:
            return False
        inverse = rounded_inverse(dtype, value)
        return math.isfinite(inverse) and inverse * value == 1.0

    return holds


def normal_inverse(name: str) -> Predicate:
    """The constant is a float whose reciprocal neither overflows nor underflows."""

    def holds(m: Match) -> bool:
        value, dtype = m.number(name), m[name].dtype
        return value != 0 and is_normal(rounded_inverse(dtype, value), dtype)

    return holds


def normal_product(first: str, second: str) -> Predicate:
    """The product of two constants neither overflows nor underflows."""

    def holds(m: Match) -> bool:
        dtype = m[first].dtype
        if not dtype.is_float:
            return True
        product = rounded_product(dtype, m.number(first), m.number(second))
        return is_normal(product, dtype)

    return holds


# -- finiteness ------------------------------------------------------------------------------------

FINITE, NUMBER, UNKNOWN = "finite", "number", "unknown"  # a number may be infinite but is not NaN
_KEEPS_FINITE = frozenset(
    (
        "neg", "add", "sub", "mul", "abs", "sign", "floor", "ceil", "round", "trunc", "fma",
        "square", "relu", "maximum", "minimum", "sin", "cos", "tanh", "sigmoid", "erf", "erfc",
        "atan",
        "softplus", "select", "reshape", "transpose", "broadcast", "slice", "pad", "concatenate",
        "flip", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "dot_general", "cast",
        "stop_gradient",
    )
)  # fmt: skip
_BOUNDED = frozenset(("tanh", "sigmoid", "erf", "erfc", "atan", "sign"))  # of any number
_KEEPS_NUMBER = frozenset(
    ("neg", "abs", "relu", "maximum", "minimum", "select", "reshape", "transpose", "broadcast",
     "slice", "pad", "concatenate", "flip", "softplus", "stop_gradient")
)  # fmt: skip
_GROWS = frozenset(("exp", "exp2", "expm1", "sinh", "cosh"))  # infinite where they overflow


def finite(name: str) -> Predicate:
    """The value is finite and not NaN wherever the graph's inputs are finite.

    Sums and products are taken not to overflow (the assumption of class stable); `exp` may. Logs,
    roots, quotients and powers are never proved, so a NaN of a branch that is not taken is safe.
    """
    return lambda m: finiteness(m.graph, m[name].value, m.known) == FINITE


def computed(name: str) -> Predicate:
    """The value is not an input, moved or repeated.

    Where a derivative leaves the unit of its function, what it scales by is an input, and infinite
    at a border of the function's domain.
    """

    def holds(m: Match) -> bool:
        node = m[name].node
        while node.op in _MOVES:
            node = m.graph[node.operands[0].node]
        return node.op != "input"

    return holds


def not_infinite(name: str) -> Predicate:
    """The value is no constant that is infinite or NaN."""
    return lambda m: m[name].node.op != "constant" or math.isfinite(
        m[name].node.attribute("value")
    )


def finiteness(graph: Graph, value: Value, known: dict[Value, str]) -> str:
    """FINITE, NUMBER or UNKNOWN; `known` keeps the answers, so that all queries are linear."""
    stack = [value]
    while stack:
        top = stack[-1]
        node = graph[top.node]
        missing = [v for v in node.operands if v not in known] if top not in known else []
        if missing:
            stack.extend(missing)
            continue
        if top not in known:
            known[top] = _classify(graph, top, node, [known[v] for v in node.operands])
        stack.pop()
    return known[value]


def _classify(graph: Graph, value: Value, node: Node, operands: Sequence[str]) -> str:
    if not graph.type(value).dtype.is_float or node.op in ("input", "iota", "dim_size"):
        return FINITE
    if node.op == "constant":
        number = node.attribute("value")
        return UNKNOWN if math.isnan(number) else FINITE if math.isfinite(number) else NUMBER
    if node.op == "div":
        divisor = graph[node.operands[1].node]
        safe = divisor.op == "constant" and divisor.attribute("value") != 0
        return FINITE if safe and operands == [FINITE, FINITE] else UNKNOWN
    if all(status == FINITE for status in operands) and node.op in _KEEPS_FINITE:
        return FINITE
    if UNKNOWN in operands:
        return UNKNOWN
    if node.op in _BOUNDED:
        return FINITE
    return NUMBER if node.op in _KEEPS_NUMBER or node.op in _GROWS else UNKNOWN


# -- ranges of integers ----------------------------------------------------------------------------

Range = tuple[int, int]  # smallest and largest value
_MOVES = ("broadcast", "reshape", "transpose", "slice", "flip")


def integer_range(x: Expr, depth: int = 4) -> Range | None:
    """Bounds of an integer value from constants, iotas and their sums; None where not known.

    Nodes further than `depth` steps away are not looked at. No bound is given where the sum could
    wrap round.
    """
    node = x.node
    if not x.dtype.is_integer or depth == 0:
        return None
    if node.op == "constant":
        return node.attribute("value"), node.attribute("value")
    if node.op == "iota":
        size = node.attribute("shape")[node.attribute("axis")]
        limit = int(np.iinfo(x.dtype.numpy).max)
        return (0, size - 1) if isinstance(size, int) and 0 < size <= limit else None
    inner = [integer_range(x.builder.wrap(value), depth - 1) for value in node.operands]
    if node.op in _MOVES:
        return inner[0]
    if node.op not in ("add", "sub") or inner[0] is None or inner[1] is None:
        return None
    (a, b), (c, d) = inner[0], inner[1]
    low, high = (a + c, b + d) if node.op == "add" else (a - d, b - c)
    info = np.iinfo(x.dtype.numpy)
    return (low, high) if info.min <= low and high <= info.max else None


# -- shapes ----------------------------------------------------------------------------------------


def all_one(sizes: Sequence[Size]) -> bool:
    """True where every size is 1."""
    return all(size == 1 for size in sizes)


def at_least_one(sizes: Sequence[Size]) -> bool:
    """True where every size is proved to be 1 or more."""
    return all((lower_bound(size) or 0) >= 1 for size in sizes)

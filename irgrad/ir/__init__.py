"""The graph IR: types, sizes, nodes, locations, and the text form."""

from .compare import diff, equal
from .dims import Dim, symbol
from .graph import Graph, Node, Value
from .parser import parse
from .printer import print_graph
from .spec import parse_type
from .types import TensorType

__all__ = [
    "Dim", "Graph", "Node", "TensorType", "Value", "diff", "equal", "parse", "parse_type",
    "print_graph", "symbol",
]

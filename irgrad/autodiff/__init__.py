"""Derivatives of graphs: linearize, transpose, gradients; each takes a graph and gives a graph."""

from .common import bind_zeros
from .gradient import SplitGraph, gradient_graph, split_graph, vjp_graph
from .linearize import Linearization, jvp_graph, linearize_in_place
from .transpose import transpose_graph, transpose_linear

__all__ = [
    "Linearization",
    "SplitGraph",
    "bind_zeros",
    "gradient_graph",
    "jvp_graph",
    "linearize_in_place",
    "split_graph",
    "transpose_graph",
    "transpose_linear",
    "vjp_graph",
]

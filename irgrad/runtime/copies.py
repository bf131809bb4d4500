"""Copies and pickles of functions that hold compiled code: the function itself, its name, or its
text."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import optree

from ..errors import ArgumentError
from ..ir.graph import Graph
from ..ir.location import Location
from ..ir.parser import parse
from ..ir.printer import print_graph
from ..ir.types import DTYPES
from ..tracing.locations import add_location, user_locations
from ..tracing.promotion import Widening
from .options import Options

if TYPE_CHECKING:
    from .compiled import Compiled

Trees = tuple[optree.PyTreeSpec, optree.PyTreeSpec]


class FunctionObject:
    """What an object that stands for a function of the user has of a function: it binds to
    instances as a method, is its own copy, and is pickled by its name."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind to an instance, as functions do."""
        return self if instance is None else types.MethodType(self, instance)  # type: ignore[arg-type]

    def __copy__(self) -> Self:
        """The function itself, as for any function of Python."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> str:
        """Its name, as for any function of Python; ArgumentError where a module lacks it."""
        return reduce_to_name(self)
Widened = tuple[Location | None, str, str]  # a widening, its dtypes by name


def reduce_to_name(function: Any) -> str:
    """The name under which a pickle finds a decorated function again, as for functions of Python.

    Raises ArgumentError where its module has another object, or none, under its name.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    found = reduce(lambda holder, part: getattr(holder, part, None), str(name).split("."), module)
    if found is not function:
        error = ArgumentError(
            f"{name}: expected a function that its module has under its name to pickle, got "
            "another one; pickle the plain function instead"
        )
        add_location(error, user_locations())
        raise error
    return str(name)


def reduce_to_text(
    graph: Graph, target: str, options: Options, trees: Trees | None, frozen: tuple[str, ...]
) -> tuple[Any, ...]:
    """The pickle of a compiled graph: its text with source lines, its captured arrays, and what
    was widened at its trace."""
    text = print_graph(graph, locations=True)
    captures = [np.asarray(graph.captures[key]) for key in graph.inputs if key in graph.captures]
    settings = replace(options, progress=None)
    widened = [(x.location, x.source.name, x.target.name) for x in graph.widenings]
    return compile_text, (text, captures, target, settings, trees, frozen, widened)


def compile_text(
    text: str,
    captures: Sequence[np.ndarray],
    target: str,
    options: Options,
    trees: Trees | None,
    frozen: tuple[str, ...],
    widened: Sequence[Widened] = (),
) -> Compiled:
    """Compile the text of a graph whose last inputs are captured arrays; what a pickle calls."""
    graph = parse(text)
    count = len(graph.inputs) - len(captures)
    graph.captures = dict(zip(graph.inputs[count:], captures, strict=True))
    graph.widenings = [Widening(at, DTYPES[a], DTYPES[b]) for at, a, b in widened]
    # By name: the compiler lies above this layer, and only reading a pickle needs it here.
    compile_cached = import_module("irgrad.cached").compile_cached
    found: Compiled = compile_cached(
        graph, target=target, options=options, trees=trees, frozen=frozen
    )
    return found

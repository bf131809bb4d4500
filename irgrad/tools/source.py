"""What the command line works on: a function in a Python file, or a graph in IR text."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError, IrgradError, LimitError, TraceError
from ..interpret import bind_dims, input_names
from ..ir.dims import Dim
from ..ir.graph import Graph, Value
from ..ir.lexer import MAX_TEXT
from ..ir.location import Location, describe
from ..ir.parser import parse
from ..ir.signature import flat_signature
from ..ir.spec import parse_type
from ..ir.types import TensorType
from ..ops.check import verify
from ..passes.infer import Infer, specialise
from ..runtime.boundary import Boundary, Parameter
from ..runtime.compiled import Compiled
from ..tracing.trace import trace
from ..tracing.trees import flatten_object, unflatten_object
from ..transforms import Jitted
from .files import check_input, read_text
from .report import UsageError

MODULE = "__irgrad_source__"  # the name under which a file is imported
MAX_BYTES = 2**47  # of one value: what a process can address
TEXT = ".irg"


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded SOURCE.

    label: how messages call it. what: the graph, or the function or jitted function.
    """

    label: str
    what: Any

    @property
    def graph(self) -> Graph | None:
        """The graph, where it does not have to be traced."""
        if isinstance(self.what, Graph):
            return self.what
        return self.what.graph if isinstance(self.what, Compiled) else None


def load_source(text: str) -> Source:
    """Load what `file.py:function` or `graph.irg` names; a Python file is run as an import would.

    Raises UsageError for text of another form, FileError for a file that is missing or does
    not hold what it should, ParseError or LimitError for what the IR text holds.
    """
    if text.endswith(TEXT):
        return Source(text, _read_graph(text))
    file, colon, name = text.rpartition(":")
    if not colon or not file or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"SOURCE: expected file.py:function or a file of IR text that ends in {TEXT}, got "
            f"{text!r}"
        )
    return Source(text, _find(file, name))


def _read_graph(path: str) -> Graph:
    return parse(read_text(path, "a file of IR text", MAX_TEXT), path)


def _find(file: str, name: str) -> Any:
    found: Any = _import(file)
    for part in name.split("."):
        if not hasattr(found, part):
            known = [k for k, v in vars(found).items() if callable(v) and not k.startswith("_")]
            near = difflib.get_close_matches(part, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ArgumentError(
                f"{file}: expected a function that the file defines, got {name!r}{hint}"
            )
        found = getattr(found, part)
    if not callable(found) and not isinstance(found, Graph):
        raise ArgumentError(
            f"{file}: expected {name} to be a function, got {type(found).__name__}"
        )
    return found


def _import(file: str) -> Any:
    """The module of a file, imported with its folder on the path, as `python file.py` would."""
    check_input(file, "a Python file")
    spec = importlib.util.spec_from_file_location(MODULE, file)
    if spec is None or spec.loader is None:
        raise FileError(f"{file}: expected a Python file that ends in .py, got another name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    folder = os.path.dirname(os.path.abspath(file))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with _user_code(f"{file}: expected a Python file that can be imported", FileError, file):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _user_code(message: str, kind: type[IrgradError], file: str) -> Iterator[None]:
    """Run the user's code: what it prints goes to stderr, what it raises becomes a `kind`."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except IrgradError:
        raise
    except (Exception, SystemExit) as error:  # a user's program may raise anything
        said = (error.msg if isinstance(error, SyntaxError) else str(error)).splitlines()
        got = type(error).__name__ + (f": {said[0]}" if said else "")
        raise kind(f"{message}, got {got}\n{describe(_where(error, file))}") from None


def _where(error: BaseException, file: str) -> Location:
    """The line of the user's file that an exception comes from."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return Location(error.filename, error.lineno or 1)
    path = os.path.abspath(file)
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if os.path.abspath(frame.filename) == path
    ]
    return Location(path, frames[-1].lineno or 1 if frames else 1)


# -- graphs ----------------------------------------------------------------------------------------


def read_graph(source: Source, specs: Sequence[str]) -> Graph:
    """The typed and verified graph of a source.

    specs: type texts for the flattened arguments in order; none where the source carries its own.
    Raises ArgumentError where they do not fit, and what tracing or verifying raises.
    """
    types = [_parse_spec(spec) for spec in specs]
    if source.graph is not None:
        return _typed(source.graph.copy(), types)
    own = source.what.specs if isinstance(source.what, Jitted) else None
    if own is not None:
        leaves, tree = flatten_object(tuple(own))
        if types and len(types) != len(leaves):
            raise ArgumentError(
                f"--spec: expected one for each of the {len(leaves)} arrays among the arguments of "
                f"{source.label}, got {len(types)}"
            )
        return _traced(source, unflatten_object(tree, types or leaves))
    if not types and _required(source.what):
        raise ArgumentError(
            f"{source.label}: expected a --spec such as 'f32[n,784]' for each of its arguments "
            f"({', '.join(_required(source.what))}), got none"
        )
    return _traced(source, types)


def _traced(source: Source, arguments: Sequence[Any]) -> Graph:
    """The graph of a function for such arguments; what its code raises becomes a TraceError."""
    file = source.label.rpartition(":")[0]
    message = f"{source.label}: expected a function that can be traced"
    with _user_code(message, TraceError, file):
        if isinstance(source.what, Jitted):
            return source.what.trace(*arguments)
        return trace(source.what, *arguments)


def read_graph_for(source: Source, specs: Sequence[str], arrays: Mapping[str, np.ndarray]) -> Graph:
    """As `read_graph`, where arrays give the types that neither specs nor the source give.

    arrays: by the names of the arguments, or arr_0, arr_1, ... in their order. The sizes of the
    graph are those of the arrays. Raises ArgumentError where the arrays do not fit.
    """
    carries = isinstance(source.what, Jitted) and source.what.specs is not None
    if source.graph is None and not specs and not carries:
        required = _required(source.what)
        names = [p for p in _parameters(source.what) if p in required or p in arrays]
        graph = _traced(source, _by_name(names, arrays))
    else:
        graph = read_graph(source, specs)
    return _sized(_with_captures(graph), arrays)


def admit_arrays(graph: Graph, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The arrays in the order of the arguments, as a compiled function takes them.

    Raises ArgumentError for missing, surplus or unfit ones.
    """
    names = argument_names(graph)
    types = [graph.type(Value(key)) for key in graph.inputs[: len(names)]]
    boundary = Boundary([Parameter(name, type_) for name, type_ in zip(names, types)])
    return boundary.admit(_by_name(names, arrays))


def argument_names(graph: Graph) -> list[str]:
    """The names of the arguments, captures excluded."""
    count = len(graph.inputs) - len(graph.captures)
    return input_names(graph)[:count]


def check_sizes(graph: Graph) -> None:
    """Raise LimitError where a value of a graph could never be stored."""
    for key in graph.order():
        for type_ in graph[key].types:
            sizes = [s for s in type_.shape if isinstance(s, int)] if type_ else []
            if type_ and 0 not in sizes and math.prod(sizes) * type_.dtype.itemsize > MAX_BYTES:
                raise LimitError(
                    f"{graph[key].op}: expected values of at most {MAX_BYTES} bytes, got {type_}"
                    + (f"\n{describe(graph[key].locations[0])}" if graph[key].locations else "")
                )


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by position; none where they are not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p for p in parameters if p.kind in plain}


def _required(function: Any) -> list[str]:
    """The names of the parameters without a default."""
    return [name for name, p in _parameters(function).items() if p.default is p.empty]


def _parse_spec(spec: str) -> TensorType:
    try:
        return parse_type(spec)
    except IrgradError as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"--spec {spec!r}: {line}") from None


def _typed(graph: Graph, types: Sequence[TensorType]) -> Graph:
    """A graph of IR text with types for all nodes; `types` are those of its arguments, or none."""
    names = argument_names(graph)
    if types and len(types) != len(names):
        raise ArgumentError(
            f"--spec: expected one for each of the {len(names)} arguments of {graph.name}, got "
            f"{len(types)}"
        )
    dims: dict[str, int] = {}
    if types:
        keys = graph.inputs[: len(names)]
        known = [(graph[key].types[0], new, name) for key, new, name in zip(keys, types, names)]
        for key, (old, new, name) in zip(keys, known):
            if old is None:
                graph.update(key, types=(new,))
            elif old != new and (
                old.dtype != new.dtype or any(isinstance(size, Dim) for size in new.shape)
            ):
                raise ArgumentError(f"--spec: expected {old} with numbers for {name}, got {new}")
        typed = [(old, new, name) for old, new, name in known if old is not None and old != new]
        if typed:
            olds, news, labels = zip(*typed)
            dims = bind_dims(olds, [new.shape for new in news], labels)
    Infer().apply(graph)
    if dims:
        specialise(graph, dims)
    verify(graph, "traced")
    return graph


def _with_captures(graph: Graph) -> Graph:
    """The graph with captures that have no array, as in IR text, made arguments."""
    if all(array is not None for array in graph.captures.values()):
        return graph
    names = tuple(input_names(graph))
    graph = graph.copy()
    graph.captures = {}
    flat = flat_signature(len(graph.inputs), len(graph.outputs))
    graph.signature = type(flat)(flat.inputs, graph.signature.outputs, names)
    return graph


def _sized(graph: Graph, arrays: Mapping[str, np.ndarray]) -> Graph:
    """The graph for the sizes of arrays."""
    types = [graph.type(Value(key)) for key in graph.inputs[: len(argument_names(graph))]]
    given = _by_name(argument_names(graph), arrays)
    dims = bind_dims(types, [array.shape for array in given], argument_names(graph))
    if dims:
        graph = graph.copy()
        specialise(graph, dims)
    return graph


def _by_name(names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    numbered = [f"arr_{i}" for i in range(len(names))]
    if names and sorted(arrays) == sorted(numbered):
        return [arrays[name] for name in numbered]
    missing = [name for name in names if name not in arrays]
    surplus = [name for name in arrays if name not in names]
    if missing or surplus:
        problems = [f"no array {', '.join(missing)}"] if missing else []
        problems += [f"also {', '.join(surplus)}"] if surplus else []
        raise ArgumentError(
            f"inputs: expected arrays named {', '.join(names) or '(none)'}, got "
            + " and ".join(problems)
        )
    return [arrays[name] for name in names]

"""Finding the part of the compiler that makes a case wrong, and a small case that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, CheckError, IrgradError, brief
from ..interpret import graph_dims, interpret
from ..ir.graph import Graph, Value
from ..ir.location import Location, describe
from ..ir.parser import parse
from ..ir.printer import print_graph
from ..ir.shown import short
from ..ir.signature import flat_signature
from ..jitted import Jitted
from ..runtime.compiled import Compiled
from ..runtime.options import Options
from ..tracing.trace import require_function, trace
from ..tracing.trees import flatten_object

if TYPE_CHECKING:
    from ..passes.base import Pass
    from .fault_search import Finding, Search

SMALL = 15  # nodes that a shrunk graph has at most, as a rule
BUDGET = 1000  # candidates that are tried at most to make a graph small
MAX_LINES = 4  # of the user's program that are listed
UNKNOWN = "<text>"  # where a node is from that has no line
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Bisection:
    """What `bisect` found.

    stage: what is wrong: a "pass", the "lowering" of a kernel, its "code", the "plan" of all
    kernels together, or a "derivative"; "" where nothing is. name: of the pass, kernel, graph or
    op. rule: the rewrite rule, "jvp" or "transpose"; "" where it is none. number, count: of the
    wrong edit among those of the pass. op: what was replaced, or the ops of the kernel. lines: of
    the user's program. message: what `check="all"` says. checked: what was looked at, in words.
    graph: the small case, None where nothing is wrong. arguments: its inputs. random: whether the
    random inputs that a check draws show it too, so that `arguments` need not be kept.
    """

    stage: str
    checked: str
    name: str = ""
    rule: str = ""
    number: int = 0
    count: int = 0
    op: str = ""
    lines: tuple[Location, ...] = ()
    message: str = ""
    graph: Graph | None = None
    arguments: Arrays = ()
    random: bool = True

    @property
    def found(self) -> bool:
        """Whether anything is wrong."""
        return self.stage != ""

    @property
    def ir(self) -> str:
        """The small case as IR text that names the fault and the user's lines; "" without one."""
        if self.graph is None:
            return ""
        says = [f"# irgrad bisect: {line}" for line in self.blame().splitlines()]
        return "\n".join([*says, print_graph(self.graph, locations=True)])

    def blame(self) -> str:
        """What is to blame, in a line: the stage, the rule, the edit, the op."""
        rule = f", rule {self.rule}" if self.rule else ""
        edit = f", edit {self.number} of {self.count}" if self.count else ""
        if self.stage == "pass":
            return f"pass {self.name}{rule}{edit}" + (f", of {self.op}" if self.op else "")
        if self.stage == "derivative":
            return f"{self.rule} of {self.name}"
        if self.stage == "plan":
            return "the plan of the calls and their memory"
        return f"{self.stage} of kernel {self.name}: {self.op}"

    def __repr__(self) -> str:
        return f"Bisection({short(self.blame() if self.found else 'no difference')})"

    def __str__(self) -> str:
        """What was found, in a few lines; the small case is in `ir`."""
        if not self.found:
            return f"no difference found; {self.checked}\n"
        text = [f"wrong: {self.blame()}"]
        text += [f"  {line}" for line in self.message.splitlines()]
        said = set(self.message.splitlines())
        for line in self.lines[1:MAX_LINES]:
            text += [f"  {part}" for part in describe(line).splitlines() if part not in said]
        return "\n".join(text) + "\n"


def bisect(
    what: Graph | Compiled | Callable[..., Any],
    *arguments: Any,
    check: str = "all",
    options: Options | None = None,
    passes: Sequence[Pass] | None = None,
    budget: int = BUDGET,
) -> Bisection:
    """Find what makes the compiled form of a function or graph wrong, and shrink the case.

    what: a function, jitted or not, with types, arrays or trees of them as arguments; or a graph or
    compiled function, with arrays for its inputs or nothing. Arrays are used as they are; for types
    random ones are drawn, small numbers for named sizes. check: "passes", "kernels", "gradients",
    the derivative rules of the ops, or "all". options: of the compile. passes: in the place of
    irgrad's own. budget: how many candidates are tried to make the case small; 0 leaves it as it
    is.

    The first difference is followed, in that order; the small case has a difference of the same
    cause. Raises ArgumentError for what cannot be looked at, CheckError where a check in the
    program refuses the arrays, and what tracing raises.
    """
    from ..passes.pipeline import pipeline
    from .fault_search import CHECKS, Search  # loads the compiler

    if not isinstance(check, str) or check not in ("all", *CHECKS):
        known = ", ".join(("all", *CHECKS))
        raise ArgumentError(f"bisect: expected check as one of {known}, got {brief(check)}")
    if type(budget) is not int or budget < 0:
        raise ArgumentError(f"bisect: expected budget as an integer >= 0, got {brief(budget)}")
    options = options or Options()
    search = Search(
        CHECKS if check == "all" else (check,),
        replace(options, check="none", progress=None),
        tuple(pipeline(options.numerics) if passes is None else passes),
    )
    return bisect_graph(*_case(what, arguments), search, budget)


def _case(
    what: Graph | Compiled | Callable[..., Any], arguments: Sequence[Any]
) -> tuple[Graph, Arrays | None]:
    """The graph, and the arrays of its arguments where all are given."""
    leaves = flatten_object(tuple(arguments))[0]
    arrays = tuple(x for x in leaves if isinstance(x, (np.ndarray, np.generic, bool, int, float)))
    if isinstance(what, (Graph, Compiled)):
        graph = what if isinstance(what, Graph) else what.graph
        if len(arrays) != len(leaves):
            raise ArgumentError("bisect: expected arrays for the inputs of a graph, got types")
    elif isinstance(what, Jitted):
        graph = what.trace(*arguments)
    else:
        require_function("bisect", what)
        graph = trace(what, *arguments)
    if not arrays or len(arrays) != len(leaves):
        return graph, None
    types = [graph.type(Value(key)) for key in graph.inputs]
    return graph, tuple(np.asarray(x, t.dtype.numpy) for x, t in zip(arrays, types))


def bisect_graph(
    graph: Graph, arrays: Sequence[np.ndarray] | None, search: Search, budget: int
) -> Bisection:
    """As `bisect`, of a typed graph and the arrays of its arguments, None for random ones."""
    from .fault_search import find_fault, has_named_sizes

    inputs = _inputs(graph, arrays)
    plain = _plain(graph)
    numbers = _with_sizes(plain, inputs[0])
    cases = [(numbers, search)]
    checks = tuple(check for check in search.checks if check != "gradients")
    if has_named_sizes(plain) and checks:
        cases.append((plain, replace(search, checks=checks)))
    for at, wanted in cases:
        found = find_fault(at, inputs, wanted)
        if found is not None:
            return _shrunk(at, inputs, found, wanted, budget)
    source = "the given inputs" if arrays is not None else f"{len(inputs)} random inputs"
    named = has_named_sizes(plain)
    sizes = f" of sizes {', '.join(str(list(x.shape)) for x in inputs[0])}" if named else ""
    return Bisection("", f"checked {', '.join(search.checks)} of {graph.name} on {source}{sizes}")


def _inputs(graph: Graph, arrays: Sequence[np.ndarray] | None) -> list[Arrays]:
    """Arrays for all inputs: the given ones, or the random ones that the graph's checks accept."""
    from ..self_check import samples

    captures = [np.asarray(array) for array in graph.captures.values()]
    if arrays is not None:
        given = (*(np.asarray(x) for x in arrays), *captures)
        interpret(graph, given)
        return [given]
    found = [tuple(given) for given, _ in samples(graph)]
    if not found:
        raise CheckError(
            f"{graph.name}: expected random inputs that its checks accept, got none; give inputs"
        )
    return found


def _plain(graph: Graph) -> Graph:
    """The graph in the form that its text has: captures are arguments, and these are flat."""
    plain = graph.copy()
    plain.captures = {}
    signature = flat_signature(len(plain.inputs), len(plain.outputs))
    plain.signature = replace(signature, donated=graph.signature.donated)
    return _as_read(plain)


def _as_read(graph: Graph) -> Graph:
    """What comes back from the text of a graph, so that what is found in it is found again.

    Nodes without a line in the user's program have none in that text either.
    """
    read = parse(print_graph(graph, locations=True), UNKNOWN)
    for key in read:
        lines = read[key].locations
        read.update(key, locations=tuple(line for line in lines if line.file != UNKNOWN))
    return read


def _with_sizes(graph: Graph, arrays: Sequence[np.ndarray]) -> Graph:
    """The graph for the sizes of arrays."""
    from ..passes.infer import specialise

    dims = graph_dims(graph, arrays)
    if not dims:
        return graph
    numbers = graph.copy()
    specialise(numbers, dims)
    return _as_read(numbers)


# -- making it small -------------------------------------------------------------------------------


def _shrunk(
    graph: Graph, inputs: Sequence[Arrays], found: Finding, search: Search, budget: int
) -> Bisection:
    """The bisection of a finding in a graph, with a small case of the same key.

    Where the random inputs of a check show the fault, those of each candidate have to, so that the
    small case is a graph alone.
    """
    from .fault_search import find_fault
    from .shrink import shrink

    narrow = replace(search, checks=(found.check,), every_op=False)
    start, arguments = found.case or (graph, inputs[0])

    def shows(at: Graph, cases: Sequence[Sequence[np.ndarray]]) -> bool:
        try:
            seen = find_fault(_as_read(at), cases, narrow)
        except IrgradError:
            return False
        return seen is not None and seen.key == found.key

    def shows_at_random(at: Graph) -> bool:
        try:
            return shows(at, _inputs(at, None))
        except IrgradError:
            return False

    random = shows_at_random(start)
    if not random and found.case is None:
        arguments = next((x for x in inputs if shows(start, [x])), inputs[0])
    small, arguments = shrink(
        start, arguments, lambda at, x: shows_at_random(at) if random else shows(at, [x]), budget
    )
    small = _as_read(small)
    if random:
        drawn = _inputs(small, None)
        arguments = next((x for x in drawn if shows(small, [x])), drawn[0])
    return Bisection(
        found.stage, f"checked {', '.join(search.checks)} of {graph.name}", found.name, found.rule,
        found.number, found.count, found.op, found.lines, found.text, small, arguments, random,
    )  # fmt: skip

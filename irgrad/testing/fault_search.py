"""Looking for a fault of the compiler in what it makes of one graph: where the result goes wrong.

The passes are judged by the interpreter, each kernel by the interpreter too, and the derivative
rules by differences. A finding has a key, by which a smaller graph shows the same fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CheckError, InternalError, IrgradError, VerifyError
from ..interpret import interpret
from ..ir.dims import Dim
from ..ir.graph import Graph, Value
from ..ir.location import Location
from ..ir.types import F64, DType, TensorType
from ..op_rules import check_graph_rules, check_op_rules, op_cases
from ..ops import registry
from ..ops.check import verify
from ..passes.base import Pass
from ..passes.culprit import members
from ..passes.infer import Infer
from ..passes.lower import lower
from ..runtime.backend import find_backend
from ..runtime.compare import coarsest
from ..runtime.options import Options
from ..self_check import (
    FAULTS,
    Fault,
    Sample,
    kernel_fault,
    lowering_fault,
    pass_fault,
    whole_fault,
)

CHECKS = ("passes", "kernels", "gradients")
Arrays = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for: which of CHECKS, how to compile, and the passes.

    every_op: whether the derivative rules of all ops are checked where a graph holds derivatives,
    as the ops that it was derived from may no longer be in it.
    """

    checks: tuple[str, ...]
    options: Options
    passes: tuple[Pass, ...]
    every_op: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of the compiler.

    stage: "pass", "lowering", "code", "plan" or "derivative". name: of the pass, kernel, graph or
    op. rule: the rewrite rule, or "jvp" or "transpose". number, count: of the edit among those of
    the pass, 0 where none is to blame. op: what was replaced, or the ops of the kernel. lines: of
    the user's program. text: the whole message. key: equal for the same fault in another graph.
    case: a graph and arguments that show it, where those looked at do not.
    """

    stage: str
    name: str
    text: str
    key: tuple[str, ...]
    rule: str = ""
    number: int = 0
    count: int = 0
    op: str = ""
    lines: tuple[Location, ...] = ()
    case: tuple[Graph, tuple[np.ndarray, ...]] | None = None

    @property
    def check(self) -> str:
        """The check that found it."""
        kernels = ("lowering", "code", "plan")
        other = "kernels" if self.stage in kernels else "gradients"
        return "passes" if self.stage == "pass" else other


def find_fault(graph: Graph, inputs: Sequence[Arrays], search: Search) -> Finding | None:
    """The first fault in what is made of a graph, in the order of CHECKS.

    graph: typed, without captures. inputs: one or more lists of arrays for it, on which the
    interpreter runs.
    """
    known = [(list(arrays), interpret(graph, arrays)) for arrays in inputs]
    if {"passes", "kernels"} & {*search.checks}:
        work = graph.copy()
        found = _find_in_passes(work, known, search)
        if found is None and "kernels" in search.checks:
            found = _find_in_kernels(work, known[0][0], search.options)
        if found is not None:
            return found
    if "gradients" not in search.checks:
        return None
    found = _find_in_rules(graph, inputs)
    derived = any(x.role for key in graph for x in graph[key].locations)
    return _find_in_all_rules() if found is None and derived and search.every_op else found


# -- passes ----------------------------------------------------------------------------------------


def _find_in_passes(work: Graph, known: Sequence[Sample], search: Search) -> Finding | None:
    """Run the passes on a graph in place; the first one that makes it wrong, where that is asked.
    """
    coarse = coarsest(work)
    for step in search.passes:
        before = work.copy()
        first = len(work.edits)
        level = _level(before)
        try:
            step.apply(work)
            verify(work, "fused" if step.name == "fuse" else level)
        except FAULTS as error:
            if isinstance(error, IrgradError) and not isinstance(
                error, (InternalError, VerifyError)
            ):
                raise
            return _failure(step, work, first, error)
        fault = "passes" in search.checks and pass_fault(step, before, work, known, coarse)
        if fault:
            return _edit_finding(fault)
    return None


def _level(graph: Graph) -> str:
    """The level of `verify` that a graph meets, and meets after most passes too."""
    if any(graph[key].op == "fused" for key in graph.order()):
        return "fused"
    try:
        verify(graph, "optimised")
    except VerifyError:  # calls that are not inlined yet
        return "traced"
    return "optimised"


def _failure(step: Pass, work: Graph, first: int, error: Exception) -> Finding:
    """The finding of a pass that raises, or leaves an invalid graph."""
    made = work.edits[first:]
    last = f" after its edit {len(made)}, {made[-1].reason!r}" if made else ""
    what = type(error).__name__
    text = f"pass {step.name}: expected a valid graph, got {what}{last}: {error}"
    return Finding("pass", step.name, text, ("pass", step.name, what), number=len(made))


def _edit_finding(fault: Fault) -> Finding:
    culprit = fault.culprit
    if culprit is None or culprit.old is None or culprit.new is None:
        return Finding("pass", fault.name, fault.text, ("pass", fault.name, ""))
    return Finding(
        "pass", fault.name, fault.text, ("pass", fault.name, culprit.reason), culprit.rule,
        culprit.number, culprit.count, culprit.old.op, culprit.old.locations,
    )  # fmt: skip


# -- kernels ---------------------------------------------------------------------------------------


def _find_in_kernels(optimised: Graph, inputs: Arrays, options: Options) -> Finding | None:
    fault = lowering_fault(optimised)
    if fault is None:
        backend = find_backend("cpu")
        fault = kernel_fault(optimised, [inputs], backend, options)
    if fault is None:
        program = lower(optimised)
        sample = ([np.array(x) for x in inputs], interpret(optimised, inputs))
        executable = backend.compile(program, optimised, options)
        coarse = coarsest(optimised)
        fault = whole_fault(optimised, program, sample, coarse, backend, executable, options)
    if fault is None:
        return None
    node = fault.node
    if node is None:
        return Finding(fault.stage, fault.name, fault.text, (fault.stage,))
    ops = members(node.attribute("body"))
    kind = node.attribute("kind")
    key = (fault.stage, kind)
    return Finding(fault.stage, fault.name, fault.text, key, op=ops, lines=node.locations)


# -- derivative rules ------------------------------------------------------------------------------


def _find_in_rules(graph: Graph, inputs: Sequence[Arrays]) -> Finding | None:
    """A wrong derivative rule of an op of a graph."""
    wide = in_float64(graph)
    types = [wide.type(Value(key)).dtype.numpy for key in wide.inputs]
    for arrays in inputs:
        given = [x.astype(dtype) for x, dtype in zip(arrays, types, strict=True)]
        try:
            check_graph_rules(wide, given, np.random.default_rng(0), users=False)
        except CheckError as error:
            return _rule_finding(error)
    return None


def _find_in_all_rules() -> Finding | None:
    """A wrong derivative rule of any op, by the op's own samples."""
    for op in registry.REGISTRY.values():
        try:
            check_op_rules(op)
        except CheckError as error:
            return _rule_finding(error, _failing_case(op.name))
    return None


def _failing_case(name: str) -> tuple[Graph, tuple[np.ndarray, ...]] | None:
    """A graph of one op whose derivative is wrong, with operands."""
    for graph, operands in op_cases(registry.REGISTRY[name]):
        try:
            check_graph_rules(graph, operands, np.random.default_rng(0))
        except CheckError:
            return graph, operands
    return None


def _rule_finding(
    error: CheckError, case: tuple[Graph, tuple[np.ndarray, ...]] | None = None
) -> Finding:
    """The finding in a message "op: rule: what is wrong"."""
    op, rule, _ = str(error).split(": ", 2)
    key = ("derivative", op, rule)
    return Finding("derivative", op, str(error), key, rule=rule, op=op, case=case)


def in_float64(graph: Graph) -> Graph:
    """A copy of a graph whose floats are all of float64, as the checks of derivatives need it; the
    graph itself where an op, such as one on the bits of its operand, does not accept that."""
    wide = _widened(graph)
    try:
        Infer(renew=True).apply(wide)
    except IrgradError:
        return graph
    return wide


def _widened(graph: Graph) -> Graph:
    wide = graph.copy()
    for key in wide:
        node = wide[key]
        attrs = tuple((name, _widened_value(value)) for name, value in node.attributes)
        types = tuple(_widened_value(type_) for type_ in node.types)
        wide.update(key, attributes=attrs, types=types if node.op == "input" else node.types)
    return wide


def _widened_value(value: object) -> object:
    """An attribute or type with float64 in the place of other floats."""
    if isinstance(value, Graph):
        return _widened(value)
    if isinstance(value, TensorType):
        return TensorType(F64, value.shape) if value.dtype.is_float else value
    return F64 if isinstance(value, DType) and value.is_float else value


def has_named_sizes(graph: Graph) -> bool:
    """Whether an input has a size that is not a number."""
    types = [graph.type(Value(key)) for key in graph.inputs]
    return any(isinstance(size, Dim) for type_ in types for size in type_.shape)

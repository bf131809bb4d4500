"""What check="all" does: each pass, each kernel and the whole against the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import CheckError, DimError, IrgradError
from .interpret import graph_dims, interpret
from .ir.dims import evaluate, symbol
from .ir.graph import Graph, Node, Value
from .ir.location import describe
from .ir.signature import flat_signature
from .ir.types import BOOL, TensorType
from .kernel.program import Program
from .kernel.run import run_program
from .ops.size_guards import named_sizes
from .passes.base import Pass
from .passes.culprit import Culprit, Differ, Problem, find_culprit, members
from .passes.lower import lower
from .runtime.backend import Backend, Executable
from .runtime.compare import coarsest, difference, random_inputs
from .runtime.options import Options

LOWEST = (-0.5, 0.25, 1.0)  # of the floats in each sample
MARGIN = 256  # bytes before and behind each array of a kernel
# What these bytes are, around operands and around results. A float that is read from the former is
# NaN, which spreads; what is computed of it is not the latter.
MARKS = {"operand": 0xFF, "result": 0xA5}
CODE_SIZES = (1, 33, 70)  # that named sizes have, beside small ones, where kernels are checked
MAX_SLOW = 2**21  # flops and bytes of a kernel that is run by its slow meaning
EARLY = "wrong as lowered, before it is compiled"
Arrays = Sequence[np.ndarray]
Sample = tuple[list[np.ndarray], list[np.ndarray]]
# What a wrong graph can make the interpreter raise.
FAULTS = (IrgradError, AssertionError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the compiler that a check found.

    stage: "pass", "lowering" (kernel IR, from the graph), "code" (machine code or Python, from
    kernel IR), or "plan" (calls and memory of all kernels together). name: of the pass, kernel or
    graph. text: the whole message. culprit: the edit of a pass, where one is to blame. node: the
    fused node of a kernel.
    """

    stage: str
    name: str
    text: str
    culprit: Culprit | None = None
    node: Node | None = None


def _require_none(fault: Fault | None) -> None:
    if fault is not None:
        raise CheckError(fault.text)


def samples(graph: Graph) -> list[Sample]:
    """Random inputs and what the interpreter makes of them, without those that the graph's own
    checks refuse."""
    found = []
    for seed, low in enumerate(LOWEST):
        inputs = random_inputs(graph, seed, low)
        try:
            found.append((inputs, interpret(graph, inputs)))
        except CheckError:
            continue
    return found


def problem_of(known: Sequence[Sample], coarse: int) -> Problem:
    """What is wrong with a graph that should compute the results of some samples.

    coarse: the size in bytes of the coarsest float dtype that they were computed in.
    """

    def problem(graph: Graph) -> str:
        try:
            differences = (
                difference(want, interpret(graph, given), coarse) for given, want in known
            )
            return next(filter(None, differences), "")
        except FAULTS as error:
            text = str(error).partition("\n")[0]
            return f"expected a graph that runs, got {type(error).__name__}: {text}"

    return problem


def differ_of(known: Sequence[Sample], coarse: int) -> Differ:
    """How two values of a graph differ on some samples."""

    def differ(graph: Graph, old: Value, new: Value) -> str:
        work = graph.copy()
        work.outputs, work.effects = [old, new], []
        try:
            pairs = (interpret(work, given) for given, _ in known)
            return next(filter(None, (difference([a], [b], coarse) for a, b in pairs)), "")
        except FAULTS as error:
            return str(error)

    return differ


class PassChecker:
    """A callback of `run_passes` that compares the graph after each pass with the traced one.

    Raises CheckError that names the pass, the first of its edits that makes a difference with its
    rule, and the user's line.
    """

    def __init__(self, graph: Graph) -> None:
        self._known, self._coarse = samples(graph), coarsest(graph)
        self._before = graph.copy()

    def __call__(self, step: Pass, now: Graph) -> None:
        _require_none(pass_fault(step, self._before, now, self._known, self._coarse))
        self._before = now.copy()


def pass_fault(
    step: Pass, before: Graph, now: Graph, known: Sequence[Sample], coarse: int
) -> Fault | None:
    """What is wrong with a graph after a pass, and the edit of the pass that is to blame.

    before: the graph that the pass got, which is right. known, coarse: as in `problem_of`.
    """
    problem = problem_of(known, coarse)
    found = problem(now)
    if not found:
        return None
    culprit = find_culprit(step, before, problem, differ_of(known, coarse))
    text = str(culprit) if culprit else f"pass {step.name}: {found}"
    return Fault("pass", step.name, text, culprit)


@dataclass(frozen=True, slots=True)
class NamedPass:
    """A pass whose failures name it; what irgrad raises on purpose stays as it is."""

    step: Pass

    @property
    def name(self) -> str:
        """The name of the pass."""
        return self.step.name

    def apply(self, graph: Graph) -> None:
        """Run the pass."""
        before = len(graph.edits)
        try:
            self.step.apply(graph)
        except IrgradError:
            raise
        except FAULTS as error:
            own = graph.edits[before:]
            last = f" after its edit {len(own)}, {own[-1].reason!r}" if own else ""
            raise CheckError(
                f"pass {self.name}: expected a graph, got {type(error).__name__}{last}: {error}"
            ) from error


def check_lowering(optimised: Graph) -> None:
    """Lower each kernel alone, then all of them.

    Raises CheckError that names the kernel, or the plan of the whole, where lowering fails for a
    fault of ours; what irgrad raises on purpose passes.
    """
    _require_none(lowering_fault(optimised))


def lowering_fault(optimised: Graph) -> Fault | None:
    """The first kernel that cannot be lowered alone, or else the plan of the whole."""
    for key in _kernels(optimised):
        found = _lowering_problem(graph_of(optimised, key))
        if found:
            node = optimised[key]
            found = f"expected a kernel that can be lowered, got {found}"
            text = _kernel_text(node, found, "wrong as fused")
            return Fault("lowering", node.name, text, node=node)
    found = _lowering_problem(optimised)
    if not found:
        return None
    text = (
        f"{optimised.name}: expected calls and memory that can be planned, got {found}; each "
        "kernel alone can be lowered"
    )
    return Fault("plan", optimised.name, text)


def _lowering_problem(graph: Graph) -> str:
    try:
        lower(graph)
    except IrgradError:
        raise
    except FAULTS as error:
        return f"{type(error).__name__}: {error}"
    return ""


def check_code(
    graph: Graph,
    optimised: Graph,
    program: Program | None,
    backend: Backend,
    executable: Executable,
    options: Options,
) -> None:
    """Compare each kernel alone, then the whole, with the interpreter.

    Raises CheckError that names the kernel, the element, where it went wrong, and the lines.
    """
    known = samples(graph)
    if not known:
        return
    known = [*known[:1], *_larger_samples(graph)]
    if program is not None:
        _require_none(kernel_fault(optimised, [x for x, _ in known], backend, options))
    coarse = coarsest(graph)
    for sample in known:
        _require_none(
            whole_fault(optimised, program, sample, coarse, backend, executable, options)
        )


def _larger_samples(graph: Graph) -> list[Sample]:
    """Samples of a graph with named sizes that reach beyond vectors and tiles, and their tails."""
    found: list[Sample] = []
    for size in CODE_SIZES if named_sizes(graph) else ():
        try:
            inputs = random_inputs(graph, size, LOWEST[0], size)
            found.append((inputs, interpret(graph, inputs)))
        except (CheckError, DimError):
            continue
    return found


def kernel_fault(
    optimised: Graph, several: Sequence[Arrays], backend: Backend, options: Options
) -> Fault | None:
    """The first kernel that, compiled alone, gives something else than the interpreter.

    several: one or more lists of arrays for the graph.
    """
    runs = [_Values(optimised, inputs) for inputs in several]
    faults = (
        _kernel_fault(optimised, key, runs, backend, options) for key in _kernels(optimised)
    )
    return next(filter(None, faults), None)


class _Values:
    """All values of a graph on some inputs, and the numbers behind its named sizes."""

    def __init__(self, graph: Graph, inputs: Arrays) -> None:
        self.dims = graph_dims(graph, inputs)
        self._values = dict(zip((Value(key) for key in graph.inputs), inputs))

        def watch(key: int, results: Sequence[np.ndarray]) -> None:
            self._values.update((Value(key, r), array) for r, array in enumerate(results))

        interpret(graph, inputs, watch=watch)

    def __getitem__(self, value: Value) -> np.ndarray:
        return self._values[value]


def whole_fault(
    optimised: Graph,
    program: Program | None,
    known: Sample,
    coarse: int,
    backend: Backend,
    executable: Executable,
    options: Options,
) -> Fault | None:
    """What is wrong with a compiled graph as a whole, whose kernels alone are right.

    known, coarse: as in `problem_of`, for one sample.
    """
    inputs, expected = known
    count = len(inputs) - len(optimised.captures)
    plain = [np.array(array, order="C") for array in inputs]
    got = executable.call(tuple(plain[:count]))
    assert got is not None, "plain arrays of the right types were refused"
    found = difference(expected, got, coarse)
    if found and program is not None:
        where = _stage(program, plain, expected, coarse, options, graph_dims(optimised, inputs))
        found = f"{found}; each kernel alone is right, the calls in their memory are {where}"
    if not found:
        return None
    return Fault("plan", optimised.name, f"{optimised.name} for {backend.name}: {found}")


def _kernels(graph: Graph) -> list[int]:
    return [key for key in graph.order() if graph[key].op == "fused"]


def graph_of(graph: Graph, key: int) -> Graph:
    """The graph of one node, its inputs the node's operands, then for each named size an array of
    that length, see `with_sizes`."""
    node = graph[key]
    alone = Graph(f"k_{node.name}")
    operands = [alone.add_input(graph.type(operand)) for operand in node.operands]
    names = named_sizes(graph)
    for name in names:
        alone.add_input(TensorType(BOOL, (symbol(name),)))
    new = alone.add(node.op, operands, node.types, node.attributes, node.name, node.locations)
    alone.outputs = [Value(new, r) for r in range(len(node.types))]
    alone.effects = [new] if key in graph.effects else []
    alone.signature = flat_signature(len(operands) + len(names), len(node.types))
    return alone


def with_sizes(alone: Graph, operands: Arrays, dims: Mapping[str, int]) -> list[np.ndarray]:
    """The arguments of a graph by `graph_of`: operands, then what tells the named sizes."""
    lengths = [alone.type(Value(key)).shape[0] for key in alone.inputs[len(operands) :]]
    return [*operands, *(np.zeros(evaluate(length, dims), np.bool_) for length in lengths)]


def _kernel_fault(
    graph: Graph, key: int, runs: Sequence[_Values], backend: Backend, options: Options
) -> Fault | None:
    """Compile a graph of one fused node and compare it with the values seen in the interpreter."""
    node = graph[key]
    alone = graph_of(graph, key)
    program = lower(alone)
    executable = backend.compile(program, alone, options)
    coarse = coarsest(alone)
    for values in runs:
        given = with_sizes(alone, [values[v] for v in node.operands], values.dims)
        expected = [values[Value(key, r)] for r in range(len(node.types))]
        found = _run_kernel(executable, given, expected, coarse)
        if found:
            where = _stage(program, given, expected, coarse, options, values.dims)
            stage = "lowering" if where == EARLY else "code"
            sizes = ", ".join(f"{name}={size}" for name, size in values.dims.items())
            found = f"with {sizes}: {found}" if sizes else found
            return Fault(stage, node.name, _kernel_text(node, found, where), node=node)
    return None


def _stage(
    program: Program,
    given: Arrays,
    expected: Arrays,
    coarse: int,
    options: Options,
    dims: Mapping[str, int],
) -> str:
    """Where wrong code went wrong: its program is run slowly, where it is short enough for that."""
    compiled = f"wrong as compiled for {options.emit}"
    if evaluate(program.work, dims) > MAX_SLOW:
        return compiled
    try:
        early = difference(expected, run_program(program, given, dims).results, coarse)
    except FAULTS as error:
        early = str(error)
    return EARLY if early else f"right as lowered, {compiled}"


def _run_kernel(executable: Executable, given: Arrays, expected: Arrays, coarse: int) -> str:
    """What a kernel does wrong, run on arrays that lie between marked bytes.

    Results start as values that are wrong everywhere, so an element that is not written differs.
    """
    inputs = [_between_marks(array, MARKS["operand"]) for array in given]
    results = [_between_marks(_spoiled(array), MARKS["result"]) for array in expected]
    bound = executable.bind(tuple(a for a, _ in inputs), tuple(a for a, _ in results))
    try:
        if bound.run():
            return "expected the checks in it to hold, got one that fails"
    except FAULTS as error:
        return f"expected a kernel that runs, got {type(error).__name__}: {error}"
    found = difference(expected, [array for array, _ in results], coarse)
    for what, arrays in (("operand", inputs), ("result", results)):
        for position, (array, memory) in enumerate(arrays):
            found = found or _outside(f"{what} {position}", array, memory, MARKS[what])
    for position, (array, before) in enumerate(zip((a for a, _ in inputs), given)):
        if not found and array.tobytes() != before.tobytes():
            return f"expected operand {position} as it was, got it overwritten"
    return found


def _between_marks(array: np.ndarray, mark: int) -> tuple[np.ndarray, np.ndarray]:
    """A contiguous copy of an array, and the bytes in whose middle it lies."""
    memory = np.full(array.nbytes + 2 * MARGIN, mark, np.uint8)
    inside = memory[MARGIN : MARGIN + array.nbytes]
    copy = inside.view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return copy, memory


def _outside(what: str, array: np.ndarray, memory: np.ndarray, mark: int) -> str:
    """The first byte that was written before or behind an array, as "expected X, got Y"."""
    written = np.flatnonzero(memory != mark)
    at = written[(written < MARGIN) | (written >= MARGIN + array.nbytes)]
    if not at.size:
        return ""
    element = (int(at[0]) - MARGIN) // array.itemsize
    return (
        f"expected nothing written outside of {what}, got element {element} of "
        f"{array.dtype.name}{list(array.shape)} written"
    )


def _spoiled(expected: np.ndarray) -> np.ndarray:
    """An array of the same type with another value in the place of each element."""
    if expected.dtype == np.bool_:
        return ~expected
    if expected.dtype.kind in "iu":
        return expected ^ expected.dtype.type(1)
    nan = np.isnan(expected)
    return np.where(nan, np.zeros_like(expected), np.full_like(expected, np.nan))


def _kernel_text(node: Node, found: str, where: str) -> str:
    line = f" ({node.locations[0]})" if node.locations else ""
    made = f"{where}: a {node.attribute('kind')} of {members(node.attribute('body'))}"
    text = f"kernel {node.name}{line}: {found}; {made}"
    return f"{text}\n{describe(node.locations[0])}" if node.locations else text

"""Compiled functions: calling them, binding them to arrays, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from ..errors import ArgumentError, DimError, InternalError, IrgradError, brief
from ..interpret import input_names
from ..ir.compare import diff
from ..ir.dims import Dim, Size
from ..ir.graph import Graph, Value
from ..ir.location import Location
from ..ir.shown import how_many, short, shown_html, shown_text
from ..ir.signature import Signature
from ..kernel.slots import Workspace
from ..ops.size_guards import named_sizes, size_guards
from ..tracing.locations import add_location, ends_at_call, user_locations
from ..tracing.trees import flatten, flatten_object, spec_of
from .bound import Bound, make_result_arrays
from .boundary import Boundary, Parameter, describe_value
from .copies import reduce_to_text
from .options import Options
from .report import arena_text, explain_text, kernel_text, report_text
from .results import make_finish, parameter_names

if TYPE_CHECKING:
    from ..kernel.ir import Kernel
    from ..kernel.program import Program
    from .backend import Executable
    from .profile import Profile


Lowered = tuple[Graph, "Program | None"]


@dataclass(frozen=True, slots=True)
class Capture:
    """An array that a function uses without having it as an argument; it is read at each call."""

    name: str
    type: str
    location: Location | None
    array: np.ndarray

    def __repr__(self) -> str:
        return f"Capture({short(self.name)}: {self.type}, {self.location or 'no line'})"


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """One kernel of a compiled function.

    text: its kernel IR. origin: the source lines that it computes, the main one first. flops and
    bytes: of one call, polynomials of the named sizes where there are any. calls: how often one run
    of the function calls it. origins: for each of those calls its own source lines, as equal
    kernels of different lines are one.
    """

    name: str
    text: str
    origin: tuple[Location, ...]
    flops: Size
    bytes: Size
    calls: int
    executable: Executable
    origins: tuple[tuple[Location, ...], ...]
    kernel: Kernel | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"KernelInfo({short(self.name)}, {how_many(self.calls, 'call')})"

    def __str__(self) -> str:
        return kernel_text(self)

    def _repr_html_(self) -> str:
        """Its text in a notebook, with source lines."""
        return shown_html(self)

    @ends_at_call
    def source(self, form: str) -> str:
        """The code as text: "numba", a file of Python that runs by itself, "llvm" or "asm".

        "llvm-lines" and "asm-lines" put the line of `text` that they compute before each line.
        Every form exists, whichever the code was compiled from. ArgumentError for one that the
        target lacks.
        """
        return self.executable.source(form, self.name)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The scratch memory of one run, in bytes.

    names: the named sizes that it may depend on. workspace: its slots. lowered: gives what it was
    planned for.
    """

    names: tuple[str, ...]
    workspace: Workspace
    lowered: Callable[[], Lowered] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"MemoryPlan({short(arena_text(self.workspace))})"

    def __str__(self) -> str:
        return shown_text(self)

    def _repr_html_(self) -> str:
        """The buffers of a run over its calls in a notebook."""
        return shown_html(self)

    @property
    def peak_bytes(self) -> int:
        """The bytes of a run; DimError where they depend on named sizes."""
        if any(isinstance(size, Dim) for slot in self.workspace.slots for size in slot):
            raise DimError(
                "peak_bytes: expected memory that does not depend on named sizes, got "
                f"{', '.join(self.names)}; peak_bytes_at gives it for numbers"
            )
        return self.workspace.bytes({})

    def peak_bytes_at(self, **sizes: int) -> int:
        """The bytes of a run under the numbers behind the named sizes.

        Raises ArgumentError for other names and for what is no size, LimitError for more memory
        than there can be.
        """
        if set(sizes) != set(self.names):
            raise ArgumentError(
                f"peak_bytes_at: expected sizes {', '.join(self.names) or 'none'}, got "
                f"{', '.join(sorted(sizes)) or 'none'}"
            )
        for name, size in sizes.items():
            if type(size) is not int or size < 0:
                raise ArgumentError(f"peak_bytes_at: expected {name} >= 0, got {brief(size)}")
        return self.workspace.bytes(sizes)


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Where the code came from.

    origin: "compiled" for this function, from "memory" where an equal program is in use already,
    from "disk", or "interpreted". seconds: what tracing and compiling took. disk: "hit", "miss", or
    "off" where the disk cache was not asked; why: the reason, in words. key: of the entry; bytes:
    its size, 0 where none was read or written.
    """

    origin: str
    seconds: float
    disk: str = "off"
    why: str = ""
    key: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class DiskNote:
    """What became of the disk cache in one compile; the fields are those of CacheInfo."""

    disk: str
    why: str
    key: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the driver hands over about one compile.

    graph: as traced. lowered: gives the graph after all passes, and the program, None where the
    target runs graphs; where the code is from the disk cache they are made at the first call.
    trees: optree structures of arguments and result where they are known. stages: gives the graph
    after each pass, by name. seconds: by phase. page: makes the page of a compiled function.
    frozen: names of objects that only the trace has read. note: of the disk cache. kernels: their
    number, 0 where the target runs graphs.
    """

    graph: Graph
    lowered: Callable[[], Lowered]
    executable: Executable
    options: Options
    target: str
    trees: tuple[optree.PyTreeSpec, optree.PyTreeSpec] | None
    stages: Callable[[], Mapping[str, Graph]]
    seconds: Mapping[str, float]
    page: Callable[[Compiled, Parts], str]
    frozen: tuple[str, ...] = ()
    note: DiskNote = DiskNote("off", "not asked for")
    kernels: int = 0

    @property
    def optimised(self) -> Graph:
        """The graph after all passes."""
        return self.lowered()[0]

    @property
    def program(self) -> Program | None:
        """The lowered graph, None where the target runs graphs."""
        return self.lowered()[1]


class Compiled:
    """A compiled function. Any number of threads may call it at once.

    graph: as traced. signature: how it is called. target, options: what it was compiled for.
    """

    def __init__(self, parts: Parts) -> None:
        graph = parts.graph
        self.graph = graph
        self.signature: Signature = graph.signature
        self.target = parts.target
        self.options = parts.options
        self._parts = parts
        self._stages: dict[str, Graph] | None = None
        self._run = parts.executable.call
        trees = parts.trees or (spec_of(self.signature.inputs), spec_of(self.signature.outputs))
        self._inputs, self._outputs = trees
        labels = input_names(graph)
        count = self._inputs.num_leaves
        self._boundary = Boundary(
            [
                Parameter(labels[i], graph.type(Value(key)), i in self.signature.donated)
                for i, key in enumerate(graph.inputs[:count])
            ],
            size_guards(graph),
        )
        self._parameters = parameter_names(self.signature)
        self.attempt = self._make_attempt()
        self.finish = make_finish(self.signature.outputs, self._outputs)

    def __repr__(self) -> str:
        kernels = how_many(self._parts.kernels, "kernel")
        return f"Compiled({short(self.graph.name)}, {self.target}, {kernels})"

    def __str__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        """Its kernels, memory, graph and report in a notebook; bounded for large programs."""
        return shown_html(self)

    def __copy__(self) -> Compiled:
        """The function itself, which never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Compiled:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Its text and captured arrays: it is compiled again where the pickle is read."""
        parts = self._parts
        return reduce_to_text(self.graph, self.target, self.options, parts.trees, parts.frozen)

    # -- calling ---------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run on arguments of the signature's structure and types.

        Raises ArgumentError or DonationError for arguments that do not fit, before anything is
        computed, and CheckError where a check of the program fails.
        """
        if kwargs:
            args = self._place_keywords(args, kwargs)
        leaves = self.attempt(args)
        if leaves is None:
            leaves = self.call_leaves(self._flatten(args))
        return self.finish(leaves)

    def _make_attempt(self) -> Callable[[tuple[Any, ...]], Sequence[np.ndarray] | None]:
        """The call for arguments that need no conversion; it gives None for others."""
        run, expected = self._run, self._inputs
        tree_flatten: Any = optree.tree_flatten
        if all(child.kind == "leaf" for child in self.signature.inputs.children):
            return run

        def attempt(args: tuple[Any, ...]) -> Sequence[np.ndarray] | None:
            try:
                leaves, spec = tree_flatten(args)
            except RecursionError:
                return None
            return run(tuple(leaves)) if spec == expected else None

        return attempt

    def call_leaves(self, leaves: Sequence[Any]) -> Sequence[np.ndarray]:
        """Run on the leaves of the arguments, converted where they have to be; give the results'
        leaves."""
        found = self._run(tuple(leaves))
        if found is not None:
            return found
        try:
            arrays = self._boundary.admit(leaves)
            if self.signature.donated:
                self._boundary.check_overlap(leaves, self.graph.captures.values())
            found = self._run(arrays)
            if found is None:
                self._explain_refusal()
            assert found is not None
        except IrgradError as error:
            add_location(error, user_locations())
            raise
        if not self.signature.donated:
            return found
        # A donated array of an unusual dtype object ran as a view: its owner is what is returned.
        owners = {
            id(array): leaf
            for array, leaf, p in zip(arrays, leaves, self._boundary.parameters)
            if p.donated
        }
        return [owners.get(id(leaf), leaf) for leaf in found]

    def _explain_refusal(self) -> None:
        """Raise the error for inputs that passed the boundary and were still refused."""
        self._check_captures()
        raise InternalError(f"{self.graph.name}: expected converted arguments to be accepted")

    def _check_captures(self) -> None:
        """Raise ArgumentError for a captured array that is missing or has another type by now."""
        for capture in self.captured:
            got = describe_value(capture.array)
            if got != capture.type:
                raise ArgumentError(
                    f"captured array {capture.name}: expected {capture.type}, as when it was "
                    f"compiled, got {got}"
                )

    def _flatten(self, args: tuple[Any, ...]) -> list[Any]:
        try:
            leaves, spec = flatten_object(args)
            return leaves if spec == self._inputs else self._flatten_by_name(args)
        except IrgradError as error:
            add_location(error, user_locations())
            raise

    def _flatten_by_name(self, args: tuple[Any, ...]) -> list[Any]:
        """The leaves of arguments whose structure may differ, each argument under its name."""
        children = self.signature.inputs.children
        if len(args) != len(children):
            raise ArgumentError(
                f"{self.graph.name}: expected {len(children)} arguments "
                f"({', '.join(self._parameters)}), got {len(args)}"
            )
        return [
            leaf
            for child, arg, name in zip(children, args, self._parameters)
            for leaf in flatten(child, arg, name)
        ]

    def _place_keywords(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arguments by position alone."""
        names = self._parameters[len(args) :]
        if set(kwargs) != set(names):
            error = ArgumentError(
                f"{self.graph.name}: expected arguments ({', '.join(self._parameters)}), got "
                f"{len(args)} by position and {brief(sorted(kwargs))} by name"
            )
            add_location(error, user_locations())
            raise error
        return (*args, *(kwargs[name] for name in names))

    # -- binding ---------------------------------------------------------------------------------

    def bind(self, *inputs: Any, out: Any = None) -> Bound:
        """Fix the arguments, and the arrays of the results, for many fast calls.

        out: arrays for the results, in the structure of the result; None (or None for a leaf) has
        them allocated. Later calls see changes that are made in the input arrays in place.
        Raises ArgumentError for arrays that a call would have to copy, and DonationError.
        """
        try:
            return self._bind(inputs, out)
        except IrgradError as error:
            add_location(error, user_locations())
            raise

    def _bind(self, inputs: tuple[Any, ...], out: Any) -> Bound:
        leaves = self._flatten(inputs)
        arrays = self._boundary.admit(leaves)
        for parameter, leaf, array in zip(self._boundary.parameters, leaves, arrays):
            if isinstance(leaf, np.ndarray) and not np.shares_memory(leaf, array) and leaf.size:
                raise ArgumentError(
                    f"bind: expected {parameter.label} C-contiguous, aligned and of native byte "
                    "order, got an array that would have to be copied"
                )
        self._check_captures()
        captures = list(self.graph.captures.values())
        self._boundary.check_overlap(leaves, captures)
        results = self._parts.executable.results(arrays)
        made = make_result_arrays(results, self._flatten_out(out), arrays, captures)
        run = self._parts.executable.bind(arrays, made)
        return Bound(self.graph.name, run, self.finish(made))

    def _flatten_out(self, out: Any) -> list[Any]:
        count = self._outputs.num_leaves
        if out is None:
            return [None] * count
        try:
            return self._outputs.flatten_up_to(out)
        except (ValueError, TypeError, RecursionError):
            raise ArgumentError(
                f"out: expected the structure of the result {self.signature.outputs}, got "
                f"{brief(out)}"
            ) from None

    # -- profiling -------------------------------------------------------------------------------

    def profile(self, /, *args: Any, rounds: int = 20, **kwargs: Any) -> Profile:
        """Run on arguments some times and say where the time goes, by kernel and by source line.

        It compiles the kernels once more, with a timer between each two; ordinary calls are as they
        were. Donated arguments are copied and stay as they are. A parameter of the function that is
        called `rounds` is given by position. Raises what a call raises, ArgumentError for rounds
        that are no number from 1 to 10,000 and under debug_nan, BackendError for a target without
        kernels.
        """
        from .profiling import check_rounds, profile_call  # which calls do without

        try:
            check_rounds(rounds)
            leaves = self._flatten(self._place_keywords(args, kwargs) if kwargs else args)
            arrays = self._boundary.admit(leaves)
            self._check_captures()
            self._boundary.check_overlap(leaves, self.graph.captures.values())
            return profile_call(self, self._parts, arrays, rounds)
        except IrgradError as error:
            add_location(error, user_locations())
            raise

    # -- from jitted code ------------------------------------------------------------------------

    @property
    def numba_function(self) -> Any:
        """The function of Numba that this one is in jitted code.

        It takes the leaves of the arguments, arrays (of rank 0 also numbers), and gives the result,
        or a flat tuple where it has several leaves. Donated arrays are overwritten and returned.
        In jitted code it raises ValueError for an array that does not fit, ShapeError or LimitError
        for sizes that the program cannot have, CheckError where a check of the program fails;
        TypingError, when it is compiled, for an array of another dtype or rank. What jitted code
        has used stays in memory until the process ends.

        Raises ArgumentError where the target has no compiled code, and for a named size that no
        axis of an argument determines alone.
        """
        return self._parts.executable.numba_function()

    @property
    def _numba_type_(self) -> Any:
        """The type that Numba gives this object, so that jitted code can call it."""
        from numba.core.types import Dispatcher  # asked for by Numba alone

        return Dispatcher(self.numba_function)

    # -- what is known ---------------------------------------------------------------------------

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the graphs on the way: "traced", then one for each pass."""
        return tuple(self._stage_graphs())

    def _stage_graphs(self) -> Mapping[str, Graph]:
        if self._stages is None:
            self._stages = dict(self._parts.stages())
        return self._stages

    @ends_at_call
    def stage(self, name: str) -> Graph:
        """The graph after a pass; ArgumentError for a name that `stages` does not have."""
        graphs = self._stage_graphs()
        if not isinstance(name, str) or name not in graphs:
            raise ArgumentError(f"stage: expected one of {', '.join(graphs)}, got {brief(name)}")
        return graphs[name]

    @ends_at_call
    def ir(self, stage: str | None = None) -> str:
        """The text of the graph at a stage, at the end where none is named."""
        return str(self._parts.optimised if stage is None else self.stage(stage))

    @ends_at_call
    def diff(self, a: str, b: str) -> str:
        """What changed from stage `a` to stage `b`, as text."""
        return diff(self.stage(a), self.stage(b))

    @property
    def kernels(self) -> list[KernelInfo]:
        """The kernels in order of their first call; empty where the target interprets."""
        from ..kernel.text import print_kernel  # compiling has loaded it; importing irgrad need not

        program = self._parts.program
        if program is None:
            return []
        lines: list[list[tuple[Location, ...]]] = [[] for _ in program.kernels]
        for call in program.calls:
            lines[call.kernel].append(call.origin)
        return [
            KernelInfo(
                kernel.name,
                print_kernel(kernel),
                kernel.origin,
                kernel.flops,
                kernel.bytes,
                len(lines[i]),
                self._parts.executable,
                tuple(lines[i]),
                kernel,
            )
            for i, kernel in enumerate(program.kernels)
        ]

    @property
    def plan(self) -> MemoryPlan:
        """The memory that a run needs beside arguments and results."""
        workspace = self._parts.executable.workspace
        return MemoryPlan(named_sizes(self.graph), workspace, self._parts.lowered)

    @property
    def captured(self) -> list[Capture]:
        """The arrays that are read at each call without being arguments."""
        found: list[Capture] = []
        for position, key in enumerate(k for k in self.graph.inputs if k in self.graph.captures):
            node = self.graph[key]
            location = node.locations[0] if node.locations else None
            name = node.name or f"capture {position}"
            type_ = str(self.graph.type(Value(key)))
            found.append(Capture(name, type_, location, self.graph.captures[key]))
        return found

    def object_file(self) -> bytes | None:
        """The machine code as an object file; None where the target interprets."""
        return self._parts.executable.object_file()

    @ends_at_call
    def report(self, *, html: bool = False) -> str:
        """Kernels, memory, donations, captures, widenings, copies and compile times, as text.

        html: instead a page of HTML that needs nothing else, with the source, the graph after each
        pass, the code of each kernel and the memory of a run, linked by source lines.
        """
        if not isinstance(html, bool):
            raise ArgumentError(f"report: expected html as a bool, got {brief(html)}")
        if html:
            return self._parts.page(self, self._parts)
        return report_text(self, self._parts, self._boundary.copies)

    def explain(self) -> str:
        """The edits of the compile by rule, with the lines that they touched first, as text."""
        return explain_text(self._parts.optimised)

    def cache_info(self) -> CacheInfo:
        """Where the code came from."""
        parts, note = self._parts, self._parts.note
        seconds = sum(parts.seconds.values())
        return CacheInfo(
            parts.executable.origin, seconds, note.disk, note.why, note.key, note.bytes
        )

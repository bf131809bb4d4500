"""A compiled program as something to call from Python."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import numpy as np

from irgrad.errors import ArgumentError, CheckError
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import DTYPES
from irgrad.kernel.program import CheckSite, Program, Result
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.boundary import is_plain

from .door import FRAME_HEADER, NOT_PLAIN, OK, Input, load_door, make_table
from .frames import Frame, FramePool
from .layout import layout_is_known

Leaves = Sequence[np.ndarray]
Call = Callable[[tuple[object, ...]], Leaves | None]
Copy = tuple[np.ndarray, np.ndarray]
SHORT_WORK = 1 << 14  # flops and bytes of a call that ends before another thread could get going


@dataclass(frozen=True, slots=True)
class Code:
    """Loaded machine code.

    address: of the entry. arena_bytes: scratch memory of a call. data: the object file. source:
    the text of a kernel in a form ("llvm", "asm"). seconds: compile time by phase. owner: what
    keeps the code in memory.
    """

    address: int
    arena_bytes: int
    data: bytes
    source: Callable[[str, str], str]
    seconds: Mapping[str, float]
    owner: object


class Executable:
    """A program with its code; see `irgrad.runtime.backend.Executable` for the methods."""

    def __init__(
        self,
        program: Program,
        graph: Graph,
        code: Code,
        *,
        fresh: bool = True,
        through_door: bool | None = None,
    ) -> None:
        """fresh: whether the code was compiled for this very program. through_door: whether calls
        read Python's objects natively; None where this process allows it."""
        self.arena_bytes = code.arena_bytes
        self.origin = "compiled" if fresh else "memory"
        self.seconds = dict(code.seconds) if fresh else {}
        self._program = program
        self._code = code
        self._pool = FramePool(code.arena_bytes)
        self._captures = tuple(
            np.asarray(graph.captures[key]) for key in graph.inputs if key in graph.captures
        )
        self._inputs = _door_inputs(graph, self._captures)
        self._entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)(code.address)
        native = layout_is_known() if through_door is None else through_door
        self.call = self._with_copied_captures(
            self._through_door() if native else self._through_python()
        )

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result comes from; the same for all arguments, as shapes are fixed."""
        return self._program.results

    def object_file(self) -> bytes:
        """The object file that was loaded."""
        return self._code.data

    def source(self, form: str, kernel: str) -> str:
        """The code of one kernel, as LLVM or assembly text."""
        if form not in ("llvm", "asm"):
            raise ArgumentError(f"source: expected 'llvm' or 'asm', got {form!r}")
        return self._code.source(form, kernel)

    # -- calls -----------------------------------------------------------------------------------

    def _through_door(self) -> Call:
        door = load_door().call
        work = sum(kernel.flops + kernel.bytes for kernel in self._program.kernels)
        table = make_table(
            self._code.address, self._inputs, len(self._program.outputs), work > SHORT_WORK
        )
        address = table.__array_interface__["data"][0]
        types, select = _output_types(self._program), self._selection()
        free, limit, arena_bytes = self._pool.free, self._pool.limit, self.arena_bytes
        empty, take, give, keep = np.empty, free.pop, free.append, (table, self)

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            outputs = tuple([empty(shape, dtype) for shape, dtype in types])
            try:
                frame = take()
            except IndexError:
                frame = Frame(arena_bytes)
            status = door(address, frame.address, arguments, outputs)
            if status == OK:
                if len(free) < limit:
                    give(frame)
                return outputs if select is None else select(arguments, outputs)
            if status == NOT_PLAIN:
                give(frame)
                return None
            raise keep[1].failure(frame)  # such a frame is dropped

        return call

    def _through_python(self) -> Call:
        """The same without reading objects natively."""
        types, select = _output_types(self._program), self._selection()

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            inputs = self._plain_inputs(arguments)
            if inputs is None:
                return None
            outputs = tuple([np.empty(shape, dtype) for shape, dtype in types])
            frame = self._pool.take()
            buffers = _addresses((*inputs, *outputs))
            if self._entry(frame.address, None, buffers, frame.address + FRAME_HEADER):
                raise self.failure(frame)
            self._pool.give(frame)
            return outputs if select is None else select(arguments, outputs)

        return call

    def _plain_inputs(self, arguments: tuple[object, ...]) -> list[np.ndarray] | None:
        """The array of each input; None where one is not plain or overlaps a donated one."""
        expected = sum(isinstance(one.source, int) for one in self._inputs)
        if len(arguments) != expected:
            return None
        inputs: list[np.ndarray] = []
        for one in self._inputs:
            array = arguments[one.source] if isinstance(one.source, int) else one.source
            if not is_plain(array, one.dtype, one.donated):
                return None
            assert isinstance(array, np.ndarray)
            if array.shape != one.shape:
                return None
            inputs.append(array)
        for i, one in enumerate(self._inputs):
            others = inputs[:i] + inputs[i + 1 :]
            if one.donated and any(np.shares_memory(inputs[i], other) for other in others):
                return None
        return inputs

    def _with_copied_captures(self, inner: Call) -> Call:
        """The call whose callers give the arguments alone, without the captures to be copied."""
        copied = [array for array in self._captures if not _is_plain_capture(array)]
        if not copied:
            return inner

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            return inner((*arguments, *map(_plain_copy, copied)))

        return call

    def _selection(self) -> Callable[[tuple[object, ...], tuple[np.ndarray, ...]], Leaves] | None:
        """How the results are made of arguments and outputs; None where they are the outputs."""
        results = self._program.results
        plain = [(result.kind, result.number) for result in results]
        if plain == [("output", i) for i in range(len(self._program.outputs))]:
            return None
        captures = self._captures
        count = len(self._inputs) - len(captures)

        def select(arguments: tuple[object, ...], outputs: tuple[np.ndarray, ...]) -> Leaves:
            leaves: list[np.ndarray] = []
            for kind, number in plain:
                if kind == "output":
                    leaves.append(outputs[number])
                    continue
                array = arguments[number] if number < count else captures[number - count]
                leaves.append(array if kind == "donated" else _plain_copy(array))  # type: ignore[arg-type]
            return leaves

        return select

    # -- bound calls -----------------------------------------------------------------------------

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundRun:
        """Fix arguments and results; captures that have to be copied are copied at each run."""
        before: list[Copy] = []
        inputs: list[np.ndarray] = []
        for i, one in enumerate(self._inputs):
            if isinstance(one.source, int) and one.source < len(arguments):
                inputs.append(arguments[one.source])
                continue
            capture = self._captures[i - len(arguments)]
            if one.source is not capture:
                before.append((_plain_copy(capture), capture))
            inputs.append(capture if one.source is capture else before[-1][0])
        outputs: dict[int, np.ndarray] = {}
        after: list[Copy] = []
        for result, leaf in zip(self._program.results, leaves, strict=True):
            if result.kind == "output":
                outputs[result.number] = leaf
            elif result.kind == "input":
                after.append((leaf, inputs[result.number]))
        frame = Frame(self.arena_bytes)
        buffers = _addresses((*inputs, *(outputs[i] for i in sorted(outputs))))
        run: Callable[[], int] = partial(
            self._entry, frame.address, None, buffers, frame.address + FRAME_HEADER
        )
        if before or after:
            run = partial(_run_with_copies, run, tuple(before), tuple(after))

        def fail() -> NoReturn:
            raise self.failure(frame)

        return BoundRun(run, fail, (frame, buffers, inputs, leaves, self))

    def failure(self, frame: Frame) -> CheckError:
        """The error of the check that failed in a frame, whose record is cleared."""
        number, position = frame.take_failure()
        return CheckError(failure_text(self._program.checks[number], position))


def failure_text(site: CheckSite, position: int) -> str:
    """The message of a failed check: its own, the flat index, the user's line."""
    text = f"check: {site.message} (expected true everywhere, got false at flat index {position})"
    return f"{text}\n{site.line}" if site.line else text


def _door_inputs(graph: Graph, captures: Sequence[np.ndarray]) -> tuple[Input, ...]:
    """What each input of the graph has to be; captures that are not plain become arguments."""
    count = len(graph.inputs) - len(captures)
    next_argument = count
    inputs: list[Input] = []
    for i, key in enumerate(graph.inputs):
        type_ = graph.type(Value(key))
        source: int | np.ndarray = i
        if i >= count:
            source = captures[i - count]
            if not _is_plain_capture(source):
                source = next_argument
                next_argument += 1
        shape = tuple(int(size) for size in type_.shape)  # type: ignore[arg-type]
        donated = i < count and i in graph.signature.donated
        inputs.append(Input(source, type_.dtype.numpy, shape, donated))
    return tuple(inputs)


def _output_types(program: Program) -> tuple[tuple[tuple[int, ...], np.dtype], ...]:
    """Shape and dtype of each output buffer, as its result has them."""
    found: dict[int, tuple[tuple[int, ...], np.dtype]] = {}
    for result in program.results:
        if result.kind == "output":
            assert result.number not in found, "two results in one buffer"
            found[result.number] = result.shape, DTYPES[result.dtype].numpy
    for i, (dtype, elements) in enumerate(program.outputs):
        assert found[i][1] == DTYPES[dtype].numpy and math.prod(found[i][0]) == elements
    return tuple(found[i] for i in range(len(program.outputs)))


def _is_plain_capture(array: np.ndarray) -> bool:
    return is_plain(array, array.dtype, False) and array.dtype is np.dtype(array.dtype.type)


def _plain_copy(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=np.dtype(array.dtype.type), order="C")


def _addresses(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    found = [array.__array_interface__["data"][0] for array in arrays]
    return (ctypes.c_void_p * max(1, len(found)))(*found)


def _run_with_copies(run: Callable[[], int], before: Sequence[Copy], after: Sequence[Copy]) -> int:
    for target, source in before:
        np.copyto(target, source)
    status = run()
    if not status:
        for target, source in after:
            np.copyto(target, source)
    return status

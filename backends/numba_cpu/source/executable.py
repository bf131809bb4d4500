"""A program in its form of Python source as something to call from Python."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from irgrad.errors import CheckError
from irgrad.ir.graph import Graph
from irgrad.kernel.program import Program, Result
from irgrad.kernel.slots import Workspace
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.profiling import TimedRun

from ..runtime.call_plan import Call, CallPlan, Leaves, call_plan, with_copied_captures
from ..runtime.frames import ArrayFrame, FramePool, FramePools
from ..runtime.instances import Instances
from ..runtime.kernel_texts import kernel_text
from .load import SourceCode

if TYPE_CHECKING:
    from ..runtime.jitted_plan import JittedPlan


class SourceExecutable:
    """A program with its functions; see `irgrad.runtime.backend.Executable` for the methods."""

    def __init__(
        self, program: Program, graph: Graph, code: SourceCode, *, fresh: bool = True
    ) -> None:
        """fresh: whether the code was compiled for this very program."""
        self.workspace = workspace = Workspace(program.slots, code.arena_bytes)
        self.origin = "compiled" if fresh else "memory"
        self.seconds = dict(code.seconds) if fresh else {}
        self._program = program
        self._graph = graph
        self._code = code
        pools = FramePools(ArrayFrame)

        def make(dims: Mapping[str, int]) -> SourceInstance:
            pool = pools.of(workspace.bytes(dims), exact=not dims)
            plan = call_plan(program, graph, dims)
            return SourceInstance(plan, code, pool, tuple(dims.values()))

        self._instances = Instances(program, graph, make)
        self.call = with_copied_captures(graph, self._instances.call())

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result comes from, for arguments of these shapes."""
        return self._of(arguments).plan.results

    def object_file(self) -> None:
        """None: Numba keeps the machine code."""

    def source(self, form: str, kernel: str) -> str:
        """The code of one kernel, as Python, LLVM or assembly text."""
        return kernel_text(self._program, kernel, form)

    def divided(self) -> tuple[str, ...]:
        """The names of the kernels that are divided between threads where they have the work."""
        return ()

    def switches(self) -> tuple[tuple[str, str], ...]:
        """None: plain loops run at every size."""
        return ()

    def numba_function(self) -> object:
        """The function that jitted code calls."""
        from ..runtime.numba_door import numba_function

        return numba_function(self._jitted_plan, self._code, self.call)

    @cached_property
    def _jitted_plan(self) -> JittedPlan:
        from ..runtime.jitted_plan import jitted_plan  # which calls do without

        return jitted_plan(self._program, self._graph)

    # -- calls -----------------------------------------------------------------------------------

    def _of(self, arguments: Sequence[np.ndarray]) -> SourceInstance:
        """The instance for arguments that `call` takes."""
        found = self._instances.of(arguments)
        assert found is not None, "arguments that do not fit"
        return found

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundRun:
        """Fix arguments and results; captures that have to be copied are copied at each run."""
        instance = self._of(arguments)
        arrays = instance.plan.bound_arrays(arguments, leaves)
        frame = ArrayFrame(instance.arena_bytes)

        def run() -> int:
            return instance.run(arrays.inputs, arrays.outputs, frame, self._code.run)

        def fail() -> NoReturn:
            raise instance.failure(frame)

        return BoundRun(arrays.around(run), fail, (arrays, leaves, self))

    def timed(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> TimedRun:
        """The same with timers in Python between the kernels."""
        from .timed import timed_entry  # which calls do without

        instance = self._of(arguments)
        arrays = instance.plan.bound_arrays(arguments, leaves)
        frame = ArrayFrame(instance.arena_bytes)
        laps: list[int] = []
        entry = timed_entry(self._program, self._code, laps)

        def run() -> int:
            return instance.run(arrays.inputs, arrays.outputs, frame, entry)

        def read() -> tuple[int, list[tuple[int, int]]]:
            return laps[1] - laps[0], list(zip(laps[2::2], laps[3::2]))

        def fail() -> NoReturn:
            raise instance.failure(frame)

        clock = time.perf_counter_ns
        return TimedRun(arrays.around(run), fail, read, clock, (arrays, leaves, self))


class SourceInstance:
    """Functions under the numbers behind their named sizes, of which a program may have none.

    plan: how they are called. arena_bytes: scratch memory of a call.
    """

    def __init__(
        self,
        plan: CallPlan,
        code: SourceCode,
        pool: FramePool[ArrayFrame],
        dims: tuple[int, ...],
    ) -> None:
        """dims: the numbers."""
        self.plan = plan
        self.arena_bytes = pool.arena_bytes
        self._code = code
        self._pool = pool
        self._dims = dims
        self.call = self._make_call()

    def run(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Leaves,
        frame: ArrayFrame,
        entry: Callable[..., int],
    ) -> int:
        """Run an entry on flat arrays; 0, or another number where a check failed."""
        flat = [_flat(array) for array in (*inputs, *outputs)]
        if self._code.jitted:
            return int(entry(*flat, frame.failures, frame.arena, *self._dims))
        with np.errstate(all="ignore"):
            return int(entry(*flat, frame.failures, frame.arena, *self._dims))

    def _make_call(self) -> Call:
        plan, pool, select = self.plan, self._pool, self.plan.selection()

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            inputs = plan.plain_inputs(arguments)
            if inputs is None:
                return None
            outputs = tuple([np.empty(shape, dtype) for shape, dtype in plan.outputs])
            frame = pool.take()
            status = self.run(inputs, outputs, frame, self._code.run)
            if status:
                raise self.failure(frame)
            pool.give(frame)
            return outputs if select is None else select(arguments, outputs)

        return call

    def failure(self, frame: ArrayFrame) -> CheckError:
        """The error of the check that failed in a frame, whose record is cleared."""
        return self.plan.failure(*frame.take_failure())


def _flat(array: np.ndarray) -> np.ndarray:
    """All elements of a contiguous array in one row, writeable as kernels are compiled for that."""
    flat = array.reshape(-1)
    if flat.flags.writeable:
        return flat
    memory = (ctypes.c_uint8 * flat.nbytes).from_address(flat.__array_interface__["data"][0])
    dtype: np.dtype = flat.dtype
    return np.frombuffer(memoryview(memory), dtype) if flat.size else np.empty(0, dtype)

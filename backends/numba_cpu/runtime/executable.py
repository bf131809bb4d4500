"""A program compiled by LLVM as something to call from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from irgrad.errors import CheckError
from irgrad.ir.dims import evaluate
from irgrad.ir.graph import Graph
from irgrad.kernel.ir import Contract
from irgrad.kernel.program import LateProgram, Program, Result
from irgrad.kernel.slots import Workspace
from irgrad.runtime.backend import BoundRun, OnNonFinite, Watched
from irgrad.runtime.stored_code import StoredCode

from .call_plan import Call, CallPlan, Leaves, call_plan, with_copied_captures
from .door import FRAME_HEADER, NOT_PLAIN, OK, load_door, make_table
from .frames import Frame, FramePool, FramePools
from .instances import Instances
from .layout import layout_is_known
from .pool import shared_services
from .watch_text import NOT_FINITE

if TYPE_CHECKING:
    from irgrad.runtime.profiling import TimedRun

    from .jitted_plan import JittedPlan
    from .timed import TimedCode
    from .watch import Watch

SHORT_WORK = 1 << 14  # flops and bytes of a call that ends before another thread could get going


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Code:
    """Loaded machine code.

    address: of the entry, whose name is `symbol`. digest: of the program, equal for equal ones.
    arena_bytes: scratch memory of a call, beside the slots of a program with named sizes;
    worker_bytes: more of it for each worker but one, 0 where nothing is divided between workers.
    data: the object file. seconds: compile time by phase.
    door: the object file of the door. owner: what keeps the code in memory.
    """

    address: int
    symbol: str
    digest: str
    arena_bytes: int
    worker_bytes: int
    data: bytes = field(repr=False)
    door: bytes = field(repr=False)
    seconds: Mapping[str, float]
    owner: object


class Executable:
    """A program with its code; see `irgrad.runtime.backend.Executable` for the methods."""

    def __init__(
        self,
        program: Program | LateProgram,
        graph: Graph,
        code: Code,
        *,
        fresh: bool = True,
        through_door: bool | None = None,
    ) -> None:
        """fresh: whether the code was compiled, or read from the disk, for this very program.
        through_door: whether calls read Python's objects natively; None where this process allows
        it."""
        made = "compiled" if isinstance(program, Program) else "disk"
        self.origin = made if fresh else "memory"
        self.seconds = dict(code.seconds) if fresh else {}
        self.workspace = workspace = Workspace(program.slots, code.arena_bytes)
        self._program = program
        self._graph = graph
        self._code = code
        self._native = native = layout_is_known() if through_door is None else through_door
        # Of code that is never divided nothing asks for threads.
        services = shared_services(code.door) if code.worker_bytes else None
        more = 0 if services is None else (services.workers - 1) * code.worker_bytes

        def new_frame(arena_bytes: int) -> Frame:
            if services is None:
                return Frame(arena_bytes)
            return Frame(arena_bytes, services, code.worker_bytes)

        pools = FramePools(new_frame, more)

        def make(dims: Mapping[str, int]) -> Instance:
            pool = pools.of(workspace.bytes(dims), exact=not dims)
            plan = call_plan(program, graph, dims)
            work = evaluate(program.work, dims)
            return Instance(plan, code, pool, tuple(dims.values()), work, native)

        self._instances = Instances(program, graph, make)
        self.call = with_copied_captures(graph, self._instances.call())

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result comes from, for arguments of these shapes."""
        return self._of(arguments).plan.results

    def object_file(self) -> bytes:
        """The object file that was loaded."""
        return self._code.data

    def source(self, form: str, kernel: str) -> str:
        """The code of one kernel, as Python, LLVM or assembly text."""
        from .kernel_texts import kernel_text  # which calls do without

        return kernel_text(self._program.whole, kernel, form)

    def stored(self, text: str) -> StoredCode:
        """The code as the disk cache keeps it; text: the optimised graph."""
        program, code = self._program.whole, self._code
        return StoredCode(
            program.inputs,
            program.outputs,
            program.results,
            program.slots,
            code.arena_bytes,
            code.worker_bytes,
            program.work,
            len(program.kernels),
            code.digest,
            code.symbol,
            text,
            code.data,
            code.door,
        )

    def divided(self) -> tuple[str, ...]:
        """The names of the kernels that are divided between threads where they have the work."""
        if not self._code.worker_bytes:
            return ()
        from ..llvm.cpu import host_cpu
        from ..llvm.split import plan_splits

        lanes, kernels = host_cpu().vector_bytes, self._program.whole.kernels
        return tuple(kernel.name for kernel in kernels if plan_splits(kernel, lanes))

    def switches(self) -> tuple[tuple[str, str], ...]:
        """(kernel, sentence) for each choice that code makes by the numbers of named sizes."""
        if not self._instances.names:
            return ()
        from ..llvm.contract import contract_switches
        from ..llvm.cpu import host_cpu

        lanes = host_cpu().vector_bytes
        return tuple(
            (kernel.name, text)
            for kernel in self._program.whole.kernels
            for statement in kernel.body
            if isinstance(statement, Contract) and kernel.dims
            for text in contract_switches(statement, lanes)
        )

    def numba_function(self) -> object:
        """The function that jitted code calls."""
        from .numba_door import numba_function

        return numba_function(self._jitted_plan, self._code, self.call)

    @cached_property
    def _jitted_plan(self) -> JittedPlan:
        from .jitted_plan import jitted_plan  # which calls do without

        return jitted_plan(self._program, self._graph)

    # -- calls -----------------------------------------------------------------------------------

    def _of(self, arguments: Sequence[np.ndarray]) -> Instance:
        """The instance for arguments that `call` takes."""
        found = self._instances.of(arguments)
        assert found is not None, "arguments that do not fit"
        return found

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundRun:
        """Fix arguments and results; captures that have to be copied are copied at each run."""
        return self._of(arguments).bind(arguments, leaves, self)

    def watch(self, found: OnNonFinite) -> Watched | None:
        """Calls that look at their results by native code; None where calls are made by Python."""
        from .watch import make_watch  # which ordinary calls do without

        if not self._native:
            return None
        program, graph, code, workspace = self._program, self._graph, self._code, self.workspace
        pools = FramePools(Frame)

        def make(dims: Mapping[str, int]) -> Instance:
            plan = call_plan(program, graph, dims)
            watch = make_watch(code.address, plan, workspace.bytes(dims), found)
            pool = pools.of(watch.arena_bytes, exact=not dims)
            work = evaluate(program.work, dims)
            return Instance(plan, code, pool, tuple(dims.values()), work, True, watch)

        def bind(arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundRun:
            instance = instances.of(arguments)
            assert instance is not None, "arguments that do not fit"
            return instance.bind(arguments, leaves, self)

        instances = Instances(program, graph, make)
        return Watched(with_copied_captures(graph, instances.call()), bind)

    def timed(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> TimedRun:
        """The same in code with timers between the kernels, which is compiled when first asked for.
        """
        from .timed import timed_run  # which calls do without

        instance = self._of(arguments)
        arrays = instance.plan.bound_arrays(arguments, leaves)
        buffers = _addresses((*arrays.inputs, *arrays.outputs))
        frame, calls = instance.new_frame(), len(self._program.whole.calls)
        return timed_run(
            self._timed_code, arrays, instance.dims, buffers, frame, calls, instance.failure
        )

    @cached_property
    def _timed_code(self) -> TimedCode:
        from .timed import compile_timed

        return compile_timed(self._program.whole)


class Instance:
    """Code under the numbers behind its named sizes, of which a program may have none.

    plan: how it is called. dims: the numbers.
    """

    def __init__(
        self,
        plan: CallPlan,
        code: Code,
        pool: FramePool[Frame],
        dims: tuple[int, ...],
        work: int,
        native: bool,
        watch: Watch | None = None,
    ) -> None:
        """pool: of frames. work: flops and bytes of a call. native: whether calls go through the
        door. watch: how results are looked at, if they are."""
        self.plan = plan
        self.dims = np.array(dims, np.int64)
        self._code = code
        self._pool = pool
        self._watch = watch
        self._address = code.address if watch is None else watch.code.entry
        # None where there are no dims: ctypes passes it faster than a number.
        place: int = self.dims.__array_interface__["data"][0]
        self._dims_address = place if dims else None
        self._entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)(self._address)
        self.call = self._through_door(work) if native else self._through_python()

    def new_frame(self) -> Frame:
        """A frame for one call."""
        frame = self._pool.new()
        return frame if self._watch is None else self._watch.mark(frame)

    def _through_door(self, work: int) -> Call:
        door, plan = load_door(self._code.door).call, self.plan
        table = make_table(
            self._address, plan.inputs, len(plan.outputs), work > SHORT_WORK,
            self._dims_address or 0,
        )  # fmt: skip
        address = table.__array_interface__["data"][0]
        types, select = plan.outputs, plan.selection()
        free, limit, fresh = self._pool.free, self._pool.limit, self._pool.take
        empty, give = np.empty, free.append
        watch = self._watch
        take: Callable[[], Frame] = free.pop if watch is None else partial(watch.take, self._pool)
        keep = (partial(_fail, plan, self._watch), table, self.dims, self._code)

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            outputs = tuple([empty(shape, dtype) for shape, dtype in types])
            try:
                frame = take()
            except IndexError:
                frame = fresh()
            status = door(address, frame.address, arguments, outputs)
            if status == OK:
                if len(free) < limit:
                    give(frame)
                return outputs if select is None else select(arguments, outputs)
            if status == NOT_PLAIN:
                give(frame)
                return None
            return keep[0](frame, arguments, outputs)  # such a frame is dropped

        return call

    def _through_python(self) -> Call:
        """The same without reading objects natively."""
        types, select = self.plan.outputs, self.plan.selection()

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            inputs = self.plan.plain_inputs(arguments)
            if inputs is None:
                return None
            outputs = tuple([np.empty(shape, dtype) for shape, dtype in types])
            frame = self._pool.take()
            if self._run(frame, _addresses((*inputs, *outputs)))():
                raise self.failure(frame)
            self._pool.give(frame)
            return outputs if select is None else select(arguments, outputs)

        return call

    def bind(
        self, arguments: tuple[np.ndarray, ...], leaves: Leaves, owner: Executable
    ) -> BoundRun:
        """Fix arguments and results; captures that have to be copied are copied at each run."""
        arrays, watch = self.plan.bound_arrays(arguments, leaves), self._watch
        frame = self.new_frame()
        buffers = _addresses((*arrays.inputs, *arrays.outputs))

        def fail() -> NoReturn:
            if watch is None or frame.status != NOT_FINITE:
                raise self.failure(frame)
            frame.take_failure()
            arrays.finish()
            watch.found(arguments, leaves, watch.copies(frame))

        run = arrays.around(self._run(frame, buffers))
        return BoundRun(run, fail, (self, frame, buffers, arrays, leaves, owner))

    def _run(self, frame: Frame, buffers: ctypes.Array[ctypes.c_void_p]) -> Callable[[], int]:
        """One run of the entry."""
        arena = frame.address + FRAME_HEADER
        return partial(self._entry, frame.address, self._dims_address, buffers, arena)

    def failure(self, frame: Frame) -> CheckError:
        """The error of the check that failed in a frame, whose record is cleared."""
        return self.plan.failure(*frame.take_failure())


def _fail(
    plan: CallPlan,
    watch: Watch | None,
    frame: Frame,
    arguments: tuple[object, ...],
    outputs: tuple[np.ndarray, ...],
) -> NoReturn:
    """Raise for a run in a frame that gave a status."""
    if watch is None or frame.status != NOT_FINITE:
        raise plan.failure(*frame.take_failure())
    select = plan.selection()
    leaves = outputs if select is None else select(arguments, outputs)
    watch.found(arguments, leaves, watch.copies(frame))


def _addresses(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    found = [array.__array_interface__["data"][0] for array in arrays]
    return (ctypes.c_void_p * max(1, len(found)))(*found)

"""A program compiled by LLVM as something to call from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from irgrad.errors import CheckError
from irgrad.ir.dims import as_number
from irgrad.ir.graph import Graph
from irgrad.kernel.program import LateProgram, Program, Result
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.stored_code import StoredCode

from .call_plan import Call, Leaves, call_plan
from .door import FRAME_HEADER, NOT_PLAIN, OK, load_door, make_table
from .frames import Frame, FramePool
from .layout import layout_is_known
from .pool import shared_services

if TYPE_CHECKING:
    from irgrad.runtime.profiling import TimedRun

    from .timed import TimedCode

SHORT_WORK = 1 << 14  # flops and bytes of a call that ends before another thread could get going


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Code:
    """Loaded machine code.

    address: of the entry, whose name is `symbol`. digest: of the program, equal for equal ones.
    arena_bytes: scratch memory of a call; worker_bytes: more of it for each worker but one, 0 where
    nothing is divided between workers. data: the object file. seconds: compile time by phase.
    door: the object file of the door. owner: what keeps the code in memory.
    """

    address: int
    symbol: str
    digest: str
    arena_bytes: int
    worker_bytes: int
    data: bytes
    door: bytes
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
        self.arena_bytes = code.arena_bytes
        made = "compiled" if isinstance(program, Program) else "disk"
        self.origin = made if fresh else "memory"
        self.seconds = dict(code.seconds) if fresh else {}
        self._program = program
        self._code = code
        self._pool = FramePool(code.arena_bytes, partial(_new_frame, code))
        self._plan = call_plan(program, graph)
        self._entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)(code.address)
        native = layout_is_known() if through_door is None else through_door
        self.call = self._plan.with_copied_captures(
            self._through_door() if native else self._through_python()
        )

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result comes from; the same for all arguments, as shapes are fixed."""
        return self._program.results

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
            tuple((dtype, as_number(count)) for dtype, count in program.inputs),
            tuple((dtype, as_number(count)) for dtype, count in program.outputs),
            program.results,
            code.arena_bytes,
            code.worker_bytes,
            as_number(program.work),
            len(program.kernels),
            code.digest,
            code.symbol,
            text,
            code.data,
            code.door,
        )

    def numba_function(self) -> object:
        """The function that jitted code calls."""
        from .numba_door import numba_function

        return numba_function(self._plan, self._code, self.call)

    # -- calls -----------------------------------------------------------------------------------

    def _through_door(self) -> Call:
        door, plan = load_door(self._code.door).call, self._plan
        work = as_number(self._program.work)
        table = make_table(
            self._code.address, plan.inputs, len(self._program.outputs), work > SHORT_WORK
        )
        address = table.__array_interface__["data"][0]
        types, select = plan.outputs, plan.selection()
        free, limit, arena_bytes = self._pool.free, self._pool.limit, self.arena_bytes
        empty, take, give, keep = np.empty, free.pop, free.append, (table, self)
        new_frame = partial(_new_frame, self._code)

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            outputs = tuple([empty(shape, dtype) for shape, dtype in types])
            try:
                frame = take()
            except IndexError:
                frame = new_frame(arena_bytes)
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
        types, select = self._plan.outputs, self._plan.selection()

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            inputs = self._plan.plain_inputs(arguments)
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

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundRun:
        """Fix arguments and results; captures that have to be copied are copied at each run."""
        arrays = self._plan.bound_arrays(arguments, leaves)
        frame = _new_frame(self._code, self.arena_bytes)
        buffers = _addresses((*arrays.inputs, *arrays.outputs))
        run: Callable[[], int] = partial(
            self._entry, frame.address, None, buffers, frame.address + FRAME_HEADER
        )

        def fail() -> NoReturn:
            raise self.failure(frame)

        return BoundRun(arrays.around(run), fail, (frame, buffers, arrays, leaves, self))

    def timed(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> TimedRun:
        """The same in code with timers between the kernels, which is compiled when first asked for.
        """
        from .timed import timed_run  # which calls do without

        arrays = self._plan.bound_arrays(arguments, leaves)
        buffers = _addresses((*arrays.inputs, *arrays.outputs))
        frame, calls = _new_frame(self._code, self.arena_bytes), len(self._program.whole.calls)
        return timed_run(self._timed_code, arrays, buffers, frame, calls, self.failure)

    @cached_property
    def _timed_code(self) -> TimedCode:
        from .timed import compile_timed

        return compile_timed(self._program.whole)

    def failure(self, frame: Frame) -> CheckError:
        """The error of the check that failed in a frame, whose record is cleared."""
        return self._plan.failure(*frame.take_failure())


def _new_frame(code: Code, arena_bytes: int) -> Frame:
    """A frame with the services of this process, where the code has use for them."""
    if not code.worker_bytes:
        return Frame(arena_bytes)
    return Frame(arena_bytes, shared_services(code.door), code.worker_bytes)


def _addresses(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    found = [array.__array_interface__["data"][0] for array in arrays]
    return (ctypes.c_void_p * max(1, len(found)))(*found)

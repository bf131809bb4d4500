"""Hand-written kernels, and what runs a list of them from one compiled module."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from irgrad.backends.numba_cpu.llvm.compile import LoadedObject, compile_module, load_object
from irgrad.backends.numba_cpu.llvm.cpu import Cpu, host_cpu, named_cpu
from irgrad.backends.numba_cpu.llvm.entry import arena_bytes, program_module
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Affine, Buffer, Kernel, Let, Load, Statement, Store, affine
from irgrad.kernel.program import Call, Program, Slot
from irgrad.kernel.verify import verify_kernel

Arrays = dict[str, np.ndarray]


@dataclass
class Body:
    """Collects statements; methods return the names of the scalars that they define."""

    prefix: str = "v"
    statements: list[Statement] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)

    def _name(self, dtype: str) -> str:
        name = f"{self.prefix}{len(self.dtypes)}"
        self.dtypes[name] = dtype
        return name

    def let(self, op: str, *operands: str, dtype: str = "", value: object = None) -> str:
        """A primitive; its dtype is that of the last operand unless given."""
        dtype = dtype or self.dtypes[operands[-1]]
        name = self._name(dtype)
        self.statements.append(Let(name, op, operands, dtype, value))
        return name

    def constant(self, value: object, dtype: str = "f32") -> str:
        """A literal."""
        return self.let("constant", dtype=dtype, value=value)

    def load(self, buffer: str, dtype: str = "f32", constant: int = 0, **terms: int) -> str:
        """An element of a buffer, its address given by a coefficient for each index."""
        name = self._name(dtype)
        self.statements.append(Load(name, buffer, affine(constant, terms), dtype))
        return name

    def store(self, buffer: str, value: str, constant: int = 0, **terms: int) -> None:
        """A store to a buffer."""
        self.statements.append(Store(buffer, affine(constant, terms), value))

    def add(self, statement: Statement) -> None:
        """Any other statement."""
        self.statements.append(statement)

    @property
    def body(self) -> tuple[Statement, ...]:
        """The statements so far."""
        return tuple(self.statements)


def at(constant: int = 0, **terms: int) -> Affine:
    """An affine expression."""
    return affine(constant, terms)


def buffers(text: str) -> tuple[Buffer, ...]:
    """Buffers from text such as "read x f32 10, write o f32 5"."""
    parts = (part.split() for part in text.split(","))
    return tuple(Buffer(name, dtype, int(size), access) for access, name, dtype, size in parts)


def random_arrays(kernel: Kernel, seed: int = 0, special: bool = False) -> Arrays:
    """Arrays for a kernel's buffers; special: some NaN, infinities and signed zeros."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for buffer in kernel.buffers:
        dtype = DTYPES[buffer.dtype].numpy
        if dtype.kind == "b":
            array = rng.random(buffer.size) < 0.5
        elif dtype.kind == "f":
            array = rng.standard_normal(buffer.size).astype(dtype)
            if special and buffer.size:
                values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
                where = rng.random(buffer.size) < 0.15
                array[where] = rng.choice(values, where.sum())
        else:
            low = -9 if dtype.kind == "i" else 0
            array = rng.integers(low, 10, buffer.size).astype(dtype)
        arrays[buffer.name] = array
    return arrays


def copy_arrays(arrays: Arrays) -> Arrays:
    """The same arrays with memory of their own."""
    return {name: array.copy() for name, array in arrays.items()}


def processors() -> list[Cpu]:
    """What the tests compile for on this machine: every vector size that it can run."""
    host = host_cpu()
    if host.vector_bytes < 32:
        return [host]
    older = [named_cpu("x86-64-v3"), named_cpu("x86-64-v3", 16)]
    return [host, *older] if host.vector_bytes == 64 else older


def aligned(size: int) -> np.ndarray:
    """Bytes at an address that is a multiple of 64."""
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


class Runner:
    """Kernels in one module, all called by its entry."""

    def __init__(self, kernels: Sequence[Kernel], cpu: Cpu | None = None) -> None:
        self.cpu = cpu or host_cpu()
        for kernel in kernels:
            verify_kernel(kernel)
        inputs: list[tuple[str, int]] = []
        self.first: list[int] = []
        calls = []
        for number, kernel in enumerate(kernels):
            self.first.append(len(inputs))
            slots = tuple(Slot("input", len(inputs) + i) for i in range(len(kernel.buffers)))
            calls.append(Call(number, slots))
            inputs += [(b.dtype, b.size) for b in kernel.buffers]
        self.kernels = list(kernels)
        self.program = Program(tuple(kernels), tuple(calls), tuple(inputs), (), (), 0)
        self.object = compile_module(
            program_module(self.program, "test", self.cpu.vector_bytes), self.cpu
        )
        self.loaded: LoadedObject = load_object(self.object)
        signature = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)
        self.entry = signature(self.loaded.address("irg_test"))
        self.arena = aligned(arena_bytes(self.program, self.cpu.vector_bytes))

    def run(self, arrays: Sequence[Arrays]) -> tuple[int, np.ndarray]:
        """Run all kernels in place on their arrays; returns (entry's result, irg_ctx fields)."""
        context = np.zeros(5, np.int64)
        given = [
            group[b.name]
            for kernel, group in zip(self.kernels, arrays, strict=True)
            for b in kernel.buffers
        ]
        table = np.array([a.ctypes.data for a in given], np.uint64)
        status = self.entry(
            context.ctypes.data, None, table.ctypes.data, self.arena.ctypes.data
        )
        return status, context


def assert_same(kernel: Kernel, found: Arrays, wanted: Arrays, tolerance: float = 0.0) -> None:
    """Equal results in every buffer but scratch; tolerance: relative, 0 for equal values."""
    for buffer in kernel.buffers:
        if buffer.access == "local":
            continue
        a, b = found[buffer.name], wanted[buffer.name]
        message = f"{kernel.name}: buffer {buffer.name}"
        if tolerance and a.dtype.kind == "f":
            np.testing.assert_allclose(
                a, b, rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=message
            )
        else:
            np.testing.assert_array_equal(a, b, err_msg=message)


def same_bits(a: Arrays, b: Arrays, kernel: Kernel) -> bool:
    """Whether all results agree bit for bit, NaN payloads apart."""
    for buffer in kernel.buffers:
        if buffer.access == "local":
            continue
        x, y = a[buffer.name], b[buffer.name]
        if x.dtype.kind == "f":
            differ = (x.view(f"i{x.itemsize}") != y.view(f"i{x.itemsize}")) & ~(
                np.isnan(x) & np.isnan(y)
            )
            if differ.any():
                return False
        elif (x != y).any():
            return False
    return True

"""The vector functions of LLVM as loops over arrays, and arguments at which to try them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numpy as np

from irgrad.backends.common.formulas.table import ARITY, FUNCTIONS
from irgrad.backends.numba_cpu.llvm.vector_math import math_function

DTYPES = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
POINTS = 100_000
CASES = [(name, scalar) for name in sorted(FUNCTIONS) for scalar in DTYPES]

I64 = ir.IntType(64)


@dataclass(frozen=True)
class Kernels:
    """The compiled loops over arrays, one for each function, dtype and width."""

    engine: llvm.ExecutionEngine

    def __call__(self, name: str, scalar: str, width: int, *arrays: np.ndarray) -> np.ndarray:
        """The function over arrays whose length is a multiple of the width."""
        dtype = DTYPES[scalar]
        inputs = [np.ascontiguousarray(a, dtype=dtype) for a in arrays]
        out = np.empty_like(inputs[0])
        assert out.size % width == 0
        address = self.engine.get_function_address(_symbol(name, scalar, width))
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*inputs, out)]
        signature = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * len(pointers))
        signature(address)(out.size, *pointers)
        return out


def _symbol(name: str, scalar: str, width: int) -> str:
    return f"loop_{name}_v{width}{scalar}"


def _add_loop(module: ir.Module, name: str, scalar: str, width: int) -> None:
    """Adds void loop(i64 n, T* x..., T* out) that applies the function to whole vectors."""
    function = math_function(module, name, scalar, width)
    vector = function.ftype.return_type
    pointer = vector.element.as_pointer()
    arity = len(function.args)
    signature = ir.FunctionType(ir.VoidType(), [I64] + [pointer] * (arity + 1))
    loop_function = ir.Function(module, signature, _symbol(name, scalar, width))
    count, *inputs, out = loop_function.args
    entry, loop, done = (loop_function.append_basic_block(n) for n in ("entry", "loop", "done"))
    b = ir.IRBuilder(entry)
    b.branch(loop)
    b.position_at_end(loop)
    i = b.phi(I64)
    i.add_incoming(I64(0), entry)
    align = DTYPES[scalar].itemsize

    def at(array: ir.Value) -> ir.Value:
        return b.bitcast(b.gep(array, [i]), vector.as_pointer())

    values = [b.load(at(array), align=align) for array in inputs]
    b.store(b.call(function, values), at(out), align=align)
    following = b.add(i, I64(width))
    i.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, count), loop, done)
    b.position_at_end(done)
    b.ret_void()


def math_module(widths: Mapping[str, tuple[int, ...]]) -> ir.Module:
    """A module of loops over every function, by scalar type for these widths."""
    module = ir.Module("vector_math_test")
    module.triple = llvm.get_default_triple()
    for name, scalar in CASES:
        for width in widths[scalar]:
            _add_loop(module, name, scalar, width)
    return module


def target_machine(cpu: str | None = None) -> llvm.TargetMachine:
    """A machine for a named CPU or the host."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = cpu is None
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name() if host else cpu,
        features=llvm.get_host_cpu_features().flatten() if host else "",
        opt=2,
        reloc="pic",
        codemodel="small",
    )


def object_code(module: ir.Module, machine: llvm.TargetMachine) -> bytes:
    """The object file of a module after a short pipeline."""
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return machine.emit_object(parsed)


def compiled_loops(widths: Mapping[str, tuple[int, ...]]) -> Kernels:
    """The loops of `math_module`, ready to call."""
    data = object_code(math_module(widths), target_machine())
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return Kernels(engine)


def special_values(dtype: np.dtype) -> np.ndarray:
    """Zeros, infinities, NaN, denormal numbers and bounds of the formulas, of both signs."""
    info = np.finfo(dtype)
    positive = [
        0.0, np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal, info.tiny / 2, 0.5, 1.0,
        1.5, 2.0, 3.0, 4.0, 1e-4, 0.75, 10.0, 88.7, 89.4, 103.9, 104.1, 709.7, 710.4, 745.1, 746.0,
        np.pi, np.pi / 2, 1e5, 131073.0, 1e30, 1 - float(info.epsneg), 1 + float(info.eps),
    ]  # fmt: skip
    values = np.array(positive, dtype=dtype)
    return np.concatenate([values, -values])


def sample_arguments(name: str, scalar: str, points: int = POINTS) -> list[np.ndarray]:
    """Arguments over the whole range of the dtype, dense where the function moves, and specials."""
    dtype = DTYPES[scalar]
    rng = np.random.default_rng(len(name) * 1000 + ord(name[0]))
    patterns = rng.integers(0, 1 << (8 * dtype.itemsize), size=points // 4, dtype=np.uint64)
    anywhere = patterns.astype(f"u{dtype.itemsize}").view(dtype)
    turns = np.arange(-(points // 32), points // 32) * (np.pi / 2)
    near = [rng.uniform(-r, r, points // 8) for r in (1.0, 5.0, 30.0, 110.0, 760.0)]
    special = special_values(dtype)
    with np.errstate(over="ignore"):
        x = np.concatenate([anywhere, turns.astype(dtype), *(v.astype(dtype) for v in near)])
    if ARITY.get(name, 1) == 1:
        return [_whole_vectors(np.concatenate([x, special]))]
    y = rng.permutation(x)
    if name == "pow":
        # Every second pair has a positive base and a power in the range of the dtype.
        x[::2] = np.abs(x[::2])
        limit = 150 if scalar == "f32" else 1075
        with np.errstate(all="ignore"):
            y[::2] = limit * rng.uniform(-1, 1, y[::2].size) / np.abs(np.log2(x[::2]))
    first, second = (a.ravel() for a in np.meshgrid(special, special))
    pairs = np.concatenate([x, first]), np.concatenate([y, second])
    return [_whole_vectors(a) for a in pairs]


def _whole_vectors(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones(-x.size % 16, dtype=x.dtype)])

"""The entry of a program, object files, and the processors that code is made for."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys

import numpy as np
import pytest
from kernel_cases import Body, aligned, at, buffers
from llvmlite import ir
from test_llvm_primitives import primitive_kernel

from irgrad.backends.numba_cpu.llvm.compile import (
    assembly,
    compile_module,
    load_object,
    undefined_symbols,
)
from irgrad.backends.numba_cpu.llvm.cpu import host_cpu, named_cpu, vector_bytes_of
from irgrad.backends.numba_cpu.llvm.entry import arena_bytes, program_module
from irgrad.backends.numba_cpu.llvm.scalars import emit_primitive
from irgrad.errors import BackendError, InternalError, LoweringError
from irgrad.ir.dims import Size, symbol
from irgrad.kernel.ir import Buffer, Check, For, Kernel, Load, Store
from irgrad.kernel.program import Call, Program, Slot


def double_kernel(name: str, n: int) -> Kernel:
    """o = x + x."""
    b = Body()
    x = b.load("x", j=1)
    b.store("o", b.let("add", x, x), j=1)
    return Kernel(name, buffers(f"read x f32 {n}, write o f32 {n}"), (For("j", n, b.body),))


def guard_kernel(n: int) -> Kernel:
    """Checks x >= 0."""
    b = Body()
    x = b.load("x", j=1)
    b.add(Check(b.let("ge", x, b.constant(0.0), dtype="bool"), 3, at(j=1)))
    return Kernel("guard", buffers(f"read x f32 {n}"), (For("j", n, b.body),))


def guarded_program(n: int) -> Program:
    """A check, then o = 4x by way of the arena."""
    kernels = (guard_kernel(n), double_kernel("double", n), double_kernel("again", n))
    given, middle, result = Slot("input", 0), Slot("arena", 64), Slot("output", 0)
    calls = (Call(0, (given,)), Call(1, (given, middle)), Call(2, (middle, result)))
    size = 64 + 4 * n
    return Program(kernels, calls, (("f32", n),), (("f32", n),), (), size, guard_calls=1)


def test_entry_with_a_guard() -> None:
    n = 37
    program, cpu = guarded_program(n), host_cpu()
    module = program_module(program, "quadruple", cpu.vector_bytes)
    text = str(module)
    assert text.count("define internal void @\"kernel_") == 2, "equal kernels share a function"
    loaded = load_object(compile_module(module))
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)(
        loaded.address("irg_quadruple")
    )
    x, o = np.arange(n, dtype=np.float32), np.full(n, -1, np.float32)
    context = np.zeros(5, np.int64)
    table = np.array([x.ctypes.data, o.ctypes.data], np.uint64)
    arena = aligned(arena_bytes(program, cpu.vector_bytes))
    addresses = context.ctypes.data, None, table.ctypes.data, arena.ctypes.data
    assert entry(*addresses) == 0
    np.testing.assert_array_equal(o, 4 * x)
    x[[5, 20]] = -1
    o[:] = -1
    assert entry(*addresses) == 1
    assert list(context[:3]) == [1, 3, 5]
    np.testing.assert_array_equal(o, np.full(n, -1))


def test_every_named_processor_compiles() -> None:
    module = program_module(guarded_program(9), "named", 16)
    for name in ("x86-64-v3", "x86-64-v4", "neoverse-n1"):
        assert undefined_symbols(compile_module(module, named_cpu(name))) == set()
    with pytest.raises(BackendError, match="expected one of x86-64-v3"):
        named_cpu("z80")


def test_vector_sizes() -> None:
    wide = {"avx512f", "avx512vl", "avx512dq", "avx512bw", "avx2", "fma"}
    assert vector_bytes_of(wide) == 64
    assert vector_bytes_of(wide - {"avx512bw"}) == 32
    assert vector_bytes_of({"neon"}) == 16
    with pytest.raises(BackendError, match="expected a processor with AVX2 and FMA"):
        vector_bytes_of({"sse2", "avx"})


def test_no_fast_math_flag() -> None:
    kernels = [primitive_kernel(dtype)[0] for dtype in ("f32", "f64")]
    arguments = tuple(Slot("input", i) for i in range(max(len(k.buffers) for k in kernels)))
    calls = tuple(Call(i, arguments[: len(k.buffers)]) for i, k in enumerate(kernels))
    program = Program(tuple(kernels), calls, (("f32", 1),) * len(arguments), (), (), 0)
    text = str(program_module(program, "flags", 64))
    assert "fadd" in text and "llvm.fma" in text
    flags = r"\b(fast|nnan|ninf|nsz|arcp|contract|afn|reassoc|nsw|nuw|exact)\b"
    assert not re.search(flags, text)


@pytest.mark.skipif(host_cpu().vector_bytes != 64, reason="needs a processor with AVX-512")
def test_vectors_are_not_split() -> None:
    module = program_module(guarded_program(64), "wide", 64)
    assert "zmm" in assembly(module)


def test_objects_are_checked() -> None:
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "calls_out")
    builder = ir.IRBuilder(function.append_basic_block())
    outside = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "somewhere_else")
    builder.call(outside, [])
    builder.ret_void()
    with pytest.raises(InternalError, match="expected no undefined symbols, got .'somewhere_else'"):
        compile_module(module)
    with pytest.raises(InternalError, match="expected a 64-bit ELF file"):
        undefined_symbols(b"MZ not an object")
    loaded = load_object(compile_module(program_module(guarded_program(3), "small", 16)))
    with pytest.raises(InternalError, match="expected a function missing"):
        loaded.address("missing")


def test_broken_modules_do_not_end_the_process() -> None:
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "open")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(ir.Constant(ir.IntType(32), 1))
    with pytest.raises(InternalError, match="expected valid LLVM IR"):
        compile_module(module)


def test_kernels_that_depend_on_other_names_are_functions_of_their_own() -> None:
    body = (Load("v", "a", at(), "f32"), Store("r", at(), "v"))
    sizes: tuple[tuple[Size, tuple[str, ...]], ...] = ((4, ()), (symbol("n") + 1, ("n",)))
    kernels = tuple(
        Kernel(f"k{i}", (Buffer("a", "f32", size, "read"), Buffer("r", "f32", 1, "write")), body,
               dims=dims)
        for i, (size, dims) in enumerate(sizes)
    )  # fmt: skip
    calls = tuple(Call(i, (Slot("input", i), Slot("output", i))) for i in range(2))
    inputs = tuple(("f32", size) for size, _ in sizes)
    program = Program(kernels, calls, inputs, (("f32", 1),) * 2, (), 0, dims=("n",))
    text = str(program_module(program, "named", 32))
    heads = re.findall(r'define .* @"kernel_._k."\((.*)\)', text)
    assert [head.count("ptr") for head in heads] == [2, 3]


def test_primitives_of_other_dtypes_are_refused() -> None:
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), [ir.IntType(32)]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    with pytest.raises(LoweringError, match="expected a primitive of i32, got exp"):
        emit_primitive(builder, "exp", [function.args[0]], "i32", "i32", 1)


def test_importing_irgrad_loads_no_compiler() -> None:
    code = "import irgrad, irgrad.backends.numba_cpu, sys; print('llvmlite' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"

"""The generated contraction: bits, shapes, strides, epilogues, and what its code may contain."""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np
import pytest

llvm = pytest.importorskip("llvmlite.binding")
from llvmlite import ir  # noqa: E402

from irgrad.backends.numba_cpu.llvm.contraction import (  # noqa: E402
    Axis,
    ContractionSpec,
    EpilogueTile,
    contraction_function,
    workspace_bytes,
)
from irgrad.kernel.ir import PANEL_LENGTH  # noqa: E402

WIDTHS = (16, 32, 64)
DTYPES = {"f32": np.float32, "f64": np.float64}
GUARD = 64
SEED = 20240611


@dataclass(frozen=True)
class Case:
    """A spec with operand arrays; `starts` are the element offsets of index 0 in each array."""

    spec: ContractionSpec
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray]
    starts: tuple[int, int, int]


def target_machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        jit=True,
        reloc="pic",
    )


def optimised(module: ir.Module, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=1)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(parsed, builder)
    return parsed


def load_module(module: ir.Module) -> llvm.ExecutionEngine:
    machine = target_machine()
    emitted = machine.emit_object(optimised(module, machine))
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(emitted))
    engine.finalize_object()
    return engine


def new_module() -> ir.Module:
    machine = target_machine()
    module = ir.Module("test")
    module.triple = llvm.get_default_triple()
    module.data_layout = str(machine.target_data)
    return module


def add_door(function: ir.Function) -> str:
    """An external function of the same arguments, since contractions are internal."""
    name = f"door_{function.name}"
    door = ir.Function(function.module, function.function_type, name)
    builder = ir.IRBuilder(door.append_basic_block("entry"))
    builder.call(function, list(door.args))
    builder.ret_void()
    return name


def call_door(engine: llvm.ExecutionEngine, name: str, pointers: list[int]) -> None:
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))
    kind(engine.get_function_address(name))(*pointers)


def aligned_bytes(size: int) -> np.ndarray:
    """Scratch of `size` bytes aligned to 64, full of NaN bit patterns, with a guard behind it."""
    raw = np.full(size + GUARD + 64, 0xFF, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + size + GUARD]


def offsets(axes: tuple[Axis, ...], operand: str) -> np.ndarray:
    """Element offsets of a group, flattened row-major."""
    total = np.zeros((), np.int64)
    for axis in axes:
        total = total[..., None] + np.arange(axis.extent) * getattr(axis, operand)
    return total.reshape(-1)


def operand_values(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """A as (batch, m, k) and B as (batch, k, n), gathered index by index."""
    spec = case.spec
    a = offsets(spec.batch, "a")[:, None, None] + offsets(spec.m, "a")[:, None]
    b = offsets(spec.batch, "b")[:, None, None] + offsets(spec.k, "b")[:, None]
    a = case.arrays[0][a + offsets(spec.k, "a") + case.starts[0]]
    return a, case.arrays[1][b + offsets(spec.n, "b") + case.starts[1]]


def output_places(case: Case) -> np.ndarray:
    spec = case.spec
    c = offsets(spec.batch, "c")[:, None, None] + offsets(spec.m, "c")[:, None]
    return c + offsets(spec.n, "c") + case.starts[2]


def fma32(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x * y + z of f32, rounded once: exact product in f64, sum rounded to odd there."""
    with np.errstate(invalid="ignore"):
        product, addend = x.astype(np.float64) * y, z.astype(np.float64)
        total = product + addend
        part = total - product
        error = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    toward_zero = (error > 0) != (total > 0)
    odd = np.where(inexact, np.where(toward_zero, bits - 1, bits + 1), bits)
    return odd.view(np.float64).astype(np.float32)


def emulate32(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The stated numerics: a chain of fused multiply-adds per panel, totals added in order."""
    total = np.zeros((a.shape[0], a.shape[1], b.shape[2]), np.float32)
    for start in range(0, a.shape[2], PANEL_LENGTH):
        chain = np.zeros_like(total)
        for p in range(start, min(start + PANEL_LENGTH, a.shape[2])):
            chain = fma32(a[:, :, p, None], b[:, p, None, :], chain)
        total = chain if start == 0 else total + chain
    return total


def emulate64(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same for f64, by exact rationals."""
    total = np.zeros((a.shape[0], a.shape[1], b.shape[2]))
    for place in np.ndindex(total.shape):
        row = [Fraction(x) for x in a[place[0], place[1]]]
        column = [Fraction(x) for x in b[place[0], :, place[2]]]
        for start in range(0, len(row), PANEL_LENGTH):
            chain = 0.0
            for p in range(start, min(start + PANEL_LENGTH, len(row))):
                chain = float(row[p] * column[p] + Fraction(chain))
            total[place] = chain if start == 0 else total[place] + chain
    return total


def matrices(dtype: str, m: int, n: int, k: int, transposed: str, rng: np.random.Generator) -> Case:
    """Dense operands; `transposed` names those stored the other way round, such as "ab"."""
    strides = {
        "a": (1, m) if "a" in transposed else (k, 1),
        "b": (1, k) if "b" in transposed else (n, 1),
        "c": (1, m) if "c" in transposed else (n, 1),
    }
    spec = ContractionSpec(
        dtype,
        (),
        (Axis(m, strides["a"][0], 0, strides["c"][0]),),
        (Axis(n, 0, strides["b"][1], strides["c"][1]),),
        (Axis(k, strides["a"][1], strides["b"][0], 0),),
    )
    arrays = [rng.standard_normal(size).astype(DTYPES[dtype]) for size in (m * k, k * n, m * n)]
    return Case(spec, tuple(arrays), (0, 0, 0))


def random_group(rng: np.random.Generator, largest: int) -> list[int]:
    count = int(rng.integers(0, 4))
    return [int(rng.integers(1, largest + 1)) for _ in range(count)]


def random_layout(rng: np.random.Generator, extents: list[int], may_repeat: bool) -> list[int]:
    """Strides of a buffer with axes in random order, some reversed, gapped or repeated."""
    strides = [0] * len(extents)
    step = int(rng.choice([1, 1, 1, 2]))
    for axis in rng.permutation(len(extents)):
        if may_repeat and rng.random() < 0.1:
            continue
        strides[axis] = -step if rng.random() < 0.2 else step
        step *= extents[axis] + int(rng.random() < 0.2)
    return strides


def random_case(rng: np.random.Generator, dtype: str) -> Case:
    groups = [random_group(rng, largest) for largest in (3, 9, 9, 9)]
    if rng.random() < 0.3:
        groups[int(rng.integers(1, 4))].append(int(rng.integers(30, 300)))
    if rng.random() < 0.05:
        groups[int(rng.integers(0, 4))].append(0)
    while prod(sum(groups, [])) > 1_000_000:
        group = max(groups, key=prod)
        group.pop()
    used = {"a": (0, 1, 3), "b": (0, 3, 2), "c": (0, 1, 2)}
    strides, starts, arrays = {}, [], []
    for operand, members in used.items():
        flat = [(g, i) for g in members for i in range(len(groups[g]))]
        extents = [groups[g][i] for g, i in flat]
        chosen = random_layout(rng, extents, operand != "c")
        strides[operand] = dict(zip(flat, chosen))
        reach = [(max(extent, 1) - 1) * stride for extent, stride in zip(extents, chosen)]
        start = GUARD - sum(min(x, 0) for x in reach)
        size = start + sum(max(x, 0) for x in reach) + 1 + GUARD
        starts.append(start)
        arrays.append(rng.standard_normal(size).astype(DTYPES[dtype]))
    axes = [
        tuple(
            Axis(extent, *(strides[operand].get((g, i), 0) for operand in "abc"))
            for i, extent in enumerate(group)
        )
        for g, group in enumerate(groups)
    ]
    return Case(ContractionSpec(dtype, *axes), tuple(arrays), tuple(starts))


def run_cases(cases: list[Case], widths: tuple[int, ...] = WIDTHS) -> list[list[np.ndarray]]:
    """C's whole buffer of every case at every width, all from one compiled module.

    Checks that nothing is written outside of C's elements or behind the workspace.
    """
    module = new_module()
    doors = {
        (i, width): add_door(contraction_function(module, f"k{i}_{width}", case.spec, width))
        for i, case in enumerate(cases)
        for width in widths
    }
    engine = load_module(module)
    results = []
    for i, case in enumerate(cases):
        places = output_places(case)
        outside = np.ones(case.arrays[2].size, bool)
        outside[places.reshape(-1)] = False
        found = []
        for width in widths:
            item = case.arrays[0].itemsize
            c = np.full_like(case.arrays[2], np.nan)
            size = workspace_bytes(case.spec, width)
            scratch = aligned_bytes(size)
            pointers = [
                array.ctypes.data + item * start
                for array, start in zip((*case.arrays[:2], c), case.starts)
            ]
            call_door(engine, doors[i, width], [*pointers, scratch.ctypes.data])
            assert np.isnan(c[outside]).all(), (case.spec, width)
            assert (scratch[size:] == 0xFF).all(), (case.spec, width)
            found.append(c[places])
        results.append(found)
    return results


def assert_same_bits(left: np.ndarray, right: np.ndarray, what: object) -> None:
    kind = np.int32 if left.dtype == np.float32 else np.int64
    assert np.array_equal(left.view(kind), right.view(kind)), what


def test_f32_bits_are_the_stated_chain_at_every_width() -> None:
    rng = np.random.default_rng(SEED)
    sizes = [(1, 1, 1), (5, 3, 2), (17, 33, 65), (31, 70, 7), (8, 32, 256), (9, 40, 257)]
    sizes += [(15, 49, 600), (1, 90, 40), (90, 1, 40), (2, 10, 3), (64, 10, 31), (1, 1, 513)]
    layouts = ["", "a", "b", "ab", "c", "abc"]
    cases = [
        matrices("f32", *size, layout, rng)
        for size, layout in zip(sizes * 3, itertools.cycle(layouts + ["b"]))
    ]
    for case, found in zip(cases, run_cases(cases)):
        expected = emulate32(*operand_values(case))
        for width, c in zip(WIDTHS, found):
            assert_same_bits(c, expected, (case.spec, width))


def test_f64_bits_are_the_stated_chain_at_every_width() -> None:
    rng = np.random.default_rng(SEED)
    sizes = [((3, 5, 9), ""), ((2, 9, 300), "b"), ((9, 2, 257), "a"), ((1, 17, 31), "ab")]
    sizes.append(((9, 1, 70), ""))
    cases = [matrices("f64", *size, layout, rng) for size, layout in sizes]
    for case, found in zip(cases, run_cases(cases)):
        expected = emulate64(*operand_values(case))
        for width, c in zip(WIDTHS, found):
            assert_same_bits(c, expected, (case.spec, width))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_random_specs_agree_with_numpy_and_across_widths(dtype: str) -> None:
    seed = SEED + len(dtype) + (dtype == "f64")
    print("seed", seed)
    rng = np.random.default_rng(seed)
    cases = [random_case(rng, dtype) for _ in range(24)]
    for case, found in zip(cases, run_cases(cases)):
        a, b = operand_values(case)
        exact = np.matmul(a.astype(np.float64), b.astype(np.float64))
        scale = np.matmul(np.abs(a).astype(np.float64), np.abs(b).astype(np.float64))
        bound = (a.shape[2] + 2) * np.finfo(a.dtype).eps * scale
        assert (np.abs(found[0] - exact) <= bound).all(), case.spec
        if dtype == "f32":
            assert_same_bits(found[0], emulate32(a, b), case.spec)
        for c in found[1:]:
            assert_same_bits(c, found[0], case.spec)


def test_larger_blocks_agree_with_numpy_and_across_widths() -> None:
    rng = np.random.default_rng(SEED)
    sizes = [(270, 300, 600, ""), (140, 1100, 520, "b"), (300, 130, 700, "a"), (1030, 40, 300, "c")]
    cases = [matrices(dtype, *size, rng) for size in sizes for dtype in ("f32", "f64")]
    for case, found in zip(cases, run_cases(cases)):
        a, b = operand_values(case)
        exact = np.matmul(a.astype(np.float64), b.astype(np.float64))
        assert np.abs(found[0] - exact).max() <= 600 * np.finfo(a.dtype).eps * 40, case.spec
        for c in found[1:]:
            assert_same_bits(c, found[0], case.spec)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_bits_do_not_depend_on_position_or_layout(dtype: str) -> None:
    rng = np.random.default_rng(SEED)
    base = matrices(dtype, 45, 67, 300, "", rng)
    row, column = base.arrays[0][:300], base.arrays[1][::67].copy()
    dot = matrices(dtype, 1, 1, 300, "", rng)
    whole = Case(base.spec, (np.tile(row, 45), np.repeat(column, 67), base.arrays[2]), (0, 0, 0))
    turned = matrices(dtype, 45, 67, 300, "abc", rng)
    arrays = np.repeat(row, 45), np.tile(column, 67), base.arrays[2]
    cases = [Case(dot.spec, (row, column, dot.arrays[2]), (0, 0, 0)), whole]
    cases.append(Case(turned.spec, arrays, (0, 0, 0)))
    one, *others = run_cases(cases)
    for found in others:
        for c in found:
            assert_same_bits(c, np.full_like(c, one[0][0, 0, 0]), dtype)


def test_empty_sum_gives_zeros_and_empty_output_is_untouched() -> None:
    rng = np.random.default_rng(SEED)
    cases = [matrices("f32", 20, 37, 0, "", rng), matrices("f64", 1, 3, 0, "c", rng)]
    cases += [matrices("f32", 0, 5, 4, "", rng), matrices("f32", 5, 0, 4, "b", rng)]
    zeros, one, *empty = run_cases(cases)
    for c in [*zeros, *one]:
        assert_same_bits(c, np.zeros_like(c), "k = 0")
    assert all(c.size == 0 for found in empty for c in found)


def test_nan_and_infinity_reach_only_their_own_results() -> None:
    rng = np.random.default_rng(SEED)
    case = matrices("f32", 33, 35, 41, "", rng)
    a, b = case.arrays[0].reshape(33, 41), case.arrays[1].reshape(41, 35)
    a[32, 40] = np.nan
    a[3, 2] = np.inf
    b[5, 34] = -np.inf
    b[2, 7] = 0.0
    expected = emulate32(*operand_values(case))[0]
    assert np.isnan(expected[3, 7]) and np.isfinite(expected[0, 0])
    for c in run_cases([case])[0]:
        assert np.array_equal(c[0], expected, equal_nan=True)


def test_nan_in_scratch_memory_does_not_reach_results() -> None:
    rng = np.random.default_rng(SEED)
    case = matrices("f64", 13, 21, 300, "b", rng)
    for c in run_cases([case])[0]:
        assert np.isfinite(c).all()


def scalar_epilogue(dtype: str, scale: float) -> Callable[[ir.IRBuilder, EpilogueTile], None]:
    """Adds scale * sum + (1000 * batch + 10 * m + n) to element (batch, m, n) of an array.

    The array is the first extra pointer; its sizes come from the second: i64 (m, n).
    """
    i64 = ir.IntType(64)
    real = {"f32": ir.FloatType(), "f64": ir.DoubleType()}[dtype]

    def emit(builder: ir.IRBuilder, tile: EpilogueTile) -> None:
        out = builder.bitcast(tile.extra[0], real.as_pointer())
        sizes = builder.bitcast(tile.extra[1], i64.as_pointer())
        m_size = builder.load(sizes)
        n_size = builder.load(builder.gep(sizes, [i64(1)]))

        def loop(count: ir.Value, body: Callable[[ir.Value], None]) -> None:
            before = builder.block
            head, inside, done = (builder.append_basic_block() for _ in range(3))
            builder.branch(head)
            builder.position_at_end(head)
            index = builder.phi(i64)
            index.add_incoming(i64(0), before)
            builder.cbranch(builder.icmp_signed("<", index, count), inside, done)
            builder.position_at_end(inside)
            body(index)
            index.add_incoming(builder.add(index, i64(1)), builder.block)
            builder.branch(head)
            builder.position_at_end(done)

        def row(i: ir.Value) -> None:
            def element(j: ir.Value) -> None:
                place = builder.add(builder.mul(i, i64(tile.row_stride)), j)
                value = builder.load(builder.gep(tile.tile, [place]))
                m, n = builder.add(tile.m, i), builder.add(tile.n, j)
                tag = builder.add(builder.mul(tile.batch, i64(1000)), builder.mul(m, i64(10)))
                tag = builder.sitofp(builder.add(tag, n), real)
                flat = builder.add(builder.mul(tile.batch, m_size), m)
                target = builder.gep(out, [builder.add(builder.mul(flat, n_size), n)])
                value = builder.fadd(builder.fmul(value, ir.Constant(real, scale)), tag)
                builder.store(builder.fadd(builder.load(target), value), target)

            loop(tile.n_count, element)

        loop(tile.m_count, row)

    return emit


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_epilogue_sees_every_element_once_and_c_is_not_written(dtype: str) -> None:
    rng = np.random.default_rng(SEED)
    shapes = [(1, 1, 1, ""), (13, 70, 40, ""), (70, 1, 300, "a"), (1, 70, 20, "b")]
    shapes += [(37, 600, 530, "ab"), (5, 6, 0, "")]
    cases = [matrices(dtype, *shape, rng) for shape in shapes]
    batched = matrices(dtype, 9, 20, 12, "", rng)
    spec = batched.spec
    axes = (Axis(2, 9 * 12, 0, 9 * 20), Axis(3, 2 * 9 * 12, 12 * 20, 2 * 9 * 20))
    arrays = tuple(rng.standard_normal(6 * 9 * 20).astype(DTYPES[dtype]) for _ in range(3))
    spec = ContractionSpec(dtype, axes, spec.m, spec.n, spec.k)
    arrays = (np.resize(arrays[0], 6 * 9 * 12), np.resize(arrays[1], 3 * 12 * 20), arrays[2])
    cases.append(Case(spec, arrays, (0, 0, 0)))
    module = new_module()
    doors = {}
    calls = []
    scaled = scalar_epilogue(dtype, 2.0)

    def counted(builder: ir.IRBuilder, tile: EpilogueTile) -> None:
        calls.append(tile)
        scaled(builder, tile)

    for i, case in enumerate(cases):
        for width in WIDTHS:
            name = f"k{i}_{width}"
            function = contraction_function(module, name, case.spec, width, counted, 2)
            doors[i, width] = add_door(function)
    assert len(calls) == len(doors)
    engine = load_module(module)
    for i, case in enumerate(cases):
        a, b = operand_values(case)
        exact = np.matmul(a.astype(np.float64), b.astype(np.float64))
        shape = exact.shape
        tags = np.indices(shape)
        expected = 2 * exact + 1000 * tags[0] + 10 * tags[1] + tags[2]
        sizes = np.array(shape[1:], np.int64)
        for width in WIDTHS:
            out = np.zeros(shape, DTYPES[dtype])
            size = workspace_bytes(case.spec, width)
            scratch = aligned_bytes(size)
            c = case.arrays[2].copy()
            arrays = (*case.arrays[:2], c, scratch, out, sizes)
            call_door(engine, doors[i, width], [array.ctypes.data for array in arrays])
            assert np.array_equal(c, case.arrays[2]) and (scratch[size:] == 0xFF).all()
            tolerance = 1e-3 if dtype == "f32" else 1e-10
            assert np.allclose(out, expected, rtol=1e-6, atol=tolerance), (case.spec, width)


def test_code_calls_only_memory_functions_and_has_no_fast_math() -> None:
    rng = np.random.default_rng(SEED)
    module = new_module()
    for i, layout in enumerate(["", "a", "b", "c", "ab"]):
        for size in ((65, 130, 300), (6, 5, 0)):
            case = matrices("f32", *size, layout, rng)
            add_door(contraction_function(module, f"k{i}_{size[0]}", case.spec, 64))
    assert not re.search(r"\b(fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b", str(module))
    machine = target_machine()
    assembly = machine.emit_assembly(optimised(module, machine))
    defined = {name for name in module.globals if not name.startswith("llvm.")}
    pattern = r"^\s+(?:callq?|jmp|bl|movabsq)\s+\$?\"?([A-Za-z_][\w.]*)"
    used = set(re.findall(pattern, assembly, re.M))
    assert used & defined
    assert used - defined <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}


def test_contractions_of_one_module_share_micro_kernels() -> None:
    rng = np.random.default_rng(SEED)
    module = new_module()
    for i, layout in enumerate(["", "a", "b"]):
        case = matrices("f32", 64, 128, 32, layout, rng)
        contraction_function(module, f"k{i}", case.spec, 64)
    kernels = [f.name for f in module.functions if f.name.startswith("tile_")]
    assert len(kernels) == 1, kernels

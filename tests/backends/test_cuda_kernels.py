"""Kernels printed for CUDA, run by the block emulator against the meaning of the kernel IR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cuda_ops import (
    OpCase,
    cast_cases,
    integer_cases,
    memory_of,
    reduction_cases,
    registry_cases,
    run_plain,
)
from cuda_programs import PROGRAMS, arrays_for, kernels

import irgrad as ig
from irgrad.backends.common.formula_source import FUNCTIONS
from irgrad.backends.numba_cuda.emulator import run_source
from irgrad.backends.numba_cuda.printer import CudaSource, cuda_source
from irgrad.errors import BackendError, LoweringError
from irgrad.ir.location import Location
from irgrad.kernel.evaluate import evaluate_kernel, failed_checks
from irgrad.kernel.ir import (
    Accumulate,
    Buffer,
    Check,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
    affine,
    walk,
)
from irgrad.ops.registry import REGISTRY
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline

TOLERANCE = {4: (3e-6, 1e-6), 8: (1e-14, 1e-14)}  # relative and absolute, by bytes
ELEMENTARY_ERROR = {4: 6e-7, 8: 2e-15}  # relative, of a formula and of NumPy's function together
NOT_KERNELS = {"fused": "fused: expected an op", "dot_general": "got a contraction"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_emulator_agrees_with_the_kernel(name: str) -> None:
    for kernel in kernels(name):
        source = cuda_source(kernel)
        for seed in range(2):
            expected = arrays_for(kernel, seed)
            got, plain = ({n: a.copy() for n, a in expected.items()} for _ in range(2))
            failed = failed_checks(kernel, expected)
            first = run_source(source, got, blocks=min(source.schedule.blocks, 1 + 2 * seed))
            assert first == run_plain(kernel, plain) == min(failed, default=None)
            for buffer in kernel.buffers:
                if buffer.access != "local":
                    compare(expected[buffer.name], got[buffer.name])
                    assert same_bits(got[buffer.name], plain[buffer.name])


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether flat arrays are equal bit for bit; all NaN count as one."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    bits = f"i{a.itemsize}"
    return bool(np.all((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))))


def check_case(case: OpCase) -> None:
    """Each kernel in the emulator: the bits of the CPU's source, and those of the interpreter, but
    for formulas and fma, in which NumPy differs in the last bits."""
    for kernel, memory in memory_of(case):
        source = cuda_source(kernel)
        got, plain = ({n: a.copy() for n, a in memory.items()} for _ in range(2))
        failures = failed_checks(kernel, memory)
        failed = run_source(source, got, blocks=min(source.schedule.blocks, 2))
        assert failed == run_plain(kernel, plain) == min(failures, default=None), case.label
        ops = {s.op for s in walk(kernel.body) if isinstance(s, Let)}
        exact = not ops & ({"pow", "power", "fma"} | set(FUNCTIONS))
        for name in [b.name for b in kernel.buffers if b.access != "local"]:
            assert same_bits(got[name], plain[name]), (case.label, got[name], plain[name])
            if exact or got[name].dtype.kind != "f":
                assert same_bits(got[name], memory[name]), (case.label, got[name], memory[name])
                continue
            limits = np.finfo(got[name].dtype)
            np.testing.assert_allclose(
                got[name], memory[name], rtol=ELEMENTARY_ERROR[got[name].itemsize],
                atol=4 * limits.smallest_normal, err_msg=case.label,
            )  # fmt: skip


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_op_of_the_registry_runs_in_the_emulator(name: str) -> None:
    if name in NOT_KERNELS:
        with pytest.raises(LoweringError, match=NOT_KERNELS[name]):
            for case in registry_cases(name):
                for kernel in case.program.kernels:
                    cuda_source(kernel)
        return
    cases = list(registry_cases(name))
    assert cases
    for case in cases:
        check_case(case)


@pytest.mark.parametrize(
    ("name", "arity"),
    [("floor_divide", 2), ("remainder", 2), ("power", 2), ("abs", 1), ("sign", 1), ("neg", 1),
     ("add", 2), ("mul", 2), ("maximum", 2), ("minimum", 2), ("lt", 2), ("bitwise_xor", 2)],
)  # fmt: skip
def test_integers_of_all_sizes(name: str, arity: int) -> None:
    for case in integer_cases(name, arity):
        check_case(case)


def test_casts_between_all_dtypes_saturate_as_the_interpreter() -> None:
    for case in cast_cases():
        check_case(case)


def test_reductions_of_all_dtypes_have_the_bits_of_the_interpreter() -> None:
    for case in reduction_cases():
        check_case(case)


def compare(expected: np.ndarray, got: np.ndarray) -> None:
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected)
        return
    relative, absolute = TOLERANCE[expected.dtype.itemsize]
    # Elementary functions of NumPy differ in the last bits; cancellation in a sum shows them.
    scale = np.max(np.abs(expected), where=np.isfinite(expected), initial=1.0)
    np.testing.assert_allclose(got, expected, rtol=relative, atol=absolute * scale * 4)


def test_kinds_of_schedules() -> None:
    kinds = {name: cuda_source(kernels(name)[0]).schedule for name in PROGRAMS}
    assert kinds["gelu"].kind == "elementwise" and kinds["gelu"].threads == 256
    assert kinds["softmax"].kind == "rows" and kinds["softmax"].blocks == 3
    assert kinds["norm"].kind == kinds["sum of squares"].kind == "block"


def test_the_text_is_readable_and_the_same_each_time() -> None:
    (kernel,) = kernels("softmax")
    source = cuda_source(kernel)
    assert source == cuda_source(kernel)
    lines = [line.strip() for line in source.text.splitlines()]
    assert "for i0 in range(cuda.blockIdx.x, 3, cuda.gridDim.x):" in lines
    assert "for j0 in range(cuda.threadIdx.x, 100, 64):" in lines
    assert "v4 = exp_f32(v3)" in lines
    assert lines.count("syncthreads()") == 5
    assert source.emulated.count("yield syncthreads()") == 5
    assert "yield" not in source.text


def test_what_is_not_covered_is_named() -> None:
    for function, specs, words in (
        (lambda a, b: a @ b, ("f32[9,9]",) * 2, "got a contraction"),
        (lambda x: x * 2, ("bf16[9]",), "expected bool, an integer, f32 or f64, got bf16"),
        (lambda x: np.exp(x - x.max(axis=1, keepdims=True)) / x.sum(), ("f32[2,9000]",), None),
        (lambda x: ig.nn.softmax(x), ("f64[2,9000]",), "scratch arrays of at most 49152 bytes"),
    ):
        graph = ig.trace(function, *specs)
        run_passes(graph, pipeline("stable"), [])
        for kernel in lower(graph).kernels:
            if words is None:
                cuda_source(kernel)
                continue
            with pytest.raises(LoweringError, match=words):
                cuda_source(kernel)


READ = Buffer("a0", "f32", 130, "read")


def hand_made(buffers: tuple[Buffer, ...], *body: Statement) -> Kernel:
    """A kernel that no program of ours lowers to."""
    return Kernel("k0", buffers, body)


def test_a_reduction_of_nothing_is_its_identity() -> None:
    value = Load("v0", "a0", affine(0, {"j": 1}), "f32")
    total = Reduce("j", 0, (value,), (Reduction("v1", "sum", "v0", "f32"),))
    row = For("i", 2, (total, Store("r0", affine(0, {"i": 1}), "v1")))
    kernel = hand_made((Buffer("a0", "f32", 0, "read"), Buffer("r0", "f32", 2, "write")), row)
    arrays = {"a0": np.zeros(0, np.float32), "r0": np.full(2, np.nan, np.float32)}
    run_source(cuda_source(kernel), arrays)
    assert same_bits(arrays["r0"], np.zeros(2, np.float32))


def test_checks_of_rows_and_of_elements_give_the_least_failure() -> None:
    """Check 3 holds for rows, check 1 for elements; both fail in several places."""
    value = Load("v0", "a0", affine(0, {"i": 65, "j": 1}), "f32")
    one = Let("v1", "constant", (), "f32", 1.0)
    small = Let("v2", "lt", ("v0", "v1"), "bool")
    check = Check("v2", 1, affine(0, {"i": 65, "j": 1}))
    total = Reduce("j", 65, (value, one, small, check), (Reduction("v3", "all", "v2", "bool"),))
    row = For("i", 2, (total, Check("v3", 3, affine(0, {"i": 1}))))
    kernel = hand_made((READ,), row)
    source = cuda_source(kernel)
    assert (source.schedule.kind, source.checks) == ("rows", 4)
    assert source.parameters == (("a0", "f32"), ("failures", "i64"))
    for bad, expected in (((), None), ((129, 70, 128), (1, 70)), ((64, 3), (1, 3))):
        array = np.zeros(130, np.float32)
        array[list(bad)] = 2.0
        assert run_source(source, {"a0": array}) == expected
        assert min(failed_checks(kernel, {"a0": array}), default=None) == expected


def test_threads_share_no_loop_in_which_they_would_add_to_one_element() -> None:
    value = Load("v0", "a0", affine(0, {"i": 1}), "f32")
    start = Let("v1", "constant", (), "f32", 0.0)
    zero = For("z", 1, (start, Store("r0", affine(0, {}), "v1")))
    kernel = hand_made(
        (READ, Buffer("r0", "f32", 1, "update")), zero,
        For("i", 130, (value, Accumulate("sum", "r0", affine(0, {}), "v0"))),
    )  # fmt: skip
    arrays = {"a0": np.arange(130, dtype=np.float32), "r0": np.zeros(1, np.float32)}
    run_source(cuda_source(kernel), arrays)
    assert arrays["r0"] == 129 * 65


def test_lanes_count_as_scratch() -> None:
    value = Load("v0", "a0", affine(0, {"j": 1}), "f32")
    total = Reduce("j", 130, (value,), (Reduction("v1", "sum", "v0", "f32"),))
    for size, fits in ((12288 - 64, True), (12288 - 63, False)):
        kernel = hand_made((READ, Buffer("t0", "f32", size, "local")), total)
        if fits:
            cuda_source(kernel)
            continue
        with pytest.raises(LoweringError, match="at most 49152 bytes, got 49156"):
            cuda_source(kernel)


def test_columns_are_shared_by_threads() -> None:
    (kernel,) = kernels("columns")
    lines = [line.strip() for line in cuda_source(kernel).text.splitlines()]
    assert lines.count("for j0 in range(cuda.threadIdx.x, 40, 64):") == 1, lines
    assert "if cuda.threadIdx.x == 0:" not in lines


def test_a_line_of_the_user_ends_no_docstring() -> None:
    (kernel,) = kernels("softmax")
    line = Location('a"""b\\.py', 3, 'f"""', "")
    source = cuda_source(replace(kernel, origin=(line,), name="k 0-softmax"))
    assert source.name.isidentifier()
    run_source(source, arrays_for(kernel, 0))


def test_the_emulator_remembers_what_several_blocks_read() -> None:
    """Both blocks read element 0, which the only thread of the last one then writes."""
    value = Load("v0", "a0", affine(0, {}), "f32")
    store = Store("a0", affine(0, {"i": 1}), "v0")
    kernel = hand_made((Buffer("a0", "f32", 257, "update"),), For("i", 257, (value, store)))
    source = cuda_source(kernel)
    last = replace(source, emulated=source.emulated.replace("a0[i] =", "a0[(i + 1) % 257] ="))
    assert "% 257" in last.emulated and source.schedule.blocks == 2
    with pytest.raises(BackendError, match=r"two threads at a0\[0\]"):
        run_source(last, {"a0": np.zeros(257, np.float32)})


def broken(kernel: Kernel, old: str, new: str) -> CudaSource:
    """The source of a kernel with some text replaced, once."""
    source = cuda_source(kernel)
    assert old in source.emulated, source.emulated
    return replace(source, emulated=source.emulated.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "shared_v1_lane[0] = v1_lane\n        yield syncthreads()",
            "shared_v1_lane[0] = v1_lane",
            "expected a barrier between two threads",
        ),
        (
            "r0[100*i0 + j0] = v7\n        yield syncthreads()",
            "r0[100*i0 + j0] = v7\n        if cuda.threadIdx.x < 9: yield syncthreads()",
            "elsewhere",
        ),
        ("yield syncthreads()", "pass", "is read before it is written"),
        ("range(cuda.threadIdx.x, 100, 64)", "range(cuda.threadIdx.x, 101, 64)", "below 300"),
        ("t0[j0] = v4", "pass", "is read before it is written"),
        ("yield shuffle_down(v1_lane, 16)", "v1_lane", "nothing"),
    ],
)
def test_the_emulator_finds_planted_faults(old: str, new: str, message: str) -> None:
    (kernel,) = kernels("softmax")
    source = broken(kernel, old, new)
    arrays = arrays_for(kernel, 0)
    if new == "v1_lane":
        # The same everywhere: no fault of meeting, a wrong maximum.
        expected = {n: a.copy() for n, a in arrays.items()}
        evaluate_kernel(kernel, expected)
        run_source(source, arrays)
        assert not np.allclose(arrays["r0"], expected["r0"], rtol=1e-6, atol=0)
        return
    with pytest.raises(BackendError, match=message):
        run_source(source, arrays)

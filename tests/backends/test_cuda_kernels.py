"""Kernels printed for CUDA, run by the block emulator against the meaning of the kernel IR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cuda_programs import PROGRAMS, arrays_for, kernels

import irgrad as ig
from irgrad.backends.numba_cuda.emulator import run_source
from irgrad.backends.numba_cuda.printer import CudaSource, cuda_source
from irgrad.errors import BackendError, LoweringError
from irgrad.kernel.evaluate import evaluate_kernel
from irgrad.kernel.ir import Kernel
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline

TOLERANCE = {4: (3e-6, 1e-6), 8: (1e-14, 1e-14)}  # relative and absolute, by bytes


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_emulator_agrees_with_the_kernel(name: str) -> None:
    for kernel in kernels(name):
        source = cuda_source(kernel)
        for seed in range(2):
            expected = arrays_for(kernel, seed)
            got = {n: array.copy() for n, array in expected.items()}
            evaluate_kernel(kernel, expected)
            run_source(source, got, blocks=min(source.schedule.blocks, 1 + 2 * seed))
            for buffer in kernel.buffers:
                if buffer.access != "local":
                    compare(expected[buffer.name], got[buffer.name])


def compare(expected: np.ndarray, got: np.ndarray) -> None:
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected)
        return
    relative, absolute = TOLERANCE[expected.dtype.itemsize]
    # Elementary functions of NumPy differ in the last bits; cancellation in a sum shows them.
    scale = np.nanmax(np.abs(expected), initial=1.0)
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
        (lambda x: x // 3, ("i32[9]",), "got floor_divide"),
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

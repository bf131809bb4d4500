"""Machine code for two architectures from generated CUDA sources, where numba-cuda is installed."""

from __future__ import annotations

import importlib.util

import pytest
from cuda_programs import PROGRAMS, kernels

from irgrad.backends.numba_cuda.cubin import build_cubin
from irgrad.backends.numba_cuda.printer import cuda_source
from irgrad.errors import BackendError

INSTALLED = importlib.util.find_spec("numba_cuda") is not None
MOST_REGISTERS = 128  # half of what a thread may have: four blocks of 128 threads on a processor
BUILT = ("gelu", "softmax", "softmax of f64", "logsumexp", "norm", "loss", "variance", "positions",
         "position of truth", "truth", "sum of squares", "both sizes", "largest", "rounding",
         "truth values", "division", "division of f64", "integers", "small integers", "casts",
         "check", "padded", "columns")  # fmt: skip


@pytest.mark.skipif(not INSTALLED, reason="numba-cuda is not installed (extra `cuda`)")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_kernels_become_machine_code_without_spills(architecture: str) -> None:
    built = 0
    for name in BUILT:
        assert name in PROGRAMS
        for kernel in kernels(name):
            cubin = build_cubin(cuda_source(kernel), architecture)
            assert cubin.data[:4] == b"\x7fELF"
            assert kernel.name in cubin.symbol
            assert 0 < cubin.registers <= MOST_REGISTERS, (name, cubin.log)
            assert (cubin.stack, cubin.spill_stores, cubin.spill_loads) == (0, 0, 0), cubin.log
            print(f"{architecture} {kernel.name}: {cubin.registers} registers, no spills")
            built += 1
    assert built >= len(BUILT)


@pytest.mark.skipif(not INSTALLED, reason="numba-cuda is not installed (extra `cuda`)")
def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(BackendError, match="such as 'sm_80', got 'hopper'"):
        build_cubin(cuda_source(kernels("gelu")[0]), "hopper")


@pytest.mark.skipif(INSTALLED, reason="numba-cuda is installed")
def test_the_extra_is_named_where_it_is_missing() -> None:
    with pytest.raises(BackendError, match=r"pip install 'irgrad\[cuda\]'"):
        build_cubin(cuda_source(kernels("gelu")[0]), "sm_90")

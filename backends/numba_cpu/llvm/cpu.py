"""What code is generated for: a processor's LLVM name and features, and its vector size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from irgrad.errors import BackendError

AVX512 = ("avx512f", "avx512vl", "avx512dq", "avx512bw")


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor: LLVM triple ("" is the host's), CPU name, feature string, vector bytes."""

    triple: str
    name: str
    features: str
    vector_bytes: int


# Names that `named_cpu` knows: triple, features beyond what the LLVM name implies, vector bytes.
NAMED: Mapping[str, tuple[str, str, int]] = {
    "x86-64-v3": ("x86_64-unknown-linux-gnu", "", 32),
    "x86-64-v4": ("x86_64-unknown-linux-gnu", "-prefer-256-bit", 64),
    "neoverse-n1": ("aarch64-unknown-linux-gnu", "", 16),
}


@cache
def host_cpu() -> Cpu:
    """This machine's processor; raises BackendError below x86-64-v3 and NEON."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    size = vector_bytes_of({name for name, on in features.items() if on})
    text = features.flatten()
    if size == 64:
        # Some processors' default is to split 64-byte vectors.
        text += ",-prefer-256-bit"
    return Cpu("", llvm.get_host_cpu_name(), text, size)


def vector_bytes_of(features: set[str]) -> int:
    """The vector size for a set of LLVM feature names.

    Raises BackendError where vectors or fused multiply-add are missing.
    """
    if all(name in features for name in AVX512):
        return 64
    if {"avx2", "fma"} <= features:
        return 32
    if "neon" in features:
        return 16
    raise BackendError(
        'cpu: expected a processor with AVX2 and FMA (x86-64-v3) or NEON; use emit="numba" here'
    )


def named_cpu(name: str, vector_bytes: int | None = None) -> Cpu:
    """A processor by name, for code that runs elsewhere; vector_bytes overrides its vector size.

    Raises BackendError for a name that is not in `NAMED`.
    """
    if name not in NAMED:
        raise BackendError(f"cpu: expected one of {', '.join(NAMED)}, got {name}")
    triple, features, size = NAMED[name]
    return Cpu(triple, name, features, vector_bytes or size)

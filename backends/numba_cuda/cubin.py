"""Machine code for NVIDIA GPUs from generated sources, made without a GPU or a driver.

The only module that talks to numba-cuda and nvJitLink. A kernel takes raw pointers; it is compiled
to NVVM's LTO-IR and linked for an architecture with contraction of products and sums turned off, as
the kernel IR has an explicit fma.
"""

from __future__ import annotations

import linecache
import re
from dataclasses import dataclass
from typing import Any

from irgrad.backends.numba_cuda.printer import CudaSource
from irgrad.errors import BackendError

INSTALL = "pip install 'irgrad[cuda]'"
NUMBERS = {
    "registers": r"Used (\d+) registers",
    "stack": r"(\d+) bytes stack frame",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
}


@dataclass(frozen=True, slots=True)
class Cubin:
    """Machine code of one kernel and what the assembler says of it.

    data: an ELF file. symbol: the name of the kernel in it. architecture: such as "sm_90".
    registers: of a thread. stack, spill_stores, spill_loads: bytes of local memory of a thread.
    log: the linker's report.
    """

    data: bytes
    symbol: str
    architecture: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    log: str


def build_cubin(source: CudaSource, architecture: str) -> Cubin:
    """The machine code of a kernel for an architecture such as "sm_80".

    Raises BackendError where the compilers are not installed or refuse the source.
    """
    major, minor = _capability(architecture)
    try:
        import numba_cuda  # noqa: F401  (Numba's own `numba.cuda` cannot build without a driver)
        from numba import cuda
    except ImportError as error:
        raise BackendError(f"cuda: expected numba-cuda ({INSTALL}), got {error}") from error
    parts, _ = cuda.compile_all(  # type: ignore[attr-defined]
        _function(source),
        _signature(source),
        cc=(major, minor),
        output="ltoir",
        device=False,
        abi="numba",
        # Without the second number ptxas takes the first for a budget, and spills.
        launch_bounds=(source.schedule.threads, 1),
    )
    data, log = _link([getattr(part, "code", part) for part in parts], architecture)
    found = re.search(rb"\.text\.([\w$]*" + source.name.encode() + rb"[\w$]*)", data)
    if found is None:
        raise BackendError(f"cuda: expected code of {source.name} in the cubin, got none")
    numbers = {name: _number(pattern, log) for name, pattern in NUMBERS.items()}
    return Cubin(data, found.group(1).decode(), architecture, log=log, **numbers)


def _capability(architecture: str) -> tuple[int, int]:
    found = re.fullmatch(r"sm_(\d+)(\d)", architecture)
    if found is None:
        raise BackendError(f"cuda: expected an architecture such as 'sm_80', got {architecture!r}")
    return int(found.group(1)), int(found.group(2))


def _function(source: CudaSource) -> Any:
    """The kernel as a Python function, whose source tracebacks can show."""
    name = f"<cuda {source.name}>"
    linecache.cache[name] = (len(source.text), None, source.text.splitlines(True), name)
    namespace: dict[str, Any] = {}
    exec(compile(source.text, name, "exec"), namespace)
    return namespace[source.name]


def _signature(source: CudaSource) -> tuple[Any, ...]:
    from numba import types

    long = {"f": "float", "i": "int", "u": "uint"}
    return tuple(
        types.CPointer(getattr(types, long[dtype[0]] + dtype[1:])) for _, dtype in source.parameters
    )


def _link(parts: list[bytes], architecture: str) -> tuple[bytes, str]:
    """(cubin, log) of LTO-IR parts."""
    from cuda.bindings import nvjitlink

    options = [f"-arch={architecture}", "-lto", "-verbose", "-fma=0", "-ftz=0", "-prec-div=1",
               "-prec-sqrt=1"]  # fmt: skip
    handle = nvjitlink.create(len(options), options)
    try:
        for i, part in enumerate(parts):
            nvjitlink.add_data(handle, nvjitlink.InputType.LTOIR, part, len(part), f"part{i}")
        nvjitlink.complete(handle)
        data = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, data)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    except nvjitlink.nvJitLinkError as error:
        log = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, log)
        text = log.decode(errors="replace").strip("\0\n ")
        raise BackendError(f"cuda: expected the linker to accept the kernel, got {text}") from error
    finally:
        nvjitlink.destroy(handle)
    return bytes(data), log.decode(errors="replace").strip("\0")


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    return int(found.group(1)) if found else 0

"""From the source of a program to functions that can be called."""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from numba import types

from irgrad.ir.types import DTYPES
from irgrad.kernel.program import Program

from .program_text import ENTRY, ProgramText


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SourceCode:
    """A loaded module of Python.

    entry: the module's, jitted when jitted code first calls it. run: the same as plain Python,
    which calls jitted kernels. jitted: whether they are, else all of it is plain Python. text: the
    module, known to debuggers as the file `name`.
    """

    entry: Callable[..., Any]
    run: Callable[..., int]
    jitted: bool
    arena_bytes: int
    text: str
    name: str
    seconds: Mapping[str, float]


def load_module(
    found: ProgramText, name: str, on_kernel: Callable[[int], object] | None = None
) -> dict[str, Any]:
    """Run the text of a program as a module, compile its kernels, and give what it defines.

    The text becomes known under the file name `name`, so that tracebacks and debuggers show it.
    on_kernel: called after each kernel with the number of those that are compiled.
    """
    linecache.cache[name] = (len(found.text), None, found.text.splitlines(True), name)
    module: dict[str, Any] = {"__name__": "irgrad_kernels"}
    exec(compile(found.text, name, "exec"), module)
    for number, kernel in enumerate(found.kernels):
        function = module[kernel.name]
        if not isinstance(function, FunctionType):
            arrays = [*kernel.dtypes, *(["i64"] if kernel.checks else [])]
            function.compile((*map(_flat_array, arrays), *(types.int64 for _ in kernel.dims)))
        if on_kernel is not None:
            on_kernel(number + 1)
    return module


def loaded_code(
    module: Mapping[str, Any], program: Program, text: str, name: str, seconds: Mapping[str, float]
) -> SourceCode:
    """The code of a program whose module is loaded; the text is forgotten with it."""
    entry = module[ENTRY]
    jitted = not isinstance(entry, FunctionType)
    run = entry.py_func if jitted else entry
    code = SourceCode(entry, run, jitted, program.arena_bytes, text, name, seconds)
    weakref.finalize(code, _forget, name, linecache.cache[name])
    return code


def _flat_array(dtype: str) -> types.Array:
    from numba.np.numpy_support import from_dtype

    return types.Array(from_dtype(DTYPES[dtype].numpy), 1, "C")


def _forget(name: str, lines: object) -> None:
    """Drop a module's lines, unless others are known by its name by now."""
    if linecache.cache.get(name) is lines:
        del linecache.cache[name]

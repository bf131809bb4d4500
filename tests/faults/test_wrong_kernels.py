"""check="all" names the kernel, the element and the line where an emitter is off by one at the end
of a loop, in both forms of code. Sizes are odd, so that no vector width divides them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

import irgrad as ig
from irgrad.backends.numba_cpu.llvm import contraction_tile, loops, reductions
from irgrad.backends.numba_cpu.source.printer import _Printer
from irgrad.errors import CheckError

Function = Callable[..., Any]


def elementwise(x: Any) -> Any:
    return np.tanh(x) + 1


def total(x: Any) -> Any:
    return (x * x).sum()


def long_total(x: Any) -> Any:
    return (np.exp(np.sin(x)) / (1 + np.tanh(x))).sum()


def product(x: Any, y: Any) -> Any:
    return x @ y


def tail_of(count: Callable[[int], int], group: Function = loops.tail_group) -> Function:
    """The last iterations of a vector loop, another number of them."""
    return lambda index, lanes, start, active: group(index, lanes, start, count(active))


def moved_tail(
    index: str, lanes: int, start: int, active: int, group: Function = loops.tail_group
) -> Any:
    """The last iterations of a vector loop, begun one too early."""
    return group(index, lanes, start - 1, active)


def short_group(
    loop: Any, lanes: int, start: Any, left: int | None, group: Function = reductions._group
) -> Any:
    """The last iterations of a reduction without the very last."""
    return group(loop, lanes, start, left if left is None or left >= lanes else left - 1)


def short_mask(
    builder: Any, part: Any, bits: Any, mask: Function = contraction_tile._part_mask
) -> Any:
    """The columns of a vector of a tile without the last; single ones have no mask."""
    if part.width == 1:
        return mask(builder, part, bits)
    if bits is not None:
        return mask(builder, part, builder.lshr(bits, bits.type(1)))
    return mask(builder, replace(part, valid=part.valid - 1), None)


# What is planted in the emitter of LLVM, the function and its arguments, the kernel, the message.
LLVM: dict[str, tuple[Any, Function, tuple[str, ...], str, str]] = {
    "elementwise: the last element dropped": (
        (loops, "tail_group", tail_of(lambda active: active - 1)), elementwise, ("f64[37]",),
        "tanh_add", r"got nan instead of \S+ at flat index 36 \(element \[36\] of \[37\]\)"),
    "elementwise: the tail dropped": (
        (loops, "tail_group", tail_of(lambda active: 0)), elementwise, ("f32[3,15]",),
        "tanh_add", r"got nan instead of \S+ at flat index \d+ \(element \[\d, \d+\] of \[3, 15\]"),
    "elementwise: one too many": (
        (loops, "tail_group", tail_of(lambda active: active + 1)), elementwise, ("f64[37]",),
        "tanh_add", r"nothing written outside of result 0, got element 37 of float64\[37\]"),
    "elementwise: moved by one": (
        (loops, "tail_group", moved_tail), elementwise, ("f64[37]",),
        "tanh_add", r"got nan instead of \S+ at flat index 36 \(element \[36\] of \[37\]\)"),
    "reduction in registers: the last element dropped": (
        (reductions, "_group", short_group), total, ("f64[1003]",),
        "mul_reduce_sum", r"got \S+ instead of \S+ at flat index 0"),
    "reduction in memory: the last element dropped": (
        (reductions, "_group", short_group), long_total, ("f64[1003]",),
        "add_div_reduce_sum", r"got \S+ instead of \S+ at flat index 0"),
    "contraction: the last column dropped": (
        (contraction_tile, "_part_mask", short_mask), product, ("f64[5,7]", "f64[7,13]"),
        "dot_general", r"\S+ instead of \S+ at flat index \d+ \(element \[0, \d+\] of \[5, 13\]\)"),
}  # fmt: skip


def ranges(old: int, new: int) -> tuple[Any, ...]:
    """A printer of Python source that prints another number for the extent of some loops."""
    block = _Printer.block

    def wrong(self: _Printer, head: str) -> AbstractContextManager[None]:
        return block(self, head.replace(f"range({old})", f"range({new})"))

    return _Printer, "block", wrong


SOURCE: dict[str, tuple[Any, Function, tuple[str, ...], str, str]] = {
    "elementwise: the last element dropped": (
        ranges(37, 36), elementwise, ("f64[37]",),
        "tanh_add", r"got nan instead of \S+ at flat index 36 \(element \[36\] of \[37\]\)"),
    "elementwise: the tail dropped": (
        ranges(45, 32), elementwise, ("f32[3,15]",),
        "tanh_add", r"got nan instead of \S+ at flat index 32 \(element \[2, 2\] of \[3, 15\]\)"),
    "elementwise: one too many": (
        ranges(37, 38), elementwise, ("f64[37]",),
        "tanh_add", "a kernel that runs, got IndexError: index 37 is out of bounds"),
    "reduction: the last element dropped": (
        ranges(1003, 1002), total, ("f64[1003]",),
        "mul_reduce_sum", r"got \S+ instead of \S+ at flat index 0"),
    "contraction: the last column dropped": (
        ranges(13, 12), product, ("f64[5,7]", "f64[7,13]"),
        "dot_general", r"got nan instead of \S+ at flat index 12 \(element \[0, 12\] of \[5, 13\]"),
    "contraction: the last product dropped": (
        ranges(7, 6), product, ("f64[5,7]", "f64[7,13]"),
        "dot_general", r"got \S+ instead of \S+ at flat index 0 \(element \[0, 0\] of \[5, 13\]\)"),
}  # fmt: skip


def assert_named(f: Function, specs: tuple[str, ...], kernel: str, said: str, form: str) -> None:
    """Assert that the error of a compile names kernel, element, form and line."""
    with pytest.raises(CheckError) as found:
        ig.compile(f, *specs, check="all", emit=form)
    text = str(found.value)
    line = f.__code__.co_firstlineno + 1
    place = rf"\S*test_wrong_kernels.py:{line}"
    assert re.match(rf"kernel {kernel} \({place}\): expected .*{said}", text)
    assert f"; right as lowered, wrong as compiled for {form}: a " in text
    assert re.search(rf'\n  File ".*test_wrong_kernels.py", line {line}, in {f.__name__}\n', text)


def test_right_kernels_pass(no_kept_code: None) -> None:
    def all_of_them(x: Any, y: Any, a: Any, b: Any) -> Any:
        ig.check(x < 100, "x is small")
        return elementwise(x), total(y), product(a, b)

    ig.compile(all_of_them, "f64[37]", "f64[1003]", "f64[5,7]", "f64[7,13]", check="all")


@pytest.mark.parametrize("fault", LLVM)
def test_a_wrong_kernel_of_llvm_is_named(
    fault: str, monkeypatch: pytest.MonkeyPatch, no_kept_code: None
) -> None:
    place, f, specs, kernel, said = LLVM[fault]
    monkeypatch.setattr(*place)
    assert_named(f, specs, kernel, said, "llvm")


@pytest.mark.parametrize("fault", SOURCE)
def test_a_wrong_kernel_of_source_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, f, specs, kernel, said = SOURCE[fault]
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    ig.compile(f, *specs, check="all", emit="numba")
    monkeypatch.setattr(*place)
    assert_named(f, specs, kernel, said, "numba")


def test_a_compiled_kernel_of_source_that_writes_too_far_is_named(
    monkeypatch: pytest.MonkeyPatch, no_kept_code: None
) -> None:
    monkeypatch.setattr(*ranges(37, 38))
    said = r"nothing written outside of result 0, got element 37 of float64\[37\]"
    assert_named(elementwise, ("f64[37]",), "tanh_add", said, "numba")

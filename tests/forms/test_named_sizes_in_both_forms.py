"""Programs with named sizes, compiled once: LLVM, jitted source and plain Python give the same bits
at every size, and the two runs of the source the same dtypes of all locals.

`survey.py --symbolic` compares more random graphs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both_forms import load_source, named_differences, same_bits
from named_cases import (
    LARGE,
    SMALL,
    few_kernels,
    named_case,
    other_types,
    products,
    random_cases,
)

import irgrad.numpy as inp
from irgrad.backends.numba_cpu.source import printer
from irgrad.backends.numba_cpu.source.program_text import program_text
from irgrad.backends.numba_cpu.source.sizes import SizeTexts
from irgrad.ir.dims import symbol
from irgrad.ir.spec import parse_type
from irgrad.ir.types import DTYPES, TensorType
from irgrad.kernel.ir import Affine
from irgrad.kernel.run import run_program
from irgrad.tracing.trace import trace

N, M = symbol("n"), symbol("m")


def test_programs_at_every_size_from_one_compile() -> None:
    assert named_differences(few_kernels(), [*SMALL, *LARGE], SMALL) == []


def test_random_graphs_and_products_as_plain_python() -> None:
    cases = random_cases(range(14), SMALL)
    assert len(cases) > 10
    cases += [*products(), *other_types()]
    assert named_differences(cases, SMALL, SMALL, jitted=False) == []


# -- planted faults --------------------------------------------------------------------------------


def sums(x: Any, y: Any) -> Any:
    """Products over the name, and sums of them."""
    z = x @ y
    return inp.sum(inp.abs(z) @ y + z, axis=1), inp.sum(x * -0.0, axis=1)


def is_right(n: int) -> bool:
    """Whether the source as plain Python gives what its kernels mean."""
    graph = trace(sums, parse_type("f32[3,n]"), parse_type("f32[n,n]"))
    one, dims = named_case("sums", graph), {"n": n}
    arguments = one.arguments(dims)
    assert len(one.program.slots) > 1
    run = load_source(one.program, False).run_plain(arguments, dims)
    wanted = run_program(one.program, arguments, dims).results
    return all(same_bits(a, b) for a, b in zip(run.outputs, wanted, strict=True))


PLANTED = {
    "panels of another length": (printer, "PANEL_LENGTH", 64, 70),
    "fewer lanes": (printer, "_lane_count", lambda result: 16, 80),
    "sums of nothing are -0.0": (printer, "_empty", lambda result: "f32(-0.0)", 0),
    "slots upon each other": (SizeTexts, "largest", lambda self, sizes: "0", 3),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, attribute, fault, n = PLANTED[name]
    assert is_right(n)
    monkeypatch.setattr(holder, attribute, fault)
    assert not is_right(n)


# -- texts -----------------------------------------------------------------------------------------


def test_sizes_are_expressions_of_python() -> None:
    texts = SizeTexts({"n": "n", "m": "m_2"})
    assert texts.of(2 * N * N - M + 1) == "2*n*n-m_2+1"
    assert [texts.operand(x) for x in (7, N, N * M, N - 1)] == ["7", "n", "(m_2*n)", "(n-1)"]
    at = Affine(3 - N, (("i", M + 1), ("j", 1), ("k", -1 * N)))
    assert texts.offset(at) == "(m_2+1)*i + j - n*k - n+3"
    assert texts.slot_lines([(4 * N, 16), (8,), (M, N)]) == [
        "slot_0 = 0",
        "slot_1 = slot_0 + aligned(max(16, 4*n))",
        "slot_2 = slot_1 + aligned(8)",
        "slot_3 = slot_2 + aligned(max(1, m_2, n))",
    ]


def softmax_sums(x: Any) -> Any:
    """With an intermediate array."""
    z = inp.exp(x - inp.max(x, axis=3, keepdims=True))
    return inp.sum(z / inp.sum(z, axis=3, keepdims=True), axis=(0, 2))


def test_names_of_sizes_that_the_source_has_for_something_else() -> None:
    names = ("input_0", "fma", "slot_0", "lambda")
    dims = dict(zip(names, (2, 3, 4, 70), strict=True))
    graph = trace(softmax_sums, TensorType(DTYPES["f32"], tuple(map(symbol, names))))
    one = named_case("names", graph)
    text = program_text(one.program).text
    assert "arena, fma_, input_0_2, lambda_, slot_0_2):" in text
    arguments = one.arguments(dims)
    run = load_source(one.program, False).run_plain(arguments, dims)
    (wanted,) = run_program(one.program, arguments, dims).results
    np.testing.assert_allclose(run.outputs[0].reshape(wanted.shape), wanted, rtol=1e-6)

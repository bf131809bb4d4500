"""Hand-written and random kernels: LLVM, jitted source and plain Python give the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from both_forms import Case, differences, load_source
from kernel_cases import Body, at, buffers, random_arrays
from test_llvm_random_kernels import Maker

from irgrad.backends.numba_cpu.source import printer
from irgrad.backends.numba_cpu.source.program_text import standalone_text
from irgrad.kernel.ir import (
    Accumulate,
    Contract,
    ContractionIndex,
    For,
    Kernel,
    Reduce,
    Reduction,
    Store,
    affine,
)
from irgrad.kernel.program import Call, Program, Result, Slot

KINDS = {
    "f": ("sum", "prod", "max", "min", "argmax", "argmin"),
    "i": ("sum", "max", "argmin"),
    "u": ("prod", "min", "argmax"),
    "b": ("any", "all", "argmax", "argmin"),
}


def kernel_case(kernel: Kernel, seed: int, special: bool = False) -> Case:
    """A program of one kernel, whose buffers are inputs; those that it writes are its results."""
    kept = [b for b in kernel.buffers if b.access != "local"]
    assert len(kept) == len(kernel.buffers)
    program = Program(
        (kernel,),
        (Call(0, tuple(Slot("input", i) for i in range(len(kept)))),),
        tuple((b.dtype, b.size) for b in kept),
        (),
        tuple(
            Result("donated", i, (b.size,), b.dtype)
            for i, b in enumerate(kept)
            if b.access != "read"
        ),
        0,
        frozenset(i for i, b in enumerate(kept) if b.access != "read"),
    )
    arrays = random_arrays(kernel, seed, special)
    return Case(kernel.name, program, tuple(arrays[b.name] for b in kept))


def reductions(dtype: str, extent: int) -> Kernel:
    """All reductions of a dtype over one loop, for each of four rows."""
    b = Body()
    value = b.load("x", dtype, i=extent, j=1)
    kinds = KINDS[dtype[0]] if extent else KINDS[dtype[0]][:2]
    results = tuple(Reduction(f"s_{kind}", kind, value, dtype) for kind in kinds)
    stores = tuple(Store(f"o_{kind}", at(i=1), f"s_{kind}") for kind in kinds)
    text = f"read x {dtype} {4 * extent}"
    for kind in kinds:
        text += f", write o_{kind} {'i64' if kind.startswith('arg') else dtype} 4"
    body = (For("i", 4, (Reduce("j", extent, b.body, results), *stores)),)
    return Kernel(f"reduce_{dtype}_{extent}", buffers(text), body)


EXTENTS = {"f32": (0, 1, 200), "f64": (32, 131), "i32": (1, 70), "u64": (70,), "bool": (70,)}


def reduction_cases() -> list[Case]:
    """Reductions of each dtype and length; of floats also NaN, infinities and signed zeros."""
    kernels = [reductions(dtype, extent) for dtype in EXTENTS for extent in EXTENTS[dtype]]
    cases = [kernel_case(kernel, i) for i, kernel in enumerate(kernels)]
    for one in cases:
        if one.arguments[0].dtype.kind == "f":
            _make_special(one.arguments[0].reshape(4, -1))
    return cases


def _make_special(rows: np.ndarray) -> None:
    """The third row infinite with NaN twice, the fourth of both zeros."""
    length = rows.shape[1]
    rows[2] = -np.inf
    rows[2, length // 2 :: max(1, length // 4)] = np.nan
    rows[3] = np.where(np.arange(length) % 3, 0.0, -0.0)


def mixed_reduction() -> Kernel:
    """Results of 64 and of 32 lanes over one loop, whose body stores, too."""
    b = Body()
    x = b.load("x", "f32", j=1)
    wide = b.let("cast", x, dtype="f64")
    b.store("y", wide, j=1)
    kinds = (("a", "sum", x, "f32"), ("b", "sum", wide, "f64"), ("c", "argmin", wide, "f64"))
    results = tuple(Reduction(*one) for one in kinds)
    stores = tuple(Store(f"o_{name}", at(), name) for name in "abc")
    text = "read x f32 100, write y f64 100, write o_a f32 1, write o_b f64 1, write o_c i64 1"
    return Kernel("mixed", buffers(text), (Reduce("j", 100, b.body, results), *stores))


def contraction(dtype: str, sizes: tuple[int, int, int], split: bool = False) -> Kernel:
    """A product of matrices with an epilogue; split: its axes are two indices each."""
    m, n, k = sizes
    b = Body("e")
    b.dtypes["sum"] = dtype
    b.store("o", b.let("add", "sum", b.load("bias", dtype, column=1)), row=n, column=1)

    def group(name: str, size: int) -> tuple[ContractionIndex, ...]:
        if not split:
            return (ContractionIndex(name, size),)
        return (ContractionIndex(f"{name}0", size // 2), ContractionIndex(f"{name}1", 2))

    def place(**steps: int) -> object:
        if not split:
            return affine(0, steps)
        halves = {f"{name}{i}": step * (2, 1)[i] for name, step in steps.items() for i in range(2)}
        return affine(0, halves)

    statement = Contract(
        "sum", dtype, (), group("m", m), group("n", n), group("k", k),
        "x", place(m=k, k=1), "y", place(n=1, k=n), "row", "column", b.body,  # type: ignore[arg-type]
    )  # fmt: skip
    text = f"read x {dtype} {m * k}, read y {dtype} {k * n}, read bias {dtype} {n}"
    text += f", write o {dtype} {m * n}"
    return Kernel(f"dot_{dtype}_{m}_{n}_{k}_{split}", buffers(text), (statement,))


def contraction_cases() -> list[Case]:
    """Products of up to three panels, of no terms and of no rows."""
    kernels = [contraction("f32", sizes) for sizes in ((3, 5, 7), (2, 3, 256), (5, 2, 257))]
    kernels += [contraction("f32", (1, 4, 600)), contraction("f32", (3, 2, 0))]
    kernels += [contraction("f32", (0, 2, 3)), contraction("f64", (4, 3, 520), split=True)]
    kernels += [contraction("i32", (3, 4, 300)), contraction("u8", (2, 6, 4), split=True)]
    cases = [kernel_case(kernel, i) for i, kernel in enumerate(kernels)]
    deep = kernel_case(contraction("f32", (2, 3, 300)), 20)
    x, y, bias = deep.arguments[:3]
    x[:300], bias[:] = -np.abs(x[:300]) * np.float32(1e-38), -0.0
    y[:] = np.abs(y) * np.float32(1e-38)  # so that the panels of the first row are -0.0
    return [*cases, deep]


def accumulation(dtype: str, kind: str) -> Kernel:
    """Into a row of results, in the order of the loops."""
    b = Body()
    value = b.load("x", dtype, i=5, j=1)
    b.add(Accumulate(kind, "o", at(j=1), value))
    body = (For("i", 7, (For("j", 5, b.body),), False),)
    return Kernel(f"{kind}_{dtype}", buffers(f"read x {dtype} 35, update o {dtype} 5"), body)


def narrow_indices() -> Kernel:
    """Loop indices beyond what a dtype holds wrap around."""
    b = Body()
    for dtype in ("i8", "u8", "i16"):
        b.store(f"o_{dtype}", b.let("index", "j", dtype=dtype), j=1)
    text = "write o_i8 i8 300, write o_u8 u8 300, write o_i16 i16 300"
    return Kernel("indices", buffers(text), (For("j", 300, b.body),))


def other_cases() -> list[Case]:
    """Accumulations, reductions of unlike lanes in one loop, and indices."""
    kernels = [accumulation("f32", kind) for kind in ("sum", "prod", "max")]
    kernels += [accumulation("i8", "sum"), accumulation("u16", "prod"), accumulation("bool", "all")]
    kernels += [mixed_reduction(), narrow_indices()]
    return [kernel_case(kernel, i) for i, kernel in enumerate(kernels)]


def test_hand_written_and_random_kernels() -> None:
    kernels = [Maker(70_000 + i).kernel(f"random_{i}") for i in range(5)]
    made = [kernel_case(kernel, i, special=i % 3 == 0) for i, kernel in enumerate(kernels)]
    cases = [*reduction_cases(), *contraction_cases(), *other_cases(), *made]
    assert differences(cases) == []


PLANTED = {
    "panels of another length": ("PANEL_LENGTH", 128, contraction("f32", (3, 2, 300))),
    "fewer lanes": ("_lane_count", lambda result: 16, reductions("f32", 200)),
    "sums that start from 0": ("neutral_value", lambda kind, dtype: 0.0, reductions("f32", 65)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, fault, kernel = PLANTED[name]
    monkeypatch.setattr(printer, attribute, fault)
    assert differences([kernel_case(kernel, 0)], plain=False) != []


def taken_names() -> Kernel:
    """Names that Python or the source has for something else."""
    b = Body("lambda")
    value = b.load("np", "f32", range=1)
    b.store("f32", b.let("neg", value), range=1)
    body = (For("range", 4, b.body),)
    return Kernel("import x; y", buffers("read np f32 4, write f32 f32 4"), body)


def test_names_that_python_or_the_source_takes() -> None:
    text = standalone_text(taken_names())
    assert "def import_x__y(np_, f32_):" in text and "for range_ in range(4):" in text
    one = kernel_case(taken_names(), 0)
    source = load_source(one.program)
    for run in (source.run_jitted(one.arguments), source.run_plain(one.arguments)):
        np.testing.assert_array_equal(run.inputs[1], -one.arguments[0])

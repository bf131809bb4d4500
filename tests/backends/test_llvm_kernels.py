"""Emitted kernels against their slow meaning, at odd sizes and every vector size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from kernel_cases import (
    Arrays,
    Body,
    Runner,
    assert_same,
    at,
    buffers,
    copy_arrays,
    processors,
    random_arrays,
    same_bits,
)

from irgrad.backends.numba_cpu.llvm.compile import undefined_symbols
from irgrad.backends.numba_cpu.llvm.cpu import Cpu
from irgrad.kernel.evaluate import evaluate_kernel, failed_checks
from irgrad.kernel.ir import (
    Accumulate,
    Check,
    Contract,
    ContractionIndex,
    For,
    Kernel,
    Let,
    Reduce,
    Reduction,
)

SIZES = (0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 65, 100, 131)


@dataclass(frozen=True)
class Group:
    """Kernels with the relative tolerance of their results; special: also on arrays with NaN,
    infinities and signed zeros."""

    kernels: list[Kernel]
    tolerance: float = 0.0
    special: bool = False


# -- loads and stores ------------------------------------------------------------------------------


def access_kernel(n: int, dtype: str) -> Kernel:
    """Every kind of coefficient: 1, 0, -1, another, at loads and stores."""
    b = Body()
    x = b.load("x", dtype, j=1)
    y = b.load("y", dtype, constant=max(n - 1, 0), j=-1)
    z = b.load("z", dtype, constant=1, j=3)
    s = b.load("s", dtype, constant=2)
    total = b.let("add", b.let("mul", x, s), b.let("sub", y, z))
    b.store("o", total, j=1)
    b.store("p", total, constant=max(n - 1, 0), j=-1)
    b.store("q", total, j=2)
    b.store("t", b.let("lt", x, y, dtype="bool"), constant=1, j=1)
    text = (
        f"read x {dtype} {n + 1}, read y {dtype} {n + 1}, read z {dtype} {3 * n + 2}, "
        f"read s {dtype} 3, write o {dtype} {n + 1}, write p {dtype} {n + 1}, "
        f"write q {dtype} {2 * n + 1}, write t bool {n + 2}"
    )
    return Kernel(f"access_{dtype}_{n}", buffers(text), (For("j", n, b.body),))


def matrix_kernel(rows: int, columns: int) -> Kernel:
    """A transposed load, a broadcast row and column, and rows stored backwards."""
    b = Body()
    x = b.load("x", i=1, j=rows)
    total = b.let("fma", x, b.load("r", j=1), b.load("c", i=1))
    b.store("o", total, constant=(rows - 1) * columns, i=-columns, j=1)
    size = rows * columns
    text = f"read x f32 {size}, read r f32 {columns}, read c f32 {rows}, write o f32 {size}"
    body = (For("i", rows, (For("j", columns, b.body),)),)
    return Kernel(f"matrix_{rows}_{columns}", buffers(text), body)


def bool_kernel(n: int) -> Kernel:
    """Bools loaded in both directions, combined, and stored."""
    b = Body()
    x, y = b.load("x", "bool", j=1), b.load("y", "bool", constant=max(n - 1, 0), j=-1)
    z = b.load("z", "bool", j=2)
    value = b.let("xor", b.let("and", x, y), b.let("not", b.let("or", y, z)))
    b.store("o", value, j=1)
    b.store("p", b.let("select", value, x, z), constant=max(n - 1, 0), j=-1)
    text = (
        f"read x bool {n + 1}, read y bool {n + 1}, read z bool {2 * n + 1}, "
        f"write o bool {n + 1}, write p bool {n + 1}"
    )
    return Kernel(f"bool_{n}", buffers(text), (For("j", n, b.body),))


def mixed_kernel(n: int) -> Kernel:
    """f32, f64, i32, i64, bool and loop indices in one loop."""
    b = Body()
    x, y, k = b.load("x", "f32", j=1), b.load("y", "f64", j=1), b.load("k", "i32", j=1)
    wide = b.let("cast", x, dtype="f64")
    total = b.let("add", b.let("mul", wide, y), b.let("cast", k, dtype="f64"))
    j = b.let("index", "j", dtype="i64")
    i = b.let("index", "i", dtype="i32")
    place = b.let("add", j, b.let("cast", b.let("mul", i, k), dtype="i64"))
    b.store("o", total, i=n, j=1)
    b.store("p", place, i=n, j=1)
    b.store("q", b.let("cast", total, dtype="f32"), i=n, j=1)
    odd = b.let("eq", b.let("and", j, b.constant(1, "i64")), b.constant(1, "i64"), dtype="bool")
    b.store("t", odd, i=n, j=1)
    b.store("f", b.let("index", "j", dtype="f32"), i=n, j=1)
    text = (
        f"read x f32 {n}, read y f64 {n}, read k i32 {n}, write o f64 {3 * n}, "
        f"write p i64 {3 * n}, write q f32 {3 * n}, write t bool {3 * n}, write f f32 {3 * n}"
    )
    return Kernel(f"mixed_{n}", buffers(text), (For("i", 3, (For("j", n, b.body),)),))


def accesses() -> Group:
    kernels = [access_kernel(n, dtype) for n in SIZES for dtype in ("f32", "f64")]
    kernels += [access_kernel(n, dtype) for n in (3, 37) for dtype in ("i8", "u16", "i32", "i64")]
    return Group(kernels)


def matrices_bools_and_mixed_dtypes() -> Group:
    kernels = [matrix_kernel(r, c) for r, c in ((1, 1), (3, 17), (17, 3), (33, 40), (9, 2))]
    kernels += [bool_kernel(n) for n in (1, 7, 64, 65, 130)]
    kernels += [mixed_kernel(n) for n in (1, 4, 9, 37)]
    return Group(kernels)


def permute_kernel(a: int, b: int, c: int, swap: bool, dtype: str = "f32") -> Kernel:
    """The first axis moved to the end, added to another such array and to a plain one; swap: the
    loops are written in the order of the operand instead of the result."""
    body = Body()
    x = body.load("x", dtype, i=b * c, j=c, k=1)
    y = body.load("y", dtype, constant=2, i=b * c, j=c, k=1)
    total = body.let("add", body.let("mul", x, y), body.load("z", dtype, j=a * c, k=a, i=1))
    body.store("o", total, j=a * c, k=a, i=1)
    size = a * b * c
    text = f"read x {dtype} {size}, read y {dtype} {size + 2}, read z {dtype} {size}"
    nest: tuple = body.body
    for index in ("k", "j", "i") if swap else ("i", "k", "j"):
        nest = (For(index, {"i": a, "j": b, "k": c}[index], nest),)
    name = f"permute_{a}_{b}_{c}_{swap}_{dtype}"
    return Kernel(name, buffers(f"{text}, write o {dtype} {size}"), nest)


def strided_kernel(n: int, stride: int, dtype: str) -> Kernel:
    """Loads and a store at a distance, from both ends."""
    b = Body()
    last = abs(stride) * n
    x = b.load("x", dtype, constant=0 if stride > 0 else last, j=stride)
    y = b.load("x", dtype, constant=1 if stride < 0 else last, j=-stride)
    combined = b.let("xor" if dtype == "bool" else "sub", x, y)
    b.store("o", combined, constant=last if stride < 0 else 0, j=stride)
    text = f"read x {dtype} {last + 2}, write o {dtype} {last + 1}"
    return Kernel(f"strided_{n}_{stride}_{dtype}", buffers(text), (For("j", n, b.body),))


def tiles_and_strides() -> Group:
    shapes = ((40, 2, 33), (16, 1, 16), (17, 3, 70), (150, 1, 130), (5, 4, 40))
    kernels = [permute_kernel(*s, swap) for s in shapes for swap in (False, True)]
    kernels += [permute_kernel(19, 2, 35, False, dtype) for dtype in ("f64", "i32", "i64")]
    kernels += [
        strided_kernel(n, stride, dtype)
        for n in (1, 16, 37)
        for stride in (2, 3, -4, 5, -7)
        for dtype in ("f32", "f64", "bool", "i64")
    ]
    return Group(kernels)


# -- nests of small loops --------------------------------------------------------------------------


def small_rows_kernel(rows: int, columns: int) -> Kernel:
    """Softmax over a few columns, all in registers: rows may become lanes."""
    first, second, third = Body("a"), Body("b"), Body("c")
    x = first.load("x", i=columns, j=1)
    second.dtypes.update(first.dtypes, m="f32")
    e = second.let("exp", second.let("sub", second.load("x", i=columns, j=1), "m"))
    third.dtypes.update(s="f32", m="f32")
    e2 = third.let("exp", third.let("sub", third.load("x", i=columns, j=1), "m"))
    third.store("o", third.let("div", e2, "s"), i=columns, j=1)
    body = (
        Reduce("j", columns, first.body, (Reduction("m", "max", x, "f32"),)),
        Reduce("j", columns, second.body, (Reduction("s", "sum", e, "f32"),)),
        For("j", columns, third.body),
    )
    size = rows * columns
    text = f"read x f32 {size}, write o f32 {size}"
    return Kernel(f"rows_{rows}_{columns}", buffers(text), (For("i", rows, body),))


def rows_of_few_columns() -> Group:
    kernels = [small_rows_kernel(r, c) for r in (1, 7, 16, 37) for c in (1, 2, 3, 4, 7)]
    return Group(kernels, tolerance=1e-6)


def sequential_kernel(n: int) -> Kernel:
    """Each iteration reads what the one before has written, in a loop and in a reduction."""
    b = Body("a")
    total = b.let("add", b.load("x", j=1), b.load("o", j=1))
    b.store("o", total, constant=1, j=1)
    c = Body("b")
    value = c.let("mul", c.load("p", j=1), c.load("x", j=1))
    c.store("p", value, constant=1, j=1)
    results = (Reduction("m", "max", value, "f32"), Reduction("w", "argmin", value, "f32"))
    body = (
        For("j", n, b.body, False),
        Reduce("j", n, c.body, results),
    )
    end = Body("c", dtypes={"m": "f32", "w": "i64"})
    end.store("q", "m")
    end.store("r", "w")
    text = (
        f"read x f32 {n}, update o f32 {n + 1}, update p f32 {n + 1}, write q f32 1, write r i64 1"
    )
    return Kernel(f"sequential_{n}", buffers(text), body + end.body)


def iterations_that_depend_on_each_other() -> Group:
    return Group([sequential_kernel(n) for n in (1, 2, 7, 40, 150)])


# -- reductions ------------------------------------------------------------------------------------

NUMBER_KINDS = ("sum", "prod", "max", "min", "argmax", "argmin")


def reduction_kernel(n: int, dtype: str, kinds: tuple[str, ...], heavy: bool = False) -> Kernel:
    """All kinds of reductions of each row at once."""
    b = Body()
    value = b.load("x", dtype, i=n, j=1)
    if heavy:
        value = b.let("exp", value)
    end = Body("w")
    results = []
    text = f"read x {dtype} {3 * n + 1}"
    for kind in kinds:
        results.append(Reduction(f"r_{kind}", kind, value, dtype))
        end.store(f"o_{kind}", f"r_{kind}", i=1)
        text += f", write o_{kind} {'i64' if kind.startswith('arg') else dtype} 3"
    body = (Reduce("j", n, b.body, tuple(results)), *end.body)
    name = f"reduce_{dtype}_{n}_{len(kinds)}_{heavy}"
    return Kernel(name, buffers(text), (For("i", 3, body),))


def reductions_of_floats() -> Group:
    sizes = (1, 2, 3, 5, 16, 17, 31, 33, 63, 65, 128, 129, 200, 515)
    kernels = [reduction_kernel(n, dtype, NUMBER_KINDS) for n in sizes for dtype in ("f32", "f64")]
    kernels += [reduction_kernel(n, dtype, ("sum",)) for n in (0, 7, 129, 640) for dtype in
                ("f32", "f64")]  # fmt: skip
    return Group(kernels, special=True)


def reductions_of_integers_and_bools() -> Group:
    sizes = (1, 3, 5, 31, 64, 70, 200)
    kernels = [
        reduction_kernel(n, dtype, NUMBER_KINDS)
        for n in sizes
        for dtype in ("i32", "i64", "u8", "i16")
    ]
    kinds = ("any", "all", "max", "min", "argmax", "argmin")
    kernels += [reduction_kernel(n, "bool", kinds) for n in sizes]
    kernels += [reduction_kernel(0, "bool", ("any", "all")), reduction_kernel(0, "i32", ("prod",))]
    return Group(kernels)


def reductions_of_larger_bodies() -> Group:
    sizes = (1, 3, 15, 16, 64, 65, 129, 400)
    kernels = [
        reduction_kernel(n, dtype, ("sum", "max", "argmax"), True)
        for n in sizes
        for dtype in ("f32", "f64")
    ]
    return Group(kernels, tolerance=1e-5)


def mixed_reduction_kernel(n: int) -> Kernel:
    """Reductions of several dtypes over one loop that also stores."""
    b = Body()
    x, k, t = b.load("x", "f32", j=1), b.load("k", "i64", j=1), b.load("t", "bool", j=1)
    wide = b.let("cast", x, dtype="f64")
    b.store("o", b.let("mul", x, x), j=1)
    results = tuple(
        Reduction(f"r{i}", kind, value, dtype)
        for i, (kind, value, dtype) in enumerate(
            (("sum", x, "f32"), ("sum", wide, "f64"), ("sum", k, "i64"), ("any", t, "bool"),
             ("argmax", wide, "f64"), ("argmin", x, "f32"))
        )
    )  # fmt: skip
    end = Body("w")
    text = f"read x f32 {n}, read k i64 {n}, read t bool {n}, write o f32 {n}"
    for i, dtype in enumerate(("f32", "f64", "i64", "bool", "i64", "i64")):
        end.store(f"o{i}", f"r{i}")
        text += f", write o{i} {dtype} 1"
    body = (Reduce("j", n, b.body, results), *end.body)
    return Kernel(f"mixed_reduction_{n}", buffers(text), body)


def reductions_of_several_dtypes() -> Group:
    return Group([mixed_reduction_kernel(n) for n in (1, 3, 4, 31, 33, 64, 65, 200)])


def softmax_kernel(rows: int, columns: int) -> Kernel:
    """Row reductions, a row buffer, and row scalars used in a later loop."""
    first, second, third = Body("a"), Body("b"), Body("c")
    x = first.load("x", i=columns, j=1)
    e = second.let("exp", second.let("sub", second.load("x", i=columns, j=1), "m", dtype="f32"))
    second.store("t", e, j=1)
    third.store("o", third.let("mul", third.load("t", j=1), "q", dtype="f32"), i=columns, j=1)
    middle = Body("d")
    one = middle.constant(1.0)
    body = (
        Reduce("j", columns, first.body, (Reduction("m", "max", x, "f32"),)),
        Reduce("j", columns, second.body, (Reduction("s", "sum", e, "f32"),)),
        *middle.body,
        Let("q", "div", (one, "s"), "f32"),
        For("j", columns, third.body),
    )
    size = rows * columns
    text = f"read x f32 {size}, write o f32 {size}, local t f32 {columns}"
    return Kernel(f"softmax_{rows}_{columns}", buffers(text), (For("i", rows, body),))


def softmax_with_a_row_buffer() -> Group:
    kernels = [softmax_kernel(r, c) for r, c in ((1, 1), (5, 3), (3, 10), (2, 64), (2, 203))]
    return Group(kernels, tolerance=1e-6)


# -- accumulation ----------------------------------------------------------------------------------


def accumulate_kernel(rows: int, columns: int, kind: str, dtype: str, point: bool) -> Kernel:
    """Columns combined over rows; point: all elements into one."""
    b = Body("a")
    value = b.load("x", dtype, i=columns, j=1)
    target = at() if point else at(j=1)
    b.add(Accumulate(kind, "o", target, value))
    b.add(Accumulate(kind, "p", at(constant=columns - 1, j=-1), value))
    b.add(Accumulate(kind, "q", at(j=3), value))
    text = (
        f"read x {dtype} {rows * columns}, update o {dtype} {columns}, "
        f"update p {dtype} {columns}, update q {dtype} {3 * columns}"
    )
    body = (For("i", rows, (For("j", columns, b.body, False),), False),)
    return Kernel(f"accumulate_{kind}_{columns}_{point}", buffers(text), body)


def accumulation() -> Group:
    kernels = [
        accumulate_kernel(4, columns, kind, dtype, point)
        for columns in (1, 3, 16, 37)
        for kind, dtype in (("sum", "f32"), ("prod", "f64"), ("max", "f32"), ("min", "i32"),
                            ("any", "bool"), ("all", "bool"))
        for point in (False, True)
    ]  # fmt: skip
    return Group(kernels, special=True)


# -- checks ----------------------------------------------------------------------------------------


def check_kernel(n: int, stride: int) -> Kernel:
    """Two checks at each element, positions counted up or down."""
    b = Body()
    x = b.load("x", i=n, j=1)
    zero = b.constant(0.0)
    b.add(Check(b.let("ge", x, zero, dtype="bool"), 1, at(constant=1000, i=50, j=stride)))
    b.add(Check(b.let("ne", x, zero, dtype="bool"), 0, at(constant=1000, i=50, j=stride)))
    b.store("o", x, i=n, j=1)
    text = f"read x f32 {2 * n}, write o f32 {2 * n}"
    body = (For("i", 2, (For("j", n, b.body),)),)
    return Kernel(f"check_{n}_{stride}", buffers(text), body)


CHECKED = ((1, 1), (3, -1), (16, 2), (37, 1), (37, -1))


@pytest.mark.parametrize("cpu", processors(), ids=lambda cpu: str(cpu.vector_bytes))
def test_checks(cpu: Cpu) -> None:
    kernels = [check_kernel(n, stride) for n, stride in CHECKED]
    runner = Runner(kernels, cpu)
    for number, kernel in enumerate(kernels):
        size = kernel.buffers[0].size
        for bad in ({}, {size - 1: -1.0}, {0: -1.0, size // 2: -2.0}, {size - 1: 0.0, 0: -1.0}):
            xs = [np.ones(k.buffers[0].size, np.float32) for k in kernels]
            for place, value in bad.items():
                xs[number][place] = value
            given = [{"x": x, "o": np.zeros_like(x)} for x in xs]
            failures = failed_checks(kernel, copy_arrays(given[number]))
            _, context = runner.run(given)
            for arrays, x in zip(given, xs, strict=True):
                np.testing.assert_array_equal(arrays["o"], x)
            assert context[0] == (1 if failures else 0)
            if failures:
                assert tuple(context[1:3]) == min(failures)


# -- contractions ----------------------------------------------------------------------------------


def _index(name: str, extent: int) -> tuple[ContractionIndex, ...]:
    return (ContractionIndex(name, extent),)


def contract_kernel(
    m: int, n: int, k: int, dtype: str = "f32", epilogue: bool = True, batch: int = 0
) -> Kernel:
    """x @ w, alone or followed by bias and relu and a second result."""
    group = _index("b", batch) if batch else ()
    count = max(batch, 1)
    b = Body("e", dtypes={"c": dtype})
    if epilogue:
        biased = b.let("add", "c", b.load("bias", dtype, column=1))
        scaled = b.let("mul", biased, b.load("scale", dtype, row=1))
        zero = b.constant(0.0 if dtype.startswith("f") else 0, dtype)
        b.store("o", b.let("maximum", scaled, zero), b=m * n, row=n, column=1)
        b.store("p", biased, constant=count * m * n - 1, b=-m * n, row=-n, column=-1)
    else:
        b.store("o", "c", b=m * n, row=n, column=1)
    if not batch:
        b.statements = [
            type(s)(s.buffer, at(s.at.constant, **{t: c for t, c in s.at.terms if t != "b"}),
                    s.value) if hasattr(s, "at") and hasattr(s, "value") else s
            for s in b.statements
        ]  # fmt: skip
    terms = {"b": m * k} if batch else {}
    lhs = at(i=k, l=1, **terms)
    terms = {"b": k * n} if batch else {}
    rhs = at(l=n, j=1, **terms)
    contract = Contract(
        "c", dtype, group, _index("i", m), _index("j", n), _index("l", k),
        "x", lhs, "w", rhs, "row", "column", b.body,
    )  # fmt: skip
    text = (
        f"read x {dtype} {count * m * k}, read w {dtype} {count * k * n}, "
        f"write o {dtype} {count * m * n}"
    )
    if epilogue:
        text += f", read bias {dtype} {n}, read scale {dtype} {m}, write p {dtype} {count * m * n}"
    name = f"contract_{dtype}_{m}_{n}_{k}_{epilogue}_{batch}"
    return Kernel(name, buffers(text), (contract,))


def contractions_of_floats() -> Group:
    shapes = ((1, 1, 1), (5, 7, 3), (17, 33, 20), (4, 1, 9), (37, 1, 5), (1, 40, 6), (3, 5, 0))
    kernels = [
        contract_kernel(m, n, k, dtype, epilogue)
        for m, n, k in shapes
        for dtype in ("f32", "f64")
        for epilogue in (False, True)
    ]
    kernels += [contract_kernel(6, 19, 4, "f32", epilogue, 3) for epilogue in (False, True)]
    kernels += [contract_kernel(2, 3, 300)]
    return Group(kernels, tolerance=1e-6)


def contractions_of_integers() -> Group:
    kernels = [
        contract_kernel(m, n, k, dtype, True, batch)
        for m, n, k, batch in ((1, 1, 1, 0), (5, 7, 3, 2), (3, 4, 0, 0))
        for dtype in ("i32", "i64")
    ]
    return Group(kernels)


# -- all of them -----------------------------------------------------------------------------------

GROUPS = (
    accesses,
    matrices_bools_and_mixed_dtypes,
    tiles_and_strides,
    rows_of_few_columns,
    iterations_that_depend_on_each_other,
    reductions_of_floats,
    reductions_of_integers_and_bools,
    reductions_of_larger_bodies,
    reductions_of_several_dtypes,
    softmax_with_a_row_buffer,
    accumulation,
    contractions_of_floats,
    contractions_of_integers,
)


@dataclass(frozen=True)
class Run:
    """What one kernel was given, what its meaning makes of that, and what each processor did."""

    kernel: Kernel
    wanted: Arrays
    found: dict[int, Arrays]


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    """All kernels of all groups in one module for each processor; `name special` with NaN."""
    groups = {f.__name__: f() for f in GROUPS}
    kernels = [
        replace(kernel, name=f"{name}_{kernel.name}")
        for name, group in groups.items()
        for kernel in group.kernels
    ]
    labels = [name for name, group in groups.items() for _ in group.kernels]
    runners = [Runner(kernels, cpu) for cpu in processors()]
    for runner in runners:
        assert undefined_symbols(runner.object) == set()
    runs: dict[str, list[Run]] = {}
    for special in (False, True):
        given = [random_arrays(k, seed, special) for seed, k in enumerate(kernels)]
        found: dict[int, list[Arrays]] = {}
        for runner in runners:
            found[runner.cpu.vector_bytes] = [copy_arrays(arrays) for arrays in given]
            status, _ = runner.run(found[runner.cpu.vector_bytes])
            assert status == 0
        for number, (label, kernel) in enumerate(zip(labels, kernels, strict=True)):
            if special and not groups[label].special:
                continue
            wanted = copy_arrays(given[number])
            evaluate_kernel(kernel, wanted)
            runs.setdefault(label, []).append(
                Run(kernel, wanted, {size: arrays[number] for size, arrays in found.items()})
            )
    return runs


@pytest.mark.parametrize("group", GROUPS, ids=lambda f: f.__name__)
def test_kernels_do_what_they_mean(
    runs: dict[str, list[Run]], group: Callable[[], Group]
) -> None:
    """Every kernel equals its meaning, and the vector sizes each other bit for bit."""
    made = group()
    assert len(runs[group.__name__]) == len(made.kernels) * (1 + made.special)
    for run in runs[group.__name__]:
        first = next(iter(run.found.values()))
        for size, found in run.found.items():
            assert_same(run.kernel, found, run.wanted, made.tolerance)
            assert same_bits(found, first, run.kernel), f"{run.kernel.name} at {size} bytes"

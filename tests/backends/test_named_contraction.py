"""The generated contraction of named sizes: compiled once, the stated bits at every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pytest

pytest.importorskip("llvmlite.binding")
from test_contraction import (  # noqa: E402
    DTYPES,
    GUARD,
    SEED,
    WIDTHS,
    Case,
    add_door,
    aligned_bytes,
    assert_same_bits,
    call_door,
    emulate32,
    load_module,
    new_module,
    operand_values,
    output_places,
    scalar_epilogue,
)

from irgrad.backends.numba_cpu.llvm.contraction import (  # noqa: E402
    Axis,
    ContractionSpec,
    contraction_function,
    workspace_bytes,
)
from irgrad.backends.numba_cpu.llvm.contraction_switches import contraction_switches  # noqa: E402
from irgrad.ir.dims import Size, evaluate, symbol  # noqa: E402

N, M = symbol("n"), symbol("m")
DIMS = ("m", "n")
GROUPS = {"batch": "abc", "m": "ac", "n": "bc", "k": "ab"}
Extents = tuple[Size, ...]


def dense(dtype: str, groups: Sequence[Extents], orders: Sequence[str]) -> ContractionSpec:
    """A spec of the groups batch, m, n and k; `orders` gives each operand's groups, outer first.

    Uppercase M, N or K stands for the group with its axes in reverse.
    """
    names = ("batch", "m", "n", "k")
    strides: list[dict[tuple[str, int], Size]] = []
    for order in orders:
        found: dict[tuple[str, int], Size] = {}
        step: Size = 1
        for letter in reversed(order):
            name = "batch" if letter == "b" else letter.lower()
            axes = list(enumerate(groups[names.index(name)]))
            for axis, extent in axes if letter.isupper() else reversed(axes):
                found[name, axis] = step
                step = step * extent
        strides.append(found)
    return ContractionSpec(
        dtype,
        *(
            tuple(
                Axis(extent, *(found.get((name, i), 0) for found in strides))
                for i, extent in enumerate(group)
            )
            for name, group in zip(names, groups, strict=True)
        ),
    )


def sized(spec: ContractionSpec, dims: Mapping[str, int]) -> ContractionSpec:
    """The spec with numbers."""

    def axes(group: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(
            Axis(*(evaluate(s, dims) for s in (x.extent, x.a, x.b, x.c))) for x in group
        )

    return ContractionSpec(spec.dtype, *(axes(getattr(spec, name)) for name in GROUPS))


def case_at(spec: ContractionSpec, dims: Mapping[str, int], rng: np.random.Generator) -> Case:
    """Operands of a spec at some sizes; C has a guard at both ends."""
    found = sized(spec, dims)
    arrays = []
    for operand in "abc":
        axes = [x for name, users in GROUPS.items() if operand in users
                for x in getattr(found, name)]  # fmt: skip
        count = 1 + sum(max(axis.extent - 1, 0) * getattr(axis, operand) for axis in axes)
        arrays.append(rng.standard_normal(count + 2 * GUARD * (operand == "c")))
    a, b, c = (array.astype(DTYPES[spec.dtype]) for array in arrays)
    return Case(found, (a, b, c), (0, 0, GUARD))


def expected_of(case: Case) -> np.ndarray:
    """The stated chain for f32, else NumPy's product."""
    if 0 in [x.extent for name in GROUPS for x in getattr(case.spec, name)]:
        return np.zeros(output_places(case).shape, DTYPES[case.spec.dtype])
    a, b = operand_values(case)
    return emulate32(a, b) if case.spec.dtype == "f32" else np.matmul(a, b)


def check(
    specs: Sequence[ContractionSpec],
    sizes: Sequence[Mapping[str, int]],
    widths: tuple[int, ...] = WIDTHS,
) -> None:
    """Every spec at all sizes: expected values, equal bits at all widths, nothing outside of C."""
    module = new_module()
    doors = {
        (i, width): add_door(
            contraction_function(module, f"k{i}_{width}", spec, width, dims=DIMS)
        )
        for (i, spec), width in product(enumerate(specs), widths)
    }
    engine, rng = load_module(module), np.random.default_rng(SEED)
    for (i, spec), dims in product(enumerate(specs), sizes):
        case = case_at(spec, dims, rng)
        places, expected = output_places(case), expected_of(case)
        outside = np.ones(case.arrays[2].size, bool)
        outside[places.reshape(-1)] = False
        values = np.array([dims[name] for name in DIMS], np.int64)
        found = []
        for width in widths:
            a, b, c = case.arrays[0], case.arrays[1], np.full_like(case.arrays[2], np.nan)
            size = workspace_bytes(spec, width)
            scratch = aligned_bytes(size)
            pointers = [a.ctypes.data, b.ctypes.data, c[GUARD:].ctypes.data]
            pointers += [scratch.ctypes.data, values.ctypes.data]
            call_door(engine, doors[i, width], pointers)
            assert np.isnan(c[outside]).all() and (scratch[size:] == 0xFF).all(), (spec, dims)
            found.append(c[places])
        what = spec, dims
        if spec.dtype == "f32":
            assert_same_bits(found[0], expected, what)
        assert np.allclose(found[0], expected, rtol=1e-4, atol=1e-4), what
        for other in found[1:]:
            assert_same_bits(other, found[0], what)


LAYERS = (
    dense("f32", ((), (N,), (130,), (29,)), ("mk", "kn", "mn")),  # rows
    dense("f32", ((), (N,), (45,), (70,)), ("mk", "nk", "mn")),  # rows, B the other way round
    dense("f32", ((), (70,), (45,), (N,)), ("km", "kn", "mn")),  # sums, in panels
    dense("f32", ((), (90,), (5,), (N,)), ("km", "kn", "mn")),  # roles swap where sums are deep
    dense("f64", ((), (N,), (1,), (33,)), ("mk", "nk", "mn")),  # one column
    dense("f64", ((), (N,), (9,), (20,)), ("mk", "kn", "nm")),  # C the other way round
)
TWO_NAMES = (
    dense("f32", ((2,), (N,), (M,), (20,)), ("bmk", "bnk", "bmn")),
    dense("f32", ((M,), (N,), (10,), (N,)), ("bmk", "bkn", "bmn")),
    dense("f64", ((M,), (3, N), (N, 2), (7,)), ("bkm", "kbn", "bmn")),
    # Named indices that no stride describes: tables of one panel.
    dense("f32", ((), (5,), (21,), (N, 3)), ("Km", "kn", "mn")),
    dense("f64", ((), (N, 3), (M, 4), (2, N)), ("kM", "NK", "mn")),
    dense("f32", ((M,), (4, N), (70,), (6,)), ("bkM", "bnk", "bnm")),
)


def test_a_layer_at_every_number_of_rows() -> None:
    check(LAYERS, [{"m": 0, "n": n} for n in (0, 1, 2, 3, 5, 7, 16, 17, 31, 64, 257, 600)])


def test_two_named_sizes_in_any_group() -> None:
    pairs = ((0, 3), (3, 0), (1, 1), (2, 7), (7, 1), (4, 16), (17, 15), (6, 33), (65, 40), (3, 130))
    check(TWO_NAMES, [{"m": m, "n": n} for m, n in pairs], WIDTHS[1:])


def test_an_epilogue_sees_every_element_once() -> None:
    specs = [
        dense("f32", ((), (N,), (70,), (300,)), ("mk", "kn", "mn")),
        dense("f32", ((2,), (N,), (M,), (N,)), ("bmk", "bnk", "bmn")),
        dense("f32", ((), (N,), (1,), (20,)), ("mk", "kn", "mn")),
    ]
    module, epilogue = new_module(), scalar_epilogue("f32", 2.0)
    doors = [
        add_door(contraction_function(module, f"k{i}", spec, 32, epilogue, 2, DIMS))
        for i, spec in enumerate(specs)
    ]
    engine, rng = load_module(module), np.random.default_rng(SEED)
    for (spec, door), (m, n) in product(
        zip(specs, doors, strict=True), ((3, 0), (1, 1), (20, 3), (70, 31), (16, 64))
    ):
        case = case_at(spec, {"m": m, "n": n}, rng)
        expected = expected_of(case).astype(np.float64)
        tags = np.indices(expected.shape)
        expected = 2 * expected + 1000 * tags[0] + 10 * tags[1] + tags[2]
        out = np.zeros(expected.shape, np.float32)
        sizes, values = np.array(out.shape[1:], np.int64), np.array([m, n], np.int64)
        arrays = (*case.arrays, aligned_bytes(workspace_bytes(spec, 32)), out, sizes, values)
        call_door(engine, door, [array.ctypes.data for array in arrays])
        assert np.allclose(out, expected, rtol=1e-6, atol=1e-3), (spec, m, n)


def test_choices_by_size_have_words() -> None:
    def words(spec: ContractionSpec, epilogue: bool = False) -> str:
        return "\n".join(contraction_switches(spec, 64, epilogue))

    forward = words(dense("f32", ((), (N,), (256,), (784,)), ("mk", "kn", "mn")), True)
    assert "tile for n by 256" in forward and "packed where n > 48" in forward
    weights = words(dense("f32", ((), (256,), (10,), (N,)), ("km", "kn", "mn")))
    assert "swapped where n >= 256" in weights and "sum over n: zeros where it is 0" in weights
    assert words(dense("f32", ((), (8,), (9,), (10,)), ("mk", "kn", "mn"))) == ""


def test_scratch_memory_has_a_bound_for_all_sizes() -> None:
    for spec, width in product((*LAYERS, *TWO_NAMES), WIDTHS):
        assert 0 < workspace_bytes(spec, width) <= 4 << 20

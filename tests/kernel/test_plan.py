"""The memory plan: sharing in place, donation, guards before donated writes, the arena."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from plan_checks import calls_of, check_plan

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.signature import flat_signature
from irgrad.ir.spec import parse_type
from irgrad.kernel import plan
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Contract,
    ContractionIndex,
    For,
    Kernel,
    Load,
    Statement,
    Store,
    affine,
)
from irgrad.kernel.plan import (
    ALIGNMENT,
    Step,
    Storages,
    can_share,
    merge_buffers,
    pair_donations,
    plan_memory,
)
from irgrad.kernel.program import Program, Slot
from irgrad.kernel.verify import verify_kernel
from irgrad.ops.build import Expr
from irgrad.ops.contract import dot_general
from irgrad.ops.registry import builder
from irgrad.passes.infer import specialise
from irgrad.passes.lower import lower, lower_steps, plan_steps
from irgrad.passes.pipeline import pipeline
from irgrad.testing.programs import Outcome, run_program
from irgrad.testing.random_graphs import random_graph

# -- kernels that share, or must not ---------------------------------------------------------------

ROW = affine(0, {"i": 4, "j": 1})
COLUMN = affine(0, {"i": 1, "j": 4})
AT_I = affine(0, {"i": 1})


def kernel(*body: Statement, size: int = 16, access: str = "write", dtype: str = "f32") -> Kernel:
    """A kernel that reads `a` and writes `r`."""
    made = Kernel("k", (Buffer("a", "f32", size, "read"), Buffer("r", dtype, 16, access)), body)
    if dtype == "f32":
        verify_kernel(made)
    return made


def loops(*body: Statement) -> For:
    return For("i", 4, (For("j", 4, body),))


def load(at: Affine, name: str = "x") -> Load:
    return Load(name, "a", at, "f32")


def store(at: Affine = ROW, name: str = "x") -> Store:
    return Store("r", at, name)


def _contract(lhs: str) -> Contract:
    index = lambda name: (ContractionIndex(name, 4),)
    at = affine(0, {"row": 4, "column": 1})
    return Contract(
        "v", "f32", (), index("m"), index("n"), index("k"), lhs, affine(0, {"m": 4, "k": 1}),
        "b", affine(0, {"k": 4, "n": 1}), "row", "column",
        (Load("x", "a", at, "f32"), Store("r", at, "v")),
    )  # fmt: skip


@pytest.mark.parametrize(
    "made, shares",
    [
        (kernel(loops(load(ROW), store())), True),
        (kernel(loops(load(ROW), load(ROW, "y"), store())), True),
        (kernel(loops(load(COLUMN), store())), False),
        (kernel(loops(load(ROW), load(COLUMN, "y"), store())), False),
        (kernel(loops(load(ROW), store(), load(ROW, "y"))), False),
        (kernel(loops(load(ROW), store()), loops(load(ROW, "y"))), False),
        (kernel(loops(load(ROW), store()), loops(load(ROW, "y"), store(name="y"))), False),
        (kernel(loops(load(ROW)), loops(load(ROW, "y"), store(name="y"))), True),
        (kernel(For("i", 4, (load(AT_I), For("j", 4, (store(),))))), False),
        (kernel(For("k", 2, (loops(load(ROW), store()),), False)), False),
        (kernel(For("k", 1, (loops(load(ROW), store()),))), True),
        (kernel(For("i", 4, (load(AT_I), For("j", 4, (store(AT_I),), False)))), False),
        (kernel(loops(load(ROW), store()), access="update"), False),
        (kernel(loops(load(ROW), store()), size=20), False),
        (kernel(loops(load(ROW), store()), dtype="i32"), False),
        (kernel(loops(load(ROW), Accumulate("sum", "r", ROW, "x")), access="update"), False),
    ],
)
def test_can_share(made: Kernel, shares: bool) -> None:
    assert can_share(made, "a", "r") is shares


@pytest.mark.parametrize("lhs, shares", [("a", False), ("c", True)])
def test_a_contraction_keeps_its_operands(lhs: str, shares: bool) -> None:
    """An epilogue may overwrite what it reads at its point, unless other points need it."""
    buffers = tuple(Buffer(name, "f32", 16, "read") for name in "abc")
    made = Kernel("k", (*buffers, Buffer("r", "f32", 16, "write")), (_contract(lhs),))
    verify_kernel(made)
    assert can_share(made, "a", "r") is shares


def test_merged_buffers_are_one_parameter() -> None:
    merged = merge_buffers(kernel(loops(load(ROW), store())), {"r": "a"})
    verify_kernel(merged)
    assert merged.buffers == (Buffer("a", "f32", 16, "update"),)
    assert merged.body == (loops(load(ROW), Store("a", ROW, "x")),)


# -- graphs to programs ----------------------------------------------------------------------------


def graph_of(
    inputs: str, build: Callable[..., tuple[Expr, ...]], donated: tuple[int, ...] = ()
) -> Graph:
    graph = Graph()
    b = builder(graph)
    arguments = [
        b.wrap(graph.add_input(parse_type(text), name))
        for text, name in zip(inputs.split(), "abcdefgh")
    ]
    graph.outputs = [x.value for x in build(*arguments)]
    signature = flat_signature(len(arguments), len(graph.outputs))
    graph.signature = replace(signature, donated=frozenset(donated))
    return graph


def check(x: Expr, message: str) -> None:
    """Let the graph fail where an element is false."""
    graph = x.builder.graph
    graph.effects.append(graph.add("check", [x.value], (), (("message", message),)))


def fused(graph: Graph) -> Graph:
    work = graph.copy()
    for step in pipeline():
        step.apply(work)
    return work


def planned(graph: Graph) -> tuple[Program, Outcome]:
    """The checked program of a graph, and a run of it that agrees with the interpreter."""
    program = check_plan(fused(graph))
    arguments = arguments_of(graph)
    outcome = run_program(program, arguments)
    for a, b in zip(interpret(graph, arguments), outcome.results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    for i, (before, after) in enumerate(zip(arguments, outcome.inputs)):
        if i not in program.written:
            np.testing.assert_array_equal(before, after)
    return program, outcome


def arguments_of(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    types = [graph[key].types[0] for key in graph.inputs]
    return [
        np.asarray(rng.integers(-5, 6, t.shape), t.dtype.numpy)  # type: ignore[union-attr]
        if t.dtype.is_integer  # type: ignore[union-attr]
        else np.asarray(rng.standard_normal(t.shape), t.dtype.numpy)  # type: ignore[union-attr]
        for t in types
    ]


def sources(program: Program) -> list[str]:
    """Where each result is: its kind and number."""
    return [f"{r.kind} {r.number}" for r in program.results]


def bc(x: Expr, shape: tuple[int, ...], *dims: int) -> Expr:
    return x.builder.broadcast(x, shape, dims)


def total(x: Expr, *axes: int) -> Expr:
    return x.op("reduce_sum", axes=axes)


def flipped(x: Expr) -> Expr:
    return x.op("transpose", permutation=(1, 0))


def matmul(x: Expr, y: Expr) -> Expr:
    return dot_general(x, y, ((1,), (0,)))


# -- donation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs, build, donated, expected",
    [
        ("f32[4,4]", lambda a: (a * 2,), (), ["output 0"]),
        ("f32[4,4]", lambda a: (a * 2,), (0,), ["donated 0"]),
        # Another type, and another shape of as many elements.
        ("f32[4,4]", lambda a: (a.op("cast", dtype=parse_type("f64[]").dtype),), (0,),
         ["output 0"]),
        ("f32[4,6]", lambda a: ((a * 2).op("reshape", shape=(6, 4)),), (0,), ["output 0"]),
        # A shape of ones, which the kernel does not see.
        ("f32[3,1]", lambda a: (a * 2,), (0,), ["donated 0"]),
        # The input itself, twice, and in another shape.
        ("f32[4]", lambda a: (a,), (), ["input 0"]),
        ("f32[4]", lambda a: (a,), (0,), ["donated 0"]),
        ("f32[4]", lambda a: (a, a), (0,), ["donated 0", "output 0"]),
        ("f32[4]", lambda a: (a, a * 2), (0,), ["donated 0", "output 0"]),
        ("f32[4]", lambda a: (a.op("reshape", shape=(2, 2)),), (0,), ["output 0"]),
        ("f32[4]", lambda a: (a.op("reshape", shape=(2, 2)), a * 2), (0,),
         ["output 0", "donated 0"]),
        # One value twice, and once more in another shape.
        ("f32[4]", lambda a: (lambda y: (y, y))(a.op("tanh")), (0,), ["donated 0", "output 0"]),
        ("f32[4]", lambda a: (lambda y: (y, y.op("reshape", shape=(2, 2))))(a.op("tanh")), (),
         ["output 0", "output 1"]),
        # The n-th result of a type has the n-th donated input of that type.
        ("f32[4] f32[4]", lambda a, b: (a + 1, b + 1), (0, 1), ["donated 0", "donated 1"]),
        ("f32[4] f32[4]", lambda a, b: (b + 1, a + 1), (0, 1), ["donated 0", "donated 1"]),
        ("f32[4] f32[4]", lambda a, b: (b, a + b), (0, 1), ["donated 1", "donated 0"]),
        ("f32[4] f32[4]", lambda a, b: (b - a,), (1,), ["donated 1"]),
        ("f32[4] i32[4] f32[4]", lambda a, b, c: (c + 1, b + 1, a + c), (0, 1, 2),
         ["donated 0", "donated 1", "donated 2"]),
        # Read again after its result is known.
        ("f32[4,4] f32[4,4]", lambda a, b: (a + b, matmul(a, b)), (0,),
         ["donated 0", "output 0"]),
        ("f32[4,4] f32[4,4]", lambda a, b: (a + b, matmul(a + b, a)), (0, 1),
         ["donated 0", "donated 1"]),
        # Read by the kernel that writes it, at other points.
        ("f32[4,4]", lambda a: (flipped(a) * 2,), (0,), ["donated 0"]),
        ("f32[4,4]", lambda a: (a + flipped(a),), (0,), ["donated 0"]),
        ("f32[4,4] f32[4,4]", lambda a, b: (matmul(a, b),), (0, 1), ["donated 0"]),
        ("f32[4,4] f32[4,4]", lambda a, b: (a - matmul(b, b),), (0,), ["donated 0"]),
        ("f32[4,4]", lambda a: (a - bc(total(a.op("tanh"), 1), (4, 4), 0),), (0,), ["donated 0"]),
        ("f32[4,4]", lambda a: (a - bc(total(a, 0), (4, 4), 1),), (0,), ["donated 0"]),
    ],
)  # fmt: skip
def test_donation(
    inputs: str, build: Callable[..., tuple[Expr, ...]], donated: tuple[int, ...],
    expected: list[str],
) -> None:  # fmt: skip
    program, _ = planned(graph_of(inputs, build, donated))
    assert sources(program) == expected
    written = {int(where.split()[1]) for where in expected if where.startswith("donated")}
    returned = {r.number for r in program.results if r.kind == "donated"}
    assert returned == written and program.written <= written


def test_an_update_in_place_is_one_parameter_and_no_copy() -> None:
    """w - 0.1 * g with w donated: one kernel of two parameters, nothing in the arena."""
    graph = graph_of("f32[8] f32[8]", lambda w, g: (w - g * 0.1,), (0,))
    program, outcome = planned(graph)
    (call,) = program.calls
    assert set(call.slots) == {Slot("input", 0), Slot("input", 1)}
    assert program.outputs == () and program.arena_bytes == 0
    np.testing.assert_array_equal(outcome.results[0], outcome.inputs[0])


def test_a_result_that_comes_too_early_is_copied_at_the_end() -> None:
    graph = graph_of("f32[4,4] f32[4,4]", lambda a, b: (b + 1, matmul(a, b)), (0,))
    program, _ = planned(graph)
    assert sources(program) == ["donated 0", "output 0"]
    other = graph_of(
        "f32[4,4]", lambda a: (lambda s: (bc(s, (4, 4), 0), a / bc(s, (4, 4), 1)))(total(a, 1)),
        (0,),
    )  # fmt: skip
    program, _ = planned(other)
    assert sources(program) == ["donated 0", "output 0"]


def test_pairs_of_donations() -> None:
    types = {0: "f32[2]", 1: "f32[3]", 2: "f32[2]", 10: "f32[2]", 11: "f32[2]", 12: "f32[2]"}
    assert pair_donations([10, 11, 12], [0, 1, 2], types) == {10: 0, 11: 2}
    assert pair_donations([12, 12, 10], [2], types) == {12: 2}
    assert pair_donations([], [0], types) == {}


# -- arena -----------------------------------------------------------------------------------------


def test_values_take_over_memory_in_the_arena() -> None:
    """A chain of contractions with epilogues needs two places, however long it is."""
    for layers in (3, 12):

        def build(x: Expr, w: Expr, layers: int = layers) -> tuple[Expr, ...]:
            for _ in range(layers):
                x = matmul(x, w).op("tanh")
            return (x,)

        program, _ = planned(graph_of("f32[4,8] f32[8,8]", build))
        assert program.arena_bytes == 2 * 4 * 8 * 4


def test_an_intermediate_is_overwritten_in_place() -> None:
    def build(x: Expr, w: Expr) -> tuple[Expr, ...]:
        y = matmul(x, w)
        return (matmul(y - bc(total(y, 0), (8, 8), 1), w),)

    program, _ = planned(graph_of("f32[8,8] f32[8,8]", build))
    updated = [b for k in program.kernels for b in k.buffers if b.access == "update"]
    assert any(b.size == 64 for b in updated)
    assert program.arena_bytes == 64 * 4 + ALIGNMENT


def test_offsets_are_aligned_and_empty_values_have_a_place() -> None:
    def build(x: Expr, w: Expr) -> tuple[Expr, ...]:
        return (matmul(matmul(x, w), w), total(matmul(w, w), 0))

    program, _ = planned(graph_of("f32[0,3] f32[3,3]", build))
    for call in program.calls:
        assert all(s.number % ALIGNMENT == 0 for s in call.slots if s.kind == "arena")


def _row_buffers(x: Expr) -> tuple[Expr, ...]:
    """A long chain that a second loop over the row reads back from a local buffer."""
    e = x.op("tanh").op("erf").op("sin").op("exp").op("log1p").op("atan")
    return (e / bc(total(e, 1), (4, 6), 0),)


def test_local_buffers_lie_in_the_arena() -> None:
    program, _ = planned(graph_of("f64[4,6]", _row_buffers))
    (kernel_,) = program.kernels
    local = [b for b in kernel_.buffers if b.access == "local"]
    assert local and program.arena_bytes >= sum(8 * b.size for b in local)
    assert sum(s.kind == "arena" for s in program.calls[0].slots) == len(local)


def test_equal_kernels_are_shared() -> None:
    def build(x: Expr, w: Expr) -> tuple[Expr, ...]:
        for _ in range(6):
            x = matmul(x, w)
        return (x,)

    program, _ = planned(graph_of("f32[8,8] f32[8,8]", build))
    assert len(program.calls) == 6 and len(program.kernels) <= 2


def test_random_programs_keep_their_memory_apart() -> None:
    """Every kernel finds what it reads, whatever shares memory with it."""
    updates = written = 0
    for seed in range(150):
        drawn = random_graph(seed)
        work = drawn.graph.copy()
        if drawn.dims:
            specialise(work, drawn.dims)
        try:
            program = check_plan(fused(work))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        updates += sum(b.access == "update" for k in program.kernels for b in k.buffers)
        written += len(program.written)
    assert updates >= 60 and written >= 25


def test_plan_cost_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements that are looked at per step do not grow from 100 to 1,000 steps."""
    counts = []
    original = plan.walk
    for layers in (50, 500):

        def build(x: Expr, w: Expr, layers: int = layers) -> tuple[Expr, ...]:
            for _ in range(layers):
                x = matmul(x, w)
                x = x - bc(total(x, 0), (4, 4), 1)
            return (x,)

        work = fused(graph_of("f32[4,4] f32[4,4]", build))
        lowered = lower_steps(work)
        seen = 0

        def counted(body: tuple[Statement, ...]):  # type: ignore[no-untyped-def]
            nonlocal seen
            for statement in original(body):
                seen += 1
                yield statement

        monkeypatch.setattr(plan, "walk", counted)
        plan_steps(work, lowered)
        monkeypatch.undo()
        counts.append(seen / len(lowered.steps))
    assert 0 < counts[1] <= 1.1 * counts[0]


# -- plans made by hand ----------------------------------------------------------------------------


def step(reads: tuple[int, ...], write: int) -> Step:
    """A kernel that adds up what it reads, point by point."""
    buffers = [Buffer(f"a{i}", "f32", 16, "read") for i in range(len(reads))]
    body = [Load(f"x{i}", b.name, ROW, "f32") for i, b in enumerate(buffers)]
    last = body[-1].name if body else "x"
    return Step(
        Kernel("k", (*buffers, Buffer("r", "f32", 16, "write")), (loops(*body, store(name=last)),)),
        reads, (write,),
    )  # fmt: skip


def storages(
    count: int, outside: set[int], partners: dict[int, int], results: set[int]
) -> Storages:
    return Storages({s: 64 for s in range(count)}, frozenset(outside), partners, frozenset(results))


def test_a_donated_input_read_later_is_not_overwritten() -> None:
    """Storage 0 is donated and the partner of 2, which is written while 0 is still needed."""
    early = [step((1,), 2), step((0,), 3)]
    layout = plan_memory(early, storages(4, {0, 1, 2, 3}, {2: 0}, {2, 3}), 0)
    assert layout.home[2] == 2
    late = [step((0,), 3), step((1,), 2)]
    layout = plan_memory(late, storages(4, {0, 1, 2, 3}, {2: 0}, {2, 3}), 0)
    assert layout.home[2] == 0


def test_no_donated_write_before_the_guards() -> None:
    for first_write, home in ((0, 0), (1, 1)):
        layout = plan_memory([step((0,), 1)], storages(2, {0, 1}, {1: 0}, {1}), first_write)
        assert layout.home[1] == home


def test_a_dying_value_gives_its_memory_once() -> None:
    """Storage 1 dies in a step of two results; 1 and its heir 2 are one place."""
    steps = [step((0,), 1), step((1,), 2), step((2, 1), 3), step((3,), 4)]
    layout = plan_memory(steps, storages(5, {0, 4}, {}, {4}), 0)
    assert layout.home[2] == 2, "1 is read again"
    assert layout.home[3] in (1, 2)
    assert layout.arena_bytes == 128


def test_an_input_is_never_taken_over() -> None:
    layout = plan_memory([step((0,), 1), step((1,), 2)], storages(3, {0, 2}, {}, {2}), 0)
    assert layout.home == {0: 0, 1: 1, 2: 2} and layout.arena_bytes == 64


def test_a_plan_of_nothing() -> None:
    assert plan_memory([], storages(1, {0}, {}, set()), 0).arena_bytes == 0


# -- checks ----------------------------------------------------------------------------------------


def _checked_update(w: Expr, g: Expr) -> tuple[Expr, ...]:
    new = w - g * 0.1
    check(new.op("isfinite"), "weights are finite")
    return (new,)


def _late_check(w: Expr, g: Expr) -> tuple[Expr, ...]:
    """The checked value needs a chain of kernels behind the update."""
    new = w - g * 0.1
    y = matmul(new, new)
    check(total(y, 0, 1).op("isfinite"), "the product is finite")
    return new, y


def _two_checks(w: Expr, g: Expr) -> tuple[Expr, ...]:
    check(g.op("isfinite"), "gradients are finite")
    check(w.op("isfinite"), "weights are finite")
    return (w - g, w * g)


CHECKED = {"update": _checked_update, "late": _late_check, "two": _two_checks}


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("bad", [0, 1])
def test_a_failed_guard_leaves_donated_inputs_as_they_were(name: str, bad: int) -> None:
    graph = graph_of("f32[4,4] f32[4,4]", CHECKED[name], (0, 1))
    program = check_plan(fused(graph))
    assert program.guard_calls >= 1 and program.written
    arguments = [np.ones((4, 4), np.float32) for _ in range(2)]
    fine = run_program(program, arguments)
    assert fine.completed and not fine.failures
    arguments[bad][2, 3] = np.nan
    outcome = run_program(program, arguments)
    assert not outcome.completed and outcome.failures
    for before, after in zip(arguments, outcome.inputs):
        np.testing.assert_array_equal(before, after)


def test_checks_say_which_and_where() -> None:
    program = check_plan(fused(graph_of("f32[4,4] f32[4,4]", _two_checks, (0,))))
    assert [site.message for site in program.checks] == [
        "gradients are finite", "weights are finite",
    ]  # fmt: skip
    arguments = [np.ones((4, 4), np.float32) for _ in range(2)]
    arguments[0][1, 2] = arguments[0][3, 0] = np.inf
    assert run_program(program, arguments).failures == ((1, 6), (1, 12))
    arguments[1][0, 1] = np.nan
    assert min(run_program(program, arguments).failures) == (0, 1)


def test_what_no_check_needs_runs_after_the_guards() -> None:
    def build(x: Expr, w: Expr) -> tuple[Expr, ...]:
        y = matmul(x, w)
        check(x.gt(-100), "x is large")
        return (y,)

    program = check_plan(fused(graph_of("f32[4,4] f32[4,4]", build, (0,))))
    guards = program.calls[: program.guard_calls]
    assert calls_of(program, "dot_general")[0] not in guards
    assert calls_of(program, "check")[0] in guards


def test_a_check_of_a_transposed_and_of_an_empty_value() -> None:
    def build(x: Expr, y: Expr) -> tuple[Expr, ...]:
        check(flipped(x).gt(0), "positive")
        check(y.gt(0), "nothing to check")
        return (x * 2,)

    program = check_plan(fused(graph_of("f32[2,3] f32[0,3]", build)))
    x = np.array([[1, 1, -1], [1, 1, 1]], np.float32)
    outcome = run_program(program, [x, np.zeros((0, 3), np.float32)])
    assert outcome.failures == ((0, 4),), "the position is that in the checked value"


def test_the_whole_program_lowers_once_more_the_same() -> None:
    work = fused(graph_of("f32[4,4] f32[4,4]", _late_check, (0,)))
    assert lower(work) == lower(work)

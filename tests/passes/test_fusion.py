"""What becomes one kernel, what must not, and that the values stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from fused_programs import (
    bc,
    check_values,
    flipped,
    fuse,
    gradient,
    graph_of,
    matmul,
    random_arguments,
    total,
    traced,
)

from irgrad.ir.graph import Graph
from irgrad.ops.build import Expr
from irgrad.ops.registry import REGISTRY
from irgrad.passes.fuse import Fuse
from irgrad.passes.fusion_groups import MAX_MEMBERS, Grouping, Reads

MOVEMENT = {name for name, record in REGISTRY.items() if record.family == "movement"}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


# -- models ----------------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layernorm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * scale + shift


def gelu(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))


def cross_entropy(x, labels):
    shifted = x - x.max(-1, keepdims=True)
    lse = np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -((shifted - lse) * labels).sum(-1).mean()


def mlp_loss(x, y, w1, b1, w2, b2):
    hidden = np.maximum(x @ w1 + b1, 0)
    return ((hidden @ w2 + b2 - y) ** 2).mean()


def test_softmax_is_one_kernel() -> None:
    found = traced(softmax, normal(6, 10))
    assert len(found.kernels()) == 1
    check_values(found)


def test_softmax_and_its_gradient() -> None:
    found = gradient(lambda x, w: (softmax(x) * w).sum(), [0], normal(6, 10), normal(6, 10))
    assert len(found.kernels()) <= 2
    check_values(found)


@pytest.mark.parametrize("shape", [(6, 10), (2, 3, 10)])
def test_layernorm_and_its_gradient_are_one_kernel(shape: tuple[int, ...]) -> None:
    """Forward, backward, and the sums over rows that are the gradients of scale and shift."""
    found = gradient(
        lambda x, s, b: gelu(layernorm(x, s, b)).sum(), [0, 1, 2],
        normal(*shape), normal(10), normal(11)[1:],
    )  # fmt: skip
    assert len(found.kernels()) == 1
    check_values(found)


def test_cross_entropy_and_its_gradient() -> None:
    """Two kernels over the logits at most; the rest works on numbers alone."""
    found = gradient(cross_entropy, [0], normal(6, 10), normal(10, 6).reshape(6, 10))
    calls = [found.program.kernels[call.kernel] for call in found.program.calls]
    large = [kernel for kernel in calls if any(buffer.size > 6 for buffer in kernel.buffers)]
    assert len(large) <= 2 and len(calls) <= 4
    check_values(found)


def test_contractions_carry_their_epilogues() -> None:
    found = gradient(
        mlp_loss, [2, 3, 4, 5],
        normal(6, 4), normal(6, 3), normal(4, 8), normal(8), normal(8, 3), normal(3),
    )  # fmt: skip
    contractions = [ops for ops in found.regions() if "dot_general" in ops]
    assert len(contractions) == 5
    activation, residual = contractions[0], contractions[1]
    assert {"add", "maximum"} & activation == {"add", "maximum"}
    assert {"add", "sub"} <= residual or "fma" in residual
    assert "mul" in contractions[2] | contractions[3]  # the mask of the activation's derivative
    for ops in found.regions():
        assert not ops <= MOVEMENT, f"a kernel that moves alone: {ops}"
    check_values(found)


def test_transposes_are_absorbed() -> None:
    found = gradient(
        lambda x, w: np.tanh(x @ w.T).T.sum(), [0, 1], normal(6, 4), normal(8, 4)
    )
    moving = [ops for ops in found.regions() if "transpose" in ops]
    assert not moving and len(found.kernels()) == 4
    check_values(found)


def test_a_transposed_read_takes_no_kernel_of_its_own() -> None:
    found = fuse(graph_of("f32[5,7] f32[7,5]", lambda a, b: a + flipped(b)))
    assert len(found.kernels()) == 1
    check_values(found)


# -- what must stay apart --------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """kernels: how many there are, None where only values count."""

    inputs: str
    build: Callable[..., Expr | tuple[Expr, ...]]
    kernels: int | None


def _symmetrised(a: Expr, b: Expr) -> Expr:
    c = matmul(a, b)
    return flipped(c).op("tanh") * c


def _transposed_sibling(x: Expr) -> Expr:
    c = x.op("tanh")
    return flipped(c) * x * c


def _residual(name: str, first: bool) -> Callable[[Expr, Expr], Expr]:
    def build(x: Expr, w: Expr) -> Expr:
        h = x.op("tanh")
        y = matmul(h, w)
        return h.op(name, y) if first else y.op(name, h)

    return build


def _closed_then_read(x: Expr) -> Expr:
    q = x.op("tanh")
    p = bc(total(q, 0), (4, 6), 1) / x
    return p.op("maximum", q)


def _closed_scalar(x: Expr) -> Expr:
    """A sum of all, read by a row: complete only when the kernel ends."""
    q = x.op("tanh")
    rows = total(q, 1)
    return rows * bc(total(rows, 0), (4,))


def _wrong_axis(x: Expr) -> Expr:
    q = x.op("tanh")
    p = bc(total(q, 1), (6, 6), 1) / x
    return p.op("tanh").op("maximum", q)


def _right_axis(x: Expr) -> Expr:
    q = x.op("tanh")
    return bc(total(q, 1), (6, 6), 0) / x + q


def _both_axes(x: Expr) -> Expr:
    q = x.op("tanh")
    return q / bc(total(q, 1), (6, 6), 0) + q * bc(total(q, 1), (6, 6), 1)


def _argmax_rows(x: Expr) -> Expr:
    found = x.op("tanh").op("argmax", axis=1)
    return x * bc(found.op("cast", dtype=x.dtype), (4, 6), 0)


def _argmax_of_rows(x: Expr) -> tuple[Expr, Expr]:
    rows = total(x.op("tanh"), 1)
    return rows, rows.op("argmax", axis=0)


def _reshape_between(x: Expr) -> Expr:
    t = flipped(x.op("tanh")).op("reshape", shape=(24,))
    return t * t.op("sin")


def _reshaped_rows(x: Expr) -> Expr:
    """Row sums read in another order of rows."""
    rows = total(x.op("tanh"), 2)
    other = rows.op("reshape", shape=(3, 2)).op("transpose", permutation=(1, 0))
    return bc(other, (2, 3, 5), 0, 1) * x


def _third_group(x: Expr, w: Expr) -> Expr:
    """exp(x) and the quotient cannot be one kernel: the contraction lies between."""
    e = x.op("exp")
    return e / (matmul(e, w).op("abs") + 1)


def _two_rows(x: Expr) -> Expr:
    """One sum over the last axis and one over two: no single number of row axes."""
    q = x.op("tanh")
    return q - bc(total(q, 2), (2, 3, 5), 0, 1) * bc(total(q, 1, 2), (2, 3, 5), 0)


def _row_chain(x: Expr) -> Expr:
    """Reductions that wait for one another: four stages."""
    shape = (4, 6)
    for _ in range(3):
        x = (x - bc(total(x, 1), shape, 0)).op("tanh")
    return x


def _small_group(x: Expr, b: Expr) -> Expr:
    """A chain at the rows that starts apart from the row kernel."""
    row = b.op("tanh").op("sin") * 2
    return x / bc(total(x.op("exp"), 1) + row, (4, 6), 0)


CASES: dict[str, Case] = {
    "symmetrised contraction": Case("f32[8,8] f32[8,8]", _symmetrised, 2),
    "transposed sibling": Case("f32[6,6]", _transposed_sibling, 2),
    "residual before": Case("f32[8,8] f32[8,8]", _residual("add", True), 2),
    "residual behind": Case("f32[8,8] f32[8,8]", _residual("sub", False), 2),
    "residual maximum": Case("f32[8,8] f32[8,8]", _residual("maximum", False), 2),
    "closed sum read": Case("f32[4,6]", _closed_then_read, 2),
    "closed sum of rows read": Case("f32[4,6]", _closed_scalar, 2),
    "rows along the wrong axis": Case("f32[6,6]", _wrong_axis, 2),
    "rows along the right axis": Case("f32[6,6]", _right_axis, 1),
    "rows along both axes": Case("f32[6,6]", _both_axes, 2),
    "argmax at rows": Case("f32[4,6]", _argmax_rows, 1),
    "argmax of rows": Case("f32[4,6]", _argmax_of_rows, 2),
    "reshape between": Case("f32[4,6]", _reshape_between, None),
    "rows in another order": Case("f32[2,3,5]", _reshaped_rows, None),
    "contraction between": Case("f32[8,8] f32[8,8]", _third_group, 2),
    "two numbers of row axes": Case("f32[2,3,5]", _two_rows, None),
    "chain of row sums": Case("f32[4,6]", _row_chain, 1),
    "small group": Case("f32[4,6] f32[4]", _small_group, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    case = CASES[name]
    found = fuse(graph_of(case.inputs, case.build))
    if case.kernels is not None:
        assert len(found.kernels()) == case.kernels, found.kernels()
    check_values(found)


@pytest.mark.parametrize("sizes", [(1, 6), (6, 1), (1, 1), (0, 6), (6, 0), (0, 0)])
def test_sizes_of_one_and_none(sizes: tuple[int, int]) -> None:
    """Row kernels, closed sums and contractions over axes of size 1 and 0."""
    n, m = sizes

    def build(x: Expr, y: Expr) -> tuple[Expr, ...]:
        q = x.op("tanh")
        rows = total(q, 1)
        spread = q / bc(rows.op("abs") + 1, (n, m), 0)
        product = matmul(spread, y) + 1
        return spread, rows, total(spread, 0), total(q, 0, 1), product, product.op("exp")

    found = fuse(graph_of(f"f32[{n},{m}] f32[{m},3]", build))
    check_values(found)


def test_argmax_over_an_axis_of_one() -> None:
    found = fuse(graph_of("f32[4,1]", lambda x: (x.op("argmax", axis=1), x.op("argmin", axis=0))))
    check_values(found)


# -- outputs that move -----------------------------------------------------------------------------


def _output_denominator(x: Expr) -> tuple[Expr, ...]:
    """An output that is a broadcast of a value of the kernel that reads it too."""
    t = bc(total(x, 1), (4, 6), 0)
    return t, x / t


def _outputs_of_all_kinds(x: Expr) -> tuple[Expr, ...]:
    y = x.op("tanh")
    t = flipped(y)
    return t, t * 2, t.op("reshape", shape=(24,)), y.op("reshape", shape=(24,)), t, x, y


def _constant_outputs(x: Expr) -> tuple[Expr, ...]:
    c = x.like(2)
    i = x.builder.one("iota", shape=(4, 6), axis=1, dtype=x.dtype)
    w = i.op("reshape", shape=(6, 4))
    return c, i, x * c + i, w, matmul(w, i), matmul(w, x)


@pytest.mark.parametrize("build", [_output_denominator, _outputs_of_all_kinds, _constant_outputs])
def test_outputs_that_are_moved(build: Callable[[Expr], tuple[Expr, ...]]) -> None:
    check_values(fuse(graph_of("f32[4,6]", build)))


def test_readers_look_through_copied_outputs() -> None:
    """The copy is made for the caller alone, so that nothing waits for it."""
    graph = graph_of("f32[4,6]", _output_denominator)
    reads = Reads(graph)
    moved = graph.outputs[0].node
    assert moved in reads.copies and moved not in reads.stored
    assert fuse(graph).regions()[0] >= {"reduce_sum", "div"}


# -- invariants and cost ---------------------------------------------------------------------------


def chain(count: int) -> Graph:
    """About 6 nodes a layer: rows, closed sums, epilogues, transposes."""

    def build(x: Expr, w: Expr) -> Expr:
        for _ in range(count):
            e = (x - bc(x.op("reduce_max", axes=(1,)), (4, 4), 0)).op("tanh")
            x = matmul(e, w) + flipped(x)
        return x

    return graph_of("f32[4,4] f32[4,4]", build)


def test_groups_are_complete_and_acyclic() -> None:
    graph = chain(20)
    grouping = Grouping(graph, REGISTRY)
    members = [key for group in grouping.groups.values() for key in group.members]
    assert sorted(members) == sorted(grouping.group_of) and len(set(members)) == len(members)
    for group in grouping.groups.values():
        assert not group.ancestors & group.bits
        assert all(group.number in grouping.groups[p].successors for p in group.predecessors)


def test_groups_stay_below_their_limit() -> None:
    def build(x: Expr) -> Expr:
        for _ in range(3 * MAX_MEMBERS):
            x = x.op("tanh")
        return x

    found = fuse(graph_of("f32[5]", build))
    assert 3 <= len(found.kernels()) <= 6
    check_values(found)


class CountedReads:
    """Counts the calls of `Reads.of` while fusion runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        original = Reads.of

        def counted(reads: Reads, key: int):  # type: ignore[no-untyped-def]
            self.calls += 1
            return original(reads, key)

        monkeypatch.setattr(Reads, "of", counted)


def elementwise_chain(count: int) -> Graph:
    def build(x: Expr, y: Expr) -> Expr:
        for i in range(count // 2):
            x = x.op("tanh") * (y if i % 3 else x)
        return x

    return graph_of("f32[4,4] f32[4,4]", build)


@pytest.mark.parametrize("build, per_node", [(chain, 40), (elementwise_chain, 500)])
def test_cost_is_linear(
    build: Callable[[int], Graph], per_node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operand reads per node do not grow from 500 to 5,000 nodes."""
    counts = []
    layer = (len(build(60)) - len(build(20))) / 40
    for nodes in (500, 5000):
        graph = build(round(nodes / layer))
        counter = CountedReads(monkeypatch)
        Fuse().apply(graph)
        monkeypatch.undo()
        counts.append(counter.calls / nodes)
    assert counts[1] <= 1.2 * counts[0] and counts[1] <= per_node


def test_fusing_is_deterministic() -> None:
    def build(x: Expr, y: Expr) -> tuple[Expr, ...]:
        q = x.op("tanh") + flipped(y)
        return q / bc(total(q, 1), (4, 4), 0), total(q, 0), matmul(q, y)

    graph = graph_of("f32[4,4] f32[4,4]", build)
    assert str(fuse(graph).fused) == str(fuse(graph).fused)
    assert check_values(fuse(graph), random_arguments(graph, 5)).completed

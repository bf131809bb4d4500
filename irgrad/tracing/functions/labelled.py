"""Products of arrays whose axes carry labels: what all contractions are written in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ...ir.dims import Dim, Size, evaluate, names, product
from ...ir.types import BOOL, I64, DType
from ...ops import movement as ir
from ...ops.build import Expr
from ...ops.contract import dot_general
from ...ops.reduce import reduce_sum
from .creation import take_diagonal

Label = Hashable
Labels = tuple[Label, ...]
SYMBOLIC_SIZE_IN_COSTS = 1024


@dataclass(frozen=True, slots=True)
class Labelled:
    """An expression with a label for each axis; within one array, labels differ."""

    x: Expr
    labels: Labels

    def size(self, label: Label) -> Size:
        """The size of the axis of a label."""
        return self.x.shape[self.labels.index(label)]


def in_sums(x: Expr) -> Expr:
    """Bool as i64: a sum of products counts where NumPy's has a disjunction of conjunctions."""
    return x.op("cast", dtype=I64) if x.dtype is BOOL else x


def from_sums(x: Expr, dtype: DType) -> Expr:
    """The result of a contraction in the dtype of its operands."""
    return x.op("ne", x.like(0)) if dtype is BOOL else x


def label(x: Expr, labels: Sequence[Label]) -> Labelled:
    """An operand with its axes labelled; of a label that occurs twice, the diagonal is taken."""
    assert len(labels) == x.type.rank
    left = list(labels)
    for name in dict.fromkeys(labels):
        while left.count(name) > 1:
            first = left.index(name)
            second = left.index(name, first + 1)
            rest = [axis for axis in range(len(left)) if axis not in (first, second)]
            x = take_diagonal(ir.transpose(x, (*rest, first, second)))
            left = [left[axis] for axis in rest] + [name]
    return Labelled(x, tuple(left))


def without_axes_of_1(operand: Labelled, sizes: dict[Label, Size]) -> Labelled:
    """Axes of size 1 whose label is larger elsewhere are dropped: they repeat by broadcasting."""
    kept = [name for name in operand.labels if operand.size(name) != 1 or sizes[name] == 1]
    return Labelled(ir.reshape(operand.x, [operand.size(name) for name in kept]), tuple(kept))


def sum_out(operand: Labelled, needed: set[Label]) -> Labelled:
    """Sum over the axes whose labels are not needed."""
    axes = [axis for axis, name in enumerate(operand.labels) if name not in needed]
    kept = tuple(name for name in operand.labels if name in needed)
    return Labelled(reduce_sum(operand.x, axes), kept)


def arrange(operand: Labelled, labels: Sequence[Label]) -> Expr:
    """The expression with its axes in the order of `labels`."""
    return ir.transpose(operand.x, [operand.labels.index(name) for name in labels])


def contract_pair(a: Labelled, b: Labelled, needed: set[Label]) -> Labelled:
    """The product of two operands, summed over their shared labels that are not needed.

    Without such a label it is an elementwise product, which fuses with what is around it.
    """
    shared = [name for name in a.labels if name in b.labels]
    a = sum_out(a, needed | set(shared))
    b = sum_out(b, needed | set(shared))
    summed = [name for name in shared if name not in needed]
    if not summed:
        return _multiply(a, b)
    batch = [name for name in shared if name in needed]
    x = dot_general(
        a.x,
        b.x,
        (_axes(a, summed), _axes(b, summed)),
        (_axes(a, batch), _axes(b, batch)),
    )
    free = [name for name in (*a.labels, *b.labels) if name not in shared]
    return Labelled(x, (*batch, *free))


def _axes(operand: Labelled, labels: Sequence[Label]) -> tuple[int, ...]:
    return tuple(operand.labels.index(name) for name in labels)


def _multiply(a: Labelled, b: Labelled) -> Labelled:
    labels = (*a.labels, *(name for name in b.labels if name not in a.labels))
    sizes = {name: operand.size(name) for operand in (b, a) for name in operand.labels}
    shape = tuple(sizes[name] for name in labels)
    return Labelled(_spread(a, labels, shape) * _spread(b, labels, shape), labels)


def _spread(operand: Labelled, labels: Labels, shape: tuple[Size, ...]) -> Expr:
    order = [name for name in labels if name in operand.labels]
    return ir.broadcast(arrange(operand, order), shape, [labels.index(name) for name in order])


def contract(operands: Sequence[Labelled], output: Sequence[Label]) -> Expr:
    """The product of all operands summed over the labels that are not in `output`.

    Pairs are taken greedily by the number of multiplications, the first of equals first.
    """
    left = list(operands)
    while len(left) > 1:
        pairs = [(i, j) for j in range(len(left)) for i in range(j)]
        i, j = min(pairs, key=lambda pair: _cost(left[pair[0]], left[pair[1]]))
        second, first = left.pop(j), left.pop(i)
        needed = set(output).union(*(operand.labels for operand in left))
        left.insert(i, contract_pair(first, second, needed))
    return arrange(sum_out(left[0], set(output)), output)


def _cost(a: Labelled, b: Labelled) -> int:
    sizes = {name: operand.size(name) for operand in (a, b) for name in operand.labels}
    total = product(sizes.values())
    if isinstance(total, Dim):
        return evaluate(total, {name: SYMBOLIC_SIZE_IN_COSTS for name in names(total)})
    return total

"""A loop group as a kernel: for each point of the outer axes, stages of loops over the row axes.

Stage s computes what depends on s row reductions. All reductions of a stage share one loop, and
each output is stored in the first stage that knows it. A value needed by a later stage is computed
again where that is cheap, read back where it was stored anyway, and else kept in a row buffer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir.dims import Size
from ..ir.graph import Graph, Value
from ..ir.types import DTYPES, DType, TensorType
from ..kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Check,
    For,
    Kernel,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
)
from ..ops.registry import REGISTRY
from .axes import IndexSpace, index_space
from .fusion_groups import Reads, reduced_axes
from .lower_scalar import Names, Scope, apply_op, constant, index_value, load
from .views import GENERATORS, VIEW_OPS, View, contiguous_strides

RECOMPUTE_FLOPS = 8  # a later stage computes a chain of at most this cost again
ROW_BUFFER_BYTES = 1 << 18
MIN_BLOCK = 8  # outer points that are summed apart, at least


@dataclass(frozen=True, slots=True)
class Site:
    """Where a member computes and how its result is addressed in the domain.

    place: "full" or "row". strides: of the result by axis of the domain. stage: number of row
    reductions behind it. combine: "" for an elementwise member; "row" for a reduction over the row
    axes; "point" or "line" for one that accumulates at each point or once a row.
    """

    place: str
    strides: tuple[int, ...]
    stage: int
    combine: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A member's values stored by stage `stage` in a buffer, for later stages."""

    buffer: str
    stage: int


class LoopLowering:
    """Lowers one region; `kernel()` gives the result."""

    def __init__(self, region: Graph, rows: int, name: str) -> None:
        self.region = region
        self.rows = rows
        self.name = name
        self.reads = Reads(region, is_region=True)
        self.members = [
            k for k in self.reads.order if region[k].op != "input" and self.reads.is_real(k)
        ]
        self.domain = max((self._iteration(k) for k in self.members), key=len)
        self.sites: dict[int, Site] = {}
        for key in self.members:
            self.sites[key] = self._site(key)
        self.buffer_of = {k: f"a{i}" for i, k in enumerate(region.inputs)}
        self.result_of = {v.node: f"r{i}" for i, v in enumerate(region.outputs)}
        self.locals: dict[str, Buffer] = {}
        self.accumulated = [k for k in self.members if self.sites[k].combine in ("line", "point")]
        self.space = self._space()
        self.block = self._block()
        if self.block:
            self.space = self.space.blocked(self.block)
        self.names = Names()
        self.top, self.row, self.inner = Scope(), Scope(), Scope()
        self.row_value: dict[int, str] = {}
        self.kept = self._plan_kept()
        self.stage = 0

    # -- analysis --------------------------------------------------------------------------------

    def _shape(self, value: Value) -> tuple[int, ...]:
        return tuple(int(s) for s in self.region.type(value).shape)  # type: ignore[arg-type]

    def _iteration(self, key: int) -> tuple[int, ...]:
        node = self.region[key]
        if self._is_reduction(key) or not node.types:
            return self._shape(node.operands[0])
        return self._shape(Value(key))

    def _is_reduction(self, key: int) -> bool:
        return REGISTRY[self.region[key].op].family == "reduce"

    def _site(self, key: int) -> Site:
        rank = len(self.domain)
        place = "full" if self._iteration(key) == self.domain else "row"
        stage = max((self._stage_of(view) for view in self.reads.of(key)), default=0)
        if not self._is_reduction(key):
            own = contiguous_strides(self._iteration(key))
            return Site(place, _padded(own, rank), stage)
        axes = reduced_axes(self.region, key)
        kept = [axis for axis in range(len(self._iteration(key))) if axis not in axes]
        strides = [0] * rank
        for axis, stride in zip(kept, contiguous_strides([self.domain[a] for a in kept])):
            strides[axis] = int(stride)  # type: ignore[arg-type]
        row_axes = tuple(range(rank - self.rows, rank))
        if place == "row":
            return Site(place, tuple(strides), stage, "line")
        if axes == row_axes:
            return Site(place, tuple(strides), stage, "row")
        combine = "line" if axes[-self.rows :] == row_axes else "point"
        return Site(place, tuple(strides), stage, combine)

    def _stage_of(self, view: View) -> int:
        site = self.sites.get(view.source.node)
        if site is None:
            return 0
        return site.stage + (1 if site.combine == "row" else 0)

    def _space(self) -> IndexSpace:
        """Loops for which every access is affine."""
        accesses: list[tuple[int, ...]] = []
        rank = len(self.domain)
        for key in self.members:
            accesses.append(self.sites[key].strides)
            if not self.region[key].types:
                accesses.append(contiguous_strides(self._iteration(key)))  # type: ignore[arg-type]
            for view in self.reads.of(key):
                if view.source.node not in self.sites or self._copies_iota(key, view):
                    accesses.append(_padded(view.strides, rank))
        if self.rows:
            row_shape = self.domain[rank - self.rows :]
            accesses.append((0,) * (rank - self.rows) + contiguous_strides(row_shape))  # type: ignore[operator]
        return index_space(self.domain, self.rows, accesses)

    # -- what later stages read back -------------------------------------------------------------

    def _stages(self) -> int:
        return max(site.stage for site in self.sites.values()) + 1

    def _plan_kept(self) -> dict[int, Kept]:
        """The members that are stored by one stage and read back by later ones."""
        kept: dict[int, Kept] = {}
        first: dict[int, int] = {}
        cost = self._costs()
        row = math.prod(self.domain[len(self.domain) - self.rows :])
        for stage in range(self._stages()):
            work = [key for key in self.members if self._is_demanded(key, stage)]
            seen: set[int] = set()
            while work:
                key = work.pop()
                if key in seen:
                    continue
                seen.add(key)
                computes = self.sites[key].combine == ""
                if computes and first.get(key, stage) < stage and self._worth(key, cost, row):
                    if key not in kept:
                        kept[key] = Kept(self._kept_buffer(key, row), first[key])
                    continue
                if computes:
                    first.setdefault(key, self.sites[key].stage if key in self.result_of else stage)
                work += self._full_operands(key)
        return kept

    def _worth(self, key: int, cost: dict[int, int], row_elements: int) -> bool:
        """Whether reading a member back beats computing it again, and there is room to keep it."""
        itemsize = self.region.type(Value(key)).dtype.itemsize if self.region[key].types else 0
        fits = key in self.result_of or row_elements * itemsize <= ROW_BUFFER_BYTES
        return fits and cost[key] > RECOMPUTE_FLOPS

    def _is_demanded(self, key: int, stage: int) -> bool:
        """Whether a stage computes this member for its own sake."""
        site = self.sites[key]
        wanted = site.combine != "" or key in self.result_of or not self.region[key].types
        return wanted and site.place == "full" and site.stage == stage

    def _full_operands(self, key: int) -> list[int]:
        return [
            view.source.node
            for view in self.reads.of(key)
            if view.source.node in self.sites
            and view.source.node != key
            and self.sites[view.source.node].place == "full"
            and self.sites[view.source.node].combine == ""
        ]

    def _costs(self) -> dict[int, int]:
        """Operations to compute each member again from what a point can read."""
        cost: dict[int, int] = {}
        for key in self.members:
            op = self.region[key].op
            own = 0 if op in VIEW_OPS | GENERATORS else REGISTRY[op].flops
            cost[key] = own + sum(cost[below] for below in self._full_operands(key))
        return cost

    def _kept_buffer(self, key: int, row_elements: int) -> str:
        if key in self.result_of:
            return self.result_of[key]
        name = f"t{len(self.locals)}"
        dtype = self.region.type(Value(key)).dtype.name
        self.locals[name] = Buffer(name, dtype, row_elements, "local")
        return name

    def _kept_at(self, key: int) -> Affine:
        """Where a kept member lies: its place in the result, or in the row buffer."""
        if key in self.result_of:
            return self.space.at(0, self.sites[key].strides)
        rank = len(self.domain)
        row = contiguous_strides(self.domain[rank - self.rows :])
        return self.space.at(0, [0] * (rank - self.rows) + [int(s) for s in row])  # type: ignore[arg-type]

    def _copies_iota(self, key: int, view: View) -> bool:
        return view.source.node == key and self.region[key].op == "iota"

    # -- the kernel ------------------------------------------------------------------------------

    def kernel(self) -> Kernel:
        """The kernel: initial values of what is accumulated, then the loops."""
        for key in self.accumulated:
            empty = 0 in self._iteration(key)
            self.top.statements.append(self._initialised(key, self.result_of[key], empty))
        for stage in range(self._stages()):
            self.stage = stage
            self._row_members()
            self._stage_loop()
        body: tuple[Statement, ...] = tuple(self.row.statements)
        for axis in reversed(self.space.outer):
            body = (For(axis.index, axis.extent, body, not self.accumulated),)
            if self.block and axis is self.space.outer[-1]:
                body = self._block_body(body)
        return Kernel(
            self.name,
            self._buffers(),
            tuple(self.top.statements) + body,
            flops=self._flops(),
            bytes=self._bytes(),
        )

    def _buffers(self) -> tuple[Buffer, ...]:
        region = self.region
        read = [self._buffer(self.buffer_of[k], Value(k), "read") for k in region.inputs]
        again = set(self.accumulated) | set(self.kept)
        results = [
            self._buffer(self.result_of[v.node], v, "update" if v.node in again else "write")
            for v in region.outputs
        ]
        return tuple(read + results + list(self.locals.values()))

    def _buffer(self, name: str, value: Value, access: str) -> Buffer:
        type_ = self.region.type(value)
        return Buffer(name, type_.dtype.name, math.prod(self._shape(value)), access)

    def _flops(self) -> int:
        total = 0
        for key in self.members:
            if self.region[key].op not in VIEW_OPS | GENERATORS:
                total += REGISTRY[self.region[key].op].flops * math.prod(self._iteration(key))
        return total

    def _bytes(self) -> int:
        values = [Value(k) for k in self.region.inputs] + self.region.outputs
        return sum(
            math.prod(self._shape(v)) * self.region.type(v).dtype.itemsize for v in values
        )

    # -- accumulated results ---------------------------------------------------------------------

    def _block(self) -> int:
        """How many outer points are summed apart before they join the result, 0 for all.

        Summing n terms in blocks of b leaves errors that grow with b + n/b in place of n.
        """
        floats = any(self.region.type(Value(k)).dtype.is_float for k in self.accumulated)
        if not floats or len(self.space.outer) != 1:
            return 0
        outer = range(len(self.domain) - self.rows)
        if any(self.sites[key].strides[axis] for key in self.accumulated for axis in outer):
            return 0
        extent = self.space.outer[0].extent
        blocks = [b for b in range(MIN_BLOCK, extent // 2 + 1) if extent % b == 0]
        return min(blocks, key=lambda b: b + extent // b, default=0)

    def _initialised(self, key: int, buffer: str, empty: bool = False) -> For:
        """A loop that sets an accumulated result, or its block's, to what it starts from."""
        type_ = self.region.type(Value(key))
        scope = Scope()
        start = start_value(_kind(self.region[key].op), type_.dtype, empty)
        value = constant(scope, self.names, start, type_.dtype)
        index = f"z_{buffer}"
        scope.statements.append(Store(buffer, Affine(0, ((index, 1),)), value))
        return For(index, math.prod(self._shape(Value(key))), tuple(scope.statements))

    def _block_body(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """The loops over one block: its own sums from their start, then added to the results."""
        first: list[Statement] = []
        last: list[Statement] = []
        for key in self.accumulated:
            type_ = self.region.type(Value(key))
            size = math.prod(self._shape(Value(key)))
            local = f"b_{self.result_of[key]}"
            self.locals[local] = Buffer(local, type_.dtype.name, size, "local")
            first.append(self._initialised(key, local))
            at = Affine(0, (("z", 1),))
            value = self.names.fresh(type_.dtype.name)
            kind = _kind(self.region[key].op)
            last.append(For("z", size, (
                Load(value, local, at, type_.dtype.name),
                Accumulate(kind, self.result_of[key], at, value),
            )))
        return (*first, *body, *last)

    def _accumulate(self, key: int, scope: Scope, value: str, rows: bool) -> None:
        at = self.space.at(0, self.sites[key].strides, rows=rows)
        result = self.result_of[key]
        target = f"b_{result}" if self.block else result
        scope.statements.append(Accumulate(_kind(self.region[key].op), target, at, value))

    # -- rows ------------------------------------------------------------------------------------

    def _row_members(self) -> None:
        """Compute the members that live at a row and whose stage has been reached."""
        for key in self.members:
            site = self.sites[key]
            if site.place != "row" or site.stage != self.stage:
                continue
            if site.combine == "line":
                value = self._operand(self.reads.of(key)[0], self.row, rows=False)
                self._accumulate(key, self.row, value, rows=False)
                continue
            self._finish_row(key, self._compute(key, self.row, rows=False))

    def _finish_row(self, key: int, value: str) -> None:
        """Make a row result known, and store it where it leaves the kernel."""
        self.row_value[key] = value
        if key in self.result_of:
            at = self.space.at(0, self.sites[key].strides, rows=False)
            self.row.statements.append(Store(self.result_of[key], at, value))

    # -- stages ----------------------------------------------------------------------------------

    def _stage_loop(self) -> None:
        """One loop over the row axes: the reductions, accumulations and stores of this stage."""
        self.inner = Scope()
        results: list[tuple[int, Reduction]] = []
        for key in self.members:
            site = self.sites[key]
            if site.place != "full" or site.stage != self.stage:
                continue
            if site.combine == "point":
                value = self._operand(self.reads.of(key)[0], self.inner, rows=True)
                self._accumulate(key, self.inner, value, rows=True)
            elif site.combine in ("row", "line"):
                value = self._operand(self.reads.of(key)[0], self.inner, rows=True)
                dtype = self.names.dtypes[value]
                kind = _kind(self.region[key].op)
                name = self.names.fresh("i64" if kind.startswith("arg") else dtype)
                results.append((key, Reduction(name, kind, value, dtype)))
            elif key in self.result_of:
                self._store_full(key)
            elif not self.region[key].types:
                self._check(key)
        if self.inner.statements or results:
            self._close_loops(results)

    def _store_full(self, key: int) -> None:
        value = self._full(key)
        at = self.space.at(0, self.sites[key].strides)
        self.inner.statements.append(Store(self.result_of[key], at, value))

    def _check(self, key: int) -> None:
        value = self._operand(self.reads.of(key)[0], self.inner, rows=True)
        at = self.space.at(0, contiguous_strides(self._iteration(key)))  # type: ignore[arg-type]
        self.inner.statements.append(Check(value, 0, at))

    def _close_loops(self, results: list[tuple[int, Reduction]]) -> None:
        """Wrap the inner statements in loops and bring reductions to the row."""
        *outer, last = self.space.inner
        body: tuple[Statement, ...] = tuple(self.inner.statements)
        through_local = bool(outer) and bool(results)
        if not results:
            loop: Statement = For(last.index, last.extent, body)
        else:
            loop = Reduce(last.index, last.extent, body, tuple(r for _, r in results))
        body = (loop,)
        if through_local:
            body += tuple(self._partial(key, r) for key, r in results)
        for axis in reversed(outer):
            body = (For(axis.index, axis.extent, body, not through_local),)
        self.row.statements.extend(body)
        for key, reduction in results:
            value = self._total(key, reduction) if through_local else reduction.name
            self._bring_to_row(key, value)

    def _partial(self, key: int, reduction: Reduction) -> Statement:
        """Combine the reduction over the last index into a one-element local buffer."""
        name = f"p{key}"
        self.locals[name] = Buffer(name, reduction.dtype, 1, "local")
        dtype = DTYPES[reduction.dtype]
        start = start_value(reduction.kind, dtype, 0 in self._iteration(key))
        self.row.statements.append(
            Store(name, Affine(), constant(self.row, self.names, start, dtype))
        )
        return Accumulate(reduction.kind, name, Affine(), reduction.name)

    def _total(self, key: int, reduction: Reduction) -> str:
        name = self.names.fresh(reduction.dtype)
        self.row.statements.append(Load(name, f"p{key}", Affine(), reduction.dtype))
        return name

    def _bring_to_row(self, key: int, value: str) -> None:
        if self.sites[key].combine == "line":
            self._accumulate(key, self.row, value, rows=False)
        else:
            self._finish_row(key, value)

    # -- values ----------------------------------------------------------------------------------

    def _operand(self, view: View, scope: Scope, rows: bool) -> str:
        """The scalar that a view gives at the current point."""
        node = self.region[view.source.node]
        type_ = self.region.type(view.source)
        key = view.source.node
        if node.op == "constant":
            return constant(scope, self.names, node.attribute("value"), type_.dtype)
        if key in self.sites and node.op != "iota":
            site = self.sites[key]
            if site.place == "row" or site.combine == "row":
                return self.row_value[key]
            return self._full(key)
        return self._read(view, type_, scope, rows)

    def _read(self, view: View, type_: TensorType, scope: Scope, rows: bool) -> str:
        """Load from an input, or compute an iota; outside of the inner loops where it is constant
        in them."""
        strides = _padded(view.strides, len(self.domain))
        at = self.space.at(int(view.offset), strides, rows=rows)  # type: ignore[arg-type]
        inner = {axis.index for axis in self.space.inner}
        if not any(index in inner for index, _ in at.terms):
            scope = self.row
        if self.region[view.source.node].op == "iota":
            bound = sum(abs(s) * e for s, e in zip(strides, self.domain)) + abs(at.constant)
            return index_value(scope, self.names, at, type_.dtype, bound)
        buffer = self.buffer_of[view.source.node]
        return load(scope, self.names, buffer, at, type_.dtype.name)

    def _full(self, key: int) -> str:
        """A member at the current point: known, kept by an earlier stage, or computed here."""
        known = self.inner.known.get(("member", key))
        if known is not None:
            return known
        kept = self.kept.get(key)
        if kept is not None and kept.stage < self.stage:
            dtype = self.region.type(Value(key)).dtype.name
            value = load(self.inner, self.names, kept.buffer, self._kept_at(key), dtype)
        else:
            value = self._compute(key, self.inner, rows=True)
            if kept is not None and key not in self.result_of:
                self.inner.statements.append(Store(kept.buffer, self._kept_at(key), value))
        self.inner.known["member", key] = value
        return value

    def _compute(self, key: int, scope: Scope, rows: bool) -> str:
        node = self.region[key]
        operands = [self._operand(view, scope, rows) for view in self.reads.of(key)]
        if node.op == "constant":
            (type_,) = node.types
            assert type_ is not None
            return constant(scope, self.names, node.attribute("value"), type_.dtype)
        if node.op in VIEW_OPS | GENERATORS:
            return operands[0]
        return apply_op(scope, self.names, REGISTRY[node.op], node, operands)


def _padded(strides: Sequence[Size], rank: int) -> tuple[int, ...]:
    """Strides by axis of the domain: those of the axes behind are 0."""
    return tuple(int(s) for s in strides) + (0,) * (rank - len(strides))  # type: ignore[arg-type]


def _kind(op: str) -> str:
    """The kernel's name of a reduction op."""
    return op.removeprefix("reduce_")


def start_value(kind: str, dtype: DType, empty: bool) -> bool | int | float:
    """What an accumulation starts from: a value that changes nothing, and the result of an empty
    one.

    A sum of floats starts from -0.0, which keeps the sign of a sum of -0.0.
    """
    if kind in ("any", "all"):
        return kind == "all"
    if kind == "prod":
        return 1
    if kind == "sum":
        return -0.0 if dtype.is_float and not empty else 0
    if dtype.is_float:
        return -math.inf if kind == "max" else math.inf
    if dtype.kind == "b":
        return kind == "min"
    limits = np.iinfo(dtype.numpy)
    return int(limits.min if kind == "max" else limits.max)

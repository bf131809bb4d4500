"""Where the members of a loop group compute, in which stage, and what later stages read back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.dims import Size, product
from ..ir.graph import Graph, Value
from ..kernel.ir import Affine, Buffer
from ..ops.registry import REGISTRY
from .axes import IndexSpace, index_space
from .fusion_groups import Reads, reduced_axes
from .views import GENERATORS, VIEW_OPS, View, contiguous_strides

RECOMPUTE_FLOPS = 8  # a later stage computes a chain of at most this cost again
ROW_BUFFER_BYTES = 1 << 18
MIN_BLOCK = 8  # outer points that are summed apart, at least
NAMED_BLOCK = 64  # the same where their number has a name


@dataclass(frozen=True, slots=True)
class Site:
    """Where a member computes and how its result is addressed in the domain.

    place: "full" or "row". strides: of the result by axis of the domain. stage: number of row
    reductions behind it. combine: "" for an elementwise member; "row" for a reduction over the row
    axes; "point" or "line" for one that accumulates at each point or once a row.
    """

    place: str
    strides: tuple[Size, ...]
    stage: int
    combine: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A member's values stored by stage `stage` in a buffer, for later stages."""

    buffer: str
    stage: int


class LoopSites:
    """The analysis of one region of a loop kernel.

    sites: of each member. space: the loops. block: outer points that are summed apart, 0 for all.
    kept: members that later stages read back. locals: the local buffers that this needs. result_of:
    the result buffer of each member that leaves the kernel. accumulated: members whose results are
    complete only when the kernel ends.
    """

    def __init__(self, region: Graph, rows: int) -> None:
        self.region = region
        self.rows = rows
        self.reads = Reads(region, is_region=True)
        self.members = [
            k for k in self.reads.order if region[k].op != "input" and self.reads.is_real(k)
        ]
        self.domain = max((self.iteration(k) for k in self.members), key=len)
        self.sites: dict[int, Site] = {}
        for key in self.members:
            self.sites[key] = self._site(key)
        self.result_of = {v.node: f"r{i}" for i, v in enumerate(region.outputs)}
        self.locals: dict[str, Buffer] = {}
        self.accumulated = [k for k in self.members if self.sites[k].combine in ("line", "point")]
        self.space = self._space()
        self.block, self.named_block = self._blocks()
        if self.block:
            self.space = self.space.blocked(self.block)
        self.kept = self._plan_kept()

    def shape(self, value: Value) -> tuple[Size, ...]:
        """The sizes of a value."""
        return tuple(self.region.type(value).shape)

    def points(self, key: int) -> Size:
        """How many points a member computes."""
        return product(self.iteration(key))

    def iteration(self, key: int) -> tuple[Size, ...]:
        """The index space that a member computes over: of a reduction, its operand's."""
        node = self.region[key]
        if self._is_reduction(key) or not node.types:
            return self.shape(node.operands[0])
        return self.shape(Value(key))

    def _is_reduction(self, key: int) -> bool:
        return REGISTRY[self.region[key].op].family == "reduce"

    def _site(self, key: int) -> Site:
        rank = len(self.domain)
        place = "full" if self.iteration(key) == self.domain else "row"
        stage = max((self._stage_of(view) for view in self.reads.of(key)), default=0)
        if not self._is_reduction(key):
            own = contiguous_strides(self.iteration(key))
            return Site(place, padded(own, rank), stage)
        axes = reduced_axes(self.region, key)
        kept = [axis for axis in range(len(self.iteration(key))) if axis not in axes]
        strides: list[Size] = [0] * rank
        for axis, stride in zip(kept, contiguous_strides([self.domain[a] for a in kept])):
            strides[axis] = stride
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
        accesses: list[tuple[Size, ...]] = []
        rank = len(self.domain)
        for key in self.members:
            accesses.append(self.sites[key].strides)
            if not self.region[key].types:
                accesses.append(contiguous_strides(self.iteration(key)))
            for view in self.reads.of(key):
                if view.source.node not in self.sites or self._copies_iota(key, view):
                    accesses.append(padded(view.strides, rank))
        if self.rows:
            row_shape = self.domain[rank - self.rows :]
            accesses.append((0,) * (rank - self.rows) + contiguous_strides(row_shape))
        return index_space(self.domain, self.rows, accesses)

    # -- what later stages read back -------------------------------------------------------------

    def stages(self) -> int:
        """Number of stages."""
        return max(site.stage for site in self.sites.values()) + 1

    def _plan_kept(self) -> dict[int, Kept]:
        """The members that are stored by one stage and read back by later ones."""
        kept: dict[int, Kept] = {}
        first: dict[int, int] = {}
        cost = self._costs()
        row = product(self.domain[len(self.domain) - self.rows :])
        for stage in range(self.stages()):
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

    def _worth(self, key: int, cost: dict[int, int], row_elements: Size) -> bool:
        """Whether reading a member back beats computing it again, and there is room to keep it.

        Rows of a symbolic size are taken to be short.
        """
        itemsize = self.region.type(Value(key)).dtype.itemsize if self.region[key].types else 0
        fits = key in self.result_of or is_within(row_elements * itemsize, ROW_BUFFER_BYTES)
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

    def _kept_buffer(self, key: int, row_elements: Size) -> str:
        if key in self.result_of:
            return self.result_of[key]
        name = f"t{len(self.locals)}"
        dtype = self.region.type(Value(key)).dtype.name
        self.locals[name] = Buffer(name, dtype, row_elements, "local")
        return name

    def kept_at(self, key: int) -> Affine:
        """Where a kept member lies: its place in the result, or in the row buffer."""
        if key in self.result_of:
            return self.space.at(0, self.sites[key].strides)
        rank = len(self.domain)
        row = contiguous_strides(self.domain[rank - self.rows :])
        return self.space.at(0, [0] * (rank - self.rows) + list(row))

    def _copies_iota(self, key: int, view: View) -> bool:
        return view.source.node == key and self.region[key].op == "iota"

    def _blocks(self) -> tuple[int, int]:
        """How many outer points are summed apart before they join the result, 0 for all: by a loop
        around that of a block, and within a loop of named extent.

        Summing n terms in blocks of b leaves errors that grow with b + n/b in place of n.
        """
        floats = any(self.region.type(Value(k)).dtype.is_float for k in self.accumulated)
        if not floats or len(self.space.outer) != 1:
            return 0, 0
        outer = range(len(self.domain) - self.rows)
        if any(self.sites[key].strides[axis] for key in self.accumulated for axis in outer):
            return 0, 0
        sizes = map(self._result_bytes, self.accumulated)
        if not all(is_within(size, ROW_BUFFER_BYTES) for size in sizes):
            return 0, 0
        extent = self.space.outer[0].extent
        if not isinstance(extent, int):
            return 0, NAMED_BLOCK
        last = min(2 * math.isqrt(extent), extent // 2)
        blocks = [b for b in range(MIN_BLOCK, last + 1) if extent % b == 0]
        return min(blocks, key=lambda b: b + extent // b, default=0), 0

    def _result_bytes(self, key: int) -> Size:
        type_ = self.region.type(Value(key))
        return product(self.shape(Value(key))) * type_.dtype.itemsize


def padded(strides: Sequence[Size], rank: int) -> tuple[Size, ...]:
    """Strides by axis of the domain: those of the axes behind are 0."""
    return tuple(strides) + (0,) * (rank - len(strides))


def is_within(size: Size, limit: int) -> bool:
    """Whether a size is at most a limit, or symbolic."""
    return not isinstance(size, int) or size <= limit


def kind_of(op: str) -> str:
    """The kernel's name of a reduction op."""
    return op.removeprefix("reduce_")

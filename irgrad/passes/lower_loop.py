"""A loop group as a kernel: for each point of the outer axes, stages of loops over the row axes.

Stage s computes what depends on s row reductions. All reductions of a stage share one loop, and
each output is stored in the first stage that knows it. A value needed by a later stage is computed
again where that is cheap, read back where it was stored anyway, and else kept in a row buffer.
"""

from __future__ import annotations

from ..ir.dims import Size, product
from ..ir.graph import Graph, Value
from ..ir.types import DTYPES, TensorType
from ..kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Check,
    Every,
    For,
    Kernel,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
)
from ..ops.registry import REGISTRY
from .loop_sites import LoopSites, kind_of, padded
from .lower_scalar import (
    Names,
    Scope,
    apply_op,
    generated,
    index_value,
    load,
    reach,
    start_scalar,
)
from .views import GENERATORS, VIEW_OPS, View, contiguous_strides


class LoopLowering:
    """Lowers one region; `kernel()` gives the result."""

    def __init__(self, region: Graph, rows: int, name: str) -> None:
        self.region = region
        self.name = name
        self.analysis = LoopSites(region, rows)
        self.reads = self.analysis.reads
        self.members = self.analysis.members
        self.sites = self.analysis.sites
        self.space = self.analysis.space
        self.result_of = self.analysis.result_of
        self.accumulated = self.analysis.accumulated
        self.kept = self.analysis.kept
        self.locals = dict(self.analysis.locals)
        self.buffer_of = {k: f"a{i}" for i, k in enumerate(region.inputs)}
        self.names = Names()
        self.top, self.row, self.inner = Scope(), Scope(), Scope()
        self.row_value: dict[int, str] = {}
        self.stage = 0

    # -- the kernel ------------------------------------------------------------------------------

    def kernel(self) -> Kernel:
        """The kernel: initial values of what is accumulated, then the loops."""
        for key in self.accumulated:
            points = self.analysis.points(key)
            self.top.statements.append(self._initialised(key, self.result_of[key], points))
        for stage in range(self.analysis.stages()):
            self.stage = stage
            self._row_members()
            self._stage_loop()
        body: tuple[Statement, ...] = tuple(self.row.statements)
        for axis in reversed(self.space.outer):
            if self.analysis.named_block:
                body = self._named_block_body(body, axis.index, axis.extent)
            body = (For(axis.index, axis.extent, body, not self.accumulated),)
            if self.analysis.block and axis is self.space.outer[-1]:
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
        return Buffer(name, type_.dtype.name, product(self.analysis.shape(value)), access)

    def _flops(self) -> Size:
        total: Size = 0
        for key in self.members:
            if self.region[key].op not in VIEW_OPS | GENERATORS:
                points = product(self.analysis.iteration(key))
                total = total + REGISTRY[self.region[key].op].flops * points
        return total

    def _bytes(self) -> Size:
        total: Size = 0
        for value in [Value(k) for k in self.region.inputs] + self.region.outputs:
            itemsize = self.region.type(value).dtype.itemsize
            total = total + product(self.analysis.shape(value)) * itemsize
        return total

    # -- accumulated results ---------------------------------------------------------------------

    def _initialised(self, key: int, buffer: str, points: Size) -> For:
        """A loop that sets an accumulated result of so many points, or its block's, to what it
        starts from."""
        type_ = self.region.type(Value(key))
        scope = Scope()
        kind = kind_of(self.region[key].op)
        value = start_scalar(scope, self.names, kind, type_.dtype, points)
        index = f"z_{buffer}"
        scope.statements.append(Store(buffer, Affine(0, ((index, 1),)), value))
        return For(index, product(self.analysis.shape(Value(key))), tuple(scope.statements))

    def _block_body(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """The loops over one block: its own sums from their start, then added to the results."""
        first, last = self._block_ends()
        return (*first, *body, *last)

    def _named_block_body(
        self, body: tuple[Statement, ...], index: str, extent: Size
    ) -> tuple[Statement, ...]:
        """The same in a loop of a named extent, whose last block may be short."""
        block = self.analysis.named_block
        first, last = self._block_ends()
        return (
            Every(index, extent, block, False, first),
            *body,
            Every(index, extent, block, True, last),
        )

    def _block_ends(self) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        """What starts the sums of a block, and what adds them to the results."""
        first: list[Statement] = []
        last: list[Statement] = []
        for key in self.accumulated:
            type_ = self.region.type(Value(key))
            size = product(self.analysis.shape(Value(key)))
            local = f"b_{self.result_of[key]}"
            self.locals[local] = Buffer(local, type_.dtype.name, size, "local")
            first.append(self._initialised(key, local, 1))
            at = Affine(0, (("z", 1),))
            value = self.names.fresh(type_.dtype.name)
            kind = kind_of(self.region[key].op)
            last.append(For("z", size, (
                Load(value, local, at, type_.dtype.name),
                Accumulate(kind, self.result_of[key], at, value),
            )))
        return tuple(first), tuple(last)

    def _accumulate(self, key: int, scope: Scope, value: str, rows: bool) -> None:
        at = self.space.at(0, self.sites[key].strides, rows=rows)
        result = self.result_of[key]
        blocked = self.analysis.block or self.analysis.named_block
        target = f"b_{result}" if blocked else result
        scope.statements.append(Accumulate(kind_of(self.region[key].op), target, at, value))

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
                kind = kind_of(self.region[key].op)
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
        at = self.space.at(0, contiguous_strides(self.analysis.iteration(key)))
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
        points = self.analysis.points(key)
        start = start_scalar(self.row, self.names, reduction.kind, dtype, points)
        self.row.statements.append(Store(name, Affine(), start))
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
        if node.op in ("constant", "dim_size"):
            return generated(scope, self.names, node, type_.dtype)
        if key in self.sites and node.op != "iota":
            site = self.sites[key]
            if site.place == "row" or site.combine == "row":
                return self.row_value[key]
            return self._full(key)
        return self._read(view, type_, scope, rows)

    def _read(self, view: View, type_: TensorType, scope: Scope, rows: bool) -> str:
        """Load from an input, or compute an iota; outside of the inner loops where it is constant
        in them."""
        strides = padded(view.strides, len(self.analysis.domain))
        at = self.space.at(view.offset, strides, rows=rows)
        inner = {axis.index for axis in self.space.inner}
        if not any(index in inner for index, _ in at.terms):
            scope = self.row
        if self.region[view.source.node].op == "iota":
            domain = self.analysis.domain
            bound = reach(at.constant, strides, domain)
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
            value = load(self.inner, self.names, kept.buffer, self.analysis.kept_at(key), dtype)
        else:
            value = self._compute(key, self.inner, rows=True)
            if kept is not None and key not in self.result_of:
                self.inner.statements.append(Store(kept.buffer, self.analysis.kept_at(key), value))
        self.inner.known["member", key] = value
        return value

    def _compute(self, key: int, scope: Scope, rows: bool) -> str:
        node = self.region[key]
        operands = [self._operand(view, scope, rows) for view in self.reads.of(key)]
        if node.op in ("constant", "dim_size"):
            (type_,) = node.types
            assert type_ is not None
            return generated(scope, self.names, node, type_.dtype)
        if node.op in VIEW_OPS | GENERATORS:
            return operands[0]
        return apply_op(scope, self.names, REGISTRY[node.op], node, operands)

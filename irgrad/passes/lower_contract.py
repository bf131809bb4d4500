"""A contract group as a kernel: a contraction and, point by point, what follows it."""

from __future__ import annotations

from ..errors import LoweringError
from ..ir.dims import Size, product
from ..ir.graph import Graph, Value
from ..kernel.ir import Affine, Buffer, Contract, ContractionIndex, Kernel, Store, affine
from ..ops.contract import free_axes
from ..ops.registry import REGISTRY
from .fusion_groups import Reads, contraction_split
from .lower_scalar import Names, Scope, apply_op, generated, load
from .views import View, contiguous_strides, merged_stride

ROW, COLUMN = "row", "column"


class ContractLowering:
    """Lowers one region that holds a contraction; `kernel()` gives the result."""

    def __init__(self, region: Graph, name: str) -> None:
        self.region = region
        self.name = name
        self.reads = Reads(region, is_region=True)
        self.members = [
            k for k in self.reads.order if region[k].op != "input" and self.reads.is_real(k)
        ]
        self.contraction = next(
            k for k in self.members if REGISTRY[region[k].op].family == "contract"
        )
        self.split = contraction_split(region, self.contraction)
        self.buffer_of = {k: f"a{i}" for i, k in enumerate(region.inputs)}
        self.names = Names()
        self.scope = Scope()
        self.value: dict[int, str] = {}

    def kernel(self) -> Kernel:
        """The kernel of the region."""
        statement = self._contract()
        region = self.region
        reads = tuple(self._buffer(self.buffer_of[k], Value(k), "read") for k in region.inputs)
        writes = tuple(self._buffer(f"r{i}", v, "write") for i, v in enumerate(region.outputs))
        k_size = product(index.extent for index in statement.k)
        points = product(self._shape(Value(self.contraction)))
        behind = [k for k in self.members if k != self.contraction]
        flops = points * (2 * k_size + sum(REGISTRY[region[k].op].flops for k in behind))
        moved: Size = 0
        values = [*(Value(k) for k in region.inputs), *region.outputs]
        for buffer, value in zip(reads + writes, values, strict=True):
            moved = moved + buffer.size * region.type(value).dtype.itemsize
        return Kernel(self.name, reads + writes, (statement,), flops=flops, bytes=moved)

    def _shape(self, value: Value) -> tuple[Size, ...]:
        return tuple(self.region.type(value).shape)

    def _buffer(self, name: str, value: Value, access: str) -> Buffer:
        return Buffer(
            name, self.region.type(value).dtype.name, product(self._shape(value)), access
        )

    def _contract(self) -> Contract:
        node = self.region[self.contraction]
        lhs, rhs = self.reads.of(self.contraction)
        lb, rb = node.attribute("lhs_batch"), node.attribute("rhs_batch")
        lk, rk = node.attribute("lhs_contract"), node.attribute("rhs_contract")
        lm, rn = free_axes(len(lhs.shape), lb, lk), free_axes(len(rhs.shape), rb, rk)
        groups = {
            "b": _indices("b", lhs, lb), "m": _indices("m", lhs, lm),
            "n": _indices("n", rhs, rn), "k": _indices("k", lhs, lk),
        }
        (type_,) = node.types
        assert type_ is not None
        result = self.names.fresh(type_.dtype.name)
        self.value[self.contraction] = result
        for key in self.members:
            if key != self.contraction:
                self.value[key] = self._member(key)
        for i, value in enumerate(self.region.outputs):
            at = self._at(0, contiguous_strides(self._shape(value)), self._shape(value))
            self.scope.statements.append(Store(f"r{i}", at, self.value[value.node]))
        return Contract(
            result, type_.dtype.name, groups["b"], groups["m"], groups["n"], groups["k"],
            self.buffer_of[lhs.source.node], _operand_at(lhs, {"b": lb, "m": lm, "k": lk}),
            self.buffer_of[rhs.source.node], _operand_at(rhs, {"b": rb, "n": rn, "k": rk}),
            ROW, COLUMN, tuple(self.scope.statements),
        )

    def _member(self, key: int) -> str:
        node = self.region[key]
        operands = [self._operand(view) for view in self.reads.of(key)]
        return apply_op(self.scope, self.names, REGISTRY[node.op], node, operands)

    def _operand(self, view: View) -> str:
        node = self.region[view.source.node]
        type_ = self.region.type(view.source)
        if node.op in ("constant", "dim_size"):
            return generated(self.scope, self.names, node, type_.dtype)
        if view.source.node in self.value:
            return self.value[view.source.node]
        at = self._at(view.offset, view.strides, view.shape)
        buffer = self.buffer_of[view.source.node]
        return load(self.scope, self.names, buffer, at, type_.dtype.name)

    def _at(
        self, offset: Size, strides: tuple[Size, ...], shape: tuple[Size, ...]
    ) -> Affine:
        """An access of the epilogue by batch indices, row and column."""
        batch, m = self.split
        coefficients: dict[str, Size] = {f"b{i}": s for i, s in enumerate(strides[:batch])}
        for name, part in ((ROW, slice(batch, m)), (COLUMN, slice(m, None))):
            stride = merged_stride(shape[part], strides[part])
            if stride is None:
                raise LoweringError("dot_general: expected an epilogue that walks rows and columns")
            coefficients[name] = stride
        return affine(offset, coefficients)


def _indices(prefix: str, view: View, axes: tuple[int, ...]) -> tuple[ContractionIndex, ...]:
    return tuple(
        ContractionIndex(f"{prefix}{i}", view.shape[axis])
        for i, axis in enumerate(axes)
    )


def _operand_at(view: View, groups: dict[str, tuple[int, ...]]) -> Affine:
    coefficients = {
        f"{prefix}{i}": view.strides[axis]
        for prefix, axes in groups.items()
        for i, axis in enumerate(axes)
    }
    return affine(view.offset, coefficients)

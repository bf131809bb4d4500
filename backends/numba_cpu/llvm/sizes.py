"""Named sizes as i64 values: polynomials of the dims that an entry is called with."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.vectors import I32, I64, integer, ramp, splat
from irgrad.ir.dims import Size
from irgrad.kernel.slots import ALIGNMENT


class Sizes:
    """Values of sizes, each built once, at a place that every use of them follows.

    builder: builds there. dims: points to the i64 values of `names`, in order.
    """

    def __init__(
        self, builder: ir.IRBuilder, dims: ir.Value | None = None, names: Sequence[str] = ()
    ) -> None:
        self.builder = builder
        self.dims = dims
        self.names = tuple(names)
        self._known: dict[object, ir.Value] = {}

    def value(self, size: Size) -> ir.Value | int:
        """A size: an int where it is a number."""
        if isinstance(size, int):
            return size
        found = self._known.get(size)
        if found is None:
            builder = self.builder
            found = integer(0)
            for monomial, coefficient in size.terms:
                term = integer(coefficient)
                for name, power in monomial:
                    for _ in range(power):
                        term = builder.mul(term, self._dim(name))
                found = builder.add(found, term)
            self._known[size] = found
        return found

    def _dim(self, name: str) -> ir.Value:
        found = self._known.get(name)
        if found is None:
            assert self.dims is not None
            place = integer(self.names.index(name))
            pointer = self.builder.gep(self.dims, [place], source_etype=I64)
            found = self._known[name] = self.builder.load(pointer, typ=I64, align=8)
        return found

    def slots(self, slots: Sequence[Sequence[Size]]) -> list[ir.Value]:
        """The byte offset of each slot of an arena, then the bytes of all: `slot_offsets`."""
        builder, total = self.builder, integer(0)
        found = [total]
        for sizes in slots:
            largest = integer(1)
            for size in sizes:
                value = as_value(self.value(size))
                more = builder.icmp_signed(">", value, largest)
                largest = builder.select(more, value, largest)
            padded = builder.add(largest, integer(ALIGNMENT - 1))
            total = builder.add(total, builder.and_(padded, integer(-ALIGNMENT)))
            found.append(total)
        return found


def lanes_below(builder: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """A mask of the first `count` lanes, an i64 value."""
    limit = splat(builder, builder.trunc(count, I32), lanes)
    return builder.icmp_signed("<", ramp(32, lanes), limit)


def as_value(size: ir.Value | int) -> ir.Value:
    """A size as an i64 value."""
    return integer(size) if isinstance(size, int) else size

"""Control flow: a counted loop with values carried from turn to turn."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.vectors import I64, integer


class CountedLoop:
    """`for index in range(start, stop, step)`, which takes at least one turn.

    The body is what is built between the constructor and `close`. hoist builds before the loop.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        stop: ir.Value | int,
        step: int = 1,
        start: ir.Value | None = None,
    ) -> None:
        self.builder = builder
        self.stop = integer(stop) if isinstance(stop, int) else stop
        self.step = step
        self.before = builder.block
        self.hoist = ir.IRBuilder(builder.block)
        self.head = builder.append_basic_block("loop")
        builder.branch(self.head)
        builder.position_at_end(self.head)
        self.index = builder.phi(I64)
        self.index.add_incoming(integer(0) if start is None else start, self.before)
        self.carried: list[ir.Value] = []

    def carry(self, start: ir.Value) -> ir.Value:
        """A value that starts as `start`; call it before the body is built."""
        phi = self.builder.phi(start.type)
        phi.add_incoming(start, self.before)
        self.carried.append(phi)
        return phi

    def close(self, following: Sequence[ir.Value]) -> None:
        """End the body; `following` are the carried values of the next turn and after the loop."""
        builder = self.builder
        index = builder.add(self.index, integer(self.step))
        latch = builder.block
        self.index.add_incoming(index, latch)
        for phi, value in zip(self.carried, following, strict=True):
            phi.add_incoming(value, latch)
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", index, self.stop), self.head, done)
        builder.position_at_end(done)

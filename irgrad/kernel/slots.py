"""Arena memory of programs with named sizes: slots, each shared by buffers of disjoint lifetimes.

The size of a slot is the largest of its expressions, rounded up to the alignment, and its offset is
the sum of the sizes of the slots before it: a closed form that C can compute as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import LimitError
from ..ir.dims import Size, evaluate

ALIGNMENT = 64  # of what lies in an arena, and of the arena itself
MAX_BYTES = 2**62


def aligned(size: int) -> int:
    """A number of bytes rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def assign_slots(
    spans: Mapping[object, tuple[int, int, Size]],
) -> tuple[dict[object, int], tuple[tuple[Size, ...], ...]]:
    """A slot for each (first step, last step, bytes), and the distinct byte sizes in each slot.

    In order of the first step, a buffer takes a slot that is free by then: one that already holds
    its size, else the one that was freed last, else a new one.
    """
    slots: list[list[Size]] = []
    last: list[int] = []
    found: dict[object, int] = {}
    for key in sorted(spans, key=lambda key: (spans[key][0], spans[key][1], str(key))):
        start, end, size = spans[key]
        free = [n for n in range(len(slots)) if last[n] < start]
        number = max(free, key=lambda n: (size in slots[n], last[n]), default=len(slots))
        if number == len(slots):
            slots.append([])
            last.append(end)
        if size not in slots[number]:
            slots[number].append(size)
        last[number] = end
        found[key] = number
    return found, tuple(map(tuple, slots))


def slot_offsets(
    slots: Sequence[Sequence[Size]], dims: Mapping[str, int]
) -> tuple[tuple[int, ...], int]:
    """The byte offset of each slot under `dims`, and the bytes of all of them.

    Raises DimError for a name without a value, LimitError where it is more than MAX_BYTES.
    """
    offsets: list[int] = []
    total = 0
    for sizes in slots:
        offsets.append(total)
        largest = max(1, *(evaluate(size, dims) for size in sizes))
        total += aligned(largest)
    if total > MAX_BYTES:
        raise LimitError(
            f"plan: expected intermediate arrays of at most {MAX_BYTES} bytes in all, got more"
        )
    return tuple(offsets), total


@dataclass(frozen=True, slots=True)
class Workspace:
    """The scratch memory of one call.

    slots: as in `Program`. fixed_bytes: what is needed beside them, whatever the sizes are.
    """

    slots: tuple[tuple[Size, ...], ...]
    fixed_bytes: int

    def bytes(self, dims: Mapping[str, int]) -> int:
        """Its size under `dims`; DimError for a name without a value, LimitError as above."""
        return slot_offsets(self.slots, dims)[1] + self.fixed_bytes

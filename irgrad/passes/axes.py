"""Loop indices from the axes of an index space: axes that every access walks as one are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.dims import Size
from ..kernel.ir import Affine, affine


@dataclass(frozen=True, slots=True)
class LoopAxis:
    """A loop index that stands for a run of axes; `inner` is the last of them, whose stride an
    access has for the whole run, times `scale` where the index counts blocks of the run."""

    index: str
    extent: Size
    inner: int
    scale: int = 1


@dataclass(frozen=True, slots=True)
class IndexSpace:
    """The loops over a domain: `outer` in order, then `inner` in order."""

    outer: tuple[LoopAxis, ...]
    inner: tuple[LoopAxis, ...]

    def at(self, offset: Size, strides: Sequence[Size], rows: bool = True) -> Affine:
        """The affine expression of an access, given its stride for each axis of the domain.

        rows: False for an access from outside of the inner loops, whose inner strides are ignored.
        """
        axes = self.outer + self.inner if rows else self.outer
        walked = (a for a in axes if a.inner < len(strides))
        return affine(offset, {a.index: strides[a.inner] * a.scale for a in walked})

    def blocked(self, block: int) -> IndexSpace:
        """The same loops with the one outer axis cut into blocks of a size that divides it."""
        (axis,) = self.outer
        assert isinstance(axis.extent, int), "blocks of a symbolic extent"
        blocks = LoopAxis(f"{axis.index}b", axis.extent // block, axis.inner, block)
        return IndexSpace((blocks, LoopAxis(axis.index, block, axis.inner)), self.inner)


def index_space(
    domain: Sequence[Size], rows: int, accesses: Sequence[Sequence[Size]]
) -> IndexSpace:
    """Merge neighbouring axes wherever all accesses allow it.

    domain: extents. rows: how many last axes belong to the inner loops; 0 makes the innermost
    merged axis the inner loop. accesses: strides by axis of the domain, one tuple for each access.
    """
    split = len(domain) - rows
    outer = _merge(domain, range(split), accesses)
    inner = _merge(domain, range(split, len(domain)), accesses)
    if rows == 0:
        outer, inner = outer[:-1], outer[-1:]
    if not inner:
        inner = [(1, len(domain))]
    return IndexSpace(
        tuple(LoopAxis(f"i{n}", extent, axis) for n, (extent, axis) in enumerate(outer)),
        tuple(LoopAxis(f"j{n}", extent, axis) for n, (extent, axis) in enumerate(inner)),
    )


def _merge(
    domain: Sequence[Size], axes: range, accesses: Sequence[Sequence[Size]]
) -> list[tuple[Size, int]]:
    """(extent, innermost axis) of each merged run, in order."""
    runs: list[tuple[Size, int]] = []
    for axis in reversed(axes):
        if domain[axis] == 1:
            continue
        if runs:
            extent, inner = runs[0]
            if all(a[axis] == a[inner] * extent for a in accesses):
                runs[0] = (extent * domain[axis], inner)
                continue
        runs.insert(0, (domain[axis], axis))
    return runs

"""Transposition of square blocks of vectors in registers."""

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import I32


def transpose_block(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square block of vectors by log2(side) rounds of two-row shuffles.

    Groups of 16 bytes are transposed by interleaving, which is one instruction a shuffle on x86 and
    Arm; whole groups are then exchanged.
    """
    side = len(rows)
    distance = 1
    if side >= 4 and isinstance(rows[0].type.element, ir.FloatType):
        rows = _transpose_fours(builder, rows)
        distance = 4
    while distance < side:
        low, high = [], []
        for lane in range(side):
            upper = lane & distance
            other = side if upper else 0
            low.append(lane - upper + other)
            high.append(lane - upper + distance + other)
        mixed = list(rows)
        for first in range(side):
            if not first & distance:
                pair = rows[first], rows[first + distance]
                mixed[first] = _shuffle(builder, pair, low)
                mixed[first + distance] = _shuffle(builder, pair, high)
        rows = mixed
        distance *= 2
    return rows


def _transpose_fours(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose every 4x4 block of f32 within its 16 bytes."""
    side = len(rows)
    fours = range(0, side, 4)
    ones = [g + t + other for g in fours for t in (0, 1) for other in (0, side)]
    twos = [g + t + other for g in fours for other in (0, side) for t in (0, 1)]
    result = []
    for g in fours:
        r0, r1, r2, r3 = rows[g : g + 4]
        for shift in (0, 2):
            lanes = [lane + shift for lane in ones]
            pair = _shuffle(builder, (r0, r1), lanes), _shuffle(builder, (r2, r3), lanes)
            result.append(_shuffle(builder, pair, twos))
            result.append(_shuffle(builder, pair, [lane + 2 for lane in twos]))
    return result


def _shuffle(builder: ir.IRBuilder, pair: tuple[ir.Value, ir.Value], lanes: list[int]) -> ir.Value:
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))

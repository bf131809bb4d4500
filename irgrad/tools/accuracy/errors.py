"""Errors in units of the last place, and what is kept of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .functions import Array

BOUNDS = (0.5, 1.0, 1.5, 2.0)  # in ulp, of the counts of a Tally


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of the errors at some points.

    worst: in ulp; inf where a result is wrong in kind (see `ulp_errors`). at: the arguments there,
    got and wanted: the results, as texts of hexadecimal floats. over: by bound of BOUNDS, how many
    points have a larger error. wrong: how many are wrong in kind.
    """

    points: int = 0
    worst: float = 0.0
    at: tuple[str, ...] = ()
    got: str = ""
    wanted: str = ""
    over: tuple[int, ...] = (0,) * len(BOUNDS)
    wrong: int = 0

    def joined(self, other: Tally) -> Tally:
        """The tally of the points of both."""
        worse = max(self, other, key=lambda tally: tally.worst)
        over = tuple(a + b for a, b in zip(self.over, other.over, strict=True))
        return Tally(self.points + other.points, worse.worst, worse.at, worse.got, worse.wanted,
                     over, self.wrong + other.wrong)  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As data for a file."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Tally:
        """From `to_json`'s data; TypeError, KeyError or ValueError where it is none."""
        for text in data["at"]:
            float.fromhex(text)
        return Tally(
            int(data["points"]), float(data["worst"]), tuple(map(str, data["at"])),
            str(data["got"]), str(data["wanted"]), tuple(map(int, data["over"])),
            int(data["wrong"]),
        )  # fmt: skip


def tally_of(arguments: list[Array], got: Array, wanted: Array) -> Tally:
    """The tally of some results; shapes as in `ulp_errors`, at least one point."""
    errors = ulp_errors(got, wanted)
    i = int(np.argmax(errors))
    worst = float(errors[i])
    over = tuple(
        int(np.count_nonzero(errors > bound)) if worst > bound else 0 for bound in BOUNDS
    )
    wrong = int(np.count_nonzero(np.isinf(errors))) if worst == np.inf else 0
    at = tuple(float(a[i]).hex() for a in arguments)
    return Tally(got.size, worst, at, float(got[i]).hex(), float(wanted[i]).hex(), over, wrong)


def ulp_errors(got: Array, wanted: Array, dtype: np.dtype | None = None) -> Array:
    """|got - wanted| in ulp of a dtype (f32 or f64), by default of got's; never NaN.

    got: [n]. wanted: [n] in a wider dtype, float64 or long double. An ulp is that of the binade of
    the wanted value, the one of denormal numbers below and of the largest numbers above; infinity
    stands for the power of two after the largest number. A result that is wrong in kind has the
    error inf: NaN in place of a number or the reverse, a zero of the wrong sign, or a number in
    place of an exact zero.
    """
    info = np.finfo(got.dtype if dtype is None else dtype)
    top = np.ldexp(wanted.dtype.type(1), info.maxexp)
    with np.errstate(invalid="ignore"):  # signalling NaN
        have = np.clip(got.astype(wanted.dtype), -top, top)
    want = np.clip(wanted, -top, top)
    errors = np.abs(have - want)
    errors *= _inverse_ulp(want, info)
    lost = np.isnan(errors)
    if lost.any():
        both = np.isnan(got) & np.isnan(wanted)
        errors = np.where(lost, np.where(both, 0.0, np.inf), errors)
    zeros = (got == 0) | (wanted == 0)
    if zeros.any():
        wrong = (np.signbit(got) != np.signbit(wanted)) | ((wanted == 0) & (got != 0))
        errors = np.where(zeros & wrong & ~lost, np.inf, errors)
    return errors


def _inverse_ulp(want: Array, info: np.finfo) -> Array:
    """1 / ulp of each value, in its dtype."""
    least, most = int(info.minexp), int(info.maxexp) - 1
    if want.dtype != np.float64:
        _, exponents = np.frexp(want)
        exponents = np.clip(exponents - 1, least, most)
        return np.ldexp(want.dtype.type(1), info.nmant - exponents)
    # By the bits of the exponents, in a tenth of the time of frexp and ldexp.
    field = want.view(np.uint64) & np.uint64(0x7FF << 52)
    np.maximum(field, np.uint64((least + 1023) << 52), out=field)
    np.minimum(field, np.uint64((most + 1023) << 52), out=field)
    np.subtract(np.uint64((2 * 1023 + int(info.nmant)) << 52), field, out=field)
    return field.view(np.float64)

"""How many threads compute: the least of the user's limit, the processors that this process may run
on, and the share of them that its container is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ..config import read_config
from ..errors import BackendError, brief

CGROUP = "/sys/fs/cgroup"
MEMBERSHIP = "/proc/self/cgroup"
LARGEST_FILE = 1 << 16
Read = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Threads:
    """The number of threads, and what it is the least of; None: no such bound.

    limit: what IRGRAD_THREADS says. processors: in the affinity mask. quota: of the container.
    """

    limit: int | None
    processors: int
    quota: int | None

    @property
    def count(self) -> int:
        """At least 1."""
        bounds = (self.limit, self.processors, self.quota)
        return max(1, min(bound for bound in bounds if bound is not None))

    def __str__(self) -> str:
        limit = "none" if self.limit is None else self.limit
        quota = "none" if self.quota is None else self.quota
        return (
            f"{self.count} (limit IRGRAD_THREADS {limit}, processors {self.processors}, "
            f"container's quota {quota})"
        )


@cache
def available_threads() -> Threads:
    """The threads of this process, as found at the first call; BackendError for a limit that is no
    number of 1 or more."""
    limit = thread_limit(read_config().threads)
    return Threads(limit, _processors(), quota_processors(_read))


def thread_limit(text: str) -> int | None:
    """The number that IRGRAD_THREADS gives, None for an empty text; BackendError for another."""
    if not text:
        return None
    number = int(text[:19]) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise BackendError(
            f"IRGRAD_THREADS: expected a number of threads, 1 or more, got {brief(text)}"
        )
    return number


def _processors() -> int:
    """Those in the affinity mask."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _read(path: str) -> str | None:
    """The text of a small file, None where there is none to read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(LARGEST_FILE)
    except OSError:
        return None


def quota_processors(read: Read) -> int | None:
    """Processors that the control groups of this process allow, None where they set no bound.

    A share of 1.5 processors counts as 2. read: gives the text of a file, or None. Groups of
    version 2 have cpu.max, of version 1 cpu.cfs_quota_us; those above a group bound it as well.
    """
    shares: list[float] = []
    for line in (read(MEMBERSHIP) or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        share, roots = _share_v2, [CGROUP]
        if controllers:
            share, roots = _share_v1, [f"{CGROUP}/{controllers}", f"{CGROUP}/cpu"]
        if controllers and "cpu" not in controllers.split(","):
            continue
        folders = {f"{root}{above}" for root in roots for above in _upwards(path)}
        found = [share(read, folder) for folder in sorted(folders)]
        shares += [one for one in found if one is not None]
    return max(1, -int(-min(shares) // 1)) if shares else None


def _upwards(path: str) -> list[str]:
    """The path of a group and of all groups above it; "" for the root."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return ["".join(f"/{part}" for part in parts[:i]) for i in range(len(parts), -1, -1)]


def _share_v2(read: Read, folder: str) -> float | None:
    words = (read(f"{folder}/cpu.max") or "").split()
    return _ratio(*words) if len(words) == 2 else None


def _share_v1(read: Read, folder: str) -> float | None:
    quota, period = (read(f"{folder}/cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    return _ratio(quota.strip(), period.strip())


def _ratio(quota: str, period: str) -> float | None:
    """quota / period where both are positive numbers; "max" and -1 say that there is no bound."""
    if not (quota.isascii() and quota.isdigit() and period.isascii() and period.isdigit()):
        return None
    if len(quota) > 18 or len(period) > 18 or not int(quota) or not int(period):
        return None
    return int(quota) / int(period)

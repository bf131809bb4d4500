"""How many threads compute: the user's limit, the affinity mask, and quotas of containers."""

from __future__ import annotations

import pytest

from irgrad.config import read_config
from irgrad.errors import BackendError
from irgrad.runtime import processors
from irgrad.runtime.processors import (
    Threads,
    available_threads,
    quota_processors,
    thread_limit,
)

V2 = "/sys/fs/cgroup"
V1 = "/sys/fs/cgroup/cpu,cpuacct"
MEMBER_V1 = "4:memory:/a\n3:cpu,cpuacct:/a/b\n1:name=systemd:/x\n"
QUOTAS: dict[str, tuple[dict[str, str], int | None]] = {
    "nothing to read": ({}, None),
    "no bound": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, None),
    "two processors": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
    "one and a half": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 2),
    "less than one": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "10000 100000\n"}, 1),
    "of a group": ({"/proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "300000 100000"}, 3),
    "of the group above": (
        {"/proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "800000 100000",
         f"{V2}/a/cpu.max": "400000 100000", f"{V2}/cpu.max": "max 100000"}, 4,
    ),
    "version 1": (
        {"/proc/self/cgroup": MEMBER_V1, f"{V1}/a/b/cpu.cfs_quota_us": "250000\n",
         f"{V1}/a/b/cpu.cfs_period_us": "100000\n"}, 3,
    ),
    "version 1 at its root": (
        {"/proc/self/cgroup": MEMBER_V1, f"{V2}/cpu/cpu.cfs_quota_us": "100000\n",
         f"{V2}/cpu/cpu.cfs_period_us": "100000\n"}, 1,
    ),
    "version 1 without a bound": (
        {"/proc/self/cgroup": MEMBER_V1, f"{V1}/cpu.cfs_quota_us": "-1\n",
         f"{V1}/cpu.cfs_period_us": "100000\n"}, None,
    ),
    "another controller": (
        {"/proc/self/cgroup": "4:memory:/a\n", f"{V1}/a/cpu.cfs_quota_us": "100000\n",
         f"{V1}/a/cpu.cfs_period_us": "100000\n"}, None,
    ),
    "no numbers": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "x y\n"}, None),
    "no period": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "100000 0\n"}, None),
    "too many words": ({"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "1 2 3\n"}, None),
    "a number without end": (
        {"/proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "9" * 5000 + " 1"}, None,
    ),
    "a path that climbs": (
        {"/proc/self/cgroup": "0::/../../b\n", f"{V2}/b/cpu.max": "200000 100000"}, 2,
    ),
    "lines of something else": ({"/proc/self/cgroup": "::::\nx\n0::\n\0"}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", QUOTAS)
def test_quotas(case: str) -> None:
    files, expected = QUOTAS[case]
    assert quota_processors(files.get) == expected


def test_the_least_bound_counts() -> None:
    assert Threads(None, 8, None).count == 8
    assert Threads(3, 8, None).count == 3
    assert Threads(16, 8, 5).count == 5
    assert Threads(None, 1, 7).count == 1
    assert str(Threads(3, 8, None)) == (
        "3 (limit IRGRAD_THREADS 3, processors 8, container's quota none)"
    )


@pytest.mark.parametrize(
    "given, limit", [("", None), ("1", 1), ("4", 4), ("9" * 5000, 10**19 - 1)]
)
def test_the_limit_is_read(given: str, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGRAD_THREADS", given)
    assert thread_limit(read_config().threads) == limit


@pytest.mark.parametrize("given", ["0", "-2", "many", "1e3", " 2", "2.0", "\u0663", "+1"])
def test_no_number_of_threads(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGRAD_THREADS", given)
    available_threads.cache_clear()
    with pytest.raises(BackendError, match="IRGRAD_THREADS: expected a number of threads, 1 or mo"):
        available_threads()


def test_this_machine_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_threads().count >= 1
    monkeypatch.setattr(processors, "MEMBERSHIP", "/nowhere/at/all")
    available_threads.cache_clear()
    assert available_threads().quota is None
    available_threads.cache_clear()

"""The folder: whose it may be, failing disks, removal of what was not used for long, counters."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_programs import SPECS, X, Y, expected, find, is_hit, model, no_compiles

import irgrad as ig
from irgrad import config
from irgrad.cached import _Miss
from irgrad.errors import CacheError
from irgrad.runtime.cache_folder import Folder, open_folder

AS_ROOT = os.geteuid() == 0
KEYS = [f"{number:064x}" for number in range(8)]


def test_a_new_folder_is_for_its_owner_alone(empty: Path) -> None:
    old = os.umask(0)
    try:
        with open_folder(str(empty)) as folder:
            folder.write(KEYS[0], b"code", 100)
    finally:
        os.umask(old)
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    assert stat.S_IMODE((empty / f"{KEYS[0]}.irgc").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755, 0o770, 0o702, 0o701])
def test_a_folder_that_others_may_enter_is_refused(warm: Path, mode: int) -> None:
    warm.chmod(mode)
    with pytest.raises(CacheError, match=r"owner \d+ alone may enter \(chmod 700\), got") as raised:
        find(ig.trace(model, *SPECS))
    assert str(warm) in str(raised.value)
    warm.chmod(0o700)
    assert is_hit(ig.trace(model, *SPECS))


def test_a_folder_of_another_owner_is_refused(
    warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if AS_ROOT:
        os.chown(warm, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(CacheError, match="alone may enter"):
        ig.compile(model, *SPECS)


def test_a_link_is_refused(warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(warm)
    monkeypatch.setenv("IRGRAD_CACHE", str(link))
    with pytest.raises(CacheError, match="got a link"):
        find(ig.trace(model, *SPECS))


def test_the_usual_folder_is_done_without(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "irgrad"
    monkeypatch.delenv("IRGRAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert config.read_config().cache == str(usual)
    os.rename(warm, usual)
    assert is_hit(ig.trace(model, *SPECS))
    usual.chmod(0o777)
    found = find(ig.trace(model, *SPECS))
    assert "alone may enter" in found
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    where = "home/Library/Caches" if os.uname().sysname == "Darwin" else "home/.cache"
    assert config.read_config().cache == str(tmp_path / where / "irgrad")


@pytest.mark.parametrize("limit", ["much", "-1", "1e9", "٣"])
def test_a_bound_is_a_number(warm: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGRAD_CACHE_BYTES", limit)
    with pytest.raises(CacheError, match="IRGRAD_CACHE_BYTES: expected a number of bytes, got"):
        find(ig.trace(model, *SPECS))


# -- failing disks ---------------------------------------------------------------------------------


def failing(code: int) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_full_disk_is_told_of_and_leaves_nothing(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = ig.compile(lambda x: x * 7.5, "f32[3]")
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    compiled = ig.compile(lambda x: x * 7.5 + 0 * x, "f32[3]")
    monkeypatch.undo()
    info = compiled.cache_info()
    assert info.disk == "miss"
    assert info.why == f"no such entry; not kept: {os.strerror(errno.ENOSPC)}"
    assert info.bytes == 0
    np.testing.assert_array_equal(compiled(np.ones(3, np.float32)), np.full(3, 7.5, np.float32))
    assert held.cache_info().bytes > 0
    assert len(list(empty.glob("*.irgc"))) == 1
    assert not list(empty.glob("*.part"))


def test_a_place_where_no_folder_can_be_is_told_of(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    graph = ig.trace(model, *SPECS)
    for path in (file, file / "below", tmp_path / ("x" * 300)):
        monkeypatch.setenv("IRGRAD_CACHE", str(path))
        found = find(graph)
        assert isinstance(found, str)
        assert found.startswith(str(path)), found
    assert file.read_text() == ""


def make_fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def make_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir(0o700)


def make_large(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    path.chmod(0o600)


def make_shared(path: Path) -> None:
    path.write_bytes(b"code")
    path.chmod(0o666)


@pytest.mark.parametrize("make", [make_fifo, make_link, make_folder, make_large, make_shared])
def test_what_is_no_entry_is_not_read(warm: Path, make: Callable[[Path], None]) -> None:
    (path,) = warm.glob("*.irgc")
    path.unlink()
    make(path)
    found = find(ig.trace(model, *SPECS))
    assert isinstance(found, _Miss)
    assert found.why.startswith("a damaged entry: ")


def test_a_folder_that_cannot_be_written_still_serves(
    warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "utime", failing(errno.EROFS))
    monkeypatch.setattr(os, "write", failing(errno.EROFS))
    with no_compiles():
        compiled = ig.compile(model, *SPECS)
    np.testing.assert_allclose(compiled(X, Y)[0], expected(), rtol=1e-5)


# -- bounds and counters ---------------------------------------------------------------------------


def filled_folder(path: Path, count: int) -> None:
    """Entries of 10 bytes, each used a minute after the one before."""
    with open_folder(str(path)) as folder:
        for number, key in enumerate(KEYS[:count]):
            folder.write(key, b"x" * 10, 1000)
            os.utime(path / f"{key}.irgc", (60 * number, 60 * number))


def keys(folder: Folder) -> list[str]:
    return [entry.name.removesuffix(".irgc") for entry in folder.entries()]


def test_the_least_recently_used_go_first(empty: Path) -> None:
    filled_folder(empty, 5)
    with open_folder(str(empty)) as folder:
        assert keys(folder) == KEYS[:5]
        assert folder.read(KEYS[0], 100) == b"x" * 10
        assert folder.read(KEYS[7], 100) is None
        assert keys(folder) == [*KEYS[1:5], KEYS[0]]
        folder.write(KEYS[5], b"y" * 25, 50)
        assert keys(folder) == [KEYS[4], KEYS[0], KEYS[5]]
        assert folder.trim(0) == 3
        assert keys(folder) == []


def test_an_entry_above_the_bound_is_not_kept(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRGRAD_CACHE_BYTES", "100")
    info = ig.compile(lambda x: x * 8.5, "f32[3]").cache_info()
    assert info.disk == "miss"
    assert "no such entry; not kept: " in info.why
    assert not list(empty.glob("*.irgc"))


def test_clearing_leaves_what_is_not_its_own(empty: Path) -> None:
    filled_folder(empty, 3)
    (empty / "notes.txt").write_text("mine")
    old, new = (empty / f"{key}.{'0' * 16}.part" for key in KEYS[:2])
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with open_folder(str(empty)) as folder:
        for _ in range(3):
            folder.count("hits")
        assert (folder.counted("hits"), folder.counted("misses")) == (3, 0)
        folder.trim(1000)
        assert (old.exists(), new.exists()) == (False, True)
        assert folder.clear() == 3
    assert [path.name for path in empty.iterdir()] == ["notes.txt"]

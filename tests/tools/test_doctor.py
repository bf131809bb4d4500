"""`irgrad doctor`: the report, the cache, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import run, run_well

import irgrad as ig
from irgrad.runtime import cache_folder
from irgrad.runtime.cache_folder import open_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("IRGRAD_CACHE", str(folder))
    monkeypatch.setenv("IRGRAD_CACHE_BYTES", "5000")
    return folder


def test_the_machine_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGRAD_CACHE", "off")
    text = run_well("doctor")
    assert text.startswith(f"irgrad {ig.__version__}, Python 3.")
    for part in ("llvmlite ", "numpy ", "target cpu: works", "target reference: works",
                 "\nthreads: ", "cache: off\n"):  # fmt: skip
        assert part in text
    assert "cleared: there is no cache\n" in run_well("doctor", "--clear")


def test_looking_makes_no_folder(cache: Path) -> None:
    assert f"cache: {cache}, not made yet\n" in run_well("doctor")
    assert not cache.exists()


def test_a_folder_that_cannot_be_made_is_a_fault(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache.parent / "file").write_text("in the way")
    (cache.parent / "link").symlink_to(cache.parent / "nowhere")
    for name, why in (("file/a/b", "file is no folder"), ("link/a", "link is no folder")):
        monkeypatch.setenv("IRGRAD_CACHE", str(cache.parent / name))
        result = run("doctor")
        assert result.exit_code == 1
        text = f"expected a folder that can be made, got {cache.parent / name}: {cache.parent}/"
        assert result.stderr == f"irgrad: error: cache: {text}{why}\n"
        assert "not made yet" not in result.stdout
        assert f"cache: not used: cache: {text}" in result.stdout
    monkeypatch.setenv("IRGRAD_CACHE", str(cache / "below"))
    monkeypatch.setattr(cache_folder.os, "access", lambda *_: False)  # as for another user
    assert f"{cache.parent} may not be written" in run("doctor").stderr
    assert not cache.exists()


def test_the_cache_is_shown_and_cleared(cache: Path) -> None:
    with open_folder(str(cache)) as folder:
        for key in ("0" * 64, "1" * 64):
            folder.write(key, b"x" * 700, 5000)
        for counter in ("hits", "hits", "misses"):
            folder.count(counter)
    text = run_well("doctor")
    assert f"cache: {cache}\n  2 entries, 1,400 of at most 5,000 bytes\n" in text
    assert "\n  2 hits, 1 misses\n" in text
    text = run_well("doctor", "--clear")
    assert "  0 entries, 0 of at most 5,000 bytes\n  0 hits, 0 misses\n" in text
    assert "cleared: 2 entries\n" in text
    assert list(cache.iterdir()) == []


def test_a_refused_folder_is_a_fault(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    for arguments in (("doctor",), ("doctor", "--clear")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("irgrad: error: cache: expected a folder that its owner")
        assert result.stderr.count("\n") == 1
    assert "target cpu: works" in run("doctor").stdout
    cache.chmod(0o700)
    monkeypatch.setenv("IRGRAD_CACHE_BYTES", "much")
    result = run("doctor")
    assert result.exit_code == 1
    assert "IRGRAD_CACHE_BYTES: expected a number of bytes" in result.stderr


def test_no_folder_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file")
    for arguments in (("doctor",), ("doctor", "--clear")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "expected a folder to " in result.stderr
    assert cache.read_text() == "a file"
    assert "irgrad doctor" in run_well("doctor", "--help").split("Example", 1)[1]

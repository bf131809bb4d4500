"""The folder of compiled code: owned by the user alone, written atomically, bounded by bytes.

Everything is done relative to a descriptor of the folder that was checked, so that nobody can put
another one in its place. A file is read whole or not at all, as files appear by renaming; readers
take no lock. The time of a file is that of its last use.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..errors import CacheError

SUFFIX = ".irgc"
_ENTRY = re.compile(r"[0-9a-f]{64}\.irgc")
_UNFINISHED = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.part")
STALE = 3600.0  # seconds after which a file that nobody finished is removed
MAX_COUNT = 1 << 24
COUNTERS = ("hits", "misses")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder: its name, bytes and the time of its last use."""

    name: str
    bytes: int
    used: float


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder that passed all checks; `open_folder` makes it."""

    path: str
    descriptor: int

    def read(self, key: str, limit: int) -> bytes | None:
        """The entry of a key, None where there is none; its time becomes now.

        Raises CacheError for what is no file of the user's own or is larger than the limit, OSError
        where it cannot be read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(key + SUFFIX, flags, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(file)
            own = stat.S_ISREG(found.st_mode) and _is_private(found, 0o022)
            if not own or found.st_size > limit:
                raise CacheError(
                    f"cache entry: expected a file of the user's own of at most {limit} bytes, "
                    f"got mode {found.st_mode:o}, owner {found.st_uid}, {found.st_size} bytes"
                )
            with open(file, "rb", closefd=False) as reader:
                data = reader.read(limit + 1)
            with suppress(OSError):  # a folder that cannot be written still serves
                os.utime(file)
            return data
        finally:
            os.close(file)

    def write(self, key: str, data: bytes, limit: int) -> None:
        """Add or replace an entry, then remove the least recently used ones over the limit.

        Raises OSError where the disk fails; then nothing of the entry is left.
        """
        name = f"{key}.{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=self.descriptor)
        try:
            with open(file, "wb") as writer:
                writer.write(data)
            os.replace(
                name, key + SUFFIX, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor
            )
        except BaseException:
            self._remove(name)
            raise
        self.trim(limit)

    def entries(self) -> list[Entry]:
        """The entries, the least recently used first."""
        found = [entry for entry in self._files() if _ENTRY.fullmatch(entry.name)]
        return sorted(found, key=lambda entry: (entry.used, entry.name))

    def trim(self, limit: int) -> int:
        """Remove the least recently used entries until the others fit; how many went.

        Unfinished files of processes that are long gone go, too.
        """
        entries = self.entries()
        total, count = sum(entry.bytes for entry in entries), 0
        for entry in entries:
            if total <= limit:
                break
            self._remove(entry.name)
            total, count = total - entry.bytes, count + 1
        for entry in self._files():
            if _UNFINISHED.fullmatch(entry.name) and entry.used < time.time() - STALE:
                self._remove(entry.name)
        return count

    def clear(self) -> int:
        """Remove all that irgrad wrote here, and nothing else; how many entries went."""
        entries = self.entries()
        for entry in self._files():
            kinds = _ENTRY.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name)
            if kinds or entry.name in COUNTERS:
                self._remove(entry.name)
        return len(entries)

    def count(self, counter: str) -> None:
        """Add one to a counter, which is a file with a byte for each; safe in any process."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):  # a count is worth no failure
            file = os.open(counter, flags, 0o600, dir_fd=self.descriptor)
            try:
                if os.fstat(file).st_size < MAX_COUNT:
                    os.write(file, b".")
            finally:
                os.close(file)

    def counted(self, counter: str) -> int:
        """What a counter stands at."""
        return next((entry.bytes for entry in self._files() if entry.name == counter), 0)

    def _files(self) -> Iterator[Entry]:
        with os.scandir(self.descriptor) as found:
            for item in found:
                with suppress(FileNotFoundError):  # another process was quicker
                    info = item.stat(follow_symlinks=False)
                    if stat.S_ISREG(info.st_mode):
                        yield Entry(item.name, info.st_size, info.st_mtime)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)


@contextmanager
def open_folder(path: str) -> Iterator[Folder]:
    """The folder of a path, made where it does not exist, with access for its owner alone.

    Raises CacheError for a folder of another owner, one that others may enter, and a link; OSError
    where it cannot be made or opened.
    """
    if not hasattr(os, "geteuid") or os.open not in os.supports_dir_fd:
        raise OSError("folders of this system have no owner")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if os.path.islink(path):
        raise CacheError(f"cache: expected a folder, got a link: {path}; name what it points to")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not _is_private(found, 0o077):
            raise CacheError(
                f"cache: expected a folder that its owner {os.geteuid()} alone may enter (chmod "
                f"700), got owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):03o}: {path}"
            )
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def obstacle(path: str) -> str:
    """What keeps a folder that does not exist from being made, in words; "" where nothing does."""
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above} is no folder"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"{above} may not be written"


def _is_private(found: os.stat_result, forbidden: int) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & forbidden

"""Damaged cache entries: `python tests/cache/entry_mutations.py 10000` tries that many.

Each is put in the place of a good entry and asked for. It must be refused with a named error, which
the compiler takes as a miss, or be a copy of the good one.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from cache_programs import SPECS, find, model

import irgrad as ig
from irgrad.cached import _Hit, _Miss
from irgrad.errors import FileError
from irgrad.ir import Graph
from irgrad.runtime import cache_key, stored_code
from irgrad.runtime.stored_code import StoredCode, unpack

HEADER = stored_code._HEADER


@dataclass(frozen=True)
class Tally:
    """How many were refused, how many were good copies, and the slowest in seconds."""

    refused: int
    good: int
    slowest: float


def flip(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def cut(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def append(rng: Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 300))


def insert(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def swap_blocks(rng: Random, data: bytes) -> bytes:
    size = rng.randrange(1, len(data) // 2)
    return data[size : 2 * size] + data[:size] + data[2 * size :]


def zero(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    size = min(rng.choice((1, 16, 512)), len(data) - at)
    return data[:at] + bytes(size) + data[at + size :]


def change_header(rng: Random, data: bytes) -> bytes:
    at = 8 * rng.randrange(1, 6)
    value = rng.choice((0, 1, 2, 2**31, 2**32 - 1, 2**63, 2**64 - 1, rng.getrandbits(64)))
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


def change_header_and_seal(rng: Random, data: bytes) -> bytes:
    """Another size, under a checksum that fits."""
    return seal(change_header(rng, data))


def change_table(rng: Random, data: bytes) -> bytes:
    """Another value somewhere in the table, under a checksum that fits."""
    sizes = HEADER.unpack_from(data)[2:6]
    table = json.loads(data[HEADER.size : HEADER.size + sizes[0]])
    name = rng.choice([key for key in table if key not in ("program", "symbol", "kernels", "work",
                                                           "arena_bytes")])  # fmt: skip
    odd = rng.choice((None, -1, 2**70, "f32", [], {}, [[]], 1.5, True, [["f32", -1]], "x" * 9000))
    if isinstance(table[name], list) and table[name] and rng.random() < 0.7:
        item = table[name][rng.randrange(len(table[name]))]
        item[rng.randrange(len(item))] = odd
    else:
        table[name] = odd
    return with_table(data, json.dumps(table).encode())


def break_table(rng: Random, data: bytes) -> bytes:
    """A table that is no JSON, or a deep one, under a checksum that fits."""
    table = rng.choice((b"", b"[" * 100_000, b"{}", b"[]", b"\xff", b"nul", b"1" * 10_000))
    return with_table(data, table)


def with_table(data: bytes, table: bytes) -> bytes:
    magic, form, size, *rest = HEADER.unpack_from(data)
    return seal(HEADER.pack(magic, form, len(table), *rest) + table + data[HEADER.size + size :])


def seal(data: bytes) -> bytes:
    """The entry with the checksum of what it holds."""
    start, body = data[: HEADER.size - 32], data[HEADER.size :]
    return start + stored_code._checksum(start, body) + body


MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip, cut, append, insert, swap_blocks, zero, change_header, change_header_and_seal,
    change_table, break_table,
)  # fmt: skip


def meaning(code: StoredCode) -> StoredCode:
    """All that a call depends on."""
    return replace(code, text="")


def survey(folder: Path, count: int, seed: int = 0) -> Tally:
    """Put mutations of the one entry of a folder in its place, and ask for it."""
    graph: Graph = ig.trace(model, *SPECS)
    (path,) = folder.glob("*.irgc")
    good = path.read_bytes()
    wanted = meaning(unpack(good, path.stem, graph))
    refused = same = 0
    slowest = 0.0
    for number in range(count):
        rng = Random(f"{seed} {number}")
        mutation = MUTATIONS[number % len(MUTATIONS)]
        data = mutation(rng, good)
        path.write_bytes(data)
        begin = time.perf_counter()
        found = find(graph)
        slowest = max(slowest, time.perf_counter() - begin)
        if isinstance(found, _Hit):
            assert meaning(found.stored) == wanted, (number, mutation)
            same += 1
        else:
            assert isinstance(found, _Miss), (number, mutation, found)
            assert found.why.startswith("a damaged entry: cache entry: expected "), found.why
            refused += 1
    path.write_bytes(good)
    return Tally(refused, same, slowest)


def refuses(data: bytes, key: str, graph: Graph) -> bool:
    """Whether an entry is no entry of a key and a graph."""
    try:
        unpack(data, key, graph)
    except FileError:
        return True
    return False


def main(count: int) -> dict[str, Any]:
    """Fill a cache, damage it, and give the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, IRGRAD_CACHE=os.path.join(folder, "cache")),
        mock.patch.object(cache_key, "process_start", lambda: float("inf")),
    ):
        ig.compile(model, *SPECS)
        tally = survey(Path(folder) / "cache", count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {**vars(tally), "peak MB of the process": peak}


if __name__ == "__main__":
    print(main(int(sys.argv[1])))

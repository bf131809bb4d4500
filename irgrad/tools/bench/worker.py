"""The process of one contender: it makes and times calls as its parent asks, a JSON line each.

    {"do": "versions"}                                 -> {"versions": {...}}
    {"do": "prepare", "work": NAME, "inputs": NPZ,
     "results": NPZ}                                   -> {"seconds": first call}
    {"do": "round", "calls": N, "clock": "wall"}       -> {"seconds": median of a call}

An answer {"error": TEXT} says why a request could not be met. The end of the input ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, TextIO

from ..files import read_arrays, write_arrays
from .rounds import Clock, time_calls

WARM_UP = 2  # calls before the first round, beside the first one
PEERS = {
    "irgrad": "peer_irgrad",
    "jax": "peer_jax",
    "torch": "peer_torch",
    "torch.compile": "peer_torch_compile",
}


class Worker:
    """The state of the process: the peer's module and the call that is being timed."""

    def __init__(self, peer: ModuleType) -> None:
        self.peer = peer
        self.call: Callable[[], Any] = lambda: None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a request asks for."""
        if request["do"] == "versions":
            return {"versions": self.peer.versions()}
        if request["do"] == "prepare":
            return self.prepare(request["work"], request["inputs"], request["results"])
        return {"seconds": time_calls(self.call, request["calls"], Clock(request["clock"]))}

    def prepare(self, work: str, inputs: str, results: str) -> dict[str, Any]:
        """Make the call of a work, run it once for its results, and warm up."""
        arrays = list(read_arrays(inputs).values())
        self.call = self.peer.make_call(work, arrays)
        begin = time.perf_counter()
        result = self.call()
        seconds = time.perf_counter() - begin
        leaves = self.peer.to_arrays(result)
        write_arrays(results, {str(i): leaf for i, leaf in enumerate(leaves)})
        del result, leaves
        for _ in range(WARM_UP):
            self.call()
        return {"seconds": seconds}


def serve(peer: str, requests: TextIO, answers: TextIO) -> None:
    """Answer the requests of a parent until they end."""
    worker: Worker | None = None
    for line in requests:
        try:
            if worker is None:
                worker = Worker(importlib.import_module(f".{PEERS[peer]}", __package__))
            answer = worker.answer(json.loads(line))
        except Exception as error:  # a peer may raise anything; the parent reports it
            first = (str(error).splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Run on one core; what libraries print goes to stderr."""
    peer, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(peer, sys.stdin, answers)


if __name__ == "__main__":
    main()

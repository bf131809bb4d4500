"""A headless Chromium, driven over a pipe by the messages of its DevTools protocol."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60.0  # seconds until an answer has to be there
# Chromium reads messages from descriptor 3 and writes them to 4.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)
OPTIONS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe", "--window-size=1600,1000",
)  # fmt: skip


def find_browser() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. problems: what its console reported as an error; requests: all of its URLs."""

    def __init__(self, to: int, back: int) -> None:
        self.to = to
        self.back = back
        self.number = 0
        self.session = ""
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.loads = 0
        self._rest = b""

    def attach(self) -> None:
        """Open a tab and listen to what it does."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Load a page from the start, also where only its fragment is another."""
        for step in ("about:blank", url):
            before = self.loads
            self.call("Page.navigate", url=step)
            while self.loads == before:
                self._note(self._read())

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a message and give its answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._read()
            if got.get("id") == self.number:
                assert "error" not in got, got
                return got["result"]
            self._note(got)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self.loads += 1
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(str(params["args"]))

    def _read(self) -> dict[str, Any]:
        """The next message."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.back], [], [], max(end - time.monotonic(), 0))
            assert ready, f"no answer of the browser in {PATIENCE} seconds"
            part = os.read(self.back, 1 << 20)
            assert part, "the browser is gone"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are not those that Chromium expects."""
    high = []
    for end in os.pipe():
        high.append(fcntl.fcntl(end, fcntl.F_DUPFD, 10))
        os.close(end)
    return high[0], high[1]


@contextmanager
def browser(path: str, profile: str) -> Iterator[Browser]:
    """A running browser with an empty profile in a folder."""
    their_in, to = _pipe()
    back, their_out = _pipe()
    root = ["--no-sandbox"] if os.getuid() == 0 else []
    command = [path, *OPTIONS, *root, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(their_in), str(their_out), *command],
        pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(their_in)
    os.close(their_out)
    found = Browser(to, back)
    try:
        found.attach()
        yield found
    finally:
        os.write(to, json.dumps({"id": 10**6, "method": "Browser.close"}).encode() + b"\0")
        os.close(to)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(back)

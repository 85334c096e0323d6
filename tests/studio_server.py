"""A studio in a process of its own, and a page's view of it, for the tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 400.0  # a busy machine compiles slowly


class Server:
    """`musicjax studio` on a folder, and a client that has its cookie."""

    def __init__(self, root: Path, *flags: str) -> None:
        self.root = root
        self.process = subprocess.Popen(
            [sys.executable, "-m", "musicjax.main", "studio", f"--workdir={root}", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(self.process.communicate()[1])
        self.client = httpx.Client(base_url=self.address.partition("?")[0], follow_redirects=True, timeout=60)
        self.client.get(self.address)

    def get(self, path: str) -> Any:
        """The JSON at an address of the interface."""
        return self.client.get(f"/api{path}").raise_for_status().json()

    def post(self, path: str, **asked: Any) -> Any:
        """What is answered to a JSON object."""
        return self.client.post(f"/api{path}", json=asked).raise_for_status().json()

    def error(self, method: str, path: str, **asked: Any) -> str:
        """The sentence that a request is refused with."""
        answer = self.client.request(method, f"/api{path}", json=asked)
        assert 400 <= answer.status_code < 500, answer.text
        return answer.json()["error"]

    def upload(self, contents: dict[str, bytes], name: str = "") -> str:
        """A data set of these files, by their names, once it has been read."""
        one = self.post("/uploads", name=name)["data"]
        for file, content in contents.items():
            self.client.put(f"/api/uploads/{one}/files", params={"name": file}, content=content).raise_for_status()
        self.post(f"/uploads/{one}/done")
        self.until(lambda state: of(state["data"], one)["status"] in ("ready", "failed"))
        return one

    def until(self, is_so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The state once something is so."""
        return until(lambda: self.get("/state"), is_so)

    def composed(self, **asked: Any) -> dict[str, Any]:
        """The first of the outputs that are asked for, once nothing more happens to it."""
        self.until(lambda state: state["models"])
        (one, *_) = self.post("/outputs", **asked)["outputs"]
        return until(lambda: self.get(f"/outputs/{one}"), lambda found: found["status"] not in ("waiting", "composing"))

    def listen(self) -> list[tuple[str, Any]]:
        """A list that grows by (event, values) of all that a page is sent."""
        heard: list[tuple[str, Any]] = []
        began = threading.Event()

        def hear() -> None:
            with self.client.stream("GET", "/api/events", timeout=None) as answer:
                event = ""
                for line in answer.iter_lines():
                    kind, _, text = line.partition(": ")
                    if kind == "event":
                        event = text
                    elif kind == "data":
                        heard.append((event, json.loads(text)))
                        began.set()

        def quietly() -> None:
            with contextlib.suppress(httpx.HTTPError):  # the server has ended
                hear()

        threading.Thread(target=quietly, daemon=True).start()
        assert began.wait(PATIENCE_S)
        return heard

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def stop(self) -> str:
        """Ends it as Ctrl-C does; returns what it printed on standard error."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        self.client.close()
        return errors

    def _close(self) -> None:
        self.client.close()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def until(look: Callable[[], Any], is_so: Callable[[Any], Any]) -> Any:
    """What is seen once something is so; fails if it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not is_so(found := look()):
        assert time.monotonic() < end, json.dumps(found)[:3000]
        time.sleep(0.1)
    return found


def of(listed: list[dict[str, Any]], one: str) -> dict[str, Any]:
    """The entry with this id."""
    return next(entry for entry in listed if entry["id"] == one)


def children(pid: int, module: str) -> list[int]:
    """The processes on this machine that a process has started to run a module."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == pid and module.encode() in words:
            found.append(int(path.name))
    return found


def is_there(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:4]
    except OSError:
        return False

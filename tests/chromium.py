"""A headless Chromium that tests drive by the DevTools protocol, over two pipes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# A busy machine may take long to start a browser.
SECONDS = 300.0
# The pipes must be numbers 3 and 4 of the browser's process.
LAUNCH = """
import os, sys
reads, writes = (os.dup(int(one)) for one in sys.argv[1:3])
aside = [os.dup(one) for one in (reads, writes)]
os.dup2(aside[0], 3), os.dup2(aside[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
# The name of each key, its key code, and the text that it types.
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}
KEYS |= {"Escape": (27, ""), "ArrowLeft": (37, ""), "ArrowRight": (39, ""), "ArrowDown": (40, "")}


@contextlib.contextmanager
def launched(folder: Path, script: str = "") -> Iterator[Chromium]:
    """A browser with its files in a folder; script: runs in every document before its own scripts."""
    browser = Chromium(folder / "user", folder / "net.json")
    try:
        browser.ask("Page.addScriptToEvaluateOnNewDocument", source=script)
        yield browser
    finally:
        browser.close()


class Chromium:
    """One page of a browser with a profile of its own; `events` is what it reported."""

    def __init__(self, folder: Path, net_log: Path, width: int = 1280, height: int = 900) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no Chromium here: the tests that look at pages do not run; install chromium")
        inward, self._write = os.pipe()
        self._read, outward = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
        flags += ["--disable-software-rasterizer", "--disable-crash-reporter"]
        flags += [
            "--no-zygote",
            "--in-process-gpu",
            "--disable-breakpad",
            "--disable-hang-monitor",
            "--disable-dev-shm-usage",
        ]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-extensions"]
        flags += ["--autoplay-policy=no-user-gesture-required", "--mute-audio", f"--window-size={width},{height}"]
        flags += [f"--user-data-dir={folder}", f"--log-net-log={net_log}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(inward), str(outward), program, *flags],
            pass_fds=(inward, outward),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(inward)
        os.close(outward)
        self._number, self._buffer, self._session = 0, b"", ""
        self.events: list[dict] = []
        targets = self.ask("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)

    def ask(self, method: str, **parameters: Any) -> dict:
        """A command's result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], max(deadline - time.monotonic(), 0))[0], "the browser is silent"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Opens an address; returns when the page is loaded."""
        self.ask("Page.navigate", url=address)
        self.wait(f"location.href == {json.dumps(address)} && document.readyState == 'complete'")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, as JSON can carry it."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Returns when an expression is true."""
        deadline = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def show(self, width: int, scheme: str = "light") -> None:
        """Shows the page at this width, of a phone below 500, in this scheme of colours, light or dark."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str) -> None:
        """Presses and releases a key, one of KEYS."""
        code, text = KEYS[key]
        stroke = {"key": text or key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **stroke, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **stroke)

    def picture(self) -> bytes:
        """A screenshot, a PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def complaints(self) -> list[str]:
        """Exceptions, errors on the console and what the page's policy has blocked."""
        self.value("1")
        told = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in told]

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        self.value("1")
        return [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]

    def processor_seconds(self) -> float:
        """The processor time that all processes of the browser have used (Linux)."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # a process that has just ended
                _, _, group, *fields = stat.read_text().rpartition(")")[2].split()
                ticks += int(fields[8]) + int(fields[9]) if int(group) == self._process.pid else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends the browser, whose net log is whole then."""
        self._session = ""
        try:
            self.ask("Browser.close")
            self._process.wait(SECONDS)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):  # helpers of the browser that stayed
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

"""A browser that uses the studio's page, and hears what it plays."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from chromium import Chromium

# What a page plays: `struck` has each note's time on the audio clock and the time at which the page asked for it.
HEARING = """
window.struck = [];
const begin = AudioBufferSourceNode.prototype.start, connect = AudioNode.prototype.connect;
AudioBufferSourceNode.prototype.start = function (at, into) {
  window.struck.push([at, performance.now()]);
  return begin.call(this, at, into);
};
AudioNode.prototype.connect = function (to, ...more) {
  if (to === this.context.destination) {
    window.audio = this.context;
    window.ear = this.context.createAnalyser();
    connect.call(this, window.ear);
  }
  return connect.call(this, to, ...more);
};
window.loudness = () => {
  const wave = new Float32Array(window.ear?.fftSize ?? 0);
  window.ear?.getFloatTimeDomainData(wave);
  return wave.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
};
window.position = () => Number(document.getElementById("seek").value);
"""


def end_all(folder: Path) -> None:
    """Ends the studio of a folder and its trainings, which a studio leaves alone when it ends (Linux)."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # a process that has just ended
            if f"--workdir={folder}".encode() in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


def enter(shown: Chromium, address: str, part: str = "play") -> None:
    """Opens an address with a token, and then a part of the page."""
    shown.ask("Page.navigate", url=address)
    place = address.partition("?")[0]
    shown.wait(f"location.href == {place!r} && document.readyState == 'complete'")
    shown.wait("document.querySelectorAll('#model option').length > 0")
    go(shown, part)


def go(shown: Chromium, part: str) -> None:
    """Goes to a part of the page."""
    shown.value(f"location.hash = '{part}'")
    shown.wait(f"!document.getElementById('part-{part}').hidden")


def press(shown: Chromium, name: str) -> None:
    """Waits until a button, found by its id, can be pressed, and presses it; the focus does not move."""
    button = f"document.getElementById('{name}')"
    shown.wait(f"{button}.checkVisibility() && !{button}.disabled")
    shown.value(f"{button}.click()")


def fill(shown: Chromium, name: str, value: str) -> None:
    """Gives a control, found by its id, a value."""
    for event in ("input", "change"):
        shown.value(
            f"(window.field = document.getElementById('{name}')).value = {value!r},"
            f"field.dispatchEvent(new Event('{event}', {{ bubbles: true }}))"
        )


def drop(shown: Chromium, *paths: Path) -> None:
    """Drops files and folders on the page."""
    dragged = {"items": [], "files": [os.fspath(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        shown.ask("Input.dispatchDragEvent", type=kind, x=200, y=300, data=dragged)


def text(shown: Chromium, name: str) -> str:
    """The text of an element, found by its id."""
    return shown.value(f"document.getElementById('{name}').textContent")

"""The page that composes, in headless Chromium: its size, the time to its first sound, and the cores that it uses.

    python -m benchmarks.player [--workdir=DIR] [--seconds=30] [--repeats=5] [--save]

Each repeat reopens the page, plays a different piece, and counts the processor time of all browser processes while it
plays. It needs Chromium and the extra `test`. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks import contestants
from musicjax import main as program
from tests.chromium import Chromium

# Records when the first sound plays, in milliseconds: when the page schedules it, plus the delay until it sounds.
SPY = """
const begin = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at, into) {
  window.first ??= performance.now() + 1000 * Math.max(at - this.context.currentTime, 0);
  return begin.call(this, at, into);
};
"""


def measured(path: Path, number: int, seconds: float) -> tuple[float, float, str]:
    """(milliseconds from the click to the first sound, cores in use while it plays, the browser and its version), for
    the piece of this number."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Chromium(Path(folder, "user"), Path(folder, "net.json"))
        try:
            browser.ask("Page.addScriptToEvaluateOnNewDocument", source=SPY)
            browser.open(f"{path.as_uri()}#{number}")
            browser.value("window.clicked = performance.now(); document.getElementById('play').click()")
            browser.wait("window.first")
            time.sleep(2)  # until the piece's tones have been made
            began, used = time.monotonic(), browser.processor_seconds()
            time.sleep(seconds)
            share = (browser.processor_seconds() - used) / (time.monotonic() - began)
            version = browser.ask("Browser.getVersion")["product"]
            return float(browser.value("window.first - window.clicked")), share, version
        finally:
            browser.close()


def main() -> None:
    asked = contestants.arguments(__doc__, workdir="", seconds=30.0, repeats=5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "player.html")
        if program.main(["export", f"--output={path}", *([f"--workdir={asked.workdir}"] if asked.workdir else [])]):
            raise SystemExit(1)
        found = [measured(path, number, asked.seconds) for number in range(1, asked.repeats + 1)]
        size = path.stat().st_size
    first, share, versions = zip(*found, strict=True)
    spreads = {
        "milliseconds_to_first_sound": contestants.quartiles(first, digits=3),
        "cores": contestants.quartiles(share, digits=3),
    }
    result = {
        "megabytes": round(size / 1e6, 3),
        **spreads,
        "browser": versions[0],
        "settings": {"seconds": asked.seconds, "repeats": asked.repeats, "workdir": asked.workdir},
    }
    for name, values in spreads.items():
        print(f"{name:<30}" + "  ".join(f"{kind} {value:g}" for kind, value in values.items()))
    print(f"{'megabytes':<30}{result['megabytes']:g}")
    contestants.finish("player", result, asked.save)


if __name__ == "__main__":
    main()

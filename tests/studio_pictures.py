"""Pictures of every screen of the studio, for docs/studio.md: python -m tests.studio_pictures.

They show a real studio on a folder of its own, whose model learns for some minutes while they are made.
"""

from __future__ import annotations

import base64
import sys
import tempfile
import time
from pathlib import Path

# The tests import their neighbours by name alone.
sys.path.insert(0, str(Path(__file__).parent))

import chromium

from musicjax.music import builtin_clips
from tests import studio_browser
from tests.studio_browser import HEARING, drop, enter, fill, go, press
from tests.studio_server import Server

FOLDER = Path(__file__).parents[1] / "docs" / "pictures" / "studio"
QUALITY = 82  # of WebP
MINUTES = 4
HEIGHTS = {390: 844, 1440: 900}
IS_WHOLE = "!document.getElementById('anew').disabled"


def take(shown: chromium.Chromium, name: str, width: int, scheme: str = "light") -> None:
    """Writes a picture of what is shown: all of the page on a phone, else what a screen of this width shows."""
    shown.show(width, scheme)
    time.sleep(0.5)
    tall = shown.value("document.documentElement.scrollHeight") if width < 500 else HEIGHTS[width]
    shown.ask("Emulation.setDeviceMetricsOverride", width=width, height=tall, deviceScaleFactor=1, mobile=width < 500)
    time.sleep(0.5)
    picture = shown.ask("Page.captureScreenshot", format="webp", quality=QUALITY)["data"]
    (FOLDER / f"{name}-{width}.webp").write_bytes(base64.b64decode(picture))
    shown.show(1440)


def make(shown: chromium.Chromium, work: Path) -> None:
    """Uses a studio as someone would, and takes its pictures on the way."""
    (work / "my tunes").mkdir()
    builtin_clips.write_corpus(work / "my tunes", clips=60)
    (work / "my tunes" / "read me.mid").write_text("no music")
    studio = Server(work / "runs")
    enter(shown, studio.address)
    for width in HEIGHTS:
        take(shown, "first", width)

    drop(shown, work / "my tunes")
    shown.wait("document.getElementById('tally').textContent.startsWith('kept60')")
    shown.value("document.querySelector('#data-pieces .play').click()")
    time.sleep(2)
    press(shown, "toggle")
    for width in HEIGHTS:
        take(shown, "data", width)

    press(shown, "teach-with")
    fill(shown, "minutes", str(MINUTES))
    press(shown, "start")
    shown.wait("document.querySelectorAll('#runs .chips button').length > 1")
    for width in HEIGHTS:
        take(shown, "train", width)
    for act in ("pause", "stop"):
        shown.value(f"document.querySelector('#runs [data-act={act}]').click()")

    go(shown, "play")
    fill(shown, "key", "A minor")
    for button in ("compose-now", "anew", "vary"):
        if button == "anew":
            fill(shown, "from-bar", "3")
            fill(shown, "to-bar", "6")
        before = shown.value("document.querySelectorAll('#outputs li').length")
        press(shown, button)
        shown.wait(f"document.querySelectorAll('#outputs li').length > {before} && {IS_WHOLE}")
        if button != "compose-now":
            press(shown, "do-keep")
    press(shown, "do-favourite")
    shown.value("document.querySelectorAll('#outputs .choose')[1].click()")
    fill(shown, "from-bar", "3")
    fill(shown, "to-bar", "6")
    press(shown, "stage-play")
    shown.wait("position() > 5")
    press(shown, "toggle")
    for width in HEIGHTS:
        take(shown, "play", width)
    take(shown, "dark", 1440, "dark")

    go(shown, "keep")
    shown.wait("document.querySelectorAll('#kept > li').length == 2")
    time.sleep(1)
    for width in HEIGHTS:
        take(shown, "keep", width)
    studio.stop()


def main() -> None:
    """Makes all pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium.launched(Path(folder) / "browser", HEARING) as shown:
        try:
            make(shown, Path(folder))
        finally:
            studio_browser.end_all(Path(folder) / "runs")


if __name__ == "__main__":
    main()

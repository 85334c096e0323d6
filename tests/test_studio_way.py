"""The studio in a browser, from dropped files to a new piece in a chosen key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from chromium import Chromium

pytest.importorskip("uvicorn", reason="no uvicorn here: the studio is not tested; pip install 'musicjax[studio]'")

import musicjax
from musicjax.music import builtin_clips
from tests import studio_browser
from tests.studio_browser import HEARING, drop, enter, fill, press, text
from tests.studio_server import Server

FILES = 20
IS_WHOLE = "!document.getElementById('anew').disabled"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with chromium.launched(tmp_path / "browser", HEARING) as browser:
        browser.show(1440)
        yield browser


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """The studio's folder."""
    yield tmp_path / "runs"
    studio_browser.end_all(tmp_path / "runs")


@pytest.fixture
def tunes(tmp_path: Path) -> Path:
    """A folder of twenty tunes and a file that is none."""
    folder = tmp_path / "tunes"
    folder.mkdir()
    builtin_clips.write_corpus(folder, clips=FILES)
    (folder / "notes.mid").write_text("no music")
    return folder


def hear(shown: Chromium, button: str = "") -> None:
    """Returns when the audio clock moves and there is sound; button: is pressed if nothing plays."""
    if button and not shown.value("document.getElementById('dock').classList.contains('playing')"):
        press(shown, button)
    then = shown.value("audio.currentTime")
    shown.wait(f"audio.currentTime > {then} && loudness() > 0.005")


def compose(studio: Server, shown: Chromium, button: str) -> dict[str, Any]:
    """The newest output, asked for by a button, when it is whole."""
    before = len(studio.get("/state")["outputs"])
    press(shown, button)
    shown.wait(f"document.getElementById('stage-title').textContent == 'Piece {before + 1}'")
    shown.wait(IS_WHOLE)
    output = studio.get("/state")["outputs"][before]
    assert output["status"] == "done", output
    return studio.get(f"/outputs/{output['id']}")


@pytest.mark.long
def test_from_dropped_files_to_a_piece_of_ones_own_in_a_chosen_key_and_nothing_is_lost(browser, tmp_path, runs, tunes):
    studio = Server(runs)
    address = studio.address
    enter(browser, address)

    press(browser, "compose-now")
    browser.wait("struck.length > 0")
    hear(browser)
    browser.wait(IS_WHOLE)

    drop(browser, tunes)
    browser.wait(f"document.getElementById('tally').textContent.startsWith('kept{FILES}')")
    assert "notes.mid" in text(browser, "reasons")
    browser.value("struck.length = 0, document.querySelector('#data-pieces .play').click()")
    browser.wait("struck.length > 0")
    hear(browser)

    press(browser, "teach-with")
    fill(browser, "minutes", "1")
    press(browser, "start")
    browser.wait("/learns, round/.test(document.getElementById('runs').textContent)")
    browser.ask("Page.reload")
    browser.wait("/round/.test(document.getElementById('runs')?.textContent)")
    studio.kill()
    browser.wait("document.getElementById('away').textContent.includes('does not answer')")
    studio = Server(runs)
    assert studio.address == address
    browser.wait("document.getElementById('away').hidden")
    browser.wait("document.querySelector('#runs .strong')?.checkVisibility()")
    (run,) = studio.get("/state")["runs"]
    assert run["status"] in ("training", "finished"), "neither a reload nor a dead studio stops it"
    browser.value("document.querySelector('#runs .strong').click()")
    browser.wait(f"document.getElementById('model').value == '{run['id']}'")
    fill(browser, "key", "D minor")
    own = compose(studio, browser, "compose-now")
    assert (own["model"], own["asked"]["key"], own["key"]) == (run["id"], "D minor", "D minor")
    hear(browser, "stage-play")

    fill(browser, "model", "builtin")  # a model that has learned for a minute may write anything
    browser.value("[...document.querySelectorAll('#outputs .choose')].at(-1).click()")
    browser.wait(f"document.getElementById('stage-title').textContent == 'Piece 1' && {IS_WHOLE}")
    first = studio.get(f"/outputs/{studio.get('/state')['outputs'][0]['id']}")
    fill(browser, "from-bar", "3")
    fill(browser, "to-bar", "6")
    mended = compose(studio, browser, "anew")
    begin, end = first["bars"][2], first["bars"][6]
    for keeps in (lambda note: note[0] < begin - 0.01, lambda note: note[0] > end - 0.01):
        kept = [sorted([note[0], note[2]] for note in filter(keeps, piece["notes"])) for piece in (first, mended)]
        assert kept[0] == kept[1]
    press(browser, "do-keep")

    downloads = tmp_path / "downloads"
    browser.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    press(browser, "get-midi")
    while not (found := [path for path in downloads.glob("*.mid") if path.stat().st_size]):
        browser.value("new Promise((done) => setTimeout(done, 100))")
    assert sorted(musicjax.read(found[0]).pitch) == sorted(note[2] for note in mended["notes"])

    before = studio.get("/state")
    studio.kill()
    studio = Server(runs)
    enter(browser, studio.address, "keep")
    browser.wait("document.querySelectorAll('#kept > li').length == 1")
    after = studio.get("/state")
    for part in ("outputs", "data"):
        assert after[part] == before[part]
    assert [one["name"] for one in after["runs"]] == [run["name"]]
    wrong = [one for one in browser.complaints() if '"source": "network"' not in one]
    assert wrong == [], "nothing but what a dead studio does not answer"
    studio.stop()

"""The studio's page in a real browser: it plays what it is told, asks for what is pressed, and keeps no one out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import axe
import chromium
import pytest
from chromium import Chromium

pytest.importorskip(
    "uvicorn", reason="no uvicorn here: the studio's page is not tested; pip install 'musicjax[studio]'"
)

from tests import audio_clock, canned_studio
from tests.canned_studio import HOSTILE, Canned
from tests.studio_browser import HEARING, drop, fill, press, text
from tests.studio_server import until

# Each part, and what is in it once the server has told it all.
LISTS = {"data": "#data-pieces > li", "train": "#runs .curve[points]", "play": "#outputs > li", "keep": "#kept > li"}
PARTS = tuple(LISTS)
SEEN = "(one) => one.checkVisibility() && !one.closest('.unseen')"
CONTROLS = "a[href], button:enabled, input:enabled, select:enabled, summary, [tabindex='0']"
PLAYS = "document.getElementById('dock').classList.contains('playing')"
IS_WHOLE = "!document.getElementById('anew').disabled"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.launched(tmp_path_factory.mktemp("browser"), HEARING) as browser:
        yield browser


@pytest.fixture(scope="module")
def script() -> str:
    return axe.script()


@pytest.fixture
def canned() -> Canned:
    return Canned()


@pytest.fixture
def address(canned: Canned) -> Iterator[str]:
    with canned_studio.serving(canned) as address:
        yield address


def opened(browser: Chromium, address: str, part: str = "play", width: int = 1440, scheme: str = "light") -> Chromium:
    browser.show(width, scheme)
    browser.open("about:blank")
    browser.events.clear()
    browser.open(f"{address}#{part}")
    browser.wait("document.querySelectorAll('#model option').length > 0")
    browser.value("localStorage.clear()")
    return browser


def filled(shown: Chromium, part: str) -> None:
    """Returns when a part shows what the server has told."""
    shown.wait(f"document.querySelectorAll('{LISTS[part]}').length > 0")


def asked(canned: Canned, method: str, path: str) -> list[Any]:
    """What the page sent to an address."""
    return [body for one, where, body in canned.asked if (one, where) == (method, path)]


def sent(shown: Chromium, canned: Canned, method: str, path: str) -> list[Any]:
    """The same, once there is something."""
    deadline = time.monotonic() + chromium.SECONDS
    while not asked(canned, method, path):
        assert time.monotonic() < deadline, f"never asked: {method} {path}"
        shown.value("1")
    return asked(canned, method, path)


# Who can use it.


@pytest.mark.parametrize("part", PARTS)
def test_every_width_shows_every_control_and_scrolls_downwards_alone(browser, canned, address, part):
    canned.mark(canned.add(kind="new"), "keep")
    shown = opened(browser, address, part)
    filled(shown, part)
    for width in (1440, 390, 320):
        shown.show(width)
        shown.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert shown.value("Math.max(document.documentElement.scrollWidth, innerWidth)") <= width
        outside = f"""[...document.querySelectorAll("{CONTROLS}")].filter({SEEN}).filter((one) => {{
          const box = one.getBoundingClientRect();
          return !one.matches(".skip") && (box.left < 0 || box.right > {width} || !box.width || !box.height);
        }}).map((one) => one.outerHTML.slice(0, 90))"""
        assert shown.value(outside) == [], width


@pytest.mark.parametrize("part", PARTS)
def test_axe_finds_nothing_against_it(browser, canned, address, script, part):
    """Light and wide, and dark and narrow: layout does not depend on the scheme, nor colour on the width."""
    canned.mark(canned.add(kind="new"), "keep")
    canned.add("failed", kind="vary", source={"output": "o1"})
    shown = opened(browser, address, part)
    filled(shown, part)
    shown.value(f"{script}; 0")
    if part == "play":
        press(shown, "stage-play")
        fill(shown, "begin", "notes")
    for width, scheme in ((1440, "light"), (390, "dark")):
        shown.show(width, scheme)
        shown.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert axe.violations(shown) == []


@pytest.mark.parametrize(("part", "least"), [("data", 25), ("train", 15), ("play", 25), ("keep", 10)])
def test_the_tab_key_reaches_every_control_in_the_order_of_the_page(browser, canned, address, part, least):
    canned.mark(canned.add(kind="new"), "keep")
    shown = opened(browser, address, part, 390)
    filled(shown, part)
    if part == "play":
        shown.wait(IS_WHOLE)  # what can be done with a piece can be pressed once it is there
    count = shown.value(f'(window.controls = [...document.querySelectorAll("{CONTROLS}")].filter({SEEN})).length')
    reached = []
    for _ in range(count):
        shown.press("Tab")
        reached.append(shown.value("controls.indexOf(document.activeElement)"))
    assert reached == list(range(count)) and count >= least


def test_only_music_that_could_not_be_read_is_offered_to_be_read_again(browser, canned, address):
    shown = opened(browser, address, "data")
    filled(shown, "data")
    assert shown.value("document.getElementById('read-again').hidden")
    canned.data[0] |= {"status": "failed", "message": "The reading process died: read it again."}
    canned.tell()
    shown.wait("!document.getElementById('read-again').hidden")
    press(shown, "read-again")
    until(lambda: ("POST", "data/d1/read", {}) in canned.asked, bool)


def test_every_choice_has_a_name_and_one_plain_sentence(browser, canned, address):
    shown = opened(browser, address)
    told = shown.value("""[...document.querySelectorAll('.control :is(input:not([type=checkbox]), select)')]
      .map((one) => [one.labels[0]?.textContent,
                     document.getElementById(one.getAttribute('aria-describedby')).textContent])""")
    assert len(told) >= 12
    for label, sentence in told:
        assert label and sentence.endswith(".") and len(sentence) < 75, label
    words = shown.value("document.body.innerText + document.body.textContent").lower()
    jargon = ("temperature", "top_p", "nucleus", "epoch", "loss", "checkpoint", "sampling", "inference", "velocity")
    assert [word for word in jargon if word in words] == []


def test_a_screen_reader_hears_what_controls_are_and_what_happens(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    nodes = [node for node in shown.ask("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    assert {("combobox", "Key"), ("slider", "How daring"), ("button", "Rewrite bars 1 to 4")} <= named
    assert ("image", "Piano roll of Piece 1: 40 notes, eight bars, acoustic grand piano, acoustic bass") in named
    for node in nodes:
        focusable = any(one["name"] == "focusable" for one in node.get("properties", []))
        assert not focusable or node.get("name", {}).get("value"), f"a {node['role']['value']} has no name"
    press(shown, "compose-now")
    shown.wait("document.getElementById('said').textContent == 'Piece 2 is done'")


def test_names_are_text_and_the_page_asks_no_other_address(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    for part in PARTS:
        shown.value(f"location.hash = '{part}'")
        shown.wait(f"!document.getElementById('part-{part}').hidden")
    shown.wait("document.querySelectorAll('#data-pieces li').length == 19")
    assert shown.value("document.querySelectorAll('main img').length") == 0
    for name in ("report-heading", "stage-copied"):
        shown.wait(f"document.getElementById('{name}').textContent.includes({json.dumps(HOSTILE)})")
    assert shown.complaints() == []
    assert all(one.startswith((address, "data:,", "about:")) for one in shown.requests())


# Hearing.


def test_a_press_is_heard_while_the_piece_is_still_written(browser, canned, address):
    canned.may_go_on = False
    shown = opened(browser, address)
    press(shown, "compose-now")
    shown.wait("struck.length > 0")
    assert next(iter(canned.outputs.values()))["status"] == "composing"
    canned.may_go_on = True
    shown.wait("loudness() > 0.01")
    shown.wait("position() > 0.3")


def test_where_no_note_has_come_yet_the_music_waits_for_it(browser, canned, address):
    canned.may_go_on = False
    notes = canned_studio.piece()["notes"]
    shown = opened(browser, address)
    shown.value(audio_clock.BY_HAND)
    press(shown, "compose-now")
    shown.wait(PLAYS)
    shown.value("for (let k = 0; k < 15; k++) pass(0.2)")
    assert not shown.value(PLAYS)
    assert shown.value("position()") == notes[len(notes) // canned_studio.PARTS - 1][0]
    canned.may_go_on = True
    shown.wait(f"{IS_WHOLE} && {PLAYS}")
    shown.value("for (let k = 0; k < 45; k++) pass(0.2)")
    assert not shown.value(PLAYS)
    assert shown.value("struck.length") == len(notes), "each note sounds once"


def test_space_plays_and_pauses_but_for_a_control_that_needs_it(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    press(shown, "stage-play")
    shown.wait(PLAYS)
    shown.press("Space")
    shown.wait(f"!({PLAYS})")
    shown.press("Space")
    shown.wait(PLAYS)
    shown.value("document.getElementById('show-discarded').focus()")
    shown.press("Space")
    shown.wait("document.getElementById('show-discarded').checked")
    assert shown.value(PLAYS)


def test_a_loop_plays_the_marked_bars_again_and_again(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    fill(shown, "from-bar", "3")
    fill(shown, "to-bar", "3")
    shown.value(audio_clock.BY_HAND)
    press(shown, "loop-bars")
    shown.value("for (let k = 0; k < 20; k++) pass(0.2)")
    onsets = [at for at, _ in shown.value("struck.slice(0, 15)")]
    bar = [0, 0, 0.25, 0.5, 0.75]
    expected = [lap + at for lap in range(3) for at in bar]
    assert [at - onsets[0] for at in onsets] == pytest.approx(expected, abs=1e-6), "the bar, three times"
    shown.wait("2 <= position() && position() <= 3")
    assert shown.value("document.getElementById('loop').getAttribute('aria-pressed')") == "true"
    press(shown, "loop")
    shown.value("for (let k = 0; k < 7; k++) pass(0.2)")
    shown.wait("position() > 3.1")


def test_a_piece_without_notes_yet_cannot_be_looped(browser, canned, address):
    canned.add("waiting", kind="new")
    shown = opened(browser, address)
    shown.wait("document.getElementById('stage-title').textContent == 'Piece 1'")
    press(shown, "loop-bars")
    assert shown.value("document.getElementById('loop').getAttribute('aria-pressed')") == "false"
    assert shown.value("document.getElementById('anew').disabled")


def test_two_pieces_are_compared_at_the_same_moment(browser, canned, address):
    canned.add(kind="new")
    canned.add(kind="vary", source={"output": "o1"})
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    shown.value(audio_clock.BY_HAND)
    press(shown, "stage-play")
    shown.value("pass(1.56)")
    shown.wait("position() == 1.5")
    press(shown, "switch")
    shown.wait(f"{IS_WHOLE} && {PLAYS} && position() > 0.1")
    assert text(shown, "stage-title") == "Piece 1" and shown.value("position()") == 1.5
    press(shown, "switch")
    assert text(shown, "stage-title") == "Piece 2" and "variation of piece 1" in text(shown, "stage-about")


# Asking.


def test_what_is_chosen_is_what_is_asked_for_and_is_remembered(browser, canned, address):
    shown = opened(browser, address)
    for name, value in {"bars": "12", "key": "A minor", "meter": "3/4", "bpm": "90", "daring": "1.25"}.items():
        fill(shown, name, value)
    shown.value("document.querySelector('#instruments input').click()")
    assert text(shown, "compose-now") == "Compose twelve bars"
    shown.value("window.isOlder = true")
    shown.ask("Page.reload")
    shown.wait("!window.isOlder && document.querySelectorAll('#meter option').length > 1")
    press(shown, "compose-now")
    shown.wait(f"struck.length > 0 && {IS_WHOLE}")
    assert asked(canned, "POST", "outputs") == [
        {"kind": "new", "model": "builtin", "bars": 12, "key": "A minor", "meter": "3/4", "bpm": 90, "temperature": 1.0,
         "instruments": ["acoustic grand piano"], "count": 1}
    ]  # fmt: skip
    press(shown, "usual")
    press(shown, "compose-now")
    shown.wait("document.querySelectorAll('#outputs li').length == 2")
    assert asked(canned, "POST", "outputs")[1] == {"kind": "new", "model": "builtin", "bars": 8, "count": 1}


def test_what_new_bars_take_from_their_beginning_is_said_where_it_could_be_chosen(browser, canned, address):
    shown = opened(browser, address)
    shown.wait("document.getElementById('control-key').checkVisibility()")
    assert text(shown, "chosen") == "Eight bars, any key"
    fill(shown, "begin", "melody")
    assert not shown.value("document.getElementById('control-key').checkVisibility()")
    assert text(shown, "about-begin") == "Key, meter and tempo follow this; the composer chooses the instruments."
    assert text(shown, "chosen") == "Eight more bars, in the same key and meter"
    press(shown, "usual")
    assert text(shown, "about-begin") == "The new bars go on from this."
    assert text(shown, "chosen") == "Eight bars, any key"


def test_bars_that_are_dragged_over_are_written_anew(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    left, top, wide = shown.value(
        "(({ x, y, width }) => [x, y, width])(document.getElementById('roll').getBoundingClientRect())"
    )

    def bar(number: float) -> float:
        return left + 34 + (wide - 35) * (number - 0.5) / 8

    for kind, at in (("mousePressed", 3), ("mouseMoved", 4), ("mouseMoved", 5), ("mouseReleased", 5)):
        shown.ask("Input.dispatchMouseEvent", type=kind, x=bar(at), y=top + 90, button="left", buttons=1, clickCount=1)
    shown.wait("[...document.querySelectorAll('#from-bar, #to-bar')].map((one) => one.value).join() == '3,5'")
    press(shown, "anew")
    shown.wait("document.querySelectorAll('#outputs li').length == 2")
    (body,) = asked(canned, "POST", "outputs")
    assert body == {
        "kind": "infill",
        "model": "builtin",
        "source": {"output": "o1"},
        "from_bar": 3,
        "to_bar": 5,
        "count": 1,
    }
    assert "bars 3 to 5 of piece 1, rewritten" in text(shown, "outputs")


def test_a_piece_that_has_no_notes_yet_shows_what_it_comes_from_and_its_own_bars(browser, canned, address):
    canned.add(kind="new")
    canned.add("composing", kind="infill", source={"output": "o1"}, from_bar=3, to_bar=4)
    shown = opened(browser, address)
    roll = "document.getElementById('roll').getAttribute('aria-label')"
    shown.wait(f"{roll}.startsWith('Piano roll of Piece 2, still empty, with notes of Piece 1: 30 notes, eight bars')")
    assert "is being prepared; the first of its kind takes longest; the faint notes are from piece 1" in text(
        shown, "stage-about"
    )
    fields = "[...document.querySelectorAll('#from-bar, #to-bar')].map((one) => one.value).join()"
    assert shown.value(fields) == "3,4"
    press(shown, "stage-play")
    assert not shown.value(PLAYS) and shown.value("struck.length") == 0, "it is only looked at"
    canned.outputs["o2"]["status"] = "done"
    canned.tell()
    shown.wait(f"{IS_WHOLE} && {roll}.startsWith('Piano roll of Piece 2: 40 notes')")
    assert shown.value(fields) == "3,4"
    assert "faint" not in text(shown, "stage-about")


def test_a_piece_is_compared_with_the_one_that_it_comes_from(browser, canned, address):
    canned.add(kind="new")
    canned.add(kind="new")
    canned.add(kind="vary", source={"output": "o1"})
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    offered = "[...document.querySelectorAll('#other option')].map((one) => one.value).join()"
    assert shown.value(f"[document.getElementById('other').value, {offered}]") == ["o1", "o1,o2"]
    fill(shown, "other", "o2")
    press(shown, "do-favourite")
    shown.wait("document.getElementById('do-favourite').getAttribute('aria-pressed') == 'true'")
    assert shown.value("document.getElementById('other').value") == "o2", "what was chosen stays"
    shown.value("document.querySelectorAll('#outputs .choose')[2].click()")
    assert shown.value(f"[document.getElementById('other').value, {offered}]") == ["o3", "o3,o2"]


def test_a_tune_is_played_on_the_page_by_letters_and_by_midi(browser, canned, address):
    shown = opened(browser, address)
    shown.value(
        """navigator.requestMIDIAccess = async () => ({ inputs: new Map([["a", window.input = { name: "Keys" }]]) })"""
    )
    fill(shown, "begin", "notes")
    shown.value("document.querySelectorAll('#keyboard button')[0].focus()")
    shown.press("Enter")
    shown.wait("document.getElementById('played').textContent.startsWith('one note')")
    for kind in ("keyDown", "keyUp"):
        shown.ask("Input.dispatchKeyEvent", type=kind, key="d", code="KeyD", windowsVirtualKeyCode=68)
    press(shown, "midi")
    shown.wait("Boolean(window.input?.onmidimessage)")
    shown.value("input.onmidimessage({ data: [0x90, 67, 100] }), input.onmidimessage({ data: [0x80, 67, 0] })")
    assert text(shown, "played").startswith("three notes")
    press(shown, "compose-now")
    shown.wait("document.querySelectorAll('#outputs li').length == 1")
    (body,) = asked(canned, "POST", "outputs")
    assert body["kind"] == "continue" and [note[2:] for note in body["source"]["notes"]] == [
        [60, 80, 0],
        [64, 80, 0],
        [67, 100, 0],
    ]
    assert body["source"]["notes"][0][0] == 0


def test_what_a_piece_copies_is_told_in_bars_and_of_that_piece_alone(browser, canned, address):
    canned.mark(canned.add(kind="new"), "keep")
    shown = opened(browser, address)
    told = "Bars 3 to 4 sound like"
    shown.wait(f"document.getElementById('stage-copied').textContent.startsWith('{told}')")
    canned.may_go_on = False
    press(shown, "continue")
    shown.wait("document.getElementById('stage-title').textContent == 'Piece 2'")
    assert not shown.value("document.getElementById('stage-copied').checkVisibility()")
    canned.may_go_on = True
    shown.wait(IS_WHOLE)
    assert text(shown, "stage-copied") == ""
    shown.value("location.hash = 'keep'")
    shown.wait(f"document.querySelector('#kept .copied')?.textContent.startsWith('{told}')")


def test_what_a_piece_copies_is_not_told_of_the_next_one_if_the_answer_is_late(browser, canned, address):
    canned.add(kind="new")
    canned.add(kind="new")
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    shown.value("""{
      const plain = window.fetch;
      window.fetch = async (path, ...more) => {
        const answer = await plain(path, ...more);
        if (!path.endsWith("o1/copies")) return answer;
        const told = await answer.json();
        answer.json = () => new Promise((tell) => { window.answer = () => tell(told); });
        return answer;
      };
    }""")
    choose = "document.querySelectorAll('#outputs .choose')"
    shown.value(f"{choose}[1].click()")
    shown.wait("Boolean(window.answer)")
    shown.value(f"{choose}[0].click()")
    shown.value("answer(), setTimeout(() => { window.isAnswered = true; })")
    shown.wait("Boolean(window.isAnswered)")
    assert text(shown, "stage-title") == "Piece 2" and text(shown, "stage-copied") == ""


def test_an_answer_that_breaks_off_is_none(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    shown.value("void (window.fetch = async () => new Response('{'))")
    press(shown, "do-keep")
    shown.wait("document.getElementById('alert').textContent.startsWith('The studio does not answer')")
    assert shown.complaints() == []


def test_marks_cancel_and_undo_are_one_press_each(browser, canned, address):
    canned.add(kind="new")
    shown = opened(browser, address)
    shown.wait(IS_WHOLE)
    for act in ("favourite", "keep", "discard"):
        press(shown, f"do-{act}")
        shown.wait(f"document.getElementById('do-{act}').getAttribute('aria-pressed') == 'true'")
    shown.wait("document.querySelectorAll('#outputs li').length == 0")  # what is discarded is out of the way
    press(shown, "show-discarded")
    shown.wait("document.getElementById('outputs').textContent.includes('discarded')")
    press(shown, "undo")
    shown.wait("document.getElementById('undo').getAttribute('aria-label') == 'Undo: keep no more'")
    canned.may_go_on = False
    press(shown, "compose-now")
    shown.wait("document.getElementById('do-cancel').checkVisibility()")
    press(shown, "do-cancel")
    shown.wait("document.getElementById('stage-about').textContent.includes('cancelled')")
    assert canned.outputs["o2"]["status"] == "cancelled"


# Music and models.


def test_files_are_sent_one_by_one_and_each_refusal_is_a_sentence(browser, canned, address, tmp_path):
    paths = []
    for name in ("a.mid", "b.txt", "refused.mid"):
        (tmp_path / name).write_bytes(b"MThd")
        paths.append(str(tmp_path / name))
    shown = opened(browser, address, "data")
    field = shown.ask("Runtime.evaluate", expression="document.getElementById('files')")["result"]["objectId"]
    shown.ask("DOM.setFileInputFiles", files=paths, objectId=field)
    shown.wait("!document.getElementById('alert').hidden")
    assert text(shown, "alert").startswith("refused.mid: It is too large: a file may have 16 MiB.")
    assert [one[:2] for one in canned.asked if one[0] == "PUT"] == [("PUT", "uploads/d1/files")] * 3
    assert asked(canned, "POST", "uploads") == [{"name": "a.mid and two others"}]
    assert sent(shown, canned, "POST", "uploads/d1/done") == [{}]


def test_what_is_dropped_anywhere_is_sent_with_its_folders(browser, canned, address, tmp_path):
    (tmp_path / "tunes" / "old").mkdir(parents=True)
    for name in ("tunes/a.mid", "tunes/old/b.mid"):
        (tmp_path / name).write_bytes(b"MThd")
    shown = opened(browser, address, "keep")
    drop(shown, tmp_path / "tunes")
    shown.wait("location.hash == '#data'")
    shown.wait("document.getElementById('sent').hidden")
    sent(shown, canned, "POST", "uploads/d1/done")
    assert asked(canned, "POST", "uploads") == [{"name": "tunes"}]
    assert len([one for one in canned.asked if one[0] == "PUT"]) == 2


def test_pieces_are_listed_by_their_titles_as_people_sort_them(browser, canned, address):
    names = ["tunes/b/10.midi", "tunes/b/9.MID", "tunes/Ave.v2.musicxml", "tunes/äther.kar", "tunes/b/.mid"]
    canned.report["pieces"] = [{"number": n, "name": name, "seconds": 8.0} for n, name in enumerate(names)]
    titles = ["äther", "Ave.v2", "b/.mid", "b/9", "b/10"]
    shown = opened(browser, address, "data")
    filled(shown, "data")
    assert shown.value("[...document.querySelectorAll('#data-pieces .name')].map((one) => one.textContent)") == titles
    shown.value("document.querySelectorAll('#data-pieces .play')[3].click()")
    shown.wait("document.getElementById('dock-title').textContent == 'b/9'")
    assert asked(canned, "GET", "data/d1/pieces/1") == [None]
    options = "[...document.querySelectorAll('#begin-number option')].map((one) => [one.value, one.textContent])"
    assert shown.value(options) == [[str(number), title] for number, title in zip((3, 2, 4, 1, 0), titles, strict=True)]
    absolute = "titled([{ name: '/a.mid' }, { name: 'b.mid' }]).map((one) => one.title)"
    assert shown.value(f"import('/static/studio-words.js').then(({{ titled }}) => {absolute})") == ["/a", "b"]


def test_music_without_pieces_has_no_list_of_them_but_the_reasons(browser, canned, address):
    canned.data[0] |= {"status": "failed", "pieces": 0, "message": "None of these files gave notes."}
    canned.report = {"kept": 0, "recovered": 0, "skipped": 1, "files": canned_studio.REPORT["files"][1:], "pieces": []}
    shown = opened(browser, address, "data")
    shown.wait("document.getElementById('reasons').checkVisibility()")
    assert text(shown, "reasons") == f"{HOSTILE} skipped: it is no file of music"
    assert text(shown, "tally") == "kept0mended0skipped1"
    assert not shown.value("document.getElementById('listen').checkVisibility()")


def test_a_run_is_started_watched_and_listened_to(browser, canned, address):
    shown = opened(browser, address, "train")
    shown.wait("document.querySelectorAll('#runs li').length == 2")
    told = shown.value("[...document.querySelectorAll('#runs li')].map((one) => one.innerText)")
    assert "It learns, round 5 of 20, five minutes left\n" in told[1] and "windows" not in told[1]
    assert "The disk is full: make room, then go on." in told[0] and "Go on" in told[0] and "Pause" not in told[0]
    points = "document.querySelector('#runs li:last-child .curve.valid')?.getAttribute('points')?.split(' ').length"
    shown.wait(f"{points} == 5")
    pressed = "[...document.querySelectorAll('[data-minutes][aria-pressed=true]')].map((one) => one.textContent)"
    assert shown.value(pressed) == ["10 min"]
    shown.value("document.querySelector('[data-minutes=\"2\"]').click()")
    assert shown.value(pressed) == ["2 min"]
    fill(shown, "minutes", "7")
    assert shown.value(pressed) == []
    shown.value("document.querySelector('[data-minutes=\"2\"]').click()")
    press(shown, "start")
    assert sent(shown, canned, "POST", "runs") == [{"data": "d1", "minutes": 2}]
    shown.value("document.querySelector('#runs .chips button').click()")
    shown.wait("loudness() > 0.01")
    canned.runs[0]["status"] = "finished"
    canned.models[1]["name"] = "ballads"
    canned.tell()
    shown.wait("document.getElementById('said').textContent == 'ballads has learned'")
    shown.value("[...document.querySelectorAll('#runs li:last-child .strong')].at(-1).click()")
    shown.wait("location.hash == '#play' && document.getElementById('model').value == 'r1'")


def test_a_run_says_where_it_stands_and_what_can_be_done_with_it(browser, canned, address):
    run, told = canned.runs[0], "document.querySelector('#runs li:last-child .title p').textContent"
    offered = """[...document.querySelectorAll('#runs li:last-child .row button')]
      .filter((one) => one.checkVisibility()).map((one) => one.textContent)"""
    shown = opened(browser, address, "train")
    filled(shown, "train")
    for values, sentence, buttons in (
        (
            {"stage": "tries settings", "epoch": 0, "seconds_left": None},
            "It tries settings",
            ["Pause", "Stop", "Compose with it"],
        ),
        (
            {"status": "reading", "stage": "reads", "seconds_left": 300},
            "It reads, five minutes left",
            ["Pause", "Stop", "Compose with it"],
        ),
        (
            {"status": "training", "stage": "chooses how to play", "epoch": 5},
            "It chooses how to play, five minutes left",
            ["Pause", "Stop", "Compose with it"],
        ),
        (
            {"status": "finished", "stage": "", "epoch": 5, "was_stopped": True, "message": "Stopped; it can go on."},
            "Stopped, round 5 of 20",
            ["Go on", "Compose with it"],
        ),
        (
            {"status": "paused", "message": "It was ended from outside.", "was_stopped": False},
            "It was ended from outside. Round 5 of 20",
            ["Go on", "Stop", "Compose with it"],
        ),
        (
            {"status": "finished", "message": "The model is damaged."},
            "The model is damaged. Round 5 of 20. To learn more, teach another model for more minutes.",
            ["Compose with it", "Teach another"],
        ),
        (
            {"status": "finished", "epoch": 20, "message": ""},
            "It has learned in 20 rounds. To learn more, teach another model for more minutes.",
            ["Compose with it", "Teach another"],
        ),
    ):
        run |= values
        canned.tell()
        shown.wait(f"{told} == '{sentence}'")
        assert shown.value(offered) == buttons
    shown.value("[...document.querySelectorAll('#runs li:last-child .row button')].at(-1).click()")
    assert shown.value("[document.activeElement.id, document.getElementById('learn-from').value]") == ["minutes", "d1"]


def test_a_server_that_has_gone_and_come_back_is_told_of_and_nothing_is_lost(browser, canned):
    with canned_studio.serving(canned) as address:
        canned.add(kind="new")
        shown = opened(browser, address)
        shown.wait(IS_WHOLE)
    shown.wait("document.getElementById('away').textContent.startsWith('The studio does not answer')")
    assert "start it again with: musicjax studio." in text(shown, "away")
    assert text(shown, "away").endswith("open the address that the studio prints.")
    shown.value("document.getElementById('do-keep').click()")
    shown.wait("document.getElementById('said').textContent.startsWith('The studio does not answer')")
    assert shown.value("document.querySelectorAll('.banner:not([hidden])').length") == 1, "it is said once"
    with canned_studio.serving(canned):
        shown.wait("document.getElementById('away').hidden")
        assert text(shown, "stage-title") == "Piece 1"
        press(shown, "do-keep")
        shown.wait("document.getElementById('do-keep').getAttribute('aria-pressed') == 'true'")

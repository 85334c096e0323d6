"""The page that composes: its JavaScript gives Python's numbers and Python's music, and it plays them."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import jax
import mido
import numpy as np
import pytest
from chromium import Chromium

import musicjax
from musicjax import main
from musicjax.encodings import encoding, event_plans
from musicjax.encodings.plan import Length, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.export import export, player
from musicjax.model import network
from musicjax.model import sample as sample_lib
from musicjax.model.sample import Past
from musicjax.music import builtin_clips, note_bins, note_rows
from musicjax.music.note_bins import BARS_LEFT, COLUMNS, METER, MODE
from musicjax.music.notes import Notes
from musicjax.report import page
from musicjax.store.model import Model
from tests import audio_clock, tiny_events, tiny_runs

MOST_BYTES = 1_500_000
OPEN = """
const told = JSON.parse(document.getElementById("constants").textContent);
const opened = openModel(told, unpackWeights(document.getElementById("weights").textContent, told.shapes));
"""
# A hidden page hands notes on 1.5 seconds ahead, so that a busy machine is not late.
HIDDEN = "Object.defineProperty(document, 'hidden', { value: true }), 0"
# The bytes of the MIDI file that the page saves.
SAVED = (
    "(async () => { let blob; URL.createObjectURL = (one) => { blob = one; return 'data:,'; };"
    " HTMLAnchorElement.prototype.click = function () {}; document.getElementById('save').click();"
    " while (!blob) await new Promise((done) => setTimeout(done, 20));"
    " return Array.from(new Uint8Array(await blob.arrayBuffer())); })()"
)
# Counts the notes that the page hands to the audio clock: when they sound, how loud, during which piece.
SPY = """
window.struck = [];
const begin = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at, into) {
  const loudest = this.buffer.getChannelData(0).reduce((most, one) => Math.max(most, Math.abs(one)), 0);
  window.struck.push([at, loudest, document.getElementById("piece").textContent]);
  window.audio = this.context;
  return begin.call(this, at, into);
};
"""


def rounded(model: Model) -> Model:
    """The model with the weights that the page has: of 16 bits."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), model.params)
    return dataclasses.replace(model, params=params)


def two_layers() -> Model:
    """The tiny model with a second layer of random weights."""
    one = tiny_events.model()
    config = one.config
    config.model.layers = 2
    net = one.encoding.network()
    shapes = jax.eval_shape(lambda: network.init(net, jax.random.key(0), tiny_events.WINDOW))
    generator = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)
    return dataclasses.replace(one, network=net, params=params)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.launched(tmp_path_factory.mktemp("browser"), SPY) as browser:
        yield browser


@pytest.fixture(scope="module")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the model that comes with musicjax."""
    path = tmp_path_factory.mktemp("player") / "player.html"
    assert main.main(["export", f"--output={path}"]) == 0
    return path


@pytest.fixture
def javascript(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Model, str], Any]:
    """(a model, an expression with `opened`, which model.js makes of it) -> the value, in Chromium, or else in Node."""
    if shutil.which("chromium") or not shutil.which("node"):
        browser = request.getfixturevalue("browser")

        def in_browser(model: Model, expression: str) -> Any:
            path = tmp_path / "page.html"
            path.write_bytes(player.content(model))
            browser.open(path.as_uri())
            return browser.value(f"(() => {{ {OPEN} return {expression}; }})()")

        return in_browser

    def in_node(model: Model, expression: str) -> Any:
        text = player.content(model).decode()
        told, weights = (re.search(rf'id="{name}">(.*?)</script>', text, re.S) for name in ("constants", "weights"))
        assert told and weights
        script = tmp_path / "script.js"
        script.write_text(
            f"{page.text('model.js')} const told = {told[1]}, packed = {json.dumps(weights[1])};"
            f"const opened = openModel(told, unpackWeights(packed, told.shapes));"
            f"console.log(JSON.stringify({expression}));"
        )
        return json.loads(subprocess.run(["node", script], check=True, capture_output=True, text=True).stdout)

    return in_node


def plan_of(model: Model, notes: Notes) -> tuple[dict[str, int], list[list[int]]]:
    """A piece as model.js takes it: meter, mode and bars, and the bins of the predicted columns of each note."""
    bins = note_bins.from_saved(model.encoding.learned["bins"])
    rows = model.encoding.rows(notes).astype(int)
    plan = {"meter": int(rows[0, METER]), "mode": int(rows[0, MODE]), "bars": note_rows.bars(notes, bins)}
    return plan, rows[1:-1][:, bins.predicted].tolist()


def songs(folder: Path) -> list[Notes]:
    """Two songs of the kind that the built-in model has learned from."""
    builtin_clips.write_corpus(folder, seed=4, clips=2)
    return [musicjax.read_midi(path) for path in sorted(folder.glob("*.mid"))]


@pytest.mark.parametrize("made", [lambda: musicjax.load("builtin"), tiny_events.model, two_layers])
def test_it_gives_notes_the_log_probabilities_that_python_gives_them(javascript, made, tmp_path):
    model = rounded(made())
    for piece in tiny_events.pieces()[:2] if made in (tiny_events.model, two_layers) else songs(tmp_path):
        plan, notes = plan_of(model, piece)
        found = np.array(javascript(model, f"opened.logProbs({json.dumps(plan)}, {json.dumps(notes)})"))
        expected = np.stack(list(model.log_prob(piece).values()), axis=1)
        assert len(found) == len(notes) + 1 > 20
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        (tiny_events.model, SamplingParams(temperature=0.0)),
        (two_layers, SamplingParams(temperature=0.0, no_repeat=3)),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in (
                (tiny_events.model, SamplingParams(temperature=0.0, stop_loops=False, no_repeat=4)),
                (lambda: musicjax.load("builtin"), SamplingParams(temperature=0.0)),
                (lambda: musicjax.load("builtin"), SamplingParams(temperature=0.0, meter="3/4")),
                (lambda: musicjax.load("builtin"), SamplingParams(temperature=0.0, meter="6/8")),
            )
        ),
    ],
)
def test_at_temperature_zero_it_writes_the_notes_that_python_writes(javascript, made, asked):
    """Match, harmony and form are equal too, so both sides keep the same memory and obey the same rules."""
    model = rounded(made())
    bins = note_bins.from_saved(model.encoding.learned["bins"])
    meter = event_plans.meter_bin(bins, asked.meter) if asked.meter else 0
    plan = Plan(tonic=9, mode=1, meter=meter, bars=7, ends=True, must_end=True)
    begin = model.encoding.begin([plan])
    sampled = sample_lib.sample(
        model.network,
        model.params,
        Past(jax.device_put(begin)),
        sample_lib.output_keys(0, [0]),
        model.encoding.limits(),
        model.encoding.draw([asked], model.deviation, [plan]),
        300,
        decode="carry",
    )
    rows = np.asarray(sampled.rows)[0].astype(int)
    edges = np.flatnonzero(note_rows.is_edge(rows, bins))
    rows = rows[: edges[0] if len(edges) else len(rows)]
    told = {"tonic": plan.tonic, "mode": plan.mode, "meter": plan.meter, "bars": plan.bars}
    wish = {"temperature": 0, "topP": 1, "minP": 0, "noRepeat": asked.no_repeat, "stopLoops": asked.stop_loops}
    expression = (
        f"(() => {{ const rows = [], wish = {json.dumps(wish)};"
        f" const made = opened.compose({json.dumps(told)}, () => wish, Math.random);"
        f" for (let one; rows.length < 300 && (one = made.next());) rows.push(one.row); return rows; }})()"
    )
    found = np.array(javascript(model, expression))
    assert len(rows) > 20 and found.shape == rows.shape
    np.testing.assert_array_equal(found, rows)
    assert len(set(rows[:, BARS_LEFT])) > 1


def test_a_piece_drawn_by_chance_ends_in_its_last_bar_and_never_leaves_it(javascript):
    wish = json.dumps({"temperature": 1.5, "topP": 1, "minP": 0, "noRepeat": 0, "stopLoops": True})
    expression = (
        "Array.from({ length: 40 }, (_, k) => {"
        " const bars = 1 + k % 4, plan = { tonic: k % 12, mode: 1, meter: 0, bars };"
        f" const made = opened.compose(plan, () => ({wish}), Math.random), found = [bars];"
        " for (let one; (one = made.next()) && found.length < 900;) found.push(one.bar); return found; })"
    )
    for bars, *of_notes in javascript(tiny_events.model(), expression):
        assert 0 < len(of_notes) < 899 and max(of_notes) < bars


def test_filters_leave_the_shares_that_python_leaves(javascript):
    from musicjax.encodings import event_draw

    model, generator = tiny_events.model(), np.random.default_rng(3)
    for temperature, top_p, min_p in ((1.0, 1.0, 0.0), (0.7, 0.8, 0.0), (1.3, 1.0, 0.2), (0.9, 0.6, 0.3)):
        values, allowed = generator.normal(0, 2, 20), generator.random(20) > 0.3
        own = event_draw.of_params(
            note_bins.from_saved(model.encoding.learned["bins"]), [SamplingParams(top_p=top_p, min_p=min_p)]
        ).controls
        masked = np.where(allowed, values, -np.inf)[None] / temperature
        expected = jax.nn.softmax(event_draw._filtered(masked.astype(np.float32), own), axis=-1)[0]
        asked = f"{json.dumps(values.tolist())}, (bin) => {json.dumps(allowed.tolist())}[bin], {temperature}"
        found = javascript(model, f"opened.probabilities({asked}, {{ topP: {top_p}, minP: {min_p} }})")
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_page_of_the_model_that_comes_with_musicjax_is_small_and_whole(builtin):
    text = builtin.read_text()
    assert len(text.encode()) <= MOST_BYTES
    packed = re.search(r'id="weights">(.*?)</script>', text, re.S)
    assert packed
    halves = np.frombuffer(base64.b64decode(packed[1]), "<f2")
    model = musicjax.load("builtin")
    assert halves.size == network.count(model.params) and np.isfinite(halves).all()
    assert "http" not in re.sub(r'http-equiv="Content-Security-Policy"', "", text.replace(packed[1], ""))


def by_hand(browser: Chromium, page: Path) -> None:
    """Opens the page with piece 7, and with a clock that the test moves."""
    browser.open("about:blank")
    browser.events.clear()
    browser.open(page.as_uri() + "#7")
    browser.value(HIDDEN)
    browser.value(audio_clock.BY_HAND)


def test_it_plays_one_piece_after_the_other(browser, builtin):
    by_hand(browser, builtin)
    text = "document.getElementById('piece').textContent"
    first = browser.value(text)
    assert first.startswith("Piece 7: ") and "bars" in first
    browser.value("play.click()")
    assert browser.value("struck.some(([, loudest]) => loudest > 0.01)")
    # Fast, so that the piece ends soon.
    browser.value("tempo.value = 240; tempo.dispatchEvent(new Event('input'))")
    browser.value(f"for (let k = 0; k < 1000 && {text}.startsWith('Piece 7: '); k++) pass(0.25)")
    assert browser.value(text).startswith("Piece 8: ")
    # Before piece 8 comes a bar of rest, so what was to sound then is its own.
    early = "struck.some(([at, , piece]) => piece.startsWith('Piece 7: ') && at > clock - 0.25)"
    assert browser.value(early), "the first notes of a piece are handed on before it begins"
    browser.value("play.click()")
    count = browser.value("struck.length")
    browser.value("pass(2)")
    assert browser.value("struck.length") == count, "a pause hands on no more notes"
    assert browser.complaints() == [] and browser.requests() == [builtin.as_uri()]


def test_a_pause_loses_no_note(browser, builtin):
    by_hand(browser, builtin)
    browser.value("play.click()")
    browser.value("for (let k = 0; k < 10; k++) pass(0.137)")
    pending = browser.value("(() => { play.click(); return struck.splice(0).filter(([at]) => at > clock) })()")
    assert len(pending) > 5
    browser.value("pass(2), play.click()")
    browser.value("for (let k = 0; k < 10; k++) pass(0.137)")
    later = np.subtract([at for at, *_ in browser.value("struck")[: len(pending)]], [at for at, *_ in pending])
    np.testing.assert_allclose(later, 2.1, atol=1e-6, err_msg="two seconds, and a margin to begin in")


def test_after_a_stall_it_leaves_out_what_it_missed(browser, builtin):
    by_hand(browser, builtin)
    browser.value("play.click()")
    browser.value("for (let k = 0; k < 5; k++) pass(0.1)")
    count = browser.value("pass(5), struck.length")
    most = "Math.max(...struck.map(([at], k, all) => all.filter(([other]) => Math.abs(other - at) < 0.02).length))"
    assert browser.value(most) <= 12, "no more at once than a chord has"
    assert browser.value("pass(1), struck.length") > count


def test_a_machine_that_is_slow_to_make_tones_plays_every_note_of_a_beginning(browser, builtin):
    begun = []
    for seconds in (0, 0.3):
        by_hand(browser, builtin)
        browser.value(f"secondsPerTone = {seconds}")
        for button in ("play", "skip"):
            times = browser.value(f"struck.splice(0), {button}.click(), pass(0), struck.map(([at]) => at)")
            begun.append(np.subtract(times, times[0]))
    assert all(len(times) > 10 for times in begun)
    np.testing.assert_allclose(begun[2], begun[0], atol=1e-6)
    np.testing.assert_allclose(begun[3], begun[1], atol=1e-6)


def test_the_same_number_in_its_address_gives_the_same_piece_which_it_saves_as_midi(browser, builtin, tmp_path):
    found = []
    for _ in range(2):
        browser.open("about:blank")
        browser.open(builtin.as_uri() + "#12")
        browser.value(
            "(() => { const key = document.getElementById('key'); key.value = '2 1';"
            " key.dispatchEvent(new Event('change')); })()"
        )
        found.append(bytes(browser.value(SAVED)))
        text = browser.value("document.getElementById('piece').textContent")
        assert "D major" in text
    assert found[0] == found[1]
    path = tmp_path / "piece.mid"
    path.write_bytes(found[0])
    assert len(list(mido.MidiFile(path, clip=False))) > 50
    piece = musicjax.read_midi(path)
    bars = int(re.search(r"(\d+) bars", text)[1])
    assert len(piece) > 20 and piece.meters[0, 1:].tolist() == [
        int(one) for one in re.search(r"(\d+)/(\d+)", text).groups()
    ]
    assert (
        float((piece.onset_beats + piece.duration_beats).max())
        <= bars * piece.meters[0, 1] * 4 / piece.meters[0, 2] + 1e-6
    )
    melodic = piece.pitch[piece.program != 128] % 12
    assert np.isin(melodic, [2, 4, 6, 7, 9, 11, 1]).mean() > 0.9


def test_another_key_of_the_same_mode_moves_the_piece_and_another_mode_begins_one(browser, builtin):
    browser.open("about:blank")
    browser.open(builtin.as_uri() + "#3")
    choose = (
        "(() => {{ const key = document.getElementById('key'); key.value = '{}';"
        " key.dispatchEvent(new Event('change')); return document.getElementById('piece').textContent; }})()"
    )
    major = browser.value(choose.format("0 1"))
    moved = browser.value(choose.format("4 1"))
    assert "C major" in major and moved == major.replace("C major", "E major")
    other = browser.value(choose.format("9 2"))
    assert "A minor" in other and other.split(":")[0] != moved.split(":")[0]


def chosen(**values: object) -> str:
    """JavaScript that sets controls, each as a listener would, and gives what the page then says of its piece."""
    changes = "".join(
        f"{{ const one = document.getElementById('{name}'); one.value = '{value}';"
        " one.dispatchEvent(new Event('change')); }"
        for name, value in values.items()
    )
    return f"(() => {{ {changes} return document.getElementById('piece').textContent; }})()"


def test_it_plans_the_meter_and_the_length_that_python_plans(browser, builtin):
    bins = note_bins.from_saved(musicjax.load("builtin").encoding.learned["bins"])
    browser.open("about:blank")
    browser.open(builtin.as_uri() + "#5")
    bpm = float(browser.value("tempo.value"))
    for meter, unit in itertools.product(("4/4", "3/4", "6/8"), ("bars", "seconds")):
        number = event_plans.meter_bin(bins, meter)
        for count in (1, 20, 67):
            told = browser.value(chosen(meter=number, unit=unit, length=count))
            length = Length()._replace(**{unit: count})
            plan = event_plans.of_output(bins, SamplingParams(meter=meter), 0, length, bpm, None)
            assert told.endswith(f", {meter}, {plan.bars} bars")
        again = {browser.value(f"skip.click(), {chosen()}").split(": ")[1] for _ in range(2)}
        assert all(one.endswith(f"{meter}, {plan.bars} bars") for one in again), "and so are the pieces to come"


def test_a_length_that_no_piece_can_have_becomes_the_nearest(browser, builtin):
    browser.open("about:blank")
    browser.open(builtin.as_uri() + "#5")
    assert browser.value("document.getElementById('length').disabled")
    for typed, taken in (("0", 1), ("-3", 1), ("", 1), ("7.4", 7), ("1e9", 256)):
        assert browser.value(chosen(unit="bars", length=typed)).endswith(f" {taken} bars"), typed
        assert browser.value("document.getElementById('length').value") == str(taken)


def test_a_saved_piece_has_the_meter_and_the_bars_that_were_chosen(browser, builtin, tmp_path):
    browser.open("about:blank")
    browser.open(builtin.as_uri() + "#12")
    model = musicjax.load("builtin")
    number = event_plans.meter_bin(note_bins.from_saved(model.encoding.learned["bins"]), "3/4")
    browser.value(chosen(meter=number, unit="bars", length=6))
    path = tmp_path / "piece.mid"
    path.write_bytes(bytes(browser.value(SAVED)))
    piece = musicjax.read_midi(path)
    assert piece.meters[:, 1:].tolist() == [[3, 4]]
    assert 15 <= float(piece.onset_beats[-1]) < 18 >= float((piece.onset_beats + piece.duration_beats).max()) - 1e-6


@pytest.mark.parametrize("goes_on", [True, False])
def test_it_plays_on_only_where_it_is_to(browser, builtin, goes_on):
    browser.open("about:blank")
    browser.open(builtin.as_uri() + "#7")
    browser.value(HIDDEN)
    browser.value(f"onward.checked = {json.dumps(goes_on)}; onward.dispatchEvent(new Event('change'))")
    first = browser.value(chosen(unit="bars", length=1))
    browser.value("tempo.value = 240; tempo.dispatchEvent(new Event('input')); play.click()")
    browser.wait("window.struck.length > 1")
    browser.wait(f"document.getElementById('piece').textContent != {json.dumps(first)}")
    assert browser.value("play.getAttribute('aria-label')") == ("Pause" if goes_on else "Play")
    if not goes_on:
        count = browser.value("window.struck.length")
        browser.value("new Promise((done) => setTimeout(done, 600))")
        assert browser.value("window.struck.length") == count
        browser.value("play.click()")
        browser.wait(f"window.struck.length > {count}")
        browser.value("play.click()")


def test_what_it_cannot_hold_is_refused_by_name(tmp_path):
    for name in ("notes", "frames"):
        other = encoding.of(tiny_runs.config_of(tmp_path, name))
        with pytest.raises(UsageError, match="needs a model that knows where pieces end"):
            export.write(dataclasses.replace(tiny_events.model(), encoding=other), tmp_path / "player.html")
    assert not list(tmp_path.iterdir())


def test_every_name_that_the_page_tells_is_one_of_a_column():
    told = json.loads(
        re.search(r'id="constants">(.*?)</script>', player.content(tiny_events.model()).decode(), re.S)[1]
    )
    assert told["at"] == {name: column for column, name in enumerate(COLUMNS)}


def test_the_page_begins_with_what_it_is_to_a_listener():
    model = tiny_events.model()
    model.config.data.source = "/home/me/my tunes"
    text = player.content(model).decode()
    assert "<title>New music from my tunes</title>" in text and "<h1>New music from my tunes</h1>" in text
    (lead,) = re.findall(r'<p class="lead">(.*?)</p>', text, re.S)
    lead = " ".join(lead.split())
    assert lead.startswith("New music, composed as it plays, by a model that learned from the music in my tunes. ")
    assert lead.endswith(" parameters.") and lead.count("parameters") == 1


def test_names_from_a_run_are_shown_as_text():
    model = tiny_events.model()
    model.config.name = model.config.data.source = "</title></script><img src=x onerror=alert(1)>"
    text = player.content(model).decode()
    assert "<img" not in text and text.count("</script>") == 3 and "&lt;img src=x" in text

"""The page of a run: what it tells, that nothing in its data is obeyed, that it plays and asks no network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import html.parser
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import chromium
import numpy as np
import pytest
from chromium import Chromium
from example_pages import a_page, composed, hostile_page, lines, sample

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.errors import RunError
from musicjax.music import metrics, midi
from musicjax.music.notes import DRUMS, Notes, from_beats, from_seconds
from musicjax.report import curve_captions, curves, page, pieces, svg
from musicjax.report import roll as rolls
from musicjax.report.pieces import Sample

REPOSITORY = Path(__file__).parents[1]
# Counts the notes that the page schedules, and when.
SPY = """
window.struck = [];
const begin = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at, into) {
  const samples = this.buffer.getChannelData(0);
  const loudest = samples.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
  window.struck.push([at, into, this.context.currentTime, loudest]);
  return begin.call(this, at, into);
};
"""


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = [""]
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        self._open.append("")

    def handle_data(self, data):
        self.texts.setdefault(self._open[-1], []).append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def classed(self, name: str) -> list[dict]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]


def numbers(text: str) -> dict:
    """The JSON inside of the page."""
    return json.loads(re.search(r'<script type="application/json" id="numbers">(.*?)</script>', text, re.S)[1])


# What it says.


def test_each_metric_of_music_has_a_sentence_beside_its_numbers():
    shown = Reader(page.html(a_page(compared=[(name, 1.0, 2.0, 0.5) for name in metrics.NAMES]))).texts["small"]
    assert shown == list(metrics.MEANINGS.values()) and all(one.endswith(".") for one in shown)


def test_new_pieces_get_a_page_of_their_own(tmp_path):
    for name in ("a", "b", "other"):
        midi.write(composed(0), tmp_path / f"{name}.mid")
    (tmp_path / "a.wav").touch()
    path, left_out = page.write_pieces(tmp_path, ["a", "b"], [("model", "runs/mine"), ("seed", "7")])
    assert (path, left_out) == (tmp_path / "samples.html", [])
    text = path.read_text()
    found = Reader(text)
    assert [card["aria-label"] for card in found.classed("sample")] == ["a", "b"]
    assert [link["href"] for link in found.all("a") if "download" in link] == ["./a.mid", "./a.wav", "./b.mid"]
    assert "runs/mine" in text and 'id="curves"' not in text and len(numbers(text)["samples"]) == 2
    several = [f"p{number}" for number in range(pieces.MOST_SAMPLES + 1)]
    for name in several:
        midi.write(composed(0)[:3], tmp_path / f"{name}.mid")
    assert page.write_pieces(tmp_path, several, [])[1] == ["1 of 61 samples: the page shows 60"]


def test_all_that_is_known_of_a_run_is_in_the_page():
    found = Reader(page.html(a_page()))
    told = {one.strip() for texts in found.texts.values() for one in texts}
    for expected in ("an LSTM", "20 epochs", "125", "1: notes.txt", "512", "head.name", "regression", "2.5", "2.625"):
        assert expected in told, expected
    assert {
        "pitch class entropy",
        "0.75",
        "seed7-007",
        "polyphony rate",
        "3.25",
        "6 notes in a row, as in b.mid",
    } <= told
    assert any("Measured on the first 99 notes." in one for one in told)
    assert {"./samples/seed7-000.mid", "./samples/seed7-007.wav"} <= {one.get("href") for one in found.all("a")}
    assert len(found.classed("play")) == len(found.classed("seek")) == len(found.classed("notes")) == 8
    assert len(found.classed("plot")) == 2
    anchors = {one["href"][1:] for one in found.all("a") if one["href"].startswith("#")}
    assert anchors <= {one["id"] for _, one in found.elements if "id" in one}
    assert anchors == {"content", "top", "samples", "curves", "compared", "settings", "data"}


def test_the_settings_of_a_run_are_closed_until_they_are_asked_for():
    text = page.html(a_page())
    settings = re.search(r'<section id="settings".*?</section>', text, re.S)[0]
    assert re.search(r"<details[^>]*><summary><h2>Settings of this run</h2></summary>", settings)
    assert all(told in settings for told in ("units", "512", "head.name", "regression")) and "<details open" not in text


@pytest.mark.parametrize("encoding", ["notes", "frames", "events"])
def test_accuracy_is_called_what_it_is_beside_what_the_same_answer_would_score(encoding):
    both = lines(3, majority_accuracy=0.25)
    text = page.html(a_page(lines=both, settings={"data": {"encoding": encoding}}))
    meaning, constant = config_lib.accuracy_meaning(encoding)
    assert meaning in text and f"{constant} <b>0.25</b>" in text and "only what lies above it was learned" in text
    assert "only what lies above it" not in page.html(a_page(lines=lines(3)))


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ({"nats_per_note": 1.0}, "How much the next note of a real piece surprises the model. Lower is better."),
        ({"loss": 2.0, "nats_per_frame": 2.0}, "How much the next moment of a real piece surprises the model."),
        ({}, "How far the model's guess is from what comes next. Lower is better."),
    ],
)
def test_the_loss_is_explained_by_its_unit(measured, told):
    text = html.unescape(page.html(a_page(lines=lines(2, **measured))))
    assert told in text and (curve_captions.NATS in text) is bool(measured)


@pytest.mark.parametrize("encoding", ["notes", "frames", "events"])
def test_every_curve_of_a_run_begins_with_what_it_shows_and_what_is_good(encoding, request):
    text = html.unescape((request.getfixturevalue(f"trained_{encoding}") / "report.html").read_text())
    begins = re.findall(r'<figure class="card lone"><h3>([^<]*)</h3>\n<p class="lead">([^<]*)</p>', text)
    assert len(begins) == text.count("<figure") >= 2 and "nats" not in "".join(title for title, _ in begins)
    for title, sentence in begins:
        assert re.search(r"(Lower|Higher) is better\.", sentence) and sentence != curve_captions.OTHER, title


def test_the_player_has_the_notes_in_milliseconds():
    notes = from_seconds([60, 64], [80, 1], [0.0, 1.0004], [0.25, 2.0])
    data = numbers(page.html(a_page(samples=[sample("a", notes)])))["samples"]
    assert data == [{"onset": [0, 1000], "duration": [250, 2000], "pitch": [60, 64], "velocity": [80, 1]}]


def test_eight_samples_make_a_page_below_300_kilobytes():
    assert 50_000 < len(page.html(a_page(lines=lines(200, pitch_error=1.0))).encode()) < 300_000


def test_a_roll_draws_every_note_at_its_place():
    notes = from_seconds([60, 72, 60], [20, 127, 20], [0.0, 1.5, 3.0], [1.0, 0.5, 1.0])
    roll = svg.piano_roll(notes)
    text, top = roll.notes, roll.top
    drawn = {kind: re.findall(r"M(\d+) (\d+)h(\d+)", path) for kind, path in re.findall(r'v(\d)" d="([^"]*)"', text)}
    assert {kind: [(int(x), top - int(y)) for x, y, _ in path] for kind, path in drawn.items()} == {
        "1": [(0, 60), (3000, 60)],
        "7": [(1500, 72)],
    }
    assert all(0.9 * 500 < int(length) <= 1000 for path in drawn.values() for _, _, length in path)
    assert 'viewBox="0 -0.5 4000 24"' in text  # milliseconds and two octaves


def band() -> Notes:
    """A flute, then drums, then a flute."""
    notes = from_seconds([60, 36, 64], [80, 90, 100], [0.0, 0.5, 1.0], [0.5, 0.5, 0.5])
    return dataclasses.replace(notes, program=np.array([73, DRUMS, 73], np.int16))


def test_several_instruments_have_a_colour_each_and_their_names():
    roll = svg.piano_roll(band())
    assert roll.legend == (("i0", "flute"), ("i1", "drums"))
    drawn = {
        kind: re.findall(r"M(\d+) ", path) for kind, path in re.findall(r'note-row ([iv]\d)" d="([^"]*)"', roll.notes)
    }
    assert drawn == {"i0": ["0", "1000"], "i1": ["500"]}
    text = page.html(a_page(samples=[sample("a", band())]))
    assert numbers(text)["samples"][0]["program"] == [73, DRUMS, 73]
    assert re.search(
        r'aria-label="Instruments">\s*<li><svg class="swatch" aria-hidden="true"><line class="i0"[^<]*', text
    )
    assert re.findall(r"</svg>(flute|drums)</li>", text) == ["flute", "drums"]
    assert "loud</span>" not in text, "no colour means a velocity"
    one = dataclasses.replace(band(), program=np.zeros(3, np.int16))
    assert "loud</span>" in page.html(a_page(samples=[sample("a", band()), sample("b", one)]))
    assert all(f".i{k} {{ stroke: {colour}; }}" in page.text("page.css") for k, colour in enumerate(rolls.COLOURS))


def test_one_instrument_is_drawn_by_its_velocities_and_has_no_legend():
    flute = dataclasses.replace(band(), program=np.full(3, 73, np.int16))
    assert svg.piano_roll(flute).legend == ()
    assert (
        svg.piano_roll(flute).notes == svg.piano_roll(dataclasses.replace(flute, program=np.zeros(3, np.int16))).notes
    )
    assert "Instruments" not in page.html(a_page(samples=[sample("a", flute)]))


def test_what_is_new_is_shaded_where_it_lies_and_told_in_words():
    notes = from_seconds([60, 62, 64, 65], [80] * 4, [0.0, 30.0, 60.0, 79.0], [1.0] * 4)
    text = page.html(a_page(samples=[dataclasses.replace(sample("a", notes), new=((20.0, 42.04), (70.0, 99.0)))]))
    shaded = re.findall(r'<rect class="new-ground" x="([^"]*)" width="([^"]*)"', text)
    assert shaded == [("25.00%", "27.55%"), ("87.50%", "12.50%")]
    told = "0:20.0 to 0:42.0, 1:10.0 to 1:20.0"
    assert f"new, written by the model: {told}</li>" in text
    assert "The model wrote what is shaded in these pieces" in text
    assert f"4 notes in 80.0 seconds, new from {told}" in Reader(text).classed("notes")[0]["aria-label"]
    for nothing in ((), ((80.0, 90.0),)):
        text = page.html(a_page(samples=[dataclasses.replace(sample("a", notes), new=nothing)]))
        assert "new-ground" not in text.split("</style>")[1] and "The model wrote these pieces" in text


def test_the_last_time_of_a_roll_has_room_before_its_end():
    for tenths in range(5, 3000, 7):
        notes = from_seconds([60], [80], [0.0], [tenths / 10])
        roll = svg.piano_roll(notes)
        last = float(re.findall(r'<text x="([\d.]+)%" y="100%"', roll.notes)[-1]) / 100
        assert (1 - last) * max(roll.width, svg.NARROWEST_PIXELS) >= svg.TIME_PIXELS - 1, (
            tenths
        )  # a place has four digits


@pytest.mark.parametrize(("duplicates", "told"), [("drop", "1 file left out: it has"), ("keep", "1 file: it has")])
def test_a_file_with_the_notes_of_another_is_told_in_words(workdir, duplicates, told):
    outcomes = [{"path": name, "status": "kept", "code": "", "notes": 7} for name in ("a.mid", "b.mid")]
    outcomes[1]["same_as"] = "a.mid"
    (workdir / "data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in outcomes))
    settings = json.loads((workdir / "config.json").read_text())
    settings["data"]["duplicates"] = duplicates
    (workdir / "config.json").write_text(json.dumps(settings))
    text = page.write(workdir)[0].read_text()
    assert f"<dt>repeated</dt><dd>{told} the same notes as another</dd>" in text


# Curves.


def test_a_column_of_which_the_model_is_certain_is_told_and_not_drawn():
    some = lines(3, pitch_nats=1.5, nats_per_note=2.0)
    for one, nats in zip(some, np.repeat([0.2, 0.002, 1e-5], 2), strict=True):
        one["instrument_nats"] = nats
    text = html.unescape(page.html(a_page(lines=some)))
    told = "Surprise at the instrument is not drawn: it is below 0.001 nats, as in music where every note has the same"
    assert f"{told} instrument.</p>" in text and "<h3>Surprise at the pitch</h3>" in text
    assert "<h3>Surprise at the instrument</h3>" not in text
    assert len(numbers(text)["charts"]) == 3, "the script's numbers are those of what is drawn"
    for one in some:
        one["instrument_nats"] = curves.CERTAIN_NATS
    text = page.html(a_page(lines=some))
    assert "is not drawn" not in text and "<h3>Surprise at the instrument</h3>" in text
    two = curves.certain(curves.other_curves(lines(2, pitch_nats=0.0, velocity_nats=1e-4)))
    assert curve_captions.of_certain(two).startswith("Surprise at the pitch and velocity is not drawn: ")


def test_a_curve_stands_where_its_values_are():
    curve = curves.over_epochs(lines(2), "train", "loss")
    chart = svg.chart("Loss", "What it is.", "", {"train": curve}, falls=True)
    text, data = chart.drawing, chart.numbers
    assert (data["first"], data["last"], data["epochs"]) == (1, 2, [1, 2])
    assert data["series"] == [{"label": "training", "values": [3.0, 1.5]}]
    start, end = re.search(r'class="curve train" d="M(\d+) [\d.]+L(\d+) [\d.]+"', text).groups()
    assert (start, end) == ("0", "1000")
    heights = [float(y) for y in re.search(r'class="curve train" d="M0 ([\d.]+)L1000 ([\d.]+)"', text).groups()]
    np.testing.assert_allclose(heights, [1000 * (1 - 1 / 1.12 * 1.06), 1000 * (1 - 0.06 / 1.12)], atol=0.1)


def test_losses_of_more_than_a_factor_of_three_are_drawn_on_a_logarithmic_scale():
    narrow, wide, negative = (lines(3) for _ in range(3))
    for one in narrow:
        one["loss"] = 1 + one["epoch"] / 10
    for one in wide:
        one["loss"] = 10.0 ** one["epoch"]
    negative[0]["loss"] = -1.0
    for some, log in ((narrow, False), (wide, True), (negative, False)):
        assert numbers(page.html(a_page(lines=some)))["charts"][0]["log"] is log


def test_losses_that_are_not_numbers_break_the_line_and_are_counted():
    some = lines(9)
    for one in some:
        if one["epoch"] in (4, 5):
            one["loss"] = float("nan") if one["epoch"] == 4 else float("inf")
    text = page.html(a_page(lines=some))
    assert "training is not a number in 2 of 9 epochs" in text
    path = re.search(r'class="curve train" d="([^"]*)"', text)[1]
    assert path.count("M") == 2 and path.count("L") == 5
    assert numbers(text)["charts"][0]["series"][0]["values"][2:6] == [1.0, None, None, 0.5]


@pytest.mark.parametrize("some", [[], lines(3, loss=float("nan"), accuracy=float("nan"))])
def test_without_a_finite_loss_the_page_says_so(some):
    text = page.html(a_page(lines=some))
    assert "No epoch with a finite loss is recorded." in text
    assert numbers(text)["charts"] == []


def test_thousands_of_epochs_are_thinned_and_their_extremes_kept():
    some = lines(5000)
    some[2 * 3210]["loss"], some[2 * 1234]["loss"] = 50.0, 1e-5  # training in epochs 3211 and 1235
    text = page.html(a_page(lines=some))
    chart = numbers(text)["charts"][0]
    assert len(chart["epochs"]) <= 4 * svg.STRETCHES + 2
    assert {1, 1235, 3211, 5000} <= set(chart["epochs"])
    assert chart["series"][0]["values"][chart["epochs"].index(3211)] == 50.0
    assert f"{len(chart['epochs']):,} of 5,000 epochs drawn" in text
    assert len(text) < 300_000


def test_several_trials_are_drawn_as_a_mean_and_a_band():
    some = [{**one, "trial": k, "loss": one["loss"] + k} for one in lines(4) for k in range(3)]
    text = page.html(a_page(lines=some))
    assert text.count('class="band train"') == 2 and "mean of 3 trials, with a band from lowest to highest" in text
    assert numbers(text)["charts"][0]["series"][0]["values"] == [4.0, 2.5, 2.0, 1.75]


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-300, 1e300, 5])
def test_one_epoch_of_any_value_is_drawn(value):
    chart = numbers(page.html(a_page(lines=lines(1, loss=value))))["charts"][0]
    assert chart["first"] < 1 < chart["last"] and chart["low"] < value < chart["high"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 2), (1, 5000), (-0.3, 0.001), (1e-9, 3e-9), (0.99, 1.01)])
def test_ticks_are_round_and_not_too_many(low, high):
    ticks = svg._nice(low, high, 5)
    assert 1 <= len(ticks) <= 6 and low <= min(ticks) and max(ticks) <= high
    assert all(len(f"{tick:.6g}".strip("-0.").replace(".", "")) <= 8 for tick in ticks)


# What must work, whatever the run.


def test_the_page_shows_the_first_of_a_million_notes_and_says_how_many():
    count = 1_000_000
    notes = from_seconds(np.full(count, 60), np.full(count, 90), np.arange(count) / 10, np.full(count, 0.1))
    text = page.html(a_page(samples=[sample("long", notes)]))
    assert f"the first {pieces.MOST_NOTES:,} of 1,000,000 notes are shown and played" in text
    assert len(numbers(text)["samples"][0]["pitch"]) == pieces.MOST_NOTES
    assert len(text) < 300_000


def test_a_page_with_nothing_to_tell_is_a_page():
    text = page.html(page.Page())
    assert "No samples were written." in text
    assert numbers(text) == {"charts": [], "samples": []}


def test_a_sample_without_notes_has_no_roll():
    text = page.html(a_page(samples=[Sample("empty", from_seconds([], [], [], []))]))
    assert "no notes" in text and not Reader(text).classed("notes") and "shared with the training data" not in text


def test_whatever_stands_in_the_data_is_shown_as_text_and_never_obeyed():
    found, plain = Reader(page.html(hostile_page())), Reader(page.html(a_page()))
    assert len(found.all("script")) == len(plain.all("script")) == 2 and not found.all("img")
    assert {name for _, attributes in found.elements for name in attributes if name.startswith("on")} == set()
    shown = [one for texts in found.texts.values() for one in texts if "<img src=x onerror=alert(1)>" in one]
    assert len(shown) >= 15 and not any("\0" in one or "\u202e" in one for one in shown)
    for link in found.all("a"):
        assert link["href"].startswith(("#", "./")) and ":" not in link["href"], link


def test_the_policy_forbids_every_address_and_allows_this_style_and_this_script():
    text = page.html(a_page())
    policy = next(one["content"] for one in Reader(text).all("meta") if "http-equiv" in one)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        content = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(content) == 1
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()}'"
    assert set(rules) == {"default-src", "base-uri", "form-action", "img-src", "media-src", "style-src", "script-src"}


TEMPLATES = sorted(one.name for one in (Path(page.__file__).parent / "templates").iterdir())


def test_the_templates_name_no_address_and_take_nothing_unescaped_but_what_is_ours():
    assert {"page.html.j2", "page.css", "page.js"} <= set(TEMPLATES)
    unescaped = set()
    for name in TEMPLATES:
        text = page.text(name).replace("http://www.w3.org/2000/svg", "")  # a name, which nobody asks for
        if name == "studio-server.js":  # it alone asks, and the server of the page alone
            text = re.sub(r"fetch\([`\"]/api/", "", text)
        assert not re.findall(r"https?:|//\w+\.|url\(|@import|innerHTML|eval\(|fetch\(", text), name
        assert "autoescape" not in text and "Markup" not in text
        unescaped |= set(re.findall(r"[\w.]+(?=\s*\|\s*safe\b)", text))
    drawings = {"chart.drawing", "card.roll.pitches", "card.roll.notes", "picture.inside"}
    assert unescaped == {"style", "script", *drawings}


@pytest.mark.parametrize("markup", ["<head>", "Content-Security-Policy", 'class="play"', 'class="starting"'])
def test_what_two_pages_have_in_common_stands_in_one_template(markup):
    assert sum(page.text(name).count(markup) for name in TEMPLATES if name.endswith(".j2")) == 1


# From a workdir.


@pytest.fixture
def workdir(tmp_path):
    recorded = lines(2, seconds=30.0, nats_per_note=1.0)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in recorded))
    (tmp_path / "config.json").write_text(json.dumps(config_files.to_dict(config_files.load("demo"))))
    outcomes = [
        {"path": "a.mid", "status": "kept", "code": "", "notes": 7},
        {"path": "b.mid", "status": "skipped", "code": "no notes", "notes": 0},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in outcomes))
    (tmp_path / "samples").mkdir()
    notes = from_beats(np.array([60, 64, 67]), np.array([80, 80, 80]), np.array([0.0, 1, 2]), np.ones(3))
    midi.write(notes, tmp_path / "samples" / "seed0-000.mid")
    return tmp_path


def test_the_page_tells_what_the_workdir_holds(workdir):
    path, left_out = page.write(workdir)
    text = path.read_text()
    assert path == workdir / "report.html" and left_out == []
    for told in (
        "<title>the built-in corpus: what the model learned</title>",
        "<dt>name</dt><dd>demo</dd>",
        "2 epochs",
        "1.5 in epoch 2",
        "1 kept, 0 recovered, 1 skipped",
        "no notes",
    ):
        assert told in text, told
    assert "samples/seed0-000.mid" in text and "samples/seed0-000.wav" not in text


def test_the_page_tells_metrics_copies_and_sound_of_the_samples(workdir):
    copy = {"length": 12, "piece": "c.mid", "at": 3, "own": 0}
    found = {
        "samples": {"seed0-000": {"polyphony": 2.25, "copy": copy}},
        "generated": {"polyphony": 2.25},
        "real": {"polyphony": 3.5},
        "overlap_area": {"polyphony": 0.75},
        "compared_notes": 300,
        "compared_with": "held-out pieces",
    }
    (workdir / "samples" / "metrics.json").write_text(json.dumps(found))
    (workdir / "samples" / "seed0-000.wav").write_bytes(b"RIFF")
    text = page.write(workdir)[0].read_text()
    for told in ("12 notes in a row, as in c.mid", "samples/seed0-000.wav", "3.5", "0.75"):
        assert told in text, told
    assert "the first 300 notes of each piece, compared with held-out pieces" in text


@pytest.mark.parametrize(
    ("held_out", "told"),
    [
        (
            {"pieces": 9, "median_notes": 12.6, "longest": {"name": "d.mid", "length": 20}},
            "12 notes in a row, as in c.mid; real music held out of training shares up to 20, typically about 13</p>",
        ),
        (
            {"pieces": 1, "median_notes": 8.0, "longest": {"name": "d.mid", "length": 8}},
            "12 notes in a row, as in c.mid; a real piece held out of training shares 8</p>",
        ),
        ({"pieces": 9, "median_notes": 13.0, "longest": 20}, "12 notes in a row, as in c.mid</p>"),
        ({}, "12 notes in a row, as in c.mid</p>"),
    ],
)
def test_what_a_sample_shares_is_told_beside_what_real_pieces_share(workdir, held_out, told):
    copy = {"length": 12, "piece": "c.mid", "at": 3, "own": 0}
    found = {"samples": {"seed0-000": {"copy": copy}}, "held_out_copies": held_out}
    (workdir / "samples" / "metrics.json").write_text(json.dumps(found))
    assert told in page.write(workdir)[0].read_text()


@pytest.mark.parametrize("name", ["samples/seed0-000.mid", "samples/metrics.json", "config.json"])
def test_damaged_files_are_left_out_and_named(workdir, name):
    (workdir / name).write_bytes(b"[1, 2")
    _, left_out = page.write(workdir)
    assert len(left_out) == 1 and name.split("/")[-1] in left_out[0]


STRANGE = [
    7,
    "x",
    None,
    [],
    {"samples": 1, "overlap_area": {"a": "b"}},
    {"samples": {"seed0-000": {"copy": 3, "a": []}}},
]


@pytest.mark.parametrize("value", [*STRANGE, {"data": 3, "model": [], "name": {}}])
@pytest.mark.parametrize("name", ["samples/metrics.json", "config.json", "data.jsonl"])
def test_files_that_hold_something_else_do_no_harm(workdir, name, value):
    (workdir / name).write_text(json.dumps(value) + "\n")
    assert "seed0-000" in page.write(workdir)[0].read_text()


def test_the_page_shows_a_limited_number_of_samples_and_says_how_many_it_leaves_out(workdir, monkeypatch):
    monkeypatch.setattr(pieces, "MOST_SAMPLES", 2)
    for number in range(4):
        (workdir / "samples" / f"seed1-00{number}.mid").write_bytes(
            (workdir / "samples" / "seed0-000.mid").read_bytes()
        )
    path, left_out = page.write(workdir)
    assert left_out == ["3 of 5 samples: the page shows 2"]
    assert path.read_text().count("samples/seed") == 2
    assert "seed1-003" in page.write(workdir, ["seed1-003"])[0].read_text()


def test_a_workdir_without_metrics_is_refused(tmp_path):
    with pytest.raises(RunError, match="metrics"):
        page.write(tmp_path)


def test_a_page_is_written_whole_or_the_older_one_stays(workdir, monkeypatch):
    (workdir / "report.html").write_text("older")
    before = sorted(os.listdir(workdir))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"report\.html cannot be written: No space left on device; "):
            page.write(workdir)
    assert (workdir / "report.html").read_text() == "older" and sorted(os.listdir(workdir)) == before
    page.write(workdir)
    assert (workdir / "report.html").read_text().endswith("</html>\n") and sorted(os.listdir(workdir)) == before


# In a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.launched(tmp_path_factory.mktemp("browser"), SPY) as browser:
        yield browser


def opened(browser: Chromium, one: page.Page, path: Path) -> Chromium:
    path.write_text(page.html(one), encoding="utf-8")
    browser.events.clear()
    browser.open(path.as_uri())
    return browser


def test_in_a_browser_a_sample_plays_pauses_and_gives_way_to_another(browser, tmp_path):
    shown = opened(browser, a_page(), tmp_path / "report.html")
    first, second = ("document.querySelectorAll('.sample')[%d]" % k for k in (0, 1))  # noqa: UP031
    at = "Number.parseFloat(%s.querySelector('.playhead').getAttribute('x1'))"
    assert shown.value("document.querySelectorAll('.play:enabled').length") == 8
    assert shown.value(at % first) == 0
    shown.value(f"{first}.querySelector('.play').click()")
    shown.wait(f"{at % first} > 1 && {first}.querySelector('.now').getAttribute('d') != ''")
    label = f"{first}.querySelector('.play').getAttribute('aria-label')"
    assert shown.value(label) == "Pause seed7-000"
    notes = composed(0)
    struck = shown.value("struck")
    expected = np.rint(1000 * notes.onset[: len(struck)]) / 1000
    assert len(struck) >= (notes.onset < 1.4).sum()
    np.testing.assert_allclose([at - struck[0][0] for at, *_ in struck], expected - expected[0], atol=0.05)
    assert all(0.1 < loudest < 4 for *_, loudest in struck)

    shown.value(f"{second}.querySelector('.play').click()")
    shown.wait(f"{at % second} > 0.5")
    assert shown.value("document.querySelectorAll('.playing').length") == 1
    assert shown.value(label) == "Play seed7-000"
    shown.value(f"{second}.querySelector('.play').click()")
    stands = shown.value(f"[{at % first}, {at % second}, struck.length]")
    shown.value("new Promise((done) => setTimeout(done, 700))")
    assert shown.value(f"[{at % first}, {at % second}, struck.length]") == stands and stands[0] > 0
    assert shown.complaints() == []


def test_in_a_browser_every_family_of_instruments_sounds_and_held_ones_go_on(browser, tmp_path):
    programs = np.array([*range(0, 128, 8), DRUMS, DRUMS, DRUMS], np.int16)
    pitches = [60] * 16 + [36, 38, 42]
    notes = from_seconds(pitches, [90] * 19, np.arange(19) / 100, [0.5] * 19)
    notes = dataclasses.replace(notes, program=programs)
    spy = """window.looped = []; window.made = new Set();
    const connect = AudioBufferSourceNode.prototype.connect;
    AudioBufferSourceNode.prototype.connect = function (to) {
      window.looped.push(this.loop); window.made.add(this.buffer); return connect.call(this, to);
    };"""
    shown = opened(browser, a_page(samples=[sample("a", notes)]), tmp_path / "report.html")
    shown.value(f"{{ {spy} document.querySelector('.play').click(); }}")
    shown.wait("struck.length == 19")
    assert all(0.02 < loudest < 4 for *_, loudest in shown.value("struck"))
    held = [family in (2, 5, 6, 7, 8, 9, 10, 11, 12, 15) for family in range(16)] + [False] * 3
    assert shown.value("looped") == held
    assert shown.value("made.size") == 10 + 3, "families of one timbre share its tones"
    assert shown.complaints() == []


def test_in_a_browser_seeking_plays_from_there_and_the_end_leads_to_the_start(browser, tmp_path):
    notes = from_seconds([60, 62, 64], [80, 80, 80], [0.0, 10.0, 19.0], [1.0, 5.0, 0.5])
    shown = opened(browser, a_page(samples=[sample("a", notes)]), tmp_path / "report.html")
    seek = "const seek = document.querySelector('.seek'); seek.value = %s; seek.dispatchEvent(new Event('input'));"
    shown.value(f"{{ {seek % 12} document.querySelector('.play').click(); }}")
    shown.wait("struck.length == 1")
    assert 2 <= shown.value("struck[0][1]") < 2.1  # the second note, from its middle
    shown.value(f"{{ {seek % 18.9} }}")
    shown.wait("struck.length == 2 && !document.querySelector('.playing')")
    assert shown.value("document.querySelector('.playhead').getAttribute('x1')") == "0%"
    box = "const box = document.querySelector('.notes').getBoundingClientRect();"
    click = "new MouseEvent('click', { clientX: box.left + box.width / 2 })"
    shown.value(f"{{ {box} document.querySelector('.notes').dispatchEvent({click}); }}")
    assert abs(shown.value("Number(document.querySelector('.seek').value)") - 19.5 / 2) < 0.2
    assert shown.complaints() == []


def test_in_a_browser_a_curve_tells_its_values_by_pointer_and_by_key(browser, tmp_path):
    shown = opened(browser, a_page(), tmp_path / "report.html")
    plot, readout = "document.querySelector('.plot')", "document.querySelector('.readout').textContent"
    shown.value(f"{plot}.focus()")
    assert shown.value(readout) == "epoch 20: training 0.15, validation 0.15"
    for key, expected in (("Home", "epoch 1: training 3"), ("ArrowRight", "epoch 2: training 1.5")):
        shown.value(f"{plot}.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}' }}))")
        assert shown.value(readout).startswith(expected)
    box = f"const box = {plot}.getBoundingClientRect();"
    event = "new PointerEvent('pointermove', { clientX: box.left + box.width * 9 / 19 })"
    shown.value(f"{{ {box} {plot}.dispatchEvent({event}); }}")
    assert shown.value(readout) == "epoch 10: training 0.3, validation 0.3"
    line = "document.querySelector('.curve.train').getPointAtLength(0).y / 10"
    shown.value(f"{plot}.dispatchEvent(new KeyboardEvent('keydown', {{ key: 'Home' }}))")
    dot = "Number.parseFloat(document.querySelector('.dot.train').getAttribute('cy'))"
    assert abs(shown.value(line) - shown.value(dot)) < 0.05  # the script's scale is the drawing's
    assert shown.complaints() == []


def test_in_a_browser_the_player_and_the_words_below_it_give_one_length(browser, tmp_path):
    for end, told, clock in ((36.96, "0:37.0", "0:37"), (36.94, "0:36.9", "0:36"), (59.951, "1:00.0", "1:00")):
        notes = from_seconds([60, 62], [80, 80], [0.0, 30.0], [1.0, end - 30])
        one = dataclasses.replace(sample("a", notes), new=((20.0, end),))
        shown = opened(browser, a_page(samples=[one]), tmp_path / "report.html")
        below = "document.querySelector('[aria-label=\"What is new\"]').textContent.trim()"
        assert shown.value(below).endswith(f"to {told}")
        assert shown.value("document.querySelector('.time').textContent") == f"0:00 / {clock}"


def test_in_a_browser_hostile_names_do_nothing(browser, tmp_path):
    shown = opened(browser, hostile_page(), tmp_path / "report.html")
    assert shown.value("document.querySelectorAll('img, script').length") == 2
    assert shown.value("document.querySelectorAll('.play:enabled').length") == 2, "and the real piece's"
    assert "onerror" in shown.value("document.querySelector('.sample h3').textContent")
    assert shown.complaints() == [] and shown.requests() == [(tmp_path / "report.html").as_uri()]


def test_in_a_browser_the_policy_blocks_a_script_that_is_put_into_the_page(browser, tmp_path):
    shown = opened(browser, a_page(), tmp_path / "report.html")
    shown.value(
        "{ const one = document.createElement('script'); one.text = 'window.ran = 1'; document.body.append(one); }"
    )
    assert shown.value("window.ran === undefined")
    assert shown.value("fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'blocked')") == "blocked"
    assert "Content Security Policy" in "".join(shown.complaints())


def test_in_a_browser_dark_is_dark_and_light_is_light(browser, tmp_path):
    shown = opened(browser, a_page(), tmp_path / "report.html")
    for scheme, (low, high) in {"light": (200, 256), "dark": (0, 60)}.items():
        shown.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        ground = shown.value("getComputedStyle(document.body).backgroundColor")
        assert all(low <= int(part) < high for part in re.findall(r"\d+", ground)[:3]), (scheme, ground)


def test_no_request_leaves_the_browser(tmp_path):
    path, log, asking = tmp_path / "report.html", tmp_path / "net.json", tmp_path / "asking.html"
    asking.write_text("<!doctype html><img src='http://127.0.0.1:9/seen'>")
    alone = Chromium(tmp_path / "user", log)
    try:
        opened(alone, hostile_page(), path)
        alone.value("document.querySelector('.play').click()")
        alone.wait("document.querySelector('.seek').value > 0")
        asked = alone.requests()
        alone.open(asking.as_uri())
    finally:
        alone.close()
    assert asked == [path.as_uri()]
    # What no page has begun is the browser's own; that a page's request would be seen, the other page shows.
    begun = [line for line in log.read_text(errors="replace").splitlines() if '"initiator":' in line]
    by_pages = [line for line in begun if '"initiator":"not an origin"' not in line]
    assert {url for line in by_pages for url in re.findall(r'"url":"(\w+:[^"]*)"', line)} == {"http://127.0.0.1:9/seen"}


def test_the_kept_picture_is_small():
    png = (REPOSITORY / "docs" / "report.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) < 250_000

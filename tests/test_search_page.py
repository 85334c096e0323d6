"""The page of a search: where its lines run, what it says of them, and that it can be asked by pointer and by keys."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator

import chromium
import pytest
from chromium import Chromium
from example_pages import HOSTILE, a_search, composed, sample
from test_page import Reader, numbers

from musicjax.music import midi
from musicjax.report import parallel_coordinates, search_page, svg
from musicjax.report.search_page import Field, SearchPage, Trial


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.launched(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def lines_of(text: str) -> dict[int, list[tuple[float, float]]]:
    """The points of each line, shares of the picture from its left and its bottom, by the place of the trial."""
    found = re.findall(r'<path class="trial v\d" data-place="(\d+)" d="M([^"]*)"/>', text)
    return {
        int(place): [
            (float(x) / svg.VIEW, 1 - float(y) / svg.VIEW) for x, y in (one.split() for one in path.split("L"))
        ]
        for place, path in found
    }


def test_a_line_crosses_each_axis_where_its_value_stands():
    lines = lines_of(search_page.html(a_search(3), []))
    assert list(lines) == [2, 1, 0], "the best is drawn last, above the others"
    xs = [x for x, _ in lines[0]]
    assert xs == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    rate, units, root, window, loss = ([lines[k][axis][1] for k in range(3)] for axis in range(5))
    assert rate == pytest.approx([1, 0.5, 0], abs=1e-3), "logarithmic: 1, .8 and .64 times the highest"
    assert units == pytest.approx([0, 0.5, 1]) and root == pytest.approx([0, 1, 0])
    assert window == pytest.approx([0, 0.5, 1])
    assert loss == pytest.approx([0, 0.476, 1], abs=1e-3), "linear: they differ by less than a factor of three"


def test_losses_far_apart_stand_on_a_logarithmic_axis():
    trials = [Trial(k, {"model.units": 8 + k}, 10.0**k, 1) for k in range(3)]
    told = SearchPage("", [], [Field("model.units")], trials, "loss", 0)
    assert [points[-1][1] for _, points in sorted(lines_of(search_page.html(told, [])).items())] == [0, 0.5, 1]


def test_the_sentence_says_what_the_best_have_in_common():
    picture = search_page.picture_of(a_search())
    assert picture is not None
    assert picture.sentence == (
        "The best 10 of 30 trials by loss drew learning_rate 0.001342 to 0.01, units 64 or 128 or 256, epsilon_in_root "
        "True or False and window 10 to 19."
    )
    one = search_page.picture_of(a_search(1))
    assert one is not None
    assert one.sentence == (
        "The only trial by loss drew learning_rate 0.01, units 64, epsilon_in_root True and window 10."
    )


def test_a_search_without_a_finite_loss_says_so():
    text = search_page.html(a_search(trials=[]), [])
    assert "No trial has finite losses." in text and "<path" not in text


def test_the_table_has_the_best_and_the_picture_a_bounded_number_of_lines(monkeypatch):
    monkeypatch.setattr(search_page, "MOST_LINES", 25)
    text = search_page.html(a_search(), [])
    assert text.count('data-place="') == 25 and "The best 25 of 30 are drawn." in text
    assert "2 trials whose losses were not finite are left out." in text
    rows = re.findall(r'<th scope="row" role="rowheader">(\d+)</th>', text)
    assert [int(row) for row in rows] == [trial.number for trial in a_search().trials[: search_page.MOST_ROWS]]


def test_nothing_that_a_search_says_is_obeyed():
    trials = [Trial(0, {f"model.{HOSTILE}": HOSTILE}, 1.0, 1)]
    fields = [Field(f"model.{HOSTILE}", listed=(HOSTILE, "other"))]
    told = a_search(facts=[(HOSTILE, HOSTILE)], title=HOSTILE, fields=fields, trials=trials, minimised=HOSTILE)
    found = Reader(search_page.html(told, [dataclasses.replace(sample(HOSTILE, composed(0)), about=HOSTILE)]))
    assert len(found.all("script")) == 2 and not found.all("img")
    assert all(not name.startswith("on") for _, attributes in found.elements for name in attributes)


def test_the_page_is_written_whole_with_the_pieces_of_the_best(tmp_path):
    for trial in (0, 1):
        folder = tmp_path / "samples" / f"trial{trial}"
        folder.mkdir(parents=True)
        midi.write(composed(trial), folder / "seed0-000.mid")
    told = a_search(2, folders=[(1, "samples/trial1"), (0, "samples/trial0"), (1, "samples/none")])
    path, left_out = search_page.write(tmp_path, told)
    assert (path, left_out) == (tmp_path / "search.html", [])
    found = Reader(path.read_text())
    assert [card["aria-label"] for card in found.classed("sample")] == ["trial 1, seed0-000", "trial 0, seed0-000"]
    assert [one["href"] for one in found.all("a") if "download" in one] == [
        "./samples/trial1/seed0-000.mid",
        "./samples/trial0/seed0-000.mid",
    ]
    assert len(numbers(path.read_text())["samples"]) == 2
    assert not list(tmp_path.rglob("*.partial"))


def test_the_ticks_of_an_axis_are_round_numbers_within_it():
    axis = parallel_coordinates.axis("rate", [1.3e-4, 0.0271, 2e-3], is_log=True)
    assert [text for _, text in axis.ticks] == ["0.0003", "0.001", "0.003", "0.01"]
    assert all(0 <= share <= 1 for share, _ in axis.ticks) and axis.shares[0] == 0 and axis.shares[1] == 1
    assert parallel_coordinates.axis("rate", [0.5, 0.5]).shares == [0.5, 0.5]


def test_the_trial_that_is_pointed_at_or_stepped_to_is_told(browser, tmp_path):
    path = tmp_path / "search.html"
    path.write_text(search_page.html(a_search(), []), encoding="utf-8")
    browser.show(1280)
    browser.open(path.as_uri())
    picture, told = "document.querySelector('.parallel')", "document.querySelector('.readout').textContent"
    browser.value(f"{picture}.focus()")
    assert browser.value(told).startswith(
        "trial 0: learning_rate 0.01, units 64, epsilon_in_root True, window 10, loss "
    )
    browser.press("ArrowRight")
    assert browser.value(told).startswith("trial 3: learning_rate 0.008, ")
    assert browser.value(f"{picture}.getAttribute('aria-valuenow')") == "2"
    assert browser.value(f"{picture}.getAttribute('aria-valuetext')") == browser.value(told)
    box = json.loads(browser.value(f"JSON.stringify({picture}.getBoundingClientRect())"))

    def mouse(kind: str, x: float, y: float) -> None:
        place = {"x": box["left"] + x * box["width"], "y": box["top"] + (1 - y) * box["height"]}
        browser.ask("Input.dispatchMouseEvent", type=kind, **place, button="left", buttons=int(kind != "mouseReleased"))

    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box["left"] + 0.1 * box["width"], y=box["top"] + 2)
    assert browser.value(told).startswith("trial 0: "), "the highest rate is at the top of the first axis"
    left = "document.querySelectorAll('.trial[data-place]:not(.out)').length"
    assert browser.value(left) == 30
    mouse("mousePressed", 0.1, 1.0)  # a stretch of the axis of rates
    mouse("mouseMoved", 0.1, 0.9)
    mouse("mouseReleased", 0.1, 0.9)
    assert 1 <= browser.value(left) < 6
    browser.press("Escape")
    assert browser.value(left) == 30 and browser.complaints() == []

"""The pages on a phone, by keyboard alone, for a screen reader, and by the rules of axe-core."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import axe
import chromium
import pytest
from chromium import Chromium
from example_pages import a_run_with_real_pieces, a_search, a_sweep, composed, hostile_page, sample

from musicjax.export import player
from musicjax.report import page, search_page
from tests import tiny_events

PAGES = {
    "run": lambda: page.html(a_run_with_real_pieces()),
    "sweep": lambda: page.html(a_sweep()),
    "hostile": lambda: page.html(hostile_page()),
    "nothing": lambda: page.html(page.Page()),
    "search": lambda: search_page.html(a_search(), [sample("trial 1, seed0-000", composed(0))]),
    "player": lambda: player.content(tiny_events.model()).decode(),
}
CONTROLS = "a[href], button:enabled, input:enabled, select, summary, .plot, .parallel, .scroll, .wide"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.launched(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def opened(browser: Chromium, name: str, folder: Path, width: int = 1280, scheme: str = "light") -> Chromium:
    path = folder / f"{name}.html"
    path.write_text(PAGES[name](), encoding="utf-8")
    browser.show(width, scheme)
    browser.open(path.as_uri())
    return browser


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_every_width_shows_every_control_and_scrolls_downwards_alone(browser, tmp_path, name, width):
    shown = opened(browser, name, tmp_path, width)
    shown.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    # A phone's innerWidth grows with what is too wide.
    assert shown.value("Math.max(document.documentElement.scrollWidth, innerWidth)") <= width
    outside = f"""[...document.querySelectorAll("{CONTROLS}")].filter((one) => {{
      const box = one.getBoundingClientRect();
      const scrolls = one.parentElement.closest(".wide");
      return !one.matches(".skip") && !scrolls && (box.left < 0 || box.right > {width} || !box.width || !box.height);
    }}).map((one) => one.outerHTML.slice(0, 80))"""
    assert shown.value(outside) == []


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_every_number_has_the_name_of_its_column_and_every_time_fits(browser, tmp_path, width):
    shown = opened(browser, "run", tmp_path, width)
    names = "[...document.querySelectorAll('tbody tr')].map((row) => [...row.cells].slice(1).map((one) => %s))"
    written = shown.value(names % "getComputedStyle(one, '::before').content")
    heads = shown.value("[...document.querySelectorAll('thead th')].slice(1).map((one) => one.textContent)")
    assert heads == ["generated, mean", "real, mean", "overlap area"]
    assert written == [[f'"{head}"' for head in heads]] * 2
    cut = """[...document.querySelectorAll(".notes")].filter((roll) => [...roll.querySelectorAll("text")]
      .some((one) => one.getBoundingClientRect().right > roll.getBoundingClientRect().right + 0.5)).length"""
    assert shown.value(cut) == 0 and shown.value("document.querySelectorAll('.notes text').length") > 10
    shown.show(1280)
    assert shown.value(names % "getComputedStyle(one, '::before').content") == [["none"] * 3] * 2, "its column is above"


@pytest.mark.parametrize(("name", "least"), [("run", 15), ("sweep", 15), ("search", 12), ("player", 8)])
def test_the_tab_key_reaches_every_control_in_the_order_of_the_page(browser, tmp_path, name, least):
    shown = opened(browser, name, tmp_path, 390)
    count = shown.value(f"(window.controls = [...document.querySelectorAll('{CONTROLS}')]).length")
    reached = []
    for _ in range(count):
        shown.press("Tab")
        reached.append(shown.value("controls.indexOf(document.activeElement)"))
        assert shown.value("getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus can be seen"
    assert reached == list(range(count)) and count >= least


def test_every_control_works_by_keys(browser, tmp_path):
    shown = opened(browser, "run", tmp_path, 390)

    def focus(selector: str) -> str:
        control = f'document.querySelector("{selector}")'
        shown.value(f"{control}.focus()")
        return control

    play = focus(".play")
    for key, label in (("Space", "Pause seed7-000"), ("Enter", "Play seed7-000")):
        shown.press(key)
        shown.wait(f"{play}.getAttribute('aria-label') == '{label}'")
    for selector, key, grows in ((".seek", "ArrowRight", True), (".volume input", "ArrowLeft", False)):
        control = focus(selector)
        before = shown.value(f"Number({control}.value)")
        shown.press(key)
        assert (shown.value(f"Number({control}.value)") > before) is grows, selector
    for selector in (".scroll", ".wide"):
        region = focus(selector)
        if shown.value(f"{region}.scrollWidth > {region}.clientWidth"):
            shown.press("ArrowRight")
            shown.wait(f"{region}.scrollLeft > 0")
    focus("summary")
    shown.press("Enter")
    shown.wait("document.querySelector('details').open")
    plot = focus(".plot")
    shown.press("ArrowLeft")
    assert shown.value(f"{plot}.parentElement.querySelector('.readout').textContent").startswith("epoch 19: ")
    for selector, place in ((".skip", "#content"), ("nav a[href='#curves']", "#curves")):
        focus(selector)
        shown.press("Enter")
        shown.wait(f"location.hash == '{place}'")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_reader_jumps_to_each_section_and_back_to_the_top_by_keys(browser, tmp_path, width):
    shown = opened(browser, "run", tmp_path, width)
    shown.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    places = shown.value("[...document.querySelectorAll('nav a')].map((one) => one.getAttribute('href'))")
    sections = shown.value("[...document.querySelectorAll('section[id]')].map((one) => '#' + one.id)")
    assert places == sections and len(places) == 5
    top = "document.documentElement.scrollTop"
    for place in places:
        shown.value(f"""document.querySelector("nav a[href='{place}']").focus()""")
        shown.press("Enter")
        heading = f"document.querySelector('{place} h2').getBoundingClientRect()"
        header = "Math.max(document.querySelector('.top').getBoundingClientRect().bottom, 0)"
        shown.wait(f"location.hash == '{place}' && {heading}.top > {header} - 1 && {heading}.bottom <= innerHeight")
        shown.value(f"""document.querySelector("{place} a[href='#top']").focus()""")
        shown.press("Enter")
        shown.wait(f"location.hash == '#top' && {top} == 0")


def test_the_page_that_composes_works_by_keys_and_tells_which_piece_it_plays(browser, tmp_path):
    shown = opened(browser, "player", tmp_path, 390)
    for key, label in (("Space", "Pause"), ("Enter", "Play")):
        shown.value("play.focus()")
        shown.press(key)
        shown.wait(f"play.getAttribute('aria-label') == '{label}'")
    first = shown.value("piece.textContent")
    shown.value("skip.focus()")
    shown.press("Enter")
    shown.wait(f"piece.textContent != {json.dumps(first)}")
    shown.value(
        "unit.value = 'bars', unit.dispatchEvent(new Event('change')), document.getElementById('length').focus()"
    )
    shown.press("ArrowDown")
    assert shown.value("piece.textContent").endswith(" 15 bars")
    shown.value("onward.focus()")
    shown.press("Space")
    assert shown.value("onward.checked") is False
    for name in ("tempo", "temperature", "volume"):
        before = shown.value(f"{name}.focus(), {name}.value")
        shown.press("ArrowLeft")
        assert float(shown.value(f"{name}.value")) < float(before)
    assert shown.value("document.querySelector('output[for=tempo]').value == tempo.value")
    nodes = [node for node in shown.ask("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    told = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    assert {("combobox", "Key"), ("combobox", "Meter"), ("combobox", "Length"), ("spinbutton", "How many")} <= told
    assert {("checkbox", "Go on"), ("slider", "Tempo"), ("slider", "Temperature"), ("button", "Save MIDI")} <= told


def test_a_screen_reader_is_told_what_each_control_is_and_where_it_stands(browser, tmp_path):
    shown = opened(browser, "run", tmp_path)
    nodes = [node for node in shown.ask("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = [(node["role"]["value"], node.get("name", {}).get("value", ""), node) for node in nodes]
    for role, name, node in named:
        assert name or not any(one["name"] == "focusable" for one in node.get("properties", [])), f"a {role}, no name"
    controls = {(role, name) for role, name, _ in named}
    assert {("slider", "Volume"), ("button", "Play real-000"), ("link", "seed7-000.mid")} <= controls
    articles = [name for role, name, _ in named if role == "article"]
    assert articles[:3] == ["seed7-000", "Beside seed7-000: real-000", "seed7-001"]
    shown.value("document.querySelector('.plot').focus()")
    shown.press("ArrowLeft")
    for selector, name, text in (
        (".plot", "Loss by epoch, 1 to 20", "epoch 19: training 0.15789, validation 0.15789"),
        (".seek", "Position in seed7-000", "0:00 of 0:32"),
    ):
        assert ("slider", name) in controls
        assert shown.value(f"document.querySelector('{selector}').getAttribute('aria-valuetext')") == text


@pytest.fixture(scope="module")
def script() -> str:
    return axe.script()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_against_the_pages(browser, tmp_path, script, name, scheme):
    shown = opened(browser, name, tmp_path, 1280, scheme)
    shown.value(f"{script}; document.querySelectorAll('details').forEach((one) => {{ one.open = true; }});")
    for width in (1280, 390):
        shown.show(width, scheme)
        assert axe.violations(shown) == []


def test_axe_would_find_what_is_wrong(browser, tmp_path, script):
    shown = opened(browser, "run", tmp_path, 1280, "dark")
    shown.value(f"{script}; document.querySelector('.play').removeAttribute('aria-label');")
    shown.value("document.querySelector('.lead').style.color = '#444'")
    assert {one.split(":")[0] for one in axe.violations(shown)} == {"button-name", "color-contrast"}

"""docs/metrics.md describes each metric that a run, its page or a benchmark of music reports, and no other."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from benchmarks import infill
from musicjax.music import likeness, metrics
from tests import tiny_events

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
# Fields of metrics.jsonl and of samples/metrics.json that say what was measured, and those that hold others.
OF_LINES = {"split", "epoch", "step", "trial", "seed", "dropout"}
OF_SAMPLES = {"samples", "generated", "real", "compared_notes", "compared_with"}


def described() -> dict[str, list[str]]:
    """{heading: the names that its paragraphs begin with}."""
    sections = re.split(r"^## (.+)$", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
    begins = {title: re.findall(r"^\*\*`.+?\(", text, re.MULTILINE | re.DOTALL) for title, text in pairs(sections)}
    return {title: re.findall(r"\*\*`(\w+)`\*\*", "".join(found)) for title, found in begins.items()}


def pairs(sections: list[str]) -> list[tuple[str, str]]:
    return list(zip(sections[::2], sections[1::2], strict=True))


def recorded(workdir: Path) -> set[str]:
    return {field for line in (workdir / "metrics.jsonl").read_text().splitlines() for field in json.loads(line)}


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("Of a piece", [*metrics.NAMES, "copy"]),
        (
            "Of two sets of pieces",
            [field.name for field in dataclasses.fields(metrics.Overlap)] + ["mean_overlap_area", "held_out_copies"],
        ),
        ("Of new bars", list(infill.MEASURES)),
    ],
)
def test_each_metric_of_music_has_a_paragraph(section, names):
    assert sorted(described()[section]) == sorted(names)


def test_each_measure_of_likeness_has_a_paragraph():
    pieces = tiny_events.pieces()
    by = likeness.standard_of_training(pieces, likeness.copies.index(pieces, ("",) * len(pieces)), 500, 500)
    assert by.is_whole
    assert set(described()["What a listener notices"]) == {*likeness.MEASURES, *likeness.score(pieces, by)}


def test_each_field_that_a_run_records_has_a_paragraph(trained_notes, trained_frames, trained_events):
    found = set.union(*map(recorded, (trained_notes, trained_frames, trained_events)))
    assert set(described()["Of a model"]) == found - OF_LINES


def test_each_field_of_the_metrics_of_samples_has_a_paragraph(trained_events):
    found = json.loads((trained_events / "samples" / "metrics.json").read_text())
    assert set(found) - OF_SAMPLES <= set(described()["Of two sets of pieces"])
    (sample,) = found["samples"].values()
    assert set(sample) - {"real_piece"} == set(described()["Of a piece"])


def test_no_name_is_described_twice():
    names = [name for section in described().values() for name in section]
    assert len(names) == len(set(names))


def test_every_paragraph_gives_a_unit_or_a_range():
    text = DOCUMENT.read_text()
    paragraphs = [one for one in text.split("\n\n") if one.startswith("**`")]
    assert len(paragraphs) > 40 and all(re.match(r"(\*\*`\w+`\*\*,?\s)+\([^)]+\)\.\s", one) for one in paragraphs)

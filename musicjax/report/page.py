"""A run -> report.html: one file that asks nothing of any network, to look at and to listen to.

Its parts are page.html, page.css and page.js beside this file. What a run's data say is shown as text, never obeyed:
all of it is escaped, and the page's policy lets only this style and this script be used, and no address be asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import string
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np

from musicjax.errors import RunError
from musicjax.music.notes import Notes
from musicjax.report import curves, svg
from musicjax.report.svg import number, text

PARTIAL = ".partial"
# Of each sample: more would make a page that browsers are slow with.
MOST_NOTES = 4000


@dataclass(frozen=True)
class Sample:
    """A piece that was generated.

    Attributes:
        files: paths relative to the page, offered for download.
        measures: metrics of this piece, by name.
        copy: a sentence about the longest run that is copied from the data; may be empty.
    """

    name: str
    notes: Notes
    files: tuple[str, ...]
    measures: dict[str, float]
    copy: str


@dataclass(frozen=True)
class Page:
    """What is told of a run.

    Attributes:
        facts: what was trained, on what, for how long, with which result: (name, value) each.
        settings: the config, nested.
        records: the lines of metrics.jsonl.
        data: files kept, recovered and skipped, with reasons: (name, value) each.
        measures: (metric, mean of what was generated, mean of real data, overlap area) each.
    """

    title: str
    facts: list[tuple[str, str]]
    settings: dict
    records: list[dict]
    data: list[tuple[str, str]]
    samples: list[Sample]
    measures: list[tuple[str, float, float, float]]


def write(page: Page, path: Path) -> None:
    """Writes the page, whole or not at all.

    Raises:
        RunError: it cannot be written; what was there before stays.
    """
    content = html(page).encode()
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.unlink(missing_ok=True)  # a link left there would be written through
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; see to its folder, its rights and space"
        ) from error


def html(page: Page) -> str:
    """The whole page."""
    figures, charts = _curves(page.records)
    shown = [sample.notes[:MOST_NOTES] for sample in page.samples]
    sections = {
        "Samples": _samples(page.samples, shown),
        "Curves": figures,
        "Against the real data": _measures(page.measures),
        "Settings": _settings(page.settings),
        "Data": f'<div class="card">{_pairs(page.data)}</div>' if page.data else "",
    }
    told = {title: section for title, section in sections.items() if section}
    places = {title: title.split()[0].lower() for title in told}
    facts = "".join(
        f'<div class="card"><dt>{text(name)}</dt><dd>{text(value)}</dd></div>' for name, value in page.facts
    )
    body = f'<section aria-label="Facts"><dl class="facts">{facts}</dl></section>' if facts else ""
    for title, section in told.items():
        heading = "" if title == "Samples" else f"<h2>{title}</h2>"
        body += f'\n<section id="{places[title]}" aria-label="{title}">{heading}{section}</section>'
    style, script = _part("page.css"), _part("page.js")
    return string.Template(_part("page.html")).substitute(
        policy=_policy(style, script),
        title=text(page.title),
        style=style,
        links="".join(f'<a href="#{place}">{title}</a>' for title, place in places.items()),
        body=body,
        data=_json({"charts": charts, "samples": [_notes(notes) for notes in shown]}),
        script=script,
    )


def _part(name: str) -> str:
    return resources.files("musicjax.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """No address may be asked; nothing but this style and this script counts."""

    def fingerprint(content: str) -> str:
        return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    return (
        f"default-src 'none'; script-src 'sha256-{fingerprint(script)}'; style-src 'sha256-{fingerprint(style)}'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _json(value: object) -> str:
    """JSON in which no markup can begin."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _notes(notes: Notes) -> dict[str, list[int]]:
    """What the player needs, times in milliseconds."""
    onset, end = (np.rint(1000 * one).astype(np.int64) for one in (notes.onset, notes.onset + notes.duration))
    fields = {"onset": onset, "duration": end - onset, "pitch": notes.pitch, "velocity": notes.velocity}
    return {name: field.tolist() for name, field in fields.items()}


def _curves(records: list[dict]) -> tuple[str, list[dict]]:
    """(loss, accuracy and what else was measured in validation; the numbers of each)."""
    loss, unit = curves.loss_field(records)
    accuracy = curves.accuracy_field(records)
    drawn: list[tuple[str, str, dict[str, curves.Curve], tuple[str, float] | None, bool]]
    drawn = [("Loss", unit, _splits(records, loss), None, True)]
    if accuracy:
        field, called = accuracy
        drawn.append(("Accuracy", called, _splits(records, field), curves.majority(records, field), False))
    small = [
        (field.replace("_", " ").capitalize(), "", {"valid": curve}, None, "error" in field or "nats" in field)
        for field in curves.other_fields(records, {loss, unit.replace(" ", "_")})
        if (curve := curves.over_epochs(records, "valid", field))
    ]
    figures, charts = {"grid": "", "grid small": ""}, []
    for kind, row in (("grid", drawn), ("grid small", small)):
        for one in row:
            if one[2]:
                figure, chart = svg.chart(*one)
                figures[kind] += figure
                charts.append(chart)
    if not charts:
        return '<p class="note">No epoch with a finite loss is recorded.</p>', []
    return "".join(f'<div class="{kind}">{row}</div>' for kind, row in figures.items() if row), charts


def _splits(records: list[dict], field: str) -> dict[str, curves.Curve]:
    found = {split: curves.over_epochs(records, split, field) for split in ("train", "valid")}
    return {split: curve for split, curve in found.items() if curve is not None}


def _samples(samples: list[Sample], shown: list[Notes]) -> str:
    if not samples:
        return '<h2>Samples</h2><p class="note">No samples were written.</p>'
    volume = '<label class="volume">Volume<input type="range" min="0" max="100" value="80"></label>'
    cards = "".join(_sample(*one) for one in zip(samples, shown, strict=True))
    heading = f'<div class="heading"><h2>Samples</h2>{svg.loudness_key()}{volume}</div>'
    return f'{heading}<div class="grid">{cards}</div>'


def _sample(sample: Sample, shown: Notes) -> str:
    """A card: player, piano roll, metrics, copy meter and files."""
    name = text(sample.name)
    roll, all_notes = '<p class="note">no notes</p>', f"{len(sample.notes):,} notes"
    if len(shown):
        roll = svg.piano_roll(shown, sample.name) + (
            f'<input class="seek" type="range" min="0" max="{shown.seconds:.3f}" step="any" value="0" disabled '
            f'aria-label="Position in {name}">'
        )
    if len(shown) < len(sample.notes):
        all_notes = f"the first {len(shown):,} of {len(sample.notes):,} notes are shown and played"
    values = "".join(
        f"<div><dt>{text(metric.replace('_', ' '))}</dt><dd>{number(value)}</dd></div>"
        for metric, value in sample.measures.items()
    )
    copied = f'<p class="copy"><span>Copy meter:</span> {text(sample.copy)}</p>' if sample.copy else ""
    # "./" first: whatever a file is called, its link leads to a place beside the page.
    files = "".join(
        f'<li><a href="./{quote(os.fsencode(file))}" download>{text(file.rsplit("/", 1)[-1])}</a></li>'
        for file in sample.files
    )
    return (
        f'<article class="card sample" aria-label="{name}"><header>'
        f'<button class="play" type="button" aria-label="Play {name}" disabled>'
        '<svg viewBox="0 0 24 24" aria-hidden="true"><path class="starting" d="M9.5 7.5v9l7-4.5z"/>'
        '<path class="pausing" d="M8.5 7.5h2.5v9H8.5zM13 7.5h2.5v9H13z"/></svg></button>'
        f'<h3>{name}</h3><span class="time"></span></header>{roll}<p class="note">{all_notes}</p>'
        + (f'<dl class="values">{values}</dl>' if values else "")
        + copied
        + (f'<ul class="files" aria-label="Files">{files}</ul>' if files else "")
        + "</article>"
    )


def _measures(measures: list[tuple[str, float, float, float]]) -> str:
    if not measures:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{text(metric.replace("_", " "))}</th><td>{number(generated)}</td>'
        f"<td>{number(real)}</td><td>{number(overlap)}{svg.bar(overlap)}</td></tr>"
        for metric, generated, real, overlap in measures
    )
    names = ("metric", "generated, mean", "real, mean", "overlap area")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<div class="card"><div class="wide" tabindex="0" role="region" aria-label="Metrics"><table><thead><tr>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="note">Overlap area: 1 where generated and real pieces are spread alike, 0 where they share no value.'
        "</p></div>"
    )


def _settings(settings: dict) -> str:
    """A card for the fields of the config, and one for each of its parts."""
    parts = {"run": {name: value for name, value in settings.items() if not isinstance(value, dict)}}
    parts |= {name: _flat(value) for name, value in settings.items() if isinstance(value, dict)}
    cards = "".join(
        f'<div class="card"><h3>{text(part)}</h3>{_pairs([*fields.items()])}</div>'
        for part, fields in parts.items()
        if fields
    )
    return f'<div class="columns">{cards}</div>' if cards else ""


def _flat(nested: dict, before: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    fields: dict[str, object] = {}
    for name, value in nested.items():
        fields |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return fields


def _pairs(pairs: list) -> str:
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(_plain(value))}</dd>" for name, value in pairs)
    return f'<dl class="pairs">{rows}</dl>'


def _plain(value: object) -> str:
    """A setting as it would be written: yes or no, a list's parts, a dash for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "—"
    return "—" if value in ("", None) else str(value)

"""A workdir -> report.html, new pieces -> samples.html: a file to look at and to listen to, which needs no network.

The page is written by templates/, which jinja2 fills in; this is its only importer. Whatever comes from a workdir, down
to the names of its files, is escaped and shown as text, never obeyed. The page's policy lets the browser use this style
and this script and nothing else, and contact no address.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from musicjax import console, files
from musicjax.console import printable
from musicjax.errors import RunError
from musicjax.music import copies
from musicjax.music.metrics import MEANINGS
from musicjax.report import curve_captions, curves, pieces, records, svg
from musicjax.report.pieces import Sample
from musicjax.report.records import part
from musicjax.report.svg import Chart

NAME, OF_PIECES = "report.html", "samples.html"
MOST_REASONS = 12


@dataclass(frozen=True)
class Page:
    """What the page tells of a run.

    Attributes:
        facts: what was trained, on what, for how many epochs and with which result: (name, value) each.
        settings: the config, nested.
        lines: the lines of metrics.jsonl.
        data: how many files were kept, recovered and skipped, and why: (name, value) each.
        compared: (metric, mean of the generated pieces, mean of the real ones, overlap area) each.
        is_run: whether it tells of a run, and not of new pieces alone.
        compared_on: how many notes of each piece were compared, and with what; may be empty.
        order: in which order the samples come, a sentence; may be empty.
    """

    title: str = ""
    facts: list[tuple[str, Any]] = dataclasses.field(default_factory=list)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[dict] = dataclasses.field(default_factory=list)
    data: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    samples: list[Sample] = dataclasses.field(default_factory=list)
    compared: list[tuple[str, Any, Any, Any]] = dataclasses.field(default_factory=list)
    compared_on: str = ""
    order: str = ""
    is_run: bool = True


def write(workdir: Path, names: list[str] | None = None) -> tuple[Path, list[str]]:
    """Writes WORKDIR/report.html, whole or not at all: (the file, what is left out and why).

    It shows no measured time: a run that was continued has the page of one that never stopped.

    Args:
        names: of the samples to show; None: those that were measured last or, if none were, all in the workdir.

    Raises:
        RunError: the workdir has neither metrics nor samples, or the page cannot be written; an older one stays.
    """
    left_out: list[str] = []
    return _written(workdir / NAME, read(workdir, left_out, names)), left_out


def write_pieces(
    folder: Path,
    names: list[str],
    facts: list[tuple[str, Any]],
    told: Mapping[str, Mapping[str, Any]] | None = None,
    order: str = "",
) -> tuple[Path, list[str]]:
    """Writes FOLDER/samples.html, which plays the MIDI files of these names; returns its path and what it leaves out.

    Args:
        told: what else is known of a piece, by its name: fields of `Sample` and their values.
        order: in which order the names come, a sentence; may be empty.

    Raises:
        RunError: the page cannot be written; an older one stays.
    """
    left_out: list[str] = []
    samples = [
        dataclasses.replace(sample, **(told or {}).get(sample.name, {}))
        for sample in pieces.read(folder, names, {}, left_out, "")
    ]
    page = Page(title=folder.absolute().name, facts=facts, samples=samples, order=order, is_run=False)
    return _written(folder / OF_PIECES, page), left_out


def _written(path: Path, page: Page) -> Path:
    try:
        files.write(path, html(page))
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; check its folder, permissions and space"
        ) from error
    return path


def read(workdir: Path, left_out: list[str], names: list[str] | None = None) -> Page:
    """The page of a workdir; adds what cannot be read to `left_out`."""
    lines = records.read_metrics(workdir, left_out)
    settings = records.read_object(workdir / "config.json", left_out)
    metrics = records.read_object(workdir / "samples" / "metrics.json", left_out)
    if names is None and part(metrics, "samples"):
        names = list(part(metrics, "samples"))
    data = _data(workdir / "data.jsonl", part(settings, "data").get("duplicates") == "drop")
    generated, real = part(metrics, "generated"), part(metrics, "real")
    music = records.music_name(str(part(settings, "data").get("source", "")))
    count, others = metrics.get("compared_notes"), metrics.get("compared_with")
    return Page(
        title=f"{music}: what the model learned",
        facts=_facts(lines, settings, data, records.read_object(workdir / "init_from.json", left_out)),
        settings=settings,
        lines=lines,
        data=data,
        samples=pieces.read(
            workdir / "samples",
            names,
            part(metrics, "samples"),
            left_out,
            "samples/",
            _of_real_pieces(part(metrics, "held_out_copies")),
        ),
        compared=[
            (metric, generated.get(metric), real.get(metric), overlap)
            for metric, overlap in part(metrics, "overlap_area").items()
        ],
        compared_on=f"the first {console.counted(count, 'note')} of each piece, compared with {others}"
        if count and others
        else "",
    )


def _of_real_pieces(copied: dict[str, Any]) -> str:
    """What held-out pieces share with the training data, in words; empty where it is not recorded."""
    count, median = curves.number(copied, "pieces"), curves.number(copied, "median_notes")
    longest = curves.number(part(copied, "longest"), "length")
    if count is None or median is None or longest is None:
        return ""
    return copies.of_real_pieces(count, longest, median)


def _facts(
    lines: list[dict], settings: dict[str, Any], data: list[tuple[str, str]], origin: dict[str, Any]
) -> list[tuple[str, str]]:
    field, _ = curves.loss_field(lines)
    validation = curves.over_epochs(lines, "valid", field)
    epochs = max((line["epoch"] for line in lines if line["split"] == "train"), default=0)
    model = part(settings, "model")
    facts = (
        [("model", f"LSTM of {model.get('units', '?')} units" + (f", {model['head']} head" if "head" in model else ""))]
        if model
        else []
    )
    if origin:
        facts.append(("began with", f"the weights of {origin.get('path', '?')}, epoch {origin.get('epoch', '?')}"))
    facts += data[:1]
    if epochs:
        facts.append(("trained", console.counted(epochs, "epoch")))
    if validation:
        best = int(np.nanargmin(validation.low))
        lowest = f"{svg.number(validation.low[best])} in epoch {validation.epochs[best]}"
        facts.append(("lowest validation loss", lowest))
    return facts


def _data(path: Path, drops: bool) -> list[tuple[str, str]]:
    """What became of the files of the corpus: counts, then the most frequent reasons.

    Args:
        drops: whether the run left out the files that hold the notes of another.
    """
    try:
        outcomes = [json.loads(line) for line in path.read_text(errors="replace").splitlines()]
        found = [(str(one["status"]), str(one.get("code", "")), int(one.get("notes", 0))) for one in outcomes]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    same = sum(bool(one.get("same_as")) for one in outcomes)
    by_status = collections.Counter(status for status, _, _ in found)
    reasons = collections.Counter(f"{status}: {code}" for status, code, _ in found if status != "kept")
    rows = [(reason, f"{count:,}") for reason, count in reasons.most_common(MOST_REASONS)]
    if same:
        count, each = console.counted(same, "file"), "it has" if same == 1 else "each has"
        rows.append(("repeated", f"{count}{' left out' if drops else ''}: {each} the same notes as another"))
    counts = ", ".join(f"{by_status[status]:,} {status}" for status in ("kept", "recovered", "skipped"))
    return [
        (
            "data",
            f"{console.counted(len(found), 'file')}, {console.counted(sum(notes for *_, notes in found), 'note')}",
        ),
        ("files", counts),
        *rows,
    ]


def html(page: Page) -> str:
    """The whole page."""
    style, script = text("page.css"), text("sound.js") + text("page.js")
    others = curves.other_curves(page.lines)
    certain = curves.certain(others)
    charts, panels = _charts(page, {field: curve for field, curve in others.items() if field not in certain})
    cards = [pieces.card(sample) for sample in page.samples]
    players = list(pieces.players(cards))
    numbers = {
        "charts": [chart.numbers for chart in [*charts, *panels]],
        "samples": [pieces.milliseconds(one["shown"]) for one in players],
    }
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            samples=cards,
            players=players,
            any_sound=any(file.endswith(pieces.SOUNDS) for sample in page.samples for file in sample.files),
            charts=charts,
            panels=panels,
            not_drawn=curve_captions.of_certain(certain),
            unit_of_surprise=curve_captions.NATS if "nats" in curves.loss_field(page.lines)[1] else "",
            meanings=MEANINGS,
            settings=_by_part(page.settings),
            velocity_shades=svg.VELOCITY_SHADES,
            policy=policy(style, script),
            style=style,
            script=script,
            numbers=numbers,
        )
    )


def _charts(page: Page, others: dict[str, curves.Curve]) -> tuple[list[Chart], list[Chart]]:
    """(loss and accuracy, what else was measured in validation); others: the latter by their fields."""
    field, unit = curves.loss_field(page.lines)
    meaning, constant = records.accuracy_meaning(page.settings)
    share = curves.majority(page.lines)
    loss, accuracy = curves.by_split(page.lines, field), curves.by_split(page.lines, "accuracy")
    charts = [svg.chart("Loss", curve_captions.LOSS[unit], unit, loss, falls=True)] if loss else []
    if accuracy:
        sentence = curve_captions.ACCURACY if share is None else f"{curve_captions.ACCURACY} {curve_captions.BASELINE}"
        baseline = None if share is None else (constant, share)
        charts.append(svg.chart("Accuracy", sentence, meaning, accuracy, baseline))
    panels = []
    for field, curve in others.items():
        title, of, sentence, falls = curve_captions.of_field(field)
        panels.append(svg.chart(title, sentence, of, {"valid": curve}, falls=falls))
    return charts, panels


def _by_part(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of each part of a config, and those of no part under "run"; parts without fields are left out."""
    run = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    parts = {name: _flat(value) for name, value in settings.items() if isinstance(value, dict)}
    return {name: fields for name, fields in ({"run": run} | parts).items() if fields}


def _flat(nested: dict[str, Any], before: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    fields: dict[str, Any] = {}
    for name, value in nested.items():
        fields |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return fields


# What the templates are made with.


@functools.cache
def environment() -> jinja2.Environment:
    """The Jinja environment, which finds the templates of this package."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"counted": console.counted, "number": svg.number, "percent": svg.percent, "setting": _setting}
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return made


def text(name: str) -> str:
    """The text of one of the templates."""
    return resources.files("musicjax.report").joinpath("templates", name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """What an expression of a template puts into the page: control characters as escapes; markup is escaped after."""
    return printable(value) if type(value) is str else value


def _setting(value: object) -> str:
    """A value of the config in words: yes or no, the parts of a list, a dash for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value)) or "-"
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return "-" if value in ("", None) else str(value)


def policy(style: str, script: str) -> str:
    """What the page allows the browser: this style and this script, and no address."""
    return (
        f"default-src 'none'; script-src '{_fingerprint(script)}'; style-src '{_fingerprint(style)}'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _fingerprint(content: str) -> str:
    """What the policy knows a style or a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

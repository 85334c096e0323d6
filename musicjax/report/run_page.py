"""A workdir -> its page: report.html, from what the run has written."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

from musicjax.music import midi
from musicjax.report import curves, page
from musicjax.report.page import Page, Sample

NAME = "report.html"
# Samples shown: more would make a page that browsers are slow with.
MOST_SAMPLES = 24
REASONS = 12


def write(workdir: Path, names: list[str] | None = None) -> tuple[Path, list[str]]:
    """Writes WORKDIR/report.html: (the file, what is left out and why).

    Args:
        names: of the samples to be shown; None: those last measured, or else all that lie in the workdir.

    Raises:
        RunError: the workdir has no metrics, or the page cannot be written.
    """
    left_out: list[str] = []
    made = of_workdir(workdir, left_out, names)
    page.write(made, workdir / NAME)
    return workdir / NAME, left_out


def of_workdir(workdir: Path, left_out: list[str], names: list[str] | None = None) -> Page:
    """The page of a workdir; adds to `left_out` what cannot be read."""
    records = curves.read_metrics(workdir)
    settings = _json(workdir / "config.json", left_out)
    measures = _json(workdir / "samples" / "metrics.json", left_out)
    if names is None and measures.get("samples"):
        names = list(measures["samples"])
    data, sources = _data(workdir / "data.jsonl"), settings.get("data", {})
    name = settings.get("name", workdir.name)
    return Page(
        title=f"{name}: {Path(str(sources.get('source', ''))).name or 'music'}",
        facts=_facts(records, settings, data),
        settings=settings,
        records=records,
        data=data,
        samples=_samples(workdir, names, measures.get("samples", {}), left_out),
        measures=[
            (metric, measures["generated"][metric], measures["real"][metric], share)
            for metric, share in measures.get("overlap_area", {}).items()
        ],
    )


def _facts(records: list[dict], settings: dict, data: list[tuple[str, str]]) -> list[tuple[str, str]]:
    field, unit = curves.loss_field(records)
    valid = [line for line in records if line["split"] == "valid" and isinstance(line.get(field), float)]
    # Of several trials each has a line, with the seconds of all.
    seconds = {line["epoch"]: line.get("seconds") or 0.0 for line in records if line["split"] == "train"}
    model, best = settings.get("model", {}), min(valid, key=lambda line: line[field], default=None)
    facts = [("model", f"LSTM of {model.get('units', '?')} units, {model.get('head', '?')}")]
    facts += [data[0]] if data else []
    if seconds:
        facts.append(("trained", f"{max(seconds)} epochs, {sum(seconds.values()) / 60:.1f} minutes"))
    if best:
        facts.append((f"lowest validation loss, {unit}", f"{best[field]:.4g} at epoch {best['epoch']}"))
    return facts


def _data(path: Path) -> list[tuple[str, str]]:
    """What became of the files: counts, then the commonest reasons."""
    try:
        outcomes = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return []
    by_status = collections.Counter(outcome.get("status", "?") for outcome in outcomes)
    notes = sum(outcome.get("notes", 0) for outcome in outcomes)
    counts = ", ".join(f"{by_status.get(status, 0)} {status}" for status in ("kept", "recovered", "skipped"))
    found = [("data", f"{len(outcomes):,} files, {notes:,} notes"), ("files", counts)]
    reasons = collections.Counter(
        (outcome["status"], outcome.get("code", "")) for outcome in outcomes if outcome.get("status") != "kept"
    )
    return found + [(f"{status}: {code}", f"{count:,}") for (status, code), count in reasons.most_common(REASONS)]


def _samples(workdir: Path, names: list[str] | None, measures: dict[str, Any], left_out: list[str]) -> list[Sample]:
    paths = [path for path in sorted((workdir / "samples").glob("*.mid")) if names is None or path.stem in names]
    if len(paths) > MOST_SAMPLES:
        left_out.append(f"{len(paths) - MOST_SAMPLES} of {len(paths)} samples: the page shows {MOST_SAMPLES}")
    samples = []
    for path in paths[:MOST_SAMPLES]:
        try:
            notes = midi.read(path)
        except (midi.MidiError, OSError) as error:
            left_out.append(f"sample {path.name}: {error}")
            continue
        own = dict(measures.get(path.stem, {}))
        copy = own.pop("copy", {})
        told = ""
        if copy.get("length"):
            told = f"Longest run shared with the training data: {copy['length']} notes, as in {copy['piece']}."
        suffixes = (".mid", ".wav", ".flac", ".ogg")
        files = tuple(f"samples/{path.stem}{suffix}" for suffix in suffixes if path.with_suffix(suffix).is_file())
        samples.append(Sample(path.stem, notes, files, own, told))
    return samples


def _json(path: Path, left_out: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
        raise ValueError("not an object")
    except (OSError, ValueError) as error:
        left_out.append(f"{path}: {error}")
        return {}

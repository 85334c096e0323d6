"""The data of a run: source -> Corpus, and what became of its files; and the `data` command."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import datasets
from musicjax.corpus.corpus import Corpus, Outcome
from musicjax.errors import RunError
from musicjax.music.piano_roll import LOWEST_PITCH

# Files recovered and files skipped that are listed on the screen; the report has them all.
LISTED = 20
# How often a download says how far it is: so many times, or each so many bytes where its size is not known.
LINES_A_DOWNLOAD = 25
UNKNOWN_STEP_BYTES = 2**24


def write_report(outcomes: list[Outcome], path: Path) -> None:
    """One JSON line a file; raises RunError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        corpus_lib.write_report(outcomes, path)
    except OSError as error:
        raise RunError(f"report {path} cannot be written: {error.strerror}; name another --workdir") from error


def read(data: DataConfig) -> tuple[Corpus, list[Outcome]]:
    """Reads the source, fetched if need be, showing progress and what became of the files."""
    _fetch(data)
    with console.bar("reading", 0) as update:
        corpus, outcomes = corpus_lib.read(data, lambda done, total: update(done, "", total))
    counts = corpus_lib.counts(outcomes)
    console.say(
        "data",
        f"{data.source}: {len(outcomes)} files, {counts['kept']} kept, {counts['recovered']} recovered, "
        f"{counts['skipped']} skipped; {counts['notes']:,} notes",
    )
    for status, label in (("recovered", "mended"), ("skipped", "skipped")):
        some = [outcome for outcome in outcomes if outcome.status == status]
        for outcome in some[:LISTED]:
            console.say(label, f"{outcome.path}: {outcome.detail}")
        if len(some) > LISTED:
            console.say(label, f"and {len(some) - LISTED} more")
    return corpus, outcomes


def _fetch(data: DataConfig) -> None:
    """Downloads the data set that the source names, unless it is in the cache."""
    if data.source in datasets.NAMES and not datasets.is_name(data.source):
        console.say("data", f"{data.source}: the folder {Path(data.source).absolute()}, not the data set of that name")
    if not datasets.is_name(data.source) or not datasets.is_missing(data.source, corpus_lib.cache_folder(data)):
        return
    next_at = 0
    with console.bar("download") as update:

        def progress(done: int, total: int) -> None:
            nonlocal next_at
            if done >= next_at:
                update(done >> 20, "MiB", total >> 20)
                next_at = done + (total // LINES_A_DOWNLOAD or UNKNOWN_STEP_BYTES)

        datasets.fetch(data.source, corpus_lib.cache_folder(data), progress, console.say)


def show(data: DataConfig, report: Path | None, as_json: bool) -> None:
    """The `data` command: a table of outcomes by reason, the report, and with as_json one JSON object."""
    if data.source.startswith("polyphonic:"):
        _show_polyphonic(data.source, report, as_json)
        return
    corpus, outcomes = read(data)
    reasons = collections.Counter((outcome.status, outcome.code) for outcome in outcomes)
    console.table([(*reason, count) for reason, count in sorted(reasons.items())], ("status", "reason", "files"))
    cache = corpus_lib.cache_folder(data)
    if report is None and cache is not None:
        report = cache / "reports" / f"{corpus.fingerprint[:16]}.jsonl"
    if report is not None:
        write_report(outcomes, report)
        console.say("report", str(report))
    pitch = corpus.notes.pitch
    seconds = sum(outcome.seconds for outcome in outcomes)
    summary: dict[str, Any] = corpus_lib.counts(outcomes) | {
        "files": len(outcomes),
        "source": data.source,
        "seconds": round(seconds, 3),
        "pitch_low": int(pitch.min(initial=127)),
        "pitch_high": int(pitch.max(initial=0)),
        "reasons": {code: count for (_, code), count in sorted(reasons.items())},
        "fingerprint": corpus.fingerprint,
        "report": "" if report is None else str(report),
    }
    if as_json:
        print(json.dumps(summary))
    else:
        pitches = f", pitches {pitch.min()}..{pitch.max()}" if len(pitch) else ""
        print(f"{len(pitch):,} notes, {seconds / 3600:.2f} hours{pitches}")
    require_notes(corpus, outcomes, data.source)


def _show_polyphonic(source: str, report: Path | None, as_json: bool) -> None:
    """The same for a polyphonic data set, whose pieces have frames and no seconds."""
    from musicjax.corpus import frame_sets

    found = frame_sets.read(source)
    outcomes, sounding = found.outcomes, np.flatnonzero(found.frames.any(axis=0))
    reasons = collections.Counter((outcome.status, outcome.code) for outcome in outcomes)
    console.table([(*reason, count) for reason, count in sorted(reasons.items())], ("status", "reason", "pieces"))
    if report is not None:
        write_report(outcomes, report)
        console.say("report", str(report))
    pieces = {split: len(found.pieces(split)) for split in frame_sets.SPLITS}
    lowest, highest = (int(key) + LOWEST_PITCH for key in (sounding.min(initial=87), sounding.max(initial=0)))
    summary: dict[str, Any] = corpus_lib.counts(outcomes) | {
        "files": len(outcomes),
        "source": source,
        "frames": len(found.frames),
        "pieces": pieces,
        "pitch_low": lowest,
        "pitch_high": highest,
        "reasons": {code: count for (_, code), count in sorted(reasons.items())},
        "fingerprint": found.fingerprint,
        "report": "" if report is None else str(report),
    }
    said = ", ".join(f"{count} {split}" for split, count in pieces.items())
    print(json.dumps(summary) if as_json else f"{len(found.frames):,} frames in {len(found)} pieces: {said}")


def require_notes(corpus: Corpus, outcomes: list[Outcome], source: str) -> None:
    """Raises RunError if no file gave notes."""
    if not len(corpus):
        first = outcomes[0]
        raise RunError(
            f"data source {source}: none of its {len(outcomes)} files gave notes ({first.path}: {first.detail}); "
            "expected MIDI or MusicXML files with notes; name another folder"
        )

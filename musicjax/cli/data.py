"""The `data` command: reads a source and says what became of its files."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.corpus import cache as cache_lib
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import load
from musicjax.corpus.corpus import Corpus, Outcome
from musicjax.errors import RunError, UsageError
from musicjax.music import bar_position, keys
from musicjax.music.piano_roll import KEYS, LOWEST_PITCH

KEYS_SHOWN = 5


def show(data: DataConfig, report: Path | None, as_json: bool) -> None:
    """Prints outcomes by reason, writes the report, and ends with one line on standard output, or JSON if `as_json`.

    Args:
        report: the file for a JSON line about each file; None: one in the cache, if there is a cache.

    Raises:
        UsageError, RunError: as `load.read`; or no file gave notes; or the report is that of a run on other data.
    """
    if data.source.startswith("polyphonic:"):
        _show_frames(data.source, report, as_json)
        return
    cache = cache_lib.cache_folder(data) if report is None else None
    corpus, outcomes = load.read(data)
    if cache is not None:
        report = cache / "reports" / f"{corpus.fingerprint.sha256[:16]}.jsonl"
    pitch, seconds = corpus.notes.pitch, sum(outcome.seconds for outcome in outcomes)
    summary = _report(outcomes, data.source, report, "files", must=cache is None) | {
        "seconds": round(seconds, 3),
        "pitch_low": int(pitch.min(initial=127)),
        "pitch_high": int(pitch.max(initial=0)),
        "bpm": _median_bpm(corpus),
        "meters": (meters := _meters(corpus)),
        "keys": (found := _keys(corpus))[0],
        "key_changes": found[1],
        "duplicates": _say_duplicates(outcomes, data.duplicates == "drop"),
        "fingerprint": corpus.fingerprint.sha256,
    }
    pitches = f", pitches {pitch.min()}..{pitch.max()}" if len(pitch) else ""
    of_time = f", {', '.join(f'{count} in {meter}' for meter, count in meters.items())}, {summary['bpm']:g} bpm"
    notes = console.counted(len(pitch), "note")
    text = f"{notes}, {seconds / 3600:.2f} hours{pitches}{of_time if meters else ''}{_key_text(*found)}"
    console.result(json.dumps(summary) if as_json else text)
    load.require_notes(corpus, outcomes, data.source)


def _meters(corpus: Corpus) -> dict[str, int]:
    """How many pieces have notes in each meter, the commonest first."""
    found: collections.Counter[str] = collections.Counter()
    for piece in corpus.pieces:
        which = np.unique(bar_position.segments(piece.onset_beats, piece.meters))
        found.update({bar_position.text_of(*piece.meters[index, 1:]) for index in which})
    return dict(found.most_common())


def _keys(corpus: Corpus) -> tuple[dict[str, int], int]:
    """How many pieces have each key, the commonest first, and how many pieces change key."""
    tables = [keys.of(piece) for piece in corpus.pieces]
    counted = collections.Counter(name for table in tables for name in {keys.text_of(*row[1:]) for row in table})
    # By name where counts are equal, for sets have no order of their own.
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))), sum(len(table) > 1 for table in tables)


def _key_text(found: Mapping[str, int], changes: int) -> str:
    """The end of the summary line, which names the commonest keys; empty if there are none."""
    shown = [f"{count} {name}" for name, count in list(found.items())[:KEYS_SHOWN]]
    shown += [f"{len(found) - KEYS_SHOWN} more"] * (len(found) > KEYS_SHOWN)
    change = f"; {changes} {'changes' if changes == 1 else 'change'} key" if changes else ""
    return f"; keys: {', '.join(shown)}{change}" if found else ""


def _median_bpm(corpus: Corpus) -> float:
    """The median tempo of the pieces, quarter notes a minute; 0 if there are none."""
    return round(float(np.median([piece.bpm for piece in corpus.pieces] or [0.0])), 3)


def _say_duplicates(outcomes: Sequence[Outcome], drops: bool) -> int:
    """Names files that have the notes of earlier ones; returns how many there are.

    Args:
        drops: whether training leaves them out.
    """
    found = [outcome for outcome in outcomes if outcome.same_as]
    for outcome in found[: load.LISTED]:
        console.say("same", f"{outcome.path} has the notes of {outcome.same_as} (key, tempo and title do not count)")
    if len(found) > load.LISTED:
        console.say("same", f"{len(found) - load.LISTED} more")
    if found and drops:
        console.say("same", "training uses one of each, as duplicates=drop asks")
    return len(found)


def _show_frames(source: str, report: Path | None, as_json: bool) -> None:
    """`show` for a data set of frames, whose pieces have no seconds."""
    from musicjax.corpus import frame_sets  # reads files other than MIDI, and few need it

    found = frame_sets.read(source)
    sounding = np.flatnonzero(found.frames.any(axis=0)) + LOWEST_PITCH
    pieces = {split: len(found.pieces(split)) for split in frame_sets.SPLITS}
    summary = _report(found.outcomes, source, report, "pieces") | {
        "frames": len(found.frames),
        "pieces": pieces,
        "pitch_low": int(sounding.min(initial=LOWEST_PITCH + KEYS - 1)),
        "pitch_high": int(sounding.max(initial=LOWEST_PITCH)),
        "fingerprint": found.fingerprint,
    }
    counted = ", ".join(f"{count} {split}" for split, count in pieces.items())
    frames = f"{console.counted(len(found.frames), 'frame')} in {console.counted(len(found), 'piece')}: {counted}"
    console.result(json.dumps(summary) if as_json else frames)


def _report(
    outcomes: Sequence[Outcome], source: str, report: Path | None, unit: str, must: bool = True
) -> dict[str, Any]:
    """Prints the table, writes the report, and returns what all summaries have in common.

    Args:
        must: whether a report that cannot be written is an error; one in the cache is not.
    """
    if report is not None:
        _require_no_other_run(report, outcomes, source)
    reasons = collections.Counter((outcome.status, outcome.code) for outcome in outcomes)
    console.table([(*reason, count) for reason, count in sorted(reasons.items())], ("status", "reason", unit))
    if report is not None:
        try:
            corpus_lib.write_report(outcomes, report)
        except RunError as error:
            if must:
                raise
            console.say("report", f"none: {error}")
            report = None
        else:
            console.say("report", f"{report}: what became of each file, and why")
    elif any(outcome.status != "kept" for outcome in outcomes):
        console.say(
            "report", "none without a cache; --workdir=DIR writes DIR/data.jsonl, with the reason for each file"
        )
    return corpus_lib.counts(outcomes) | {
        "files": len(outcomes),
        "source": source,
        "reasons": by_code(reasons),
        "report": "" if report is None else str(report),
    }


def by_code(reasons: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """How many files have each reason, whatever their status, from how many have each (status, reason)."""
    found: collections.Counter[str] = collections.Counter()
    for (_, code), count in sorted(reasons.items()):
        found[code] += count
    return dict(found)


def _require_no_other_run(report: Path, outcomes: Sequence[Outcome], source: str) -> None:
    """Raises UsageError if the report's folder holds a run, unless the run read the same files in the same way."""
    workdir = report.parent
    # os.path says False of a name that cannot be; Path raises.
    if not any(os.path.exists(workdir / name) for name in ("config.json", "checkpoints")):
        return
    if not os.path.isfile(report) or report.read_text() != corpus_lib.report_of(outcomes):
        raise UsageError(
            f"workdir {workdir} holds a run, and its {report.name} records what that run read, not "
            f"{source}; leave out --workdir, or name another"
        )

"""The data of a run: source -> Corpus -> scaled rows and window starts; and the `data` command."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from musicjax.config import Config, DataConfig
from musicjax.errors import RunError
from musicjax.music import corpus as corpus_lib
from musicjax.music import note_matrix
from musicjax.music.corpus import Corpus, Outcome
from musicjax.music.note_matrix import Scaling
from musicjax.run import screen

# Files recovered and files skipped that are listed on the screen; the report has them all.
LISTED = 20
# A longest interval this many times above the 99.9th percentile is said.
OUTLIER = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """N rows of C columns and the first rows of the windows.

    Attributes:
        rows: float32 [N, C], scaled.
        train, validation: int32 [W], starts of the windows of each split.
        scaling: the constants the rows were scaled with.
        fingerprint: sha256 of the content.
        validation_pieces: how many pieces have a window in the validation split.
        outcomes: what became of each file.
    """

    rows: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    scaling: Scaling
    fingerprint: str
    validation_pieces: int
    outcomes: list[Outcome]


def write_report(outcomes: list[Outcome], path: Path) -> None:
    """One JSON line a file; raises RunError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        corpus_lib.write_report(outcomes, path)
    except OSError as error:
        raise RunError(f"report {path} cannot be written: {error.strerror}; name another --workdir") from error


def prepare(config: Config) -> Data:
    """Reads the source, splits it and scales it by its training part.

    Raises:
        RunError: nothing usable, or a split without a single window.
    """
    corpus, outcomes = read(config.data)
    require_notes(corpus, outcomes, config.data.source)
    columns = 4 if config.data.duration else 3
    unscaled = np.concatenate([note_matrix.values(corpus.piece(p), columns) for p in range(len(corpus))])
    train, validation, in_training = _split(corpus, config.data)
    for name, starts in (("training", train), ("validation", validation)):
        if not len(starts):
            raise RunError(
                f"data source {config.data.source}: {len(corpus.notes)} notes in {len(corpus)} pieces leave no {name} "
                f"window of {config.data.window} notes and the one after; add files or lower --config.data.window"
            )
    scaling = note_matrix.fit(unscaled[in_training])
    rows = ((unscaled - scaling.shift) / scaling.span).astype(np.float32)
    _say_if_stretched(corpus, unscaled[:, 2], in_training)
    short = int((np.diff(corpus.offsets) <= config.data.window).sum())
    screen.say("windows", f"{len(train):,} train, {len(validation):,} validate, of {config.data.window} notes each")
    if short and config.data.split == "piece":
        screen.say("windows", f"{short} of {len(corpus)} pieces are no longer than a window and give none")
    validating = len(np.unique(np.searchsorted(corpus.offsets, validation, side="right")))
    return Data(rows, train, validation, scaling, corpus.fingerprint, validating, outcomes)


def rows_of(corpus: Corpus, scaling: Scaling) -> np.ndarray:
    """All pieces as rows float32 [N, C], scaled with constants from elsewhere."""
    return np.concatenate([note_matrix.encode(corpus.piece(p), scaling) for p in range(len(corpus))])


def read(data: DataConfig) -> tuple[Corpus, list[Outcome]]:
    """Reads the source, showing progress and what became of the files."""
    with screen.bar("reading", 0) as update:
        corpus, outcomes = corpus_lib.read(data, lambda done, total: update(done, "", total))
    counts = corpus_lib.counts(outcomes)
    screen.say(
        "data",
        f"{data.source}: {len(outcomes)} files, {counts['kept']} kept, {counts['recovered']} recovered, "
        f"{counts['skipped']} skipped; {counts['notes']:,} notes",
    )
    for status, label in (("recovered", "mended"), ("skipped", "skipped")):
        some = [outcome for outcome in outcomes if outcome.status == status]
        for outcome in some[:LISTED]:
            screen.say(label, f"{outcome.path}: {outcome.detail}")
        if len(some) > LISTED:
            screen.say(label, f"and {len(some) - LISTED} more")
    return corpus, outcomes


def show(data: DataConfig, report: Path | None, as_json: bool) -> None:
    """The `data` command: a table of outcomes by reason, the report, and with as_json one JSON object."""
    corpus, outcomes = read(data)
    reasons = collections.Counter((outcome.status, outcome.code) for outcome in outcomes)
    screen.table([(*reason, count) for reason, count in sorted(reasons.items())], ("status", "reason", "files"))
    cache = corpus_lib.cache_folder(data)
    if report is None and cache is not None:
        report = cache / "reports" / f"{corpus.fingerprint[:16]}.jsonl"
    if report is not None:
        write_report(outcomes, report)
        screen.say("report", str(report))
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


def require_same(data: Data, source: str, fingerprint: str, saved_source: str, workdir: Path) -> None:
    """Raises RunError if the data are not those that the run in the workdir was trained on."""
    if data.fingerprint != fingerprint:
        moved = f"config.data.source is {saved_source!r} there, {source!r} here"
        what = f"the files of {source} have changed" if source == saved_source else moved
        raise RunError(
            f"workdir {workdir} was trained on other data: {what}; "
            "set --config.data.source to the files it had, or use another --workdir"
        )


def require_notes(corpus: Corpus, outcomes: list[Outcome], source: str) -> None:
    """Raises RunError if no file gave notes."""
    if not len(corpus):
        first = outcomes[0]
        raise RunError(
            f"data source {source}: none of its {len(outcomes)} files gave notes ({first.path}: {first.detail}); "
            "expected MIDI files with notes; name another folder"
        )


def _say_if_stretched(corpus: Corpus, interval: np.ndarray, in_training: np.ndarray) -> None:
    """Names the file whose one long rest squeezes all other intervals, seconds [N], towards 0."""
    longest = int(np.argmax(np.where(in_training, interval, 0.0)))
    usual = float(np.percentile(interval[in_training], 99.9))
    if interval[longest] > OUTLIER * max(usual, 1e-3):
        name = corpus.names[int(np.searchsorted(corpus.offsets, longest, side="right")) - 1]
        screen.say(
            "interval",
            f"{name} rests for {interval[longest]:,.0f} s, and all intervals are scaled by it (99.9 % are below "
            f"{usual:.2g} s); without that file the model would learn time better",
        )


def _split(corpus: Corpus, data: DataConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts of training and validation windows, and which rows training sees, bool [N]."""
    from musicjax.training import windows as windows_lib  # here, so that the `data` command starts without JAX

    if data.split == "windows":
        train, validation = windows_lib.starts_of_list(len(corpus.notes), data.validation_fraction, data.window)
        in_training = np.arange(len(corpus.notes)) <= (train[-1] if len(train) else 0) + data.window
    else:
        held_out = corpus_lib.held_out(corpus, data)
        train, validation = windows_lib.starts_by_piece(corpus.offsets, held_out, data.window)
        in_training = ~np.repeat(held_out, np.diff(corpus.offsets))
    return train, validation, in_training

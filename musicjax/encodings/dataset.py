"""Corpus -> rows, what is learned of them and what is validated.

Shape legend: N rows, C columns, P pieces, W windows, T rows a window.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import config as config_lib
from musicjax import console
from musicjax.config import Config, DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import frame_sets
from musicjax.corpus import load as data_lib
from musicjax.corpus import split as split_lib
from musicjax.corpus.corpus import Corpus, Outcome
from musicjax.corpus.split import Music
from musicjax.errors import RunError, UsageError
from musicjax.music import note_bins, note_matrix, piano_roll
from musicjax.music.note_bins import Bins
from musicjax.music.note_matrix import Scaling
from musicjax.training import sequences as sequences_lib
from musicjax.training import windows as windows_lib
from musicjax.training.sequences import Lanes, Sequences, Tables
from musicjax.training.windows import Windows

# Column, lowest and highest number of the pitches that events may be moved to: the keys of a piano.
PITCHES = (note_bins.PITCH, 21, 108)
# Of more notes or frames it is said that looking for echoes takes its time.
MANY_ROWS = 1_000_000
# Tempos to either side of a piece's own that its training windows may get.
TEMPOS = 3
# A longest interval this many times above the 99.9th percentile is said.
OUTLIER = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """N rows of C columns, what is learned and what is validated of them.

    Attributes:
        training, validating: arrays on the host; of notes windows, of frames sequences and lanes.
        scaling: the constants the rows were scaled with.
        fingerprint: sha256 of the content.
        validation_pieces: how many pieces take part in the validation split.
        majority: agreement of always the same answer: of notes the commonest largest column of the training targets,
            of frames no key at all, of events the commonest bin of each column.
        outcomes: what became of each file.
        bins: of events.
        music: the pieces as notes; None where the source has frames alone.
    """

    training: Windows | Sequences
    validating: Windows | Lanes
    scaling: Scaling
    fingerprint: str
    validation_pieces: int
    majority: float
    outcomes: list[Outcome]
    bins: Bins | None = None
    music: Music | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How much is learned and validated, for a summary."""
        if isinstance(self.validating, Lanes):
            rows = "validation_frames" if self.bins is None else "validation_notes"
            validation = {rows: int(self.validating.weight.sum())}
        else:
            validation = {"validation_windows": len(self.validating.starts)}
        return {"train_windows": len(self.training.starts), **validation}

    def primers(self, chosen: np.ndarray, window: int) -> np.ndarray:
        """Rows of the training windows `chosen`, int [M]: float32 [M, T, C].

        Of frames they end at least two windows, or half of a shorter piece, before the piece does, so that there is
        something to go on with; what is missing before its beginning is silence. Of events they are whole windows of
        a piece, one too short for that over and over.
        """
        starts, rows = np.asarray(self.training.starts)[chosen], np.asarray(self.training.rows)
        if isinstance(self.training, Windows):
            return rows[starts[:, None] + np.arange(window)]
        first, end = (np.asarray(array)[chosen] for array in (self.training.first, self.training.end))
        if self.bins is not None:
            place = np.maximum(np.minimum(starts, end - window), first)[:, None] + np.arange(window)
            return rows[first[:, None] + (place - first[:, None]) % (end - first)[:, None]].astype(np.float32)
        latest = np.maximum(end - 2 * window, (first + end + 1) // 2) - window
        place = np.minimum(starts, latest)[:, None] + np.arange(window)
        inside = (place >= first[:, None])[..., None]
        return (rows[np.maximum(place, 0)] * inside).astype(np.float32)


def prepare(config: Config) -> Data:
    """Reads the source, splits it and scales it by its training part.

    Raises:
        RunError: nothing usable, or a split without a single window.
    """
    return {"notes": _of_notes, "frames": _of_frames, "events": _of_events}[config.data.encoding](config)


def _of_notes(config: Config) -> Data:
    corpus, outcomes = data_lib.load(config.data)
    columns = config_lib.columns(config)
    unscaled = np.concatenate([note_matrix.values(corpus.piece(p), columns) for p in range(len(corpus))])
    out = _held_out(corpus, config.data)
    train, validation, in_training = _split(corpus, config.data, out)
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
    console.say("windows", f"{len(train):,} train, {len(validation):,} validate, of {config.data.window} notes each")
    if short and config.data.split == "piece":
        console.say("windows", f"{short} of {len(corpus)} pieces are no longer than a window and give none")
    validating = len(np.unique(np.searchsorted(corpus.offsets, validation, side="right")))
    largest = rows.argmax(axis=1)
    commonest = np.bincount(largest[train + config.data.window]).argmax()
    majority = float((largest[validation + config.data.window] == commonest).mean())
    arrays: Any = (rows, train, validation)
    learned, validated = Windows(*arrays[:2]), Windows(*arrays[::2])
    music = split_lib.music_of(corpus, out)
    return Data(learned, validated, scaling, corpus.fingerprint, validating, majority, outcomes, music=music)


def _of_frames(config: Config) -> Data:
    data = config.data
    rolls = read_rolls(data)
    rows, echo = rows_of(rolls, data), data.echo or None
    learned = sequences_lib.windows(rows, rolls.offsets, rolls.split == 0, data.window, data.transpose, echo=echo)
    validated = sequences_lib.lanes(rows, rolls.offsets, rolls.split == 1)
    predicted = int(validated.weight.sum())
    for name, count in (("training", len(learned.starts)), ("validation", predicted)):
        if not count:
            raise RunError(f"data source {data.source}: no {name} piece of more than one frame; add files")
    columns, keys = config_lib.columns(config), rolls.frames.shape[1]
    console.say(
        "frames",
        f"{int(np.diff(rolls.offsets)[rolls.split == 0].sum()):,} train in {len(learned.starts):,} windows of up to "
        f"{data.window}, {predicted:,} validate; {data.per_beat} a quarter note, {keys} columns"
        f"{', and their echo' * (columns > keys)}",
    )
    pieces = int((rolls.split == 1).sum())
    scaling, silence = _unscaled(columns), _silence(validated, keys)
    return Data(learned, validated, scaling, rolls.fingerprint, pieces, silence, rolls.outcomes, music=rolls.music)


def _of_events(config: Config) -> Data:
    data = config.data
    corpus, outcomes = data_lib.load(data)
    out = _held_out(corpus, data)
    chosen = ~out
    if data.echo > 0:
        _say_if_many(len(corpus.notes), "notes")
    pieces = corpus.pieces
    bins = note_bins.learn([piece for piece, is_chosen in zip(pieces, chosen, strict=True) if is_chosen])
    made = [note_bins.encode(piece, bins, data.echo > 0) for piece in pieces]
    rows, nearest = (np.concatenate(parts) for parts in zip(*made, strict=True))
    learned = sequences_lib.windows(
        rows, corpus.offsets, chosen, data.window, data.transpose, PITCHES, tables_of(bins, data)
    )
    validated = sequences_lib.lanes(rows, corpus.offsets, out)
    predicted = int(validated.weight.sum())
    if not len(learned.starts) or not predicted:
        raise RunError(f"data source {data.source}: no training or validation piece of more than one note; add files")
    console.say(
        "events",
        f"{int(np.diff(corpus.offsets)[chosen].sum()):,} train in {len(learned.starts):,} windows of up to "
        f"{data.window}, {predicted:,} validate; bins: {len(bins.interval)} intervals, {len(bins.duration)} durations, "
        f"{len(bins.velocity)} velocities, {bins.steps_per_beat} steps a quarter note",
    )
    _say_nearest(nearest)
    majority = _commonest(rows[np.repeat(chosen, np.diff(corpus.offsets))], validated)
    columns = len(note_bins.COLUMNS)
    highest = tuple(float(size - 1) for size in note_bins.SIZES)
    scaling = Scaling((0.0,) * columns, (1.0,) * columns, (0.0,) * columns, highest)
    music = split_lib.music_of(corpus, out)
    return Data(learned, validated, scaling, corpus.fingerprint, int(out.sum()), majority, outcomes, bins, music)


def _say_if_many(rows: int, what: str) -> None:
    if rows > MANY_ROWS:
        console.say("echo", f"looking for echoes in {rows:,} {what}: about {rows // 60_000} s")


def tables_of(bins: Bins, data: DataConfig) -> Tables:
    """How training windows of events are changed."""
    ways = 2 * TEMPOS + 1 if data.tempo_percent else 1
    share = data.tempo_percent / 100
    tempos = [note_bins.scaled(bins, factor) for factor in np.linspace(1 - share, 1 + share, ways)]
    interval, duration = (np.stack(tables).astype(np.int32) for tables in zip(*tempos, strict=True))
    numbers = (note_bins.steps_of(bins)[0], bins.steps_per_bar, len(bins.velocity), data.louder)
    whole = (np.asarray(number, np.int32) for number in numbers)
    arrays: Any = (interval, duration, *whole, np.float32(data.echo))
    return Tables(*arrays)


def all_events(data: DataConfig, bins: Bins) -> tuple[Lanes, Music, float, str]:
    """(all pieces of a source, in bins from elsewhere; as notes, held out; majority; "all").

    Raises:
        RunError: no piece has two notes.
    """
    corpus, _ = data_lib.load(data, tests=True)
    made = [note_bins.encode(corpus.piece(p), bins, data.echo > 0) for p in range(len(corpus))]
    rows, nearest = (np.concatenate(parts) for parts in zip(*made, strict=True))
    lanes = sequences_lib.lanes(rows, corpus.offsets, np.ones(len(corpus), bool))
    if not lanes.weight.any():
        raise RunError(f"data {data.source}: no piece of more than one note; add files")
    _say_nearest(nearest)
    return lanes, split_lib.all_held_out(corpus), _commonest(rows, lanes), "all"


def _say_nearest(nearest: np.ndarray) -> None:
    """How many notes, bool [N], have a time or velocity for which only the nearest bin stands."""
    if nearest.any():
        count, share = int(nearest.sum()), nearest.mean()
        console.say(
            "events", f"{count:,} notes ({share:.1%}) have a time or velocity without a bin: the nearest is used"
        )


def _commonest(learned: np.ndarray, lanes: Lanes) -> float:
    """Agreement of the commonest bin of each predicted column, uint8 [M, C], with all that is to be predicted."""
    targets = np.asarray(lanes.rows)[np.asarray(lanes.seen)[np.asarray(lanes.weight) > 0] + 1]
    predicted = [column for column in range(learned.shape[1]) if column not in note_bins.GIVEN]
    shares = [(targets[:, column] == np.bincount(learned[:, column]).argmax()).mean() for column in predicted]
    return float(np.mean(shares))


def _unscaled(columns: int) -> Scaling:
    return Scaling((0.0,) * columns, (1.0,) * columns, (0.0,) * columns, (1.0,) * columns)


@dataclasses.dataclass(frozen=True, eq=False)
class Rolls:
    """Frames of P pieces, uint8 [N, C], end to end: piece p is frames[offsets[p]:offsets[p + 1]].

    split: int8 [P], 0 train, 1 validation, 2 test; fingerprint, outcomes and music as in `Data`.
    """

    frames: np.ndarray
    offsets: np.ndarray
    split: np.ndarray
    fingerprint: str
    outcomes: list[Outcome]
    music: Music | None = None


def read_rolls(data: DataConfig, held_out: bool = True) -> Rolls:
    """The frames of a source; a polyphonic one has its own split, of MIDI files a share validates.

    Args:
        held_out: False: of MIDI files all are in the training split.

    Raises:
        RunError: nothing usable.
    """
    if data.source.startswith("polyphonic:"):
        found = frame_sets.read(data.source)
        counts = corpus_lib.counts(found.outcomes)
        console.say("data", f"{data.source}: {counts['kept']} pieces kept, {counts['skipped']} skipped")
        for outcome in found.skipped[: data_lib.LISTED]:
            console.say("skipped", f"{outcome.path}: {outcome.detail}")
        return Rolls(found.frames, found.offsets, found.split, found.fingerprint, found.outcomes)
    corpus, outcomes = data_lib.load(data, tests=not held_out)
    made = [piano_roll.frames(corpus.piece(p), data.per_beat, data.onsets) for p in range(len(corpus))]
    left_out = sum(count for _, count in made)
    if left_out:
        console.say("left out", f"{left_out:,} of {len(corpus.notes):,} notes: not on the 88 keys of a piano")
    lengths = [len(frames) for frames, _ in made]
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    long_enough = np.array(lengths) > 1
    if not long_enough.all():
        console.say("frames", f"{int((~long_enough).sum())} of {len(corpus)} pieces have one frame or none: not used")
    out = split_lib.held_out(corpus, data, long_enough) if held_out else np.zeros(len(corpus), bool)
    every, split = np.concatenate([frames for frames, _ in made]), out.astype(np.int8)
    as_notes = split_lib.music_of(corpus, out) if held_out else split_lib.all_held_out(corpus)
    return Rolls(every, offsets, split, corpus.fingerprint, outcomes, as_notes)


def rows_of(rolls: Rolls, data: DataConfig) -> np.ndarray:
    """The frames uint8 [N, C], each with its echo if the config has it so."""
    if not data.echo:
        return rolls.frames
    _say_if_many(len(rolls.frames), "frames")
    return piano_roll.with_matches(rolls.frames, rolls.offsets)


def music(config: Config, fingerprint: str, workdir: Path) -> Music | None:
    """What a run was trained on, as notes; None where its source has frames alone. Downloads what is not here.

    Raises:
        RunError: the source is gone, or not what the run in the workdir was trained on.
    """
    data = config.data
    if data.encoding == "frames":
        rolls = read_rolls(data)
        require_same(rolls.fingerprint, data.source, fingerprint, data.source, workdir)
        return rolls.music
    corpus, _ = data_lib.load(data)
    require_same(corpus.fingerprint, data.source, fingerprint, data.source, workdir)
    return split_lib.music_of(corpus, _held_out(corpus, data))


def all_notes(data: DataConfig, scaling: Scaling) -> tuple[Windows, Music, float, str]:
    """(windows of all pieces, scaled with constants from elsewhere; the pieces, held out; majority; "all").

    Raises:
        RunError: no piece is longer than a window.
    """
    corpus, _ = data_lib.load(data, tests=True)
    rows = np.concatenate([note_matrix.encode(corpus.piece(p), scaling) for p in range(len(corpus))])
    starts, _ = windows_lib.starts_by_piece(corpus.offsets, np.zeros(len(corpus), bool), data.window)
    if not len(starts):
        raise RunError(f"data {data.source}: no piece of more than {data.window} notes; add files")
    shares = np.bincount(rows[starts + data.window].argmax(axis=1)) / len(starts)
    arrays: Any = (rows, starts)
    return Windows(*arrays), split_lib.all_held_out(corpus), float(shares.max()), "all"


def all_frames(data: DataConfig) -> tuple[Lanes, int, Music | None, float, str]:
    """(the test pieces of a polyphonic data set, or all of MIDI files; how many; as notes, held out; majority; which).

    Raises:
        RunError: no piece has two frames.
    """
    rolls, own = read_rolls(data, held_out=False), data.source.startswith("polyphonic:")
    chosen = rolls.split == (2 if own else 0)
    lanes = sequences_lib.lanes(rows_of(rolls, data), rolls.offsets, chosen)
    if not lanes.weight.any():
        raise RunError(f"data {data.source}: no piece of more than one frame; add files")
    return lanes, int(chosen.sum()), rolls.music, _silence(lanes, rolls.frames.shape[1]), "test" if own else "all"


def _silence(lanes: Lanes, keys: int) -> float:
    """Share of the keys of all frames to be predicted that are off."""
    return float(1 - np.asarray(lanes.rows)[np.asarray(lanes.seen)[np.asarray(lanes.weight) > 0] + 1, :keys].mean())


def require_same(found: str, source: str, fingerprint: str, saved_source: str, workdir: Path) -> None:
    """Raises RunError if the data of fingerprint `found` are not those that the run in the workdir was trained on."""
    if found != fingerprint:
        moved = f"config.data.source is {saved_source!r} there, {source!r} here"
        what = f"the files of {source} have changed" if source == saved_source else moved
        raise RunError(
            f"workdir {workdir} was trained on other data: {what}; "
            "set --config.data.source to the files it had, or use another --workdir"
        )


def _say_if_stretched(corpus: Corpus, interval: np.ndarray, in_training: np.ndarray) -> None:
    """Names the file whose one long rest squeezes all other intervals, seconds [N], towards 0."""
    longest = int(np.argmax(np.where(in_training, interval, 0.0)))
    usual = float(np.percentile(interval[in_training], 99.9))
    if interval[longest] > OUTLIER * max(usual, 1e-3):
        name = corpus.names[int(np.searchsorted(corpus.offsets, longest, side="right")) - 1]
        console.say(
            "interval",
            f"{name} rests for {interval[longest]:,.0f} s, and all intervals are scaled by it (99.9 % are below "
            f"{usual:.2g} s); without that file the model would learn time better",
        )


def _held_out(corpus: Corpus, data: DataConfig) -> np.ndarray:
    """Pieces of notes or events that only validate, bool [P]; none where windows are split, not pieces."""
    if data.split == "windows":
        return np.zeros(len(corpus), bool)
    long_enough = np.diff(corpus.offsets) > 1 if data.encoding == "events" else None
    return split_lib.held_out(corpus, data, long_enough)


def _split(corpus: Corpus, data: DataConfig, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts of training and validation windows, and which rows training sees, bool [N]; pieces held out, bool [P]."""
    if data.split == "windows":
        if split_lib.folders(corpus.names) is not None:
            raise UsageError(
                f"data source {data.source} has folders train/ and valid/, and config.data.split='windows': expected "
                "--config.data.split=piece, or the files in one folder"
            )
        train, validation = windows_lib.starts_of_list(len(corpus.notes), data.validation_fraction, data.window)
        in_training = np.arange(len(corpus.notes)) <= (train[-1] if len(train) else 0) + data.window
    else:
        train, validation = windows_lib.starts_by_piece(corpus.offsets, held_out, data.window)
        in_training = ~np.repeat(held_out, np.diff(corpus.offsets))
    return train, validation, in_training

"""The frames of a source, end to end: those of a polyphonic data set, or made of notes.

Shape legend: N frames, C columns, P pieces.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from musicjax import console
from musicjax.config import DataConfig, FramesData
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import load, split
from musicjax.corpus.corpus import Corpus, Fingerprint, Outcome
from musicjax.corpus.split import Music, Parts
from musicjax.errors import RunError
from musicjax.music import piano_roll
from musicjax.music.piano_roll import KEYS


@dataclasses.dataclass(frozen=True, eq=False)
class Rolls:
    """Frames of P pieces, uint8 [N, C], end to end: piece p is frames[offsets[p]:offsets[p + 1]].

    parts: what trains and validates, in a polyphonic data set also the test pieces, 2; fingerprint, outcomes and music
    as in `encoding.Dataset`.
    """

    frames: np.ndarray
    offsets: np.ndarray
    parts: Parts
    fingerprint: Fingerprint
    outcomes: list[Outcome]
    music: Music | None = None


def read_rolls(data: DataConfig, held_out: bool = True) -> Rolls:
    """The frames of a source. A polyphonic data set has its own split; of other music, a share of the pieces validates.

    Args:
        held_out: if False, all pieces of other music are in the training split.

    Raises:
        RunError: there is nothing usable.
    """
    if data.source.startswith("polyphonic:"):
        from musicjax.corpus import frame_sets  # not needed for MIDI files

        found = frame_sets.read(data.source)
        counts = corpus_lib.counts(found.outcomes)
        console.say("data", f"{data.source}: kept {counts['kept']} pieces, skipped {counts['skipped']}")
        name, _ = frame_sets.parse(data.source) or ("", None)
        _say_grid(name, frame_sets.PER_BEAT[name], data)
        for outcome in found.skipped[: load.LISTED]:
            console.say("piece", f"skipped {outcome.path}: {outcome.detail}")
        parts = split.whole_pieces(found.offsets, found.split)
        return Rolls(
            _narrowed(found.frames, data), found.offsets, parts, Fingerprint(found.fingerprint), found.outcomes
        )
    corpus, outcomes = load.load(data, tests=not held_out)
    own: FramesData = data.own
    made = [piano_roll.frames(corpus.piece(p), own.per_beat, own.onsets, own.keys) for p in range(len(corpus))]
    left_out = sum(count for _, count in made)
    if left_out:
        console.say("left out", f"{left_out:,} of {len(corpus.notes):,} notes that are not on the {named(own.keys)}")
    lengths = [len(frames) for frames, _ in made]
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    long_enough = np.array(lengths) > 1
    if not long_enough.all():
        console.say(
            "frames", f"{int((~long_enough).sum())} of {len(corpus)} pieces have one frame or none and are not used"
        )
    frames = np.concatenate([frames for frames, _ in made])
    if not held_out:
        parts = split.whole_pieces(offsets, np.full(len(corpus), split.TRAINING))
        return Rolls(frames, offsets, parts, corpus.fingerprint, outcomes, split.all_held_out(corpus))
    parts = split.parts(corpus, data, offsets, 1, "frames")
    music = split.music_of(corpus, _in_notes(parts, corpus, offsets, data.own.per_beat))
    return Rolls(frames, offsets, parts, corpus.fingerprint, outcomes, music)


def _say_grid(name: str, per_beat: int, data: DataConfig) -> None:
    """Says what becomes wrong if the config has another number of frames in a quarter note than the data set."""
    if per_beat != data.own.per_beat:
        wrong = "samples get another tempo" + ", and frames wrong places in the bar" * data.own.bar_position
        console.say(
            "grid",
            f"{name} has {console.counted(per_beat, 'frame')} a quarter note, the config has {data.own.per_beat}: "
            f"{wrong}; use --config.data.per_beat={per_beat}",
        )


def _in_notes(parts: Parts, corpus: Corpus, offsets: np.ndarray, per_beat: int) -> Parts:
    """The parts of frames as parts of the notes that begin in them; offsets: where the frames of each piece begin."""
    first = [
        corpus.offsets[piece]
        + np.searchsorted(corpus.piece(piece).onset_beats * per_beat, start - 0.5 - piano_roll.NEGLIGIBLE)
        for piece, start in zip(parts.piece.tolist(), parts.offsets[:-1] - offsets[parts.piece], strict=True)
    ]
    return dataclasses.replace(parts, offsets=np.append(first, corpus.offsets[-1]))


def _narrowed(frames: np.ndarray, data: DataConfig) -> np.ndarray:
    """The columns of the config's keys, of frames uint8 [N, 88].

    Raises:
        RunError: another key sounds in some frame.
    """
    keys = data.own.keys
    lowest = piano_roll.lowest_pitch(keys) - piano_roll.LOWEST_PITCH
    outside = int(np.delete(frames, np.s_[lowest : lowest + keys], axis=1).any(axis=1).sum())
    if outside:
        raise RunError(
            f"data source {data.source}: {console.counted(outside, 'frame')} with keys beyond the {named(keys)}; "
            "expected --config.data.keys=88, or enough for all of them"
        )
    return frames[:, lowest : lowest + keys]


def named(keys: int) -> str:
    """`keys` keys, as the console calls them."""
    lowest = piano_roll.lowest_pitch(keys)
    return "88 keys of a piano" if keys == KEYS else f"{keys} keys from pitch {lowest} to {lowest + keys - 1}"

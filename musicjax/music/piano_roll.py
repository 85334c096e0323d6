"""Notes <-> frames: which of the 88 piano keys, or of fewer, sound in each step of a beat grid.

Shape legend: N notes, F frames. A frame is 1 / per_beat of a quarter note; its columns are the keys
from A0 to C8, once ("sounds") or twice ("sounds", then "begins here", which keeps repeated notes apart).
"""

from __future__ import annotations

import numpy as np

from musicjax.music import longest_match
from musicjax.music.notes import Notes, from_beats

KEYS = 88
LOWEST_PITCH = 21
# Where the keys begin if there are fewer than a piano's, unless they would then end above the piano's: C1.
LOWEST_OF_FEWER = 24
# Half a day in sixteenths: a longer piece comes from a damaged time, and would take all memory.
MOST_FRAMES = 2**18
# In frames. A time this close below the middle of a frame lies there only because seconds and beats were rounded.
NEGLIGIBLE = 1e-6


def lowest_pitch(keys: int) -> int:
    """The MIDI pitch of the first of `keys` keys."""
    return min(LOWEST_OF_FEWER, LOWEST_PITCH + KEYS - keys)


def frames(notes: Notes, per_beat: int, onsets: bool = False, keys: int = KEYS) -> tuple[np.ndarray, int]:
    """Notes as frames of zeros and ones, MOST_FRAMES at most: it leaves out later notes, and cuts longer ones.

    Onsets and ends go to the nearest frame, from the middle upwards; a note lasts at least one frame. Notes
    of one key that overlap sound as one, in which each onset still shows.

    Args:
        notes: N notes, whose beats count.
        per_beat: frames per quarter note, at least 1.
        onsets: whether the columns of sounding are followed by as many columns of onsets.
        keys: how many, from `lowest_pitch` up.

    Returns:
        uint8 [F, keys, or twice as many], until the last note on the keys ends; and how many notes it left out, since
        they lie off the keys or too late.
    """
    _require_grid(per_beat)
    key = np.asarray(notes.pitch, np.int64) - lowest_pitch(keys)
    on_keys = (key >= 0) & (key < keys) & (notes.onset_beats * per_beat < MOST_FRAMES - 1)
    key = key[on_keys]
    start = _nearest(notes.onset_beats[on_keys] * per_beat)
    end = np.maximum(_nearest((notes.onset_beats + notes.duration_beats)[on_keys] * per_beat), start + 1)
    end = np.minimum(end, MOST_FRAMES)
    length = int(end.max(initial=0))
    changes = np.zeros((length + 1, keys), np.int32)
    np.add.at(changes, (start, key), 1)
    np.add.at(changes, (end, key), -1)
    sounds = (np.cumsum(changes[:length], axis=0) > 0).astype(np.uint8)
    left_out = len(notes) - len(key)
    if not onsets:
        return sounds, left_out
    begins = np.zeros_like(sounds)
    begins[start, key] = 1
    return np.concatenate([sounds, begins], axis=1), left_out


def with_matches(frames: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Frames of P pieces, uint8 [F, C], each with its longest match: uint8 [F, 2 C + 9].

    Piece p is frames[offsets[p]:offsets[p + 1]], offsets int [P + 1]. A frame's own columns come first, then those of
    the frame that followed the longest run like the last frames of the piece, then a one for each of
    `longest_match.LENGTHS` that the run reaches; zeros if there is no run.
    """
    codes = np.unique(frames, axis=0, return_inverse=True)[1].reshape(-1)
    made = []
    for first, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        followed, run = longest_match.of(codes[first:end])
        reached = run[:, None] >= np.array(longest_match.LENGTHS)
        made.append(np.concatenate([frames[first + followed] * reached[:, :1], reached], axis=1, dtype=np.uint8))
    return np.concatenate([frames, np.concatenate(made)], axis=1)


def with_positions(frames: np.ndarray, offsets: np.ndarray, frames_a_bar: int) -> np.ndarray:
    """Frames of P pieces, uint8 [F, C], each with its place in its bar, counted from 0: uint8 [F, C + digits].

    Piece p is frames[offsets[p]:offsets[p + 1]] and begins a bar, offsets int [P + 1]. The place is in binary digits,
    the lowest first, see `position_digits`.
    """
    place = np.arange(len(frames)) - np.repeat(offsets[:-1], np.diff(offsets))
    return np.concatenate([frames, position_digits(place, frames_a_bar)], axis=1)


def position_digits(place: np.ndarray, frames_a_bar: int) -> np.ndarray:
    """The places in their bars of frames counted from the beginning of a piece, negative before it: int [...] ->
    uint8 [..., digits], the lowest first."""
    digits = (place[..., None] % frames_a_bar) >> np.arange(position_columns(frames_a_bar)) & 1
    return digits.astype(np.uint8)


def position_columns(frames_a_bar: int) -> int:
    """How many binary digits every place in a bar needs."""
    return (frames_a_bar - 1).bit_length()


def notes_of(frames: np.ndarray, per_beat: int, bpm: float = 120.0, velocity: int = 80, keys: int = KEYS) -> Notes:
    """Frames as Notes, sorted by onset, then pitch; the inverse of `frames`.

    With as many columns as keys, a run of ones is one held note. With twice as many, a note begins at each onset, and
    where sounding begins without one; an onset without sounding sounds for its frame. Silence after the last note is
    lost, since no note holds it.

    Args:
        frames: [F, keys, or twice as many], zeros and ones of any type.
        per_beat: frames per quarter note, at least 1.
        bpm: quarter notes a minute.
        velocity: that of every note.
        keys: how many, from `lowest_pitch` up.

    Raises:
        ValueError: the frames have another width, or there is no such grid.
    """
    _require_grid(per_beat)
    marked = np.asarray(frames).astype(bool)
    if marked.ndim != 2 or marked.shape[1] not in (keys, 2 * keys):
        raise ValueError(f"frames of shape {list(marked.shape)}; expected [frames, {keys}] or [frames, {2 * keys}]")
    onset = marked[:, keys:] if marked.shape[1] == 2 * keys else np.zeros_like(marked)
    silence = np.zeros((1, keys), bool)
    sounds = np.concatenate([marked[:, :keys] | onset, silence])
    begins = np.concatenate([onset, silence]) | (sounds & ~np.concatenate([silence, sounds[:-1]]))
    is_last = sounds[:-1] & (~sounds[1:] | begins[1:])
    # Of each key, first and last frames alternate, so both lists have the notes in one order: by key, then onset.
    # Sorting by onset, stably, leaves those that begin together in the order of their pitch.
    key, start = np.nonzero(begins.T)
    _, last = np.nonzero(is_last.T)
    length = last - start + 1
    return from_beats(key + lowest_pitch(keys), np.full(len(key), velocity), start / per_beat, length / per_beat, bpm)


def held_notes(frames: np.ndarray) -> int:
    """How many runs of ones the keys of uint8 [F, 88] have."""
    return int(np.count_nonzero(frames[:1]) + np.count_nonzero(frames[1:] > frames[:-1]))


def _nearest(time: np.ndarray) -> np.ndarray:
    # Not rint: it goes to even numbers, so that a shift by one frame would change what is next to it.
    return np.floor(time + (0.5 + NEGLIGIBLE)).astype(np.int64)


def _require_grid(per_beat: int) -> None:
    if per_beat < 1 or per_beat != int(per_beat):
        raise ValueError(f"{per_beat} frames per beat; expected a whole number of at least 1")

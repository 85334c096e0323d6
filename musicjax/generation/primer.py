"""What an output continues: a MIDI file or a score, a melody in text, or a window of the training data.

Shape legend: K outputs, T rows of a window, C columns.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from musicjax import arguments, console
from musicjax.encodings.plan import Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.generation.request import HIGHEST_BPM, LOWEST_BPM
from musicjax.model import sample
from musicjax.music import copies, melody_text, music_file, splice
from musicjax.music.copies import Copy
from musicjax.music.notes import Notes
from musicjax.store.model import Model

# A continuation repeats its primer if one run of it makes up this share of the new notes and has this many notes. Of
# the last quarters of real songs, one in twelve (POP909) to one in six (pop_music_midi) repeats what comes before it.
REPEATED_SHARE, REPEATED_NOTES = 0.75, 16


def read(primer: str | Path, model: Model, name: str = "primer") -> Notes:
    """The notes of a MIDI file or score, read as the model's training data were, or of a melody in text.

    Args:
        name: what messages call it.

    Raises:
        UsageError: the text is not that of a melody, or it is no text.
        RunError: the file gives no notes, or several pieces.
    """
    if isinstance(primer, str) and melody_text.is_melody(primer):
        melody, velocity = melody_text.entries(primer), model.encoding.melody_velocity()
        return melody_text.notes_of(melody, velocity, model.encoding.tempo(None))
    path = arguments.path_of(name, primer, "Notes, the path of a MIDI file or score, or a melody such as '[60,-2,67]'")
    data = model.config.data
    read_as = functools.partial(music_file.read_one, path, percussion=data.percussion, sustain=data.sustain)
    try:
        piece, mended = read_as(tracks_apart=data.tracks == "apart")
    except RunError as error:
        raise RunError(f"{name} {error}") from error
    if mended:
        console.say(name, f"recovered {primer}: {mended}")
    if data.tracks == "apart":
        merged, _ = read_as(tracks_apart=False)
        moved = int((merged.program != piece.program).sum())
        if moved:
            get = console.counted(moved, "note gets", "notes get")
            console.say(name, f"{get} another program of the same family, since this model tells tracks apart")
    return piece


def rows(
    model: Model, keys: jax.Array, primer: Notes | None, params: Sequence[SamplingParams], plans: Sequence[Plan]
) -> np.ndarray:
    """The rows that each of K outputs continues, float32 [K, T, C].

    Args:
        primer: the same for all; None: a beginning, or windows of the training data, chosen by the outputs' keys.
    """
    begun = model.encoding.begin(plans) if primer is None else None
    if begun is not None:
        return begun
    if primer is None:
        windows = np.asarray(model.primers)
        fitting = {one: model.encoding.fitting(windows, one) for one in dict.fromkeys(params)}
        counts = np.array([len(fitting[one]) for one in params], np.int32)
        places = np.asarray(sample.choose(keys, counts)).tolist()
        chosen = [fitting[one][place] for one, place in zip(params, places, strict=True)]
        opening = model.encoding.opening(windows[chosen], params)
        return model.encoding.in_meter(opening, params)
    if len(keys) > 1 and all(one == params[0] for one in params) and not any(params[0].temperatures):
        console.say("primer", f"makes all {len(keys)} files the same: at --temperature=0 only the primer decides")
    if not len(primer):
        raise UsageError("primer without notes: expected at least one; name another")
    window = model.encoding.primer_of(primer, plans[0])
    return model.encoding.in_meter(np.broadcast_to(window, (len(keys), *window.shape)), params)


def tempo(model: Model, bpm: float | None, primer: Notes | None) -> float:
    """The tempo asked for, or else the primer's, or else the model's; quarter notes a minute."""
    if bpm is not None or primer is None or not len(primer):
        return model.encoding.tempo(bpm)
    own = min(max(primer.bpm, LOWEST_BPM), HIGHEST_BPM)
    limited = "" if own == primer.bpm else f", the nearest to its {primer.bpm:g}"
    console.say("primer", f"continues at its tempo, {own:g} quarter notes a minute{limited}")
    return own


def last_tempo(primer: Notes) -> float:
    """The tempo at the last note, quarter notes a minute, within what music may be asked for."""
    which = np.searchsorted(primer.tempos[:, 0], primer.onset_beats[-1:], side="right") - 1
    return float(np.clip(primer.tempos[np.maximum(which, 0), 1], LOWEST_BPM, HIGHEST_BPM)[0])


def continued(primer: Notes, piece: Notes, beat: float) -> Notes:
    """A primer, unchanged, and a piece whose first note begins on this beat of the primer; tempos and meters go on."""
    if not len(piece):
        return primer
    new = dataclasses.replace(piece, onset_beats=piece.onset_beats - piece.onset_beats[0] + beat)
    return splice.together(primer, new)


def shared(primer: Notes, continuations: Sequence[Notes], names: Sequence[str]) -> list[Copy]:
    """The longest run of notes that each continuation has in common with its primer; says how many repeat it.

    Args:
        continuations: the new notes alone.
    """
    known = copies.index([primer], ("the primer",))
    with console.each("copies", continuations, "pieces") as pieces:
        found = [copies.longest(piece, known) for piece in pieces]
    repeat = [
        (copy.length, len(piece), name)
        for copy, piece, name in zip(found, continuations, names, strict=True)
        if copy.length >= max(REPEATED_NOTES, REPEATED_SHARE * len(piece))
    ]
    if repeat:
        length, notes, name = max(repeat)
        verb = "repeats" if len(repeat) == 1 else "repeat"
        console.say(
            "copies",
            f"{len(repeat)} of {console.counted(len(found), 'continuation')} {verb} the primer: {length} of the "
            f"{notes} new notes of {name} are one run of it, transposed or not; raise --temperature for different ones",
        )
    return found

"""Checkpoint -> sample -> Notes -> MIDI files."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicjax.config import DataConfig
from musicjax.errors import RunError, UsageError
from musicjax.model import sample as sample_lib
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import DECODES, Limits, Past, Sampled
from musicjax.music import midi, note_matrix, piano_roll
from musicjax.music.note_matrix import Scaling
from musicjax.music.notes import Notes, from_seconds
from musicjax.run import checkpoint as checkpoint_lib
from musicjax.run import screen
from musicjax.run.checkpoint import Arrays
from musicjax.run.facts import Facts
from musicjax.training import trials as trials_lib

# Notes sampled at a time when a length in seconds is asked for, and the most that any output gets.
CHUNK_NOTES = 100
MOST_NOTES_PER_SECOND = 50
# Frames are counted in beats; this is the tempo they are written at.
BPM = 120.0


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """What generating needs of a run.

    Attributes:
        net, params: the network and the parameters chosen.
        deviation: float32 [C], standard deviation of the validation residual under these parameters.
        primers: float32 [M, T, C], windows of the training data.
        facts: config, scaling and the rest that was saved with them.
    """

    net: MusicLSTM
    params: dict
    deviation: jax.Array
    primers: jax.Array
    facts: Facts


def load(workdir: str | Path, which: str = "best") -> Model:
    """The model of a workdir: the "best" parameters by validation loss, or the "latest".

    Raises:
        UsageError: which is neither.
        RunError: no checkpoint, or one that cannot be restored.
    """
    check_which(which)
    arrays, facts = checkpoint_lib.restore(Path(workdir))
    best = which == "best"
    return Model(
        checkpoint_lib.network_of(facts.config),
        arrays.best_params if best else _latest_of_best(arrays, facts),
        arrays.best_deviation if best else arrays.deviation,
        arrays.primers,
        facts,
    )


def check_which(which: str) -> None:
    """Raises UsageError for a checkpoint that there never is."""
    if which not in ("best", "latest"):
        raise UsageError(f"checkpoint {which!r}: expected best or latest")


def check(
    num_outputs: int, num_notes: int, seconds: float, seed: int, temperature: float, decode: str = "auto"
) -> None:
    """Raises UsageError for a request out of range; num_notes or seconds is 0 where not asked for."""
    if decode not in ("auto", *DECODES):
        raise UsageError(f"decode={decode!r}: expected one of auto, {', '.join(DECODES)}")
    for name, value, low, high in (
        ("num_outputs", num_outputs, 0, 10_000),
        ("num_notes", num_notes, 0, 1_000_000),
        ("seconds", seconds, 0.0, 86_400.0),
        ("seed", seed, 0, 2**31 - 1),
        ("temperature", temperature, 0.0, 100.0),
    ):
        if not low <= value <= high:  # also refuses nan
            raise UsageError(f"{name}={value}: expected {low}..{high}")
    if bool(num_notes) == bool(seconds):
        raise UsageError(f"num_notes={num_notes}, seconds={seconds:g}: expected exactly one of the two lengths above 0")


def generate(
    model: Model | str | Path,
    *,
    num_outputs: int = 8,
    num_notes: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    temperature: float = 1.0,
    primer: Notes | str | Path | None = None,
    decode: str = "auto",
) -> list[Notes]:
    """New music, K = num_outputs pieces; piece k depends on seed and k, not on how many are asked for.

    Args:
        model: from `load`, or a workdir, whose best parameters are used.
        num_notes: length of each in notes, of a model of frames in frames; or
        seconds: length of each in seconds, notes that sound on are cut there.
        temperature: 0: the mean prediction; above: Gaussian noise of that many residual deviations.
        primer: notes, or a MIDI file, to go on from; None: windows of the training data, chosen by seed and k.
        decode: how the past is seen, one of `sample.DECODES`; auto: the fastest that predicts as was trained.

    Raises:
        UsageError: a value is out of range.
        RunError: the model or the primer cannot be read.
    """
    check(num_outputs, num_notes, seconds, seed, temperature, decode)
    model = model if isinstance(model, Model) else load(model)
    if num_outputs == 0:
        return []
    scaling = model.facts.scaling
    keys = sample_lib.output_keys(seed, num_outputs)
    limits = Limits(_lowest(scaling), jnp.asarray(scaling.high, jnp.float32), model.deviation)
    if primer is None:
        windows = model.primers[sample_lib.choose(keys, len(model.primers))]
    else:
        if temperature == 0 and num_outputs > 1:
            screen.say("primer", f"all {num_outputs} files will be the same: with --temperature=0 nothing else differs")
        window = _primer_window(primer if isinstance(primer, Notes) else read_primer(primer, model), model)
        windows = jnp.broadcast_to(window, (num_outputs, *window.shape))
    # Of the two that predict from windows, the staggered states were never slower for one output and never much slower
    # for many (benchmarks/results/*/sample.json).
    learned = ("carry",) if model.net.every else ("staggered", "window")
    decode = learned[0] if decode == "auto" else decode
    if decode not in learned:
        way = "with its state carried on" if model.net.every else "from windows alone"
        screen.say("decode", f"{decode}, but this model learned to predict {way}")
    more = functools.partial(
        sample_lib.sample, model.net, model.params, keys=keys, limits=limits, temperature=temperature, decode=decode
    )
    if seconds and model.net.every:
        num_notes = math.ceil(seconds * BPM / 60 * model.facts.config.data.per_beat)
    if num_notes:
        sampled = more(Past(windows), num_notes=num_notes)
        rows, clamped = np.asarray(sampled.rows), int(sampled.clamped.sum())
    else:
        rows, clamped = _rows_for_seconds(more, Past(windows), scaling, seconds)
    if clamped:
        screen.say("clamped", f"{clamped:,} of {rows.size:,} values to the range of the training data")
    if model.net.every:
        pieces = [piano_roll.notes_of(piece > 0.5, model.facts.config.data.per_beat, BPM) for piece in rows]
    else:
        pieces = [note_matrix.decode(piece, scaling) for piece in rows]
    return [_cut(piece, seconds) for piece in pieces] if seconds else pieces


def write(pieces: list[Notes], folder: Path, seed: int) -> list[Path]:
    """Writes piece k as seed<seed>-<k>.mid and returns the paths; says how many files it replaced.

    Raises:
        RunError: the folder or a file cannot be written.
    """
    prepare_folder(folder)
    paths = [folder / f"seed{seed}-{k:03d}.mid" for k in range(len(pieces))]
    replaced, left_out = sum(path.exists() for path in paths), 0
    for notes, path in zip(pieces, paths, strict=True):
        try:
            left_out += midi.write(notes, path)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}; name another folder") from error
    if replaced:
        screen.say("replaced", f"{replaced} of {len(paths)} files, which were written with this seed before")
    if left_out:
        screen.say("left out", f"{left_out} notes: more than 15 of one pitch at once")
    return paths


def prepare_folder(folder: Path) -> None:
    """Makes the folder and sees that it can be written; raises RunError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}; name another") from error


def read_primer(path: str | Path, model: Model) -> Notes:
    """The notes of a primer, read as the model's training data were; raises RunError if there are none."""
    try:
        return midi.read(path, percussion=model.facts.config.data.percussion)
    except (midi.MidiError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"primer {path} cannot be used: {reason}; expected a MIDI file with notes") from error


def _latest_of_best(arrays: Arrays, facts: Facts) -> dict:
    """The latest parameters, of the trial that is the best; raises RunError if they are not finite."""
    diverged = facts.trials[facts.best_trial].diverged
    if diverged:
        raise RunError(
            f"trial {facts.best_trial}, the best of this run, diverged at epoch {diverged}: "
            "its latest parameters are not finite; use --checkpoint=best"
        )
    if facts.config.train.trials == 1:
        return arrays.state.params
    return trials_lib.select(arrays.state.params, facts.best_trial)


def _lowest(scaling: Scaling) -> jax.Array:
    """What sampled rows are clamped to from below, float32 [C]: the training data's range, and no inaudible note."""
    low = np.asarray(scaling.low, np.float32)
    if len(low) == len(note_matrix.COLUMNS):
        low[3] = max(low[3], note_matrix.SHORTEST_SECONDS / scaling.span[3])
    return jnp.asarray(low)


def _primer_window(notes: Notes, model: Model) -> jax.Array:
    """The last T notes, or frames, as rows float32 [T, C], within the range of the training data."""
    if model.net.every:
        return _primer_frames(notes, model.facts.config.data)
    scaling, window = model.facts.scaling, model.facts.config.data.window
    rows = note_matrix.encode(notes, scaling)
    if len(rows) < window:
        screen.say("primer", f"{len(rows)} notes; repeated to fill the window of {window}")
        rows = np.tile(rows, (-(-window // len(rows)), 1))
    rows = rows[-window:]
    within = np.clip(rows, np.asarray(scaling.low, np.float32), np.asarray(scaling.high, np.float32))
    moved = int((within != rows).sum())
    if moved:
        screen.say("primer", f"{moved} of {rows.size} values clamped to the range of the training data")
    return jnp.asarray(within)


def _primer_frames(notes: Notes, data: DataConfig) -> jax.Array:
    """The last T frames, after silence where they are fewer."""
    frames, left_out = piano_roll.frames(notes, data.per_beat, data.onsets)
    if left_out:
        screen.say("primer", f"{left_out} notes left out: not on the 88 keys of a piano")
    if not len(frames):
        raise RunError("primer: none of its notes is on the 88 keys of a piano; expected some; take another primer")
    frames = frames[-data.window :]
    return jnp.asarray(np.pad(frames, ((data.window - len(frames), 0), (0, 0))), jnp.float32)


def _rows_for_seconds(
    more: Callable[..., Sampled], past: Past, scaling: Scaling, seconds: float
) -> tuple[np.ndarray, int]:
    """Rows [K, L, C], L enough for every output to pass `seconds` or to reach the most notes; and values clamped."""
    most = CHUNK_NOTES + int(MOST_NOTES_PER_SECOND * seconds)
    chunks: list[np.ndarray] = []
    clamped, reached = 0, np.zeros(len(past.windows))
    while reached.min() < seconds and len(chunks) * CHUNK_NOTES < most:
        first = len(chunks) * CHUNK_NOTES
        rows, moved, past = more(past, num_notes=CHUNK_NOTES, first_note=first)
        chunks.append(np.asarray(rows))
        clamped += int(moved.sum())
        reached += (chunks[-1][:, :, 2].astype(np.float64) * scaling.span[2] + scaling.shift[2]).clip(0).sum(axis=1)
    short = int((reached < seconds).sum())
    if short:
        screen.say(
            "length", f"{short} outputs end before {seconds:g} s, at the limit of {len(chunks) * CHUNK_NOTES:,} notes"
        )
    return np.concatenate(chunks, axis=1), clamped


def _cut(notes: Notes, seconds: float) -> Notes:
    inside = notes[notes.onset < seconds]
    duration = np.minimum(inside.duration, seconds - inside.onset)
    return from_seconds(inside.pitch, inside.velocity, inside.onset, duration)

"""Checkpoint -> sample -> Notes -> MIDI files."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.errors import RunError, UsageError
from musicjax.generation import polyphony, sound, trim
from musicjax.generation import request as request_lib
from musicjax.generation import sampling_params as setting_lib
from musicjax.generation import steering as steering_lib
from musicjax.generation.sampling_params import Setting
from musicjax.model import sample as sample_lib
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import Limits, Past
from musicjax.music import longest_match, midi, note_bins, note_matrix, piano_roll
from musicjax.music import melody_text as primer_lib
from musicjax.music.note_bins import Bins
from musicjax.music.note_matrix import Scaling
from musicjax.music.notes import Notes
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store.checkpoint import Arrays
from musicjax.store.metadata import Facts
from musicjax.training import trials as trials_lib

# Notes of a training window that a model of events goes on from, where there is no primer.
PRIMER_NOTES = 16
# Frames are counted in beats; this is the tempo they are written at, and that of a file whose notes tell none.
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


def generate(
    model: Model | str | Path,
    *,
    num_outputs: int = 8,
    num_notes: int = 0,
    seconds: float = 0.0,
    bars: float = 0.0,
    seed: int = 0,
    temperature: float | None = None,
    settings: Setting | Sequence[Setting] | None = None,
    bpm: float | None = None,
    primer: Notes | str | Path | None = None,
    decode: str = "auto",
    numbers: Sequence[int] | None = None,
) -> list[Notes]:
    """New music, K = num_outputs pieces; piece k depends on seed and k, not on how many are asked for.

    Args:
        model: from `load`, or a workdir, whose best parameters are used.
        num_notes: length of each in notes, of a model of frames in frames; or
        seconds: length of each in seconds, notes that sound on are cut there; or, of a model of events,
        bars: length of each in bars of four beats.
        temperature: 0: the mean prediction; above: Gaussian noise of that many residual deviations. Not given: 1.
        settings: of a model of events how outputs are drawn: one for all, or several that they take in turn.
        bpm: tempo of events, quarter notes a minute; None: their data's.
        primer: notes, a MIDI file or the text of a melody, to go on from; None: windows of the training data, chosen
            by seed and k, and moved to the pitches that a setting allows.
        decode: how the past is seen, one of `sample.DECODES`; auto: the fastest that predicts as was trained.
        numbers: the k of each piece, instead of 0 to K - 1.

    Raises:
        UsageError: a value is out of range.
        RunError: the model or the primer cannot be read.
    """
    request_lib.check(num_outputs, num_notes, seconds, bars, seed, decode, bpm)
    chosen = _settings(settings, temperature, num_outputs)
    model = model if isinstance(model, Model) else load(model)
    asked = {"settings": settings is not None, "bpm": bpm is not None, "bars": bars > 0}
    request_lib.require_events(model.facts.config.data.encoding, [name for name, given in asked.items() if given])
    if not model.facts.config.data.echo and any(setting.echo < setting_lib.LONGEST_ECHO for setting in chosen):
        console.say("echo", "this model was trained without one: what is asked of it changes nothing")
    if num_outputs == 0:
        return []
    numbers = range(num_outputs) if numbers is None else numbers
    if len(numbers) != num_outputs:
        raise UsageError(f"{len(numbers)} numbers for num_outputs={num_outputs}: expected one for each")
    keys = sample_lib.output_keys(seed, max(numbers) + 1)[np.asarray(numbers)]
    scaling, bins, echo = model.facts.scaling, model.facts.bins, model.facts.config.data.echo > 0
    if bins is not None and bpm is None:
        bpm = bins.bpm
    past, tempo = Past(_primers(model, keys, primer, chosen)), bpm or BPM
    more = functools.partial(
        sample_lib.sample,
        model.net,
        model.params,
        keys=keys,
        limits=Limits(_lowest(scaling), jnp.asarray(scaling.high, jnp.float32), model.deviation),
        temperature=chosen[0].temperature,
        decode=_decode(decode, model.net),
        steering=None if bins is None else steering_lib.steering(bins, chosen, echo),
    )
    seconds = bars * request_lib.BEATS_A_BAR * 60 / tempo if bars else seconds
    if seconds > (most := request_lib.MOST_SECONDS):
        raise UsageError(f"bars={bars:g} at bpm={tempo:g} last {seconds:,.0f} seconds: expected at most {most:,.0f}")
    if seconds and model.facts.config.data.encoding == "frames":
        num_notes = math.ceil(seconds * BPM / 60 * model.facts.config.data.per_beat)
    if num_notes:
        sampled = more(past, num_notes=num_notes)
        rows, clamped = np.asarray(sampled.rows), int(sampled.clamped.sum())
    else:
        rows, clamped = trim.rows_for_seconds(more, past, model.facts, seconds, tempo)
    if clamped:
        console.say("clamped", f"{clamped:,} of {rows.size:,} values to the range of the training data")
    pieces = [_notes(piece, model, tempo) for piece in rows]
    pieces = polyphony.limited_each(pieces, [setting.polyphony for setting in chosen])
    return [trim.cut(piece, seconds) for piece in pieces] if seconds else pieces


def _settings(
    settings: Setting | Sequence[Setting] | None, temperature: float | None, outputs: int
) -> tuple[Setting, ...]:
    """One for each output; raises UsageError for those out of range."""
    if settings is not None and temperature is not None:
        raise UsageError(f"temperature={temperature} beside settings: expected it in the settings")
    several = [settings] if isinstance(settings, Setting) else settings
    if several is None:
        several = [Setting(temperature=1.0 if temperature is None else temperature)]
    if outputs and not several:
        raise UsageError("settings: expected at least one")
    for setting in several:
        setting_lib.check(setting)
    return tuple(several[k % len(several)] for k in range(outputs))


def _decode(decode: str, net: MusicLSTM) -> str:
    """How the past is seen; what the model did not learn is done, and said.

    Of the two that predict from windows, the staggered states were never slower for one output and never much slower
    for many (benchmarks/results/*/sample.json).
    """
    learned = ("carry",) if net.every else ("staggered", "window")
    decode = learned[0] if decode == "auto" else decode
    if decode not in learned:
        way = "with its state carried on" if net.every else "from windows alone"
        console.say("decode", f"{decode}, but this model learned to predict {way}")
    return decode


def _primers(
    model: Model, keys: jax.Array, primer: Notes | str | Path | None, settings: Sequence[Setting]
) -> jax.Array:
    """What each output goes on from, float32 [K, T, C]."""
    if primer is None:
        windows = model.primers[sample_lib.choose(keys, len(model.primers))]
        if model.facts.bins is None:
            return windows
        return jnp.asarray(steering_lib.fitted(np.asarray(windows[:, -PRIMER_NOTES:]), settings))
    if len(keys) > 1 and len(set(settings)) == 1 and not any(settings[0].temperatures):
        console.say("primer", f"all {len(keys)} files will be the same: with --temperature=0 nothing else differs")
    notes = primer if isinstance(primer, Notes) else read_primer(primer, model)
    if not len(notes):
        raise UsageError("primer without notes: expected some")
    window = _primer_window(notes, model)
    return jnp.broadcast_to(window, (len(keys), *window.shape))


def _notes(rows: np.ndarray, model: Model, bpm: float) -> Notes:
    """Sampled rows [L, C] as Notes; of events at this tempo."""
    if model.facts.bins is not None:
        return note_bins.decode(rows, model.facts.bins, bpm)
    if model.net.every:
        return piano_roll.notes_of(rows[:, : model.net.predicted] > 0.5, model.facts.config.data.per_beat, BPM)
    return note_matrix.decode(rows, model.facts.scaling)


def names(seed: int, count: int) -> list[str]:
    """What pieces 0 to count - 1 of a seed are called, and their files."""
    return [f"seed{seed}-{k:03d}" for k in range(count)]


def write(pieces: list[Notes], folder: Path, seed: int, program: int = 0) -> list[Path]:
    """Writes piece k under its name in `names` and returns the paths; says how many files it replaced.

    Args:
        program: General MIDI number, 0 (piano) to 127.

    Raises:
        RunError: the folder or a file cannot be written.
    """
    prepare_folder(folder)
    paths = [folder / f"{name}.mid" for name in names(seed, len(pieces))]
    replaced, left_out = sum(path.exists() for path in paths), 0
    for notes, path in zip(pieces, paths, strict=True):
        try:
            sound.remove_old(path)
            left_out += midi.write(notes, path, bpm=_bpm(notes), programs=(program,))
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}; name another folder") from error
    if replaced:
        console.say("replaced", f"{replaced} of {len(paths)} files, which were written with this seed before")
    if left_out:
        console.say("left out", f"{left_out} notes: more than 15 of one pitch at once")
    return paths


def _bpm(notes: Notes) -> float:
    """The tempo that the notes' seconds and beats tell."""
    if not len(notes) or notes.onset[-1] <= 0:
        return BPM
    bpm = float(60 * notes.onset_beats[-1] / notes.onset[-1])
    return bpm if request_lib.LOWEST_BPM <= bpm <= request_lib.HIGHEST_BPM else BPM


def prepare_folder(folder: Path) -> None:
    """Makes the folder and sees that it can be written; raises RunError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}; name another") from error


def read_primer(path: str | Path, model: Model) -> Notes:
    """The notes of a primer, read as the model's training data were.

    Raises:
        UsageError: it is the text of a melody, and wrong.
        RunError: it is a file that gives no notes.
    """
    if primer_lib.is_melody(str(path)):
        bins = model.facts.bins
        loudness = {} if bins is None else {"velocity": bins.velocity[len(bins.velocity) // 2]}
        return primer_lib.notes_of(primer_lib.entries(str(path)), **loudness)
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
    if model.facts.bins is not None:
        return _primer_events(notes, model.facts.bins, model.facts.config.data)
    if model.net.every:
        return _primer_frames(notes, model.facts.config.data)
    scaling, window = model.facts.scaling, model.facts.config.data.window
    rows = note_matrix.encode(notes, scaling)
    if len(rows) < window:
        console.say("primer", f"{len(rows)} notes; repeated to fill the window of {window}")
        rows = np.tile(rows, (-(-window // len(rows)), 1))
    rows = rows[-window:]
    within = np.clip(rows, np.asarray(scaling.low, np.float32), np.asarray(scaling.high, np.float32))
    moved = int((within != rows).sum())
    if moved:
        console.say("primer", f"{moved} of {rows.size} values clamped to the range of the training data")
    return jnp.asarray(within)


def _primer_frames(notes: Notes, data: DataConfig) -> jax.Array:
    """The last T frames, after silence where they are fewer; with echoes as many as those reach back."""
    frames, left_out = piano_roll.frames(notes, data.per_beat, data.onsets)
    if left_out:
        console.say("primer", f"{left_out} notes left out: not on the 88 keys of a piano")
    if not len(frames):
        raise RunError("primer: none of its notes is on the 88 keys of a piano; expected some; take another primer")
    rows, most = frames, data.window
    if data.echo:
        rows, most = piano_roll.with_matches(frames, np.array([0, len(frames)])), max(data.window, longest_match.REACH)
    return jnp.asarray(np.pad(rows[-most:], ((max(data.window - len(rows), 0), 0), (0, 0))), jnp.float32)


def _primer_events(notes: Notes, bins: Bins, data: DataConfig) -> jax.Array:
    """The last notes as rows of bins, as many as an echo reaches back."""
    rows, nearest = note_bins.encode(notes, bins, data.echo > 0)
    if nearest.any():
        console.say(
            "primer", f"{int(nearest.sum())} of {len(rows)} notes have no bin of their own: the nearest is used"
        )
    return jnp.asarray(rows[-longest_match.REACH :], jnp.float32)

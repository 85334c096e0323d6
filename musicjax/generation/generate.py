"""Model -> sample -> Notes -> MIDI files."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from musicjax import console, jax_environment, renamed
from musicjax.encodings.plan import Length, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.generation import ending_pieces, takes
from musicjax.generation import primer as primer_lib
from musicjax.generation import request as request_lib
from musicjax.model import sample as sample_lib
from musicjax.model.sample import Past, Sampled
from musicjax.music import midi, splice
from musicjax.music import notes as notes_lib
from musicjax.music.notes import COLUMNS, DRUMS, Notes
from musicjax.store import model as model_lib
from musicjax.store.model import Model

# How many notes are sampled at a time; for a length in seconds, the most notes that an output gets each second. Chunks
# are not fitted to the length: the surplus notes take a tenth of a second, compiling for another length takes ten.
CHUNK_NOTES = 100
MOST_NOTES_PER_SECOND = 50
# The length in notes if none is given, and a number above any count of things to choose from.
NOTES_IF_NO_LENGTH, MANY = 300, 2**30

OnPart = Callable[[int, Notes], object]  # the number of an output, its music so far
OnRows = Callable[[int, np.ndarray], object]  # the same as rows, [L, C]
OnChunks = Callable[[list[np.ndarray]], object]  # all rows of all outputs so far, [K, L, C] each


@renamed.takes_old_keywords
def generate(
    model: Model | str | Path,
    *,
    num_outputs: int = 8,
    num_notes: int = 0,
    seconds: float = 0.0,
    bars: float = 0.0,
    beats: float = 0.0,
    exact: bool = False,
    seed: int = 0,
    temperature: float | None = None,
    sampling: SamplingParams | Sequence[SamplingParams] | None = None,
    bpm: float | None = None,
    primer: Notes | str | Path | None = None,
    decode: str = "auto",
    numbers: Sequence[int] | None = None,
    keep: bool = False,
) -> list[Notes]:
    """K = num_outputs pieces of new music; piece k depends on the seed and k, not on how many are asked for.

    Args:
        model: from `store.model.load`, or a workdir, whose best parameters are used.
        num_notes: length of each piece in notes, or in frames for a frame model. If no length is given: that of a
            training piece for a note-event model, 300 notes or frames for others.
        seconds: instead, the length in seconds; notes that would sound longer are cut.
        bars, beats: instead, for a note-event model, the length in bars of its meter, or in quarter notes.
        exact: whether a note-event model's music is cut off there; else it ends with a bar, a few notes more or less.
        temperature: 0: the likeliest, or for the paper's models the mean prediction; above: more varied. None: that
            of the run's config.
        sampling: for a note-event model, how outputs are drawn: one for all, or several that are used in turn.
            None: as the run's config says.
        bpm: tempo of note events, quarter notes a minute; None: that of the primer, or else of the training data.
        primer: what to continue: notes, a MIDI file or score, or a melody in text; None: windows of the training data,
            chosen by seed and k, and moved to the pitches that the output may draw.
        keep: whether each piece begins with the primer, unchanged, and continues it in its tempo, meter and key; the
            length is that of the continuation. For a note-event model with form.
        decode: how the model sees the past, one of `sample.DECODES`; auto: the fastest that predicts as in training.
        numbers: the k of each piece, instead of 0 to K - 1.

    Raises:
        UsageError: a value is of another type or out of range, or JAX has settings that musicjax cannot work with.
        RunError: the model or the primer cannot be read.
    """
    length = Length(num_notes, seconds, bars, beats, exact)
    request_lib.check(num_outputs, length, seed, decode, bpm, numbers)
    params = request_lib.sampling_of(sampling, temperature, num_outputs)
    if exact and any(one.best_of > 1 for one in params):
        raise UsageError("best_of and exact=True: expected one of them; only pieces that end are compared")
    if keep:
        request_lib.require_keepable(primer, bpm)
        request_lib.require_own_key(params, "keep")
    if isinstance(primer, Notes):
        notes_lib.check(primer, "primer")
    jax_environment.require()
    model = model if isinstance(model, Model) else model_lib.load(model)
    params = request_lib.as_config(params, model.config.sample, sampling, temperature)
    asked = {"sampling": sampling is not None, "bpm": bpm is not None, "bars": bars > 0, "beats": beats > 0}
    request_lib.require_controls(model.encoding, [name for name, given in asked.items() if given])
    need_form = {
        "keep": keep,
        "instruments": any(one.instruments for one in params),
        "best_of": any(one.best_of > 1 for one in params),
    }
    request_lib.require_form(model.encoding, [name for name, given in need_form.items() if given])
    notes = primer if isinstance(primer, Notes) or primer is None else primer_lib.read(primer, model)
    return new_pieces(model, params, length, seed, notes, bpm, decode, numbers, keep)


def new_pieces(
    model: Model,
    params: Sequence[SamplingParams],
    length: Length,
    seed: int,
    primer: Notes | None = None,
    bpm: float | None = None,
    decode: str = "auto",
    numbers: Sequence[int] | None = None,
    keep: bool = False,
    on_part: OnPart | None = None,
) -> list[Notes]:
    """`generate` with arguments that are checked already: a piece for each of the sampling parameters.

    Args:
        on_part: called with k and the music of output k so far, while there is more to come. An output that the model
            does not end starts again, and so does its music. An exception that `on_part` raises ends everything.

    Raises:
        UsageError: the primer has no notes, the model never saw the meter, or bars at this tempo last too long.
    """
    if not params:
        return []
    numbers = range(len(params)) if numbers is None else numbers
    keys = sample_lib.output_keys(seed, numbers)
    tempo = primer_lib.tempo(model, primer_lib.last_tempo(primer) if keep and primer is not None else bpm, primer)
    choices = np.asarray(sample_lib.choose(keys, np.full(len(params), MANY, np.int32)))
    plans = model.encoding.plans(params, choices, length, tempo, primer)
    if not any(length.measured):
        length = length._replace(num_notes=NOTES_IF_NO_LENGTH)
    more = functools.partial(
        sample_lib.sample,
        model.network,
        model.params,
        keys=keys,
        limits=model.encoding.limits(),
        draw=model.encoding.draw(params, model.deviation, plans),
        decode=_decode(decode, model),
    )
    windows = primer_lib.rows(model, keys, primer, params, plans)
    wanted = [length.in_seconds(tempo, bar) for bar in model.encoding.beats_per_bar(windows).tolist()]
    wanted = [0.0] * len(plans) if plans[0].ends else wanted

    def on_rows(k: int, rows: np.ndarray) -> None:
        if on_part is not None:
            one = slice(k, k + 1)
            on_part(k, _music(model, [rows], plans[one], params[one], wanted[one], tempo, primer, keep)[0])

    told = None if on_part is None else on_rows
    if plans[0].ends:
        rows = ending_pieces.rows(model, params, plans, keys, windows, _decode(decode, model), told)
    else:
        past = Past(jax.device_put(windows))
        rows = list(_rows(more, past, model, length.num_notes, np.array(wanted), tempo, told))
    return _music(model, rows, plans, params, wanted, tempo, primer, keep)


def _music(
    model: Model,
    rows: Sequence[np.ndarray],
    plans: Sequence[Plan],
    params: Sequence[SamplingParams],
    seconds: Sequence[float],
    tempo: float,
    primer: Notes | None,
    keep: bool,
) -> list[Notes]:
    """The music of K outputs, or of what there is of them by now.

    Args:
        rows: [L, C] each.
        seconds: how long each may be; 0: no limit.
        tempo, primer, keep: as `new_pieces` has them.
    """
    pieces = [model.encoding.decode(piece, tempo, plan) for piece, plan in zip(rows, plans, strict=True)]
    if primer is not None:
        pieces = model.encoding.placed(pieces, primer)
    if any(seconds) or any(one.polyphony for one in params):
        from musicjax.generation import trim  # not needed for a length in notes

        pieces = trim.each(pieces, [one.polyphony for one in params], seconds)
    if keep and primer is not None:
        follows = model.encoding.follows(np.stack([piece[:1] for piece in rows]), primer).tolist()
        pieces = [primer_lib.continued(primer, piece, beat) for piece, beat in zip(pieces, follows, strict=True)]
    return pieces


def _decode(decode: str, model: Model) -> str:
    """How the model sees the past. It may be a way that the model did not learn, and then the console says so.

    Of the two ways that predict from windows, staggered states were never slower for one output and never much slower
    for many (benchmarks/results/*/sample.json).
    """
    learned = model.encoding.decodes
    if decode != "auto" and decode not in learned:
        console.say("decode", f"{decode}, but this model was trained to predict with {' or '.join(learned)}")
    return learned[0] if decode == "auto" else decode


def _rows(
    more: Callable[..., Sampled],
    past: Past,
    model: Model,
    num_notes: int,
    seconds: np.ndarray,
    bpm: float,
    on_rows: OnRows | None,
) -> np.ndarray:
    """Rows [K, L, C]: L is num_notes, or enough for every output to last its `seconds` [K]. Says what it clamped.

    Args:
        on_rows: called with an output and its rows so far, [L, C], whenever there are more.
    """

    def on_chunks(chunks: list[np.ndarray]) -> None:
        if on_rows is not None:
            for k, rows in enumerate(np.concatenate(chunks, axis=1)):
                on_rows(k, rows)

    rows_wanted = num_notes or model.encoding.rows_of(float(seconds.max()), bpm)
    if rows_wanted:
        rows, clamped = _rows_for_count(more, past, model, rows_wanted, on_chunks)
    else:
        rows, clamped = _rows_for_seconds(more, past, model, seconds, bpm, on_chunks)
    if clamped:
        console.say(
            "clamped", f"{clamped:,} of {console.counted(rows.size, 'value')} to the range of the training data"
        )
    return rows


def _rows_for_count(
    more: Callable[..., Sampled], past: Past, model: Model, count: int, on_chunks: OnChunks
) -> tuple[np.ndarray, int]:
    """(rows [K, L, C], L = count; how many values were clamped)."""
    length = min(count, CHUNK_NOTES)
    chunks: list[np.ndarray] = []
    clamped = 0
    with console.bar("sampling", count, unit=model.encoding.row_name) as update:
        for first in range(0, count, length):
            rows, moved, past = more(past, num_notes=length, first_note=first)
            wanted = min(length, count - first)
            chunks.append(np.asarray(rows)[:, :wanted])
            clamped += int(np.asarray(moved)[:, :wanted].sum())
            on_chunks(chunks)
            update(first + wanted)
    return np.concatenate(chunks, axis=1), clamped


def _rows_for_seconds(
    more: Callable[..., Sampled], past: Past, model: Model, seconds: np.ndarray, bpm: float, on_chunks: OnChunks
) -> tuple[np.ndarray, int]:
    """(rows [K, L, C] that last as long as `seconds` [K], or the most notes; how many values were clamped)."""
    most, longest = CHUNK_NOTES + int(MOST_NOTES_PER_SECOND * seconds.max()), math.ceil(seconds.max())
    chunks: list[np.ndarray] = []
    clamped, reached = 0, np.zeros(len(past.windows))
    with console.bar("sampling", longest, unit="seconds") as update:
        while (reached < seconds).any() and len(chunks) * CHUNK_NOTES < most:
            rows, moved, past = more(past, num_notes=CHUNK_NOTES, first_note=len(chunks) * CHUNK_NOTES)
            chunks.append(np.asarray(rows))
            on_chunks(chunks)
            clamped += int(np.asarray(moved).sum())
            reached += model.encoding.row_seconds(chunks[-1], bpm, begins=len(chunks) == 1).sum(axis=1)
            update(int(min(reached.min(), longest)))
    short = int((reached < seconds).sum())
    if short:
        limit = len(chunks) * CHUNK_NOTES
        end, wanted = console.counted(short, "output ends", "outputs end"), seconds[reached < seconds].max()
        console.say("length", f"{end} before {wanted:g} s, at the limit of {limit:,} notes")
    return np.concatenate(chunks, axis=1), clamped


def write(
    pieces: list[Notes],
    folder: Path,
    seed: int,
    program: int | None = None,
    given: Notes | None = None,
    whole_bars: bool = False,
    replaces: bool = False,
) -> list[Path]:
    """Writes piece k under its name in `takes.names` and returns the paths.

    Args:
        program: General MIDI number 0..127 for all notes but drums, or DRUMS for all notes; None: the notes' own.
        given: a piece that is kept in all of them, whose times are not rounded.
        whole_bars: whether each file lasts until the end of the bar in which its last note begins.
        replaces: whether files with other music are replaced; otherwise this is another take. Says which it does.

    Raises:
        RunError: the folder or a file cannot be written.
    """
    prepare_folder(folder)
    ticks = splice.RESOLUTIONS[0] if given is None else splice.ticks_per_beat(given)

    def write_one(k: int, path: Path) -> int:
        notes = pieces[k]
        end_beat = splice.bar_lines(notes)[-1] if whole_bars and len(notes) else 0.0
        return write_file(played_by(program, notes), path, ticks, end_beat)

    try:
        take = 1 if replaces else takes.free(folder, seed, len(pieces), write_one)
    except OSError as error:
        raise RunError(f"files in {folder} cannot be compared: {error.strerror}; name another folder") from error
    paths = [folder / f"{name}.mid" for name in takes.names(seed, len(pieces), take)]
    replaced = sum(path.exists() for path in paths)
    if replaces and replaced:
        console.say(
            "replaced", f"{replaced} of {console.counted(len(paths), 'file')} that an earlier call with this seed wrote"
        )
    if take > 1:
        console.say(
            "take",
            f"{take} of seed {seed}: {folder} has other music in earlier takes; this take begins with {paths[0].name}",
        )
    left_out = sum(write_one(k, path) for k, path in enumerate(paths))
    different = {tuple(getattr(notes, name).tobytes() for name in COLUMNS) for notes in pieces if len(notes)}
    same = sum(len(notes) > 0 for notes in pieces) - len(different)
    if same:
        hold = "holds" if same == 1 else "hold"
        console.say(
            "same", f"{same} of {len(paths)} files {hold} the same notes as another; raise --temperature for variety"
        )
    empty = sum(not len(notes) for notes in pieces)
    if empty:
        console.say("empty", f"{empty} of {console.counted(len(paths), 'file')}: no note begins in so short a time")
    if left_out:
        console.say("left out", f"{console.counted(left_out, 'note')}: more of one pitch at once than a file can hold")
    return paths


def write_file(notes: Notes, path: Path, ticks_per_beat: int, end_beat: float = 0.0) -> int:
    """`midi.write`; also removes a sound file of this name, which would have other music. Raises RunError."""
    try:
        for suffix in request_lib.AUDIO_KINDS:
            path.with_suffix(f".{suffix}").unlink(missing_ok=True)
        return midi.write(notes, path, ticks_per_beat=ticks_per_beat, end_beat=end_beat)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another folder") from error


def played_by(program: int | None, notes: Notes) -> Notes:
    """The notes, all but the drums with this program; None: as they are."""
    if program is None:
        return notes
    return dataclasses.replace(notes, program=np.where(notes.program == DRUMS, DRUMS, program).astype(np.int16))


def prepare_folder(folder: Path) -> None:
    """Makes the folder and checks that it can be written; raises RunError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}; name another folder") from error

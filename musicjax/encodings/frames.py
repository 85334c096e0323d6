"""Frames: a row is the 88 piano keys at one step of the beat, zeros and ones. See `music.piano_roll` for the rows.

Every row of a window is a target. A row may also show the longest match: what followed the longest earlier run of
frames that equals the last ones, and how long that run is.

Shape legend: N rows, C columns, P pieces, B windows, T rows a window, G or K outputs, M rows of a piece or primers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax import console, jax_environment
from musicjax.config import Config, DataConfig, FramesData, FramesModel
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import load, split
from musicjax.corpus.corpus import Corpus, Fingerprint, Outcome
from musicjax.corpus.split import Music, Parts
from musicjax.encodings.encoding import BPM, Dataset, Encoding, Scored
from musicjax.encodings.plan import UNPLANNED, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.model import heads, running_match
from musicjax.model.biaxial import TiedLSTM
from musicjax.model.network import MusicLSTM, Network
from musicjax.model.note_axis import NoteLSTM, TiedNade
from musicjax.model.sample import Draw, HeadDraw, Limits
from musicjax.music import longest_match, nearest, piano_roll
from musicjax.music.note_bins import GRID_TOLERANCE_BEATS
from musicjax.music.notes import Notes
from musicjax.music.piano_roll import KEYS
from musicjax.training import sequences
from musicjax.training.sequences import Streams
from musicjax.training.windows import Validation

# Quarter notes in a bar. Frames do not know their meter, so every bar has four.
BEATS_A_BAR = 4
# The heads that read what a tied LSTM gives for every key.
TIED = ("note_lstm", "tied_nade")


def make(config: Config, learned: Mapping[str, Any] | None) -> FrameEncoding:
    """The encoding; it learns no constants."""
    return FrameEncoding(config)


@dataclasses.dataclass(frozen=True, eq=False)
class FrameEncoding(Encoding):
    """See `encoding.Encoding`."""

    config: Config
    decodes: ClassVar[tuple[str, ...]] = ("carry",)
    has_controls: ClassVar[bool] = False
    row_name: ClassVar[str] = "frames"

    @property
    def _own(self) -> FramesData:
        return self.config.data.own

    @property
    def _keys(self) -> int:
        """Columns of a frame itself."""
        return 2 * KEYS if self._own.onsets else KEYS

    @property
    def _match_lengths(self) -> tuple[int, ...]:
        return longest_match.LENGTHS if self._own.match_share else ()

    @property
    def _frames_a_bar(self) -> int:
        return BEATS_A_BAR * self._own.per_beat

    @property
    def _position(self) -> int:
        """Columns that tell the place in the bar, the last of a row."""
        return piano_roll.position_columns(self._frames_a_bar) if self._own.bar_position else 0

    @property
    def _columns(self) -> int:
        matched = self._keys + len(self._match_lengths) if self._match_lengths else 0
        return self._keys + matched + self._position

    @property
    def basis(self) -> dict[str, Any]:
        """As `Encoding.basis`."""
        own: FramesModel = self.config.model.own
        has_units = own.head not in ("regression", "bernoulli")
        head = {"model.head": own.head, "model.head_units": own.head_units if has_units else None}
        rows = {name: getattr(self._own, name) for name in ("per_beat", "onsets", "bar_position")}
        rows = {f"data.{name}": value for name, value in rows.items()}
        return super().basis | head | rows | {"data.match_share": bool(self._own.match_share)}

    @property
    def measures(self) -> tuple[str, ...]:
        """As `Encoding.measures`."""
        return ("nats_per_frame",)

    def network(self) -> Network:
        """As `Encoding.network`."""
        jax_environment.require_settings()
        model = self.config.model
        fields: dict[str, Any] = {
            "units": model.units,
            "columns": self._columns,
            "dropout": model.dropout,
            "precision": model.precision,
            "layers": model.layers,
            "head": self._head(),
            "every_position": True,
            "match_lengths": self._match_lengths,
            "position": self._position,
            "layer_dropout": model.layer_dropout,
            "remat_rows": model.remat_rows,
        }
        return TiedLSTM(**fields, keys=KEYS) if model.own.head in TIED else MusicLSTM(**fields)

    def _head(self) -> heads.Head:
        """What the outputs of the network mean."""
        model, own = self.config.model, self.config.model.own
        if own.head == "note_lstm":
            dropouts = model.dropout, model.layer_dropout
            precision, remat = model.precision, model.remat_rows
            return NoteLSTM(KEYS, model.units, own.head_units, *dropouts, precision=precision, remat_keys=remat)
        if own.head == "tied_nade":
            return TiedNade(KEYS, model.units, own.head_units)
        return heads.of_frames(own.head, own.head_units)

    def dataset(self) -> Dataset:
        """As `Encoding.dataset`."""
        data, own = self.config.data, self._own
        rolls = read_rolls(data)
        rows = self._rows(rolls)
        augment = FrameAugment(np.float32(own.match_share), self._keys if own.match_share else None, self._position)
        parts = rolls.parts
        learned = sequences.windows(rows, parts.offsets, parts.trains, data.window, own.transpose, _room, augment)
        validated = sequences.streams(rows, parts.offsets, parts.validates)
        predicted = int(validated.weight.sum())
        for name, count in (("training", len(learned.starts)), ("validation", predicted)):
            if not count:
                raise RunError(f"data source {data.source}: no {name} piece has more than one frame; add files")
        console.say(
            "frames",
            f"{int(parts.rows_that_train.sum()):,} to train in {console.counted(len(learned.starts), 'window')} of up "
            f"to {data.window}, {predicted:,} to validate; {own.per_beat} a quarter note, {self._keys} columns"
            f"{', and those of the longest match' * bool(own.match_share)}"
            f"{', and the place in the bar' * own.bar_position}",
        )
        pieces = int(parts.validates.sum())
        scored = Scored(validated, pieces, self._silence(validated), "validation", rolls.music)
        return Dataset(self, learned, scored, rolls.fingerprint, rolls.outcomes)

    def scored(self, data: DataConfig) -> Scored:
        """The test pieces of a polyphonic data set, or all pieces of MIDI files."""
        if data.source.startswith("polyphonic:") and self._own.onsets:
            raise UsageError(
                f"data {data.source} do not tell where notes begin, which this model must know; expected "
                "builtin, a data set or a folder of MIDI files"
            )
        has_tests = data.source.startswith("polyphonic:")
        rolls = read_rolls(data, held_out=False)
        chosen = rolls.parts.use == (2 if has_tests else split.TRAINING)
        streams = sequences.streams(self._rows(rolls), rolls.offsets, chosen)
        if not streams.weight.any():
            raise RunError(f"data {data.source}: no piece has more than one frame; add files")
        name = "test" if has_tests else "all"
        return Scored(streams, int(chosen.sum()), self._silence(streams), name, rolls.music)

    def music(self) -> tuple[Music | None, Fingerprint]:
        """As `Encoding.music`."""
        rolls = read_rolls(self.config.data)
        return rolls.music, rolls.fingerprint

    def count(self, scored: Any) -> dict[str, int]:
        """As `Encoding.count`."""
        return {"frames": int(scored.weight.sum())}

    def metrics(self, validation: Validation) -> dict[str, float]:
        """The negative log-likelihood of a frame."""
        return {"nats_per_frame": float(validation.nats)}

    def primers(self, training: Any, chosen: np.ndarray) -> np.ndarray:
        """As `Encoding.primers`.

        They end at least two windows, or half of a shorter piece, before the piece does, so that something is
        left to continue with, and where a bar of four quarter notes ends, so that what follows begins one; silence
        fills what is missing before the beginning.
        """
        window, rows = self.config.data.window, np.asarray(training.rows)
        starts, first, end = (np.asarray(array)[chosen] for array in (training.starts, training.first, training.end))
        latest = np.maximum(end - 2 * window, (first + end + 1) // 2) - window
        begins = np.minimum(starts, latest)
        begins -= (begins + window - first) % self._frames_a_bar
        place = begins[:, None] + np.arange(window)
        inside = (place >= first[:, None])[..., None]
        return (rows[np.maximum(place, 0)] * inside).astype(np.float32)

    def primer_of(self, notes: Notes, plan: Plan = UNPLANNED) -> np.ndarray:
        """The last T frames, after silence if there are fewer; if rows show a match, as many as it reaches back."""
        rows, most = self._rows_of(notes, "primer"), self.config.data.window
        most = max(most, longest_match.REACH) if self._own.match_share else most
        missing = max(self.config.data.window - len(rows), 0)
        return np.pad(rows[-most:], ((missing, 0), (0, 0)))

    def rows(self, notes: Notes) -> np.ndarray:
        """As `Encoding.rows`."""
        return self._rows_of(notes, "piece")

    def order(self, notes: Notes) -> None:
        """As `Encoding.order`: a frame holds all notes of a moment."""

    def _rows_of(self, notes: Notes, name: str) -> np.ndarray:
        """A whole piece as rows, float32 [L, C]; messages call it by this name."""
        own = self._own
        rows, left_out = piano_roll.frames(notes, own.per_beat, own.onsets)
        if left_out:
            are_not = console.counted(left_out, "note that is", "notes that are")
            console.say(name, f"leaves out {are_not} not on the 88 keys of a piano")
        by_beats = np.abs(notes.onset_beats - np.rint(notes.onset_beats * own.per_beat) / own.per_beat)
        if (by_beats > GRID_TOLERANCE_BEATS).any():
            console.say(name, f"notes begin at the nearest frame: {nearest.moved(by_beats, own.per_beat)}")
        if not len(rows):
            raise RunError(f"{name}: none of its notes is on the 88 keys of a piano; expected some; name another")
        return self._with_given(rows, np.array([0, len(rows)])).astype(np.float32)

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """As `Encoding.likelihoods`: of whole frames, where the head has one."""
        own: FramesModel = self.config.model.own
        return () if own.head == "regression" else ("frame",)

    def rows_of(self, seconds: float, bpm: float) -> int | None:
        """As `Encoding.rows_of`."""
        return math.ceil(seconds * bpm / 60 * self._own.per_beat)

    def row_seconds(self, rows: np.ndarray, bpm: float, begins: bool = False) -> np.ndarray:
        """As `Encoding.row_seconds`: frames are evenly spaced."""
        return np.full(rows.shape[:2], 60 / bpm / self._own.per_beat)

    def limits(self) -> Limits:
        """As `Encoding.limits`."""
        return Limits(*(jax.device_put(np.full(self._columns, one, np.float32)) for one in (0, 1)))

    def draw(self, params: Sequence[SamplingParams], deviation: jax.Array, plans: Sequence[Plan] | None = None) -> Draw:
        """As `Encoding.draw`."""
        drawn = HeadDraw(deviation, jax.device_put(np.float32(params[0].temperature)))
        matched: Draw = MatchedDraw(drawn) if self._own.match_share else drawn
        return PlacedDraw(matched, jax.device_put(np.int32(self._frames_a_bar))) if self._position else matched

    def decode(self, rows: np.ndarray, bpm: float | None = None, plan: Plan = UNPLANNED) -> Notes:
        """As `Encoding.decode`."""
        return piano_roll.notes_of(rows[:, : self._keys] > 0.5, self._own.per_beat, bpm or BPM)

    def placed(self, pieces: list[Notes], primer: Notes) -> list[Notes]:
        """As `Encoding.placed`: the first frame follows the last frame of the primer."""
        frames, _ = piano_roll.frames(primer, self._own.per_beat)
        return [piece.after_beat(len(frames) / self._own.per_beat, primer) for piece in pieces]

    def _rows(self, rolls: Rolls) -> np.ndarray:
        """The frames uint8 [N, C], each with its longest match and its place in the bar if the model sees them."""
        if not self._own.match_share:
            return self._with_given(rolls.frames, rolls.offsets)
        with console.each("rows", np.split(rolls.frames, rolls.offsets[1:-1]), "pieces") as pieces:
            return np.concatenate([self._with_given(one, np.array([0, len(one)])) for one in pieces])

    def _with_given(self, frames: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Frames of pieces, [N, keys], with the columns that are given and not predicted, uint8 [N, C]."""
        rows = piano_roll.with_matches(frames, offsets) if self._own.match_share else frames
        return piano_roll.with_positions(rows, offsets, self._frames_a_bar) if self._position else rows

    def _silence(self, streams: Streams) -> float:
        """The share of keys that are off in all frames to be predicted: the accuracy of silence."""
        targets = np.asarray(streams.rows)[np.asarray(streams.seen)[np.asarray(streams.weight) > 0] + 1, : self._keys]
        return float(1 - targets.mean())


@dataclasses.dataclass(frozen=True, eq=False)
class Rolls:
    """Frames of P pieces, uint8 [N, C], end to end: piece p is frames[offsets[p]:offsets[p + 1]].

    parts: what trains and validates, of a polyphonic data set also the test pieces, 2; fingerprint, outcomes and music
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
        from musicjax.corpus import frame_sets  # MIDI files do without

        found = frame_sets.read(data.source)
        counts = corpus_lib.counts(found.outcomes)
        console.say("data", f"{data.source}: kept {counts['kept']} pieces, skipped {counts['skipped']}")
        for outcome in found.skipped[: load.LISTED]:
            console.say("piece", f"skipped {outcome.path}: {outcome.detail}")
        parts = split.whole_pieces(found.offsets, found.split)
        return Rolls(found.frames, found.offsets, parts, Fingerprint(found.fingerprint), found.outcomes)
    corpus, outcomes = load.load(data, tests=not held_out)
    made = [piano_roll.frames(corpus.piece(p), data.own.per_beat, data.own.onsets) for p in range(len(corpus))]
    left_out = sum(count for _, count in made)
    if left_out:
        console.say("left out", f"{left_out:,} of {len(corpus.notes):,} notes that are not on the 88 keys of a piano")
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


def _in_notes(parts: Parts, corpus: Corpus, offsets: np.ndarray, per_beat: int) -> Parts:
    """The parts of frames as parts of the notes that begin in them; offsets: where the frames of each piece begin."""
    first = [
        corpus.offsets[piece]
        + np.searchsorted(corpus.piece(piece).onset_beats * per_beat, start - 0.5 - piano_roll.NEGLIGIBLE)
        for piece, start in zip(parts.piece.tolist(), parts.offsets[:-1] - offsets[parts.piece], strict=True)
    ]
    return dataclasses.replace(parts, offsets=np.append(first, corpus.offsets[-1]))


def _room(rows: np.ndarray) -> tuple[int, int]:
    """Semitones by which a piece, uint8 [M, C], can be moved down and up without losing a note."""
    used = np.flatnonzero(_by_key(rows).any(axis=(0, 1)))
    return (int(used[0]), KEYS - 1 - int(used[-1])) if len(used) else (0, 0)


def _by_key(rows: Any) -> Any:
    """The columns in whole groups of 88, [..., groups, KEYS]; those after the last group are left out."""
    whole = rows.shape[-1] // KEYS
    return rows[..., : whole * KEYS].reshape(*rows.shape[:-1], whole, KEYS)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class FrameAugment:
    """Moves windows by semitones, and hides the match of some; see `sequences.Augment`.

    match_share: float32, share of windows that keep their match; keys: columns of a frame itself, None without match;
    position: columns that tell the place in the bar, the last ones, which no window hides.
    """

    match_share: Any
    keys: int | None = dataclasses.field(metadata={"static": True})
    position: int = dataclasses.field(default=0, metadata={"static": True})

    @property
    def random_numbers(self) -> int:
        """As `Augment.random_numbers`."""
        return 1 if self.keys is None else 2

    def __call__(self, rows: jax.Array, down: jax.Array, up: jax.Array, random: jax.Array) -> jax.Array:
        """As `Augment`."""
        frames, semitones = _by_key(rows), sequences.semitones(down, up, random[:, 0])
        source = (jnp.arange(KEYS) - semitones[:, None]) % KEYS
        moved = jnp.take_along_axis(frames, source[:, None, None, :], axis=-1).reshape(*rows.shape[:-1], -1)
        changed = jnp.concatenate([moved, rows[..., moved.shape[-1] :]], axis=-1).astype(jnp.float32)
        if self.keys is None:
            return changed
        shown = (random[:, 1] < self.match_share)[:, None, None]
        column = jnp.arange(changed.shape[-1])
        always = (column < self.keys) | (column >= changed.shape[-1] - self.position)
        return changed * (always | shown)


class MatchedDraw(NamedTuple):
    """Draws a frame as the head does, followed by the columns of its longest match; see `model.sample.Draw`."""

    head: HeadDraw
    controls: tuple = ()

    def start(self, net: Network, windows: jax.Array) -> running_match.Past:
        """The frames of windows [G, T, C] are remembered."""
        rows = windows.swapaxes(0, 1)[..., : net.predicted]
        # Silence that fills a window before the piece begins is no part of the piece: -1 equals no frame.
        rows = jnp.where(jnp.cumsum(rows.any(axis=-1), axis=0)[..., None] > 0, rows, -1)
        past = running_match.start(len(windows), net.predicted, jnp.int8)
        return lax.scan(lambda past, rows: (with_match(rows, past, net.match_lengths)[1], None), past, rows)[0]

    def __call__(self, net, own, outputs, noise, last, memory):
        """As `model.sample.Draw`."""
        rows, _ = self.head(net, own, outputs, noise, last, None)
        return with_match(rows, memory, net.match_lengths)


class PlacedDraw(NamedTuple):
    """Draws a row as `drawn` does, followed by its place in the bar, one after that of the row before it; bar: int32,
    frames in a bar."""

    drawn: Draw
    bar: jax.Array
    controls: tuple = ()

    def start(self, net: Network, windows: jax.Array) -> Any:
        """As `model.sample.Draw`."""
        return self.drawn.start(net, windows)

    def __call__(self, net, own, outputs, noise, last, memory):
        """As `model.sample.Draw`."""
        rows, memory = self.drawn(net, own, outputs, noise, last, memory)
        digits = jnp.arange(net.position)
        before = jnp.sum(last[:, -net.position :].astype(jnp.int32) << digits, axis=1)
        place = ((before + 1) % self.bar)[:, None] >> digits & 1
        return jnp.concatenate([rows, place.astype(jnp.float32)], axis=1), memory


def with_match(
    frames: jax.Array, past: running_match.Past, lengths: tuple[int, ...]
) -> tuple[jax.Array, running_match.Past]:
    """(frames float32 [G, keys] followed by the columns of their longest match, [G, C]; the past after them).

    Args:
        lengths: each has a column, which is 1 if the match is at least as long.
    """
    match, past = running_match.advance(frames.astype(jnp.int8), past, frames.shape[1])
    reached = (match.length[:, None] >= jnp.asarray(lengths)).astype(jnp.float32)
    return jnp.concatenate([frames, match.followed.astype(jnp.float32) * reached[:, :1], reached], axis=1), past

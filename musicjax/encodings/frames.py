"""Frames: a row is the piano keys, 88 or fewer, at one step of the beat, zeros and ones. See `music.piano_roll`.

Every row of a window is a target. A row may also show the longest match: what followed the longest earlier run of
frames that equals the last ones, and how long that run is.

Shape legend: N rows, C columns, P pieces, B windows, T rows a window, G or K outputs, M rows of a piece or primers.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from musicjax import console, jax_environment
from musicjax.config import TIED_HEADS, Config, DataConfig, FramesData, FramesModel
from musicjax.corpus import split
from musicjax.corpus.corpus import Fingerprint
from musicjax.corpus.split import Music
from musicjax.encodings import frame_augment
from musicjax.encodings.encoding import BPM, Dataset, Encoding, Scored
from musicjax.encodings.frame_augment import FrameAugment
from musicjax.encodings.frame_draw import MatchedDraw, PlacedDraw
from musicjax.encodings.frame_rolls import Rolls, named, read_rolls
from musicjax.encodings.plan import UNPLANNED, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.model import heads
from musicjax.model.biaxial import TiedLSTM
from musicjax.model.network import MusicLSTM, Network
from musicjax.model.note_axis import NoteLSTM, TiedNade
from musicjax.model.sample import Draw, HeadDraw, Limits
from musicjax.music import longest_match, piano_roll, rounding
from musicjax.music.note_bins import GRID_TOLERANCE_BEATS
from musicjax.music.notes import Notes
from musicjax.training import sequences
from musicjax.training.sequences import Streams
from musicjax.training.windows import Validation

# Quarter notes in a bar. Frames do not know their meter, so every bar has four.
BEATS_A_BAR = 4


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
        return 2 * self._own.keys if self._own.onsets else self._own.keys

    @property
    def _match_lengths(self) -> tuple[int, ...]:
        return longest_match.LENGTHS if self._own.match_share else ()

    @property
    def _frames_a_bar(self) -> int:
        return BEATS_A_BAR * self._own.per_beat

    @property
    def _position_columns(self) -> int:
        """Columns that tell the place in the bar, the last of a row."""
        return piano_roll.position_columns(self._frames_a_bar) if self._own.bar_position else 0

    @property
    def _columns(self) -> int:
        matched = self._keys + len(self._match_lengths) if self._match_lengths else 0
        return self._keys + matched + self._position_columns

    @property
    def basis(self) -> dict[str, Any]:
        """As `Encoding.basis`."""
        own: FramesModel = self.config.model.own
        has_units = own.head not in ("regression", "bernoulli")
        head = {"model.head": own.head, "model.head_units": own.head_units if has_units else None}
        rows = {name: getattr(self._own, name) for name in ("per_beat", "onsets", "keys", "bar_position")}
        rows = {f"data.{name}": value for name, value in rows.items()}
        return super().basis | head | rows | {"data.match_share": bool(self._own.match_share)}

    @property
    def measures(self) -> tuple[str, ...]:
        """As `Encoding.measures`."""
        return ("nats_per_frame",)

    @property
    def _is_tied(self) -> bool:
        return self.config.model.own.head in TIED_HEADS

    @property
    def sequences_a_window(self) -> int:
        """As `Encoding.sequences_a_window`: one for every key where keys share their weights."""
        return self._own.keys if self._is_tied else 1

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
            "position_columns": self._position_columns,
            "layer_dropout": model.layer_dropout,
            "remat_rows": model.remat_rows,
        }
        return TiedLSTM(**fields, keys=self._own.keys) if self._is_tied else MusicLSTM(**fields)

    def _head(self) -> heads.Head:
        """What the outputs of the network mean."""
        model, own, keys = self.config.model, self.config.model.own, self._own.keys
        if own.head == "note_lstm":
            dropouts = model.dropout, model.layer_dropout
            precision, remat = model.precision, model.remat_rows
            return NoteLSTM(keys, model.units, own.head_units, *dropouts, precision=precision, remat_keys=remat)
        if own.head == "tied_nade":
            return TiedNade(keys, model.units, own.head_units)
        return heads.of_frames(own.head, own.head_units)

    def dataset(self) -> Dataset:
        """As `Encoding.dataset`."""
        data, own = self.config.data, self._own
        rolls = read_rolls(data)
        rows = self._rows(rolls)
        augment = FrameAugment(
            np.float32(own.match_share), self._keys if own.match_share else None, self._position_columns, own.keys
        )
        room = functools.partial(frame_augment.room, keys=own.keys)
        parts = rolls.parts
        learned = sequences.windows(rows, parts.offsets, parts.trains, data.window, own.transpose, room, augment)
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
                f"data {data.source} do not mark where notes begin, which this model needs; expected "
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

        They end at least two windows before the piece does, or half of a shorter piece, so that something is left
        to continue with. They end with a bar of four quarter notes, so that what follows begins one. Silence fills
        what is missing before the beginning of the piece.
        """
        window, rows = self.config.data.window, np.asarray(training.rows)
        starts, first, end = (np.asarray(array)[chosen] for array in (training.starts, training.first, training.end))
        latest = np.maximum(end - 2 * window, (first + end + 1) // 2) - window
        begins = np.minimum(starts, latest)
        begins -= (begins + window - first) % self._frames_a_bar
        place = begins[:, None] + np.arange(window)
        inside = (place >= first[:, None])[..., None]
        return self._counted((rows[np.maximum(place, 0)] * inside).astype(np.float32), place - first[:, None])

    def primer_of(self, notes: Notes, plan: Plan = UNPLANNED) -> np.ndarray:
        """The last T frames, after silence if there are fewer; if rows show a match, as many as it reaches back."""
        rows, most = self._rows_of(notes, "primer"), self.config.data.window
        most = max(most, longest_match.REACH) if self._own.match_share else most
        begins = len(rows) - max(min(most, len(rows)), self.config.data.window)
        padded = np.pad(rows[max(begins, 0) :], ((max(-begins, 0), 0), (0, 0)))
        return self._counted(padded, np.arange(begins, len(rows)))

    def _counted(self, rows: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Rows [..., T, C], in which bars go on through the silence before a piece; place: int [..., T], from its first
        row, negative before it."""
        if not self._position_columns:
            return rows
        digits = piano_roll.position_digits(place, self._frames_a_bar)
        return np.concatenate([rows[..., : -self._position_columns], digits.astype(rows.dtype)], axis=-1)

    def rows(self, notes: Notes) -> np.ndarray:
        """As `Encoding.rows`."""
        return self._rows_of(notes, "piece")

    def order(self, notes: Notes) -> None:
        """As `Encoding.order`: a frame holds all notes of a moment."""

    def _rows_of(self, notes: Notes, name: str) -> np.ndarray:
        """A whole piece as rows, float32 [L, C]; messages call it by this name."""
        own = self._own
        rows, left_out = piano_roll.frames(notes, own.per_beat, own.onsets, own.keys)
        if left_out:
            are_not = console.counted(left_out, "note that is", "notes that are")
            console.say(name, f"leaves out {are_not} not on the {named(own.keys)}")
        by_beats = np.abs(notes.onset_beats - np.rint(notes.onset_beats * own.per_beat) / own.per_beat)
        if (by_beats > GRID_TOLERANCE_BEATS).any():
            console.say(name, f"notes begin at the nearest frame: {rounding.moved(by_beats, own.per_beat)}")
        if not len(rows):
            raise RunError(f"{name}: none of its notes is on the {named(own.keys)}; expected some; name another")
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
        return PlacedDraw(matched, jax.device_put(np.int32(self._frames_a_bar))) if self._position_columns else matched

    def decode(self, rows: np.ndarray, bpm: float | None = None, plan: Plan = UNPLANNED) -> Notes:
        """As `Encoding.decode`."""
        frames = rows[:, : self._keys] > 0.5
        return piano_roll.notes_of(frames, self._own.per_beat, bpm or BPM, keys=self._own.keys)

    def placed(self, pieces: list[Notes], primer: Notes) -> list[Notes]:
        """As `Encoding.placed`: the first frame follows the last frame of the primer."""
        frames, _ = piano_roll.frames(primer, self._own.per_beat, keys=self._own.keys)
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
        return piano_roll.with_positions(rows, offsets, self._frames_a_bar) if self._position_columns else rows

    def _silence(self, streams: Streams) -> float:
        """The share of keys that are off in all frames to be predicted: the accuracy of silence."""
        targets = np.asarray(streams.rows)[np.asarray(streams.seen)[np.asarray(streams.weight) > 0] + 1, : self._keys]
        return float(1 - targets.mean())

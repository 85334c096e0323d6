"""Note events: a row is a note as bins that are learned from the training pieces. See `music.note_bins` for the rows.

The network predicts interval, pitch, duration and velocity of the next note one after the other, each given those
before it. A row also shows its bar position and the longest match, which follow from the past.

Shape legend: N rows, C columns, P pieces, B windows, T rows a window, F tempos, K outputs, L rows sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import console, jax_environment
from musicjax.config import Config, DataConfig, EventsData, EventsModel
from musicjax.corpus import load, split
from musicjax.corpus.corpus import Corpus
from musicjax.corpus.split import Music
from musicjax.encodings import event_controls
from musicjax.encodings.encoding import MANY_ROWS, ROWS_A_SECOND, Dataset, Encoding, Scored
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import Draw, Limits
from musicjax.music import bar_position, longest_match, note_bins
from musicjax.music.note_bins import BAR_POSITION, INTERVAL, MATCH_LENGTH, PITCH, SIZES, Bins
from musicjax.music.notes import Notes
from musicjax.training import sequences
from musicjax.training.sequences import Sequences, Streams
from musicjax.training.windows import Validation

# Pitches that training windows may be moved to: the keys of a piano.
LOWEST_PITCH, HIGHEST_PITCH = 21, 108
# How many slower and how many faster tempos than its own a training window may get.
TEMPOS = 3
# How many notes of a training window an output continues if it has no primer of its own.
OPENING_NOTES = 16


def make(config: Config, learned: Mapping[str, Any] | None) -> EventEncoding:
    """The encoding, with the constants saved with a model; raises ValueError if those are not its own."""
    if learned is None:
        return EventEncoding(config)
    if not learned.get("bins"):
        raise ValueError("bins")
    return EventEncoding(config, note_bins.from_saved(learned["bins"]))


@dataclasses.dataclass(frozen=True, eq=False)
class EventEncoding(Encoding):
    """See `encoding.Encoding`; bins: learned from the training pieces."""

    config: Config
    bins: Bins | None = None
    decodes: ClassVar[tuple[str, ...]] = ("carry",)
    has_controls: ClassVar[bool] = True

    @property
    def learned(self) -> dict[str, Any]:
        """As `Encoding.learned`."""
        return {} if self.bins is None else {"bins": dataclasses.asdict(self.bins)}

    @property
    def _bins(self) -> Bins:
        assert self.bins is not None, "the encoding has seen no data yet"
        return self.bins

    @property
    def _own(self) -> EventsData:
        return self.config.data.own

    def network(self) -> MusicLSTM:
        """As `Encoding.network`."""
        jax_environment.require_settings()
        model = self.config.model
        own: EventsModel = model.own
        return MusicLSTM(
            model.units,
            len(SIZES),
            model.dropout,
            model.precision,
            model.layers,
            Categorical(SIZES, note_bins.GIVEN, own.head_units, model.precision),
            every_position=True,
            sizes=SIZES,
            embedding=own.embedding,
        )

    def dataset(self) -> Dataset:
        """As `Encoding.dataset`."""
        data = self.config.data
        corpus, outcomes = load.load(data)
        out = self._held_out(corpus)
        if self._own.match_share > 0 and len(corpus.notes) > MANY_ROWS:
            seconds = len(corpus.notes) // ROWS_A_SECOND
            console.say("match", f"searches {len(corpus.notes):,} notes for matches: about {seconds} s")
        training = [corpus.piece(p) for p in np.flatnonzero(~out).tolist()]
        learned = EventEncoding(self.config, note_bins.learn(training))
        rows, nearest = learned._rows(corpus)
        learns = learned._windows(rows, corpus.offsets, ~out)
        validated = sequences.streams(rows, corpus.offsets, out)
        predicted = int(validated.weight.sum())
        if not len(learns.starts) or not predicted:
            raise RunError(
                f"data source {data.source}: no training or validation piece has more than one note; add files"
            )
        bins = learned._bins
        console.say(
            "events",
            f"{int(np.diff(corpus.offsets)[~out].sum()):,} to train in {len(learns.starts):,} windows of up to "
            f"{data.window}, {predicted:,} to validate; bins: {len(bins.interval)} intervals, {len(bins.duration)} "
            f"durations, {len(bins.velocity)} velocities, {bins.steps_per_beat} steps a quarter note",
        )
        _say_nearest(nearest)
        majority = _commonest(rows[np.repeat(~out, np.diff(corpus.offsets))], validated)
        scored = Scored(validated, int(out.sum()), majority, "validation", split.music_of(corpus, out))
        return Dataset(learned, learns, scored, corpus.fingerprint, outcomes)

    def scored(self, data: DataConfig) -> Scored:
        """As `Encoding.scored`."""
        if data.source.startswith("polyphonic:"):
            raise UsageError(
                f"data {data.source} are frames, not notes; expected builtin, a data set or a folder of MIDI files"
            )
        corpus, _ = load.load(data, tests=True)
        rows, nearest = self._rows(corpus)
        streams = sequences.streams(rows, corpus.offsets, np.ones(len(corpus), bool))
        if not streams.weight.any():
            raise RunError(f"data {data.source}: no piece has more than one note; add files")
        _say_nearest(nearest)
        return Scored(streams, len(corpus), _commonest(rows, streams), "all", split.all_held_out(corpus))

    def music(self) -> tuple[Music | None, str]:
        """As `Encoding.music`."""
        corpus, _ = load.load(self.config.data)
        return split.music_of(corpus, self._held_out(corpus)), corpus.fingerprint

    def count(self, scored: Any) -> dict[str, int]:
        """As `Encoding.count`."""
        return {"notes": int(scored.weight.sum())}

    def metrics(self, validation: Validation) -> dict[str, float]:
        """The negative log-likelihood of a note, and of each of its columns."""
        by_column = np.asarray(validation.nats_by_column, np.float64).tolist()
        of_columns = {f"{name}_nats": nats for name, nats in zip(note_bins.PREDICTED, by_column, strict=True)}
        return {"nats_per_note": float(validation.nats)} | of_columns

    def primers(self, training: Any, chosen: np.ndarray) -> np.ndarray:
        """As `Encoding.primers`: whole windows of a piece; a piece too short for one is repeated."""
        window, rows = self.config.data.window, np.asarray(training.rows)
        starts, first, end = (np.asarray(array)[chosen] for array in (training.starts, training.first, training.end))
        place = np.maximum(np.minimum(starts, end - window), first)[:, None] + np.arange(window)
        return rows[first[:, None] + (place - first[:, None]) % (end - first)[:, None]].astype(np.float32)

    def primer_of(self, notes: Notes) -> np.ndarray:
        """As `Encoding.primer_of`: the last notes, as many as a match reaches back."""
        rows, nearest = note_bins.encode(notes, self._bins, self._own.match_share > 0)
        if nearest.any():
            count = int(nearest.sum())
            console.say("primer", f"{count} of {len(rows)} notes lie off the grid and move to the nearest place on it")
        return rows[-longest_match.REACH :].astype(np.float32)

    def opening(self, primers: np.ndarray, params: Sequence[SamplingParams]) -> np.ndarray:
        """As `Encoding.opening`: a few notes, moved to the pitches that each output may draw."""
        return event_controls.transposed(primers[:, -OPENING_NOTES:], params)

    def melody_velocity(self) -> int:
        """As `Encoding.melody_velocity`: that of the middle bin."""
        return self._bins.velocity[len(self._bins.velocity) // 2]

    def tempo(self, bpm: float | None) -> float:
        """As `Encoding.tempo`."""
        return bpm or self._bins.bpm

    def row_seconds(self, rows: np.ndarray, bpm: float) -> np.ndarray:
        """As `Encoding.row_seconds`."""
        steps = np.asarray(self._bins.interval)[rows[:, :, INTERVAL].astype(int)]
        return steps / self._bins.steps_per_beat * 60 / bpm

    def limits(self) -> Limits:
        """As `Encoding.limits`."""
        return Limits(jnp.zeros(len(SIZES)), jnp.asarray(SIZES, jnp.float32) - 1)

    def draw(self, params: Sequence[SamplingParams], deviation: jax.Array) -> Draw:
        """As `Encoding.draw`."""
        match = self._own.match_share > 0
        if not match and any(one.longest_match < SamplingParams().longest_match for one in params):
            console.say("match", "this model never sees a match, so --longest_match changes nothing")
        return event_controls.of_params(self._bins, params, match)

    def decode(self, rows: np.ndarray, bpm: float | None = None) -> Notes:
        """As `Encoding.decode`."""
        return note_bins.decode(rows, self._bins, bpm)

    def _held_out(self, corpus: Corpus) -> np.ndarray:
        """Pieces that only validate, bool [P]."""
        return split.held_out(corpus, self.config.data, np.diff(corpus.offsets) > 1, "one note")

    def _rows(self, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
        """(all pieces as rows, uint8 [N, C]; which of them have a bin that is only the nearest, bool [N])."""
        match = self._own.match_share > 0
        made = [note_bins.encode(corpus.piece(p), self._bins, match) for p in range(len(corpus))]
        rows, nearest = (np.concatenate(parts) for parts in zip(*made, strict=True))
        return rows, nearest

    def _windows(self, rows: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> Sequences:
        """Windows of the chosen pieces, bool [P]: rows uint8 [N, C], offsets [P + 1]."""
        data, augment = self.config.data, augment_of(self._bins, self._own)
        return sequences.windows(rows, offsets, chosen, data.window, self._own.transpose, _room, augment)


class EventAugment(NamedTuple):
    """How rows of bins change in training, looked up in tables; see `sequences.Augment`.

    interval, duration: int32 [F, bins], the bin that each becomes at each of F tempos; steps: int32 [bins], of each
    interval; steps_per_bar: int32; velocities: int32, how many bins of velocity; velocity_shift: int32, most bins by
    which a window is played louder or softer; match_share: float32, share of windows that keep their match.
    """

    interval: jax.Array
    duration: jax.Array
    steps: jax.Array
    steps_per_bar: jax.Array
    velocities: jax.Array
    velocity_shift: jax.Array
    match_share: jax.Array

    @property
    def random_numbers(self) -> int:
        """One each for semitones, tempo, velocity and match."""
        return 4

    def __call__(self, rows: jax.Array, down: jax.Array, up: jax.Array, random: jax.Array) -> jax.Array:
        """As `Augment`."""
        rows, semitones = rows.astype(jnp.int32), sequences.semitones(down, up, random[:, 0])
        tempo, loud, match = (random[:, [kind]] for kind in range(1, 4))
        which = jnp.floor(tempo * self.interval.shape[0]).astype(jnp.int32)
        shift = jnp.floor(loud * (2 * self.velocity_shift + 1)).astype(jnp.int32) - self.velocity_shift

        def changed(columns: Sequence[int]) -> tuple[jax.Array, ...]:
            interval, pitch, duration, velocity = (rows[..., column] for column in columns)
            velocity = jnp.clip(velocity + shift, 0, self.velocities - 1)
            return self.interval[which, interval], pitch + semitones[:, None], self.duration[which, duration], velocity

        interval, *rest = changed(note_bins.PREDICTED_COLUMNS)
        steps = jnp.cumsum(self.steps[interval].at[:, 0].set(0), axis=1)
        position = bar_position.of(rows[:, :1, BAR_POSITION] + steps, self.steps_per_bar)
        length = rows[..., MATCH_LENGTH]
        shown = (length > 0) & (match < self.match_share)
        of_match = (*changed(range(note_bins.MATCH_INTERVAL, MATCH_LENGTH)), length)
        columns = [interval, position, *rest, *(jnp.where(shown, column, 0) for column in of_match)]
        return jnp.stack(columns, axis=-1).astype(jnp.float32)


def augment_of(bins: Bins, own: EventsData) -> EventAugment:
    """How the training windows of a config change."""
    ways = 2 * TEMPOS + 1 if own.tempo_stretch_percent else 1
    share = own.tempo_stretch_percent / 100
    tempos = [note_bins.scaled(bins, factor) for factor in np.linspace(1 - share, 1 + share, ways)]
    interval, duration = (np.stack(tables).astype(np.int32) for tables in zip(*tempos, strict=True))
    numbers = (note_bins.steps_of(bins)[0], bins.steps_per_bar, len(bins.velocity), own.velocity_shift_bins)
    whole = (np.asarray(number, np.int32) for number in numbers)
    arrays: Any = (interval, duration, *whole, np.float32(own.match_share))
    return EventAugment(*arrays)


def _room(rows: np.ndarray) -> tuple[int, int]:
    """Semitones by which a piece, uint8 [M, C], can be moved down and up without leaving the piano."""
    pitch = rows[:, PITCH].astype(int)
    return max(int(pitch.min()) - LOWEST_PITCH, 0), max(HIGHEST_PITCH - int(pitch.max()), 0)


def _say_nearest(nearest: np.ndarray) -> None:
    """Says how many notes, bool [N], have a time or velocity off the grid of the bins."""
    if nearest.any():
        count, share = int(nearest.sum()), nearest.mean()
        console.say(
            "events",
            f"{count:,} of {len(nearest):,} notes ({share:.1%}) lie off the grid and move to the nearest time or "
            "velocity on it",
        )


def _commonest(learned: np.ndarray, streams: Streams) -> float:
    """Accuracy on all targets of always predicting the commonest bin of each column of `learned`, uint8 [M, C]."""
    targets = np.asarray(streams.rows)[np.asarray(streams.seen)[np.asarray(streams.weight) > 0] + 1]
    shares = [
        (targets[:, column] == np.bincount(learned[:, column]).argmax()).mean()
        for column in note_bins.PREDICTED_COLUMNS
    ]
    return float(np.mean(shares))

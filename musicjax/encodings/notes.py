"""Notes, the paper's encoding: a row is (pitch, velocity, interval[, duration]) in numbers, scaled to 0..1.

A window of T rows predicts the next row, by regression. See `music.note_matrix` for the rows themselves.

Shape legend: N rows, C columns, P pieces, W windows, T rows a window, K outputs, L rows sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from musicjax import console, jax_environment
from musicjax.config import Config, DataConfig
from musicjax.corpus import duplicates, load, split
from musicjax.corpus.corpus import Corpus, Fingerprint, folders
from musicjax.corpus.split import Music, Parts
from musicjax.encodings.encoding import BPM, Dataset, Encoding, Scored
from musicjax.encodings.plan import UNPLANNED, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import HeadDraw, Limits
from musicjax.music import note_matrix
from musicjax.music.note_matrix import Scaling
from musicjax.music.notes import Notes
from musicjax.training import windows as windows_lib
from musicjax.training.windows import Validation, Windows

# A longest interval of more than this many times the 99.9th percentile is reported.
OUTLIER = 10
UNITS = {"pitch": "semitones", "velocity": "steps", "interval": "seconds", "duration": "seconds"}


def make(config: Config, learned: Mapping[str, Any] | None) -> NoteEncoding:
    """The encoding, with the constants saved with a model; raises ValueError if those are not its own."""
    if learned is None:
        return NoteEncoding(config)
    scaling = Scaling(**{name: tuple(map(float, values)) for name, values in learned["scaling"].items()})
    constants = np.array([scaling.shift, scaling.span, scaling.low, scaling.high])
    if constants.shape != (4, _columns(config)) or not np.isfinite(constants).all() or min(scaling.span) <= 0:
        raise ValueError("scaling")
    return NoteEncoding(config, scaling)


def _columns(config: Config) -> int:
    return len(note_matrix.COLUMNS) - (not config.data.own.duration)


@dataclasses.dataclass(frozen=True, eq=False)
class NoteEncoding(Encoding):
    """See `encoding.Encoding`; scaling: learned from the training pieces."""

    config: Config
    scaling: Scaling | None = None
    decodes: ClassVar[tuple[str, ...]] = ("staggered", "window")
    has_controls: ClassVar[bool] = False

    @property
    def learned(self) -> dict[str, Any]:
        """As `Encoding.learned`."""
        return {} if self.scaling is None else {"scaling": dataclasses.asdict(self.scaling)}

    @property
    def _scaling(self) -> Scaling:
        assert self.scaling is not None, "the encoding has seen no data yet"
        return self.scaling

    @property
    def basis(self) -> dict[str, Any]:
        """As `Encoding.basis`."""
        return super().basis | {"data.duration": self.config.data.own.duration}

    @property
    def columns(self) -> tuple[str, ...]:
        """As `Encoding.columns`."""
        return note_matrix.COLUMNS[: _columns(self.config)]

    @property
    def measures(self) -> tuple[str, ...]:
        """As `Encoding.measures`."""
        return tuple(f"{name}_error_{UNITS[name]}" for name in self.columns)

    def network(self) -> MusicLSTM:
        """As `Encoding.network`."""
        jax_environment.require_settings()
        model = self.config.model
        return MusicLSTM(
            model.units,
            _columns(self.config),
            model.dropout,
            model.precision,
            model.layers,
            layer_dropout=model.layer_dropout,
            remat_rows=model.remat_rows,
        )

    def dataset(self) -> Dataset:
        """As `Encoding.dataset`."""
        data = self.config.data
        corpus, outcomes = load.load(data)
        columns = _columns(self.config)
        unscaled = np.concatenate([note_matrix.values(corpus.piece(p), columns) for p in range(len(corpus))])
        parts = self._parts(corpus)
        train, validation = _split(corpus, data, parts)
        in_training = parts.rows_that_train
        for name, starts in (("training", train), ("validation", validation)):
            if not len(starts):
                raise RunError(
                    f"data source {data.source}: {console.counted(len(corpus.notes), 'note')} in "
                    f"{console.counted(len(corpus), 'piece')} give no {name} "
                    f"window of {data.window} notes plus the note after it; add files or lower --config.data.window"
                )
        scaling = self.scaling or note_matrix.fit(unscaled[in_training])
        rows = ((unscaled - scaling.shift) / scaling.span).astype(np.float32)
        _say_if_stretched(corpus, unscaled[:, 2], in_training)
        _say_outside(rows[in_training], scaling)
        short = int((np.diff(corpus.offsets) <= data.window).sum())
        console.say("windows", f"{len(train):,} to train, {len(validation):,} to validate, of {data.window} notes each")
        if short and data.own.split == "piece":
            console.say("windows", f"{short} of {len(corpus)} pieces are too short for a window and are not used")
        pieces = len(np.unique(np.searchsorted(corpus.offsets, validation, side="right")))
        largest = rows.argmax(axis=1)
        commonest = np.bincount(largest[train + data.window]).argmax()
        majority = float((largest[validation + data.window] == commonest).mean())
        arrays: Any = (rows, train, validation)
        scored = Scored(Windows(*arrays[::2]), pieces, majority, "validation", split.music_of(corpus, parts))
        own = NoteEncoding(self.config, scaling)
        return Dataset(own, Windows(*arrays[:2]), scored, corpus.fingerprint, outcomes)

    def scored(self, data: DataConfig) -> Scored:
        """As `Encoding.scored`."""
        if data.source.startswith("polyphonic:"):
            raise UsageError(
                f"data {data.source} are frames, not notes; expected builtin, a data set or a folder of MIDI files"
            )
        corpus, _ = load.load(data, tests=True)
        rows = np.concatenate([note_matrix.encode(corpus.piece(p), self._scaling) for p in range(len(corpus))])
        starts = windows_lib.starts_inside(corpus.offsets, np.ones(len(corpus), bool), data.window)
        if not len(starts):
            raise RunError(f"data {data.source}: no piece has more than {data.window} notes; add files")
        shares = np.bincount(rows[starts + data.window].argmax(axis=1)) / len(starts)
        arrays: Any = (rows, starts)
        return Scored(Windows(*arrays), len(corpus), float(shares.max()), "all", split.all_held_out(corpus))

    def music(self) -> tuple[Music | None, Fingerprint]:
        """As `Encoding.music`."""
        corpus, _ = load.load(self.config.data)
        return split.music_of(corpus, self._parts(corpus)), corpus.fingerprint

    def count(self, scored: Any) -> dict[str, int]:
        """As `Encoding.count`."""
        return {"windows": len(scored.starts)}

    def metrics(self, validation: Validation) -> dict[str, float]:
        """Mean absolute errors in the columns' own units."""
        sizes = np.asarray(validation.residual_size, np.float64) * self._scaling.span
        named = zip(self._scaling.columns, sizes, strict=True)
        return {f"{name}_error_{UNITS[name]}": float(size) for name, size in named}

    def primers(self, training: Any, chosen: np.ndarray) -> np.ndarray:
        """As `Encoding.primers`."""
        starts, rows = np.asarray(training.starts)[chosen], np.asarray(training.rows)
        return rows[starts[:, None] + np.arange(self.config.data.window)]

    def primer_of(self, notes: Notes, plan: Plan = UNPLANNED) -> np.ndarray:
        """As `Encoding.primer_of`; too few notes are repeated, and values clamped to the range of the training data."""
        scaling, window = self._scaling, self.config.data.window
        rows = note_matrix.encode(notes, scaling)
        if len(rows) < window:
            console.say(
                "primer", f"has {console.counted(len(rows), 'note')}; repeats them to fill the window of {window}"
            )
            rows = np.tile(rows, (-(-window // len(rows)), 1))
        rows = rows[-window:]
        within = np.clip(rows, np.asarray(scaling.low, np.float32), np.asarray(scaling.high, np.float32))
        moved = int((within != rows).sum())
        if moved:
            console.say("primer", f"clamped {moved} of {rows.size} values to the range of the training data")
        return within

    def rows(self, notes: Notes) -> np.ndarray:
        """As `Encoding.rows`."""
        return note_matrix.encode(notes, self._scaling)

    def row_seconds(self, rows: np.ndarray, bpm: float, begins: bool = False) -> np.ndarray:
        """As `Encoding.row_seconds`."""
        scaling = self._scaling
        return (rows[:, :, 2].astype(np.float64) * scaling.span[2] + scaling.shift[2]).clip(0)

    def limits(self) -> Limits:
        """The range of the training data, without notes too short to hear."""
        scaling = self._scaling
        low = np.asarray(scaling.low, np.float32)
        if len(low) == len(note_matrix.COLUMNS):
            low[3] = max(low[3], note_matrix.SHORTEST_SECONDS / scaling.span[3])
        return Limits(jax.device_put(low), jax.device_put(np.array(scaling.high, np.float32)))

    def draw(
        self, params: Sequence[SamplingParams], deviation: jax.Array, plans: Sequence[Plan] | None = None
    ) -> HeadDraw:
        """The prediction plus Gaussian noise of as many residual deviations as the temperature says."""
        return HeadDraw(deviation, jax.device_put(np.float32(params[0].temperature)))

    def decode(self, rows: np.ndarray, bpm: float | None = None, plan: Plan = UNPLANNED) -> Notes:
        """As `Encoding.decode`: rows are in seconds, and the tempo says only where their beats are."""
        return note_matrix.decode(rows, self._scaling, bpm or BPM)

    def placed(self, pieces: list[Notes], primer: Notes) -> list[Notes]:
        """As `Encoding.placed`: the first interval counts from the last onset of the primer."""
        return [piece.after_beat(float(primer.onset_beats[-1]), primer) for piece in pieces]

    def _parts(self, corpus: Corpus) -> Parts:
        """What trains and what validates; where windows are split, all that a training window has or predicts trains.

        Raises:
            UsageError: windows are to be split, and the source has folders that divide its pieces.
        """
        data, own = self.config.data, self.config.data.own
        if own.split == "windows":
            if folders(corpus.names) is not None:
                raise UsageError(
                    f"data source {data.source} has folders train/ and valid/, and config.data.split='windows': "
                    "expected --config.data.split=piece, or the files in one folder"
                )
            duplicates.say(corpus, "copies may be on both sides, as split=windows divides windows, not pieces")
            train, _ = windows_lib.starts_of_list(len(corpus.notes), data.validation_fraction, data.window)
            return split.at_row(corpus, len(train) + data.window)
        return split.parts(corpus, data, corpus.offsets, data.window, advice="use --config.data.split=windows, ")


def _split(corpus: Corpus, data: DataConfig, parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Starts of training and of validation windows."""
    if data.own.split == "windows":
        return windows_lib.starts_of_list(len(corpus.notes), data.validation_fraction, data.window)
    train, validation = (
        windows_lib.starts_inside(parts.offsets, chosen, data.window) for chosen in (parts.trains, parts.validates)
    )
    return train, validation


def _say_outside(rows: np.ndarray, scaling: Scaling) -> None:
    """Says how many training rows, [M, C], lie outside the range of a scaling that was fitted to other data."""
    low, high = np.asarray(scaling.low, np.float32), np.asarray(scaling.high, np.float32)
    outside = int(((rows < low) | (rows > high)).any(axis=1).sum())
    if outside:
        console.say(
            "scaling",
            f"{outside:,} of {len(rows):,} training notes are outside the range of the data that set the scaling; "
            "they are learned as they are, but generated notes stay inside that range",
        )


def _say_if_stretched(corpus: Corpus, interval: np.ndarray, in_training: np.ndarray) -> None:
    """Names the file whose one long rest squeezes all other intervals, seconds [N], towards 0."""
    longest = int(np.argmax(np.where(in_training, interval, 0.0)))
    usual = float(np.percentile(interval[in_training], 99.9))
    if interval[longest] > OUTLIER * max(usual, 1e-3):
        name = corpus.names[int(np.searchsorted(corpus.offsets, longest, side="right")) - 1]
        console.say(
            "interval",
            f"{name} rests for {interval[longest]:,.0f} s, and that scales all intervals (99.9 % are below "
            f"{usual:.2g} s); without that file the model would learn time better",
        )

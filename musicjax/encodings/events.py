"""Note events: a row is a note as bins that are learned from the training pieces. See `music.note_bins` for the rows.

The network predicts interval, instrument, pitch, duration and velocity of the next note one after the other, each given
those before it. All other columns follow from the past or from the plan of the piece.

Shape legend: N rows, C columns, Q parts, T rows a window, K outputs, L rows sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from musicjax import console, jax_environment
from musicjax.config import Config, DataConfig, EventsData, EventsModel
from musicjax.corpus import load, split
from musicjax.corpus.corpus import Corpus, Fingerprint, Outcome
from musicjax.corpus.find import holds_shards
from musicjax.corpus.split import Music, Parts
from musicjax.encodings import event_augment, event_constants, event_draw, event_plans, event_score, event_shards
from musicjax.encodings.encoding import Dataset, Encoding, Scored
from musicjax.encodings.gap import Gap
from musicjax.encodings.plan import UNPLANNED, Length, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.model.sample import Draw, Limits
from musicjax.music import bar_position, form, keys, learned_bins, longest_match, note_bins, note_rows, rounding
from musicjax.music.note_bins import (
    BAR_POSITION,
    BARS_LEFT,
    COLUMNS,
    EDGE,
    INTERVAL,
    METER,
    MODE,
    PHRASE,
    SIZES,
    Bins,
)
from musicjax.music.notes import Notes
from musicjax.music.rounding import Changes
from musicjax.training import sequences
from musicjax.training.sequences import Sequences, Streams
from musicjax.training.windows import Validation

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

    def constants(self) -> dict[str, Any]:
        """As `Encoding.constants`."""
        return event_constants.of(self.config, self._bins, self.network()) if self._bins.has_form else {}

    @property
    def _bins(self) -> Bins:
        assert self.bins is not None, "the encoding has seen no data yet"
        return self.bins

    @property
    def _own(self) -> EventsData:
        return self.config.data.own

    @property
    def basis(self) -> dict[str, Any]:
        """As `Encoding.basis`."""
        own: EventsModel = self.config.model.own
        return super().basis | {"model.head_units": own.head_units, "model.embedding": own.embedding}

    @property
    def measures(self) -> tuple[str, ...]:
        """As `Encoding.measures`."""
        return ("nats_per_note", *(f"{COLUMNS[column]}_nats" for column in note_bins.PREDICTED))

    @property
    def columns(self) -> tuple[str, ...]:
        """As `Encoding.columns`."""
        return COLUMNS[: len(self._bins.sizes)]

    def network(self) -> MusicLSTM:
        """As `Encoding.network`."""
        jax_environment.require_settings()
        model = self.config.model
        own: EventsModel = model.own
        sizes = SIZES if self.bins is None else self.bins.sizes
        bins = self.bins or Bins(1, (0,), (1.0,), (64,), 120.0)
        given = tuple(column for column in range(len(sizes)) if column not in bins.predicted)
        return MusicLSTM(
            model.units,
            len(sizes),
            model.dropout,
            model.precision,
            model.layers,
            Categorical(sizes, given, own.head_units, model.precision, bins.order if bins.has_form else ()),
            every_position=True,
            sizes=sizes,
            embedding=own.embedding,
            layer_dropout=model.layer_dropout,
            remat_rows=model.remat_rows,
        )

    def dataset(self) -> Dataset:
        """As `Encoding.dataset`."""
        if holds_shards(self.config.data.source):
            return self._dataset_of_shards()
        corpus, outcomes = load.load(self.config.data)
        return self._dataset(corpus, self._parts(corpus), outcomes)

    def inside(self, share: float) -> Dataset | None:
        """As `Encoding.inside`.

        Raises:
            UsageError: the source is shards.
        """
        if holds_shards(source := self.config.data.source):
            raise UsageError(
                f"data source {source}: config auto tries settings on music files, and these are shards; expected "
                "another note-event config, such as --config=demo, events or events_large"
            )
        corpus, outcomes = load.load(self.config.data)
        parts = split.inside(self._parts(corpus), corpus, self.config.data, share)
        return None if parts is None else self._dataset(corpus, parts, outcomes)

    def _dataset(self, corpus: Corpus, parts: Parts, outcomes: list[Outcome]) -> Dataset:
        """As `Encoding.dataset`, of these parts."""
        data = self.config.data
        music = split.music_of(corpus, parts)
        keep = self._own.instruments == "keep"
        learned = (
            self if self.bins is not None else EventEncoding(self.config, learned_bins.learn(music.training, keep))
        )
        rows, changes = learned._rows(corpus)
        offsets = learned._with_edges(parts, corpus)
        learns = learned._windows(rows, offsets, parts.trains)
        validated = sequences.streams(rows, offsets, parts.validates)
        if not len(learns.starts) or not validated.weight.any():
            raise RunError(
                f"data source {data.source}: no training or validation piece has more than one note; add files"
            )
        bins = learned._bins
        console.say(
            "events",
            f"{console.counted(int(parts.rows_that_train.sum()), 'note')} to train in "
            f"{console.counted(len(learns.starts), 'window')} of up to {data.window}, "
            f"{console.each_counted(learned.count(validated))} to validate; bins: {len(bins.interval)} intervals, "
            f"{len(bins.duration)} durations, {len(bins.velocity)} velocities, "
            f"{bins.steps_per_beat} steps a quarter note, meters "
            f"{' '.join(bar_position.text_of(*meter) for meter in bins.meters)}",
        )
        learned._say_changes(corpus, changes)
        majority = _commonest(rows[np.repeat(parts.trains, np.diff(offsets))], validated, bins.predicted)
        scored = Scored(validated, int(parts.validates.sum()), majority, "validation", music)
        return Dataset(learned, learns, scored, corpus.fingerprint, outcomes)

    def _dataset_of_shards(self) -> Dataset:
        """As `Encoding.dataset`, of a folder of shards."""
        data, own = self.config.data, self._own
        found = event_shards.opened(data)
        learned = EventEncoding(self.config, event_shards.bins_of(found, self.bins))
        augment, predicted = event_augment.of(learned._bins, own), learned._bins.predicted
        blocks = event_shards.blocks(found, self.config, learned._bins)
        learns = event_shards.windows(blocks.whole(0), own.transpose, augment)
        validated = event_shards.held_out(found, own.match_share > 0, learned._bins)
        event_shards.say(blocks, found, console.each_counted(learned.count(validated)), data.window)
        firsts, which = np.unique(learns.first, return_index=True)
        parts = [learns.rows[first:end] for first, end in zip(firsts, np.asarray(learns.end)[which], strict=True)]
        majority = _commonest(np.concatenate(parts), validated, predicted)
        scored = Scored(
            validated, int(np.asarray(validated.reset).sum()), majority, "validation", event_shards.music(found)
        )
        block = event_shards.block(blocks, own.transpose, augment)
        return Dataset(learned, learns, scored, event_shards.fingerprint(found), [], block)

    def scored(self, data: DataConfig) -> Scored:
        """As `Encoding.scored`."""
        if data.source.startswith("polyphonic:"):
            raise UsageError(
                f"data {data.source} are frames, not notes; expected builtin, a data set or a folder of MIDI files"
            )
        if holds_shards(data.source):
            corpus, part = event_shards.held_out_corpus(event_shards.opened(data, split_counts=False)), "validation"
        else:
            (corpus, _), part = load.load(data, tests=True), "all"
        rows, changes = self._rows(corpus)
        whole = split.whole_pieces(corpus.offsets, np.full(len(corpus), split.VALIDATION))
        streams = sequences.streams(rows, self._with_edges(whole, corpus), np.ones(len(corpus), bool))
        if not streams.weight.any():
            raise RunError(f"data {data.source}: no piece has more than one note; add files")
        self._say_changes(corpus, changes)
        return Scored(
            streams, len(corpus), _commonest(rows, streams, self._bins.predicted), part, split.all_held_out(corpus)
        )

    def music(self) -> tuple[Music | None, Fingerprint]:
        """As `Encoding.music`."""
        if holds_shards(self.config.data.source):
            found = event_shards.opened(self.config.data)
            return event_shards.music(found), event_shards.fingerprint(found)
        corpus, _ = load.load(self.config.data)
        return split.music_of(corpus, self._parts(corpus)), corpus.fingerprint

    def count(self, scored: Any) -> dict[str, int]:
        """As `Encoding.count`."""
        targets = np.asarray(scored.rows)[np.asarray(scored.seen)[np.asarray(scored.weight) > 0] + 1]
        ends = int(note_rows.is_edge(targets, self._bins).sum())
        return {"notes": len(targets) - ends, "ends": ends}

    def metrics(self, validation: Validation) -> dict[str, float]:
        """The negative log-likelihood of a note, and of each of its columns."""
        by_column = np.asarray(validation.nats_by_column, np.float64).tolist()
        names = [COLUMNS[column] for column in self._bins.predicted]
        of_columns = {f"{name}_nats": nats for name, nats in zip(names, by_column, strict=True)}
        return {"nats_per_note": float(validation.nats)} | of_columns

    def primers(self, training: Any, chosen: np.ndarray) -> np.ndarray:
        """As `Encoding.primers`: whole windows of a piece; a piece too short for one is repeated."""
        window, rows = self.config.data.window, np.asarray(training.rows)
        starts, first, end = (np.asarray(array)[chosen] for array in (training.starts, training.first, training.end))
        place = np.maximum(np.minimum(starts, end - window), first)[:, None] + np.arange(window)
        return rows[first[:, None] + (place - first[:, None]) % (end - first)[:, None]].astype(np.float32)

    def primer_of(self, notes: Notes, plan: Plan = UNPLANNED) -> np.ndarray:
        """As `Encoding.primer_of`: the last notes, as many as a match reaches back."""
        to_come = plan.bars or round(plan.notes / self._bins.notes_per_bar)
        rows = self._rows_of(notes, "primer", max(to_come - 1, 0))
        if self._bins.has_form:
            rows = rows[:-1]
        own = bar_position.text_of(*notes.meters[bar_position.segments(notes.onset_beats[-1:], notes.meters)[0], 1:])
        taken = bar_position.text_of(*note_rows.meter_of(rows[-1:], self._bins))
        if own != taken:
            console.say("primer", f"its meter, {own}, becomes {taken}, the nearest that the model knows")
        return rows[-longest_match.REACH :]

    def rows(self, notes: Notes) -> np.ndarray:
        """As `Encoding.rows`. If the model knows form, there is an edge before and after the notes."""
        return self._rows_of(notes, "piece")

    def order(self, notes: Notes) -> np.ndarray:
        """As `Encoding.order`."""
        return note_rows.in_rows(notes, self._bins)[0]

    def _rows_of(self, notes: Notes, name: str, to_come: int = 0) -> np.ndarray:
        """A whole piece as rows, float32 [L, C], after which `to_come` bars follow; says what it had to change."""
        rows, is_nearest = note_rows.encode(notes, self._bins, self._own.match_share > 0, to_come)
        for line in rounding.of_rows(notes, rows, is_nearest, self._bins):
            console.say(name, line)
        self._say_instruments(name, notes.program)
        return rows.astype(np.float32)

    def _say_instruments(self, label: str, program: np.ndarray) -> None:
        """Says which instruments are replaced by others; program: int16 [N], of each note."""
        told = rounding.of_instruments(program, self._bins, self._own.instruments == "merge")
        if told:
            console.say(label, told)

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """As `Encoding.likelihoods`."""
        return tuple(COLUMNS[column] for column in self._bins.predicted)

    def opening(self, primers: np.ndarray, params: Sequence[SamplingParams]) -> np.ndarray:
        """As `Encoding.opening`: a few notes, moved to the pitches that each output may draw."""
        return event_draw.transposed(primers[:, -OPENING_NOTES:], params)

    def in_meter(self, windows: np.ndarray, params: Sequence[SamplingParams]) -> np.ndarray:
        """As `Encoding.in_meter`: the last row of a window says which meter its output is in.

        Raises:
            UsageError: the model never saw that meter.
        """
        changed = np.array(windows)
        for window, one in zip(changed, params, strict=True):
            if one.meter:
                # Models of 0.1.0 have no such column.
                window[-1, METER : METER + 1] = event_plans.meter_bin(self._bins, one.meter)
        return changed

    @property
    def has_form(self) -> bool:
        """As `Encoding.has_form`."""
        return self._bins.has_form

    def follows(self, rows: np.ndarray, primer: Notes) -> np.ndarray:
        """As `Encoding.follows`."""
        step = note_rows.ordered(primer, self._bins.steps_per_beat)[1][-1]
        return (step + note_bins.steps_of(self._bins)[0][rows[:, 0, INTERVAL].astype(int)]) / self._bins.steps_per_beat

    def gap(self, piece: Notes, begin: float, end: float, params: SamplingParams, candidates: int) -> Gap:
        """As `Encoding.gap`."""
        score = event_score.of(piece, begin, end, self._bins)
        plan = score.plan(event_plans.instruments_of(self._bins, params))
        draw = self.draw([params] * candidates, jax.device_put(np.zeros(0)), [plan] * candidates)
        assert isinstance(draw, event_draw.EventDraw)
        return score.gap(draw.controls, draw.clock)

    def melody_velocity(self) -> int:
        """As `Encoding.melody_velocity`: that of the middle bin."""
        return self._bins.velocity[len(self._bins.velocity) // 2]

    def tempo(self, bpm: float | None) -> float:
        """As `Encoding.tempo`."""
        return bpm or self._bins.bpm

    def fitting(self, primers: np.ndarray, params: SamplingParams) -> np.ndarray:
        """As `Encoding.fitting`: those that end in the meter asked for, all if none does.

        Raises:
            UsageError: the model never saw that meter.
        """
        everything = np.arange(len(primers))
        if not params.meter:
            return everything
        meter = event_plans.meter_bin(self._bins, params.meter)
        found = np.flatnonzero(primers[:, -1, METER] == meter) if self._bins.has_meter else everything
        if not len(found):
            console.say(
                "meter", f"no window that comes with the model is in {params.meter}; continues windows in other meters"
            )
        return found if len(found) else everything

    def beats_per_bar(self, windows: np.ndarray) -> np.ndarray:
        """As `Encoding.beats_per_bar`."""
        meters = [(0, *note_rows.meter_of(window[-1:], self._bins)) for window in windows]
        return bar_position.beats_per_bar(np.array(meters))

    def row_seconds(self, rows: np.ndarray, bpm: float, begins: bool = False) -> np.ndarray:
        """As `Encoding.row_seconds`."""
        steps = note_bins.steps_of(self._bins)[0][rows[:, :, INTERVAL].astype(int)]
        if begins:
            steps[:, 0] = rows[:, 0, BAR_POSITION]
        seconds = steps / self._bins.steps_per_beat * 60 / bpm
        return np.where(note_rows.is_edge(rows, self._bins), np.inf, seconds)

    def ending(self, rows: np.ndarray) -> int:
        """As `Encoding.ending`."""
        edges = np.flatnonzero(note_rows.is_edge(rows, self._bins))
        rows = rows[: edges[0]] if len(edges) else rows
        phrase = rows[rows[:, BARS_LEFT] == form.left_bin(0)][:, PHRASE]
        return -1 if (phrase != phrase[:1]).any() else len(edges) > 0

    def nearest(self, pieces: Sequence[Notes], plan: Plan, params: SamplingParams) -> int:
        """As `Encoding.nearest`."""
        return event_plans.nearest(self._bins, pieces, plan, params)

    def limits(self) -> Limits:
        """As `Encoding.limits`."""
        sizes = np.array(self._bins.sizes, np.float32)
        return Limits(jax.device_put(np.zeros_like(sizes)), jax.device_put(sizes - 1))

    def plans(
        self,
        params: Sequence[SamplingParams],
        choices: np.ndarray,
        length: Length,
        bpm: float,
        primer: Notes | None = None,
    ) -> list[Plan]:
        """As `Encoding.plans`: what is not asked for is as in one of the training pieces.

        Raises:
            UsageError: the model never saw the meter, the mode or the instruments asked for.
        """
        if not self._bins.has_form:
            return super().plans(params, choices, length, bpm, primer)
        if any(one.best_of > 1 for one in params) and not self._bins.likenesses:
            console.say_once("best_of", "this model stores no measures of its training pieces: keeps the first try")
        return [
            event_plans.of_output(self._bins, one, int(choice), length, bpm, primer)
            for one, choice in zip(params, choices, strict=True)
        ]

    def begin(self, plans: Sequence[Plan]) -> np.ndarray | None:
        """As `Encoding.begin`: the edge before the first note of a piece of this key, meter and length."""
        if not self._bins.has_form:
            return None
        rows = np.zeros((len(plans), 1, len(self._bins.sizes)), np.float32)
        for row, plan in zip(rows[:, 0], plans, strict=True):
            bars = plan.bars or max(round(plan.notes / self._bins.notes_per_bar), 1)
            row[[INTERVAL, METER, MODE]] = EDGE, plan.meter, plan.mode
            row[BARS_LEFT] = form.left_bin(bars - 1)
        return rows

    def draw(self, params: Sequence[SamplingParams], deviation: jax.Array, plans: Sequence[Plan] | None = None) -> Draw:
        """As `Encoding.draw`."""
        params = [self._masked(one, plan) for one, plan in zip(params, plans or [UNPLANNED] * len(params), strict=True)]
        match = self._own.match_share > 0
        if not match and any(one.longest_match < SamplingParams().longest_match for one in params):
            console.say("match", "this model does not use matches, so --longest_match has no effect")
        return event_draw.of_params(self._bins, params, match, plans)

    def _masked(self, params: SamplingParams, plan: Plan) -> SamplingParams:
        """The parameters, with a key only if it is a mask; in music that is itself in the key, only a scale is one."""
        if not self._bins.has_form:
            if params.scale not in ("", "chromatic") and not params.key:
                raise UsageError(f"scale={params.scale} without a key: expected its root, such as --key=C")
            return params
        return dataclasses.replace(params, key=(params.key or keys.text_of(plan.tonic, 0)) if params.scale else "")

    def decode(self, rows: np.ndarray, bpm: float | None = None, plan: Plan = UNPLANNED) -> Notes:
        """As `Encoding.decode`."""
        return note_rows.decode(rows, self._bins, bpm, plan.tonic)

    def _parts(self, corpus: Corpus) -> Parts:
        """What trains and what validates."""
        return split.parts(corpus, self.config.data, corpus.offsets, 1)

    def _rows(self, corpus: Corpus) -> tuple[np.ndarray, list[Changes]]:
        """(all pieces as rows, uint8 [N, C]; what they change of each piece)."""
        match, made, changes = self._own.match_share > 0, [], []
        with console.each("rows", range(len(corpus)), "pieces") as pieces:
            for p in pieces:
                notes = corpus.piece(p)
                rows, is_nearest = note_rows.encode(notes, self._bins, match)
                made.append(rows)
                changes.append(rounding.changes(notes, rows, is_nearest, self._bins))
        return np.concatenate(made), changes

    def _with_edges(self, parts: Parts, corpus: Corpus) -> np.ndarray:
        """Where the rows of each part begin, edges included: int64 [Q + 1], from `parts.offsets`, which count notes."""
        if not self._bins.has_form:
            return parts.offsets
        piece = np.append(parts.piece, len(corpus))
        inside = parts.offsets > corpus.offsets[piece]  # a part within a piece begins after its edge
        return parts.offsets + 2 * piece + inside

    def _say_changes(self, corpus: Corpus, changes: list[Changes]) -> None:
        """Says what the rows change of notes and instruments, how many silences they shorten, and how many pieces lose
        whole bars before the first note."""
        for line in rounding.told(changes, self._bins):
            console.say("events", line)
        self._say_instruments("events", corpus.notes.program)
        found = [note_rows.silences(corpus.piece(p), self._bins) for p in range(len(corpus))]
        shortened, led_in = (sum(kind) for kind in zip(*found, strict=True))
        if shortened:
            console.say("events", rounding.shortened(shortened, self._bins))
        if led_in:
            console.say("events", f"leaves out silent bars before the first note of {console.counted(led_in, 'piece')}")

    def _windows(self, rows: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> Sequences:
        """Windows of the chosen parts, bool [Q]: rows uint8 [N, C], offsets [Q + 1]."""
        data, augment = self.config.data, event_augment.of(self._bins, self._own)
        return sequences.windows(rows, offsets, chosen, data.window, self._own.transpose, note_rows.room, augment)


def _commonest(learned: np.ndarray, streams: Streams, predicted: Sequence[int]) -> float:
    """Accuracy on all targets of always predicting the commonest bin of each column of `learned`, uint8 [M, C]."""
    targets = np.asarray(streams.rows)[np.asarray(streams.seen)[np.asarray(streams.weight) > 0] + 1]
    shares = [(targets[:, column] == np.bincount(learned[:, column]).argmax()).mean() for column in predicted]
    return float(np.mean(shares))

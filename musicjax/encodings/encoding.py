"""What every encoding gives the rest of the program, and the one place where a name becomes an encoding.

An encoding turns music into rows of numbers for a network, and rows back into music. Nothing outside this package asks
which encoding is in use. To add one, add a file here with a function `make`, and its parts to `config.PARTS`.

Shape legend: N rows, C columns, T rows a window, K outputs, L rows sampled, M primers.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from musicjax import console
from musicjax.config import Config, DataConfig
from musicjax.corpus.corpus import Fingerprint, Outcome
from musicjax.corpus.split import Music
from musicjax.encodings.gap import Gap
from musicjax.encodings.plan import UNPLANNED, Length, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.model.network import Network
from musicjax.model.sample import Draw, Limits
from musicjax.music import READER_VERSION
from musicjax.music.notes import Notes
from musicjax.training.windows import ScoringSet, TrainingSet, Validation

# The tempo, in quarter notes a minute, for encodings without one of their own.
BPM = 120.0
NO_FORM = "new bars in a piece: expected a note-event model that knows the form of pieces"


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """Music that a model is scored on.

    Attributes:
        rows: arrays on the host.
        pieces: how many pieces take part.
        majority: accuracy of the best constant answer, see `config.accuracy_meaning`.
        split: which part of the source it is.
        music: the pieces as notes; None if the source has only frames.
    """

    rows: ScoringSet
    pieces: int
    majority: float
    split: str
    music: Music | None


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The data of a run.

    Attributes:
        encoding: with the constants that it learned from the training pieces.
        training: windows to learn from, arrays on the host.
        validation: what is held out.
        fingerprint: of the content.
        outcomes: what became of each file; empty where the source is shards.
        block: if memory does not hold all windows, what puts those of epoch k, from 0, on every device of a mesh;
            `training` is then those of epoch 0. None: every epoch trains on all of `training`.
    """

    encoding: Encoding
    training: TrainingSet
    validation: Scored
    fingerprint: Fingerprint
    outcomes: list[Outcome]
    block: Callable[[int, Mesh], TrainingSet] | None = None


class Encoding(Protocol):
    """One way to write music as rows, with the constants that it learned from training data."""

    # How a model of this encoding may see its past when it samples, see `model.sample.DECODES`; the first by default.
    decodes: ClassVar[tuple[str, ...]]
    # Whether outputs obey sampling parameters other than the temperature, and have bars and a tempo.
    has_controls: ClassVar[bool]
    # What progress calls its rows.
    row_name: ClassVar[str] = "notes"

    config: Config

    @property
    def has_form(self) -> bool:
        """Whether rows know their place in the form of a piece, so that bars within it can be rewritten."""
        return False

    @property
    def learned(self) -> dict[str, Any]:
        """The constants learned, as JSON values; empty if there are none, or none yet."""
        return {}

    def constants(self) -> dict[str, Any]:
        """What a program without Python needs, beside the weights, to compose with a model, as JSON values; empty where
        there is no such program."""
        return {}

    @property
    def basis(self) -> dict[str, Any]:
        """The config fields, by path, that decide the shape and the meaning of the weights, as values to compare."""
        model = self.config.model
        return {"data.encoding": self.config.data.encoding, "model.units": model.units, "model.layers": model.layers}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of a row; empty if they have none."""
        return ()

    @property
    def measures(self) -> tuple[str, ...]:
        """The names that `metrics` may have, known before any data; lower is better."""
        return ()

    @property
    def sequences_a_window(self) -> int:
        """The number of sequences that the LSTM sees in a training window, known before any data are read."""
        return 1

    def network(self) -> Network:
        """The network of the config.

        Raises:
            UsageError: JAX has settings that musicjax cannot work with.
        """
        ...

    def dataset(self) -> Dataset:
        """Reads the source, splits it and, unless the encoding has its constants, learns them; says what it found.

        Raises:
            RunError: there is nothing usable, or one side of the split has no window.
        """
        ...

    def inside(self, share: float) -> Dataset | None:
        """As `dataset`, but splits only the training pieces, so that settings are chosen without the held-out ones.

        Returns:
            None if there are too few training pieces, or models of this encoding have no settings to choose.
        """
        return None

    def scored(self, data: DataConfig) -> Scored:
        """All music of another source as rows, made with the constants learned.

        Raises:
            UsageError: the source cannot be written in this encoding.
            RunError: no piece is long enough.
        """
        ...

    def music(self) -> tuple[Music | None, Fingerprint]:
        """(what the run trains and validates on, as notes; its fingerprint); downloads it if it is not here.

        Raises:
            RunError: the source is gone.
        """
        ...

    def count(self, scored: ScoringSet) -> dict[str, int]:
        """How much is scored, by unit, such as {"notes": 100, "ends": 2}; metrics are means over the sum, here 102."""
        ...

    def metrics(self, validation: Validation) -> dict[str, float]:
        """The metrics of a validation besides loss and accuracy, in familiar units."""
        ...

    def primers(self, training: TrainingSet, chosen: np.ndarray) -> np.ndarray:
        """Windows to generate from, float32 [M, T, C], for training windows with these indices, [M]."""
        ...

    def primer_of(self, notes: Notes, plan: Plan = UNPLANNED) -> np.ndarray:
        """The last notes of a piece as rows to continue, float32 [T, C]; says what it had to change.

        Raises:
            RunError: none of the notes can be written in this encoding.
        """
        ...

    def rows(self, notes: Notes) -> np.ndarray:
        """A whole piece as rows, float32 [L, C]. Prints what it had to change.

        Raises:
            RunError: none of the notes can be written in this encoding.
        """
        ...

    def order(self, notes: Notes) -> np.ndarray | None:
        """Which note is in each row of a piece, edges aside: int64 [N]; None if a row can hold several notes."""
        return np.arange(len(notes))

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """The parts of a row that have a likelihood: its predicted columns, or all of it; empty if it has none."""
        return ()

    def fitting(self, primers: np.ndarray, params: SamplingParams) -> np.ndarray:
        """The indices of those windows [M, T, C] that an output without its own primer may continue."""
        return np.arange(len(primers))

    def opening(self, primers: np.ndarray, params: Sequence[SamplingParams]) -> np.ndarray:
        """What outputs without a primer of their own continue: windows [K, T, C], or the rows of them that fit."""
        return primers

    def in_meter(self, windows: np.ndarray, params: Sequence[SamplingParams]) -> np.ndarray:
        """Windows [K, T, C], changed so that what follows each is in the meter that its output asks for."""
        return windows

    def beats_per_bar(self, windows: np.ndarray) -> np.ndarray:
        """Quarter notes in a bar of the music that follows each window [K, T, C], float64 [K]."""
        return np.full(len(windows), 4.0)

    def placed(self, pieces: list[Notes], primer: Notes) -> list[Notes]:
        """The continuations of a primer, in its meter and on its grid: beat 0 is a bar line."""
        return pieces

    def follows(self, rows: np.ndarray, primer: Notes) -> np.ndarray:
        """The beat of a primer at which its continuations, rows [K, L, C], begin: float64 [K].

        Raises:
            UsageError: the encoding has no form.
        """
        raise UsageError(NO_FORM)

    def gap(self, piece: Notes, begin: float, end: float, params: SamplingParams, candidates: int) -> Gap:
        """What is between two bar lines of a piece, given in beats, as a gap for `candidates` candidates.

        Raises:
            UsageError: the encoding has no form, or the model never saw the instruments asked for.
        """
        raise UsageError(NO_FORM)

    def melody_velocity(self) -> int:
        """MIDI velocity of a melody given as text."""
        return 80

    def tempo(self, bpm: float | None) -> float:
        """The tempo asked for, or else the encoding's own; quarter notes a minute."""
        return bpm or BPM

    def rows_of(self, seconds: float, bpm: float) -> int | None:
        """How many rows last this long; None if that depends on the rows."""
        return None

    def row_seconds(self, rows: np.ndarray, bpm: float, begins: bool = False) -> np.ndarray:
        """Seconds from the previous onset to that of each row [K, L, C], float64 [K, L].

        Args:
            begins: whether the first row begins the output; its seconds then count from where the output begins.
        """
        ...

    def ending(self, rows: np.ndarray) -> int:
        """1 if a piece, rows [L, C], has ended, 0 if it has not yet, -1 if it went on beyond its last bar."""
        return 0

    def nearest(self, pieces: Sequence[Notes], plan: Plan, params: SamplingParams) -> int:
        """Which of several tries at one output is most like a training piece, and in the requested key."""
        return 0

    def limits(self) -> Limits:
        """What sampled rows are clamped to."""
        ...

    def plans(
        self,
        params: Sequence[SamplingParams],
        choices: np.ndarray,
        length: Length,
        bpm: float,
        primer: Notes | None = None,
    ) -> list[Plan]:
        """What each of K outputs is to be; choices: int [K], random numbers of 0 or more.

        Raises:
            UsageError: something is asked for that the model never saw.
        """
        return [Plan()] * len(params)

    def begin(self, plans: Sequence[Plan]) -> np.ndarray | None:
        """The rows before the first note of each output, [K, T, C]; None if outputs continue windows of the data."""
        return None

    def draw(self, params: Sequence[SamplingParams], deviation: jax.Array, plans: Sequence[Plan] | None = None) -> Draw:
        """How the next rows are drawn; deviation: float32 [C], of the validation residual."""
        ...

    def decode(self, rows: np.ndarray, bpm: float | None = None, plan: Plan = UNPLANNED) -> Notes:
        """Rows [L, C] as notes, at this tempo where the encoding has one, and as planned."""
        ...


def of(config: Config, learned: Mapping[str, Any] | None = None) -> Encoding:
    """The encoding that a config names, with the constants saved with a model.

    Raises:
        ValueError: the constants are not those of this encoding.
    """
    module = importlib.import_module(f"musicjax.encodings.{config.data.encoding}")
    return module.make(config, learned)


def require_same(
    found: Fingerprint, source: str, fingerprint: str, saved_source: str, workdir: Path, goes_on: str = ""
) -> None:
    """Raises RunError if the data `found` are not those that the run in the workdir learned from.

    Args:
        goes_on: if training goes on, the version of musicjax that trained so far, whose reading of the notes it needs.
    """
    if fingerprint == found.sha256:
        return
    if fingerprint in found.earlier:
        reader, now = f"reader {found.earlier[fingerprint]}", f"reader {READER_VERSION}"
        if goes_on:
            raise RunError(
                f"workdir {workdir} was trained on notes as {reader} of musicjax {goes_on} read them, and {now} reads "
                f"some differently; go on with that version, or begin in another --workdir with --init_from={workdir}"
            )
        console.say_once("data", f"{reader} read {source} for this run; {now} reads some notes differently")
    else:
        moved = f"config.data.source is {saved_source!r} in the run, {source!r} here"
        what = f"the files of {source} have changed" if source == saved_source else moved
        raise RunError(
            f"workdir {workdir} was trained on other data: {what}; "
            "set --config.data.source to the files it had, or use another --workdir"
        )

"""One trial of `choose_config`: trains a candidate for some seconds, draws samples and scores them by real pieces.

Its step size falls with time, not with epochs, since it is not yet known how many epochs there is time for.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings import sampling_params
from musicjax.encodings.encoding import Dataset
from musicjax.encodings.plan import Length
from musicjax.generation import generate
from musicjax.music import likeness
from musicjax.music.likeness import Standard
from musicjax.music.notes import Notes
from musicjax.run import device, start
from musicjax.store import model as model_lib
from musicjax.store.model import Model
from musicjax.training import mesh, step
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import trials as trials_lib
from musicjax.training.step import TrainState

# Windows that are trained on between two looks at the clock; and how often a trial is validated.
STRETCH_WINDOWS, LOOKS = 256, 12
# How often the step size halves in a trial and in the run that follows: on 60 folk tunes the lowest validation loss
# came after about one half-life of 25 epochs, and later ones overfit.
HALVINGS = 3.0
# The share of a trial's time after which it stops training; and the least that it trains however long compiling took.
TRAINING_SHARE, LEAST_SHARE = 0.6, 0.1
# If compiling takes more than this share of the time, the trial is given up.
MOST_COMPILING = 0.6
# How many samples are drawn in each way.
SAMPLES = 16


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        fields: what the candidate sets, by path.
        sampling: the settings, by path, whose samples were most like real pieces.
        score, parts: of those samples, see `likeness.score`.
        epochs, best_epoch: passes over the training pieces, in all and until the lowest validation loss.
        validation_loss: that loss.
        windows_per_second: in training.
        seconds: in all; overhead_seconds: of those, for compiling and for samples.
        notes_per_second: at which samples are drawn, once that is compiled.
    """

    fields: dict[str, Any]
    sampling: dict[str, Any]
    score: float
    parts: dict[str, float]
    epochs: float
    best_epoch: float
    validation_loss: float
    windows_per_second: float
    seconds: float
    overhead_seconds: float
    notes_per_second: float


class Trained(NamedTuple):
    """A model after some seconds; epochs, best_epoch and the rest as in `Trial`."""

    model: Model
    epochs: float
    best_epoch: float
    validation_loss: float
    windows_per_second: float
    compile_seconds: float


def run(
    config: Config,
    dataset: Dataset,
    standard: Standard,
    fields: Mapping[str, Any],
    sampling: Sequence[Mapping[str, Any]],
    seconds: float,
) -> Trial | None:
    """Trains the config, in which the fields of the candidate are set, for about `seconds`, samples included.

    Returns:
        None if compiling alone took most of the time.
    """
    began = time.perf_counter()
    trained = train(config, dataset, seconds)
    if trained.compile_seconds > MOST_COMPILING * seconds:
        return None
    before = time.perf_counter()
    groups = _samples(trained.model, sampling, standard.notes)
    sampled_seconds = time.perf_counter() - before
    before = time.perf_counter()
    notes = sum(len(piece) for pieces in _samples(trained.model, sampling, standard.notes) for piece in pieces)
    notes_per_second = notes / (time.perf_counter() - before)  # the first drawing also compiles
    scores = [likeness.score(pieces, standard) for pieces in groups]
    best = max(range(len(scores)), key=lambda place: scores[place]["score"])
    parts = {name: round(value, 4) for name, value in scores[best].items()}
    return Trial(
        dict(fields),
        dict(sampling[best]),
        parts.pop("score"),
        parts,
        round(trained.epochs, 2),
        round(trained.best_epoch, 2),
        round(trained.validation_loss, 5),
        round(trained.windows_per_second, 2),
        round(time.perf_counter() - began, 2),
        round(trained.compile_seconds + sampled_seconds, 2),
        round(notes_per_second, 1),
    )


def train(config: Config, dataset: Dataset, seconds: float) -> Trained:
    """A model of one seed after its share of `seconds`, with the parameters of the lowest validation loss."""
    began = time.perf_counter()
    config, _ = device.with_precision(_single(config), None)
    dataset = dataclasses.replace(dataset, encoding=encoding_lib.of(config, dataset.encoding.learned))
    arrays, metadata = start.started(dataset, None)
    programs = _compiled(config, dataset, arrays.state)
    compiled = time.perf_counter()
    until = max(began + TRAINING_SHARE * seconds, compiled + LEAST_SHARE * seconds)
    state, best, lowest, at_best = programs.state, arrays.best_params, math.inf, 0
    looks, passed, spent = 0, 0.0, 0.0
    for number, index in enumerate(_stretches(len(dataset.training.starts), config.seed), 1):
        before = time.perf_counter()
        halvings = HALVINGS * passed if config.train.half_life else 0.0
        state = programs.advance(state, index, config.train.learning_rate * 0.5**halvings, number)
        spent += time.perf_counter() - before
        passed = (time.perf_counter() - compiled) / (until - compiled)
        if passed * LOOKS >= looks + 1:
            looks = int(passed * LOOKS)
            params, loss = programs.validate(state)
            if loss < lowest:
                best, lowest, at_best = params, loss, number
        if passed >= 1:
            break
    model = model_lib.of(arrays._replace(best_params=best), metadata)
    share = len(index) / len(dataset.training.starts)
    return Trained(model, number * share, at_best * share, lowest, number * len(index) / spent, compiled - began)


class _Programs(NamedTuple):
    """The first state; advance(state, indices of windows, step size, stretch) -> state, which reuses the buffers;
    validate(state) -> (its parameters, their validation loss)."""

    state: TrainState
    advance: Callable[[TrainState, np.ndarray, float, int], TrainState]
    validate: Callable[[TrainState], tuple[dict, float]]


def _compiled(config: Config, dataset: Dataset, first: TrainState) -> _Programs:
    """The programs of a trial. They take step size and dropout as arrays, so that candidates of a size share them."""
    settings, window, net = config.train, config.data.window, dataset.encoding.network()
    devices = mesh.make(settings.devices)
    mesh.require_divisible(settings.batch_size, devices, settings.accumulate)
    training, scored = mesh.replicate((dataset.training, dataset.validation.rows), devices)
    state = mesh.replicate(jax.tree.map(lambda leaf: leaf[None], first), devices)
    optimizer_of = functools.partial(optimizer_lib.of, dataclasses.replace(settings, half_life=0.0))
    epoch = trials_lib.make_epoch(net, optimizer_of, settings.batch_size, window, 1, devices, settings.accumulate)
    validation = step.make_validation(net, settings.batch_size, window, devices)

    def given(index: np.ndarray, rate: float, number: int) -> tuple:
        trial = trials_lib.of([(config.seed, rate, config.model.dropout)])
        return training.only(index), *mesh.replicate((trial, jnp.int32(number)), devices)

    index = next(_stretches(len(dataset.training.starts), config.seed))
    run_epoch = epoch.lower(state, *given(index, settings.learning_rate, 0)).compile()
    run_validation = validation.lower(trials_lib.select(state.params, 0), scored).compile()

    def advance(state: TrainState, index: np.ndarray, rate: float, number: int) -> TrainState:
        return jax.block_until_ready(run_epoch(state, *given(index, rate, number))[0])

    def validate(state: TrainState) -> tuple[dict, float]:
        params = trials_lib.select(state.params, 0)
        return mesh.local(params), float(run_validation(params, scored).loss)

    return _Programs(state, advance, validate)


def _single(config: Config) -> Config:
    """The config for a single model, however many trials the run itself has."""
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, trials=1, learning_rates=(), dropouts=())
    )


def _stretches(count: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of `count` windows, in pass after pass, equally many at a time."""
    generator, size = np.random.default_rng(seed), min(count, STRETCH_WINDOWS)
    while True:
        order = generator.permutation(count)
        yield from (order[first : first + size] for first in range(0, count - size + 1, size))


def _samples(model: Model, sampling: Sequence[Mapping[str, Any]], notes: int) -> list[list[Notes]]:
    """Pieces of this many notes, SAMPLES drawn in each way; piece k has the same random numbers in every way.

    They are cut off there: no more notes are compared, and drawing them to their end takes several times as long.
    """
    params = []
    for values in sampling:
        config = config_lib.with_fields(model.config, values)
        params += [sampling_params.of_config(config.sample)] * SAMPLES
    numbers = [*range(SAMPLES)] * len(sampling)
    pieces = generate.new_pieces(model, params, Length(num_notes=notes, exact=True), model.config.seed, numbers=numbers)
    return [pieces[first : first + SAMPLES] for first in range(0, len(pieces), SAMPLES)]

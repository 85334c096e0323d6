"""Defaults from the data: short trials choose size and settings for a folder, within the minutes of the whole command.

The pieces that the run will validate on take no part: some of the training pieces are held out in turn, and samples are
compared with them. Likelihood alone decides nothing. Trials are kept in the workdir, so nothing is tried twice.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicjax import config as config_lib
from musicjax import console, files
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset
from musicjax.errors import RunError
from musicjax.music import likeness
from musicjax.run import candidate_trial, candidates, sampling_choice
from musicjax.run import workdir as workdir_lib
from musicjax.run.candidate_trial import HALVINGS, Trial
from musicjax.store import lock
from musicjax.version import __version__

NAME = "trials.jsonl"
# The share of the training pieces that samples are compared with, by this many notes at most.
HELD_OUT_SHARE, MOST_NOTES = 0.15, 300
# The share of the minutes for trials; with less than these seconds a trial tells nothing.
TRIALS_SHARE, LEAST_TRIAL_S = 0.45, 45.0
# If compiling takes too long for more trials, how many share the time that is left, and the least time for each.
FEWER, LEAST_AGAIN_S = 2, 10.0
# The drawing speed assumed for a trial that drew nothing.
LEAST_NOTES_PER_S = 1.0
# How long the speed is measured where there are no trials.
MEASURED_S = 5.0
# A later candidate must be better by this much: sixteen samples show no smaller difference.
MARGIN = 0.01
# Of the time that is left, the share for epochs: saving, sound and the page take some, too.
TRAINING_SHARE = 0.75
# The least share of all time for epochs, even if the command then takes longer: a model that hardly trained is useless.
LEAST_SHARE = 0.2
# A run gets at most BEYOND_BEST times the epochs after which its trial's validation loss was lowest. If the lowest came
# after the share TURNED of the trial, the trial was too short to tell, and the limit is at least ENOUGH_EPOCHS.
BEYOND_BEST, TURNED, ENOUGH_EPOCHS, MOST_EPOCHS = 2.0, 0.75, 30, 200
# Fields that do not affect what a trial finds.
PASSING = ("name", "data.source", "data.cache", "data.workers", "data.seconds_per_file")


class Clock(NamedTuple):
    """The time of a command: began, by time.monotonic; seconds: how many it may take."""

    began: float
    seconds: float

    @property
    def passed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


class Speed(NamedTuple):
    """What is known of how long the run will take: the training windows, how many are processed in a second, and the
    seconds for all else: reading, compiling, samples."""

    windows: float
    windows_per_second: float
    other_seconds: float


def choose(config: Config, workdir: Path, minutes: float, pinned: Mapping[str, Any], began: float) -> Config:
    """The config for the music that its source names: tries candidates, and says what it chose and why.

    Args:
        config: what every trial begins with, the pinned fields in it.
        minutes: for the whole command: reading, trials, training and samples.
        pinned: the fields that were asked for, by path; they are the same in all candidates.
        began: when the command began, by time.monotonic.

    Raises:
        RunError: the data cannot be read or used, or the workdir cannot be written.
    """
    encoding, clock = encoding_lib.of(config), Clock(began, 60 * minutes)
    workdir_lib.require_folder(workdir)
    with lock.held(workdir):
        console.say("auto", f"chooses by trials within {_minutes(clock)}; samples decide, not the loss")
        dataset, found = encoding.inside(HELD_OUT_SHARE), list[Trial]()
        reading_s = clock.passed
        if dataset is None:
            console.say("auto", "too few training pieces to hold some out for trials: takes the defaults")
            dataset = encoding.dataset()
            windows = float(len(dataset.training.starts))
        else:
            windows = len(dataset.training.starts) * _whole(dataset)
            found = _try_all(config, dataset, workdir, clock, pinned)
        if found:
            best = best_of(found)
            _say(found, best)
            after_s = seconds_after(config, dataset, found, best, pinned)
            speed = Speed(windows, best.windows_per_second, reading_s + best.overhead_seconds + after_s)
            return settled(config, pinned, best, epochs_of(speed, clock, best, config.train.trials))
        trained = candidate_trial.train(config, dataset, MEASURED_S)
        speed = Speed(windows, trained.windows_per_second, reading_s + 2 * trained.compile_seconds)
        return settled(config, pinned, None, epochs_of(speed, clock, None, config.train.trials))


def _minutes(clock: Clock) -> str:
    minutes = clock.seconds / 60
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"


def _try_all(config: Config, dataset: Dataset, workdir: Path, clock: Clock, pinned: Mapping[str, Any]) -> list[Trial]:
    """The trials that there is time for, including those made before; says so if it leaves some out."""
    music = dataset.validation.music
    assert music is not None, "music that has controls is notes"
    tried = candidates.of(sum(map(len, music.training + music.held_out)), pinned)
    # The time so far went into reading, and the run will read once more.
    seconds_in_all = TRIALS_SHARE * (clock.seconds - 2 * clock.passed)
    ends = clock.passed + seconds_in_all
    fitting = min(len(tried), int(seconds_in_all / LEAST_TRIAL_S))
    if fitting < 1:
        console.say("auto", f"no time for a trial within {_minutes(clock)}: takes the defaults")
        return []
    of = {
        "data": dataset.fingerprint.sha256,
        "options": {"musicjax": __version__, "minutes": clock.seconds / 60, **_options(config, pinned)},
    }
    found = recorded(workdir, of)
    seconds = seconds_in_all / fitting
    standard = likeness.standard(music.held_out, music.known, MOST_NOTES)
    longest, sampling = seconds, candidates.sampling(pinned)
    with console.bar("trial", fitting) as update:
        for number, fields in enumerate(tried[:fitting], 1):
            known = next((trial for trial in found if trial.fields == fields), None)
            if known is None:
                if clock.passed + longest > ends + seconds / 2 and found:
                    console.say("auto", f"no time for {console.counted(fitting - number + 1, 'more candidate')}")
                    break
                one = config_lib.with_fields(config, fields)
                if one.data != dataset.encoding.config.data:
                    dataset = encoding_lib.of(one, dataset.encoding.learned).inside(HELD_OUT_SHARE) or dataset
                known = candidate_trial.run(one, dataset, standard, fields, sampling, seconds)
                fewer = (ends - clock.passed) / FEWER
                if known is None and not found and fewer >= LEAST_AGAIN_S:
                    seconds = longest = fewer  # the compiled programs are kept, so this try trains at once
                    console.say("auto", f"compiling is slow here: fewer trials, of {seconds:.0f} s each")
                    known = candidate_trial.run(one, dataset, standard, fields, sampling, seconds)
                if known is None:
                    console.say("auto", f"{seconds:.0f} s is too short for a trial here: continues without more trials")
                    break
                found.append(known)
                longest = max(longest, known.seconds)
                _record(found, workdir, of)
            update(number, f"{candidates.text(fields)}: score {known.score:.3f}, {known.epochs:.1f} epochs")
    return found


def best_of(found: list[Trial]) -> Trial:
    """The trial that won; found: in the order in which they were tried, at least one."""
    best = found[0]
    for trial in found[1:]:
        if trial.score > best.score + MARGIN:
            best = trial
    return best


def seconds_after(
    config: Config, dataset: Dataset, found: Sequence[Trial], best: Trial, pinned: Mapping[str, Any]
) -> float:
    """About how long the command takes after training, by the speed at which trials drew samples; also prints it."""
    music, sample = dataset.validation.music, config.sample
    assert music is not None
    training = [*music.training, *music.held_out]  # what is held out for trials trains in the run
    tries = getattr(sample.own, "best_of", 1)
    notes = int(np.median([len(piece) for piece in training]))
    rows = sample.num_outputs * tries * notes * sampling_choice.ROWS_OF_WHOLE
    if not _is_pinned(pinned):
        rows += sampling_choice.rows_drawn(training, tries)
    # Both compile once more; the first trial tells how long that takes.
    seconds = rows / max(best.notes_per_second, LEAST_NOTES_PER_S) + max(trial.overhead_seconds for trial in found)
    chooses = "" if _is_pinned(pinned) else "choosing how samples are drawn, and "
    console.say("auto", f"after training, {chooses}the samples of the run take about {console.duration(seconds)}")
    return seconds


def _is_pinned(pinned: Mapping[str, Any]) -> bool:
    """Whether the command says how samples are drawn."""
    return any(name in pinned for name in candidates.SAMPLING_NAMES)


def epochs_of(speed: Speed, clock: Clock, trial: Trial | None, models: int) -> int:
    """How many epochs the run has: as many as there is time for, but no more than suit the chosen trial.

    Args:
        models: how many the run trains.
    """
    left, least = TRAINING_SHARE * (clock.seconds - clock.passed - speed.other_seconds), LEAST_SHARE * clock.seconds
    if left < least:
        minutes = (clock.passed + speed.other_seconds + least) / 60
        console.say(
            "auto",
            "this machine is slow or busy: the command will take longer than it was given, about "
            f"{minutes:.0f} minutes, {least / 60:.1f} of them for training",
        )
    fitting = max(left, least) * speed.windows_per_second / (speed.windows * models)
    if trial is not None:
        has_turned = trial.best_epoch < TURNED * trial.epochs
        fitting = min(fitting, max(BEYOND_BEST * trial.best_epoch, 0 if has_turned else ENOUGH_EPOCHS))
    return max(min(int(fitting), MOST_EPOCHS), 1)


def settled(config: Config, pinned: Mapping[str, Any], trial: Trial | None, epochs: int) -> Config:
    """The config of the run, validated; says how long it trains."""
    chosen = {} if trial is None else {**trial.fields, **trial.sampling}
    chosen["train.epochs"] = pinned.get("train.epochs", epochs)
    chosen["sample.fit"] = not _is_pinned(pinned)
    if config.train.half_life:
        chosen["train.half_life"] = round(chosen["train.epochs"] / HALVINGS, 2)
    config = config_lib.with_fields(config, {path: value for path, value in chosen.items() if path not in pinned})
    console.say(
        "auto",
        f"trains {console.counted(config.train.epochs, 'epoch')}, with a half-life of {config.train.half_life:g}",
    )
    return config


def recorded(workdir: Path, of: Mapping[str, Any]) -> list[Trial]:
    """The trials that the workdir holds, of the same data and options; says so if they are of others.

    Args:
        of: {"data": fingerprint, "options": what was asked for}.
    """
    path = workdir / NAME
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        same = [all(line[name] == value for name, value in of.items()) for line in lines]
        found = [Trial(**{name: line[name] for name in _NAMES}) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        console.say("auto", f"{path} cannot be read ({error}): starts the trials over")
        return []
    if not all(same):
        console.say("auto", f"{path} is from other data or options: starts the trials over")
        return []
    if found:
        console.say("auto", f"{console.counted(len(found), 'trial is', 'trials are')} done already: {path}")
    return found


_NAMES = [field.name for field in dataclasses.fields(Trial)]


def _record(found: list[Trial], workdir: Path, of: Mapping[str, Any]) -> None:
    lines = [json.dumps({**dataclasses.asdict(trial), **of}) + "\n" for trial in found]
    try:
        files.write(workdir / NAME, "".join(lines))
    except OSError as error:
        raise RunError(
            f"workdir {workdir} cannot be written: {error.strerror}; name another with --workdir=DIR"
        ) from error


def _options(config: Config, pinned: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were asked for and matter to a trial, as JSON keeps them."""
    values = {path: value for path, _, value in config_lib.fields(config)}
    return {path: values[path] for path in sorted(pinned) if path in values and path not in PASSING}


def _whole(dataset: Dataset) -> float:
    """How many times as many notes train in the run as in its trials."""
    music = dataset.validation.music
    assert music is not None
    training, held_out = (sum(map(len, side)) for side in (music.training, music.held_out))
    return (training + held_out) / training


def _say(found: list[Trial], best: Trial) -> None:
    """A table of the trials with their scores, and which was chosen for what reason."""
    parts = list(best.parts)
    rows = [
        (
            candidates.text(trial.fields),
            f"{trial.score:.3f}",
            *(f"{trial.parts.get(name, 0.0):.2f}" for name in parts),
            candidates.text(trial.sampling),
            f"{trial.epochs:.1f}",
            "chosen" * (trial is best),
        )
        for trial in found
    ]
    console.table(rows, ("candidate", "score", *parts, "samples drawn at", "epochs", ""))
    console.say(
        "auto",
        f"takes {candidates.text(best.fields)}, samples at {candidates.text(best.sampling)}: these are most like the "
        f"pieces held out for choosing, {best.score:.2f} of 1"
        + f"; a later candidate must score {MARGIN:g} higher"
        * any(trial.score > best.score for trial in found),
    )

"""Several trials in one run: each is the run it would be by itself, and the run is the best of them."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import musicjax
from musicjax import config as config_lib
from musicjax import main
from musicjax.config import Config
from musicjax.model.network import MusicLSTM
from musicjax.run import epoch as epoch_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import trials as trials_lib
from musicjax.training.windows import Windows
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("own_signal_handlers")

TRIALS, EPOCHS = 5, 7
# The tiny run has the first of each. At the second rate the best epoch comes before the last one, and rounding errors
# stay small.
RATES, DROPOUTS = (1e-3, 0.03), (0.2, 0.5)
MANY = {
    "train.trials": TRIALS,
    "train.learning_rates": RATES,
    "train.dropouts": DROPOUTS,
    "train.trial_group": 2,  # so that the last group has one trial only
    "train.epochs": EPOCHS,
}
TWO = {"train.trials": 2, "train.learning_rates": RATES, "train.epochs": 4}


class Run(NamedTuple):
    """A run that has ended: its summary, the lines of metrics.jsonl, its checkpoint."""

    workdir: Path
    summary: dict[str, Any]
    lines: list[dict]
    arrays: checkpoint_lib.Arrays
    metadata: checkpoint_lib.Metadata


def lines_of(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def run_of(clips: Path, workdir: Path, **changes: Any) -> Run:
    summary = musicjax.train(tiny_runs.config_of(clips, **changes), workdir)
    return Run(workdir, summary, lines_of(workdir), *checkpoint_lib.restore(workdir))


def losses_of(lines: list[dict], split: str, trial: int | None = None) -> dict[int, float]:
    """{epoch: loss} of a trial, or of a run that has none."""
    return {line["epoch"]: line["loss"] for line in lines if line["split"] == split and line.get("trial") == trial}


def assert_close(got: dict, expected: dict, relative: float = 1e-5) -> None:
    """Each array differs by at most this share of its norm."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for ours, wanted in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert ours.shape == wanted.shape
        assert np.linalg.norm(ours - wanted) <= relative * np.linalg.norm(wanted)


@pytest.fixture(scope="module")
def many(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All pairs of rates and dropouts, in groups of two, of which the last has one trial only."""
    return run_of(clips, tmp_path_factory.mktemp("many") / "w", **MANY)


@pytest.fixture(scope="module")
def singles(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """For the first trials the run by itself, its seed, learning rate and dropout written down here."""
    folder = tmp_path_factory.mktemp("singles")
    pairs = {0: (0, 1e-3, 0.2), 1: (1, 0.03, 0.2)}
    return {
        trial: run_of(
            clips,
            folder / str(trial),
            **{"seed": seed, "train.learning_rate": rate, "model.dropout": dropout, "train.epochs": EPOCHS},
        )
        for trial, (seed, rate, dropout) in pairs.items()
    }


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, list[float]]], None]:
    """A function that takes {trial: losses} and makes them the trial's validation losses; the last one repeats."""
    return functools.partial(_validate, monkeypatch)


def _validate(patch: pytest.MonkeyPatch, losses: dict[int, list[float]]) -> None:
    read = epoch_lib.read

    def other_losses(under_way, dataset, number, since):
        epoch = read(under_way, dataset, number, since)
        for trial, several in losses.items():
            epoch.valid[trial]["loss"] = several[min(number, len(several) - 1)]
        return epoch

    patch.setattr(epoch_lib, "read", other_losses)


def _poison(patch: pytest.MonkeyPatch, *trials: int) -> None:
    """Sets the parameters of these trials to NaN before the first epoch."""
    start = epoch_lib.start
    factor = jnp.ones(2).at[jnp.array(trials)].set(jnp.nan)

    def poisoned(programs, state, number, *rest, **named):
        params = jax.tree.map(lambda leaf: leaf * factor.reshape(-1, *[1] * (leaf.ndim - 1)), state.params)
        return start(programs, state._replace(params=params), number, *rest, **named)

    patch.setattr(epoch_lib, "start", poisoned)


@pytest.fixture(scope="module")
def diverging(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """Two trials, the second with NaN parameters from the start, and what the run printed."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        _poison(patch, 1)
        run = run_of(clips, tmp_path_factory.mktemp("diverging") / "w", **{**TWO, "train.epochs": 3})
    return run, said.getvalue()


@pytest.fixture(scope="module")
def diverged_later(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two trials; the second is better until it diverges at epoch 3."""
    with pytest.MonkeyPatch.context() as patch:
        _validate(patch, {1: [0.01, 0.05, math.nan]})
        return run_of(clips, tmp_path_factory.mktemp("later") / "w", **TWO)


# A trial is the run by itself.


def _assert_as_by_itself(run: Run, singles: dict[int, Run]) -> None:
    for trial, single in singles.items():
        for split in ("train", "valid"):
            ours, alone = losses_of(run.lines, split, trial), losses_of(single.lines, split)
            assert list(ours) == list(alone) == list(range(1, EPOCHS + 1))
            assert ours == pytest.approx(alone, rel=1e-5)
        state = trials_lib.select(run.arrays.state, trial)
        assert_close(state.params, single.arrays.state.params)
        assert_close(state.opt_state, single.arrays.state.opt_state, 1e-4)
        assert int(state.step) == int(single.arrays.state.step) > 0


def test_a_trials_losses_and_parameters_are_those_of_the_run_by_itself(many, singles):
    _assert_as_by_itself(many, singles)


@pytest.mark.long
@pytest.mark.parametrize("group", [1, 5])
def test_they_are_however_many_are_computed_at_once(clips, tmp_path, group, singles):
    _assert_as_by_itself(run_of(clips, tmp_path / "w", **{**MANY, "train.trial_group": group}), singles)


def test_trials_are_told_apart(many):
    """What is compared with single runs above would not be noticed where all trials were one."""
    for split in ("train", "valid"):
        for epoch in range(1, EPOCHS + 1):
            losses = sorted(losses_of(many.lines, split, trial)[epoch] for trial in range(TRIALS))
            assert min(np.diff(losses)) > 1e-4 * losses[-1]


def test_an_epoch_of_trials_is_compiled_once_and_takes_over_the_states():
    net = MusicLSTM(8, 3)
    rows = jnp.asarray(np.random.default_rng(0).random((40, 3)), jnp.float32)
    windows = Windows(rows, jnp.arange(30, dtype=jnp.int32))
    trials = trials_lib.make([1, 2, 3], [1e-3] * 3, [0.2] * 3)
    epoch = trials_lib.make_epoch(net, optimizer_lib.rmsprop, 8, 8, 2)
    first = states = trials_lib.init(net, optimizer_lib.rmsprop(0.0), trials, 8)
    for number in range(3):
        states, _ = epoch(states, windows, trials, jnp.int32(number))
    assert epoch._cache_size() == 1
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    assert states.step.tolist() == [12, 12, 12]


def test_trials_side_by_side_whose_batches_are_in_parts_give_the_numbers_of_whole_ones():
    net = MusicLSTM(8, 3, 0.5, layers=2, layer_dropout=0.5)
    rows = jnp.asarray(np.random.default_rng(0).random((40, 3)), jnp.float32)
    windows = Windows(rows, jnp.arange(30, dtype=jnp.int32))
    trials = trials_lib.make([1, 2], [1e-3] * 2, [0.2, 0.5])
    ended = []
    for parts in (1, 4):
        epoch = trials_lib.make_epoch(net, optimizer_lib.rmsprop, 8, 8, 2, accumulate=parts)
        states = trials_lib.init(net, optimizer_lib.rmsprop(0.0), trials, 8)
        ended.append(epoch(states, windows, trials, jnp.int32(0)))
    assert_close(ended[1][0].params, ended[0][0].params, 1e-6)
    np.testing.assert_allclose(ended[1][1].loss, ended[0][1].loss, rtol=1e-6)


# Which trials there are.


def test_all_pairs_of_the_lists_take_turns_and_seeds_count_up():
    config = Config(seed=7)
    config.train.trials, config.train.learning_rates, config.train.dropouts = 8, (0.1, 0.2), (0.3, 0.4, 0.5)
    assert config_lib.trials(config) == [
        (7, 0.1, 0.3),
        (8, 0.2, 0.3),
        (9, 0.1, 0.4),
        (10, 0.2, 0.4),
        (11, 0.1, 0.5),
        (12, 0.2, 0.5),
        (13, 0.1, 0.3),
        (14, 0.2, 0.3),
    ]


def test_without_lists_only_the_seeds_differ():
    config = Config(seed=7)
    config.train.trials, config.train.learning_rate, config.model.dropout = 3, 0.25, 0.5
    assert config_lib.trials(config) == [(7, 0.25, 0.5), (8, 0.25, 0.5), (9, 0.25, 0.5)]
    config.train.dropouts = (0.1, 0.2)
    assert config_lib.trials(config) == [(7, 0.25, 0.1), (8, 0.25, 0.2), (9, 0.25, 0.1)]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--config.train.learning_rate=1e-3,1e-4"], ["config.train.trials=1", "at least 2"]),
        (
            ["--config.train.learning_rate=1e-3,1e-4", "--config.model.dropout=0.1,0.5", "--config.train.trials=3"],
            ["config.train.trials=3", "at least 4"],
        ),
        (["--config.train.learning_rates=1e-3"], ["config.train.trials=1", "at least 2"]),
        (
            [
                "--config.train.learning_rates=1e-3",
                "--config.train.learning_rate",
                "1e-4,1e-5",
                "--config.train.trials=3",
            ],
            ["config.train.learning_rates is given more than once"],
        ),
        (["--config.train.learning_rate=1e-3,20", "--config.train.trials=2"], ["config.train.learning_rates", "10.0"]),
        (["--config.model.dropout=0.1,x", "--config.train.trials=2"], ["config.train.dropouts", "numbers"]),
    ],
)
def test_lists_that_do_not_fit_are_refused_in_one_line(words, parts, tmp_path, capsys):
    assert main.main([f"--workdir={tmp_path / 'w'}", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("musicjax: ") and err.count("\n") == 1
    for part in parts:
        assert part in err
    assert not (tmp_path / "w").exists()


# What a run of trials leaves behind.


def test_metrics_have_a_line_for_each_epoch_split_and_trial(many):
    named = [(line["epoch"], line["split"], line["trial"]) for line in many.lines]
    assert named == [
        (epoch, split, trial)
        for epoch in range(1, EPOCHS + 1)
        for split in ("train", "valid")
        for trial in range(TRIALS)
    ]
    for line in many.lines:
        assert line["seed"] == line["trial"]
        assert line["dropout"] == (0.2, 0.2, 0.5, 0.5, 0.2)[line["trial"]]
        if line["split"] == "train":
            assert line["learning_rate"] == RATES[line["trial"] % 2]
    steps = {(line["epoch"], line["step"]) for line in many.lines}
    per_epoch = -(-many.summary["train_windows"] // 64)
    assert steps == {(epoch, epoch * per_epoch) for epoch in range(1, EPOCHS + 1)}


def test_the_lines_of_one_trial_alone_do_not_name_it(singles):
    assert not {"trial", "seed", "dropout"} & set().union(*(line for line in singles[0].lines))


def test_the_summary_is_that_of_the_metrics(many):
    best = [min(losses_of(many.lines, "valid", trial).values()) for trial in range(TRIALS)]
    summary, winner = many.summary, int(np.argmin(best))
    assert winner != 0, "the first would be taken by default"
    assert summary["trials"] == TRIALS and summary["diverged"] == 0
    assert summary["best_trial"] == winner and summary["best_seed"] == winner
    assert summary["best_validation_loss"] == best[winner]
    assert losses_of(many.lines, "valid", winner)[summary["best_epoch"]] == best[winner]
    assert summary["validation_loss_mean"] == pytest.approx(np.mean(best))
    assert summary["validation_loss_deviation"] == pytest.approx(np.std(best, ddof=1))
    assert summary["settings"] == [
        {
            "learning_rate": rate,
            "dropout": dropout,
            "trials": len(whose),
            "diverged": 0,
            "mean": pytest.approx(np.mean([best[trial] for trial in whose])),
            "deviation": pytest.approx(best and abs(best[0] - best[4]) / np.sqrt(2) if len(whose) == 2 else 0.0),
        }
        for rate, dropout, whose in ((1e-3, 0.2, [0, 4]), (0.03, 0.2, [1]), (1e-3, 0.5, [2]), (0.03, 0.5, [3]))
    ]


def test_the_best_parameters_are_those_of_the_best_trial_at_its_best_epoch(many, singles):
    single = singles[many.metadata.best_trial]
    assert many.metadata.best_epoch == single.metadata.best_epoch < EPOCHS, (
        "the last epoch would be the latest parameters"
    )
    assert_close(many.arrays.best_params, single.arrays.best_params)
    np.testing.assert_allclose(many.arrays.best_deviation, single.arrays.best_deviation, rtol=1e-5)
    for trial, alone in singles.items():
        progress = many.metadata.trials[trial]
        assert progress.best_epoch == alone.metadata.best_epoch
        assert progress.best_loss == pytest.approx(alone.metadata.best_loss, rel=1e-5)


@pytest.mark.parametrize("which", ["best", "latest"])
def test_evaluate_gives_the_recorded_loss_of_the_best_trial(many, which, capsys):
    assert main.main(["evaluate", f"--workdir={many.workdir}", f"--checkpoint={which}"]) == 0
    scores = json.loads(capsys.readouterr().out)
    losses = losses_of(many.lines, "valid", many.metadata.best_trial)
    assert scores["loss"] == pytest.approx(min(losses.values()) if which == "best" else losses[EPOCHS], rel=1e-6)
    assert scores["epoch"] == (many.metadata.best_epoch if which == "best" else EPOCHS)


@pytest.mark.parametrize("which", ["best", "latest"])
def test_music_is_that_of_the_best_trials_own_run(many, singles, which):
    ours, alone = (model_lib.load(run.workdir, which) for run in (many, singles[many.metadata.best_trial]))
    assert_close(ours.params, alone.params)
    np.testing.assert_allclose(ours.deviation, alone.deviation, rtol=1e-5)


@pytest.mark.parametrize("which", ["best", "latest"])
def test_generating_from_trials_writes_files(many, which, tmp_path):
    argv = ["generate", f"--workdir={many.workdir}", f"--checkpoint={which}", f"--output_dir={tmp_path}"]
    assert main.main([*argv, "--num_outputs=1", "--num_notes=4", "--audio=none"]) == 0
    files = sorted(tmp_path.glob("*.mid"))
    assert [len(musicjax.read_midi(path)) for path in files] == [4]


# Trials that end before the others.


def test_a_trial_that_diverges_ends_alone(diverging, trained_notes):
    run, said = diverging
    assert not losses_of(run.lines, "train", 1) and not losses_of(run.lines, "valid", 1)
    told = [line for line in said.splitlines() if line.startswith("trial ")]
    assert len(told) == 1 and "1 (learning rate 0.03) ends, the others go on: epoch 1:" in told[0]
    assert [progress.diverged for progress in run.metadata.trials] == [0, 1]
    assert run.summary["diverged"] == 1
    settings = run.summary["settings"]
    assert [(one["learning_rate"], one["diverged"]) for one in settings] == [(1e-3, 0), (0.03, 1)]
    assert [one["mean"] is None for one in settings] == [False, True]
    # The first is the tiny run.
    assert losses_of(run.lines, "valid", 0) == pytest.approx(losses_of(lines_of(trained_notes), "valid"), rel=1e-5)
    alone = checkpoint_lib.restore(trained_notes).arrays
    assert_close(trials_lib.select(run.arrays.state.params, 0), alone.state.params)


def test_the_losses_on_the_screen_are_those_of_the_trials_that_go_on(diverging):
    _, said = diverging
    shown = [line for line in said.splitlines() if line.startswith("train ") and "/3 " in line]
    assert len(shown) == 3
    for line in shown:
        assert "nan" not in line and "inf" not in line


@pytest.mark.long
def test_a_run_whose_trials_all_diverge_fails_in_one_line(clips, tmp_path, monkeypatch, capsys):
    _poison(monkeypatch, 0, 1)
    assert main.main(tiny_runs.flags(tmp_path / "w", clips, **TWO)) == 1
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("musicjax: ")]
    assert told == [err.splitlines()[-1]]
    assert "no trial is left at epoch 1" in told[0] and "learning rate" in told[0]
    assert "Traceback" not in err and out == ""
    assert not checkpoint_lib.exists(tmp_path / "w")


@pytest.mark.long
def test_a_trial_that_diverges_later_keeps_its_best_but_no_longer_counts(diverged_later):
    run = diverged_later
    assert list(losses_of(run.lines, "valid", 1)) == list(losses_of(run.lines, "train", 1)) == [1, 2]
    assert list(losses_of(run.lines, "valid", 0)) == [1, 2, 3, 4]
    assert [progress.diverged for progress in run.metadata.trials] == [0, 3]
    assert (run.metadata.best_loss, run.metadata.best_epoch, run.metadata.best_trial) == (0.01, 1, 1)


def test_the_latest_of_a_trial_that_diverged_is_refused_and_its_best_is_used(diverged_later, tmp_path, capsys):
    flags = {"generate": [f"--output_dir={tmp_path}", "--num_outputs=1", "--num_notes=4", "--audio=none"]}
    for command in ("generate", "evaluate"):
        argv = [command, f"--workdir={diverged_later.workdir}", *flags.get(command, [])]
        capsys.readouterr()
        assert main.main([*argv, "--checkpoint=latest"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("musicjax: trial 1, the best of this run, diverged at epoch 3") and err.count("\n") == 1
        assert main.main(argv) == 0
        assert "nan" not in capsys.readouterr().out.lower()


def test_patience_is_of_each_trial(clips, tmp_path, validated):
    validated({0: [0.5, 0.4, 0.3, 0.2], 1: [0.4, 0.5]})
    run = run_of(clips, tmp_path / "w", **TWO, **{"train.patience": 2, "sample.num_outputs": 0})
    assert list(losses_of(run.lines, "valid", 0)) == [1, 2, 3, 4]
    assert list(losses_of(run.lines, "valid", 1)) == [1, 2, 3], "its best epoch and two more, as of a run by itself"
    assert [progress.best_epoch for progress in run.metadata.trials] == [4, 1]


@pytest.mark.long
def test_a_run_ends_when_the_last_trial_has_run_out_of_patience(clips, tmp_path, validated, capsys):
    validated({0: [0.5, 0.4, 0.6], 1: [0.4, 0.5]})
    changes = {**TWO, "train.epochs": 30, "train.patience": 2, "sample.num_outputs": 0}
    run = run_of(clips, tmp_path / "w", **changes)
    assert [max(losses_of(run.lines, "valid", trial)) for trial in (0, 1)] == [4, 3]
    assert run.summary["epochs"] == 4
    assert "stopped early" in capsys.readouterr().err


@pytest.mark.long
def test_a_trial_may_diverge_when_the_others_have_run_out_of_patience(clips, tmp_path, validated):
    validated({0: [0.5], 1: [0.5, 0.4, 0.3, math.nan]})
    run = run_of(clips, tmp_path / "w", **{**TWO, "train.epochs": 6, "train.patience": 1, "sample.num_outputs": 0})
    assert max(losses_of(run.lines, "valid", 0)) == 2
    assert max(losses_of(run.lines, "valid", 1)) == 3
    assert [bool(progress.diverged) for progress in run.metadata.trials] == [False, True]
    assert run.metadata.best_trial == 1 and run.summary["best_epoch"] == 3


# Cut off and started again.

# The run is killed between recording an epoch and saving it, so that what was recorded must be taken back.
KILLED = """
import os, signal, sys
from musicjax import main
from musicjax.store import recorder

write = recorder.Recorder.write

def write_and_die(self, split, epoch, *rest):
    write(self, split, epoch, *rest)
    if (split, epoch) == ("valid", int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGKILL)

recorder.Recorder.write = write_and_die
sys.exit(main.main(sys.argv[2:]))
"""


@pytest.mark.long
def test_a_killed_run_of_trials_that_is_started_again_ends_byte_for_byte_the_same(clips, tmp_path, many):
    argv = tiny_runs.flags(tmp_path / "w", clips, **MANY)
    killed = subprocess.run([sys.executable, "-c", KILLED, "3", *argv], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint_lib.read_metadata(tmp_path / "w").epoch == 2
    assert len(lines_of(tmp_path / "w")) == 3 * 2 * TRIALS
    summary = musicjax.train(tiny_runs.config_of(clips, **MANY), tmp_path / "w")
    arrays, metadata = checkpoint_lib.restore(tmp_path / "w")
    for ours, left_alone in zip(jax.tree.leaves(arrays), jax.tree.leaves(many.arrays), strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(left_alone).tobytes()
    assert (metadata.trials, metadata.best_trial) == (many.metadata.trials, many.metadata.best_trial)
    timed = ("seconds", "windows_per_second")
    for ours, left_alone in zip(lines_of(tmp_path / "w"), many.lines, strict=True):
        assert {k: v for k, v in ours.items() if k not in timed} == {
            k: v for k, v in left_alone.items() if k not in timed
        }
    same = ("best_epoch", "best_validation_loss", "best_trial", "settings", "validation_loss_mean")
    assert {name: summary[name] for name in same} == {name: many.summary[name] for name in same}
    for path in (many.workdir / "samples").glob("*.mid"):
        assert (tmp_path / "w" / "samples" / path.name).read_bytes() == path.read_bytes()

"""The networks that `likelihood` compares, their settings for each data set, and their configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.published import SETS
from musicjax import config as config_lib
from musicjax import config_files
from musicjax.config import Config
from musicjax.corpus.frame_sets import PER_BEAT

# The networks of the papers that Table I names.
OF_PAPERS = ("lstm_nade", "tp_lstm_nade", "balstm", "kotecha_young")
NETWORKS = {
    "mse": "frames_mse",
    "bernoulli": "frames_bernoulli",
    "nade": "frames_nade",
    "bernoulli_match": "frames_bernoulli_match",
    "nade_match": "frames_nade_match",
    "balstm_match": "balstm",
    **{name: name for name in OF_PAPERS},
}
# Rows that average a frame's probabilities over networks: {row: ((row of the networks, their seeds), ...)}. All rows of
# networks have the same weight, and so have all networks in a row.
ENSEMBLES: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "nade_match_moved": (("nade_match", (0,)),),
    "nade_match_four": (("nade_match", (0, 1, 2, 3)),),
    "nade_and_balstm": (("nade_match", (0, 1, 2, 3)), ("balstm_match", (0,))),
}
# Ensembles average over all transpositions used in training only for these rows. Weights that are tied over the keys
# already treat most transpositions alike.
MOVED = ("nade_match",)
ROWS = (
    *("uniform", "marginal", "markov", "mse", "bernoulli", "nade", "bernoulli_match", "nade_match", "nade_match_moved"),
    *("nade_match_four", "balstm_match", "nade_and_balstm", *OF_PAPERS),
)
# Settings for each data set, chosen on validation. The sets have 14,000 to 245,000 training frames.
SETTINGS: dict[str, dict[str, Any]] = {
    "jsb": {"train.epochs": 300, "train.half_life": 80.0},
    "nottingham": {"data.transpose": 0, "train.epochs": 60, "train.half_life": 15.0, "train.patience": 10},
    "musedata": {
        "data.transpose": 0,
        "model.units": 512,
        "train.batch_size": 32,
        "train.learning_rate": 1e-2,
        "train.epochs": 50,
        "train.half_life": 10.0,
        "train.patience": 10,
    },
    "piano_midi": {"data.window": 128, "train.epochs": 60, "train.half_life": 15.0},
}
# The networks of OF_PAPERS have settings of their own, on top of their configs. On JSB's validation split, five epochs
# take BALSTM to 9.24 nats with Adam and to 12.50 with its config, whose learning rate and clipping differ, too (one run
# each). Two epochs with Adam take it to 8.22 in batches of 2 and to 11.78 in batches of 8.
SETTINGS_OF_PAPERS: dict[str, dict[str, Any]] = {
    name: {
        "train.optimizer": "adam",
        "train.momentum": 0.0,
        "train.learning_rate": 3e-3,
        "train.clip_norm": 5.0,
        "train.epochs": epochs,
        "train.half_life": epochs / 4,
        "train.patience": 12,
        "train.batch_size": 2,
        "data.per_beat": PER_BEAT[name],
        "data.transpose": transpose,
    }
    for name, epochs, transpose in (
        ("jsb", 60, 6),
        ("nottingham", 6, 0),
        ("musedata", 5, 0),
        ("piano_midi", 14, 6),
    )
}
# Settings for music that is moved to one tonic, by row and data set. After two epochs on Nottingham, `balstm` has 1.91
# nats in validation with its dropout of 0.5, and 1.79 with 0.2.
OF_TONIC: dict[tuple[str, str], dict[str, Any]] = {
    (row, name): {"model.dropout": 0.2, "model.layer_dropout": 0.2}
    for row in ("tp_lstm_nade", "balstm")
    for name in ("nottingham", "musedata")
}
# Further trainings for music moved to one tonic, by row and data set. Each starts from the best weights of the training
# before it. That training ended with a validation loss that was still falling, and below its loss with dropout.
LESS_DROPOUT = {"train.learning_rate": 1.5e-3, "model.dropout": 0.1, "model.layer_dropout": 0.1}
AGAIN: dict[tuple[str, str], tuple[dict[str, Any], ...]] = {
    ("tp_lstm_nade", "musedata"): (LESS_DROPOUT,),
    ("balstm", "musedata"): (
        LESS_DROPOUT,
        {**LESS_DROPOUT, "train.learning_rate": 6e-4, "train.epochs": 2, "train.half_life": 0.5},
    ),
    ("balstm", "nottingham"): ({**LESS_DROPOUT, "train.epochs": 3, "train.half_life": 0.75},),
}
# The sets with the fewest test pieces, where a single seed says least.
SEVERAL = ("jsb", "piano_midi")
# Settings for one row on one data set. The rows with LONGER gain most from transposed pieces.
LONGER = {"data.transpose": 6, "train.epochs": 60, "train.half_life": 15.0}
MORE: dict[tuple[str, str], dict[str, Any]] = {
    **{("balstm_match", name): {"data.match_share": 0.9} for name in SETS},
    **{(row, "musedata"): LONGER for row in ("bernoulli", "mse", "bernoulli_match", "nade_match")},
    # LSTM-NADE learns a frame in a thirtieth of the others' time.
    ("lstm_nade", "jsb"): {"train.epochs": 300, "train.half_life": 80.0, "train.patience": 0, "train.batch_size": 8},
    **{
        ("lstm_nade", name): {"train.epochs": 60, "train.half_life": 15.0, "train.batch_size": 8}
        for name in SETS
        if name != "jsb"
    },
    # The files do not tell where notes begin, and the protocol has 88 keys, not 78.
    **{
        ("kotecha_young", name): {"data.onsets": False, "data.keys": 88, "data.per_beat": PER_BEAT[name]}
        for name in SETS
    },
}


class Member(NamedTuple):
    """A training of a network: its row, workdir and config, and the training whose best weights it starts from."""

    row: str
    workdir: Path
    config: Config
    before: Member | None = None

    def trainings(self) -> list[Member]:
        """All trainings of the network up to this one, in order."""
        return [*(self.before.trainings() if self.before else []), self]

    def after(self, training: Member) -> list[Member]:
        """Those of its trainings that come after this one."""
        every = self.trainings()
        return every[every.index(training) + 1 :]


def members_of(
    row: str, name: str, folder: str, runs: Path, seeds: list[int], trial: dict[str, Any], tonic: bool = False
) -> list[Member]:
    """The networks that a row needs on one data set. Rows that only count need none. Ensembles name their own seeds.

    Args:
        tonic: whether the music is moved to one tonic; then it is not transposed again.
    """
    own = seeds if name in SEVERAL else seeds[:1]
    each = [(one, seed) for one, its in ENSEMBLES.get(row, ((row, own),)) for seed in its if one in NETWORKS]
    return [_member(one, name, folder, runs, seed, trial, tonic) for one, seed in each]


def _member(row: str, name: str, folder: str, runs: Path, seed: int, trial: dict[str, Any], tonic: bool) -> Member:
    """One network: the last of its trainings."""
    workdir = workdir_of(runs, row, name, seed)
    member = Member(row, workdir, config_of(row, name, folder, seed, trial, tonic))
    for suffix, settings in again_of(row, name, tonic).items():
        config = config_of(row, name, folder, seed, {**settings, **trial}, tonic)
        member = Member(row, workdir.with_name(workdir.name + suffix), config, member)
    return member


def again_of(row: str, name: str, tonic: bool) -> dict[str, dict[str, Any]]:
    """The trainings after the first: {suffix of the workdir: settings beyond those of the first training}."""
    further = AGAIN.get((row, name), ()) if tonic else ()
    return {f"-again{number}" if number > 1 else "-again": settings for number, settings in enumerate(further, start=1)}


def workdir_of(runs: Path, row: str, name: str, seed: int) -> Path:
    """The workdir of a network."""
    return runs / f"{row}-{name}{f'-seed{seed}' * bool(seed)}"


def more_of(row: str, name: str, tonic: bool = False) -> dict[str, Any]:
    """The settings of a row on one data set beyond those of the data set."""
    of_tonic = {"data.transpose": 0, **OF_TONIC.get((row, name), {})} if tonic and row in NETWORKS else {}
    return {**MORE.get((row, name), {}), **of_tonic}


def config_of(row: str, name: str, folder: str, seed: int, last: dict[str, Any], tonic: bool = False) -> Config:
    """The config of a row for one data set; the fields of `last` replace its own."""
    config = config_files.load(NETWORKS[row])
    config.seed, config.data.source, config.sample.num_outputs = seed, f"polyphonic:{name}:{folder}", 2
    settings = SETTINGS_OF_PAPERS if row in (*OF_PAPERS, "balstm_match") else SETTINGS
    for path, value in {**settings[name], **more_of(row, name, tonic), **last}.items():
        config_lib.set_field(config, path, value)
    return config_lib.validate(config)

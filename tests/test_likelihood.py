"""The table of likelihoods: its protocol, and its last line."""

from __future__ import annotations

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import savemat

from benchmarks import likelihood
from musicjax.corpus import frame_sets
from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM

LENGTHS = {"train": [40, 25, 30, 9], "valid": [12, 2, 30], "test": [20, 3, 8]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A small JSB_Chorales.mat: keys that tend to stay as they were."""
    folder, rng = tmp_path_factory.mktemp("polyphonic"), np.random.default_rng(0)
    variables = {}
    for split, lengths in LENGTHS.items():
        cells = np.empty((1, len(lengths)), object)
        for number, length in enumerate(lengths):
            changes = rng.random((length, 88)) < 0.05
            cells[0, number] = (np.cumsum(changes, axis=0) % 2 * (rng.random(88) < 0.5)).astype(float)
        variables[f"{split}data"] = cells
    savemat(folder / "JSB_Chorales.mat", variables)
    return folder


def _run(monkeypatch, capsys, folder, runs, *flags: str) -> tuple[dict, str]:
    small = ["--sets=jsb", "--epochs=2", "--units=8", f"--runs={runs}"]
    monkeypatch.setattr(sys, "argv", ["likelihood", f"--data={folder}", *small, *flags])
    likelihood.main()
    told = capsys.readouterr()
    return json.loads(told.out.splitlines()[-1]), told.out


@pytest.mark.long
def test_the_last_line_has_each_row_and_set_and_trained_networks_are_restored(folder, tmp_path, monkeypatch, capsys):
    found, text = _run(monkeypatch, capsys, folder, tmp_path)
    assert list(found) == list(likelihood.ROWS)
    assert all(list(of) == ["jsb"] for of in found.values())
    nats = {row: of["jsb"] for row, of in found.items()}
    assert nats["uniform"] == pytest.approx(88 * np.log(2), abs=1e-3)
    assert nats["markov"] < nats["marginal"] < nats["uniform"]
    assert all(np.isfinite(value) for value in nats.values())
    assert f"{nats['markov']:.2f} (" in text
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoints/*/*")}
    again, _ = _run(monkeypatch, capsys, folder, tmp_path, "--rows=nade,uniform")
    assert again == {row: found[row] for row in ("nade", "uniform")}
    assert before and before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoints/*/*")}


@pytest.mark.parametrize("flags", [["--rows=markov,oracle"], ["--sets=jsb,bach"]])
def test_an_unknown_row_or_set_is_told_the_known_ones(folder, tmp_path, monkeypatch, capsys, flags):
    with pytest.raises(SystemExit, match="expected some of"):
        _run(monkeypatch, capsys, folder, tmp_path, *flags)


@pytest.mark.parametrize(("flags", "message"), [(["--save"], "whole table"), (["--data=/nowhere"], "no such folder")])
def test_what_cannot_be_kept_or_read_is_told_in_one_line(folder, tmp_path, monkeypatch, capsys, flags, message):
    with pytest.raises(SystemExit, match=message):
        _run(monkeypatch, capsys, folder, tmp_path, *flags)


@pytest.mark.parametrize("split", frame_sets.SPLITS)
def test_costs_are_those_of_frames_2_to_the_last_of_each_piece(folder, split):
    data = frame_sets.read(f"polyphonic:jsb:{folder}")
    net = MusicLSTM(8, 88, head=heads.Nade(4), every_position=True)
    params = network.init(net, jax.random.key(0), 5)
    nats, frames = likelihood.costs_of(net, params, data, split)
    assert frames.tolist() == [length - 1 for length in LENGTHS[split]]
    for piece, cost in zip(data.pieces(split), nats, strict=True):
        piece = jnp.asarray(piece, jnp.float32)
        outputs = network.apply(net, params, piece[None, :-1])[0]
        assert cost == pytest.approx(-float(net.head.log_prob(params["head"], outputs, piece[1:]).sum()), rel=1e-4)

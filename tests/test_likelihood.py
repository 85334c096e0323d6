"""The table of likelihoods: which frames count, its last line, and what it refuses."""

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
    """A folder with a small JSB_Chorales.mat, whose keys tend to stay as they were."""
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
    printed = capsys.readouterr().out
    return json.loads(printed.splitlines()[-1]), printed


@pytest.mark.long
def test_the_last_line_has_every_row_and_a_second_run_restores_the_networks(folder, tmp_path, monkeypatch, capsys):
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
def test_an_unknown_row_or_set_is_refused_and_the_known_ones_are_named(folder, tmp_path, monkeypatch, capsys, flags):
    with pytest.raises(SystemExit, match="expected some of"):
        _run(monkeypatch, capsys, folder, tmp_path, *flags)


@pytest.mark.parametrize(("flags", "message"), [(["--save"], "whole table"), (["--data=/nowhere"], "no such folder")])
def test_what_cannot_be_kept_or_read_costs_one_line(folder, tmp_path, monkeypatch, capsys, flags, message):
    with pytest.raises(SystemExit, match=message):
        _run(monkeypatch, capsys, folder, tmp_path, *flags)


@pytest.mark.long
def test_costs_are_those_of_frames_2_to_the_last_of_each_piece(folder):
    data = frame_sets.read(f"polyphonic:jsb:{folder}")
    net = MusicLSTM(8, 88, head=heads.Bernoulli(), every_position=True)
    params = network.init(net, jax.random.key(0), 5)
    pieces = [piece for split in frame_sets.SPLITS for piece in data.pieces(split)]
    # Side by side, filled up with silence at the end, which no earlier output sees.
    padded = np.zeros((len(pieces), max(map(len, pieces)), 88), np.float32)
    for piece, row in zip(pieces, padded, strict=True):
        row[: len(piece)] = piece
    outputs = network.apply(net, params, jnp.asarray(padded[:, :-1]))
    expected = -np.asarray(net.head.log_prob({}, outputs, jnp.asarray(padded[:, 1:])))
    expected = [of_piece[: len(piece) - 1].sum() for piece, of_piece in zip(pieces, expected, strict=True)]
    found = [likelihood.costs_of(net, params, data, split) for split in frame_sets.SPLITS]
    for split, (_, frames) in zip(frame_sets.SPLITS, found, strict=True):
        assert frames.tolist() == [length - 1 for length in LENGTHS[split]]
    np.testing.assert_allclose(np.concatenate([nats for nats, _ in found]), expected, rtol=1e-4)

"""The table of likelihoods: which frames count, its last line, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import savemat

from benchmarks import (
    baselines,
    common_tonic,
    contestants,
    core_hours,
    frame_likelihoods,
    likelihood,
    likelihood_networks,
    listening,
    tables,
)
from musicjax import config_files
from musicjax.corpus import frame_sets
from musicjax.encodings import encoding
from musicjax.errors import RunError
from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.store import model

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


SMALL = ["--sets=jsb", "--epochs=2", "--units=8"]
TRIAL = {"train.epochs": 2, "model.units": 8}


def _run(monkeypatch, capsys, folder, runs, *flags: str) -> tuple[dict, str]:
    monkeypatch.setattr(sys, "argv", ["likelihood", f"--data={folder}", *SMALL, f"--runs={runs}", *flags])
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


@pytest.mark.long
def test_what_a_budget_leaves_the_same_command_goes_on_with_and_seeds_are_averaged(
    folder, tmp_path, monkeypatch, capsys
):
    """Told that an epoch takes an hour, it trains one of the two epochs, then the other, then none."""
    monkeypatch.setattr(core_hours, "seconds_an_epoch", lambda config: 3600.0)
    monkeypatch.setattr(core_hours, "cores", lambda: 1)
    flags = ["--rows=lstm_nade,uniform", "--seeds=0,1", "--budget_core_hours=2.5"]

    def said() -> str:
        monkeypatch.setattr(sys, "argv", ["likelihood", f"--data={folder}", *SMALL, f"--runs={tmp_path}", *flags])
        likelihood.main()
        return capsys.readouterr().err

    first = said()
    for name in ("lstm_nade-jsb", "lstm_nade-jsb-seed1"):
        assert f"{name}: 1 of 2 epochs fit into the budget; the same command continues" in first
        assert len(core_hours.recorded(tmp_path / "2" / "8" / name)) == 2
    second = said()
    assert "fit into the budget" not in second and "epochs 2 to 2 of 2" in second
    found, _ = _run(monkeypatch, capsys, folder, tmp_path, *flags)
    cell = likelihood.measured(["lstm_nade"], ["jsb"], str(folder), tmp_path / "2" / "8", [0, 1], TRIAL, 0.0)
    by_seed = cell["lstm_nade"]["jsb"]["nats_by_seed"]
    assert len(set(by_seed)) == 2 and found["lstm_nade"]["jsb"] == pytest.approx(np.mean(by_seed), abs=1e-3)


@pytest.mark.long
def test_a_further_training_begins_with_the_weights_of_the_one_before_and_waits_for_its_end(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(core_hours, "seconds_an_epoch", lambda config: 3600.0)
    monkeypatch.setattr(core_hours, "cores", lambda: 1)
    further = ({"train.learning_rate": 1e-3}, {"train.learning_rate": 1e-4, "train.epochs": 1})
    monkeypatch.setitem(likelihood_networks.AGAIN, ("nade", "jsb"), further)
    runs = tmp_path / "tonic"

    def cell(budget: float) -> dict:
        return likelihood.measured(["nade"], ["jsb"], str(folder), runs, [0], TRIAL, budget, tonic=True)["nade"]["jsb"]

    assert cell(1.5)["epochs"] == 1 and not (runs / "nade-jsb-again").exists()
    assert cell(1e3)["epochs"] == 2 and not (runs / "nade-jsb-again").exists()
    said = capsys.readouterr().err
    assert "nade-jsb-again waits for nade-jsb; the same command continues" in said
    assert "nade-jsb-again2 waits for nade-jsb-again; the same command continues" in said
    assert cell(1e3)["epochs"] == 4 and not (runs / "nade-jsb-again2").exists()
    every = cell(0.0)
    assert every["trainings"] == 3 and cell(1e3) == every
    names = ["nade-jsb", "nade-jsb-again", "nade-jsb-again2"]
    told = likelihood.more_of_cells({"nade": {"jsb": every}}, tonic=True)
    assert tuple(told[name] for name in names[1:]) == further
    untrained = likelihood.more_of_cells({"nade": {"jsb": {"nats": 1.0}}}, tonic=True)
    assert [untrained[name] for name in names[1:]] == [{}, {}]
    twice = likelihood.more_of_cells({"nade": {"jsb": {"trainings": 2}}}, tonic=True)
    assert [twice[name] for name in names[1:]] == [further[0], {}]
    for before, name, rate in zip(names, names[1:], (1e-3, 1e-4), strict=False):
        trained = model.load(runs / name)
        assert trained.metadata.origin is not None and Path(trained.metadata.origin.path) == runs / before
        assert trained.config.train.learning_rate == rate


def test_an_ensemble_gives_each_frame_the_mean_of_its_probabilities():
    nats = np.array([[1.0, 2.0, 700.0], [3.0, 2.0, 701.0]])
    piece = np.array([4, 4, 7])
    found = frame_likelihoods.mixture([frame_likelihoods.Frames(one, piece) for one in nats])
    np.testing.assert_allclose(found.nats[:2], -np.log(np.exp(-nats[:, :2]).mean(axis=0)), rtol=1e-12)
    assert found.nats[2] == pytest.approx(700 + np.log(2) - np.log1p(np.exp(-1)))
    np.testing.assert_allclose(found.costs[0], [found.nats[:2].sum(), found.nats[2]])
    assert found.costs[1].tolist() == [2, 1]


def test_a_frame_that_is_moved_keeps_what_is_on_the_keyboard():
    frame = np.array([[1, 0, 1, 1]], np.uint8)
    expected = {0: [1, 0, 1, 1], 1: [0, 1, 0, 1], 2: [0, 0, 1, 0], -1: [0, 1, 1, 0], -2: [1, 1, 0, 0], 4: [0] * 4}
    for semitones, keys in expected.items():
        assert frame_likelihoods.moved(frame, semitones).tolist() == [keys], semitones


@pytest.mark.long
@pytest.mark.parametrize("semitones", [2, -3])
def test_music_that_is_moved_costs_what_its_new_keys_cost_and_the_lost_keys_their_share(folder, semitones):
    """The oracle sums over the frames of each piece, each moved by hand."""
    data = frame_sets.read(f"polyphonic:jsb:{folder}")
    net = MusicLSTM(8, 88, head=heads.Nade(4), every_position=True)
    params = network.init(net, jax.random.key(0), 5)
    lost = slice(88 - semitones, 88) if semitones > 0 else slice(0, -semitones)
    on = baselines.shares(data.pieces("train"))[lost]
    expected = []
    for piece in data.pieces("test"):
        there = np.roll(piece, semitones, axis=1).astype(np.float32)
        (there[:, :semitones] if semitones > 0 else there[:, semitones:])[:] = 0
        outputs = network.apply(net, params, jnp.asarray(there[None, :-1]))
        nats = -np.asarray(net.head.log_prob(network.head_params(params), outputs, jnp.asarray(there[None, 1:])))[0]
        expected.append(nats.sum() - np.log(np.where(piece[1:, lost] > 0, on, 1 - on)).sum())
    found, _ = frame_likelihoods.frames_of(net, params, data, "test", semitones=semitones).costs
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.long
def test_an_ensemble_shares_its_networks_with_their_own_row_and_is_no_worse_than_their_mean(folder, tmp_path):
    rows = ["nade_match", "nade_match_moved", "nade_match_four"]
    found = likelihood.measured(rows, ["jsb"], str(folder), tmp_path, [0], TRIAL | {"data.transpose": 1}, 0.0)
    alone, moved, four = (found[row]["jsb"] for row in rows)
    assert four["seeds"] == [0, 1, 2, 3] and four["nats_by_seed"][0] == moved["nats"] != alone["nats"]
    assert four["nats"] <= np.mean(four["nats_by_seed"]) + 1e-4
    assert four["parameters"] == 4 * alone["parameters"] == 4 * moved["parameters"]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4


def test_a_budget_is_divided_evenly_and_what_cheap_jobs_leave_goes_to_the_others():
    jobs = [core_hours.Job(*one) for one in (("dear", 0, 50, 2.0), ("done", 9, 9, 0.0), ("cheap", 3, 5, 0.5))]
    assert core_hours.plan(jobs, 11.0) == {"dear": 5, "done": 9, "cheap": 5}
    assert core_hours.plan(jobs, 1000.0) == {"dear": 50, "done": 9, "cheap": 5}
    text = core_hours.told(jobs, core_hours.plan(jobs, 11.0), 11.0)
    assert "epochs 1 to 5 of 50, 10.00 core-hours (2.000 each)" in text and "done" not in text


def test_a_budget_too_small_for_one_epoch_is_refused_by_the_names_of_those_that_need_more():
    jobs = [core_hours.Job("balstm-musedata", 0, 50, 2.0), core_hours.Job("balstm-jsb", 0, 5, 0.1)]
    with pytest.raises(SystemExit, match=r"too small for one epoch of balstm-musedata \(2\)"):
        core_hours.plan(jobs, 1.0)


@pytest.mark.long
def test_the_time_of_an_epoch_is_measured_before_anything_is_trained(folder, tmp_path):
    config = likelihood_networks.config_of("tp_lstm_nade", "jsb", str(folder), 0, TRIAL)
    job = core_hours.job("one", config, tmp_path / "none")
    assert (job.done, job.wanted) == (0, 2) and 0 < job.hours_an_epoch < 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("row", likelihood_networks.OF_PAPERS)
@pytest.mark.parametrize("name", likelihood.SETS)
def test_every_model_of_the_papers_has_settings_for_every_set(row, name):
    net = encoding.of(likelihood_networks.config_of(row, name, "DIR", 0, {})).network()
    assert net.predicted == 88


@pytest.mark.parametrize("name", likelihood.SETS)
def test_music_of_one_tonic_is_not_transposed_again_and_long_sets_have_less_dropout(name):
    of_files, of_tonic = (likelihood_networks.config_of("balstm", name, "DIR", 0, {}, tonic) for tonic in (False, True))
    assert of_tonic.data.own.transpose == 0
    less = 0.2 if name in ("nottingham", "musedata") else 0.5
    assert (of_tonic.model.dropout, of_tonic.model.layer_dropout) == (less, less)
    assert (of_files.model.dropout, of_tonic.train) == (0.5, of_files.train)


def test_pieces_moved_to_a_common_tonic_keep_their_intervals_and_their_notes():
    rng, cadence = np.random.default_rng(0), [[0, 4, 7], [5, 9, 12], [7, 11, 14], [0, 4, 7]]
    piece = np.zeros((32, 88), np.uint8)
    for bar, chord in enumerate(cadence * 2):
        piece[4 * bar : 4 * bar + 4, [27 + note for note in chord]] = 1  # pitch 48 is a C
        piece[4 * bar + rng.integers(4), 27 + 12 + chord[0]] = 1
    assert common_tonic.tonic(piece) == 0
    np.testing.assert_array_equal(common_tonic.moved(piece), piece)
    for semitones in range(-11, 12):
        other = np.roll(piece, semitones, axis=1)
        back = common_tonic.moved(other)
        assert common_tonic.tonic(back) == 0 and back.sum() == piece.sum()
        far = int(np.flatnonzero(back.any(axis=0))[0] - np.flatnonzero(other.any(axis=0))[0])
        assert abs(far) <= 6
        np.testing.assert_array_equal(back, np.roll(other, far, axis=1))
    # At the edge of the keyboard it moves further, and loses no note.
    low = np.roll(piece, -25, axis=1)
    assert common_tonic.moved(low).sum() == piece.sum() and common_tonic.tonic(common_tonic.moved(low)) == 0
    # One that reaches from the lowest key to the highest stays.
    wide = np.roll(piece, 2, axis=1)
    wide[0, [0, 87]] = 1
    assert common_tonic.semitones(wide) is None
    np.testing.assert_array_equal(common_tonic.moved(wide), wide)


def test_music_of_one_tonic_is_copied_again_if_its_source_or_the_copy_has_changed(folder, tmp_path, capsys):
    def fingerprint() -> str:
        common_tonic.write("jsb", source, tmp_path / "copy")
        return frame_sets.read(f"polyphonic:jsb:{tmp_path / 'copy'}").fingerprint

    source = shutil.copytree(folder, tmp_path / "source")
    copy = tmp_path / "copy" / "JSB_Chorales.mat"
    first = fingerprint()
    written = copy.stat().st_mtime_ns
    assert fingerprint() == first and copy.stat().st_mtime_ns == written
    copy.write_bytes(b"damaged")
    assert fingerprint() == first
    shutil.copy(source / "JSB_Chorales.mat", copy)
    assert fingerprint() == first != frame_sets.read(f"polyphonic:jsb:{source}").fingerprint
    cell = np.empty((1, 1), object)
    cell[0, 0] = np.eye(9, 88)
    savemat(source / "JSB_Chorales.mat", dict.fromkeys(frame_sets.VARIABLES, cell))
    assert fingerprint() != first
    shutil.rmtree(source)
    with pytest.raises(RunError):
        fingerprint()


def test_a_damaged_line_of_metrics_is_left_out_and_costs_no_epoch(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"split": "train", "seconds": 3600}\n{"split": "val')
    assert core_hours.recorded(tmp_path) == [{"split": "train", "seconds": 3600}]
    config = likelihood_networks.config_of("nade", "jsb", "DIR", 0, TRIAL)
    job = core_hours.job("one", config, tmp_path)
    assert (job.done, job.wanted) == (1, config.train.epochs)


@pytest.mark.parametrize("flags", [["--rows=markov,oracle"], ["--sets=jsb,bach"], ["--rows="]])
def test_an_unknown_row_or_set_is_refused_and_the_known_ones_are_named(folder, tmp_path, monkeypatch, capsys, flags):
    with pytest.raises(SystemExit, match=r"^--\w+: ('oracle'|'bach'|'') is unknown; expected some of"):
        _run(monkeypatch, capsys, folder, tmp_path, *flags)


def test_a_missing_set_is_found_before_anything_is_trained(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"no file Nottingham.mat"):
        _run(monkeypatch, capsys, folder, tmp_path, "--rows=lstm_nade", "--sets=jsb,nottingham")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--save"], "neither --epochs nor --units"),
        (["--data=/nowhere"], "no such folder"),
        (["--seeds=0,x"], "expected whole numbers"),
        (["--rows=uniform,uniform"], "expected each once"),
        (["--tonic=2"], "expected 0 or 1"),
        (["--tonic=1", "--rows=uniform", "--runs=/proc/none"], "No such file or directory"),
    ],
)
def test_what_cannot_be_kept_or_read_costs_one_line(folder, tmp_path, monkeypatch, capsys, flags, message):
    with pytest.raises(SystemExit, match=message):
        _run(monkeypatch, capsys, folder, tmp_path, *flags)


def test_save_adds_cells_to_those_that_are_kept_and_the_table_leaves_the_others_empty(tmp_path, monkeypatch, capsys):
    def cell(nats: float) -> dict:
        return {"nats": nats, "low": nats, "high": nats, "parameters": 10**6, "minutes": 3.0}

    def measured(rows, sets, *_):
        return {row: {name: cell(2.0) for name in sets} for row in rows}

    monkeypatch.setattr(contestants, "RESULTS", tmp_path)
    monkeypatch.setattr(likelihood, "measured", measured)
    before = {"nade_match_four": {"jsb": cell(1.0)}, "nade_echo": {"jsb": cell(1.0), "musedata": cell(1.0)}}
    contestants.keep("likelihood", {"rows": before})
    monkeypatch.setattr(sys, "argv", ["likelihood", "--data=DIR", "--rows=nade_match,balstm", "--sets=jsb", "--save"])
    likelihood.main()
    (path,) = tmp_path.rglob("likelihood.json")
    kept = json.loads(path.read_text())
    nats = {row: {name: one["nats"] for name, one in of.items()} for row, of in kept["rows"].items()}
    assert list(nats) == ["nade_match", "nade_match_four", "balstm"]
    assert nats["nade_match"] == {"jsb": 2.0, "musedata": 1.0} and nats["nade_match_four"] == {"jsb": 1.0}
    assert list(tables.LIKELIHOODS) == list(likelihood.ROWS)  # labels name the rows above them
    lines = tables.likelihood(kept).splitlines()
    assert [text.strip() for text in lines[2].split("|")[2:6]] == ["2.00 (2.00..2.00)", "", "1.00 (1.00..1.00)", ""]
    assert [line.split("|")[7].strip() for line in lines[2:]] == ["3, 3", "3", "3"]


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
    found = [frame_likelihoods.frames_of(net, params, data, split).costs for split in frame_sets.SPLITS]
    for split, (_, frames) in zip(frame_sets.SPLITS, found, strict=True):
        assert frames.tolist() == [length - 1 for length in LENGTHS[split]]
    np.testing.assert_allclose(np.concatenate([nats for nats, _ in found]), expected, rtol=1e-4)


def test_the_page_to_listen_to_holds_test_pieces_and_the_first_samples_of_each_trained_network(folder, clips, tmp_path):
    for row in ("nade", "balstm"):
        workdir = likelihood_networks.workdir_of(tmp_path, row, "jsb", 0)
        shutil.copytree(clips, workdir / "samples")
        config = likelihood_networks.config_of(row, "jsb", str(folder), 0, TRIAL)
        (workdir / "config.json").write_text(json.dumps(config_files.to_dict(config)))
    html = listening.of_networks(tmp_path, "jsb", str(folder), shown=2)
    assert html.count('class="play"') == 2 * 3
    sides = ("test pieces", tables.LIKELIHOODS["nade"], tables.LIKELIHOODS["balstm"])
    assert [html.index(f"<h3>{side}</h3>") for side in sides] == sorted(
        html.index(f"<h3>{side}</h3>") for side in sides
    )
    with pytest.raises(SystemExit, match="no network trained on jsb"):
        listening.of_networks(tmp_path / "none", "jsb", str(folder), shown=2)


def test_in_an_ensemble_of_two_rows_each_row_has_the_same_weight():
    piece, config = np.zeros(1, np.int64), likelihood_networks.config_of("nade", "jsb", "DIR", 0, {})
    rows = ("nade", "nade", "nade", "balstm")
    members = [likelihood_networks.Member(row, path, config) for row, path in zip(rows, map(Path, "abcd"), strict=True)]
    probabilities = (0.1, 0.2, 0.6, 0.7)
    found = [frame_likelihoods.Frames(-np.log([one]), piece) for one in probabilities]
    assert np.exp(-likelihood.of_ensemble(members, found).nats) == pytest.approx(0.3 / 2 + 0.7 / 2)

"""Parameters divided over devices: the numbers of one device, less memory on each, and nothing exchanged row by row."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import musicjax
from tests import test_mesh, tiny_runs
from tests.test_mesh import assert_same_run, environment, on_one_device

# Four devices and two layers of 32 units; what is larger than a kilobyte counts as large.
ON_FOUR_DEVICES = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from musicjax.model.network import MusicLSTM
from musicjax.training import mesh, optimizer, sharded_parameters, step
from musicjax.training.windows import Windows

sharded_parameters.SMALL_BYTES = 1024
net, chain, keys = MusicLSTM(32, 3, 0.5, layers=2, layer_dropout=0.3), optimizer.adam(1e-3, clip_norm=0.1), step.keys(0)
rows = jnp.asarray(np.random.default_rng(0).random((60, 3)), jnp.float32)
windows = Windows(rows, jnp.arange(0, 42, 2, dtype=jnp.int32))  # the last batch of 8 is not full
start = jax.tree.map(np.asarray, jax.jit(lambda: step.init(net, chain, keys.init, 9))())


def trained(count, parts, divided):
    devices = mesh.make(count)
    state = (sharded_parameters.place if divided else mesh.replicate)(start, devices)
    data = mesh.replicate((windows, keys), devices)
    epoch = step.make_epoch(net, chain, 8, 9, devices, parts, divided)
    text = epoch.lower(state, *data, jnp.int32(0)).compile().as_text()
    for number in range(2):
        state, sums = epoch(state, *data, mesh.replicate(jnp.int32(number), devices))
    return state, sums, epoch._cache_size(), text


def distances(got, expected):
    return [float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(*map(jax.tree.leaves, (got, expected)))]


told = {}
alone, sums_alone, _, _ = trained(1, 1, False)
state, sums, programs, text = trained(4, 2, True)
leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
told["state"] = distances(state, alone)
told["losses"] = max(distances(sums, sums_alone)) / float(sums_alone.loss.max())
told["programs"] = programs
told["parts"] = {name: (leaf.nbytes, [s.data.nbytes for s in leaf.addressable_shards]) for name, leaf in leaves.items()}
told["exchanged"] = {
    name: len(re.findall(rf" = .* {name}(?:-start)?\\(", text))
    for name in ("all-gather", "reduce-scatter", "all-to-all", "collective-permute")
}
told["came back"] = max(distances(sharded_parameters.whole(sharded_parameters.place(start, mesh.make(4))), start))
specs = sharded_parameters.specs({name: np.zeros(shape, np.float32) for name, shape in {
    "longest": (8, 64), "even": (12, 63), "odd": (31, 63), "small": (4, 4), "none": ()}.items()}, mesh.make(4))
told["specs"] = {name: list(spec) for name, spec in specs.items()}
print(json.dumps(told))
"""
# The program, for which all arrays are large.
DIVIDED = (
    "import sys; from musicjax.training import sharded_parameters; sharded_parameters.SMALL_BYTES = 0; "
    "from musicjax import main; "
)
DIVIDED += "sys.exit(main.main(sys.argv[1:]))"
RUN: dict[str, Any] = {"train.shard_parameters": True, "model.layers": 2, "model.layer_dropout": 0.2}
ALONE = {path: value for path, value in RUN.items() if path != "train.shard_parameters"}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_FOUR_DEVICES],
        env=environment(4),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_epochs_give_the_numbers_of_one_device(told):
    """Of batches in two parts on each of four devices."""
    assert max(told["state"]) < 1e-6 and told["losses"] < 1e-6
    assert told["programs"] == 1 and told["came back"] == 0


def test_each_device_keeps_its_part_of_what_is_large(told):
    large = 0
    for name, (whole, parts) in told["parts"].items():
        large += whole > 1024
        assert parts == [whole // 4 if whole > 1024 else whole] * 4, name
    assert large == 3 * 4, "of parameters and both moments of Adam: kernel and recurrent kernel of two layers"


def test_the_devices_exchange_each_parameter_once_a_step_and_nothing_at_a_row(told):
    assert told["exchanged"] == {"all-gather": 4, "reduce-scatter": 4, "all-to-all": 0, "collective-permute": 0}


def test_an_array_is_divided_along_its_longest_axis_that_can_be(told):
    assert told["specs"] == {"longest": [None, "data"], "even": ["data"], "odd": [], "small": [], "none": []}


@pytest.mark.long
def test_a_run_on_four_devices_is_that_of_one_and_goes_on_as_it_likes(clips, tmp_path):
    """It begins divided over four devices, goes on undivided on one, and ends divided over two."""
    alone, workdir = on_one_device(clips, tmp_path / "alone", **ALONE), tmp_path / "w"
    for epochs, devices in ((1, 4), (2, 0), (3, 2)):
        fields = {**(RUN if devices else ALONE), "train.epochs": epochs}
        if not devices:
            musicjax.train(tiny_runs.config_of(clips, **fields), workdir)
            continue
        words = tiny_runs.flags(workdir, clips, **fields)
        program = [sys.executable, "-c", DIVIDED, *words]
        done = subprocess.run(program, env=environment(devices), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"parameters, divided over {devices} devices" in done.stderr
    assert_same_run(workdir, alone)
    assert list((workdir / "samples").glob("*.mid"))


@pytest.mark.long
def test_a_run_of_two_processes_that_each_keep_half_is_that_of_one(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(test_mesh, "PROGRAM", ["-c", DIVIDED])
    words = tiny_runs.flags(tmp_path / "w", clips, "events", **RUN, **{"train.accumulate": 2, "train.histograms": True})
    first, second = test_mesh.two_processes([words] * 2)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "divided over 2 devices" in first.err
    fields = {**ALONE, "train.histograms": True}
    musicjax.train(tiny_runs.config_of(clips, "events", **fields), tmp_path / "alone")
    assert_same_run(tmp_path / "w", tmp_path / "alone")

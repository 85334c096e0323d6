"""What a run makes of the machine it finds: its precision, its cache of compiled programs, how many trials fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

import musicjax
from musicjax import config as config_lib
from musicjax.main import main
from musicjax.run import device
from musicjax.run import epoch as epoch_lib
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("own_signal_handlers")


def config_of(**fields: Any) -> config_lib.Config:
    config = musicjax.load_config("small")
    for path, value in fields.items():
        config_lib.set_field(config, path, value)
    return config


def found(monkeypatch: pytest.MonkeyPatch, platform: str, flags: set[str] = frozenset(), **more: Any) -> None:
    """This machine has one such device."""
    monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(platform=platform, **more)])
    monkeypatch.setattr(device, "_cpu_flags", lambda: set(flags))


# Precision.


@pytest.mark.parametrize(
    ("platform", "flags", "capability", "units", "expected"),
    [
        ("cpu", {"avx2"}, None, 512, "float32"),
        ("cpu", {"avx512_bf16"}, None, 512, "bfloat16"),
        ("cpu", {"amx_bf16"}, None, device.BFLOAT16_UNITS, "bfloat16"),
        ("cpu", {"amx_bf16"}, None, device.BFLOAT16_UNITS - 1, "float32"),
        ("gpu", set(), "9.0", 64, "bfloat16"),
        ("gpu", set(), "12.0", 64, "bfloat16"),
        ("gpu", set(), "7.5", 64, "float32"),
        ("gpu", set(), "gfx942", 64, "bfloat16"),
        ("tpu", set(), None, 64, "bfloat16"),
    ],
)
def test_auto_is_the_faster_precision_of_the_device(monkeypatch, platform, flags, capability, units, expected):
    found(monkeypatch, platform, flags, compute_capability=capability)
    config = config_of(**{"model.units": units, "model.precision": "auto"})
    assert device.with_precision(config, None).model.precision == expected
    assert config.model.precision == "auto", "the config given is not changed"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_kept(monkeypatch, precision):
    found(monkeypatch, "tpu")
    assert device.with_precision(config_of(**{"model.precision": precision}), None).model.precision == precision


def test_a_run_goes_on_and_generates_in_the_precision_it_began_with(
    trained_notes, clips, monkeypatch, tmp_path, capsys
):
    """A run in float32 goes on on a machine where bfloat16 is faster, under a config that leaves it open."""
    workdir = shutil.copytree(trained_notes, tmp_path / "w")
    monkeypatch.setattr(device, "_fast_precision", lambda units: "bfloat16")
    config = tiny_runs.config_of(clips, **{"model.precision": "auto", "train.epochs": 4, "sample.num_outputs": 0})
    assert device.with_precision(config, None).model.precision == "bfloat16", "a new run would take it"
    musicjax.train(config, workdir)
    assert ", float32, jax" in capsys.readouterr().err
    assert json.loads((workdir / "config.json").read_text())["model"]["precision"] == "float32"
    argv = ["generate", *(word for word in tiny_runs.flags(workdir, clips) if "precision" not in word)]
    assert main([*argv, f"--output_dir={tmp_path}", "--num_outputs=1", "--num_notes=4", "--audio=none"]) == 0


# Compiled programs.

# Compiles one program that takes longer than what is worth keeping.
COMPILES = """
import sys
import jax, jax.numpy as jnp
from musicjax.config import DataConfig
from musicjax.model import network
from musicjax.model.network import MusicLSTM
from musicjax.run import device

device.keep_programs(DataConfig(cache=sys.argv[1]))
jax.jit(lambda key: network.init(MusicLSTM(8, 4), key, window=8))(jax.random.key(0))
"""


def environment(cache: Path) -> dict[str, str]:
    """Of processes that know no other cache than this."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**own, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": paths}


def compile_in(cache: Path, where: str) -> None:
    subprocess.run([sys.executable, "-c", COMPILES, where], env=environment(cache), capture_output=True, check=True)


def programs(folder: Path, name: str = "jit_") -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob(f"{name}*-cache")}


@pytest.mark.long
def test_a_second_process_finds_the_compiled_programs_of_the_first(tmp_path):
    compile_in(tmp_path / "cache", "")
    kept = programs(tmp_path / "cache")
    assert kept and all("/musicjax/compiled/" in path for path in kept)
    compile_in(tmp_path / "cache", "")
    assert programs(tmp_path / "cache") == kept, "nothing was compiled anew"


@pytest.mark.long
def test_without_a_cache_no_program_is_kept(tmp_path):
    compile_in(tmp_path / "cache", "off")
    assert not (tmp_path / "cache" / "musicjax").exists()
    assert not programs(tmp_path)


def test_train_generate_and_evaluate_keep_their_programs_and_the_users_own_choice_wins(trained_notes, monkeypatch):
    asked: list[str] = []

    class Enough(Exception):
        pass

    def keep(data: config_lib.DataConfig) -> None:
        asked.append(data.source)
        raise Enough

    before = jax.config.jax_compilation_cache_dir
    assert before, "the tests' own"
    device.keep_programs(config_lib.DataConfig())
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.setattr(device, "keep_programs", keep)
    for command in ("train", "generate", "evaluate"):
        with pytest.raises(Enough):
            main([command, f"--workdir={trained_notes}"])
    assert len(asked) == 3


@pytest.mark.long
def test_a_second_run_finds_the_compiled_programs_of_the_first(clips, tmp_path):
    def start(workdir: Path, **changes: Any) -> None:
        argv = tiny_runs.flags(workdir, clips, **changes)
        command = [sys.executable, "-m", "musicjax.main", *argv]
        subprocess.run(command, env=environment(tmp_path / "cache"), capture_output=True, check=True)

    start(tmp_path / "first")
    kept = programs(tmp_path / "cache", "jit_epoch")
    assert len(kept) == 1
    start(tmp_path / "second")
    assert programs(tmp_path / "cache", "jit_epoch") == kept, "nothing was compiled anew"
    shutil.rmtree(tmp_path / "cache")
    start(tmp_path / "third", **{"data.cache": "off"})
    assert not (tmp_path / "cache" / "musicjax").exists()
    assert not programs(tmp_path / "cache")


# An epoch ahead.


def test_an_epoch_is_started_before_the_numbers_of_the_one_before_it_are_read(clips, tmp_path, monkeypatch):
    done, begin, read = [], epoch_lib.start, epoch_lib.read

    def started(programs, state, number, *rest, **named):
        done.append(("start", number))
        return begin(programs, state, number, *rest, **named)

    def was_read(*arguments):
        done.append(("read", sum(what == "read" for what, _ in done)))
        return read(*arguments)

    monkeypatch.setattr(epoch_lib, "start", started)
    monkeypatch.setattr(epoch_lib, "read", was_read)
    musicjax.train(tiny_runs.config_of(clips, **{"sample.num_outputs": 0}), tmp_path / "w")
    assert done == [("start", 0), ("start", 1), ("read", 0), ("start", 2), ("read", 1), ("read", 2)]


# Trials at once.


@pytest.mark.parametrize(
    ("free", "of_states", "of_one", "expected"),
    [
        (1000, 100, 50, 8),  # half of 1000 - 200, by 50
        (10_000, 100, 50, 20),
        (1000, 600, 50, 1),
        (1000, 100, None, 1),
    ],
)
def test_as_many_trials_are_computed_at_once_as_fit(monkeypatch, free, of_states, of_one, expected):
    stats = {"bytes_limit": free + 77, "bytes_in_use": 77}
    found(monkeypatch, "gpu", memory_stats=lambda: stats)
    config = config_of(**{"train.trials": 20})
    assert device.trials_at_once(config.train, of_states, lambda: of_one) == expected


def test_a_group_that_is_named_is_taken(monkeypatch):
    found(monkeypatch, "gpu", memory_stats=lambda: None)
    assert (
        device.trials_at_once(config_of(**{"train.trials": 20, "train.trial_group": 7}).train, 0, lambda: 10**15) == 7
    )
    assert device.trials_at_once(config_of(**{"train.trials": 5, "train.trial_group": 7}).train, 0, lambda: 10**15) == 5

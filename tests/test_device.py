"""What a run makes of the machine it finds: its precision, its cache of compiled programs, how many trials fit."""

from __future__ import annotations

import json
import os
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

TINY = ("--config.model.units=8", "--config.train.epochs=2", "--config.data.window=8", "--config.sample.num_notes=4")
TINY += ("--config.sample.audio=none",)


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


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose precision, left open, became bfloat16."""
    workdir = tmp_path_factory.mktemp("device") / "w"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_fast_precision", lambda units: "bfloat16")
        assert main(["--config=small", f"--workdir={workdir}", f"--config.data.source={clips}", *TINY]) == 0
    return workdir


def test_a_run_goes_on_and_generates_in_the_precision_it_began_with(run, clips, monkeypatch, tmp_path, capsys):
    assert json.loads((run / "config.json").read_text())["model"]["precision"] == "bfloat16"
    monkeypatch.setattr(device, "_fast_precision", lambda units: "float32")  # another machine
    capsys.readouterr()
    assert main([f"--workdir={run}", f"--config.data.source={clips}", "--config.train.epochs=3"]) == 0
    assert ", bfloat16, jax" in capsys.readouterr().err
    assert main(["generate", f"--workdir={run}", "--config=small", *TINY[:1], f"--output_dir={tmp_path}"]) == 0


# Compiled programs.


def start(cache: Path, workdir: Path, *more: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = {
        **kept,
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "musicjax.main", "--config=small", f"--workdir={workdir}", *TINY, *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def programs(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("jit_epoch*-cache")}


def test_a_second_start_finds_the_compiled_programs_of_the_first(clips, tmp_path):
    source = f"--config.data.source={clips}"
    start(tmp_path / "cache", tmp_path / "first", source)
    kept = programs(tmp_path / "cache")
    assert len(kept) == 1
    start(tmp_path / "cache", tmp_path / "second", source)
    assert programs(tmp_path / "cache") == kept, "nothing was compiled anew"


def test_without_a_cache_no_program_is_kept(clips, tmp_path):
    start(tmp_path / "cache", tmp_path / "w", f"--config.data.source={clips}", "--config.data.cache=off")
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
    argv = ["--config=small", f"--workdir={tmp_path / 'w'}", f"--config.data.source={clips}", *TINY]
    argv += ["--config.train.epochs=3"]
    assert main(argv) == 0
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
    train = config_of(**{"train.trials": 20}).train
    assert device.trials_at_once(train, of_states, lambda: of_one) == expected


def test_a_group_that_is_named_is_taken(monkeypatch):
    found(monkeypatch, "gpu", memory_stats=lambda: None)
    assert (
        device.trials_at_once(config_of(**{"train.trials": 20, "train.trial_group": 7}).train, 0, lambda: 10**15) == 7
    )
    assert device.trials_at_once(config_of(**{"train.trials": 5, "train.trial_group": 7}).train, 0, lambda: 10**15) == 5

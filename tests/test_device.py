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
from musicjax.errors import RunError, UsageError
from musicjax.main import main
from musicjax.run import device, precision, train
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


def auto(units: int = 512, cache: str = "off") -> config_lib.Config:
    return config_of(**{"model.units": units, "model.precision": "auto", "data.cache": cache})


def measures(
    monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, tf32: float = 9.0
) -> list[tuple[int, int]]:
    """A pass takes these seconds in each precision; returns the list of sizes that are measured from now on."""
    sizes: list[tuple[int, int]] = []

    def measured(units: int, batch_size: int) -> dict[str, float]:
        sizes.append((units, batch_size))
        return {"float32": float32, "tf32": tf32, "bfloat16": bfloat16}

    monkeypatch.setattr(precision, "measured", measured)
    return sizes


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected", "why"),
    [
        (1.0, 1.4, "float32", "1.40 times as fast as bfloat16 here"),
        (2.4, 1.0, "bfloat16", "2.40 times as fast as float32 here"),
        (1.05, 1.0, "float32", "bfloat16 is only 1.05 times as fast here"),
    ],
)
def test_auto_is_the_precision_measured_to_be_faster_and_float32_where_they_are_alike(
    monkeypatch, float32, bfloat16, expected, why
):
    sizes, config = measures(monkeypatch, float32, bfloat16), auto(units=300)
    chosen, said = device.with_precision(config, None)
    assert (chosen.model.precision, said) == (expected, why)
    assert sizes == [(300, min(config.train.batch_size, precision.MOST_ROWS))]
    assert config.model.precision == "auto", "the config given is not changed"


@pytest.mark.parametrize(("name", "rows"), [("frames_nade", 2), ("balstm", 2 * 88), ("kotecha_young", 2 * 78)])
def test_where_every_key_is_a_sequence_the_size_that_is_measured_has_all_keys(monkeypatch, name, rows):
    sizes, config = measures(monkeypatch, 1.0, 1.0), musicjax.load_config(name)
    config.train.batch_size, config.data.cache = 2, "off"
    device.with_precision(config, None)
    assert sizes == [(config.model.units, rows)]


def test_the_lstm_itself_is_measured_forward_and_backward(monkeypatch):
    unroll, seen = precision.lstm.unroll, []

    def slow_in_float32(params, windows, state, kind):
        seen.append((kind, windows.shape, params.recurrent_kernel.shape))
        outputs, last = unroll(params, windows, state, kind)
        if kind == "float32":
            for _ in range(30):
                outputs = outputs + unroll(params, windows, state._replace(h=last.h), kind)[0]
                last = last._replace(h=outputs[:, -1])
        return outputs, last

    monkeypatch.setattr(precision.lstm, "unroll", slow_in_float32)
    precision.measured.cache_clear()
    seconds = precision.measured(64, 8)
    precision.measured.cache_clear()
    assert 0 < seconds["bfloat16"] < seconds["float32"]
    assert {kind for kind, *_ in seen} == {"float32", "bfloat16"}
    assert {(shape, kernel) for _, shape, kernel in seen} == {((8, precision.STEPS, precision.COLUMNS), (64, 256))}


def test_what_was_measured_is_kept_by_size_and_device_and_another_machines_is_not_believed(monkeypatch, tmp_path):
    sizes = measures(monkeypatch, 1.0, 2.0)
    for units in (128, 128, 256, 128):
        assert device.with_precision(auto(units, str(tmp_path)), None)[0].model.precision == "float32"
    assert [units for units, _ in sizes] == [128, 256]
    (kept,) = tmp_path.rglob(precision.NAME)
    measures(monkeypatch, 2.0, 1.0)
    monkeypatch.setattr(precision, "_name", lambda device: "another")
    assert device.with_precision(auto(128, str(tmp_path)), None)[0].model.precision == "bfloat16"
    assert len(json.loads(kept.read_text())) == 3
    monkeypatch.undo()
    for damaged in ("", "[1]", '{"a": {"float32": "x"}}', "{"):
        kept.write_text(damaged)
        sizes = measures(monkeypatch, 1.0, 2.0)
        device.with_precision(auto(128, str(tmp_path)), None)
        assert len(sizes) == 1 and len(json.loads(kept.read_text())) == 1


def test_precisions_that_cannot_be_compared_are_float32_aloud(monkeypatch):
    def fails(units: int, batch_size: int) -> dict[str, float]:
        raise RuntimeError("out of memory\nat length")

    monkeypatch.setattr(precision, "measured", fails)
    chosen, why = device.with_precision(auto(), None)
    assert (chosen.model.precision, why) == ("float32", "the precisions could not be compared: out of memory")


@pytest.mark.parametrize(("capability", "expected"), [("7.5", "float32"), ("8.0", "bfloat16"), ("gfx942", "bfloat16")])
def test_a_gpu_without_units_for_bfloat16_is_not_measured(monkeypatch, capability, expected):
    found(monkeypatch, "gpu", compute_capability=capability, device_kind="a GPU")
    sizes = measures(monkeypatch, 2.0, 1.0)
    chosen, why = device.with_precision(auto(), None)
    assert chosen.model.precision == expected and len(sizes) == (expected == "bfloat16")
    assert ("capability 8, this GPU has 7" in why) == (expected == "float32")


def test_a_small_network_is_not_measured(monkeypatch):
    sizes = measures(monkeypatch, 2.0, 1.0)
    assert device.with_precision(auto(precision.LEAST_UNITS - 1), None)[0].model.precision == "float32" and not sizes


def test_the_first_process_decides_for_all(monkeypatch):
    sizes = measures(monkeypatch, 1.0, 2.0)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(device.processes, "choice_of_the_first", lambda name, known: "bfloat16")
    assert device.with_precision(auto(), None)[0].model.precision == "bfloat16" and not sizes


@pytest.mark.parametrize("named", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_kept(monkeypatch, named):
    measures(monkeypatch, 2.0, 1.0)
    assert device.with_precision(config_of(**{"model.precision": named}), None)[0].model.precision == named


@pytest.mark.parametrize(
    ("tf32", "bfloat16", "expected", "why"),
    [
        (0.5, 0.48, "tf32", "bfloat16 is only 1.04 times as fast here"),
        (0.5, 0.25, "bfloat16", "2.00 times as fast as tf32 here"),
        (0.95, 0.92, "float32", "bfloat16 is only 1.09 times as fast here"),
    ],
)
def test_on_a_gpu_auto_takes_a_less_exact_precision_only_where_it_is_clearly_faster(
    monkeypatch, tf32, bfloat16, expected, why
):
    found(monkeypatch, "gpu", compute_capability="9.0", device_kind="a GPU")
    measures(monkeypatch, 1.0, bfloat16, tf32)
    chosen, said = device.with_precision(auto(), None)
    assert (chosen.model.precision, said) == (expected, why)


def test_tf32_is_refused_by_name_where_there_is_none_and_so_is_going_on_in_it(monkeypatch, tmp_path):
    named = config_of(**{"model.precision": "tf32"})
    with pytest.raises(UsageError, match=r"precision=tf32: tf32 needs an NVIDIA GPU .*this machine has cpu"):
        device.with_precision(named, None)
    with pytest.raises(UsageError, match=r"precision=tf32"):
        train.train(named, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "it is refused before anything is written"
    with pytest.raises(RunError, match=r"the run began in tf32: .*go on with such a GPU"):
        device.with_precision(auto(), named)
    found(monkeypatch, "gpu", compute_capability="8.6", device_kind="a GPU")
    assert device.with_precision(named, None)[0].model.precision == "tf32"
    assert device.with_precision(auto(), named)[0].model.precision == "tf32"


def test_a_run_goes_on_and_generates_in_the_precision_it_began_with(
    trained_notes, clips, monkeypatch, tmp_path, capsys
):
    """A run in float32 goes on on a machine where bfloat16 is faster, under a config that leaves it open."""
    workdir = shutil.copytree(trained_notes, tmp_path / "w")
    measures(monkeypatch, 2.0, 1.0)
    monkeypatch.setattr(precision, "LEAST_UNITS", 1)
    config = tiny_runs.config_of(clips, **{"model.precision": "auto", "train.epochs": 4, "sample.num_outputs": 0})
    assert device.with_precision(config, None)[0].model.precision == "bfloat16", "a new run would take it"
    musicjax.train(config, workdir)
    assert ", float32 (as the run began), jax" in capsys.readouterr().err
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


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))  # Python ignores the signal, writing raises OSError
"""
TWO_MORE = """
jax.jit(lambda key: network.init(MusicLSTM(16, 4), key, window=8))(jax.random.key(0))
jax.jit(lambda key: network.init(MusicLSTM(32, 4), key, window=8))(jax.random.key(0))
"""


@pytest.mark.long
def test_compiled_programs_that_the_disk_cannot_take_are_told_of_in_one_line(tmp_path):
    for code, told in ((LIMITED + COMPILES + TWO_MORE, "File too large"), (COMPILES + TWO_MORE, "damaged")):
        done = subprocess.run(
            [sys.executable, "-c", code, ""], env=environment(tmp_path), capture_output=True, text=True, check=True
        )
        (line,) = done.stderr.splitlines()
        assert line.startswith("cache    compiled programs ") and told in line


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

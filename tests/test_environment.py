"""Where the program runs: systems that lack what Linux has, and JAX that cannot start or has unfit settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import tiny_runs

import musicjax
from musicjax import jax_environment
from musicjax.errors import RunError, UsageError
from musicjax.main import main
from musicjax.store import model as model_lib

# What Windows lacks is taken away before anything of musicjax is imported. Other libraries know Windows too; here they
# keep what they have imported.
START = """
import builtins, io, os, signal, subprocess, sys
if __name__ == "__main__":
    import asyncio, multiprocessing, tempfile, jax, mido, orbax.checkpoint, tensorboardX
    os.environ["LACKING"] = "1"  # for the reading processes
if os.environ.get("LACKING"):
    import numpy
    subprocess.Popen.kill = lambda process: os.kill(process.pid, 9)
    for name in ("fcntl", "resource", "pwd", "grp", "termios"):
        sys.modules[name] = None
    for owner, names in {
        os: "uname fork killpg getuid geteuid getpgid setsid sched_getaffinity sync O_DIRECTORY O_NOFOLLOW",
        signal: "SIGKILL SIGALRM SIGHUP SIGPIPE alarm setitimer",
    }.items():
        for name in names.split():
            delattr(owner, name)
    os.process_cpu_count = os.cpu_count  # as on Windows: Python 3.13 asks for what was just taken away
    opened = io.open
    def refuse(path, *more, **named):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return opened(path, *more, **named)
    io.open = builtins.open = refuse
if __name__ == "__main__":
    from musicjax.main import main
    sys.exit(main())
"""


def _run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with these words and variables, in a process of its own."""
    paths = [variables.pop("PYTHONPATH", ""), str(Path(musicjax.__file__).parents[1])]
    env = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, env=env)


def test_a_run_needs_nothing_that_windows_lacks_and_is_the_same_without(clips, trained_notes, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(START)
    argv = tiny_runs.flags(tmp_path / "w", clips, **{"data.cache": "off", "model.precision": "auto"})
    ran = _run(str(tmp_path / "sitecustomize.py"), *argv, PYTHONPATH=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("cannot be locked on this system") == 1
    assert ran.stderr.count("this system cannot limit a process's memory") == 1
    losses = [
        [json.loads(line)["loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (tmp_path / "w", trained_notes)
    ]
    assert losses[0] == losses[1]
    (sample,) = [path.relative_to(tmp_path / "w") for path in (tmp_path / "w" / "samples").glob("*.mid")]
    assert (tmp_path / "w" / sample).read_bytes() == (trained_notes / sample).read_bytes()
    assert not (tmp_path / "w" / "lock").exists()


# JAX.

WRONG: dict[str, object] = {
    "jax_enable_x64": True,
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_transfer_guard": "disallow",
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_device": "disallow_explicit",
    "jax_transfer_guard_device_to_host": "disallow",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 5,
    "jax_high_dynamic_range_gumbel": True,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_error_checking_behavior_nan": "raise",
    "jax_disable_jit": True,
    "jax_scan3": True,
    "jax_no_tracing": True,
    "jax_no_execution": True,
}


def test_every_setting_that_stands_in_the_way_is_one_of_this_jax():
    assert WRONG.keys() == jax_environment.IN_THE_WAY.keys()
    assert all(getattr(jax.config, name, "unknown") != "unknown" for name in WRONG)
    jax_environment.require()


@pytest.fixture
def settings():
    """Sets one of JAX's settings for a test."""
    before = dict(jax.config.values)
    yield jax.config.update
    for name in WRONG:
        jax.config.update(name, before[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_that_stands_in_the_way_is_named(settings, name):
    settings(name, WRONG[name])
    with pytest.raises(UsageError, match=rf"^{name.upper()}={WRONG[name]} is set, and .*; unset it$"):
        jax_environment.require_settings()


def test_settings_that_only_tell_are_obeyed(settings):
    settings("jax_numpy_rank_promotion", "warn")
    settings("jax_transfer_guard", "log")
    jax_environment.require_settings()


def test_whatever_uses_jax_tells_a_setting_before_it_does_anything(
    settings, clips, trained_notes, tmp_path, monkeypatch, capsys, own_signal_handlers
):
    monkeypatch.chdir(tmp_path)
    model = model_lib.load(trained_notes)
    settings("jax_transfer_guard", "disallow")
    for argv in (
        tiny_runs.flags(tmp_path / "w", clips),
        ["generate"],
        ["generate", f"--workdir={trained_notes}"],
        ["evaluate", f"--workdir={trained_notes}"],
    ):
        assert main(argv) == 2
        assert capsys.readouterr().err.startswith("musicjax: JAX_TRANSFER_GUARD=disallow is set")
    for call in (
        lambda: musicjax.train(tiny_runs.config_of(clips), tmp_path / "w"),
        lambda: musicjax.generate(model, num_notes=4),
        lambda: musicjax.generate(trained_notes, num_notes=4),
        lambda: musicjax.evaluate(trained_notes),
    ):
        with pytest.raises(UsageError, match="JAX_TRANSFER_GUARD=disallow"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_jax_without_a_device_is_told_with_what_was_asked_for(monkeypatch):
    def none(*_: object) -> list:
        raise AssertionError

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("XLA_FLAGS", "--xla_some=1")
    with pytest.raises(RunError, match=r"^JAX finds no device.*: no such device, or nothing.*unset .*XLA_FLAGS"):
        jax_environment.require()


# What stands in the environment of a program, and the words of its one line.
CANNOT_START = {
    "JAX_PLATFORMS=cuda": ["JAX_PLATFORMS=cuda: JAX cannot start (", "unset it", "musicjax[cuda13]"],
    "JAX_PLATFORMS=sundial": ["JAX_PLATFORMS=sundial: JAX cannot start (", "'sundial' is not in the list", "unset it"],
    "JAX_ENABLE_X64=perhaps": ["JAX cannot be imported", "'perhaps'", "correct or unset", "JAX_ENABLE_X64"],
    "XLA_FLAGS=--xla_sundial=1": ["XLA_FLAGS='--xla_sundial=1': XLA refuses it (Unknown flag", "correct or unset it"],
    "XLA_FLAGS=--xla_backend_optimization_level=high": ["XLA refuses it (Couldn't interpret value high"],
}


@pytest.mark.parametrize("variable", CANNOT_START)
def test_jax_that_cannot_start_is_told_in_one_line(variable, tmp_path):
    name, _, value = variable.partition("=")
    ran = _run("-m", "musicjax.main", "generate", f"--output_dir={tmp_path / 'out'}", "--audio=none", **{name: value})
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("musicjax: ")
    for words in CANNOT_START[variable]:
        assert words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "least_kib"), [("generate", 2_000_000), ("evaluate", 2_000_000), ("train", 2_500_000)]
)
def test_too_little_address_space_is_told_in_one_line_before_jax_starts(trained_notes, tmp_path, command, least_kib):
    """Below the limit as a shell sets it. Libraries that find too little end the process with pages of their own."""
    limited = f'ulimit -v {least_kib - 1} && exec "$@"'
    argv = [sys.executable, "-m", "musicjax.main", command, f"--workdir={trained_notes}"]
    environment = {**os.environ, "PYTHONPATH": str(Path(musicjax.__file__).parents[1])}
    ran = subprocess.run(
        ["bash", "-c", limited, "bash", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"musicjax: out of memory before JAX starts: ulimit -v leaves {least_kib - 1:,} KiB")
    assert f"expected about {least_kib:,} KiB or more" in line


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ImportError("/lib/_tensorstore.so: failed to map segment from shared object")],
)
def test_memory_that_ends_while_a_library_is_loaded_is_one_line(monkeypatch, capsys, error):
    def ends(_: object) -> int:
        raise error

    monkeypatch.setattr("musicjax.cli.commands.run", ends)
    assert main(["generate"]) == 1
    assert capsys.readouterr().err.startswith("musicjax: out of memory while a library was loaded or used; ")


def test_a_library_that_is_missing_is_no_lack_of_memory(monkeypatch):
    def ends(_: object) -> int:
        raise ImportError("No module named 'x'")

    monkeypatch.setattr("musicjax.cli.commands.run", ends)
    with pytest.raises(ImportError):
        main(["generate"])


@pytest.mark.parametrize("command", [pytest.param("train", marks=pytest.mark.long), "evaluate"])
def test_a_device_that_is_not_here_is_told_where_a_run_is_continued_or_scored(command, trained_notes):
    ran = _run("-m", "musicjax.main", command, f"--workdir={trained_notes}", JAX_PLATFORMS="cuda")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("musicjax: JAX_PLATFORMS=cuda: JAX cannot start (") and ran.stderr.count("\n") == 1

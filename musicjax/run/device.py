"""The machine of a run: its precision, the trials it computes at once, where its compiled programs are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import jax
from jax.sharding import Mesh

from musicjax import console
from musicjax.config import Config, DataConfig, TrainConfig
from musicjax.corpus import cache as cache_lib
from musicjax.encodings import encoding as encoding_lib
from musicjax.errors import RunError, UsageError
from musicjax.model import lstm
from musicjax.run import precision as precision_lib
from musicjax.run import processes

# What JAX warns of where it cannot read or write a compiled program, with the system's reason if there is one.
CACHE_WARNING = re.compile(
    r"Error (?P<what>reading|writing) persistent compilation cache .*?: (?:\w+: \[Errno \d+\] )?(?P<reason>[^:]+)", re.S
)
# Programs that take longer than this to compile are kept: reading one takes some milliseconds.
KEPT_FROM_S = 0.03
# The share of the free memory that trials computed together may use.
MEMORY_SHARE = 0.5
# Trials computed at once on a CPU; more were slower (benchmarks/results/*/trials.json).
CPU_GROUP = 1


def keep_programs(data: DataConfig) -> None:
    """Keeps compiled programs in the cache, so that the next start need not compile them again."""
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # the user has told JAX where
        return
    folder = _own_folder(data)
    if folder is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", KEPT_FROM_S)
    _say_once_what_is_not_kept(folder)


def _say_once_what_is_not_kept(folder: Path) -> None:
    """Replaces JAX's warnings by one line: if the cache fails, JAX goes on without it and warns for each program."""
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not (told := CACHE_WARNING.match(str(message))):
            shown(message, category, filename, lineno, file, line)
        elif told["what"] == "reading":
            console.say_once(
                "cache", f"compiled programs in {folder} are damaged, and compiled again; remove that folder"
            )
        else:
            console.say_once(
                "cache",
                f"compiled programs are not kept for the next start: {told['reason']}; make room in {folder}, or name "
                "another cache with --config.data.cache=DIR",
            )

    warnings.showwarning = show


def _own_folder(data: DataConfig) -> Path | None:
    """The folder in the cache for CPUs of this kind: a program compiled for one may not run on another that shares the
    cache. None without a cache."""
    try:
        cache = cache_lib.cache_folder(data)
    except (OSError, RunError):  # reading the data reports it
        return None
    flags = hashlib.sha256(" ".join(sorted(_cpu_flags())).encode()).hexdigest()[:16]
    return None if cache is None else cache / "compiled" / flags


def with_precision(config: Config, saved: Config | None) -> tuple[Config, str]:
    """(the config, its precision decided where it is auto: the saved run's, or the faster one here; why, in words).

    In a run of several processes the first decides for all.

    Raises:
        TogetherError: the processes cannot go on together.
        UsageError, RunError: the config, or the run that goes on, has a precision that this machine lacks.
    """
    require_precision(config if saved is None else saved, goes_on=saved is not None)
    if config.model.precision != "auto":
        return config, ""
    if saved is not None:
        precision, why = saved.model.precision, "as the run began"
    else:
        found = precision_lib.Faster("float32", "")
        if jax.process_index() == 0:
            parts = max(config.train.devices or jax.device_count(), 1) * config.train.accumulate
            rows = -(-config.train.batch_size // parts) * encoding_lib.of(config).sequences_a_window
            found = precision_lib.faster(config.model.units, rows, _own_folder(config.data))
        precision, why = processes.choice_of_the_first(found.precision, lstm.PRECISIONS), found.why
    return dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision)), why


def require_precision(config: Config, goes_on: bool = False) -> None:
    """Raises UsageError if this machine lacks a config's precision, or RunError if that is of a run that goes on."""
    named, device = config.model.precision, jax.local_devices()[0]
    if named in ("auto", *precision_lib.candidates(device)):
        return
    needs = f"{named} needs an NVIDIA GPU of compute capability {precision_lib.LEAST_CAPABILITY} or more"
    here = f"this machine has {device.platform} ({device.device_kind})"
    if goes_on:
        raise RunError(f"the run began in {named}: {needs}, and {here}; go on with such a GPU, or begin another run")
    raise UsageError(f"config.model.precision={named}: {needs}, and {here}; expected float32, bfloat16 or auto")


def say(precision: str, why: str, devices: Mesh) -> None:
    """Prints one line: the devices, the precision and the reason for it, and the version of JAX."""
    first = devices.devices.flat[0]
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    console.say(
        "device",
        f"{devices.size} of {jax.device_count()} {first.platform} ({first.device_kind}){processes}, "
        f"{precision}{f' ({why})' * bool(why)}, jax {jax.__version__}",
    )


def trials_at_once(train: TrainConfig, bytes_of_states: int, bytes_of_one: Callable[[], int | None]) -> int:
    """How many trials are computed together: what the config says, or as many as pay off and fit in memory.

    Args:
        bytes_of_states: of all trials. They are in memory once now and will be three times: as saved, as trained, and
            as trained next.
        bytes_of_one: working memory for one trial, None if unknown.
    """
    if train.trial_group:
        return min(train.trial_group, train.trials)
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return min(CPU_GROUP, train.trials)
    stats, one = device.memory_stats() or {}, bytes_of_one()
    if not one:
        return 1
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0) - 2 * bytes_of_states
    return max(1, min(train.trials, int(MEMORY_SHARE * free) // one))


def _cpu_flags() -> set[str]:
    """The CPU's instruction sets, where Linux lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {platform.machine()}
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []))

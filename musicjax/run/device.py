"""The machine of a run: its faster precision, the trials it computes at once, where its compiled programs are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import re
from collections.abc import Callable
from pathlib import Path

import jax
from jax.sharding import Mesh

from musicjax import console
from musicjax.config import Config, DataConfig, TrainConfig
from musicjax.corpus import cache as cache_lib
from musicjax.errors import RunError

# Instructions with which a CPU is expected to multiply bfloat16 faster than float32; and the units from which on it
# does (benchmarks/results/*/scaling.json).
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
BFLOAT16_UNITS = 256
# The share of the free memory that trials computed together may use.
MEMORY_SHARE = 0.5
# Trials computed at once on a CPU; more were slower (benchmarks/results/*/trials.json).
CPU_GROUP = 1


def keep_programs(data: DataConfig) -> None:
    """Keeps compiled programs in the cache, so that the next start need not compile them again."""
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # the user has told JAX where
        return
    try:
        cache = cache_lib.cache_folder(data)
    except (OSError, RunError):  # reading the data reports it
        return
    if cache is None:
        return
    # A program compiled for one CPU may not run on another that shares the folder.
    flags = hashlib.sha256(" ".join(sorted(_cpu_flags())).encode()).hexdigest()[:16]
    jax.config.update("jax_compilation_cache_dir", str(cache / "compiled" / flags))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def with_precision(config: Config, saved: Config | None) -> Config:
    """The config, its precision decided where it is auto: the saved run's, or the one expected to be faster here."""
    if config.model.precision != "auto":
        return config
    precision = _fast_precision(config.model.units) if saved is None else saved.model.precision
    return dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision))


def say(precision: str, devices: Mesh) -> None:
    """Prints one line: devices, precision, version."""
    first = devices.devices.flat[0]
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    console.say(
        "device",
        f"{devices.size} of {jax.device_count()} {first.platform} ({first.device_kind}){processes}, "
        f"{precision}, jax {jax.__version__}",
    )


def trials_at_once(train: TrainConfig, bytes_of_states: int, bytes_of_one: Callable[[], int | None]) -> int:
    """How many trials are computed together: what the config says, or as many as are worth it and fit in memory.

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


def _fast_precision(units: int) -> str:
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        fast = bool(_cpu_flags() & BFLOAT16_FLAGS) and units >= BFLOAT16_UNITS
    elif device.platform == "gpu":
        capability = re.match(r"\d+", str(getattr(device, "compute_capability", "")))
        # NVIDIA GPUs before capability 8.0 have no units for bfloat16; AMD gives a name instead of a number.
        fast = capability is None or int(capability[0]) >= 8
    else:
        fast = True
    return "bfloat16" if fast else "float32"


def _cpu_flags() -> set[str]:
    """The CPU's instruction sets, where Linux lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {platform.machine()}
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []))

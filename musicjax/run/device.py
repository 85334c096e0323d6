"""The machine that a run finds: the precision that is faster on it, and where its compiled programs are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import jax
from jax.sharding import Mesh

from musicjax import console
from musicjax.config import Config
from musicjax.corpus import cache as cache_lib
from musicjax.errors import RunError

# What a CPU needs to multiply bfloat16 faster than float32; and the units from which it does
# (benchmarks/results/*/scaling.json).
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
BFLOAT16_UNITS = 256
# The share of the free memory that trials computed together may plan with.
MEMORY_SHARE = 0.5
# Trials computed at once on a CPU: more of them were slower (benchmarks/results/*/trials.json).
CPU_GROUP = 1


def keep_programs(config: Config) -> None:
    """Compiled programs are kept in the cache, so that the next start need not compile them again."""
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # the user's own choice, in JAX's way
        return
    try:
        cache = cache_lib.cache_folder(config.data)
    except (OSError, RunError):  # said by the reading of the data, which needs it more
        return
    if cache is None:
        return
    # A program compiled for one CPU may not run on another that shares the folder.
    flags = hashlib.sha256(" ".join(sorted(_cpu_flags())).encode()).hexdigest()[:16]
    jax.config.update("jax_compilation_cache_dir", str(cache / "compiled" / flags))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def with_precision(config: Config, saved: Config | None) -> Config:
    """The config with a precision of its own where it leaves it open: the saved run's, or the faster one here."""
    if config.model.precision != "auto":
        return config
    precision = _fast_precision(config.model.units) if saved is None else saved.model.precision
    return dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision))


def say(config: Config, devices: Mesh) -> None:
    """One line: devices, precision, version."""
    first = devices.devices.flat[0]
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    console.say(
        "device",
        f"{devices.size} of {jax.device_count()} {first.platform} ({first.device_kind}){processes}, "
        f"{config.model.precision}, jax {jax.__version__}",
    )


def trials_at_once(config: Config, bytes_of_states: int, bytes_of_one: Callable[[], int | None]) -> int:
    """How many trials are computed together: what the config says, or as many as pay and fit in memory.

    Args:
        bytes_of_states: of all trials, which lie in memory once here and will three times: as it is saved, as it is
            trained, and as it is trained next.
        bytes_of_one: working memory for one trial, None if unknown.
    """
    settings = config.train
    if settings.trial_group:
        return min(settings.trial_group, settings.trials)
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return min(CPU_GROUP, settings.trials)
    stats, one = device.memory_stats() or {}, bytes_of_one()
    if not one:
        return 1
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0) - 2 * bytes_of_states
    return max(1, min(settings.trials, int(MEMORY_SHARE * free) // one))


def _fast_precision(units: int) -> str:
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        fast = bool(_cpu_flags() & BFLOAT16_FLAGS) and units >= BFLOAT16_UNITS
    elif device.platform == "gpu":
        capability = re.match(r"\d+", str(getattr(device, "compute_capability", "")))
        fast = (
            capability is None or int(capability[0]) >= 8
        )  # NVIDIA's before 8.0 have no units for it; AMD's are names
    else:
        fast = True
    return "bfloat16" if fast else "float32"


def _cpu_flags() -> set[str]:
    """What the CPU can do, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {os.uname().machine}
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []))

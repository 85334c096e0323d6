"""Which precision trains faster on this machine: the LSTM itself, forward and backward, measured once for each size.

The names of a CPU's instructions do not tell: some that multiply bfloat16 are faster in float32. What was measured is
kept in the cache, by device, size and version of JAX.
"""

from __future__ import annotations

import functools
import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import files
from musicjax.model import lstm

NAME = "precision.json"
CHOICES = ("float32", "bfloat16")
# Smaller networks spend their time elsewhere. Larger batches tell no more.
LEAST_UNITS, MOST_ROWS = 64, 256
# The LSTM takes STEPS steps over rows of COLUMNS numbers, as in the paper. Each precision runs PASSES times.
STEPS, COLUMNS, PASSES = 5, 3, 5
# bfloat16 must be this many times as fast, so that noise never picks the less exact precision.
MARGIN = 1.1


class Faster(NamedTuple):
    """precision: one of CHOICES; why: for the console."""

    precision: str
    why: str


def faster(units: int, batch_size: int, cache: Path | None) -> Faster:
    """The precision in which a network of this size trains faster here.

    Args:
        batch_size: rows of a batch on each device.
        cache: the folder of what was measured before; None: it is measured anew and not kept.
    """
    device = jax.local_devices()[0]
    capability = re.match(r"\d+", str(getattr(device, "compute_capability", "")))
    if device.platform == "gpu" and capability is not None and int(capability[0]) < 8:
        return Faster("float32", f"bfloat16 needs compute capability 8, this GPU has {capability[0]}")
    if units < LEAST_UNITS:
        return Faster("float32", "")
    rows = min(batch_size, MOST_ROWS)
    key = f"{device.platform} {_name(device)} units={units} batch={rows} jax={jax.__version__}"
    seconds = _read(cache).get(key)
    if seconds is None:
        try:
            seconds = measured(units, rows)
        except Exception as error:  # out of memory, a type that the device lacks: many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0]
            return Faster("float32", f"the precisions could not be compared: {reason}")
        _keep(cache, key, seconds)
    chosen = "bfloat16" if seconds["float32"] > MARGIN * seconds["bfloat16"] else "float32"
    other = CHOICES[chosen == CHOICES[0]]
    times = seconds[other] / seconds[chosen]
    if times < 1:
        return Faster(chosen, f"{other} is only {1 / times:.2f} times as fast here")
    return Faster(chosen, f"{times:.2f} times as fast as {other} here")


def _name(device: Any) -> str:
    """The kind of a device; of a CPU its model and how many cores this process may use, where Linux tells."""
    if device.platform != "cpu":
        return str(device.device_kind)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        return f"{model}, {len(os.sched_getaffinity(0))} cores"
    except (OSError, StopIteration, AttributeError):
        return f"{device.device_kind}, {os.cpu_count()} cores"


@functools.cache
def measured(units: int, batch_size: int) -> dict[str, float]:
    """{precision: seconds of the fastest pass through some steps of an LSTM and back}."""
    params = lstm.Params(
        jnp.zeros((COLUMNS, 4 * units)), jnp.full((units, 4 * units), 0.01), jnp.zeros(4 * units, jnp.float32)
    )
    windows = jnp.full((batch_size, STEPS, COLUMNS), 0.5)
    state = lstm.zero_state(batch_size, units)

    def compiled(precision: str) -> Any:
        def loss(params: lstm.Params) -> jax.Array:
            return lstm.unroll(params, windows, state, precision)[0].sum()

        program = jax.jit(jax.grad(loss)).lower(params).compile()
        jax.block_until_ready(program(params))
        return program

    programs = {precision: compiled(precision) for precision in CHOICES}
    passes: dict[str, list[float]] = {precision: [] for precision in CHOICES}
    for _ in range(PASSES):
        for precision, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program(params))
            passes[precision].append(time.perf_counter() - began)
    return {precision: float(np.min(several)) for precision, several in passes.items()}


def _read(cache: Path | None) -> dict[str, dict[str, float]]:
    """What was measured before; nothing if the file is not there or is not what `_keep` writes."""
    if cache is None:
        return {}
    try:
        found = json.loads((cache / NAME).read_text(encoding="utf-8"))
        return {key: {name: float(one[name]) for name in CHOICES} for key, one in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _keep(cache: Path | None, key: str, seconds: dict[str, float]) -> None:
    if cache is None:
        return
    try:
        cache.mkdir(parents=True, exist_ok=True)
        files.write(cache / NAME, json.dumps({**_read(cache), key: seconds}, indent=1) + "\n")
    except OSError:  # it is measured again next time
        return

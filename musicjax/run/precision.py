"""Which precision trains faster on this machine: the LSTM itself, forward and backward, measured once for each size.

A CPU's instruction set does not tell: some CPUs that multiply bfloat16 are faster in float32. Measurements are kept in
the cache, by device, size and version of JAX.
"""

from __future__ import annotations

import functools
import json
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import cores, files
from musicjax.model import lstm

NAME = "precision.json"
# Smaller networks spend their time elsewhere. Larger batches tell no more.
LEAST_UNITS, MOST_ROWS = 64, 256
# The least compute capability of NVIDIA GPUs that have tf32 and bfloat16.
LEAST_CAPABILITY = 8
# The LSTM takes STEPS steps over rows of COLUMNS numbers, as in the paper. Each precision runs PASSES times.
STEPS, COLUMNS, PASSES = 5, 3, 5
# A less exact precision must be this many times as fast, so that noise never picks it.
MARGIN = 1.1


class Faster(NamedTuple):
    """precision: one of `lstm.PRECISIONS`; why: for the console."""

    precision: str
    why: str


def faster(units: int, batch_size: int, cache: Path | None) -> Faster:
    """The precision in which a network of this size trains faster here.

    Args:
        batch_size: rows of a batch on each device.
        cache: the folder of what was measured before; None: it is measured and not kept.
    """
    device = jax.local_devices()[0]
    if capability(device) in range(LEAST_CAPABILITY):
        told = f"tf32 and bfloat16 need compute capability {LEAST_CAPABILITY}, this GPU has {capability(device)}"
        return Faster("float32", told)
    if units < LEAST_UNITS:
        return Faster("float32", "")
    rows = min(batch_size, MOST_ROWS)
    key = f"{device.platform} {_name(device)} units={units} batch={rows} jax={jax.__version__}"
    seconds = _read(cache).get(key, {})
    if not {*candidates(device)} <= {*seconds}:
        try:
            seconds = measured(units, rows)
        except Exception as error:  # out of memory, a type that the device lacks: many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0]
            return Faster("float32", f"the precisions could not be compared: {reason}")
        _keep(cache, key, seconds)
    chosen = "float32"
    for less_exact in candidates(device)[1:]:
        if seconds[chosen] > MARGIN * seconds[less_exact]:
            chosen = less_exact
    other = min((name for name in candidates(device) if name != chosen), key=seconds.__getitem__)
    times = seconds[other] / seconds[chosen]
    if times < 1:
        return Faster(chosen, f"{other} is only {1 / times:.2f} times as fast here")
    return Faster(chosen, f"{times:.2f} times as fast as {other} here")


def candidates(device: Any) -> tuple[str, ...]:
    """The precisions that a device has, the most exact first."""
    has_tf32 = (capability(device) or 0) >= LEAST_CAPABILITY
    return tuple(name for name in lstm.PRECISIONS if name != "tf32" or has_tf32)


def capability(device: Any) -> int | None:
    """The compute capability of an NVIDIA GPU, its first number; None of any other device."""
    found = re.match(r"\d+", str(getattr(device, "compute_capability", "")))
    return int(found[0]) if found and device.platform == "gpu" else None


def _name(device: Any) -> str:
    """The kind of a device; of a CPU its model and how many cores this process may use, where Linux tells."""
    if device.platform != "cpu":
        return str(device.device_kind)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = device.device_kind
    return f"{model}, {cores.usable()} cores"


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

    programs = {precision: compiled(precision) for precision in candidates(jax.local_devices()[0])}
    passes: dict[str, list[float]] = {precision: [] for precision in programs}
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
        return {key: {name: float(one[name]) for name in lstm.PRECISIONS if name in one} for key, one in found.items()}
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

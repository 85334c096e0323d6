"""Devices: which take part, how a program is spread over them, and how several processes find each other.

Data parallelism: every device holds all parameters and all rows, takes its part of each batch, and the gradients
are summed over the axis AXIS. One device runs the same program without the sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from musicjax.errors import RunError, UsageError

AXIS = "data"
# What a process that cannot begin sends instead of a digest.
FAILED = bytes(32)
# How long the processes of one training run wait for each other to start.
START_SECONDS = 120


def start(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Joins this process to the others; call it before JAX does anything else here.

    Args:
        coordinator: HOST:PORT of process 0, the same in every process; empty: JAX finds all three from Slurm, a
            TPU pod, Kubernetes or Open MPI.

    Raises:
        UsageError: an argument is missing or wrong, or no other processes were found.
        RunError: the others could not be joined.
    """
    if coordinator:
        count, number = num_processes or 0, -1 if process_id is None else process_id
        if ":" not in coordinator or count < 1 or not 0 <= number < count:
            raise UsageError(
                f"coordinator={coordinator!r}, num_processes={num_processes}, process_id={process_id}: expected "
                "HOST:PORT of process 0, how many processes there are, and which of them this is, counted from 0"
            )
    try:
        jax.distributed.initialize(coordinator or None, num_processes, process_id, initialization_timeout=START_SECONDS)
    except ValueError as error:
        raise UsageError(
            f"no other processes found: {error}; give --coordinator=HOST:PORT --num_processes=N --process_id=K"
        ) from error
    except RuntimeError as error:
        whose = f"process {process_id} of {num_processes}" if coordinator else "this process"
        where = f" at {coordinator}" if coordinator else ""
        raise RunError(
            f"{whose} could not join the others{where}: {str(error).splitlines()[0]}; make sure that all are "
            "started with the same coordinator"
        ) from error


def make(count: int = 0) -> Mesh:
    """The first `count` devices of all processes together; 0: all.

    Raises:
        UsageError: there are fewer, or some processes would be left out.
    """
    devices = jax.devices()
    if count > len(devices):
        raise UsageError(f"devices={count}: there are {len(devices)}; expected 1..{len(devices)}, or 0 for all")
    if 0 < count < len(devices) and jax.process_count() > 1:
        raise UsageError(f"devices={count}: {jax.process_count()} processes use all their devices; expected 0")
    return Mesh(np.array(devices[: count or None]), (AXIS,))


def require_divisible(batch_size: int, devices: Mesh, accumulate: int = 1) -> None:
    """Raises UsageError, which names the nearest good sizes, if a batch cannot be divided evenly over the devices, and
    on each of them into `accumulate` parts."""
    parts = devices.size * accumulate
    left = batch_size % parts
    if left:
        below, above = batch_size - left, batch_size - left + parts
        nearest = f"{below} or {above}" if below else str(above)
        over = f"{devices.size} device{'s' * (devices.size > 1)}"
        over += f" with train.accumulate={accumulate}" * (accumulate > 1)
        raise UsageError(
            f"train.batch_size={batch_size} cannot be divided evenly over {over}: expected a multiple of {parts}, "
            f"such as {nearest}; or choose how many devices with --config.train.devices"
        )


def replicate(tree: Any, devices: Mesh) -> Any:
    """Puts the arrays on every device of the mesh. All processes must hold equal ones."""
    everywhere = NamedSharding(devices, PartitionSpec())

    def placed(leaf: Any) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(leaf, everywhere)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(placed(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        here = np.asarray(leaf)
        return jax.make_array_from_callback(here.shape, everywhere, lambda part: here[part])

    return jax.tree.map(placed, tree)


def joined(part: np.ndarray, devices: Mesh) -> jax.Array:
    """The rows [N, C] of each process end to end, on every device; each process must have the same number of rows."""
    if jax.process_count() == 1:
        return replicate(part, devices)
    here = len(devices.local_devices)
    padded = np.concatenate([part, np.zeros((-len(part) % here, part.shape[1]), part.dtype)])
    divided = jax.make_array_from_process_local_data(NamedSharding(devices, PartitionSpec(AXIS)), padded)

    def whole(rows: jax.Array) -> jax.Array:
        rows = rows.reshape(jax.process_count(), len(padded), -1)[:, : len(part)]
        return rows.reshape(-1, part.shape[1])

    return jax.jit(whole, out_shardings=NamedSharding(devices, PartitionSpec()))(divided)


def local(tree: Any) -> Any:
    """The inverse of `replicate`: copies of the arrays on the first device of this process.

    Like new arrays, they are not committed to a device. For arrays that are, JAX compiles a program again.
    """
    return jax.device_put(jax.tree.map(np.array, tree))


def spread(function: Callable, devices: Mesh | None = None, donate: int | tuple[int, ...] = ()) -> Wrapped:
    """function(*arguments, axis_name=...) compiled for the devices; arguments and results are on all of them."""
    if devices is None or devices.size == 1:
        return jax.jit(function, donate_argnums=donate)
    shared = jax.shard_map(
        functools.partial(function, axis_name=AXIS),
        mesh=devices,
        in_specs=PartitionSpec(),
        out_specs=PartitionSpec(),
        check_vma=False,  # results are equal everywhere, because the gradients are summed
    )
    return jax.jit(shared, donate_argnums=donate)


def share(axis_name: str | None) -> tuple[jax.Array | int, int]:
    """(k, n): this device takes the k-th of n parts."""
    return (0, 1) if axis_name is None else (lax.axis_index(axis_name), lax.axis_size(axis_name))


def of_the_first(number: int) -> int:
    """The number that process 0 passed, in every process."""
    return number if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def gather(digest: bytes) -> list[bytes]:
    """The digests of all processes, in order; each process waits for all."""
    if jax.process_count() == 1:
        return [digest]
    everyone = np.asarray(multihost_utils.process_allgather(np.frombuffer(digest, np.uint8), tiled=False))
    return [one.tobytes() for one in everyone.reshape(jax.process_count(), -1)]

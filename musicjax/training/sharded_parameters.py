"""Parameters divided over the devices: each device keeps a part of every large array, and all of the small ones.

The parameters are gathered for a step, each device computes its part of the batch, and the gradients are summed so that
each device gets the part that it updates. The optimizer, whose state is divided as the parameters are, is left to XLA.
The gradient is not: if XLA knows only how the parameters are divided, it divides the layers' products as well, and the
devices exchange parts of them at every row of a window.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from musicjax.training import mesh

# Arrays up to this size are whole on every device: dividing them saves less than gathering them costs.
SMALL_BYTES = 2**20


def specs(tree: Any, devices: Mesh | AbstractMesh) -> Any:
    """Along which axis each array is divided: its longest one that the devices divide evenly; PartitionSpec() if none
    is, or the array is small."""

    def spec(leaf: Any) -> PartitionSpec:
        even = [axis for axis, size in enumerate(leaf.shape) if size % devices.size == 0]
        if not even or leaf.size * leaf.dtype.itemsize <= SMALL_BYTES:
            return PartitionSpec()
        return PartitionSpec(*[None] * max(even, key=lambda axis: leaf.shape[axis]), mesh.AXIS)

    return jax.tree.map(spec, tree)


def place(tree: Any, devices: Mesh) -> Any:
    """Puts the arrays on the devices of the mesh, the large ones divided. All processes must hold equal ones."""

    def placed(leaf: Any, spec: PartitionSpec) -> jax.Array:
        here = np.asarray(leaf)
        return jax.make_array_from_callback(here.shape, NamedSharding(devices, spec), lambda part: here[part])

    return jax.tree.map(placed, tree, specs(tree, devices))


def whole(tree: Any) -> Any:
    """The inverse of `place`: NumPy arrays in the memory of this process. All processes must call it together."""

    def fetched(leaf: Any) -> np.ndarray:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(fetched, tree)


def keep(tree: Any, devices: Mesh) -> Any:
    """The arrays, kept divided as `place` divides them, inside a program for all devices."""

    def kept(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
        return lax.with_sharding_constraint(leaf, NamedSharding(devices, spec))

    return jax.tree.map(kept, tree, specs(tree, devices))


# On each device, inside shard_map.


def gather(tree: Any, specs: Any) -> Any:
    """Whole arrays from the parts of all devices."""

    def gathered(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
        return lax.all_gather(leaf, mesh.AXIS, axis=len(spec) - 1, tiled=True) if spec else leaf

    return jax.tree.map(gathered, tree, specs)


def sum_parts(tree: Any, specs: Any) -> Any:
    """The sums of whole arrays over all devices, of which each device gets its part."""

    def summed(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
        if not spec:
            return lax.psum(leaf, mesh.AXIS)
        return lax.psum_scatter(leaf, mesh.AXIS, scatter_dimension=len(spec) - 1, tiled=True)

    return jax.tree.map(summed, tree, specs)

"""Heads: what the network's outputs mean. For each: outputs -> loss, and outputs -> sample.

regression (the paper's): the output is the next row itself, the loss is the mean squared error.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def regression_loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared error of each sequence, mean over columns: outputs, targets [B, C] -> [B]."""
    return jnp.mean((outputs - targets) ** 2, axis=-1)


def argmax_agreement(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """What Keras calls accuracy for this head: is the largest column of both the same? [B, C] -> [B].

    It compares pitch, velocity and interval with each other, not with the truth; always naming the
    velocity scores 77 % on the paper's data.
    """
    return (jnp.argmax(outputs, axis=-1) == jnp.argmax(targets, axis=-1)).astype(jnp.float32)


def regression_noise(key: jax.Array, columns: int) -> jax.Array:
    """All that is random in `regression_sample`, float32 [C]; drawn apart, for many notes at once."""
    return jax.random.normal(key, (columns,))


def regression_sample(noise: jax.Array, outputs: jax.Array, deviation: jax.Array, temperature: jax.Array) -> jax.Array:
    """The next rows: outputs [..., C] plus Gaussian noise [..., C] of temperature x deviation [C]."""
    return outputs + temperature * deviation * noise

"""Settings -> optax transformation."""

from __future__ import annotations

import jax
import optax

# Keras' RMSprop, which the paper's authors used: rho 0.9, epsilon 1e-7 added under the square root.
RHO = 0.9
EPSILON = 1e-7


def rmsprop(learning_rate: float | jax.Array) -> optax.GradientTransformation:
    """RMSprop with the semantics of Keras."""
    return optax.rmsprop(learning_rate, decay=RHO, eps=EPSILON, eps_in_sqrt=True)

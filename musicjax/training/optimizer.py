"""Settings -> optax transformation."""

from __future__ import annotations

import jax
import optax

RHO = 0.9
EPSILON = 1e-7


def rmsprop(learning_rate: float | jax.Array, epsilon_in_root: bool = True) -> optax.GradientTransformation:
    """RMSprop with the semantics of Keras.

    Args:
        epsilon_in_root: as Keras 3, g / sqrt(mean square + epsilon), where a gradient far below sqrt(epsilon) = 3e-4
            moves its parameter little; False: as Keras 2 and so the paper's authors, g / (sqrt(mean square) + epsilon),
            where it moves as far as any other.
    """
    return optax.rmsprop(learning_rate, decay=RHO, eps=EPSILON, eps_in_sqrt=epsilon_in_root)

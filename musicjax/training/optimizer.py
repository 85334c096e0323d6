"""Config -> optax transformation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from musicjax.config import TrainConfig

RHO = 0.9
EPSILON = 1e-7
RHO_OF_ADADELTA = 0.95  # of its paper, Zeiler 2012


def of(train: TrainConfig, learning_rate: float | jax.Array, steps_per_epoch: int = 1) -> optax.GradientTransformation:
    """The optimizer that a config describes, at this rate."""
    if train.optimizer == "adam":
        return adam(learning_rate, train.half_life * steps_per_epoch, train.clip_norm)
    if train.optimizer == "adadelta":
        return optax.adadelta(learning_rate, RHO_OF_ADADELTA)
    return rmsprop(learning_rate, train.epsilon_in_root, train.momentum)


def adam(
    learning_rate: float | jax.Array, half_life_steps: float = 0.0, clip_norm: float = 0.0
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015), its rate halving every `half_life_steps`, gradients clipped to a norm; 0: neither."""

    def rate(step: jax.Array) -> jax.Array:
        return learning_rate * 0.5 ** (step / half_life_steps) if half_life_steps else jnp.asarray(learning_rate)

    cut = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    return optax.chain(cut, optax.scale_by_adam(), optax.scale_by_learning_rate(rate))


def rmsprop(
    learning_rate: float | jax.Array, epsilon_in_root: bool = True, momentum: float = 0.0
) -> optax.GradientTransformation:
    """RMSprop with the semantics of Keras.

    Args:
        epsilon_in_root: as in Keras 3, g / sqrt(mean square + epsilon), where a gradient far below sqrt(epsilon) = 3e-4
            moves its parameter little; False: as in Keras 2, which the paper's authors used,
            g / (sqrt(mean square) + epsilon), where it moves its parameter as far as any other.
        momentum: Nesterov's, of the scaled gradients; 0: none.
    """
    moved: dict[str, Any] = {"momentum": momentum, "nesterov": True} if momentum else {}
    return optax.rmsprop(learning_rate, decay=RHO, eps=EPSILON, eps_in_sqrt=epsilon_in_root, **moved)

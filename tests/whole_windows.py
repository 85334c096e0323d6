"""Log-likelihoods of whole windows at once: what scoring row by row, or in chunks, has to agree with."""

import jax

from musicjax.model import network
from musicjax.model.network import Network


def log_probs(net: Network, params: dict, windows: jax.Array) -> jax.Array:
    """Log-likelihood of each row of windows float32 [B, T, C] after the first, given those before it: [B, T - 1, A].

    A is 1, or the number of columns that the head predicts one by one. The network needs outputs at every position.
    """
    outputs, targets = network.apply(net, params, windows[:, :-1]), windows[:, 1:, : net.predicted]
    score = net.head.score(network.head_params(params), outputs, targets)
    return -score.nats[..., None] if score.nats_by_column is None else -score.nats_by_column

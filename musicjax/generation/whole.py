"""Pieces that come to an end: each output is the first of some tries that the model itself ends in its last bar.

Shape legend: K outputs, T rows of a window, L rows sampled, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from musicjax import console
from musicjax.encodings.plan import Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.model import sample as sample_lib
from musicjax.model.sample import Past
from musicjax.store.model import Model

# How often an output may go on beyond its last bar; the try after these ends with that bar wherever the music is.
TRIES = 8
# Notes sampled at a time, and the most for each bar.
CHUNK_NOTES, MOST_NOTES_PER_BAR = 100, 200


def rows(
    model: Model,
    params: Sequence[SamplingParams],
    plans: Sequence[Plan],
    keys: jax.Array,
    windows: np.ndarray,
    decode: str,
) -> list[np.ndarray]:
    """The rows of K outputs, [L, C] each, with an edge at the end; says how many outputs reach the most notes first.

    Args:
        keys: K keys of outputs. Another try folds its number into the key, so it depends on the output alone.
        windows: float32 [K, T, C], what each continues.
    """
    found: dict[int, np.ndarray] = {}
    # Without chance all tries are the same one.
    tried = [0 if any(one.temperatures) else TRIES for one in params]
    # The sampler fills up its last group with copies. Further tries take their places at no cost.
    group = sample_lib.group_size(decode)
    places = -(-len(plans) // group) * group
    while len(found) < len(plans):
        left = [k for k in range(len(plans)) if k not in found]
        batch = [(left[n % len(left)], n // len(left)) for n in range(places)]
        batch = [(k, min(tried[k] + more, TRIES)) for k, more in batch]
        sampled = _sampled(model, params, plans, keys, windows, decode, batch)
        for (k, number), piece in zip(batch, sampled, strict=True):
            if k not in found and (number == TRIES or model.encoding.ending(piece) > 0):
                found[k] = piece
        for k in left:
            tried[k] = max(number for output, number in batch if output == k) + 1
    cut = sum(model.encoding.ending(piece) <= 0 for piece in found.values())
    if cut:
        console.say("length", f"{cut} outputs are cut off where they have far more notes than asked for")
    return [found[k] for k in range(len(plans))]


def _sampled(
    model: Model,
    params: Sequence[SamplingParams],
    plans: Sequence[Plan],
    keys: jax.Array,
    windows: np.ndarray,
    decode: str,
    batch: Sequence[tuple[int, int]],
) -> np.ndarray:
    """The rows of tries (output, number), [tries, L, C], until each has ended or gone on beyond its last bar."""
    outputs = np.array([k for k, _ in batch])
    wanted = [plans[k]._replace(must_end=number == TRIES) for k, number in batch]
    own = _keys_of_tries(keys, outputs, np.array([number for _, number in batch]))
    draw = model.encoding.draw([params[k] for k in outputs], model.deviation, wanted)
    most = max(max(MOST_NOTES_PER_BAR * plan.bars, 2 * plan.notes) for plan in plans) + CHUNK_NOTES
    past, is_open = Past(jax.device_put(windows[outputs])), True
    chunks: list[np.ndarray] = []
    while is_open and len(chunks) * CHUNK_NOTES < most:
        first = len(chunks) * CHUNK_NOTES
        sampled = sample_lib.sample(
            model.net, model.params, past, own, model.encoding.limits(), draw, CHUNK_NOTES, first, decode
        )
        past = sampled.past
        chunks.append(np.asarray(sampled.rows))
        whole = np.concatenate(chunks, axis=1)
        is_open = any(model.encoding.ending(piece) == 0 for piece in whole)
    return whole


@jax.jit
def _keys_of_tries(keys: jax.Array, outputs: jax.Array, numbers: jax.Array) -> jax.Array:
    """A key for each try [tries]: its output's key, from keys [K], with the number of the try folded in."""
    return jax.vmap(jax.random.fold_in)(keys[outputs], numbers)

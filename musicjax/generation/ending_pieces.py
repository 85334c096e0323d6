"""Pieces that come to an end: each output is one of several tries, one that the model itself ends in its last bar.

Shape legend: K outputs, T rows of a window, L rows sampled, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from musicjax import console
from musicjax.encodings.plan import Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.model import sample as sample_lib
from musicjax.model import sample_groups
from musicjax.model.sample import Past
from musicjax.store.model import Model

# How many tries at an output may run on past its last bar; the next ends with that bar, wherever the music is. If the
# best of some tries is wanted, at most FOR_EACH times as many are made.
TRIES, FOR_EACH = 8, 2
# Notes sampled at a time, and the most for each bar.
CHUNK_NOTES, MOST_NOTES_PER_BAR = 100, 200


def rows(
    model: Model,
    params: Sequence[SamplingParams],
    plans: Sequence[Plan],
    keys: jax.Array,
    windows: np.ndarray,
    decode: str,
    on_part: Callable[[int, np.ndarray], object] | None = None,
) -> list[np.ndarray]:
    """The rows of K outputs, [L, C] each, with an edge at the end; says how many are cut off at the most notes.

    Args:
        keys: K keys of outputs. Another try folds its number into the key, so it depends on the output alone.
        windows: float32 [K, T, C], what each continues.
        on_part: called with an output and the rows [L, C] of the try that may become it, each time this try has grown.
    """
    # Without chance all tries are the same.
    several = [any(one.temperatures) and plan.opening >= 0 for one, plan in zip(params, plans, strict=True)]
    wanted = [one.best_of if may else 1 for one, may in zip(params, several, strict=True)]
    most = [max(TRIES, FOR_EACH * best_of) if best_of > 1 else TRIES for best_of in wanted]
    tried = [0 if any(one.temperatures) else last for one, last in zip(params, most, strict=True)]
    found: list[dict[int, np.ndarray]] = [{} for _ in plans]
    chosen: dict[int, np.ndarray] = {}
    # The sampler fills up its last group with copies. Further tries take their places at no cost.
    group = sample_groups.size(model.network, decode, windows.shape[1], len(plans))
    places = -(-len(plans) // group) * group
    unit = "tries" if sum(wanted) > len(plans) else "pieces"
    with console.bar("sampling", sum(wanted), unit=unit) as update:
        while left := [k for k in range(len(plans)) if k not in chosen]:
            batch = [(left[n % len(left)], n // len(left)) for n in range(places)]
            batch = [(k, min(tried[k] + more, most[k])) for k, more in batch]
            must_end = [number == most[k] for k, number in batch]
            # Of an output's tries in one batch, the first may become the output; the others count if it fails.
            first = {k: place for place, (k, _) in reversed(list(enumerate(batch))) if not found[k]}

            def on_chunks(chunks: list[np.ndarray], first: dict[int, int] = first) -> None:
                if on_part is not None:
                    for k, place in first.items():
                        on_part(k, np.concatenate([chunk[place] for chunk in chunks]))

            sampled = _sampled(model, params, plans, keys, windows, decode, batch, must_end, on_chunks)
            for (k, number), piece, must in zip(batch, sampled, must_end, strict=True):
                if must or model.encoding.ending(piece) > 0:
                    found[k][number] = piece
            for k in left:
                tried[k] = max(number for output, number in batch if output == k) + 1
                ended = [found[k][number] for number in sorted(found[k]) if number < most[k]][: wanted[k]]
                if len(ended) == wanted[k] or tried[k] > most[k]:
                    chosen[k] = _nearest(model, plans[k], params[k], ended or [found[k][most[k]]])
                    found[k].clear()
            update(sum(_done(wanted[k], len(found[k]), tried[k] / most[k], k in chosen) for k in range(len(plans))))
    cut = sum(model.encoding.ending(piece) <= 0 for piece in chosen.values())
    if cut:
        are_cut = console.counted(cut, "output is cut off because it has", "outputs are cut off because they have")
        console.say("length", f"{are_cut} far more notes than asked for")
    return [chosen[k] for k in range(len(plans))]


def _done(wanted: int, found: int, share_tried: float, is_chosen: bool) -> int:
    """How far an output is, of `wanted`, for the bar: it has as many tries as wanted, or no more are made."""
    return wanted if is_chosen else min(max(found, int(wanted * share_tried)), wanted - 1)


def _nearest(model: Model, plan: Plan, params: SamplingParams, tries: list[np.ndarray]) -> np.ndarray:
    """The rows [L, C] of the try that is most like a training piece, and in the requested key."""
    if len(tries) == 1:
        return tries[0]
    return tries[model.encoding.nearest([model.encoding.decode(rows, None, plan) for rows in tries], plan, params)]


def _sampled(
    model: Model,
    params: Sequence[SamplingParams],
    plans: Sequence[Plan],
    keys: jax.Array,
    windows: np.ndarray,
    decode: str,
    batch: Sequence[tuple[int, int]],
    must_end: Sequence[bool],
    on_chunks: Callable[[list[np.ndarray]], object] = lambda chunks: None,
) -> list[np.ndarray]:
    """The rows of tries (output, number), [L, C] each, until each has ended or gone on beyond its last bar.

    The most rows that a try may have depends on its own plan alone.

    Args:
        on_chunks: called with all rows so far, [tries, CHUNK_NOTES, C] each, whenever there are more.
    """
    outputs = np.array([k for k, _ in batch])
    wanted = [plans[k]._replace(must_end=must) for (k, _), must in zip(batch, must_end, strict=True)]
    own = _keys_of_tries(keys, outputs, np.array([number for _, number in batch]))
    draw = model.encoding.draw([params[k] for k in outputs], model.deviation, wanted)
    most = [max(MOST_NOTES_PER_BAR * plan.bars, 2 * plan.notes) + CHUNK_NOTES for plan in wanted]
    past, is_open = Past(jax.device_put(windows[outputs])), True
    chunks: list[np.ndarray] = []
    while is_open:
        first = len(chunks) * CHUNK_NOTES
        sampled = sample_lib.sample(
            model.network, model.params, past, own, model.encoding.limits(), draw, CHUNK_NOTES, first, decode
        )
        past = sampled.past
        chunks.append(np.asarray(sampled.rows))
        on_chunks(chunks)
        whole = np.concatenate(chunks, axis=1)
        is_open = any(
            len(piece) < longest and model.encoding.ending(piece) == 0
            for piece, longest in zip(whole, most, strict=True)
        )
    # Copies, since a view would keep the whole batch.
    return [piece[:longest].copy() for piece, longest in zip(whole, most, strict=True)]


@jax.jit
def _keys_of_tries(keys: jax.Array, outputs: jax.Array, numbers: jax.Array) -> jax.Array:
    """A key for each try [tries]: its output's key, from keys [K], with the number of the try folded in."""
    return jax.vmap(jax.random.fold_in)(keys[outputs], numbers)

"""A variation of a piece: some of its bars are rewritten, equal bars in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musicjax import console
from musicjax.encodings.plan import Length
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.generation import infill, rework
from musicjax.generation import request as request_lib
from musicjax.generation.infill import OnStep
from musicjax.model import particles, sample
from musicjax.music import splice
from musicjax.music.notes import Notes
from musicjax.store.model import Model


def vary(
    model: Model | str | Path,
    piece: Notes | str | Path,
    amount: float = rework.AMOUNT,
    *,
    num_outputs: int = 8,
    seed: int = 0,
    temperature: float | None = None,
    sampling: SamplingParams | Sequence[SamplingParams] | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Notes]:
    """num_outputs variations of a piece; variation k depends on the seed and k, not on how many are asked for.

    Each bar is rewritten, as `infill.infill` does it, with a probability of `amount`. A bar that recurs with the same
    notes is rewritten once, and recurs in that form.

    Args:
        model, piece: as `infill.infill` takes them.
        amount: 0: the piece itself; 1: every bar is rewritten.
        temperature, sampling, numbers: as `infill.infill` takes them.

    Raises:
        UsageError: a value is of another type or out of range, or the model has no form.
        RunError: the model or the piece cannot be read.
    """
    request_lib.check(num_outputs, Length(), seed, numbers=numbers)
    rework.checked_amount(amount)
    params = request_lib.sampling_of(sampling, temperature, num_outputs)
    model, notes = infill.opened(model, piece, params, "vary")
    params = request_lib.as_config(params, model.config.sample, sampling, temperature)
    return variations(model, params, seed, notes, amount, numbers)


def variations(
    model: Model,
    params: Sequence[SamplingParams],
    seed: int,
    piece: Notes,
    amount: float,
    numbers: Sequence[int] | None = None,
    on_step: OnStep = lambda: None,
) -> list[Notes]:
    """`vary` with arguments that are checked already.

    Args:
        on_step: as `infill.new_bars` takes it.

    Raises:
        UsageError: the piece has no notes, or the model never saw the instruments asked for.
    """
    lines = infill.lines_of(piece)
    first = splice.alike(piece, lines)
    numbers = range(len(params)) if numbers is None else numbers
    found: list[Notes] = []
    with console.bar("sampling", len(params), unit="pieces") as update:
        for one, number in zip(params, numbers, strict=True):
            anew = is_new(seed, number, first, amount)
            found.append(_variation(model, one, seed, number, piece, lines, first, anew, on_step))
            update(len(found))
    return found


def is_new(seed: int, number: int, first: np.ndarray, amount: float) -> np.ndarray:
    """Which bars variation `number` rewrites, bool [B]; first: int64 [B], as `splice.alike` gives them."""
    return particles.coins(sample.output_keys(seed, [number])[0], len(first))[first] < amount


def _variation(
    model: Model,
    params: SamplingParams,
    seed: int,
    number: int,
    piece: Notes,
    lines: np.ndarray,
    first: np.ndarray,
    anew: np.ndarray,
    on_step: OnStep,
) -> Notes:
    """The piece with some bars rewritten, from the first to the last, each given what is new before it.

    Args:
        lines: [B + 1], bar lines, beats.
        first: int64 [B], the first bar that has the same notes as each.
        anew: bool [B], as `is_new` gives them.
    """
    bars = np.arange(len(first))
    varied, seen = infill.with_keys(piece), None
    for gap_number, (begin, end) in enumerate(_runs(np.flatnonzero(anew & (first == bars)))):
        gap = model.encoding.gap(varied, lines[begin], lines[end], params, infill.CANDIDATES)
        seen = infill.reach(model, gap, seen, on_step)
        new = infill.drawn(model, gap, seen, infill.key_of(seed, number, gap_number), on_step)
        again = [(bar, source) for bar, source in enumerate(first.tolist()) if begin <= source < end and bar != source]
        varied = splice.copied(infill.joined(gap, new, params), lines, again)
    return dataclasses.replace(varied, keys=piece.keys)


def _runs(bars: np.ndarray) -> list[tuple[int, int]]:
    """Bars in rising order as runs of neighbours: the first of each, and the one after its last."""
    ends = np.flatnonzero(np.diff(bars) > 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(bars, ends) if len(run)]

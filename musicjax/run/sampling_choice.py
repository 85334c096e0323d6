"""How the samples of a trained model are drawn: in the way whose samples are most like the pieces it was trained on.

A fully trained model is surer of itself than one from a short trial, so its own samples decide.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from musicjax import config as config_lib
from musicjax import console
from musicjax.config import Config
from musicjax.corpus.split import Music
from musicjax.encodings import sampling_params
from musicjax.encodings.plan import Length
from musicjax.generation import generate
from musicjax.music import likeness
from musicjax.music.notes import Notes
from musicjax.run import candidates
from musicjax.store.model import Model

# How many pieces are drawn in each way. They are compared whole, each the best of several tries, unless most training
# pieces have more than WHOLE_NOTES notes; then CUT_NOTES at most are compared. Few notes do not show how much repeats.
SAMPLES, WHOLE_NOTES, CUT_NOTES = 16, 500, 1500
# Rows that a whole piece takes for each of its notes, as measured: some tries do not end, and all wait for the longest.
ROWS_OF_WHOLE = 2


def rows_drawn(training: Sequence[Notes], best_of: int) -> int:
    """About how many rows `of` draws for these training pieces, all tries included; 0 where it draws none."""
    if len(training) <= likeness.ONE_IN:
        return 0
    notes = int(np.median([len(piece) for piece in training]))
    of_each = ROWS_OF_WHOLE * notes * best_of if notes <= WHOLE_NOTES else min(notes, CUT_NOTES)
    return len(candidates.sampling_of_trained()) * SAMPLES * of_each


def of(model: Model, music: Music) -> Config:
    """The model's config with the best temperature and min_p, and with `sample.fit` off; prints how each way scored.

    Piece k gets the same random numbers in every way. Held-out pieces take no part.
    """
    if len(music.training) <= likeness.ONE_IN:
        kept = f"temperature {model.config.sample.temperature:g}, min_p {model.config.sample.min_p:g}"
        console.say("sampling", f"too few training pieces to compare samples with: keeps {kept}")
        return config_lib.with_fields(model.config, {"sample.fit": False})
    ways = candidates.sampling_of_trained()
    configs = [config_lib.with_fields(model.config, {**way, "sample.fit": False}) for way in ways]
    by = likeness.standard_of_training(music.training, music.known, WHOLE_NOTES, CUT_NOTES)
    length = Length(num_notes=by.notes, exact=not by.is_whole)
    console.say("sampling", f"draws {SAMPLES} pieces in each of {len(ways)} ways; the way most like the data wins")
    groups, began = [], time.monotonic()
    with console.bar("sampling", len(ways), unit="ways") as update:
        for number, (way, config) in enumerate(zip(ways, configs, strict=True), 1):
            params = [sampling_params.of_config(config.sample)] * SAMPLES
            pieces = generate.new_pieces(model, params, length, config.seed)
            groups.append(likeness.score(pieces, by))
            left = console.duration((time.monotonic() - began) * (len(ways) - number) / number)
            update(number, f"{candidates.text(way)}: score {groups[-1]['score']:.3f}  {left} left")
    best = max(range(len(ways)), key=lambda place: groups[place]["score"])
    rows = [
        (candidates.text(way), *(f"{value:.2f}" for value in parts.values()), "chosen" * (place == best))
        for place, (way, parts) in enumerate(zip(ways, groups, strict=True))
    ]
    console.table(rows, ("samples drawn at", *groups[best], ""))
    console.say("sampling", f"takes {candidates.text(ways[best])}: these samples are most like the training pieces")
    return configs[best]

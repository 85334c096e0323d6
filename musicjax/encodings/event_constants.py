"""What a program without Python needs, beside the weights, to compose with a note-event model."""

from __future__ import annotations

import math
from typing import Any

from musicjax.config import Config
from musicjax.encodings import event_plans, sampling_params
from musicjax.model.categorical import Categorical
from musicjax.model.network import MusicLSTM
from musicjax.music import form, keys, longest_match, note_bins
from musicjax.music.note_bins import Bins


def of(config: Config, bins: Bins, net: MusicLSTM) -> dict[str, Any]:
    """As JSON values: the network's sizes, what bins stand for, the training pieces' beginnings, and how to draw.

    report/templates/model.js is what reads them.
    """
    head, params = net.head, sampling_params.of_config(config.sample)
    assert isinstance(head, Categorical)
    steps, sounds = (table.tolist() for table in note_bins.steps_of(bins))
    interval, pitch, duration, velocity = config.sample.own.temperature_factors or (1.0,) * 4
    return {
        "at": {name: column for column, name in enumerate(note_bins.COLUMNS)},
        "sizes": list(head.sizes),
        "order": list(head.order),
        "predicted": list(head.predicted),
        "matched": list(bins.matched),
        "used": list(bins.used),
        "edge": note_bins.EDGE,
        "layers": net.layer_names,
        "units": net.units,
        "embedding": net.embedding,
        "headUnits": head.units,
        "steps": steps,
        "sounds": sounds,
        "bpm": bins.bpm,
        "stepsPerBeat": bins.steps_per_beat,
        "stepsPerBar": list(bins.steps_per_bar),
        "meters": [list(meter) for meter in bins.meters],
        "durations": list(bins.duration),
        "velocities": list(bins.velocity),
        "programs": list(bins.programs),
        "isDrums": bins.is_drums.tolist(),
        "keys": [[keys.text_of(tonic, mode) for tonic in range(12)] for mode in range(len(keys.MODES))],
        "openings": [[*opening[:3], min(opening.bars, _most_bars(bins, opening.meter))] for opening in bins.openings],
        "loops": list(bins.loops),
        "left": list(form.LEFT),
        "phraseBars": form.PHRASE_BARS,
        "heldSteps": list(note_bins.HELD_STEPS),
        "reach": longest_match.REACH,
        "matchLengths": list(longest_match.LENGTHS) if config.data.own.match_share > 0 else None,
        "temperature": params.temperature,
        "factors": [interval, pitch, pitch, duration, velocity],
        "topP": params.top_p,
        "minP": params.min_p,
        "noRepeat": params.no_repeat,
        "stopLoops": params.stop_loops,
    }


def _most_bars(bins: Bins, meter: int) -> int:
    """The most bars of a piece in this meter, given as a bin."""
    return math.ceil(event_plans.MOST_BEATS * bins.steps_per_beat / bins.steps_per_bar[meter])

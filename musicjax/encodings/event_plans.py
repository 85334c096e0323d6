"""What an output of note events is to be: what is asked for, and the rest as in one of the training pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from musicjax.encodings.plan import Length, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.music import bar_position, instruments, keys, likeness, note_rows
from musicjax.music.note_bins import ABSENT, Bins
from musicjax.music.notes import Notes

# The most quarter notes that an output has if no length is asked for: 64 bars of 4/4.
MOST_BEATS = 256
# A piece that has more than ABOUT times as many bars as another is not about as long.
ABOUT = 1.5


def of_output(
    bins: Bins, params: SamplingParams, choice: int, length: Length, bpm: float, primer: Notes | None
) -> Plan:
    """What an output is to be; what is not asked for is as in one of the training pieces, chosen by a number.

    Raises:
        UsageError: the model never saw the meter, the mode or the instruments asked for.
    """
    fitting = list(enumerate(bins.openings))
    if params.meter:
        meter = meter_bin(bins, params.meter)
        fitting = [(number, opening) for number, opening in fitting if opening.meter == meter] or [
            (number, opening._replace(meter=meter)) for number, opening in fitting
        ]
    if params.key:
        asked_tonic, asked_mode = keys.key_of(params.key)
        asked_mode = _mode_bin(bins, params.key, asked_mode)
        fitting = [(number, opening) for number, opening in fitting if opening.mode == asked_mode] or fitting
    number, (tonic, mode, meter, bars) = fitting[choice % len(fitting)]
    if primer is not None and len(primer):
        end = float(primer.onset_beats[-1])
        (tonic, mode), own = note_rows.key_at(primer, end), note_rows.meter_at(primer, end, bins)
        meter = meter if params.meter else own
    if params.key:
        tonic, mode = asked_tonic, asked_mode
    beats_per_bar = float(bar_position.beats_per_bar(np.array([(0, *bins.meters[meter])]))[0])
    cycles = max(round(beats_per_bar * bins.steps_per_beat / bins.steps_per_bar[meter]), 1)
    beats = length.in_seconds(bpm, beats_per_bar) * bpm / 60
    asked = max(math.ceil(beats / beats_per_bar - 1e-6), int(beats > 0)) * cycles
    bars = asked if any(length.measured) else min(bars, math.ceil(MOST_BEATS / beats_per_bar * cycles))
    played, ends = instruments_of(bins, params), not length.exact
    opening = number if bins.likenesses else -1
    return Plan(tonic, mode, meter, bars, length.num_notes, ends, opening=opening, instruments=played)


def nearest(bins: Bins, pieces: Sequence[Notes], plan: Plan, params: SamplingParams) -> int:
    """Which piece is most like the training piece of its plan; repeats count only where both are about as long.

    Args:
        plan: one that has an opening.
        params: how they were drawn; a key that was asked for counts, with its scale.
    """
    like = np.array(bins.likenesses)
    spread = [float(np.std(column[column != ABSENT])) if (column != ABSENT).any() else 0.0 for column in like.T]
    own = np.where(like[plan.opening] == ABSENT, np.nan, like[plan.opening])
    bars, planned = bins.openings[plan.opening].bars, plan.bars or round(plan.notes / bins.notes_per_bar)
    if not bars / ABOUT <= planned <= bars * ABOUT:
        own[likeness.MEASURES.index("repeats")] = np.nan
    return likeness.nearest(pieces, own, spread, likeness.key_of(params.key, params.scale))


def _mode_bin(bins: Bins, text: str, mode: int) -> int:
    """The bin of a mode 0..3; raises UsageError if the model never saw it."""
    known = sorted({opening.mode - 1 for opening in bins.openings if opening.mode})
    if mode not in known:
        if not known:
            raise UsageError(f"key={text}: this model learned from music without keys; leave it out")
        names, tonic = ", ".join(keys.MODES[one] for one in known), keys.SPELLINGS[0][keys.key_of(text)[0]]
        raise UsageError(
            f"key={text}: this model learned from music in {names}; expected such a key, or, for pitches alone, "
            f"a key and a scale, such as --key={tonic}{'' if 0 in known else 'm'} --scale={keys.MODES[mode]}"
        )
    return mode + 1


def instruments_of(bins: Bins, params: SamplingParams) -> tuple[int, ...]:
    """The numbers of the instruments asked for; raises UsageError if the model has none of such a program."""
    programs, found = bins.programs, []
    for text in params.instruments:
        program = instruments.program_of(text)
        families = [instruments.family_of(one) for one in programs]
        same = [k for k, one in enumerate(programs) if one == program]
        same = same or [k for k, family in enumerate(families) if family == instruments.family_of(program)]
        if not same:
            names = ", ".join(map(instruments.name_of, programs))
            raise UsageError(f"instruments={text}: this model learned from music for {names}; expected some of these")
        found += same
    return tuple(sorted(set(found)))


def meter_bin(bins: Bins, text: str) -> int:
    """The bin of a meter such as "3/4"; raises UsageError if the model never saw it."""
    meters, meter = bins.meters, bar_position.meter_of(text)
    if meter not in meters:
        known = ", ".join(bar_position.text_of(*meter) for meter in meters)
        raise UsageError(f"meter={text}: this model learned from music in {known}; expected one of these")
    return meters.index(meter)

"""Curves and notes -> inline SVG, and the numbers and words that go with it.

The SVG holds numbers, and words of our own. What a workdir says never enters it: the templates write that, and escape
it. Positions are percentages of a plot, so that it fits any width with its letters unchanged; what is drawn in data
coordinates lies in a nested picture that is stretched. Colours are classes of page.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicjax.music import instruments
from musicjax.music.notes import Notes
from musicjax.report import roll
from musicjax.report.curves import FEW_EPOCHS, SPLITS, Curve, is_logarithmic

# Each stretch of a long curve is drawn by its least and its greatest value.
STRETCHES = 120
VIEW = 1000  # units of a stretched picture, each way
VELOCITY_SHADES = 128 // roll.VELOCITY_STEP
# A second is at least this wide, as far as the greatest width allows; the reader scrolls to what does not fit.
SECOND_PIXELS, MOST_PIXELS = 12, 20_000
LABEL_PIXELS = 60
# The narrowest a roll is drawn, on a phone 320 pixels wide, and the room that a time takes there.
NARROWEST_PIXELS, TIME_PIXELS = 230, 36


@dataclass(frozen=True)
class Scale:
    """Where values stand between the least (0) and the greatest (1) that are shown."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (at - low) / (high - low)


@dataclass(frozen=True)
class Chart:
    """A metric by epoch, a line a split.

    Attributes:
        sentence: what it shows and what is good.
        drawing: the inside of an SVG element.
        numbers: what the script needs: {"first", "last", "low", "high", "log", "epochs", "series"}.
        legend: (class of the line, label, last value, best value in words) each.
        remarks: what the drawing does not show by itself.
    """

    title: str
    sentence: str
    drawing: str
    numbers: dict[str, Any]
    legend: list[tuple[str, str, float, str]]
    remarks: list[str]


@dataclass(frozen=True)
class Roll:
    """A piano roll: seconds to the right, pitch upwards, colour by velocity or by instrument; with a playhead.

    Attributes:
        pitches, notes: the insides of two SVG elements, the names of the octaves and what scrolls beside them.
        width: of the latter, in pixels.
        top: pitch of the uppermost row. Row r of the notes is centred at r, and a millisecond is one unit wide.
        legend: (class of its notes, name) of each instrument if there are several.
    """

    pitches: str
    notes: str
    width: int
    top: int
    legend: tuple[tuple[str, str], ...] = ()


def number(value: object) -> str:
    """Four digits; a dash if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def percent(share: float) -> str:
    """A position as CSS and SVG write it."""
    return f"{100 * share:.2f}%"


def chart(
    title: str,
    sentence: str,
    unit: str,
    of: dict[str, Curve],
    baseline: tuple[str, float] | None = None,
    falls: bool = False,
) -> Chart:
    """A metric by epoch.

    Args:
        sentence: what it shows and what is good.
        of: curves by split, at least one.
        baseline: the label and height of a horizontal line.
        falls: whether lower is better, as for losses and errors.
    """
    kept = _kept_epochs(list(of.values()))
    scale = _value_scale(list(of.values()), baseline, falls)
    first, last = kept[0], kept[-1]
    span = Scale(first, last) if last > first else Scale(first - 0.5, first + 0.5)
    ticks = [
        f'<line class="gridline" x1="0" x2="100%" y1="{y}" y2="{y}"/><text x="0" y="{y}" dx="-8" dy="4" '
        f'text-anchor="end">{value:.4g}</text>'
        for value in value_ticks(scale)
        for y in [percent(1 - scale.share(value))]
    ]
    ticks += [
        f'<text x="{percent(span.share(epoch))}" y="100%" dy="20" text-anchor="middle">{epoch:,}</text>'
        for epoch in sorted({round(value) for value in _nice(first, last, 6)} | {first})
        if first <= epoch <= last
    ]
    if baseline:
        y = percent(1 - scale.share(baseline[1]))
        ticks.append(f'<line class="baseline" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
    lines = "".join(_line(split, curve, kept, span, scale) for split, curve in of.items())
    dots = "".join(f'<circle class="dot {split}" r="5"/>' for split in of)
    drawing = (
        f'<rect width="100%" height="100%" fill="none" pointer-events="all"/>{"".join(ticks)}'
        f'<svg width="100%" height="100%" viewBox="0 0 {VIEW} {VIEW}" preserveAspectRatio="none" overflow="visible">'
        f'{lines}</svg><line class="cursor" y1="0" y2="100%"/>{dots}'
    )
    series = [{"label": SPLITS[split], "values": _at(curve, kept)} for split, curve in of.items()]
    ends = {"first": span.low, "last": span.high, "low": scale.low, "high": scale.high, "log": scale.log}
    numbers = {**ends, "epochs": kept, "series": series}
    return Chart(title, sentence, drawing, numbers, _legend(of, baseline, falls), _remarks(unit, of, kept, scale.log))


def _legend(of: dict[str, Curve], baseline: tuple[str, float] | None, falls: bool) -> list[tuple[str, str, float, str]]:
    entries = []
    for split, curve in of.items():
        best = int((np.nanargmin if falls else np.nanargmax)(curve.mean))
        extreme = f"{'lowest' if falls else 'highest'} {number(curve.mean[best])} in epoch {curve.epochs[best]:,}"
        entries.append((split, SPLITS[split], float(curve.mean[-1]), extreme))
    return [*entries, ("baseline", *baseline, "")] if baseline else entries


def _remarks(unit: str, of: dict[str, Curve], kept: list[int], log: bool) -> list[str]:
    remarks = [f"{unit}, logarithmic" if log else unit] if unit else []
    trials = max(curve.trials for curve in of.values())
    if trials > 1:
        remarks.append(f"mean of {trials} trials, with a band from lowest to highest")
    epochs = set().union(*(curve.epochs.tolist() for curve in of.values()))
    if len(kept) < len(epochs):
        remarks.append(f"{len(kept):,} of {len(epochs):,} epochs drawn, with the extremes of every stretch")
    for split, curve in of.items():
        if missing := int((~np.isfinite(curve.mean)).sum()):
            remarks.append(f"{SPLITS[split]} is not a number in {missing:,} of {len(curve.epochs):,} epochs")
    return remarks


def _kept_epochs(curves: list[Curve]) -> list[int]:
    """The epochs that are drawn: all, or of every stretch those of each curve's least and greatest value."""
    kept: set[int] = set()
    for curve in curves:
        if len(curve.epochs) <= 2 * STRETCHES:
            kept |= set(curve.epochs.tolist())
        for part in np.array_split(np.arange(len(curve.epochs)), STRETCHES):
            if len(part) and np.isfinite(curve.mean[part]).any():
                kept |= {int(curve.epochs[part[pick(curve.mean[part])]]) for pick in (np.nanargmin, np.nanargmax)}
        kept |= {int(curve.epochs[0]), int(curve.epochs[-1])}
    return sorted(kept)


def _at(curve: Curve, epochs: list[int]) -> list[float | None]:
    """A curve's value at each of these epochs, five digits; None where it has none."""
    values = dict(zip(curve.epochs.tolist(), curve.mean.tolist(), strict=True))
    found = (values.get(epoch, math.nan) for epoch in epochs)
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in found]


def _value_scale(curves: list[Curve], baseline: tuple[str, float] | None, falls: bool) -> Scale:
    values = np.concatenate([[*curve.low, *curve.high] for curve in curves])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if falls and is_logarithmic(curves):
        margin = (high / low) ** 0.05
        return Scale(low / margin, high * margin, log=True)
    if baseline:
        low, high = min(low, baseline[1]), max(high, baseline[1])
    margin = 0.06 * (high - low) or 0.1 * abs(low) or 1.0
    return Scale(low - margin, high + margin)


def value_ticks(scale: Scale) -> list[float]:
    """Round numbers within the scale, a few."""
    if not scale.log:
        return _nice(scale.low, scale.high, 5)
    decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for parts in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        ticks = [part * 10.0**decade for decade in decades for part in parts]
        ticks = [tick for tick in ticks if scale.low <= tick <= scale.high]
        if len(ticks) >= 3:
            break
    return ticks[:: -(-len(ticks) // 7)]


def _nice(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, at most `about` and one."""
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(power * part for part in (1, 2, 5, 10) if power * part >= (high - low) / about)
    # Digits beyond the twelfth come from the multiplication.
    return [float(f"{k * step:.12g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(split: str, curve: Curve, kept: list[int], span: Scale, scale: Scale) -> str:
    """The mean of the trials, broken where it is not a number, in a band that holds them all."""
    place = {epoch: k for k, epoch in enumerate(curve.epochs.tolist())}
    points = [(epoch, place[epoch]) for epoch in kept if epoch in place]

    def at(epoch: int, value: float) -> str:
        return f"{VIEW * span.share(epoch):.0f} {VIEW * (1 - scale.share(value)):.1f}"

    runs: list[list[tuple[int, int]]] = [[]]
    for epoch, k in points:
        if math.isfinite(curve.mean[k]):
            runs[-1].append((epoch, k))
        elif runs[-1]:
            runs.append([])
    drawn, path, dots = "", "", ""
    for run in filter(None, runs):
        means = [at(epoch, curve.mean[k]) for epoch, k in run]
        path += "M" + "L".join(means)
        dots += "".join(f"M{mean}h0" for mean in means if len(kept) <= FEW_EPOCHS or len(run) == 1)
        if curve.trials > 1:
            edge = [at(epoch, curve.low[k]) for epoch, k in run] + [at(epoch, curve.high[k]) for epoch, k in run[::-1]]
            drawn += f'<path class="band {split}" d="M{"L".join(edge)}Z"/>'
    return f'{drawn}<path class="curve {split}" d="{path}"/><path class="points {split}" d="{dots}"/>'


def piano_roll(notes: Notes, new: Sequence[tuple[float, float]] = ()) -> Roll:
    """A piano roll of notes, at least one; new: (begin, end), seconds, of stretches to be shaded."""
    lowest, highest = roll.pitch_range(notes)
    rows, seconds = highest - lowest + 1, max(notes.seconds, 1e-3)
    octaves = {percent((highest - pitch + 0.5) / rows): name for pitch, name in roll.octaves(lowest, highest).items()}
    names = "".join(
        f'<text x="100%" y="{y}" dx="-6" dy="4" text-anchor="end">{name}</text>' for y, name in octaves.items()
    )
    lines = "".join(f'<line class="gridline" x2="100%" y1="{y}" y2="{y}"/>' for y in octaves)
    width = min(round(seconds * SECOND_PIXELS), MOST_PIXELS)
    times = "".join(
        f'<text x="{percent(at / seconds)}" y="100%" dx="2" dy="15">{int(at // 60)}:{int(at % 60):02d}</text>'
        for at in _times(seconds, max(width, 360) // LABEL_PIXELS)
        if (1 - at / seconds) * max(width, NARROWEST_PIXELS) >= TIME_PIXELS
    )
    marks = "".join(
        f'<rect class="new-ground" x="{percent(begin / seconds)}" width="{percent((end - begin) / seconds)}" '
        f'height="100%"/>'
        + "".join(
            f'<line class="new" x1="{x}" x2="{x}" y2="100%"/>' for x in map(percent, (begin / seconds, end / seconds))
        )
        for begin, end in new
    )
    kinds = {program: f"i{k % len(roll.COLOURS)}" for k, program in enumerate(roll.instruments_of(notes))}
    paths: dict[str, str] = {}
    onset, end = (np.rint(1000 * one).astype(np.int64) for one in (notes.onset, notes.onset + notes.duration))
    columns = (notes.pitch, notes.velocity, notes.program, onset, end - onset)
    for pitch, velocity, program, start, length in zip(*(column.tolist() for column in columns), strict=True):
        # A gap parts a note from the next one on its pitch.
        shown = max(length - 12, length // 2, 12)
        kind = kinds[program] if kinds else f"v{velocity // roll.VELOCITY_STEP}"
        paths[kind] = paths.get(kind, "") + f"M{start} {highest - pitch}h{shown}"
    drawn = "".join(f'<path class="note-row {kind}" d="{paths[kind]}"/>' for kind in sorted(paths))
    drawing = (
        f'<svg width="100%" height="148" overflow="visible"><rect class="ground" width="100%" height="100%"/>'
        f'{marks}{lines}<svg width="100%" height="100%" viewBox="0 -0.5 {max(round(1000 * seconds), 1)} {rows}" '
        f'preserveAspectRatio="none">{drawn}<path class="note-row now" d=""/></svg>{times}'
        f'<line class="playhead" x1="0" x2="0" y1="0" y2="100%"/></svg>'
    )
    legend = tuple((kind, instruments.name_of(program)) for program, kind in kinds.items())
    return Roll(names, drawing, width, highest, legend)


def _times(seconds: float, most: int) -> list[float]:
    """Whole seconds to be labelled, from 0 on."""
    steps = [part * 60**power for power in (0, 1, 2) for part in (1, 2, 5, 10, 15, 30)]
    step = next((step for step in steps if seconds / step <= most), seconds / most)
    return [k * step for k in range(int(seconds / step) + 1)]

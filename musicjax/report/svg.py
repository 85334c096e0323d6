"""Curves and notes -> inline SVG, and the numbers that the page's script needs beside it.

Positions are percentages of a plot, so that it fits any width with its letters unchanged; what is drawn in data
coordinates lies in a nested picture that is stretched. Colours are classes of page.css.

Shape legend of musicjax.report: E epochs, N notes.
"""

from __future__ import annotations

import dataclasses
import math
from html import escape

import numpy as np

from musicjax.errors import printable
from musicjax.music.notes import Notes
from musicjax.report.curves import Curve

LABELS = {"train": "training", "valid": "validation"}
# Each stretch of a long curve is drawn by its least and its greatest value.
STRETCHES = 120
FEW_EPOCHS = 20  # points of the line are marked
VIEW = 1000  # units of a stretched picture, each way
VELOCITY_STEP = 16
# A second is this wide at least, as far as the greatest width allows; what does not fit is scrolled to.
SECOND_PIXELS, MOST_PIXELS = 12, 20_000
LABEL_PIXELS = 60


@dataclasses.dataclass(frozen=True)
class Scale:
    """Where values stand between the least (0) and the greatest (1) that are shown."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (at - low) / (high - low)


def text(value: object) -> str:
    """Any value as text of the page: markup and control characters in it are shown, not obeyed."""
    return escape(printable(str(value)))


def number(value: float | None) -> str:
    """Four digits; a dash if there is no number."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def chart(
    title: str, unit: str, curves: dict[str, Curve], baseline: tuple[str, float] | None, is_loss: bool
) -> tuple[str, dict]:
    """A metric by epoch, a line a split: (its HTML, {"first", "last", "low", "high", "log", "epochs", "series"}).

    baseline: the label and height of a horizontal line.
    """
    kept = _kept_epochs(list(curves.values()))
    scale = _value_scale(list(curves.values()), baseline, is_loss)
    first, last = kept[0], kept[-1]
    span = Scale(first, last) if last > first else Scale(first - 0.5, first + 0.5)
    ticks = [
        f'<line class="gridline" x1="0" x2="100%" y1="{y}" y2="{y}"/><text x="0" y="{y}" dx="-8" dy="4" '
        f'text-anchor="end">{value:.4g}</text>'
        for value in _value_ticks(scale)
        for y in [_percent(1 - scale.share(value))]
    ]
    whole = {round(value) for value in _nice(first, last, 6)} | {first}
    ticks += [
        f'<text x="{_percent(span.share(epoch))}" y="100%" dy="20" text-anchor="middle">{epoch:,}</text>'
        for epoch in sorted(whole)
        if first <= epoch <= last
    ]
    lines = "".join(_line(split, curve, kept, span, scale) for split, curve in curves.items())
    if baseline:
        y = _percent(1 - scale.share(baseline[1]))
        ticks.append(f'<line class="baseline" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
    dots = "".join(f'<circle class="dot {split}" r="5"/>' for split in curves)
    asked = f"{title} by epoch, {number(first)} to {number(last)}: arrow keys tell the values of an epoch"
    html = (
        f'<figure class="card lone"><h3>{text(title)}</h3>{_legend(curves, baseline, is_loss)}'
        f'<svg class="plot" role="img" tabindex="0" aria-label="{text(asked)}">'
        f'<rect width="100%" height="100%" fill="none" pointer-events="all"/>{"".join(ticks)}'
        f'<svg width="100%" height="100%" viewBox="0 0 {VIEW} {VIEW}" preserveAspectRatio="none" overflow="visible">'
        f'{lines}</svg><line class="cursor" y1="0" y2="100%"/>{dots}</svg>'
        f'<div class="foot"><output class="readout"></output><p class="note">{_remarks(unit, curves, kept, scale.log)}'
        "</p></div></figure>"
    )
    series = [{"label": LABELS[split], "values": _at(curve, kept)} for split, curve in curves.items()]
    ends = {"first": span.low, "last": span.high, "low": scale.low, "high": scale.high, "log": scale.log}
    return html, {**ends, "epochs": kept, "series": series}


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


def _value_scale(curves: list[Curve], baseline: tuple[str, float] | None, is_loss: bool) -> Scale:
    """Logarithmic, where losses span more than a factor of three and are all above zero."""
    values = np.concatenate([[*curve.low, *curve.high] for curve in curves])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if is_loss and low > 0 and high > 3 * low:
        margin = (high / low) ** 0.05
        return Scale(low / margin, high * margin, log=True)
    if baseline:
        low, high = min(low, baseline[1]), max(high, baseline[1])
    margin = 0.06 * (high - low) or 0.1 * abs(low) or 1.0
    return Scale(low - margin, high + margin)


def _value_ticks(scale: Scale) -> list[float]:
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
    """Multiples of 1, 2 or 5 times a power of ten between two values, `about` so many at most."""
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(power * part for part in (1, 2, 5, 10) if power * part >= (high - low) / about)
    # Digits beyond the twelfth are of the multiplication.
    return [float(f"{k * step:.12g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(split: str, curve: Curve, kept: list[int], span: Scale, scale: Scale) -> str:
    """The mean of the trials, broken where it is no number, and a band that holds them all."""
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


def _legend(curves: dict[str, Curve], baseline: tuple[str, float] | None, is_loss: bool) -> str:
    """Each line's last value, and its best one where that is lower (a loss) or higher."""
    entries = []
    for split, curve in curves.items():
        best = int((np.nanargmin if is_loss else np.nanargmax)(curve.mean))
        entries.append(
            f"{_swatch(split)}{LABELS[split]} <b>{number(float(curve.mean[-1]))}</b>, "
            f"{'lowest' if is_loss else 'highest'} {number(float(curve.mean[best]))} in epoch {curve.epochs[best]:,}"
        )
    if baseline:
        entries.append(f"{_swatch('baseline')}{text(baseline[0])} <b>{number(baseline[1])}</b>")
    return f'<ul class="legend">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>'


def _swatch(kind: str) -> str:
    return f'<svg class="swatch" aria-hidden="true"><line class="{kind}" x2="100%" y1="2" y2="2"/></svg>'


def _remarks(unit: str, curves: dict[str, Curve], kept: list[int], log: bool) -> str:
    """What the drawing does not show by itself."""
    said = [f"{unit}, logarithmic" if log else unit] if unit else []
    trials = max(curve.trials for curve in curves.values())
    if trials > 1:
        said.append(f"mean of {trials} trials, the band holds all")
    epochs = set().union(*(curve.epochs.tolist() for curve in curves.values()))
    if len(kept) < len(epochs):
        said.append(f"{len(kept):,} of {len(epochs):,} epochs drawn, the extremes of every stretch among them")
    for split, curve in curves.items():
        if missing := int((~np.isfinite(curve.mean)).sum()):
            said.append(f"{LABELS[split]} is not a number in {missing:,} of {len(curve.epochs):,} epochs")
    return text("; ".join(said))


def piano_roll(notes: Notes, name: str) -> str:
    """Seconds to the right, pitch upwards, colour by velocity; with a playhead. At least one note.

    data-top: the pitch of the uppermost row; row r of it is centred at r, and a millisecond is one unit wide.
    """
    low, high = int(notes.pitch.min()) - 1, int(notes.pitch.max()) + 1
    missing = max(0, 23 - (high - low))
    low, high = low - missing // 2, high + (missing + 1) // 2
    rows, seconds = high - low + 1, max(notes.seconds, 1e-3)
    octaves = [(pitch, _percent((high - pitch + 0.5) / rows)) for pitch in range(low, high + 1) if pitch % 12 == 0]
    names = "".join(
        f'<text x="100%" y="{y}" dx="-6" dy="4" text-anchor="end">C{pitch // 12 - 1}</text>' for pitch, y in octaves
    )
    lines = "".join(f'<line class="gridline" x2="100%" y1="{y}" y2="{y}"/>' for _, y in octaves)
    width = min(round(seconds * SECOND_PIXELS), MOST_PIXELS)
    times = "".join(
        f'<text x="{_percent(at / seconds)}" y="100%" dx="2" dy="15">{int(at // 60)}:{int(at % 60):02d}</text>'
        for at in _times(seconds, max(width, 360) // LABEL_PIXELS)
    )
    paths: dict[int, str] = {}
    onset, end = (np.rint(1000 * one).astype(np.int64) for one in (notes.onset, notes.onset + notes.duration))
    for pitch, velocity, start, length in zip(notes.pitch, notes.velocity, onset, end - onset, strict=True):
        # A gap parts a note from the next one on its pitch.
        shown = max(int(length) - 12, int(length) // 2, 12)
        paths.setdefault(int(velocity) // VELOCITY_STEP, "")
        paths[int(velocity) // VELOCITY_STEP] += f"M{start} {high - pitch}h{shown}"
    drawn = "".join(f'<path class="note-row v{kind}" d="{paths[kind]}"/>' for kind in sorted(paths))
    label = f"Piano roll of {name}: {len(notes):,} notes in {seconds:.1f} seconds"
    return (
        f'<div class="roll"><svg class="pitches" aria-hidden="true">{names}</svg>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f'<svg class="notes" width="{width}" data-top="{high}" role="img" aria-label="{text(label)}">'
        f'<svg width="100%" height="148" overflow="visible"><rect class="ground" width="100%" height="100%"/>{lines}'
        f'<svg width="100%" height="100%" viewBox="0 -0.5 {max(round(1000 * seconds), 1)} {rows}" '
        f'preserveAspectRatio="none">{drawn}<path class="note-row now" d=""/></svg>{times}'
        f'<line class="playhead" x1="0" x2="0" y1="0" y2="100%"/></svg></svg></div></div>'
    )


def _times(seconds: float, most: int) -> list[float]:
    """Whole seconds to be labelled, from 0 on."""
    steps = [part * 60**power for power in (0, 1, 2) for part in (1, 2, 5, 10, 15, 30)]
    step = next((step for step in steps if seconds / step <= most), seconds / most)
    return [k * step for k in range(int(seconds / step) + 1) if k * step < 0.95 * seconds]


def loudness_key() -> str:
    """The colours of velocity, soft to loud."""
    parts = "".join(
        f'<line class="v{k}" x1="{12.5 * k}%" x2="{12.5 * (k + 1)}%" y1="5" y2="5"/>'
        for k in range(128 // VELOCITY_STEP)
    )
    return f'<span class="loudness">soft<svg aria-hidden="true">{parts}</svg>loud</span>'


def bar(share: float) -> str:
    """A bar that is full at 1; its room where there is no number."""
    if not math.isfinite(share):
        return '<svg class="bar" aria-hidden="true"></svg>'
    full = _percent(min(max(share, 0.0), 1.0))
    return (
        '<svg class="bar" aria-hidden="true"><rect width="100%" height="100%" rx="4"/>'
        f'<rect class="full" width="{full}" height="100%" rx="4"/></svg>'
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"

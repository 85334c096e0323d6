"""Parallel coordinates: an axis for each field of a search and one for its loss, and a line through them a trial.

Like the drawings of `svg`: positions are shares of the picture, and colours are classes of page.css.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from musicjax.report import svg
from musicjax.report.svg import VELOCITY_SHADES, VIEW, Scale

# Room for the name of an axis; a narrow page scrolls.
AXIS_PIXELS = 130
# How many of the best trials the sentence below the picture is about.
BEST = 10


@dataclass(frozen=True)
class Axis:
    """An axis: its name, where values stand on it (0 the bottom, 1 the top), and what is written there.

    values: of each trial; shares: where they stand; ticks: (share, text) each; is_listed: whether it has single values.
    """

    name: str
    values: list[Any]
    shares: list[float]
    ticks: list[tuple[float, str]]
    is_listed: bool


@dataclass(frozen=True)
class Drawing:
    """sentence: what it shows; inside: of an SVG element; width: the least, in pixels; numbers: for the script."""

    sentence: str
    inside: str
    width: int
    numbers: dict[str, Any]


def axis(name: str, values: list[Any], listed: Sequence[Any] = (), is_log: bool = False) -> Axis:
    """The axis of values that stand in a list, or between the least and the greatest of them."""
    if listed:
        step = 1 / max(len(listed) - 1, 1)
        shares = {value: k * step if len(listed) > 1 else 0.5 for k, value in enumerate(listed)}
        ticks = [(share, words_of(value)) for value, share in shares.items()]
        return Axis(name, values, [shares[value] for value in values], ticks, True)
    low, high = min(values), max(values)
    if high <= low:
        return Axis(name, values, [0.5] * len(values), [(0.5, words_of(low))], False)
    scale = Scale(low, high, is_log)
    # The digits of the ends may be long, so the ticks are round numbers between them.
    ticks = [(scale.share(tick), words_of(tick)) for tick in svg.value_ticks(scale)]
    return Axis(name, values, [scale.share(value) for value in values], ticks, False)


def words_of(value: Any) -> str:
    """A value of a field in words."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def drawing(axes: list[Axis], trials: list[int], of: str) -> Drawing:
    """The lines of the trials, the best first, through the axes, of which the last one has what is minimised.

    Args:
        trials: their numbers; the values on the axes are in their order.
        of: what a trial is compared by, such as "loss".
    """
    count = len(axes)
    places = [(k + 0.5) / count for k in range(count)]
    lines = []
    for k in reversed(range(len(trials))):  # the best are drawn last, above the others
        points = "L".join(
            f"{VIEW * place:.0f} {VIEW * (1 - each.shares[k]):.1f}" for place, each in zip(places, axes, strict=True)
        )
        shade = (len(trials) - 1 - k) * VELOCITY_SHADES // len(trials)
        lines.append(f'<path class="trial v{shade}" data-place="{k}" d="M{points}"/>')
    marks = "".join(_axis(each, place) for each, place in zip(axes, places, strict=True))
    inside = (
        f'<rect width="100%" height="100%" fill="none" pointer-events="all"/>'
        f'<svg width="100%" height="100%" viewBox="0 0 {VIEW} {VIEW}" preserveAspectRatio="none" overflow="visible">'
        f'{"".join(lines)}<path class="trial lit" d=""/></svg>{marks}<g class="brushes"></g>'
    )
    numbers = {
        "trials": trials,
        "axes": [
            {"name": each.name, "at": round(place, 4), "shares": _rounded(each.shares), "values": _shown(each.values)}
            for each, place in zip(axes, places, strict=True)
        ],
    }
    return Drawing(_sentence(axes, trials, of), inside, AXIS_PIXELS * count, numbers)


def _axis(each: Axis, place: float) -> str:
    x = svg.percent(place)
    texts = "".join(
        f'<text x="{x}" y="{svg.percent(1 - share)}" dx="-6" dy="4" text-anchor="end">{html.escape(text)}</text>'
        for share, text in each.ticks
    )
    return f'<line class="axis" x1="{x}" x2="{x}" y1="0" y2="100%"/>{texts}'


def _sentence(axes: list[Axis], trials: list[int], of: str) -> str:
    best = min(BEST, len(trials))
    found = []
    for each in axes[:-1]:
        values = each.values[:best]
        if each.is_listed:
            parts = [words_of(value) for value in sorted(set(values), key=each.values.index)]
            found.append(f"{each.name} {' or '.join(parts)}")
        else:
            low, high = svg.number(min(values)), svg.number(max(values))
            found.append(f"{each.name} {low}" + (f" to {high}" if high != low else ""))
    told = ", ".join(found[:-1]) + (" and " if len(found) > 1 else "") + found[-1]
    whose = "The only trial" if len(trials) == 1 else f"The best {best} of {len(trials):,} trials"
    return f"{whose} by {of} drew {told}."


def _rounded(shares: list[float]) -> list[float]:
    return [round(share, 4) for share in shares]


def _shown(values: list[Any]) -> list[str]:
    return [svg.number(value) if isinstance(value, float) and math.isfinite(value) else str(value) for value in values]

"""The page of a search: what was found, how the trials lie, the best of them, and what they compose."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from musicjax import files
from musicjax.errors import RunError
from musicjax.report import page, parallel_coordinates, pieces, svg
from musicjax.report.curves import title
from musicjax.report.parallel_coordinates import Drawing
from musicjax.report.pieces import Sample

NAME = "search.html"
# How many trials the table has, and how many lines the picture has.
MOST_ROWS, MOST_LINES = 20, 2000


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial as the page shows it; fields: what it drew, by path; loss: the lowest value of what is minimised."""

    number: int
    fields: dict[str, Any]
    loss: float
    epochs: int


@dataclasses.dataclass(frozen=True)
class Field:
    """A field that was searched: its list of values, or none and whether its range is logarithmic."""

    path: str
    listed: tuple = ()
    is_log: bool = False


@dataclasses.dataclass(frozen=True)
class SearchPage:
    """What the page tells.

    Attributes:
        facts: (name, value) each.
        trials: those whose losses are finite, the best first.
        minimised: the metric that they are compared by.
        diverged: how many others there were.
        folders: (of which trial, the folder of its pieces as seen from the page) each, the best first.
    """

    title: str
    facts: list[tuple[str, Any]]
    fields: list[Field]
    trials: list[Trial]
    minimised: str
    diverged: int
    folders: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def write(workdir: Path, told: SearchPage) -> tuple[Path, list[str]]:
    """Writes WORKDIR/search.html, whole or not at all: (the file, what is left out and why).

    Raises:
        RunError: it cannot be written; an older one stays.
    """
    left_out: list[str] = []
    path, text = workdir / NAME, html(told, _samples(workdir, told, left_out))
    try:
        files.write(path, text)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; check its folder, permissions and space"
        ) from error
    return path, left_out


def _samples(workdir: Path, told: SearchPage, left_out: list[str]) -> list[Sample]:
    """The pieces of the best trials, each with what its trial drew."""
    by_number = {trial.number: trial for trial in told.trials}
    found = []
    for number, place in told.folders:
        trial = by_number[number]
        about = f"{title(told.minimised)} {svg.number(trial.loss)}"
        for sample in pieces.read(workdir / place, None, {}, left_out, f"{place}/"):
            name = f"trial {number}, {sample.name}"
            found.append(dataclasses.replace(sample, name=name, about=about, setting=_short(trial.fields)))
    return found


def _short(fields: dict[str, Any]) -> dict[str, Any]:
    return {path.split(".")[-1]: value for path, value in fields.items()}


def html(told: SearchPage, samples: list[Sample]) -> str:
    """The whole page."""
    style, script = page.text("page.css"), page.text("sound.js") + page.text("page.js") + page.text("search.js")
    cards = [pieces.card(sample) for sample in samples]
    picture = picture_of(told)
    numbers = {
        "charts": [],
        "samples": [pieces.milliseconds(one["shown"]) for one in pieces.players(cards)],
        "search": picture.numbers if picture else None,
    }
    template = page.environment().get_template("search.html.j2")
    return template.render(
        page=told,
        minimised=title(told.minimised),
        names=[field.path.split(".")[-1] for field in told.fields],
        rows=told.trials[:MOST_ROWS],
        drawn=min(len(told.trials), MOST_LINES),
        picture=picture,
        samples=cards,
        by_loudness=any(card["roll"] and not card["roll"].legend for card in cards),
        velocity_shades=svg.VELOCITY_SHADES,
        policy=page.policy(style, script),
        style=style,
        script=script,
        numbers=numbers,
    )


def picture_of(told: SearchPage) -> Drawing | None:
    """The parallel coordinates of the trials; None if there is no trial."""
    trials = told.trials[:MOST_LINES]
    if not trials:
        return None
    axes = []
    for field in told.fields:
        values = [trial.fields[field.path] for trial in trials]
        axes.append(parallel_coordinates.axis(field.path.split(".")[-1], values, field.listed, field.is_log))
    losses = [trial.loss for trial in trials]
    is_log = min(losses) > 0 and max(losses) > 3 * min(losses) and math.isfinite(max(losses))
    axes.append(parallel_coordinates.axis(told.minimised, losses, is_log=is_log))
    return parallel_coordinates.drawing(axes, [trial.number for trial in trials], title(told.minimised).lower())

"""A workdir -> its figures as PNG files: those of the paper, for any run."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from musicjax import console, files
from musicjax.errors import RunError
from musicjax.report import curves, distributions, pictures, records, tensorboard_files
from musicjax.report.distributions import Histogram
from musicjax.report.tensorboard_files import Board

# What draws each figure, by the name of its file.
Planned: TypeAlias = dict[str, Callable[[], bytes]]
MOST_BINS = 300
MOST_RIDGES = 24
RIDGE_CELLS = 120


def write(workdir: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Draws all figures that the workdir's records give into a folder: (the files, what is left out and why).

    Raises:
        RunError: there is no such workdir, it has neither metrics nor samples, or the folder cannot be written.
    """
    drawn, left_out = draw(workdir)
    try:
        if drawn:
            folder.mkdir(parents=True, exist_ok=True)
        for name, png in drawn.items():
            files.write_bytes(folder / name, png)
    except OSError as error:
        raise RunError(
            f"figures cannot be written to {folder}: {error.strerror}; name another folder with --output_dir=DIR"
        ) from error
    return [folder / name for name in drawn], left_out


def draw(workdir: Path) -> tuple[dict[str, bytes], list[str]]:
    """({file name: PNG}, what is left out and why); raises RunError if nothing of a run is there."""
    if not workdir.is_dir():
        what = "is a file" if workdir.exists() else "does not exist"
        raise RunError(f"workdir {workdir} {what}: expected the folder of a run; name it with --workdir=DIR")
    left_out: list[str] = []
    lines = records.read_metrics(workdir, left_out)
    if not lines:
        return {}, [*left_out, "the figures, which need those lines"]
    settings = records.read_object(workdir / "config.json", left_out)
    if not isinstance(settings.get("name"), str):
        settings.pop("name", None)
        left_out.append(f"the authors' points, if this is a run of the paper: no name in {workdir / 'config.json'}")
    board = _board(workdir, left_out)
    suffix = f", config {settings['name']}" if "name" in settings else ""
    planned = _by_epoch(lines, settings, suffix, left_out)
    planned |= _by_update(lines, settings, board, suffix, left_out)
    planned |= _weights(lines, board, suffix, left_out)
    with console.each("drawing", list(planned.items()), "figures") as figures:
        return {name: png() for name, png in figures}, left_out


def _board(workdir: Path, left_out: list[str]) -> Board:
    folder = workdir / "tensorboard"
    try:
        board = tensorboard_files.read(folder)
    except OSError as error:
        raise RunError(f"event files in {folder} cannot be read: {error.strerror}; check their permissions") from error
    left_out += board.complaints
    return board


def _by_epoch(lines: list[dict], settings: dict, suffix: str, left_out: list[str]) -> Planned:
    """Figures 6 and 7, and what else was measured in validation."""
    planned: Planned = {}
    last_epoch = max(line["epoch"] for line in lines)
    name = settings.get("name")
    loss, unit = curves.loss_field(lines)
    if found := curves.by_split(lines, loss):
        points = curves.authors(name, "loss", last_epoch)
        planned["loss.png"] = partial(pictures.epochs_png, f"Loss per epoch{suffix}", unit, found, points, is_loss=True)
    else:
        left_out.append("loss.png: no finite loss in metrics.jsonl")
    if found := curves.by_split(lines, "accuracy"):
        meaning, constant = records.accuracy_meaning(settings)
        points, share = curves.authors(name, "accuracy", last_epoch), curves.majority(lines)
        baseline = None if share is None else (f"{constant} (validation)", share)
        planned["accuracy.png"] = partial(
            pictures.epochs_png, f"Accuracy per epoch{suffix}", meaning, found, points, baseline
        )
    else:
        left_out.append("accuracy.png: no accuracy in metrics.jsonl")
    if others := curves.other_curves(lines):
        titled = {curves.title(field): curve for field, curve in others.items()}
        planned["validation.png"] = partial(pictures.panels_png, f"Validation metrics per epoch{suffix}", titled)
    return planned


def _by_update(lines: list[dict], settings: dict, board: Board, suffix: str, left_out: list[str]) -> Planned:
    """Figures 8 and 9."""
    planned: Planned = {}
    units = {"loss": curves.loss_field(lines)[1]}
    if curves.by_split(lines, "accuracy"):
        units["accuracy"] = records.accuracy_meaning(settings)[0]
    for quantity, unit in units.items():
        series = board.scalars.get(f"batch/{quantity}", {})
        steps, values = np.array(list(series)), np.array(list(series.values()), np.float64)
        if np.isfinite(values).any():
            curve, title = curves.binned(steps, values, MOST_BINS), f"{quantity.capitalize()} per batch{suffix}"
            is_loss = quantity == "loss"
            planned[f"batch_{quantity}.png"] = partial(pictures.updates_png, title, unit, curve, len(values), is_loss)
        else:
            left_out.append(f"batch_{quantity}.png: no scalars batch/{quantity} in the workdir's tensorboard/events*")
    return planned


def _weights(lines: list[dict], board: Board, suffix: str, left_out: list[str]) -> Planned:
    """Figures 4, 10 and 11: distributions and histograms of each layer's weights, a panel a tag."""
    if not board.histograms:
        left_out.append("distributions and histograms: no histograms in the workdir's tensorboard/events*")
    planned: Planned = {}
    updates = curves.updates_per_epoch(lines)
    layers: dict[str, dict[str, dict[int, Histogram]]] = {}
    for tag, by_step in board.histograms.items():
        layer = re.sub(r"[^A-Za-z0-9]+", "_", tag.split("/")[0])[:40]
        layers.setdefault(layer, {})[tag] = by_step
    for layer, tags in layers.items():
        bands = {
            tag: (np.array(list(by_step)) / updates, np.stack(list(map(distributions.quantiles, by_step.values()))))
            for tag, by_step in tags.items()
        }
        planned[f"distributions_{layer}.png"] = partial(
            pictures.distributions_png, f"Distributions of {layer} over epochs{suffix}", bands
        )
        ridges = {}
        for tag, by_step in tags.items():
            shown = distributions.spread(list(by_step), MOST_RIDGES)
            of_steps = [by_step[step] for step in shown]
            ridges[tag] = (np.array(shown) / updates, *distributions.ridges(of_steps, RIDGE_CELLS))
        planned[f"histograms_{layer}.png"] = partial(
            pictures.ridges_png, f"Histograms of {layer} over epochs{suffix}", ridges
        )
    return planned

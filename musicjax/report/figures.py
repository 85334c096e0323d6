"""A workdir -> its figures, as PNG files: those of the paper, for any run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from musicjax.errors import RunError
from musicjax.report import curves, event_files, pictures
from musicjax.report.event_files import Board, Histogram

MOST_BINS = 300
MOST_RIDGES = 24
RIDGE_CELLS = 120


def write(workdir: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Draws all that the workdir's records give into a folder: (the files, what is left out and why).

    Raises:
        RunError: there is no such workdir, none with metrics, or the folder cannot be written.
    """
    drawn, left_out = draw(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, png in drawn.items():
            (folder / name).write_bytes(png)
    except OSError as error:
        raise RunError(
            f"figures cannot be written to {folder}: {error.strerror}; name another folder with --output_dir=DIR"
        ) from error
    return [folder / name for name in drawn], left_out


def draw(workdir: Path) -> tuple[dict[str, bytes], list[str]]:
    """({file name: PNG}, what is left out and why); raises RunError if there is no workdir, or none with metrics."""
    if not workdir.is_dir():
        raise RunError(f"workdir {workdir} is not there: expected the folder of a run; name it with --workdir=DIR")
    lines = curves.read_metrics(workdir)
    name = curves.config_name(workdir)
    left_out = [] if name else [f"no name in {workdir / 'config.json'}: the authors' points, if it is the paper's run"]
    board = _board(workdir, left_out)
    suffix = f", config {name}" if name else ""
    drawn = _by_epoch(lines, name, suffix, left_out)
    drawn |= _by_update(lines, board, suffix, left_out)
    return drawn | _weights(lines, board, suffix, left_out), left_out


def _board(workdir: Path, left_out: list[str]) -> Board:
    folder = workdir / "tensorboard"
    try:
        board = event_files.read(folder)
    except OSError as error:
        raise RunError(f"event files in {folder} cannot be read: {error.strerror}; see to their rights") from error
    left_out += board.complaints
    return board


def _by_epoch(lines: list[dict], name: str | None, suffix: str, left_out: list[str]) -> dict[str, bytes]:
    """Figures 6 and 7, and what else was measured in validation."""
    drawn, last_epoch = {}, max(line["epoch"] for line in lines)
    loss, unit = curves.loss_field(lines)
    if found := _splits(lines, loss):
        drawn["loss.png"] = pictures.epochs_png(
            f"Loss per epoch{suffix}", unit, found, curves.authors(name, "loss", last_epoch), is_loss=True
        )
    else:
        left_out.append("loss.png: no finite loss in metrics.jsonl")
    accuracy = curves.accuracy_field(lines)
    found = _splits(lines, accuracy[0]) if accuracy else {}
    if accuracy and found:
        field, called = accuracy
        points, baseline = curves.authors(name, "accuracy", last_epoch), curves.majority(lines, field)
        drawn["accuracy.png"] = pictures.epochs_png(f"Accuracy per epoch{suffix}", called, found, points, baseline)
    else:
        left_out.append("accuracy.png: no accuracy in metrics.jsonl")
    same = {loss, unit.replace(" ", "_")}
    if others := curves.other_fields(lines, same):
        by_field = {field: curve for field in others if (curve := curves.over_epochs(lines, "valid", field))}
        drawn["validation.png"] = pictures.panels_png(f"Validation metrics per epoch{suffix}", by_field)
    return drawn


def _splits(lines: list[dict], field: str) -> dict[str, curves.Curve]:
    found = {split: curves.over_epochs(lines, split, field) for split in ("train", "valid")}
    return {split: curve for split, curve in found.items() if curve is not None}


def _by_update(lines: list[dict], board: Board, suffix: str, left_out: list[str]) -> dict[str, bytes]:
    """Figures 8 and 9."""
    drawn = {}
    accuracy = curves.accuracy_field(lines)
    units = {"loss": curves.loss_field(lines)[1], "accuracy": accuracy[1] if accuracy else "accuracy"}
    for quantity, unit in units.items():
        series = board.scalars.get(f"batch/{quantity}", {})
        steps, values = np.array(list(series)), np.array(list(series.values()), np.float64)
        if np.isfinite(values).any():
            curve, title = curves.binned(steps, values, MOST_BINS), f"{quantity.capitalize()} per batch{suffix}"
            is_loss = quantity == "loss"
            drawn[f"batch_{quantity}.png"] = pictures.updates_png(title, unit, curve, len(values), is_loss)
        elif quantity == "loss" or accuracy:
            left_out.append(f"batch_{quantity}.png: no scalars batch/{quantity} in the workdir's tensorboard/events*")
    return drawn


def _weights(lines: list[dict], board: Board, suffix: str, left_out: list[str]) -> dict[str, bytes]:
    """Figures 4, 10 and 11: for each layer, its tags' distributions and histograms."""
    if not board.histograms:
        left_out.append("distributions and histograms: no histograms in the workdir's tensorboard/events*")
    drawn, updates = {}, curves.updates_per_epoch(lines)
    layers: dict[str, dict[str, dict[int, Histogram]]] = {}
    for tag, by_step in board.histograms.items():
        layer = re.sub(r"[^A-Za-z0-9]+", "_", tag.split("/")[0])[:40]
        layers.setdefault(layer, {})[tag] = by_step
    for layer, tags in layers.items():
        bands = {
            tag: (np.array(list(by_step)) / updates, np.stack([curves.quantiles(one) for one in by_step.values()]))
            for tag, by_step in tags.items()
        }
        drawn[f"distributions_{layer}.png"] = pictures.distributions_png(
            f"Distributions of {layer} over epochs{suffix}", bands
        )
        ridges = {}
        for tag, by_step in tags.items():
            steps = list(by_step)
            shown = [steps[place] for place in curves.spread(steps, MOST_RIDGES)]
            ridges[tag] = (np.array(shown) / updates, *curves.ridges([by_step[step] for step in shown], RIDGE_CELLS))
        drawn[f"histograms_{layer}.png"] = pictures.ridges_png(f"Histograms of {layer} over epochs{suffix}", ridges)
    return drawn

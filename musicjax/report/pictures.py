"""Arrays -> PNG bytes, equal for equal arrays. The only importer of matplotlib and of Pillow, which comes with it.

Shape legend: S steps with a histogram, G grid cells.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from PIL import Image

from musicjax.console import printable
from musicjax.music import instruments
from musicjax.music.notes import Notes
from musicjax.report import roll
from musicjax.report.curves import FEW_EPOCHS, SPLITS, Curve, is_logarithmic

# Pixels; 100 dots an inch, so that text of 10 points is 14 pixels high.
WIDTH, HEIGHT = 900, 560
ROLL_HEIGHT = 360
STYLE = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same letters everywhere
    "font.size": 10.0,
    "text.parse_math": False,  # titles are names of files, not formulas
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.titlesize": 11.0,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
# A piano roll's axes: left, bottom, width and height in pixels. An image column is a pixel, so that no note falls
# between two. Eight colours and a palette keep the file below 60 kB however many notes there are.
ROLL_BOX = (64, 52, 740, 266)
# Narrower, for the names of instruments beside it: at most this many names, each of at most this many letters.
NARROW_BOX = (64, 52, 640, 266)
MOST_NAMES, NAME_LETTERS = 16, 24
LOUDNESS = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1.0, 8)))
ROLL_COLOURS = 64
MOST_LETTERS, UNIT_LETTERS = 90, 52  # of a title, and of a line beside the vertical axis
# A contact sheet: piano rolls in a row, the height of each in pixels, letters in a line.
SHEET_COLUMNS, SHEET_HEIGHT, SHEET_LETTERS = 2, 270, 74
# Widths in a legend, in pixels: a letter, on average; the mark of a label with the space around it.
LETTER, HANDLE = 7.5, 66
# Blue and vermillion are told apart with any colour vision (Okabe and Ito).
COLOURS = {"train": "#0072b2", "valid": "#d55e00"}
HOLLOW: dict[str, Any] = {"ls": "", "ms": 7, "mfc": "white", "mew": 1.6, "clip_on": False, "zorder": 4}
MARKERS = {"train": "o", "valid": "s"}
PANELS_PER_ROW = 3


def epochs_png(
    title: str,
    unit: str,
    curves: dict[str, Curve],
    authors: dict[str, Curve],
    baseline: tuple[str, float] | None = None,
    is_loss: bool = False,
) -> bytes:
    """A metric by epoch, a line a split, with the authors' points and a horizontal line (its label, its height)."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(xlabel="epoch", ylabel=textwrap.fill(unit, UNIT_LETTERS))
        for split, curve in curves.items():
            _line(axes, curve, COLOURS[split], SPLITS[split])
        for split, points in authors.items():
            label = f"{SPLITS[split]}, the authors' notebook"
            axes.plot(points.epochs, points.mean, color=COLOURS[split], label=label, marker=MARKERS[split], **HOLLOW)
        if baseline:
            axes.axhline(baseline[1], color="#555555", linestyle="--", linewidth=1.2, label=baseline[0])
        _epoch_axis(axes, max(curve.epochs[-1] for curve in curves.values()))
        if is_loss:
            _loss_axis(axes, [*curves.values(), *authors.values()])
        _finish(figure, title)

    return _png(draw)


def updates_png(title: str, unit: str, curve: Curve, updates: int, is_loss: bool = False) -> bytes:
    """A metric of single batches over all updates, from means of consecutive ones; updates: how many there were."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(xlabel="update (one batch each)", ylabel=textwrap.fill(unit, UNIT_LETTERS))
        together = -(-updates // len(curve.epochs))
        if together > 1:
            axes.fill_between(
                curve.epochs, curve.low, curve.high, color=COLOURS["train"], alpha=0.25, lw=0, label="lowest to highest"
            )
        label = f"mean of about {together} updates" if together > 1 else "each update"
        axes.plot(curve.epochs, curve.mean, color=COLOURS["train"], label=label)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if is_loss:
            _loss_axis(axes, [curve])
        _finish(figure, title)

    return _png(draw)


def panels_png(title: str, curves: dict[str, Curve]) -> bytes:
    """Metrics of validation by epoch, a panel each, by title."""
    rows = -(-len(curves) // PANELS_PER_ROW)

    def draw(figure: Figure) -> None:
        for place, (name, curve) in enumerate(curves.items(), 1):
            axes = figure.add_subplot(rows, min(len(curves), PANELS_PER_ROW), place, xlabel="epoch")
            axes.set_title(_shortened(name))
            _line(axes, curve, COLOURS["valid"], SPLITS["valid"])
            _epoch_axis(axes, curve.epochs[-1], most_ticks=5)
        _finish(figure, title, legend=False)

    return _png(draw, height=60 + 300 * rows)


def distributions_png(title: str, panels: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Where values lie over epochs, one panel a tag: bands between quantiles.

    panels: {tag: (epochs float64 [S], quantiles float64 [S, 9], of distributions.SHARES)}.
    """

    def draw(figure: Figure) -> None:
        axes_of = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (tag, (epochs, lines)) in zip(axes_of, panels.items(), strict=True):
            names = ("all values", "87 %", "68 %", "38 %")  # of a normal distribution within 1.5, 1 and 0.5 deviations
            for band, share in enumerate(names):
                colour = colormaps["Blues"](0.2 + 0.2 * band)
                axes.fill_between(epochs, lines[:, band], lines[:, -1 - band], color=colour, lw=0, label=share)
            axes.plot(epochs, lines[:, 4], color="#08306b", label="median", linewidth=1.2)
            if len(epochs) == 1:
                beyond = [lines[:, 4] - lines[:, 0], lines[:, 8] - lines[:, 4]]
                axes.errorbar(epochs, lines[:, 4], beyond, color="#08306b")
            axes.set_title(_shortened(tag), loc="left")
            axes.set_ylabel("value")
            axes.yaxis.set_major_locator(MaxNLocator(5))
        _epoch_axis(axes_of[-1], max(epochs[-1] for epochs, _ in panels.values()))
        axes_of[-1].set_xlabel("epoch")
        _finish(figure, title, axes=axes_of[0])

    return _png(draw, height=max(HEIGHT, 60 + 180 * len(panels)))


def ridges_png(title: str, panels: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> bytes:
    """How values are spread: a panel a tag, a ridge a step, the last in front.

    panels: {tag: (epochs float64 [S], edges of cells float64 [G + 1], values in each cell float64 [S, G])}.
    """
    rows = -(-len(panels) // PANELS_PER_ROW)

    def draw(figure: Figure) -> None:
        for place, (tag, (epochs, edges, counts)) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(rows, min(len(panels), PANELS_PER_ROW), place, xlabel="value")
            centres, height = (edges[:-1] + edges[1:]) / 2, 2.5
            for step, count in enumerate(counts):
                ridge = count / max(count.max(), 1e-300) * height - step
                colour = colormaps["viridis_r"](0.15 + 0.85 * step / max(len(counts) - 1, 1))
                axes.fill_between(centres, -step, ridge, color=colour, alpha=0.85, lw=0, zorder=2 + step)
                axes.plot(centres, np.where(count > 0, ridge, np.nan), color="white", linewidth=0.7, zorder=2 + step)
            shown = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), 9)).round().astype(int))
            axes.set_yticks(-shown, [f"{epochs[step]:.4g}" for step in shown])
            axes.set_ylim(-len(epochs) + 0.7, height + 0.2)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_title(_shortened(tag), loc="left")
            if (place - 1) % PANELS_PER_ROW == 0:
                axes.set_ylabel("epoch (every ridge is scaled to the same height)")
        _finish(figure, title, legend=False)

    return _png(draw, height=60 + 500 * rows)


def piano_roll_png(notes: Notes, title: str = "") -> bytes:
    """A piano roll, 900 x 360 pixels: seconds to the right, pitch upwards, darker is louder.

    If there are several instruments, the colour tells which one plays, and their names stand beside the roll.
    """
    programs = roll.instruments_of(notes)
    place = NARROW_BOX if programs else ROLL_BOX

    def draw(figure: Figure) -> None:
        axes = figure.add_axes(_share_of_figure(place), xlabel="time, seconds", ylabel="pitch")
        axes.spines["left"].set_position(("outward", 3))  # not over a note at time 0
        axes.set_title(_shortened(title), loc="left")
        if not len(notes):
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "no notes", transform=axes.transAxes, ha="center", va="center", fontsize=16)
            return
        if programs:
            _roll_by_instrument(axes, notes, programs, columns=place[2])
            return
        image = _roll(axes, notes, columns=place[2])
        bar_box = (ROLL_BOX[0] + ROLL_BOX[2] + 20, ROLL_BOX[1], 12, ROLL_BOX[3])
        bar = figure.add_axes(_share_of_figure(bar_box))
        figure.colorbar(image, cax=bar, label="velocity", ticks=[0, 32, 64, 96, 128])

    picture = Image.open(io.BytesIO(_png(draw, height=ROLL_HEIGHT, fitted=False))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(ROLL_COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def contact_sheet_png(title: str, panels: Sequence[tuple[str, str, Notes]]) -> bytes:
    """Small piano rolls beside each other, each with text above and below it.

    Darker is louder, also where there are several instruments, since a sheet has no room for their names.

    panels: (text above, a line or two; text below, wrapped; notes) each, at least one.
    """
    rows = -(-len(panels) // SHEET_COLUMNS)

    def draw(figure: Figure) -> None:
        for place, (above, below, notes) in enumerate(panels, 1):
            axes = figure.add_subplot(rows, SHEET_COLUMNS, place)
            lines = [line for part in above.split("\n") for line in textwrap.wrap(part, SHEET_LETTERS)]
            axes.set_title("\n".join(map(printable, lines)), loc="left", fontsize=9)
            axes.set_xlabel("\n".join(map(printable, textwrap.wrap(below, SHEET_LETTERS))), fontsize=7, loc="left")
            axes.tick_params(labelsize=7)
            if len(notes):
                _roll(axes, notes, columns=WIDTH // SHEET_COLUMNS)
            else:
                axes.set(xticks=[], yticks=[])
                axes.text(0.5, 0.5, "no notes", transform=axes.transAxes, ha="center", va="center")
        _finish(figure, title, legend=False)

    return _png(draw, height=60 + SHEET_HEIGHT * rows)


def _roll_by_instrument(axes: Axes, notes: Notes, programs: Sequence[int], columns: int) -> None:
    """`_roll` with a colour for each of the programs, and their names to the right."""
    colours = [roll.COLOURS[k % len(roll.COLOURS)] for k in range(len(programs))]
    image = _roll(axes, notes, columns, np.searchsorted(programs, notes.program))
    image.set(cmap=ListedColormap(colours), norm=BoundaryNorm(np.arange(len(programs) + 1) - 0.5, len(programs)))
    names = [textwrap.shorten(instruments.name_of(program), NAME_LETTERS, placeholder="...") for program in programs]
    shown = list(zip(colours, names, strict=True))[:MOST_NAMES]
    if len(names) > MOST_NAMES:
        shown[-1] = ("none", f"and {len(names) - MOST_NAMES + 1} more")
    handles = [Patch(color=colour, label=name) for colour, name in shown]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, borderaxespad=0)


def _roll(axes: Axes, notes: Notes, columns: int, values: np.ndarray | None = None) -> AxesImage:
    """Draws notes over seconds and pitch, as an image of this many columns; values: as `roll.loudest` takes them."""
    lowest, highest = roll.pitch_range(notes)
    seconds = max(notes.seconds, 1.0)
    image = axes.imshow(
        roll.loudest(notes, lowest, highest, seconds, columns, values),
        cmap=LOUDNESS,
        norm=BoundaryNorm(np.arange(0, 129, roll.VELOCITY_STEP), LOUDNESS.N),
        extent=(0.0, seconds, lowest - 0.5, highest + 0.5),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        zorder=2,  # above the grid
    )
    octaves = roll.octaves(lowest, highest)
    axes.set_yticks(list(octaves), list(octaves.values()))
    return image


def _line(axes: Axes, curve: Curve, colour: str, label: str) -> None:
    """The mean of the trials, in a band that holds them all."""
    several = f", mean of {curve.trials} trials" if curve.trials > 1 else ""
    if several:
        axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.2, lw=0)
        several += " (band: all)"
    marker = "." if len(curve.epochs) <= FEW_EPOCHS else ""
    axes.plot(curve.epochs, curve.mean, color=colour, marker=marker, label=label + several, zorder=3)


def _epoch_axis(axes: Axes, last_epoch: float, most_ticks: int = 9) -> None:
    margin = max(0.5, 0.01 * last_epoch)
    axes.set_xlim(1 - margin if last_epoch >= 1 else -margin, last_epoch + margin)
    axes.xaxis.set_major_locator(MaxNLocator(most_ticks, integer=True))


def _loss_axis(axes: Axes, curves: list[Curve]) -> None:
    """Makes the axis logarithmic where the losses ask for it."""
    if is_logarithmic(curves):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=20))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(LogLocator(subs=()))


def _finish(figure: Figure, title: str, legend: bool = True, axes: Axes | None = None) -> None:
    """Puts the title above the data and the legend below."""
    figure.suptitle(_shortened(title), x=0.01, ha="left", fontsize=12)
    if legend:
        handles, labels = (axes or figure.axes[0]).get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_legend_columns(labels))


def _legend_columns(labels: list[str]) -> int:
    """The most columns whose labels fit beside each other, filled as matplotlib fills them."""
    for columns in range(min(len(labels), 5), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(labels, columns)]
        if sum(longest) * LETTER + columns * HANDLE <= WIDTH:
            return columns
    return 1


def _shortened(title: str) -> str:
    return printable(title if len(title) <= MOST_LETTERS else title[: MOST_LETTERS - 1] + "…")


def _share_of_figure(box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    return box[0] / WIDTH, box[1] / ROLL_HEIGHT, box[2] / WIDTH, box[3] / ROLL_HEIGHT


def _png(draw: Callable[[Figure], None], height: int = HEIGHT, fitted: bool = True) -> bytes:
    """What `draw` draws, as a PNG of this height in pixels."""
    # The defaults first: a user's matplotlibrc would give other bytes.
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # it draws a box instead
        figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, layout="constrained" if fitted else None)
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()

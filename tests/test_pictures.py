"""Pictures: a piano roll shows every note where it sounds, equal arrays give equal bytes, and legends fit."""

from __future__ import annotations

import dataclasses
import io
import struct
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from musicjax.music.notes import from_seconds
from musicjax.report import pictures, roll
from musicjax.report.curves import Curve

REPOSITORY = Path(__file__).parents[1]
LEFT, BOTTOM, COLUMNS, ROWS = pictures.ROLL_BOX


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a whole PNG file."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") and png.endswith(b"IEND\xaeB`\x82")
    Image.open(io.BytesIO(png)).load()
    return struct.unpack_from(">II", png, 16)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int32)


def curve(*values: float, trials: int = 1) -> Curve:
    mean = np.array(values)
    return Curve(np.arange(1, len(values) + 1), mean, 0.9 * mean, 1.1 * mean, trials)


def test_equal_curves_give_equal_bytes_whatever_the_users_settings():
    def draw(*values: float) -> bytes:
        return pictures.epochs_png("Loss", "nats", {"train": curve(*values)}, {}, ("never", 0.5), is_loss=True)

    once = draw(3.0, 2.0, 1.0)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "savefig.dpi": 30, "axes.facecolor": "black"}):
        assert draw(3.0, 2.0, 1.0) == once
    assert draw(3.0, 2.0, 1.5) != once
    assert size(once) == (900, 560) and b"Software" not in once and b"Date" not in once


@pytest.mark.parametrize("trials", [1, 1000])
def test_legend_and_labels_stay_inside_the_picture(trials):
    lines = {split: curve(0.5, 0.6, 0.7, trials=trials) for split in ("train", "valid")}
    meaning = "accuracy as Keras counts it: is the largest column of both the same?"
    baseline = ("always naming the commonest column (validation)", 0.3)
    picture = pixels(pictures.epochs_png("Accuracy per epoch", meaning, lines, lines, baseline))
    assert (picture[-90:, 60:840] < 128).any() and (picture[60:-90, 6:60] < 128).any()
    for edge in (picture[:, :4], picture[:, -4:], picture[:4], picture[-4:]):
        assert (edge == 255).all()


# Piano rolls.


def test_a_note_is_drawn_where_and_as_loud_as_it_sounds():
    notes = from_seconds([60, 72], [20, 120], [0.0, 6.0], [4.0, 2.0])
    picture = pixels(pictures.piano_roll_png(notes, "two notes"))
    assert picture.shape == (360, 900, 3)
    lowest, highest = roll.pitch_range(notes)
    assert lowest <= 58 and highest >= 74

    def at(seconds: float, pitch: int) -> np.ndarray:
        row = 360 - BOTTOM - (pitch - lowest + 0.5) / (highest - lowest + 1) * ROWS
        return picture[int(row), LEFT + int(seconds / 8 * COLUMNS)]

    for seconds, pitch, velocity in ((0.1, 60, 20), (3.9, 60, 20), (6.1, 72, 120), (7.9, 72, 120)):
        colour = np.array(pictures.LOUDNESS(velocity // roll.VELOCITY_STEP)[:3]) * 255
        assert abs(at(seconds, pitch) - colour).max() < 12
    for seconds, pitch in ((4.1, 60), (5.9, 72), (6.5, 60), (1, 72), (1, 61), (1, 59)):
        assert at(seconds, pitch).min() > 220


def test_equal_notes_give_equal_bytes_and_other_notes_others():
    notes = from_seconds([60, 64, 67], [80, 81, 100], [0.0, 0.5, 1.0], [0.5, 0.5, 1.0])
    png = pictures.piano_roll_png(notes, "a")
    assert size(png) == (900, 360)
    assert png == pictures.piano_roll_png(notes, "a")
    assert png != pictures.piano_roll_png(notes[:2], "a")
    assert png != pictures.piano_roll_png(notes, "b")


def test_no_notes_give_a_picture_that_says_so():
    png = pictures.piano_roll_png(from_seconds([], [], [], []))
    assert size(png) == (900, 360)
    assert (pixels(png) < 100).any(axis=2).sum() > 200  # letters and axes


def test_a_note_of_no_length_is_visible():
    png = pictures.piano_roll_png(from_seconds([60], [127], [0.0], [0.0]))
    loud = np.array(pictures.LOUDNESS(7)[:3]) * 255
    inside = pixels(png)[:, LEFT + 1 : LEFT + COLUMNS]
    assert (abs(pixels(png)[:, LEFT : LEFT + 2] - loud).max(axis=2) < 12).sum() >= 3
    assert (abs(inside - loud).max(axis=2) < 12).sum() < 20


@pytest.mark.parametrize("count, longest", [(1, 1.0), (20_000, 1.0), (200_000, 0.3)])
def test_a_piano_roll_stays_below_60_kilobytes(count, longest):
    generator = np.random.default_rng(1)
    pitch, velocity = generator.integers(0, 128, count), generator.integers(1, 128, count)
    onset, duration = generator.uniform(0, 600, count), generator.uniform(0.01, longest, count)
    png = pictures.piano_roll_png(from_seconds(pitch, velocity, onset, duration), "W" * 200)
    assert size(png) == (900, 360)
    assert len(png) < 60_000


@pytest.mark.parametrize("title", ["$x^$", "音楽", "\udcff", "a\nb\t\0", "W" * 500, r"\frac"])
def test_any_title_is_drawn(title):
    assert size(pictures.piano_roll_png(from_seconds([60], [80], [0.0], [1.0]), title)) == (900, 360)


# Pictures that are kept.


@pytest.mark.parametrize("name", ["paper-loss.png", "paper-accuracy.png"])
def test_the_kept_pictures_are_small(name):
    png = (REPOSITORY / "docs" / name).read_bytes()
    assert size(png) == (900, 560)
    assert len(png) < 120_000


def _colours(png: bytes) -> set[tuple[int, int, int]]:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()}


def test_a_piano_roll_of_several_instruments_has_their_colours_and_stays_small():
    count = 400
    rng = np.random.default_rng(0)
    notes = from_seconds(rng.integers(30, 90, count), [90] * count, np.arange(count) / 10, [0.3] * count)
    few, many = (dataclasses.replace(notes, program=(np.arange(count) % kinds).astype(np.int16)) for kinds in (3, 40))
    wanted = [tuple(bytes.fromhex(colour[1:])) for colour in roll.COLOURS]
    plain, coloured = pictures.piano_roll_png(notes), pictures.piano_roll_png(few, "three")
    assert not set(wanted) & _colours(plain)
    assert set(wanted) & _colours(coloured) == set(wanted[:3])
    assert coloured == pictures.piano_roll_png(few, "three")
    for png in (coloured, pictures.piano_roll_png(many)):
        assert len(png) < 60_000 and Image.open(io.BytesIO(png)).size == (900, 360)
    one = dataclasses.replace(notes, program=np.full(count, 73, np.int16))
    assert pictures.piano_roll_png(one) == plain, "one instrument is drawn by its velocities"

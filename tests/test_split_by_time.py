"""One long piece, or copies of one, trains on its beginning and validates on its end, in every encoding."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from musicjax.config import DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import split
from musicjax.corpus.corpus import Corpus, ReadFile
from musicjax.corpus.read import Reading
from musicjax.encodings import encoding
from musicjax.encodings.encoding import Dataset
from musicjax.errors import RunError
from musicjax.main import main
from musicjax.music import copies, learned_bins, midi, note_matrix
from musicjax.music.notes import Notes, from_beats, from_seconds
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("own_signal_handlers")

WINDOW, SIZE = 8, 300
UNITS = {"notes": "notes", "events": "notes", "frames": "frames"}


def piece(size: int = SIZE) -> Notes:
    """A melody whose last third has durations and rests of its own."""
    rng = np.random.default_rng(0)
    late = np.arange(size) > size * 2 / 3
    onset = np.cumsum(np.where(late, 0.75, rng.choice([0.25, 0.5], size)))
    return from_beats(rng.integers(50, 70, size), np.full(size, 80), onset, np.where(late, 0.6, 0.25))


def write(folder: Path, **sizes: int) -> Path:
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        midi.write(piece(size), folder / f"{name}.mid")
    return folder


def rows_seen(data: Dataset, window: int) -> tuple[set[int], set[int]]:
    """The rows that any training window may hold, and those that validation sees or predicts."""

    def of(rows) -> set[int]:
        if hasattr(rows, "first"):
            ranges = zip(rows.first.tolist(), rows.end.tolist(), strict=True)
            return {row for first, end in ranges for row in range(first, end)}
        if hasattr(rows, "seen"):
            seen = rows.seen[rows.weight > 0]
            return set(seen.tolist()) | set((seen + 1).tolist())
        return {row for start in rows.starts.tolist() for row in range(start, start + window + 1)}

    return of(data.training), of(data.validation.rows)


@pytest.mark.parametrize("name", tiny_runs.ENCODINGS)
def test_the_end_of_one_piece_is_held_out_after_a_gap_of_a_window(tmp_path: Path, name: str, capsys) -> None:
    source = write(tmp_path / "one", a=SIZE)
    data = encoding.of(tiny_runs.config_of(source, name, **{"data.validation_fraction": 0.25})).dataset()
    trained, validated = rows_seen(data, WINDOW)
    count = len(data.training.rows)
    assert trained == set(range(max(trained) + 1)) and validated == set(range(min(validated), count))
    assert min(validated) - max(trained) - 1 == WINDOW
    edge = int(name == "events")  # a row before the first note and after the last
    held, notes = len(validated) - edge, count - 2 * edge
    assert held == round(0.25 * (notes - WINDOW))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("split")]
    assert f"{held:,} of {notes:,} {UNITS[name]}, and the {WINDOW} before it" in line
    music = data.validation.music
    assert music is not None
    assert (music.names, music.held_out_names) == (("a.mid",), ("a.mid (end)",))
    (begins,), (ends,) = music.training, music.held_out
    assert 0 < len(begins) < len(begins) + len(ends) < SIZE
    np.testing.assert_array_equal(begins.pitch, piece().pitch[: len(begins)])
    np.testing.assert_array_equal(ends.pitch, piece().pitch[SIZE - len(ends) :])
    assert 0 <= ends.onset_beats[0] < 4
    np.testing.assert_allclose(ends.onset, ends.onset_beats * 60 / ends.bpm, rtol=1e-6)
    assert (ends.onset_beats[0] - piece().onset_beats[SIZE - len(ends)]) % 4 == pytest.approx(0)


def test_where_windows_are_split_what_no_training_window_has_or_predicts_is_held_out(tmp_path: Path, capsys) -> None:
    source, rng = write(tmp_path / "three", a=SIZE), np.random.default_rng(1)
    for name in ("b", "c"):
        midi.write(dataclasses.replace(piece(), pitch=rng.permutation(piece().pitch)), source / f"{name}.mid")
    changes = {"data.split": "windows", "data.validation_fraction": 0.5}
    data = encoding.of(tiny_runs.config_of(source, "notes", **changes)).dataset()
    trained, _ = rows_seen(data, WINDOW)
    music, held = data.validation.music, len(data.training.rows) - len(trained)
    assert music is not None and trained == set(range(len(trained)))
    assert data.validation.rows.starts[0] + WINDOW == len(trained), "the first target"
    assert (music.names, music.held_out_names) == (("a.mid", "b.mid"), ("b.mid (end)", "c.mid"))
    assert sum(map(len, music.training)) == len(trained) and sum(map(len, music.held_out)) == held
    assert music.compared_with == "held-out pieces and the held-out ends of training pieces"
    assert copies.longest(midi.read(source / "a.mid"), music.known).length == SIZE
    assert copies.longest(midi.read(source / "c.mid"), music.known).length < 10, "no copy of what does not train"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("split")]
    of_b = "the end of b.mid, whose beginning is for training"
    told = f"the last {held} of {3 * SIZE} notes are for validation: 1 piece and {of_b}"
    assert line.endswith(told)


@pytest.mark.parametrize("row", [0, 1, 4, 5, 6, 9, 20])
def test_a_list_of_pieces_is_divided_at_a_row(row: int) -> None:
    corpus = _corpus_of_copies(3)
    parts = split.at_row(corpus, row)
    assert parts.rows_that_train.tolist() == [index < row for index in range(len(corpus.notes))]
    assert all(
        corpus.offsets[piece] <= first < end <= corpus.offsets[piece + 1]
        for first, end, piece in zip(parts.offsets[:-1], parts.offsets[1:], parts.piece, strict=True)
    )


def test_bins_and_scaling_are_of_the_beginning_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "one", a=SIZE)
    changes = {"data.validation_fraction": 0.4}
    data = {name: encoding.of(tiny_runs.config_of(source, name, **changes)).dataset() for name in ("notes", "events")}
    held = round(0.4 * (SIZE - WINDOW))
    begins = midi.read(source / "a.mid")[: SIZE - held - WINDOW]
    assert data["events"].encoding.learned["bins"]["duration"] == learned_bins.learn([begins]).duration == (0.25,)
    assert data["notes"].encoding.scaling == note_matrix.fit(note_matrix.values(begins, 4))


@pytest.mark.parametrize("name", tiny_runs.ENCODINGS)
def test_no_copy_trains_on_what_another_validates(tmp_path: Path, name: str, capsys) -> None:
    source = write(tmp_path / "copies", a=SIZE)
    notes = piece()
    twice = from_seconds(notes.pitch + 2, notes.velocity, notes.onset * 2, notes.duration * 2)
    midi.write(twice, source / "b.mid")
    music = encoding.of(tiny_runs.config_of(source, name)).dataset().validation.music
    assert music is not None and len(music.training) == len(music.held_out) == 2
    assert max(map(len, music.training)) + max(map(len, music.held_out)) < SIZE
    assert "2 pieces that count as one have more than" in capsys.readouterr().err


def test_pieces_too_short_to_be_of_use_do_not_make_a_split(tmp_path: Path) -> None:
    """Of notes, one no longer than a window gives none."""
    source = write(tmp_path / "mixed", a=SIZE, b=WINDOW)
    data = encoding.of(tiny_runs.config_of(source, "notes")).dataset()
    assert len(data.training.starts) and len(data.validation.rows.starts)


def test_a_copy_too_short_to_be_divided_is_used_for_nothing(capsys) -> None:
    """As frames of a copy at another tempo may be."""
    corpus, data = _corpus_of_copies(3), DataConfig(window=10)
    parts = split.parts(corpus, data, np.array([0, 100, 112, 113]), 1, "frames")
    assert parts.piece.tolist() == [0, 0, 0, 1, 2]
    assert parts.use.tolist() == [split.TRAINING, split.NOTHING, split.VALIDATION, split.NOTHING, split.TRAINING]
    assert parts.offsets.tolist() == [0, 72, 82, 100, 112, 113]
    assert "too short for that, and not used: 1" in capsys.readouterr().err


def _corpus_of_copies(count: int) -> Corpus:
    kept = Reading("kept", "kept", "")
    return corpus_lib.of_files(ReadFile(name, name, kept, [piece(5)]) for name in map(str, range(count)))[0]


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.9])
@pytest.mark.parametrize("rows", [14, 15, 40])
@pytest.mark.parametrize("too_few", [1, 3])
def test_both_sides_are_long_enough_whatever_the_fraction(rows: int, fraction: float, too_few: int) -> None:
    corpus, data = _corpus_of_copies(1), DataConfig(window=10, validation_fraction=fraction)
    least = 10 + 2 * (too_few + 1)
    if rows < least:
        with pytest.raises(RunError, match=f"{rows} notes are too few .* expected at least {least}, or another piece"):
            split.parts(corpus, data, np.array([0, rows]), too_few)
        return
    parts = split.parts(corpus, data, np.array([0, rows]), too_few)
    begins, gap, ends = np.diff(parts.offsets).tolist()
    assert begins > too_few and ends > too_few and gap == 10 and begins + gap + ends == rows


TOO_LITTLE = {
    "notes": "only 1 piece has more than 8 notes; 20 notes are too few",
    "events": "only 1 piece has more than one note; 10 notes are too few",
    "frames": "only 1 piece has more than one frame; 7 frames are too few",
}


@pytest.mark.parametrize("name", tiny_runs.ENCODINGS)
def test_too_little_for_that_is_told_in_the_unit_of_the_encoding(tmp_path: Path, name: str, capsys) -> None:
    size = {"notes": 20, "events": 10, "frames": 4}[name]
    (tmp_path / "short").mkdir()
    midi.write(from_beats([60] * size, [80] * size, np.arange(size) / 2, [0.25] * size), tmp_path / "short" / "a.mid")
    assert main(tiny_runs.flags(tmp_path / "w", tmp_path / "short", name)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("musicjax: ")]
    assert TOO_LITTLE[name] in line
    assert "add files, lower --config.data.window" in line
    assert not (tmp_path / "w" / "checkpoints").exists()


def test_a_run_on_one_file_trains_and_is_evaluated(tmp_path: Path, capsys) -> None:
    source = write(tmp_path / "one", a=SIZE)
    assert main(tiny_runs.flags(tmp_path / "w", source, **{"train.epochs": 1})) == 0
    recorded = json.loads((tmp_path / "w" / "metrics.jsonl").read_text().splitlines()[-1])
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={tmp_path / 'w'}", "--checkpoint=latest"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["pieces"], scores["epoch"]) == (1, 1)
    assert scores["loss"] == pytest.approx(recorded["loss"], rel=1e-5)
    assert scores["copies"]["longest"]["name"] == "a.mid (end)"

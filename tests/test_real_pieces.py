"""Real pieces beside the samples of a run, no longer than these, on disk and on the page."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from example_pages import composed

from musicjax.corpus import split
from musicjax.corpus.split import Music
from musicjax.main import main
from musicjax.music import midi, splice
from musicjax.music.notes import Notes, from_beats, from_seconds, one_meter
from musicjax.report import page, pieces
from musicjax.run import real_pieces

NONE = from_seconds([], [], [], [])


def tune(seed: int, beats: float = 64.0, bpm: float = 120.0) -> Notes:
    """A note on every half beat, of random pitches."""
    onset = np.arange(0, beats, 0.5)
    pitch = np.random.default_rng(seed).integers(50, 80, len(onset))
    return from_beats(pitch, np.full(len(onset), 80), onset, np.full(len(onset), 0.5), bpm)


def music_of(held_out: int, training: int = 3) -> Music:
    sides = [[tune(100 * side + k) for k in range(count)] for side, count in enumerate((training, held_out))]
    return Music(
        sides[0], tuple(f"t{k}.mid" for k in range(training)), sides[1], tuple(f"h{k}.mid" for k in range(held_out))
    )


def written(folder: Path, samples: list[Notes], music: Music) -> dict[str, real_pieces.RealPiece]:
    return real_pieces.write(samples, [f"seed0-{k:03d}" for k in range(len(samples))], music, folder)


# Where a piece is cut.


def changing() -> Notes:
    """Two silent bars of 3/4, then two that do not begin on the beat, then 5/4; other tempos; a long last note."""
    onset = np.array([8.0, 9, 10, 11, 12, 17, 18, 22, 27, 32])
    beats = np.append(np.ones(9), 40.0)
    tempos = np.array([[0.0, 60.0], [7.0, 90.0], [12.0, 200.0]])
    notes = from_beats(np.arange(60, 70), np.full(10, 70), onset, beats)
    seconds, end = (splice.seconds_at(at, tempos) for at in (onset, onset + beats))
    meters = np.array([[0.0, 3, 4], [12.0, 5, 4]])
    return dataclasses.replace(notes, onset=seconds, duration=end - seconds, tempos=tempos, meters=meters)


PIECES = {
    "changing": changing(),
    "composed": composed(0),
    "waltz": dataclasses.replace(tune(5), meters=one_meter(3, 4)),
    "the end of a piece": split._from_its_measure(changing()[5:]),
}


@pytest.mark.parametrize("name", PIECES)
def test_the_beginning_of_a_piece_ends_with_a_bar_and_is_as_long_as_whole_bars_allow(name: str, tmp_path: Path) -> None:
    piece = PIECES[name]
    lines = splice.bar_lines(piece)
    first = lines[lines <= piece.onset_beats[0] + 1e-6][-1]
    bars = splice.seconds_at(np.maximum(lines[lines >= first], 0), piece.tempos)
    bars -= bars[0]
    for seconds in np.linspace(0.1, 1.2 * piece.seconds, 30):
        found = real_pieces.beginning(piece, float(seconds))
        assert found.seconds <= seconds + 1e-6
        assert found.pitch.tolist() == piece.pitch[: len(found)].tolist(), "notes in a row, from the first on"
        if seconds < bars[1]:
            continue
        fitting = bars[bars <= seconds + 1e-6][-1]
        begun = piece.onset - piece.onset[0] + found.onset[0]
        expected = len(piece) if piece.seconds <= seconds else int((begun < fitting - 1e-6).sum())
        assert len(found) == expected, f"all notes of the bars that end within {seconds} s"
        assert found.seconds <= fitting + 1e-6 or len(found) == len(piece)
        midi.write(found, tmp_path / "a.mid", ticks_per_beat=960)
        again = midi.read(tmp_path / "a.mid")
        np.testing.assert_allclose(again.onset, found.onset, atol=2e-3)
        np.testing.assert_allclose(splice.bar_lines(again)[:2], splice.bar_lines(found)[:2], atol=1e-3)


def test_silent_bars_before_a_piece_are_left_out_and_its_meters_and_tempos_go_with_it() -> None:
    found = real_pieces.beginning(changing(), 100.0)
    assert found.onset_beats[0] == 2 and found.onset_beats[-1] == 26, "the third bar of 3/4 begins at beat 6"
    assert found.meters.tolist() == [[-6, 3, 4], [6, 5, 4]] and found.tempos.tolist() == [[-6, 60], [1, 90], [6, 200]]
    assert splice.bar_lines(found)[:4].tolist() == [0, 3, 6, 11]
    assert found.onset[0] == pytest.approx(1.0 + 60 / 90)


def test_where_not_even_a_bar_fits_the_first_one_is_cut() -> None:
    found = real_pieces.beginning(tune(1), 0.6)
    assert (len(found), found.seconds) == (3, 0.6) and len(real_pieces.beginning(NONE, 5.0)) == 0


# Which pieces.


def test_real_pieces_are_spread_over_the_held_out_pieces_and_differ(tmp_path: Path) -> None:
    music = music_of(held_out=10)
    found = written(tmp_path, [tune(k, 19) for k in range(4)], music)
    assert [one.told["piece"] for one in found.values()] == ["h0.mid", "h3.mid", "h6.mid", "h9.mid"]
    told = {"whole": False, "held_out": True, "beginning_trains": False}
    assert all(one.told == {"piece": one.told["piece"], **told} for one in found.values())
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == [f"real-00{k}.mid" for k in range(4)]
    for number, (name, one) in zip((0, 3, 6, 9), found.items(), strict=True):
        read = midi.read(pieces.real_piece_path(tmp_path, name))
        assert read.pitch.tolist() == one.notes.pitch.tolist() == tune(100 + number).pitch[: len(read)].tolist()
        assert read.seconds == 8.0, "five bars would end after 10 seconds, and the sample does after 9.5"


def test_pieces_come_again_only_where_there_are_too_few_and_copies_count_once(tmp_path: Path) -> None:
    music = music_of(held_out=3)
    transposed = dataclasses.replace(music.held_out[0], pitch=music.held_out[0].pitch + 2)
    held_out, names = [*music.held_out, transposed, NONE], (*music.held_out_names, "copy.mid", "empty.mid")
    music = dataclasses.replace(music, held_out=held_out, held_out_names=names)
    found = written(tmp_path, [tune(k, 20) for k in range(5)], music)
    assert [one.told["piece"] for one in found.values()] == ["h0.mid", "h1.mid", "h2.mid", "h0.mid", "h1.mid"]


def test_a_piece_that_is_not_cut_is_told_to_be_whole_in_words_that_json_has(tmp_path: Path) -> None:
    (found,) = written(tmp_path, [tune(0, 2000)], music_of(held_out=1)).values()
    assert json.loads(json.dumps(found.told))["whole"] is True


def test_without_held_out_pieces_they_are_training_pieces_and_without_any_there_are_none(tmp_path: Path) -> None:
    found = written(tmp_path, [tune(9)], music_of(held_out=0))
    told = {"piece": "t0.mid", "whole": True, "held_out": False, "beginning_trains": False}
    assert found["seed0-000"].told == told
    for samples, music in (([tune(9)], music_of(0, 0)), ([], music_of(2)), ([NONE], music_of(2))):
        assert written(tmp_path / "none", samples, music) == {} and not (tmp_path / "none").exists()


def test_the_end_of_a_piece_whose_beginning_trains_is_told_to_be_one(tmp_path: Path) -> None:
    music = music_of(held_out=2)
    music = dataclasses.replace(music, held_out_names=("t0.mid (end)", "unknown.mid (end)"))
    found = written(tmp_path, [tune(1), tune(2)], music)
    assert [one.told["beginning_trains"] for one in found.values()] == [True, False]


def test_a_sample_without_notes_has_none_and_the_others_keep_theirs(tmp_path: Path) -> None:
    assert list(written(tmp_path, [tune(1), NONE, tune(2)], music_of(4))) == ["seed0-000", "seed0-002"]


def test_new_real_pieces_take_the_place_of_old_ones_and_of_their_sound(tmp_path: Path) -> None:
    written(tmp_path, [tune(1, 20)], music_of(held_out=4))
    sound = pieces.real_piece_path(tmp_path, "seed0-000").with_suffix(".wav")
    sound.write_bytes(b"RIFF")
    (one,) = written(tmp_path, [tune(1, 40)], music_of(held_out=4)).values()
    assert midi.read(one.path).seconds == 20.0 and not sound.exists()


# On the page.


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """What a run would leave, with two samples of which one has a real piece beside it."""
    line = {"split": "train", "epoch": 1, "step": 9, "loss": 1.0, "accuracy": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "samples").mkdir()
    for name in ("seed0-000", "seed0-001"):
        midi.write(tune(1, 20), tmp_path / "samples" / f"{name}.mid")
    (one,) = written(tmp_path / "samples", [tune(1, 19)], music_of(held_out=2)).values()
    one.path.with_suffix(".wav").write_bytes(b"RIFF")
    record(tmp_path, one.told)
    return tmp_path


def record(workdir: Path, told: object) -> None:
    found = {"samples": {"seed0-000": {"polyphony": 1.0, "real_piece": told}, "seed0-001": {"polyphony": 1.0}}}
    (workdir / "samples" / "metrics.json").write_text(json.dumps(found))


def labels(text: str) -> list[str]:
    return re.findall(r'<article class="card sample[^>]*aria-label="([^"]*)"', text)


def test_the_page_plays_a_real_piece_beside_its_sample_and_says_what_it_is(workdir: Path) -> None:
    path, left_out = page.write(workdir)
    text = path.read_text()
    assert labels(text) == ["seed0-000", "Beside seed0-000: real-000", "seed0-001"] and left_out == []
    assert "<p>The beginning of h0.mid, a real piece that the model did not learn from</p>" in text
    assert "The real pieces beside them are for comparison" in text
    assert {f"./samples/real/real-000.{kind}" for kind in ("mid", "wav")} <= set(
        re.findall(r'<a href="([^"]*)" download', text)
    )
    numbers = json.loads(re.search(r'id="numbers">(.*?)</script>', text, re.S)[1])
    assert [len(one["pitch"]) for one in numbers["samples"]] == [40, 32, 40], "in the order of the cards"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"piece": "a.mid", "whole": True, "held_out": True},
            "<p>a.mid, a real piece that the model did not learn from</p>",
        ),
        (
            {"piece": "a.mid", "whole": True, "held_out": False},
            "<p>a.mid, a real piece that the model learned from</p>",
        ),
        (
            {"piece": "a.mid (end)", "whole": True, "held_out": True, "beginning_trains": True},
            "<p>a.mid (end), the end of a real piece whose beginning the model learned from</p>",
        ),
        ({"piece": "<img src=x>&'\"", "whole": False}, "&lt;img src=x&gt;&amp;&#39;&#34;"),
        (
            {"piece": "folder/" * 99 + "a.mid"},
            "…" + ("folder/" * 99 + "a.mid")[-pieces.MOST_LETTERS + 1 :] + ", a real",
        ),
        ({"piece": "\u202e\0\ud800.mid"}, "\\u202e\\x00\\ud800.mid, a real"),
        ({}, "None, a real"),
    ],
)
def test_its_name_is_shown_as_text_and_bounded(workdir: Path, told: dict, words: str) -> None:
    record(workdir, told)
    text = page.write(workdir)[0].read_text()
    assert words in text and "<img" not in text and "folder/" * 12 not in text


@pytest.mark.parametrize("told", [None, 7, "x", ["a"]])
def test_without_a_record_of_a_real_piece_the_page_is_as_it_was_before(workdir: Path, told: object) -> None:
    record(workdir, told)
    with_files = page.write(workdir)[0].read_text()
    shutil.rmtree(workdir / "samples" / "real")
    record(workdir, None)
    assert page.write(workdir)[0].read_text() == with_files
    assert labels(with_files) == ["seed0-000", "seed0-001"] and "real piece" not in with_files


@pytest.mark.parametrize("content", [None, b"", b"MThd no midi"])
def test_a_real_piece_that_cannot_be_read_is_left_out_and_named(workdir: Path, content: bytes | None) -> None:
    path = pieces.real_piece_path(workdir / "samples", "seed0-000")
    path.unlink() if content is None else path.write_bytes(content)
    written_to, left_out = page.write(workdir)
    assert len(left_out) == 1 and "real piece real-000.mid: " in left_out[0]
    assert labels(written_to.read_text()) == ["seed0-000", "seed0-001"]


# In a run.


@pytest.mark.parametrize("encoding", ["notes", "frames", "events"])
def test_a_run_writes_them_and_report_shows_them_again(encoding: str, request, tmp_path: Path, capfd) -> None:
    trained: Path = request.getfixturevalue(f"trained_{encoding}")
    told = json.loads((trained / "samples" / "metrics.json").read_text())["samples"]["seed0-000"]["real_piece"]
    assert told["held_out"] is True and told["piece"].endswith(".mid")
    sample, real = (midi.read(trained / "samples" / name) for name in ("seed0-000.mid", "real/real-000.mid"))
    assert 0 < real.seconds <= sample.seconds + 1e-3 and len(real)
    first = (trained / "report.html").read_text()
    assert labels(first) == ["seed0-000", "Beside seed0-000: real-000"]
    assert f"{told['piece']}, a real piece that the model did not learn from" in first
    again = Path(shutil.copytree(trained, tmp_path / trained.name))
    assert main(["report", f"--workdir={again}"]) == 0
    assert labels((again / "report.html").read_text()) == labels(first)

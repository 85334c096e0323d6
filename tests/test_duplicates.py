"""Files with the same notes: on one side of the split, told and counted, left out or split apart as the config says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from musicjax.config import DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import duplicates, load, split
from musicjax.corpus.corpus import Corpus, ReadFile
from musicjax.corpus.read import Reading
from musicjax.encodings import encoding
from musicjax.main import main
from musicjax.music import midi
from musicjax.music.notes import Notes, from_beats, from_seconds
from musicjax.report import page
from tests import tiny_runs

SONGS, COPIES = 4, 3


def song(number: int) -> Notes:
    rng = np.random.default_rng(number)
    onset = np.cumsum(rng.choice([0, 0.25, 0.5, 1], 40))
    return from_beats(rng.integers(50, 70, 40), np.full(40, 80), onset, rng.choice([0.25, 0.5], 40), 100)


def write_songs(folder: Path, songs: int = SONGS) -> Path:
    """A folder of songs, each as it is, in another key, and at another tempo under another title."""
    folder.mkdir(parents=True)
    for number in range(songs):
        notes = song(number)
        higher = from_seconds(notes.pitch + 3, notes.velocity, notes.onset, notes.duration)
        slower = from_seconds(notes.pitch, notes.velocity, notes.onset * 1.5, notes.duration * 1.5)
        midi.write(notes, folder / f"s{number}-a.mid")
        midi.write(higher, folder / f"s{number}-b.mid", bpm=90)
        midi.write(slower, folder / f"s{number}-c.mid", ticks_per_beat=96, names=["take two"])
    return folder


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_songs(tmp_path_factory.mktemp("duplicates") / "songs")


def data_of(source: Path, **fields) -> DataConfig:
    return DataConfig(source=str(source), workers=1, window=8, **fields)


def sides(corpus: Corpus, data: DataConfig) -> tuple[set[str], set[str]]:
    """The songs with a copy that trains, and those with one that validates."""
    parts = split.parts(corpus, data, corpus.offsets, 1)
    names = np.array([name.split("/")[-1][:2] for name in corpus.names])[parts.piece]
    return set(names[parts.trains].tolist()), set(names[parts.validates].tolist())


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("split")]


@pytest.mark.parametrize("seed", range(6))
def test_all_copies_of_a_song_are_on_one_side(songs: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of(songs, split_seed=seed)
    corpus, _ = load.load(data)
    trained, validated = sides(corpus, data)
    assert len(trained) == 3 and len(validated) == 1 and not trained & validated
    (line,) = told(capsys)
    assert "8 of 12 pieces repeat the notes of another" in line and "copies are on one side" in line


@pytest.mark.parametrize("name", tiny_runs.ENCODINGS)
def test_every_encoding_keeps_copies_together(songs: Path, name: str) -> None:
    music = encoding.of(tiny_runs.config_of(songs, name)).dataset().validation.music
    assert music is not None
    trained, validated = ({name[:2] for name in names} for names in (music.names, music.held_out_names))
    assert trained and validated and not trained & validated
    assert len(music.names) + len(music.held_out_names) == SONGS * COPIES


def test_of_copies_that_are_dropped_one_is_read(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of(songs, duplicates="drop")
    corpus, outcomes = load.load(data)
    assert corpus.names == tuple(f"s{number}-a.mid" for number in range(SONGS)) and len(outcomes) == 12
    assert sum(map(len, corpus.pieces)) == len(corpus.notes) == 4 * 40
    trained, validated = sides(corpus, data)
    assert len(trained) == 3 and len(validated) == 1
    (line,) = told(capsys)
    assert "8 of 12 pieces" in line and "left out" in line


def test_copies_that_are_kept_are_split_as_different_pieces(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split_songs = 0
    for seed in range(6):
        data = data_of(songs, duplicates="keep", split_seed=seed, validation_fraction=0.5)
        corpus, _ = load.load(data)
        trained, validated = sides(corpus, data)
        split_songs += len(trained & validated)
        (line,) = told(capsys)
        assert "copies may be on both sides, as duplicates=keep asks" in line
    assert split_songs > 6


def test_a_split_of_windows_says_that_it_cannot_keep_copies_together(songs: Path, capsys) -> None:
    encoding.of(tiny_runs.config_of(songs, "notes", **{"data.split": "windows"})).dataset()
    line, _ = told(capsys)
    assert "copies may be on both sides, as split=windows" in line


@pytest.mark.parametrize("mode", ["together", "drop", "keep"])
@pytest.mark.parametrize("seed", [0, 1])
def test_where_no_two_pieces_are_alike_the_hashes_of_the_files_decide(
    clips: Path, seed: int, mode: str, capsys
) -> None:
    data = data_of(clips, split_seed=seed, duplicates=mode, validation_fraction=0.3)
    corpus, outcomes = load.load(data)
    order = sorted(set(corpus.hashes), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    expected = [name in order[: round(0.3 * 12)] for name in corpus.hashes]
    out = split.held_out(corpus, data, np.ones(12, bool))
    np.testing.assert_array_equal(out, expected)
    assert told(capsys) == [] and not any(outcome.same_as for outcome in outcomes)


def test_what_belongs_together_through_others_is_one_unit() -> None:
    """The pieces of one file go together, and each with its copies."""
    pieces = [song(number) for number in (0, 1, 1, 2, 2, 3)]
    hashes, kept = ("d", "d", "c", "c", "b", "a"), Reading("kept", "kept", "")
    files = [ReadFile(*file, kept, [piece]) for *file, piece in zip("abcdef", hashes, pieces, strict=True)]
    corpus, _ = corpus_lib.of_files(files)
    assert duplicates.units(corpus, DataConfig()) == ["b", "b", "b", "b", "b", "a"]
    assert duplicates.units(corpus, DataConfig(duplicates="keep")) == list(hashes)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders that are a split; songs 0 and 1 also have a copy in train/."""
    write_songs(tmp_path / "all")
    for folder, names in {"train": "s0-b s1-b s2-a s2-b s3-a", "valid": "s0-a", "test": "s1-a"}.items():
        (tmp_path / "split" / folder).mkdir(parents=True)
        for name in names.split():
            (tmp_path / "all" / f"{name}.mid").rename(tmp_path / "split" / folder / f"{name}.mid")
    return tmp_path / "split"


def test_folders_decide_and_what_they_have_on_two_sides_is_told(folders: Path, capsys) -> None:
    corpus, _ = load.load(data_of(folders))
    assert sides(corpus, data_of(folders)) == ({"s0", "s1", "s2", "s3"}, {"s0"})
    line, *_ = told(capsys)
    assert "3 of 7 pieces" in line and "train/ has copies of 2 pieces outside it" in line


def test_what_folders_hold_out_stays_held_out_where_copies_are_dropped(folders: Path) -> None:
    data = data_of(folders, duplicates="drop")
    corpus, _ = load.load(data)
    assert corpus.names == ("train/s2-a.mid", "train/s3-a.mid", "valid/s0-a.mid")
    everything, _ = load.load(data, tests=True)
    assert everything.names == ("test/s1-a.mid", *corpus.names)


def test_the_data_command_names_and_counts_files_with_the_same_notes(songs: Path, tmp_path: Path, capsys) -> None:
    assert main(["data", f"--data={songs}", f"--workdir={tmp_path}", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["duplicates"] == 8
    lines = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    assert [line.get("same_as") for line in lines[:4]] == [None, "s0-a.mid", "s0-a.mid", None]
    assert "s3-c.mid has the notes of s3-a.mid" in err and err.count("has the notes of") == 8
    for drops, told in ((True, "8 files left out: each has"), (False, "8 files: each has")):
        assert ("repeated", f"{told} the same notes as another") in page._data(tmp_path / "data.jsonl", drops)
    assert "training uses one of each" not in err
    assert main(["data", f"--data={songs}", "--config.data.duplicates=drop"]) == 0
    assert "training uses one of each, as duplicates=drop asks" in capsys.readouterr().err


def test_a_folder_without_copies_counts_none(clips: Path, capsys) -> None:
    assert main(["data", f"--data={clips}", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["duplicates"] == 0 and "has the notes of" not in err

"""The stand-in for a large corpus: each file is a function of its number, and it reads as it was made."""

from __future__ import annotations

import collections
import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import stand_in
from benchmarks.stand_in import COPIES, DAMAGES, KINDS
from musicjax.corpus.read import Options, read_file
from musicjax.music import identity, midi

FILES = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[list[Path], dict]:
    """The files by number, and what the command said of them."""
    folder = tmp_path_factory.mktemp("stand_in") / "corpus"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", ["stand_in", f"--output={folder}", f"--files={FILES}", "--processes=1"])
        stand_in.main()
    return sorted(folder.rglob("*.mid")), json.loads(said.getvalue().splitlines()[-1])


def test_the_command_counts_what_it_made(made):
    paths, said = made
    assert [int(path.stem) for path in paths] == list(range(said["files"])) == list(range(FILES))
    assert said["kinds"] == {kind: [stand_in.kind_of(0, k) for k in range(FILES)].count(kind) for kind in KINDS}
    assert said["bytes"] == sum(path.stat().st_size for path in paths)
    assert min(said["kinds"].values()) > 0 and said["kinds"]["piece"] > 0.85 * FILES
    assert 100 < said["notes"] / FILES < 400


def test_a_file_depends_on_seed_and_number_alone(made):
    """The command wrote them in another process, one after the other."""
    for number in (0, 7, 299, 100, 7):
        assert stand_in.file_of(0, number)[1] == made[0][number].read_bytes()
    assert stand_in.file_of(1, 7)[1] != stand_in.file_of(0, 7)[1]


def test_the_kinds_come_as_often_as_they_say():
    found = collections.Counter(stand_in.kind_of(3, number) for number in range(10_000))
    assert {kind: found[kind] / 10_000 for kind in KINDS} == pytest.approx(KINDS, abs=0.006)


def test_musicjax_reads_pieces_and_skips_what_is_none(made):
    paths, said = made
    status, notes = collections.defaultdict(collections.Counter), 0
    for number, path in enumerate(paths):
        kind, (reading, pieces) = stand_in.kind_of(0, number), read_file(str(path), Options())
        status[kind][reading.status] += 1
        notes += sum(map(len, pieces)) if kind not in DAMAGES else 0
    for kind in ("piece", *COPIES):
        assert set(status[kind]) == {"kept"}
    assert set(status["garbage"]) == set(status["empty"]) == {"skipped"}
    assert set(status["truncated"]) <= {"recovered", "skipped"} and status["truncated"]["recovered"]
    assert notes == said["notes"]


def test_no_pieces_are_the_same_but_the_copies(made):
    kinds = [stand_in.kind_of(0, number) for number in range(FILES)]
    whole = [number for number in range(FILES) if kinds[number] not in DAMAGES]
    first = identity.first_alike([midi.read(made[0][number]) for number in whole])
    copies = [number for number, at in zip(whole, first.tolist(), strict=True) if whole[at] != number]
    assert copies == [number for number in range(FILES) if kinds[number] in COPIES]
    one = next(number for number in copies if kinds[number] == "same_notes")
    assert made[0][one].read_bytes() not in {made[0][number].read_bytes() for number in range(one)}


@pytest.mark.parametrize("number", range(12))
def test_what_is_written_is_the_score(number, tmp_path, clips):
    """Pieces of the composer, and of a folder."""
    score = stand_in.score_of(5, number, str(clips))
    (tmp_path / "score.mid").write_bytes(stand_in.midi_of(score))
    notes = midi.read(tmp_path / "score.mid")
    onset, end = (
        np.rint(times * score.ticks_per_beat) for times in (notes.onset_beats, notes.onset_beats + notes.duration_beats)
    )
    order = np.lexsort((score.velocity, score.pitch, score.onset)), np.lexsort((notes.velocity, notes.pitch, onset))
    for written, read in ((score.onset, onset), (score.pitch, notes.pitch), (score.velocity, notes.velocity)):
        np.testing.assert_array_equal(written[order[0]], read[order[1]])
    programs = np.array(score.programs)[score.part]
    assert sorted(zip(programs, score.pitch, score.end, strict=True)) == sorted(
        zip(notes.program, notes.pitch, end, strict=True)
    )
    assert notes.bpm == pytest.approx(score.bpm, abs=1e-3) and tuple(notes.meters[0, 1:]) == score.meter


@pytest.mark.parametrize(
    ("flags", "told"),
    [([], "--output is missing"), (["--output=."], "new or empty"), (["--output=new", "--pop909=no"], "--pop909=no")],
)
def test_a_folder_that_cannot_be_used_is_refused(flags, told, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stand_in", *flags])
    with pytest.raises(SystemExit, match=told):
        stand_in.main()

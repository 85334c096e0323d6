"""The files of a call: the same request gives the same files, and none replaces other music."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicjax.generation import generate, takes
from musicjax.music.notes import Notes, from_beats


def tune(pitch: int) -> Notes:
    return from_beats([pitch, pitch + 4], [80, 80], [0.0, 1.0], [1.0, 1.0])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_fresh_folder_gets_the_plain_names(tmp_path, capsys):
    paths = generate.write([tune(60), tune(62)], tmp_path, seed=7)
    assert [path.name for path in paths] == ["seed7-000.mid", "seed7-001.mid"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_same_music_has_the_same_names_however_many_files_there_are(tmp_path, capsys, count):
    generate.write([tune(60), tune(62)], tmp_path, seed=0)
    before = contents(tmp_path)
    generate.write([tune(60), tune(62), tune(64)][:count], tmp_path, seed=0)
    after = contents(tmp_path)
    assert after.items() >= before.items() and len(after) == max(count, 2)
    assert capsys.readouterr().err == ""


def test_other_music_is_another_take_and_every_file_stays(tmp_path, capsys):
    written: dict[str, bytes] = {}
    for take, pitch in enumerate((60, 61, 62), 1):
        paths = generate.write([tune(60), tune(pitch)], tmp_path, seed=0)
        assert [path.stem for path in paths] == takes.names(0, 2, take)
        assert contents(tmp_path).items() >= written.items()
        written = contents(tmp_path)
        said = capsys.readouterr().err
        assert (f"take     {take} of seed 0: " in said) == (take > 1)
    generate.write([tune(60), tune(61)], tmp_path, seed=0)
    assert contents(tmp_path) == written, "an earlier request finds its own take again"
    assert generate.write([tune(61)], tmp_path, seed=1)[0].name == "seed1-000.mid", "another seed is no take"


def test_what_is_no_file_is_not_in_the_way(tmp_path):
    (tmp_path / "seed0-000.mid").mkdir()
    (tmp_path / "seed0-take2-000.mid").symlink_to(tmp_path / "absent")
    assert generate.write([tune(60)], tmp_path, seed=0)[0].name == "seed0-take3-000.mid"


def test_the_samples_of_a_run_are_replaced_and_that_is_said(tmp_path, capsys):
    for pitch in (60, 61):
        paths = generate.write([tune(60), tune(pitch)], tmp_path, seed=0, replaces=True)
        assert [path.name for path in paths] == ["seed0-000.mid", "seed0-001.mid"]
    assert "replaced 2 of 2 files" in capsys.readouterr().err
    assert len(contents(tmp_path)) == 2

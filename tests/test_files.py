"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from musicjax import files
from musicjax.run import workdir


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.write(path, "before")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "after")
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"config.json": "before"}


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen, fsync = [], os.fsync

    def logged(handle: int) -> None:
        seen.append(os.readlink(f"/proc/self/fd/{handle}"))
        assert not (tmp_path / "a").exists()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", logged)
    files.write(tmp_path / "a", "text")
    assert [files.PARTIAL_NAME.fullmatch(Path(name).name) is not None for name in seen] == [True]
    assert (tmp_path / "a").read_text() == "text"


def test_without_durability_nothing_waits_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("waited for the disk"))
    with files.whole(tmp_path / "a") as partial:
        partial.write_text("text")
    assert (tmp_path / "a").read_text() == "text"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_fails_midway_leaves_nothing_behind(tmp_path, kind):
    with pytest.raises(ZeroDivisionError), files.whole(tmp_path / "a") as partial:
        assert partial.parent == tmp_path and files.PARTIAL_NAME.fullmatch(partial.name)
        if kind == "folder":
            partial.mkdir()
            (partial / "b").write_text("half")
        else:
            partial.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole_and_never_takes_the_place_of_another(tmp_path):
    for attempt in (1, 2):
        try:
            with files.whole(tmp_path / "a") as partial:
                partial.mkdir()
                (partial / str(attempt)).write_text("text")
        except OSError:
            assert attempt == 2
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["a", "a/1"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with files.whole(tmp_path / "a") as one, files.whole(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "one"}


def test_a_start_removes_what_a_killed_one_wrote_under_another_name():
    for name in ("config.json", "data.jsonl", "metrics.jsonl", "report.html"):
        assert workdir.OF_WORKDIR.fullmatch(f".0123abcd-{name}.partial")
    for name in ("seed0-000.mid", "seed0-000.wav", "seed0-000.flac", "seed0-000.ogg", "metrics.json"):
        assert workdir.OF_SAMPLES.fullmatch(f".0123abcd-{name}.partial")


def test_the_hash_is_that_of_sha256sum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_is_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    files.write(tmp_path / "a", "text")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "a").read_text() == "text" and not (tmp_path / "a").is_symlink()


def test_what_is_removed_leaves_what_it_links_to(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("precious")
    (tmp_path / "link").symlink_to(kept)
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "link").symlink_to(kept)
    for path in (tmp_path / "link", folder, Path(tmp_path, "absent")):
        files.remove(path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").read_text() == "precious"

"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from musicjax import files


def test_a_file_that_cannot_be_written_keeps_its_old_content(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.write(path, "before")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "after")
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"config.json": "before"}


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def logged(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        assert not (tmp_path / "a").exists()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", logged)
    files.write(tmp_path / "a", "text")
    assert [files.PARTIAL_NAME.fullmatch(Path(name).name) is not None for name in synced] == [True]
    assert (tmp_path / "a").read_text() == "text"


def test_writing_replaces_a_link_and_leaves_its_target(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    files.write(tmp_path / "a", "text")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "a").read_text() == "text" and not (tmp_path / "a").is_symlink()


def test_removing_leaves_what_links_point_to(tmp_path):
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

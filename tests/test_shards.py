"""Shards hold the pieces that they were given, and say so where they no longer do."""

import dataclasses
import errno
import json
import os

import numpy as np
import pytest

from musicjax.errors import RunError
from musicjax.music.notes import from_beats
from musicjax.shards import shards, write_shard

pytest.importorskip("array_record")
COLUMNS = 3


def piece(number: int, rows: int, use: int = shards.TRAINING) -> write_shard.Piece:
    random = np.random.default_rng(number)
    notes = from_beats(np.arange(rows), np.ones(rows), random.integers(40, 80, rows), np.full(rows, 64))
    return write_shard.Piece(
        f"folder/{number}.mid", notes, random.integers(0, 256, (rows, COLUMNS)).astype(np.uint8), 3, 300, use
    )


def written(folder, groups: list[list[write_shard.Piece]]) -> shards.Shards:
    """A whole folder of one shard for each group."""
    index = shards.joined([write_shard.write(folder, number, group, COLUMNS) for number, group in enumerate(groups)])
    shards.save_index(folder / shards.INDEX, index)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    versions = {"format": shards.FORMAT_VERSION, "musicjax": "0"}
    manifest = shards.Manifest({}, {}, {}, COLUMNS, dict.fromkeys(sizes, ""), sizes, "f", versions)
    (folder / shards.MANIFEST).write_text(json.dumps(dataclasses.asdict(manifest)))
    return shards.Shards(folder)


@pytest.fixture
def groups(monkeypatch):
    """Three shards, of pieces shorter and longer than a record, one of them without pieces that train."""
    monkeypatch.setattr(shards, "RECORD_ROWS", 50)
    validates = shards.VALIDATION
    return [
        [piece(0, 20), piece(1, 120), piece(2, 7, validates)],
        [piece(3, 1, validates)],
        [piece(4, 50), piece(5, 2)],
    ]


def test_every_row_but_the_first_of_a_piece_is_a_target_once(groups, tmp_path):
    found = written(tmp_path, groups)
    parts, index = [], found.index
    for record in range(len(index.record_shard)):
        rows = found.rows(record)
        assert len(rows) <= shards.RECORD_ROWS
        lengths = index.part_rows[index.part_record == record]
        assert lengths.sum() == len(rows)
        parts += [(int(index.record_use[record]), part) for part in np.split(rows, np.cumsum(lengths)[:-1])]
    for use in (shards.TRAINING, shards.VALIDATION):
        given = [one.rows for group in groups for one in group if one.use == use]
        targets = np.concatenate([rows[1:] for rows in given])
        np.testing.assert_array_equal(np.concatenate([rows[1:] for own, rows in parts if own == use]), targets)


def test_a_piece_comes_back_with_its_name_and_its_notes(groups, tmp_path):
    found = written(tmp_path, groups)
    given = [one for group in groups for one in group]
    for number, one in enumerate(given):
        name, notes = found.piece(number)
        assert (name, found.index.piece_use[number]) == (one.name, one.use)
        np.testing.assert_array_equal(notes.pitch, one.notes.pitch)
        np.testing.assert_array_equal(notes.onset_beats, one.notes.onset_beats)


def test_semitones_that_a_byte_cannot_hold_are_as_many_as_it_can(groups, tmp_path):
    index = written(tmp_path, groups).index
    assert set(index.down.tolist()) == {3}
    assert set(index.up.tolist()) == {255}


def test_equal_pieces_give_equal_bytes(groups, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        written(folder, groups)
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "rows-00000.array_record is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "bytes, expected"),
    ],
)
def test_a_missing_or_cut_file_is_named_at_once(groups, tmp_path, damage, said):
    written(tmp_path, groups)
    damage(tmp_path / shards.ROWS.format(0))
    with pytest.raises(RunError, match=said):
        shards.Shards(tmp_path)


def test_a_changed_byte_is_found_when_it_is_read(groups, tmp_path):
    found = written(tmp_path, groups)
    path = tmp_path / shards.ROWS.format(0)
    content, wrong = path.read_bytes(), 0
    for place in range(len(content) // 2, len(content) // 2 + 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        fresh = shards.Shards(tmp_path)
        for record in range(3):
            try:
                np.testing.assert_array_equal(fresh.rows(record), found.rows(record))
            except RunError as error:
                assert "is damaged; run musicjax data" in str(error) or "is not what was written; run" in str(error)
                assert "Riegeli" not in str(error)
                wrong += 1
    assert wrong


def test_another_format_is_refused_by_its_number(groups, tmp_path):
    written(tmp_path, groups)
    manifest = json.loads((tmp_path / shards.MANIFEST).read_text())
    manifest["versions"]["format"] = 99
    (tmp_path / shards.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="format is 99, expected 1"):
        shards.Shards(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sizes", []), ("sizes", {}), ("digests", 7), ("counts", {"kept": -1}), ("columns", "3"), ("source", None)],
)
def test_a_manifest_that_was_edited_is_refused_in_one_line(groups, tmp_path, field, value):
    written(tmp_path, groups)
    manifest = json.loads((tmp_path / shards.MANIFEST).read_text())
    (tmp_path / shards.MANIFEST).write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(RunError, match=f"{shards.MANIFEST} cannot be read: "):
        shards.Shards(tmp_path)


def test_no_byte_of_an_index_that_changed_is_a_fault(groups, tmp_path):
    written(tmp_path, groups)
    path = tmp_path / shards.INDEX
    content, refused = path.read_bytes(), 0
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            shards.Shards(tmp_path)
        except RunError:
            refused += 1
    assert refused > 10


def test_more_files_than_may_be_open_are_read(groups, tmp_path, monkeypatch):
    found = written(tmp_path, groups)
    monkeypatch.setattr(shards, "MOST_OPEN", 1)
    assert [len(found.piece(number)[1]) for number in (0, 3, 4, 1)] == [20, 1, 50, 120]


def test_a_disk_that_is_full_is_told_as_such(groups, tmp_path, monkeypatch):
    def full(self, record):
        raise RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}; writing ...")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter.write", full)
    with pytest.raises(OSError) as raised:
        write_shard.write(tmp_path, 0, groups[0], COLUMNS)
    assert raised.value.errno == errno.ENOSPC
    assert not [*tmp_path.iterdir()]


def test_what_is_wrong_with_a_piece_is_no_fault_of_the_disk(groups, tmp_path):
    def damaged():
        yield groups[0][0]
        raise RunError("its notes are damaged")

    with pytest.raises(RunError, match="its notes are damaged"):
        write_shard.write(tmp_path, 0, damaged(), COLUMNS)
    assert not [*tmp_path.iterdir()]

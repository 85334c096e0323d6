"""The four polyphonic data sets: files written here, files that are wrong, and the real ones."""

from __future__ import annotations

import functools
import hashlib
import io
import shutil
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from musicjax.corpus import corpus, frame_sets
from musicjax.corpus.frame_sets import NAMES, SPLITS, VARIABLES, Polyphonic
from musicjax.errors import RunError, UsageError


@pytest.fixture
def here(monkeypatch) -> None:
    """The reader of MATLAB files runs in this process, which saves a second a file."""

    def run(command, input, **_) -> types.SimpleNamespace:
        assert command[-1] == frame_sets.__name__
        replies = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(input)))
            patch.setattr(sys, "stdout", types.SimpleNamespace(buffer=replies))
            frame_sets.main()
        return types.SimpleNamespace(returncode=0, stdout=replies.getvalue())

    monkeypatch.setattr(frame_sets.subprocess, "run", run)


def _piece(seed: int, length: int, kind: type = np.uint8) -> np.ndarray:
    return (np.random.default_rng(seed).random((length, 88)) < 0.1).astype(kind)


def _cells(*pieces: object) -> np.ndarray:
    cells = np.empty((1, len(pieces)), object)
    cells[0, :] = pieces
    return cells


def _variables() -> dict[str, np.ndarray]:
    return {
        "traindata": _cells(_piece(0, 5), _piece(1, 1), _piece(2, 9), np.zeros((0, 0))),
        "validdata": _cells(_piece(3, 4)),
        "testdata": _cells(np.zeros((0, 88)), _piece(4, 2), _piece(5, 3)),
    }


def _write(folder: Path, variables: dict[str, np.ndarray], compressed: bool = True) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scipy.io.savemat(folder / NAMES["jsb"], variables, do_compression=compressed)
    return f"polyphonic:jsb:{folder}"


def _refused(source: str) -> str:
    with pytest.raises(RunError) as caught:
        frame_sets.read(source)
    message = str(caught.value)
    assert "\n" not in message and "expected" in message
    return message


# Which source is meant.


def test_a_source_names_a_data_set_and_a_folder():
    assert frame_sets.parse("polyphonic:jsb:/some/where") == ("jsb", Path("/some/where"))
    assert frame_sets.parse("polyphonic:piano_midi:C:\\music") == ("piano_midi", Path("C:\\music"))
    assert frame_sets.parse("polyphonic:nottingham:~/x") == ("nottingham", Path.home() / "x")
    for source in ("builtin", "jsb", "/polyphonic:jsb:x", "polyphonic", "folder/polyphonic:jsb:."):
        assert frame_sets.parse(source) is None


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("polyphonic:notingham:x", "did you mean nottingham?"),
        ("polyphonic:JSB:x", "did you mean jsb?"),
        ("polyphonic:zzz:x", "one of jsb, nottingham, musedata, piano_midi"),
        ("polyphonic:", "expected polyphonic:NAME:DIR"),
        ("polyphonic:musedata", "expected polyphonic:musedata:DIR with the folder that holds MuseData.mat"),
        ("polyphonic:musedata:", "no folder"),
    ],
)
def test_a_malformed_source_is_a_usage_error(source, told):
    for function in (frame_sets.parse, frame_sets.read):
        with pytest.raises(UsageError) as caught:
            function(source)
        assert told in str(caught.value) and "\n" not in str(caught.value)
    if "zzz" in source:
        assert "did you mean" not in str(caught.value)


def test_a_source_of_another_kind_is_a_usage_error():
    with pytest.raises(UsageError, match="expected polyphonic:NAME:DIR"):
        frame_sets.read("builtin")


# What is read.


def _assert_as_written(data: Polyphonic) -> None:
    assert data.names == ("train/001", "train/003", "valid/001", "test/002", "test/003")
    assert data.split.dtype == np.int8 and data.split.tolist() == [0, 0, 1, 2, 2]
    assert data.offsets.dtype == np.int64 and data.offsets.tolist() == [0, 5, 14, 18, 20, 23]
    assert data.frames.dtype == np.uint8 and data.frames.shape == (23, 88)
    for index, (seed, length) in enumerate([(0, 5), (2, 9), (3, 4), (4, 2), (5, 3)]):
        np.testing.assert_array_equal(data.piece(index), _piece(seed, length))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, bool, np.float64, np.int32])
def test_pieces_come_in_the_order_of_the_file_end_to_end(here, tmp_path, kind, compressed):
    variables = {name: _cells(*(piece.astype(kind) for piece in cells[0])) for name, cells in _variables().items()} | {
        "another": np.arange(3)
    }
    data = frame_sets.read(_write(tmp_path, variables, compressed))
    _assert_as_written(data)
    assert len(data) == 5
    for split, lengths in zip(SPLITS, ([5, 9], [4], [2, 3]), strict=True):
        assert [len(piece) for piece in data.pieces(split)] == lengths
    np.testing.assert_array_equal(data.pieces("test")[0], _piece(4, 2))


def test_cells_in_a_column_are_the_same_as_cells_in_a_row(here, tmp_path):
    _assert_as_written(frame_sets.read(_write(tmp_path, {name: cells.T for name, cells in _variables().items()})))


def test_pieces_with_nothing_to_predict_are_left_out_with_a_reason(here, tmp_path):
    data = frame_sets.read(_write(tmp_path, _variables()))
    assert [(left.path, left.status, left.code, left.notes) for left in data.skipped] == [
        ("train/002", "skipped", "one-frame", 0),
        ("train/004", "skipped", "empty", 0),
        ("test/001", "skipped", "empty", 0),
    ]
    assert all(left.detail for left in data.skipped)


def test_the_outcomes_add_up_to_the_pieces_of_the_file_in_its_order(here, tmp_path):
    variables = _variables()
    held = np.zeros((6, 88))
    held[[0, 1, 3], 10] = held[2:, 11] = held[5, 87] = 1  # two notes, one note, one note
    variables["validdata"] = _cells(held)
    data = frame_sets.read(_write(tmp_path, variables))
    names = ["train/001", "train/002", "train/003", "train/004", "valid/001", "test/001", "test/002", "test/003"]
    assert [outcome.path for outcome in data.outcomes] == names
    kept = {outcome.path: outcome for outcome in data.outcomes if outcome.status == "kept"}
    assert tuple(kept) == data.names
    assert {outcome.code for outcome in kept.values()} == {"kept"}
    assert kept["valid/001"].notes == 4
    assert kept["valid/001"].sha256 == hashlib.sha256(held.astype(np.uint8).tobytes()).hexdigest()
    assert {outcome.seconds for outcome in data.outcomes} == {0.0}
    counts = corpus.counts(data.outcomes)
    assert (counts["kept"], counts["recovered"], counts["skipped"]) == (5, 0, 3)


def test_more_than_999_pieces_keep_their_order(here, tmp_path):
    variables = _variables()
    variables["traindata"] = _cells(*[_piece(0, 2), _piece(1, 1)] * 510)
    data = frame_sets.read(_write(tmp_path, variables))
    assert [outcome.path for outcome in data.outcomes][997:1001] == [
        "train/998",
        "train/999",
        "train/1000",
        "train/1001",
    ]


def test_the_fingerprint_is_of_the_content_alone(here, tmp_path):
    def fingerprint(variables: dict[str, np.ndarray], **knobs) -> str:
        return frame_sets.read(_write(tmp_path, variables, **knobs)).fingerprint

    first = fingerprint(_variables())
    assert len(first) == 64 and first == fingerprint(_variables(), compressed=False)
    other_frame, other_cut, other_split = _variables(), _variables(), _variables()
    other_frame["testdata"][0, 2] = 1 - other_frame["testdata"][0, 2]
    joined = np.concatenate([_piece(0, 5), _piece(2, 9)])
    other_cut["traindata"] = _cells(joined[:6], joined[6:])
    other_split["traindata"] = _cells(_piece(0, 5))
    other_split["validdata"] = _cells(_piece(2, 9), _piece(3, 4))
    fingerprints = {first, *map(fingerprint, (other_frame, other_cut, other_split))}
    assert len(fingerprints) == 4


# What is refused.


def test_a_folder_or_file_that_is_not_there_is_named(tmp_path):
    assert "no such folder" in _refused(f"polyphonic:jsb:{tmp_path / 'absent'}")
    told = _refused(f"polyphonic:musedata:{tmp_path}")
    assert "no file MuseData.mat" in told and str(tmp_path) in told
    (tmp_path / "a file").touch()
    assert "no such folder" in _refused(f"polyphonic:jsb:{tmp_path / 'a file'}")
    (tmp_path / NAMES["jsb"]).mkdir()
    assert "no file JSB_Chorales.mat" in _refused(f"polyphonic:jsb:{tmp_path}")


@pytest.mark.parametrize(
    "content",
    [b"", b"MThd\0\0\0\6\0\1", b"\0" * 300, b"x" * 3000, b"PK\3\4" + bytes(range(256)) * 9, b"MATLAB 5.0 MAT-file"],
)
def test_what_is_no_matlab_file_is_refused(here, tmp_path, content):
    (tmp_path / NAMES["jsb"]).write_bytes(content)
    told = _refused(f"polyphonic:jsb:{tmp_path}")
    assert str(tmp_path / NAMES["jsb"]) in told and "put the data set's own file there" in told


HEAD_OF_7_3 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"


@pytest.mark.parametrize("before", [b"", HEAD_OF_7_3.ljust(512, b"\0")])
def test_a_file_of_matlab_7_3_is_refused_with_the_way_out(tmp_path, before):
    (tmp_path / NAMES["jsb"]).write_bytes(before + b"\x89HDF\r\n\x1a\n" + b"\0" * 2000)
    assert "MATLAB 7.3 (HDF5)" in (told := _refused(f"polyphonic:jsb:{tmp_path}")) and "save -v7" in told


def _with(name: str, value: object) -> dict[str, object]:
    return _variables() | {name: value}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"x": np.arange(3)}, "no variable traindata"),
        ({name: _variables()[name] for name in VARIABLES[:2]}, "no variable testdata"),
        (_with("validdata", np.zeros((4, 88))), "variable validdata is not a cell array but double"),
        (_with("validdata", "text"), "variable validdata is not a cell array but char"),
        (_with("testdata", {"piece": np.zeros((4, 88))}), "variable testdata is not a cell array but struct"),
        (_with("traindata", _cells(_piece(0, 4), "text")), "piece train/002 is not an array of numbers"),
        (_with("traindata", _cells(_cells(_piece(0, 4)))), "piece train/001 is not an array of numbers"),
        (_with("testdata", _cells({"a": 1.0})), "piece test/001 is not an array of numbers"),
        (_with("testdata", _cells(_piece(0, 4) * 1j)), "piece test/001 is not an array of numbers"),
        (_with("traindata", _cells(_piece(0, 4), _piece(0, 4)[:, :87])), "piece train/002 has shape [4, 87]"),
        (_with("validdata", _cells(_piece(0, 4).T)), "piece valid/001 has shape [88, 4]"),
        (_with("validdata", _cells(np.zeros((2, 88, 2)))), "piece valid/001 has shape [2, 88, 2]"),
        (_with("testdata", _cells(_piece(0, 4), 2 * _piece(0, 4))), "piece test/002 holds values other than 0 and 1"),
        (_with("testdata", _cells(np.full((4, 88), 0.5))), "piece test/001 holds values other than 0 and 1"),
        (_with("testdata", _cells(np.full((4, 88), np.nan))), "piece test/001 holds values other than 0 and 1"),
        (_with("testdata", _cells(-_piece(0, 4, np.int8))), "piece test/001 holds values other than 0 and 1"),
        (_with("validdata", _cells(_piece(0, 1), _piece(0, 0))), "validdata has no piece of 2 or more frames"),
        (_with("validdata", _cells()), "validdata has no piece of 2 or more frames"),
    ],
)
def test_a_file_of_something_else_is_refused_and_the_message_says_what_is_wrong(here, tmp_path, variables, told):
    message = _refused(_write(tmp_path, variables))
    assert told in message and str(tmp_path / NAMES["jsb"]) in message


def test_an_impossible_size_is_refused_before_room_is_made_for_it(here, tmp_path):
    source = _write(tmp_path, _variables(), compressed=False)
    path = tmp_path / NAMES["jsb"]
    content = path.read_bytes()
    ones_and_fours = np.array([1, 4], "<i4").tobytes()  # traindata's size, the first in the file
    assert content.count(ones_and_fours) == 1
    path.write_bytes(content.replace(ones_and_fours, np.array([2**16, 2**30], "<i4").tobytes()))
    assert "traindata claims 70,368,744,177,664 pieces" in _refused(source)


def _damaged(content: bytes, compressed: bool) -> Iterator[bytes]:
    """Cut short, and with single bits changed, two of which make scipy 1.17 end its process."""
    yield content[: len(content) // 2]
    size_of_first_piece = 240
    anywhere = int(np.random.default_rng(0).integers(128, len(content)))
    for place in [anywhere] if compressed else [anywhere, size_of_first_piece, size_of_first_piece + 1]:
        changed = bytearray(content)
        changed[place] ^= 1 << 1
        yield bytes(changed)


@pytest.mark.parametrize("compressed", [True, False])
def test_damage_is_refused_in_one_line_or_changes_no_more_than_frames(tmp_path, compressed):
    source = _write(tmp_path, _variables(), compressed)
    path = tmp_path / NAMES["jsb"]
    refused = []
    for content in _damaged(path.read_bytes(), compressed):
        path.write_bytes(content)
        try:
            data = frame_sets.read(source)
        except RunError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused.append(str(error))
        else:
            assert data.frames.shape == (data.offsets[-1], 88) and data.frames.max() <= 1
    assert refused


def test_a_file_that_ends_its_reader_is_an_error_of_the_run(tmp_path, monkeypatch):
    source = _write(tmp_path, _variables())
    monkeypatch.setattr(frame_sets.sys, "executable", shutil.which("false"))
    assert "damaged: its reader ended with status 1" in _refused(source)
    monkeypatch.setattr(frame_sets.sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(RunError, match=r"process that reads .*JSB_Chorales.mat could not be started"):
        frame_sets.read(source)


def test_a_file_that_may_not_be_read_is_an_error_of_the_run(tmp_path, monkeypatch):
    source = _write(tmp_path, _variables())

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RunError, match=r"JSB_Chorales.mat cannot be read: Permission denied"):
        frame_sets.read(source)


def test_scipy_is_loaded_only_to_read():
    code = (
        "import sys; import musicjax.corpus.frame_sets as p; p.parse('polyphonic:jsb:x'); print('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# The real ones.

SMALL = ("jsb", "piano_midi")


@functools.cache
def _real(name: str, folder: Path) -> Polyphonic:
    return frame_sets.read(f"polyphonic:{name}:{folder}")


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.long) for name in NAMES if name not in SMALL)]
)
def test_the_data_sets_are_read_as_scipy_alone_reads_them(shared_data: Path, name: str):
    folder = shared_data / "polyphonic"
    plain = scipy.io.loadmat(folder / NAMES[name])
    data = _real(name, folder)
    assert len(data) + len(data.skipped) == sum(plain[variable].size for variable in VARIABLES)
    place, total = 0, 0
    for part, variable in enumerate(VARIABLES):
        usable = [piece for piece in plain[variable][0] if len(piece) > 1]
        pieces = data.pieces(SPLITS[part])
        assert len(pieces) == len(usable)
        for piece, expected in zip(pieces, usable, strict=True):
            np.testing.assert_array_equal(piece, expected)
            assert data.split[place] == part
            place, total = place + 1, total + len(expected)
    assert len(data.frames) == data.offsets[-1] == total
    changes = np.diff(np.concatenate([np.zeros((1, 88)), data.frames]).astype(int), axis=0)
    changes[data.offsets[:-1]] = data.frames[data.offsets[:-1]]  # every piece starts from silence
    assert corpus.counts(data.outcomes)["notes"] == (changes == 1).sum()


def test_the_data_sets_have_the_sizes_that_were_published(shared_data: Path):
    counts = {}
    for name in NAMES:
        data = _real(name, shared_data / "polyphonic")
        assert not data.skipped
        counts[name] = tuple(np.bincount(data.split).tolist())
    assert counts == {
        "jsb": (229, 76, 77),
        "nottingham": (694, 173, 170),
        "musedata": (524, 135, 124),
        "piano_midi": (87, 12, 25),
    }


def test_a_real_file_cut_short_is_refused(shared_data: Path, tmp_path):
    whole = (shared_data / "polyphonic" / NAMES["jsb"]).read_bytes()
    for length, told in ((len(whole) // 2, "no variable validdata"), (len(whole) - 9, "a damaged one")):
        (tmp_path / NAMES["jsb"]).write_bytes(whole[:length])
        assert told in _refused(f"polyphonic:jsb:{tmp_path}")

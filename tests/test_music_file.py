"""One file as one piece: `musicjax.read` reads what a corpus may hold, and `Notes.write` writes it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

import musicjax
from musicjax.errors import RunError, UsageError
from musicjax.music import midi, musicxml
from musicjax.music.notes import COLUMNS, Notes, from_beats
from tests.midi_dumps import midi_file
from tests.reliability import smf

NOTE = "<note><pitch><step>C</step><octave>{}</octave></pitch><duration>1</duration></note>"
SCORE = f"<score-partwise><part><measure>{NOTE.format(4)}{NOTE.format(5)}</measure></part></score-partwise>".encode()


def _packed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("META-INF/container.xml", '<c><rootfile full-path="s.xml"/></c>')
        archive.writestr("s.xml", SCORE)
    return buffer.getvalue()


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _require_equal(one: Notes, other: Notes) -> None:
    for name in (*COLUMNS, "tempos", "meters", "keys"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


@pytest.mark.parametrize("name", ["a.mid", "a.kar", "a.xml", "a"])
def test_a_midi_file_gives_what_the_midi_reader_gives_whatever_its_name(tmp_path, capsys, name):
    path = _written(tmp_path, name, smf.file(smf.scale()))
    _require_equal(musicjax.read(str(path)), midi.read(path))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "content"), [("a.musicxml", SCORE), ("a.mxl", _packed()), ("a.mid", _packed())])
def test_a_score_gives_what_the_score_reader_gives_whatever_its_name(tmp_path, name, content):
    path = _written(tmp_path, name, content)
    _require_equal(musicjax.read(path), musicxml.read(path)[0])


def test_drums_and_the_pedal_are_read_as_asked(tmp_path):
    drums = _written(tmp_path, "drums.mid", midi_file("00 90 3c 40  00 99 24 40  60 80 3c 40  00 89 24 40"))
    assert musicjax.read(drums, percussion=False).pitch.tolist() == [60]
    pedal = _written(tmp_path, "pedal.mid", midi_file("00 b0 40 7f  00 90 3c 40  60 80 3c 40  60 b0 40 00"))
    assert musicjax.read(pedal, sustain="pedal").duration.tolist() == [1.0]


def test_what_is_mended_is_said_in_one_line(tmp_path, capsys):
    path = _written(tmp_path, "a.mid", smf.file(smf.scale())[:-30])
    assert len(musicjax.read(path)) >= 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"read     recovered {path}: ") and "lacks 30 of its" in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (smf.file(smf.scale(), smf.scale(), kind=2), "type 2: its tracks are 2 separate pieces"),
        (b"PK\x05\x06" + bytes(18), "is a zip archive, not a piece of music; unpack it"),
        (b"<score-partwise/>", "holds no notes"),
        (b"hello", "is not a MIDI file"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_not_one_piece_is_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "a.mid" if content is None else _written(tmp_path, "a.mid", content)
    with pytest.raises(RunError) as raised:
        musicjax.read(path)
    said = str(raised.value)
    assert said.startswith(f"{path} cannot be used: ") and reason in said and "\n" not in said
    assert said.endswith("; expected a MIDI file with notes, or a score")


def test_a_fault_of_a_reader_is_told_like_that_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(midi, "read_pieces", lambda *_, **__: 1 / 0)
    with pytest.raises(RunError, match=r"a\.mid cannot be used: ZeroDivisionError: division by zero; expected"):
        musicjax.read(_written(tmp_path, "a.mid", smf.file(smf.scale())))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": None}, r"path=None: expected a MIDI file or a score"),
        ({"percussion": "no"}, r"percussion='no': expected True or False"),
        ({"sustain": "foot"}, r"sustain='foot': expected key or pedal"),
        ({"tracks": 2}, r"tracks=2: expected merge or apart"),
    ],
)
def test_an_argument_of_read_that_it_does_not_take_is_named(given, words):
    with pytest.raises(UsageError, match=words):
        musicjax.read(**{"path": "a.mid", **given})


PIECE = from_beats([60, 64, 67], [80, 90, 100], [0, 1, 2], [1, 1, 2], bpm=90)


@pytest.mark.parametrize("name", ["a.mid", "A.MIDI"])
def test_a_written_piece_is_the_file_that_write_midi_writes(tmp_path, name):
    how = {"bpm": 100.0, "ticks_per_beat": 96, "state_meter": False, "end_beat": 8.0}
    assert PIECE.write(tmp_path / name, program=4, **how) == 0
    midi.write(PIECE, tmp_path / "other.mid", programs=[4], **how)
    assert (tmp_path / name).read_bytes() == (tmp_path / "other.mid").read_bytes()
    assert musicjax.read(tmp_path / name).program.tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "a.wav"}, r"path='a\.wav': expected a name that ends in \.mid or \.midi$"),
        ({"path": "a"}, r"path='a': expected a name that ends in \.mid or \.midi$"),
        ({"path": 5}, r"path=5: expected the MIDI file to write, \.mid or \.midi$"),
        ({"program": 128}, r"program=128: expected 0\.\.127"),
    ],
)
def test_what_write_does_not_take_is_refused_and_nothing_is_written(tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        PIECE.write(**{"path": "a.mid", **given})
    assert list(tmp_path.iterdir()) == []

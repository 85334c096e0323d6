"""Primers from files: whatever a corpus may hold, read as the model's training data were."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from musicjax.config import Config
from musicjax.errors import RunError
from musicjax.generation import primer
from musicjax.music.notes import Notes, from_beats
from tests.midi_dumps import midi_file
from tests.reliability import smf

NOTE = "<note><pitch><step>C</step><octave>{}</octave></pitch><duration>1</duration></note>"
SCORE = f"<score-partwise><part><measure>{NOTE.format(4)}{NOTE.format(5)}</measure></part></score-partwise>".encode()


def _model(**knobs) -> Any:
    """As much of a model as a primer needs."""
    config = Config()
    for name, value in knobs.items():
        setattr(config.data, name, value)
    return SimpleNamespace(config=config)


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


PACKED = _zip({"META-INF/container.xml": b'<c><rootfile full-path="s.xml"/></c>', "s.xml": SCORE})


@pytest.mark.parametrize(
    ("name", "content", "pitch"),
    [
        ("a.musicxml", SCORE, [60, 72]),
        ("a.xml", SCORE, [60, 72]),
        ("a.mxl", PACKED, [60, 72]),
        ("-.mid", PACKED, [60, 72]),
        ("a.kar", smf.file(smf.scale()), list(smf.SCALE)),
        ("a\nb.rmi", smf.riff(smf.file(smf.scale())), list(smf.SCALE)),
    ],
)
def test_a_primer_is_whatever_a_corpus_may_hold(tmp_path, capsys, name, content, pitch):
    assert primer.read(_written(tmp_path, name, content), _model()).pitch.tolist() == pitch
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mid", smf.file(smf.scale())[:-30], "lacks 30 of its"),
        ("a.musicxml", SCORE.replace(b"<octave>5</octave>", b""), "notes whose pitch cannot be read: 1 left out"),
    ],
)
def test_what_is_mended_in_a_primer_is_said_in_one_line(tmp_path, capsys, name, content, said):
    path = _written(tmp_path, name, content)
    assert len(primer.read(path, _model())) >= 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("primer") and f"recovered {path}: " in line and said in line


def test_a_primer_is_read_as_the_data_of_its_model(tmp_path):
    drums = _written(tmp_path, "drums.mid", midi_file("00 90 3c 40  00 99 24 40  60 80 3c 40  00 89 24 40"))
    for percussion, pitch in ((True, [60, 36]), (False, [60])):
        assert primer.read(drums, _model(percussion=percussion)).pitch.tolist() == pitch
    pedal = _written(tmp_path, "pedal.mid", midi_file("00 b0 40 7f  00 90 3c 40  60 80 3c 40  60 b0 40 00"))
    for sustain, seconds in (("key", [0.5]), ("pedal", [1.0])):
        assert primer.read(pedal, _model(sustain=sustain)).duration.tolist() == seconds


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.mid", smf.file(smf.scale(), smf.scale(), kind=2), "type 2: its tracks are 2 separate pieces"),
        ("songs.zip", _zip({"a.mid": smf.file(smf.scale())}), "is a zip archive, not a piece of music; unpack it"),
        ("songs.mid", _zip({"a.mid": smf.file(smf.scale())}), "is a zip archive"),
        ("a.musicxml", b"<score-partwise/>", "holds no notes"),
        ("a.mxl", b"", "is empty"),
        (".", None, "Is a directory"),
        ("absent.xml", None, "No such file"),
    ],
)
def test_a_primer_that_is_not_one_piece_is_refused_in_one_line(tmp_path, name, content, reason):
    path = tmp_path / name if content is None else _written(tmp_path, name, content)
    with pytest.raises(
        RunError, match=r"primer .* cannot be used: .*; expected a MIDI file with notes, or a score"
    ) as e:
        primer.read(path, _model())
    assert reason in str(e.value)


def tune(pitches: list[int]) -> Notes:
    onset = list(range(len(pitches)))
    return from_beats(pitches, [80] * len(pitches), onset, [1.0] * len(pitches))


SONG = random.Random(0).choices(range(48, 84), k=40)


@pytest.mark.parametrize(
    ("new", "length", "repeats"),
    [
        (SONG[:20], 20, True),
        ([pitch + 5 for pitch in SONG[10:30]], 20, True),
        ([*SONG[:16], 40, 41, 40, 41, 40], 16, True),
        ([*SONG[:16], 40, 41, 40, 41, 40, 41], 16, False),
        (SONG[:15], 15, False),
        ([], 0, False),
    ],
)
def test_a_continuation_that_is_mostly_one_run_of_its_primer_is_said(capsys, new, length, repeats):
    found = primer.shared(tune(SONG), [tune(new), tune([40, 60, 41])], ["a", "b"])
    assert found[0].length == length
    said = capsys.readouterr().err
    if not repeats:
        assert said == ""
    else:
        (line,) = said.splitlines()
        assert f"1 of 2 continuations repeats the primer: {length} of the {len(new)} new notes of a" in line

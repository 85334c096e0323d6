"""Sound beside MIDI files: always some, and what is missing is said."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from musicjax.errors import UsageError
from musicjax.generation import sound
from musicjax.music import midi
from musicjax.music.notes import from_beats
from musicjax.report import audio


@pytest.fixture
def sample(tmp_path):
    notes = from_beats(np.array([60, 64]), np.array([80, 80]), np.array([0.0, 1.0]), np.ones(2))
    midi.write(notes, tmp_path / "a.mid")
    return notes, tmp_path / "a.mid"


def test_a_wav_lies_beside_the_midi_file_and_its_maker_is_named(sample, monkeypatch, capfd):
    monkeypatch.setenv("PATH", "/nowhere")
    notes, path = sample
    (written,) = sound.write([notes], [path], "wav")
    assert written == path.with_suffix(".wav")
    with wave.open(str(written)) as file:
        assert file.getnframes() / file.getframerate() >= 1.0
    assert "synthesiser" in capfd.readouterr().err


def test_what_cannot_be_written_is_said_and_the_rest_is(sample, monkeypatch, capfd):
    monkeypatch.setenv("PATH", "/nowhere")
    notes, path = sample
    (path.parent / "b.wav").mkdir()
    midi.write(notes, path.parent / "b.mid")
    written = sound.write([notes, notes], [path.parent / "b.mid", path], "wav")
    assert written == [path.with_suffix(".wav")]
    assert "none of b.mid" in capfd.readouterr().err
    assert (path.parent / "b.mid").is_file()


def test_a_sound_font_that_is_none_is_refused_before_anything_is_written(sample, tmp_path):
    notes, path = sample
    (tmp_path / "font.sf2").write_bytes(b"no font")
    with pytest.raises(UsageError, match=r"font\.sf2"):
        sound.write([notes], [path], "wav", str(tmp_path / "font.sf2"))
    assert not path.with_suffix(".wav").exists()


def test_all_kinds_are_those_that_can_be_written():
    assert set(sound.KINDS) == {"wav", *(kind.removeprefix(".") for kind in audio.ENCODED)}

"""Sound beside MIDI files: there is always some, and the console says what made it and what is missing."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from musicjax.errors import RunError, UsageError
from musicjax.generation import request, sound_files
from musicjax.main import main
from musicjax.music import midi
from musicjax.music.notes import from_beats
from musicjax.report import audio, built_in_synth


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Notes and their MIDI file, where neither a program nor a sound font is found."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(audio, "find_soundfont", lambda named="": None)
    notes = from_beats(np.array([60, 64]), np.array([80, 80]), np.array([0.0, 1.0]), np.ones(2))
    midi.write(notes, tmp_path / "a.mid")
    return notes, tmp_path / "a.mid"


def test_a_wav_lies_beside_the_midi_file_and_its_renderer_is_named(sample, capfd):
    notes, path = sample
    (written,) = sound_files.write([notes], [path], "wav")
    assert written == path.with_suffix(".wav")
    with wave.open(str(written)) as file:
        assert file.getnframes() / file.getframerate() >= 1.0
    said = (
        "sound    1 WAV file, rendered by the built-in synthesiser; a sound font sounds fuller (--soundfont=FILE, or "
        "--config.sample.soundfont=FILE for a run)\n"
    )
    assert capfd.readouterr().err == said


def test_files_rendered_alike_share_a_line(sample, monkeypatch, capfd):
    notes, path = sample
    monkeypatch.setattr(audio, "write", lambda mid, notes, to, font: audio.Rendered(to, "fluidsynth with a.sf2", ""))
    sound_files.write([notes] * 8, [path] * 8, "flac")
    assert capfd.readouterr().err == "sound    8 FLAC files, rendered by fluidsynth with a.sf2\n"


def test_a_piece_whose_sound_cannot_be_written_is_named_and_the_others_have_theirs(sample, capfd):
    notes, path = sample
    (path.parent / "b.wav").mkdir()
    midi.write(notes, path.parent / "b.mid")
    written = sound_files.write([notes, notes], [path.parent / "b.mid", path], "wav")
    assert written == [path.with_suffix(".wav")]
    assert "none for b.mid" in capfd.readouterr().err
    assert (path.parent / "b.mid").is_file()


def test_files_that_fail_alike_share_a_line(tmp_path, monkeypatch, capfd):
    def full(mid, notes, path, soundfont):
        reason = "cannot be rendered: no notes" if mid.stem == "b" else "cannot be written: No space left on device"
        raise RunError(f"{path} {reason}")

    monkeypatch.setattr(audio, "write", full)
    paths = [tmp_path / f"{name}.mid" for name in "abcd"]
    notes = from_beats([60], [80], [0.0], [1.0])
    assert sound_files.write([notes] * 4, paths, "wav") == []
    a, b = (tmp_path / name for name in ("a.wav", "b.wav"))
    assert capfd.readouterr().err.splitlines() == [
        f"sound    none for a.mid: {a} cannot be written: No space left on device; the same for 2 more",
        f"sound    none for b.mid: {b} cannot be rendered: no notes",
    ]


def test_not_even_the_failure_of_every_renderer_ends_the_run(sample, monkeypatch, capfd):
    def exits(*_):
        raise SystemExit(3)

    monkeypatch.setattr(built_in_synth, "render", exits)
    notes, path = sample
    assert sound_files.write([notes], [path], "wav") == []
    assert "none for a.mid" in capfd.readouterr().err
    assert [left.name for left in path.parent.iterdir()] == ["a.mid"]


def test_a_file_that_is_no_sound_font_is_refused(tmp_path):
    (tmp_path / "font.sf2").write_bytes(b"no font")
    with pytest.raises(UsageError, match=r"font\.sf2"):
        sound_files.require_soundfont(str(tmp_path / "font.sf2"))


@pytest.mark.parametrize(("asked", "status"), [("--audio=wav", 1), ("--audio=auto", 0)])
def test_missing_sound_ends_generate_with_1_only_where_it_was_asked_for(
    trained_notes, tmp_path, monkeypatch, capsys, own_signal_handlers, asked, status
):
    """The disk is full for the second of three WAV files."""
    write = audio.write

    def full(mid, notes, path, soundfont):
        if path.stem.endswith("001"):
            raise RunError(f"{path} cannot be written: No space left on device")
        return write(mid, notes, path, soundfont)

    monkeypatch.setattr(audio, "write", full)
    argv = ["generate", f"--workdir={trained_notes}", f"--output_dir={tmp_path}", "--num_outputs=3", "--num_notes=4"]
    assert main([*argv, asked]) == status
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / f"seed0-00{number}.mid") for number in range(3)]
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_file()] == [
        *("samples.html", "seed0-000.mid", "seed0-000.wav", "seed0-001.mid", "seed0-002.mid", "seed0-002.wav"),
    ]
    assert "sound    none for seed0-001.mid" in err
    told = [line.split(":")[1] for line in err.splitlines() if line.startswith("musicjax: ")]
    assert told == [" 1 of 3 MIDI files has no sound, although --audio=wav asks for it"] * status


def test_all_kinds_are_those_that_can_be_written():
    assert set(request.AUDIO_KINDS) == {"wav", *(kind.removeprefix(".") for kind in audio.ENCODED)}

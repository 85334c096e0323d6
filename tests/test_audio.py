"""There is sound whatever is missing or broken, and a reason where it is not the best."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import wave
from pathlib import Path

import numpy as np
import pytest

from musicjax.errors import RunError, UsageError
from musicjax.music import midi
from musicjax.music.notes import Notes, from_seconds
from musicjax.report import audio, built_in_synth

# What is really installed. Tests take it away and put it back; none imports it anew.
REAL_FLUIDSYNTH = shutil.which("fluidsynth")
REAL_FONT = audio.find_soundfont()
REAL_LIBRARIES: dict[str, types.ModuleType] = {}
for library in ("midirenderer", "soundfile"):
    with contextlib.suppress(ImportError, OSError):
        REAL_LIBRARIES[library] = importlib.import_module(library)
NOTHING = from_seconds([], [], [], [])
TUNE = from_seconds([60, 64, 67], [80, 90, 100], [0.0, 0.5, 1.0], [0.5, 0.5, 1.0])
FONT = b"RIFF\0\0\0\0sfbk"  # as much of one as is looked at before it is loaded


def _tone(pitch: int, velocity: int = 100, onset: float = 0.0, duration: float = 1.0) -> Notes:
    return from_seconds([pitch], [velocity], [onset], [duration])


# Files, and what is used to write them.


class Machine:
    """A machine with nothing on it but what a test puts there."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.programs, self.fonts, self.out = folder / "bin", folder / "fonts", folder / "out"
        for place in (self.programs, self.fonts, self.out):
            place.mkdir()
        self._patch = patch
        patch.setenv("PATH", str(self.programs))
        patch.setattr(audio, "FONT_FOLDERS", (str(self.fonts),))
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        for library in ("midirenderer", "soundfile"):
            patch.setitem(sys.modules, library, None)
        self.mid = folder / "tune.mid"
        midi.write(TUNE, self.mid)
        self._canned = folder / "canned.wav"
        _wav(self._canned, 0.5 * np.sin(np.arange(2 * 44_100) / 16.0))

    def font(self, name: str = "piano.sf2", data: bytes = FONT) -> Path:
        (self.fonts / name).write_bytes(data)
        return self.fonts / name

    def fluidsynth(self, script: str) -> None:
        """A program of that name; in the script, $out is the file to write, $type its type and $canned a good WAV."""
        arguments = 'echo "$@" >> "$0.log"; gain="$4" type="$6" out="$8" font="$9"'
        program = self.programs / "fluidsynth"
        program.write_text(f"#!/bin/sh\n{arguments}\ncanned={self._canned}\n{script}\n")
        program.chmod(0o755)

    def midirenderer(self, render) -> None:
        self._patch.setitem(sys.modules, "midirenderer", types.SimpleNamespace(render_wave_from=render))

    def broken_library(self, name: str, code: str) -> None:
        """A library that runs this code when it is imported."""
        self._patch.delitem(sys.modules, name)
        (self.programs.parent / f"{name}.py").write_text(code)
        self._patch.syspath_prepend(self.programs.parent)

    def real(self, name: str) -> None:
        """The real library; skips where it is not installed."""
        if name not in REAL_LIBRARIES:
            pytest.skip(f"{name} is not installed: the real one is not tried")
        self._patch.setitem(sys.modules, name, REAL_LIBRARIES[name])

    def calls(self) -> list[str]:
        return (self.programs / "fluidsynth.log").read_text().splitlines()

    def write(self, name: str = "tune.wav", notes: Notes = TUNE, soundfont: str = "") -> audio.Rendered:
        """The result, after what holds of every one: the MIDI is untouched and one whole file is there."""
        before = self.mid.read_bytes()
        rendered = audio.write(self.mid, notes, self.out / name, soundfont)
        assert self.mid.read_bytes() == before
        assert [path.name for path in self.out.iterdir()] == [rendered.path.name]
        assert rendered.path.stat().st_mode & 0o777 == 0o644
        assert "\n" not in rendered.how + rendered.why
        return rendered


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    """Without programs, sound fonts and libraries."""
    return Machine(tmp_path, monkeypatch)


def _wav(path: Path, sound: np.ndarray) -> bytes:
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(44_100)
        stream.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())
    return path.read_bytes()


def _read(path: Path) -> np.ndarray:
    """A 16 bit WAV file as float64 [S, channels]."""
    with wave.open(str(path), "rb") as stream:
        assert (stream.getsampwidth(), stream.getframerate()) in ((2, 44_100), (2, 48_000))
        data = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
        return data.reshape(-1, stream.getnchannels()) / 32767.0


def test_the_built_in_synthesiser_plays_where_nothing_is_installed_and_names_what_is_missing(machine):
    rendered = machine.write()
    assert rendered.path.name == "tune.wav"
    assert rendered.how == "the built-in synthesiser"
    assert rendered.why == "a sound font sounds fuller (--soundfont=FILE, or --config.sample.soundfont=FILE for a run)"
    np.testing.assert_allclose(_read(rendered.path)[:, 0], built_in_synth.render(TUNE), atol=1 / 32767)
    machine.font()
    without_programs = machine.write()
    assert without_programs.how == "the built-in synthesiser"
    assert "fluidsynth: no such program on PATH; midirenderer: not installed" in without_programs.why


def test_the_fluidsynth_program_is_used_first(machine):
    font = machine.font()
    machine.fluidsynth('/bin/cp "$canned" "$out"')
    machine.midirenderer(lambda font, mid: pytest.fail("the program was there"))
    rendered = machine.write()
    assert rendered == audio.Rendered(machine.out / "tune.wav", "fluidsynth with piano.sf2", "")
    assert rendered.path.read_bytes() == machine._canned.read_bytes()
    (call,) = machine.calls()
    assert call.startswith("-ni -q -g 1.0 -T wav -F /")
    assert call.endswith(f" {font} {machine.mid}")


def test_what_reaches_full_scale_is_played_again_more_softly(machine):
    machine.font()
    loud = machine.out.parent / "loud.wav"
    _wav(loud, np.ones(2 * 44_100))
    machine.fluidsynth(f'if test "$gain" = 1.0; then /bin/cp {loud} "$out"; else /bin/cp "$canned" "$out"; fi')
    rendered = machine.write()
    assert rendered.why == ""
    assert np.abs(_read(rendered.path)).max() < 0.6
    assert [call.split()[3] for call in machine.calls()] == ["1.0", "0.25"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no audio driver >&2; exit 3", "no audio driver"),
        ("exit 3", "ended with status 3"),
        ("kill -SEGV $$", "ended with status -11"),
        (":", "wrote no WAV file"),
        ('echo garbage > "$out"', "wrote no WAV file"),
        ('/usr/bin/head -c 1000 "$canned" > "$out"', "wrote 0.0 s of 2.0 s"),
        ('/usr/bin/head -c 44 "$canned" > "$out"; /usr/bin/head -c 176400 /dev/zero >> "$out"', "wrote silence"),
        # Real ones end with 0 when they have played with another sound font than the one they were given.
        ('/bin/cp "$canned" "$out"; echo "Parameter \'$font\' not a SoundFont" >&2', "not a SoundFont"),
        ('/bin/cp "$canned" "$out"; echo "fluidsynth: error: broken font" >&2', "fluidsynth: error: broken font"),
    ],
)
def test_where_fluidsynth_fails_midirenderer_plays_and_the_reason_is_kept(machine, script, reason):
    machine.font()
    machine.fluidsynth(script)
    good = machine._canned.read_bytes()
    machine.midirenderer(lambda font, mid: good)
    rendered = machine.write()
    assert rendered.how == "midirenderer with piano.sf2"
    assert rendered.why.startswith("fluidsynth: ")
    assert reason in f"fluidsynth: {rendered.why}"
    assert rendered.path.read_bytes() == good


def test_a_warning_of_fluidsynth_is_no_failure(machine):
    machine.font()
    machine.fluidsynth('/bin/cp "$canned" "$out"; echo "fluidsynth: warning: no preset on channel 9" >&2')
    assert machine.write().how == "fluidsynth with piano.sf2"


def test_a_fluidsynth_that_hangs_is_killed_where_processes_have_no_groups(machine, monkeypatch):
    machine.font()
    monkeypatch.delattr(os, "killpg")
    monkeypatch.delattr(signal, "SIGKILL")
    monkeypatch.setattr(subprocess.Popen, "kill", subprocess.Popen.terminate)  # which needs the number here
    monkeypatch.setattr(audio, "TIMEOUT_SECONDS", -1.5)
    machine.fluidsynth("exec /bin/sleep 60")
    assert "did not end within 0 s" in machine.write().why


def test_a_fluidsynth_that_hangs_is_killed_with_its_children(machine, monkeypatch):
    machine.font()
    monkeypatch.setattr(audio, "TIMEOUT_SECONDS", -1.5)  # beside the two seconds of the piece
    machine.fluidsynth('/bin/sleep 60 & echo $! > "$0.pid"; wait')
    start = time.monotonic()
    rendered = machine.write()
    assert time.monotonic() - start < 20.0
    assert rendered.how == "the built-in synthesiser"
    assert "did not end within 0 s" in rendered.why
    pid = int((machine.programs / "fluidsynth.pid").read_text())
    for _ in range(100):  # until it has been reaped, or is a zombie that waits for it
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the process that the program started is still running")


def test_the_reason_why_a_program_cannot_be_run_is_kept(machine):
    machine.font()
    (machine.programs / "fluidsynth").write_bytes(b"\x7fELF and no more")
    (machine.programs / "fluidsynth").chmod(0o755)
    assert "fluidsynth: cannot be run: Exec format error" in machine.write().why


class Panic(BaseException):
    """As Rust code raises it: no Exception."""


def _raise(error: BaseException):
    raise error


@pytest.mark.parametrize(
    ("render", "reason"),
    [
        (lambda font, mid: _raise(RuntimeError("SoundFont error: no RIFF\nchunk")), "SoundFont error: no RIFF\\nchunk"),
        (lambda font, mid: _raise(Panic("index out of bounds")), "Panic: index out of bounds"),
        (lambda font, mid: _raise(SystemExit(3)), "SystemExit: 3"),
        (lambda font, mid: _raise(MemoryError()), "MemoryError"),
        (lambda font, mid: None, "TypeError"),
        (lambda font, mid: b"", "wrote no WAV file"),
        (lambda font, mid: b"junk" * 1000, "wrote no WAV file"),
    ],
)
def test_where_midirenderer_raises_anything_the_synthesiser_plays_and_the_reason_is_kept(machine, render, reason):
    machine.font()
    machine.midirenderer(render)
    rendered = machine.write()
    assert rendered.how == "the built-in synthesiser"
    assert reason in rendered.why
    assert len(_read(rendered.path)) == len(built_in_synth.render(TUNE))


@pytest.mark.parametrize("code", ["no_such_name", "raise SystemExit(3)", "import not_there_either", "1 / 0", "("])
def test_libraries_that_raise_anything_when_imported_cost_neither_the_sound_nor_the_run(machine, code):
    machine.font()
    machine.broken_library("midirenderer", code)
    machine.broken_library("soundfile", code)
    rendered = machine.write("tune.flac")
    assert (rendered.path.name, rendered.how) == ("tune.wav", "the built-in synthesiser")
    assert "midirenderer: " in rendered.why and "WAV instead of FLAC: " in rendered.why


def test_a_search_for_fonts_that_breaks_costs_no_sound(machine, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: _raise(ValueError("pretty_midi.__spec__ is None")))
    rendered = machine.write()
    assert rendered.how == "the built-in synthesiser" and "pretty_midi.__spec__ is None" in rendered.why


def test_where_every_renderer_fails_one_line_says_so_and_no_file_is_left(machine, monkeypatch):
    monkeypatch.setattr(built_in_synth, "render", lambda notes: _raise(MemoryError("5 GB")))
    with pytest.raises(RunError, match=r"tune\.wav cannot be rendered: MemoryError: 5 GB"):
        machine.write()
    assert not list(machine.out.iterdir())


def test_control_c_ends_the_rendering_and_leaves_no_file(machine):
    machine.font()
    machine.midirenderer(lambda font, mid: _raise(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        machine.write()
    assert not list(machine.out.iterdir())


def test_a_piece_too_long_for_the_renderers_is_cut_by_the_synthesiser_which_says_so(machine, monkeypatch):
    machine.font()
    machine.fluidsynth('/bin/cp "$canned" "$out"')
    machine.midirenderer(lambda font, mid: pytest.fail("too long for it"))
    monkeypatch.setattr(built_in_synth, "MOST_SECONDS", 1.0)
    rendered = machine.write(notes=from_seconds([60, 60], [90, 90], [0.0, 20_000.0], [0.5, 0.5]))
    assert rendered.how == "the built-in synthesiser"
    assert "fluidsynth: the piece lasts longer than 4 hours" in rendered.why
    assert "midirenderer: the piece lasts longer than 15 minutes" in rendered.why
    assert "the built-in synthesiser stops after" in rendered.why
    assert len(_read(rendered.path)) == np.ceil((1.0 + built_in_synth.RELEASE_SECONDS) * built_in_synth.RATE)


def test_a_piece_without_notes_is_a_short_silence(machine):
    machine.font()
    silence = _wav(machine.out.parent / "silence.wav", np.zeros(100))
    machine.midirenderer(lambda font, mid: silence)
    assert machine.write(notes=NOTHING).how == "midirenderer with piano.sf2"


# Sound fonts.


def test_a_named_font_comes_first_then_the_default_one_then_any(machine):
    assert audio.find_soundfont() is None
    any_font = machine.font("a.sf2")
    assert audio.find_soundfont() == any_font
    machine.font("broken-default.sf2", b"no font")
    default = machine.fonts / "default-GM.sf2"
    default.symlink_to(machine.font("z.sf2"))
    assert audio.find_soundfont() == machine.fonts / "z.sf2"  # the one that the link names
    (machine.fonts / "z.sf2").unlink()
    assert audio.find_soundfont() == any_font
    named = machine.out.parent / "mine.sf2"
    named.write_bytes(FONT)
    assert audio.find_soundfont(str(named)) == named


def test_the_font_that_pretty_midi_carries_is_found_without_importing_it(machine, monkeypatch):
    package = machine.out.parent / "pretty_midi"
    package.mkdir()
    (package / "TimGM6mb.sf2").write_bytes(FONT)
    spec = types.SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "pretty_midi" else None)
    assert audio.find_soundfont() == package / "TimGM6mb.sf2"
    installed = machine.font()
    assert audio.find_soundfont() == installed


def test_no_other_font_takes_the_place_of_a_named_one_that_is_no_font(machine):
    machine.font()
    machine.fluidsynth('/bin/cp "$canned" "$out"')
    junk = machine.out.parent / "junk.sf2"
    junk.write_bytes(b"junk")
    for named in (str(junk), str(machine.out), "/no/such.sf2"):
        with pytest.raises(UsageError, match=r"expected an \.sf2 file"):
            audio.find_soundfont(named)
        rendered = machine.write(soundfont=named)
        assert rendered.how == "the built-in synthesiser"
        assert named in rendered.why


# FLAC and Ogg.


@pytest.mark.parametrize(("name", "kind", "magic"), [("tune.flac", "flac", "fLaC"), ("tune.ogg", "oga", "OggS")])
def test_fluidsynth_encodes_where_soundfile_is_not_installed(machine, name, kind, magic):
    machine.font()
    machine.fluidsynth(f'if test "$type" = {kind}; then printf {magic}rest > "$out"; else /bin/cp "$canned" "$out"; fi')
    rendered = machine.write(name)
    assert (rendered.path.name, rendered.why) == (name, "")
    assert rendered.path.read_bytes() == f"{magic}rest".encode()
    first, second = machine.calls()
    assert first.split(" -T ")[0] == second.split(" -T ")[0]
    assert second.split()[-2:] == first.split()[-2:]


def test_a_piece_that_cannot_be_encoded_is_a_wav_file_and_the_reason_is_kept(machine):
    rendered = machine.write("tune.flac")
    assert rendered.path.name == "tune.wav"
    assert "WAV instead of FLAC: soundfile is not installed" in rendered.why
    assert len(_read(rendered.path)) == len(built_in_synth.render(TUNE))
    machine.font()
    machine.fluidsynth('if test "$type" = wav; then /bin/cp "$canned" "$out"; else echo junk > "$out"; fi')
    rendered = machine.write("tune.ogg")
    assert rendered.how == "fluidsynth with piano.sf2"
    assert rendered.why == "WAV instead of OGG: fluidsynth wrote no OGG file"


def test_soundfile_encodes_minutes_of_what_the_synthesiser_plays(machine):
    machine.real("soundfile")
    notes = from_seconds([60, 64], [90, 90], [0.0, 150.0], [1.0, 1.0])
    for name in ("tune.flac", "tune.ogg"):
        rendered = audio.write(machine.mid, notes, machine.out / name)
        assert rendered.path.name == name
        sound, rate = REAL_LIBRARIES["soundfile"].read(rendered.path)
        expected = built_in_synth.render(notes)
        assert (rate, len(sound)) == (built_in_synth.RATE, len(expected))
        np.testing.assert_allclose(sound, expected, atol=2e-4 if name == "tune.flac" else 0.1)


# What the user has to see to.


def test_another_suffix_is_refused(machine):
    for name in ("tune.mp3", "tune", "tune.mid"):
        with pytest.raises(UsageError, match=r"expected a name that ends in \.wav, \.flac or \.ogg"):
            audio.write(machine.mid, TUNE, machine.out / name)
    assert not list(machine.out.iterdir())


def _no_write_access(folder: Path) -> Path:
    if os.geteuid() == 0:  # who may write everywhere
        pytest.skip("runs as root, who may write everywhere")
    folder.chmod(0o500)
    return folder / "tune.wav"


@pytest.mark.parametrize(
    "place",
    [
        lambda machine: machine.mid / "tune.wav",
        lambda machine: machine.out / "absent" / "tune.wav",
        lambda machine: machine.out,
        lambda machine: _no_write_access(machine.out),
    ],
    ids=["in a file", "in no folder", "a folder", "without rights"],
)
def test_one_line_names_the_place_that_cannot_be_written(machine, place):
    path = place(machine)
    if path == machine.out:
        path = machine.out / "taken.wav"
        (path / "full").mkdir(parents=True)
    with pytest.raises(RunError) as raised:
        audio.write(machine.mid, TUNE, path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not [left for left in machine.out.iterdir() if left.name.startswith(".")]


def test_a_full_disk_leaves_no_file_and_one_line_says_so(machine, monkeypatch):
    def full(notes: Notes, wav: Path) -> None:
        wav.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio, "_built_in", full)
    with pytest.raises(RunError, match=r"tune\.wav cannot be written: No space left on device"):
        machine.write()
    assert not list(machine.out.iterdir())


def test_an_older_file_is_replaced_only_by_a_whole_one(machine, monkeypatch):
    old = machine.out / "tune.wav"
    old.write_bytes(b"old")
    seen = []
    render = built_in_synth.render
    monkeypatch.setattr(built_in_synth, "render", lambda notes: (seen.append(old.read_bytes()), render(notes))[1])
    machine.write()
    assert seen == [b"old"]
    assert old.read_bytes()[:4] == b"RIFF"


# The real ones, where they are.


@pytest.fixture
def real_font() -> Path:
    """A sound font that is installed; skips without one."""
    if REAL_FONT is None:
        pytest.skip("no sound font is installed: install fluidsynth or pretty_midi")
    return REAL_FONT


@pytest.mark.skipif(REAL_FLUIDSYNTH is None, reason="no program fluidsynth: the real one is not tried")
def test_the_real_fluidsynth_plays_and_refuses_a_broken_font(machine, real_font, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(str(REAL_FLUIDSYNTH)).parent))
    a4 = _tone(69)
    midi.write(a4, machine.mid)
    rendered = machine.write(notes=a4, soundfont=str(real_font))
    assert (rendered.how, rendered.why) == (f"fluidsynth with {real_font.name}", "")
    sound = _read(rendered.path)[:44_100].mean(axis=1)
    assert np.argmax(np.abs(np.fft.rfft(sound))) == pytest.approx(440, abs=3)
    for name, magic in (("tune.flac", b"fLaC"), ("tune.ogg", b"OggS")):
        rendered.path.unlink()
        rendered = machine.write(name, a4, str(real_font))
        assert rendered.why == ""
        assert rendered.path.read_bytes()[:4] == magic
    rendered.path.unlink()
    cut = machine.font("cut.sf2", real_font.read_bytes()[:100_000])
    broken = machine.write(notes=a4, soundfont=str(cut))
    assert broken.how == "the built-in synthesiser"
    assert "fluidsynth: error" in f"fluidsynth: {broken.why}"


def test_the_real_midirenderer_plays(machine, real_font):
    machine.real("midirenderer")
    a4 = _tone(69)
    midi.write(a4, machine.mid)
    rendered = machine.write(notes=a4, soundfont=str(real_font))
    assert rendered.how == f"midirenderer with {real_font.name}"
    sound = _read(rendered.path)[:48_000].mean(axis=1)
    assert np.argmax(np.abs(np.fft.rfft(sound))) == pytest.approx(440, abs=3)
    cut = machine.font("cut.sf2", real_font.read_bytes()[:100_000])
    assert "midirenderer: RuntimeError: SoundFont error" in machine.write(notes=a4, soundfont=str(cut)).why

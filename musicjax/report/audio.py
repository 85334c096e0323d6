"""A MIDI file -> a sound file, by the best renderer at hand. The only importer of midirenderer and soundfile.

The renderers are tried in turn: the fluidsynth program, midirenderer, and our own synthesiser, which needs neither a
sound font nor a library. Whatever one of them raises, the run goes on: the next takes its place, and the reason is
kept.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from musicjax import arguments, files
from musicjax.console import printable
from musicjax.errors import RunError, UsageError
from musicjax.music.notes import Notes
from musicjax.report import built_in_synth

# Suffix of a file -> what soundfile and what fluidsynth calls its format, and the bytes it begins with.
ENCODED = {".flac": ("FLAC", "flac", b"fLaC"), ".ogg": ("OGG", "oga", b"OggS")}
# Where distributions put sound fonts. Fonts named "default" come first: the owner of the system may have chosen them.
FONT_FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/soundfonts", "/usr/share/sounds/sf3")
GAINS = (1.0, 0.25)  # of fluidsynth: the second where the first reaches full scale
TIMEOUT_SECONDS = 60.0  # of fluidsynth, beside the seconds of the piece, which it renders a hundred times as fast
FLUIDSYNTH_MOST_SECONDS = 4 * 3600.0  # 2.5 GB
MIDIRENDERER_MOST_SECONDS = 900.0  # it holds 0.6 MB in memory for each
FULL_SCALE = 32767


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A sound file that was written.

    Attributes:
        path: the file; it ends in .wav if the kind that was asked for could not be encoded.
        how: "fluidsynth with FONT", "midirenderer with FONT" or "the built-in synthesiser".
        why: what a better renderer lacks, or why it or an encoder failed; empty if nothing better is known.
    """

    path: Path
    how: str
    why: str


class _Failed(Exception):
    """A renderer or encoder cannot be used; the message is the reason."""


@contextmanager
def _whatever_it_raises() -> Iterator[None]:
    """Turns whatever a library raises into _Failed: a panic in Rust is no Exception, and some libraries exit."""
    try:
        yield
    except (_Failed, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _Failed(printable(f"{type(error).__name__}: {error}")) from error


def write(midi_path: Path, notes: Notes, path: Path, soundfont: str = "") -> Rendered:
    """Writes the music of a MIDI file as sound: 16 bit WAV, or FLAC or Ogg Vorbis by the suffix of `path`.

    The file is there whole or not at all.

    Args:
        midi_path: the file to play; it is only read.
        notes: what it holds.
        path: the file to write, .wav, .flac or .ogg.
        soundfont: an .sf2 file; if empty, an installed one is looked for.

    Raises:
        UsageError: `path` has another suffix.
        RunError: the file cannot be written, or every renderer failed.
    """
    kind = path.suffix.lower()
    if kind != ".wav" and kind not in ENCODED:
        raise UsageError(f"sound file {path}: expected a name that ends in .wav, {' or '.join(ENCODED)}")
    reasons: list[str] = []
    try:
        if kind == ".wav":
            with files.whole(path) as wav:
                how, _ = _render(midi_path, notes, wav, soundfont, reasons)
            return Rendered(path, how, "; ".join(reasons))
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder, "sound.wav")
            how, again = _render(midi_path, notes, wav, soundfont, reasons)
            try:
                with files.whole(path) as encoded:
                    _encode(wav, encoded, kind, again, notes)
                return Rendered(path, how, "; ".join(reasons))
            except _Failed as failure:
                reasons.append(f"WAV instead of {kind[1:].upper()}: {failure}")
            path = path.with_suffix(".wav")
            with files.whole(path) as target:
                shutil.copyfile(wav, target)
        return Rendered(path, how, "; ".join(reasons))
    except _Failed as failure:
        raise RunError(f"{path} cannot be rendered: {failure}") from failure
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; check space and permissions") from error


def find_soundfont(named: str = "") -> Path | None:
    """The sound font to use, with links followed: the named one, else one that is installed; None if there is none.

    Raises:
        UsageError: the named one does not exist or is no sound font.
    """
    if named:
        font = Path(arguments.expanded(named))
        if not _is_soundfont(font):
            raise UsageError(f"sound font {named}: no such file, or not a sound font; expected an .sf2 file")
        return font.resolve()
    found: list[Path] = []
    for folder in FONT_FOLDERS:
        fonts = [path for suffix in ("sf2", "sf3") for path in Path(folder).glob(f"*.{suffix}")]
        found += sorted(fonts, key=lambda path: (not path.name.startswith("default"), path.name))
    package = importlib.util.find_spec("pretty_midi")  # it carries a font; none of its code runs
    if package is not None and package.origin:
        found.append(Path(package.origin).parent / "TimGM6mb.sf2")
    return next((path.resolve() for path in found if _is_soundfont(path)), None)


def _is_soundfont(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"


def _render(
    midi_path: Path, notes: Notes, wav: Path, soundfont: str, reasons: list[str]
) -> tuple[str, list[str] | None]:
    """Writes the WAV file: (the renderer, the command that did it if that was fluidsynth).

    Appends to `reasons` which better renderers failed, and why. Raises _Failed if all did.
    """
    font, missing = None, "a sound font sounds fuller (--soundfont=FILE, or --config.sample.soundfont=FILE for a run)"
    try:
        with _whatever_it_raises():
            font = find_soundfont(soundfont)
    except _Failed as failure:
        missing = printable(str(failure.__cause__))
    if font is None:
        reasons.append(missing)
    else:
        name = printable(font.name)
        try:
            return f"fluidsynth with {name}", _fluidsynth(midi_path, notes, wav, font)
        except _Failed as failure:
            reasons.append(f"fluidsynth: {failure}")
        try:
            _midirenderer(midi_path, notes, wav, font)
            return f"midirenderer with {name}", None
        except _Failed as failure:
            reasons.append(f"midirenderer: {failure}")
    _built_in(notes, wav)
    if notes.seconds > built_in_synth.MOST_SECONDS:
        reasons.append(f"the built-in synthesiser stops after {built_in_synth.MOST_SECONDS / 60:.0f} minutes")
    return "the built-in synthesiser", None


def _fluidsynth(midi_path: Path, notes: Notes, wav: Path, font: Path) -> list[str]:
    """Writes the WAV file and returns the command that did; raises _Failed."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise _Failed("no such program on PATH")
    if notes.seconds > FLUIDSYNTH_MOST_SECONDS:
        raise _Failed(f"the piece lasts longer than {FLUIDSYNTH_MOST_SECONDS / 3600:.0f} hours")
    for gain in GAINS:
        command = [program, "-ni", "-q", "-g", str(gain), "-T", "wav", "-F"]
        command += [str(wav.absolute()), str(font), str(midi_path.absolute())]
        _run(command, TIMEOUT_SECONDS + notes.seconds)
        if _peak(wav, notes) < FULL_SCALE:
            break
    return command


def _run(command: list[str], timeout_seconds: float) -> None:
    """Runs fluidsynth; raises _Failed if it does not end in time, or does not succeed.

    If it cannot load the sound font it takes another or plays silence, and its status is still 0: only its messages
    tell.
    """
    with tempfile.TemporaryFile() as messages:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True
            )
        except OSError as error:
            raise _Failed(f"cannot be run: {error.strerror or error}") from error
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise _Failed(f"did not end within {timeout_seconds:.0f} s") from None
        finally:
            if process.poll() is None:
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:  # Windows
                    process.kill()
                process.wait()
        messages.seek(0)
        lines = messages.read(100_000).decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("fluidsynth: error", "Failed to load", "Parameter '"))]
    if code or errors:
        last = [line for line in lines if line.strip()][-1:]
        raise _Failed(printable((errors or last or [f"ended with status {code}"])[0].removeprefix("fluidsynth: ")))


def _midirenderer(midi_path: Path, notes: Notes, wav: Path, font: Path) -> None:
    """Writes the WAV file; raises _Failed."""
    with _whatever_it_raises():
        try:
            import midirenderer
        except ModuleNotFoundError:
            raise _Failed("not installed; pip install 'musicjax[audio]'") from None
        if notes.seconds > MIDIRENDERER_MOST_SECONDS:
            raise _Failed(f"the piece lasts longer than {MIDIRENDERER_MOST_SECONDS / 60:.0f} minutes")
        data = bytes(midirenderer.render_wave_from(font.read_bytes(), midi_path.read_bytes()))
    wav.write_bytes(data)
    _peak(wav, notes)


def _peak(wav: Path, notes: Notes) -> int:
    """The largest absolute sample of a 16 bit WAV file; raises _Failed if the file does not hold the notes' sound."""
    peak, frames, rate = 0, 0, 1
    try:
        with wave.open(str(wav), "rb") as stream:
            rate = stream.getframerate()
            if stream.getsampwidth() != 2:
                raise _Failed("wrote no 16-bit samples")
            while block := stream.readframes(60 * rate):
                samples = np.frombuffer(block, "<i2", count=len(block) // 2)
                peak = max(peak, int(samples.max()), -int(samples.min()))
                frames += len(samples) // stream.getnchannels()
    except (wave.Error, struct.error, EOFError, FileNotFoundError, ValueError, ZeroDivisionError) as error:
        raise _Failed("wrote no WAV file") from error
    if frames < (notes.seconds - 0.5) * rate:
        raise _Failed(f"wrote {frames / rate:.1f} s of {notes.seconds:.1f} s")
    if len(notes) and peak == 0:
        raise _Failed("wrote silence")
    return peak


def _built_in(notes: Notes, wav: Path) -> None:
    """Writes the WAV file; raises _Failed."""
    with _whatever_it_raises():
        samples = built_in_synth.render(notes)
    with open(wav, "wb") as raw, wave.open(raw, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(built_in_synth.RATE)
        stream.setnframes(len(samples))
        for first in range(0, len(samples), 60 * built_in_synth.RATE):
            block = samples[first : first + 60 * built_in_synth.RATE]
            stream.writeframesraw(np.rint(block * FULL_SCALE).astype("<i2").tobytes())


def _encode(wav: Path, encoded: Path, kind: str, again: list[str] | None, notes: Notes) -> None:
    """WAV -> FLAC or Ogg Vorbis by soundfile or, failing that, by the fluidsynth command that wrote the WAV.

    Raises _Failed.
    """
    format_name, type_name, magic = ENCODED[kind]
    try:
        _soundfile(wav, encoded, format_name)
    except _Failed:
        if again is None:
            raise
        place = again.index("-T")
        command = [*again[:place], "-T", type_name, "-F", str(encoded.absolute()), *again[place + 4 :]]
        encoded.touch()  # fluidsynth may write nothing
        _run(command, TIMEOUT_SECONDS + notes.seconds)
        with open(encoded, "rb") as stream:
            if stream.read(len(magic)) != magic:
                raise _Failed(f"fluidsynth wrote no {format_name} file") from None


def _soundfile(wav: Path, encoded: Path, format_name: str) -> None:
    """WAV -> another format; raises _Failed."""
    with _whatever_it_raises():
        try:
            import soundfile
        except ModuleNotFoundError:
            raise _Failed("soundfile is not installed; pip install 'musicjax[audio]'") from None
        with soundfile.SoundFile(wav) as source:
            rate, channels = source.samplerate, source.channels
            with soundfile.SoundFile(encoded, "w", rate, channels, format=format_name) as target:
                for block in source.blocks(rate, dtype="int16"):  # one write of minutes of Vorbis crashes
                    target.write(block)

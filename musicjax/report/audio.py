"""A MIDI file -> a sound file, by the best means that is here. The only importer of midirenderer and soundfile."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from musicjax.errors import RunError, UsageError, printable
from musicjax.music.notes import Notes
from musicjax.report import synth

# Suffix of a file -> what soundfile and what fluidsynth calls its format, and the bytes it begins with.
ENCODED = {".flac": ("FLAC", "flac", b"fLaC"), ".ogg": ("OGG", "oga", b"OggS")}
# Where distributions put sound fonts; "default" ones first, which a system's owner may have chosen.
FONT_FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/soundfonts", "/usr/share/sounds/sf3")
GAINS = (1.0, 0.25)  # of fluidsynth: the second where the first reaches full scale
TIMEOUT_SECONDS = 60.0  # of fluidsynth, beside the seconds of the piece, which it plays some hundred times as fast
FLUIDSYNTH_MOST_SECONDS = 4 * 3600.0  # 2.5 GB
MIDIRENDERER_MOST_SECONDS = 900.0  # it holds 0.6 MB in memory for each
FULL_SCALE = 32767


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A sound file that was written.

    Attributes:
        path: the file; of another suffix than was asked for (.wav) if it could not be encoded.
        how: "fluidsynth with FONT", "midirenderer with FONT" or "built-in synthesiser".
        why: why nothing better was used and what failed; empty if all is as asked for.
    """

    path: Path
    how: str
    why: str


class _Failed(Exception):
    """One of the means cannot be used here; the reason."""


def write(midi_path: Path, notes: Notes, path: Path, soundfont: str = "") -> Rendered:
    """Writes the music of a MIDI file as sound: 16 bit WAV, or FLAC or Ogg Vorbis by the suffix of `path`.

    The file is there whole or not at all. What fails is told in `Rendered.why`, and the next means is used.

    Args:
        midi_path: the file to play; only read.
        notes: what it holds.
        path: the file to write, .wav, .flac or .ogg.
        soundfont: an .sf2 file; empty: one that is found.

    Raises:
        UsageError: the suffix is another one.
        RunError: the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind != ".wav" and kind not in ENCODED:
        raise UsageError(f"sound file {path}: expected a name that ends in .wav, {' or '.join(ENCODED)}")
    reasons: list[str] = []
    wav_path = path if kind == ".wav" else path.with_suffix(".wav")
    try:
        with _whole(wav_path) as wav:
            how, again = _render(midi_path, notes, wav, soundfont, reasons)
            if kind != ".wav":
                try:
                    _encode(wav, path, again)
                    return Rendered(path, how, "; ".join(reasons))
                except _Failed as failure:
                    reasons.append(f"{wav_path.name} instead of {path.name}: {failure}")
            os.replace(wav, wav_path)
            return Rendered(wav_path, how, "; ".join(reasons))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; see to space and rights") from error


def find_soundfont(named: str = "") -> Path | None:
    """The sound font to use, with links followed: the one that is named, else one that is installed, None without.

    Raises:
        UsageError: the one that is named is not there or is no sound font.
    """
    if named:
        if not _is_soundfont(Path(named)):
            raise UsageError(f"sound font {named}: no such file, or no sound font; expected an .sf2 file")
        return Path(named).resolve()
    found: list[Path] = []
    for folder in FONT_FOLDERS:
        fonts = [path for suffix in ("sf2", "sf3") for path in Path(folder).glob(f"*.{suffix}")]
        found += sorted(fonts, key=lambda path: (not path.name.startswith("default"), path.name))
    package = importlib.util.find_spec("pretty_midi")  # carries one; nothing of it is run
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


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under; what still has it in the end is removed."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=f"{path.suffix}.partial")
    os.close(handle)
    os.chmod(name, 0o644)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _render(
    midi_path: Path, notes: Notes, wav: Path, soundfont: str, reasons: list[str]
) -> tuple[str, list[str] | None]:
    """Fills the WAV file. Returns what did it and, of fluidsynth, the command that would do it again.

    Appends to `reasons` what was better and failed.
    """
    try:
        font = find_soundfont(soundfont)
    except UsageError as error:
        font, missing = None, str(error)
    else:
        missing = f"no sound font in {', '.join(FONT_FOLDERS)}; name one with --soundfont=FILE"
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
    if notes.seconds > synth.MOST_SECONDS:
        reasons.append(f"the built-in synthesiser stops after {synth.MOST_SECONDS / 60:.0f} minutes")
    return "built-in synthesiser", None


def _fluidsynth(midi_path: Path, notes: Notes, wav: Path, font: Path) -> list[str]:
    """Fills the WAV file and returns the command that did; raises _Failed."""
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
    """Runs fluidsynth; raises _Failed if it does not end in time, or ends with anything but success.

    Without the sound font it was given it takes another or plays silence, and still ends with 0: only what it says
    tells.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except OSError as error:
            raise _Failed(f"cannot be run: {error.strerror or error}") from error
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise _Failed(f"did not end within {timeout_seconds:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        lines = said.read(100_000).decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("fluidsynth: error", "Failed to load", "Parameter '"))]
    if code or errors:
        last = [line for line in lines if line.strip()][-1:]
        raise _Failed(printable((errors or last or [f"ended with status {code}"])[0].removeprefix("fluidsynth: ")))


def _midirenderer(midi_path: Path, notes: Notes, wav: Path, font: Path) -> None:
    """Fills the WAV file; raises _Failed."""
    try:
        import midirenderer
    except ImportError:
        raise _Failed("not installed; pip install 'musicjax[audio]'") from None
    if notes.seconds > MIDIRENDERER_MOST_SECONDS:
        raise _Failed(f"the piece lasts longer than {MIDIRENDERER_MOST_SECONDS / 60:.0f} minutes")
    try:
        data = midirenderer.render_wave_from(font.read_bytes(), midi_path.read_bytes())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its Rust code is no Exception
        raise _Failed(printable(f"{type(error).__name__}: {error}")) from error
    wav.write_bytes(data)
    _peak(wav, notes)


def _peak(wav: Path, notes: Notes) -> int:
    """The largest absolute sample of a 16 bit WAV file; raises _Failed if it is not one with the notes' sound in it."""
    peak, frames, rate = 0, 0, 1
    try:
        with wave.open(str(wav), "rb") as stream:
            rate = stream.getframerate()
            if stream.getsampwidth() != 2:
                raise _Failed("wrote no 16 bit samples")
            while block := stream.readframes(60 * rate):
                samples = np.frombuffer(block, "<i2", count=len(block) // 2)
                peak = max(peak, int(samples.max()), -int(samples.min()))
                frames += len(samples) // stream.getnchannels()
    except (wave.Error, EOFError, ValueError, ZeroDivisionError) as error:
        raise _Failed("wrote no WAV file") from error
    if frames < (notes.seconds - 0.5) * rate:
        raise _Failed(f"wrote {frames / rate:.1f} s of {notes.seconds:.1f} s")
    if len(notes) and peak == 0:
        raise _Failed("wrote silence")
    return peak


def _built_in(notes: Notes, wav: Path) -> None:
    samples = synth.render(notes)
    with open(wav, "wb") as raw, wave.open(raw, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(synth.RATE)
        stream.setnframes(len(samples))
        for first in range(0, len(samples), 60 * synth.RATE):
            block = samples[first : first + 60 * synth.RATE]
            stream.writeframesraw(np.rint(block * FULL_SCALE).astype("<i2").tobytes())


def _encode(wav: Path, path: Path, again: list[str] | None) -> None:
    """WAV -> FLAC or Ogg Vorbis by soundfile, else by the command of fluidsynth that wrote the WAV; raises _Failed."""
    with _whole(path) as partial:
        try:
            import soundfile
        except (ImportError, OSError):  # the package, or the library that it wraps
            if again is None:
                raise _Failed("soundfile is not installed; pip install 'musicjax[audio]'") from None
            _run_again(again, wav, partial, path.suffix.lower())
        else:
            format_name, _, _ = ENCODED[path.suffix.lower()]
            try:
                with soundfile.SoundFile(wav) as source:
                    rate, channels = source.samplerate, source.channels
                    with soundfile.SoundFile(partial, "w", rate, channels, format=format_name) as target:
                        for block in source.blocks(rate, dtype="int16"):  # one write of minutes of Vorbis crashes
                            target.write(block)
            except soundfile.SoundFileError as error:
                raise _Failed(f"soundfile: {printable(str(error))}") from error
        os.replace(partial, path)


def _run_again(command: list[str], wav: Path, encoded: Path, kind: str) -> None:
    """Runs fluidsynth with another type of file; raises _Failed."""
    format_name, type_name, magic = ENCODED[kind]
    with wave.open(str(wav), "rb") as stream:
        seconds = stream.getnframes() / stream.getframerate()
    place = command.index("-T")
    _run(
        [*command[:place], "-T", type_name, "-F", str(encoded.absolute()), *command[place + 4 :]],
        TIMEOUT_SECONDS + seconds,
    )
    with open(encoded, "rb") as stream_of_bytes:
        if stream_of_bytes.read(len(magic)) != magic:
            raise _Failed(f"fluidsynth wrote no {format_name} file")

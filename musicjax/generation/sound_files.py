"""MIDI files -> sound files beside them."""

from __future__ import annotations

import collections
from pathlib import Path

from musicjax import console
from musicjax.errors import RunError
from musicjax.music.notes import Notes


def require_soundfont(soundfont: str) -> None:
    """Raises UsageError if the named sound font does not exist or is not a sound font."""
    from musicjax.report import audio

    audio.find_soundfont(soundfont)


def write(pieces: list[Notes], paths: list[Path], kind: str, soundfont: str = "") -> list[Path]:
    """Renders each MIDI file into a sound file beside it; prints what rendered them, and what could not be rendered.

    No renderer can end the run: where all fail, a piece has no sound. Files that fail alike share a line.

    Args:
        kind: one of `request.AUDIO_KINDS`.
        soundfont: an .sf2 file; if empty, an installed one is looked for.
    """
    from musicjax.report import audio  # here, so that commands that make no sound do not wait for it

    written: list[Path] = []
    failed: dict[str, list[str]] = {}  # what to say of each file, by the reason
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    with console.bar("sound", len(paths), unit="files") as update:
        for number, (notes, path) in enumerate(zip(pieces, paths, strict=True), 1):
            try:
                rendered = audio.write(path, notes, path.with_suffix(f".{kind}"), soundfont)
            except RunError as error:
                reason = str(error).replace(str(path.with_suffix("")), "")
                failed.setdefault(reason, []).append(f"none for {path.name}: {error}")
            else:
                written.append(rendered.path)
                counts[rendered.path.suffix[1:].upper(), rendered.how, rendered.why] += 1
            update(number)
    for first, *others in failed.values():
        console.say("sound", first + f"; the same for {len(others)} more" * bool(others))
    for (suffix, how, why), count in counts.items():
        console.say(
            "sound", f"{console.counted(count, f'{suffix} file')}, rendered by {how}" + (f"; {why}" if why else "")
        )
    return written

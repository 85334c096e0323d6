"""MIDI files -> sound files beside them."""

from __future__ import annotations

from pathlib import Path

from musicjax import console
from musicjax.errors import RunError
from musicjax.music.notes import Notes

KINDS = ("wav", "flac", "ogg")


def require_soundfont(soundfont: str) -> None:
    """Raises UsageError if a sound font is named and is none."""
    from musicjax.report import audio

    audio.find_soundfont(soundfont)


def remove_old(path: Path) -> int:
    """Removes sound that lies beside a MIDI file, whose music it will not be any more: how many files."""
    old = [beside for kind in KINDS if (beside := path.with_suffix(f".{kind}")).is_file()]
    for beside in old:
        beside.unlink()
    return len(old)


def write(pieces: list[Notes], paths: list[Path], kind: str, soundfont: str = "") -> list[Path]:
    """Renders the notes of each MIDI file into a file beside it and says with what; what cannot be written is said.

    Args:
        kind: one of KINDS.

    Raises:
        UsageError: the sound font that is named is none.
    """
    from musicjax.report import audio  # here, so that what makes no sound does not wait for it

    require_soundfont(soundfont)
    written: list[Path] = []
    told: dict[tuple[str, str], int] = {}
    for notes, path in zip(pieces, paths, strict=True):
        try:
            rendered = audio.write(path, notes, path.with_suffix(f".{kind}"), soundfont)
        except RunError as error:
            console.say("sound", f"none of {path.name}: {error}")
            continue
        written.append(rendered.path)
        told[rendered.how, rendered.why] = told.get((rendered.how, rendered.why), 0) + 1
    for (how, why), count in told.items():
        console.say("sound", f"{count} files by the {how}" + (f" ({why})" if why else ""))
    return written

"""What a page asks the composer for, checked, and as a command line that does the same."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from typing import Any

from musicjax import arguments
from musicjax.errors import UsageError
from musicjax.generation import request as request_lib
from musicjax.music import melody_text

KINDS = ("new", "continue", "infill", "vary")
MOST_COUNT, MOST_BARS, MOST_NOTES = 8, 512, 10_000
STEPS_OF_A_NOTE = 4  # of a melody in names: quarter notes
MOST_SEED = 2**31 - 1
# The fields of a request that are flags of the same name, and their kinds.
NUMBERS = {"bars": float, "bpm": float, "temperature": float, "top_p": float, "min_p": float, "amount": float}
WHOLE = {"from_bar": int, "to_bar": int}
TEXTS = ("key", "meter")
# What is kept of a request, so that the page can tell what an output was made of.
TOLD = ("source", *NUMBERS, *WHOLE, *TEXTS, "instruments")
# The kinds of source. A request that names several uses the first; data and upload also use its `piece`.
SOURCES = ("output", "melody", "notes", "data", "upload")
_NAME = re.compile(r"([A-Ha-h])([#b]?)(-?\d)")
# H is what B natural is called in German and other languages.
_PITCH_CLASSES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11, "H": 11}


def seeds(asked: Mapping[str, Any]) -> list[int]:
    """A seed for each output that is asked for; raises UsageError for a count or a seed out of range."""
    count = _number(asked, "count", int, 1, MOST_COUNT) or 1
    first = _number(asked, "seed", int, 0, MOST_SEED - count)
    first = secrets.randbelow(MOST_SEED - count) if first is None else first
    return list(range(first, first + count))


def options(asked: Mapping[str, Any], has_form: bool) -> dict[str, Any]:
    """The options of `generate` that a request asks for, but for the seed and the source; raises UsageError.

    Args:
        has_form: whether the model can write a piece and what continues it into one file.
    """
    kind = asked.get("kind", "new")
    if kind not in KINDS:
        raise UsageError(f"There is no such kind of output: expected one of {', '.join(KINDS)}")
    found: dict[str, Any] = {}
    for name, type_of in (NUMBERS | WHOLE).items():
        found[name] = _number(asked, name, type_of, *((0, MOST_BARS) if name == "bars" else (-1e9, 1e9)))
    for name in TEXTS:
        found[name] = _text(asked, name)
    if asked.get("instruments") is not None:
        listed = _names(asked["instruments"])
        if any("," in one for one in listed):
            raise UsageError("One of the instruments has a comma in its name: expected one name each")
        found["instruments"] = ",".join(listed)
    found = {name: value for name, value in found.items() if value is not None and value != ""}
    # These may be lists on the command line, so they are texts.
    found |= {name: _typed(found[name]) for name in ("temperature", "top_p", "min_p") if name in found}
    if kind == "continue" and has_form:
        found["keep"] = True
    return found


def require(options: Mapping[str, Any], kind: str, source: str) -> None:
    """Raises UsageError unless the options go together with each other and with the piece in a file."""
    request_lib.of(request_lib.complete({**options, **_given(kind, source)}))


def with_source(options: Mapping[str, Any], kind: str, source: str, seed: int) -> dict[str, Any]:
    """The options with the seed, and the file or melody that the output begins with; empty: there is none."""
    return {**options, **_given(kind, source), "seed": seed}


def _given(kind: str, source: str) -> dict[str, str]:
    return {{"new": "primer", "continue": "primer"}.get(kind, kind): source} if source else {}


def command(options: Mapping[str, Any], workdir: str) -> str:
    """The command line that composes the same; workdir: of the model, empty: the one that comes with musicjax."""
    words = ["musicjax", "generate", "--num_outputs=1"]
    words += [f"--workdir={workdir}"] if workdir else []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        else:
            words.append(f"--{name}={_typed(value)}")
    return shlex.join(words)


def _typed(value: Any) -> str:
    """A value as a flag takes it, to the last digit."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def melody(text: Any) -> str:
    """A melody as `generate` takes it, from pitches by sixteenths, [60,-2,67], or from names of quarter notes, C4 E4.

    Raises:
        UsageError: it is neither.
    """
    text = _text({"melody": text}, "melody")
    if melody_text.is_melody(text):
        melody_text.entries(text)
        return text
    entries: list[int] = []
    for word in text.replace(",", " ").split()[:MOST_NOTES]:
        match = _NAME.fullmatch(word)
        if match is None:
            raise UsageError(f"{word[:20]!r} is not a note: expected names such as C4 F#4 Bb3")
        letter, sign, octave = match.groups()
        pitch = _PITCH_CLASSES[letter.upper()] + {"": 0, "#": 1, "b": -1}[sign] + 12 * (int(octave) + 1)
        if not 0 <= pitch <= 127:
            raise UsageError(f"{word} is too low or too high: expected C-1 to G9")
        entries += [pitch, *[melody_text.NO_EVENT] * (STEPS_OF_A_NOTE - 1)]
    if not entries:
        raise UsageError("The tune has no notes: expected at least one, such as C4")
    return f"[{','.join(map(str, entries))}]"


def told(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a request that was checked."""
    found = {name: asked[name] for name in TOLD if asked.get(name) is not None}
    if "source" in found:
        found["source"] = _told_source(asked["source"])
    return found


def data_of(asked: Mapping[str, Any]) -> Any:
    """The data set whose piece a request begins with; None: it names none."""
    source = asked.get("source")
    return source.get("data", source.get("upload")) if isinstance(source, dict) else None


def _told_source(source: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a source: the part of it that was checked, but no notes, which may be many."""
    used = next(name for name in SOURCES if name in source)
    kept = {"notes": (), "data": ("data", "piece"), "upload": ("upload", "piece")}.get(used, (used,))
    return {name: source[name] for name in kept if name in source}


def tempo(asked: Mapping[str, Any]) -> float | None:
    """The tempo of notes that come with seconds alone, quarter notes a minute; None: nobody says."""
    return _number(asked, "bpm", float, request_lib.LOWEST_BPM, request_lib.HIGHEST_BPM)


def notes(given: Any) -> list[list[float]]:
    """Rows of notes, [onset, duration, pitch, velocity, program], checked as far as their form goes; the composer
    checks their values.

    Raises:
        UsageError: they are no such rows.
    """
    expected = "These are not notes: expected a list of [onset_seconds, duration_seconds, pitch, velocity, program]"
    if not isinstance(given, list) or not 0 < len(given) <= MOST_NOTES:
        raise UsageError(f"{expected}, 1 to {MOST_NOTES:,} of them")
    rows: list[list[float]] = []
    for row in given:
        if not isinstance(row, list) or len(row) != 5 or not all(_is_number(value) for value in row):
            raise UsageError(expected)
        onset, duration, pitch, velocity, program = row
        whole = all(float(value).is_integer() for value in (pitch, velocity, program))
        in_range = 0 <= pitch <= 127 and 1 <= velocity <= 127 and 0 <= program <= 128
        if not (whole and in_range and 0 <= onset <= 36_000 and 0 <= duration <= 36_000):
            raise UsageError(f"{expected}; times up to ten hours, pitch 0..127, velocity 1..127, program 0..128")
        rows.append([float(onset), float(duration), int(pitch), int(velocity), int(program)])
    return rows


def _names(given: Any) -> list[str]:
    """Names of instruments; raises UsageError if they are no list of texts."""
    expected = "a list of names such as 'piano'"
    arguments.require("instruments", given, list, expected)
    return arguments.list_of("instruments", given, str, expected)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _number(asked: Mapping[str, Any], name: str, kind: type, low: float, high: float) -> Any:
    """A number of a request; None if it is not given."""
    value = asked.get(name)
    if value is None:
        return None
    if kind is float and _is_number(value):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer() and abs(value) < 1e12:
        value = int(value)
    arguments.require_number(name, value, kind, low, high)
    return value


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 500_000 or not value.isprintable():
        raise UsageError(f"The {name} cannot be read: expected a text without line breaks")
    return value.strip()

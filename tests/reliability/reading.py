"""Reliability tests 1 to 5 and 7 to 9: MIDI files, and the notes that the program must give of each.

Files with known answers are those of tests/known_midi.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import musicjax
from benchmarks import edge_cases as edges
from benchmarks.readers import read_mido, read_musicjax
from musicjax.music.midi import MidiError
from musicjax.music.notes import Notes
from tests import known_midi
from tests.known_midi import Known
from tests.reliability import smf
from tests.reliability.ground import REPOSITORY, Case, Ground, Result, Skipped, call, wrong
from tests.reliability.smf import BEAT, SCALE


def read_folder(folder: Path, place: Path | None = None) -> tuple[str, dict[str, dict]]:
    """(what is wrong with how the `data` command ended, {file: its outcome}); its report is in `place` for a while."""
    report = (place or folder.parent) / f"{folder.name} report"
    result = call("data", f"--data={folder}", "--json", f"--workdir={report}", "--config.data.cache=off")
    path = report / "data.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    shutil.rmtree(report, ignore_errors=True)
    fault = wrong(result, 0 if any(line["notes"] for line in lines) else 1)
    return fault or wrong_counts(result, lines), {line["path"]: line for line in lines}


def wrong_counts(result: Result, lines: list[dict]) -> str:
    """What is wrong with the counts of a reading."""
    counts = json.loads(result.out.splitlines()[-1])
    if counts["kept"] + counts["recovered"] + counts["skipped"] != counts["files"] or counts["files"] != len(lines):
        return f"the counts do not add up: {counts}"
    if counts["notes"] != sum(line["notes"] for line in lines):
        return f"the notes do not add up: {counts}"
    silent = [line for line in lines if line["status"] != "kept" and not (line["code"] and line["detail"])]
    return f"no reason is given: {silent[0]}" if silent else ""


def read_files(ground: Ground, files: dict[str, bytes]) -> Iterator[tuple[str, dict | None, Notes | None, str]]:
    """Writes files and reads them all at once, sorted by name: (name, outcome, notes or None, what is wrong)."""
    folder = ground.place(f"music{ground.random.randrange(10**9)}")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    fault, outcomes = read_folder(folder)
    for name in files:
        outcome = outcomes.get(name)
        notes, missing, several = None, "" if outcome else "no outcome", False
        try:
            notes = musicjax.read_midi(folder / name)
        except MidiError as error:
            several = error.code == "several_pieces"  # the report has its pieces, read_midi reads one piece only
        except OSError:
            pass
        except Exception as error:
            missing = f"read_midi raised {type(error).__name__}: {error}"
        if outcome and not several and (outcome["notes"] != (0 if notes is None else len(notes))):
            missing = f"{outcome['notes']} notes in the report, {notes and len(notes)} from read_midi"
        yield name, outcome, notes, fault or missing
    shutil.rmtree(folder)


def known(notes: Notes | None, pitches: tuple[int, ...] | list[int], seconds: list[float] | None = None) -> str:
    """What is wrong with notes that should be these, at these seconds; half a second each if none are given."""
    if notes is None:
        return "skipped, though it holds notes"
    if notes.pitch.tolist() != list(pitches):
        return f"pitches {notes.pitch.tolist()[:10]}, expected {list(pitches)[:10]}"
    expected = np.array(seconds if seconds is not None else np.arange(len(pitches)) / 2, float)
    return "" if np.allclose(notes.onset, expected) else f"onsets {notes.onset.tolist()[:10]}, expected {expected[:10]}"


def _known_files(ground: Ground, table: dict[str, Known]) -> Iterator[Case]:
    """Each file of a table with its notes and, in the report, what was mended."""
    names = {f"{number:02d}.mid": name for number, name in enumerate(table)}
    files = {file: table[name].content for file, name in names.items()}
    for file, outcome, notes, fault in read_files(ground, files):
        wanted = table[names[file]]
        fault = fault or known(notes, wanted.pitch, wanted.onset)
        if not fault and notes is not None and not np.allclose(notes.duration, wanted.duration):
            fault = f"durations {notes.duration.tolist()}"
        if not fault and outcome and outcome["code"] != (wanted.code or "kept"):
            fault = f"code {outcome['code']}, expected {wanted.code or 'kept'}"
        yield names[file], fault


def no_midi(ground: Ground) -> Iterator[Case]:
    """Empty and non-MIDI files: each skipped with a reason"""
    names = {f"{number:02d}.mid": name for number, name in enumerate(known_midi.NOTHING)}
    files = {file: known_midi.NOTHING[name][0] for file, name in names.items()}
    noise = range(ground.size(50, 5))
    files |= {f"noise{k}.mid": ground.random.randbytes(ground.random.randint(1, 3000)) for k in noise}
    for file, outcome, _, fault in read_files(ground, files):
        status, code = (outcome["status"], outcome["code"]) if outcome else ("", "")
        wanted = known_midi.NOTHING[names[file]][1] if file in names else code
        if names.get(file) == "a zip archive":  # a folder has archives too, of which this one is damaged
            wanted = "bad_archive"
        yield names.get(file, file), fault or ("" if (status, code) == ("skipped", wanted) else f"{status} {code}")


def truncated(ground: Ground) -> Iterator[Case]:
    """Truncation at 100 offsets: what is read is the beginning of the music"""
    whole = smf.file(smf.scale(), smf.scale(pitches=tuple(p + 12 for p in SCALE)))
    source = sorted(ground.clips.iterdir())[0]
    for content in (whole, source.read_bytes()):
        offsets = sorted(ground.random.sample(range(len(content)), ground.size(50, 20)))
        (ground.folder / "whole.mid").write_bytes(content)
        every = _begun(musicjax.read_midi(ground.folder / "whole.mid"))
        most, total = 0, every.total()
        files = {f"{offset:06d}.mid": content[:offset] for offset in offsets}
        for name, outcome, notes, fault in read_files(ground, files):
            found, cut = Counter() if notes is None else _begun(notes), int(name[:-4])
            if not fault and not found <= every:
                fault = f"notes that are not in the whole: {list((found - every).items())[:3]}"
            if not fault and outcome and outcome["status"] == "kept":
                fault = "kept, with nothing said of the cut"
            # Notes are spread evenly over the bytes, and a longer beginning never has fewer.
            if not fault and found.total() < max(most, total * (cut / len(content) - 0.15)):
                fault = f"{found.total()} of {total} notes, {most} in a shorter beginning"
            most = max(most, found.total())
            yield f"cut at {cut}", fault


def _begun(notes: Notes) -> Counter:
    """How often a note of each pitch begins at each time."""
    return Counter(zip(notes.pitch.tolist(), notes.onset.round(6).tolist(), strict=True))


def bad_bytes(ground: Ground) -> Iterator[Case]:
    """Bad bytes in the middle: the notes before them stay right"""
    good = smf.file(smf.scale())
    first = good.find(b"MTrk") + 8
    files, before = {}, {}
    for number in range(ground.size(90, 9)):
        place = ground.random.randrange(first, len(good) - 4)
        byte = bytes([ground.random.choice([0x80, 0x9F, 0xF4, 0xF5, 0xF9, 0xFD, 0xFF, 0xFE, 0x00, 0x7F])])
        end = place + (number % 3 > 0)
        name = f"{('insert', 'change', 'remove')[number % 3]} {byte.hex()} at {place} {number}.mid"
        content = good[:place] + (b"" if number % 3 == 2 else byte) + good[end:]
        files[name], before[name] = smf.head() + smf.chunk(b"MTrk", content[first:]), (place - first) // 10
    for name, _, notes, fault in read_files(ground, files):
        if not fault and notes is None and before[name]:
            fault = "skipped, though it holds notes"
        if not fault and notes is not None:
            count = min(before[name], len(notes))
            fault = known(notes[np.arange(len(notes)) < count], SCALE[:count]) if count else ""
        yield name, fault


def containers(ground: Ground) -> Iterator[Case]:
    """Container faults: alien chunks, wrong counts and lengths, RIFF, junk before and after"""
    yield from _known_files(ground, known_midi.CONTAINERS)
    two = smf.file(smf.scale(), smf.scale(), kind=2)
    for name, outcome, _, fault in read_files(ground, {"type 2.mid": two}):
        given = outcome["notes"] if outcome else 0
        yield name, fault or ("" if given == 2 * len(SCALE) else f"{given} notes of two pieces")
    small = {"name in small letters.mid": smf.file(smf.scale()).replace(b"MTrk", b"mtrk")}
    for name, _, _, fault in read_files(ground, small):
        yield name, fault


def time_bases(ground: Ground) -> Iterator[Case]:
    """Time base faults: division 0 and SMPTE, tempo 0, tempo on any track"""
    yield from _known_files(ground, known_midi.TIMES)
    slow = b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    tracks = {"first": (slow, smf.scale()), "last": (smf.scale(), slow)}
    files = {f"tempo on the {name} track.mid": smf.file(*both) for name, both in tracks.items()}
    for name, _, notes, fault in read_files(ground, files):
        yield name, fault or known(notes, SCALE, [float(k) for k in range(8)])
    divisions = [ground.random.randrange(0x10000) for _ in range(ground.size(100, 10))]
    files = {f"division {number:#06x}.mid": smf.file(smf.scale(), division=number) for number in divisions}
    for name, _, notes, fault in read_files(ground, files):
        if not fault and notes is not None and not (np.isfinite(notes.onset).all() and notes.onset.min() >= 0):
            fault = f"onsets {notes.onset.tolist()}"
        yield name, fault


def unknown_meta(ground: Ground) -> Iterator[Case]:
    """Unknown meta events keep their time"""
    types = [kind for kind in range(0x80) if kind not in (0x2F, 0x51)]
    files = {}
    for kind in types if not ground.quick else types[::12]:
        body = ground.random.randbytes(ground.random.randint(0, 20))
        # Half of each beat passes before the event, half after.
        event = smf.vlq(BEAT) + bytes([0xFF, kind]) + smf.vlq(len(body)) + body
        files[f"{kind:02x}.mid"] = smf.file(smf.scale(event))
    for name, _, notes, fault in read_files(ground, files):
        yield f"type {name}", fault or known(notes, SCALE, [k + 0.5 for k in range(8)])


def note_semantics(ground: Ground) -> Iterator[Case]:
    """Note semantics: velocity 0, overlaps, hanging notes, running status, tempo changes"""
    yield from _known_files(ground, known_midi.MEANINGS | known_midi.TRACKS)


def edge_cases(ground: Ground) -> Iterator[Case]:
    """The files of edge_cases with their known answers"""
    shared = Path(os.environ.get("MUSICJAX_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "edge_cases"
    if not shared.is_dir():
        raise Skipped(f"{shared} is absent; name its place with MUSICJAX_SHARED_DATA")
    fault, outcomes = read_folder(shared, ground.folder)
    # What mido reads is the answer to some of them, which takes seconds.
    wrong_notes = edges.wrong(shared, read_musicjax, read_musicjax if ground.quick else read_mido)
    for name, outcome in outcomes.items():
        wanted = EDGE_CODES.get(name.removeprefix("test-").removesuffix(".mid"), outcome["code"])
        yield name, fault or wrong_notes.get(name, "" if outcome["code"] == wanted else f"code {outcome['code']}")
    statuses = Counter(outcome["status"] for outcome in outcomes.values())
    yield "all of them", "" if statuses == EDGE_STATUSES else f"{dict(statuses)}"


EDGE_STATUSES = {"kept": 41, "recovered": 17, "skipped": 14}
EDGE_CODES = {
    "empty-file": "empty",
    "not-a-midi-file": "no_header_chunk",
    "empty": "no_notes",
    "corrupt-file-missing-byte": "not_enough_bytes",
    "corrupt-file-extra-byte": "extra_bytes",
    "non-midi-track": "unknown_chunk_id",
    "illegal-message-f4": "unknown_channel_event",
}

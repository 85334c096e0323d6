"""Trials 1 to 5 and 7 to 9: one MIDI file at a time, and the notes that it must give."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import musicjax
from musicjax.music.midi import MidiError
from musicjax.music.notes import Notes
from tests.reliability import smf
from tests.reliability.ground import REPOSITORY, Case, Ground, Result, Skipped, call, wrong
from tests.reliability.smf import BEAT, SCALE


def read_folder(folder: Path) -> tuple[str, dict[str, dict]]:
    """(what is wrong with how the `data` command ended, {file: its outcome})."""
    report = folder.parent / f"{folder.name} report"
    told = call("data", f"--data={folder}", "--json", f"--workdir={report}", "--config.data.cache=off")
    path = report / "data.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    shutil.rmtree(report, ignore_errors=True)
    fault = wrong(told, 0 if any(line["notes"] for line in lines) else 1)
    return fault or wrong_counts(told, lines), {line["path"]: line for line in lines}


def wrong_counts(told: Result, lines: list[dict]) -> str:
    """What is wrong with the counts of a reading."""
    counts = json.loads(told.out.splitlines()[-1])
    if counts["kept"] + counts["recovered"] + counts["skipped"] != counts["files"] or counts["files"] != len(lines):
        return f"the counts do not add up: {counts}"
    if counts["notes"] != sum(line["notes"] for line in lines):
        return f"the notes do not add up: {counts}"
    silent = [line for line in lines if line["status"] != "kept" and not (line["code"] and line["detail"])]
    return f"no reason is given: {silent[0]}" if silent else ""


def read_files(ground: Ground, files: dict[str, bytes]) -> Iterator[tuple[str, dict | None, Notes | None, str]]:
    """Writes files and reads them all at once: (name, outcome, notes or None, what is wrong) of each."""
    folder = ground.place(f"music{ground.random.randrange(10**9)}")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    fault, outcomes = read_folder(folder)
    for name in files:
        outcome = outcomes.get(name)
        notes, told, several = None, "" if outcome else "no outcome", False
        try:
            notes = musicjax.read_midi(folder / name)
        except MidiError as error:
            several = error.code == "several_pieces"  # the report has its pieces, read_midi reads one piece only
        except OSError:
            pass
        except Exception as error:
            told = f"read_midi raised {type(error).__name__}: {error}"
        if outcome and not several and (outcome["notes"] != (0 if notes is None else len(notes))):
            told = f"{outcome['notes']} notes in the report, {notes and len(notes)} from read_midi"
        yield name, outcome, notes, fault or told
    shutil.rmtree(folder)


def known(notes: Notes | None, pitches: tuple[int, ...] | list[int], beats: list[float] | None = None) -> str:
    """What is wrong with notes that should be these, at these beats of half a second; a beat each if not given."""
    if notes is None:
        return "skipped, though it holds notes"
    if notes.pitch.tolist() != list(pitches):
        return f"pitches {notes.pitch.tolist()[:10]}, expected {list(pitches)[:10]}"
    expected = np.array(beats if beats is not None else range(len(pitches)), float) / 2
    return "" if np.allclose(notes.onset, expected) else f"onsets {notes.onset.tolist()[:10]}, expected {expected[:10]}"


def no_midi(ground: Ground) -> Iterator[Case]:
    """Empty and non-MIDI files: each skipped with a reason"""
    files = {
        "empty": b"",
        "one byte": b"M",
        "tag": b"MThd",
        "text": b"MThd is what a MIDI file starts with.",
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "zip": b"PK\x03\x04" + bytes(100),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "zeros": bytes(1000),
        "head only": smf.head(),
        "no events": smf.file(b""),
    }
    files |= {f"noise{k}": ground.random.randbytes(ground.random.randint(1, 3000)) for k in range(ground.size(50, 5))}
    for name, outcome, _, fault in read_files(ground, {f"{name}.mid": content for name, content in files.items()}):
        status = outcome["status"] if outcome else ""
        yield name, fault or ("" if status == "skipped" else f"status {status}")


def truncated(ground: Ground) -> Iterator[Case]:
    """Truncation at 100 offsets: what is read is the beginning of the music"""
    whole = smf.file(smf.scale(), smf.scale(pitches=tuple(p + 12 for p in SCALE)))
    source = sorted(ground.clips.iterdir())[0]
    for content, count in ((whole, ground.size(50, 6)), (source.read_bytes(), ground.size(50, 6))):
        offsets = sorted(ground.random.sample(range(14, len(content)), count))
        (ground.folder / "whole.mid").write_bytes(content)
        every = musicjax.read_midi(ground.folder / "whole.mid")
        there = set(zip(every.pitch.tolist(), every.onset.round(6).tolist(), strict=True))
        files = {f"{offset}.mid": content[:offset] for offset in offsets}
        for name, _, notes, fault in read_files(ground, files):
            if not fault and notes is not None:
                found = set(zip(notes.pitch.tolist(), notes.onset.round(6).tolist(), strict=True))
                fault = "" if found <= there else f"notes that are not in the whole: {sorted(found - there)[:3]}"
            yield f"cut at {name}", fault or _missing(content, int(name[:-4]), notes)


def _missing(content: bytes, offset: int, notes: Notes | None) -> str:
    """Complete notes before the cut must be read by a reader that keeps what is there; of the two scales they can
    be counted, as a note is nine bytes."""
    first = content.find(b"MTrk") + 8
    if content[first : first + 2] != b"\x00\x90":
        return ""
    complete = min((offset - first) // 9, len(SCALE))
    return "" if complete < 1 or (notes is not None and len(notes) >= complete) else f"{complete} notes are there"


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
    """Container faults: alien chunks, wrong counts and lengths, RIFF, junk before and behind"""
    events, alien = smf.scale(), smf.chunk(b"XFIH", b"alien")
    one = smf.track(events)
    right = {
        "as it is": smf.file(events),
        "type 0": smf.file(events, kind=0),
        "alien chunk first": smf.head() + alien + one,
        "alien chunk last": smf.head() + one + alien,
        "alien chunk counted": smf.head(tracks=2) + alien + one,
        "longer head": smf.head(length=8, more=b"ab") + one,
        "head length huge": smf.head(length=0xFFFFFFFF) + one,
        "head length 0": smf.head(length=0) + one,
        "no end of track": smf.head() + smf.chunk(b"MTrk", events),
        "events behind the end": smf.head() + smf.chunk(b"MTrk", events + smf.END + smf.scale()),
        "track too long": smf.head() + smf.track(events, length=len(events) + 50),
        "track length huge": smf.head() + smf.track(events, length=0xFFFFFFFF),
        "garbage behind": smf.file(events) + b"\x00\xff garbage",
        "junk before": b"junk" * 20 + smf.file(events),
        "RIFF": smf.riff(smf.file(events)),
        "empty track more": smf.head(tracks=2) + one + smf.track(b""),
    }
    right |= {f"count {count:#x}": smf.head(tracks=count) + one for count in (0, 2, 7, 0x7FFF, 0x8000, 0xFFFF)}
    for name, _, notes, fault in read_files(ground, {f"{name}.mid": content for name, content in right.items()}):
        yield name, fault or known(notes, SCALE)
    loose = {
        "type 2": smf.file(events, events, kind=2),
        "type 3": smf.file(events, kind=3),
        "type 0xFFFF": smf.file(events, kind=0xFFFF),
        "track too short": smf.head() + smf.track(events, length=25),
        "track length 0": smf.head() + smf.track(events, length=0),
        "tag in small letters": smf.head() + one.replace(b"MTrk", b"mtrk"),
        "no head": one,
    }
    for name, _, _, fault in read_files(ground, {f"{name}.mid": content for name, content in loose.items()}):
        yield name, fault


def time_bases(ground: Ground) -> Iterator[Case]:
    """Time base faults: division 0 and SMPTE, tempo 0, tempo on any track"""
    tempo = b"\x00\xff\x51\x03"
    tempi = {"default": b"", "tempo 0": tempo + b"\x00\x00\x00", "short tempo": b"\x00\xff\x51\x01\x07"}
    for name, event in tempi.items():
        for _, _, notes, fault in read_files(ground, {"a.mid": smf.file(event + smf.scale())}):
            yield name, fault or known(notes, SCALE)
    slow = tempo + (1_000_000).to_bytes(3, "big")
    for name, tracks in (("first track", (slow, smf.scale())), ("last track", (smf.scale(), slow))):
        for _, _, notes, fault in read_files(ground, {"a.mid": smf.file(*tracks)}):
            yield f"tempo on the {name}", fault or known(notes, SCALE, [2.0 * k for k in range(8)])
    for division in (1, 96, 0x7FFF):
        content = smf.file(smf.scale(beat=division), division=division)
        for _, _, notes, fault in read_files(ground, {"a.mid": content}):
            yield f"division {division}", fault or known(notes, SCALE)
    for division in (0, 0xE728, 0xE250, 0xE364, 0xFF00, 0x8000, 0xFFFF):
        for _, _, notes, fault in read_files(ground, {"a.mid": smf.file(smf.scale(), division=division)}):
            if not fault and notes is not None and not (np.isfinite(notes.onset).all() and notes.onset.min() >= 0):
                fault = f"onsets {notes.onset.tolist()}"
            yield f"division {division:#x}", fault


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
        yield f"type {name}", fault or known(notes, SCALE, [2.0 * k + 1 for k in range(8)])


def note_semantics(ground: Ground) -> Iterator[Case]:
    """Note semantics: velocity 0, overlaps, hanging notes, running status, tempo changes"""
    on, off = bytes([0x90, 60, 90]), bytes([0x80, 60, 0])
    beat = smf.vlq(BEAT)
    sysex, meta = b"\x00\xf0\x03\x01\x02\xf7", b"\x00\xff\x01\x02hi"
    running = bytes([60, 90]) + beat + bytes([60, 0])
    double = b"\x00\xff\x51\x03" + (250_000).to_bytes(3, "big")
    half = b"\x00\xff\x51\x03" + (500_000).to_bytes(3, "big")
    # events, pitches, onsets in beats, durations in beats
    files = {
        "velocity 0 ends": (b"\x00" + on + beat + bytes([0x90, 60, 0]), [60], [0], [1]),
        "first in, first out": (b"\x00" + on + beat + on + beat + off + beat + off, [60, 60], [0, 1], [2, 2]),
        "hanging": (b"\x00" + on + beat + b"\xb0\x07\x40", [60], [0], [1]),
        "off without on": (b"\x00" + off + b"\x00" + on + beat + off, [60], [0], [1]),
        "running status": (b"\x00\x90" + running + b"\x00" + running, [60, 60], [0, 1], [1, 1]),
        "running over sysex": (b"\x00\x90" + running + sysex + b"\x00" + running, [60, 60], [0, 1], [1, 1]),
        "running over meta": (b"\x00\x90" + running + meta + b"\x00" + running, [60, 60], [0, 1], [1, 1]),
        "two channels": (b"\x00" + on + b"\x00\x91\x3c\x5a" + beat + off + beat + b"\x81\x3c\x00",
                         [60, 60], [0, 0], [1, 2]),
        "tempo changes": (b"\x00" + on + beat + off + double + b"\x00" + on + beat + off + half + b"\x00" + on + beat
                          + off, [60] * 3, [0, 1, 1.5], [1, 0.5, 1]),
        "key signature that is none": (b"\x00\xff\x59\x02\x40\x07" + b"\x00" + on + beat + off, [60], [0], [1]),
    }  # fmt: skip
    content = {f"{name}.mid": smf.file(events) for name, (events, *_) in files.items()}
    for name, _, notes, fault in read_files(ground, content):
        _, pitches, onsets, durations = files[name[:-4]]
        fault = fault or known(notes, pitches, onsets)
        if not fault and notes is not None and not np.allclose(notes.duration, np.array(durations) / 2):
            fault = f"durations {notes.duration.tolist()}"
        yield name, fault


def edge_cases(ground: Ground) -> Iterator[Case]:
    """The files of edge_cases with their known answers"""
    shared = Path(os.environ.get("MUSICJAX_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "edge_cases"
    if not shared.is_dir():
        raise Skipped(f"{shared} is absent; name its place with MUSICJAX_SHARED_DATA")
    files = {path.name: path.read_bytes() for path in sorted(shared.glob("*.mid"))}
    gives_scale = ("corrupt-file-missing", "non-midi-track", "illegal-message", "running-status", "vlq", "c-major")
    for name, outcome, notes, fault in read_files(ground, files):
        if not fault and name in ("test-empty-file.mid", "test-not-a-midi-file.mid", "test-empty.mid"):
            fault = "" if outcome and outcome["status"] == "skipped" and notes is None else f"not skipped: {outcome}"
        elif not fault and name.removeprefix("test-").startswith(gives_scale):
            if notes is None:
                fault = f"skipped: {outcome}"
            elif not set(SCALE) <= set(notes.pitch.tolist()) or len(notes) % len(SCALE):
                fault = f"pitches {notes.pitch.tolist()[:12]}"
        yield name, fault

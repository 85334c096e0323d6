"""Reliability tests 6 and 10: files that were made to harm, and files that were harmed at random."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.readers import read_mido
from musicjax.music.notes import Notes
from tests.known_midi import GOOD, NOTES
from tests.midi_dumps import from_hex
from tests.reliability import smf
from tests.reliability.ground import REPOSITORY, Case, Ground, environment
from tests.reliability.reading import read_files, read_folder
from tests.reliability.smf import SCALE

SECONDS, GIGABYTES = 10, 2
# Codes of files that the reader had no answer to. A slow machine may take longer than it may for one of the bombs.
HELPLESS = ("reader_error", "reader_died", "memory_limit")


def _bombs() -> dict[str, tuple[bytes, str]]:
    """Files that ask for too much, and what becomes of each."""
    many, last = bytes([0, 0x90, 60, 90]), "recovered"
    one_pitch = from_hex("00 90 3c 40") + from_hex("01 3c 40") * 1_000_000
    return {
        "length without end": (smf.head() + smf.chunk(b"MTrk", b"\x80" * 2_000_000), "skipped"),
        "2 MB of a number after the notes": (GOOD + smf.chunk(b"MTrk", b"\x80" * 2_000_000), last),
        "head of 4 GiB": (smf.head(length=0xFFFFFFFF, more=bytes(1000)), "skipped"),
        "track of 4 GiB": (smf.head() + smf.track(smf.scale(), length=0xFFFFFFFF), last),
        "sysex of 256 MiB": (smf.head() + smf.chunk(b"MTrk", b"\x00\xf0\xff\xff\xff\x7f" + bytes(100)), "skipped"),
        "meta event of 256 MiB": (smf.head() + smf.chunk(b"MTrk", from_hex(f"{NOTES} 00 ff 01 ff ff ff 7f 61")), last),
        "500,000 notes that never end": (smf.file(many * 500_000), "kept"),
        "a million notes of one pitch": (
            smf.head() + smf.chunk(b"MTrk", one_pitch),
            last,
        ),
        "a note after 4,000 years": (
            smf.file((b"\xff\xff\xff\x7f\xb0\x07\x40" * 1000) + many, division=1),
            last,
        ),
        "65,535 tracks": (smf.head(tracks=0xFFFF) + smf.track(b"") * 0xFFFF, "skipped"),
        "100,000 chunks": (smf.head() + smf.chunk(b"MTrk", b"") * 100_000, "skipped"),
        "20 MB of nothing": (smf.head() + bytes(20_000_000), "skipped"),
        "20 MB of nothing after the notes": (GOOD + bytes(20_000_000), last),
        "40 MB": (GOOD + bytes(40_000_000), "skipped"),
        "20 MB of running status": (
            smf.head() + smf.chunk(b"MTrk", b"\x00\x90" + bytes([60, 90, 0]) * 6_600_000),
            "skipped",
        ),
        "3 million meta events": (smf.head() + smf.chunk(b"MTrk", from_hex("00 ff 01 00") * 3_000_000), "skipped"),
        "archive of 330 MB in 330 KB": (_tar_gz([("a.mid", bytes(33_000_000))]) * 10, "skipped"),
        "archive of 330 MB in an archive": (_zip({"a.zip": _zip({"b.mid": bytes(33_000_000)})}, 10), "skipped"),
        "archive of 50,000 empty files": (_tar_gz([("a.txt", b"")] * 50_000), "skipped"),
        "score of 100 MB": (
            _zip({CONTAINER: NAMES_SCORE, "s.xml": b"<score-partwise>" + bytes(100_000_000)}),
            "skipped",
        ),
        "a score of entities in entities": (_laughs(), "skipped"),
        "a score with elements 2 million deep": (b"<score-partwise>" + b"<part>" * 2_000_000, "skipped"),
    }


def _tar_gz(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _zip(members: dict[str, bytes], copies: int = 1) -> bytes:
    """A zip archive; copies: of each member, under names of their own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            for copy in range(copies):
                archive.writestr(f"{copy or ''}{name}", content)
    return buffer.getvalue()


def _laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(30))
    return f'<!DOCTYPE score-partwise [<!ENTITY l0 "ha">{entities}]><score-partwise>&l30;</score-partwise>'.encode()


CONTAINER, NAMES_SCORE = "META-INF/container.xml", b'<c><rootfile full-path="s.xml"/></c>'
QUICK = (
    *("length without end", "head of 4 GiB", "track of 4 GiB", "40 MB", "2 MB of a number after the notes"),
    *("archive of 330 MB in 330 KB", "a score of entities in entities"),
)


def bombs(ground: Ground) -> Iterator[Case]:
    """Resource bombs: 10 seconds and 2 GB a file"""
    good = ground.place("good")
    for name in ("good.mid", "another.mid"):
        (good / name).write_bytes(smf.file(smf.scale(), kind=len(name) % 2))
    fault, _, usual = _measured(good)
    yield "good files", fault
    files = _bombs()
    for names in [QUICK] if ground.quick else [[name] for name in files]:
        folder = ground.place(names[0])
        for name in names:
            (folder / f"{name}.mid").write_bytes(files[name][0])
        (folder / "good.mid").write_bytes(smf.file(smf.scale()))
        fault, outcomes, seconds = _measured(folder)
        late = seconds > usual + SECONDS + 1
        for name in names:
            outcome = outcomes.get(f"{name}.mid", {})
            if not fault and (outcome.get("status") != files[name][1] or outcome.get("code") in HELPLESS):
                fault = f"expected {files[name][1]}: {outcome}"
            yield name, fault or (f"{seconds:.1f} s, where good files take {usual:.1f} s" if late else "")
        shutil.rmtree(folder)


def _measured(folder: Path) -> tuple[str, dict[str, dict], float]:
    """What is wrong with how a process of its own reads a folder that holds good.mid; the outcomes; its seconds."""
    report = folder.parent / "report"
    flags = ("--json", f"--workdir={report}", "--config.data.cache=off", "--config.data.workers=1")
    command = [sys.executable, "-m", "musicjax.main", "data", f"--data={folder}", *flags]
    started = time.monotonic()
    with (folder.parent / "out").open("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment(), cwd=REPOSITORY)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    seconds, gigabytes = time.monotonic() - started, _largest(usage) / 2**20
    if process.returncode or "Traceback" in text:
        return f"status {process.returncode}: {text[-300:]}", {}, seconds
    counts = json.loads(next(line for line in reversed(text.splitlines()) if line.startswith("{")))
    lines = [json.loads(line) for line in (report / "data.jsonl").read_text().splitlines()]
    outcomes = {line["path"]: line for line in lines}
    if counts["kept"] + counts["recovered"] + counts["skipped"] != len(list(folder.iterdir())):
        return f"the counts do not add up: {counts}", outcomes, seconds
    if outcomes["good.mid"]["notes"] != len(SCALE):
        return f"the good file beside it is missing: {counts}", outcomes, seconds
    return f"{gigabytes:.2f} GB" if gigabytes > GIGABYTES else "", outcomes, seconds


def _largest(usage: resource.struct_rusage) -> int:
    """KiB of the largest of a process and its children."""
    return usage.ru_maxrss


def fuzzed(ground: Ground) -> Iterator[Case]:
    """Byte fuzz: mutants of good files, each with one outcome"""
    sources = [path.read_bytes() for path in sorted(ground.clips.iterdir())]
    sources += [smf.file(smf.scale(), smf.scale())] * len(sources)
    count, skipped = ground.size(1000, 60), 0
    (ground.folder / "mutant").mkdir()
    for start in range(0, count, 250):
        some = range(start, min(start + 250, count))
        files = {f"{k:04d}.mid": _mutant(ground.random, ground.random.choice(sources)) for k in some}
        for name, outcome, notes, fault in read_files(ground, files):
            if not fault and outcome and outcome["code"] in (*HELPLESS, "time_limit"):
                fault = f"{outcome['code']}: {outcome['detail']}"
            if not fault and notes is not None:
                finite = np.isfinite(notes.onset).all() and (notes.onset >= 0).all() and (notes.duration >= 0).all()
                within = (notes.pitch >= 0).all() and (notes.pitch <= 127).all() and (notes.velocity > 0).all()
                fault = "" if finite and within else f"notes out of range: {outcome}"
            if not fault and notes is not None and outcome and outcome["status"] == "kept":
                fault = _unlike_mido(ground.folder / "mutant" / name, files[name], notes)
            skipped += notes is None
            yield name, fault
    yield "nearly all are read", "" if skipped <= count / 5 else f"{skipped} of {count} were not"
    yield from _fuzzed_others(ground)


def _fuzzed_others(ground: Ground) -> Iterator[Case]:
    """Mutants of scores and archives: each file and each file in one has an outcome."""
    note = b"<note><pitch><step>C</step><octave>4</octave></pitch><duration>1</duration></note>"
    score = b"<score-partwise><part>" + b"<measure>" + note * 4 + b"</measure></part></score-partwise>"
    songs = [(f"{k}.mid", smf.file(smf.scale())) for k in range(3)]
    sources = {"musicxml": score, "mxl": _zip({CONTAINER: NAMES_SCORE, "s.xml": score}), "zip": _zip(dict(songs))}
    sources |= {"tar.gz": _tar_gz(songs), "tar": gzip.decompress(_tar_gz(songs))}
    folder = ground.place("others")
    names = [f"{k:03d}.{suffix}" for suffix in sources for k in range(ground.size(40, 4))]
    for name in names:
        (folder / name).write_bytes(_mutant(ground.random, sources[name.partition(".")[2]]))
    (folder / "good.mid").write_bytes(GOOD)
    fault, outcomes = read_folder(folder)
    for name in names:
        own = [outcome for path, outcome in outcomes.items() if path.split("/")[0] == name]
        helpless = [outcome["code"] for outcome in own if outcome["code"] in (*HELPLESS, "time_limit")]
        yield name, fault or ("" if own and not helpless else f"{helpless or 'no outcome'}")


def _unlike_mido(path: Path, content: bytes, notes: Notes) -> str:
    """What is wrong with the notes of a file that was called good, where mido reads it too."""
    path.write_bytes(content)
    try:
        pieces = read_mido(path)
    except Exception:  # mido gives up on it, for one of many reasons
        return ""
    pitches = sorted(pitch for piece in pieces for _, pitch in piece)
    return "" if pitches == sorted(notes.pitch.tolist()) else "kept, with other notes than mido reads"


def _mutant(numbers: random.Random, content: bytes) -> bytes:
    """A file with a few bytes changed, removed, inserted, repeated or moved."""
    changed = bytearray(content)
    for _ in range(numbers.choice([1, 1, 2, 5, 50])):
        place, length = numbers.randrange(len(changed)), numbers.choice([1, 1, 2, 4, 30])
        part = changed[place : place + length]
        new = numbers.choice(
            [numbers.randbytes(length), b"", part + part, bytes(length), b"\xff" * length, bytes(reversed(part))]
        )
        changed[place : place + length] = new
        if not changed:
            changed = bytearray(b"M")
    return bytes(changed)

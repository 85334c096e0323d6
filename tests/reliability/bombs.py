"""Trials 6 and 10: files that were made to harm, and files that were harmed at random."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.reliability import smf
from tests.reliability.ground import REPOSITORY, Case, Ground, environment
from tests.reliability.reading import read_files
from tests.reliability.smf import SCALE

SECONDS, GIGABYTES = 10, 2


def bombs(ground: Ground) -> Iterator[Case]:
    """Resource bombs: 10 seconds and 2 GB a file"""
    many = bytes([0, 0x90, 60, 90])
    files = {
        "length without end": smf.head() + smf.chunk(b"MTrk", b"\x80" * 2_000_000),
        "head of 4 GiB": smf.head(length=0xFFFFFFFF, more=bytes(1000)),
        "track of 4 GiB": smf.head() + smf.track(smf.scale(), length=0xFFFFFFFF),
        "sysex of 256 MiB": smf.head() + smf.chunk(b"MTrk", b"\x00\xf0\xff\xff\xff\x7f" + bytes(100)),
        "500,000 notes that never end": smf.file(many * 500_000),
        "a note after 4,000 years": smf.file((b"\xff\xff\xff\x7f\xb0\x07\x40" * 1000) + many, division=1),
        "65,535 tracks": smf.head(tracks=0xFFFF) + smf.track(b"") * 0xFFFF,
        "20 MB of nothing": smf.head() + bytes(20_000_000),
        "20 MB of running status": smf.head() + smf.chunk(b"MTrk", b"\x00\x90" + bytes([60, 90, 0]) * 6_600_000),
    }
    good = ground.place("good")
    for name in ("good.mid", "another.mid"):
        (good / name).write_bytes(smf.file(smf.scale(), kind=len(name) % 2))
    fault, usual = _measured(good)
    yield "good files", fault
    names = list(files) if not ground.quick else list(files)[1:4]
    for name in names:
        folder = ground.place(name)
        (folder / "bomb.mid").write_bytes(files[name])
        (folder / "good.mid").write_bytes(smf.file(smf.scale()))
        fault, seconds = _measured(folder)
        late = seconds > usual + SECONDS + 1
        yield name, fault or (f"{seconds:.1f} s, where good files take {usual:.1f} s" if late else "")
        shutil.rmtree(folder)


def _measured(folder: Path) -> tuple[str, float]:
    """What is wrong with how a folder of two files, one of them good, is read in a process of its own; its seconds."""
    argv = ("data", f"--data={folder}", "--json", "--config.data.cache=off", "--config.data.workers=1")
    command = [sys.executable, "-m", "musicjax.main", *argv]
    started = time.monotonic()
    out_path = folder.parent / "out"
    with out_path.open("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment(), cwd=REPOSITORY)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    seconds, gigabytes = time.monotonic() - started, _largest(usage) / 2**20
    if process.returncode or "Traceback" in text:
        return f"status {process.returncode}: {text[-300:]}", seconds
    counts = json.loads(next(line for line in reversed(text.splitlines()) if line.startswith("{")))
    if counts["kept"] + counts["recovered"] + counts["skipped"] != 2 or counts["notes"] < len(SCALE):
        return f"the good file beside it is missing: {counts}", seconds
    return f"{gigabytes:.2f} GB" if gigabytes > GIGABYTES else "", seconds


def _largest(usage: resource.struct_rusage) -> int:
    """KiB of the largest of a process and its children."""
    return usage.ru_maxrss


def fuzzed(ground: Ground) -> Iterator[Case]:
    """Byte fuzz: mutants of good files, each with one outcome"""
    sources = [path.read_bytes() for path in sorted(ground.clips.iterdir())]
    sources += [smf.file(smf.scale(), smf.scale())] * len(sources)
    count = ground.size(1000, 60)
    for start in range(0, count, 250):
        some = range(start, min(start + 250, count))
        files = {f"{k:04d}.mid": _mutant(ground.random, ground.random.choice(sources)) for k in some}
        for name, outcome, notes, fault in read_files(ground, files):
            if not fault and notes is not None:
                finite = np.isfinite(notes.onset).all() and (notes.onset >= 0).all() and (notes.duration >= 0).all()
                within = (notes.pitch >= 0).all() and (notes.pitch <= 127).all() and (notes.velocity > 0).all()
                fault = "" if finite and within else f"notes out of range: {outcome}"
            yield name, fault


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

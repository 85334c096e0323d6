"""Trials 11 to 13: names, shapes and emptiness of folders."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.reliability import smf
from tests.reliability.bombs import SECONDS
from tests.reliability.ground import REPOSITORY, Case, Ground, call, wrong
from tests.reliability.reading import read_folder


def file_names(ground: Ground) -> Iterator[Case]:
    """File names: any bytes, control characters, names that try to leave the folder"""
    folder, content = ground.place("names"), sorted(ground.clips.iterdir())[0].read_bytes()
    fixed = [b"\xff\xfe.mid", b"a\nb.mid", b"\x1b[31m\x07.mid", b"..\\..\\out.mid", b"%2e%2e%2fout.mid", b"-rf.mid"]
    fixed += ["µ✓\u202e.mid".encode(), b" .mid", b"a.MID", b"b.MiDi", b"c.kar", b"'\"`$(touch out).mid", b"...mid"]
    fixed += [b"x" * 251 + b".mid", b"{0}%s%n.mid", b"CON.mid", b"[bold]red.mid", b"\\.mid", b"\xed\xb0\x80.mid"]
    allowed = [byte for byte in range(1, 256) if byte != ord("/")]
    drawn = [
        bytes(ground.random.choices(allowed, k=ground.random.randint(1, 40))) + b".mid"
        for _ in range(ground.size(81, 5))
    ]
    names = list(dict.fromkeys([*fixed, *drawn]))
    for number, name in enumerate(names):
        # Each another file, as equal ones would count as one piece for the split.
        Path(os.fsdecode(bytes(folder)), os.fsdecode(name)).write_bytes(
            content if number % 2 else content + bytes(number)
        )
    fault, outcomes = read_folder(folder)
    for name in names:
        yield ascii(name), fault or ("" if os.fsdecode(name) in outcomes else "no outcome")
    told = call(*ground.tiny(ground.folder / "w", "train.epochs=1", source=folder))
    yield "training on them", wrong(told, 0)
    shutil.rmtree(ground.folder / "w", ignore_errors=True)
    out = [path.name for path in ground.folder.iterdir() if path.name != "names"]
    yield "nothing beside the folder", f"there is {out}" if out else ""


def folder_shapes(ground: Ground) -> Iterator[Case]:
    """Folder shapes: FIFO, socket, links and loops, folders named like files, deep and empty ones"""
    folder, content = ground.place("shapes"), sorted(ground.clips.iterdir())[0].read_bytes()
    (folder / "a.mid").write_bytes(content)
    os.mkfifo(folder / "fifo.mid")
    (folder / "folder.mid").mkdir()
    (folder / "folder.mid" / "b.mid").write_bytes(content)
    (folder / "loop").symlink_to(folder)
    (folder / "folder.mid" / "up").symlink_to("..")
    (folder / "self.mid").symlink_to("self.mid")
    (folder / "nowhere.mid").symlink_to("absent.mid")
    (folder / "again.mid").symlink_to("a.mid")
    (folder / "device.mid").symlink_to("/dev/zero")
    os.link(folder / "a.mid", folder / "hard.mid")
    (folder / "empty").mkdir()
    deep = folder
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "c.mid").write_bytes(content)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)  # a socket's path has a limit of 108 bytes
        try:
            listener.bind("socket.mid")
        finally:
            os.chdir(REPOSITORY)
        started = time.monotonic()
        fault, outcomes = read_folder(folder)
        seconds = time.monotonic() - started
    yield "read in time", fault or ("" if seconds < SECONDS else f"{seconds:.1f} s")
    read = sorted(name for name, outcome in outcomes.items() if outcome["notes"])
    expected = [["a.mid", "again.mid", "hard.mid"], ["folder.mid/b.mid"], ["d/" * 60 + "c.mid"]]
    for names in expected:
        found = [name for name in names if name in read]
        yield f"{names[0][-20:]} once", "" if len(found) == 1 else f"read {len(found)} times: {read}"
    for name in ("fifo.mid", "socket.mid", "folder.mid", "device.mid"):
        yield f"{name} is no file", "" if name not in read else "it was read"
    for name in ("nowhere.mid", "self.mid"):
        yield f"{name} is told", "" if outcomes.get(name, {}).get("status") == "skipped" else f"{outcomes.get(name)}"


def no_data(ground: Ground) -> Iterator[Case]:
    """No data: absent, empty, without music, all of it damaged, no folder at all"""
    for name in ("empty", "words", "damaged"):
        ground.place(name)
    (ground.folder / "words" / "a.txt").write_text("no music")
    (ground.folder / "damaged" / "a.mid").write_bytes(b"")
    (ground.folder / "silent.mid").write_bytes(smf.file(b""))
    os.mkfifo(ground.folder / "fifo.mid")
    (ground.folder / "link").symlink_to(ground.folder / "absent")
    for name in ("absent", "empty", "words", "damaged", "silent.mid", "fifo.mid", "link", "x" * 300, "words/a.txt"):
        source = ground.folder / name
        told, words = call("data", f"--data={source}", "--json", "--config.data.cache=off"), (source.name[:20],)
        yield f"data: {name[:20]}", wrong(told, 1, *words)
        told = call(*ground.tiny(ground.folder / "w", source=source))
        fault = wrong(told, 1, *words)
        yield f"train: {name[:20]}", fault or ("a workdir was left" if (ground.folder / "w").exists() else "")
    told = call("data", "--data=", "--json")
    yield "data: no name", wrong(told, (1, 2))

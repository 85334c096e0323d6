"""The MIDI readers that `benchmarks.ingest` compares, each a process: `python -m benchmarks.readers NAME PROBLEM`.

PROBLEM is a JSON file {"data": folder, "edge_cases": folder or ""}. NAME is musicjax-PROCESSES-cold (the cache is empty
and gets written), musicjax-PROCESSES-uncached (no cache), musicjax-PROCESSES-cached, musicjax-start-cached (the whole
program, from the start of Python), mido, pretty_midi, miditoolkit or symusic.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import contestants, edge_cases
from benchmarks.edge_cases import Read

OURS = ("musicjax-1-cold", "musicjax-2-cold", "musicjax-2-uncached", "musicjax-2-cached", "musicjax-start-cached")
READERS = (*OURS, "mido", "pretty_midi", "miditoolkit", "symusic")


def read_musicjax(path: Path) -> list[list[tuple[float, int]]]:
    from musicjax.music import midi

    pieces, _ = midi.read_pieces(path)
    return [list(zip(piece.onset.tolist(), piece.pitch.tolist(), strict=True)) for piece in pieces]


def read_mido(path: Path) -> list[list[tuple[float, int]]]:
    import mido

    found, tick = [], 0
    for message in mido.merge_tracks(mido.MidiFile(path).tracks):
        tick += message.time
        if message.type == "note_on" and message.velocity:
            found.append((tick, message.note))
    return [found]


def read_pretty_midi(path: Path) -> list[list[tuple[float, int]]]:
    import pretty_midi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        song = pretty_midi.PrettyMIDI(str(path))
    return [[(note.start, note.pitch) for part in song.instruments for note in part.notes]]


def read_miditoolkit(path: Path) -> list[list[tuple[float, int]]]:
    import miditoolkit

    song = miditoolkit.MidiFile(str(path))
    return [[(note.start, note.pitch) for part in song.instruments for note in part.notes]]


def read_symusic(path: Path) -> list[list[tuple[float, int]]]:
    import symusic

    song: Any = symusic.Score(str(path))
    return [[(note.start, note.pitch) for part in song.tracks for note in part.notes]]


READ: dict[str, Read] = {
    "musicjax": read_musicjax,
    "mido": read_mido,
    "pretty_midi": read_pretty_midi,
    "miditoolkit": read_miditoolkit,
    "symusic": read_symusic,
}


def parser(name: str) -> Callable[[str], object]:
    """A peer's function that parses a file and does nothing else; raises ImportError if the peer is absent."""
    if name == "mido":
        import mido

        return mido.MidiFile
    if name == "pretty_midi":
        import pretty_midi

        return pretty_midi.PrettyMIDI
    if name == "miditoolkit":
        import miditoolkit

        return miditoolkit.MidiFile
    import symusic

    return symusic.Score


def work_of_ours(name: str, folder: str, kept: Path) -> Callable[[str], dict[str, Any]]:
    """A function that reads the folder once, in the way the name says; kept: the folder of a lasting cache."""
    from musicjax.config import DataConfig
    from musicjax.corpus import load
    from musicjax.corpus.corpus import counts as counts_of

    _, how, state = name.split("-")

    def work(request: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as fresh:
            cache = {"cold": fresh, "uncached": "off", "cached": str(kept)}[state]
            begun = time.perf_counter()
            if how == "start":
                command = [sys.executable, "-m", "musicjax.main", "data", f"--data={folder}", "--json"]
                ran = subprocess.run(
                    [*command, f"--config.data.cache={kept}"], capture_output=True, text=True, check=True
                )
                counts = json.loads(ran.stdout.splitlines()[-1])
            else:
                _, outcomes = load.read(DataConfig(source=folder, cache=cache, workers=int(how)))
                counts = counts_of(outcomes)
            return {"seconds": time.perf_counter() - begun, "notes": counts["notes"]}

    return work


def main() -> None:
    name, problem = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    family = name.split("-")[0]
    paths = [str(path) for path in sorted(Path(problem["data"]).rglob("*.mid*"))]

    def check() -> dict[str, Any]:
        if family != "musicjax":
            parser(name)
        said: dict[str, Any] = {"version": importlib.metadata.version(family), "files": len(paths)}
        if problem["edge_cases"]:
            folder = Path(problem["edge_cases"])
            wrong = edge_cases.wrong(folder, READ[family], read_mido)
            total = len(list(folder.glob("*.mid")))
            said |= {"edge_cases_right": total - len(wrong), "edge_cases": total, "edge_cases_wrong": wrong}
        return said

    def work(request: str) -> dict[str, Any]:
        parse, begun = parser(name), time.perf_counter()
        for path in paths:
            parse(path)
        return {"seconds": time.perf_counter() - begun}

    kept = Path(sys.argv[2]).parent / name  # deleted when the benchmark ends, which kills this process
    contestants.answer(name, check, work_of_ours(name, problem["data"], kept) if family == "musicjax" else work)


if __name__ == "__main__":
    main()

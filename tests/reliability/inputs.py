"""Reliability tests 14, 15, 16 and 25: little data, wrong requests, places that cannot be written, hostile files."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax.music import midi
from musicjax.music.notes import from_seconds
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import checksums, lock
from tests.reliability.ground import ONE_PIECE, Case, Ground, call, tree, wrong


def too_little_data(ground: Ground) -> Iterator[Case]:
    """Too little data: one note, shorter than a window, one piece, a batch larger than the data"""
    fixed = [([1], 8, 64), ([1, 1], 1, 1), ([8, 8], 8, 64), ([9, 9], 8, 64), ([25], 8, 64), ([9, 9, 9], 8, 10_000)]
    drawn = [
        (
            [ground.random.randint(1, 30) for _ in range(ground.random.randint(1, 4))],
            ground.random.randint(1, 20),
            ground.random.choice([1, 7, 64, 5000]),
        )
        for _ in range(ground.size(34, 0))
    ]
    cases = list(enumerate([*fixed, *drawn]))
    for number, (lengths, window, batch) in cases[::2] if ground.quick else cases:  # the even ones need no training
        split = ("piece", "windows")[number % 2]
        music, workdir = ground.place(f"music{number}"), ground.folder / f"w{number}"
        for k, length in enumerate(lengths):
            pitches = [40 + (k * 7 + i * (k + 1)) % 40 for i in range(length)]
            midi.write(from_seconds(pitches, [90] * length, range(length), [0.5] * length), music / f"{k}.mid")
        fields = (f"data.window={window}", f"train.batch_size={batch}", f"data.split={split}", "train.epochs=1")
        result = call(*ground.tiny(workdir, *fields, "train.devices=1", source=music))
        # Of a single piece the end is held out, after a window that is not used.
        enough = sum(length > window for length in lengths) > 1 or max(lengths) >= window + 2 * (window + 1)
        windows = sum(lengths) - window
        if split == "windows" and windows != 1:
            enough = windows > 1
        fault = wrong(result, 0 if enough else 1, *([] if enough else [str(music)]))
        if not fault and checkpoint_lib.exists(workdir) != enough:
            fault = "a checkpoint, though it failed" if not enough else "no checkpoint"
        yield f"{lengths} notes, window {window}, batch {batch}, {split}", fault


def flags_and_config(ground: Ground) -> Iterator[Case]:
    """Flags and config fields out of range, of the wrong type, unknown or no words at all"""
    here = ground.place("here")
    before = os.getcwd()
    os.chdir(here)
    try:
        for argv, words in _wrong_requests(ground):
            fault = wrong(call(*argv), 2, *words)
            yield " ".join(argv), fault or ("something was written" if any(here.iterdir()) else "")
        for number in range(ground.size(100, 10)):
            path = ground.folder / f"{number}.json"
            path.write_text(json.dumps(_junk(ground.random, 3)))
            if path.read_text() != "{}":
                yield f"config file {path.read_text()[:80]}", wrong(call(f"--config={path}", "--workdir="), 2)
    finally:
        os.chdir(before)


def _wrong_requests(ground: Ground) -> Iterator[tuple[list[str], list[str]]]:
    """Flags that are wrong, and words that the answer must hold."""
    # Of the fields, the suite tries values out of range in test_config.py.
    for path, field, _ in config_lib.fields(config_lib.Config()) if not ground.quick else ():
        rules: Any = field.metadata
        values = ["", "many", "nan", "1,2x", "[]", "\x1b[31m"]
        if rules["low"] is not None:
            values += [str(rules["low"] - 1), str(rules["high"] + 1), "inf", "-inf", "1e400", "9" * 30]
        free_text = type(field.default) is str and not rules["choices"]
        for value in values:
            if not (free_text or (value in ("", "[]") and type(field.default) is tuple)):
                yield [f"--config.{path}={value}", "--workdir=w"], [path.split(".")[-1]]
    for name in ("num_outputs", "num_notes", "seconds", "seed", "temperature", "decode", "checkpoint"):
        for value in ("-1", "nan", "word", "99999999999999"):
            yield ["generate", "--workdir=w", f"--{name}={value}"], [name] if value != "nan" else []
    letters = "abcdefgzµ✓é \t\n\r\x00\x07\x1b\x7f\u202e=-_.,'\"\\%{}[]$`;&|<>*?!#~/0123456789\udcff"
    for _ in range(ground.size(300, 30)):
        word = "".join(ground.random.choices(letters, k=ground.random.randint(1, 20)))
        shape = ground.random.choice(["{}", "--{}", "--config.{}=1", "--config={}.py", "--no{}", "-{}="])
        yield [ground.random.choice(["train", "data", "generate"]), shape.format(word)], []


def _junk(numbers: random.Random, depth: int) -> Any:
    """A JSON value of which no config can be made, or an object with such values under names of fields."""
    names = ["train", "model", "data", "seed", "epochs", "units", "window", "trials", "name", "x" * 50, ""]
    kinds = [None, True, -1, 1e300, "\x1b[2J", [], [{}], "word", float("nan"), 2**70, [1, "a"]]
    if depth and numbers.random() < 0.6:
        value = {name: _junk(numbers, depth - 1) for name in numbers.sample(names, numbers.randint(1, 3))}
        return value if depth < 3 else {**value, "unknown": 1}
    return {"unknown": numbers.choice(kinds)} if depth == 3 else numbers.choice(kinds)


def output_paths(ground: Ground) -> Iterator[Case]:
    """Output paths: a file in the way, a folder in the way, below a file, too long, dangling, strange names"""
    trained = ground.folder / "trained"
    yield "a run to try with", wrong(call(*ground.tiny(trained)), 0)
    (ground.folder / "file").write_text("precious")
    (ground.folder / "dangling").symlink_to(ground.folder / "nowhere" / "at all")
    (ground.folder / "loop").symlink_to(ground.folder / "loop")
    ways = ("file", "x" * 300, "dangling", "file/below", "loop", "/proc/w", "/dev/null/w")
    for name in ways[: ground.size(7, 3)]:
        place = Path(ground.folder, name)
        yield f"train into {name[:20]}", wrong(call(*ground.tiny(place)), 1, "workdir", "--workdir")
        told = call("generate", f"--workdir={trained}", f"--output_dir={place}", *ONE_PIECE)
        yield f"generate into {name[:20]}", wrong(told, 1, "output folder", "name another")
        told = call("data", f"--data={ground.clips}", f"--workdir={place}")
        yield f"data into {name[:20]}", wrong(told, 1, "report", "name another --workdir")
        told = call("data", f"--data={ground.clips}", f"--config.data.cache={place}")
        yield f"cache in {name[:20]}", wrong(told, 1, "cache folder", "--config.data.cache=off")
        told = call("generate", f"--workdir={trained}", f"--primer={place}", f"--output_dir={ground.folder / 'o'}")
        yield f"primer {name[:20]}", wrong(told, 1, "primer", "expected a MIDI file")
    if (ground.folder / "file").read_text() != "precious" or (ground.folder / "nowhere").exists():
        yield "what was there", "was changed"
    yield from _in_the_way(ground, trained)
    names = ("new\nline", "\udcff\udcfe", "\x1b[31mred", "a b", "é✓", "-dash", "'\"`$(x)", "{0}%s", "." * 3)
    for name in names[: ground.size(9, 3)]:
        workdir = ground.folder / "names" / name
        told = call(*ground.tiny(workdir, "train.epochs=1", "sample.num_outputs=0"))
        # The library that saves arrays takes names in UTF-8 only, which is said before training.
        yield f"workdir named {name!r}", wrong(told, 1, "not UTF-8") if "\udcff" in name else wrong(told, 0)
        told = call("generate", f"--workdir={trained}", f"--output_dir={workdir / 'out'}", *ONE_PIECE)
        yield f"out of {name!r}", wrong(told, 0)


def _in_the_way(ground: Ground, trained: Path) -> Iterator[Case]:
    """Something else where a file or folder of the workdir is to be."""
    for name in ("config.json", "metrics.jsonl", "data.jsonl", "lock")[:: ground.size(1, 3)]:
        workdir = shutil.copytree(trained, ground.folder / "in the way")
        (workdir / name).unlink(missing_ok=True)
        (workdir / name / "full").mkdir(parents=True)
        yield f"a folder for {name}", wrong(call(*ground.tiny(workdir, "train.epochs=4")), 1, "in the way")
        shutil.rmtree(workdir)
    for name in ("samples", "tensorboard", "checkpoints")[:: ground.size(1, 2)]:
        workdir = shutil.copytree(trained, ground.folder / "in the way")
        shutil.rmtree(workdir / name)
        (workdir / name).write_text("precious")
        fault = wrong(call(*ground.tiny(workdir, "train.epochs=4")), 1)
        yield f"a file for {name}", fault or ("" if (workdir / name).read_text() == "precious" else "it was changed")
        shutil.rmtree(workdir)


def hostile_artefacts(ground: Ground) -> Iterator[Case]:
    """Files from strangers: metadata of a checkpoint, links, pickles, caches, deep JSON, names"""
    trained = ground.folder / "trained"
    yield "a run to try with", wrong(call(*ground.tiny(trained)), 0)
    for number in range(ground.size(200, 4)):
        yield _strange_metadata(ground, trained, number)
    yield from _links(ground, trained)
    yield from _pickles(ground, trained)
    yield from _caches(ground)


def _strange_metadata(ground: Ground, trained: Path, number: int) -> Case:
    """A checkpoint whose metadata has one value changed and whose checksums match."""
    workdir = shutil.copytree(trained, ground.folder / f"metadata{number}")
    shutil.rmtree(workdir / "checkpoints" / "2")
    place = workdir / "checkpoints" / "3"
    file = place / "metadata" / "metadata"
    metadata = json.loads(file.read_text())
    paths = _paths(metadata)
    path = ground.random.choice(paths)
    values = [None, -1, 10**9, 1e308, float("nan"), "../../out", "\x1b[31m", [], {}, True, "[" * 1000, 0, {"a": [1]}]
    value = ground.random.choice(values)
    owner = metadata
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = value
    file.write_text(json.dumps(metadata))
    checksums.write(place)
    before = tree(workdir)
    command = ("generate", "evaluate")[number % 2]
    flags = (*ONE_PIECE, f"--output_dir={workdir / 'out'}") if command == "generate" else ()
    told = call(command, f"--workdir={workdir}", *flags)
    fault = wrong(told, (0, 1, 2))
    after = {name: content for name, content in tree(workdir).items() if not name.startswith("out")}
    if not fault and after != before:
        fault = "the workdir was changed"
    shutil.rmtree(workdir)
    return f"{command}: {'.'.join(map(str, path))} is {value!r:.40}", fault


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    """Of every value within a JSON value, where it is."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for name, one in inside:
        found += _paths(one, (*path, name))
    return found


def _links(ground: Ground, trained: Path) -> Iterator[Case]:
    """Links in a workdir, under the names that training writes, to a file and a folder of mine."""
    mine = ground.place("mine")
    names = ("config.json", "config.json.partial", "data.jsonl", "metrics.jsonl", "metrics.jsonl.partial", lock.NAME)
    names += ("data.jsonl.partial", "checkpoints/4.partial", "checkpoints/4", "samples/seed0-000.mid")
    for name in names[:: ground.size(1, 5)]:
        (mine / "file").write_text("precious")
        for target in ("file", "."):
            workdir = shutil.copytree(trained, ground.folder / "links")
            (workdir / name).unlink(missing_ok=True)
            (workdir / name).symlink_to(mine / target)
            fault = wrong(call(*ground.tiny(workdir, "train.epochs=5")), (0, 1))
            kept = tree(mine) == {"file": b"precious"}
            yield f"{name} -> {target}", fault or ("" if kept else f"mine was changed: {sorted(tree(mine))}")
            shutil.rmtree(workdir)
            shutil.rmtree(mine)
            mine.mkdir()
            (mine / "file").write_text("precious")


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def _pickles(ground: Ground, trained: Path) -> Iterator[Case]:
    """A pickle in place of each file of a workdir."""
    bomb = ground.folder / "exploded"
    content = pickle.dumps(_Bomb(bomb))
    files = sorted(path.relative_to(trained) for path in trained.rglob("*") if path.is_file())
    for name in files[:: ground.size(1, 25)]:
        workdir = shutil.copytree(trained, ground.folder / "pickles")
        (workdir / name).write_bytes(content)
        if name.parts[0] == "checkpoints" and name.name != checksums.NAME:
            checksums.write(workdir / Path(*name.parts[:2]))
        fault = wrong(call("generate", f"--workdir={workdir}", *ONE_PIECE), (0, 1))
        fault = fault or wrong(call(*ground.tiny(workdir, "train.epochs=4")), (0, 1))
        yield f"pickle as {name}", "it was unpickled" if bomb.exists() else fault
        shutil.rmtree(workdir)
    for name in ("a.json", "a.py", "a.mid"):
        (ground.folder / name).write_bytes(content)
    yield "pickle as config", wrong(call(f"--config={ground.folder / 'a.json'}"), 2)
    yield "pickle as primer", wrong(call("generate", f"--workdir={trained}", f"--primer={ground.folder / 'a.mid'}"), 1)
    (ground.folder / "deep.json").write_text("[" * 200_000)
    yield "deep JSON as config", wrong(call(f"--config={ground.folder / 'deep.json'}"), 2)


def _caches(ground: Ground) -> Iterator[Case]:
    """Entries of the cache of notes with other bytes: the files are read again, to the same notes."""
    cache = ground.folder / "cache"
    argv = ("data", f"--data={ground.clips}", "--json", f"--config.data.cache={cache}")
    whole = call(*argv)
    first = json.loads(whole.out.splitlines()[-1])
    for _ in range(ground.size(20, 2)):
        entries = sorted(path for path in cache.glob("notes-*/*/*") if path.is_file())
        for path in ground.random.sample(entries, 4):
            content = bytearray(path.read_bytes())
            start = ground.random.randrange(len(content))
            content[start : start + ground.random.randint(1, 40)] = ground.random.randbytes(
                ground.random.randint(0, 60)
            )
            path.write_bytes(bytes(content))
        told = call(*argv)
        fault = wrong(told, 0)
        if not fault:
            again = json.loads(told.out.splitlines()[-1])
            same = ("notes", "fingerprint", "kept", "skipped", "reasons")
            fault = "" if all(first[name] == again[name] for name in same) else f"other data: {again}"
        yield "cache entries with other bytes", fault

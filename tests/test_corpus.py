"""From a folder to a corpus: what is found, what is skipped and why, the cache, and the split."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import console
from musicjax.cli import data as data_command
from musicjax.config import Config, DataConfig
from musicjax.corpus import cache as cache_lib
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import load, pool, read
from musicjax.corpus.corpus import Corpus
from musicjax.corpus.find import find
from musicjax.corpus.split import all_held_out, music_of, whole_pieces
from musicjax.corpus.split import held_out as held_out_if_long_enough
from musicjax.encodings import encoding
from musicjax.errors import RunError
from musicjax.main import main
from musicjax.music import builtin_clips, midi, note_matrix
from musicjax.music.notes import FIELDS, Notes, from_seconds
from musicjax.training.windows import starts_inside


def _notes(seed: int, size: int = 12) -> Notes:
    rng = np.random.default_rng(seed)
    return from_seconds(
        rng.integers(40, 90, size), rng.integers(1, 128, size), np.arange(size) / 4, np.full(size, 0.25)
    )


def _write(path: Path, seed: int = 0, size: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.write(_notes(seed, size), path)
    return path


def _read_by_process(source: Path, cache: Path | str = "off", **knobs) -> tuple[Corpus, list[corpus_lib.Outcome]]:
    return load.read(DataConfig(source=str(source), cache=str(cache), workers=1, **knobs))


def _read(source: Path, cache: Path | str = "off", **knobs) -> tuple[Corpus, list[corpus_lib.Outcome]]:
    """The same by this process, which saves half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "read_files", _read_files)
        return _read_by_process(source, cache, **knobs)


def _read_files(paths, workers, seconds_per_file, options):
    for path in paths:
        yield path, *read.read_file(str(path), options)


def _names(source: Path) -> list[str]:
    return [path.relative_to(source).as_posix() for path in find(source).paths]


def _assert_same(one: Corpus, other: Corpus) -> None:
    np.testing.assert_array_equal(one.notes.to_array(), other.notes.to_array())
    np.testing.assert_array_equal(one.offsets, other.offsets)
    assert (one.names, one.hashes, one.fingerprint) == (other.names, other.hashes, other.fingerprint)


# Which files are found.


def test_files_are_found_at_any_depth_by_suffix_in_any_case(tmp_path):
    wanted = ["a.mid", "b.MID", "c.midi", "d.Midi", "deep/er/e.kar", "deep/f.KAR", "r.rmi", "s.RMI", "x.mid/inside.mid"]
    for name in [*wanted, "notes.txt", "mid", ".mid", "g.mid.gz", "h.mp3"]:
        _write(tmp_path / name)
    assert _names(tmp_path) == sorted(wanted)


def test_one_file_can_be_the_source(tmp_path):
    path = _write(tmp_path / "one.mid")
    assert find(path).paths == [path]
    corpus, outcomes = _read(path)
    assert corpus.names == ("one.mid",)
    assert [outcome.path for outcome in outcomes] == ["one.mid"]


def test_names_may_hold_any_bytes(tmp_path):
    names = [
        b"with space.mid",
        b"new\nline.mid",
        b"quo\"te's.mid",
        b"\xff\xfe not utf-8.mid",
        "三.mid".encode(),
        b"-.mid",
    ]
    for seed, name in enumerate(names):
        (tmp_path / "plain.mid").unlink(missing_ok=True)
        os.rename(_write(tmp_path / "plain.mid", seed), os.path.join(os.fsencode(tmp_path), name))
    corpus, outcomes = _read(tmp_path)
    assert sorted(os.fsencode(name) for name in corpus.names) == sorted(names)
    assert {outcome.status for outcome in outcomes} == {"kept"}
    corpus_lib.write_report(outcomes, tmp_path / "report.jsonl")
    lines = (tmp_path / "report.jsonl").read_text().split("\n")[:-1]
    assert sorted(os.fsencode(json.loads(line)["path"]) for line in lines) == sorted(names)


def test_a_pipe_and_a_folder_that_are_named_like_music_are_not_files(tmp_path):
    _write(tmp_path / "a.mid")
    (tmp_path / "x.mid").mkdir()
    os.mkfifo(tmp_path / "y.mid")  # opening it would wait for a writer for ever
    (tmp_path / "z.mid").symlink_to("y.mid")
    assert _names(tmp_path) == ["a.mid"]
    corpus, outcomes = _read(tmp_path)
    assert corpus.names == ("a.mid",)
    assert len(outcomes) == 1


def test_a_file_that_is_reached_twice_counts_once(tmp_path):
    original = _write(tmp_path / "a.mid")
    os.link(original, tmp_path / "hard.mid")
    (tmp_path / "soft.mid").symlink_to("a.mid")
    shutil.copy(original, tmp_path / "copy.mid")  # another file, be it of the same content
    assert _names(tmp_path) == ["a.mid", "copy.mid"]


def test_folders_that_link_in_a_loop_end(tmp_path):
    _write(tmp_path / "deep" / "a.mid")
    (tmp_path / "deep" / "loop").symlink_to("..")
    assert _names(tmp_path) == ["deep/a.mid"]


def test_links_that_lead_out_of_the_folder_are_followed_and_lead_back_to_nothing_new(tmp_path):
    source, outside = tmp_path / "source", tmp_path / "outside"
    _write(source / "a.mid")
    _write(outside / "b.mid", 1)
    (outside / "back").symlink_to(source)
    (outside / "a again.mid").symlink_to(source / "a.mid")
    (source / "out").symlink_to(outside)
    (source / "up").symlink_to(tmp_path)
    assert _names(source) == ["a.mid", "out/b.mid"]


def test_a_link_to_nowhere_is_reported(tmp_path):
    _write(tmp_path / "a.mid")
    (tmp_path / "gone.mid").symlink_to("nowhere.mid")
    _, outcomes = _read(tmp_path)
    assert [(o.path, o.status, o.code, o.sha256) for o in outcomes[1:]] == [("gone.mid", "skipped", "unreadable", "")]
    assert "No such file" in outcomes[1].detail


@pytest.mark.parametrize("make", ["absent", "empty", "other files"])
def test_a_source_without_midi_files_is_an_error_that_names_it(tmp_path, make):
    source = tmp_path / "source"
    if make != "absent":
        source.mkdir()
    if make == "other files":
        (source / "readme.txt").write_text("no music")
    with pytest.raises(RunError, match=rf"{source}.*\.mid \.midi \.kar"):
        _read(source)


# What becomes of them.


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Four good files among one of two pieces and bad ones of four kinds."""
    folder = tmp_path / "mixed"
    for number in range(4):
        _write(folder / f"{2 * number}-good.mid", number, 10 + number)
    good = (folder / "0-good.mid").read_bytes()
    (folder / "1-empty.mid").write_bytes(b"")
    (folder / "3-text.mid").write_text("not music")
    (folder / "5-cut.mid").write_bytes(good[:30])
    track = good[14:]
    (folder / "7-type-2.mid").write_bytes(good[:9] + b"\x02" + b"\0\2" + good[12:14] + track + track)
    (folder / "8-no-notes.mid").write_bytes(good[:14] + b"MTrk\x00\x00\x00\x04\x00\xff\x2f\x00")
    return folder


def test_bad_files_are_skipped_with_a_reason_and_the_rest_is_read(mixed):
    corpus, outcomes = _read(mixed)
    pieces = ("7-type-2.mid#1", "7-type-2.mid#2")
    assert corpus.names == ("0-good.mid", "2-good.mid", "4-good.mid", "6-good.mid", *pieces)
    assert [len(corpus.piece(p)) for p in range(6)] == [10, 11, 12, 13, 10, 10]
    for p in range(4):
        np.testing.assert_array_equal(corpus.piece(p).to_array(), midi.read(mixed / corpus.names[p]).to_array())
    codes = {outcome.path: outcome.code for outcome in outcomes if outcome.status == "skipped"}
    assert codes == {
        "1-empty.mid": "empty",
        "3-text.mid": "no_header_chunk",
        "5-cut.mid": "not_enough_bytes",
        "8-no-notes.mid": "no_notes",
    }
    for p in (4, 5):
        np.testing.assert_array_equal(corpus.piece(p).to_array(), corpus.piece(0).to_array())
        assert corpus.hashes[p] == outcomes[7].sha256
    assert all(outcome.detail and not outcome.notes for outcome in outcomes if outcome.status == "skipped")


def test_counts_add_up_and_the_report_has_one_json_line_a_file_in_order(mixed, tmp_path):
    corpus, outcomes = _read(mixed)
    counts = corpus_lib.counts(outcomes)
    assert counts == {"kept": 5, "recovered": 0, "skipped": 4, "notes": 66}
    assert counts["notes"] == len(corpus.notes) == corpus.offsets[-1]
    corpus_lib.write_report(outcomes, tmp_path / "report.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [{"same_as": ""} | line for line in lines] == [dataclasses.asdict(outcome) for outcome in outcomes]
    assert [line["path"] for line in lines] == sorted(os.listdir(mixed))
    kept = [line for line in lines if line["status"] == "kept"]
    assert [line["sha256"] for line in kept] == list(corpus.hashes)[:5]
    assert [line["seconds"] for line in kept[:4]] == [corpus.piece(p).seconds for p in range(4)]


def test_progress_ends_at_the_number_of_files(mixed, monkeypatch):
    seen = []

    @contextlib.contextmanager
    def bar(label, total=None):
        yield lambda done, facts="", total=None: seen.append((done, total))

    monkeypatch.setattr(console, "bar", bar)
    _read(mixed)
    assert seen == [(done, 9) for done in range(10)]


def test_a_folder_of_bad_files_only_gives_an_empty_corpus_and_outcomes(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"")
    corpus, outcomes = _read(tmp_path)
    assert (len(corpus), len(corpus.notes), corpus.offsets.tolist()) == (0, 0, [0])
    assert len(outcomes) == 1


def test_several_processes_read_the_same_as_one(clips):
    one, _ = _read_by_process(clips)
    two, _ = load.read(DataConfig(source=str(clips), cache="off", workers=2))
    _assert_same(one, two)


# A reading process in which files named hang-* never end, and files named kill-* take the process with them.
HOSTILE_READER = """
import os, time
from musicjax.music import midi
from musicjax.corpus import worker

read = midi.read_pieces

def hostile(path, **options):
    if os.path.basename(path).startswith("hang"):
        time.sleep(60)
    if os.path.basename(path).startswith("kill"):
        os._exit(3)
    return read(path, **options)

midi.read_pieces = hostile
worker.main()
"""


@pytest.fixture
def hostile(monkeypatch) -> list[int]:
    """Makes every reading process one that runs HOSTILE_READER; the list grows by each that is started."""
    started = []

    def start(self) -> subprocess.Popen:
        root = str(Path(corpus_lib.__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOSTILE_READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        started.append(self._process.pid)
        return self._process

    monkeypatch.setattr(pool._ReadingProcess, "_start", start)
    return started


def test_the_pool_gives_up_on_a_file_that_takes_too_long_and_reads_the_next_ones(tmp_path, hostile):
    for seed, name in enumerate(["a.mid", "hang.mid", "y.mid", "z.mid"]):
        _write(tmp_path / name, seed)
    started = time.monotonic()
    corpus, outcomes = _read_by_process(tmp_path, seconds_per_file=3)
    assert 3 <= time.monotonic() - started < 30
    assert corpus.names == ("a.mid", "y.mid", "z.mid")
    assert (outcomes[1].status, outcomes[1].code) == ("skipped", "time_limit")
    assert "3 s" in outcomes[1].detail
    assert len(hostile) == 2  # one is ended with the file, one reads the rest


def test_a_file_that_kills_its_process_is_skipped_and_the_next_ones_are_read(tmp_path, hostile):
    for seed, name in enumerate(["a.mid", "kill-1.mid", "kill-2.mid", "z.mid"]):
        _write(tmp_path / name, seed)
    corpus, outcomes = _read_by_process(tmp_path)
    assert corpus.names == ("a.mid", "z.mid")
    assert [(o.status, o.code) for o in outcomes[1:3]] == [("skipped", "reader_died")] * 2
    assert len(hostile) == 3


def test_a_reading_that_another_try_may_change_is_not_kept(tmp_path, hostile, monkeypatch):
    source, cache = tmp_path / "source", tmp_path / "cache"
    _write(source / "kill-1.mid")
    assert _read_by_process(source, cache)[1][0].code == "reader_died"
    monkeypatch.undo()  # the reader as it is
    assert _read(source, cache)[1][0].code == "kept"


def test_no_reading_process_outlives_the_reading(tmp_path, hostile):
    for seed, name in enumerate(["a.mid", "kill-1.mid", "z.mid"]):
        _write(tmp_path / name, seed)
    _read_by_process(tmp_path)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in hostile) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in hostile if Path(f"/proc/{pid}").exists()]


def test_a_reading_process_that_cannot_be_started_is_a_run_error(tmp_path, monkeypatch):
    def fail(self):
        raise OSError(11, "Resource temporarily unavailable")

    _write(tmp_path / "a.mid")
    monkeypatch.setattr(pool._ReadingProcess, "_start", fail)
    with pytest.raises(RunError, match="Resource temporarily unavailable"):
        _read_by_process(tmp_path)


def test_a_reading_process_that_is_gone_is_told_by_another_error_on_windows(tmp_path, monkeypatch):
    def gone(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    class Process:
        stdin = types.SimpleNamespace(write=gone, flush=gone)
        stdout = io.BytesIO()
        kill = communicate = lambda self: None

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: Process())
    reading, notes = pool._ReadingProcess(1.0, read.Options()).read(tmp_path / "a.mid", None)
    assert (reading.code, notes) == ("reader_died", [])


def test_the_reading_process_imports_numpy_alone():
    script = "import sys, musicjax.corpus.worker; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    root = str(Path(corpus_lib.__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root},
    )
    imported = set(ran.stdout.split())
    assert {"musicjax", "numpy"} <= imported
    assert not imported & {
        "mido",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax",
        "absl",
        "ml_collections",
        "rich",
        "tensorboardX",
    }


# The cache.


@pytest.fixture
def no_reading(monkeypatch):
    """Once called, it fails to read any file."""

    def fail(path, options):
        raise AssertionError("a file was read")

    return lambda: monkeypatch.setattr(read, "read_file", fail)


def _entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_a_second_reading_takes_everything_from_the_cache(mixed, tmp_path, no_reading):
    first, outcomes = _read(mixed, tmp_path / "cache")
    assert len(_entries(tmp_path / "cache")) == 9
    no_reading()
    again, outcomes_again = _read(mixed, tmp_path / "cache")
    _assert_same(first, again)
    assert outcomes == outcomes_again


def test_the_cache_knows_files_by_their_content(mixed, tmp_path, no_reading):
    first, _ = _read(mixed, tmp_path / "cache")
    moved = tmp_path / "moved"
    shutil.copytree(mixed, moved)
    (moved / "0-good.mid").rename(moved / "99-good.mid")
    no_reading()
    again, _ = _read(moved, tmp_path / "cache")
    assert sorted(again.hashes) == sorted(first.hashes)
    _write(moved / "2-good.mid", seed=50)
    with pytest.raises(AssertionError, match="a file was read"):
        _read(moved, tmp_path / "cache")


def test_drums_kept_and_drums_left_out_do_not_mix_in_the_cache(tmp_path, monkeypatch):
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    monkeypatch.setattr(midi, "MELODIC_CHANNELS", (0, midi.PERCUSSION_CHANNEL))
    chord = from_seconds([60, 60], [90, 80], [0.0, 0.0], [1.0, 1.0])  # the unison goes to the second channel
    midi.write(chord, source / "drums.mid")
    sizes = [len(_read(source, cache, percussion=percussion)[0].notes) for percussion in (True, False, True, False)]
    assert sizes == [2, 1, 2, 1]


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip_last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _flip_top_bits_of_the_first_words(content: bytes) -> bytes:
    head = bytearray(content)
    head[3] ^= 0x80
    head[7] ^= 0x80
    return bytes(head)


DAMAGES = {
    "empty": lambda content: b"",
    "cut": _cut,
    "last bit": _flip_last_bit,
    "garbage": lambda content: b"\x93NUMPY garbage" * 20,
    "head": _flip_top_bits_of_the_first_words,
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_of_the_cache_is_read_again(tmp_path, damage, no_reading):
    source, cache = tmp_path / "source", tmp_path / "cache"
    _write(source / "good.mid")
    (source / "bad.mid").write_text("not music")
    first, outcomes = _read(source, cache)
    assert len(_entries(cache)) == 2
    for entry in _entries(cache):
        entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    again, outcomes_again = _read(source, cache)
    _assert_same(first, again)
    assert outcomes == outcomes_again
    no_reading()  # and what was read again is in the cache again
    _assert_same(first, _read(source, cache)[0])


def test_without_a_cache_nothing_is_written(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))
    source = tmp_path / "source"
    _write(source / "a.mid")
    corpus, _ = _read(source, "off")
    assert len(corpus) == 1
    assert list(home.iterdir()) == []
    assert os.listdir(source) == ["a.mid"]


def test_the_cache_is_in_the_users_cache_folder_unless_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_lib.cache_folder(DataConfig()) == tmp_path / "home" / "musicjax"
    assert cache_lib.cache_folder(DataConfig(cache=str(tmp_path / "own"))) == tmp_path / "own"
    assert cache_lib.cache_folder(DataConfig(cache="off")) is None


def test_a_cache_that_cannot_be_written_is_a_run_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    _write(tmp_path / "source" / "a.mid")
    with pytest.raises(RunError, match=r"cannot be written.*--config\.data\.cache=off"):
        _read(tmp_path / "source", tmp_path / "file" / "cache")


@pytest.mark.parametrize("home", [None, "file"])
def test_without_a_place_for_the_users_cache_a_source_is_read_all_the_same_and_that_is_said_once(
    tmp_path, monkeypatch, capsys, home
):
    """As for a service, whose user has no home folder or none that can be written."""
    monkeypatch.setattr(console, "_said", set())
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    _write(tmp_path / "source" / "a.mid")
    for _ in range(2):
        assert len(_read(tmp_path / "source", "")[0]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cache ")]
    assert len(told) == 1
    assert "none, so nothing is kept" in told[0] and "--config.data.cache=DIR" in told[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "source"]


def _is_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_cache_that_takes_no_more_ends_no_reading_and_that_is_said_once(tmp_path, monkeypatch, capsys):
    source, cache = tmp_path / "source", tmp_path / "cache"
    for seed in range(3):
        _write(source / f"{seed}.mid", seed)
    first, _ = _read(source, cache)
    kept = _entries(cache)
    kept[0].unlink()
    kept[1].unlink()
    monkeypatch.setattr(console, "_said", set())
    monkeypatch.setattr(cache_lib, "store", _is_full)
    _assert_same(first, _read(source, cache)[0])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cache ")]
    assert len(told) == 1 and "nothing more is kept" in told[0] and "No space left on device" in told[0]
    assert _entries(cache) == kept[2:]


def test_a_cache_without_room_for_the_built_in_corpus_leaves_it_to_a_folder_that_goes(tmp_path, monkeypatch, capsys):
    composed: list[Path] = []

    def write_corpus(folder: Path) -> None:
        composed.append(folder)
        if folder.is_relative_to(tmp_path / "cache"):
            _is_full()
        _write(folder / "a.mid")

    monkeypatch.setattr(console, "_said", set())
    monkeypatch.setattr(builtin_clips, "write_corpus", write_corpus)
    corpus, _ = load.read(DataConfig(source="builtin", cache=str(tmp_path / "cache"), workers=1))
    assert len(corpus) == 1 and len(composed) == 2 and not composed[1].exists()
    assert "cache    nothing more is kept for the next start" in capsys.readouterr().err


def test_a_full_disk_is_found_by_trying(tmp_path, monkeypatch):
    assert cache_lib.has_room(tmp_path) and not list(tmp_path.iterdir())
    assert not cache_lib.has_room(tmp_path / "absent")
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = types.SimpleNamespace(TemporaryFile=lambda dir: open("/dev/full", "wb"))  # noqa: SIM115 - the cache does
    monkeypatch.setattr(cache_lib, "tempfile", full)
    assert not cache_lib.has_room(tmp_path)


def test_a_report_for_which_the_cache_has_no_room_costs_only_the_report(tmp_path, monkeypatch, capsys):
    _write(tmp_path / "source" / "a.mid")
    config = DataConfig(source=str(tmp_path / "source"), cache=str(tmp_path / "cache"), workers=1)
    monkeypatch.setattr(corpus_lib.files, "write", _is_full)
    data_command.show(config, None, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["report"] == "" and "report   none: " in err and "No space left on device" in err
    with pytest.raises(RunError, match="No space left on device"):
        data_command.show(config, tmp_path / "data.jsonl", as_json=True)


# The split.


def held_out_of(corpus: Corpus, data: DataConfig) -> np.ndarray:
    """The split of pieces that have a window and a note after it, of which there are two."""
    out = held_out_if_long_enough(corpus, data, np.diff(corpus.offsets) > data.window)
    assert out is not None
    return out


def _corpus(pieces: list[Notes], names: list[str], hashes: list[str]) -> Corpus:
    notes = Notes(*(np.concatenate([getattr(piece, field) for piece in pieces]) for field in FIELDS))
    changes = tuple(piece.tempos for piece in pieces), tuple(piece.meters for piece in pieces)
    return Corpus(notes, np.cumsum([0, *map(len, pieces)]), tuple(names), tuple(hashes), *changes)


def _piece(content: int, size: int) -> Notes:
    """Notes that no other content has, if there are two or more."""
    pitch = np.full(size, 60)
    pitch[1:2] += 1 + content
    return from_seconds(pitch, np.full(size, 90), np.arange(size), np.ones(size))


@st.composite
def _corpora(draw) -> Corpus:
    """Corpora of up to 12 pieces of 0 or 2..9 notes; pieces of equal content have equal hashes and notes."""
    contents = draw(st.lists(st.integers(0, 8), min_size=1, max_size=12))
    lengths = draw(st.lists(st.sampled_from([0, *range(2, 10)]), min_size=9, max_size=9))
    names, hashes = zip(*((f"{number}.mid", f"hash-{content}") for number, content in enumerate(contents)), strict=True)
    return _corpus([_piece(content, lengths[content]) for content in contents], names, hashes)


def _reordered(corpus: Corpus, order: list[int]) -> Corpus:
    names = [f"other-{number}.mid" for number in range(len(order))]
    return _corpus([corpus.piece(index) for index in order], names, [corpus.hashes[index] for index in order])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    corpus=_corpora(),
    window=st.integers(1, 4),
    fraction=st.sampled_from([0.001, 0.2, 0.5, 0.9]),
    seed=st.integers(0, 5),
    shuffled=st.randoms(use_true_random=False),
)
def test_pieces_are_held_out_whole_and_by_their_content(corpus, window, fraction, seed, shuffled):
    data = DataConfig(window=window, validation_fraction=fraction, split_seed=seed)
    sizes = np.diff(corpus.offsets)
    usable = {name for name, size in zip(corpus.hashes, sizes, strict=True) if size > window}
    if len(usable) < 2:
        assert held_out_if_long_enough(corpus, data, sizes > window) is None
        return
    held_out = held_out_of(corpus, data)
    out = {name for name, is_out in zip(corpus.hashes, held_out, strict=True) if is_out}
    kept = {name for name, is_out in zip(corpus.hashes, held_out, strict=True) if not is_out}
    assert out and out <= usable  # pieces too short for a window are not spent on validation
    assert usable - out, "nothing is left to train on"
    assert not out & kept, "files of equal content fell on both sides"
    assert len(out) == min(max(1, round(fraction * len(usable))), len(usable) - 1)

    np.testing.assert_array_equal(held_out, held_out_of(corpus, data))
    order = list(range(len(corpus)))
    shuffled.shuffle(order)
    np.testing.assert_array_equal(held_out_of(_reordered(corpus, order), data), held_out[order])

    piece_of_row = np.repeat(np.arange(len(corpus)), sizes)
    sides = [starts_inside(corpus.offsets, held_out == side, window) for side in (False, True)]
    for side, starts in enumerate(sides):
        for start in starts.tolist():
            rows = piece_of_row[start : start + window + 1]  # the window and the note after it
            assert len(rows) == window + 1
            assert len(set(rows.tolist())) == 1, "a window crosses pieces"
            assert held_out[rows[0]] == bool(side)
    assert sum(map(len, sides)) == int(np.maximum(sizes - window, 0).sum())
    assert len(set(np.concatenate(sides).tolist())) == sum(map(len, sides))


def test_another_split_seed_holds_out_other_pieces(clips):
    corpus, _ = _read(clips)
    splits = {tuple(held_out_of(corpus, DataConfig(split_seed=seed, window=10))) for seed in range(10)}
    assert len(splits) > 1


def test_the_split_does_not_depend_on_the_names_of_files(clips, tmp_path):
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted(clips.iterdir(), reverse=True)):
        shutil.copy(path, renamed / f"{number:02d}.kar")
    data = DataConfig(window=10, validation_fraction=0.3)
    sides = []
    for folder in (clips, renamed):
        corpus, _ = _read(folder)
        out = held_out_of(corpus, data)
        sides.append({name for name, is_out in zip(corpus.hashes, out, strict=True) if is_out})
    assert sides[0] == sides[1]
    assert sides[0]


def test_training_is_scaled_by_its_own_pieces_alone(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(8):  # every piece has a longest interval of its own
        size = 12
        onset = np.arange(size) * (1.0 + number / 4)
        pitch = 60 + np.random.default_rng(number).integers(0, 12, size)
        midi.write(from_seconds(pitch, np.full(size, 90), onset, np.full(size, 0.5)), source / f"{number}.mid")
    data = DataConfig(source=str(source), cache=str(tmp_path / "cache"), workers=1, window=4, validation_fraction=0.4)
    config, longest = Config(data=data), []
    for seed in range(8):
        config.data.split_seed = seed
        corpus, _ = load.read(config.data)
        held_out = held_out_of(corpus, config.data)
        training = np.concatenate([note_matrix.values(corpus.piece(p), 3) for p in np.flatnonzero(~held_out)])
        scaling = encoding.of(config).dataset().encoding.scaling
        assert scaling == note_matrix.fit(training)
        longest.append(scaling.span[2])
    assert min(longest) < max(longest), "the piece with the longest interval was never held out"


def test_pieces_in_test_are_left_out_unless_they_are_asked_for(tmp_path, clips, capsys):
    for number, (folder, path) in enumerate(
        zip(("train", "train", "valid", "test"), sorted(clips.iterdir()), strict=False)
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / folder / f"{number}.mid")
    data = DataConfig(source=str(tmp_path), cache="off", workers=1)
    corpus, outcomes = load.load(data)
    assert corpus.names == ("train/0.mid", "train/1.mid", "valid/2.mid") and len(outcomes) == 4
    assert "leaves out test/, 1 of 4 pieces" in capsys.readouterr().err
    everything, _ = load.load(data, tests=True)
    assert everything.names == ("test/3.mid", *corpus.names)
    assert f"for test/ alone, use --data={tmp_path}/test" in capsys.readouterr().err
    own = whole_pieces(corpus.offsets, held_out_of(corpus, data))
    music, unseen = music_of(corpus, own), all_held_out(everything)
    assert (music.names, music.held_out_names) == (("train/0.mid", "train/1.mid"), ("valid/2.mid",))
    assert (unseen.names, unseen.held_out_names) == ((), everything.names)


def test_a_folder_without_notes_is_a_run_error_that_names_a_file_and_its_reason(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"")
    with pytest.raises(RunError, match=r"none of its 1 file gave notes \(a\.mid: is empty\); expected"):
        load.load(DataConfig(source=str(tmp_path), cache="off", workers=1))


def test_one_line_counts_the_files_and_others_name_the_odd_ones(mixed, capsys):
    counted, first = (
        f"data     {mixed}: kept 5 of 9 files, recovered 0, skipped 4",
        "file     skipped 1-empty.mid: is empty",
    )
    data = DataConfig(source=str(mixed), cache="off", workers=1)
    for reading, hint in ((load.read, ""), (load.load, " (musicjax data lists why)")):
        reading(data)
        said = capsys.readouterr().err.splitlines()
        assert said[:2] == [f"{counted}{hint}; 66 notes", first] and len(said) == 5


def test_the_data_command_says_where_it_lists_every_file(mixed, tmp_path, capsys):
    """And does not send people to itself."""
    argv = ["data", f"--data={mixed}", "--config.data.workers=1"]
    for cache, said in (
        (tmp_path / "cache", ".jsonl: what became of each file, and why"),
        ("off", "--workdir=DIR writes"),
    ):
        assert main([*argv, f"--config.data.cache={cache}"]) == 0
        lines = capsys.readouterr().err.splitlines()
        (report,) = [line for line in lines if line.startswith("report")]
        assert said in report and not any("musicjax data" in line for line in lines)


def test_the_built_in_corpus_from_the_cache_imports_little(tmp_path):
    script = f"""
import sys
from musicjax.config import DataConfig
from musicjax.corpus import load

load.load(DataConfig(cache={str(tmp_path)!r}, workers=1))
print(*sorted(name for name in sys.modules if name.startswith(("musicjax.", "mido", "jax"))))
"""
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    imported = set(ran.stdout.split())
    assert "musicjax.corpus.load" in imported
    few = ("music.builtin_clips", "music.musicxml", "music.musicxml_file", "corpus.datasets", "corpus.download")
    few += ("corpus.archives", "corpus.archived_music", "zip_archive")
    assert not imported & {"jax", "mido", "musicjax.corpus.frame_sets", *(f"musicjax.{name}" for name in few)}


def test_linked_folders_are_read_and_loops_are_not(tmp_path, clips):
    (tmp_path / "linked").symlink_to(clips)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(find(tmp_path).paths) == len(list(clips.iterdir()))


def test_a_run_below_the_folder_is_left_out_and_a_line_says_so(tmp_path, clips, capsys):
    """Else a run in the folder of its music would learn from its own samples, and could not go on."""
    folder = tmp_path / "music"
    shutil.copytree(clips, folder)
    samples = folder / "runs" / "demo" / "samples"
    samples.mkdir(parents=True)
    shutil.copy(next(clips.iterdir()), samples / "seed0-000.mid")
    for name in ("config.json", "metrics.jsonl"):
        (samples.parent / name).write_text("{}")
    count = len(list(clips.iterdir()))
    corpus, _ = _read(folder)
    assert len(corpus) == count and find(folder).runs == (samples.parent,)
    assert f"left out {samples.parent}: made by musicjax" in capsys.readouterr().err
    assert len(find(samples).paths) == 1, "samples that are named are read"
    (samples.parent / "metrics.jsonl").unlink()
    assert len(find(folder).paths) == count + 1


def test_a_reading_process_without_its_parent_ends_by_itself(tmp_path):
    """Its alarm is set for each file: the limit, rounded up, and a second."""
    script = "import time\nfrom musicjax.corpus import worker as reader\nfrom musicjax.music import midi\n"
    script += "midi.read_pieces = lambda *_, **__: time.sleep(60)\nreader.main()\n"
    request = json.dumps({"path": "x.mid", "options": [True, "key"], "seconds": 0.5}) + "\n"
    ran = subprocess.run(
        [sys.executable, "-c", script], input=request.encode(), capture_output=True, timeout=20, check=False
    )
    assert ran.returncode == -signal.SIGALRM

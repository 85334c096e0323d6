"""Files of music become shards: the same bytes whoever writes them, however often they are ended; nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.server
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from musicjax import config as config_lib
from musicjax import config_files, files
from musicjax.config import Config
from musicjax.corpus import download, find, load, pool, read, split, worker
from musicjax.encodings import shard_rows
from musicjax.errors import RunError, UsageError
from musicjax.main import main
from musicjax.music import identity, learned_bins, midi, note_bins, note_rows
from musicjax.music.notes import Notes, from_beats, from_seconds
from musicjax.shards import (
    hash_task,
    read_task,
    runners,
    settle,
    shard_check,
    shard_job,
    shard_report,
    shards,
    tasks,
    write_shards,
)
from musicjax.shards.shards import Manifest, Shards
from tests.test_duplicates import song
from tests.test_end_to_end import documented

pytest.importorskip("array_record")
pytest.importorskip("pyarrow")

FILES, COPIES = 24, 4


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of songs; some come twice, in other keys and under other names, and one file is empty."""
    folder = tmp_path_factory.mktemp("music") / "songs"
    for number in range(FILES):
        path = folder / f"{number % 3}" / f"s{number:02d}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        midi.write(song(number), path)
    for number in range(COPIES):
        notes = song(number)
        moved = from_seconds(notes.pitch + 3, notes.velocity, notes.onset, notes.duration)
        midi.write(moved, folder / f"copy{number}.mid", bpm=90)
    shutil.copy(folder / "0" / "s00.mid", folder / "z.mid")
    (folder / "1" / "empty.mid").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def _small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LIST_FILES", 6)


def config_of(source: Path | str, **fields) -> Config:
    config = config_files.load("events")
    asked = {"data.source": str(source), "data.workers": 1, "data.cache": "off", "data.duplicates": "drop", **fields}
    config_lib.set_fields(config, asked)
    return config


@contextlib.contextmanager
def job_of(source: Path | str, output: Path, **fields) -> Iterator[shard_job.Job]:
    config = config_of(source, **fields)
    with runners.started("local", config.data.workers) as runner:
        yield shard_job.Job(config.data, shard_rows.of(config), output, runner)


def write(source: Path | str, output: Path, **fields) -> Manifest:
    with job_of(source, output, **fields) as job:
        return write_shards.write(job)


def mend(source: Path | str, output: Path, **fields) -> Manifest:
    with job_of(source, output, **fields) as job:
        return shard_check.mend(job)


def content(folder: Path) -> dict[str, bytes]:
    assert not (folder / find.WORK).exists()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def written(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of the folder."""
    output = tmp_path_factory.mktemp("written") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "LIST_FILES", 6)
        write(music, output)
    return output


# The same pieces.


def pieces_of(folder: Path) -> dict[str, tuple[Notes, int]]:
    found = Shards(folder)
    return {
        name: (notes, int(use))
        for (name, notes), use in zip(
            map(found.piece, range(len(found.index.piece_use))), found.index.piece_use, strict=True
        )
    }


@pytest.mark.parametrize("mode", ["drop", "together", "keep"])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_folder_and_its_shards_hold_out_the_same_pieces_and_have_the_same_bins(music, tmp_path, mode, seed):
    fields = {"data.duplicates": mode, "data.split_seed": seed}
    manifest = write(music, tmp_path / "s", **fields)
    data = config_of(music, **fields).data
    corpus, _ = load.load(data)
    parts = split.parts(corpus, data, corpus.offsets, 1)
    found = pieces_of(tmp_path / "s")
    assert {name: use for name, (_, use) in found.items()} == dict(zip(corpus.names, parts.use.tolist(), strict=True))
    for name, piece in zip(corpus.names, corpus.pieces, strict=True):
        for field in ("pitch", "velocity", "onset", "duration", "onset_beats", "duration_beats", "tempos", "meters"):
            np.testing.assert_array_equal(getattr(found[name][0], field), getattr(piece, field))
    bins = learned_bins.learn(split.music_of(corpus, parts).training)
    assert note_bins.from_saved(manifest.learned["bins"]) == bins


def test_the_rows_are_those_of_the_pieces(written):
    found = Shards(written)
    bins, index = note_bins.from_saved(found.manifest.learned["bins"]), Shards(written).index
    records = [found.rows(record) for record in range(len(index.record_use))]
    for use in (shards.TRAINING, shards.VALIDATION):
        made = [
            note_rows.encode(found.piece(piece)[1], bins)[0]
            for piece in np.flatnonzero(index.piece_use == use).tolist()
        ]
        there = [rows for rows, own in zip(records, index.record_use, strict=True) if own == use]
        np.testing.assert_array_equal(np.concatenate(there), np.concatenate(made))
        rooms = np.array([note_rows.room(rows) for rows in made])
        np.testing.assert_array_equal(
            np.stack([index.down, index.up], axis=1)[index.record_use[index.part_record] == use], rooms
        )


def test_the_report_has_a_line_for_each_file(music, written):
    found = [*shard_report.outcomes(written / shards.REPORT)]
    corpus, outcomes = load.read(config_of(music).data)
    assert [outcome for outcome, _ in found] == outcomes
    used = Shards(written).index.piece_use
    uses = [use for _, own in found for use in own]
    assert [use for use in uses if use != split.NOTHING] == used.tolist()
    assert len(uses) == len(corpus) and uses.count(split.NOTHING) == COPIES + 1


@pytest.mark.parametrize("mode", ["drop", "together"])
def test_folders_that_are_a_split_decide_and_tests_are_left_out(tmp_path, capsys, mode):
    for folder, numbers in {"train": (0, 1, 2, 3), "valid": (4, 1), "test": (5, 2)}.items():
        for number in numbers:
            (tmp_path / "m" / folder).mkdir(parents=True, exist_ok=True)
            midi.write(song(number), tmp_path / "m" / folder / f"{number}.mid")
    write(tmp_path / "m", tmp_path / "s", **{"data.duplicates": mode})
    assert "leaves out test/, 2 pieces" in capsys.readouterr().err
    found = pieces_of(tmp_path / "s")
    data = config_of(tmp_path / "m", **{"data.duplicates": mode}).data
    corpus, _ = load.load(data)
    use = split.parts(corpus, data, corpus.offsets, 1).use.tolist()
    assert {name: use for name, (_, use) in found.items()} == dict(zip(corpus.names, use, strict=True))


def test_a_sample_that_bins_are_learned_from_does_not_depend_on_other_files(monkeypatch):
    def pieces(names: list[str]) -> settle.Pieces:
        rows = [
            read_task.Row(name, "kept", "kept", "", 1.0, "00" * 32, [read_task.Piece(0, 1, 10, 1)]) for name in names
        ]
        return settle.gather([rows])[0]

    monkeypatch.setattr(settle, "MOST_LEARNED_PIECES", 20)
    names = [f"{number}.mid" for number in range(100)]
    few, many = (
        {found.names[piece] for piece in settle.learned_from(found, np.zeros(len(found.names)), 0)}
        for found in (pieces(names[:50]), pieces(names))
    )
    assert len(few) == len(many) == 20
    assert many & set(names[:50]) <= few
    monkeypatch.setattr(settle, "MOST_LEARNED_NOTES", 55)
    assert len(settle.learned_from(pieces(names), np.zeros(100), 0)) == 5


# The same bytes.


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_processes_changes_no_byte(music, written, tmp_path, workers):
    write(music, tmp_path / "s", **{"data.workers": workers})
    assert content(tmp_path / "s") == content(written)


class Stop(Exception):
    """What ends a start in the middle."""


@pytest.mark.parametrize("after", [1, 7, *(pytest.param(after, marks=pytest.mark.long) for after in (3, 6, 9, 11))])
def test_a_start_that_was_ended_goes_on_to_the_same_bytes(music, written, tmp_path, monkeypatch, capsys, after):
    whole, left, done = runners._Local.results, after, []

    def some(*args):
        nonlocal left
        for result in whole(*args):
            yield result
            left -= 1
            if not left:
                raise Stop

    monkeypatch.setattr(runners._Local, "results", some)
    with pytest.raises(Stop):
        write(music, tmp_path / "s")
    monkeypatch.setattr(runners._Local, "results", lambda *args: (done.append(1) or found for found in whole(*args)))
    write(music, tmp_path / "s")
    assert content(tmp_path / "s") == content(written)
    assert "goes on with what is there" in capsys.readouterr().err
    total = len(written_lists(music, tmp_path)) * 2 + 2  # those compared and those learned from are a task each
    assert len(done) <= total - after  # what was done is not done again


def written_lists(music: Path, tmp_path: Path) -> list[tasks.Task]:
    listing = tasks.listing(music, None, tmp_path / "none")
    return tasks.write_lists(tasks.entries(listing, lambda entry: None), tmp_path / "lists")[0]


PROGRAM = "from musicjax.shards import tasks; tasks.LIST_FILES = 6; from musicjax.main import main; main({})"


@pytest.mark.parametrize("sign", ["read-*.jsonl", "rows-*"])
def test_a_start_that_is_killed_goes_on_to_the_same_bytes(music, written, tmp_path, sign):
    """Killed where the first file appears that looks like this."""
    output = tmp_path / "s"
    argv = ["data", "--config=events", f"--data={music}", f"--output={output}", "--config.data.cache=off"]
    command = [sys.executable, "-c", PROGRAM.format(argv)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while not any(any(folder.glob(sign)) for folder in (output, output / find.WORK)):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL if sign == "rows-*" else signal.SIGINT)
    _, said = process.communicate()
    assert sign == "rows-*" or b"stopped by SIGINT; the same command goes on" in said
    assert not (output / shards.MANIFEST).exists()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert content(output) == content(written)


def test_a_file_that_comes_changes_one_list(music, tmp_path):
    def lists() -> set[str]:
        return {task.digest for task in written_lists(tmp_path / "m", tmp_path)}

    shutil.copytree(music, tmp_path / "m")
    before = lists()
    shutil.copy(music / "z.mid", tmp_path / "m" / "1" / "new.mid")
    assert len(lists() - before) <= 2 and len(before & lists()) >= 2


def test_a_file_that_changes_is_read_again_and_no_other_list(music, tmp_path, monkeypatch):
    shutil.copytree(music, tmp_path / "m")
    whole, read = runners._Local.results, []

    def read_alone(self, function, requests):
        if function is not read_task.run:
            raise Stop
        read.append(len(requests))
        return whole(self, function, requests)

    monkeypatch.setattr(runners._Local, "results", read_alone)
    for number in (99, 98):
        with pytest.raises(Stop):
            write(tmp_path / "m", tmp_path / "s")
        midi.write(song(number), tmp_path / "m" / "1" / "s04.mid")
    assert read[1:] == [1] and read[0] > 3


# Sources.


def test_a_listing_has_what_find_finds(music, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(music, folder)
    (folder / "a-b").mkdir()
    (folder / "a").mkdir()
    for name in ("a-b/x.mid", "a/y.mid", "a.mid", "A.MID"):
        shutil.copy(music / "z.mid", folder / name)
    (folder / "notes.xml").write_text("<html/>")
    (folder / "more.xml").write_text("<html/>")
    os.symlink(folder / "a.mid", folder / "link.mid")
    os.symlink(folder / "a", folder / "loop")
    os.symlink(folder / "nowhere", folder / "gone.mid")
    os.link(folder / "a.mid", folder / "hard.mid")
    run = folder / "run"
    run.mkdir()
    for name in ("config.json", "metrics.jsonl", "own.mid"):
        (run / name).write_text("{}")
    (folder / "s" / find.WORK / "unpacked").mkdir(parents=True)
    (folder / "s" / find.WORK / find.BEGAN).write_text("{}")
    shutil.copy(music / "z.mid", folder / "s" / find.WORK / "unpacked" / "x.mid")
    expected = find.find(folder)
    listing = tasks.listing(folder, None, tmp_path / "none")
    paths = sorted([*expected.paths, *expected.foreign[:1]])
    assert [*listing.names] == [path.relative_to(folder).as_posix() for path in paths]
    assert (listing.runs, listing.foreign) == ([str(run)], 2)
    assert listing.names[listing.first_foreign] == "more.xml"


def test_the_folder_of_shards_is_no_source_of_its_own(music, tmp_path):
    shutil.copytree(music, tmp_path / "m")
    output = tmp_path / "m" / "shards"
    output.mkdir()
    shutil.copy(music / "z.mid", output / "x.mid")
    assert not [name for name in tasks.listing(tmp_path / "m", None, output).names if name.startswith("shards")]


@pytest.mark.parametrize("pattern", ["**/*.mid", "[12]/*.mid", "*", "0/s0?.mid"])
def test_a_pattern_names_files_and_folders(music, tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(music)
    expected = sorted(
        {
            file.relative_to(music).as_posix()
            for path in music.glob(pattern)
            for file in ([path] if path.is_file() else path.rglob("*.mid"))
        },
        key=lambda name: name.split("/"),
    )
    listing = tasks.of_pattern(pattern, tmp_path / "none")
    prefix = os.path.relpath(listing.root, music)
    assert [os.path.normpath(os.path.join(prefix, name)) for name in listing.names] == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pattern_leaves_pipes_out(music, tmp_path):
    shutil.copy(music / "z.mid", tmp_path)
    for name in ("pipe.mid", "pipe.xml"):
        os.mkfifo(tmp_path / name)
    assert list(tasks.of_pattern(f"{tmp_path}/*", tmp_path / "none").names) == ["z.mid"]


def packed(music: Path, folder: Path) -> Path:
    """The folder with its files in archives, one of which is named as music and one of which is cut off."""
    folder.mkdir()
    for number in "012":
        with zipfile.ZipFile(folder / f"{number}.zip", "w") as archive:
            for path in sorted((music / number).iterdir()):
                archive.write(path, f"in/{path.name}")
    shutil.copy(folder / "0.zip", folder / "odd.mid")
    (folder / "cut.zip").write_bytes((folder / "2.zip").read_bytes()[:700])
    shutil.copy(music / "copy0.mid", folder)
    with gzip.open(folder / "none.tar.gz", "w") as stream:
        stream.write(b"nothing")
    return folder


def test_archives_are_read_as_they_are_without_shards(music, tmp_path):
    source = packed(music, tmp_path / "m")
    write(source, tmp_path / "s")
    corpus, outcomes = load.read(config_of(source).data)
    found = [outcome for outcome, _ in shard_report.outcomes(tmp_path / "s" / shards.REPORT)]
    assert found == outcomes
    assert len({name.split("/")[0] for name in corpus.names}) == 6


def test_an_address_is_downloaded_and_read(music, tmp_path, monkeypatch):
    source = packed(music, tmp_path / "m")
    handler = lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(source))  # noqa: E731
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        write(f"{address}/0.zip", tmp_path / "s")
        with pytest.raises(UsageError, match="expected the address of one file"):
            write(f"{address}/page", tmp_path / "t")
        with pytest.raises(RunError, match="404"):
            write(f"{address}/gone.zip", tmp_path / "t")
        server.shutdown()
    assert sorted(pieces_of(tmp_path / "s"))[0] == "0.zip/in/s00.mid"
    assert not (tmp_path / "t" / find.WORK).exists()


def test_a_download_that_breaks_off_is_kept_and_goes_on(music, tmp_path, monkeypatch):
    whole = (packed(music, tmp_path / "m") / "0.zip").read_bytes()

    def half(url: str, path: Path, *_) -> None:
        here = path.stat().st_size if path.exists() else 0
        with path.open("ab") as stream:
            stream.write(whole[here : here + len(whole) // 2 + 1])
        if not here:
            raise download.DownloadError("broke off")

    monkeypatch.setattr(download, "download", half)
    with pytest.raises(RunError, match="start again to go on"):
        write("http://a/0.zip", tmp_path / "s")
    with pytest.raises(RunError, match=r"begun with --data=http://a/0\.zip, not http://b/0\.zip"):
        write("http://b/0.zip", tmp_path / "s")
    write("http://a/0.zip", tmp_path / "s")
    assert sorted(pieces_of(tmp_path / "s"))[0] == "0.zip/in/s00.mid"


# Files that end the process that reads them.

HOSTILE = """
import importlib, os, signal, time
from musicjax.shards import read_task, task_process
read = read_task.read_file
def hostile(path, *rest, **named):
    if "hang" in os.path.basename(path):
        time.sleep(600)
    if "kill" in os.path.basename(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, *rest, **named)
read_task.read_file = hostile
def once(module, name, mark):
    module = importlib.import_module(module)
    whole = getattr(module, name)
    def killed_once(*rest, **named):
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*rest, **named)
    setattr(module, name, killed_once)
if "KILLED_ONCE" in os.environ:
    once(*os.environ["KILLED_ONCE"].split(":"))
task_process.main()
"""


@pytest.fixture
def hostile(monkeypatch) -> list[subprocess.Popen]:
    """Makes every process one that files can hang or kill; the list grows by each that is started."""
    started = []

    def start(module: str) -> subprocess.Popen:
        root = str(Path(load.__file__).parents[2])
        command, pipe = [sys.executable, "-c", HOSTILE], subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, "PYTHONPATH": root}))
        return started[-1]

    monkeypatch.setattr(pool, "start", start)
    return started


def codes_of(folder: Path) -> dict[str, str]:
    return {outcome.path: outcome.code for outcome, _ in shard_report.outcomes(folder / shards.REPORT)}


def test_a_file_that_hangs_or_kills_its_process_costs_itself_alone(music, written, tmp_path, hostile, monkeypatch):
    monkeypatch.setattr(tasks, "LIST_FILES", 40)
    shutil.copytree(music, tmp_path / "m")
    for name in ("0/hang.mid", "0/kill-1.mid", "0/kill-2.mid", "zz-kill.mid"):
        shutil.copy(music / "z.mid", tmp_path / "m" / name)
    write(tmp_path / "m", tmp_path / "s", **{"data.seconds_per_file": 1.0})
    codes = codes_of(tmp_path / "s")
    assert codes.pop("0/hang.mid") == "time_limit"
    assert [codes.pop(name) for name in ("0/kill-1.mid", "0/kill-2.mid", "zz-kill.mid")] == ["reader_died"] * 3
    assert codes == codes_of(written)
    assert all(process.wait(10) is not None for process in hostile)


@pytest.mark.parametrize(
    "place",
    [
        "shards.read_task:read_file",
        *(
            pytest.param(place, marks=pytest.mark.long)
            for place in ("shards.read_task:_line", "shards.unpack_task:_sha256", "files:sha256")
        ),
    ],
)
def test_a_process_that_something_else_ended_costs_no_file(music, tmp_path, monkeypatch, hostile, place):
    """Killed once, as a system that runs out of memory does, in the middle of a file, an archive or its hash."""
    source = packed(music, tmp_path / "m")
    shutil.copy(music / "z.mid", source / "kill.mid")
    write(source, tmp_path / "whole")
    monkeypatch.setenv("KILLED_ONCE", f"musicjax.{place}:{tmp_path / 'killed'}")
    write(source, tmp_path / "s")
    assert (tmp_path / "killed").exists() and codes_of(tmp_path / "s")["kill.mid"] == "reader_died"
    assert content(tmp_path / "s") == content(tmp_path / "whole")


def test_a_file_that_ended_its_process_is_hashed_by_another_which_waits_no_longer(music, tmp_path):
    process, fifo = runners.TaskProcess(), tmp_path / "fifo"
    os.mkfifo(fifo)  # nobody writes into it, so that whoever reads it waits for ever
    assert hash_task.sha256(process, str(fifo), 0.5) == ""
    assert hash_task.sha256(process, str(tmp_path / "nothing"), 0.5) == ""
    assert hash_task.sha256(process, str(music / "z.mid"), 60.0) == files.sha256(music / "z.mid")
    process.end()


def test_the_limits_of_a_task_end_with_it_whatever_it_raises():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ZeroDivisionError), worker.limits(60.0) as alarm:
        alarm.begin()
        assert resource.getrlimit(resource.RLIMIT_AS) != before
        raise ZeroDivisionError
    assert resource.getrlimit(resource.RLIMIT_AS) == before and signal.alarm(0) == 0


def test_processes_end_with_the_work_that_was_stopped(music, tmp_path, hostile):
    shutil.copytree(music, tmp_path / "m")
    shutil.copy(music / "z.mid", tmp_path / "m" / "2" / "hang.mid")
    with job_of(tmp_path / "m", tmp_path / "s", **{"data.workers": 2}) as job:
        job.work.mkdir(parents=True)
        with write_shards.listed(job) as (lists, _):
            requests = [read_task.request(job.work, task, read.Options(), 60.0) for task in lists]
        found = job.runner.results(read_task.run, requests)
        next(found)
        started = time.monotonic()
        found.close()
    assert time.monotonic() - started < 10
    assert all(process.wait(10) is not None for process in hostile)


def test_a_process_that_ends_after_its_last_file_has_read_them_all(music, written, tmp_path, monkeypatch):
    do, died = runners.TaskProcess.do, []

    def dies(self, module, *rest, **named):
        result = do(self, module, *rest, **named)
        if module == "read_task" and not died:
            died.append(module)
            raise runners.Died(False, 0)
        return result

    monkeypatch.setattr(runners.TaskProcess, "do", dies)
    write(music, tmp_path / "s")
    assert died and content(tmp_path / "s").keys() == content(written).keys()
    assert codes_of(tmp_path / "s") == codes_of(written)


def test_a_process_that_is_started_as_all_are_stopped_is_ended(monkeypatch):
    process, pipe, slow = runners.TaskProcess(), subprocess.PIPE, "import time; print(flush=True); time.sleep(5)"

    def stopped_meanwhile(module: str) -> subprocess.Popen:
        threading.Thread(target=process.stop).start()
        time.sleep(0.05)
        return subprocess.Popen([sys.executable, "-c", slow], stdin=pipe, stdout=pipe)

    monkeypatch.setattr(pool, "start", stopped_meanwhile)
    started = time.monotonic()
    with pytest.raises(runners.Stopped):
        process.do("read_task", {})
    assert time.monotonic() - started < 4


def test_a_process_that_is_still_as_it_starts_is_ended(monkeypatch):
    still, pipe, started = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", subprocess.PIPE, []

    def start(module: str) -> subprocess.Popen:
        started.append(subprocess.Popen([sys.executable, "-c", still], stdin=pipe, stdout=pipe))
        return started[-1]

    monkeypatch.setattr(pool, "start", start)
    with pytest.raises(RunError, match=r"did not start within 0\.5 s"):
        runners.TaskProcess(start_seconds=0.5).do("hash_task", {})
    assert started[0].wait(10) == -signal.SIGKILL


FAILING = """
import os, signal
from musicjax.shards import hash_task, task_process
def work(task):
    {}
hash_task.work = work
task_process.main()
"""


@pytest.mark.parametrize(
    ("end", "told", "is_memory"),
    [
        ("raise MemoryError", "ran out of memory in its hash task", True),
        ("raise TypeError('odd')", "failed in its hash task with exit status 1; .* on standard error; start", False),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL in .*, most likely for lack of memory", True),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was ended by SIGTERM in the middle of its hash task;", False),
    ],
)
def test_how_a_process_ended_is_told(monkeypatch, capfd, end, told, is_memory):
    def start(module: str) -> subprocess.Popen:
        command, pipe = [sys.executable, "-c", FAILING.format(end)], subprocess.PIPE
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )

    monkeypatch.setattr(pool, "start", start)
    with pytest.raises(RunError, match=told) as found:
        runners.do(runners.TaskProcess(), {}, "hash_task")
    assert ("--config.data.workers=1" in str(found.value)) is is_memory
    assert ("TypeError: odd" in capfd.readouterr().err) is ("TypeError" in end)


# Which pieces are the same.


def test_places_are_compared_as_a_corpus_is(music, tmp_path):
    with job_of(music, tmp_path / "s", **{"data.duplicates": "keep"}) as job, job.begun():
        found = write_shards._read(job)
        alike = write_shards._compared(job, found)
    corpus, _ = load.read(job.data)
    np.testing.assert_array_equal(alike, corpus.alike)
    copied, groups = settle.candidates(found.pieces)
    assert (copied != np.arange(len(copied))).sum() == 1 and len(groups) == COPIES


def test_groups_are_compared_in_batches(music, tmp_path, written, monkeypatch):
    monkeypatch.setattr(write_shards, "COMPARED_PIECES", 1)
    write(music, tmp_path / "s")
    assert content(tmp_path / "s") == content(written)


def test_many_pieces_that_differ_keep_their_order():
    """More than once room for as many again is made."""
    random = np.random.default_rng(0)
    made = [from_beats([60, 62], [64, 64], [0, 1], [1, length]) for length in random.uniform(1, 9, 40)]
    pieces = [made[number] for number in random.integers(0, 40, 200)]
    first = identity.first_of(pieces)
    np.testing.assert_array_equal(first[first], first)
    for index, piece in enumerate(pieces):
        earlier = [k for k in range(index) if first[k] == k and identity.first_alike([pieces[k], piece])[1] == 0]
        assert first[index] == (earlier[0] if earlier else index)


# What is damaged is written anew.


@pytest.mark.parametrize("name", ["rows-00001.array_record", "notes-00000.array_record", "index.npz", "report.parquet"])
@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_second_run_writes_what_is_missing_or_damaged(music, written, tmp_path, name, damage, capsys):
    output = tmp_path / "s"
    shutil.copytree(written, output)
    path = output / name
    if damage == "gone":
        path.unlink()
    else:
        kept = path.read_bytes()
        path.write_bytes(kept[:-7] if damage == "cut" else kept[:-7] + b"changed")
    with pytest.raises(RunError, match=f"{name} is missing or damaged; run musicjax data"):
        shard_check.require_whole(output)
    mend(music, output)
    assert content(output) == content(written)
    assert f"{name} is missing or damaged; rewriting" in capsys.readouterr().err


def test_a_second_run_of_whole_shards_does_nothing(music, written, tmp_path, monkeypatch, capsys):
    shutil.copytree(written, tmp_path / "s")
    (tmp_path / "s" / ".0a0b0c0d-rows-00000.array_record.partial").write_text("of a start that was killed")
    monkeypatch.setattr(runners._Local, "results", None)
    mend(music, tmp_path / "s")
    assert "are intact" in capsys.readouterr().err
    assert content(tmp_path / "s") == content(written)


@pytest.mark.parametrize("change", ["other notes", "another file"])
def test_shards_of_files_that_changed_are_not_mended(music, written, tmp_path, change):
    shutil.copytree(music, tmp_path / "songs")
    write(tmp_path / "songs", tmp_path / "s")
    path = tmp_path / "songs" / "0" / "s00.mid"
    if change == "another file":
        shutil.copy(path, tmp_path / "songs" / "0" / "t.mid")
    else:
        path.write_bytes(path.read_bytes().replace(bytes([80]), bytes([81])))
    (tmp_path / "s" / "rows-00000.array_record").unlink()
    before = content(tmp_path / "s")
    with pytest.raises(RunError, match="no longer holds what they were written from"):
        mend(tmp_path / "songs", tmp_path / "s")
    assert {name: (tmp_path / "s" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("name", ["index.npz", "report.parquet"])
def test_notes_that_changed_in_a_file_of_the_same_length_cost_no_sound_shard(music, tmp_path, name):
    shutil.copytree(music, tmp_path / "songs")
    write(tmp_path / "songs", tmp_path / "s")
    path = tmp_path / "songs" / "0" / "s00.mid"
    path.write_bytes(path.read_bytes().replace(bytes([80]), bytes([81])))
    (tmp_path / "s" / name).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    with pytest.raises(RunError, match="no longer holds what they were written from"):
        mend(tmp_path / "songs", tmp_path / "s")
    assert {name: (tmp_path / "s" / name).read_bytes() for name in before} == before


def test_shards_are_mended_from_their_files_in_another_place_and_over_a_folder(music, written, tmp_path):
    shutil.copytree(music, tmp_path / "moved")
    shutil.copytree(written, tmp_path / "s")
    for name in ("report.parquet", "rows-00000.array_record"):
        (tmp_path / "s" / name).unlink()
        (tmp_path / "s" / name).mkdir()
        mend(tmp_path / "moved", tmp_path / "s")
        assert content(tmp_path / "s") == content(written)


def test_shards_of_files_that_changed_stay_as_they_are(music, written, tmp_path):
    shutil.copytree(music, tmp_path / "songs")
    write(tmp_path / "songs", tmp_path / "s")
    shutil.copy(tmp_path / "songs" / "z.mid", tmp_path / "songs" / "0" / "t.mid")
    (tmp_path / "s" / shards.INDEX).unlink()
    before = content(tmp_path / "s")
    with pytest.raises(RunError, match="no longer holds what they were written from"):
        mend(tmp_path / "songs", tmp_path / "s")
    assert content(tmp_path / "s") == before


@pytest.mark.parametrize("change", ["more", "other", "fewer"])
def test_a_second_run_says_that_the_source_has_changed(music, tmp_path, capsys, change):
    shutil.copytree(music, tmp_path / "m")
    write(tmp_path / "m", tmp_path / "s")
    before = content(tmp_path / "s")
    mend(tmp_path / "m", tmp_path / "s")
    assert "has changed" not in capsys.readouterr().err
    if change == "fewer":
        (tmp_path / "m" / "z.mid").unlink()
    else:
        midi.write(song(70), tmp_path / "m" / ("new.mid" if change == "more" else "z.mid"))
    mend(tmp_path / "m", tmp_path / "s")
    assert f"{tmp_path / 'm'} has changed since these shards were written" in capsys.readouterr().err
    assert content(tmp_path / "s") == before


def test_a_source_that_is_gone_or_packed_is_not_listed(music, tmp_path, capsys):
    write(packed(music, tmp_path / "m"), tmp_path / "s")
    (tmp_path / "m" / "copy0.mid").unlink()
    mend(tmp_path / "m", tmp_path / "s")
    shutil.rmtree(tmp_path / "m")
    mend(tmp_path / "m", tmp_path / "s")
    assert "has changed" not in capsys.readouterr().err


@pytest.mark.parametrize("spelled", ["./{}/", "{}/../{}", "{}/.", "/absolute"])
def test_a_folder_may_be_spelled_otherwise(music, tmp_path, monkeypatch, spelled):
    shutil.copytree(music, tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    write("m", tmp_path / "s")
    other = str(tmp_path / "m") if spelled == "/absolute" else spelled.format("m", "m")
    mend(other, tmp_path / "s")
    shutil.copytree(tmp_path / "m", tmp_path / "n")
    (tmp_path / "n" / "z.mid").unlink()
    with pytest.raises(RunError, match="begun with --data=m, not n"):
        mend("n", tmp_path / "s")


def test_several_files_that_are_damaged_are_counted(written, tmp_path):
    shutil.copytree(written, tmp_path / "s")
    for number, said in enumerate(["is", "and 1 more file are", "and 2 more files are"]):
        (tmp_path / "s" / shards.NOTES.format(number)).unlink()
        with pytest.raises(RunError, match=rf"notes-00000.array_record {said} missing or damaged"):
            shard_check.require_whole(tmp_path / "s")


def test_the_command_that_mends_is_told_whole(music, written, tmp_path, capsys):
    """Whatever the settings of the shards are, since without --config they are taken from there."""
    output = tmp_path / "s"
    write(music, output, **{"data.duplicates": "together", "data.sustain": "pedal", "data.instruments": "merge"})
    (output / shards.NOTES.format(0)).unlink()
    told = f"; run musicjax data --data={music} --output={output}, which rewrites"
    assert told in refused(capsys, f"--data={output}")
    argv = ["data", f"--data={music}", f"--output={output}", "--config.data.cache=off"]
    assert main([*argv, "--config.data.sustain=key"]) == 1
    assert "--config.data.sustain=pedal, not key" in capsys.readouterr().err
    assert main(argv) == 0
    assert (output / shards.NOTES.format(0)).exists()


# What is refused, in one line.


def refused(capsys, *argv: str) -> str:
    status = main(["data", "--config=events", "--config.data.cache=off", *argv])
    out, err = capsys.readouterr()
    assert status in (1, 2) and out == ""
    line = err.splitlines()[-1]
    assert line.startswith("musicjax: ") and "Traceback" not in err
    return line


def test_a_folder_that_holds_something_else_is_refused(music, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    for name, told in (("file", "is a file"), ("other", "holds config.json"), ("../" + tmp_path.name, "holds file")):
        assert told in refused(capsys, f"--data={music}", f"--output={tmp_path / name}")
    assert (tmp_path / "other" / "config.json").read_text() == "{}"
    assert "holds 0" in refused(capsys, f"--data={music}", f"--output={music}")


def test_shards_without_their_manifest_are_known_as_such(music, written, tmp_path, capsys):
    shutil.copytree(written, tmp_path / "s")
    (tmp_path / "s" / shards.MANIFEST).unlink()
    for argv in ([f"--data={music}", f"--output={tmp_path / 's'}"], [f"--data={tmp_path / 's'}"]):
        assert "shards whose shards.json is missing, and cannot be mended; write new" in refused(capsys, *argv)


def test_shards_are_written_of_music_that_is_named(written, tmp_path, capsys):
    assert f"--data={written} is a folder of shards already" in refused(
        capsys, f"--data={written}", f"--output={tmp_path / 's'}"
    )
    assert "--data is missing" in refused(capsys, f"--output={tmp_path / 's'}")
    assert not (tmp_path / "s").exists()


def test_a_source_without_files_leaves_nothing_behind(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    output = tmp_path / "s"
    assert "no .mid" in refused(capsys, f"--data={tmp_path / 'm'}", f"--output={output}")
    assert "no such folder" in refused(capsys, f"--data={tmp_path / 'gone'}", f"--output={output}")
    assert not output.exists()


def test_a_source_of_too_few_pieces_is_refused_and_with_more_files_the_same_command_goes_on(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    output = tmp_path / "s"
    (tmp_path / "m" / "a.mid").write_bytes(b"")
    told = refused(capsys, f"--data={tmp_path / 'm'}", f"--output={output}")
    assert "none of its 1 file gave notes (a.mid: " in told and "add some, and the same command goes on, or" in told
    midi.write(song(0), tmp_path / "m" / "b.mid")
    told = refused(capsys, f"--data={tmp_path / 'm'}", f"--output={output}")
    assert "fewer than two different pieces" in told and told.endswith("add files, and the same command goes on")
    midi.write(song(1), tmp_path / "m" / "c.mid")
    write(tmp_path / "m", output)
    write(tmp_path / "m", tmp_path / "anew")
    assert content(output) == content(tmp_path / "anew")


def test_no_room_says_how_far_it_is_and_the_same_command_goes_on(music, written, tmp_path, monkeypatch):
    from musicjax import files

    whole, left = files.whole, 6

    @contextlib.contextmanager
    def full(path, durable=False):
        nonlocal left
        left -= path.name.startswith("read-")
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with whole(path, durable) as partial:
            yield partial

    monkeypatch.setattr(files, "whole", full)
    with pytest.raises(
        RunError, match=r"No space left on device; 2 of \d lists of files are read, 0 shards written; make"
    ):
        write(music, tmp_path / "s")
    monkeypatch.setattr(files, "whole", whole)
    write(music, tmp_path / "s")
    assert content(tmp_path / "s") == content(written)


def test_no_room_in_a_process_is_told_like_that_too(music, tmp_path, monkeypatch):
    monkeypatch.setattr(
        runners.TaskProcess, "do", lambda *_, **__: task_answer({"os_error": [errno.ENOSPC, "No space left", "x"]})
    )
    with pytest.raises(RunError, match="No space left on device; 0 of"):
        write(music, tmp_path / "s")


def task_answer(answer: dict):
    from musicjax.shards import task_process

    return task_process.result(answer)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"data.sustain": "pedal"}, "--config.data.sustain=key, not pedal"),
        ({"data.split_seed": 1}, "--config.data.split_seed=0, not 1"),
        ({"data.duplicates": "keep"}, "--config.data.duplicates=drop, not keep"),
        ({"data.instruments": "merge"}, "--config.data.instruments=keep, not merge"),
    ],
)
@pytest.mark.parametrize("is_finished", [True, False])
def test_another_config_than_the_one_it_began_with_is_refused(music, written, tmp_path, fields, told, is_finished):
    output = tmp_path / "s"
    if is_finished:
        shutil.copytree(written, output)
    else:
        with pytest.raises(Stop), job_of(music, output) as job, job.begun():
            (job.work / "read-0.jsonl").write_text("{}\n")
            raise Stop
    with pytest.raises(RunError, match=told):
        (mend if is_finished else write)(music, output, **fields)


def test_shards_of_another_version_are_refused(music, written, tmp_path, capsys):
    output = tmp_path / "s"
    shutil.copytree(written, output)
    manifest = json.loads((output / shards.MANIFEST).read_text())
    manifest["versions"]["format"] = 99
    (output / shards.MANIFEST).write_text(json.dumps(manifest))
    assert "format is 99, expected 1" in refused(capsys, f"--data={output}")
    told = refused(capsys, f"--data={music}", f"--output={output}")
    assert "format is 99, expected 1; write them again into another folder" in told
    (output / shards.MANIFEST).write_text("{}")
    assert "shards.json cannot be read" in refused(capsys, f"--data={output}")


def test_shards_that_are_not_finished_are_no_source(music, tmp_path, capsys):
    with pytest.raises(Stop), job_of(music, tmp_path / "s") as job, job.begun():
        (job.work / "read-0.jsonl").write_text("{}\n")
        raise Stop
    told = refused(capsys, f"--data={tmp_path / 's'}")
    assert "shards that are not finished" in told and "run again the command that began them" in told


def test_a_folder_of_music_with_a_manifest_of_its_own_is_no_shards(music, tmp_path, capsys):
    shutil.copytree(music / "1", tmp_path / "m")
    (tmp_path / "m" / "manifest.json").write_text('{"versions": 1}')
    assert main(["data", f"--data={tmp_path / 'm'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == FILES / 3


def test_two_writers_of_one_folder_are_refused(music, tmp_path, capsys):
    from musicjax.store import lock

    (tmp_path / "s").mkdir()
    with lock.kept(tmp_path / "s" / shard_job.LOCK, "", ""):
        told = refused(capsys, f"--data={music}", f"--output={tmp_path / 's'}")
    assert f"are being written: process {os.getpid()} on" in told and "name another --output" in told


@pytest.mark.parametrize("library", ["array_record", "pyarrow"])
def test_a_missing_library_names_the_extra(music, tmp_path, monkeypatch, capsys, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, f"{library}.python", None)
    told = refused(capsys, f"--data={music}", f"--output={tmp_path / 's'}")
    assert f"need the package {library}" in told and "musicjax[large]" in told
    assert not (tmp_path / "s").exists()


def test_a_library_that_a_process_lacks_is_told(music, tmp_path, monkeypatch):
    start = pool.start

    def without(module: str) -> subprocess.Popen:
        blocked = tmp_path / "blocked"
        (blocked / "array_record").mkdir(parents=True, exist_ok=True)
        (blocked / "array_record" / "__init__.py").write_text("raise ImportError('gone')")
        monkeypatch.setenv("PYTHONPATH", str(blocked))
        # the root of the package comes first, so the package that is blocked is found before the installed one
        return start(module)

    monkeypatch.setattr(pool, "start", without)
    with pytest.raises(UsageError, match=r"shards need the package array_record.*musicjax\[large\]"):
        write(music, tmp_path / "s")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--runner=spark", "--output=s"], "runner='spark': expected local or ray"),
        (["--runner=local"], "--runner is for writing shards"),
        (["--output=s", "--workdir=w"], "--workdir with --output"),
        (
            ["--output=s", "--config.data.encoding=notes"],
            "note-event config, such as --config=demo or --config=events, not notes",
        ),
        (["--output="], "--output= is empty"),
        (["--data=*/none*.mid", "--output=s"], "data source */none*.mid: no file matches the pattern"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(music, tmp_path, monkeypatch, capsys, argv, told):
    monkeypatch.chdir(tmp_path)
    assert told in refused(capsys, f"--data={music}", *argv)
    assert not any(tmp_path.iterdir())


# The command.


def test_the_command_writes_and_checks_shards(music, written, tmp_path, capsys):
    output = tmp_path / "s"
    argv = ["data", "--config=events", "--config.data.cache=off", f"--output={output}", "--config.data.workers=2"]
    assert main([*argv, f"--data={music}", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert content(output) == content(written)
    assert found["kept"] == FILES + COPIES + 1 and found["skipped"] == 1 and found["files"] == FILES + COPIES + 2
    assert found["reasons"] == {"empty": 1, "kept": FILES + COPIES + 1} and found["duplicates"] == COPIES + 1
    assert found["training"] + found["validation"] == FILES
    assert f"{COPIES + 1} pieces that repeat others' notes are left out, as duplicates=drop says" in err
    assert "skipped  empty" in err.replace("   ", "  ")
    assert main(["data", f"--data={output}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert found.keys() <= documented("data").keys()
    assert main(["data", f"--data={output}"]) == 0
    assert capsys.readouterr().out.startswith(f"{found['training']} pieces to train and {found['validation']} to")
    assert main([*argv, f"--data={music}"]) == 0
    assert "all of its" in capsys.readouterr().err


def test_a_reason_that_files_of_two_kinds_have_is_counted_once(tmp_path, capsys):
    """Two files that are cut off: one of them gives notes."""
    midi.write(song(0), tmp_path / "a.mid")
    content = (tmp_path / "a.mid").read_bytes()
    (tmp_path / "b.mid").write_bytes(content[:200])
    (tmp_path / "c.mid").write_bytes(content[:16])
    assert main(["data", f"--data={tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recovered"], found["skipped"]) == (1, 1)
    assert sum(found["reasons"].values()) == 3


def test_a_name_that_is_no_unicode_is_kept(music, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(music, folder)
    name = os.fsdecode(b"caf\xe9.mid")
    shutil.copy(music / "0" / "s03.mid", folder / name)
    midi.write(song(77), folder / name)
    write(folder, tmp_path / "s")
    assert name in pieces_of(tmp_path / "s")
    shown = [outcome.path for outcome, _ in shard_report.outcomes(tmp_path / "s" / shards.REPORT)]
    assert "caf\\xe9.mid" in shown


def test_the_processes_that_read_import_numpy_alone():
    script = (
        "import sys, musicjax.shards.task_process, musicjax.shards.read_task; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    root = str(Path(load.__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": "", "PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert not {"jax", "mido", "pyarrow", "array_record", "rich", "scipy"} & set(ran.stdout.split())


# On a cluster.


def test_a_cluster_needs_its_library(music, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    told = refused(capsys, f"--data={music}", f"--output={tmp_path / 's'}", "--runner=ray")
    assert "--runner=ray needs the package ray: expected it to be installed; pip install 'musicjax[large,ray]'" in told


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that Ray leaves to the garbage collector
@pytest.mark.filterwarnings("ignore::FutureWarning")  # news of its own next version
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # it forks where tests before this one imported JAX
def test_a_cluster_that_loses_a_node_writes_the_same_bytes(music, written, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed; it is an extra of its own")
    from ray.cluster_utils import Cluster

    from musicjax.shards import ray_runner

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        second, whole = [cluster.add_node(num_cpus=1)], ray_runner.results

        def lose_a_node(*args):
            for result in whole(*args):
                yield result
                if second:
                    cluster.remove_node(second.pop(), allow_graceful=False)

        monkeypatch.setattr(ray_runner, "results", lose_a_node)
        config = config_of(music)
        with runners.started("ray", 0) as runner:
            write_shards.write(shard_job.Job(config.data, shard_rows.of(config), tmp_path / "s", runner))
        assert not second
    finally:
        cluster.shutdown()
    assert content(tmp_path / "s") == content(written)

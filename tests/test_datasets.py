"""Data sets by name, from a server of our own: what is downloaded, gone on with, refused, and never asked for."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from musicjax.config import DataConfig
from musicjax.corpus import archives, datasets, download, load
from musicjax.errors import RunError, UsageError
from musicjax.music import midi
from musicjax.music.notes import from_seconds


@dataclasses.dataclass
class Server:
    """What an address answers with, and what was asked."""

    base: str = ""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    ranges: bool = True  # whether parts of a file can be asked for
    length: bool = True  # whether the length is told
    cut: int | None = None  # bytes after which the connection ends
    asked: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (path, Range)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range", "")
            state.asked.append((self.path, wanted))
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0
            if start >= len(body) > 0 and start:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if state.length:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : state.cut])

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.base = f"http://127.0.0.1:{running.server_port}"
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


def _song(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    file = Path(os.environ["XDG_CACHE_HOME"]).parent / f"song{os.getpid()}.mid"
    midi.write(from_seconds(rng.integers(40, 90, 20), np.full(20, 90), np.arange(20) / 4, np.full(20, 0.25)), file)
    return file.read_bytes()


SONGS = ("a.mid", "b.mid", "deep/c.midi")


def _members() -> dict[str, bytes]:
    return {f"top/{name}": _song(seed) for seed, name in enumerate(SONGS)} | {"top/readme.txt": b"read me" * 999}


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def publish(server, monkeypatch, tmp_path):
    """publish(archive, suffix) makes it what `maestro` is, as if its hash had been known; gives the cache."""
    monkeypatch.chdir(tmp_path)

    def make(archive: bytes, suffix: str = ".zip", **fields) -> Path:
        path = f"/set{suffix}"
        server.files[path] = archive
        known = {"archive_bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}
        made = datasets.DataSet(server.base + path, suffix, "MIT", r"[^/]+/(.+\.midi?)", **(known | fields))
        monkeypatch.setitem(datasets.DATA_SETS, "maestro", made)
        return tmp_path / "cache"

    return make


def _fetch(cache: Path, name: str = "maestro") -> list[str]:
    said: list[str] = []
    datasets.fetch(name, cache, lambda done, total: None, lambda label, text: said.append(f"{label} {text}"))
    return said


def _left(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "datasets").iterdir() if path.suffix != ".lock")


def _fails(cache: Path, pattern: str) -> str:
    with pytest.raises(RunError, match=pattern) as caught:
        _fetch(cache)
    assert "\n" not in str(caught.value)
    assert not (cache / "datasets" / "maestro").exists()
    return str(caught.value)


# The table.


def test_every_data_set_has_a_check_a_licence_and_an_address():
    assert list(datasets.DATA_SETS) == ["pop_music_midi", "pop909", "maestro", "lakh", "lakh_matched"]
    for data_set in datasets.DATA_SETS.values():
        assert re.fullmatch("[0-9a-f]{64}", data_set.sha256 or data_set.files_sha256)
        assert bool(data_set.sha256) == bool(data_set.archive_bytes) != bool(data_set.files_sha256)
        assert data_set.url.startswith(("https://", "http://hog.ee.columbia.edu/"))
        assert data_set.licence
        assert data_set.suffix in (".zip", ".tar.gz")


@pytest.mark.parametrize(
    ("name", "path", "kept"),
    [
        ("pop_music_midi", "Musical_Matrices-8195f22/Pop_Music_Midi/Africa - Verse.midi", "Africa - Verse.midi"),
        ("pop_music_midi", "Musical_Matrices-8195f22/music_outputs/x.mid", None),
        ("pop909", "POP909-Dataset-d83e6ed/POP909/001/001.mid", "001.mid"),
        ("pop909", "POP909-Dataset-d83e6ed/POP909/001/versions/001-v1.mid", None),
        ("maestro", "maestro-v3.0.0/2018/x.midi", "2018/x.midi"),
        ("maestro", "maestro-v3.0.0/maestro-v3.0.0.csv", "maestro-v3.0.0.csv"),
        ("lakh", "lmd_full/0/0a.mid", "0/0a.mid"),
        ("lakh_matched", "lmd_matched/A/B/C/TRX/0a.mid", "A/B/C/TRX/0a.mid"),
    ],
)
def test_what_is_wanted_of_an_archive(name, path, kept):
    found = re.fullmatch(datasets.DATA_SETS[name].wanted, path)
    assert (found and found[1]) == kept


def test_the_hash_of_the_paper_s_files_is_that_of_the_data_we_have(shared_data):
    assert datasets.files_sha256(shared_data / "pop_music_midi") == datasets.DATA_SETS["pop_music_midi"].files_sha256


# What is downloaded, and what is not.


@pytest.mark.parametrize(("pack", "suffix"), [(_zip, ".zip"), (_tar, ".tar.gz")])
def test_a_name_is_downloaded_once_and_then_a_folder(server, publish, capsys, pack, suffix):
    cache = publish(pack(_members()), suffix)
    source = DataConfig(source="maestro", cache=str(cache), workers=1)
    found, outcomes = load.read(source)
    told = capsys.readouterr().err
    for fact in (f"{server.base}/set{suffix}", "licence  maestro: MIT", "unpacked maestro: 3 files into"):
        assert fact in told
    assert [outcome.path for outcome in outcomes] == list(SONGS)
    assert len(found.notes) == 60
    assert _left(cache) == ["maestro"]
    assert stat.S_IMODE((cache / "datasets" / "maestro").stat().st_mode) == 0o755
    again, _ = load.read(source)
    assert again.fingerprint == found.fingerprint
    assert len(server.asked) == 1


def test_a_folder_of_that_name_in_the_cache_or_here_needs_no_network(server, publish, tmp_path, capsys):
    cache = publish(b"")
    for folder, songs in ((cache / "datasets" / "maestro", 1), (tmp_path / "maestro", 2)):
        folder.mkdir(parents=True)
        for number in range(songs):
            (folder / f"{number}.mid").write_bytes(_song(number))
        _, outcomes = load.read(DataConfig(source="maestro", cache=str(cache), workers=1))
        assert len(outcomes) == songs
    assert f"reads the folder {tmp_path / 'maestro'}, not the data set" in capsys.readouterr().err
    assert server.asked == []


def test_whether_a_data_set_is_missing_is_known_without_the_network(server, publish, tmp_path):
    cache = publish(b"")
    assert datasets.is_missing("maestro", cache)
    assert not any(datasets.is_missing(source, cache) for source in ("builtin", "bach", str(tmp_path)))
    (cache / "datasets" / "maestro").mkdir(parents=True)
    assert not datasets.is_missing("maestro", cache)
    (tmp_path / "maestro").mkdir()
    assert not datasets.is_missing("maestro", tmp_path / "another cache"), "a folder here comes first"
    assert server.asked == []


def test_without_a_cache_there_is_no_place_for_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no cache .*lakh is kept in it; set --config\.data\.cache=DIR"):
        load.read(DataConfig(source="lakh", cache="off"))


def test_an_archive_whose_hash_is_not_known_is_checked_by_its_files(server, publish):
    members = _members()
    lines = (f"{hashlib.sha256(members['top/' + name]).hexdigest()}  {name}\n" for name in sorted(SONGS))
    known = hashlib.sha256("".join(lines).encode()).hexdigest()
    unknown = {"archive_bytes": 0, "sha256": ""}
    cache = publish(_zip(members), **unknown, files_sha256=known)
    server.length = False
    assert any("no fixed sha256" in line for line in _fetch(cache))
    assert _left(cache) == ["maestro"]
    members["top/a.mid"] = _song(9)
    other = publish(_zip(members), **unknown, files_sha256=known).with_name("other")
    _fails(other, f"is not the data set: sha256 [0-9a-f]{{64}}, expected {known}.*--data=DIR")
    assert _left(other) == []


def test_a_mirror_is_asked_instead_and_checked_as_well(server, publish, monkeypatch):
    archive = _zip(_members())
    cache = publish(archive)
    server.files = {"/mirror/maestro.zip": archive}
    monkeypatch.setenv("MUSICJAX_DATA_MIRROR", f"{server.base}/mirror/")
    assert f"{server.base}/mirror/maestro.zip" in _fetch(cache)[0]
    server.files["/mirror/maestro.zip"] = archive[:-1] + b"x"
    _fails(cache.with_name("other"), "is not the data set")


# What breaks off goes on.


def test_a_download_that_broke_off_continues(server, publish):
    archive = _zip(_members())
    cache = publish(archive)
    server.cut = 1000
    _fails(cache, rf"broke off after 1,000 of {len(archive):,} bytes.*start again to continue.*--data=DIR")
    assert _left(cache) == ["maestro.zip.part"]
    server.cut = None
    _fetch(cache)
    assert [asked for _, asked in server.asked] == ["", "bytes=1000-"]
    assert _left(cache) == ["maestro"]


def test_a_server_that_knows_no_ranges_is_read_from_the_beginning(server, publish):
    cache = publish(_zip(_members()))
    server.cut, server.ranges = 1000, False
    _fails(cache, "broke off")
    server.cut = None
    _fetch(cache)
    assert [asked for _, asked in server.asked] == ["", "bytes=1000-"]


@pytest.mark.parametrize("left", ["all of it", "more than there is", "another file"])
def test_whatever_part_was_left_the_right_file_comes_or_nothing(server, publish, left):
    archive = _zip(_members())
    unknown = {} if left != "more than there is" else {"archive_bytes": 0}
    cache = publish(archive, **unknown)
    part = cache / "datasets" / "maestro.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes({"all of it": archive, "more than there is": archive + b"x"}.get(left, b"x" * 1000))
    if left == "another file":
        _fails(cache, "is not the data set")
        assert _left(cache) == []  # so that the next start is a fresh one
    _fetch(cache)
    assert _left(cache) == ["maestro"]
    assert len(server.asked) == {"all of it": 0}.get(left, 2)


def test_an_archive_that_a_killed_start_left_is_not_downloaded_again(server, publish):
    archive = _zip(_members())
    cache = publish(archive)
    half = cache / "datasets" / ".0123abcd-maestro.partial"
    half.mkdir(parents=True)
    (half / "a.mid").write_bytes(b"half")
    (cache / "datasets" / "maestro.zip").write_bytes(archive)
    _fetch(cache)
    assert _left(cache) == ["maestro"]
    assert server.asked == []


def test_progress_ends_at_the_size(server, publish):
    archive, seen = _zip(_members()), []
    cache = publish(archive)
    datasets.fetch("maestro", cache, lambda done, total: seen.append((done, total)), lambda *_: None)
    assert seen[0] == (0, len(archive))
    assert seen[-1] == (len(archive), len(archive))


# What cannot be had.


def test_an_address_without_the_file(server, publish):
    cache = publish(_zip(_members()))
    server.files.clear()
    _fails(cache, r"set\.zip answered 404 Not Found; expected the file.*--data=DIR")
    assert _left(cache) == []


def test_no_network(publish, monkeypatch):
    cache = publish(b"x")
    monkeypatch.setenv("MUSICJAX_DATA_MIRROR", "http://127.0.0.1:9")
    _fails(cache, r"cannot be reached: .*refused.*expected a network.*--data=DIR")


def test_a_wrong_file_is_removed(server, publish):
    archive = _zip(_members())
    cache = publish(archive, sha256="0" * 64)
    _fails(cache, f"is not the data set: sha256 {hashlib.sha256(archive).hexdigest()}, expected 0000")
    assert _left(cache) == []
    _fails(publish(archive, archive_bytes=len(archive) - 1), f"longer than the {len(archive) - 1:,} bytes")
    assert _left(cache) == []


def test_a_disk_that_is_full(publish):
    resource = pytest.importorskip("resource")
    cache = publish(_zip(_members() | {"top/big.mid": bytes(2**20)}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, hard))
    try:
        told = _fails(cache, r"start again to continue.*--config\.data\.cache=DIR")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{cache}/datasets cannot be written: {os.strerror(errno.EFBIG)}" in told
    assert _left(cache) == ["maestro.zip.part"]
    _fetch(cache)


def test_a_folder_that_cannot_be_written(publish):
    cache = publish(b"")
    cache.mkdir()
    (cache / "datasets").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot be written: .*--config\.data\.cache=DIR"):
        _fetch(cache)


# Archives that mean harm.


def _link_in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("top/a.mid")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def _link_in_tar(kind: bytes, name: str = "top/a.mid") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("archive", "suffix", "told"),
    [
        (_zip({"top/../../evil.mid": b"x"}), ".zip", "outside of itself"),
        (_zip({"top/good.mid": b"x", "../evil.txt": b"x"}), ".zip", "outside of itself"),
        (_zip({"/evil.mid": b"x"}), ".zip", "outside of itself"),
        (_zip({"C:/evil.mid": b"x"}), ".zip", "outside of itself"),
        (_zip({"top\\..\\evil.mid": b"x"}), ".zip", "outside of itself"),
        (_tar({"top/../../evil.mid": b"x"}), ".tar.gz", "outside of itself"),
        (_tar({"/evil.mid": b"x"}), ".tar.gz", "outside of itself"),
        (_link_in_zip(), ".zip", "holds a link"),
        (_link_in_tar(tarfile.SYMTYPE), ".tar.gz", "holds a link"),
        (_link_in_tar(tarfile.LNKTYPE), ".tar.gz", "holds a link"),
        (_link_in_tar(tarfile.FIFOTYPE), ".tar.gz", "holds a link"),
        (_tar({"top/a.mid": b"x"})[:-30], ".tar.gz", "is damaged"),
        (_zip({"top/a.mid": b"x"})[:-30], ".zip", "is damaged"),
        (_zip({"top/a.mid": b"hello"}).replace(b"hello", b"hullo"), ".zip", "is damaged"),
        (b"<html>", ".zip", "is damaged"),
        (gzip.compress(b"<html>" * 999), ".tar.gz", "is damaged"),
        (_zip({"top/a.txt": b"x"}), ".zip", "has no file like"),
    ],
    ids=range(17),  # an archive's own bytes tell when it was packed, so that two processes would name it differently
)
def test_a_harmful_archive_gives_nothing(publish, tmp_path, archive, suffix, told):
    cache = publish(archive, suffix)
    _fails(cache, f"the archive .*{told}.*it is removed.*--data=DIR")
    assert _left(cache) == []
    assert not list(tmp_path.rglob("evil*"))


def test_a_name_twice_and_a_size_beyond_all_bounds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 10)
    path = tmp_path / "a.zip"
    for members, told in (({"t/a.mid": b"x" * 11}, "more than"), ({"t/a.mid": b"x", "u/a.mid": b"x"}, "twice")):
        path.write_bytes(_zip(members))
        folder = tmp_path / told.replace(" ", "")
        folder.mkdir()
        with pytest.raises(archives.ArchiveError, match=told):
            archives.unpack(path, folder, r"[^/]+/(.+\.mid)")


def test_a_link_that_nobody_wants_is_passed_over(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(_link_in_tar(tarfile.SYMTYPE, "top/readme"))
    assert archives.unpack(path, tmp_path, r"[^/]+/(.+\.mid)") == 0
    assert os.listdir(tmp_path) == ["a.tar.gz"]


# The command.


def _command(cache: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "musicjax.main", "data", f"--config.data.cache={cache}", *flags],
        capture_output=True,
        text=True,
        cwd=cache.parent,
        env={**os.environ, **variables},
    )


def test_the_command_says_in_one_line_what_failed(server, publish):
    cache = publish(b"no such archive")
    mirror = {"MUSICJAX_DATA_MIRROR": server.base}
    ended = _command(cache, "--data=maestro", **mirror)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert re.search(r"\nmusicjax: data set maestro: .*answered 404.*--data=DIR\n$", ended.stderr)
    assert _command(cache, "--data=maestro", "--config.data.cache=off").returncode == 2


def test_bach_without_music21_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'musicjax\[bach\]'"):
        load.read(DataConfig(source="bach", cache="off"))


def test_a_misspelt_name_gets_the_list_of_data_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="maestro, lakh"):
        load.read(DataConfig(source="meastro", cache="off"))


def test_two_starts_at_once_download_once(server, publish):
    pytest.importorskip("fcntl")
    cache, said, failed = publish(_zip(_members())), [], []

    def start() -> None:
        try:
            said.append(_fetch(cache))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(server.asked) == 1
    assert sum(any("unpacked" in line for line in lines) for lines in said) == 1


def test_a_server_that_stops_answering_is_given_up(server, publish, monkeypatch):
    cache = publish(_zip(_members()))
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MUSICJAX_DATA_MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        _fails(cache, "timed out")

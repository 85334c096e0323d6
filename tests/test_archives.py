"""Archives of music: what is read from them, what is left out and said, and what they must never do."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from musicjax import files
from musicjax.config import DataConfig
from musicjax.corpus import archived_music, corpus, ingest, load, pool, read, worker
from musicjax.corpus.corpus import Outcome
from musicjax.corpus.find import find
from musicjax.errors import RunError
from musicjax.music import midi
from musicjax.music.file_kinds import ARCHIVE_SUFFIXES
from tests.reliability import smf

SCORE = (
    b"<score-partwise><part><measure><note><pitch><step>C</step><octave>4</octave></pitch><duration>1</duration></note>"
    b"</measure></part></score-partwise>"
)


def _song(number: int) -> bytes:
    """Another file for each number, of eight notes."""
    return smf.file(smf.scale(pitches=tuple(pitch - number for pitch in smf.SCALE)))


SONGS = {f"{number}.mid": _song(number) for number in range(4)}


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


MAKE: dict[str, Callable[[dict], bytes]] = {
    ".zip": _zip,
    ".tar": _tar,
    **{suffix: lambda members: _tar(members, "w:gz") for suffix in (".tar.gz", ".tgz")},
    **{suffix: lambda members: _tar(members, "w:bz2") for suffix in (".tar.bz2", ".tbz2")},
    **{suffix: lambda members: _tar(members, "w:xz") for suffix in (".tar.xz", ".txz")},
}
KINDS = (".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz")


def _read(source: Path, cache: Path | str = "off", **knobs) -> tuple[corpus.Corpus, list[Outcome]]:
    """`load.read` by this process, which saves half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "read_files", _read_files)
        return load.read(DataConfig(source=str(source), cache=str(cache), workers=1, **knobs))


def _read_files(paths, workers, seconds_per_file, options):
    for path in paths:
        yield path, *read.read_file(str(path), options)


def _lines(outcomes: list[Outcome]) -> list[tuple[str, str, str]]:
    return [(outcome.path, outcome.status, outcome.code) for outcome in outcomes]


# What is read.


@pytest.mark.parametrize("suffix", MAKE)
def test_the_files_of_an_archive_are_read_each_with_a_line_of_its_own(tmp_path, suffix):
    assert set(MAKE) == set(ARCHIVE_SUFFIXES)
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "a.mid").write_bytes(_song(9))
    members: dict = {"deep/" + name: content for name, content in SONGS.items()} | {"readme.txt": b"words"}
    members |= {"x.mid/": b""} if suffix == ".zip" else {"x.mid": _special("x.mid", tarfile.DIRTYPE)}
    (folder / f"songs{suffix.upper()}").write_bytes(MAKE[suffix](members))
    found, outcomes = _read(folder)
    names = ["a.mid", *(f"songs{suffix.upper()}/deep/{name}" for name in SONGS)]
    assert _lines(outcomes) == [(name, "kept", "kept") for name in names]
    assert list(found.names) == names and [len(piece) for piece in found.pieces] == [8] * 5
    assert [piece.pitch[0] for piece in found.pieces] == [51, 60, 59, 58, 57]


def test_an_archive_as_the_source_gives_the_same_corpus_as_a_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in SONGS.items():
        (folder / name).write_bytes(content)
    path = tmp_path / "songs.tar"
    path.write_bytes(_tar(SONGS))
    one, _ = _read(folder)
    other, outcomes = load.read(DataConfig(source=str(path), cache="off", workers=1))
    assert [outcome.path for outcome in outcomes] == [f"songs.tar/{name}" for name in SONGS]
    assert one.fingerprint == other.fingerprint
    np.testing.assert_array_equal(one.notes.to_array(), other.notes.to_array())


@pytest.mark.parametrize("make", [_zip, _tar])
def test_names_in_an_archive_may_hold_any_characters(tmp_path, make):
    names = ["-.mid", "new\nline.mid", "三.mid", "\x1b[31m.mid", "x" * 300 + ".mid"]
    names += ["\udcff\udcfe.mid"] if make is _tar else []  # bytes that are no UTF-8
    (tmp_path / "a.zip").write_bytes(make({name: _song(number) for number, name in enumerate(names)}))
    found, outcomes = load.read(DataConfig(source=str(tmp_path), cache="off", workers=1))
    assert {outcome.status for outcome in outcomes} == {"kept"}
    assert sorted(found.names) == sorted(f"a.zip/{name}" for name in names)
    corpus.write_report(outcomes, tmp_path / "report.jsonl")
    paths = [json.loads(line)["path"] for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert paths == list(found.names)


def test_archives_in_archives_are_read_down_to_a_limit(tmp_path):
    (tmp_path / "two.zip").write_bytes(_zip({"one.tar.gz": MAKE[".tar.gz"]({"none.zip": _zip(SONGS)})}))
    (tmp_path / "three.zip").write_bytes(_zip({"two.zip": (tmp_path / "two.zip").read_bytes(), "a.mid": _song(0)}))
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        ("three.zip/a.mid", "kept", "kept"),
        ("three.zip/two.zip/one.tar.gz/none.zip", "skipped", "nested_archives"),
        *((f"two.zip/one.tar.gz/none.zip/{name}", "kept", "kept") for name in SONGS),
    ]
    assert "the limit is 2" in outcomes[1].detail


def test_scores_in_an_archive_are_read_and_xml_that_is_none_takes_one_line(tmp_path):
    packed = _zip({"META-INF/container.xml": b'<c><rootfile full-path="s.xml"/></c>', "s.xml": SCORE})
    members = {"a.xml": b"<project/>", "b.xml": SCORE, "c.mxl": packed, "d/e.xml": b"<a/>", "f.musicxml": b"<a/>"}
    (tmp_path / "scores.zip").write_bytes(_zip(members))
    found, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        ("scores.zip/a.xml", "skipped", "not_musicxml"),
        ("scores.zip/b.xml", "kept", "kept"),
        ("scores.zip/c.mxl", "kept", "kept"),
        ("scores.zip/f.musicxml", "skipped", "not_musicxml"),
    ]
    assert "all 2 such .xml files" in outcomes[0].detail
    assert found.notes.pitch.tolist() == [60, 60]


@pytest.mark.parametrize("content", [_tar(SONGS), _zip(SONGS, zipfile.ZIP_STORED), MAKE[".tgz"](SONGS)])
def test_an_archive_is_never_read_as_one_song(tmp_path, content):
    """The first file in a tar, or in a zip that packs nothing, begins where a MIDI file inside a wrapper may begin."""
    path = tmp_path / "songs.mid"
    path.write_bytes(content)
    found, outcomes = _read(tmp_path)
    assert [outcome.path for outcome in outcomes] == [f"songs.mid/{name}" for name in SONGS]
    assert len(found) == 4
    with pytest.raises(midi.MidiError, match=r"archive, not a MIDI file|no MThd"):
        midi.read(path)
    outcome, pieces = read.read_file(str(path), read.Options())  # as a primer, for which nothing is unpacked
    assert (outcome.status, outcome.code, pieces) == ("skipped", "archive", [])


@pytest.mark.parametrize("between", [b"", bytes(100), b"words ", b"x"], ids=["nothing", "zeros", "words", "a letter"])
def test_of_midi_files_one_behind_the_other_the_first_is_read(tmp_path, between):
    path = tmp_path / "several.mid"
    path.write_bytes(_song(0) + between + _song(1) + between + _song(2))
    _, (outcome,) = _read(tmp_path)
    assert (outcome.status, outcome.notes) == ("recovered", 8)
    assert "another MIDI file after this one" in outcome.detail


@pytest.mark.parametrize("signature", [b"Rar!\x1a\x07\x01\x00", b"7z\xbc\xaf\x27\x1c"])
def test_an_archive_of_a_kind_that_is_not_read_is_named(tmp_path, signature):
    (tmp_path / "songs.mid").write_bytes(signature + _song(0))
    _, (outcome,) = _read(tmp_path)
    assert (outcome.status, outcome.code) == ("skipped", "archive")
    assert "7-Zip archive" in outcome.detail or "RAR archive" in outcome.detail


def test_an_archive_that_is_named_as_a_song_in_an_archive_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(_zip({"inner.mid": _zip(SONGS), "a.mid": _song(0)}))
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes)[1] == ("a.zip/inner.mid", "skipped", "archive")
    assert outcomes[1].detail == "is a zip archive, not a piece of music; name it .zip"


@pytest.mark.parametrize("suffix", KINDS)
def test_an_archive_without_music_has_one_line(tmp_path, suffix):
    (tmp_path / "a.mid").write_bytes(_song(0))
    (tmp_path / f"b{suffix}").write_bytes(MAKE[suffix]({"readme.txt": b"words", "__MACOSX/._a.mid": b"\0\5\x16\7"}))
    (tmp_path / f"c{suffix}").write_bytes(MAKE[suffix]({}))
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes)[1:] == [(f"{name}{suffix}", "skipped", "no_music") for name in "bc"]


def test_what_macos_stores_beside_files_is_left_out(tmp_path):
    members = {"a.mid": _song(0), "__MACOSX/._a.mid": b"x", "deep/._b.mid": b"x", "__MACOSX/c.mid": _song(1)}
    (tmp_path / "a.zip").write_bytes(_zip(members))
    assert _lines(_read(tmp_path)[1]) == [("a.zip/a.mid", "kept", "kept")]


def test_of_several_members_of_one_name_the_last_is_read(tmp_path):
    content = _tar({"a.mid": _song(0)})[:1024] + _tar({"./a.mid": _song(1)})
    (tmp_path / "a.tar").write_bytes(content)
    found, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [("a.tar", "recovered", "same_name"), ("a.tar/a.mid", "kept", "kept")]
    assert found.notes.pitch[0] == 59


def test_the_folders_of_an_archive_are_a_split(tmp_path):
    path = tmp_path / "songs.zip"
    path.write_bytes(_zip({"train/a.mid": _song(0), "valid/b.mid": _song(1), "test/c.mid": _song(2)}))
    found, _ = load.load(DataConfig(source=str(path), cache="off", workers=1))
    assert found.names == ("songs.zip/train/a.mid", "songs.zip/valid/b.mid")
    own = corpus.folders(found.names)
    assert own is not None and own.tolist() == [0, 1]


# What archives must not do.


def _tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("make", [_zip, _tar])
def test_names_that_lead_out_of_an_archive_lead_nowhere(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "outside"
    names = [
        "../../evil1.mid",
        f"{outside}/evil2.mid",
        "..\\evil3.mid",
        "C:/evil4.mid",
        "a/../../evil5.mid",
        "n\nl.mid",
    ]
    source = tmp_path / "deep" / "source"
    source.mkdir(parents=True)
    (source / "evil.zip").write_bytes(make({name: _song(number) for number, name in enumerate(names)}))
    before = _tree(tmp_path)
    _, outcomes = _read(source, tmp_path / "cache")
    assert [outcome.status for outcome in outcomes] == ["kept"] * 6
    assert all(".." not in outcome.path.split("/") and "//" not in outcome.path for outcome in outcomes)
    assert [path for path in _tree(tmp_path) if not path.startswith("cache")] == before
    assert not [path for path in _tree(tmp_path / "cache") if "evil" in path or "unpacked" in path]


def test_links_and_devices_are_left_out_and_counted(tmp_path):
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    secret = tmp_path / "secret.mid"
    secret.write_bytes(_song(5))
    members: dict = {f"link{k}.mid": _special(f"link{k}.mid", kind, str(secret)) for k, kind in enumerate(kinds)}
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.tar").write_bytes(_tar({"a.mid": _song(0), **members}))
    linked = zipfile.ZipInfo("link.mid")
    linked.external_attr = 0o120777 << 16
    with zipfile.ZipFile(source / "b.zip", "w") as archive:
        archive.writestr(linked, str(secret))
    _, outcomes = _read(source)
    assert _lines(outcomes) == [
        ("a.tar", "recovered", "link"),
        ("a.tar/a.mid", "kept", "kept"),
        ("b.zip", "skipped", "link"),
    ]
    assert outcomes[0].detail == "4 links and devices left out"


BOMB = _zip({"a.mid": bytes(1_000_000)})


@pytest.mark.parametrize(
    ("limit", "value", "members", "code"),
    [
        ("MOST_MEMBERS", 3, {**SONGS}, "too_many_members"),
        ("MOST_MEMBERS", 3, {f"{k}.txt": b"" for k in range(4)}, "too_many_members"),
        ("MOST_UNPACKED_BYTES", 300, SONGS, "too_many_bytes"),
        ("ALWAYS_UNPACKED_BYTES", 1000, {"a.mid": bytes(1_000_000)}, "too_high_ratio"),
        ("ALWAYS_UNPACKED_BYTES", 1000, {"b.zip": BOMB}, "too_high_ratio"),
        (
            "ALWAYS_UNPACKED_BYTES",
            1000,
            {f"{k}.zip": _zip({"a.mid": bytes(50_000)}) for k in range(20)},
            "too_high_ratio",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar.xz"])
def test_an_archive_beyond_a_limit_is_refused_in_one_line(tmp_path, monkeypatch, limit, value, members, code, suffix):
    monkeypatch.setattr(archived_music, limit, value)
    (tmp_path / "a.mid").write_bytes(_song(0))
    (tmp_path / f"bomb{suffix}").write_bytes(MAKE[suffix](members))
    _, outcomes = _read(tmp_path, tmp_path / "cache")
    assert _lines(outcomes) == [("a.mid", "kept", "kept"), (f"bomb{suffix}", "skipped", code)]
    assert "more than" in outcomes[1].detail and "unpack it" in outcomes[1].detail
    assert not [path for path in _tree(tmp_path / "cache") if "unpacked" in path]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_member_that_is_too_large_costs_that_member(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archived_music, "MOST_BYTES", 10_000)
    (tmp_path / f"a{suffix}").write_bytes(MAKE[suffix]({"a.mid": _song(0), "b.mid": bytes(10_001), "c.mid": _song(1)}))
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        (f"a{suffix}/a.mid", "kept", "kept"),
        (f"a{suffix}/b.mid", "skipped", "too_many_bytes"),
        (f"a{suffix}/c.mid", "kept", "kept"),
    ]


# Damaged archives.


@pytest.mark.parametrize("suffix", KINDS)
def test_an_archive_that_is_cut_off_gives_the_files_before_the_cut(tmp_path, suffix):
    rng = np.random.default_rng(0)  # files that cannot be packed into a few bytes
    songs = {f"{k}.mid": smf.file(smf.scale(pitches=tuple(rng.integers(20, 100, 3000).tolist()))) for k in range(4)}
    content, source = MAKE[suffix](songs), tmp_path / "music"
    source.mkdir()
    (source / "z.mid").write_bytes(_song(0))
    most = 0
    for cut in np.linspace(0, len(content) - 1, 9).astype(int).tolist():
        (source / f"a{suffix}").write_bytes(content[:cut])
        found, outcomes = _read(source)
        read_names = [name for name in found.names if name.startswith("a")]
        assert read_names == [f"a{suffix}/{name}" for name in songs][: len(read_names)]
        assert [len(piece) for piece in found.pieces] == [3000] * len(read_names) + [8]
        own = outcomes[0]
        expected = ("skipped", "empty" if not cut else "bad_archive")
        assert (own.path, own.status, own.code) == (
            f"a{suffix}",
            *(("recovered", "bad_archive") if read_names else expected),
        )
        assert len(read_names) >= most
        most = len(read_names)
    assert most >= (3 if suffix in (".zip", ".tar", ".tar.gz") else 0)


def test_a_tar_archive_that_is_cut_off_between_two_files_says_so(tmp_path):
    (tmp_path / "a.tar").write_bytes(_tar(SONGS)[:2048])
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        ("a.tar", "recovered", "bad_archive"),
        ("a.tar/0.mid", "kept", "kept"),
        ("a.tar/1.mid", "kept", "kept"),
    ]
    assert "perhaps it is cut off; 2 files read" in outcomes[0].detail


def test_the_files_before_the_cut_of_a_small_archive_are_read_though_all_of_it_is_unpacked_at_once(tmp_path):
    content = MAKE[".tgz"](SONGS)
    (tmp_path / "a.tgz").write_bytes(content[: len(content) * 3 // 4])
    found, outcomes = _read(tmp_path)
    assert outcomes[0].status == "recovered" and "a.tgz/0.mid" in found.names


def test_a_zip_archive_that_was_written_to_a_pipe_and_cut_off_gives_the_files_before_the_cut(tmp_path):
    class Pipe(io.RawIOBase):
        """Cannot go back to write the size of a member before it."""

        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, block):
            self.content += bytes(block)
            return len(block)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in SONGS.items():
            archive.writestr(name, content)
    (tmp_path / "a.zip").write_bytes(pipe.content[: pipe.content.index(b"PK\x01\x02")])
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        ("a.zip", "recovered", "bad_archive"),
        *((f"a.zip/{name}", "kept", "kept") for name in SONGS),
    ]


def test_a_damaged_header_in_a_tar_archive_costs_its_own_member(tmp_path):
    content = bytearray(_tar(SONGS))
    content[1024] ^= 1  # the name of the second one
    (tmp_path / "a.tar").write_bytes(content)
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        ("a.tar", "recovered", "bad_archive"),
        *((f"a.tar/{name}", "kept", "kept") for name in ("0.mid", "2.mid", "3.mid")),
    ]


def test_a_damaged_member_of_a_zip_archive_costs_that_member(tmp_path):
    content = _zip(SONGS, zipfile.ZIP_STORED)
    at = content.index(SONGS["1.mid"]) + 30
    (tmp_path / "a.zip").write_bytes(content[:at] + b"\x7f" + content[at + 1 :])
    _, outcomes = _read(tmp_path)
    assert [outcome.code for outcome in outcomes] == ["kept", "bad_archive", "kept", "kept"]
    assert "CRC" in outcomes[1].detail


def test_no_damage_to_an_archive_ends_a_reading(tmp_path):
    rng, codes = np.random.default_rng(0), set()
    for suffix in KINDS:
        content = MAKE[suffix](SONGS)
        path = tmp_path / f"a{suffix}"
        for number in range(25):
            at = int(rng.integers(len(content)))
            path.write_bytes(content[:at] + rng.bytes(4) + content[at + 4 :])
            outcome, _ = read.read_file(str(path), read.Options(unpacked=str(tmp_path / f"out{number % 3}")))
            assert outcome.status in ("kept", "recovered", "skipped")
            codes.add(outcome.code)
    assert codes <= {"kept", "bad_archive", "no_music", "link", "encrypted", "no_header_chunk", "same_name"}


def test_encrypted_files_take_one_line(tmp_path):
    content, listed = bytearray(_zip(SONGS)), 0
    for info in zipfile.ZipFile(io.BytesIO(content)).infolist():
        listed = content.index(b"PK\x01\x02", listed + 1)
        if info.filename in ("1.mid", "2.mid"):
            content[info.header_offset + 6] |= 1  # the flags before the member, and those in the list at the end
            content[listed + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    _, outcomes = _read(tmp_path)
    assert _lines(outcomes) == [
        ("a.zip", "recovered", "encrypted"),
        ("a.zip/0.mid", "kept", "kept"),
        ("a.zip/3.mid", "kept", "kept"),
    ]
    assert outcomes[0].detail == "2 encrypted files left out; unpack it with its password"


# The cache and the folder of what is unpacked.


def test_a_second_start_unpacks_and_reads_nothing(tmp_path, monkeypatch):
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    (source / "a.zip").write_bytes(_zip({**SONGS, "b.tar": _tar(SONGS), "bad.mid": b"words"}))
    first, outcomes = _read(source, cache)
    with monkeypatch.context() as patch:
        patch.setattr(read, "read_file", lambda *_: pytest.fail("a file was read"))
        again, outcomes_again = _read(source, cache)
    assert outcomes == outcomes_again and first.fingerprint == again.fingerprint
    np.testing.assert_array_equal(first.notes.to_array(), again.notes.to_array())

    (entry,) = cache.rglob(outcomes[2].sha256)
    entry.unlink()
    asked = []
    read_file = read.read_file
    monkeypatch.setattr(read, "read_file", lambda path, options: asked.append(path) or read_file(path, options))
    assert _read(source, cache)[1] == outcomes
    assert [Path(path).name for path in asked] == ["a.zip", f"{outcomes[2].sha256}.mid"]


def test_nothing_that_was_unpacked_stays(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.zip").write_bytes(_zip(SONGS))
    cache = tmp_path / "cache"
    names = ("11111111-unpacked", "22222222-unpacked", "33333333-x")
    old, new, other = (cache / f".{name}.partial" for name in names)
    for folder in (old, new, other):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 2 * ingest.OLD_SECONDS,) * 2)
    _read(tmp_path / "source", cache)
    left = [path.name for path in cache.iterdir() if path.name.endswith(files.PARTIAL)]
    assert sorted(left) == [new.name, other.name]


def test_a_cache_without_room_leaves_unpacking_to_the_folder_for_temporary_files(tmp_path, monkeypatch):
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    (source / "b.zip").write_bytes(_zip(SONGS))
    monkeypatch.setattr(ingest.cache_lib, "has_room", lambda folder: False)
    made: list[Path] = []
    removed = files.remove
    monkeypatch.setattr(ingest.files, "remove", lambda path: (made.append(path), removed(path)))
    assert len(_read(source, cache)[1]) == 4
    assert made and all(path.parent == Path(tempfile.gettempdir()) and not path.exists() for path in made)


def test_a_full_disk_costs_the_archive_and_is_tried_again(tmp_path, monkeypatch):
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    (source / "a.mid").write_bytes(_song(0))
    (source / "b.zip").write_bytes(_zip(SONGS))

    def full(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archived_music, "files", SimpleNamespace(whole=full))
        _, outcomes = _read(source, cache)
    assert _lines(outcomes) == [("a.mid", "kept", "kept"), ("b.zip", "skipped", "cannot_unpack")]
    assert "No space left on device" in outcomes[1].detail
    assert len(_read(source, cache)[1]) == 5


@pytest.mark.parametrize(("pause", "late"), [(2.9, False), (3.1, True)])
def test_an_archive_has_the_time_of_a_file_for_each_step_of_unpacking(monkeypatch, pause, late):
    now, answers = 100.0, io.BytesIO()
    alarms: list[int] = []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(worker, "set_alarm", alarms.append)
    still_reading = worker._say_still_reading(answers, 5)
    for _ in range(4):
        now += pause
        still_reading()
        still_reading()  # too soon for another message
    worker.send(answers, read.Reading("kept", "kept", "", (read.Member("a.mid", "1a"),)), [])
    answers.seek(0)

    class Pipe:
        """Gives each message after a pause, and then the watch looks after the process."""

        def read(self, size):
            nonlocal now
            if size == worker._HEAD.size:
                now += pause
                process.kill_if_late()
            return answers.read(size)

    process = pool._ReadingProcess(3.0, read.Options())
    process._process = SimpleNamespace(stdout=Pipe(), kill=lambda: None, communicate=lambda: None)  # type: ignore
    process._asked = Path("a.zip")
    reading, _ = process.read(Path("a.zip"), None)
    assert process._timed_out == late
    assert reading.members == (read.Member("a.mid", "1a"),)
    assert alarms == [5] * 4


# Sources without music.


def test_other_archives_are_not_found(tmp_path):
    for name in ("a.gz", "a.7z", "a.mid.gz", ".zip", ".tar.gz", "zip"):
        (tmp_path / name).write_bytes(_zip(SONGS))
    with pytest.raises(RunError, match=r"\.mid .*\.zip .*\.tar\.xz"):
        find(tmp_path)

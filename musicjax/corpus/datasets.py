"""Data sets by name: where they are, how they are checked, and how they get into the cache.

A name stands for the folder datasets/NAME of the cache. If it is there, no network is used; else `fetch` downloads
it. `bach` is read from the installed package music21 and never copied.
An archive is checked by the sha256 that its publisher states. GitHub packs an archive again for each request, so its
files are checked instead, against those of the git commit. A folder gets its name after its check.

The variable MUSICJAX_DATA_MIRROR names another place for the archives: BASE/NAME.zip or BASE/NAME.tar.gz, checked
against the same hashes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from musicjax import console, files
from musicjax.errors import RunError, UsageError

OnProgress = Callable[[int, int], None]  # bytes that are here, bytes in all (0: not known)
Say = Callable[[str, str], None]  # what it is about, the fact


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One archive.

    Attributes:
        url, suffix: where it is, and the suffix of its kind.
        licence: that its publisher states.
        wanted: pattern of the files in it that are music, see `archives.unpack`.
        archive_bytes, sha256: of the archive; 0 and empty if it is not always the same.
        files_sha256: then sha256 over a line "SHA256  PATH" for each file, as sha256sum writes them, sorted by path.
    """

    url: str
    suffix: str
    licence: str
    wanted: str
    archive_bytes: int = 0
    sha256: str = ""
    files_sha256: str = ""


DATA_SETS = {
    "pop_music_midi": DataSet(  # the paper's own
        "https://codeload.github.com/dshieble/Musical_Matrices/zip/8195f227e99ebe69c2d9e313794f398cf85744f5",
        ".zip",
        "none stated",
        r"[^/]+/Pop_Music_Midi/([^/]+\.midi?)",
        files_sha256="746fb389f378a989798169c047ba3e26e03eb625d8e5e738e98609a97b92da45",
    ),
    "pop909": DataSet(  # without the other versions of each song
        "https://codeload.github.com/music-x-lab/POP909-Dataset/zip/d83e6edba6872a704f5d3b8b32f5cb540088dae6",
        ".zip",
        "MIT",
        r"[^/]+/POP909/\d{3}/(\d{3}\.mid)",
        files_sha256="abaa1aa6e89c6a140a426cee0d1510b247de81a037d64e156aff834b6322bec4",
    ),
    "maestro": DataSet(
        "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip",
        ".zip",
        "CC BY-NC-SA 4.0",
        r"[^/]+/(.+\.(?:midi?|csv)|LICENSE|README)",
        58_416_533,
        "70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
    ),
    "lakh": DataSet(
        "http://hog.ee.columbia.edu/craffel/lmd/lmd_full.tar.gz",
        ".tar.gz",
        "CC BY 4.0",
        r"[^/]+/(.+\.midi?)",
        1_768_163_879,
        "6fcfe2ac49ca08f3f214cec86ab138d4fc4dabcd7f27f491a838dae6db45a12b",
    ),
    "lakh_matched": DataSet(
        "http://hog.ee.columbia.edu/craffel/lmd/lmd_matched.tar.gz",
        ".tar.gz",
        "CC BY 4.0",
        r"[^/]+/(.+\.midi?)",
        1_407_072_670,
        "621ff830aed771f469e5bfa13dc12a33c6ed69090adeda63d0b5c47783af0191",
    ),
}
NAMES = ("bach", *DATA_SETS)
VOICES = 4  # of a chorale; what else is in that folder has other parts too
MIRROR = "MUSICJAX_DATA_MIRROR"
MOST_BYTES = 2**33  # of an archive whose size is not known
OTHERWISE = "or get it another way and name its folder with --data=DIR"


def is_missing(source: str, cache: Path | None) -> bool:
    """Whether a source is a data set that `fetch` would download; raises UsageError if it has no place for it.

    A folder here of the same name comes first.
    """
    return source in DATA_SETS and not Path(source).is_dir() and not _folder(source, cache).is_dir()


def find(name: str, cache: Path | None) -> tuple[Path, list[Path] | None]:
    """The folder of a data set that is not missing, and which files of it count (None: all that are music).

    Raises:
        UsageError: there is no cache.
        RunError: `bach` is not installed.
    """
    return _bach() if name == "bach" else (_folder(name, cache), None)


def fetch(name: str, cache: Path | None, on_progress: OnProgress, say: Say) -> None:
    """Downloads a data set into the cache, checks and unpacks it; continues what a killed start left.

    Raises:
        UsageError: there is no cache.
        RunError: it could not be downloaded whole, and what to do.
    """
    folder = _folder(name, cache)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(
            folder.parent / f"{name}.lock",
            lambda: say("download", f"{name}: another process is downloading it"),
        ):
            if not folder.is_dir():
                archive = folder.parent / (name + DATA_SETS[name].suffix)
                if not archive.is_file():
                    _download(name, archive, on_progress, say)
                _unpack(name, archive, folder, say)
    except OSError as error:
        raise RunError(
            f"data set {name}: {folder.parent} cannot be written: {error.strerror or error}; expected room for it; "
            "make some and start again to continue, or name another folder with --config.data.cache=DIR"
        ) from error


def _bach() -> tuple[Path, list[Path]]:
    found = importlib.util.find_spec("music21")  # not imported, which takes seconds
    if found is None or not found.submodule_search_locations:
        raise RunError(
            "data set bach: the package music21 is not installed; expected it, since it holds the chorales; "
            "`pip install 'musicjax[bach]'` installs it"
        )
    folder = Path(found.submodule_search_locations[0], "corpus", "bach")
    paths = sorted(folder.glob("*.mxl"))
    if not paths:
        raise RunError(
            f"data set bach: no .mxl file in {folder}; expected the chorales that come with music21; "
            "`pip install --force-reinstall 'musicjax[bach]'` puts them there"
        )
    return folder, [path for path in paths if _has_four_voices(path)]


def _has_four_voices(path: Path) -> bool:
    from musicjax.music import musicxml_file  # only this data set needs it here

    try:
        return musicxml_file.count_parts(path) == VOICES
    except (musicxml_file.MusicXmlError, OSError):
        return True  # whoever reads it reports what is wrong


def _folder(name: str, cache: Path | None) -> Path:
    if cache is None:
        raise UsageError(
            f"no cache (config.data.cache): expected a folder, since data set {name} is kept in it; "
            "set --config.data.cache=DIR, or name a folder with music with --data=DIR"
        )
    return cache / "datasets" / name


@contextlib.contextmanager
def _alone(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Waits until no other process is inside, if the system can tell."""
    with path.open("a") as stream:
        with contextlib.suppress(ImportError):  # Windows
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
        yield


def _download(name: str, archive: Path, on_progress: OnProgress, say: Say) -> None:
    data_set, mirror = DATA_SETS[name], os.environ.get(MIRROR)
    url = f"{mirror.rstrip('/')}/{archive.name}" if mirror else data_set.url
    part = archive.with_name(f"{archive.name}.part")
    size = f"{data_set.archive_bytes / 1e6:,.1f} MB" if data_set.archive_bytes else "size not known"
    say("download", f"{name}: {url} ({size}) into {archive.parent}")
    say("licence", f"{name}: {data_set.licence}")
    if not data_set.sha256:
        say("check", f"{name}: checks the files once they are unpacked, since the archive has no fixed sha256")
    limit = data_set.archive_bytes or MOST_BYTES
    if not part.is_file() or part.stat().st_size != limit:  # else only its check is missing
        from musicjax.corpus.download import DownloadError, download  # its imports take time

        try:
            download(url, part, limit, on_progress)
        except DownloadError as error:
            raise RunError(f"data set {name}: {url} {error}; start again to continue, {OTHERWISE}") from error
    if data_set.sha256:
        _require_same(name, part, files.sha256(part), data_set.sha256)
    part.replace(archive)


def _require_same(name: str, path: Path, found: str, expected: str) -> None:
    if found != expected:
        path.unlink()
        raise RunError(
            f"data set {name}: the download is not the data set: sha256 {found}, expected {expected}; "
            f"it is removed; start again, {OTHERWISE}"
        )


def _unpack(name: str, archive: Path, folder: Path, say: Say) -> None:
    """Unpacks an archive that is whole, and removes it."""
    from musicjax.corpus import archives  # its imports take time

    data_set = DATA_SETS[name]
    for left in folder.parent.glob(f".*-{name}.partial"):  # by a start that was killed while it unpacked
        files.remove(left)
    try:
        with files.whole(folder) as partial:
            partial.mkdir()
            count = archives.unpack(archive, partial, data_set.wanted)
            if not count:
                raise archives.ArchiveError(f"has no file like {data_set.wanted}")
            if data_set.files_sha256:
                _require_same(name, archive, files_sha256(partial), data_set.files_sha256)
            if hasattr(os, "sync"):  # the name must not be on the disk before the files are
                os.sync()
    except archives.ArchiveError as error:
        archive.unlink()
        raise RunError(
            f"data set {name}: the archive {error}; expected the data set's own; it is removed; "
            f"start again, {OTHERWISE}"
        ) from error
    archive.unlink()
    say("unpacked", f"{name}: {console.counted(count, 'file')} into {folder}")


def files_sha256(folder: Path) -> str:
    """sha256 over a line "SHA256  PATH" for each file below a folder, sorted by path."""
    paths = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256("".join(f"{files.sha256(path)}  {name}\n" for name, path in paths).encode()).hexdigest()

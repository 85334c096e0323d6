"""The source that a config names, for shards -> its files: also a pattern of names, or the address of an archive."""

from __future__ import annotations

import contextlib
import glob
import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from musicjax import arguments, console
from musicjax.config import DataConfig
from musicjax.corpus import cache as cache_lib
from musicjax.corpus import load
from musicjax.corpus.find import WORK
from musicjax.errors import RunError, UsageError
from musicjax.music.file_kinds import SUFFIXES, suffix_of
from musicjax.shards import tasks
from musicjax.shards.tasks import Listing

MOST_BYTES = 2**38  # of a download
DOWNLOADED = "downloaded"  # the folder of downloads among what is not finished


@contextlib.contextmanager
def located(data: DataConfig, output: Path) -> Iterator[Callable[[], Listing]]:
    """Yields what lists the files of a source, which stay there while the block lasts.

    Args:
        output: a folder that is left out; what is downloaded goes into it.

    Raises:
        UsageError, RunError: as `load.source`; or the address is not that of an archive or a file of music.
    """
    name = data.source
    if name.startswith(("http://", "https://")):
        path = _downloaded(name, output / WORK / DOWNLOADED)
        yield lambda: tasks.listing(path, None, output)
    elif glob.has_magic(name) and not os.path.exists(name):
        yield lambda: tasks.of_pattern(name, output)
    else:
        with load.source(name, cache_lib.cache_folder(data)) as (folder, paths):
            yield lambda: tasks.listing(folder, paths, output)


def is_same(one: str, other: str) -> bool:
    """Whether two sources are spelled alike, or name one file or folder."""
    return one == other or (_is_here(one) and _is_here(other) and _absolute(one) == _absolute(other))


def listed(data: DataConfig, output: Path) -> Listing | None:
    """What a source holds, if that can be told without a download and without opening archives; None if not.

    Args:
        output: as `located` takes it.
    """
    if not (_is_here(data.source) or glob.has_magic(data.source)):
        return None
    try:
        with located(data, output) as find:
            found = find()
    except RunError:  # it holds no music any more
        return None
    return None if tasks.archives(found) else found


def _is_here(source: str) -> bool:
    """Whether a source is a file or a folder of this machine."""
    return source != "builtin" and os.path.exists(_absolute(source))


def _absolute(source: str) -> str:
    return os.path.abspath(arguments.expanded(source))


def _downloaded(url: str, folder: Path) -> Path:
    """The file at an address, downloaded if it is not here; an interrupted download continues.

    Raises:
        UsageError: it is not named as music or an archive.
        RunError: it cannot be downloaded whole.
    """
    from musicjax.corpus.download import DownloadError, download  # its imports take time

    name = os.path.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    if not suffix_of(name):
        raise UsageError(f"--data={url}: expected the address of one file that ends in {' '.join(SUFFIXES)}")
    path, part = folder / name, folder / f"{name}.part"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with console.bar("download", unit="MiB") as update:
        try:
            download(url, part, MOST_BYTES, lambda done, total: update(done >> 20, total=total >> 20 or None))
        except DownloadError as error:
            raise RunError(f"{url} {error}; start again to go on, or download it in another way and name it") from error
    part.replace(path)
    return path

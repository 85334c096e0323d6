"""Files that come from a page: under numbers, in a folder of their own. What they were called is kept beside them and
never used as a path."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from musicjax.errors import UsageError
from musicjax.music.file_kinds import SUFFIXES, suffix_of

MOST_FILES, MOST_BYTES = 20_000, 2**30  # of an upload
MOST_LETTERS = 300  # of a name
FILES, NAMES_FILE = "files", "names.jsonl"
NO_MUSIC = f"does not have the name of a music file; expected {' '.join(SUFFIXES)}"


class Upload:
    """A data set whose files are still coming: how many there are, and how large they are together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = self._bytes = 0
        for path in (folder, folder / FILES):  # not what is above: a disk may have been taken away
            path.mkdir(exist_ok=True)
        for path in (folder / FILES).iterdir():  # of an upload that goes on after the studio was started again
            self._bytes += path.stat().st_size
            number = path.name.split(".")[0]
            self._files = max(self._files, int(number) if number.isdecimal() else 0)
        self._files = max(self._files, len(names(folder)))

    def begin(self, name: str) -> Path | None:
        """Where to write a file that was called this; None: by its name it is no music, which is noted.

        Raises:
            UsageError: there are enough files already.
            OSError: nothing can be written.
        """
        if self._files >= MOST_FILES or self._bytes >= MOST_BYTES:
            raise UsageError(
                f"This data set has {self._files:,} files of {self._bytes >> 20:,} MiB: expected at most "
                f"{MOST_FILES:,} files and {MOST_BYTES >> 20:,} MiB."
            )
        self._files += 1
        suffix = suffix_of(name)
        if suffix:
            return self.folder / FILES / f"{self._files:05d}{suffix}"
        self._note("", name)
        return None

    def end(self, path: Path, name: str) -> None:
        """Counts a file that is there now."""
        self._bytes += path.stat().st_size
        self._note(path.name, name)

    def _note(self, kept_as: str, name: str) -> None:
        with (self.folder / NAMES_FILE).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{json.dumps([kept_as, name])}\n")  # a line that a full disk has cut off ends before it


def shown_name(text: str) -> str:
    """A name as it is shown: printable, and not too long; raises UsageError if nothing of it is left."""
    name = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    if not name:
        raise UsageError("The name cannot be read: expected letters or digits.")
    return name[-MOST_LETTERS:]


def names(folder: Path) -> list[tuple[str, str]]:
    """(the name under which it was kept, empty: it was not; what it was called) of each uploaded file."""
    found: list[tuple[str, str]] = []
    with contextlib.suppress(OSError):
        for line in (folder / NAMES_FILE).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a line that a full disk has cut off
                kept_as, name = json.loads(line)
                found.append((str(kept_as), str(name)))
    return found


def called(folder: Path, path: str) -> str:
    """What to call a file or piece whose path begins with the name under which a file was kept."""
    return shown_path(dict(names(folder)), path)


def shown_path(given: dict[str, str], path: str) -> str:
    """The path with the name that its file was given; what follows it, such as a file of an archive, stays."""
    kept_as = re.match(r"\d{5}(\.\w+)+", path)
    if kept_as is None or kept_as[0] not in given:
        return path
    return given[kept_as[0]] + path[kept_as.end() :]

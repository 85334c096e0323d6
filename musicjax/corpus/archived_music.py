"""Archive -> the files of music in it, each written under the hash of its content, and what became of the rest.

A reading process does this, within its limits of memory and time. No name that an archive gives is ever used for a
file. Limits hold for an archive together with all archives inside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from musicjax import console, files
from musicjax.corpus import archives
from musicjax.corpus.archives import Allowance, ArchiveError, LimitError
from musicjax.corpus.find import foreign_words, is_foreign
from musicjax.corpus.read import Member, Reading, skipped
from musicjax.music import file_kinds
from musicjax.music.file_kinds import ARCHIVE_SUFFIXES, SCORE_SUFFIXES, suffix_of
from musicjax.music.midi import MOST_BYTES

MOST_MEMBERS = 1_000_000  # of any kind; the largest data set of MIDI files has 180,000
MOST_UNPACKED_BYTES = 16 * 2**30
MOST_RATIO = 250  # bytes unpacked for each byte of the archive; scores in XML come to 40
ALWAYS_UNPACKED_BYTES = 256 * 2**20  # as much is unpacked whatever the ratio
MOST_NESTED = 2  # archives around an archive
# What each code of something odd about an archive means.
WORDS = {
    "encrypted": "encrypted files left out; unpack it with its password",
    "link": "links and devices left out",
    "same_name": "files left out, replaced by later ones of the same name",
}


@dataclasses.dataclass
class _Found:
    """What is found in an archive and those inside it.

    Attributes:
        folder: where its files of music go.
        allowance: counts what is unpacked.
        members: its files of music by name.
        count: how many members of any kind there have been.
        unpacked: how many files have been written to the folder.
    """

    folder: str
    allowance: Allowance
    members: dict[str, Member] = dataclasses.field(default_factory=dict)
    count: int = 0
    unpacked: int = 0


def unpack(path: str, kind: str, folder: str, on_progress: Callable[[], object]) -> Reading:
    """The reading of an archive: its files of music, which are in the folder then, or why there are none.

    Args:
        kind: one of `file_kinds.READ_ARCHIVES`.
        folder: made if need be.
        on_progress: called again and again meanwhile.

    Raises:
        OSError: the archive cannot be opened.
        MemoryError: it takes too much.
    """
    ratio_bytes = max(MOST_RATIO * os.path.getsize(path), ALWAYS_UNPACKED_BYTES)
    if ratio_bytes < MOST_UNPACKED_BYTES:
        beyond = LimitError("too_high_ratio", f"unpacks to more than {MOST_RATIO} times its size")
    else:
        beyond = LimitError("too_many_bytes", f"unpacks to more than {MOST_UNPACKED_BYTES:,} bytes")
    found = _Found(folder, Allowance(min(ratio_bytes, MOST_UNPACKED_BYTES), beyond, on_progress))
    with open(path, "rb") as stream:
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            own = _walk(stream, kind, "", 0, found)
        except LimitError as error:
            return skipped(error.code, f"{error}, which is the limit; unpack it yourself")
        except OSError as error:
            return skipped("cannot_unpack", f"cannot be unpacked into {Path(folder).parent}: {error.strerror}")
    members = tuple(sorted(found.members.values(), key=lambda member: member.name.split("/")))
    if own is None:
        return Reading("kept", "kept", "", members)
    return Reading(own.status, own.code, own.detail, members)


def _walk(stream: IO[bytes], kind: str, prefix: str, depth: int, found: _Found) -> Member | None:
    """Adds the files of one archive to those found; returns what is odd about the archive itself, if anything is.

    Args:
        prefix: its own path followed by a slash; empty for the outermost one.
        depth: the number of archives around it.
    """
    odd: Counter[str] = Counter()
    before, unpacked = len(found.members), found.unpacked
    foreign: list[str] = []
    damage = ""
    try:
        for name, what, open_member in archives.members(stream, kind, found.allowance):
            found.count += 1
            if found.count > MOST_MEMBERS:
                raise LimitError("too_many_members", f"holds more than {MOST_MEMBERS:,} files")
            clean = _clean(name)
            suffix = suffix_of(clean)
            if what == "folder" or not suffix or _is_of_macos(clean):
                continue
            if what != "file":
                odd[what] += 1
                continue
            shown = f"{prefix}{clean}"
            odd["same_name"] += shown in found.members
            if suffix in ARCHIVE_SUFFIXES:
                member = _nested(shown, open_member, depth + 1, found)
            else:
                member = _file(shown, open_member, found, foreign)
            if member is not None:
                found.members[shown] = member
    except ArchiveError as error:
        damage = str(error)
    if foreign:
        found.members[foreign[0]] = Member(foreign[0], "", "skipped", "not_musicxml", foreign_words(len(foreign)))
    took = found.unpacked - unpacked
    words = {code: f"{count} {WORDS[code]}" for code, count in odd.items() if count}
    if damage:
        words = {"bad_archive": f"{damage}; {console.counted(took, 'file')} read" if took else damage} | words
    elif not words and len(found.members) == before:
        words = {"no_music": "contains no music files"}
    if not words:
        return None
    name, status = prefix.rstrip("/"), "recovered" if took else "skipped"
    return Member(name, "", status, next(iter(words)), "; ".join(words.values()))


def _clean(name: str) -> str:
    """The path of a member as it is shown: without what leads out of the archive."""
    return "/".join(part for part in name.split("\0")[0].split("/") if part not in ("", ".", ".."))


def _is_of_macos(name: str) -> bool:
    """Whether a member is what macOS stores beside a file, under the name of that file."""
    folders = re.split(r"[/\\]", name)
    return folders[-1].startswith("._") or "__MACOSX" in folders


def _nested(shown: str, open_member: Callable[[], Any], depth: int, found: _Found) -> Member | None:
    """Adds the files of an archive in an archive; returns what is odd about it, if anything is."""
    if depth > MOST_NESTED:
        told = f"is inside {depth} archives; the limit is {MOST_NESTED}; unpack it yourself"
        return Member(shown, "", "skipped", "nested_archives", told)
    with tempfile.TemporaryFile(dir=found.folder) as copy:
        try:
            for block in archives.blocks(open_member):
                copy.write(block)
        except ArchiveError as error:
            return Member(shown, "", "skipped", "bad_archive", str(error))
        copy.seek(0)
        kind = file_kinds.of(copy.read(file_kinds.HEAD_BYTES))
        copy.seek(0)
        if kind not in file_kinds.READ_ARCHIVES:
            kind = ARCHIVE_SUFFIXES[suffix_of(shown)]
        return _walk(copy, kind, f"{shown}/", depth, found)


def _file(shown: str, open_member: Callable[[], Any], found: _Found, foreign: list[str]) -> Member | None:
    """A file of music, written to the folder, or the reason why not; None and added to `foreign` if it is no music."""
    parts, size = [], 0
    try:
        for block in archives.blocks(open_member):
            parts.append(block)
            size += len(block)
            if size > MOST_BYTES:
                return Member(shown, "", "skipped", "too_many_bytes", f"has more than {MOST_BYTES:,} bytes")
    except ArchiveError as error:
        return Member(shown, "", "skipped", "bad_archive", str(error))
    content = b"".join(parts)
    head = content[: file_kinds.HEAD_BYTES]
    kind = file_kinds.of(head)
    if is_foreign(shown, head):
        foreign.append(shown)
        return None
    if kind in file_kinds.ARCHIVES and suffix_of(shown) not in SCORE_SUFFIXES:
        names = [suffix for suffix, named in ARCHIVE_SUFFIXES.items() if named == kind]
        advice = f"name it {names[0]}" if names else "unpack it"
        return Member(shown, "", "skipped", "archive", f"is a {kind}, not a piece of music; {advice}")
    member = Member(shown, hashlib.sha256(content).hexdigest())
    path = Path(found.folder, member.file)
    if not path.exists():
        with files.whole(path) as partial:
            partial.write_bytes(content)
    found.unpacked += 1
    return member

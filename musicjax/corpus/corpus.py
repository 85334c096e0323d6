"""Readings of files -> Corpus, the pieces of all of them, and what became of each file."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from musicjax import files
from musicjax.corpus.read import Reading
from musicjax.errors import RunError
from musicjax.music import EARLIER_READERS, READER_VERSION, identity
from musicjax.music.file_kinds import ARCHIVE_SUFFIXES, suffix_of
from musicjax.music.notes import COLUMNS, Notes, from_beats, no_keys


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: relative to the source.
        status: "kept", "recovered" or "skipped".
        code: a short stable reason; "kept" where nothing was wrong.
        detail: the reason, or everything that was mended, in words.
        notes: how many notes it gave.
        seconds: length of its music.
        sha256: of its bytes; empty where they could not be read.
        same_as: earlier pieces that have the notes of pieces in it, separated by commas; see `Corpus.alike`.
    """

    path: str
    status: str
    code: str
    detail: str
    notes: int
    seconds: float
    sha256: str
    same_as: str = ""


class Fingerprint(NamedTuple):
    """What identifies data: its sha256, and what earlier readers gave the same files, with their versions."""

    sha256: str
    earlier: Mapping[str, int] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """P pieces as flat arrays; piece p is notes[offsets[p]:offsets[p + 1]], and its onsets count from its start.

    Attributes:
        notes: Notes of all pieces, N.
        offsets: int64 [P + 1].
        names: P paths, relative to the source, sorted; #1, #2 ... follow those of a file of several pieces.
        hashes: P sha256 of the files.
        tempos, meters: of each of the P pieces, as in `Notes`.
        keys: the same; an empty tuple if no piece has known keys.
    """

    notes: Notes
    offsets: np.ndarray
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    tempos: tuple[np.ndarray, ...]
    meters: tuple[np.ndarray, ...]
    keys: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def piece(self, index: int) -> Notes:
        """The notes of one piece."""
        own = self.notes[self.offsets[index] : self.offsets[index + 1]]
        keys = self.keys[index] if self.keys else no_keys()
        return dataclasses.replace(own, tempos=self.tempos[index], meters=self.meters[index], keys=keys)

    @property
    def pieces(self) -> list[Notes]:
        """The notes of each piece."""
        return [self.piece(index) for index in range(len(self))]

    def only(self, kept: np.ndarray) -> Corpus:
        """The corpus of the pieces that are kept, bool [P]."""
        lengths = np.diff(self.offsets)
        pieces = np.flatnonzero(kept).tolist()
        of_pieces = {
            name: tuple(getattr(self, name)[piece] for piece in pieces)
            for name in ("names", "hashes", "tempos", "meters", "keys")
            if getattr(self, name)
        }
        return dataclasses.replace(
            self,
            notes=self.notes[np.repeat(kept, lengths)],
            offsets=np.cumsum([0, *lengths[kept].tolist()], dtype=np.int64),
            **of_pieces,
        )

    @functools.cached_property
    def alike(self) -> np.ndarray:
        """Of each piece the index of the first one that is the same by `music.identity`, or its own: int64 [P]."""
        return identity.first_alike(self.pieces)

    @property
    def fingerprint(self) -> Fingerprint:
        """sha256 over the content of all pieces in order, the split of their folders, and the reader's version."""
        own = folders(self.names)
        split = [] if own is None else ["".join(map(str, own))]

        def by(reader: int) -> str:
            text = "\n".join([str(reader), str(len(self.notes)), *self.hashes, *split])
            return hashlib.sha256(text.encode()).hexdigest()

        return Fingerprint(by(READER_VERSION), {by(reader): reader for reader in EARLIER_READERS})


def folders(names: Sequence[str]) -> np.ndarray | None:
    """The split that the folders of P paths make, int8 [P]: 0 in train/, 1 in valid/ or validation/, 2 in test/.

    None if no path lies in a folder valid/ or test/. If all paths are those of one archive, its folders count.

    Raises:
        RunError: some do, but others lie elsewhere, or none lies in train/ or in valid/.
    """
    kinds = {"train": 0, "valid": 1, "validation": 1, "test": 2}
    first = names[0].split("/")[0] if len(names) else ""
    inside = suffix_of(first) in ARCHIVE_SUFFIXES and all(name.split("/")[0] == first for name in names)
    paths = (name.partition("/")[2] if inside else name for name in names)
    found = [kinds.get(path.split("/")[0].lower(), -1) if "/" in path else -1 for path in paths]
    if not {1, 2} & set(found):
        return None
    advice = "expected all pieces in train/, valid/ and test/, some in each of the first two; or rename the folders"
    if -1 in found:
        raise RunError(f"{names[found.index(-1)]} is outside the folders of a split: {advice}")
    for kind, folder in enumerate(("train", "valid")):
        if kind not in found:
            raise RunError(f"no piece in {folder}/, although the folders are a split: {advice}")
    return np.array(found, np.int8)


class ReadFile(NamedTuple):
    """One file that was read: its path relative to the source, its sha256 (empty if unknown), and its pieces."""

    path: str
    sha256: str
    reading: Reading
    pieces: list[Notes]


def of_files(read: Iterable[ReadFile]) -> tuple[Corpus, list[Outcome]]:
    """The corpus of all files that gave notes, perhaps none, and the outcome of each file, in their order."""
    names: list[str] = []
    hashes: list[str] = []
    pieces: list[Notes] = []
    outcomes: list[Outcome] = []
    file_of: list[int] = []  # of each piece
    for path, sha256, reading, own in read:
        names += [path] if len(own) == 1 else [f"{path}#{number}" for number in range(1, len(own) + 1)]
        hashes += [sha256] * len(own)
        pieces += own
        file_of += [len(outcomes)] * len(own)
        count, seconds = sum(map(len, own)), sum(piece.seconds for piece in own)
        outcomes.append(Outcome(path, reading.status, reading.code, reading.detail, count, seconds, sha256))
    if pieces:
        notes = Notes(**{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in COLUMNS})
    else:
        notes = from_beats([], [], [], [])
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    changes = (tuple(getattr(piece, name) for piece in pieces) for name in ("tempos", "meters", "keys"))
    corpus = Corpus(notes, offsets, tuple(names), tuple(hashes), *changes)
    return corpus, _with_same(outcomes, file_of, corpus)


def _with_same(outcomes: list[Outcome], file_of: list[int], corpus: Corpus) -> list[Outcome]:
    """The outcomes, each with the earlier pieces that its pieces repeat; file_of: index of each piece's outcome."""
    found: dict[int, dict[str, None]] = {}
    for piece, first in enumerate(corpus.alike.tolist()):
        if first != piece:
            found.setdefault(file_of[piece], {})[corpus.names[first]] = None
    return [
        dataclasses.replace(outcome, same_as=", ".join(found[index])) if index in found else outcome
        for index, outcome in enumerate(outcomes)
    ]


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """{"kept", "recovered", "skipped", "notes"}; the first three add up to the files found."""
    statuses = [outcome.status for outcome in outcomes]
    return {status: statuses.count(status) for status in ("kept", "recovered", "skipped")} | {
        "notes": sum(outcome.notes for outcome in outcomes)
    }


def report_of(outcomes: Sequence[Outcome]) -> str:
    """One JSON line a file, in their order; `same_as` only where there is something to tell."""
    lines = map(dataclasses.asdict, outcomes)
    return "".join(
        json.dumps({name: value for name, value in line.items() if name != "same_as" or value}) + "\n" for line in lines
    )


def write_report(outcomes: Sequence[Outcome], path: Path) -> None:
    """Writes the report of these files; raises RunError if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, report_of(outcomes))
    except OSError as error:
        raise RunError(f"report {path} cannot be written: {error.strerror}; name another --workdir") from error

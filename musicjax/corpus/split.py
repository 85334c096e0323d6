"""Which pieces train, which validate and which only test.

Shape legend: P pieces.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.errors import RunError
from musicjax.music import copies
from musicjax.music.notes import Notes

if TYPE_CHECKING:
    from musicjax.corpus.corpus import Corpus

# Training notes among which copies are looked for.
MOST_KNOWN_NOTES = 3_000_000


def folders(names: Sequence[str]) -> np.ndarray | None:
    """The split that the folders of P paths make, int8 [P]: 0 in train/, 1 in valid/ or validation/, 2 in test/.

    None if no path lies in a folder valid/ or test/.

    Raises:
        RunError: some do, but others lie elsewhere, or none lies in train/ or in valid/.
    """
    kinds = {"train": 0, "valid": 1, "validation": 1, "test": 2}
    found = [kinds.get(name.split("/")[0].lower(), -1) if "/" in name else -1 for name in names]
    if not {1, 2} & set(found):
        return None
    advice = "expected all pieces in train/, valid/ and test/, some in each of the first two; rename the folders if not"
    if -1 in found:
        raise RunError(f"{names[found.index(-1)]} lies beside folders that are a split: {advice}")
    for kind, folder in enumerate(("train", "valid")):
        if kind not in found:
            raise RunError(f"no piece in {folder}/, but folders that are a split: {advice}")
    return np.array(found, np.int8)


def without_tests(corpus: Corpus) -> Corpus:
    """The corpus without the pieces in test/, which neither train nor validate."""
    own = folders(corpus.names)
    if own is None or not (own == 2).any():
        return corpus
    kept, lengths = own != 2, np.diff(corpus.offsets)
    names, hashes = (tuple(np.array(of, object)[kept].tolist()) for of in (corpus.names, corpus.hashes))
    return dataclasses.replace(
        corpus,
        notes=corpus.notes[np.repeat(kept, lengths)],
        offsets=np.cumsum([0, *lengths[kept].tolist()], dtype=np.int64),
        names=names,
        hashes=hashes,
    )


def held_out(corpus: Corpus, data: DataConfig, long_enough: np.ndarray | None = None) -> np.ndarray:
    """Which pieces validate, bool [P]: a share of those long enough, chosen by content.

    Files of equal content fall on the same side. If the source has folders for it (see `folders`), they decide.

    Args:
        long_enough: bool [P], which pieces may be chosen; None: those of more notes than a window. Frames give those
            of more than one frame.

    Raises:
        RunError: fewer than two different pieces are long enough.
    """
    own = folders(corpus.names)
    if own is not None:
        return own == 1
    needed, advice = "one frame", "add files"
    if long_enough is None:
        long_enough, needed = np.diff(corpus.offsets) > data.window, f"{data.window} notes"
        advice = "add files, lower --config.data.window, or use --config.data.split=windows"
    hashes = sorted(
        {name for name, enough in zip(corpus.hashes, long_enough, strict=True) if enough},
        key=lambda name: hashlib.sha256(f"{data.split_seed}:{name}".encode()).digest(),
    )
    if len(hashes) < 2:
        raise RunError(
            f"data source {data.source}: {len(hashes)} different pieces have more than {needed}; "
            f"expected at least two, so that one can be held out; {advice}"
        )
    count = min(max(1, round(data.validation_fraction * len(hashes))), len(hashes) - 1)
    chosen = set(hashes[:count])
    return np.array([name in chosen for name in corpus.hashes]) & long_enough


@dataclasses.dataclass(frozen=True, eq=False)
class Music:
    """The pieces as notes with their names: `training`, and `held_out`, which training does not see."""

    training: list[Notes]
    names: tuple[str, ...]
    held_out: list[Notes]
    held_out_names: tuple[str, ...]

    @functools.cached_property
    def known(self) -> copies.Known:
        """The training pieces, ready to be searched for copies."""
        lengths = np.cumsum([len(piece) for piece in self.training])
        count = int(np.searchsorted(lengths, MOST_KNOWN_NOTES, side="right")) if len(lengths) else 0
        if count < len(self.training):
            console.say("copies", f"compares with the first {count} of {len(self.training)} training pieces")
        return copies.index(self.training[:count], self.names[:count])


def music_of(corpus: Corpus, held_out: np.ndarray) -> Music:
    """The pieces of a corpus as notes, those held out, bool [P], apart."""
    sides: tuple[list[int], list[int]] = ([], [])
    for piece, out in enumerate(held_out.tolist()):
        sides[out].append(piece)
    training, apart = ([corpus.piece(piece) for piece in side] for side in sides)
    names, names_apart = (tuple(corpus.names[piece] for piece in side) for side in sides)
    return Music(training, names, apart, names_apart)


def all_held_out(corpus: Corpus) -> Music:
    """The pieces of a corpus that no training saw."""
    return music_of(corpus, np.ones(len(corpus), bool))

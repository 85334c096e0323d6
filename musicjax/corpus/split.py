"""Which pieces train, which validate and which only test.

Shape legend: P pieces.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.corpus.corpus import Corpus, folders
from musicjax.errors import RunError
from musicjax.music import copies
from musicjax.music.notes import Notes

# Training notes among which copies are looked for.
MOST_KNOWN_NOTES = 3_000_000


def without_tests(corpus: Corpus) -> Corpus:
    """The corpus without the pieces in test/, which neither train nor validate."""
    own = folders(corpus.names)
    if own is None or not (own == 2).any():
        return corpus
    kept, lengths = own != 2, np.diff(corpus.offsets)
    chosen = np.flatnonzero(kept).tolist()
    of_pieces = {
        name: tuple(getattr(corpus, name)[piece] for piece in chosen)
        for name in ("names", "hashes", "tempos", "meters")
    }
    return dataclasses.replace(
        corpus,
        notes=corpus.notes[np.repeat(kept, lengths)],
        offsets=np.cumsum([0, *lengths[kept].tolist()], dtype=np.int64),
        **of_pieces,
    )


def held_out(corpus: Corpus, data: DataConfig, long_enough: np.ndarray, more_than: str, advice: str = "") -> np.ndarray:
    """Which pieces validate, bool [P]: a share of those long enough, chosen by content.

    Files of equal content fall on the same side. If the source has folders for it (see `folders`), they decide.

    Args:
        long_enough: bool [P], which pieces may be chosen.
        more_than: the length that a piece must exceed, in words, such as "one note".
        advice: what else helps where too few are long enough.

    Raises:
        RunError: fewer than two different pieces are long enough.
    """
    own = folders(corpus.names)
    if own is not None:
        return own == 1
    hashes = sorted(
        {name for name, enough in zip(corpus.hashes, long_enough, strict=True) if enough},
        key=lambda name: hashlib.sha256(f"{data.split_seed}:{name}".encode()).digest(),
    )
    if len(hashes) < 2:
        pieces = "only 1 piece has" if hashes else "no piece has"
        raise RunError(
            f"data source {data.source}: {pieces} more than {more_than}; expected at least two different ones, so that "
            f"one can be held out; add files, {advice}or put one in train/ and another in valid/"
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

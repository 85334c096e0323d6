"""Pieces that are one piece: files of equal content, or of the same notes (see `music.identity`).

Shape legend: P pieces.
"""

from __future__ import annotations

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.corpus.corpus import Corpus, folders


def units(corpus: Corpus, data: DataConfig) -> list[str]:
    """What the split keeps together: for each of P pieces the name of its unit, the same for all pieces of the unit.

    Pieces from files of equal content go together, and, unless the config says keep, so do pieces that are the same. A
    unit's name is the least of its files' hashes, so a unique piece has the hash of its file.
    """
    of_piece, names = together(np.array(corpus.hashes), corpus.alike, data)
    return names[of_piece].tolist()


def together(hashes: np.ndarray, alike: np.ndarray, data: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """`units` as (the index of the name of each piece's unit, int64 [P]; the names, which rise).

    Args:
        hashes: of the file of each piece, [P], or numbers that rise as they do.
        alike: of each piece the first one that is the same, or its own index, int64 [P].
    """
    names, own = np.unique(hashes, return_inverse=True)
    above = np.arange(len(names))

    def top(name: int) -> int:
        while above[name] != name:
            name = above[name]
        return name

    repeated = np.flatnonzero(alike != np.arange(len(alike))) if data.duplicates != "keep" else own[:0]
    for piece in repeated.tolist():
        least, other = sorted((top(own[piece]), top(own[alike[piece]])))
        above[other] = least
    while (above[above] != above).any():
        above = above[above]
    return above[own], names


def say(corpus: Corpus, consequence: str) -> None:
    """Says in one line how many pieces repeat others, if any do, and what becomes of them."""
    repeated = len(corpus) - len(np.unique(corpus.alike))
    if repeated:
        console.say(
            "split",
            f"{repeated} of {len(corpus)} pieces {'repeats' if repeated == 1 else 'repeat'} the notes of another, "
            f"though key, tempo or title may differ: {consequence} (musicjax data names them)",
        )


def settled(corpus: Corpus, data: DataConfig, splits: bool) -> Corpus:
    """The corpus without the copies that the config drops; says what is left out, and what folders keep on two sides.

    Of the copies of a piece the first stays; where folders are a split, the first that does not train, so that nothing
    is scored that was trained on.

    Args:
        splits: whether the corpus will be split.
    """
    own = folders(corpus.names)
    if data.duplicates != "drop":
        if own is not None and splits:
            say(corpus, _across(corpus.alike, own))
        return corpus
    say(corpus, "they are left out")
    kept = one_of_each(corpus.alike, own)
    return corpus if kept.all() else corpus.only(kept)


def one_of_each(alike: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    """Which pieces stay where copies are dropped, bool [P], see `settled`.

    Args:
        alike: of each piece the first one that is the same, or itself, int64 [P].
        own: the split of their folders, int8 [P], see `corpus.folders`.
    """
    order = np.arange(len(alike)) if own is None else np.argsort(own == 0, kind="stable")
    kept = np.zeros(len(alike), bool)
    kept[order[np.unique(alike[order], return_index=True)[1]]] = True
    return kept


def _across(alike: np.ndarray, own: np.ndarray) -> str:
    """What becomes of copies where folders are the split, in words; alike: int64 [P]; own: int8 [P], as `folders`."""
    trained_on = int(np.isin(alike[own != 0], alike[own == 0]).sum())
    if not trained_on:
        return "no piece in train/ has a copy outside it"
    return (
        f"the folders decide, and train/ has copies of {console.counted(trained_on, 'piece')} outside it; "
        "--config.data.duplicates=drop leaves them out of train/"
    )

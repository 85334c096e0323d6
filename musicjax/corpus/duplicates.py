"""Pieces that are one piece: files of equal content, or of the same notes (see `music.identity`).

Shape legend: P pieces.
"""

from __future__ import annotations

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.corpus.corpus import Corpus, folders


def units(corpus: Corpus, data: DataConfig) -> list[str]:
    """What the split keeps together: for each of P pieces the same name, a hash, as for those that go with it.

    The pieces of files of equal content go together; so do, unless the config says keep, pieces that are the same. Of
    the hashes of a unit, the least is its name, so that a piece like no other has the hash of its file.
    """
    above = {name: name for name in corpus.hashes}

    def top(name: str) -> str:
        while above[name] != name:
            name = above[name]
        return name

    if data.duplicates != "keep":
        for name, first in zip(corpus.hashes, corpus.alike.tolist(), strict=True):
            least, other = sorted((top(name), top(corpus.hashes[first])))
            above[other] = least
    return [top(name) for name in corpus.hashes]


def say(corpus: Corpus, consequence: str) -> None:
    """Says in one line how many pieces repeat others, if any do, and what becomes of them."""
    repeated = len(corpus) - len(np.unique(corpus.alike))
    if repeated:
        console.say(
            "split",
            f"{repeated} of {len(corpus)} pieces {'repeats' if repeated == 1 else 'repeat'} the notes of another, "
            f"whatever the key, tempo and title: {consequence} (musicjax data names them)",
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
    order = np.arange(len(corpus)) if own is None else np.argsort(own == 0, kind="stable")
    kept = np.zeros(len(corpus), bool)
    kept[order[np.unique(corpus.alike[order], return_index=True)[1]]] = True
    return corpus if kept.all() else corpus.only(kept)


def _across(alike: np.ndarray, own: np.ndarray) -> str:
    """What becomes of copies where folders are the split, in words; alike: int64 [P]; own: int8 [P], as `folders`."""
    trained_on = int(np.isin(alike[own != 0], alike[own == 0]).sum())
    if not trained_on:
        return "no piece in train/ has a copy outside of it"
    return (
        f"the folders decide, and train/ has the notes of {console.counted(trained_on, 'piece')} outside of it; "
        "--config.data.duplicates=drop leaves them out of train/"
    )

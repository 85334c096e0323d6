"""Which pieces, or parts of them, train, which validate and which only test.

Shape legend: P pieces, Q parts, N rows of all pieces.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable

import numpy as np

from musicjax import console
from musicjax.config import DataConfig
from musicjax.corpus import duplicates
from musicjax.corpus.corpus import Corpus, folders
from musicjax.errors import RunError
from musicjax.music import copies, splice
from musicjax.music.metrics import STEPS_PER_BEAT, STEPS_PER_MEASURE
from musicjax.music.notes import Notes

# Training notes among which copies are looked for.
MOST_KNOWN_NOTES = 3_000_000
# What follows the name of a piece where its end is meant.
END = " (end)"
# What a part is used for.
TRAINING, VALIDATION, NOTHING = range(3)
# With fewer different training pieces, none can be held out of them; and the fewest and the most that are held out.
LEAST_PIECES = 4
FEWEST_HELD_OUT, MOST_HELD_OUT = 2, 40


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What the rows of all pieces are used for, part by part; each part lies in one piece.

    Attributes:
        offsets: int64 [Q + 1]; part q is rows[offsets[q]:offsets[q + 1]].
        use: int8 [Q], TRAINING, VALIDATION or NOTHING.
        piece: int64 [Q], the piece that each lies in, rising.
    """

    offsets: np.ndarray
    use: np.ndarray
    piece: np.ndarray

    @property
    def trains(self) -> np.ndarray:
        """Which parts train, bool [Q]."""
        return self.use == TRAINING

    @property
    def validates(self) -> np.ndarray:
        """Which parts validate, bool [Q]."""
        return self.use == VALIDATION

    @property
    def rows_that_train(self) -> np.ndarray:
        """Which rows train, bool [N]."""
        return np.repeat(self.trains, np.diff(self.offsets))


def whole_pieces(offsets: np.ndarray, use: np.ndarray) -> Parts:
    """Each piece as one part: piece p has rows[offsets[p]:offsets[p + 1]], int64 [P + 1], and its use, [P]."""
    return Parts(offsets, use.astype(np.int8), np.arange(len(use)))


def at_row(corpus: Corpus, row: int) -> Parts:
    """All pieces as one list of notes, of which those before a row train and the others validate. Says so."""
    row = min(row, int(corpus.offsets[-1]))
    offsets = np.union1d(corpus.offsets, row)
    piece = np.searchsorted(corpus.offsets, offsets[:-1], side="right") - 1
    found = Parts(offsets, np.where(offsets[:-1] < row, TRAINING, VALIDATION).astype(np.int8), piece)
    validated = piece[found.validates]
    is_divided = np.isin(validated, piece[found.trains])
    told = [console.counted(int((~is_divided).sum()), "piece")] * (not is_divided.all())
    told += [f"the end of {corpus.names[p]}, whose beginning is for training" for p in validated[is_divided].tolist()]
    if told:
        total = int(corpus.offsets[-1])
        console.say("split", f"the last {total - row:,} of {total:,} notes are for validation: {' and '.join(told)}")
    return found


def without_tests(corpus: Corpus) -> Corpus:
    """The corpus without the pieces in test/, which neither train nor validate."""
    own = folders(corpus.names)
    return corpus if own is None or not (own == 2).any() else corpus.only(own != 2)


def parts(
    corpus: Corpus, data: DataConfig, offsets: np.ndarray, too_few: int, unit: str = "notes", advice: str = ""
) -> Parts:
    """Whole pieces that train and others that validate; or, where too few differ, the beginnings and ends of pieces.

    Args:
        offsets: int64 [P + 1], where the rows of each piece begin.
        too_few: a piece of this many rows, or fewer, is of no use.
        unit: what rows are.
        advice: what else helps where there is too little, ending in ", ".

    Raises:
        RunError: too few pieces differ, and none is long enough to hold out its end.
    """
    if folders(corpus.names) is None:
        apart = data.duplicates == "keep"
        duplicates.say(
            corpus, f"copies {'may be on both sides, as duplicates=keep asks' if apart else 'are on one side'}"
        )
    out = held_out(corpus, data, np.diff(offsets) > too_few)
    return _by_time(corpus, data, offsets, too_few, unit, advice) if out is None else whole_pieces(offsets, out)


def held_out(corpus: Corpus, data: DataConfig, long_enough: np.ndarray) -> np.ndarray | None:
    """Which pieces validate, bool [P]: a share of those long enough, chosen by content.

    Pieces that belong together fall on the same side, see `duplicates.units`. If the source has folders for it (see
    `folders`), they decide.

    Args:
        long_enough: bool [P], which pieces may be chosen.

    Returns:
        None if fewer than two different pieces are long enough.
    """
    own = folders(corpus.names)
    if own is not None:
        return own == 1
    of_piece, names = duplicates.together(np.array(corpus.hashes), corpus.alike, data)
    return chosen(of_piece, lambda unit: str(names[unit]), long_enough, data)


def chosen(
    units: np.ndarray, name_of: Callable[[int], str], long_enough: np.ndarray, data: DataConfig
) -> np.ndarray | None:
    """`held_out` where no folders decide.

    Args:
        units: of each piece, int64 [P], see `duplicates.together`.
        name_of: the name of a unit.
    """
    usable = np.unique(units[long_enough])
    if len(usable) < 2:
        return None
    digests = (hashlib.sha256(f"{data.split_seed}:{name_of(unit)}".encode()).digest() for unit in usable.tolist())
    order = np.argsort(np.fromiter(digests, "S32", len(usable)), kind="stable")
    count = min(max(1, round(data.validation_fraction * len(usable))), len(usable) - 1)
    return np.isin(units, usable[order[:count]]) & long_enough


def inside(parts: Parts, corpus: Corpus, data: DataConfig, share: float) -> Parts | None:
    """What trains, divided again: a share of it validates, chosen by content, and what validated is used for nothing.

    Pieces that belong together fall on the same side, see `duplicates.units`.

    Returns:
        None if too few different pieces train.
    """
    units = np.array(duplicates.units(corpus, data))[parts.piece]
    names = sorted(
        set(units[parts.trains].tolist()),
        key=lambda name: hashlib.sha256(f"inside:{data.split_seed}:{name}".encode()).digest(),
    )
    if len(names) < LEAST_PIECES:
        return None
    out = names[: min(max(round(share * len(names)), FEWEST_HELD_OUT), MOST_HELD_OUT)]
    use = np.where(parts.trains, np.where(np.isin(units, out), VALIDATION, TRAINING), NOTHING)
    return dataclasses.replace(parts, use=use.astype(np.int8))


def _by_time(corpus: Corpus, data: DataConfig, offsets: np.ndarray, too_few: int, unit: str, advice: str) -> Parts:
    """Parts: beginnings of pieces train, their ends validate, a window between them is left out. Says so.

    All pieces that are long enough are copies of one, or of one file. Each is divided at the same share of its rows, so
    that no copy trains on what another validates; one that is too short to be divided is used for nothing.
    """
    divided: list[tuple[int, int, int]] = []  # end, use and piece of each part
    for piece, (first, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        usable = end - first - data.window
        if end - first <= too_few:
            divided.append((end, TRAINING, piece))
        elif usable < 2 * (too_few + 1):
            divided.append((end, NOTHING, piece))
        else:
            held = min(max(round(data.validation_fraction * usable), too_few + 1), usable - too_few - 1)
            divided.append((end - held - data.window, TRAINING, piece))
            divided += [(end - held, NOTHING, piece), (end, VALIDATION, piece)]
    ends, use, piece_of = (np.array(column) for column in zip(*divided, strict=True))
    found = Parts(np.append(offsets[:1], ends), use.astype(np.int8), piece_of)
    lengths = np.diff(offsets)
    _require_end(found, data, lengths, too_few, unit, advice)
    held = int(np.diff(found.offsets)[found.validates].sum())
    left_out = int((lengths > too_few).sum() - found.validates.sum())
    console.say(
        "split",
        f"{_how_many(lengths, too_few, unit)}: the end is held out, {held:,} of {int(lengths.sum()):,} {unit}, and the "
        f"{data.window} before it are not used" + f"; too short for that, and not used: {left_out}" * (left_out > 0),
    )
    return found


def _require_end(found: Parts, data: DataConfig, lengths: np.ndarray, too_few: int, unit: str, advice: str) -> None:
    """Raises RunError if no end validates; lengths: rows of each piece, int64 [P]."""
    if found.validates.any():
        return
    what, longest = _how_many(lengths, too_few, unit), int(lengths.max())
    expected = "expected at least two different ones"
    if longest > too_few:
        least = data.window + 2 * (too_few + 1)
        expected = f"{longest} {unit} are too few to hold out their end; expected at least {least}, or another piece"
    if longest > too_few or too_few > 1:
        advice = f"lower --config.data.window, {advice}"
    raise RunError(
        f"data source {data.source}: {what}; {expected}, so that one can be held out; add files, {advice}or put one in "
        "train/ and another in valid/"
    )


def _how_many(lengths: np.ndarray, too_few: int, unit: str) -> str:
    """How many pieces are long enough, in words, where fewer than two different ones are; lengths: int64 [P]."""
    count = int((lengths > too_few).sum())
    pieces = ("no piece has", "only 1 piece has")[count] if count < 2 else f"{count} pieces that count as one have"
    return f"{pieces} more than {f'one {unit[:-1]}' if too_few == 1 else f'{too_few} {unit}'}"


@dataclasses.dataclass(frozen=True, eq=False)
class Music:
    """The pieces as notes with their names: `training`, and `held_out`, which training does not see."""

    training: list[Notes]
    names: tuple[str, ...]
    held_out: list[Notes]
    held_out_names: tuple[str, ...]

    def is_end(self, name: str) -> bool:
        """Whether a name is that of the held-out end of a piece whose beginning is for training."""
        return name.endswith(END) and name in self.held_out_names and name.removesuffix(END) in self.names

    @property
    def compared_with(self) -> str:
        """What generated music is compared with, in words: what is held out, or what trains if nothing is."""
        ends = [self.is_end(name) for name in self.held_out_names]
        if not ends:
            return "training pieces"
        if all(ends):
            return "the held-out ends of training pieces"
        return "held-out pieces" + " and the held-out ends of training pieces" * any(ends)

    @functools.cached_property
    def known(self) -> copies.Known:
        """The training pieces, ready to be searched for copies."""
        lengths = np.cumsum([len(piece) for piece in self.training])
        count = int(np.searchsorted(lengths, MOST_KNOWN_NOTES, side="right")) if len(lengths) else 0
        if count < len(self.training):
            console.say(
                "copies", f"compares with the first {count} of {console.counted(len(self.training), 'training piece')}"
            )
        return copies.index(self.training[:count], self.names[:count])


def music_of(corpus: Corpus, parts: Parts) -> Music:
    """The parts of a corpus as notes, those that validate apart; the rows of the parts are notes."""
    sides: tuple[list[tuple[str, Notes]], ...] = ([], [], [])
    for index, (use, piece) in enumerate(zip(parts.use.tolist(), parts.piece.tolist(), strict=True)):
        first, end = (parts.offsets[index : index + 2] - corpus.offsets[piece]).tolist()
        name, notes = corpus.names[piece], corpus.piece(piece)[first:end]
        sides[use].append((f"{name}{END}", _from_its_measure(notes)) if first and len(notes) else (name, notes))
    (names, training), (names_apart, apart) = (
        (tuple(name for name, _ in side), [notes for _, notes in side]) for side in sides[:NOTHING]
    )
    return Music(training, names, apart, names_apart)


def _from_its_measure(notes: Notes) -> Notes:
    """The end of a piece as a piece, which begins at a measure of `music.metrics`."""
    beats = STEPS_PER_MEASURE // STEPS_PER_BEAT
    return splice.from_beat(notes, beats * math.floor(notes.onset_beats[0] / beats))


def all_held_out(corpus: Corpus) -> Music:
    """The pieces of a corpus that no training saw."""
    return music_of(corpus, whole_pieces(corpus.offsets, np.full(len(corpus), VALIDATION)))

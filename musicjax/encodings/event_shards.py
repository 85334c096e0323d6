"""Note events from a folder of shards, instead of from files of music.

Shape legend: N rows, C columns, P pieces, Q parts of pieces.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from musicjax import config as config_lib
from musicjax import console
from musicjax.config import Config, DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import split
from musicjax.corpus.corpus import Corpus, Fingerprint, ReadFile
from musicjax.corpus.read import Reading
from musicjax.corpus.split import Music
from musicjax.errors import RunError
from musicjax.music import note_bins
from musicjax.music.note_bins import MATCH_LENGTH, Bins
from musicjax.shards.blocks import Block, Blocks
from musicjax.shards.shards import VALIDATION, Shards, require_settings
from musicjax.training import mesh, sequences
from musicjax.training.sequences import Augment, Sequences, Streams

# Rows of held-out pieces that are scored after each epoch: enough for the second decimal of a loss, and soon done.
VALIDATION_ROWS = 131_072
# Pieces of each side that are compared with samples, and among which copies are looked for.
MOST_PIECES = 512


def opened(data: DataConfig, split_counts: bool = True) -> Shards:
    """The shards that a config names.

    Args:
        split_counts: whether the config has to split pieces as they do.

    Raises:
        UsageError: they were made with other values of fields that shape rows or the split.
        RunError: a file of theirs is missing, damaged or of another version.
    """
    shards, own = Shards(data.source), {path: value for path, _, value in config_lib.fields(Config(data=data))}
    require_settings(shards.folder, shards.manifest, own, split_counts)
    return shards


def bins_of(shards: Shards, known: Bins | None) -> Bins:
    """The bins of the rows of some shards; known: those of the weights that training begins with.

    Raises:
        RunError: they differ.
    """
    found = note_bins.from_saved(shards.manifest.learned["bins"])
    if known is not None and known != found:
        raise RunError(
            f"shards {shards.folder}: their bins differ from those of the --init_from weights; expected shards "
            "that were written for that model; train from random weights, or from a run on these shards"
        )
    return found


def blocks(shards: Shards, config: Config, bins: Bins) -> Blocks:
    """The training windows of shards, of which each process reads its part."""
    own: Any = config.data.own
    return Blocks(
        shards,
        config.data.window,
        config.seed,
        own.resident_mib * 2**20,
        own.block_rows,
        (jax.process_index(), jax.process_count()),
        functools.partial(_as_told, match=own.match_share > 0, bins=bins),
    )


def windows(block: Block, transpose: int, augment: Augment) -> Sequences:
    """The windows of a block as the training step takes them."""
    down, up = (np.minimum(side, transpose) for side in (block.down, block.up))
    arrays: Any = (block.rows, block.starts, block.first, block.end, down, up, augment)
    return Sequences(*arrays)


def block(found: Blocks, transpose: int, augment: Augment) -> Callable[[int, Mesh], Sequences] | None:
    """See `Dataset.block`; each process reads a part of the rows. None if one block holds all windows."""

    def placed(number: int, devices: Mesh) -> Sequences:
        part = found.part(number)
        own = windows(part, transpose, augment)
        return Sequences(mesh.joined(part.rows, devices), *mesh.replicate(tuple(own[1:]), devices))

    return None if found.is_resident else placed


def held_out(shards: Shards, match: bool, bins: Bins) -> Streams:
    """Held-out pieces side by side: all, or the same VALIDATION_ROWS rows of them every time.

    Raises:
        RunError: none has more than one note.
    """
    index = shards.index
    lengths = np.bincount(index.part_record, index.part_rows, len(index.record_use)).astype(np.int64)
    records = np.flatnonzero(index.record_use == VALIDATION)
    if lengths[records].sum() > VALIDATION_ROWS:
        # From all over the shards, in an order that does not depend on file names.
        records = np.random.default_rng(0).permutation(records)
        count = int(np.searchsorted(np.cumsum(lengths[records]), VALIDATION_ROWS, side="right"))
        records = np.sort(records[: max(count, 1)])
    parts = np.concatenate([np.zeros(0, int), *(np.flatnonzero(index.part_record == record) for record in records)])
    offsets = np.cumsum([0, *index.part_rows[parts]], dtype=np.int64)
    if not (np.diff(offsets) > 1).any():
        raise RunError(
            f"shards {shards.folder}: no held-out piece has more than one note; write new ones from more files"
        )
    rows = np.concatenate([_as_told(shards.rows(int(record)), match, bins) for record in records])
    return sequences.streams(rows, offsets, np.ones(len(parts), bool))


def _as_told(rows: np.ndarray, match: bool, bins: Bins) -> np.ndarray:
    """Rows uint8 [N, C], without their longest match if the model is to see none."""
    if match:
        return rows
    rows = rows.copy()
    rows[:, [*bins.matched, MATCH_LENGTH]] = 0
    return rows


def music(shards: Shards) -> Music:
    """The pieces as notes, at most MOST_PIECES of each side, evenly chosen; says how many of how many that is."""
    sides: list[tuple[tuple[str, ...], list]] = []
    told: list[str] = []
    for use, what in ((split.TRAINING, "training"), (split.VALIDATION, "held-out")):
        own = np.flatnonzero(shards.index.piece_use == use)
        chosen = own[np.unique(np.linspace(0, len(own) - 1, min(len(own), MOST_PIECES)).astype(int))]
        names, notes = zip(*map(shards.piece, chosen.tolist()), strict=True) if len(chosen) else ((), ())
        sides.append((tuple(names), list(notes)))
        told += [f"{len(chosen)} of {console.counted(len(own), f'{what} piece')}"] * (len(chosen) < len(own))
    if told:
        console.say_once("shards", f"compares music with {' and '.join(told)}, the same ones every time")
    (names, training), (names_apart, apart) = sides
    return Music(training, names, apart, names_apart)


def held_out_corpus(shards: Shards) -> Corpus:
    """At most MOST_PIECES of the held-out pieces as a corpus, to be scored by a model with bins of its own."""
    found = music(shards)
    pairs = zip(found.held_out_names, found.held_out, strict=True)
    read = (ReadFile(name, "", Reading("kept", "kept", ""), [piece]) for name, piece in pairs)
    return corpus_lib.of_files(read)[0]


def fingerprint(shards: Shards) -> Fingerprint:
    """What identifies the data."""
    return Fingerprint(shards.manifest.fingerprint)


def say(found: Blocks, shards: Shards, validation: str, window: int) -> None:
    """Says how much there is to learn from, and how it is read.

    Args:
        validation: how much is held out, in words.
    """
    console.say(
        "events",
        f"{found.rows:,} rows of {int((shards.index.piece_use == split.TRAINING).sum()):,} pieces to train in "
        f"{found.total:,} windows of up to {window}, {validation} to validate",
    )
    columns = shards.manifest.columns
    size = f"{found.rows * columns / 2**20:,.0f} MiB"
    if found.is_resident:
        console.say("shards", f"their rows, {size}, stay in memory; an epoch is a pass over them")
        return
    console.say(
        "shards",
        f"their rows, {size}, are read block by block; an epoch is a block of {found.windows:,} windows, and "
        f"{found.total / found.windows:.1f} epochs are a pass over all of them",
    )

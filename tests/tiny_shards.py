"""Shards of a small folder, made piece by piece: what `musicjax data --output` writes, and what training reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from musicjax.config import Config
from musicjax.corpus import load, split
from musicjax.encodings import encoding as encoding_lib
from musicjax.music import learned_bins, note_rows
from musicjax.shards import shards, write_shard


def write(config: Config, folder: Path, pieces_a_shard: int = 5) -> Path:
    """The shards of the source that a config of note events names, which holds out the same pieces as the folder."""
    folder.mkdir()
    corpus, _ = load.load(config.data)
    parts = split.parts(corpus, config.data, corpus.offsets, 1)
    bins = learned_bins.learn(split.music_of(corpus, parts).training)
    made = []
    for number, piece in enumerate(corpus.pieces):
        rows, _ = note_rows.encode(piece, bins)
        made.append(write_shard.Piece(corpus.names[number], piece, rows, *note_rows.room(rows), int(parts.use[number])))
    columns = len(bins.sizes)
    groups = [made[first : first + pieces_a_shard] for first in range(0, len(made), pieces_a_shard)]
    index = shards.joined([write_shard.write(folder, number, group, columns) for number, group in enumerate(groups)])
    shards.save_index(folder / shards.INDEX, index)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    learned = encoding_lib.of(config, {"bins": dataclasses.asdict(bins)}).learned
    manifest = shards.Manifest(
        {"data.encoding": "events", "data.instruments": "keep", "data.duplicates": "drop"},
        learned,
        {"notes": int(np.sum(corpus.offsets[-1:]))},
        columns,
        dict.fromkeys(sizes, ""),
        sizes,
        "0" * 64,
        {"format": shards.FORMAT_VERSION, "musicjax": "0"},
    )
    (folder / shards.MANIFEST).write_text(json.dumps(dataclasses.asdict(manifest)))
    return folder

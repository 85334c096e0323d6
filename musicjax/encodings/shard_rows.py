"""What shards need of the encoding that a config names. Shards are written without JAX, so this file uses none."""

from __future__ import annotations

from musicjax.config import Config
from musicjax.errors import UsageError
from musicjax.shards.shard_job import RowSettings


def of(config: Config) -> RowSettings:
    """How pieces become the rows of shards; raises UsageError if the encoding has none."""
    data = config.data
    if data.encoding != "events":
        raise UsageError(
            f"shards contain note events: expected a note-event config, such as --config=demo or --config=events, not "
            f"{data.encoding}; or train on the folder itself"
        )
    fields = {"data.encoding": data.encoding, "data.instruments": data.own.instruments}
    return RowSettings(fields, data.own.instruments == "keep")

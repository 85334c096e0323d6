"""A process that compares outputs with the music that their model was trained on, and makes sound files.

Requests and answers are lines of JSON, as those of `composer`:

    {"do": "copies", "id", "workdir", "path"}  -> {"told": "copies", "id", "length", "piece", "seconds", "message"}
    {"do": "sound", "id", "path"}              -> {"told": "sound", "id", "error"}
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import console
from musicjax.encodings import encoding
from musicjax.errors import RunError, UsageError
from musicjax.music import copies, metrics, midi, splice
from musicjax.music.copies import Known
from musicjax.music.notes import Notes
from musicjax.report import audio
from musicjax.store import checkpoint, metadata, pretrained
from musicjax.studio.composer import sentence


class KnownMusic:
    """The training pieces of the model that was asked for last."""

    def __init__(self) -> None:
        self._workdir: str | None = None
        self._known: Known | None = None

    def of(self, workdir: str) -> Known | None:
        """Those of a model; None: it was trained on no notes. Raises UsageError or RunError if they are not here."""
        if self._workdir != workdir:
            saved = checkpoint.read_metadata(Path(workdir)) if workdir else _builtin()
            music, _ = encoding.of(saved.config, saved.learned).music()
            self._workdir, self._known = workdir, None if music is None else music.known
        return self._known


def _builtin() -> metadata.Metadata:
    return metadata.from_saved(json.loads((pretrained.FOLDER / pretrained.METADATA).read_text(encoding="utf-8")))


def shared(notes: Notes, known: Known) -> dict[str, Any]:
    """The longest run of notes that a piece shares with known ones: its length, their piece, and from when to when."""
    found = copies.longest(notes, known) if len(notes) > 1 else copies.Copy(0, "", 0, 0)
    seconds = [0.0, 0.0]
    if found.length:
        run = slice(found.own, found.own + found.length)
        _, onset, end = metrics.on_grid(notes)
        beats = np.array([onset[run].min(), end[run].max()]) / metrics.STEPS_PER_BEAT
        seconds = np.round(splice.seconds_at(beats, notes.tempos), 3).tolist()
    return {"length": found.length, "piece": found.piece, "seconds": seconds, "message": ""}


def answer(wanted: dict[str, Any], music: KnownMusic) -> dict[str, Any]:
    """The answer to one request."""
    path, told = Path(wanted["path"]), {"told": wanted["do"], "id": wanted["id"]}
    try:
        notes = midi.read(path)
        if wanted["do"] == "sound":
            audio.write(path, notes, path.with_suffix(".wav"))
            return {**told, "error": ""}
        known = music.of(wanted["workdir"])
        if known is None:
            raise RunError("This model was trained on no notes that could be compared.")
        return {**told, **shared(notes, known)}
    except (UsageError, RunError, OSError, midi.MidiError) as error:
        if wanted["do"] == "sound":
            return {**told, "error": sentence(error)}
        said = f"The music that this model was trained on is not here to compare with: {sentence(error)}"
        return {**told, "length": 0, "piece": "", "seconds": [0.0, 0.0], "message": said}


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may mix with the answers
    music = KnownMusic()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line), music)) + "\n")
        answers.flush()


if __name__ == "__main__":
    console.quiet_libraries()
    main()

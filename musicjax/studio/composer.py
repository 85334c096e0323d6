"""The composing process: it keeps models and their compiled programs, and answers one request after another.

Requests and answers are lines of JSON, on standard input and standard output:

    {"do": "describe", "id", "workdir"}               -> {"told": "model", "id", ...}
    {"do": "compose", "id", "workdir", "options", "source", "path"}
                                                      -> {"told": "notes", "id", ...} again and again, then
                                                         {"told": "done" | "failed" | "cancelled", "id", ...}
    {"do": "cancel", "id"}

workdir: of the model; empty: the one that comes with musicjax. source: what becomes of PATH-source.mid, see `_source`.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any

from musicjax import console, files, jax_environment
from musicjax.encodings import sampling_params
from musicjax.encodings.plan import Length
from musicjax.errors import RunError, UsageError
from musicjax.generation import from_request, generate
from musicjax.generation import request as request_lib
from musicjax.music import bar_position, instruments, splice
from musicjax.music.notes import Notes
from musicjax.run import device
from musicjax.store import checkpoint, pretrained
from musicjax.store import model as model_lib
from musicjax.store.model import Model
from musicjax.studio import piece

MOST_MODELS = 3  # that are kept
SOURCE_BPM = 120.0  # of notes that come with seconds alone


class Cancelled(Exception):
    """Nobody wants the output any more."""


class Models:
    """The models that were used last, with the epochs of their checkpoints."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, Model]] = {}

    def of(self, workdir: str) -> Model:
        """The model of a workdir as it is now; raises UsageError or RunError if it cannot be loaded."""
        newest = _newest_epoch(workdir)
        epoch, model = self._kept.pop(workdir, (-1, None))
        if model is None or epoch != newest:
            model = model_lib.load(workdir) if workdir else pretrained.load()
            device.keep_programs(model.config.data)
        self._kept[workdir] = newest, model
        for oldest in list(self._kept)[:-MOST_MODELS]:
            del self._kept[oldest]
        return model


def _newest_epoch(workdir: str) -> int:
    if not workdir:
        return 0
    try:
        return max((int(name) for name in os.listdir(checkpoint.folder(Path(workdir))) if name.isdecimal()), default=0)
    except OSError:
        return 0


def describe(model: Model) -> dict[str, Any]:
    """What the page may ask of a model."""
    encoding = model.encoding
    constants = encoding.constants() if encoding.has_form else {}
    programs = constants.get("programs", ())
    return {
        "keys": encoding.has_controls,
        "meters": [bar_position.text_of(*meter) for meter in constants.get("meters", ())],
        "instruments": list(dict.fromkeys(instruments.name_of(program) for program in programs)),
        "can": {
            "infill": encoding.has_form,
            "vary": encoding.has_form,
            "continue": True,
            "bars": encoding.has_controls,
        },
        "temperature": model.config.sample.temperature,
        "epoch": model.metadata.best_epoch,
    }


def compose(model: Model, wanted: dict[str, Any], tell: Any, is_cancelled: Any) -> dict[str, Any]:
    """Composes one output, and writes its MIDI file and, next to that, the piece as the page gets it.

    Args:
        wanted: the request.
        tell: gets each message.
        is_cancelled: whether nobody wants it any more.

    Raises:
        Cancelled, UsageError, RunError, OSError: it cannot be had.
    """
    path = Path(wanted["path"])
    if wanted["source"]:
        _source(wanted["source"], path.with_name(f"{path.stem}-source.mid"))
    options = request_lib.complete(wanted["options"])
    request = request_lib.of(options)
    request_lib.require_controls(model.encoding, request.need_controls)
    request_lib.require_form(model.encoding, request.need_form)
    request = request_lib.filled(request, model.config.sample)
    given = from_request.given(request, model, options["primer"])
    told: list[list[float]] = []

    def on_part(_: int, notes: Notes) -> None:
        if is_cancelled():
            raise Cancelled
        if notes is given or not len(notes):
            return
        rows = piece.rows(notes[: piece.MOST_NOTES])
        same = next((n for n, (old, new) in enumerate(zip(told, rows, strict=False)) if old != new), len(told))
        first = min(same, len(rows))
        if first == len(rows) == len(told):
            return
        told[first:] = rows[first:]
        tell(
            {
                "told": "notes",
                "id": wanted["id"],
                "from": first,
                "notes": rows[first:],
                "seconds": notes.seconds,
                "bars": piece.bars(notes),
            }
        )

    if is_cancelled():
        raise Cancelled
    (made,) = from_request.pieces(request, model, given, on_part)
    if is_cancelled():
        raise Cancelled
    on_part(0, made)
    kept = given if request.rework.kind else None
    ticks = splice.RESOLUTIONS[0] if kept is None else splice.ticks_per_beat(kept)
    whole_bars = model.encoding.has_form and not request.length.exact and kept is None
    end_beat = splice.bar_lines(made)[-1] if whole_bars and len(made) else 0.0
    generate.write_file(generate.played_by(request.program, made), path, ticks, end_beat)
    shown = piece.of("", made)
    files.write(path.with_suffix(".json"), json.dumps(shown))
    return {"told": "done", "id": wanted["id"], "seconds": shown["seconds"], "bars": max(len(shown["bars"]) - 1, 0)}


def _warm(model: Model) -> None:
    """Compiles what nearly every piece needs, so that the first one does not wait for it."""
    params = sampling_params.of_config(model.config.sample)
    generate.new_pieces(model, [params], Length(bars=1), 0)


def _source(source: dict[str, Any], path: Path) -> None:
    """Writes the piece that an output begins with as a MIDI file, which the command line of the output names too.

    Args:
        source: {"records", "place"}: a piece of a data set; {"notes"}: rows with times in seconds.
    """
    if "records" in source:
        notes = piece.read(Path(source["records"]), source["place"])
    else:
        notes = piece.of_rows(source["notes"], source.get("bpm") or SOURCE_BPM)
    generate.write_file(notes, path, splice.ticks_per_beat(notes))


def _take_requests(stream: IO[str], requests: queue.Queue, cancelled: set[str]) -> None:
    """Takes requests as they come, so that one can be cancelled while it is composed."""
    for line in stream:
        wanted = json.loads(line)
        if wanted["do"] == "cancel":
            cancelled.add(wanted["id"])
        else:
            requests.put(wanted)
    os._exit(0)  # the studio is gone


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may mix with the answers

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    requests: queue.Queue = queue.Queue()
    cancelled: set[str] = set()
    threading.Thread(target=_take_requests, args=(sys.stdin, requests, cancelled), daemon=True).start()
    models = Models()
    while True:
        wanted = requests.get()
        is_model = wanted["do"] == "describe"
        try:
            jax_environment.require()
            model = models.of(wanted["workdir"])
            if is_model:
                tell({"told": "model", "id": wanted["id"], "error": "", **describe(model)})
                if not wanted["workdir"]:
                    _warm(model)
            else:
                tell(compose(model, wanted, tell, lambda: wanted["id"] in cancelled))  # noqa: B023
        except Cancelled:
            cancelled.discard(wanted["id"])
            tell({"told": "cancelled", "id": wanted["id"]})
        except (UsageError, RunError, OSError, EOFError) as error:
            tell({"told": "model" if is_model else "failed", "id": wanted["id"], "error": sentence(error)})
        except MemoryError:
            said = "Out of memory: close other programs." if is_model else "Out of memory: ask for fewer bars."
            tell({"told": "model" if is_model else "failed", "id": wanted["id"], "error": said})


def sentence(error: Exception) -> str:
    """What went wrong, in one sentence."""
    if isinstance(error, OSError):
        return f"A file cannot be read or written: {error.strerror or error}; check space and permissions."
    return str(error) or type(error).__name__


if __name__ == "__main__":
    console.quiet_libraries()
    main()

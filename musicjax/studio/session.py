"""What people made and decided in the studio, in one file that is always whole: data sets, runs, outputs, and the
trail of decisions that can be undone."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from musicjax import console, files

NAME = "session.json"
VERSION = 1
SAMPLE = "sample"  # the kind of output that a training gets every few epochs
MOST_STEPS = 200  # that can be undone
# The mark that each act turns over, and what undoing it does to a piece, by its new value.
MARK_OF = {"keep": "kept", "discard": "discarded", "favourite": "favourite"}
SAID = {
    ("kept", True): "stop keeping {}",
    ("kept", False): "keep {} again",
    ("discarded", True): "bring {} back",
    ("discarded", False): "discard {} again",
    ("favourite", True): "take the heart off {}",
    ("favourite", False): "put the heart back on {}",
}
# The fields of each entry and their kinds. PLAIN: ids and folders, which become paths.
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
DATA: dict[str, Any] = dict.fromkeys(("name", "source", "status", "message"), str)
DATA |= dict.fromkeys(("kept", "recovered", "skipped", "pieces"), int)
RUNS: dict[str, Any] = dict.fromkeys(("folder", "name", "data"), str) | {
    "minutes": int | float,
    "began": int | float,
    "stopped": bool,
}
OUTPUTS: dict[str, Any] = dict.fromkeys(("id", "kind", "model", "status", "command", "error"), str)
OUTPUTS |= {"seed": int, "options": dict, "source": dict | None, "seconds": int | float, "bars": int | None}
OUTPUTS |= {"asked": dict, **dict.fromkeys(MARK_OF.values(), bool)}


@dataclass
class Session:
    """All of it, as JSON values.

    Attributes:
        data: by id, see DATA; "source": what a data set is called, empty: uploaded.
        runs: by id, see RUNS, of runs started here; "began": seconds since 1970, 0 once it
            has gone on after a pause.
        outputs: by id, in the order in which they were asked for; see `new_output`.
        trail: steps that can be undone, the last one last: {"said", "was": {id: {mark: value}}}.
    """

    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    trail: list[dict[str, Any]] = field(default_factory=list)


def new_id() -> str:
    """An id that is also the name of files."""
    return secrets.token_hex(6)


def read(folder: Path) -> Session:
    """The session of a folder; a new one if there is none. One that cannot be read is set aside, and the console says
    so."""
    path = folder / NAME
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved.pop("version") != VERSION:
            raise ValueError("it is of another version")
        session = Session(**saved)
        _require(session)
        return session
    except FileNotFoundError:
        return Session()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        aside = path.with_name(f"{path.name}.{new_id()}")
        with contextlib.suppress(OSError):
            path.rename(aside)
        console.say("session", f"{path} cannot be read ({error}): it is kept as {aside.name}, and a new one begins")
        return Session()


def _require(session: Session) -> None:
    """Raises ValueError, TypeError, KeyError or AttributeError unless all of a session is as it was written."""
    for entries, fields in ((session.data, DATA), (session.runs, RUNS), (session.outputs, OUTPUTS)):
        for one, entry in entries.items():
            if not all(isinstance(entry[name], kind) for name, kind in fields.items()) or not PLAIN.fullmatch(one):
                raise ValueError(f"the entry {one[:40]!r} is damaged")
    if not all(PLAIN.fullmatch(run["folder"]) for run in session.runs.values()):
        raise ValueError("a run has no plain folder")
    if not all(one == output["id"] for one, output in session.outputs.items()):
        raise ValueError("an output has two ids")
    if not all(isinstance(one.get("epoch"), int) for one in session.outputs.values() if one["kind"] == SAMPLE):
        raise ValueError("a sample has no epoch")
    if not isinstance(session.trail, list):
        raise TypeError("the trail is no list")
    for step in session.trail:
        if not isinstance(step["said"], str) or not all(
            marks.keys() <= set(MARK_OF.values()) for marks in step["was"].values()
        ):
            raise ValueError("a step of the trail is damaged")
    json.dumps(asdict(session), allow_nan=False)


def write(folder: Path, session: Session) -> None:
    """Keeps the session; raises OSError if it cannot, and the older one stays."""
    files.write(folder / NAME, json.dumps({"version": VERSION, **asdict(session)}))


def new_output(kind: str, model: str, seed: int, **more: Any) -> dict[str, Any]:
    """An output that waits to be composed; more: what else is known, such as the epoch of a sample."""
    return {
        "id": new_id(),
        "kind": kind,
        "model": model,
        "status": "waiting",
        "seed": seed,
        "command": "",
        "options": {},
        "seconds": 0.0,
        "bars": None,
        "asked": {},
        **dict.fromkeys(MARK_OF.values(), False),
        "error": "",
        **more,
    }


def listed(session: Session) -> list[dict[str, Any]]:
    """All outputs that people asked for, in that order."""
    return [one for one in list(session.outputs.values()) if one["kind"] != SAMPLE]


def number(session: Session, one: str) -> int:
    """The number of an output among those that people asked for, from 1."""
    return 1 + [output["id"] for output in listed(session)].index(one)


def to_take_away(session: Session) -> list[dict[str, Any]]:
    """The outputs that are done, not discarded, and kept or favourites, as the page lists them under Keep."""
    done = [one for one in listed(session) if one["status"] == "done" and not one["discarded"]]
    return [one for one in done if one["kept"] or one["favourite"]]


def remember(session: Session, one: str, marks: dict[str, bool], called: str) -> None:
    """Changes marks of an output, and remembers what they were; called: such as "piece 4"."""
    output = session.outputs[one]
    changed = [mark for mark, value in marks.items() if output[mark] != value]
    said = SAID[changed[-1], marks[changed[-1]]].format(called)
    _step(session, said, {one: {mark: output[mark] for mark in marks}})
    output |= marks


def remember_new(session: Session, made: list[str], called: str) -> None:
    """Remembers new outputs, so that undoing the step discards them; called: such as "pieces 4 to 6"."""
    _step(session, f"discard {called}", {one: {"discarded": True} for one in made})


def _step(session: Session, said: str, was: dict[str, dict[str, bool]]) -> None:
    session.trail = [*session.trail, {"said": said, "was": was}][-MOST_STEPS:]


def undo(session: Session) -> bool:
    """Takes the last step back; False if there is none."""
    if not session.trail:
        return False
    for one, marks in session.trail.pop()["was"].items():
        if one in session.outputs:
            session.outputs[one] |= marks
    return True


def shown(output: dict[str, Any]) -> dict[str, Any]:
    """An output as the page gets it."""
    names = ("id", "kind", "model", "status", "seed", "command", "seconds", "bars", "asked", *MARK_OF.values(), "error")
    return {name: output[name] for name in names}

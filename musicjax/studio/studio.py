"""What the server knows and does: the session, the trainings, the processes that compose and read, and the pages that
watch. All of it runs in one thread, so that nothing needs a lock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

from musicjax import console
from musicjax.errors import RunError, UsageError
from musicjax.studio import library, order, processes, runs, session
from musicjax.studio.library import Upload
from musicjax.studio.partner import Partner
from musicjax.studio.runs import Curve
from musicjax.version import __version__

FOLDER = ".studio"  # below that of the runs
BUILTIN = "builtin"
LOOK_S = 1.0  # between two looks at what runs have written
LEAST_BETWEEN_S = 0.25  # two states that a page is sent
MOST_WAITING = 2000  # messages for a page that does not take them; then it has to connect again
SAMPLES_A_RUN = 8
MOST_OUTPUTS = 5000
ANSWER_S = 120.0  # the longest wait for sound or copies
DISK_STEP_BYTES = 2**27  # in which free space is shown, so that it does not change all the time
NO_OUTPUT, NO_RUN, NO_DATA, NO_MODEL = (f"There is no such {what}." for what in ("output", "run", "data set", "model"))


class Missing(Exception):
    """What a page asks for is not there; the text says so."""


class Studio:
    """A studio on the folder of its runs; `live` keeps it going."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER
        for name in ("outputs", "uploads", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.session = session.read(self.folder)
        self.message = ""
        self.composer = Partner(
            "musicjax.studio.composer", self._on_composer_there, self._on_composed, self._on_composer_gone
        )
        self.listener = Partner("musicjax.studio.listener", lambda: None, self._on_heard, self._on_listener_gone)
        self._composer_is = "starting"
        self._now: str = ""  # the output that is being composed
        self._tries: dict[str, int] = {}
        self._partial: dict[str, dict[str, Any]] = {}
        self._answers: dict[tuple[str, str], asyncio.Future] = {}
        self._pages: set[asyncio.Queue] = set()
        self._changed = asyncio.Event()
        self._uploads: dict[str, Upload] = {}
        self._processes: dict[str, Popen] = {}
        self._curves: dict[str, Curve] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._asked_models: dict[str, float] = {}
        self._tasks: set[asyncio.Task] = set()
        for one in self.session.outputs.values():
            if one["status"] == "composing":  # when the last studio ended; its seed gives the same again
                one["status"] = "waiting"

    # What goes on by itself.

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Keeps the studio going; at the end nothing of it runs but trainings."""
        for work in (self.composer.run(), self.listener.run(), self._look(), self._send_states()):
            self._begin(work)
        for one, data in self.session.data.items():
            if data["status"] == "reading":
                self._begin(self._read(one))
        try:
            yield
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        """Looks at the runs again and again."""
        while True:
            self.look_at_runs()
            await asyncio.sleep(LOOK_S)

    def look_at_runs(self) -> None:
        """What the runs have written since the last look."""
        found = runs.folders(self.root)
        for one, record in self.session.runs.items():
            found.setdefault(one, self.root / record["folder"])
        states = {}
        for one, workdir in found.items():
            curve = self._curves[one] = runs.refreshed(self._curves.get(one, Curve()), workdir / "metrics.jsonl")
            record, process = self.session.runs.get(one, {}), self._processes.get(one)
            error = self._models.get(one, {}).get("error", "")
            states[one] = runs.state(one, workdir, curve, record, self._log(one), process, error)
            if states[one]["has_model"]:
                with contextlib.suppress(OSError):
                    self._ask_model(one, str(workdir), (workdir / "config.json").stat().st_mtime)
        for one, state in states.items():
            if state["status"] == "training":
                self._sample(state)
        for one in set(self._models) - set(states) - {BUILTIN}:
            del self._models[one]
        if states != self._runs:
            self._runs = states
            self.changed()
        self._compose_next()

    def _sample(self, run: dict[str, Any]) -> None:
        """Asks for a sample of a run every few epochs."""
        model, made = self._models.get(run["id"]), self._samples(run["id"])
        if model is None or model["error"] or any(one["status"] in ("waiting", "composing") for one in made):
            return
        last, every = max((one["epoch"] for one in made), default=0), max(run["epochs"] // SAMPLES_A_RUN, 1)
        if run["epoch"] >= last + every or (run["epoch"] and not made):
            options = order.with_source({}, "new", "", 0)
            self._wait_for("sample", run["id"], 0, options, None, run=run["id"], epoch=run["epoch"])

    def _samples(self, run: str) -> list[dict[str, Any]]:
        return [one for one in self.session.outputs.values() if one.get("run") == run]

    # What pages see.

    def state(self) -> dict[str, Any]:
        """The whole state, as JSON values."""
        outputs = [one for one in self.session.outputs.values() if one["kind"] != "sample"]
        free = shutil.disk_usage(self.folder).free // DISK_STEP_BYTES * DISK_STEP_BYTES
        return {
            "runs": [self._shown_run(run) for run in self._runs.values()],
            "data": [self._shown_data(one) for one in self.session.data],
            "models": [model for model in self._models.values() if not model["error"]],
            "outputs": [session.shown(one) for one in outputs],
            "undo": self.session.trail[-1]["said"] if self.session.trail else "",
            "disk_free_bytes": free,
            "version": __version__,
            "composer": self._composer_is,
            "message": self.message,
        }

    def _shown_run(self, run: dict[str, Any]) -> dict[str, Any]:
        done = [one for one in self._samples(run["id"]) if one["status"] == "done"]
        return {**run, "samples": [{name: one[name] for name in ("id", "epoch", "seconds")} for one in done]}

    def _shown_data(self, one: str) -> dict[str, Any]:
        names = ("name", "status", "kept", "recovered", "skipped", "pieces", "message")
        return {"id": one, **{name: self.session.data[one][name] for name in names}}

    def changed(self) -> None:
        """Pages get the state soon."""
        self._changed.set()

    def keep(self) -> None:
        """Keeps the session on the disk, and tells the pages; where it cannot be kept, they are told that too.

        What cannot be kept now is kept with the next change.
        """
        try:
            session.write(self.folder, self.session)
            self.message = ""
        except OSError as error:
            self.message = cannot_keep(error)
        self.changed()

    async def _send_states(self) -> None:
        last = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._pages and (text := json.dumps(self.state())) != last:
                last = text
                self._tell("state", text)
            await asyncio.sleep(LEAST_BETWEEN_S)

    def _tell(self, event: str, text: str) -> None:
        for page in list(self._pages):
            try:
                page.put_nowait((event, text))
            except asyncio.QueueFull:
                self._pages.discard(page)

    async def events(self) -> AsyncIterator[str]:
        """What a page is sent: server-sent events, the state first."""
        page: asyncio.Queue = asyncio.Queue(MOST_WAITING)
        page.put_nowait(("state", json.dumps(self.state())))
        for partial in self._partial.values():
            page.put_nowait(("notes", json.dumps(partial)))
        self._pages.add(page)
        try:
            while page in self._pages or not page.empty():
                event, text = await page.get()
                yield f"event: {event}\ndata: {text}\n\n"
        finally:
            self._pages.discard(page)

    # Data sets.

    def new_data(self, name: str = "", source: str = "") -> str:
        """A data set that is uploaded, or one that is known by its name."""
        if source and source not in library.NAMES:
            raise UsageError(f"There is no data set of that name; expected one of {', '.join(library.NAMES)}.")
        one = session.new_id()
        upload = Upload(self.folder / "uploads" / one)
        counts = dict.fromkeys(("kept", "recovered", "skipped", "pieces"), 0)
        self.session.data[one] = {
            "name": name or source or f"upload {len(self.session.data) + 1}",
            "source": source,
            "status": "reading" if source else "uploading",
            "message": "",
            **counts,
        }
        if source:
            self._begin(self._read(one))
        else:
            self._uploads[one] = upload
        self.keep()
        return one

    def upload(self, one: str) -> Upload:
        """The upload of a data set; raises Missing or UsageError if it takes no more files."""
        if self.data(one)["status"] != "uploading":
            raise UsageError("This data set is complete: make another one for more files.")
        if one not in self._uploads:  # begun before the studio was started again
            self._uploads[one] = Upload(self.folder / "uploads" / one)
        return self._uploads[one]

    def end_upload(self, one: str) -> None:
        """Nothing more comes: the data set is read."""
        self.upload(one)
        del self._uploads[one]
        self.session.data[one]["status"] = "reading"
        self._begin(self._read(one))
        self.keep()

    def data(self, one: str) -> dict[str, Any]:
        """A data set; raises Missing."""
        return _of(self.session.data, one, NO_DATA)

    def report(self, one: str) -> dict[str, Any]:
        """The report on a data set that has been read, with its state; raises Missing."""
        self.data(one)
        found = library.report(self.folder / "uploads" / one)
        found.pop("places", None)
        return {**self._shown_data(one), "files": [], **found, "pieces": found.get("pieces", [])}

    def piece_at(self, one: str, number: int) -> tuple[str, Path, int]:
        """(name, file of pieces, byte) of a piece; raises Missing."""
        self.data(one)
        folder = self.folder / "uploads" / one
        found = library.report(folder)
        places = found.get("places", [])
        if not 0 <= number < len(places):
            raise Missing("There is no such piece.")
        return found["pieces"][number]["name"], folder / "pieces.bin", places[number]

    def remove_data(self, one: str) -> None:
        """Removes a data set that no run needs any more; raises Missing or UsageError."""
        self.data(one)
        users = [run for run in self._runs.values() if run["data"] == one and run["status"] != "finished"]
        if users:
            raise UsageError(f"The run {users[0]['name']} still needs this data set: stop it first.")
        del self.session.data[one]
        self._uploads.pop(one, None)
        self.keep()
        library.remove(self.folder / "uploads" / one)

    async def _read(self, one: str) -> None:
        """Reads a data set in a process of its own."""
        folder, last = self.folder / "uploads" / one, ""
        source = library.source(folder, self.session.data[one]["source"])
        process = await asyncio.create_subprocess_exec(
            *processes.command("musicjax.studio.reader", source, str(folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=processes.environment(),
            start_new_session=True,
        )
        try:
            assert process.stderr is not None
            while line := await process.stderr.readline():
                last = line.decode("utf-8", "replace").strip()
                if one in self.session.data:
                    self.session.data[one]["message"] = last
                    self.changed()
            status = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        if one not in self.session.data:
            return
        found, refused = library.report(folder), library.refused(folder)
        kept = {name: found.get(name, 0) for name in ("kept", "recovered", "skipped")}
        said = "" if status == 0 else last.removeprefix(runs.COMPLAINT) or "The reading process died."
        pieces = len(found.get("pieces", [])) + found.get("pieces_left_out", 0)
        if not said and not pieces:
            said = "None of these files gave notes; drop MIDI or MusicXML files."
        if said and not found and refused:
            said = f"None of these files is music: {refused[0]} {library.NO_MUSIC}."
        kept["skipped"] = kept["skipped"] if found else len(refused)
        self.session.data[one] |= {**kept, "pieces": pieces, "status": "failed" if said else "ready", "message": said}
        self.keep()

    # Trainings.

    def _log(self, one: str) -> Path:
        return self.folder / "logs" / f"{one}.log"

    def run(self, one: str) -> dict[str, Any]:
        """A run with its curve and the last lines that it printed; raises Missing."""
        shown = self._shown_run(_of(self._runs, one, NO_RUN))
        console_lines = runs.last_lines(self._log(one).with_suffix(".err"))
        return {**shown, "curve": self._curves[one].shown(), "console": console_lines}

    def train(self, data: str, minutes: float, name: str = "") -> str:
        """Starts a training; raises Missing, UsageError or RunError."""
        if self.data(data)["status"] != "ready":
            raise UsageError("This data set cannot be trained on yet: wait until it has been read, or see its report.")
        folder = runs.new_name(self.root, name or self.data(data)["name"])
        one = runs.id_of(folder)
        self.session.runs[one] = {
            "folder": folder,
            "name": name or folder,
            "data": data,
            "minutes": minutes,
            "began": time.time(),
            "stopped": False,
        }
        (self.root / folder).mkdir()
        self.keep()
        self._start(one)
        return one

    def _start(self, one: str) -> None:
        record = self.session.runs.get(one)
        workdir, arguments = self._workdir(one), []
        if record:
            folder = self.folder / "uploads" / record["data"]
            name = self.session.data.get(record["data"], {}).get("source", "")
            arguments = [f"--data={library.source(folder, name)}", f"--minutes={record['minutes']:g}"]
        self._processes[one] = runs.start(workdir, arguments, self._log(one))
        self.look_at_runs()

    def _workdir(self, one: str) -> Path:
        if one in self.session.runs:
            return self.root / self.session.runs[one]["folder"]
        return _of(runs.folders(self.root), one, NO_RUN)

    def act(self, one: str, what: str) -> None:
        """Pauses, continues or stops a run; raises Missing, UsageError or RunError."""
        status = _of(self._runs, one, NO_RUN)["status"]
        is_live = status in ("starting", "reading", "training")
        if what == "continue":
            if is_live:
                raise UsageError("This run is training already.")
            if one not in self.session.runs and not self._runs[one]["has_model"]:
                raise UsageError("This run has no checkpoint yet: continue it on the command line that started it.")
            if one in self.session.runs:
                self.session.runs[one] |= {"stopped": False, "began": time.time()}
                self.keep()
            self._start(one)
            return
        if not is_live and not (what == "stop" and status == "paused"):
            raise UsageError(f"This run is not training: it is {status}.")
        if what == "stop" and one in self.session.runs:
            self.session.runs[one]["stopped"] = True
            self.keep()
        if is_live:
            runs.interrupt(self._workdir(one), self._processes.get(one))
        self.look_at_runs()

    # Outputs.

    def compose(self, asked: dict[str, Any]) -> list[str]:
        """Asks for outputs; raises Missing or UsageError."""
        model = _of(self._models, asked.get("model", BUILTIN), NO_MODEL)
        if model["error"]:
            raise UsageError(model["error"])
        if len(self.session.outputs) + order.MOST_COUNT > MOST_OUTPUTS:
            raise UsageError(f"This studio holds {MOST_OUTPUTS:,} outputs: begin another one with --workdir=DIR.")
        seeds = order.seeds(asked)
        options = order.options(asked, model["can"]["infill"])
        source, given = self._source(asked)
        kind = asked.get("kind", "new")
        if kind != "new" and not given and not source:
            raise UsageError("source: expected the piece to begin with.")
        order.require(options, kind, given or ("source.mid" if source else ""))
        made = [self._wait_for(kind, model["id"], seed, options, source, given) for seed in seeds]
        undone = "compose nothing: discard what was asked for last" if len(made) > 1 else "discard the last output"
        session.remember(self.session, undone, [], discarded=False)
        self.session.trail[-1]["was"] = {one: {"discarded": True} for one in made}
        self.keep()
        self._compose_next()
        return made

    def _source(self, asked: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """(what the composer makes a MIDI file of, or None; else the file or melody itself, or empty)."""
        source = asked.get("source")
        if source is None:
            return None, ""
        if not isinstance(source, dict):
            raise UsageError("source: expected an object such as {'output': ID}.")
        if "output" in source:
            found = self.output(source["output"])
            if found["status"] != "done":
                raise UsageError("That output is not composed yet.")
            return None, str(self.midi_path(found))
        if "melody" in source:
            return None, order.melody(source["melody"])
        if "notes" in source:
            bpm = asked.get("bpm")
            tempo = float(bpm) if isinstance(bpm, int | float) and 10 <= bpm <= 1000 else None
            return {"notes": order.notes(source["notes"]), "bpm": tempo}, ""
        data = source.get("data", source.get("upload"))
        if data is None:
            raise UsageError("source: expected one of output, data, melody, notes, upload.")
        if self.data(data)["status"] in ("uploading", "reading"):
            raise UsageError("That file is still being read: try again in a moment.")
        number = source.get("piece", 0)
        if type(number) is not int:
            raise UsageError("piece: expected a whole number.")
        _, records, place = self.piece_at(data, number)
        return {"records": str(records), "place": place}, ""

    def _wait_for(
        self,
        kind: str,
        model: str,
        seed: int,
        options: dict[str, Any],
        source: dict[str, Any] | None,
        given: str = "",
        **more: Any,
    ) -> str:
        output = session.new_output(kind, model, seed, "", options, source=source, **more)
        path = self.midi_path(output)
        given = str(path.with_name(f"{path.stem}-source.mid")) if source else given
        output["options"] = order.with_source(options, kind, given, seed)
        output["command"] = order.command(output["options"], "" if model == BUILTIN else str(self._workdir(model)))
        self.session.outputs[output["id"]] = output
        return output["id"]

    def midi_path(self, output: dict[str, Any]) -> Path:
        """Where the MIDI file of an output lies."""
        return self.folder / "outputs" / f"{output['id']}.mid"

    def output(self, one: Any) -> dict[str, Any]:
        """An output; raises Missing."""
        return _of(self.session.outputs, one, NO_OUTPUT)

    def heard(self, one: str) -> dict[str, Any]:
        """An output with its piece, or what there is of it by now; raises Missing."""
        output = self.output(one)
        partial = self._partial.get(one)
        nothing = {"notes": [], "seconds": 0.0, "bars": [], "meter": "", "key": "", "bpm": 0.0, "left_out": 0}
        piece = {**nothing, **({name: partial[name] for name in ("notes", "seconds", "bars")} if partial else {})}
        if output["status"] == "done":
            try:
                piece |= json.loads(self.midi_path(output).with_suffix(".json").read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise Missing("The file of this output is gone or damaged.") from error
        name = f"{output['kind']}, seed {output['seed']}"
        return {**piece, **session.shown(output), "seconds": piece["seconds"], "name": name}

    def mark(self, one: str, what: str) -> None:
        """Keeps, discards or cancels an output, or makes it a favourite, or takes that back; raises Missing."""
        output = self.output(one)
        if what == "cancel":
            self._cancel(output)
        elif what == "favourite":
            said = "favourite no more" if not output["favourite"] else "favourite again"
            session.remember(self.session, f"make the output of seed {output['seed']} {said}", [one])
            self._step(one, favourite=not output["favourite"])
        else:
            mark, other = ("kept", "discarded") if what == "keep" else ("discarded", "kept")
            self._step(one, **{mark: not output[mark], other: False})
        self.keep()

    def _step(self, one: str, **changes: bool) -> None:
        said = {"kept": "keeping", "discarded": "discarding", "favourite": "the mark of a favourite on"}
        mark = next(iter(changes))
        session.remember(
            self.session, f"undo {said[mark]} the output of seed {self.output(one)['seed']}", [one], **changes
        )

    def undo(self) -> None:
        """Takes the last step back; raises UsageError if there is none."""
        if not session.undo(self.session):
            raise UsageError("There is nothing to undo.")
        self.keep()

    def _cancel(self, output: dict[str, Any]) -> None:
        if output["id"] == self._now:
            self.composer.ask(do="cancel", id=output["id"])
        elif output["status"] == "waiting":
            output["status"] = "cancelled"
        else:
            raise UsageError(f"This output is {output['status']}: there is nothing to cancel.")

    async def answer(self, do: str, output: dict[str, Any]) -> dict[str, Any]:
        """What the listening process says of an output; raises UsageError or RunError."""
        if output["status"] != "done":
            raise UsageError("That output is not composed yet.")
        key = (do, output["id"])
        if key not in self._answers:
            self._answers[key] = asyncio.get_running_loop().create_future()
            workdir = "" if output["model"] == BUILTIN else str(self._workdir(output["model"]))
            self.listener.ask(do=do, id=output["id"], workdir=workdir, path=str(self.midi_path(output)))
        try:
            return await asyncio.wait_for(asyncio.shield(self._answers[key]), ANSWER_S)
        except TimeoutError as error:
            raise RunError("This takes too long: try again later.") from error

    # Answers of the processes.

    def _on_composer_there(self) -> None:
        self.composer.ask(do="describe", id=BUILTIN, workdir="")

    def _ask_model(self, one: str, workdir: str, changed: float) -> None:
        """Asks what a model can do, once for each config that its folder has had."""
        if self._composer_is == "ready" and self._asked_models.get(one) != changed:
            self._asked_models[one] = changed
            self.composer.ask(do="describe", id=one, workdir=workdir)

    def _compose_next(self) -> None:
        """Gives the composer the next output, those that a person waits for first."""
        if self._now or self._composer_is != "ready":
            return
        waiting = [one for one in self.session.outputs.values() if one["status"] == "waiting"]
        for output in sorted(waiting, key=lambda one: one["kind"] == "sample"):
            try:
                workdir = "" if output["model"] == BUILTIN else str(self._workdir(output["model"]))
            except Missing:
                output |= {"status": "failed", "error": "The run that composes it is gone."}
                continue
            self._now = output["id"]
            output["status"] = "composing"
            self.composer.ask(
                do="compose",
                id=output["id"],
                workdir=workdir,
                options=output["options"],
                source=output["source"],
                path=str(self.midi_path(output)),
            )
            self.changed()
            return

    def _on_composed(self, answer: dict[str, Any]) -> None:
        told, one = answer["told"], answer["id"]
        if told == "model":
            self._on_model(answer)
            return
        output = self.session.outputs.get(one)
        if told == "notes":
            part = {"output": one, **{name: answer[name] for name in ("from", "notes", "seconds", "bars")}}
            before = self._partial.get(one, {"notes": []})["notes"][: answer["from"]]
            self._partial[one] = {**part, "from": 0, "notes": before + answer["notes"]}
            self._tell("notes", json.dumps(part))
            return
        self._now = ""
        self._partial.pop(one, None)
        if output is not None:
            output |= {"status": told, "error": answer.get("error", ""), "seconds": answer.get("seconds", 0.0)}
        self.keep()
        self._compose_next()

    def _on_model(self, answer: dict[str, Any]) -> None:
        if self._composer_is != "ready":
            self._composer_is, self.message = "ready", ""
        one = answer["id"]
        name = "the built-in model" if one == BUILTIN else self._runs.get(one, {}).get("name", one)
        told = {key: value for key, value in answer.items() if key != "told"}
        nothing = {"keys": False, "meters": [], "instruments": [], "can": {}}
        self._models[one] = {"name": name, **nothing, **told}
        self.changed()
        self._compose_next()

    def _on_composer_gone(self) -> None:
        """The composer has died: what it was at is tried once more, and another one starts."""
        one, self._now = self._now, ""
        self._composer_is, self._asked_models = "restarting", {}
        self._partial.clear()
        output = self.session.outputs.get(one)
        if output is not None:
            self._tries[one] = self._tries.get(one, 0) + 1
            gave_up = self._tries[one] > 1
            output["status"] = "failed" if gave_up else "waiting"
            output["error"] = "The composing process died at it twice." if gave_up else ""
        console.say("composer", "has died; another one starts")
        self.message = "The composing process died; another one is starting."
        self.changed()

    def _on_heard(self, answer: dict[str, Any]) -> None:
        waiting = self._answers.pop((answer["told"], answer["id"]), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _on_listener_gone(self) -> None:
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(RunError("The process that listens died; try again."))
        self._answers.clear()


def cannot_keep(error: OSError) -> str:
    """What is said where something cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free some space, or what you do now is lost when the studio ends."
    return f"The studio's folder cannot be written: {error.strerror or error}."


def _of(found: dict[str, Any], key: Any, otherwise: str) -> Any:
    """An entry; raises Missing if there is none, or no key."""
    if not isinstance(key, str) or key not in found:
        raise Missing(otherwise)
    return found[key]

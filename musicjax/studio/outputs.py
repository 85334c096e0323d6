"""The outputs of the studio: asked for, composed one after another, kept, discarded, and undone."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from musicjax.errors import UsageError
from musicjax.studio import compose_request, json_file, session, titles
from musicjax.studio.library import Library
from musicjax.studio.models import BUILTIN, DIED, MOST_TRIES, Models
from musicjax.studio.session import SAMPLE
from musicjax.studio.trainings import Trainings
from musicjax.studio.worker import Worker
from musicjax.studio.workspace import Missing, Workspace, entry

SAMPLES_A_RUN = 8
MOST_OUTPUTS = 5000
OPEN = ("waiting", "composing")
NO_OUTPUT, NO_MODEL = "There is no such output.", "There is no such model, or the composing process is still starting."
NOTHING = {"notes": [], "seconds": 0.0, "bars": [], "meter": "", "key": "", "bpm": 0.0, "left_out": 0}


class Outputs:
    """What was composed and what is to be, in session.outputs by ids, and the process that composes.

    Attributes:
        models: those that are known, see `Models`.
        composer_is: starting, ready or restarting.
    """

    def __init__(self, workspace: Workspace, library: Library, trainings: Trainings) -> None:
        self._workspace, self._library, self._trainings = workspace, library, trainings
        self._outputs = workspace.session.outputs
        self._models = Models(trainings)
        self.models = self._models.known
        self.composer_is = "starting"
        self.composer = Worker("musicjax.studio.composer", self._on_start, self._on_answer, self._on_death)
        self._now = ""  # the output that is being composed
        self._unanswered: list[tuple[str, str]] = []  # what to do and its id, in the order in which it is done
        self._deaths: dict[str, int] = {}  # of the composing process, at outputs
        self._parts: dict[str, dict[str, Any]] = {}
        for one in self._outputs.values():
            if one["status"] == "composing":  # when the last studio ended; its seed gives the same again
                one["status"] = "waiting"

    # What pages ask for.

    def compose(self, asked: dict[str, Any]) -> list[str]:
        """Asks for outputs; raises Missing or UsageError."""
        model = entry(self.models, asked.get("model", BUILTIN), NO_MODEL)
        if model["error"]:
            raise UsageError(model["error"])
        if len(self._outputs) + compose_request.MOST_COUNT > MOST_OUTPUTS:
            raise UsageError(f"This studio is full at {MOST_OUTPUTS:,} outputs: begin another one with --workdir=DIR.")
        seeds, options = compose_request.seeds(asked), compose_request.options(asked, model["can"]["infill"])
        source, given = self._source(asked)
        kind = asked.get("kind", "new")
        if kind != "new" and not given and not source:
            raise UsageError("No source is given: expected a piece to begin with.")
        compose_request.require(options, kind, given or ("source.mid" if source else ""))
        made = [
            self._add(kind, model["id"], seed, options, source, given, asked=compose_request.told(asked))
            for seed in seeds
        ]
        numbers = [session.number(self._workspace.session, one) for one in made]
        session.remember_new(self._workspace.session, made, titles.of_pieces(numbers))
        self._workspace.keep()
        self._put_off_sample()
        self.compose_next()
        return made

    def _put_off_sample(self) -> None:
        """Cancels a sample that is being composed, since a person waits; the run asks for another one later."""
        if self._now and self._outputs[self._now]["kind"] == SAMPLE:
            self.composer.ask(do="cancel", id=self._now)

    def _source(self, asked: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """(what the composer makes a MIDI file of, or None; else the file or melody itself, or empty)."""
        source = asked.get("source")
        if source is None:
            return None, ""
        if not isinstance(source, dict):
            raise UsageError("The source cannot be read: expected an object such as {'output': ID}.")
        if "output" in source:
            found = self.of(source["output"])
            if found["status"] != "done":
                raise UsageError("That output is not composed yet.")
            return None, str(self.midi_path(found))
        if "melody" in source:
            return None, compose_request.melody(source["melody"])
        if "notes" in source:
            return {"notes": compose_request.notes(source["notes"]), "bpm": compose_request.tempo(asked)}, ""
        data, number = compose_request.data_of(asked), source.get("piece", 0)
        if data is None or type(number) is not int:
            raise UsageError(
                "The source is of no known kind: expected one of output, data with piece, melody, notes, upload."
            )
        found = self._library.of(data)
        if found["status"] in ("uploading", "reading"):
            raise UsageError("That file is still being read: try again in a moment.")
        if found["status"] == "failed":
            raise UsageError(found["message"])
        _, records, place = self._library.piece_at(data, number)
        return {"records": str(records), "place": place}, ""

    def _add(
        self,
        kind: str,
        model: str,
        seed: int,
        options: dict[str, Any],
        source: dict[str, Any] | None = None,
        given: str = "",
        **more: Any,
    ) -> str:
        """An output that waits to be composed; arguments: as `_source` gives them; more: what else is kept with it."""
        output = session.new_output(kind, model, seed, source=source, **more)
        path = self.midi_path(output)
        given = str(path.with_name(f"{path.stem}-source.mid")) if source else given
        output["options"] = compose_request.with_source(options, kind, given, seed)
        output["command"] = compose_request.command(output["options"], self._workdir(model))
        self._outputs[output["id"]] = output
        return output["id"]

    def sample(self, run: dict[str, Any]) -> None:
        """Asks for a sample of a run that trains, every few epochs."""
        model, made = self.models.get(run["id"]), self._samples(run["id"])
        if model is None or model["error"] or any(one["status"] in OPEN for one in made):
            return
        last, every = max((one["epoch"] for one in made), default=0), max(run["epochs"] // SAMPLES_A_RUN, 1)
        if run["epoch"] >= last + every or (run["epoch"] and not made):
            self._add(SAMPLE, run["id"], 0, {}, epoch=run["epoch"])

    def _samples(self, run: str) -> list[dict[str, Any]]:
        return [one for one in self._outputs.values() if one["kind"] == SAMPLE and one["model"] == run]

    def samples(self, run: str) -> list[dict[str, Any]]:
        """The samples of a run as the page gets them."""
        done = [one for one in self._samples(run) if one["status"] == "done"]
        return [{"name": self.title(one), **{key: one[key] for key in ("id", "epoch", "seconds")}} for one in done]

    def shown(self) -> list[dict[str, Any]]:
        """All outputs that people asked for, as the page gets them, in that order."""
        listed = session.listed(self._workspace.session)
        return [{**session.shown(one), "number": number} for number, one in enumerate(listed, 1)]

    def midi_path(self, output: dict[str, Any]) -> Path:
        """Where the MIDI file of an output lies."""
        return self._workspace.folder / "outputs" / f"{output['id']}.mid"

    def of(self, one: object) -> dict[str, Any]:
        """An output; raises Missing."""
        return entry(self._outputs, one, NO_OUTPUT)

    def heard(self, one: str) -> dict[str, Any]:
        """An output with its piece, or what there is of it by now; raises Missing."""
        output = self.of(one)
        found = self._composed(output) if output["status"] == "done" else self._parts.get(one, {})
        return {**session.shown(output), **NOTHING, **found, "name": self.title(output)}

    def _composed(self, output: dict[str, Any]) -> dict[str, Any]:
        """The piece of an output that is done, as the page gets it; raises Missing."""
        try:
            return json_file.read(self.midi_path(output).with_suffix(".json"))
        except (OSError, ValueError) as error:
            raise Missing("The file of this output is gone or damaged.") from error

    def title(self, output: dict[str, Any]) -> str:
        """What an output is called."""
        if output["kind"] == SAMPLE:
            run = self._trainings.states.get(output["model"], {})
            return titles.of_sample(run.get("name", output["model"]), output["epoch"])
        return titles.of_piece(session.number(self._workspace.session, output["id"]))

    def file_name(self, output: dict[str, Any], suffix: str) -> str:
        """What the file of an output that is done is called where somebody takes it away."""
        key = ""
        with contextlib.suppress(Missing):
            key = str(self._composed(output).get("key", ""))
        return titles.file_name(self.title(output), key, suffix)

    def mark(self, one: str, what: str) -> None:
        """Keeps or discards an output or makes it a favourite, or takes that back; raises Missing."""
        output, mark = self.of(one), session.MARK_OF[what]
        others = {other: False for other in ("kept", "discarded") if other != mark and mark != "favourite"}
        called = titles.within_a_sentence(self.title(output))
        session.remember(self._workspace.session, one, {**others, mark: not output[mark]}, called)
        self._workspace.keep()

    def cancel(self, one: str) -> None:
        """Cancels an output; raises Missing or UsageError."""
        output = self.of(one)
        if one == self._now:
            self.composer.ask(do="cancel", id=one)
        elif output["status"] == "waiting":
            output["status"] = "cancelled"
            self._workspace.keep()
        else:
            raise UsageError(f"This output is {output['status']}: there is nothing to cancel.")

    def undo(self) -> None:
        """Takes the last step back; raises UsageError if there is none."""
        if not session.undo(self._workspace.session):
            raise UsageError("There is nothing to undo.")
        self._workspace.keep()

    # The composing process.

    def _workdir(self, model: str) -> str:
        """The folder of a model as the composer is told; raises Missing."""
        return "" if model == BUILTIN else str(self._trainings.workdir(model))

    def require_models(self) -> None:
        """Asks what the models of runs can do, as far as that is not known."""
        if self.composer_is == "ready":
            for one in self._models.to_describe():
                self._ask("describe", one, workdir=self._workdir(one))

    def compose_next(self) -> None:
        """Gives the composer the next output, those that a person waits for first."""
        if self._now or self.composer_is != "ready":
            return
        waiting = [one for one in self._outputs.values() if one["status"] == "waiting"]
        for output in sorted(waiting, key=lambda one: one["kind"] == SAMPLE):
            try:
                workdir = self._workdir(output["model"])
            except Missing:
                output |= {"status": "failed", "error": "The run that composes it is gone."}
                self._workspace.keep()
                continue
            self._now, output["status"] = output["id"], "composing"
            wanted = {name: output[name] for name in ("options", "source")}
            self._ask("compose", output["id"], workdir=workdir, path=str(self.midi_path(output)), **wanted)
            self._workspace.changed()
            return

    def _on_start(self) -> None:
        self._ask("describe", BUILTIN, workdir="")

    def _ask(self, do: str, one: str, **more: Any) -> None:
        self._unanswered.append((do, one))
        self.composer.ask(do=do, id=one, **more)

    def _on_answer(self, answer: dict[str, Any]) -> None:
        if answer["told"] != "notes":
            del self._unanswered[:1]
        if answer["told"] == "model":
            self._on_model(answer)
        elif answer["told"] == "notes":
            self._on_part(answer)
        else:
            self._on_end(answer)

    def _on_model(self, answer: dict[str, Any]) -> None:
        if self.composer_is != "ready":
            self.composer_is, self._workspace.message = "ready", ""
        self._models.take(answer["id"], {key: answer[key] for key in answer if key != "told"})
        self._workspace.changed()
        self.compose_next()

    def _on_part(self, answer: dict[str, Any]) -> None:
        one, part = answer["id"], {name: answer[name] for name in ("from", "notes", "seconds", "bars")}
        before = self._parts.get(one, NOTHING)["notes"][: answer["from"]]
        self._parts[one] = {"notes": before + answer["notes"], "seconds": part["seconds"], "bars": part["bars"]}
        self._workspace.tell("notes", json.dumps({"output": one, "name": self.title(self.of(one)), **part}))

    def _on_end(self, answer: dict[str, Any]) -> None:
        """An output is done, failed or cancelled."""
        one, self._now = answer["id"], ""
        self._parts.pop(one, None)
        if answer["told"] == "cancelled" and self._outputs.get(one, {}).get("kind") == SAMPLE:
            del self._outputs[one]
        elif one in self._outputs:
            told = {"error": answer.get("error", ""), "seconds": answer.get("seconds", 0.0), "bars": answer.get("bars")}
            # Its source is a file now.
            self._outputs[one] |= {"status": answer["told"], "source": None, **told}
        self._workspace.keep()
        self.compose_next()

    def _on_death(self) -> None:
        """The composer has died: what it was at is tried once more, and another one starts."""
        at, self._unanswered = self._unanswered[:1], []
        now, self._now = self._now, ""
        self._parts.clear()
        if now in self._outputs:
            self._outputs[now]["status"] = "waiting"
        do, one = at[0] if at else ("", "")
        self._models.composer_died(one if do == "describe" else "")
        if do == "compose" and one in self._outputs:
            self._deaths[one] = self._deaths.get(one, 0) + 1
            if self._deaths[one] >= MOST_TRIES:
                self._outputs[one] |= {"status": "failed", "error": DIED}
        self.composer_is, self._workspace.message = "restarting", "The composing process died; another one is starting."
        self._workspace.changed()

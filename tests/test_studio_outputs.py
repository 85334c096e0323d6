"""In which order the studio composes: what a person waits for comes before the samples of trainings."""

from __future__ import annotations

import json

import pytest

from musicjax.studio import titles
from musicjax.studio.library import Library
from musicjax.studio.models import BUILTIN, DIED
from musicjax.studio.outputs import Outputs
from musicjax.studio.session import SAMPLE
from musicjax.studio.trainings import Trainings
from musicjax.studio.workspace import Workspace

CAN = {"infill": True, "vary": True, "continue": True, "bars": True}
RUN = {"id": "r1", "name": "r1", "epoch": 4, "epochs": 20}


@pytest.fixture
def outputs(tmp_path):
    """The outputs of a studio with one run, whose composing process notes in `asked` what it is asked."""
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1" / "metrics.jsonl").touch()
    workspace = Workspace(tmp_path)
    library = Library(workspace)
    made = Outputs(workspace, library, Trainings(workspace, library))
    made.asked = []
    made.composer.ask = lambda **request: made.asked.append((request["do"], request["id"]))
    for one in (BUILTIN, "r1"):
        made._on_answer({"told": "model", "id": one, "error": "", "can": CAN})
    return made


def begin_sample(outputs):
    """The id of a sample that is being composed."""
    outputs.sample(RUN)
    outputs.compose_next()
    _, one = outputs.asked[-1]
    assert outputs.of(one)["kind"] == SAMPLE and outputs.of(one)["status"] == "composing"
    return one


def test_a_sample_that_is_being_composed_gives_way_and_is_asked_for_again(outputs):
    sample = begin_sample(outputs)
    (wanted,) = outputs.compose({})
    assert outputs.asked[-1] == ("cancel", sample)
    outputs._on_answer({"told": "cancelled", "id": sample})
    assert outputs.asked[-1] == ("compose", wanted)
    assert sample not in outputs._outputs
    outputs.sample(RUN | {"epoch": 5})
    outputs._on_answer({"told": "done", "id": wanted, "seconds": 8.0, "bars": 8})
    _, again = outputs.asked[-1]
    assert outputs.of(again) | {"kind": SAMPLE, "epoch": 5, "status": "composing"} == outputs.of(again)


def test_a_sample_that_ends_before_it_hears_of_it_stays(outputs):
    sample = begin_sample(outputs)
    (wanted,) = outputs.compose({})
    outputs._on_answer({"told": "done", "id": sample, "seconds": 8.0, "bars": 8})
    assert outputs.of(sample)["status"] == "done" and outputs.asked[-1] == ("compose", wanted)


def test_nothing_is_cancelled_for_another_output(outputs):
    first, second, third = outputs.compose({"count": 3})
    fourth = outputs.compose({})[0]
    outputs.sample(RUN)
    for one, following in ((first, second), (second, third), (third, fourth)):
        outputs._on_answer({"told": "done", "id": one, "seconds": 8.0, "bars": 8})
        assert outputs.asked[-1] == ("compose", following)
    outputs._on_answer({"told": "done", "id": fourth, "seconds": 8.0, "bars": 8})
    assert outputs.of(outputs.asked[-1][1])["kind"] == SAMPLE
    assert "cancel" not in dict(outputs.asked)


@pytest.fixture
def described(outputs, monkeypatch):
    """The outputs of a studio whose run has a model, and a function that starts its composing process anew."""
    monkeypatch.setattr(outputs._trainings, "states", {"r1": RUN | {"has_model": True}})

    def start():
        outputs._on_start()
        outputs._on_answer({"told": "model", "id": BUILTIN, "error": "", "can": CAN})
        outputs.require_models()

    start()
    return outputs, start


def test_a_model_at_which_the_composing_process_dies_twice_is_not_described_again(described):
    outputs, start = described
    for _ in range(5):
        assert outputs.asked[-1] in (("describe", "r1"), ("describe", BUILTIN))
        outputs._on_death()
        start()
        outputs._trainings.states["r1"]["epoch"] += 1
    assert outputs.asked.count(("describe", "r1")) == 2
    assert outputs.models["r1"]["error"] == DIED and not outputs.models[BUILTIN]["error"]
    config = outputs._trainings.workdir("r1") / "config.json"
    config.touch()
    outputs.require_models()
    assert outputs.asked.count(("describe", "r1")) == 3, "another run there is another model"


def test_a_model_whose_folder_was_gone_for_a_moment_is_described_again(described):
    outputs, _ = described
    outputs._on_answer({"told": "model", "id": "r1", "error": "", "can": CAN})
    runs, outputs._trainings.states = outputs._trainings.states, {}
    outputs.require_models()
    assert "r1" not in outputs.models
    outputs._trainings.states = runs
    outputs.require_models()
    assert outputs.asked.count(("describe", "r1")) == 2


def test_an_output_is_not_blamed_for_the_death_at_a_description_before_it(described):
    outputs, start = described
    (one,) = outputs.compose({})
    assert outputs.asked[-2:] == [("describe", "r1"), ("compose", one)]
    statuses = []
    for _ in range(3):
        outputs._on_death()
        statuses.append(outputs.of(one)["status"])
        start()
    assert statuses == ["waiting", "waiting", "failed"] and outputs.of(one)["error"] == DIED
    assert not outputs.models["r1"]["error"]


def finish(outputs, one, key=""):
    """What composing an output leaves."""
    outputs.midi_path(outputs.of(one)).write_bytes(b"MThd")
    outputs.midi_path(outputs.of(one)).with_suffix(".json").write_text(json.dumps({"key": key}))
    outputs._on_answer({"told": "done", "id": one, "seconds": 8.0, "bars": 8})


def test_pieces_and_samples_are_called_as_the_page_calls_them(outputs):
    (first,) = outputs.compose({})
    finish(outputs, first, "D minor")
    sample, told = begin_sample(outputs), []
    outputs._workspace.tell = lambda _, text: told.append(json.loads(text)["name"])
    outputs._on_answer({"told": "notes", "id": sample, "from": 0, "notes": [], "seconds": 0.0, "bars": []})
    assert told == ["r1, round 4"]
    finish(outputs, sample, "F# major")
    (second,) = outputs.compose({})
    assert [outputs.heard(one)["name"] for one in (first, sample, second)] == ["Piece 1", "r1, round 4", "Piece 2"]
    assert [one["name"] for one in outputs.samples("r1")] == ["r1, round 4"]
    assert outputs.file_name(outputs.of(first), ".mid") == "Piece 1, D minor.mid"
    assert outputs.file_name(outputs.of(sample), ".wav") == "r1, round 4, F# major.wav"
    assert outputs.file_name(outputs.of(second), ".mid") == "Piece 2.mid"


def test_what_can_be_undone_names_pieces_as_the_page_does(outputs):
    said = lambda: outputs._workspace.session.trail[-1]["said"]  # noqa: E731
    outputs.compose({})
    assert said() == "discard piece 1"
    *_, fourth = outputs.compose({"count": 3})
    assert said() == "discard pieces 2 to 4"
    steps = []
    for mark in ("favourite", "favourite", "keep", "keep", "discard", "discard"):
        outputs.mark(fourth, mark)
        steps.append(said())
    assert steps == [
        *("take the heart off piece 4", "put the heart back on piece 4", "stop keeping piece 4", "keep piece 4 again"),
        *("bring piece 4 back", "discard piece 4 again"),
    ]


def test_the_name_of_a_file_holds_nothing_that_a_system_refuses():
    assert titles.file_name('a/b\\c:"d"\0', "Bb dorian", ".mid") == "a_b_c__d__, Bb dorian.mid"

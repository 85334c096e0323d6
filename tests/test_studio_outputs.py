"""In which order the studio composes: what a person waits for comes before the samples of trainings."""

from __future__ import annotations

import pytest

from musicjax.studio.library import Library
from musicjax.studio.outputs import BUILTIN, SAMPLE, Outputs
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

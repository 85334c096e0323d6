"""What the studio keeps: whole at any time, and each step can be taken back."""

from __future__ import annotations

import copy
import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicjax import files
from musicjax.studio import session, workspace
from musicjax.studio.session import Session
from musicjax.studio.workspace import Workspace

COUNTS = {"kept": 1, "recovered": 0, "skipped": 0, "pieces": 1}
DATA = {"name": "é", "source": "", "status": "ready", "message": "", **COUNTS}
SAMPLE = session.new_output(session.SAMPLE, "r", 0, source=None)  # of no epoch
RUN = {"folder": "x", "name": "x", "data": "d", "minutes": 5.0, "began": 0.0, "stopped": False}


def with_outputs(count):
    """A session of some outputs, and their ids."""
    made = Session()
    for seed in range(count):
        output = session.new_output("new", "builtin", seed, source=None)
        made.outputs[output["id"]] = output
    return made, list(made.outputs)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*session.MARK_OF.values(), "new"])), max_size=30))
def test_undo_takes_back_each_step_in_turn(steps):
    made, ids = with_outputs(3)
    states = []
    for which, mark in steps:
        states.append(copy.deepcopy(made.outputs))
        if mark == "new":
            session.remember_new(made, [ids[which]], "piece 1")
            states[-1][ids[which]]["discarded"] = True  # which is what undoing it does
        else:
            session.remember(made, ids[which], {mark: not made.outputs[ids[which]][mark]}, "piece 1")
        assert made.trail[-1]["said"]
    while states:
        state = states.pop()
        assert session.undo(made)
        for one in ids:
            assert made.outputs[one] | {"discarded": None} == state[one] | {"discarded": None}
    assert not session.undo(made)


def test_a_session_is_read_as_it_was_written(tmp_path):
    made, ids = with_outputs(2)
    session.remember(made, ids[0], {"kept": True}, "piece 1")
    made.data["d"], made.runs["r"] = DATA, RUN
    session.write(tmp_path, made)
    assert session.read(tmp_path) == made


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        ("data", []),
        ("data", {"d": {}}),
        ("data", {"d": {**DATA, "kept": "many"}}),
        ("data", {"../../d": DATA}),
        ("runs", {"r": {}}),
        ("runs", {"../r": RUN}),
        ("runs", {"r": {**RUN, "folder": "../../etc"}}),
        ("runs", {"r": {**RUN, "began": float("nan")}}),
        ("outputs", None),
        ("outputs", {"o": session.new_output("new", "builtin", 1, source=None)}),
        ("outputs", {SAMPLE["id"]: SAMPLE}),
        ("trail", {}),
        ("trail", [1]),
        ("trail", [{"said": "", "was": {"o": {"status": "done"}}}]),
    ],
)
def test_a_session_with_one_damaged_entry_is_set_aside_and_leads_to_no_other_file(tmp_path, field, entry):
    text = json.dumps({"version": 1, "data": {"d": DATA}, "runs": {"r": RUN}, field: entry})
    (tmp_path / session.NAME).write_text(text)
    assert session.read(tmp_path) == Session()
    (aside,) = tmp_path.iterdir()
    assert aside.read_text() == text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 9}', '{"version": 1, "more": 2}', "[" * 10_000])
def test_a_session_that_cannot_be_read_is_set_aside_and_not_lost(tmp_path, capsys, text):
    (tmp_path / session.NAME).write_text(text)
    assert session.read(tmp_path) == Session()
    (aside,) = tmp_path.iterdir()
    assert aside.read_text() == text and aside.name in capsys.readouterr().err


def test_a_full_disk_leaves_the_older_session_and_a_sentence_and_the_next_change_keeps_all(tmp_path, monkeypatch):
    studio = Workspace(tmp_path)
    studio.session.runs["a"] = RUN
    studio.keep()

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "write", full)
        studio.session.runs["b"] = RUN
        studio.keep()
    assert "The disk is full" in studio.message
    assert set(session.read(studio.folder).runs) == {"a"}
    studio.keep()
    assert studio.message == "" and set(session.read(studio.folder).runs) == {"a", "b"}


def test_what_cannot_be_written_is_a_sentence():
    assert "is full" in workspace.cannot_keep(OSError(errno.ENOSPC, "No space left"))
    assert workspace.cannot_keep(OSError(errno.EACCES, "Permission denied")).endswith("Permission denied.")

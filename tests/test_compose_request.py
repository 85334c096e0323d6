"""What a page asks for: the command line that is shown does the same, and whatever else is asked is a sentence."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicjax.cli import flags
from musicjax.errors import UsageError
from musicjax.generation import request as request_lib
from musicjax.studio import compose_request

SHARES = st.floats(0.01, 1)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "bars": st.integers(1, 64) | st.floats(0.5, 64),
        "bpm": st.floats(20, 300),
        "key": st.sampled_from(["C", "F#m", "Bb:dorian", "A minor", ""]),
        "meter": st.sampled_from(["4/4", "6/8"]),
        "instruments": st.lists(st.sampled_from(["piano", "acoustic guitar (nylon)", "drums"]), max_size=3),
        "temperature": st.floats(0, 2),
        "top_p": SHARES,
        "min_p": SHARES,
    },
)


@given(ASKED, st.integers(0, compose_request.MOST_SEED - 8), st.sampled_from(["", "runs/my run", "runs/it's"]))
def test_the_command_line_asks_for_what_the_composer_is_given(asked, seed, workdir):
    options = compose_request.with_source(compose_request.options(asked, True), "new", "", seed)
    compose_request.require(compose_request.options(asked, True), "new", "")
    program, *words = shlex.split(compose_request.command(options, workdir))
    call = flags.parse(words)
    assert (program, call.command, call.options["workdir"]) == ("musicjax", "generate", workdir)
    typed = request_lib.of({**call.options, "audio": "none"})
    assert typed == request_lib.of(request_lib.complete(options))


def test_a_source_that_begins_with_a_dash_or_has_blanks_stays_one_word():
    options = compose_request.with_source({"from_bar": 1, "to_bar": 2}, "infill", "a b/-x.mid", 3)
    call = flags.parse(shlex.split(compose_request.command(options, ""))[1:])
    assert call.options["infill"] == "a b/-x.mid"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "song"}, "kind"),
        ({"bars": "8"}, "bars"),
        ({"bars": True}, "bars"),
        ({"bars": 10**6}, "bars"),
        ({"bars": float("nan")}, "bars"),
        ({"key": 3}, "key"),
        ({"key": "C\n--workdir=/"}, "key"),
        ({"key": "K"}, "key"),
        ({"meter": "5"}, "meter"),
        ({"instruments": "piano"}, "instruments"),
        ({"instruments": ["piano,drums"]}, "instruments"),
        ({"instruments": ["xylophones"]}, "xylophones"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"bpm": 1}, "bpm"),
        ({"from_bar": 2}, "from_bar"),
        ({"kind": "infill", "from_bar": 5, "to_bar": 2}, "from_bar"),
        ({"kind": "infill", "from_bar": 1, "to_bar": 2, "bars": 3}, "bars"),
        ({"kind": "vary", "amount": 3}, "amount"),
    ],
)
def test_what_cannot_be_composed_is_refused_in_one_sentence(asked, said):
    with pytest.raises(UsageError, match=said) as told:
        compose_request.require(
            compose_request.options(asked, True), asked.get("kind", "new"), "x.mid" if "kind" in asked else ""
        )
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("asked", [{"count": 0}, {"count": 9}, {"count": 1.5}, {"seed": -1}, {"seed": 2**31}])
def test_counts_and_seeds_have_limits(asked):
    with pytest.raises(UsageError):
        compose_request.seeds(asked)


def test_each_output_has_a_seed_of_its_own():
    assert compose_request.seeds({"count": 3, "seed": 5}) == [5, 6, 7]
    assert len(set(compose_request.seeds({"count": 8}))) == 8


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("C4 E4 G4", "[60,-2,-2,-2,64,-2,-2,-2,67,-2,-2,-2]"),
        ("f#3, Bb5", "[54,-2,-2,-2,82,-2,-2,-2]"),
        ("H4 h3 Hb3", "[71,-2,-2,-2,59,-2,-2,-2,58,-2,-2,-2]"),
        ("[60,-2,67]", "[60,-2,67]"),
    ],
)
def test_a_melody_is_names_or_numbers(text, entries):
    assert compose_request.melody(text) == entries


@pytest.mark.parametrize("text", [None, 3, "", "X4", "C", "C99", "[300]", "[x]", "Cb-1", "G#9"])
def test_a_melody_that_is_none_is_refused_in_a_sentence_that_names_no_option(text):
    with pytest.raises(UsageError) as told:
        compose_request.melody(text)
    assert not str(told.value).startswith("melody")


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        {},
        [3],
        [None],
        [[]],
        [[0, 1, 60, 80]],
        [["0", 1, 60, 80, 0]],
        [[0, 1, 128, 80, 0]],
        [[0, 1, 60.5, 80, 0]],
        [[0, 1e9, 60, 80, 0]],
        [[True, 1, 60, 80, 0]],
    ],
)
def test_rows_that_are_no_notes_are_refused(rows):
    with pytest.raises(UsageError, match="notes"):
        compose_request.notes(rows)

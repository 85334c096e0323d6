"""Scores: golden files for each rule of MusicXML that is read, hostile files, and music21 as an oracle."""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import io
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import zip_archive
from musicjax.config import DataConfig
from musicjax.corpus import datasets, load, pool, read
from musicjax.errors import RunError
from musicjax.music import long_rests, midi, musicxml, musicxml_file
from musicjax.music.musicxml_file import CONTAINER, MusicXmlError

HEAD = '<?xml version="1.0"?><!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 3.0 Partwise//EN" "x.dtd">'
DIVISIONS = "<attributes><divisions>{}</divisions></attributes>"
NAMES_SCORE = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'


def _note(pitch: str, duration: object, more: str = "", first: str = "", alter: object = 0) -> str:
    step, octave = pitch[0], pitch[1:]
    altered = f"<alter>{alter}</alter>" if alter else ""
    sounding = f"<pitch><step>{step}</step>{altered}<octave>{octave}</octave></pitch>"
    return f"<note>{first}{sounding}<duration>{duration}</duration>{more}</note>"


def _rest(duration: object) -> str:
    return f"<note><rest/><duration>{duration}</duration></note>"


def _tie(*kinds: str) -> str:
    return "".join(f'<tie type="{kind}"/>' for kind in kinds)


def _score(*parts: list[str]) -> str:
    """A partwise score; each part is a list of measures."""
    body = [
        f"<part id='P{p}'>{''.join(f'<measure>{m}</measure>' for m in part)}</part>" for p, part in enumerate(parts)
    ]
    names = "".join(f"<score-part id='P{p}'><part-name/></score-part>" for p in range(len(parts)))
    return f"{HEAD}<score-partwise><part-list>{names}</part-list>{''.join(body)}</score-partwise>"


def _read(tmp_path: Path, *parts: list[str]):
    path = tmp_path / "score.musicxml"
    path.write_text(_score(*parts))
    return musicxml.read(path)


def _time(beats: object, beat_type: object, more: str = "") -> str:
    return f"<attributes><time><beats>{beats}</beats><beat-type>{beat_type}</beat-type>{more}</time></attributes>"


def _beats(count: int) -> str:
    """A bar of as many quarter notes."""
    return _note("C4", 1) * count


def _rows(notes) -> list[tuple[int, float, float]]:
    return list(zip(notes.pitch.tolist(), notes.onset_beats.tolist(), notes.duration_beats.tolist(), strict=True))


def _zipped(path: Path, members: dict[str, str | bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _code(path: Path) -> str:
    with pytest.raises(MusicXmlError) as caught:
        musicxml.read(path)
    return caught.value.code


# What is read.


def test_pitches_with_their_alterations_one_after_another(tmp_path):
    measure = DIVISIONS.format(2) + _note("C4", 2) + _note("F5", 1, alter=1) + _note("B3", 1, alter=-1) + _note("A0", 4)
    notes, mended = _read(tmp_path, [measure])
    assert _rows(notes) == [(60, 0.0, 1.0), (78, 1.0, 0.5), (58, 1.5, 0.5), (21, 2.0, 2.0)]
    assert set(notes.velocity.tolist()) == {80}
    assert mended == {}
    np.testing.assert_allclose(notes.onset, notes.onset_beats / 2)  # 120 quarter notes a minute
    np.testing.assert_allclose(notes.duration, notes.duration_beats / 2)


def test_notes_of_a_chord_begin_together(tmp_path):
    chord = _note("C4", 2) + _note("E4", 2, first="<chord/>") + _note("G4", 1, first="<chord/>") + _note("C5", 1)
    notes, _ = _read(tmp_path, [DIVISIONS.format(1) + chord])
    assert _rows(notes) == [(60, 0.0, 2.0), (64, 0.0, 2.0), (67, 0.0, 1.0), (72, 2.0, 1.0)]


def test_backup_and_forward_make_a_second_voice(tmp_path):
    first = _note("C5", 4) + "<backup><duration>4</duration></backup>"
    second = "<forward><duration>1</duration></forward>" + _note("C3", 2)
    notes, _ = _read(tmp_path, [DIVISIONS.format(1) + first + second, _note("D5", 1)])
    assert _rows(notes) == [(72, 0.0, 4.0), (48, 1.0, 2.0), (74, 4.0, 1.0)]


def test_divisions_may_change_within_a_part_and_differ_between_parts(tmp_path):
    one = [DIVISIONS.format(1) + _note("C5", 1) + DIVISIONS.format(12) + _note("D5", 4), _note("E5", 6)]
    other = [DIVISIONS.format(3) + _note("C3", 4), _note("D3", 3)]
    notes, _ = _read(tmp_path, one, other)
    third = 4 / 3
    begin = [(72, 0.0, 1.0), (48, 0.0, third), (74, 1.0, 1 / 3)]
    assert _rows(notes) == [*begin, (76, third, 0.5), (50, third, 1.0)]


def test_tied_notes_are_one_across_measures_and_chords(tmp_path):
    measures = [
        DIVISIONS.format(1) + _note("C4", 2, _tie("start")) + _note("G4", 2, _tie("start"), "<chord/>"),
        _note("C4", 4, _tie("stop", "start")) + _note("G4", 4, _tie("stop"), "<chord/>"),
        _note("C4", 1, _tie("stop")) + _note("C4", 1),
    ]
    notes, _ = _read(tmp_path, measures)
    assert _rows(notes) == [(60, 0.0, 7.0), (67, 0.0, 6.0), (60, 7.0, 1.0)]


def test_a_tie_joins_neither_other_pitches_nor_other_parts_nor_over_a_rest(tmp_path):
    upper = [DIVISIONS.format(1) + _note("C4", 1, _tie("start")), _note("D4", 1, _tie("stop"))]
    lower = [DIVISIONS.format(1) + _rest(1), _note("C4", 1, _tie("stop"))]
    assert len(_read(tmp_path, upper, lower)[0]) == 3
    apart = [DIVISIONS.format(1) + _note("C4", 1, _tie("start")) + _rest(1) + _note("C4", 1, _tie("stop"))]
    assert _rows(_read(tmp_path, apart)[0]) == [(60, 0.0, 1.0), (60, 2.0, 1.0)]


def test_an_upbeat_lasts_as_long_as_it_is_and_a_repeat_is_played_once(tmp_path):
    time = "<attributes><divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
    repeat = '<barline location="right"><repeat direction="backward"/></barline>'
    notes, _ = _read(tmp_path, [time + _note("G4", 1), _note("C5", 4) + repeat, _note("D5", 4)])
    assert _rows(notes) == [(67, 0.0, 1.0), (72, 1.0, 4.0), (74, 5.0, 4.0)]


def test_measures_begin_together_where_a_part_writes_less(tmp_path):
    notes, _ = _read(
        tmp_path, [DIVISIONS.format(1) + _note("C5", 4), _note("D5", 4)], [DIVISIONS.format(1) + "", _note("D3", 4)]
    )
    assert _rows(notes) == [(72, 0.0, 4.0), (74, 4.0, 4.0), (50, 4.0, 4.0)]


def test_tempo_marks_in_a_direction_or_a_measure_count_from_where_they_stand(tmp_path):
    measure = DIVISIONS.format(1) + _note("C4", 1) + '<sound tempo="60"/>' + _note("D4", 1)
    measure += '<direction><direction-type/><sound dynamics="80"/><sound tempo="30"/></direction>' + _note("E4", 1)
    notes, mended = _read(tmp_path, [measure + '<sound tempo="0"/>' + _note("F4", 1)])
    np.testing.assert_allclose(notes.onset, [0.0, 0.5, 1.5, 3.5])
    np.testing.assert_allclose(notes.duration, [0.5, 1.0, 2.0, 2.0])
    assert list(mended) == ["bad_tempo"]


def _mark(unit: str, per_minute: str, dots: int = 0) -> str:
    text = f"<beat-unit>{unit}</beat-unit>{'<beat-unit-dot/>' * dots}<per-minute>{per_minute}</per-minute>"
    return f"<direction><direction-type><metronome>{text}</metronome></direction-type>{{}}</direction>"


@pytest.mark.parametrize(
    ("mark", "bpm"),
    [
        (_mark("quarter", "60"), 60),
        (_mark("half", "30"), 60),
        (_mark("eighth", "90", dots=1), 67.5),
        (_mark("quarter", "c. 90"), 90),
        (_mark("quarter", "ca 66,5 - 70"), 66.5),
        (_mark("16th", "480"), 120),
    ],
)
def test_a_metronome_mark_is_a_tempo_where_no_sound_states_one(tmp_path, mark, bpm):
    first = DIVISIONS.format(1) + mark.format("") + _beats(2)
    notes, mended = _read(tmp_path, [first + mark.format('<sound tempo="240"/>') + _beats(1)])
    np.testing.assert_allclose(notes.tempos, [[0, bpm], [2, 240]])
    np.testing.assert_allclose(notes.onset, [0, 60 / bpm, 120 / bpm])
    assert mended == {}


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        ("<metronome><beat-unit>quarter</beat-unit><beat-unit>eighth</beat-unit></metronome>", []),
        (_mark("quarter", "fast"), ["bad_tempo"]),
        (_mark("crotchet", "60"), ["bad_tempo"]),
        (_mark("quarter", "99999"), ["bad_tempo"]),
    ],
)
def test_a_metronome_mark_without_a_tempo_changes_none(tmp_path, mark, code):
    notes, mended = _read(tmp_path, [f"<direction>{mark.format('')}</direction>{_beats(2)}"])
    assert notes.tempos.tolist() == [[0, 120]]
    assert list(mended) == code


def test_a_metronome_mark_counts_where_the_sound_beside_it_cannot_be_read(tmp_path):
    notes, mended = _read(tmp_path, [_mark("quarter", "60").format('<sound tempo="fast"/>') + _beats(2)])
    assert notes.onset.tolist() == [0, 1]
    assert mended == {"bad_tempo": "tempos that cannot be read: 1 left out, the first in bar 1"}


@pytest.mark.parametrize(
    ("bars", "meters"),
    [
        ([_beats(4), _beats(4)], [(0, 4, 4)]),
        ([_time(3, 4) + _beats(3), _beats(3)], [(0, 3, 4)]),
        ([_time(4, 4) + _beats(4), _beats(4), _time(3, 4) + _beats(3)], [(0, 4, 4), (8, 3, 4)]),
        ([_time("3+2", 8) + _note("C4", 2.5)], [(0, 5, 8)]),
        ([_time(2, 4, "<beats>3</beats><beat-type>8</beat-type>") + _note("C4", 3.5)], [(0, 7, 8)]),
        # An upbeat: the bars before the first row count backwards.
        ([_time(4, 4) + _beats(1), _beats(4), _beats(4)], [(1, 4, 4)]),
        # A bar in two halves, and one that is too long.
        ([_time(4, 4) + _beats(4), _beats(3), _beats(1), _beats(4)], [(0, 4, 4), (7, 4, 4), (8, 4, 4)]),
        ([_time(4, 4) + _beats(5), _beats(4)], [(0, 4, 4), (5, 4, 4)]),
        ([_time(4, 4) + _beats(8), _beats(4)], [(0, 4, 4)]),
        ([_time(4, 4) + _beats(1)], [(0, 4, 4)]),  # a piece of one bar has no upbeat
        ([_beats(4), _time(3, 4) + _beats(3), _beats(3)], [(4, 3, 4)]),
        ([_time(3, 4) + _beats(3), "<attributes><time><senza-misura/></time></attributes>" + _beats(3)], [(0, 3, 4)]),
    ],
)
def test_meters_begin_with_their_bars(tmp_path, bars, meters):
    notes, mended = _read(tmp_path, [DIVISIONS.format(1) + bars[0], *bars[1:]])
    assert list(map(tuple, notes.meters.tolist())) == meters
    assert mended == {}


@pytest.mark.parametrize(
    "time", [_time(*pair) for pair in ((4, 0), (4, 3), (4, 4.5), ("C", 4), ("", 4), (0, 4), (999, 4))]
)
def test_a_meter_that_means_nothing_is_left_out_and_said(tmp_path, time):
    notes, mended = _read(tmp_path, [DIVISIONS.format(1) + _time(3, 4) + _beats(3), time + _beats(3)])
    assert notes.meters.tolist() == [[0, 3, 4]]
    assert mended == {"bad_meter": "meters that cannot be read: 1 left out, the first in bar 2"}


def test_the_first_part_that_states_a_meter_decides(tmp_path):
    parts = [_beats(3), _beats(3)], [_time(3, 4) + _beats(3), _beats(3)], [_time(2, 4) + _beats(3), _time(6, 8)]
    notes, mended = _read(tmp_path, *parts)
    assert notes.meters.tolist() == [[0, 3, 4]]
    said = "meters that contradict the first part: 2 left out, the first in bar 1"
    assert mended == {"contradicting_meters": said}


def test_what_does_not_sound_as_written(tmp_path):
    grace = "<note><grace/><pitch><step>D</step><octave>4</octave></pitch></note>"
    drum = "<note><unpitched/><duration>1</duration></note>"
    clarinet = "<attributes><divisions>1</divisions><transpose><chromatic>-2</chromatic></transpose></attributes>"
    bass = "<attributes><divisions>1</divisions><transpose><octave-change>-1</octave-change></transpose></attributes>"
    upper = [clarinet + grace + _note("C4", 1) + drum + _note("E4", 1, first="<cue/>") + _note("D4", 1)]
    notes, mended = _read(tmp_path, upper, [bass + _note("C3", 1)])
    assert _rows(notes) == [(58, 0.0, 1.0), (36, 0.0, 1.0), (60, 3.0, 1.0)]
    assert mended == {}


def test_what_is_mended_is_reported(tmp_path):
    odd = _note("C4", 1, alter="0.75") + _note("C11", 1) + _note("D4", 0) + _note("E4", 1)
    notes, mended = _read(tmp_path, [DIVISIONS.format(1) + odd])
    assert _rows(notes) == [(61, 0.0, 1.0), (64, 2.0, 1.0)]
    assert mended == {
        "microtone": "pitches between the keys: 1 moved to the nearest, the first in bar 1",
        "pitch_range": "pitches that MIDI has no number for: 1 left out, the first in bar 1",
        "no_duration": "notes of no duration: 1 left out, the first in bar 1",
    }


def _without(note: str, *tags: str) -> str:
    for tag in tags:
        note = re.sub(f"<{tag}>[^<]*</{tag}>", "", note)
    return note


BAD_ELEMENTS = {
    "no octave": (_without(_note("D4", 1), "octave"), "bad_pitch", 1),
    "no step": (_without(_note("D4", 1), "step"), "bad_pitch", 1),
    "no pitch at all": ("<note><duration>1</duration></note>", "bad_pitch", 1),
    "step H": (_note("H4", 1), "bad_pitch", 1),
    "an octave in words": (_note("Dx", 1), "bad_pitch", 1),
    "an alteration in words": (_note("D4", 1, alter="sharp"), "bad_pitch", 1),
    "no duration": (_without(_note("D4", 1), "duration"), "bad_duration", 0),
    "a duration in words": (_note("D4", "long"), "bad_duration", 0),
    "a duration below zero": (_note("D4", -1), "bad_duration", 0),
    "a duration without end": (_note("D4", "1e999"), "bad_duration", 0),
    "a rest of no duration": ("<note><rest/></note>", "bad_duration", 0),
    "a step forward of no duration": ("<forward/>", "bad_duration", 0),
    "no divisions": (DIVISIONS.format(""), "bad_divisions", 0),
    "divisions of zero": (DIVISIONS.format(0), "bad_divisions", 0),
    "divisions that are no number": (DIVISIONS.format("nan"), "bad_divisions", 0),
    "a transposition in words": (
        "<attributes><transpose><chromatic>up</chromatic></transpose></attributes>", "bad_transpose", 0,
    ),
    "a tempo in words": ('<sound tempo="allegro"/>', "bad_tempo", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ELEMENTS)
def test_a_bad_element_costs_that_element_and_is_counted(tmp_path, name):
    bad, code, beats = BAD_ELEMENTS[name]
    bar = DIVISIONS.format(1) + _note("C4", 1)
    notes, mended = _read(tmp_path, [bar + bad + _note("E4", 1), _note("G4", 1) + bad + bad])
    assert _rows(notes) == [(60, 0, 1), (64, 1 + beats, 1), (67, 2 + beats, 1)]
    assert list(mended) == [code]
    assert re.search(r": 3 .*first in bar 1$", mended[code])
    np.testing.assert_allclose(notes.onset, notes.onset_beats / 2)


def test_the_value_of_a_note_stands_for_a_duration_that_is_missing(tmp_path):
    triplet = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
    kinds = "<type>quarter</type><dot/>", f"<type>eighth</type>{triplet}"
    written = [_without(_note("C4", 1, kind), "duration") for kind in kinds]
    notes, mended = _read(tmp_path, [DIVISIONS.format(2) + "".join(written) + _note("D4", 2)])
    assert _rows(notes) == [(60, 0, 1.5), (60, 1.5, 1 / 3), (62, 1.5 + 1 / 3, 1)]
    assert list(mended) == ["value_as_duration"]


def test_a_chord_whose_first_note_has_no_duration_begins_where_it_stands(tmp_path):
    chord = _without(_note("E4", 1), "duration") + _note("G4", 2, first="<chord/>") + _note("B4", 2, first="<chord/>")
    notes, _ = _read(tmp_path, [DIVISIONS.format(1) + _note("C4", 1) + chord + _note("C5", 1)])
    assert _rows(notes) == [(60, 0, 1), (67, 1, 2), (71, 1, 2), (72, 3, 1)]


@pytest.mark.parametrize("step", ["<backup/>", "<backup><duration>9</duration></backup>"])
def test_a_step_back_that_leads_nowhere_goes_to_the_start_of_its_bar(tmp_path, step):
    notes, mended = _read(tmp_path, [_note("C4", 1), _note("D4", 2) + step + _note("F3", 2), _note("E4", 1)])
    assert _rows(notes) == [(60, 0, 1), (62, 1, 2), (53, 1, 2), (64, 3, 1)]
    assert list(mended) == ["bad_backup"]


def test_what_comes_after_a_duration_beyond_all_music_is_left_out(tmp_path):
    bars = [_beats(4), _beats(2) + _rest(10**6), _beats(4)]
    notes, mended = _read(tmp_path, [DIVISIONS.format(1) + bars[0], *bars[1:]])
    assert notes.onset_beats.tolist() == [0, 1, 2, 3]
    assert list(mended) == ["too_long"]


def test_a_rest_of_hours_is_shortened_by_bars_as_in_midi_files(tmp_path):
    notes, mended = _read(tmp_path, [DIVISIONS.format(1) + _beats(1) + _rest(9999) + _beats(1)])
    assert list(mended) == ["too_long_rest"]
    assert long_rests.MOST_SECONDS - 4 <= notes.onset[1] <= long_rests.MOST_SECONDS
    assert notes.onset_beats[1] % 4 == 10_000 % 4


# A damaged file.


def _bars(count: int) -> str:
    return _score([DIVISIONS.format(1) + _beats(4), *(_note("D4", 4) for _ in range(count - 1))])


def test_a_score_that_is_cut_off_gives_the_bars_before_the_cut(tmp_path):
    path = tmp_path / "cut.musicxml"
    whole = _bars(12).encode()
    path.write_bytes(whole)
    rows, ends = _rows(musicxml.read(path)[0]), [match.end() for match in re.finditer(b"</measure>", whole)]
    for cut in range(ends[0], len(whole), 37):
        path.write_bytes(whole[:cut])
        notes, mended = musicxml.read(path)
        assert _rows(notes) == rows[: 3 + sum(end <= cut for end in ends)]
        assert list(mended) == ["bad_xml"]
    path.write_bytes(whole[: ends[0] - 1])
    assert _code(path) == "bad_xml"


def test_a_score_by_bars_that_is_cut_off_ends_in_all_parts_together(tmp_path):
    path = tmp_path / "cut.musicxml"
    bar = f"<measure><part id='a'>{_beats(4)}</part><part id='b'>{_note('C3', 4)}</part></measure>"
    text = f"<score-timewise>{bar * 4}</score-timewise>"
    path.write_text(text[: text.rindex("<part id='b'>") + 40])
    notes, _ = musicxml.read(path)
    assert (notes.pitch == 60).sum() == 12 and (notes.pitch == 48).sum() == 3


def test_a_damaged_score_gives_the_bars_before_the_damage(tmp_path):
    path = tmp_path / "damaged.musicxml"
    whole = _bars(12)
    at = [match.start() for match in re.finditer("<measure>", whole)][6] + 20
    path.write_text(whole[:at] + "<<<" + whole[at:])
    notes, mended = musicxml.read(path)
    assert (len(notes), list(mended)) == (4 + 5, ["bad_xml"])


@pytest.mark.parametrize(
    "content",
    [
        _score([_note("C4", 1, "<lyric><text>fröhlich</text></lyric>") + _note("D4", 1)]).encode("iso-8859-1"),
        _score([_note("C4", 1, "<lyric><text>\x0b\x01</text></lyric>") + _note("D4", 1)]).encode(),
        b"\n\n" + _score([_note("C4", 1) + _note("D4", 1)]).encode(),
        _score([_note("C4", 1) + _note("D4", 1)]).encode() + bytes(50),
        _score([_note("C4", 1, "<text>桜</text>") + _note("D4", 1)])
        .replace('"1.0"', '"1.0" encoding="shift_jis"').encode("shift_jis"),
        _score([_note("C4", 1) + _note("D4", 1)]).replace('"1.0"', '"1.0" encoding="no-such"').encode(),
    ],
    ids=["iso-8859-1", "controls", "before", "after", "shift_jis", "no such encoding"],
)  # fmt: skip
def test_characters_that_xml_does_not_allow_cost_no_note(tmp_path, content):
    path = tmp_path / "odd.musicxml"
    path.write_bytes(content)
    notes, mended = musicxml.read(path)
    assert notes.pitch.tolist() == [60, 62]
    assert list(mended) == ["bad_characters"]


def test_a_timewise_score_is_the_same_music(tmp_path):
    measures = [DIVISIONS.format(1) + _note("C5", 4, _tie("start")), _note("C5", 4, _tie("stop"))]
    path = tmp_path / "timewise.musicxml"
    rows = "".join(f"<measure><part id='a'>{m}</part><part id='b'>{m}</part></measure>" for m in measures)
    path.write_text(f"<score-timewise>{rows}</score-timewise>")
    assert _rows(musicxml.read(path)[0]) == _rows(_read(tmp_path, measures, measures)[0]) == [(72, 0.0, 8.0)] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings_that_a_file_declares(tmp_path, encoding):
    path = tmp_path / "score.musicxml"
    text = _score([DIVISIONS.format(1) + _note("C4", 1, "<lyric><text>fröhlich</text></lyric>")])
    path.write_bytes(text.replace('"1.0"', f'"1.0" encoding="{encoding}"').encode(encoding))
    assert _rows(musicxml.read(path)[0]) == [(60, 0.0, 1.0)]


def test_an_archive_gives_the_score_that_its_container_names(tmp_path):
    score, other = _score([_note("C4", 1)]), _score([_note("D4", 1)])
    members = {"other.xml": other, "in/score.xml": score, CONTAINER: NAMES_SCORE.format("in/score.xml")}
    path = _zipped(tmp_path / "score.MXL", members)
    assert _rows(musicxml.read(path)[0]) == [(60, 0.0, 1.0)]
    assert musicxml_file.count_parts(path) == 1


NOTE = st.tuples(st.integers(12, 120), st.integers(1, 96), st.integers(0, 48))


@given(parts=st.lists(st.lists(NOTE, min_size=1, max_size=12), min_size=1, max_size=4), bars=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_written_notes_come_back_however_they_are_cut_by_bars(tmp_path_factory, parts, bars):
    """Each part: (pitch, duration, rest after it) in twelfths; cut at every `bars` quarter notes with ties."""
    bar, wanted, written = 12 * bars, [], []
    for part in parts:
        measures, now = collections.defaultdict(str), 0
        for pitch, duration, rest in part:
            wanted.append((pitch, Fraction(now, 12), Fraction(duration, 12)))
            end = now + duration
            start = now
            while now < end:
                stop = min(end, (now // bar + 1) * bar)
                kinds = ["stop"] * (now > start) + ["start"] * (stop < end)
                step, alter = "CCDDEFFGGAAB"[pitch % 12], int(pitch % 12 in (1, 3, 6, 8, 10))
                measures[now // bar] += _note(f"{step}{pitch // 12 - 1}", stop - now, _tie(*kinds), alter=alter)
                now = stop
            while now < end + rest:
                stop = min(end + rest, (now // bar + 1) * bar)
                measures[now // bar] += _rest(stop - now)
                now = stop
        written.append([measures[index] for index in range(max(measures) + 1)])
    for part in written:
        part[0] = DIVISIONS.format(12) + part[0]
    # A part that ends inside its last bar would let the others' next bar begin there, were it the longest.
    longest = max(map(len, written))
    written.append([(DIVISIONS.format(12) if index == 0 else "") + _rest(bar) for index in range(longest)])
    notes, mended = _read(tmp_path_factory.mktemp("bars"), *written)
    assert sorted(_rows(notes)) == sorted((p, float(o), float(d)) for p, o, d in wanted)
    assert mended == {}
    assert (np.diff(notes.onset) >= 0).all()


# What is no score.


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "empty"),
        ("MThd", "bad_xml"),
        ("<score-partwise>", "bad_xml"),
        ("<html/>", "not_musicxml"),
        ("<html>", "not_musicxml"),
        ("<score-partwise/>", "no_notes"),
        (_score([_rest(4)]), "no_notes"),
        (_score([_note("H4", 1)]), "bad_pitch"),
        (_score([_note("C4", "")]), "bad_duration"),
        (_score([_rest(10**6) + _rest(10**6) + _note("C4", 1)]), "too_long"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><score-partwise>&b;</score-partwise>', "entities"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><score-partwise>&b;</score-partwise>', "entities"),
    ],
)
def test_a_file_that_is_no_score_is_refused_with_a_reason(tmp_path, content, code):
    path = tmp_path / "bad.musicxml"
    path.write_text(content)
    assert _code(path) == code


def test_entities_that_grow_are_not_expanded(tmp_path):
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(30))
    path = tmp_path / "laughs.musicxml"
    path.write_text(f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><score-partwise>&l30;</score-partwise>')
    assert _code(path) == "entities"


def test_a_compressed_score_that_holds_no_score_or_too_much_is_refused(tmp_path, monkeypatch):
    score = _score([_note("C4", 1)])
    path = tmp_path / "bad.mxl"
    assert _code(_zipped(path, {CONTAINER: NAMES_SCORE.format("gone.xml")})) == "no_score"
    assert _code(_zipped(path, {CONTAINER: "<container/>"})) == "no_score"
    assert _code(_zipped(path, {"picture.png": score})) == "no_score"
    whole = _zipped(path, {"s.xml": score, CONTAINER: NAMES_SCORE.format("s.xml")}).read_bytes()
    assert len(musicxml.read(path)[0]) == 1
    monkeypatch.setattr(musicxml_file, "MOST_XML_BYTES", len(score) - 1)
    assert _code(path) == "too_many_bytes"
    monkeypatch.undo()
    monkeypatch.setattr(musicxml_file, "MOST_BYTES", len(whole) - 1)
    assert _code(path) == "too_many_bytes"


@pytest.mark.parametrize("container", [None, "<container/>", NAMES_SCORE.format("gone.xml"), "no XML"])
def test_without_a_container_that_names_a_score_the_first_one_is_read(tmp_path, container):
    members = {"a.txt": "words", "s.musicxml": _score([_note("C4", 1)]), "t.xml": "<html/>"}
    path = _zipped(tmp_path / "odd.mxl", members if container is None else {CONTAINER: container, **members})
    notes, mended = musicxml.read(path)
    assert (len(notes), list(mended)) == (1, ["no_container"])


def _compressed_bars(path: Path, count: int) -> bytes:
    """The bytes of a compressed score, whose last bars are in the last bytes but for the list of members."""
    rng = np.random.default_rng(0)  # bars that differ, or else a few bytes would hold all of them
    bars = ["".join(_note(f"{rng.choice(list('CDEFGAB'))}4", 1) for _ in range(4)) for _ in range(count)]
    score = _score([DIVISIONS.format(1) + bars[0], *bars[1:]])
    return _zipped(path, {CONTAINER: NAMES_SCORE.format("s.xml"), "s.xml": score}).read_bytes()


def test_a_compressed_score_that_is_cut_off_gives_the_bars_before_the_cut(tmp_path):
    path = tmp_path / "cut.mxl"
    content = _compressed_bars(path, 200)
    whole, most = _rows(musicxml.read(path)[0]), 0
    for cut in range(len(content) // 2, len(content), 97):
        path.write_bytes(content[:cut])
        notes, mended = musicxml.read(path)
        assert _rows(notes) == whole[: len(notes)] and len(notes) % 4 == 0
        assert len(notes) >= max(most, len(whole) // 4)
        assert next(iter(mended)) == "bad_archive"
        most = len(notes)


def test_no_damage_to_a_compressed_score_raises_anything_else(tmp_path):
    path = tmp_path / "bad.mxl"
    content = _compressed_bars(path, 50)
    rng, refused, recovered = np.random.default_rng(0), 0, 0
    for at in rng.permutation(len(content))[:100].tolist():
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << rng.integers(8))]) + content[at + 1 :])
        try:
            recovered += bool(musicxml.read(path)[1])
        except MusicXmlError:
            refused += 1
    assert recovered + refused > 25 and recovered > 5
    for end in range(0, len(content), 19):
        path.write_bytes(content[:end])
        with contextlib.suppress(MusicXmlError):
            assert musicxml.read(path)[1]


# As files of a folder.


def test_scores_lie_among_midi_files_and_are_reported_and_cached_as_they_are(tmp_path, monkeypatch):
    folder, cache = tmp_path / "music", tmp_path / "cache"
    folder.mkdir()
    good = _score([DIVISIONS.format(1) + _note("C4", 1) + _note("D4", 1)])
    (folder / "a.musicxml").write_text(good)
    (folder / "b.mid").write_text(good)  # the content decides, not the name
    _zipped(folder / "c.mxl", {"s.xml": good, CONTAINER: NAMES_SCORE.format("s.xml")})
    (folder / "d.MusicXML").write_text(_score([_rest(1)]))
    (folder / "e.xml").write_text(good)
    (folder / "f.musicxml").write_text(_score([_note("C4", 1, alter="0.75")]))
    midi.write(musicxml.read(folder / "a.musicxml")[0], folder / "g.mid")
    data = DataConfig(source=str(folder), cache=str(cache), workers=1)
    first, outcomes = load.read(data)
    assert [(o.path, o.status, o.code) for o in outcomes] == [
        ("a.musicxml", "kept", "kept"),
        ("b.mid", "kept", "kept"),
        ("c.mxl", "kept", "kept"),
        ("d.MusicXML", "skipped", "no_notes"),
        ("e.xml", "kept", "kept"),
        ("f.musicxml", "recovered", "microtone"),
        ("g.mid", "kept", "kept"),
    ]
    assert first.notes.pitch.tolist() == [60, 62] * 4 + [61, 60, 62]
    monkeypatch.setattr(pool, "read_files", lambda waiting, *_: ((path, 1 / 0) for path in waiting))
    second, again = load.read(data)
    assert again == outcomes
    np.testing.assert_array_equal(second.notes.to_array(), first.notes.to_array())


def test_the_reader_says_why_it_skips_a_score(tmp_path):
    path = tmp_path / "a.mxl"
    path.write_bytes(zip_archive.HEAD + b" no archive")
    outcome, notes = read.read_file(str(path), read.Options())
    assert (outcome.status, outcome.code, notes) == ("skipped", "bad_archive", [])


@pytest.mark.parametrize("name", ["a.mxl", "a.musicxml", "a.xml", "a.mid", "a.kar"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_score_is_told_by_its_content(tmp_path, name, packed):
    path, score = tmp_path / name, _score([_note("C4", 1)])
    path.write_text(score)
    if packed:
        _zipped(path, {CONTAINER: NAMES_SCORE.format("s.xml"), "s.xml": score})
    outcome, (notes,) = read.read_file(str(path), read.Options())
    assert (outcome.status, notes.pitch.tolist()) == ("kept", [60])


def test_xml_files_that_are_no_scores_take_one_line(tmp_path):
    for name in ("a.xml", "b.XML", "deep/c.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<project>score-partwise is not its name</project>"[: 9 if name > "b" else None])
    with pytest.raises(RunError, match=r"3 \.xml files that are not MusicXML"):
        load.read(DataConfig(source=str(tmp_path), cache="off", workers=1))
    (tmp_path / "score.xml").write_text(_score([_note("C4", 1)]).replace("?>", f"?><!-- {'x' * 5000} -->"))
    found, outcomes = load.read(DataConfig(source=str(tmp_path), cache="off", workers=1))
    assert [(o.path, o.status, o.code) for o in outcomes] == [
        ("a.xml", "skipped", "not_musicxml"),
        ("score.xml", "kept", "kept"),
    ]
    assert "all 3 such .xml files" in outcomes[0].detail and found.notes.pitch.tolist() == [60]


# The chorales.


def _music21_at(folder: Path, monkeypatch, members: dict[str, bytes]) -> None:
    """A package of that name, which cannot be imported, with these chorales."""
    chorales = folder / "music21" / "corpus" / "bach"
    chorales.mkdir(parents=True)
    (folder / "music21" / "__init__.py").write_text("raise AssertionError('imported')")
    for name, content in members.items():
        (chorales / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def _compressed(parts: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("s.xml", _score(*[[_note("C4", 1 + part)] for part in range(parts)]))
        archive.writestr(CONTAINER, NAMES_SCORE.format("s.xml"))
    return buffer.getvalue()


def test_bach_is_the_scores_of_four_voices_in_a_package_that_is_not_imported(tmp_path, monkeypatch):
    members = {"bwv1.mxl": _compressed(4), "bwv2.mxl": _compressed(5), "bwv3.mxl": b"damaged", "bwv4.krn": b""}
    _music21_at(tmp_path / "site", monkeypatch, members)
    monkeypatch.chdir(tmp_path)
    found, outcomes = load.read(DataConfig(source="bach", cache="off", workers=1))
    assert [(o.path, o.status) for o in outcomes] == [("bwv1.mxl", "kept"), ("bwv3.mxl", "skipped")]
    assert found.notes.pitch.tolist() == [60] * 4


@pytest.mark.long
def test_the_installed_chorales_are_all_kept():
    if importlib.util.find_spec("music21") is None:
        pytest.skip("no chorales: music21 is not installed (pip install 'musicjax[bach]')")
    _, paths = datasets.find("bach", None)
    assert paths is not None
    read = [musicxml.read(path) for path in paths]
    assert not any(mended for _, mended in read)
    assert len(read) >= 364
    assert sum(len(notes) for notes, _ in read) >= 84_737
    assert all(notes.pitch.min() >= 20 and notes.pitch.max() <= 90 for notes, _ in read)


@pytest.mark.parametrize("name", ["bwv66.6", "bwv1.6", "bwv113.8", "bwv248.42-s"])
@pytest.mark.filterwarnings("ignore")
def test_chorales_have_the_notes_that_music21_reads(name):
    music21 = pytest.importorskip("music21", reason="no oracle: music21 is not installed (musicjax[bach])")
    folder, _ = datasets.find("bach", None)
    ours, _ = musicxml.read(folder / f"{name}.mxl")
    score = music21.converter.parse(folder / f"{name}.mxl", forceSource=True)
    theirs = sorted(
        (int(pitch.midi), round(float(item.offset), 4), round(float(item.quarterLength), 4))
        for item in score.stripTies().flatten().notes
        for pitch in item.pitches
    )
    assert sorted((pitch, round(onset, 4), round(duration, 4)) for pitch, onset, duration in _rows(ours)) == theirs

"""Scores: golden files for each rule of MusicXML that is read, hostile files, and music21 as an oracle."""

from __future__ import annotations

import collections
import importlib.util
import io
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.config import DataConfig
from musicjax.corpus import datasets, load, pool, read
from musicjax.music import midi, musicxml
from musicjax.music.musicxml import MusicXmlError

HEAD = '<?xml version="1.0"?><!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 3.0 Partwise//EN" "x.dtd">'
DIVISIONS = "<attributes><divisions>{}</divisions></attributes>"
CONTAINER = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'


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
    assert set(mended) == {"microtone", "pitch_range", "no_duration"}


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
    members = {"other.xml": other, "in/score.xml": score, musicxml.CONTAINER: CONTAINER.format("in/score.xml")}
    path = _zipped(tmp_path / "score.MXL", members)
    assert _rows(musicxml.read(path)[0]) == [(60, 0.0, 1.0)]
    assert musicxml.count_parts(path) == 1


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
        ("", "bad_xml"),
        ("MThd", "bad_xml"),
        ("<score-partwise>", "bad_xml"),
        ("<html/>", "not_musicxml"),
        ("<score-partwise/>", "no_notes"),
        (_score([_rest(4)]), "no_notes"),
        (_score([DIVISIONS.format(0) + _note("C4", 1)]), "bad_number"),
        (_score([DIVISIONS.format("nan") + _note("C4", 1)]), "bad_number"),
        (_score([_note("C4", "-1")]), "bad_number"),
        (_score([_note("C4", "1e999")]), "bad_number"),
        (_score([_note("H4", 1)]), "bad_number"),
        (_score([_note("C4", "")]), "bad_number"),
        (_score([_rest(10**6) + _rest(10**6) + _note("C4", 1)]), "too_long"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><score-partwise>&b;</score-partwise>', "entities"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><score-partwise>&b;</score-partwise>', "entities"),
        ('<?xml version="1.0" encoding="no-such"?><score-partwise/>', "bad_xml"),
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


def test_an_archive_that_is_damaged_or_holds_no_score_or_too_much_is_refused(tmp_path, monkeypatch):
    score = _score([_note("C4", 1)])
    path = tmp_path / "bad.mxl"
    path.write_text(score)
    assert _code(path) == "bad_archive"
    assert _code(_zipped(path, {"score.xml": score})) == "no_score"
    assert _code(_zipped(path, {musicxml.CONTAINER: CONTAINER.format("gone.xml")})) == "no_score"
    assert _code(_zipped(path, {musicxml.CONTAINER: "<container/>"})) == "no_score"
    whole = _zipped(path, {"s.xml": score, musicxml.CONTAINER: CONTAINER.format("s.xml")}).read_bytes()
    assert len(musicxml.read(path)[0]) == 1
    monkeypatch.setattr(musicxml, "MOST_XML_BYTES", len(score) - 1)
    assert _code(path) == "too_many_bytes"
    monkeypatch.undo()
    monkeypatch.setattr(musicxml, "MOST_BYTES", len(whole) - 1)
    assert _code(path) == "too_many_bytes"


def test_no_damage_to_an_archive_raises_anything_else(tmp_path):
    score = _score([_note("C4", 1), _note("D4", 1)])
    path = tmp_path / "bad.mxl"
    whole = _zipped(path, {"s.xml": score, musicxml.CONTAINER: CONTAINER.format("s.xml")}).read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for end in range(0, len(whole), 19):
        path.write_bytes(whole[:end])
        assert _code(path) == "bad_archive"
    for at in rng.permutation(len(whole))[:100].tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.integers(8))]) + whole[at + 1 :])
        try:
            assert len(musicxml.read(path)[0]) == 2
        except MusicXmlError:
            refused += 1
    assert refused > 25


# As files of a folder.


def test_scores_lie_among_midi_files_and_are_reported_and_cached_as_they_are(tmp_path, monkeypatch):
    folder, cache = tmp_path / "music", tmp_path / "cache"
    folder.mkdir()
    good = _score([DIVISIONS.format(1) + _note("C4", 1) + _note("D4", 1)])
    (folder / "a.musicxml").write_text(good)
    (folder / "b.mid").write_text(good)  # the same bytes, which are no MIDI file
    _zipped(folder / "c.mxl", {"s.xml": good, musicxml.CONTAINER: CONTAINER.format("s.xml")})
    (folder / "d.MusicXML").write_text(_score([_rest(1)]))
    (folder / "e.xml").write_text(good)  # may be anything
    (folder / "f.musicxml").write_text(_score([_note("C4", 1, alter="0.75")]))
    midi.write(musicxml.read(folder / "a.musicxml")[0], folder / "g.mid")
    data = DataConfig(source=str(folder), cache=str(cache), workers=1)
    first, outcomes = load.read(data)
    assert [(o.path, o.status, o.code) for o in outcomes] == [
        ("a.musicxml", "kept", "kept"),
        ("b.mid", "skipped", "no_header_chunk"),
        ("c.mxl", "kept", "kept"),
        ("d.MusicXML", "skipped", "no_notes"),
        ("f.musicxml", "recovered", "microtone"),
        ("g.mid", "kept", "kept"),
    ]
    assert first.notes.pitch.tolist() == [60, 62, 60, 62, 61, 60, 62]
    monkeypatch.setattr(pool, "read_files", lambda waiting, *_: ((path, 1 / 0) for path in waiting))
    second, again = load.read(data)
    assert again == outcomes
    np.testing.assert_array_equal(second.notes.to_array(), first.notes.to_array())


def test_the_reader_says_why_it_skips_a_score(tmp_path):
    path = tmp_path / "a.mxl"
    path.write_bytes(b"PK no archive")
    outcome, notes = read.read_file(str(path), read.Options())
    assert (outcome.status, outcome.code, notes) == ("skipped", "bad_archive", [])


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
        archive.writestr(musicxml.CONTAINER, CONTAINER.format("s.xml"))
    return buffer.getvalue()


def test_bach_is_the_scores_of_four_voices_in_a_package_that_is_not_imported(tmp_path, monkeypatch):
    members = {"bwv1.mxl": _compressed(4), "bwv2.mxl": _compressed(5), "bwv3.mxl": b"damaged", "bwv4.krn": b""}
    _music21_at(tmp_path / "site", monkeypatch, members)
    monkeypatch.chdir(tmp_path)
    found, outcomes = load.read(DataConfig(source="bach", cache="off", workers=1))
    assert [(o.path, o.status) for o in outcomes] == [("bwv1.mxl", "kept"), ("bwv3.mxl", "skipped")]
    assert found.notes.pitch.tolist() == [60] * 4


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

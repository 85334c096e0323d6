"""Every route of the studio with whatever may be sent to it: a sentence, no fault, and no file anywhere else."""

from __future__ import annotations

import asyncio
import json
import os
import re
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import musicjax
from musicjax import zip_archive
from musicjax.studio import app, library, reader, run_state, session, upload
from musicjax.studio import studio as studio_lib
from musicjax.studio.studio import Studio
from musicjax.studio.workspace import Workspace
from tests import tiny_events
from tests.studio_client import client_of

SECRET = "what lies outside of the studio's folder"
EXAMPLES, MANY = 1000, 10_000


class Ended:
    """A training that has ended as soon as it was started."""

    def poll(self):
        return 0


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio with a data set, two outputs and a run; beside its folder lies what must not be read or changed."""
    place = tmp_path_factory.mktemp("place")
    (place / "secret.mid").write_text(SECRET)
    (place / "runs" / "other").mkdir(parents=True)
    (place / "runs" / "other" / "metrics.jsonl").write_text('{"split": "valid", "epoch": 1, "loss": 1.0}\n')
    with pytest.MonkeyPatch.context() as patched:
        # No process is started, since a request may ask for any of them.
        patched.setattr(Workspace, "begin", lambda self, work: work.close())
        patched.setattr(run_state, "start", lambda *_: Ended())
        patched.setattr(studio_lib, "ANSWER_S", 0.01)
        patched.setattr(library, "READING_S", 0.01)
        made = Studio(place / "runs")
        one = made.library.new("tunes")
        for number, notes in enumerate(tiny_events.pieces()[:2]):
            path = made.library.upload(one).begin(f"{number}.mid")
            musicjax.write_midi(notes, path)
            made.library.upload(one).end(path, f"{number}.mid")
        made.library.end_upload(one)
        assert reader.main(made.library.source(one), made.library.folder(one)) == 0
        made.workspace.session.data[one] |= library._found(made.library.folder(one), "")
        for seed in range(2):
            output = session.new_output("new", "builtin", seed, source=None)
            made.workspace.session.outputs[output["id"]] = output
            musicjax.write_midi(tiny_events.pieces()[0], made.outputs.midi_path(output))
            made.outputs.midi_path(output).with_suffix(".json").write_text(json.dumps({"seconds": 1.0}))
            output["status"] = ("done", "waiting")[seed]
        made.library.new("still coming")
        made.trainings.look()
        yield made


def ids(made):
    """What a client may name."""
    return [*made.workspace.session.data, *made.workspace.session.outputs, *made.trainings.states, "builtin"]


ODD = st.sampled_from(
    [
        "..",
        "../..",
        "%2e%2e",
        "..%2f..%2fsecret",
        "%00",
        "secret.mid",
        "../../../../../secret.mid",
        "/etc/passwd",
        ".studio",
        "session.json",
        "é",
        " ",
        "a" * 3000,
    ]
) | st.text(string.printable, max_size=12)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | ODD
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
FIELDS = (
    *("model", "kind", "source", "from_bar", "to_bar", "amount", "bars", "key", "meter", "bpm", "instruments"),
    *(
        "temperature",
        "top_p",
        "min_p",
        "count",
        "seed",
        "data",
        "minutes",
        "name",
        "output",
        "piece",
        "melody",
        "notes",
    ),
)
SOURCES = ("output", "data", "piece", "melody", "notes", "upload")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
PARTS = (
    *("files", "done", "pieces", "samples", "copies", "pause", "continue", "stop", "cancel", "keep", "discard"),
    *("favourite", "0", "1", "-1", "9" * 30),
)


def routes():
    """(method, path with names of parameters in braces) of every route that ends."""
    made = app.make(None).routes
    found = [(method, route.path) for route in made for method in route.methods if not route.path.endswith("/events")]
    # Most can go wrong where most is asked.
    return found + 8 * [("POST", "/api/outputs")] + 4 * [("PUT", "/api/uploads/{data}/files"), ("POST", "/api/runs")]


@st.composite
def nearly_right(draw, known):
    """The body of a request that is answered, but for one value."""
    one = st.sampled_from(known)
    right = draw(
        st.sampled_from(
            [
                {
                    "kind": "new",
                    "model": "builtin",
                    "bars": 8,
                    "key": "C",
                    "meter": "4/4",
                    "instruments": ["piano"],
                    "count": 2,
                    "seed": 1,
                },
                {"kind": "infill", "source": {"output": draw(one)}, "from_bar": 1, "to_bar": 2},
                {"kind": "vary", "source": {"data": draw(one), "piece": 0}, "amount": 0.5},
                {"kind": "continue", "source": {"notes": [[0, 1, 60, 80, 0], [1, 1, 62, 80, 0]]}, "bpm": 90},
                {"kind": "continue", "source": {"melody": "C4 E4"}, "temperature": 1, "top_p": 0.9, "min_p": 0.1},
                {"data": draw(one), "minutes": 1, "name": "a"},
                {"name": "builtin"},
            ]
        )
    )
    if "source" in right and draw(st.booleans()):
        return right | {"source": right["source"] | {draw(st.sampled_from(sorted(right["source"]))): draw(JSON)}}
    return right | {draw(st.sampled_from(sorted(right))): draw(JSON)}


@st.composite
def requests(draw, known):
    """(method, path, query, body) of a request, often nearly right."""
    word = st.sampled_from(known) | st.sampled_from(known) | st.sampled_from(PARTS) | ODD
    method, path = draw(st.sampled_from(routes()))
    path = re.sub(r"\{\w+\}", lambda _: draw(word), path)
    if not draw(st.integers(0, 7)):
        method, path = draw(st.sampled_from(METHODS)), "/".join([path, *draw(st.lists(word, max_size=2))])
    values = st.sampled_from([*known, "new", "infill", "vary", "continue", "C4 E4", 1, 2, 8, "C", "4/4"]) | JSON
    fields = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)
    sources = st.dictionaries(st.sampled_from(SOURCES), values, max_size=2)
    body = draw(
        nearly_right(known).map(json.dumps)
        | nearly_right(known).map(json.dumps)
        | nearly_right(known).map(json.dumps)
        | fields.map(json.dumps)
        | st.tuples(fields, sources).map(lambda both: json.dumps({**both[0], "source": both[1]}))
        | JSON.map(json.dumps)
        | st.binary(max_size=40)
    )
    return method, path, draw(st.dictionaries(st.sampled_from(["name", "token"]), ODD, max_size=2)), body


def outside(made):
    """All files beside the studio's own, with their contents."""
    place = made.workspace.root.parent
    return {
        path.relative_to(place): path.read_bytes() if path.is_file() else None
        for path in place.rglob("*")
        if made.workspace.folder not in (path, *path.parents)
    }


def check_requests(made, examples):
    """Sends `examples` requests and checks the answers and the files beside the studio."""
    before = {path: content for path, content in outside(made).items() if content is not None}
    folders = set(outside(made))

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(requests(ids(made)))
    def sent(request):
        method, path, query, body = request
        try:
            answer = client.request(method, path or "/", params=query, content=body)
        except Exception as error:
            if type(error).__module__.startswith("httpx"):  # no such address can be asked for
                return
            raise
        seen.add(answer.status_code)
        assert answer.status_code < 500, (answer.status_code, answer.text)
        assert SECRET not in answer.text and "Traceback" not in answer.text
        if answer.status_code >= 400 and method != "HEAD":
            sentence = answer.json()["error"]
            assert sentence and "\n" not in sentence

    seen: set[int] = set()
    with client_of(made) as client:
        sent()
    assert seen >= {200, 400, 404, 405}, "some are right, and some wrong in each way"
    after = outside(made)
    new = {path for path in set(after) - folders if path.parts[0] != "runs" or len(path.parts) != 2}
    assert not new, "only the folders of new runs"
    assert all(after[path] == content for path, content in before.items())


def test_no_request_is_a_fault_and_none_reaches_another_file(studio):
    check_requests(studio, EXAMPLES)


@pytest.mark.long
def test_ten_thousand_requests_are_no_fault_and_none_reaches_another_file(studio):
    check_requests(studio, MANY)


@pytest.mark.parametrize(
    "name", ["../../../evil.mid", "/etc/evil.mid", "a\0.mid", "..", ".mid", "x" * 5000 + ".mid", "con.mid"]
)
def test_whatever_a_file_is_called_it_is_kept_under_a_number(studio, name):
    client = client_of(studio)
    one = client.post("/api/uploads").json()["data"]
    answer = client.put(f"/api/uploads/{one}/files", params={"name": name}, content=b"MThd")
    kept = {path.name for path in (studio.library.folder(one) / upload.FILES).iterdir()}
    assert kept == ({"00001.mid"} if answer.json()["kept"] else set())


def test_a_long_name_is_cut_at_its_end_and_shows_no_control_characters(studio):
    one = client_of(studio).post("/api/uploads", json={"name": "a\u202e\n\u00e9" + "b" * 10_000 + "c"}).json()["data"]
    name = studio.library.of(one)["name"]
    assert name.startswith("a  \u00e9bb") and name.isprintable() and len(name) == app.MOST_NAME


def test_an_upload_has_limits_and_goes_on_after_a_restart(studio, monkeypatch):
    monkeypatch.setattr(upload, "MOST_FILES", 3)
    client = client_of(studio)
    one = client.post("/api/uploads").json()["data"]
    send = lambda name: client.put(f"/api/uploads/{one}/files", params={"name": name}, content=b"MThd")  # noqa: E731
    assert send("a.mid").json()["kept"] and not send("b.txt").json()["kept"]
    studio.library._uploads.clear()  # as a new studio begins
    assert send("c.mid").json()["kept"]
    answer = send("d.mid")
    assert answer.status_code == 400 and "at most 3 files" in answer.json()["error"]
    assert upload.names(studio.library.folder(one)) == [("00001.mid", "a.mid"), ("", "b.txt"), ("00003.mid", "c.mid")]
    assert upload.called(studio.library.folder(one), "00003.mid #2") == "c.mid #2"


def test_a_full_disk_is_a_sentence_and_leaves_no_half_of_a_file(studio, monkeypatch):
    client = client_of(studio)
    one = client.post("/api/uploads").json()["data"]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(studio_lib.Studio, "run", full)
    monkeypatch.setattr(upload.Upload, "end", full)
    answer = client.put(f"/api/uploads/{one}/files?name=a.mid", content=b"MThd")
    assert (answer.status_code, "disk is full" in answer.json()["error"]) == (507, True)
    assert client.get(f"/api/runs/{next(iter(studio.trainings.states))}").status_code == 507


NOT_NUMBERS = ["NaN", "1e999", '"\\ud800"', "[" * 600 + "]" * 600]


@pytest.mark.parametrize("odd", NOT_NUMBERS)
@pytest.mark.parametrize(
    "asked",
    [
        '{"kind": "vary", "source": {"output": OUTPUT, "piece": ODD, "melody": ODD, "data": [ODD]}}',
        '{"kind": "continue", "source": {"melody": "C4", "upload": ODD}}',
        '{"instruments": {"piano": ODD}}',
        '{"instruments": [ODD]}',
    ],
)
def test_nothing_that_was_not_checked_is_kept_of_a_request(tmp_path, monkeypatch, asked, odd):
    monkeypatch.setattr(Workspace, "begin", lambda self, work: work.close())
    studio = Studio(tmp_path)
    output = session.new_output("new", "builtin", 0, source=None) | {"status": "done"}
    studio.workspace.session.outputs[output["id"]] = output
    musicjax.write_midi(tiny_events.pieces()[0], studio.outputs.midi_path(output))
    body = asked.replace("ODD", odd).replace("OUTPUT", f'"{output["id"]}"')
    client = client_of(studio)
    answer = client.post("/api/outputs", content=body)
    assert answer.status_code == (400 if "instruments" in asked else 200), answer.text
    assert client.get("/api/state").status_code == 200
    json.dumps(studio.state(), allow_nan=False)
    assert session.read(studio.workspace.folder) == studio.workspace.session or "instruments" in asked


def test_a_run_whose_folder_has_a_name_that_is_no_text_is_shown(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    (tmp_path / os.fsdecode(folder) / "metrics.jsonl").touch()
    studio = Studio(tmp_path)
    studio.trainings.look()
    assert os.fsencode(client_of(studio).get("/api/state").json()["runs"][0]["name"]) == b"caf\xe9"


def test_a_studio_whose_folder_is_gone_says_so_and_works_again_once_it_is_back(tmp_path):
    studio = Studio(tmp_path / "runs")
    client = client_of(studio)
    (tmp_path / "runs").rename(tmp_path / "away")
    assert client.get("/api/state").status_code == 200
    assert "folder is gone" in client.post("/api/uploads").json()["error"]
    studio.workspace.keep()
    assert "folder is gone" in client.get("/api/state").json()["message"]
    assert not (tmp_path / "runs").exists()
    (tmp_path / "away").rename(tmp_path / "runs")
    assert client.post("/api/uploads").status_code == 200
    assert client.get("/api/state").json()["message"] == ""


@pytest.mark.parametrize("text", ["", "null", "[1]", "3", "[" * 9000, '{"key": NaN}'])
def test_what_was_kept_of_an_output_or_a_piece_may_be_damaged(tmp_path, text):
    studio = Studio(tmp_path)
    output = session.new_output("new", "builtin", 0, source=None) | {"status": "done"}
    studio.workspace.session.outputs[output["id"]] = output
    studio.outputs.midi_path(output).with_suffix(".json").write_text(text)
    client = client_of(studio)
    assert "gone or damaged" in client.get(f"/api/outputs/{output['id']}").json()["error"]
    one = studio.library.new("tunes")
    report = studio.library.folder(one) / "report.json"
    report.write_text(text)
    assert client.get(f"/api/data/{one}").json()["pieces"] == []
    report.write_text('{"places": [0], "pieces": [{"name": "a"}]}')
    answer = client.get(f"/api/data/{one}/pieces/0")
    assert (answer.status_code, "gone or damaged" in answer.json()["error"]) == (404, True)


@pytest.mark.parametrize(("end", "said"), [("end_upload", "is complete"), ("remove", "no such data set")])
def test_a_file_that_comes_after_its_data_set_was_ended_is_refused_and_not_kept(tmp_path, monkeypatch, end, said):
    monkeypatch.setattr(Workspace, "begin", lambda self, work: work.close())
    studio = Studio(tmp_path)
    one = studio.library.new("tunes")

    def content():
        yield b"MThd"
        getattr(studio.library, end)(one)

    request = {"params": {"name": "a.mid"}, "content": content()}
    answer = client_of(studio).put(f"/api/uploads/{one}/files", **request)
    assert said in answer.json()["error"] and not list(tmp_path.rglob("*00001.mid*"))


def test_a_name_that_a_full_disk_has_cut_off_spoils_no_other(tmp_path):
    own = upload.Upload(tmp_path)
    (tmp_path / upload.NAMES_FILE).write_text('["00001.mid", "a.m')
    path = own.begin("b.mid")
    path.touch()
    own.end(path, "b.mid")
    assert upload.names(tmp_path) == [(path.name, "b.mid")]


@pytest.mark.parametrize(("ends_as", "status"), [("ready", 404), ("failed", 400), ("reading", 400)])
def test_a_piece_that_was_just_chosen_is_waited_for(studio, monkeypatch, ends_as, status):
    client = client_of(studio)
    one = client.post("/api/uploads").json()["data"]
    client.post(f"/api/uploads/{one}/done")
    looks, sleep = [], asyncio.sleep

    async def look_again(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            studio.workspace.session.data[one] |= {"status": ends_as, "message": "It holds no notes."}
        await sleep(0.01)

    monkeypatch.setattr(library, "READING_S", 0.5)
    monkeypatch.setattr(library.asyncio, "sleep", look_again)
    answer = client.post("/api/outputs", json={"kind": "continue", "source": {"upload": one, "piece": 0}})
    said = {"ready": "no such piece", "failed": "It holds no notes.", "reading": "is still being read"}[ends_as]
    assert (answer.status_code, said in answer.json()["error"]) == (status, True)


@pytest.mark.parametrize(
    ("contents", "reasons", "said"),
    [
        (
            {"photo.jpg": b"x", "notes.txt": b"x"},
            ["not have the name of a music file"] * 2,
            "is music: photo.jpg does not have",
        ),
        ({"photo.jpg": b"x", "fake.mid": b"x"}, ["not have the name of a music file", "not a MIDI file"], "gave notes"),
    ],
)
def test_a_data_set_of_which_nothing_could_be_read_tells_why_of_each_file(studio, contents, reasons, said):
    client = client_of(studio)
    one = client.post("/api/uploads").json()["data"]
    for name, content in contents.items():
        client.put(f"/api/uploads/{one}/files", params={"name": name}, content=content)
    client.post(f"/api/uploads/{one}/done")
    folder = studio.library.folder(one)
    assert reader.main(studio.library.source(one), folder) == 0
    studio.workspace.session.data[one] |= library._found(folder, "")
    report = client.get(f"/api/data/{one}").json()
    assert (report["status"], report["skipped"], report["pieces"]) == ("failed", 2, []) and said in report["message"]
    assert [file["name"] for file in report["files"]] == list(contents)
    for file, reason in zip(report["files"], reasons, strict=True):
        assert file["verdict"] == "skipped" and reason in file["reason"]


def test_the_zip_holds_what_is_kept_or_a_favourite_under_its_names_and_what_made_it(tmp_path):
    studio = Studio(tmp_path / "runs")
    client = client_of(studio)
    marks = [{}, {"kept": True}, {"favourite": True}, {"kept": True, "discarded": True}, {"kept": True}]
    for seed, marked in enumerate(marks):
        output = session.new_output("new", "builtin", seed, source=None) | {"status": "done"} | marked
        if seed == 4:
            output["status"] = "composing"
        studio.workspace.session.outputs[output["id"]] = output
        studio.outputs.midi_path(output).write_bytes(b"MThd" + bytes([seed]))
        studio.outputs.midi_path(output).with_suffix(".json").write_text('{"key": "D minor"}')
    (tmp_path / "a.zip").write_bytes(client.get("/api/session.zip").content)
    with (tmp_path / "a.zip").open("rb") as stream:
        found = {name: opened().read() for name, _, opened in zip_archive.members(stream)}
    told = json.loads(found.pop("session.json"))
    assert found == {"Piece 2, D minor.mid": b"MThd\1", "Piece 3, D minor.mid": b"MThd\2"}
    assert [(one["file"], one["seed"]) for one in told] == [(name, seed) for seed, name in enumerate(found, 1)]
    second = told[0]["id"]
    header = client.get(f"/api/outputs/{second}.mid").headers["content-disposition"]
    assert header == "attachment; filename*=utf-8''Piece%202%2C%20D%20minor.mid"


def test_a_zip_of_nothing_is_a_sentence(studio):
    answer = client_of(studio).get("/api/session.zip")
    assert answer.status_code == 404 and answer.json()["error"].startswith("Nothing is kept yet")


def test_pages_of_the_package_are_served_and_nothing_beside_them(studio):
    client = client_of(studio)
    assert client.get("/static/sound.js").headers["content-type"].startswith("text/javascript")
    for name in ("page.html.j2", "..%2fpage.py", "studio.html.j2", "", "sound.js/"):
        assert client.get(f"/static/{name}").status_code == 404

"""The studio as a process: it works from end to end, and loses nothing when a process dies."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import musicjax
from musicjax.cli import flags
from musicjax.errors import UsageError
from musicjax.store import checksums, lock
from musicjax.studio import server as server_lib
from tests import tiny_events, tiny_runs
from tests.studio_server import PATIENCE_S, Server, children, is_there, of, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


def files_of_music(folder: Path) -> dict[str, bytes]:
    """Eight small pieces as MIDI files, by name."""
    found = {}
    for number, notes in enumerate(tiny_events.pieces()):
        musicjax.write_midi(notes, folder / "piece.mid")
        found[f"piece {number}.mid"] = (folder / "piece.mid").read_bytes()
    return found


@pytest.fixture
def music(tmp_path):
    (tmp_path / "music").mkdir()
    return files_of_music(tmp_path / "music")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio that tests share if they neither end it nor list everything it holds."""
    server = Server(tmp_path_factory.mktemp("shared") / "runs")
    server.until(lambda state: state["composer"] == "ready")
    yield server
    server.stop()


@pytest.fixture
def own_studio(tmp_path):
    server = Server(tmp_path / "runs")
    yield server
    if server.process.poll() is None:
        server.stop()


def test_a_piece_is_heard_as_it_is_composed_and_its_command_line_writes_the_same_file(studio, tmp_path):
    heard = studio.listen()
    output = studio.composed(kind="new", bars=4, key="D", count=2)
    assert output["status"] == "done" and output["notes"] and output["key"].startswith("D")
    parts = [values for event, values in heard if event == "notes" and values["output"] == output["id"]]
    rows: list = []
    for part in parts:
        rows[part["from"] :] = part["notes"]
    assert rows == output["notes"], "the parts, put together, are the piece"
    assert flags.parse(shlex.split(output["command"])[1:]).options["bars"] == 4
    subprocess.run(
        [sys.executable, "-m", "musicjax.main", *shlex.split(output["command"])[1:], f"--output_dir={tmp_path}"],
        check=True,
        capture_output=True,
    )
    (written,) = tmp_path.glob("*.mid")
    assert written.read_bytes() == studio.client.get(f"/api/outputs/{output['id']}.mid").content
    assert studio.client.get(f"/api/outputs/{output['id']}.wav").content[:4] == b"RIFF"


@pytest.mark.long
def test_bars_are_written_anew_and_all_else_stays(studio):
    whole = studio.composed(kind="new", bars=6, meter="4/4", seed=3)
    source = {"output": whole["id"]}
    anew = studio.composed(kind="infill", source=source, from_bar=3, to_bar=4, seed=5)
    begin, end = whole["bars"][2], whole["bars"][4]
    assert outside(anew, begin, end) == outside(whole, begin, end) and anew["notes"] != whole["notes"]
    longer = studio.composed(kind="continue", source=source, bars=2)
    assert len(longer["bars"]) > len(whole["bars"]) and starts(longer)[: len(whole["notes"])] == starts(whole)
    played = studio.composed(kind="continue", source={"notes": [[0, 0.5, 60, 80, 0], [0.5, 0.5, 64, 80, 0]]}, bars=2)
    assert [note[2] for note in played["notes"][:2]] == [60, 64]
    sung = studio.composed(kind="continue", source={"melody": "C4 E4 G4"}, bars=2)
    assert [note[2] for note in sung["notes"][:3]] == [60, 64, 67]
    assert "has 6" in studio.composed(kind="infill", source=source, from_bar=7, to_bar=9)["error"]


def outside(piece, begin, end):
    """The pitches of a piece that begin elsewhere, and when."""
    return [(round(note[0], 2), note[2]) for note in piece["notes"] if not begin - 0.01 <= note[0] < end - 0.01]


def starts(piece):
    """When notes begin, and their pitches."""
    return [(round(note[0], 2), note[2]) for note in piece["notes"]]


def test_dropped_files_are_read_and_each_that_is_no_music_is_named(studio, music):
    contents = {**music, "notes.txt": b"hello", "broken.mid": b"MThd nothing", "../../evil.mid": music["piece 0.mid"]}
    one = studio.upload(contents, "mine")
    report = studio.get(f"/data/{one}")
    verdicts = {file["name"]: file["verdict"] for file in report["files"]}
    assert verdicts["notes.txt"] == verdicts["broken.mid"] == "skipped" and verdicts["piece 3.mid"] == "kept"
    assert (report["name"], report["skipped"], report["status"]) == ("mine", 2, "ready")
    assert {piece["name"] for piece in report["pieces"]} >= {"piece 0.mid", "../../evil.mid"}
    number = next(piece["number"] for piece in report["pieces"] if piece["name"] == "piece 2.mid")
    piece = studio.get(f"/data/{one}/pieces/{number}")
    assert len(piece["notes"]) == tiny_events.NOTES and piece["bpm"] == pytest.approx(97, abs=0.1)
    varied = studio.composed(kind="vary", source={"data": one, "piece": number}, amount=0.0)
    assert starts(varied) == starts(piece), "an amount of nothing is the piece itself"
    nothing = studio.upload({"a.txt": b"hello"})
    state = of(studio.get("/state")["data"], nothing)
    assert state["status"] == "failed" and "not have the name of a music file" in state["message"]
    studio.client.delete(f"/api/data/{one}").raise_for_status()
    assert "no such data set" in studio.error("GET", f"/data/{one}")


@contextlib.contextmanager
def training_by_hand(root: Path, music: dict[str, bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A training started on the command line, in the run "by hand"; so slow that it outlives the server."""
    folder = root.parent / "folder"
    folder.mkdir()
    for name, content in music.items():
        (folder / name).write_bytes(content)
    words = tiny_runs.flags(root / "by hand", folder, "events", **{"train.epochs": 100_000})
    training = subprocess.Popen(
        [sys.executable, "-m", "musicjax.main", "train", *words],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield training
    finally:
        pid = lock.holder(root / "by hand")
        for process in filter(None, (pid, training.pid if training.poll() is None else None)):
            os.kill(process, signal.SIGKILL)
        training.wait()


def trains(server: Server) -> str:
    """The id of the only run, once it has trained an epoch."""
    state = server.until(lambda state: [run for run in state["runs"] if run["status"] == "training" and run["epoch"]])
    (run,) = state["runs"]
    assert run["name"] == "by hand" and "by hand" not in run["id"], "a name that is no plain word is no id"
    return run["id"]


def test_nothing_is_lost_when_the_server_is_killed_and_training_goes_on_without_it(tmp_path, music):
    root = tmp_path / "runs"
    server = Server(root)
    with contextlib.ExitStack() as ends:
        ends.callback(lambda: server.stop())
        ends.enter_context(training_by_hand(root, music))
        kept = server.composed(kind="new", bars=2, seed=8)
        server.post(f"/outputs/{kept['id']}/keep")
        uploaded = server.post("/uploads", name="half")["data"]
        server.client.put(f"/api/uploads/{uploaded}/files?name=a.mid", content=music["piece 0.mid"]).raise_for_status()
        run = trains(server)
        waiting = server.post("/outputs", kind="new", bars=2, count=3, seed=1)["outputs"]
        server.kill()
        metrics = root / "by hand" / "metrics.jsonl"
        before = metrics.stat().st_size
        until(lambda: metrics.stat().st_size, lambda now: now > before)
        server = Server(root)
        state = server.get("/state")
        assert of(state["outputs"], kept["id"])["kept"]
        assert server.get(f"/outputs/{kept['id']}")["notes"] == kept["notes"]
        assert {one["id"] for one in state["outputs"]} == {kept["id"], *waiting}
        server.until(lambda state: all(one["status"] == "done" for one in state["outputs"]))
        assert of(state["data"], uploaded)["status"] == "uploading"
        server.client.put(f"/api/uploads/{uploaded}/files?name=b.mid", content=music["piece 1.mid"]).raise_for_status()
        server.post(f"/uploads/{uploaded}/done")
        server.until(lambda state: of(state["data"], uploaded)["pieces"] == 2)
        server.post("/undo")
        assert all(of(server.get("/state")["outputs"], one)["discarded"] for one in waiting)
        assert "already training" in server.error("POST", f"/runs/{run}/continue")


@pytest.mark.long
def test_a_training_of_the_command_line_is_paused_continued_and_composed_with_from_a_page(own_studio, tmp_path, music):
    root, server = tmp_path / "runs", own_studio
    with training_by_hand(root, music) as training:
        run = trains(server)
        server.until(lambda state: of(state["runs"], run)["samples"])
        server.post(f"/runs/{run}/pause")
        state = server.until(lambda state: of(state["runs"], run)["status"] == "paused")
        assert training.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert "it is paused" in server.error("POST", f"/runs/{run}/pause")
        reached = of(state["runs"], run)["epoch"]
        server.post(f"/runs/{run}/continue")
        server.until(lambda state: of(state["runs"], run)["epoch"] > reached)
        output = server.composed(model=run, kind="new", bars=2)
        assert output["status"] == "done" and str(root / "by hand") in output["command"]
        shared = server.get(f"/outputs/{output['id']}/copies")
        assert shared == {} or (shared["length"] >= 8 and shared["piece"].startswith("piece"))
        curve = server.get(f"/runs/{run}")["curve"]
        assert [point["epoch"] for point in curve] == list(range(1, len(curve) + 1))


@pytest.mark.long
def test_a_composer_that_is_killed_is_started_again_and_nothing_is_lost(own_studio):
    own_studio.until(lambda state: state["composer"] == "ready")
    made = own_studio.post("/outputs", kind="new", bars=60, count=3)["outputs"]
    (pid,) = children(own_studio.process.pid, "musicjax.studio.composer")
    os.kill(pid, signal.SIGKILL)
    own_studio.until(lambda state: "composing process died" in state["message"])
    state = own_studio.until(lambda state: all(of(state["outputs"], one)["status"] == "done" for one in made))
    assert state["message"] == "" and children(own_studio.process.pid, "musicjax.studio.composer") != [pid]


def test_an_output_is_cancelled_while_it_is_composed_and_others_while_they_wait(studio):
    first, second, third = studio.post("/outputs", kind="new", bars=400, count=3)["outputs"]
    studio.until(lambda state: of(state["outputs"], first)["status"] == "composing")
    studio.post(f"/outputs/{second}/cancel")
    studio.post(f"/outputs/{first}/cancel")
    state = studio.until(lambda state: of(state["outputs"], first)["status"] != "composing")
    assert [of(state["outputs"], one)["status"] for one in (first, second)] == ["cancelled", "cancelled"]
    studio.post(f"/outputs/{third}/cancel")
    assert "nothing to cancel" in studio.error("POST", f"/outputs/{second}/cancel")
    assert studio.composed(kind="new", bars=2)["status"] == "done"


def test_two_pages_that_steer_at_once_see_the_same(studio):
    before = len(studio.get("/state")["outputs"])
    pages = [studio.listen(), studio.listen()]
    threads = [
        threading.Thread(target=studio.post, args=("/outputs",), kwargs={"kind": "new", "bars": 1}) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = studio.until(lambda state: all(one["status"] == "done" for one in state["outputs"][before:]))
    numbers = [one["number"] for one in state["outputs"][before:]]
    assert len(numbers) == 20 and numbers == list(range(numbers[0], numbers[0] + 20))
    for page in pages:
        until(lambda: [v for e, v in page if e == "state"][-1], lambda seen: seen["outputs"] == state["outputs"])  # noqa: B023


def test_a_model_of_a_later_version_or_a_damaged_one_is_a_sentence_and_no_lost_run(own_studio, tmp_path):
    for name in ("later", "damaged"):
        place = tiny_events.save(tmp_path / "runs" / name) / "checkpoints" / "1"
        (place.parents[1] / "config.json").write_text("{}")
        saved = place / "metadata" / "metadata"
        saved.write_text(json.dumps({"versions": {"musicjax": "99.0"}}))
        if name == "later":
            checksums.write(place)
    tiny_events.save(tmp_path / "runs" / "whole")
    (tmp_path / "runs" / "whole" / "config.json").write_text("{}")
    state = own_studio.until(lambda state: {model["id"] for model in state["models"]} == {"builtin", "whole"})
    state = own_studio.until(lambda state: all(run["message"] for run in state["runs"] if run["id"] != "whole"))
    messages = {run["id"]: run["message"] for run in state["runs"]}
    assert "written by musicjax 99.0" in messages["later"] and "is damaged" in messages["damaged"]
    assert "99.0" in own_studio.error("POST", "/outputs", model="later")


def test_two_hundred_requests_at_once_are_all_answered(studio):
    paths = ["/api/state", "/api/outputs/none", "/static/studio.css", "/static/sound.js", "/api/data/none/pieces/1"]
    with ThreadPoolExecutor(200) as pool:
        limits = httpx.Limits(max_connections=200)
        with httpx.Client(base_url=studio.client.base_url, cookies=studio.client.cookies, limits=limits) as client:
            answers = pool.map(lambda n: client.get(paths[n % 5], timeout=60).status_code, range(200))
            assert list(answers) == [200, 404, 200, 200, 404] * 40
    assert studio.composed(kind="new", bars=1)["status"] == "done"


@pytest.mark.long
def test_five_thousand_files_are_read_and_counted(own_studio, music):
    contents = list(music.values())
    one = own_studio.post("/uploads", name="many")["data"]
    for number in range(5000):
        name = f"{number}.mid" if number % 5 else f"{number}.doc"
        content = contents[number % 8] if number % 2 else b"MThd" + number.to_bytes(4, "big")
        own_studio.client.put(f"/api/uploads/{one}/files", params={"name": name}, content=content).raise_for_status()
    own_studio.post(f"/uploads/{one}/done")
    state = own_studio.until(lambda state: of(state["data"], one)["status"] == "ready")
    found = of(state["data"], one)
    assert found["kept"] + found["recovered"] == 2000 and found["skipped"] == 3000 and found["pieces"] == 2000
    report = own_studio.get(f"/data/{one}")
    assert len(report["files"]) == 2000 and report["files_left_out"] == 3000


def test_a_host_that_others_reach_is_warned_of_and_still_needs_the_token(tmp_path):
    server = Server(tmp_path / "runs", "--host=127.0.0.1")
    assert httpx.get(f"{server.client.base_url}api/state").status_code == 403
    assert server.get("/state")["runs"] == []
    assert "others can reach 127.0.0.1" in server.stop()


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"musicjax\[studio\]"):
        server_lib.serve(tmp_path)


@pytest.mark.parametrize(("flag", "said"), [("--port=99999", "port"), ("--host=no.such.host.invalid", "cannot listen")])
def test_an_address_that_cannot_be_had_is_one_line(tmp_path, flag, said):
    with pytest.raises(RuntimeError) as told:
        Server(tmp_path / "runs", flag)
    assert said in str(told.value) and len(str(told.value).splitlines()) == 1


def test_ctrl_c_ends_it_with_all_that_it_started_but_trainings(own_studio):
    own_studio.until(lambda state: state["composer"] == "ready")
    own_studio.listen()
    mine = children(own_studio.process.pid, "musicjax.studio.composer")
    began = time.monotonic()
    errors = own_studio.stop()
    assert time.monotonic() - began < 60 and "Traceback" not in errors
    until(lambda: [pid for pid in mine if is_there(pid)], lambda left: not left)


def test_an_upload_that_is_on_its_way_does_not_hold_the_end_up_and_no_stack_is_printed(own_studio):
    one = own_studio.post("/uploads")["data"]
    cookie = "; ".join(f"{name}={value}" for name, value in own_studio.client.cookies.items())
    head = f"PUT /api/uploads/{one}/files?name=a.mid HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n"
    with socket.create_connection(("localhost", own_studio.client.base_url.port)) as connection:
        connection.sendall(f"{head}Content-Length: 100\r\n\r\nMThd".encode())
        files = own_studio.root / ".studio" / "uploads" / one / "files"
        until(lambda: os.listdir(files), bool)
        errors = own_studio.stop()
    assert "Traceback" not in errors and "stopped by SIGINT" in errors
    assert os.listdir(files) == []


def test_a_reading_process_that_is_killed_is_a_sentence_and_the_music_can_be_read_again(studio, music):
    one = studio.post("/uploads")["data"]
    for name, content in music.items():
        studio.client.put(f"/api/uploads/{one}/files", params={"name": name}, content=content)
    studio.post(f"/uploads/{one}/done")
    (pid,) = until(lambda: children(studio.process.pid, "musicjax.studio.reader"), bool)
    os.kill(pid, signal.SIGKILL)
    state = studio.until(lambda state: of(state["data"], one)["status"] != "reading")
    assert of(state["data"], one)["message"] == "The reading process died: read it again."
    studio.post(f"/data/{one}/read")
    state = studio.until(lambda state: of(state["data"], one)["status"] != "reading")
    assert (of(state["data"], one)["status"], of(state["data"], one)["pieces"]) == ("ready", len(music))
    assert "nothing to read again" in studio.error("POST", f"/data/{one}/read")


def test_a_page_that_sends_without_end_is_cut_off(own_studio):
    def content():
        while True:
            yield b"x" * 2**20

    with pytest.raises(httpx.HTTPError):
        own_studio.client.request("GET", "/api/events", content=content())
    assert own_studio.get("/state")["message"] == ""
    assert "Traceback" not in own_studio.stop()


@pytest.mark.long
def test_a_training_of_one_minute_from_dropped_files_to_a_piece_of_its_own(own_studio, music):
    one = own_studio.upload(music, "tunes")
    run = own_studio.post("/runs", data=one, minutes=1)["run"]
    assert "still needs" in own_studio.error("DELETE", f"/data/{one}")
    own_studio.until(lambda state: of(state["runs"], run)["status"] != "starting")
    state = own_studio.until(lambda state: of(state["runs"], run)["epoch"])
    assert of(state["runs"], run)["seconds_left"] is not None
    own_studio.post(f"/runs/{run}/pause")
    own_studio.until(lambda state: of(state["runs"], run)["status"] == "paused")
    own_studio.post(f"/runs/{run}/continue")
    own_studio.until(lambda state: of(state["runs"], run)["status"] in ("finished", "failed"))
    assert of(own_studio.get("/state")["runs"], run)["status"] == "finished"
    assert own_studio.composed(model=run, kind="new", bars=2)["status"] == "done"


def test_the_server_itself_loads_neither_jax_nor_a_reader_of_midi(tmp_path):
    code = "import sys; from pathlib import Path; from musicjax.studio import app, server, studio\n"
    code += "app.make(studio.Studio(Path(sys.argv[1])))\n"
    code += "print([name for name in ('jax', 'flax', 'orbax', 'mido', 'matplotlib') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

"""The address of a studio: the same at each start, told to a second start, and readable by its user alone."""

from __future__ import annotations

import json
import os
import socket
import stat

import pytest

from musicjax.errors import RunError
from musicjax.studio import address, server
from musicjax.studio.address import Address
from musicjax.studio.workspace import FOLDER

KEPT = {"machine": "here", "host": "localhost", "port": 8000, "token": "t" * 32}
pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs the modes of files, which this system lacks")


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """start(port, meanwhile) opens the studio and ends it at once; gives the address that it printed."""

    def started(port=0, meanwhile=lambda: None):
        monkeypatch.setattr(server, "_run", lambda *_: meanwhile())
        server.serve(tmp_path, port)
        return capsys.readouterr().out.strip()

    return started


def port_of(printed):
    return int(printed.split(":")[2].partition("/")[0])


def test_each_start_has_the_same_address_which_its_user_alone_can_read(start, tmp_path):
    first = start()
    path = tmp_path / FOLDER / address.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert start() == first == address.read(tmp_path / FOLDER).whole


def test_a_port_that_is_named_counts_and_one_that_another_program_has_costs_the_token_too(start):
    first = start()
    with socket.create_server(("127.0.0.1", port_of(first))):
        second = start()
    assert port_of(second) != port_of(first)
    with socket.create_server(("127.0.0.1", 0)) as free:
        named = free.getsockname()[1]
    third = start(named)
    assert port_of(third) == named
    tokens = [one.partition("token=")[2] for one in (first, second, third, start())]
    assert tokens[0] != tokens[1] == tokens[2] == tokens[3]


def test_a_second_start_tells_the_whole_address_of_the_first(start, tmp_path, capsys):
    told = []

    def again():
        told.append(capsys.readouterr().out.strip())
        for port in (0, port_of(told[0])):
            server.serve(tmp_path, port)
            told.append(capsys.readouterr().out.strip())

    start(meanwhile=again)
    assert told[0] == told[1] == told[2] and "?token=" in told[0]
    assert start() == told[0], "and changes nothing"


@pytest.mark.parametrize("change", ["absent", "port", "machine", "mode"])
def test_a_second_start_that_cannot_know_the_token_says_where_the_first_is(start, tmp_path, capsys, change):
    path = tmp_path / FOLDER / address.NAME

    def again():
        first = capsys.readouterr().out.partition("?")[0]
        kept = json.loads(path.read_text())
        if change == "absent":
            path.unlink()
        elif change == "mode":
            path.chmod(0o644)
        else:
            path.write_text(json.dumps(kept | {change: 1 if change == "port" else "elsewhere"}))
        with pytest.raises(RunError) as refused:
            server.serve(tmp_path)
        assert f"another studio is open on {tmp_path}: studio at {first};" in str(refused.value)
        assert kept["token"] not in str(refused.value) and not capsys.readouterr().out

    start(meanwhile=again)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "[" * 5000, json.dumps(KEPT | {"more": 1})),
        *(json.dumps(KEPT | {"port": port}) for port in (0, "1", 1e9)),
        *(json.dumps(KEPT | {"token": token}) for token in ("short", None)),
        json.dumps(KEPT | {"host": 3}),
    ],
)
def test_a_damaged_file_is_replaced(start, tmp_path, text):
    folder = tmp_path / FOLDER
    address.write(folder.parent, Address(**KEPT))
    assert address.read(folder.parent) == Address(**KEPT)
    folder.mkdir()
    (folder / address.NAME).write_text(text)
    (folder / address.NAME).chmod(0o600)
    assert address.read(folder) is None
    assert start() == address.read(folder).whole


def test_a_file_that_others_can_read_or_that_lies_elsewhere_is_not_trusted(start, tmp_path):
    first = start()
    path = tmp_path / FOLDER / address.NAME
    path.chmod(0o640)
    second = start()
    assert second != first and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert start() not in (first, second) and not path.is_symlink()


def test_an_address_that_cannot_be_kept_is_said_and_the_old_one_goes(start, tmp_path, monkeypatch, capsys):
    start()
    monkeypatch.setattr(address.json, "dump", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    monkeypatch.setattr(server, "_run", lambda *_: None)
    server.serve(tmp_path)
    assert os.listdir(tmp_path / FOLDER).count(address.NAME) == 1, "the same address is not written again"
    with socket.create_server(("127.0.0.1", 0)) as free:
        named = free.getsockname()[1]
    server.serve(tmp_path, named)
    assert "No space left on device; the next start will use another address" in capsys.readouterr().err
    assert os.listdir(tmp_path / FOLDER).count(address.NAME) == 0

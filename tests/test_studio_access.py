"""Who may ask the studio: the token, Host and Origin, sizes, and what a browser is told that it may do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicjax.studio import access
from tests.studio_client import TOKEN, stranger_of


@pytest.fixture
def stranger(tmp_path):
    return stranger_of(tmp_path)


@pytest.fixture
def client(stranger):
    assert stranger.get("/", params={"token": TOKEN}).status_code == 303
    return stranger


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_can_use(stranger):
    answer = stranger.get("/", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "httponly" in cookie and "samesite=strict" in cookie and "domain" not in cookie
    assert stranger.get("/").status_code == 200 and stranger.get("/api/state").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/api/events", "/static/studio.css", "/nothing", "/api/session.zip"]
)
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é"])
def test_without_the_token_there_is_a_sentence_and_nothing_else(stranger, path, token):
    answer = stranger.get(
        path, params={"token": token} if token else {}, headers={"cookie": f"studio={token}".encode()}
    )
    assert answer.status_code == 403 and "needs its token" in answer.text and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "10.0.0.1", ""]
)
def test_another_name_for_this_machine_is_refused_even_with_the_cookie(client, host):
    assert client.get("/api/state", headers={"host": host}).status_code == 403
    assert client.get("/", params={"token": TOKEN}, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9999", "[::1]:80", "LOCALHOST:1"])
def test_this_machine_is_known_by_its_own_names_at_any_port(host):
    assert access.is_known_host(host, access.LOOPBACK)  # a port that ssh forwards is another one


def test_with_a_host_of_its_own_addresses_are_known_and_foreign_names_are_not():
    names = {*access.LOOPBACK, "studio.home"}
    assert access.is_known_host("192.168.0.7:80", names) and access.is_known_host("studio.home", names)
    assert not access.is_known_host("evil.example", names) and not access.is_known_host("", names)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8001"},
        {"origin": "https://localhost:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_another_site_asks_for_is_refused(client, headers, method):
    answer = client.request(method, "/api/undo" if method == "POST" else "/api/state", headers=headers)
    assert answer.status_code == 403 and "another site" in answer.json()["error"].lower()


def test_the_studio_s_own_page_is_answered(client):
    headers = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
    assert client.post("/api/undo", headers=headers).json() == {"error": "There is nothing to undo."}


@pytest.mark.parametrize("path", ["/", "/api/state", "/nothing", "/static/studio.css", "/static/../app.py"])
def test_every_answer_tells_the_browser_to_ask_nobody_else(client, path):
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and not re.search(r"unsafe|\*|https?:", policy)
    assert "frame-ancestors 'none'" in policy and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_nothing_larger_than_allowed_is_taken_whether_its_length_is_told_or_not(client):
    one = client.post("/api/uploads").json()["data"]
    large = b"x" * (access.MOST_BYTES + 1)
    assert client.post("/api/outputs", content=large).status_code == 413
    assert client.post("/api/outputs", content=iter([large[: 2**20]] * 3)).status_code == 413
    file = b"x" * (access.MOST_FILE_BYTES + 1)
    for content in (file, iter([file[: 2**20]] * 17)):
        answer = client.put(f"/api/uploads/{one}/files", params={"name": "a.mid"}, content=content)
        assert answer.status_code == 413 and "16 MiB" in answer.json()["error"]
    assert client.put(f"/api/uploads/{one}/files?name=a.mid", content=file[:-1]).json()["kept"]
    assert client.post("/api/outputs", headers={"content-length": "many"}).status_code == 400


@given(st.text(), st.text())
def test_no_two_texts_are_taken_for_the_same_token(given_one, token):
    assert access.is_token(given_one, token) == (given_one == token) or not token.isascii() or not given_one.isascii()


@given(st.text(max_size=60))
def test_no_host_header_is_too_odd_to_be_judged(authority):
    access.is_known_host(authority, access.LOOPBACK)
    access.is_known_host(authority, {*access.LOOPBACK, "other"})
    access.has_token(authority, "token")

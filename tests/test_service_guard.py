"""At the door: strangers' requests over a real socket, and what is left of them."""

import asyncio
import errno
import os
import socket
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from samples import chunk
from servers import Asleep, finished, png, post, running

from mzsr.service import body, guard, server, sessions

TOKEN = "a token of some length"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def client(place: Path, tiny_weights: Path) -> Iterator[httpx.Client]:
    with running(place, tiny_weights, max_bytes=100_000, max_pixels=1_000_000) as client:
        yield client


def lines(client: httpx.Client, *sent: bytes) -> bytes:
    """Send raw bytes, and return all that comes back until the server closes the connection."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as line:
        for part in sent:
            line.sendall(part)
        return everything(line)


def everything(line: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    answer = b""
    while part := line.recv(65536):
        answer += part
    return answer


def nothing_left(place: Path) -> bool:
    return not any((place / "incoming").iterdir())


def test_every_answer_carries_the_headers_of_a_careful_server(client) -> None:
    for path in ("/health", "/api/options", "/nowhere", "/api/jobs/x"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        for part in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert part in headers["content-security-policy"].split("; ")
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["permissions-policy"] == "camera=(), microphone=(), geolocation=()"
        assert headers["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")
        assert "server" not in headers
        assert not [name for name in headers if name.startswith("access-control")], "no other site may read"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200), ("127.0.0.1", 200), ("[::1]:1", 200), ("evil.example", 400),
        ("localhost.evil.example", 400), ("evil.example#@localhost", 400), ("[", 400), ("", 400),
    ],
)  # fmt: skip
def test_a_name_that_was_bent_to_this_machine_is_not_answered(client, host: str, status: int) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == status


def test_behind_a_proxy_its_name_is_known(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights, hosts=frozenset({"pictures.example.org"})) as client:
        assert client.get("/health").status_code == 400
        assert client.get("/health", headers={"Host": "pictures.example.org"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),  # a program; the form is empty
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://elsewhere-by-proxy"}, 422),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://HERE"}, 422),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_another_site_cannot_post_for_its_visitors(client, headers: dict[str, str], status: int) -> None:
    here = f"{client.base_url.host}:{client.base_url.port}"
    headers = {name: value.replace("HERE", here) for name, value in headers.items()}
    got = client.post("/api/jobs", files={"scale": (None, "2")}, headers=headers)
    assert got.status_code == status
    assert client.get("/health", headers=headers).status_code == 200, "looking is free"


def test_with_a_token_nobody_else_comes_in(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights, token=TOKEN) as client:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        job = client.post("/api/jobs", files={"file": ("a.png", png())}, headers=bearer).json()
        private = ["/metrics", job["links"]["self"], job["links"]["events"], job["links"]["input"]]
        for path in private:
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": TOKEN},
                {"Cookie": "mzsr_session=1.2"},
            ):
                refused = client.get(path, headers=headers)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert post(client).status_code == 401
        assert client.delete(job["links"]["self"]).status_code == 401
        for path in ("/health", "/api/options", "/api/examples", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert client.get("/api/options").json()["auth"] is True
        for path in private[:2]:
            assert client.get(path, headers=bearer).status_code == 200


def test_the_page_signs_in_once_and_its_cookie_is_out_of_reach_of_scripts(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights, token=TOKEN) as client:
        assert client.post("/api/session", json={"token": "wrong"}).status_code == 401
        assert not client.cookies
        signed = client.post("/api/session", json={"token": TOKEN})
        assert signed.status_code == 204
        told = {part.strip().partition("=")[0] for part in signed.headers["set-cookie"].lower().split(";")}
        assert told >= {sessions.COOKIE, "httponly", "samesite", "max-age"}
        assert "samesite=strict" in signed.headers["set-cookie"].lower()
        assert "secure" not in told
        assert TOKEN not in signed.headers["set-cookie"]
        assert post(client).status_code == 201
        proxied = client.post("/api/session", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
        assert "secure" in {part.strip() for part in proxied.headers["set-cookie"].lower().split(";")}


@pytest.mark.parametrize(
    "others",
    ['a={"x":1}; {}', "flag; {}", "foo[bar]=1; {}", "path=/x; {}", "user@x=1; {}", "mzsr_session=old; {}", "{}"],
)
def test_cookies_of_other_programs_do_not_end_a_session(others: str) -> None:
    """All ports of a host share them, and some are none by the standard."""
    kept = f"{sessions.COOKIE}={sessions.cookie_value(TOKEN, 0.0)}"
    assert sessions.allowed("", others.replace("{}", kept), TOKEN, 60.0)


@pytest.mark.parametrize("change", ["x", "0", "-1", "999999999999999999", "é"])
def test_a_cookie_that_was_tampered_with_is_worth_nothing(change: str) -> None:
    now = 1e9
    value = sessions.cookie_value(TOKEN, now)
    ends, _, proof = value.partition(".")
    assert sessions.allowed("", f"{sessions.COOKIE}={value}", TOKEN, now)
    for cookie in (f"{change}.{proof}", f"{ends}.{change}", f"{ends}{change}.{proof}", value + change, change):
        assert not sessions.allowed("", f"{sessions.COOKIE}={cookie}", TOKEN, now), cookie
    assert not sessions.allowed("", f"{sessions.COOKIE}={value}", "another token of some length", now)


HEAD = "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'


def test_what_says_it_is_too_large_is_refused_before_it_is_sent(client, place) -> None:
    got = lines(client, f"{HEAD}Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in got
    assert b"the request has 99,999,999,999 bytes; the limit here is 1,148,576" in got
    assert nothing_left(place)


def test_what_grows_too_large_is_refused_on_the_way(client, place) -> None:
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    got = lines(client, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), b"%x\r\n" % len(PART) + PART + b"\r\n",
                piece * 40, b"0\r\n\r\n")  # fmt: skip
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"the request has more than 1,148,576 bytes" in got
    assert nothing_left(place)


def test_a_client_that_hears_nothing_before_it_has_sent_all_still_hears_why(client) -> None:
    refused = post(client, bytes(5_000_000))
    assert (refused.status_code, refused.json()["detail"][:12]) == (413, "the request ")


def test_a_picture_a_little_too_large_is_refused_too(client, place) -> None:
    refused = post(client, png() + bytes(100_000))
    assert (refused.status_code, refused.json()["detail"]) == (
        413, "the picture has 101,236 bytes; the limit here is 100,000 — send a smaller file",
    )  # fmt: skip
    assert nothing_left(place)


def test_who_sends_too_slowly_is_sent_away_and_makes_room(tmp_path, tiny_weights, monkeypatch) -> None:
    monkeypatch.setattr(body, "HEAD_START", 600.0)
    monkeypatch.setattr(body, "LISTEN_SECONDS", 600.0)
    monkeypatch.setattr(guard, "UPLOADS_EACH", 1)
    with running(tmp_path, tiny_weights) as client:
        host = (client.base_url.host, client.base_url.port or 80)
        with socket.create_connection(host, timeout=20) as line:
            line.sendall(f"{HEAD}Content-Length: 5000\r\n\r\n".encode() + PART)
            while (full := post(client)).status_code == 201:  # until the slow one has come in
                time.sleep(0.01)
            assert (full.status_code, full.headers["retry-after"]) == (429, "2")
            with monkeypatch.context() as hurried:
                hurried.setattr(body, "HEAD_START", 0.0)
                hurried.setattr(body, "LISTEN_SECONDS", 0.1)
                line.sendall(b"one more part, and silence")
                answer = everything(line)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"bytes came in" in answer
        while (again := post(client)).status_code == 429:  # its place is free when its line is closed
            time.sleep(0.01)
        assert again.status_code == 201
        assert nothing_left(tmp_path)


def test_half_a_head_does_not_hold_a_line_for_ever(tmp_path, tiny_weights, monkeypatch) -> None:
    from mzsr.service import listen

    class Protocol(listen.PromptProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            made.append(self)

    made: list[Protocol] = []
    monkeypatch.setattr(listen, "PromptProtocol", Protocol)
    monkeypatch.setattr(listen, "HEAD_SECONDS", 600.0)
    with running(tmp_path, tiny_weights, Asleep) as client:
        with monkeypatch.context() as hurried:
            hurried.setattr(listen, "HEAD_SECONDS", 1.0)
            assert lines(client) == b""
            assert lines(client, b"GET /health HTTP/1.1\r\nHost: loc") == b""
        with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as line:
            line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with closing(HTTPResponse(line)) as answer:
                answer.begin()
                assert (answer.status, answer.read()[:1]) == (200, b"{")
            with monkeypatch.context() as hurried:
                hurried.setattr(listen, "HEAD_SECONDS", 0.1)
                line.sendall(b"GET /health HTTP/1.1\r\n")
                assert everything(line) == b""
        job = post(client).json()
        with client.stream("GET", job["links"]["events"]) as stream:
            told = stream.iter_lines()
            next(told)
            (streaming,) = (protocol for protocol in made if protocol._busy())
            assert streaming._late is None, "an answer may take as long as it likes"
            assert client.post(job["links"]["cancel"]).status_code == 200
            assert '"cancelled"' in "".join(told)


@pytest.mark.parametrize("more", [b"", b"G"], ids=["silent", "one more byte"])
def test_who_does_not_read_does_not_hold_a_line_for_ever(tmp_path, tiny_weights, monkeypatch, more: bytes) -> None:
    from mzsr.service import listen

    class Protocol(listen.PromptProtocol):
        def pause_writing(self) -> None:
            super().pause_writing()
            stuck.set()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._stuck is not None:
                lost.set()
            super().connection_lost(exc)

    stuck, lost = threading.Event(), threading.Event()
    monkeypatch.setattr(listen, "PromptProtocol", Protocol)
    monkeypatch.setattr(listen, "READ_SECONDS", 600.0)
    with running(tmp_path, tiny_weights, Asleep) as client:
        content = png(1800, 1800)  # more than the kernel keeps on the way
        job = post(client, content).json()
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect((client.base_url.host, client.base_url.port or 80))
            with monkeypatch.context() as hurried:
                hurried.setattr(listen, "READ_SECONDS", 1.0)
                line.sendall(f"GET {job['links']['input']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert stuck.wait(600)
                with suppress(ConnectionError):  # where it is lost already
                    line.sendall(more)
                assert lost.wait(600)
            line.settimeout(20)
            read = 0
            with suppress(ConnectionError):
                while part := line.recv(65536):
                    read += len(part)
            assert read < len(content)
        assert client.get(job["links"]["input"]).content == content  # who reads gets all


def test_pictures_of_strangers_run_nothing(client) -> None:
    job = finished(client, post(client).json())
    for link in ("input", "result"):
        assert client.get(job["links"][link]).headers["content-security-policy"].startswith("sandbox;")


def test_nothing_is_taken_in_where_the_disk_is_full(tmp_path, tiny_weights, monkeypatch) -> None:
    with running(tmp_path, tiny_weights, Asleep) as client:
        monkeypatch.setattr(server, "FREE_BYTES", 10**18)
        full = post(client)
        assert (full.status_code, full.headers["retry-after"]) == (503, "600")
        assert "disk of the server is nearly full" in full.json()["detail"]


@pytest.mark.parametrize(
    "where", ["starlette.datastructures.UploadFile.write", "mzsr.service.store.Store.incoming"],
    ids=["while it comes in", "before it is kept"],
)  # fmt: skip
def test_a_disk_that_is_full_is_said(client, place, monkeypatch, where) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        refused = post(client)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
    assert refused.json()["detail"] == "the server cannot keep the picture (No space left on device); try again later"
    assert nothing_left(place)


def test_a_fault_is_told_counted_and_guarded_as_all_else(client, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody has thought of this")

    with monkeypatch.context() as patched:
        patched.setattr("mzsr.service.store.Store.counts", broken)
        answer = client.get("/health")
    assert (answer.status_code, answer.json()["detail"][:21]) == (500, "a fault of the server")
    assert answer.headers["content-security-policy"] == guard.POLICY
    assert caplog.text.count("RuntimeError: nobody has thought of this") == 1
    assert 'mzsr_refused_total{status="500"} 1.0' in client.get("/metrics").text


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="elsewhere nobody tells which files are open")
def test_a_line_that_breaks_leaves_nothing_behind(tmp_path, tiny_weights, monkeypatch) -> None:
    """Neither its place among the uploads, nor the file without a name that a large picture comes into."""

    def received() -> list[str]:
        targets: list[str] = []
        for file in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                targets.append(os.readlink(file))
        return [target for target in targets if target.startswith(str(tmp_path / "incoming"))]

    monkeypatch.setattr(guard, "UPLOADS_EACH", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "incoming"))  # as the command has it
    with running(tmp_path, tiny_weights, Asleep) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
            line.sendall(f"{HEAD}Content-Length: 5000000\r\n\r\n".encode() + PART + bytes(2_000_000))
            while not received():
                time.sleep(0.01)
            assert post(client).status_code == 429
        while (again := post(client)).status_code == 429:
            time.sleep(0.01)
        assert again.status_code == 201
        assert received() == []
        assert nothing_left(tmp_path)


def png_of(width: int, height: int, body: bytes = b"") -> bytes:
    """Return a PNG that says it has so many pixels, with whatever in it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header(client, place) -> None:
    bomb = png_of(60_000, 60_000, zlib.compress(bytes(1_000_000)))
    refused = post(client, bomb)
    assert (refused.status_code, refused.json()["detail"]) == (
        413, "the picture has 60000 x 60000 pixels, 3600.0 million; the limit here is 1 million — make it smaller, or "
        "crop it",
    )  # fmt: skip
    assert nothing_left(place)


def test_a_small_picture_that_would_become_a_large_one_is_refused(client) -> None:
    refused = post(client, png_of(900, 900), scale="8")
    assert (refused.status_code, refused.json()["detail"].partition(";")[0]) == (
        422, "the result would have 7200 x 7200 pixels, 51.8 million",
    )  # fmt: skip


def test_a_bomb_behind_the_header_ends_its_job_and_nothing_else(client) -> None:
    told = finished(client, post(client, png_of(20, 20, zlib.compress(bytes(50_000_000)))).json())
    assert told["state"] in ("done", "failed")  # what is too much is left unread, or damage
    assert finished(client, post(client).json())["state"] == "done"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"%PDF-1.7 not a picture", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>", 415),
        (b"#!/bin/sh\necho gotcha", 415),
        (b"PK\x03\x04" + bytes(100), 415),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422),
        (b"\xff\xd8\xff\xe0" + bytes(100), 422),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
        (b"push graphic-context\nimage over 0,0 0,0 'msl:/etc/passwd'\n", 415),
    ],
)
def test_what_is_no_picture_is_no_job_whatever_it_is_called(client, place, content: bytes, status: int) -> None:
    refused = post(client, content, name="photo.png")
    assert refused.status_code == status
    assert str(place) not in refused.text, "it tells where things lie on the server"
    assert nothing_left(place)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "application/json", "text/plain", "multipart/mixed"]
)
def test_a_body_that_is_no_form_is_refused(client, kind: str) -> None:
    got = client.post("/api/jobs", content=b"file=x", headers={"Content-Type": kind})
    assert got.status_code == 415


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"--x",
        b"--x\r\n\r\n--x--",
        b"no boundary at all",
        PART,
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
    ],
)
@pytest.mark.filterwarnings("ignore:Exception ignored in.*SpooledTemporaryFile")  # starlette forgets to close one
def test_a_broken_form_is_told_so(client, place, form: bytes) -> None:
    got = client.post("/api/jobs", content=form, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert got.status_code in (400, 422)
    assert got.json()["detail"]
    assert nothing_left(place)


def test_half_a_character_is_refused_as_any_other_slip(client) -> None:
    got = client.post("/api/session", content=b'{"token": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert got.status_code == 422
    assert got.json()["detail"].startswith("token is '?'")


def test_many_or_long_fields_are_refused(client) -> None:
    many = [("steps", (None, "0"))] * 60
    assert client.post("/api/jobs", files=many).status_code == 400
    assert client.post("/api/jobs", files={"noise": (None, "1" * 5000)}).status_code == 400
    assert client.post("/api/session", json={"token": "x" * 70_000}).status_code == 413


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../../etc/passwd", "passwd_x2.png"),
        ("..\\..\\windows\\system.ini", "system_x2.png"),
        ("/absolute/photo.png", "photo_x2.png"),
        ("a%0d%0aSet-Cookie: x=1.png", "a%0d%0aSet-Cookie: x=1_x2.png"),
        ("\u202egnp.exe", "gnp_x2.png"),
        ('quo"te; filename=evil.html', "quo%22te; filename=evil_x2.png"),
        ("grün 雪.png", "grün 雪_x2.png"),
        (".htaccess", "htaccess_x2.png"),
        ("x" * 1000 + ".png", "x" * 90 + "_x2.png"),
        ("..", "picture_x2.png"),
    ],
)  # fmt: skip
def test_names_lead_nowhere_and_end_no_header(client, place, name: str, kept: str) -> None:
    job = finished(client, post(client, name=name).json())
    assert job["state"] == "done", job["error"]
    assert {entry.name for entry in place.iterdir()} <= {
        "jobs",
        "incoming",
        "lock",
        "jobs.sqlite",
        "jobs.sqlite-wal",
        "jobs.sqlite-shm",
    }
    assert {path.name for path in (place / "jobs" / job["id"]).iterdir()} <= {"input", "thumbnail.jpg", "out"}
    got = client.get(job["links"]["result"])
    assert "set-cookie" not in got.headers
    disposition = got.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.isascii()
    plain, _, coded = disposition.removeprefix('attachment; filename="').partition("\"; filename*=UTF-8''")
    assert unquote(coded) == kept
    assert '"' not in plain
    assert got.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../api.py", "/static/%2e%2e/api.py", "/static/..%2fapi.py", "/static//etc/passwd", "/../../etc/passwd",
        "/api/jobs/../../lock", "/api/jobs/..%2f..%2flock", "/api/jobs/ID/views/..%2finput",
        "/api/jobs/ID/views/../input", "/api/jobs/ID/views/out%2fview.png", "/api/jobs/ID%00/input",
        "/api/jobs/ID/input/", "/api/jobs/", "/api/jobs",
    ],
)  # fmt: skip
def test_paths_lead_to_nothing_but_what_is_named(client, path: str) -> None:
    job = finished(client, post(client).json())
    raw = f"GET {path.replace('ID', job['id'])} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    got = lines(client, raw.encode())
    assert got.split(b" ", 2)[1] in (b"404", b"405", b"422"), got[:200]


def test_nobody_can_list_jobs(client) -> None:
    assert client.get("/api/jobs").status_code == 405
    assert client.get(f"/api/jobs/{'a' * 32}").status_code == 404


def test_a_gate_counts_addresses_apart() -> None:
    gate = body.Gate(most=3, most_each=2)
    assert [gate.enter(address) for address in "aaabb"] == [True, True, False, True, False]
    gate.leave("a")
    assert gate.enter("b")
    assert not gate.enter("c")
    for address in "abb":
        gate.leave(address)
    assert [gate.enter(address) for address in "ccc"] == [True, True, False]

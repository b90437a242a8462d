"""A server between its start and its stop: the house is kept, whatever comes."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from typer.testing import CliRunner

from mzsr.apps.cli import app
from mzsr.service import listen, server
from mzsr.service.pool import Pool
from mzsr.service.settings import Settings


def test_the_house_is_kept_on_after_the_disk_was_full(tmp_path, tiny_weights, monkeypatch, caplog) -> None:
    turns: list[str] = []

    def full(what: str) -> None:
        turns.append(what)
        raise sqlite3.OperationalError("database or disk is full")

    house = server.Server(Settings(data=tmp_path, models=(str(tiny_weights),)), Pool)
    monkeypatch.setattr(server, "SWEEP", 0.0)
    monkeypatch.setattr(house, "pool", SimpleNamespace(keep_alive=lambda: full("workers")), raising=False)
    monkeypatch.setattr(house, "store", SimpleNamespace(expire=lambda: full("expired")), raising=False)

    async def keep() -> None:
        task = asyncio.create_task(house.keep_house())
        while len(turns) < 4 and not task.done():
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(keep())
    assert turns[:4] == ["workers", "expired"] * 2
    assert "database or disk is full" in caplog.text


def test_a_server_that_stops_takes_nothing_in(tmp_path, tiny_weights) -> None:
    house = server.Server(Settings(data=tmp_path, models=(str(tiny_weights),)), Pool)
    house.closing = True
    with pytest.raises(HTTPException, match="the server is stopping") as refusal:
        house.admit()
    assert (refusal.value.status_code, refusal.value.headers) == (503, {"Retry-After": "60"})


@pytest.mark.parametrize(
    ("host", "announced"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "pictures.example.org"), ("127.0.0.1", "127.0.0.1")]
)
def test_the_address_that_is_announced_is_answered(
    tmp_path, tiny_weights, monkeypatch, host: str, announced: str
) -> None:
    apps: list[FastAPI] = []

    def serve(app: FastAPI, _: object, ready: Callable[[], None]) -> None:
        apps.append(app)
        ready()

    async def asked(address: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(apps[0])) as client:
            return (await client.get(f"{address}/openapi.json")).status_code

    monkeypatch.setattr(listen, "serve", serve)
    monkeypatch.setattr(server.Server, "refused", lambda *_: None)  # it counts in what has not been started
    monkeypatch.setattr(tempfile, "tempdir", None)  # these are as they were when the test ends
    for name in ("TMPDIR", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    words = ["--host", host, "--allow-host", "pictures.example.org", "--no-token", "--port", "0"]
    done = CliRunner().invoke(app, ["serve", "--data", str(tmp_path), "--model", str(tiny_weights), *words])
    address = done.stderr.removeprefix("mzsr: ").partition(" ")[0]
    assert address.rpartition(":")[0] == f"http://{announced}"
    assert [asyncio.run(asked(at)) for at in (address, "http://pictures.example.org", "http://evil.example")] == [
        200, 200, 400,
    ]  # fmt: skip

"""A server between its start and its stop: the house is kept, whatever comes."""

import asyncio
import sqlite3
from contextlib import suppress
from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException

from mzsr.service import server
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

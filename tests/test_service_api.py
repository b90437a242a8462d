"""The API as programs see it: the real app and the real work, on a tiny picture and an untrained network."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from servers import events, finished, png, post, running

from mzsr.inference.upscale import Upscaler


@pytest.fixture
def client(tmp_path: Path, tiny_weights: Path) -> Iterator[httpx.Client]:
    with running(tmp_path / "data", tiny_weights) as client:
        yield client


def test_a_picture_comes_back_as_the_command_line_would_make_it(client, tiny_weights, tmp_path) -> None:
    posted = post(client, name="photo.png", scale="2", kernel="gauss:1.5", steps="1")
    assert posted.status_code == 201
    job = posted.json()
    assert posted.headers["location"] == job["links"]["self"]
    assert job["input"] == {"width": 24, "height": 16, "bytes": len(png()), "format": "PNG"}
    last = finished(client, job)
    assert last["state"] == "done", last["error"]
    got = client.get(last["links"]["result"])
    assert got.headers["content-disposition"] == "attachment; filename=\"photo_x2.png\"; filename*=UTF-8''photo_x2.png"
    (tmp_path / "photo.png").write_bytes(png())
    wanted = Upscaler(tiny_weights)(tmp_path / "photo.png", scale=2, kernel="gauss:1.5", steps=1)
    wanted.save(tmp_path / "wanted.png")
    assert got.content == (tmp_path / "wanted.png").read_bytes()
    assert {**last["record"], "seconds": None, "peak_memory_mb": None} == {
        **wanted.record(), "input": "photo.png", "output": "photo_x2.png", "version": last["record"]["version"],
        "seconds": None, "peak_memory_mb": None,
    }  # fmt: skip
    assert client.get(last["links"]["input"]).content == png()


def test_events_tell_every_stage_and_never_go_back(client) -> None:
    told = events(client, post(client).json())
    shares = [job["progress"]["share"] for job in told]
    assert shares == sorted(shares)
    assert (told[-1]["state"], shares[-1]) == ("done", 1.0)
    assert len({str(job) for job in told}) == len(told), "the same was told twice"

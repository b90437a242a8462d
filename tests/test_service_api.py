"""The API as programs see it: the real app and the real work, on a tiny picture and an untrained network."""

import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from servers import Asleep, finished, png, post, running

from mzsr.inference.upscale import Upscaler
from mzsr.service import api, work
from mzsr.service.store import Store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def client(place: Path, tiny_weights: Path) -> Iterator[httpx.Client]:
    with running(place, tiny_weights) as client:
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


def test_events_tell_every_stage_and_never_go_back(client, monkeypatch) -> None:
    stages, tell = list(work.SHARES), Store.tell
    heard = {stage: threading.Event() for stage in stages}

    def patient(store: Store, id: str, stage: str, share: float) -> bool:
        going = tell(store, id, stage, share)
        heard[stage].wait(60)  # a stage of so small a picture is over before anybody looks
        return going

    monkeypatch.setattr(Store, "tell", patient)
    told: list[dict[str, Any]] = []
    with client.stream("GET", post(client, steps="1").json()["links"]["events"]) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
                if (stage := told[-1]["progress"]["stage"]) is not None:
                    heard[stage].set()
    assert [*dict.fromkeys(job["progress"]["stage"] for job in told if job["progress"]["stage"])] == stages
    shares = [job["progress"]["share"] for job in told]
    assert shares == sorted(shares)
    assert (told[-1]["state"], shares[-1]) == ("done", 1.0)
    assert len({str(job) for job in told}) == len(told), "the same was told twice"


def test_views_are_what_a_browser_compares(client, tmp_path, tiny_weights) -> None:
    last = finished(client, post(client, kernel="gauss:1.0").json())
    links = last["links"]
    images = {}
    for name in ("view", "bicubic", "kernel", "thumbnail"):
        got = client.get(links[name])
        images[name] = Image.open(BytesIO(got.content))
        assert got.headers["content-type"] == {"JPEG": "image/jpeg", "PNG": "image/png"}[str(images[name].format)]
    (tmp_path / "photo.png").write_bytes(png())
    wanted = Upscaler(tiny_weights)(tmp_path / "photo.png", kernel="gauss:1.0", steps=0)
    assert np.array_equal(np.asarray(images["view"]), np.asarray(wanted.image))
    smooth = (wanted.bicubic[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(np.asarray(images["bicubic"]), smooth)
    taps = np.asarray(images["kernel"])
    assert taps[taps.shape[0] // 2, taps.shape[1] // 2] == 255, "the largest tap is not white, or not in the middle"
    assert (links["uncertainty"], client.get(f"{links['self']}/views/uncertainty.png").status_code) == (None, 404)


def test_a_model_with_a_head_tells_where_it_is_unsure(tmp_path, doubting_weights) -> None:
    with running(tmp_path, doubting_weights) as client:
        assert [model["uncertainty"] for model in client.get("/api/options").json()["models"]] == [True]
        last = finished(client, post(client).json())
        overlay = Image.open(BytesIO(client.get(last["links"]["uncertainty"]).content))
        view = Image.open(BytesIO(client.get(last["links"]["view"]).content))
        assert overlay.size == view.size == (48, 32)
        assert last["record"]["expected_error"] > 0
        assert any(f"On average {last['record']['expected_error']:.1f} grey levels" in words for words in last["words"])


def test_words_say_what_the_record_says(client) -> None:
    last = finished(client, post(client, kernel="gauss:4.0", noise="5/255").json())
    assert last["words"][:3] == [
        "Blur: 2.0 x 2.0 pixels (standard deviations) of the x2 picture, given.",
        "Noise: 5.00 of 255 grey levels (standard deviation).",
        "JPEG: none.",
    ]
    assert f"to {last['record']['reprojection_psnr_db']:.1f} dB: " in last["words"][-1]


def test_the_report_opens_alone_in_a_box(client) -> None:
    last = finished(client, post(client, name="<b>&.png").json())
    got = client.get(last["links"]["report"])
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    policy = got.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "sha256-" in policy
    assert "unsafe" not in policy
    assert "&lt;b&gt;&amp;.png" in got.text
    assert "<span>mzsr</span> <span>upscale</span>" in got.text


def test_metadata_come_back_and_views_say_nothing_of_where_it_was_taken(client) -> None:
    exif, out = Image.Exif(), BytesIO()
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8825)[1] = "N"
    Image.open(BytesIO(png())).save(out, "JPEG", exif=exif, quality=95)
    last = finished(client, post(client, out.getvalue(), "p.jpg").json())
    result = Image.open(BytesIO(client.get(last["links"]["result"]).content))
    assert (result.format, result.getexif()[0x010F]) == ("JPEG", "A camera")
    for name in ("view", "bicubic", "thumbnail"):
        assert not Image.open(BytesIO(client.get(last["links"][name]).content)).getexif()


def test_a_kernel_file_is_used(client) -> None:
    taps = BytesIO()
    np.save(taps, np.pad(np.ones((1, 1)), 3))
    files = {"file": ("a.png", png()), "kernel_file": ("k.npy", taps.getvalue())}
    last = finished(client, client.post("/api/jobs", files=files, data={"steps": "0"}).json())
    assert last["state"] == "done", last["error"]
    assert last["record"]["degradation"] | {"phase_px": 0} == last["record"]["degradation"] | {
        "kernel": "given", "size": 7, "covariance_px2": [[0.0, 0.0], [0.0, 0.0]], "phase_px": 0,
    }  # fmt: skip
    assert last["options"]["kernel_file"] == "k.npy"
    bad = client.post("/api/jobs", files=files | {"kernel_file": ("k.mat", b"MATLAB 5.0 it is not")})
    assert bad.status_code == 422
    assert bad.json()["detail"].startswith("kernel file kernel.mat cannot be read")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale": "9"}, "scale is '9': input should be less than or equal to 8"),
        ({"scale": "many"}, "scale is 'many': input should be a valid number"),
        ({"scale": "2", "width": "50"}, "both a scale, 2, and a size, width 50, are given; give one of them"),
        ({"quality": "0"}, "quality is '0': input should be greater than or equal to 1"),
        ({"width": "5000"}, "is 208 times the 24x16 of the picture; 1 to 8 times is required"),
        ({"mode": "magic"}, "mode is 'magic': input should be 'fast', 'balanced' or 'best'"),
        ({"model": "mzsr"}, "model is 'mzsr'; it must be one of tiny"),
        ({"kernel": "/etc/passwd"}, "kernel is '/etc/passwd'; write auto, bicubic or gauss:NUMBERS"),
        ({"sharpness": "11"}, "sharpness is '11': extra inputs are not permitted"),
        ({"example": "cat"}, "both a file and an example are given"),
    ],
)
def test_what_cannot_be_is_refused_before_it_waits(client, fields: dict[str, str], words: str) -> None:
    refused = post(client, None, "photo.png", **fields)
    assert refused.status_code == 422
    assert words in refused.json()["detail"]


def test_a_result_that_its_format_does_not_hold_is_refused_before_it_waits(client) -> None:
    refused = post(client, png(8192, 8), format="webp")
    assert (refused.status_code, refused.json()["detail"].partition(";")[0]) == (
        422, "the result would have 16384 x 16 pixels",
    )  # fmt: skip


def test_a_picture_that_is_too_small_is_refused_before_it_waits(client) -> None:
    words = "picture is {}; at least 8x8 pixels are required — choose a larger one"
    for width, height in ((1, 1), (9, 7), (7, 9)):
        refused = post(client, png(width, height))
        assert (refused.status_code, refused.json()["detail"]) == (422, words.format(f"{width}x{height}"))
    assert post(client, png(8, 8)).status_code == 201
    assert client.get("/api/options").json()["limits"]["least_side"] == 8


def test_a_form_without_a_picture_is_told_what_it_lacks(client) -> None:
    refused = client.post("/api/jobs", files={"scale": (None, "2")})
    assert (refused.status_code, refused.json()["detail"].partition(";")[0]) == (
        422,
        "neither a file nor an example is given",
    )


def test_a_picture_that_fails_says_why_and_the_next_goes_on(client) -> None:
    cut = png(200, 200)[:-9000]
    failed, fine = post(client, cut).json(), post(client).json()
    last = finished(client, failed)
    assert last["state"] == "failed"
    assert last["error"].startswith("the picture is damaged or cut short")
    assert (last["record"], last["links"]["result"], last["links"]["report"]) == (None, None, None)
    assert client.get(f"{last['links']['self']}/result").status_code == 409
    assert finished(client, fine)["state"] == "done"


def test_a_job_can_be_cancelled_while_it_waits_and_not_twice(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights, Asleep) as client:
        first, second = post(client).json(), post(client).json()
        assert (first["position"], second["position"]) == (None, 0)
        cancelled = client.post(second["links"]["cancel"])
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        again = client.post(second["links"]["cancel"])
        assert (again.status_code, again.json()["detail"]) == (
            409, "the job is cancelled already; there is nothing to cancel",
        )  # fmt: skip
        assert finished(client, second)["state"] == "cancelled"


def test_a_deleted_job_is_gone_with_its_pictures(client, place) -> None:
    last = finished(client, post(client).json())
    folder = place / "jobs" / last["id"]
    assert folder.exists()
    assert client.delete(last["links"]["self"]).status_code == 204
    assert not folder.exists()
    for path in ("", "/events", "/result", "/views/result.png"):
        assert client.get(last["links"]["self"] + path).status_code == 404
    assert client.delete(last["links"]["self"]).status_code == 404


def test_a_full_queue_says_when_to_come_back(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights, Asleep, queue=2) as client:
        assert [post(client).status_code for _ in range(3)] == [201, 201, 201], "one runs and two wait"
        refused = post(client)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["detail"] == "2 pictures are waiting, which is the limit; try again in 5 s"
        assert client.get("/api/options").json()["limits"]["queue"] == 2


def test_a_job_that_cannot_begin_yet_is_taken_all_the_same(tmp_path, tiny_weights, monkeypatch) -> None:
    """It waits in the queue; told that it failed, a client would send it twice."""

    def full(self: Store) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with running(tmp_path, tiny_weights, Asleep) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "claim", full)
            posted = post(client)
        assert posted.status_code == 201
        assert client.get(posted.json()["links"]["self"]).json()["state"] in ("queued", "running")


def test_a_server_that_comes_back_has_its_jobs(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights) as client:
        done = finished(client, post(client).json())
        result = client.get(done["links"]["result"]).content
    with running(tmp_path, tiny_weights, Asleep) as client:
        cut_off, waiting = post(client).json(), post(client).json()
    with running(tmp_path, tiny_weights) as client:
        assert client.get(done["links"]["self"]).json() == done
        assert client.get(done["links"]["result"]).content == result
        interrupted = client.get(cut_off["links"]["self"]).json()
        assert interrupted["state"] == "interrupted"
        assert interrupted["error"].endswith("send it again")
        assert finished(client, waiting)["state"] == "done"


def test_metrics_count_what_happened(tmp_path, tiny_weights) -> None:
    with running(tmp_path, tiny_weights) as client:
        finished(client, post(client).json())
        finished(client, post(client, png(200, 200)[:-9000]).json())
        post(client, b"no picture")
        wanted = {
            'mzsr_jobs_total{state="done"} 1.0', 'mzsr_jobs_total{state="failed"} 1.0', "mzsr_job_seconds_count 1.0",
            'mzsr_jobs_kept{state="queued"} 0.0', 'mzsr_refused_total{status="415"} 1.0',
        }  # fmt: skip
        got, tries = client.get("/metrics"), 200
        while not wanted <= set(got.text.splitlines()) and (tries := tries - 1):
            time.sleep(0.05)  # a job is counted a moment after it has ended
            got = client.get("/metrics")
    assert wanted <= set(got.text.splitlines())
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_examples_are_jobs_like_others(client, tmp_path, monkeypatch) -> None:
    from mzsr.service import intake

    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "cat.png").write_bytes(png())
    (tmp_path / "examples" / "examples.json").write_text('[{"name": "cat.png", "title": "Cat", "words": "A cat."}]')
    monkeypatch.setattr(intake, "WEB", tmp_path)
    (cat,) = client.get("/api/examples").json()
    assert cat == {"name": "cat.png", "title": "Cat", "words": "A cat.", "thumbnail": "/static/examples/cat.png"}
    form = {"example": (None, "cat.png"), "steps": (None, "0")}
    last = finished(client, client.post("/api/jobs", files=form).json())
    assert (last["state"], last["name"], client.get(last["links"]["input"]).content) == ("done", "cat.png", png())
    unknown = client.post("/api/jobs", files={"example": (None, "../examples.json")})
    assert (unknown.status_code, unknown.json()["detail"]) == (
        422, "example is '../examples.json'; it must be one of cat.png",
    )  # fmt: skip


def test_health_tells_what_goes_on(client) -> None:
    told = client.get("/health").json()
    assert (told["status"], told["queued"], told["running"]) == ("ok", 0, 0)


@pytest.mark.parametrize("streams", [256, 0])
def test_the_client_in_the_documents_works(client, tmp_path, monkeypatch, streams: int) -> None:
    """Though too many are listening already."""
    monkeypatch.setattr(api, "STREAMS", streams)
    text = (Path(__file__).parent.parent / "docs" / "serving.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    address = "http://127.0.0.1:7860"
    assert code.count(address) == 1
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(png())
    exec(compile(code.replace(address, str(client.base_url).rstrip("/")), "serving.md", "exec"), {})
    with Image.open("larger.png") as larger:
        assert larger.size == (48, 32)


def test_head_is_answered_as_get_is_without_a_body(client) -> None:
    """As monitors ask."""
    for path in ("/", "/health", "/api/options"):
        asked, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == asked.headers["content-type"]
    assert client.head("/api/jobs/none/events").status_code == 405


def test_a_body_that_is_no_json_is_said_to_be_none(client) -> None:
    answer = client.post("/api/session", content=b"nonsense", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the body is no JSON; an object is required")

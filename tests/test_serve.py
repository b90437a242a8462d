"""`mzsr serve` from the command line: what it refuses to start with, and what a killed one leaves behind."""

import errno
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from servers import finished, png, post
from typer.testing import CliRunner

from mzsr.apps.cli import app
from mzsr.apps.serve import _door
from mzsr.errors import InputError
from mzsr.service import listen, settings
from mzsr.service.api import create
from mzsr.service.store import Store


def refused(*words: str, token: str | None = None) -> str:
    """Run the command, which must not start, and return what it says."""
    done = CliRunner().invoke(app, ["serve", *words], env={"MZSR_TOKEN": token})
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("words", "token", "said"),
    [
        (
            ["--host", "0.0.0.0"],
            None,
            "--host is 0.0.0.0, which others reach, and there is no token; set MZSR_TOKEN or",
        ),
        ([], "short", "the token in MZSR_TOKEN has 5 characters; one line of at least 16 of ASCII without"),
        ([], "a" * 20 + "\n" + "b" * 20, "one line of at least 16 of ASCII without spaces is required"),
        ([], "a" * 20 + "\t" + "b" * 20, "one line of at least 16 of ASCII without spaces is required"),
        (["--token-file", "/nowhere/token"], None, "--token-file /nowhere/token cannot be read"),
        (["--max-pixels", "0"], None, "--max-pixels is 0; it must be a number of millions above 0"),
        (["--time-limit", "soon"], None, "--time-limit is 'soon'; write 90s, 9m or 2h"),
        (["--keep", "-1"], None, "--keep is -1; it must be a number of hours above 0"),
        (["--keep", "1e9"], None, "--keep is 1e+09; it must be a number of hours above 0, 876000 at most"),
        (["--time-limit", "0s"], None, "--time-limit is 0s; a picture needs more"),
        (["--memory", "0.1"], None, "--memory is 0.1; a worker needs a number of GB, at least 1"),
        (["--memory", "inf"], None, "--memory is inf; a worker needs a number of GB"),
        (["--grace", "soon"], None, "--grace is 'soon'; write 90s, 9m or 2h"),
        (["--allow-host", ""], None, "--allow-host is ''; the name of a host is required"),
        (["--allow-host", "https://a.example"], None, "--allow-host is 'https://a.example'; the name of a host is"),
        (["--host", "foo..bar", "--no-token"], None, "foo..bar port 0 cannot be listened on"),
        (["--model", "none"], None, "model is 'none'; give a .safetensors file or a model that is installed"),
        (["--device", "tpu"], None, "device is 'tpu'"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path, words: list[str], token: str | None, said: str) -> None:
    assert said in refused("--data", str(tmp_path), "--port", "0", *words, token=token)


def test_a_port_that_is_taken_is_said(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        said = refused("--data", str(tmp_path), "--port", port)
        assert said.startswith(f"mzsr: 127.0.0.1 port {port} cannot be listened on (Address already in use)")


def test_a_folder_that_is_none_or_in_use_is_said(tmp_path) -> None:
    import fcntl

    (tmp_path / "file").write_text("")
    assert "file is not writable" in refused("--data", str(tmp_path / "file"), "--port", "0")
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"{tmp_path} belongs to a server that runs" in refused("--data", str(tmp_path), "--port", "0")


def test_a_folder_of_a_newer_version_is_said(tmp_path) -> None:
    Store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as base:
        base.execute("PRAGMA user_version = 99")
    assert f"{tmp_path} has format 99, this version reads up to 1" in refused("--data", str(tmp_path), "--port", "0")


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    said = refused("--data", str(tmp_path), "--port", "0")
    assert "is on a file system without locks (No locks available)" in said


def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "uvicorn is not installed, which serving needs; pip install '.[serve]'" in refused("--data", str(tmp_path))


def test_workers_put_large_results_into_the_data_folder(tmp_path, tiny_weights, monkeypatch) -> None:
    told: list[str] = []

    def serve(*_: object) -> None:
        asked = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
        told.append(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())

    monkeypatch.setattr(listen, "serve", serve)
    monkeypatch.setattr(tempfile, "tempdir", None)  # both are as they were when the test ends
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = CliRunner().invoke(app, ["serve", "--data", str(tmp_path), "--port", "0", "--model", str(tiny_weights)])
    assert done.exit_code == 0, done.output
    assert told == [tempfile.gettempdir()] == [str(tmp_path / "incoming")]


def test_weights_that_are_damaged_are_found_before_any_worker(tmp_path, tiny_weights) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(tiny_weights.read_bytes()[:9000])
    (tmp_path / "broken.json").write_bytes(tiny_weights.with_suffix(".json").read_bytes())
    assert "broken.safetensors" in refused("--data", str(tmp_path / "data"), "--port", "0", "-n", str(broken))


def test_a_door_is_ours_alone() -> None:
    with _door("127.0.0.1", 0) as door, pytest.raises(InputError, match="cannot be listened on"):
        _door("127.0.0.1", door.getsockname()[1])


def test_what_lies_in_the_data_folder_is_its_users_alone(tmp_path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "before").touch()
    with listen.locked(tmp_path / "data"):
        store = Store(tmp_path / "data")
        modes = [path.stat().st_mode & 0o077 for path in (tmp_path / "data").iterdir() if path.name != "lock"]
        store.close()
    (tmp_path / "after").touch()
    assert len(modes) >= 3
    assert not any(modes), "the base tells the ids of all jobs"
    assert (tmp_path / "after").stat().st_mode == (tmp_path / "before").stat().st_mode


def test_a_lower_limit_of_memory_stays(tmp_path) -> None:
    code = """
import resource
from mzsr.service.processes import limit_memory
resource.setrlimit(resource.RLIMIT_DATA, (6_000_000_000, 6_000_000_000))
limit_memory(8_000_000_000)
print(*resource.getrlimit(resource.RLIMIT_DATA))
limit_memory(5_000_000_000)
print(*resource.getrlimit(resource.RLIMIT_DATA))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6000000000"] * 2 + ["5000000000"] * 2


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_an_orderly_stop_and_the_next_breaks_off(tmp_path, tiny_weights, sig: int) -> None:
    listener = listen.Listener(create(settings.Settings(data=tmp_path, models=(str(tiny_weights),))))
    listener.handle_exit(sig, None)
    assert (listener.should_exit, listener.force_exit) == (True, False)
    listener.handle_exit(signal.SIGINT, None)
    assert listener.force_exit


def test_cores_and_memory_are_shared_among_workers() -> None:
    for available in (1, 2, 3, 8, 64):
        workers, threads = settings.share_of_cores(None, None, available)
        assert workers * threads <= available or (workers, threads) == (1, 1)
        assert workers * threads > available - workers, "a core for each worker is left idle"
    assert settings.share_of_memory(1.5, 7) == 1_500_000_000
    all_of_it, half = settings.share_of_memory(None, 1), settings.share_of_memory(None, 2)
    assert all_of_it is not None
    assert half is not None
    assert abs(all_of_it - 2 * half) <= 1


@contextmanager
def served(data: Path, weights: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run the real command, and give its process and a client."""
    command = [
        sys.executable,
        "-m",
        "mzsr",
        "serve",
        "--port",
        "0",
        "--data",
        str(data),
        "--model",
        str(weights),
        *words,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = re.match(r"mzsr: (http://\S+) — (\d+) workers?", process.stderr.readline())
            assert found, process.stderr.read()
            with httpx.Client(base_url=found[1], timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_server_killed_in_the_middle_loses_no_finished_job(tmp_path, tiny_weights) -> None:
    with served(tmp_path, tiny_weights, "--workers", "1") as (process, client):
        done = finished(client, post(client).json())
        result = client.get(done["links"]["result"]).content
        running = post(client, png(400, 400), steps="50", x8="true", kernel="gauss:1.0").json()
        waiting = post(client).json()
        while client.get(running["links"]["self"]).json()["progress"]["stage"] != "adapt":
            time.sleep(0.01)
        workers = {pid for thread in Path(f"/proc/{process.pid}/task").iterdir()
                   for pid in map(int, (thread / "children").read_text().split())}  # fmt: skip
        assert len(workers) >= 2
        process.kill()
        process.wait()
        while any(map(alive, workers)):
            time.sleep(0.05)
    with served(tmp_path, tiny_weights, "--workers", "1") as (process, client):
        assert client.get(done["links"]["self"]).json() == done
        assert client.get(done["links"]["result"]).content == result
        assert client.get(running["links"]["self"]).json()["state"] == "interrupted"
        assert finished(client, waiting)["state"] == "done"
        # And one that is told to stop ends by itself, with nobody left behind
        cut_off = post(client, png(400, 400), steps="50", x8="true", kernel="gauss:1.0").json()
        with client.stream("GET", cut_off["links"]["events"]) as stream:
            told = stream.iter_lines()
            next(told)
            process.send_signal(signal.SIGTERM)
            states = [json.loads(line[6:])["state"] for line in told if line.startswith("data: ")]
        assert set(states) <= {"queued", "running"}
        assert process.wait(120) in (0, -signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    with served(tmp_path, tiny_weights) as (_, client):
        assert client.get(cut_off["links"]["self"]).json()["state"] == "interrupted"
        assert client.get(cut_off["links"]["self"]).json()["error"].startswith("the server was stopped while it worked")
    assert os.listdir(tmp_path / "incoming") == []

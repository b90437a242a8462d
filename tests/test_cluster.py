"""Tests of lists on a Ray cluster: several nodes on this machine, of which one joins late and one dies."""

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from mzsr.apps import cluster as on_ray
from mzsr.apps.batch import HIDDEN
from mzsr.apps.cli import app

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pipes and /proc stand in for slow disks and dead nodes"
)
pytest.importorskip("ray")

FAST = ["--steps", "0", "--device", "cpu"]
# Ray gives a silent node up after 25 seconds; tests are not that patient
IMPATIENT = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def visible(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and HIDDEN not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC).save(path)


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Wait for what is certain to come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


class Nodes:
    """A cluster of which every node is a raylet on this machine, with one processor."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False, "_system_config": IMPATIENT}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self.head: Any = self._cluster.head_node

    def join(self) -> Any:
        return self._cluster.add_node(num_cpus=1)

    def die(self, node: Any) -> None:
        """Kill all of a node at once, as a power cut does."""
        workers = self.workers(node)
        self._cluster.remove_node(node, allow_graceful=False)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)

    def workers(self, node: Any) -> list[int]:
        """Return the processes of a node that do our work."""
        raylet = node.all_processes["raylet"][0].process.pid
        children = [int(pid) for pid in Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()]
        return [pid for pid in children if b"Worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.close()


@contextmanager
def meanwhile(story: Callable[[], None]) -> Iterator[None]:
    """Do something while something else goes on, and hear of it if it fails."""
    failures: list[BaseException] = []

    def tell() -> None:
        try:
            story()
        except BaseException as error:
            failures.append(error)
            _thread.interrupt_main()  # it would wait for ever

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if failures:
            raise failures[0]


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Eleven pictures in two folders, and a broken one."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers have
    for index in range(12):
        draw(tmp_path / "in" / ("one" if index % 2 == 0 and index else ".") / f"{index:02}.png", index)
    (tmp_path / "in" / "05.png").write_bytes(b"broken")
    yield tmp_path
    torch.set_num_threads(before)


def test_a_node_and_a_worker_die(nodes: Nodes, album: Path, tiny_weights: Path) -> None:
    """Begun on this machine, gone on with on a cluster: nothing is lost, nothing repeated, the bytes are the same.

    Pipes without a writer stand in for pictures that take long, so both workers are at work on one when they die: one
    with all of its node, the other alone. A new one on the node that is left does the rest.
    """
    words = ["upscale", "in", "-r", "-n", tiny_weights, *FAST, "-o"]
    assert run(*words, "peace").exit_code == 1
    whole = visible(album / "peace")
    assert len(whole) == 11
    slow = [album / "in" / name for name in ("03.png", "one/10.png")]
    aside = [path.rename(album / path.name) for path in slow]
    assert run(*words, "out").exit_code == 1
    undone = [album / "out" / name for name in ("00_x2.png", "01_x2.png")]
    for path in undone:
        path.unlink()
    earlier = {path: path.stat().st_mtime_ns for path in (album / "out").rglob("*.png")}
    for path in slow:
        os.mkfifo(path)
    doomed = nodes.join()

    def story() -> None:
        until(lambda: len(visible(album / "out")) == 9)
        for path, picture in zip(slow, aside, strict=True):
            picture.replace(path)
        nodes.die(doomed)
        for worker in nodes.workers(nodes.head):
            os.kill(worker, signal.SIGKILL)

    with meanwhile(story):
        result = run(*words, "out", "--json", "--cluster", nodes.address)
    assert result.exit_code == 1, result.stderr
    assert visible(album / "out") == whole
    assert {path: path.stat().st_mtime_ns for path in earlier} == earlier
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(record["output"] for record in records) == sorted(f"out/{name}" for name in whole)
    worked_on = {record["input"] for record in records if not record.get("skipped")}
    assert worked_on == {"in/00.png", "in/01.png", "in/03.png", "in/one/10.png"}
    assert result.stderr.splitlines()[-1] == "mzsr: 1 of 12 pictures failed, 11 are done, 7 of them before: in/05.png"
    again = run(*words, "out")  # what a cluster has done is done for one machine
    assert again.stderr.splitlines()[-1].endswith("11 are done, 11 of them before: in/05.png")

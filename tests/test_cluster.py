"""Tests of lists on a Ray cluster: several nodes on this machine, some of which join late, or die."""

import _thread
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from albums import FAST, draw, outputs
from commands import run

from mzsr.apps import cluster
from mzsr.apps.batch import Records
from mzsr.apps.work import Order
from mzsr.apps.worker import Place
from mzsr.errors import InputError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pipes and /proc stand in for slow disks and dead nodes"
)
pytest.importorskip("ray")

# Ray gives a silent node up after 25 seconds; tests are not that patient
IMPATIENT = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}


def until(condition: Callable[[], Any], seconds: float = 600) -> None:
    """Wait for what is certain to come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)


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


def test_a_node_and_a_worker_die(nodes: Nodes, dozen: Path, tiny_weights: Path) -> None:
    """Begun on this machine, gone on with on a cluster: nothing is lost, nothing repeated, the bytes are the same.

    Pipes without a writer stand in for pictures that take long, so both workers are at work on one when they die: one
    with all of its node, the other alone. A new one on the node that is left does the rest.
    """
    words = ["upscale", "in", "-r", "-n", tiny_weights, *FAST, "-o"]
    assert run(*words, "peace").exit_code == 1
    whole = outputs(dozen / "peace")
    assert len(whole) == 11
    slow = [dozen / "in" / name for name in ("03.png", "one/10.png")]
    aside = [path.rename(dozen / path.name) for path in slow]
    assert run(*words, "out").exit_code == 1
    undone = [dozen / "out" / name for name in ("00_x2.png", "01_x2.png")]
    for path in undone:
        path.unlink()
    earlier = {path: path.stat().st_mtime_ns for path in (dozen / "out").rglob("*.png")}
    for path in slow:
        os.mkfifo(path)
    doomed = nodes.join()

    def story() -> None:
        until(lambda: len(outputs(dozen / "out")) == 9)
        for path, picture in zip(slow, aside, strict=True):
            picture.replace(path)
        nodes.die(doomed)
        for worker in nodes.workers(nodes.head):
            os.kill(worker, signal.SIGKILL)

    with meanwhile(story):
        result = run(*words, "out", "--json", "--cluster", nodes.address)
    assert result.exit_code == 1, result.stderr
    assert outputs(dozen / "out") == whole
    assert {path: path.stat().st_mtime_ns for path in earlier} == earlier
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["input"] for record in told if "error" in record] == ["in/05.png"]
    records = [record for record in told if "error" not in record]
    assert sorted(record["output"] for record in records) == sorted(f"out/{name}" for name in whole)
    worked_on = {record["input"] for record in records if not record.get("skipped")}
    assert worked_on == {"in/00.png", "in/01.png", "in/03.png", "in/one/10.png"}
    assert result.stderr.splitlines()[-1] == "mzsr: 1 of 12 pictures failed, 11 are done, 7 of them before: in/05.png"
    again = run(*words, "out")  # what a cluster has done is done for one machine
    assert again.stderr.splitlines()[-1].endswith("11 are done, 11 of them before: in/05.png")


def test_a_cluster_that_cannot_do_it_says_so(nodes: Nodes, dozen: Path, tiny_weights: Path) -> None:
    words = ["upscale", "in", "-o", "out", "-n", tiny_weights, "--cluster", nodes.address]
    for option, said in (
        (["--threads", "99"], "no node of the cluster can do the work: none has 99 processors, as --threads asks"),
        (["--device", "cuda"], "device is 'cuda', and no node of the cluster has a GPU; use auto or cpu"),
    ):
        result = run(*words, *option)
        assert (result.exit_code, result.stderr) == (2, f"mzsr: {said}\n")


def test_good_nodes_that_are_gone_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one left out since before; where that is all there ever was, or the good one has gone bad, nothing helps."""
    order = Order("mzsr", "cpu", None, {}, False, 10**6, 95)
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"NodeID": "old"}])
    monkeypatch.setattr(cluster, "_room", lambda *_: 1)
    said: list[str] = []
    crew = cluster.Crew(order, 1, Place(None, (), Path()), said.append)
    crew.unfit = {"old": "node old: other weights"}
    for proven, unfit in ((set(), {}), ({"good"}, {"good": "node good: its folder is gone"})):
        crew.proven, crew.unfit = set(proven), crew.unfit | unfit
        with pytest.raises(InputError, match="no node of the cluster can do the work: node old: other weights"):
            crew.recruit(1)
        crew.unfit.pop("good", None)
    crew.proven, crew.looked, crew.last_ready = {"good"}, 0.0, -1e9
    crew.recruit(1)
    assert said == ["no worker is there; waiting for nodes to join, or for their processors to be free"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in/00.png", "-o", "out.png", "--cluster", "auto"], "give a folder of them, and -o FOLDER for the results"),
        (["in", "--cluster", "auto"], "give a folder of them, and -o FOLDER for the results"),
        (["in", "-o", "out", "--threads", "2"], "--threads is of --cluster; on this machine alone set OMP_NUM_THREADS"),
        (
            ["in", "-o", "out", "--cluster", "here"],
            "joined (auto, local, HOST:PORT or ray://HOST:PORT is required); see",
        ),
        (["in", "-o", "out", "--cluster", "127.0.0.1:1"], "--cluster 127.0.0.1:1 cannot be joined ([Errno 111]"),
        (["in", "-o", "out", "--cluster", "ray://127.0.0.1:1"], "cannot be joined ([Errno 111]"),
    ],
)
def test_wrong_usage(dozen: Path, tiny_weights: Path, words: list[str], said: str) -> None:
    result = run("upscale", *words, "-n", tiny_weights)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_picture_that_kills_its_workers_is_named(nodes: Nodes, dozen: Path, tiny_weights: Path) -> None:
    """Whoever reads it is killed."""
    deadly = dozen / "in/03.png"
    deadly.unlink()
    os.mkfifo(deadly)
    ended, killed = threading.Event(), set[int]()

    def story() -> None:
        while not ended.wait(0.2):
            with suppress(OSError):  # nobody reads
                end = os.open(deadly, os.O_WRONLY | os.O_NONBLOCK)
                killed.update(nodes.workers(nodes.head))
                for worker in killed:
                    with suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                os.close(end)

    with meanwhile(story):
        result = run("upscale", "in", "-o", "out", "-n", tiny_weights, *FAST, "--cluster", nodes.address)
        ended.set()
    assert 3 <= len(killed) <= 4  # the first may die before it has said that the picture before is done
    assert result.exit_code == 1
    assert "mzsr: in/03.png: 3 workers have died over it, of memory perhaps; try it alone" in result.stderr
    summary, _, names = result.stderr.splitlines()[-1].rpartition(": ")
    assert summary.startswith("mzsr: 2 of 7 pictures failed, 5 are done")
    assert sorted(names.split(", ")) == ["in/03.png", "in/05.png"]
    assert len(outputs(dozen / "out")) == 5


@pytest.mark.slow
def test_nodes_that_do_not_see_the_pictures(nodes: Nodes, dozen: Path, tiny_weights: Path) -> None:
    order = Order(
        str(tiny_weights), "cpu", None, {"kernel": "auto"}, False, 10**8, 95, records=Records(dozen / "out", "")
    )
    said, jobs = list[str](), [(dozen / "a.png", dozen / "out/a.png")]
    with cluster.connected(nodes.address, "cpu"), pytest.raises(InputError, match="no node of the cluster can do the"):
        cluster.run(order, jobs, [dozen / "gone/a.png"], 1, lambda *_: None, lambda *_: None, said.append)
    assert len(said) == 1
    assert "gone cannot be used there (No such file or directory); all nodes must see the same" in said[0]
    assert said[0].endswith("the node is left out")


ROOT = Path(__file__).resolve().parent.parent
TOKEN = secrets.token_hex(32)  # of these clusters alone: none is written to, or read from, a home
SHELL = f"""set -e
mzsr() {{ {sys.executable} -m mzsr "$@"; }}
ray() {{ {sys.executable} -c 'from ray.scripts.scripts import main; main()' "$@"; }}
"""


def shell(text: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "RAY_AUTH_TOKEN": TOKEN}
    words = ["bash", "-c", SHELL + text]
    return subprocess.Popen(words, env=environment, text=True, start_new_session=True, **options)


def family(pid: int) -> list[int]:
    """Return a process and all that it has begun."""
    found = [pid]
    for parent in found:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in tasks.read_text().split()]
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.slow
def test_the_guide(dozen: Path, tmp_path: Path) -> None:
    """What docs/scale.md tells people to type, in its order: a head, a node, a run by one of them, one from outside."""
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    head, node, inside, outside = re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S)
    words = {"10.0.0.1": "127.0.0.1", ":10001": f":{free_port()}", "6379": str(free_port())}
    words |= {"/mnt/photographs": str(tmp_path), "--num-cpus 4": "--num-cpus 1", "ray start": "ray start --block"}
    words["--head"] = f"--head --ray-client-server-port {words[':10001'][1:]}"

    def local(block: str) -> str:
        for said, here in words.items():
            block = block.replace(said, here)
        return block

    running: list[subprocess.Popen[str]] = []
    try:
        running.append(shell(local(head), stdout=subprocess.DEVNULL))
        for port in ("6379", ":10001"):
            until(lambda port=port: listens(int(words[port].strip(":"))))
        running.append(shell(local(node), stdout=subprocess.DEVNULL))
        for block, before in ((inside, ""), (outside, ", 11 of them before")):
            asked = shell(local(block), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            told, complaints = asked.communicate(timeout=600)
            assert asked.returncode == 1, complaints
            assert complaints.splitlines()[-1] == f"mzsr: 1 of 12 pictures failed, 11 are done{before}: in/05.png"
            assert len(told.splitlines()) == (0 if before else 11)
    finally:
        for process in [pid for begun in running for pid in family(begun.pid)]:
            os.kill(process, signal.SIGKILL)
        for begun in running:
            begun.wait()
    assert run("upscale", "in", "-r", "-o", "peace", "--device", "cpu").exit_code == 1
    assert outputs(dozen / "out") == outputs(dozen / "peace")


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_stopped_from_the_keyboard(dozen: Path, tiny_weights: Path) -> None:
    """A cluster of this machine alone ends with the command; then it goes on where it was."""
    slow = dozen / "in/03.png"
    slow.unlink()
    os.mkfifo(slow)
    words = f"upscale in -o out -n {tiny_weights} {' '.join(FAST)} --cluster local"
    asked = shell(f"exec {sys.executable} -m mzsr {words}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: len(outputs(dozen / "out")) >= 2)
    begun = family(asked.pid)
    os.killpg(asked.pid, signal.SIGINT)
    complaints = asked.communicate(timeout=120)[1]
    assert asked.returncode != 0
    assert "Traceback" not in complaints
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in begun))
    slow.unlink()
    draw(slow, 3)
    result = run("upscale", "in", "-o", "out", "-n", tiny_weights, *FAST)
    assert result.exit_code == 1
    assert "6 are done, " in result.stderr
    assert len(outputs(dozen / "out")) == 6

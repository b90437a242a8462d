"""A work list on a Ray cluster: the same work, records and bytes as on one machine, by as many workers as have room.

The driver, where the command was given, walks the list and prints what it is told. Ray actors, one for every GPU or
else for every `threads` processors, do the pictures (`worker`). They are pinned to nodes: so it is known where they
are missing (a node has joined, a worker has died), and what is wrong with a node is said once.
"""

import logging
import os
import re
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mzsr.apps.batch import HIDDEN, Job
from mzsr.apps.foreman import TRIES, Foreman
from mzsr.apps.work import Done, Order
from mzsr.apps.worker import Failed, Place, Unfit, Worker
from mzsr.errors import InputError
from mzsr.learning.devices import check_device, cores

STARTS = 3  # workers that may die at a node before they have begun
ROLL_CALL = 1.0  # seconds between two looks at the nodes
PATIENCE = 30.0  # seconds without any worker after which that is said


@contextmanager
def connected(address: str, device: str) -> Iterator[Literal["cpu", "cuda"]]:
    """Join a cluster, or begin one on this machine, and leave it; yield where its workers compute.

    Args:
        address: HOST:PORT of its head, from one of its nodes; ray://HOST:PORT from elsewhere; or `auto`: the cluster
            that this machine is part of, else as `local`: one on this machine alone, for as long as the work takes.
        device: `cpu` or `cuda`; or `auto`: GPUs if any node has one, and then nothing else, for mixed work would give
            mixed bytes.

    Raises:
        InputError: Ray is not installed, there is no cluster, or it has no such device.
    """
    check_device(device)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nobody is told
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of what it will do one day
    try:
        import ray
        from ray._private import worker
        from ray.exceptions import RayError
    except ImportError as error:
        raise InputError(f"--cluster needs Ray, which is missing ({error}); pip install '.[cluster]'") from error
    # Ray prints what happens to its processes, also on standard output, where records are; we say what matters
    worker.print_to_stdstream = lambda *_, **__: None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    # Of a cluster of our own: its store for objects stays empty, as pictures do not travel through Ray
    own = {"num_cpus": cores(), "object_store_memory": 100 * 2**20, "include_dashboard": False}
    try:
        if address not in ("auto", "local"):
            _knock(address)
        try:
            ray.init(address, **quiet, **(own if address == "local" else {}))
        except ConnectionError:
            if address != "auto":
                raise
            ray.init("local", **quiet, **own)
    except (OSError, RuntimeError, ValueError, RayError) as error:  # the last: of tokens
        why = " ".join(str(error).split())
        raise InputError(f"--cluster {address} cannot be joined ({why}); see docs/scale.md") from error
    try:
        gpus = any(_room(node, "cuda", 1) for node in _nodes())
        if device == "cuda" and not gpus:
            raise InputError("device is 'cuda', and no node of the cluster has a GPU; use auto or cpu")
        yield "cuda" if gpus and device != "cpu" else "cpu"
    finally:
        ray.shutdown()


def run(
    order: Order,
    jobs: Sequence[Job],
    inputs: Sequence[Path],
    threads: int,
    say: Callable[[Path, Done], None],
    fail: Callable[[Path, str], None],
    complain: Callable[[str], None],
) -> list[Path]:
    """Do every job of a list on the cluster that is joined.

    Args:
        order: what is to be done; with records, since that is what makes work safe that several may try.
        jobs: pictures, and where their results go.
        inputs: the pictures and folders that the list was made of.
        threads: of a worker.
        say: is told of every picture that is done.
        fail: is told of every one that is not, and in one line why.
        complain: is told in one line what is wrong with nodes.

    Returns:
        The sources that failed.

    Raises:
        InputError: no node can do it.
    """
    assert order.records is not None
    if not jobs:  # every picture was refused before
        return []
    mark = order.records.folder / HIDDEN / "parts" / secrets.token_hex(8)  # cleared away with what killed runs leave
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    folders = tuple(dict.fromkeys(path if os.path.isdir(path) else path.parent for path in inputs))
    named = (*folders, mark, *([Path(order.model)] if os.path.exists(order.model) else []))
    home = None if all(path.is_absolute() for path in named) else os.getcwd()
    foreman, failed = Foreman["Hand"](jobs), list[Path]()
    crew = Crew(order, threads, Place(home, folders, mark), complain)

    def give_up(source: Path, why: str) -> None:
        failed.append(source)
        fail(source, why)

    try:
        while True:
            if foreman.waiting:
                crew.recruit(len(jobs))
            for hand, job in foreman.assign():
                crew.send(hand, job)
            if foreman.finished:
                return failed
            for hand, job, answer in crew.answers():
                if job is None and answer is None:
                    foreman.hire(hand)
                elif job is not None and isinstance(answer, Done | Failed):
                    foreman.finish(hand, job)
                    if isinstance(answer, Done):
                        say(job[0], answer)
                    else:
                        give_up(job[0], answer.reason)
                else:
                    given_up = foreman.lose(hand, guilty=not isinstance(answer, Unfit))
                    crew.lose(hand, answer)
                    if given_up is not None:
                        what = f"{TRIES} workers have died over it, of memory perhaps"
                        give_up(given_up[0], f"{given_up[0]}: {what}; try it alone, or with more --threads to a worker")
    finally:
        crew.dismiss()
        mark.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Hand:
    """A worker as the driver sees it: its actor, the id of its node, and how people call that."""

    actor: Any
    node: str
    name: str


class Crew:
    """All workers, on all nodes; kept as many as there is room for."""

    def __init__(self, order: Order, threads: int, place: Place, complain: Callable[[str], None]) -> None:
        """Begin with none."""
        self.given = order, threads, place
        self.complain = complain
        self.ready = set[Hand]()
        self.starting = set[Hand]()
        self.asked: dict[Any, tuple[Hand, Job | None]] = {}  # by the reference of the answer
        self.proven = set[str]()  # nodes that had a worker
        self.unfit: dict[str, str] = {}  # node → why
        self.false_starts = Counter[str]()
        self.looked = self.last_ready = -float("inf")
        self.told = False

    def recruit(self, most: int) -> None:
        """Start workers where there is room for more of them, on nodes that have joined above all."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as At

        if time.monotonic() < self.looked + ROLL_CALL:
            return
        order, threads, _ = self.given
        rooms = {node["NodeID"]: (node, _room(node, order.device, threads)) for node in _nodes()}
        if not any(room for name, (_, room) in rooms.items() if name not in self.unfit):
            if not self.proven - self.unfit.keys() and (self.unfit or self.looked < 0):  # else good ones may come back
                why = list(self.unfit.values()) or [f"none has {threads} processors, as --threads asks"]
                raise InputError(f"no node of the cluster can do the work: {'; '.join(why)}")
        here = Counter(hand.node for hand in (*self.ready, *self.starting))
        need = {"num_gpus": 1, "num_cpus": 0} if order.device == "cuda" else {"num_cpus": threads}
        employed: Any = ray.remote(Worker)
        for name, (node, room) in rooms.items():
            for _ in range(0 if name in self.unfit else room - here[name]):
                if len(self.ready) + len(self.starting) == most:
                    break
                pinned = At(name, soft=False)
                actor = employed.options(**need, scheduling_strategy=pinned).remote(*self.given)
                hand = Hand(actor, name, f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
                self.starting.add(hand)
                self.asked[actor.begin.remote()] = hand, None
        now = time.monotonic()
        if self.ready or self.looked < 0:
            self.last_ready, self.told = now, False
        elif now > self.last_ready + PATIENCE and not self.told:
            self.complain("no worker is there; waiting for nodes to join, or for their processors to be free")
            self.told = True
        self.looked = now

    def send(self, hand: Hand, job: Job) -> None:
        """Give a job to a worker."""
        self.asked[hand.actor.do.remote(*job)] = hand, job

    def answers(self) -> Iterator[tuple[Hand, Job | None, Done | Failed | Unfit | Exception | None]]:
        """Yield what has been answered, at most a second later: (who, to which job, what).

        A job of None is the start of a worker, and None to that means it is ready. An exception means it is dead.
        """
        import ray
        from ray.exceptions import RayError

        if not self.asked:
            time.sleep(ROLL_CALL)
            return
        for reference in ray.wait(list(self.asked), timeout=ROLL_CALL)[0]:
            hand, job = self.asked.pop(reference)
            try:
                answer = ray.get(reference)
            except RayError as error:
                answer = error
            if job is None and answer is None:
                self.starting.remove(hand)
                self.ready.add(hand)
                self.proven.add(hand.node)
            yield hand, job, answer

    def lose(self, hand: Hand, why: Unfit | Exception | Any) -> None:
        """Give up a worker that is dead or of no use, and its node where others would fare as badly."""
        self._kill(hand)
        self.asked = {reference: who for reference, who in self.asked.items() if who[0] is not hand}
        problem = why.reason if isinstance(why, Unfit) else ""
        if hand in self.starting and not problem:
            self.false_starts[hand.node] += 1
            if self.false_starts[hand.node] == STARTS:
                problem = f"workers die there before they begin ({str(why).strip().splitlines()[-1].strip()})"
        if problem and hand.node not in self.unfit:
            self.unfit[hand.node] = f"{hand.name}: {problem}"
            self.complain(f"{self.unfit[hand.node]}; the node is left out")
        self.ready.discard(hand)
        self.starting.discard(hand)
        self.looked -= ROLL_CALL  # look for a place for another at once

    def dismiss(self) -> None:
        """End all workers, whatever they are at."""
        for hand in (*self.ready, *self.starting):
            self._kill(hand)

    @staticmethod
    def _kill(hand: Hand) -> None:
        import ray

        with suppress(Exception):  # it is dead, or the cluster is
            ray.kill(hand.actor)


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _room(node: dict[str, Any], device: str, threads: int) -> int:
    """Return how many workers a node has room for, as if nobody else used it."""
    if device == "cuda":
        return int(node["Resources"].get("GPU", 0))
    return int(node["Resources"].get("CPU", 0) // threads)


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody listens; Ray itself would try for a minute, and then abort."""
    found = re.fullmatch(r"(?:ray://)?(\[.+\]|[^:/]+):(\d+)", address)
    if found is None or int(found[2]) > 65535:
        raise ValueError("auto, local, HOST:PORT or ray://HOST:PORT is required")
    socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=10).close()

"""Who does which picture while workers come, go and die: each holds a few, and what a dead one held goes to another.

Knows nothing of Ray, of pictures or of time; `cluster` tells it who came, what is done and who died. The list is
walked as workers get free, so that it may be longer than memory.
"""

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from mzsr.apps.batch import Job

Worker = TypeVar("Worker", bound=Hashable)

HELD = 2  # jobs of a worker: the one at work, and the next, so that it never waits for the network
TRIES = 3  # workers that may die over one picture


class Foreman(Generic[Worker]):
    """Hand out a list of jobs.

    Examples:
        >>> from pathlib import Path
        >>> jobs = [(Path(name), Path()) for name in "abc"]
        >>> foreman = Foreman[str](jobs)
        >>> foreman.hire("Ann")
        >>> [(worker, str(job[0])) for worker, job in foreman.assign()]
        [('Ann', 'a'), ('Ann', 'b')]
        >>> foreman.lose("Ann")
        >>> foreman.hire("Bob")
        >>> [(worker, str(job[0])) for worker, job in foreman.assign()]
        [('Bob', 'a'), ('Bob', 'b')]
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Begin with nobody at work."""
        self._list = iter(jobs)
        self._open = True  # whether the list may hold more
        self._again = deque[Job]()
        self._held: dict[Worker, deque[Job]] = {}
        self._deaths = Counter[Job]()

    @property
    def waiting(self) -> bool:
        """Return whether there may be a job that nobody holds."""
        return self._open or bool(self._again)

    @property
    def finished(self) -> bool:
        """Return whether every job is done or given up."""
        return not self.waiting and not any(self._held.values())

    def hire(self, worker: Worker) -> None:
        """Take on a worker who is ready."""
        self._held[worker] = deque()

    def assign(self) -> Iterator[tuple[Worker, Job]]:
        """Yield who is to be sent which job, whoever has nothing to do first."""
        for count in range(HELD):
            for worker, held in self._held.items():
                if len(held) == count:
                    job = self._next()
                    if job is None:
                        return
                    held.append(job)
                    yield worker, job

    def finish(self, worker: Worker, job: Job) -> None:
        """Strike out a job that is done, or that failed and need not be tried again."""
        self._held[worker].remove(job)

    def lose(self, worker: Worker, *, guilty: bool = True) -> Job | None:
        """Take a worker who is dead off the list; what it held goes to others, before all else.

        Args:
            worker: who; one that was never hired held nothing.
            guilty: whether the job at work may be to blame.

        Returns:
            A job that TRIES workers have died over, and that is given up.
        """
        held = self._held.pop(worker, deque())
        given_up = None
        if held and guilty:
            self._deaths[held[0]] += 1
            if self._deaths[held[0]] == TRIES:
                given_up = held.popleft()
        self._again.extendleft(reversed(held))
        return given_up

    def _next(self) -> Job | None:
        if self._again:
            return self._again.popleft()
        job = next(self._list, None)
        self._open = job is not None
        return job

"""What an operator decides: where the data lies, who may ask, and how much of everything.

Imports nothing of PyTorch; `apps/serve.py` fills it in from the command line.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

RESULT_FACTOR = 4  # a result may have so many times the pixels of the largest input: that one at x2
FREE_BYTES = 2 * 10**9  # of the disk that stay free; below it nothing is taken in
UPLOADS = 32  # at a time, from everybody
UPLOADS_EACH = 8  # at a time, from one address
STREAMS = 256  # event streams at a time


@dataclass(frozen=True)
class Settings:
    """Everything that a server is told when it starts."""

    data: Path
    """Folder of the database and the pictures; the only one that is ever written to."""
    models: tuple[str, ...] = ()
    """Names or files that may be asked for, the first by default; none means all that are installed."""
    workers: int = 1
    """Processes that enlarge pictures."""
    threads: int = 1
    """Threads of each."""
    queue: int = 50
    """Jobs that may wait."""
    max_bytes: int = 100_000_000
    """Of a picture as it is uploaded."""
    max_pixels: int = 24_000_000
    """Of a picture as it is uploaded; a result may have RESULT_FACTOR times as many."""
    seconds: float = 600.0
    """That a job may take."""
    memory: int | None = None
    """Bytes that a worker may allocate; None for no limit."""
    keep: float = 24 * 3600.0
    """Seconds that a finished job is kept."""
    grace: float = 10.0
    """Seconds that running jobs get to finish when the server is told to stop."""
    token: str | None = field(default=None, repr=False)
    """What programs send as `Authorization: Bearer`; None lets everybody in."""
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    """Names under which the server is asked, without ports; None for any."""
    device: str = "auto"
    """auto, cpu or cuda."""

    @property
    def max_result_pixels(self) -> int:
        """Return how many pixels a result may have."""
        return RESULT_FACTOR * self.max_pixels


def share_of_cores(workers: int | None, threads: int | None, available: int) -> tuple[int, int]:
    """Return (workers, threads of each): one worker for two cores, and every core used, where nothing is said.

    Two threads make one picture nearly twice as fast; more of them gain less than a second picture at the same time.

    >>> share_of_cores(None, None, 2), share_of_cores(None, None, 7), share_of_cores(4, None, 2)
    ((1, 2), (3, 2), (4, 1))
    """
    workers = workers or max(1, available // 2)
    return workers, threads or max(1, available // workers)


def share_of_memory(gigabytes: float | None, workers: int) -> int | None:
    """Return the bytes that each worker may allocate: as said, or 80 % of the machine's shared among them."""
    if gigabytes is not None:
        return round(1e9 * gigabytes)
    if not hasattr(os, "sysconf"):
        return None
    return int(0.8 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / workers)

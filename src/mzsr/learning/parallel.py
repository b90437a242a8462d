"""One training on several processes: who does which task, and the mean of what they found.

Every process holds the same parameters and draws its own tasks; one all-reduce of the gradient for each iteration
keeps them the same. DistributedDataParallel is not used: it cannot do second-order gradients, and for networks of
this size its overlap of sending and computing saves nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from mzsr.errors import InputError
from mzsr.learning.devices import out_of_memory


@dataclass(frozen=True)
class World:
    """The processes that train together; one is alone where `torchrun` did not start it.

    Attributes:
        device: of this process.
        rank: number of this process; 0 alone writes files.
        size: how many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    def share(self, tasks: int) -> range:
        """Return the numbers of the tasks that this process does, `tasks` of `size * tasks`.

        >>> World(torch.device("cpu"), rank=1, size=2).share(3)
        range(3, 6)
        """
        return range(self.rank * tasks, (self.rank + 1) * tasks)

    def mean_(self, tensor: Tensor) -> Tensor:
        """Average a tensor over all processes, in place."""
        if self.size > 1:
            with _all_alive():
                dist.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on one of the processes at least."""
        if self.size == 1:
            return flag
        told = torch.tensor(float(flag), device=self.device)
        with _all_alive():
            dist.all_reduce(told)
        return float(told) > 0

    def wait(self) -> None:
        """Wait for all processes: the first may still be writing, and torchrun ends it where another one ends."""
        if self.size > 1:
            with _all_alive():
                dist.barrier()


@contextmanager
def _all_alive() -> Iterator[None]:
    """Turn what a collective raises where a process is gone into one line; what is on the disk is whole.

    Raises:
        InputError: it failed.
    """
    try:
        yield
    except RuntimeError as error:  # of gloo and, as DistBackendError, of NCCL
        if out_of_memory(error):
            raise
        raise InputError(
            "another process of this run has ended; the last good state is kept, go on with the same command and "
            "--resume"
        ) from error


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Join the processes that `torchrun --nproc-per-node N -m mzsr train …` started, or be alone.

    Args:
        device: where to compute; `cuda` without a number becomes the processor of this process's local rank.

    Raises:
        InputError: there are fewer accelerators than processes on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local} of this machine has no CUDA device, there are {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        world = World(device, rank, size)
        yield world
        world.wait()
    finally:
        dist.destroy_process_group()

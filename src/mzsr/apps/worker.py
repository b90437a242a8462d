"""What runs on the nodes of a cluster: a process that has the model in its memory and does the pictures it is sent.

It looks up, hashes, enlarges, saves and records them on disks that all nodes see, so no picture travels over Ray, of
which nothing is known here. It tells a picture that cannot be done from a place where nothing can be done.
"""

import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from mzsr.apps.batch import reason
from mzsr.apps.work import Done, Order, do
from mzsr.errors import InputError
from mzsr.version import __version__


@dataclass(frozen=True)
class Failed:
    """A picture that cannot be done, and why."""

    reason: str


@dataclass(frozen=True)
class Unfit:
    """A place where nothing can be done, and why."""

    reason: str


@dataclass(frozen=True)
class Place:
    """What a node must see to be of use.

    Attributes:
        home: where relative paths begin; None if there are none.
        inputs: folders that pictures are read from.
        mark: a file in the folder of the outputs, of a name that nobody can have by chance.
    """

    home: str | None
    inputs: tuple[Path, ...]
    mark: Path

    def problem(self) -> str | None:
        """Say what is missing here, None if nothing is."""
        try:
            if self.home is not None:
                os.chdir(self.home)
            for folder in self.inputs:
                with os.scandir(folder) as found:
                    if next(found, None) is None:
                        return f"folder {folder} is empty there"  # what a disk is mounted on, without the disk
            if not self.mark.exists():
                return f"{self.mark.parent.parent.parent} is another folder there"
            trial = self.mark.with_name(f"{self.mark.name}-{secrets.token_hex(4)}")
            trial.touch()
            trial.unlink()
        except OSError as error:
            return f"{error.filename} cannot be used there ({error.strerror})"
        return None


class Worker:
    """An actor: a process on some node, with the model in its memory."""

    def __init__(self, order: Order, threads: int, place: Place) -> None:
        """Begin a process; `begin` has to be called before `do`."""
        self.order, self.threads, self.place = order, threads, place

    def begin(self) -> Unfit | None:
        """Look around and load the model."""
        import torch

        torch.set_num_threads(self.threads)
        if problem := self.place.problem():
            return Unfit(f"{problem}; all nodes must see the same folders under the same names")
        try:
            self.upscaler = self.order.upscaler()
        except InputError as error:
            return Unfit(str(error))
        if self.order.records is not None and self.order.fingerprint(self.upscaler) != self.order.records.settings:
            return Unfit(f"mzsr {__version__} or its weights are not those of the command; install the same everywhere")
        return None

    def do(self, source: Path, target: Path) -> Done | Failed | Unfit:
        """Do a picture; where it fails, look whether it is the place that fails."""
        try:
            return replace(do(self.order, self.upscaler, source, target), result=None)
        except Exception as error:
            if problem := self.place.problem():
                return Unfit(problem)
            return Failed(reason(source, error))

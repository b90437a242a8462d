"""Processes that tests begin, to kill them or to have them train together.

Each is a fork of one that has loaded PyTorch and mzsr before, and so is at work at once.
"""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from mzsr.apps.cli import main
from mzsr.inference.upscale import Upscaler

FORKS = get_context("forkserver")
# What upscale and train load; torch._dynamo is what the first optimiser of a process brings in, in 1.7 seconds
FORKS.set_forkserver_preload(
    ["mzsr.apps.cli", "mzsr.apps.cluster", "mzsr.learning.metatrain", "mzsr.learning.pretrain", "torch._dynamo"]
)


def begun(
    target: Callable[..., None], *arguments: object, errors: str | Path = os.devnull, **environment: str
) -> BaseProcess:
    """Begin a process that calls a function with as many threads as this one has.

    Args:
        target: of a module that is no test's: the process finds it by its name.
        arguments: of it.
        errors: the file that standard error goes to.
        environment: variables, beside those that are there.
    """
    process = FORKS.Process(target=_be, args=(target, arguments, errors, environment, torch.get_num_threads()))
    process.start()
    return process


def command(*words: str) -> None:
    """Be `mzsr` with these words."""
    sys.argv = ["mzsr", *words]
    main()


def deadly(name: str, *words: str) -> None:
    """Be `mzsr`, and be killed by the picture of this name."""
    original = Upscaler.__call__

    def call(self: Upscaler, image: Any, **options: Any) -> Any:
        if Path(image).name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, image, **options)

    Upscaler.__call__ = call
    command(*words)


def _be(
    target: Callable[..., None], arguments: tuple[object, ...], errors: str | Path, environment: dict[str, str],
    threads: int,
) -> None:  # fmt: skip
    with open(errors, "w") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(threads)
    target(*arguments)

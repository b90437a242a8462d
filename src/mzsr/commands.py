"""A command as people can repeat it: for cards, reports and results of benchmarks."""

import os
import shlex
from collections.abc import Iterable


def command_line(program: str, arguments: Iterable[str]) -> str:
    """Return a command as a shell takes it, with files as they lie from here: where that is concerns nobody."""
    told = (os.path.relpath(word) if os.path.isabs(word) and os.path.exists(word) else word for word in arguments)
    return shlex.join([program, *told])

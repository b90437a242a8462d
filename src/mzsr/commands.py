"""A command as people can repeat it: for cards, reports and results of benchmarks."""

import os
import shlex
from collections.abc import Iterable


def command_line(program: str, arguments: Iterable[str]) -> str:
    """Return a command as a shell takes it, with files as they lie from here: where that is concerns nobody."""
    return shlex.join([program, *map(_from_here, arguments)])


def _from_here(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if os.path.isabs(value) and os.path.isdir(os.path.dirname(value)):  # what is to be written is not there yet
        value = os.path.relpath(value)
    return option + equals + value

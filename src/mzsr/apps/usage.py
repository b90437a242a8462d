"""What every command shares: an error in one line with an exit code, and values as people write them."""

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mzsr.errors import InputError, printable

LONGEST = 3.6e7  # seconds; 10,000 hours, which every clock and lock can wait


@contextmanager
def usage(code: int = 2) -> Iterator[None]:
    """Turn an InputError into one line on standard error and an exit code: 2 for wrong usage, 1 for what failed."""
    try:
        yield
    except InputError as error:
        complain(str(error))
        raise typer.Exit(code) from None


def complain(words: str) -> None:
    """Say on standard error what is wrong."""
    echo(f"mzsr: {words}", err=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines; where nobody reads any more (`mzsr … | head`), say no more, and go on with the work.

    Raises:
        InputError: standard output cannot be written.
    """
    try:
        typer.echo("\n".join(map(printable, text.split("\n"))), err=err)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())
    except OSError as error:
        if not err:  # whom else to tell?
            raise InputError(f"standard output cannot be written ({error.strerror}); it needs room") from error


def millions(option: str, value: float) -> int:
    """Read a limit that is given in millions."""
    if not 0 < value < float("inf"):
        raise InputError(f"{option} is {value:g}; it must be a number of millions above 0, like 100")
    return round(1e6 * value)


def noise_level(text: str) -> float:
    """Read a standard deviation, a number in [0, 1] or a fraction such as 5/255."""
    upper, _, lower = text.partition("/")
    try:
        value = float(upper) / float(lower or 1)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"noise is '{text}'; a number such as 0.02 or a fraction such as 5/255 is required") from None
    if not 0 <= value <= 1:
        raise InputError(f"noise is {text}; it must lie between 0 and 1 — 8-bit levels are written as 5/255")
    return value


def several(count: int, what: str) -> str:
    """Say how many there are of something.

    >>> several(1, "worker"), several(0, "file")
    ('1 worker', '0 files')
    """
    return f"{count} {what}{'s' * (count != 1)}"


def seconds(option: str, text: str) -> float:
    """Read a time such as 90s, 9m or 2h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    value = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else math.inf
    if value > LONGEST:
        raise InputError(f"{option} is '{text}'; write 90s, 9m or 2h, {LONGEST / 3600:g}h at most")
    return value

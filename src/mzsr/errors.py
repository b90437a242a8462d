"""The one exception for input that cannot be used; everything a user can get wrong ends here."""

import difflib
import unicodedata
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what was received, what is required, what to do."""


def unknown(what: str, name: object, known: Iterable[str], more: str = "") -> InputError:
    """Return the error for a name that is none of those known, with the one that was probably meant.

    >>> str(unknown("kernel", "disk", ["disks", "boxes"], ", a file"))
    "kernel is 'disk'; did you mean 'disks'? It must be one of disks, boxes, a file"
    >>> str(unknown("kernel", "square", ["disks", "boxes"]))
    "kernel is 'square'; it must be one of disks, boxes"
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    start = f"did you mean '{near[0]}'? It" if near else "it"
    return InputError(f"{what} is '{name}'; {start} must be one of {', '.join(names)}{more}")


def printable(text: str) -> str:
    r"""Replace what could move a terminal's cursor: names and texts come from whoever made them.

    Spaces of all kinds stay, for macOS puts narrow ones into the names of screenshots.

    >>> printable("a\x1b]0;b")
    'a?]0;b'
    """
    kept = ("Zs", "Cs")  # a lone surrogate is a byte of a name that is no UTF-8
    return "".join(c if c.isprintable() or unicodedata.category(c) in kept else "?" for c in text)


def one_of(what: str, name: object, known: Iterable[str], more: str = "") -> str:
    """Return a name that is known; see `unknown`.

    Raises:
        InputError: it is none of them.

    >>> one_of("device", "cpu", ("auto", "cpu", "cuda"))
    'cpu'
    """
    names = list(known)
    if name not in names:
        raise unknown(what, name, names, more)
    return str(name)

"""Files that are written whole or not at all, by a temporary file and a rename; and folders that one process has."""

import os
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from mzsr.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it into place; on failure nothing is left and the old file stays.

    Args:
        path: the file; one that exists is replaced in one step, when the new bytes are safely on the disk. A link stays
            one, and what it points to is replaced.
        write: is given the temporary path, in the same folder since a rename across disks is not atomic.

    Raises:
        InputError: the folder is missing or full, or cannot be written to.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        write(part)
        with part.open("r+b") as file:
            os.fsync(file.fileno())  # Windows wants it to be writable
        replace(part, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path} cannot be written ({reason}); its folder must exist, have room and be writable — "
            "choose another place"
        ) from error
    finally:
        with suppress(OSError):  # after success it is gone already; a folder that is none must not hide the error above
            part.unlink()


def replace(part: Path, target: Path) -> None:
    """Put a file in the place of another on the same disk; who may read it is not for a new version to decide."""
    with suppress(OSError):
        part.chmod(stat.S_IMODE(target.stat().st_mode))
    os.replace(part, target)


def hold(file: int | IO[str], *, shared: bool = False) -> bool | None:
    """Take the lock of an open file or folder, which ends with it, and so with the process, whatever ends that.

    Args:
        file: or its descriptor.
        shared: with others who share it, waiting for one who does not.

    Returns:
        True; False if somebody else has it; None on a system that has no locks of this kind.

    Raises:
        OSError: the file system has none.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

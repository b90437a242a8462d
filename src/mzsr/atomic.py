"""Files that are written whole or not at all: a temporary file in the same folder, then a rename."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from mzsr.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it into place; on failure nothing is left and the old file stays.

    Args:
        path: the file; one that exists is replaced in one step, when the new bytes are safely on the disk.
        write: is given the temporary path, in the same folder since a rename across disks is not atomic.

    Raises:
        InputError: the folder is missing or full, or cannot be written to.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path} cannot be written ({reason}); its folder must exist, have room and be writable — choose another"
        ) from error
    finally:
        _forget(part)


def _forget(part: Path) -> None:
    try:
        part.unlink()
    except OSError:  # after success it is gone already, and in a folder that does not exist it never was
        return

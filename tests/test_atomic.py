"""A file is written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from mzsr.atomic import write_atomically
from mzsr.errors import InputError


class Crash(BaseException):
    """Something that no handler catches, as KeyboardInterrupt is."""


@pytest.mark.parametrize(("failure", "seen"), [(OSError(28, "No space left"), InputError), (Crash(), Crash)])
@pytest.mark.parametrize("before", [b"old", None])
def test_failing_write_leaves_the_old_file(
    tmp_path: Path, failure: BaseException, seen: type[BaseException], before: bytes | None
) -> None:
    """And nothing half-written beside it."""
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)

    def write(partial: Path) -> None:
        partial.write_bytes(b"half of the ne")
        raise failure

    with pytest.raises(seen):
        write_atomically(path, write)
    assert (path.read_bytes() if path.exists() else None) == before
    assert list(tmp_path.iterdir()) == ([path] if before else [])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        InputError, match=r"/file cannot be written \(No space left on device\).* choose another place$"
    ):
        write_atomically(path, lambda partial: partial.write_bytes(b"new"))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("none/a", "No such file"), ("file/a", "Not a directory")]
)
def test_a_place_where_no_file_can_be_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"cannot be written \({reason}.*choose another place$"):
        write_atomically(tmp_path / name, lambda partial: partial.write_bytes(b"new"))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_a_private_file_stays_private(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, lambda partial: partial.write_bytes(b"new"))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """The new one takes the place of the old; it is not written into it, not even in one go."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, lambda partial: partial.write_bytes(b"a new one"))
        assert reader.read() == b"old"
    assert path.read_bytes() == b"a new one"

"""Tests of MATLAB files: scipy writes them and is the oracle; damaged ones never get further than one line."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mzsr.errors import InputError
from mzsr.imaging.mat import MAX_BYTES, read_matrices


def saved(values: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, values, **options)
    return buffer.getvalue()


TYPES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", "c16"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 5), (15, 15)])
def test_what_scipy_writes_is_read_as_scipy_reads_it(kind: str, shape: tuple[int, int], compressed: bool) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(kind)
    data = saved({"k": array, "a_longer_name": array.T}, do_compression=compressed)
    found, expected = read_matrices(data), loadmat(io.BytesIO(data))
    assert sorted(found) == ["a_longer_name", "k"]
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name])


def test_what_is_no_matrix_of_numbers_is_passed_over() -> None:
    values = {"text": "words", "cell": np.array([[1, "a"]], object), "struct": {"k": np.ones((3, 3))},
              "cube": np.ones((2, 3, 4)), "k": np.eye(3)}  # fmt: skip
    assert list(read_matrices(saved(values))) == ["k"]


def test_big_endian() -> None:
    """The smallest file, byte by byte: a 1x2 double matrix named k."""
    body = b"".join([
        (6).to_bytes(4, "big"), (8).to_bytes(4, "big"), (6).to_bytes(4, "big"), bytes(4),  # flags: class double
        (5).to_bytes(4, "big"), (8).to_bytes(4, "big"), (1).to_bytes(4, "big"), (2).to_bytes(4, "big"),  # 1 x 2
        (1 << 16 | 1).to_bytes(4, "big"), b"k\0\0\0",  # a short element
        (9).to_bytes(4, "big"), (16).to_bytes(4, "big"), np.array([0.25, -3], ">f8").tobytes(),
    ])  # fmt: skip
    data = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + (14).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
    np.testing.assert_array_equal(read_matrices(data)["k"], [[0.25, -3]])


@pytest.mark.parametrize("data", [b"", b"MATLAB 7.3 MAT-file" + bytes(500), bytes(128)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="version 5 to 7; save it again with -v7"):
        read_matrices(data)


def test_a_small_file_that_unpacks_to_much_is_refused() -> None:
    data = saved({"k": np.zeros((4096, 4096))}, do_compression=True)
    assert len(data) < MAX_BYTES // 100
    with pytest.raises(InputError, match="more than 67108864 bytes"):
        read_matrices(data)


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_said_in_one_line(compressed: bool) -> None:
    whole = saved({"k": np.ones((7, 7)), "scale": 2.0}, do_compression=compressed)
    drawn = random.Random(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(whole[: drawn.randrange(len(whole))] if drawn.random() < 0.2 else whole)
        for _ in range(drawn.randint(1, 8)):
            if data:
                data[drawn.randrange(len(data))] = drawn.randrange(256)
        try:
            read_matrices(bytes(data))
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017 -- damage may also go unnoticed
    assert refused > 200


def test_many_variables_are_no_way_around_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is within it, and unpacking all would keep a server busy for as long as one likes."""
    monkeypatch.setattr("mzsr.imaging.mat.MAX_BYTES", 1000)
    one = zlib.compress(struct.pack("<II", 1, 392) + bytes(392))
    element = struct.pack("<II", 15, len(one)) + one
    head = bytes(124) + b"\0\1IM"
    assert read_matrices(head + 2 * element) == {}
    with pytest.raises(InputError, match="variables of more than 1000 bytes"):
        read_matrices(head + 3 * element)

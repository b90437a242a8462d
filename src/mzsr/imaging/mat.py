"""Numbers in MATLAB files of version 5 (`save -v6`, `-v7`): matrices by their names, nothing else.

scipy reads far more, and its compiled reader takes the whole program down on a damaged file; kernels come from
anywhere. Here every length is checked before it is believed. Knows nothing of kernels.

Source: MathWorks, "MAT-File Format", chapter 1 (level 5).
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from mzsr.errors import InputError

MAX_BYTES = 1 << 26  # of all variables once they are unpacked: 2896 x 2896 doubles, far beyond any kernel
_COMPRESSED, _MATRIX, _UINT32, _INT32 = 15, 14, 6, 5
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes double, single, int8 … uint64; below lie cells, structs, objects, text, sparse
_COMPLEX = 0x800


def read_matrices(data: bytes) -> dict[str, np.ndarray]:
    """Return all numeric matrices of two dimensions in a file; what is anything else is passed over.

    Args:
        data: the bytes of the file.

    Returns:
        Name → (rows, columns), in the type that the file stores; complex where it has an imaginary part.

    Raises:
        InputError: it is no file of this version, or it is damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise InputError("it is no MATLAB file of version 5 to 7; save it again with -v7")
    found, room = {}, MAX_BYTES
    try:
        for kind, body in _elements(data[128:], order):
            if kind == _COMPRESSED:
                unpacked = _unpack(body, room)
                room -= len(unpacked)
                kind, body = next(_elements(unpacked, order))
            if kind == _MATRIX and (named := _matrix(body, order)):
                found[named[0]] = named[1]
    except (ValueError, LookupError, StopIteration, struct.error, zlib.error) as error:
        raise InputError(f"it is damaged ({error}); copy it again") from error
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of the elements that lie one behind another."""
    at = 0
    while at + 8 <= len(data):
        (word,) = struct.unpack_from(order + "I", data, at)
        if word >> 16:  # up to four bytes share eight with their tag
            kind, size, start = word & 0xFFFF, word >> 16, at + 4
            if size > 4:
                raise ValueError(f"a short element of {size} bytes at {at}")
            following = at + 8
        else:
            kind, (size,), start = word, struct.unpack_from(order + "I", data, at + 4), at + 8
            following = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes at {at}, beyond the end")
        yield kind, data[start : start + size]
        at = following


def _unpack(data: bytes, most: int) -> bytes:
    unpacked = zlib.decompressobj().decompress(data, most)
    if len(unpacked) == most:
        raise ValueError(f"variables of more than {MAX_BYTES} bytes")
    return unpacked


def _matrix(data: bytes, order: str) -> tuple[str, np.ndarray] | None:
    """Read flags, dimensions, name and numbers, in this order; None for what is no matrix of numbers."""
    parts = list(_elements(data, order))
    (flags_type, flags), (size_type, sizes), (_, name) = parts[:3]
    if (flags_type, size_type) != (_UINT32, _INT32):
        raise ValueError("a variable without flags or dimensions")
    bits, dimensions = int(np.frombuffer(flags, order + "u4")[0]), np.frombuffer(sizes, order + "i4").tolist()
    if bits & 0xFF not in _NUMERIC or len(dimensions) != 2:
        return None
    planes = [np.frombuffer(body, order + _NUMBERS[kind]) for kind, body in parts[3:]]
    numbers = planes[0] + 1j * planes[1] if bits & _COMPLEX else planes[0]
    return name.decode("ascii", "replace"), numbers.reshape(dimensions, order="F")

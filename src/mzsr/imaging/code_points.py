"""Colours that a PNG (cICP), an AVIF or a HEIC (nclx) names by number instead of by a profile.

What is sRGB needs nothing. Display P3, which phones take photographs in, gets its ICC profile, so that it is kept in
every format. High dynamic range and other wide colours are refused: taken for sRGB they would come out pale.

Source: ITU-T H.273, tables 2 and 3; PNG third edition 11.3.2.6; ISO/IEC 23008-12, colour information box.
"""

import struct
from collections.abc import Mapping
from typing import Any

import pyvips

from mzsr.errors import InputError

_P3 = 12  # of the primaries
_SDR = (1, 6, 13, 14, 15)  # transfers that differ from that of sRGB by little, or are it
_HDR = {16: "PQ", 18: "HLG"}
_WIDE = (9, 10, 11, _P3)  # BT.2020, XYZ, and P3 with either white
_LINEAR = (8, 9, 10)  # and logarithmic


def code_points(data: bytes, nclx: Mapping[str, Any] | None = None) -> tuple[int, int] | None:
    """Return the numbers of primaries and transfer that a file names; None where it names none.

    Args:
        data: its bytes.
        nclx: of its main picture, where a decoder told it (HEIC, whose other pictures may have others).
    """
    if nclx is not None:
        return int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(data) and data[at + 4 : at + 8] not in (b"IDAT", b"IEND"):
            (length,) = struct.unpack_from(">I", data, at)
            if data[at + 4 : at + 8] == b"cICP" and length == 4:
                return data[at + 8], data[at + 9]
            at += 12 + length
        return None
    if data[4:8] != b"ftyp" or b"avif" not in data[8:32]:
        return None
    at = data.find(b"colrnclx", 0, data.find(b"mdat"))  # boxes before the pixels
    return struct.unpack_from(">HH", data, at + 8) if 0 <= at <= len(data) - 12 else None


def profile_of(points: tuple[int, int] | None) -> bytes | None:
    """Return the ICC profile of such numbers; None for sRGB, and for what is as good as it.

    Raises:
        InputError: high dynamic range, colours wider than Display P3, or light that is stored as it is.
    """
    if points is None:
        return None
    primaries, transfer = points
    if transfer in _HDR:
        raise InputError(
            f"its colours are of high dynamic range ({_HDR[transfer]}); standard range is required — convert it first"
        )
    if primaries == _P3 and transfer in _SDR:
        return pyvips.Operation.call("profile_load", "p3")
    if primaries in _WIDE or transfer in _LINEAR:
        raise InputError(
            f"its colours (primaries {primaries}, transfer {transfer} of H.273) are neither sRGB nor Display P3; one "
            "of them is required — convert it first"
        )
    return None

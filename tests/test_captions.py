"""Tests of IPTC, comments and PNG texts, through every format; libvips, which reads IPTC too, is the oracle."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mzsr.imaging.captions import iptc_of, photoshop_segment, png_profile
from mzsr.imaging.files import read, write
from mzsr.imaging.metadata import Metadata
from mzsr.imaging.picture import Picture, from_array, to_array

# Record 2, dataset 120 (caption) and 80 (by-line), as IPTC-IIM 4.2 writes them
IPTC = b"\x1c\x02\x78\x00\x0bA green hill\x1c\x02\x50\x00\x05Ueli."
TEXTS = (("Title", "Grüße vom Berg"), ("Comment", "雪"), ("Software", "made by hand"))


def picture(bits: int, **metadata: object) -> Picture:
    whole = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return replace(from_array(whole), bits=bits, metadata=Metadata(**metadata))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("iptc", [IPTC, IPTC + b"."], ids=["odd", "even"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_iptc_survives(tmp_path: Path, name: str, bits: int, iptc: bytes) -> None:
    assert write(tmp_path / name, picture(8 if name == "a.jpg" else bits, iptc=iptc)) == []
    assert read(tmp_path / name).metadata.iptc == iptc
    if name != "a.png":  # where libvips has no word for it
        seen: Any = pyvips.Image.new_from_file(str(tmp_path / name)).get("iptc-data")
        assert iptc in seen


@pytest.mark.parametrize("bits", [8, 16])
def test_texts_of_a_png_survive(tmp_path: Path, bits: int) -> None:
    assert write(tmp_path / "a.png", picture(bits, texts=TEXTS)) == []
    assert read(tmp_path / "a.png").metadata.texts == TEXTS
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == dict(TEXTS)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("comment", [b"a comment", "snow: 雪".encode(), b"caf\xe9", b"\xff\x00\xfe"])
def test_a_comment_keeps_its_bytes(tmp_path: Path, comment: bytes) -> None:
    """From JPEG to JPEG whatever they are; a PNG takes those that are no UTF-8 for Latin-1."""
    Image.new("RGB", (6, 4)).save(tmp_path / "in.jpg", comment=comment)
    found = read(tmp_path / "in.jpg")
    assert write(tmp_path / "out.jpg", found) == []
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.info["comment"] == comment
    if b"\0" not in comment:
        assert write(tmp_path / "out.png", found) == []
        expected = "café" if comment.startswith(b"caf") else comment.decode()
        assert read(tmp_path / "out.png").metadata.texts == (("Comment", expected),)


def test_what_is_lost_is_named(tmp_path: Path) -> None:
    full = picture(8, iptc=IPTC, texts=TEXTS)
    said = {name: write(tmp_path / f"a.{name}", full) for name in ("jpg", "webp", "avif", "bmp", "tif", "png")}
    texts = "does not hold these texts of the input: Title, Comment, Software"
    assert said["jpg"] == ["JPEG does not hold these texts of the input: Title, Software"]
    assert said["webp"] == [f"WEBP holds no IPTC, the {len(IPTC)} of the input are left out", f"WEBP {texts}"]
    assert said["avif"] == [f"AVIF holds no IPTC, the {len(IPTC)} of the input are left out", f"AVIF {texts}"]
    assert said["bmp"] == [f"BMP holds no IPTC, the {len(IPTC)} of the input are left out", f"BMP {texts}"]
    assert said["tif"] == [f"TIFF {texts}"]
    assert said["png"] == []
    assert read(tmp_path / "a.jpg").metadata.texts == (("Comment", "雪"),)
    long = picture(8, iptc=b"x" * 70_000, texts=(("Comment", "x" * 70_000),))
    assert write(tmp_path / "a.jpg", long) == [
        "JPEG holds 65502 bytes of IPTC, the 70000 of the input are left out",
        "JPEG does not hold these texts of the input: Comment",
    ]
    assert read(tmp_path / "a.jpg").metadata.iptc is None


def test_a_hostile_keyword_does_not_reach_the_terminal(tmp_path: Path) -> None:
    texts = (("\x1b[31mRED\nmzsr: done", "x"), *((str(i), "x") for i in range(9)))
    assert write(tmp_path / "a.webp", picture(8, texts=texts)) == [
        r"WEBP does not hold these texts of the input: \x1b[31mRED\nmzsr: done, 0, 1, 2, 3 and 5 more"
    ]


@pytest.mark.parametrize("bits", [8, 16])
def test_long_texts_are_no_damage(tmp_path: Path, bits: int) -> None:
    """Pillow takes more than a megabyte of compressed text for an attack."""
    long, iptc = (("Notes", "x" * 1_500_000),), b"\x1c" * 700_000
    assert write(tmp_path / "a.png", picture(bits, texts=long, iptc=iptc)) == []
    kept = read(tmp_path / "a.png").metadata
    assert (kept.texts, kept.iptc) == (long, iptc)
    info = PngInfo()
    info.add_text("Notes", "x" * 1_500_000, zip=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png", pnginfo=info)
    assert read(tmp_path / "b.png").metadata.texts == long


@pytest.mark.parametrize("order", ["<", ">"])
def test_iptc_of_a_tiff_that_was_written_as_longs(tmp_path: Path, order: str) -> None:
    """Adobe's habit, against the standard of both; readers have to know."""
    block = IPTC + b"\0" * (-len(IPTC) % 4)
    layout = {256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2, 33723: 0}
    at = 8 + 4 + 2 + 12 * len(layout) + 4  # header, two pixels filled up, directory: where the block is
    data = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 12) + b"\x10\xf0\0\0"
    data += struct.pack(f"{order}H", len(layout))
    for tag, value in layout.items():
        count, value = (len(block) // 4, at) if tag == 33723 else (1, value)
        data += struct.pack(f"{order}HHII", tag, 4, count, value)
    (tmp_path / "a.tif").write_bytes(data + bytes(4) + block)
    picture = read(tmp_path / "a.tif")
    assert to_array(picture).tolist() == [[16, 240]]
    assert (picture.metadata.iptc or b"").startswith(IPTC)


def test_iptc_among_other_resources(tmp_path: Path) -> None:
    """A JPEG of Photoshop holds more than one, with names of odd and even length."""
    other = b"8BIM" + struct.pack(">H", 0x03F3) + b"\x02ab\0" + struct.pack(">I", 3) + b"xyz\0"
    segment = photoshop_segment(IPTC)
    body = b"Photoshop 3.0\0" + other + segment[4 + 14 :]
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", extra=struct.pack(">HH", 0xFFED, len(body) + 2) + body)
    assert read(tmp_path / "a.jpg").metadata.iptc == IPTC
    info = PngInfo()
    resources = body[14:]
    info.add_text("Raw profile type iptc", f"\niptc\n{len(resources):8d}\n{resources.hex()}\n", zip=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert read(tmp_path / "a.png").metadata.iptc == IPTC


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: f"\niptc\n{len(data):8d}\n{data.hex()}\n"))
def test_damage_never_raises(text: str) -> None:
    image = Image.new("RGB", (1, 1))
    image.text = {"Raw profile type iptc": text}  # pyright: ignore[reportAttributeAccessIssue]
    found = iptc_of(image)
    assert found is None or isinstance(found, bytes)
    image.text = {"Raw profile type iptc": png_profile(IPTC)[1] + text}  # pyright: ignore[reportAttributeAccessIssue]
    iptc_of(image)


def test_exif_of_16_bits_is_not_rebuilt(tmp_path: Path) -> None:
    """A camera's private notes keep the offsets that they point to: the block is the same, byte by byte."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x927C] = b"private note"
    block = exif.tobytes()
    write(tmp_path / "a.png", picture(16, exif=block))
    assert read(tmp_path / "a.png").bits == 16
    assert read(tmp_path / "a.png").metadata.exif == block

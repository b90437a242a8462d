"""Damage picture and kernel files at random, and see that every one gives a result or one line, and nothing else.

Workers, each a process of its own, take a few hundred damaged files each, enlarge the picture into some format, its own
above all, or read the kernel, and say the number of every file before they begin. A tenth go the whole way: blur and
noise are estimated, and a step of adaptation is taken. So a crash, a file that takes more than ten seconds, or a
process that grows beyond two gigabytes is known by its number, and `--only NUMBER` does it again.

command: python runs/fuzz.py --count 10000
machine: 1 core of an Intel Xeon, float32, torch 2.13
hours:   0.08
score:   10,000 files, seed = number: 1,845 results, 8,155 refused in one line, 0 faults
"""

import argparse
import io
import os
import random
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from scipy.io import savemat

from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files
from mzsr.imaging.captions import IPTC_TAG, photoshop_segment
from mzsr.imaging.picture import from_array
from mzsr.inference.upscale import Upscaler

SECONDS, MEGABYTES, SHARE = 10, 2000, 500  # a file may take, a process may hold, and does
PIXELS = 20_000  # larger pictures are refused: damage to a header must not cost hours of arithmetic
USUAL, LARGE = "usual", 112  # name of pictures that go the whole way of users', and their side; the rest is small
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note/></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x07a title"
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def samples(folder: Path) -> dict[str, bytes]:
    """Return whole files of every kind that is read, by name."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(colours).resize((32, 24), Image.Resampling.BICUBIC)
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "Maker"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found: dict[str, bytes] = {}

    def keep(name: str, kind: str, picture: Image.Image = image, **options: object) -> None:
        picture.save(buffer := io.BytesIO(), kind, **options)
        found[name] = buffer.getvalue()

    texts = PngInfo()
    texts.add_text("Title", "a")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add(b"cICP", bytes((12, 13, 0, 1)))
    said: dict[str, dict[str, Any]] = {
        "PNG": {"pnginfo": texts, "exif": tags}, "JPEG": {"xmp": XMP, "comment": b"b", "exif": tags},
        "WEBP": {"xmp": XMP, "exif": tags}, "TIFF": {"tiffinfo": {700: XMP, IPTC_TAG: IPTC}},
        "AVIF": {"xmp": XMP, "exif": tags},
    }  # fmt: skip
    for kind, beside in said.items():
        name = f"rgb.{kind.lower()}".replace("jpeg", "jpg").replace("tiff", "tif")
        keep(name, kind, icc_profile=icc, **beside)
    head, rest = found["rgb.jpg"][:2], found["rgb.jpg"][2:]
    found["captions.jpg"] = head + photoshop_segment(IPTC) + rest
    large = image.resize((LARGE, LARGE), Image.Resampling.BICUBIC)
    keep(f"{USUAL}.png", "PNG", large)
    keep(f"{USUAL}.jpg", "JPEG", large, quality=80)
    keep("progressive.jpg", "JPEG", progressive=True)
    keep("cmyk.jpg", "JPEG", image.convert("CMYK"))
    keep("alpha.png", "PNG", image.convert("RGBA"))
    keep("palette.png", "PNG", image.convert("P"))
    keep("alpha.webp", "WEBP", image.convert("RGBA"), lossless=True)
    keep("lzw.tif", "TIFF", compression="tiff_lzw")
    keep("a.bmp", "BMP")
    keep("a.gif", "GIF")
    with suppress(ImportError):  # of the extra `heif`
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]

        register_heif_opener()
        keep("a.heic", "HEIF")
    deep = from_array(np.asarray(image).astype(np.uint16) * 257)
    taps = np.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1])
    for name in ("deep.png", "deep.tif"):
        files.write(folder / name, deep)
    np.save(folder / "k.npy", taps)
    for name, packed in (("k.mat", False), ("packed.mat", True)):
        savemat(folder / name, {"k": taps, "scale": 2.0}, do_compression=packed)
    for name in ("deep.png", "deep.tif", "k.npy", "k.mat", "packed.mat"):
        found[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    return found


def mutate(whole: bytes, drawn: random.Random) -> bytes:
    """Damage a file once or a few times: bits, bytes, whole numbers in its head, pieces cut out, doubled or cut off."""
    data = bytearray(whole)
    for _ in range(drawn.choice((1, 1, 2, 4, 8))):
        if not data:
            break
        at = drawn.randrange(len(data) if drawn.random() < 0.5 else min(len(data), 200))  # heads matter most
        length = drawn.choice((1, 2, 4, 16, 100))
        kind = drawn.randrange(6)
        if kind == 0:
            data[at] ^= 1 << drawn.randrange(8)
        elif kind == 1:
            data[at] = drawn.randrange(256)
        elif kind == 2:
            number = drawn.choice(EXTREMES)
            size = drawn.choice((2, 4))
            data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, drawn.choice(("big", "little")))
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        else:
            del data[drawn.randrange(len(data)) :]
    return bytes(data)


def attempt(number: int, whole: dict[str, bytes], folder: Path, upscaler: Upscaler) -> str:
    """Do one damaged file.

    Returns:
        `result`, or the first words of the one line that refused it.

    Raises:
        AssertionError: more than one line, or half a result, or one that cannot be read again.
        Exception: whatever else came out, a fault.
    """
    drawn = random.Random(number)
    usual = [name for name in sorted(whole) if name.startswith(USUAL)]
    name = drawn.choice(usual if usual and drawn.random() < 0.1 else sorted(whole))
    source, suffix = folder / name, drawn.choice(sorted(files.SUFFIXES))
    if source.suffix in files.SUFFIXES and drawn.random() < 0.5:
        suffix = source.suffix
    target = folder / f"out{suffix}"
    source.write_bytes(mutate(whole[name], drawn))
    try:
        if source.suffix in (".mat", ".npy"):
            kernel_files.load(source)
            return "result"
        options = {} if name in usual else {"kernel": "bicubic", "noise": 0.0, "steps": 0}
        upscaler(source, max_pixels=PIXELS, **options).save(target)  # pyright: ignore[reportArgumentType]
        files.read(target)
        target.unlink()
        return "result"
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return " ".join(str(error).replace(str(source), "").split()[:3])
    finally:
        source.unlink()
        assert not list(folder.iterdir()), f"left behind: {list(folder.iterdir())}"


def work(first: int, last: int, model: str) -> None:
    """Be a worker: say the number of every file, then what became of it."""
    upscaler = Upscaler(model, device="cpu")
    with tempfile.TemporaryDirectory() as name:
        whole = samples(Path(name))
        for number in range(first, last):
            print(number, end=" ", flush=True)
            print(attempt(number, whole, Path(name), upscaler), flush=True)


def watch(first: int, last: int, model: str, outcomes: Counter[str]) -> list[str]:
    """Run one worker, again behind every file that brought it down, and return what went wrong."""
    faults: list[str] = []
    while first < last:
        words = [sys.executable, __file__, "--first", str(first), "--last", str(last), "--model", model]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            said, hung, limit = b"", False, 120  # seconds to load PyTorch
            while waiting.select(limit):
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                said, limit = said + piece, SECONDS
            else:
                hung = True
                process.kill()
        complaint = process.stderr.read().decode(errors="replace").strip().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        lines = [line.split(" ", 1) for line in said.decode().splitlines()]
        outcomes.update(line[1] for line in lines if len(line) == 2 and line[1])
        reached = int(lines[-1][0]) if lines else first
        if usage.ru_maxrss / 1024 > MEGABYTES:
            faults.append(f"{first} to {reached}: {usage.ru_maxrss / 1024:.0f} MB")
        if code:
            why = f"more than {SECONDS} s" if hung else f"exit code {code}, {complaint[-1:]}"
            faults.append(f"{reached}: {why}")
        first = reached + 1
    return faults


def main() -> int:
    """Do all files and say what became of them; returns 1 if there was any fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="one file again, in this process")
    parser.add_argument("--model", default="mzsr")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, help="be a worker")
    arguments = parser.parse_args()
    if arguments.only is not None or arguments.last is not None:
        first = arguments.first if arguments.only is None else arguments.only
        work(first, arguments.last if arguments.only is None else first + 1, arguments.model)
        return 0
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    for first in range(arguments.first, arguments.first + arguments.count, SHARE):
        last = min(first + SHARE, arguments.first + arguments.count)
        found = watch(first, last, arguments.model, outcomes)
        faults += found
        print(*found, sep="\n", end="\n" if found else "")
        print(f"{last} files, {outcomes['result']} results, {len(faults)} faults", flush=True)
    for words, count in outcomes.most_common(20):
        print(f"{count:6} {words}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

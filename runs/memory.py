"""Measure the peak memory and the time of enlarging one large photograph, written as a JPEG.

The photograph is a mosaic of photographs of a folder, saved as JPEG at quality 92. Memory is what the kernel counted
as the largest resident size of the process over its whole life (`ru_maxrss` of `wait4`), so nothing can be missed
between two samples; start-up and writing are in it.

command: python runs/memory.py --data ../shared/data/bench/Kodak24 --megapixels 24
machine: 2 cores of an Intel Xeon with AMX, bfloat16, torch 2.13
hours:   0.06
score:   6000x4000 → 12000x8000: 225 s, at most 2466 MB resident, default options
"""

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

READ = (".png", ".jpg", ".jpeg")


def mosaic(folder: Path, width: int, height: int) -> Image.Image:
    """Lay the photographs of a folder side by side, in rows, until a picture of this size is full."""
    names = sorted(path for path in folder.iterdir() if path.suffix.lower() in READ)
    canvas, left, top, row, index = Image.new("RGB", (width, height)), 0, 0, 0, 0
    while top < height:
        with Image.open(names[index % len(names)]) as image:
            canvas.paste(image.convert("RGB"), (left, top))
            left, row, index = left + image.width, max(row, image.height), index + 1
        if left >= width:
            left, top, row = 0, top + row, 0
    return canvas


def run(arguments: list[str]) -> tuple[int, float, float]:
    """Run a command; return its exit code, the seconds it took, and its largest resident size in megabytes."""
    start = time.perf_counter()
    child = os.posix_spawn(arguments[0], arguments, dict(os.environ))
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> int:
    """Make the photograph, enlarge it and say what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--megapixels", type=float, default=6.0)
    parser.add_argument("options", nargs="*", help="of mzsr upscale, after --")
    arguments = parser.parse_args()
    height = 2 * round(math.sqrt(arguments.megapixels * 1e6 / 1.5) / 2)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jpg"), Path(folder, "out.jpg")
        mosaic(arguments.data, height * 3 // 2, height).save(source, quality=92)
        words = ["-m", "mzsr", "upscale", str(source), "-o", str(target), *arguments.options]
        code, seconds, megabytes = run([sys.executable, *words])
        if code == 0:
            Image.MAX_IMAGE_PIXELS = None
            with Image.open(source) as before, Image.open(target) as after:
                print(f"{before.size} → {after.size}: {seconds:.0f} s, at most {megabytes:.0f} MB resident")
    return code


if __name__ == "__main__":
    sys.exit(main())

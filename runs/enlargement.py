"""Pictures that were enlarged before: how often is it seen, how often is it imagined, and what is it worth to know?

Prints three tables: alarms on pictures as they are and on blurred ones; share of enlarged ones that are told, right
and wrong; PSNR (Y, protocol mzsr) of x2 from the enlarged picture as it is, from its detail as `upscale` does it, and
of what would have come of the small one.

command: python runs/enlargement.py ../shared/data
machine: 1 core of an Intel Xeon, torch 2.13
hours:   0.2
score:   LOG.md, "Pictures that were enlarged before"
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation, crop, degrade
from mzsr.imaging.folders import pictures_in
from mzsr.imaging.metrics import psnr
from mzsr.imaging.resize import resize
from mzsr.inference.enlargement import enlargement
from mzsr.inference.upscale import Upscaler
from mzsr.shapes import Images

METHODS = {
    name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")
}  # as Pillow does it
FACTORS = 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0
QUALITIES = None, 90, 80
# How the small picture came about, at half and at a quarter of the size
SMALL: dict[str, Callable[[int], Degradation]] = {
    "bicubic": lambda scale: Degradation(kernels.delta(), scale, "bicubic"),
    "g2.0d": lambda scale: Degradation(
        kernels.gaussian((scale**2 / 2, scale**2 / 2), size=25, offset=((scale - 1) / 2, (scale - 1) / 2)), scale
    ),
}


def enlarged(small: Images, factor: float, method: str, quality: int | None) -> Images:
    """Return a picture enlarged by another program, and then perhaps compressed."""
    array = (small[0].expand(3, -1, -1).clamp(0, 1) * 255).round().byte().movedim(0, 2).numpy()
    size = round(array.shape[1] * factor), round(array.shape[0] * factor)
    large = Image.fromarray(array).resize(size, METHODS[method])
    if quality is not None:
        buffer = io.BytesIO()
        large.save(buffer, "JPEG", quality=quality)
        large = Image.open(buffer)
    return torch.from_numpy(np.asarray(large).copy()).movedim(2, 0)[None].float() / 255


def rounded(images: Images) -> Images:
    """Return pictures in 8 bits."""
    return (images.clamp(0, 1) * 255).round() / 255


def alarms(data: Path) -> None:
    """Print how many pictures that were not enlarged are said to be."""
    print("| set | as it is | g2.0d | g2.0d, JPEG 80 |\n|---|---|---|---|")
    for name in ("Set5", "Set14", "BSD100", "Kodak24", "DIV2K_valid", "RealSRSet", "historical"):
        paths = pictures_in(data / name, recursive=False)[0]
        counts = [0, 0, 0]
        for path in paths:
            picture = files.read(path).pixels
            blurred = degrade(picture, SMALL["g2.0d"](2))
            seen = picture, rounded(blurred), enlarged(blurred, 1.0, "nearest", 80)
            counts = [count + (enlargement(each) > 1) for count, each in zip(counts, seen, strict=True)]
        print(f"| {name} | " + " | ".join(f"{count} of {len(paths)}" for count in counts) + " |", flush=True)


def detections(paths: list[Path]) -> None:
    """Print how many enlarged pictures are told: with the right factor within 3 %, and with a wrong one."""
    columns = [f"{small}, {'no JPEG' if q is None else f'JPEG {q}'}" for small in SMALL for q in QUALITIES]
    print(f"| method | factor | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    smalls = {name: [rounded(degrade(files.read(path).pixels, d(2))) for path in paths] for name, d in SMALL.items()}
    for method in METHODS:
        for factor in FACTORS:
            cells = []
            for small in SMALL:
                for quality in QUALITIES:
                    found = [enlargement(enlarged(each, factor, method, quality)) for each in smalls[small]]
                    right = sum(abs(f / factor - 1) < 0.03 for f in found)
                    wrong = sum(f > 1 for f in found) - right
                    cells.append(f"{100 * right / len(found):.0f} %" + (f" ({wrong} wrong)" if wrong else ""))
            print(f"| {method} | {factor:g} | " + " | ".join(cells) + " |", flush=True)


def worth(paths: list[Path]) -> None:
    """Print what it is worth to work from the detail."""
    print("| small picture | enlarged by | bicubic | as it is | from its detail | small one x4 | better | told |")
    print("|---" * 8 + "|")
    upscaler = Upscaler("mzsr", device="cpu")
    for name, make in SMALL.items():
        for factor, method, quality in ((2.0, "bicubic", None), (1.5, "bicubic", None), (2.0, "bicubic", 90)):
            rows, told = [], 0
            for path in paths:
                hr = crop(files.read(path).pixels, 24)
                small = rounded(degrade(hr, make(4)))
                large = enlarged(small, factor, method, quality)
                size = hr.shape[2], hr.shape[3]
                told += enlargement(large) > 1
                pictures = [
                    resize(large, size=size),
                    upscaler(large, size=size, enlarged="off").picture.pixels,
                    upscaler(large, size=size).picture.pixels,
                    upscaler(small, size=size).picture.pixels,
                ]
                rows.append([float(psnr(picture.clamp(0, 1), hr, scale=4)) for picture in pictures])
            mean = " | ".join(f"{value:.2f}" for value in np.mean(rows, 0))
            better = sum(row[2] > row[1] for row in rows)
            how = f"{method} {factor:g}" + ("" if quality is None else f", JPEG {quality}")
            print(f"| {name} | {how} | {mean} | {better} of {len(rows)} | {told} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="The folder that holds bench/.")
    parser.add_argument("--every", type=int, default=10, help="Of BSD100, for the second and third table.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = arguments.data / "bench"
    paths = pictures_in(data / "BSD100")[0][:: arguments.every]
    for table in (lambda: alarms(data), lambda: detections(paths), lambda: worth(paths)):
        table()
        print()


if __name__ == "__main__":
    main()

"""A contact sheet of pictures without a truth: a detail as it is, by bicubic, by mzsr, and what was estimated.

command: python runs/contact_sheet.py ../shared/data/bench/RealSRSet ../shared/data/bench/historical --out out/sheet.png
machine: 1 core of an Intel Xeon, torch 2.13
hours:   0.1
score:   to be looked at; LOG.md, "Real pictures"
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from mzsr.errors import InputError
from mzsr.imaging.folders import pictures_in
from mzsr.inference.adapt import textured_crops
from mzsr.inference.upscale import Upscaler

DETAIL, LABEL = 96, 18  # side of a detail in the input, and height of the line below it, pixels
LARGEST = 400  # side of the input beyond which only its middle is enlarged


def rows(upscaler: Upscaler, path: Path, scale: int) -> Image.Image:
    """Return input (nearest neighbour), bicubic and result of the most textured detail, side by side."""
    picture = Image.open(path).convert("RGB")
    left, top = (max(0, (side - LARGEST) // 2) for side in picture.size)
    middle = picture.crop((left, top, min(left + LARGEST, picture.width), min(top + LARGEST, picture.height)))
    result = upscaler(path if middle.size == picture.size else middle, scale=scale, enlarged="off")
    side = min(DETAIL, *middle.size)
    lr = result.lr.expand(-1, 3, -1, -1)
    best = textured_crops(lr, 1, side)
    places = [(y, x) for y in range(0, lr.shape[2] - side + 1, side) for x in range(0, lr.shape[3] - side + 1, side)]
    top, left = next(p for p in places if torch.equal(lr[:, :, p[0] : p[0] + side, p[1] : p[1] + side], best))
    large = side * scale
    sheet = Image.new("RGB", (3 * large, large + LABEL), "white")
    views = lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3), result.bicubic, result.picture.pixels
    for column, view in enumerate(views):
        cut = view.expand(-1, 3, -1, -1)[0, :, top * scale :, left * scale :][:, :large, :large]
        array = (cut.clamp(0, 1) * 255).round().byte().movedim(0, 2).numpy()
        sheet.paste(Image.fromarray(array), (column * large, 0))
    jpeg = result.record()["degradation"]["jpeg"]
    told = "" if result.estimate is None else result.estimate.note
    words = f"{path.name}: {told}" + (f", JPEG {jpeg['quality']}" if jpeg else "")
    ImageDraw.Draw(sheet).text((4, large + 3), words.replace("²", "^2"), fill="black")  # which the font has not
    return sheet


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("out/sheet.png"))
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--model", default="mzsr")
    arguments = parser.parse_args()
    upscaler = Upscaler(arguments.model)
    paths = [path for folder in arguments.folders for path in pictures_in(folder, recursive=False)[0]]
    made = []
    for path in paths:
        try:
            made.append(rows(upscaler, path, arguments.scale))
        except InputError as error:
            print(f"{path}: {error}")
    columns = 2
    width, height = max(m.width for m in made), max(m.height for m in made)
    sheet = Image.new("RGB", (columns * width, -(-len(made) // columns) * height), "white")
    for index, part in enumerate(made):
        sheet.paste(part, (index % columns * width, index // columns * height))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()

"""Folders of photographs → training pairs, deterministic in (seed, step).

Pictures are decoded once and kept as 8-bit tensors; a batch is drawn from a generator seeded by (seed, step) alone, so
a resumed run sees exactly what an uninterrupted one would have seen, whatever came before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from mzsr.config import KernelLaw
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.imaging.files import SUFFIXES, read
from mzsr.shapes import Images

Photograph = UInt8[Tensor, "3 _h _w"]


@dataclass(frozen=True)
class Pair:
    """Low-resolution pictures, what they should become, and what happened in between."""

    lr: Images
    hr: Images
    degradation: Degradation


@dataclass(frozen=True)
class Photographs:
    """Decoded pictures, and the files that could not be used with the reason."""

    pictures: list[Photograph]
    skipped: list[str]


def load_photographs(folders: Sequence[Path], smallest: int) -> Photographs:
    """Decode every picture below some folders, in the order of their names.

    Args:
        folders: searched recursively.
        smallest: least height and width, pixels.

    Returns:
        The pictures as 8-bit RGB, and one line for each file that was passed over.

    Raises:
        InputError: a folder that does not exist, or no usable picture at all.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"data folder {folder} does not exist or is a file; give a folder of photographs")
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    pictures, skipped = [], []
    for path in paths:
        try:
            pixels = read(path).pixels
        except InputError as error:
            skipped.append(str(error))
            continue
        height, width = pixels.shape[2:]
        if min(height, width) < smallest:
            skipped.append(f"{path} is {height}x{width}; at least {smallest}x{smallest} is required")
            continue
        pictures.append((pixels[0].expand(3, -1, -1) * 255).round().to(torch.uint8))
    if not pictures:
        where = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"no usable picture in {where} ({len(skipped)} of {len(paths)} passed over); "
            f"photographs of at least {smallest}x{smallest} pixels are required"
        )
    return Photographs(pictures, skipped)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return a generator that depends on nothing but (seed, step)."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw_patches(pictures: Sequence[Photograph], count: int, side: int, generator: torch.Generator) -> Images:
    """Cut random squares, each turned or mirrored at random, all eight ways alike.

    Returns:
        (count, 3, side, side) in [0, 1].
    """
    patches = []
    for _ in range(count):
        picture = pictures[_draw(len(pictures), generator)]
        top = _draw(picture.shape[1] - side + 1, generator)
        left = _draw(picture.shape[2] - side + 1, generator)
        patch = picture[:, top : top + side, left : left + side]
        way = _draw(8, generator)
        patch = torch.rot90(patch, way % 4, (1, 2))
        patches.append(patch.flip(2) if way >= 4 else patch)
    return torch.stack(patches).float() / 255


def draw_degradation(law: KernelLaw, count: int, generator: torch.Generator) -> Degradation:
    """Draw one degradation for a batch: a scale, a subsampling and a grid, and a kernel and a noise level for each."""
    shares = torch.tensor(list(law.scales.values()), dtype=torch.float64)
    scale = list(law.scales)[int(torch.multinomial(shares, 1, generator=generator))]
    if law.name == "bicubic":
        return Degradation(kernels.delta(), scale, "bicubic")
    kind = float(torch.rand((), generator=generator, dtype=torch.float64))
    bicubic = kind < law.bicubic_share
    centred = law.bicubic_share <= kind < law.bicubic_share + law.centred_share
    low, high = law.variance
    # Bicubic subsampling blurs on its own account: half of the range, and down to none at all
    variance = (low / 2, high * scale / 2) if bicubic else (low, high * scale)
    middle = (scale - 1) / 2 if centred else 0.0
    drawn = kernels.random_gaussians(
        count,
        variance=variance,
        size=kernels.SIZE if scale <= 2 else 2 * kernels.SIZE // 3 * 2 + 1,
        offset=(middle, middle),
        generator=generator,
    )
    noisy = torch.rand(count, generator=generator) < law.noise_share
    noise = torch.rand(count, generator=generator) * law.noise * noisy
    return Degradation(drawn, scale, "bicubic" if bicubic else "direct", noise)


def draw_pair(
    pictures: Sequence[Photograph], law: KernelLaw, count: int, side: int, generator: torch.Generator
) -> Pair:
    """Draw patches and degrade them, with low resolution rounded to 8 bits as files hold it."""
    d = draw_degradation(law, count, generator)
    hr = draw_patches(pictures, count, side - side % d.scale, generator)
    lr = degrade(hr, d, generator)
    return Pair((lr.clamp(0, 1) * 255).round() / 255, hr, d)


def _draw(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))

"""Photographs → training batches and tasks, deterministic in (seed, step, index).

Every batch is drawn from a generator of its own, so a resumed run sees exactly what an uninterrupted one would have
seen, and several processes together see what one would have. Draws come from the CPU; pixels are cut, degraded and
stay where the photographs are.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from mzsr.config import KernelLaw
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, Subsample, crop, degrade, informed
from mzsr.imaging.jpeg import Chroma, Jpeg, tables
from mzsr.imaging.random_kernels import misjudged, random_kernels
from mzsr.learning.devices import exact
from mzsr.learning.photographs import Photograph
from mzsr.shapes import Images

K = TypeVar("K")


@dataclass(frozen=True)
class Pair:
    """Low-resolution pictures, what they should become, and what the network is told of what happened in between."""

    lr: Images
    hr: Images
    degradation: Degradation


@dataclass(frozen=True)
class Task:
    """One kernel: D_tr to descend on, D_te to be good at afterwards."""

    support: Pair
    query: Pair


@dataclass(frozen=True)
class Kind:
    """What all patches of a batch have in common."""

    scale: int
    subsample: Subsample
    middle: float  # row and column of the kernels' centroid, pixels
    family: str
    compressed: bool = False
    misjudged: bool = False


def step_generator(seed: int, step: int, index: int = 0) -> torch.Generator:
    """Return a generator that depends on nothing but (seed, step, index)."""
    digest = hashlib.sha256(f"{seed}/{step}/{index}".encode()).digest()
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


def draw_kind(law: KernelLaw, generator: torch.Generator) -> Kind:
    """Draw what a batch has in common: scale, subsampling, grid, kernel family, JPEG or not, told rightly or not."""
    scale = _choose(law.scales, generator)
    if law.name == "bicubic":
        return Kind(scale, "bicubic", 0.0, "none")
    drawn = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    bicubic = drawn[0] < law.bicubic_share
    centred = law.bicubic_share <= drawn[0] < law.bicubic_share + law.centred_share
    return Kind(
        scale,
        "bicubic" if bicubic else "direct",
        (scale - 1) / 2 if centred else 0.0,
        _choose(law.families, generator),
        compressed=drawn[1] < law.jpeg_share,
        misjudged=drawn[2] < law.error_share,
    )


def draw_degradations(
    law: KernelLaw, kind: Kind, count: int, generator: torch.Generator
) -> tuple[Degradation, Degradation]:
    """Draw a kernel and a noise level for each of `count` patches.

    Returns:
        What happens to the patches, and what the network is told of it.
    """
    if law.name == "bicubic":
        d = Degradation(kernels.delta(), kind.scale, "bicubic")
        return d, d
    low, high = law.variance
    variance = low, high * kind.scale
    if kind.subsample == "bicubic" and kind.family != "uniform":
        # Bicubic subsampling blurs on its own account: half of the range, and down to none at all
        variance = low / 2, high * kind.scale / 2
    drawn = random_kernels(
        kind.family,
        count,
        variance=variance,
        size=kernels.SIZE if kind.scale <= 2 else max(21, 5 * kind.scale // 2 * 2 + 1),
        offset=(kind.middle, kind.middle),
        generator=generator,
    )
    noisy = torch.rand(count, generator=generator) < law.noise_share
    noise = torch.rand(count, generator=generator) * law.noise * noisy
    jpeg = None
    if kind.compressed:
        lowest, highest = law.jpeg
        quality = torch.randint(lowest, highest + 1, (count,), generator=generator).float()
        # Most files halve chroma. Blocks begin anywhere, for pictures are cut into tiles and cropped
        chroma: Chroma = "4:2:0" if _draw(4, generator) else "4:4:4"
        jpeg = Jpeg(tables(quality), chroma, (_draw(16, generator), _draw(16, generator)))
    phase = (kind.scale - 1) / 2 if kind.subsample == "bicubic" else kind.middle
    true = Degradation(drawn, kind.scale, kind.subsample, noise, jpeg, (phase, phase))
    if not kind.misjudged:
        return true, true
    return true, replace(true, kernel=misjudged(drawn, error=law.error, generator=generator))


def draw_pair(
    pictures: Sequence[Photograph], law: KernelLaw, count: int, side: int, generator: torch.Generator
) -> Pair:
    """Draw patches and degrade them, with low resolution rounded to 8 bits as files hold it."""
    kind = draw_kind(law, generator)
    true, told = draw_degradations(law, kind, count, generator)
    return _pair(pictures, true, told, count, side - side % kind.scale, generator)


def draw_task(
    pictures: Sequence[Photograph],
    law: KernelLaw,
    count: int,
    side: int,
    generator: torch.Generator,
    *,
    kind: Kind,
    same_image: bool,
) -> Task:
    """Draw one kernel and its two sets of patches.

    Args:
        pictures: to cut from.
        law: of the kernel.
        count: patches of each set.
        side: of a high-resolution patch, pixels.
        generator: source of randomness.
        kind: drawn beforehand, so that tasks that are computed at once can share it.
        same_image: D_tr is (son, lr) and D_te is (lr, hr) of the same patches of one photograph, as it will be at
            meta-test (MLSR, ECCV 2020); otherwise both are (lr, hr) of different patches, as MZSR publishes it.
    """
    true, told = (_single(d) for d in draw_degradations(law, kind, 1, generator))
    if not same_image:
        side -= side % kind.scale
        sets = [_pair(pictures, true, told, count, side, generator) for _ in range(2)]
        return Task(*sets)
    one = [pictures[_draw(len(pictures), generator)]]
    query = _pair(one, true, told, count, side - side % kind.scale**2, generator)
    father = crop(query.lr, kind.scale)
    with exact():
        son = degrade(father, query.degradation, generator)
    return Task(Pair(son, father, query.degradation), query)


def _pair(
    pictures: Sequence[Photograph],
    true: Degradation,
    told: Degradation,
    count: int,
    side: int,
    generator: torch.Generator,
) -> Pair:
    hr = draw_patches(pictures, count, side, generator)
    with exact():
        lr = (degrade(hr, true.to(hr.device), generator).clamp(0, 1) * 255).round() / 255
    return Pair(lr, hr, informed(told.to(hr.device), lr))


def _single(d: Degradation) -> Degradation:
    """Return a batch of one degradation as one for every image."""
    return d if d.kernel.ndim == 2 else replace(d, kernel=d.kernel[0])


def _choose(shares: Mapping[K, float], generator: torch.Generator) -> K:
    weights = torch.tensor(list(shares.values()), dtype=torch.float64)
    return list(shares)[int(torch.multinomial(weights, 1, generator=generator))]


def _draw(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))

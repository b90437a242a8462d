"""What an upscale came to: the picture, and all that is known of how it came about."""

import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation, phase
from mzsr.imaging.picture import Picture, to_array, to_pil
from mzsr.imaging.resize import Window, resize
from mzsr.inference.compression import jpeg_record
from mzsr.inference.estimate import RECORD, Estimate
from mzsr.shapes import Images

BAND = 256  # rows that are brought to another size at a time: what that takes does not grow with the picture
Input = str | Path | np.ndarray | Image.Image | Tensor


@dataclass(frozen=True)
class Result:
    """A super-resolved picture and all that is known of how it came about.

    Attributes:
        picture: the result, clamped to [0, 1], with the alpha and the metadata of the input.
        lr: the pixels of the input; of one that was brought back to the size whose detail it holds, those it has there,
            which degradation, reprojection_psnr and bicubic are about, too.
        degradation: what the input is taken to have gone through.
        estimate: where the kernel comes from, or None where it was given.
        losses: adaptation loss after 0, 1, … steps; empty without adaptation.
        kept: how many of the steps were kept.
        reprojection_psnr: dB, RGB, peak 1, between the degraded result and the input: does it explain the input?
        seconds: per stage: read, estimate, adapt, enhance, and write once it is saved.
        facts: model, scale, sizes, seed, device, and warnings in plain words.
        uncertainty: how far each pixel is likely to be off, 8-bit grey levels, (H, W); None where nobody asked.
        expected_psnr: dB, RGB, peak 255: what that comes to for the whole picture; None likewise.
    """

    picture: Picture
    lr: Images
    degradation: Degradation
    estimate: Estimate | None
    losses: list[float]
    kept: int
    reprojection_psnr: float
    seconds: dict[str, float]
    facts: dict[str, Any]
    given: Input = field(repr=False)
    uncertainty: Float[np.ndarray, "_rows _columns"] | None = None
    expected_psnr: float | None = None

    @cached_property
    def _warnings(self) -> list[str]:
        """Return what was said of the picture before any file was written."""
        return list(self.facts["warnings"])

    @cached_property
    def bicubic(self) -> Images:
        """Return the same enlargement by phase-correct bicubic, (1, C, H, W): what the result has to beat."""
        rows, columns = self.picture.pixels.shape[2:]
        return enlarge(self.lr, self.degradation, (rows, columns))

    @property
    def image(self) -> np.ndarray | Image.Image | Tensor:
        """Return the result as the kind of picture that was given; a file gives a PIL image."""
        if isinstance(self.given, Tensor):
            return self.picture.pixels.to(self.given)
        if isinstance(self.given, np.ndarray):
            return to_array(self.picture, like=self.given)
        return to_pil(self.picture)

    def save(self, path: str | Path, *, quality: int = 95) -> None:
        """Write the result with the metadata of the input, see `files.write`; what is left out becomes a warning."""
        start = time.perf_counter()
        left_out = files.write(path, self.picture, quality=quality)
        self.facts["warnings"] = [*self._warnings, *left_out]  # those of this file, whatever was written before
        self.seconds["write"] = time.perf_counter() - start

    def record(self) -> dict[str, Any]:
        """Return what `--json` prints: plain values only; None for a number that is not finite, which JSON has not."""
        covariance = kernels.covariance(self.degradation.kernel).tolist()
        told = self.estimate
        estimated: dict[str, Any] = dict.fromkeys(RECORD) if told is None else told.record()
        expected = {}
        if self.uncertainty is not None and self.expected_psnr is not None:
            expected["expected_error"] = round(float(self.uncertainty.mean()), 3)
            expected["expected_psnr_db"] = round(self.expected_psnr, 3) if self.expected_psnr < math.inf else None
        return {
            **self.facts,
            "degradation": {
                "kernel": "given" if told is None else "auto",
                "scale": self.degradation.scale,
                "size": self.degradation.kernel.shape[-1],
                "covariance_px2": [[round(value, 4) for value in row] for row in covariance],
                "phase_px": list(phase(self.degradation)),
                "subsample": self.degradation.subsample,
                "noise": round(float(self.degradation.noise), 6),
                "jpeg": jpeg_record(self.degradation.jpeg),
                **estimated,
            },
            "losses": [round(loss, 7) if math.isfinite(loss) else None for loss in self.losses],
            "steps_kept": self.kept,
            "reprojection_psnr_db": round(self.reprojection_psnr, 3) if self.reprojection_psnr < math.inf else None,
            **expected,
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
        }


def enlarge(images: Images, d: Degradation, size: tuple[int, int], window: Window | None = None) -> Images:
    """Enlarge by phase-correct bicubic to the size of a result, clamped to [0, 1].

    Args:
        images: (1, C, h, w), of the input.
        d: its degradation, which knows the grid.
        size: (height, width) of the result; where it lies between two whole scales, the grid of d shrinks along.
        window: the part of the result that is wanted; left out: all of it.
    """
    shares = (target / (side * d.scale) for target, side in zip(size, images.shape[2:], strict=True))
    rows, columns = ((share - 1) / 2 + share * place for share, place in zip(shares, phase(d), strict=True))
    return resize(images, size=size, phase=(rows, columns), window=window).clamp_(0, 1)


def resized(images: Images, size: tuple[int, int]) -> Images:
    """Bring pictures to a size by antialiased bicubic, in bands of rows; those that have it stay as they are."""
    if tuple(images.shape[2:]) == size:
        return images
    result = images.new_empty((*images.shape[:2], *size))
    for top in range(0, size[0], BAND):
        bottom = min(top + BAND, size[0])
        result[:, :, top:bottom] = resize(images, size=size, window=(top, bottom, 0, size[1]))
    return result

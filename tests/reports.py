"""A report as tests fill it in."""

import math

import numpy as np

from mzsr.apps.report import ReportData


def gaussian(n: int, long: float, short: float, degrees: float) -> np.ndarray:
    """Taps of a Gaussian with these standard deviations, its long axis turned counter-clockwise from the horizontal."""
    row, column = np.indices((n, n)) - (n - 1) / 2
    angle = math.radians(degrees)
    along, across = column * np.cos(angle) - row * np.sin(angle), column * np.sin(angle) + row * np.cos(angle)
    taps = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    return taps / taps.sum()


def solid(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def example() -> ReportData:
    """Return what is reported of a picture of noise."""
    rng = np.random.default_rng(0)
    return ReportData(
        name="holiday.jpg",
        size=(31, 47),
        before=rng.integers(0, 256, (31, 47, 3), np.uint8),
        after=rng.integers(0, 256, (31, 47, 3), np.uint8),
        kernel=gaussian(15, 2.0, 1.0, 30),
        kernel_source="estimated, confidence 0.83",
        note="A little soft.",
        losses=[0.03, 0.02, 0.015],
        kept=2,
        seconds={"read": 0.03, "adapt": 1.5, "enhance": 3.0},
        facts={"Model": "mzsr-x2", "Re-projection PSNR": "48.3 dB"},
        command="mzsr upscale holiday.jpg -s 2",
    )

"""Draw the README's picture: a detail of Chelsea, as it is | bicubic | mzsr; writes docs/figure.png.

Chelsea the cat is by Stéfan van der Walt (CC0) and ships with scikit-image (extra `demo`). Nothing was blurred or
shrunk for the purpose: blur and noise are estimated from the photograph.

command: python runs/figure.py
machine: any
hours:   0
score:   none (no ground truth)
"""

from pathlib import Path

import numpy as np
import torch
from skimage import data

import mzsr
from mzsr.imaging import files
from mzsr.imaging.picture import Picture

DETAIL = (slice(60, 210), slice(95, 245))  # rows and columns: an eye and whiskers


def main() -> None:
    """Enlarge the whole photograph, cut the detail from each, and put them side by side."""
    photograph = data.chelsea()
    result = mzsr.upscale(photograph, scale=2)
    rows, columns = (slice(2 * part.start, 2 * part.stop) for part in DETAIL)
    given = torch.from_numpy(np.ascontiguousarray(photograph[DETAIL])).permute(2, 0, 1)[None] / 255
    panels = [
        given.repeat_interleave(2, 2).repeat_interleave(2, 3),
        result.bicubic[:, :, rows, columns],
        result.picture.pixels[:, :, rows, columns],
    ]
    gap = torch.ones(1, 3, panels[0].shape[2], 8)
    Path("docs").mkdir(exist_ok=True)
    files.write("docs/figure.png", Picture(torch.cat([panels[0], gap, panels[1], gap, panels[2]], 3)))
    print("wrote docs/figure.png: as it is | bicubic | mzsr")


if __name__ == "__main__":
    main()

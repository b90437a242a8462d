"""Lists of pictures as tests make them, and what a person sees of the results."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mzsr.apps.batch import HIDDEN

FAST = ["--kernel", "bicubic", "--noise", "0", "--steps", "0", "--device", "cpu"]


def draw(path: Path, seed: int) -> None:
    """Write a small picture, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC).save(path)


def outputs(folder: Path) -> dict[str, bytes]:
    """Return all that a person sees, while others may be at work in it."""
    visible = [
        Path(here, name) for here, _, names in os.walk(folder) for name in names if HIDDEN not in Path(here).parts
    ]
    return {str(p.relative_to(folder)): p.read_bytes() for p in visible}


def write(text: str) -> Any:
    """Return what makes a result of this text, and tells it."""

    def put(path: Path) -> dict[str, Any]:
        path.write_text(text)
        return {"said": text}

    return put

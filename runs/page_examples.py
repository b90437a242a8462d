"""Make the three examples of the page: src/mzsr/service/web/examples/*, from photographs of scikit-image.

Photographs that no weights were trained on, each made half as wide in another way, so that the page has something to
find out. Their licences stand in README.md beside them.

command: python runs/page_examples.py
machine: any
hours:   0
score:   none
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from skimage import data

OUT = Path(__file__).resolve().parent.parent / "src/mzsr/service/web/examples"
EXAMPLES = (
    ("coffee.png", data.coffee, ("--kernel", "gauss:2.2", "--subsample", "direct")),
    ("astronaut.jpg", data.astronaut, ("--kernel", "gauss:0.8")),
    ("cat.png", data.chelsea, ("--kernel", "gauss:0.8", "--noise", "8/255")),
)


def main() -> None:
    """Degrade each photograph by `mzsr degrade`; the one that is to be a JPEG is compressed by writing it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, photograph, how in EXAMPLES:
            source, small = Path(folder, "photograph.png"), Path(folder, "small.png")
            Image.fromarray(photograph()).save(source)
            command = [sys.executable, "-m", "mzsr", "degrade", source, "-o", small, "--overwrite", *how]
            subprocess.run(command, check=True)
            with Image.open(small) as picture:
                picture.save(OUT / name, quality=80, optimize=True)
            print(f"{name}: {(OUT / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

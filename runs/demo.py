"""Enlarge a photograph that scikit-image ships, exactly as a person would with `mzsr upscale`.

The picture is Chelsea the cat by Stéfan van der Walt (CC0), 451x300, used as it ships: nothing was blurred or shrunk
for the purpose, so there is no ground truth to score against; look at demo/report.html instead.

command: make demo
machine: 2 CPU cores
hours:   under 0.01
score:   none (no ground truth); `report.html` shows before and after
"""

import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image
from skimage import data

FOLDER = Path("demo")


def main() -> int:
    """Write input, result and report into demo/ and say where they lie; returns the exit code of `mzsr`."""
    FOLDER.mkdir(exist_ok=True)
    picture, result, report = FOLDER / "input.png", FOLDER / "result.png", FOLDER / "report.html"
    Image.fromarray(data.chelsea()).save(picture)

    arguments = ["upscale", str(picture), "-o", str(result), "--report", str(report), "--overwrite"]
    print(f"$ mzsr {shlex.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "mzsr", *arguments], check=False).returncode
    if code:
        return code

    print("\nThe demo is done. Open the report in a browser:")
    for name, path in (("input", picture), ("result", result), ("report", report)):
        size = "{} x {} pixels".format(*Image.open(path).size) if path.suffix == ".png" else "before and after"
        print(f"  {name:<7} {path.resolve()}  ({size})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Kill a long list of pictures at random moments, again and again, and see whether anything is lost.

A folder of small pictures, one in twenty of them broken, is enlarged twice: once in peace, once killed (SIGKILL) at
random moments and started again with the same command. After every kill each file that a person sees must be, byte for
byte, that of the run in peace; at the end all of them must be there, and no more work may have been begun than there
are pictures and kills.

command: python runs/kill_batch.py
machine: 1 core of an Intel Xeon, float32, torch 2.13
hours:   0.25 (on a fraction of the core)
score:   1,000 pictures, 50 broken, 20 kills: 950 of 950 results as in peace, 950 worked on, nothing left over
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp")


def make(folder: Path, count: int, broken: int, drawn: random.Random) -> None:
    """Write small pictures in all formats, in folders within folders, and break some of them in one of five ways."""
    bad = set(drawn.sample(range(count), broken))
    for index in range(count):
        path = folder / f"{index // 100}" / f"{index % 7}" / f"{index:04}{SUFFIXES[index % len(SUFFIXES)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (drawn.randint(4, 6), drawn.randint(4, 7), 3), np.uint8)
        Image.fromarray(noise).resize((drawn.randint(16, 40), drawn.randint(16, 40)), Image.Resampling.BICUBIC).save(
            path
        )
        if index in bad:
            data = path.read_bytes()
            ways = (b"", data[: len(data) // 2], b"this is no picture\n" * 9, data[:20], bytes(len(data)))
            path.write_bytes(ways[index % len(ways)])


def visible(folder: Path) -> list[Path]:
    """List all files of a folder that are not hidden, while others may be at work in it."""
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".mzsr"]
        found += [Path(here, name) for name in names]
    return found


def seen(folder: Path) -> dict[str, bytes]:
    """Return their bytes by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in visible(folder)}


def main() -> int:
    """Run in peace, run and kill, compare; returns 1 if anything is lost, changed or half-written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--broken", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    drawn = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "in", arguments.count, arguments.broken, drawn)
        words = [sys.executable, "-m", "mzsr", "upscale", str(folder / "in"), "--recursive", "--kernel", "bicubic"]
        words += ["--noise", "0", "--steps", "0", "--json", "-o"]

        def run(out: str) -> subprocess.Popen[bytes]:
            with (folder / "told").open("wb") as told:  # a pipe that nobody reads would fill up and stop it
                return subprocess.Popen([*words, str(folder / out)], stdout=told, stderr=subprocess.DEVNULL)

        start = time.perf_counter()
        code = run("peace").wait()
        whole, expected = time.perf_counter() - start, seen(folder / "peace")
        print(f"in peace: {whole:.0f} s, exit code {code}, {len(expected)} results", flush=True)
        fine = code == 1 and len(expected) == arguments.count - arguments.broken
        begun, found = 0, dict[str, bytes]()
        for kill in range(arguments.kills + 1):
            process = run("war")
            if kill < arguments.kills:
                # After a random number of new results, and then a random part of the time that two of them take
                wanted = len(found) + drawn.randint(0, 2 * (len(expected) - len(found)) // (arguments.kills - kill))
                while process.poll() is None and len(visible(folder / "war")) < wanted:
                    time.sleep(0.1)
                time.sleep(drawn.uniform(0, 2 * whole / len(expected)))
                process.kill()  # which may have ended by itself
            process.wait()
            lines = [json.loads(line) for line in (folder / "told").read_bytes().split(b"\n")[:-1]]
            begun += sum("skipped" not in line for line in lines)
            found = seen(folder / "war")
            fine &= found.items() <= expected.items() and (kill < arguments.kills or process.returncode == 1)
            print(f"run {kill + 1}: {len(found)} results, all as in peace: {fine}", flush=True)
        left = [path for path in (folder / "war").rglob("*") if path.is_file() and "part" in path.name]
        fine &= found == expected and not left and begun <= len(expected)
        print(f"{len(found)} of {len(expected)} results, {begun} worked on; {len(left)} files left over")
        print("nothing lost" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

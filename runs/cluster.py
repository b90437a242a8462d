"""Measure a list on a Ray cluster: against processes without Ray, as the list grows, and while a node dies.

Throughput: photographs cut to squares, one step, by one process, by two that have half of the list each, and by a
cluster with two workers; one thread each, first on one list and then on one five times as long, so that what a start
costs falls out of the difference. Growth: lists of 16x16 pictures without adaptation, where there is little but
overhead. Nodes: three of them with a processor each, one killed with all its processes, results compared with a run
without Ray. Two cores have to be free. Ray's workers are polite (nice 15) as a rule, and give way to whatever else
runs; here they are not, so that all three are measured alike.

command: python runs/cluster.py --data ../shared/data/bench/BSD100
machine: 2 cores of an Intel Xeon, with other work but for the throughput, float32, torch 2.13
hours:   0.2 for the growth, 0.05 for the rest
score:   10,000 pictures of 16x16: 12.4 ms a picture, 12.3 without Ray, 0.7 if done before; a node killed after 10 of 30
         pictures: nothing lost, nothing done twice; 0.88 and 1.01 of the pace of two processes
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

MZSR = [sys.executable, "-m", "mzsr", "upscale"]
ALONE = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
ALONE |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # of these clusters alone
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]  # `ray`, of the same environment
PORT = 6399


def crops(data: Path, out: Path, count: int, side: int) -> None:
    """Cut squares out of photographs, in turn."""
    out.mkdir(parents=True)
    names = sorted(path for path in data.iterdir() if path.suffix.lower() in (".png", ".jpg"))
    for index in range(count):
        with Image.open(names[index % len(names)]) as image:
            left, top = (37 * (index // len(names)) % max(length - side, 1) for length in image.size)
            image.convert("RGB").crop((left, top, left + side, top + side)).save(out / f"{index:05}.png")


def blots(out: Path, count: int) -> None:
    """Make pictures of 16x16."""
    out.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    for index in range(count):
        Image.fromarray(noise[index]).save(out / f"{index:05}.png")


def begin(source: Path, out: Path, *words: str, told: BinaryIO) -> subprocess.Popen[bytes]:
    """Begin to enlarge a folder."""
    command = [*MZSR, str(source), "-o", str(out), "--device", "cpu", *words]
    return subprocess.Popen(command, env=ALONE, stdout=told, stderr=subprocess.STDOUT)


def timed(sources: list[Path], out: Path, *words: str) -> float:
    """Enlarge folders, each by a process of its own; return the seconds until all have ended well."""
    with tempfile.TemporaryFile() as told:
        start = time.perf_counter()
        codes = [process.wait() for process in [begin(source, out, *words, told=told) for source in sources]]
        seconds = time.perf_counter() - start
        if any(codes):
            told.seek(0)
            raise RuntimeError(told.read().decode()[-2000:])
    time.sleep(3)  # what a cluster leaves behind ends a little later
    return seconds


def seen(folder: Path) -> dict[str, bytes]:
    """Return all results of a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def throughput(data: Path, root: Path, count: int, side: int) -> None:
    """Compare a cluster of two workers with one process and with two."""
    names = ("one process", "two processes", "cluster, two workers")
    taken: dict[str, list[float]] = {name: [] for name in names}
    for total in (count, 5 * count):
        folder = root / f"photographs {total}"
        crops(data, folder, total, side)
        halves = [root / f"half {half} of {total}" for half in (0, 1)]
        for index, path in enumerate(sorted(folder.iterdir())):
            halves[index % 2].mkdir(exist_ok=True)
            shutil.copy(path, halves[index % 2])
        ways = [([folder], ()), (halves, ()), ([folder], ("--cluster", "local"))]
        outs = [root / f"{name} {total}" for name in names]
        for name, out, (sources, words) in zip(names, outs, ways, strict=True):
            taken[name].append(timed(sources, out, *words))
        whole = seen(outs[0])
        assert len(whole) == total
        assert all(seen(out) == whole for out in outs), "bytes differ"
    print(f"\n{side}x{side} → {2 * side}x{2 * side}, one step, one thread a worker; the same bytes from all three\n")
    print(f"| | {count} pictures | {5 * count} pictures | a picture, without the start | pace of two processes |")
    print("|---|---|---|---|---|")
    each = {name: (long - short) / (4 * count) for name, (short, long) in taken.items()}
    for name, (short, long) in taken.items():
        share = each["two processes"] / each[name]
        print(f"| {name} | {short:.1f} s | {long:.1f} s | {each[name]:.3f} s | {share:.2f} |", flush=True)


def growth(root: Path, counts: list[int]) -> None:
    """See what a picture costs as the list grows: done, and found done."""
    print("\n16x16 → 32x32, no step; milliseconds are those of a picture beyond the row above\n")
    print("| pictures | one process | | cluster, two workers | | cluster, all done before | |")
    print("|---|---|---|---|---|---|---|")
    fewer, earlier = 0, [0.0, 0.0, 0.0]
    for count in counts:
        folder = root / f"blots {count}"
        blots(folder, count)
        one, many = root / f"one {count}", root / f"many {count}"
        taken = [timed([folder], one, "--mode", "fast")]
        taken += [timed([folder], many, "--mode", "fast", "--cluster", "local") for _ in range(2)]
        assert seen(one) == seen(many)
        more = [1e3 * (now - before) / (count - fewer) for now, before in zip(taken, earlier, strict=True)]
        cells = [f"{now:.1f} s | {each:.1f} ms" for now, each in zip(taken, more, strict=True)]
        print(f"| {count:,} | {' | '.join(cells)} |", flush=True)
        fewer, earlier = count, taken


def dying(data: Path, root: Path, count: int, side: int) -> None:
    """Kill one of three nodes in the middle; count what was lost and what was done twice."""
    folder = root / "photographs of nodes"
    crops(data, folder, count, side)
    timed([folder], root / "peace")
    address, out = f"127.0.0.1:{PORT}", root / "war"
    nodes = [
        [*RAY, "start", "--block", "--num-cpus", "1", "--head", "--node-ip-address", "127.0.0.1", "--port", str(PORT)]
    ]
    nodes += [[*RAY, "start", "--block", "--num-cpus", "1", "--address", address] for _ in range(2)]
    running = []
    try:
        for command in nodes:
            running.append(
                subprocess.Popen(
                    command, env=ALONE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
                )
            )
            while not listens(PORT):  # the head, before others can join
                time.sleep(0.1)
        with (root / "told").open("wb") as told:
            command = [*MZSR, str(folder), "-o", str(out), "--device", "cpu", "--json", "--cluster", address]
            start = time.perf_counter()
            process = subprocess.Popen(command, env=ALONE, stdout=told, stderr=subprocess.DEVNULL)
            while len(seen(out)) < count // 3:
                time.sleep(0.1)
            early = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
            kill_family(running[1].pid)
            killed = time.perf_counter()
            code = process.wait()
        end = time.perf_counter()
    finally:
        for node in running:
            kill_family(node.pid)
    records = [json.loads(line) for line in (root / "told").read_bytes().splitlines()]
    whole = seen(root / "peace")
    lost = len(whole.items() - seen(out).items())
    twice = sum(path.stat().st_mtime_ns != when for path, when in early.items())
    skipped = sum("skipped" in record for record in records)
    print(f"\nthree nodes, one killed after {len(early)} of {count} pictures, {killed - start:.0f} s after the start:")
    print(f"exit code {code} after {end - start:.0f} s; {lost} results lost or other than without Ray,")
    print(f"{twice} finished ones done again; {len(records)} records, {skipped} found done where the dead had been")


def listens(port: int) -> bool:
    """Return whether somebody on this machine listens."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def kill_family(pid: int) -> None:
    """Kill a process with all that it has begun."""
    family = [pid]
    for parent in family:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            family += [int(child) for child in tasks.read_text().split()]
    for member in family:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            pass


def main() -> None:
    """Measure all of it, or what is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument(
        "--only", nargs="*", choices=("throughput", "growth", "nodes"), default=("throughput", "growth", "nodes")
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if "throughput" in arguments.only:
            throughput(arguments.data, Path(name), arguments.count, arguments.side)
        if "growth" in arguments.only:
            growth(Path(name), arguments.counts)
        if "nodes" in arguments.only:
            dying(arguments.data, Path(name), 3 * arguments.count, arguments.side // 2)


if __name__ == "__main__":
    main()

"""Measure a list on a Ray cluster: against processes without Ray, as the list grows, and while a node dies.

Throughput: photographs cut to squares, one step, by one process, by two that have half of the list each, and by a
cluster with two workers; one thread each, first on one list and then on one three times as long, so that what a start
costs falls out of the difference. Growth: lists of 16x16 pictures without adaptation, where there is little but
overhead. Nodes: three of them with a processor each, one killed with all its processes, results compared with a run
without Ray. Pin it to two cores that are free, `taskset -c 0,1`.

command: python runs/cluster.py --data ../shared/data/bench/BSD100
machine: MACHINE
hours:   HOURS
score:   SCORE
"""

import argparse
import ctypes
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

MZSR = [sys.executable, "-m", "mzsr", "upscale"]
ALONE = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
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


def timed(sources: list[Path], out: Path, *words: str) -> tuple[float, float]:
    """Enlarge folders, each by a process of its own; return seconds by the clock and core-seconds of all processes."""
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as said:
        processes = [
            subprocess.Popen(
                [*MZSR, str(source), "-o", str(out), "--device", "cpu", *words], env=ALONE, stdout=said, stderr=said
            )
            for source in sources
        ]
        codes = [process.wait() for process in processes]
        seconds = time.perf_counter() - clock
        if any(codes):
            said.seek(0)
            raise RuntimeError(said.read().decode()[-2000:])
    with suppress(ChildProcessError):  # what a cluster leaves ends a little later, and its time counts
        while True:
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seen(folder: Path) -> dict[str, bytes]:
    """Return all results of a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def throughput(data: Path, root: Path, count: int, side: int) -> None:
    """Compare a cluster of two workers with one process and with two."""
    names = ("one process", "two processes", "cluster, two workers")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for total in (count, 3 * count):
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
    print(f"| | {count} pictures, s | {3 * count}, s | a picture, without starts, s | core-s | pace of two processes |")
    print("|---|---|---|---|---|---|")
    pace = {name: [(b - a) / (2 * count) for a, b in zip(*both, strict=True)] for name, both in taken.items()}
    for name, ((short, _), (long, _)) in taken.items():
        seconds, cores = pace[name]
        share = pace["two processes"][0] / seconds
        print(f"| {name} | {short:.1f} | {long:.1f} | {seconds:.3f} | {cores:.3f} | {share:.2f} |", flush=True)


def growth(root: Path, counts: list[int]) -> None:
    """See what a picture costs as the list grows: done, and found done."""
    print("\n16x16 → 32x32, no step: seconds by the clock, and core-milliseconds a picture beyond the row above\n")
    print("| pictures | one process | | cluster | | cluster, all done before | |")
    print("|---|---|---|---|---|---|---|")
    earlier = (0, [0.0, 0.0, 0.0])
    for count in counts:
        folder = root / f"blots {count}"
        blots(folder, count)
        one, many = root / f"one {count}", root / f"many {count}"
        taken = [timed([folder], one, "--mode", "fast")]
        taken += [timed([folder], many, "--mode", "fast", "--cluster", "local") for _ in range(2)]
        assert seen(one) == seen(many)
        cells = []
        for (seconds, cores), before in zip(taken, earlier[1], strict=True):
            cells += [f"{seconds:.1f} s", f"{1e3 * (cores - before) / (count - earlier[0]):.1f} ms"]
        print(f"| {count:,} | {' | '.join(cells)} |", flush=True)
        earlier = count, [cores for _, cores in taken]


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
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            running.append(subprocess.Popen(command, env=ALONE, start_new_session=True, **quiet))
            time.sleep(10)  # a head has to listen before others can join
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
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument(
        "--only", nargs="*", choices=("throughput", "growth", "nodes"), default=("throughput", "growth", "nodes")
    )
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans of a cluster become ours (Linux), so that their time is counted
    with tempfile.TemporaryDirectory() as name:
        if "throughput" in arguments.only:
            throughput(arguments.data, Path(name), arguments.count, arguments.side)
        if "growth" in arguments.only:
            growth(Path(name), arguments.counts)
        if "nodes" in arguments.only:
            dying(arguments.data, Path(name), 3 * arguments.count, arguments.side)


if __name__ == "__main__":
    main()

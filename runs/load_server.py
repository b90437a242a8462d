"""Ask a server for many pictures from many clients at once: is any lost, and does its memory grow?

A real `mzsr serve` on the loopback. First one client measures what a person waits for: the first byte, the thumbnail,
a picture of 256 x 256 at x2. Then CLIENTS threads send REQUESTS small pictures among them, come back when they are told
to (429, Retry-After), follow the events and fetch the result. Pictures repeat, and the same picture must give the same
bytes. The memory is counted after every tenth of the requests: resident kilobytes of the server and all its workers.

command: python runs/load_server.py
machine: 1 core of an Intel Xeon that five others shared, one worker of one thread
hours:   0.26 by the clock, about 0.05 of computing
score:   200 of 200 done, none lost, 1072 times told to come back (10 may wait); resident 313 MB before and 317 MB after
         (server), 703 and 670 MB (worker and looker); first byte 8 ms, thumbnail 134 ms; 256 x 256 at x2 takes 1.6
         seconds of one core, 5.4 s by that clock
"""

import argparse
import hashlib
import io
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

import httpx
import numpy as np
from PIL import Image


def picture(side: int, seed: int) -> bytes:
    """Return a PNG with something in it at every size of detail."""
    noise, out = np.random.default_rng(seed), io.BytesIO()
    layers = [Image.fromarray(noise.integers(0, 256, (n, n, 3), np.uint8)).resize((side, side), 3) for n in (4, 16, 64)]
    Image.fromarray(np.mean([np.asarray(layer, float) for layer in layers], 0).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def ask(client: httpx.Client, content: bytes, waits: list[float], **options: str) -> tuple[str, bytes, float]:
    """Send a picture until it is taken, and fetch what it becomes; return state, bytes and the seconds it took."""
    while True:
        begun = time.perf_counter()
        posted = client.post("/api/jobs", files={"file": ("a.png", content)}, data=options)
        if posted.status_code != 429:
            break
        waits.append(float(posted.headers["retry-after"]))
        time.sleep(waits[-1] * random.uniform(1, 1.5))  # all at once would find the queue full again
    links, data = posted.raise_for_status().json()["links"], ""
    with client.stream("GET", links["events"]) as stream:
        for line in stream.iter_lines():
            data = line[6:] if line.startswith("data: ") else data
    job = httpx.Response(200, text=data).json()
    result = client.get(links["self"] + "/result")
    return job["state"], result.content if result.is_success else b"", time.perf_counter() - begun


def resident(pid: int) -> dict[str, int]:
    """Return the resident kilobytes of a server and of all its processes together."""
    found = {"server": 0, "workers": 0}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if "VmRSS" in lines and str(pid) in (status.parent.name, lines["PPid"].strip()):
            found["server" if status.parent.name == str(pid) else "workers"] += int(lines["VmRSS"].split()[0])
    return found


def measure_one(client: httpx.Client) -> None:
    """Print what a person waits for."""
    content, first, small, whole = picture(256, 0), [], [], []
    ask(client, content, [])  # warm
    for _ in range(20):
        begun = time.perf_counter()
        with client.stream("GET", "/") as page:
            next(page.iter_raw())
            first.append(time.perf_counter() - begun)
    for _ in range(9):
        begun = time.perf_counter()
        job = client.post("/api/jobs", files={"file": ("a.png", content)}).raise_for_status().json()
        while not client.get(f"{job['links']['self']}/views/thumbnail.jpg").is_success:
            time.sleep(0.005)
        small.append(time.perf_counter() - begun)
        with client.stream("GET", job["links"]["events"]) as stream:
            stream.read()
        client.get(f"{job['links']['self']}/views/result.png").raise_for_status()
        whole.append(time.perf_counter() - begun)
    for what, seconds in (("first byte", first), ("thumbnail", small), ("256 x 256 at x2 on the page", whole)):
        print(f"{what}: median {1000 * median(seconds):.0f} ms, worst {1000 * max(seconds):.0f} ms of {len(seconds)}")


def measure_many(base: str, pid: int, requests: int, clients: int) -> bool:
    """Print how many went well; return whether all did."""
    pictures = [picture(64, seed) for seed in range(10)]
    seconds: list[float] = []
    waits: list[float] = []
    seen: dict[int, set[str]] = {index: set() for index in range(len(pictures))}
    states: list[str] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        with httpx.Client(base_url=base, timeout=600) as client:
            state, content, took = ask(client, pictures[number % len(pictures)], waits, steps="0")
        with lock:
            seen[number % len(pictures)].add(hashlib.sha256(content).hexdigest())
            states.append(state)
            seconds.append(took)
            if len(states) % max(requests // 10, 1) == 0:
                print(f"{len(states):5} done, resident kB: {resident(pid)}", flush=True)

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(one, range(requests)))
    took = time.perf_counter() - begun
    same = all(len(hashes) == 1 for hashes in seen.values())
    print(
        f"{requests} requests of {clients} clients in {took:.0f} s: {states.count('done')} done, "
        f"{requests - states.count('done')} lost; {len(waits)} times told to come back; "
        f"median {median(seconds):.1f} s, 95 % {quantiles(seconds, n=20)[-1]:.1f} s; "
        f"{'the same picture gave the same bytes' if same else 'THE SAME PICTURE GAVE OTHER BYTES'}"
    )
    return same and states.count("done") == requests


def main() -> int:
    """Start a server, ask it, and stop it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("options", nargs="*", help="of mzsr serve, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        words = ["-m", "mzsr", "serve", "--port", "0", "--data", data, "--queue", "10", *arguments.options]
        with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            told = re.match(r"mzsr: (http://\S+)", server.stderr.readline())
            assert told, server.stderr.read()
            try:
                with httpx.Client(base_url=told[1], timeout=600) as client:
                    measure_one(client)
                print(f"resident kB before: {resident(server.pid)}")
                fine = measure_many(told[1], server.pid, arguments.requests, arguments.clients)
            finally:
                server.terminate()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

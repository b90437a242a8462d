"""Results as files: results.csv (a row for every picture), results.md, results.html and about.json, in one folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from mzsr.atomic import write_atomically
from mzsr.benchmark.cells import Source, set_hash
from mzsr.benchmark.page import Comparison, render
from mzsr.benchmark.rows import About, Row, write_csv
from mzsr.benchmark.timings import Timing, write_timings
from mzsr.imaging.metrics import PROTOCOLS
from mzsr.learning.cards import commit
from mzsr.learning.devices import best_precision, name_of, precision_name
from mzsr.version import __version__

Tables = list[tuple[str, str]]


def about(command: str, protocol: str, sources: Sequence[Source], workers: int, problems: Sequence[str]) -> About:
    """Gather what stands beside qualities."""
    rules = PROTOCOLS[protocol]
    channels = "luma of BT.601" if rules.channels == "y" else "RGB"
    rounding = ", rounded to integers" if rules.round_y else ""
    beyond = f" + {rules.extra}" if rules.extra else ""
    words = f"PSNR and SSIM on {channels}{rounding}, 8-bit pictures, a border of the scale{beyond} cut off"
    data = {}
    for name in dict.fromkeys(source.set for source in sources):
        mine = [source for source in sources if source.set == name]
        data[name] = f"{len(mine)} pictures, sha256 {set_hash(mine)}"
    work = f"{workers} processes of one thread" if workers > 1 else "1 process of one thread"
    return About(command, __version__, commit(), _machine(work), protocol, words, data, tuple(problems))


def about_speed(command: str, device: torch.device, threads: int, problems: Sequence[str]) -> About:
    """Gather what stands beside timings."""
    return About(command, __version__, commit(), _machine(f"threads: {threads}", device), "", "", {}, tuple(problems))


def publish(folder: Path, rows: list[Row], told: About, tables: Tables, shown: Callable[[], list[Comparison]]) -> None:
    """Write all files, each whole or not at all; the worst pictures are made when the numbers are safe.

    Raises:
        InputError: matplotlib is missing, without which the page has no plots; the other files are written.
    """
    write_csv(folder / "results.csv", rows)
    _write_texts(folder, told, tables)
    _write(folder / "results.html", render(rows, told, tables, shown()))


def publish_speed(folder: Path, timings: Sequence[Timing], told: About, tables: Tables) -> None:
    """Write all files about speed; see `publish`."""
    write_timings(folder / "results.csv", timings)
    _write_texts(folder, told, tables)
    _write(folder / "results.html", render([], told, tables, [], timings))


def _machine(work: str, place: torch.device = torch.device("cpu")) -> str:  # noqa: B008
    precision = precision_name(best_precision(place))
    return f"{name_of(place)}, {work}, {precision}, torch {torch.__version__}"


def _write_texts(folder: Path, told: About, tables: Tables) -> None:
    _write(folder / "results.md", _markdown(told, tables))
    _write(folder / "about.json", json.dumps(asdict(told), indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda part: part.write_text(text, "utf-8"))


def _markdown(told: About, tables: Tables) -> str:
    facts = [
        *([f"Protocol `{told.protocol}`: {told.protocol_words}."] if told.protocol else []),
        f"`{told.command}`, mzsr {told.version} ({told.commit}), {told.machine}.",
        *(f"{name}: {words}." for name, words in told.data.items()),
    ]
    parts = ["# Results", "  \n".join(facts), *(f"## {heading}\n\n{table}" for heading, table in tables)]
    if told.skipped:
        parts.append("## Not measured\n\n" + "\n".join(f"- {sentence}" for sentence in told.skipped))
    return "\n\n".join(parts) + "\n"

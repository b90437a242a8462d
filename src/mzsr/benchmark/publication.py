"""Results as files: results.csv (a row for every picture), results.md, results.html and about.json, in one folder."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from mzsr.atomic import write_atomically
from mzsr.benchmark.cells import Source, set_hash
from mzsr.benchmark.page import Comparison, write_page
from mzsr.benchmark.rows import About, Row, write_csv
from mzsr.imaging.metrics import PROTOCOLS
from mzsr.learning.cards import commit
from mzsr.version import __version__

Tables = list[tuple[str, str]]


def about(command: str, protocol: str, sources: Sequence[Source], workers: int, problems: Sequence[str]) -> About:
    """Gather what stands beside the numbers."""
    rules = PROTOCOLS[protocol]
    channels = "luma of BT.601" if rules.channels == "y" else "RGB"
    rounding = ", rounded to integers" if rules.round_y else ""
    beyond = f" + {rules.extra}" if rules.extra else ""
    words = f"PSNR and SSIM on {channels}{rounding}, 8-bit pictures, a border of the scale{beyond} cut off"
    data = {}
    for name in dict.fromkeys(source.set for source in sources):
        mine = [source for source in sources if source.set == name]
        data[name] = f"{len(mine)} pictures, sha256 {set_hash(mine)}"
    processor = platform.processor() or platform.machine()
    machine = f"{processor}, {workers} processes of one thread, torch {torch.__version__}"
    return About(command, __version__, commit(), machine, protocol, words, data, tuple(problems))


def publish(folder: Path, rows: list[Row], told: About, tables: Tables, shown: list[Comparison]) -> None:
    """Write all files, each whole or not at all.

    Raises:
        InputError: matplotlib is missing, without which the page has no plots; the other files are written.
    """
    write_csv(folder / "results.csv", rows)
    markdown = _markdown(told, tables)
    write_atomically(folder / "results.md", lambda part: part.write_text(markdown, "utf-8"))
    facts = json.dumps(asdict(told), indent=2) + "\n"
    write_atomically(folder / "about.json", lambda part: part.write_text(facts, "utf-8"))
    write_page(folder / "results.html", rows, told, tables, shown)


def _markdown(told: About, tables: Tables) -> str:
    facts = [
        f"Protocol `{told.protocol}`: {told.protocol_words}.",
        f"`{told.command}`, mzsr {told.version} ({told.commit}), {told.machine}.",
        *(f"{name}: {words}." for name, words in told.data.items()),
    ]
    parts = ["# Results", "  \n".join(facts), *(f"## {heading}\n\n{table}" for heading, table in tables)]
    if told.skipped:
        parts.append("## Not measured\n\n" + "\n".join(f"- {sentence}" for sentence in told.skipped))
    return "\n\n".join(parts) + "\n"

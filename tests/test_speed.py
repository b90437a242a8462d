"""Tests of the measuring of speed: what is counted against closed forms, what is derived from hand-made timings.

No test looks at how long anything took.
"""

import math
import mmap
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mzsr.benchmark import references, speed, stages, timings
from mzsr.benchmark.references import REFERENCES, RrdbNet
from mzsr.benchmark.speed import Cost, measure_all, skip_reason
from mzsr.benchmark.stages import Meter, check_network, counter, full_schedule, runner
from mzsr.benchmark.timings import Timing, read_timings, write_timings
from mzsr.config import NetworkConfig
from mzsr.errors import InputError
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation
from mzsr.imaging.picture import Picture
from mzsr.inference.estimate import estimate
from mzsr.learning import devices
from mzsr.learning.contract import Network
from mzsr.learning.networks import build

CPU = torch.device("cpu")
PLAIN = Degradation(kernels.delta(), 2)
PAPER_MACS = 9 * (3 * 64 + 6 * 64 * 64 + 64 * 3)  # every weight of its 3x3 kernels, once for each pixel of output
EDSR_MACS = 9 * (3 * 64 + 33 * 64 * 64 + 64 * 256) / 4 + 9 * 64 * 3
DENSE = sum((64 + 32 * i) * width for i, width in enumerate([32, 32, 32, 32, 64]))
RRDB_MACS = 9 * ((12 * 64 + 23 * 3 * DENSE + 64 * 64) / 16 + 64 * 64 / 4 + 2 * 64 * 64 + 64 * 3)


def arithmetic(call: Callable[[], object]) -> int:
    with counter() as counting:
        call()
    return counting.get_total_flops()


def timing(network: str, size: int, seconds: float, **others: object) -> Timing:
    """Return one whose enhancement takes all but 3/4 of a second."""
    made = Timing(network, size, 0.25, None, None, seconds - 0.75, 0.5, 0.1, 100.0, 200.0, 1000.0, None, 1e11, 3, 1,
                  "cpu", "float32", False)  # fmt: skip
    return made._replace(**others)


@pytest.mark.parametrize(
    ("make", "count"),
    [(lambda: RrdbNet(scale=4), 16_697_987), (RrdbNet, 16_697_987 + 9 * 9 * 64)],
    ids=["esrgan", "real-esrgan x2"],
)
def test_references_have_the_published_number_of_parameters(make: Callable[[], nn.Module], count: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == count


@pytest.mark.parametrize(("name", "macs"), [("edsr-s", EDSR_MACS), ("rrdbnet", RRDB_MACS)])
def test_references_cost_their_weights_at_the_grids_they_work_on(name: str, macs: float) -> None:
    with torch.device("meta"):
        network, lr = REFERENCES[name](), torch.empty(1, 3, 32, 48)
    assert network(lr, PLAIN).shape == (1, 3, 64, 96)
    assert arithmetic(lambda: network(lr, PLAIN)) == 2 * macs * 64 * 96


def test_an_output_pixel_of_rrdbnet_costs_the_same_at_either_scale() -> None:
    with torch.device("meta"):
        twice, fourfold, lr = RrdbNet(), RrdbNet(scale=4), torch.empty(1, 3, 32, 32)
    extra = 2 * 9 * 9 * 64 / 16  # of the first convolution: 12 channels instead of 3, on a quarter of the side
    assert arithmetic(lambda: twice(lr, PLAIN)) / 64**2 == arithmetic(lambda: fourfold(lr, PLAIN)) / 128**2 + extra


@pytest.mark.parametrize("make", [REFERENCES["edsr-s"], lambda: RrdbNet(blocks=1)], ids=["edsr-s", "rrdbnet"])
def test_references_see_the_whole_depth(make: Callable[[], nn.Module]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, lr = make(), torch.rand(1, 3, 12, 12)
    network(lr, PLAIN).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_arithmetic_is_the_closed_form() -> None:
    conv, images = nn.Conv2d(5, 7, 3, padding=1, groups=1), torch.rand(2, 5, 11, 13)
    assert arithmetic(lambda: conv(images)) == 2 * 2 * 11 * 13 * 9 * 5 * 7
    spectrum = torch.rand(3, 16, 17, dtype=torch.complex64)
    assert arithmetic(lambda: torch.fft.rfft2(torch.rand(3, 16, 32))) == 2.5 * 3 * 512 * 9
    assert arithmetic(lambda: torch.fft.irfft2(spectrum, s=(16, 32))) == 2.5 * 3 * 512 * 9


def test_the_papers_network_costs_its_weights() -> None:
    network = build(NetworkConfig(name="paper"))
    d = Degradation(kernels.gaussian((2.0, 2.0)))
    assert PAPER_MACS == 224_640  # 225,091 parameters less 451 biases
    with torch.no_grad():
        assert arithmetic(lambda: network(torch.rand(1, 3, 16, 24), d)) == 2 * PAPER_MACS * 32 * 48


def test_matmul_rate_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 n³ operations in 4, 1 and 2 seconds."""
    ticks = iter([0.0, 4.0, 4.0, 5.0, 5.0, 7.0])
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert speed.matmul_rate(CPU, seconds=0, side=64) == 2 * 64**3


class Larger(Network):
    """Nearest neighbours, as a reference."""

    def mean(self, lr: torch.Tensor, d: Degradation) -> tuple[torch.Tensor, torch.Tensor]:
        return nn.functional.interpolate(lr, scale_factor=2.0), lr


class Scripted(Meter):
    """A meter whose clock and counter read what they are told to."""

    def __init__(self, *readings: tuple[float, float]) -> None:
        super().__init__()
        self.readings = list(readings)

    def now(self) -> tuple[float, float]:
        return self.readings.pop(0)


def test_a_stage_ends_where_it_is_last_heard_of() -> None:
    meter = Scripted((1.0, 10.0), (2.0, 20.0), (4.0, 50.0), (4.0, 50.0), (7.0, 51.0))
    for stage, done in (("adapt", 0.0), ("adapt", 0.5), ("adapt", 1.0)):
        meter.told(stage, done)
    with meter.stage("write"):
        pass
    assert meter.seconds == {"adapt": 3.0, "write": 3.0}
    assert meter.flops == {"adapt": 40.0, "write": 1.0}


@pytest.mark.parametrize("marks", [[(0.25, 9.0), (1.0, 15.0)], [(0.25, 9.0), (0.5, 11.0), (1.0, 15.0), (1.0, 99.0)]])
def test_a_schedule_is_extrapolated_without_its_beginning(marks: list[tuple[float, float]]) -> None:
    assert full_schedule(marks, 100) == 100 * 8  # 8 seconds for a part, after 7 of preparation
    assert math.isnan(full_schedule(marks[-1:], 100))


def test_zssr_is_timed_in_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fake(lr: torch.Tensor, d: Degradation, *, iterations: int, progress: Callable[[float], None]) -> object:
        asked.append(iterations)
        for done in (0.5, 1.0, 1.0):
            progress(done)
        return SimpleNamespace(picture=lr.repeat_interleave(2, 2).repeat_interleave(2, 3))

    asked: list[int] = []
    monkeypatch.setattr(stages, "zssr", fake)
    files.write(tmp_path / "a.png", Picture(torch.full((1, 3, 16, 16), 0.2)))
    clock = [(0, 0), (1, 0), (5, 100), (8, 160), (8, 160), (20, 400), (20, 400), (21, 400)]
    meter = Scripted(*((float(seconds), float(flops)) for seconds, flops in clock))
    runner("zssr", CPU)(tmp_path / "a.png", tmp_path / "b.png", meter)
    assert asked == [60]
    assert meter.seconds == {"read": 1.0, "adapt": 3.0 * 3000 / 30, "enhance": 12.0, "write": 1.0}
    assert meter.flops == {"read": 0.0, "adapt": 60.0 * 3000 / 30, "enhance": 240.0, "write": 0.0}
    assert bool((files.read(tmp_path / "b.png").pixels == 0.2).all())


def test_a_reference_fits_its_tiles_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tiles without halo: each is what the network makes of that part alone."""
    monkeypatch.setattr(stages, "TILE", 16)
    shown: list[torch.Tensor] = []
    network = Larger()
    network.register_forward_hook(lambda module, inputs, output: shown.append(inputs[0]))
    monkeypatch.setitem(references.REFERENCES, "edsr-s", lambda: network)
    source = speed.picture(24)
    files.write(tmp_path / "a.png", Picture(source))
    meter = Meter()
    runner("edsr-s", CPU)(tmp_path / "a.png", tmp_path / "b.png", meter)
    assert [tuple(part.shape[2:]) for part in shown] == [(16, 16), (16, 8), (8, 16), (8, 8)]
    assert meter.seconds.keys() == {"read", "enhance", "write"}
    small = files.read(tmp_path / "b.png").pixels
    assert small.shape == (1, 3, 48, 48)
    assert float((nn.functional.avg_pool2d(small, 2) - source).abs().mean()) < 0.02


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (None, None),
        (Cost(128, 10.0, 100.0), None),  # 4 times 10 s, 4 times 100 MiB
        (Cost(64, 2.0, 20.0), None),  # 16 times
        (
            Cost(128, 11.0, 1.0),
            "a at 256x256 was skipped: about 44 s are predicted from 11 s at 128x128, the limit is ",
        ),
        (Cost(128, 1.0, 101.0), "about 404 MiB are predicted from 101 MiB at 128x128, 400 MiB are free"),
        (Cost(128, math.inf, math.inf), "a at 256x256 was skipped: 128x128 could not be measured already"),
    ],
)
def test_what_would_cost_too_much_is_skipped(before: Cost | None, reason: str | None) -> None:
    found = skip_reason("a", 256, before, limit=40, memory_mb=400)
    assert found == reason if reason is None or found is None else reason in found


def test_ratios_are_those_of_the_totals() -> None:
    made = [timing("mzsr", 64, 2.0), timing("zssr", 64, 9.0, adapt=91.0), timing("edsr-s", 64, 1.0),
            timing("mzsr", 128, 4.0), timing("edsr-s", 128, 3.0), timing("edsr-s", 256, 3.0)]  # fmt: skip

    def against(network: str) -> list[str]:
        return [line.split(" | ")[8] for line in timings.table(made, network)[2:]]

    assert against("mzsr") == ["1", "50", "0.5", "1", "0.75", ""]
    assert against("edsr-s") == ["2", "100", "1", "1.33", "1", "1"]
    assert against("rrdbnet") == [""] * 6  # it took too long at every size


def test_total_and_share_follow_from_the_rest() -> None:
    made = timing("mzsr", 100, 2.75, estimate=0.125, adapt=0.125, macs_per_pixel=5e6, matmul_rate=1e11)
    assert made.total == 3.0
    assert made.share_of_matmul_rate == 2 * 5e6 * 100**2 / 2.0 / 1e11 == 0.5


def test_the_table_marks_what_was_extrapolated() -> None:
    made = [timing("mzsr", 64, 2.0), timing("zssr", 64, 9.0, adapt=991.0, extrapolated=True), timing("x", 128, 2.0)]
    head, rule, ours, theirs, alone = timings.table(made)
    assert len({line.count("|") for line in (head, rule, ours, theirs, alone)}) == 1
    assert ours == "| 64x64 | mzsr | 0.25 |  |  | 1.25 | 0.5 | 2 | 1 | 100 | 1,000 | 0 % |"
    assert "| 1,000* | 500 |" in theirs
    assert alone.startswith("| 128x128 | x |")
    assert "| 2 |  | 100 |" in alone


def test_timings_come_back_from_csv(tmp_path: Path) -> None:
    made = [timing("mzsr", 64, 2.0), timing("a, b.safetensors", 128, 3.0, estimate=0.5, adapt_macs_per_pixel=7.5),
            timing("zssr", 64, 9.0, extrapolated=True, peak_memory_mb=None)]  # fmt: skip
    write_timings(tmp_path / "a.csv", made)
    assert read_timings(tmp_path / "a.csv") == made
    assert (tmp_path / "a.csv").read_text().splitlines()[0].endswith(",extrapolated,total,share_of_matmul_rate")


def test_a_csv_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("set,image\nSet5,baby.png\n")
    with pytest.raises(InputError, match="no CSV of mzsr bench speed"):
        read_timings(tmp_path / "a.csv")
    write_timings(tmp_path / "c.csv", [timing("mzsr", 64, 2.0)])
    damaged = (tmp_path / "c.csv").read_text().replace(",1.25,", ",,")
    (tmp_path / "c.csv").write_text(damaged)
    with pytest.raises(InputError, match="no CSV of mzsr bench speed"):
        read_timings(tmp_path / "c.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_timings(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("wrong", "near"), [("rrdb", "rrdbnet"), ("edsr", "edsr-s"), ("mzsr-x2-dir", "mzsr-x2-direct")]
)
def test_an_unknown_network_is_told_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InputError, match=f"network is '{wrong}'; did you mean '{near}'"):
        check_network(wrong)
    with pytest.raises(InputError, match=r"x\.safetensors does not exist"):
        check_network("x.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [64, 62]}, "size is 62; it must be a multiple of 4 from 64"),
        ({"sizes": [66]}, "size is 66"),
        ({"rounds": 0}, "0 rounds"),
        ({"threads": 0}, "0 threads"),
        ({"limit": math.nan}, "limit nan s"),
        ({"networks": ["edsr-s", "nothing"]}, "network is 'nothing'"),
    ],
)
def test_impossible_wishes_are_refused_before_any_work(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure_all(**{"networks": ["edsr-s"], "sizes": [64]} | options)


def test_the_picture_has_the_blur_that_is_told() -> None:
    made = speed.picture(256)
    assert 0 <= float(made.min()) < float(made.max()) <= 1
    found = estimate(made, 2)
    variance = kernels.covariance(found.degradation.kernel).diagonal().mean()
    assert not found.fallback
    assert float(variance) == pytest.approx(stages.KERNEL_VARIANCE, rel=0.35)


def touch(mebibytes: int) -> None:
    """Take memory and give it back; straight from the system, since an allocator may have some left."""
    with mmap.mmap(-1, mebibytes * 2**20) as memory:
        memory[:: mmap.PAGESIZE] = bytes([1]) * (len(memory) // mmap.PAGESIZE)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak cannot be forgotten")
def test_peak_memory_is_that_since_it_was_forgotten() -> None:
    touch(100)
    devices.forget_peak(CPU)
    held = devices.peak_mb(CPU)
    touch(50)
    peak = devices.peak_mb(CPU)
    assert held is not None
    assert peak is not None
    assert peak - held == pytest.approx(50, abs=10)


def test_a_network_is_measured_from_file_to_file(tiny_weights: Path) -> None:
    told: list[float] = []
    (made,) = measure_all(
        [str(tiny_weights)], [64], rounds=1, threads=1, device="cpu", progress=lambda _, done: told.append(done)
    ).timings
    stages = [made.read, made.estimate, made.adapt, made.enhance, made.write]
    assert all(stage is not None and stage >= 0 for stage in stages)
    assert made.total == pytest.approx(sum(stage for stage in stages if stage is not None))
    assert (made.size, made.rounds, made.threads, made.device, made.extrapolated) == (64, 1, 1, "cpu", False)
    body = 9 * (25 * 8 + 2 * 8 * 8 + 8 * 12) / 4  # one stage on the 2x2 space-to-depth; data steps come on top
    assert body < made.macs_per_pixel < 20 * body
    assert made.share_of_matmul_rate > 0
    if sys.platform == "linux":  # a picture of 64 pixels needs less than PyTorch, which is not counted again
        assert made.peak_memory_mb is not None
        assert made.held_memory_mb is not None
        assert 0 < made.peak_memory_mb < made.held_memory_mb
    assert told == [0.0, 1 / 3, 2 / 3]


def silent(pipe: Connection, *_: object) -> None:
    """Be a process that never says that it has begun."""
    pipe.recv()


def test_a_process_that_does_not_begin_is_not_told_to_raise_the_limit(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_serve", silent)
    monkeypatch.setattr(speed, "START_SECONDS", 0.0)
    found = measure_all([str(tiny_weights)], [64], threads=1, device="cpu")
    assert found.timings == ()
    assert found.skipped == (
        f"{tiny_weights} at 64x64 was stopped: its process did not begin within 0 s; measure it again when the machine "
        "is less busy",
    )


def test_what_fails_is_named(tiny_weights: Path) -> None:
    found = measure_all([str(tiny_weights)], [64, 128], steps=101, rounds=1, threads=1, device="cpu")
    assert found.timings == ()
    first, second = found.skipped
    assert "at 64x64 was stopped: steps is 101; it must lie between 0 and 100" in first
    assert "at 128x128 was skipped: 64x64 could not be measured already" in second

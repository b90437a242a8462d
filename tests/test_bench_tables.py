"""The arithmetic of the tables, on rows made by hand, and the published numbers."""

import math
from typing import Any

import pytest

from mzsr.benchmark import tables
from mzsr.benchmark.methods import with_option
from mzsr.benchmark.published import published
from mzsr.benchmark.rows import Row


def row(image: str, psnr: float, *, method: str = "mzsr", steps: int | None = 0, **more: str) -> Row:
    values = {"set": "Set5", "kernel": "g0.2d", "condition": "clean", "protocol": "mzsr"} | more
    return Row(
        scale=2, image=image, sha256="", method=method, steps=steps, psnr=psnr, ssim=0.9, reprojection=50.0,
        seconds=1.0, **values,
    )  # fmt: skip


def stepped(changes: dict[str, float], before: float = 30.0) -> list[Row]:
    """Return rows in which every picture starts a dB above the one before it, and changes as given after a step."""
    return [
        row(image, round(before + index + (change if steps else 0.0), 4), steps=steps)
        for index, (image, change) in enumerate(changes.items())
        for steps in (0, 1)
    ]


def gain_of(rows: list[Row]) -> tables.Gain:
    found = tables.gain([r for r in rows if r.steps == 0], [r for r in rows if r.steps == 1])
    assert found is not None
    return found


def test_pictures_that_are_exact_or_too_small_for_a_step_leave_no_gain() -> None:
    """One is reproduced at 0 steps, the other has no son: none has both numbers."""
    rows = [row("flat", math.inf, steps=0), row("flat", math.inf, steps=1), row("small", 30.0, steps=0)]
    assert tables.gain(rows[::2], rows[1:2]) is None
    assert "| inf |  |  |  |" in tables.adaptation(rows)


def test_quality_has_a_column_for_every_cell_and_the_published_rows() -> None:
    rows = [row("a", 30.0), row("b", 31.0), row("a", 28.0, kernel="g2.0d"), row("b", 29.0, kernel="g2.0d")]
    lines = tables.quality(rows).splitlines()
    assert lines[0] == "| set | method | x2 g0.2d | x2 g2.0d |"
    assert lines[2] == "| Set5 | mzsr, 0 steps | 30.50/0.9000 | 28.50/0.9000 |"
    assert "| Set5 | MZSR, 10 steps, *published* | 33.74/0.9301 | 36.05/0.9439 |" in lines
    assert {line.count("|") for line in lines} == {5}


def test_a_part_of_a_set_stands_beside_the_published_whole() -> None:
    told = tables.quality([row("a", 30.0, set="BSD100/10")])
    assert "| BSD100, all | MZSR, 1 step, *published* | 28.74/0.8389 |" in told


def test_a_mean_of_fewer_pictures_says_so() -> None:
    lines = tables.quality([row("a", 30.0), row("b", 31.0), row("a", 28.0, method="other")]).splitlines()
    assert lines[2:4] == [
        "| Set5 | mzsr, 0 steps | 30.50/0.9000 |",
        "| Set5 | other, 0 steps | 28.00/0.9000 (1 of 2) |",
    ]


def test_a_picture_that_is_reproduced_exactly_stays_out_of_means_and_gains() -> None:
    rows = [*stepped({"a": 0.5}), row("b", math.inf), row("b", math.inf, steps=1)]
    assert "30.00/0.9000" in tables.quality(rows)
    assert gain_of(rows).gain == pytest.approx(0.5)
    assert gain_of(rows).images == 1


@pytest.mark.parametrize("change", [{"protocol": "rgb"}, {"condition": "noise 5/255"}, {"set": "Mine"}])
def test_nothing_published_where_it_does_not_belong(change: dict[str, Any]) -> None:
    assert "published" not in tables.quality([row("a", 30.0, **change)])


def test_every_picture_is_compared_with_itself() -> None:
    found = gain_of(stepped({"a": 0.5, "b": -0.3, "c": -0.02, "d": 0.22}))
    assert found.mean == pytest.approx(31.5 + 0.1)
    assert found.gain == pytest.approx(0.1)
    assert (found.worst, found.worst_image) == (pytest.approx(-0.3), "b")
    assert (found.harmed, found.images) == (1, 4)


@pytest.mark.parametrize(("change", "harmed"), [(-0.1, 0), (-0.1001, 1), (0.1001, 0)])
@pytest.mark.parametrize("before", [29.9, 30.0, 33.3333, 40.7])  # differences of floats fall on either side of 0.1
def test_a_loss_counts_above_a_tenth_of_a_decibel(change: float, harmed: int, before: float) -> None:
    assert gain_of(stepped({"a": change}, before=before)).harmed == harmed


def test_adaptation_tells_gains_over_no_step() -> None:
    assert tables.adaptation(stepped({"a": 0.5, "b": -0.3})).splitlines()[2:] == [
        "| Set5 | x2 g0.2d | mzsr, 0 steps | 30.50 |  |  |  |",
        "| Set5 | x2 g0.2d | mzsr, 1 step | 30.60 | +0.100 | -0.300 (b) | 1 of 2 |",
    ]


def test_estimation_is_the_loss_against_the_known_kernel() -> None:
    """Losses 0, 1, …, 10: median 5, nine in ten at most 9, worst 10 in the last picture."""
    known = [row(f"{n:02}", 40.0, method="mzsr", steps=1) for n in range(11)]
    blind = [row(f"{n:02}", 40.0 - n, method="mzsr:blind", steps=1) for n in range(11)]
    line = tables.estimation(known + blind).splitlines()[2]
    assert line == "| Set5 | x2 g0.2d | mzsr, 1 step | 40.00 | 5.00 | 9.00 | 10.00 (10) | 50.0 / 50.0 |"
    assert tables.estimation(known).count("\n") == 1


@pytest.mark.parametrize(
    "spec", ["data-step", "mzsr", "mzsr-x2-direct:bp", "mzsr-x2-direct:bp:x8", "a:b/c.safetensors:x8"]
)
def test_a_method_finds_its_twin(spec: str) -> None:
    """That is the one which `bench blind` measures beside it, whatever its options."""
    steps = None if spec == "data-step" else 1
    known = row("a", 40.0, method=spec, steps=steps)
    blind = row("a", 38.0, method=with_option(spec, "blind"), steps=steps)
    assert "| 40.00 | 2.00 |" in tables.estimation([known, blind])


def test_harm_counts_pictures_that_lose_against_bicubic() -> None:
    gains = {"a": 1.0, "b": -0.5, "c": 0.25, "d": 0.25}
    rows = [row(image, 30.0, method="bicubic", steps=None, kernel="bicubic") for image in gains]
    rows += [row(i, 30.0 + g, method="mzsr:blind", steps=1, kernel="bicubic") for i, g in gains.items()]
    line = tables.harm(rows).splitlines()[2]
    assert "| 30.00 | +0.25 |" in line
    assert line.endswith("| -0.50 (b) | 1 of 4 |")
    blurred = [line._replace(kernel="disks") for line in rows]
    assert tables.harm(rows + blurred).splitlines()[3] == line.replace("x2 bicubic", "x2 disks")
    assert tables.harm([row("a", 1.0, method="mzsr:blind")]).count("\n") == 1


def test_the_check_agrees_to_the_last_digit_and_not_beyond() -> None:
    def bicubic(psnr: float, ssim: float) -> list[Row]:
        return [row("a", psnr, method="bicubic-paper", steps=None)._replace(ssim=ssim)]

    assert tables.check(bicubic(30.243, 0.8975))[1]
    assert not tables.check(bicubic(30.262, 0.8976))[1]
    assert not tables.check(bicubic(30.24, 0.8969))[1]
    assert not tables.check([])[1]
    mine = [row("a", 30.0, method="bicubic-paper", steps=None, set="Mine")]
    assert tables.check(bicubic(30.24, 0.8976) + mine)[1]
    assert "| Mine | x2 g0.2d | 30.000/0.90000 |  | nothing is published |" in tables.check(mine)[0]
    assert not tables.check(mine)[1]
    assert "| Set5 | x2 g0.2d | 30.262/0.89760 | 30.24/0.8976 | no |" in tables.check(bicubic(30.262, 0.8976))[0]


def test_the_worst_are_those_below_the_mean_of_their_own_cell() -> None:
    rows = [
        row("a", 30.0),
        row("b", 34.0),
        row("c", 35.0),
        row("a", 20.0, kernel="g2.0d"),
        row("b", 21.0, kernel="g2.0d"),
    ]
    found = tables.worst(rows, "mzsr, 0 steps", 2)
    assert [(r.image, r.kernel) for r in found] == [("a", "g0.2d"), ("b", "g2.0d")]


def test_of_several_cells_a_picture_counts_by_its_worst() -> None:
    """Below the means of their cells: a 10 and -15, b 1 and 1, c -11 and 14."""
    away = {"a": (-10.0, 15.0), "b": (-1.0, -1.0), "c": (11.0, -14.0)}
    rows = [
        row(name, 30 + d, kernel=kernel)
        for name, both in away.items()
        for d, kernel in zip(both, ("g0.2d", "g2.0d"), strict=True)
    ]
    found = tables.worst(rows, "mzsr, 0 steps", 2)
    assert [(r.image, r.kernel) for r in found] == [("c", "g2.0d"), ("a", "g0.2d")]


def test_published_numbers_are_those_of_the_paper() -> None:
    """Three numbers read off the paper's tables; 4 x2 kernels x 3 sets x 6 methods and 3 sets x 7 methods in all."""
    found = {(n.set, n.scale, n.kernel, n.method): (n.psnr, n.ssim) for n in published()}
    assert len(found) == 4 * 3 * 6 + 3 * 7
    assert found["Set5", 2, "g2.0d", "MZSR, 10 steps"] == (36.05, 0.9439)
    assert found["Urban100", 2, "g1.3b", "IKC"] == (29.47, 0.8956)
    assert found["BSD100", 4, "g2.0d", "ZSSR"] == (25.89, 0.6776)

"""Tests of batches and tasks: what they depend on, lossless crops, the law by its statistics, what the network is told.

A batch is checked against `degrade` on what was drawn; that patches are what was drawn, by pictures that number their
pixels.
"""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import coded
from torch import Tensor

from mzsr.config import KernelLaw
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, crop, degrade, phase
from mzsr.imaging.jpeg import Jpeg, tables
from mzsr.imaging.random_kernels import RANDOM
from mzsr.learning.patches import (
    Kind,
    Pair,
    Task,
    draw_degradations,
    draw_kind,
    draw_pair,
    draw_patches,
    draw_task,
    step_generator,
)
from mzsr.presets import META, PRETRAIN

LAW = KernelLaw(
    families={"gaussian": 0.3, "uniform": 0.1, "disk": 0.1, "box": 0.2, "motion": 0.1, "perturbed": 0.2},
    scales={2: 0.5, 3: 0.3, 4: 0.2},
    bicubic_share=0.3,
    centred_share=0.4,
    noise_share=0.25,
    jpeg_share=0.35,
    error_share=0.45,
)
CLEAN = LAW.model_copy(update={"noise_share": 0, "jpeg_share": 0, "error_share": 0})


PICTURES = [coded(11, 17, 0), coded(14, 9, 1)]


@pytest.fixture
def pictures(photo: Tensor) -> list[Tensor]:
    return [(one * 255).round().byte() for one in (photo[0], photo[0].flip(0), photo[0].flip(2).transpose(1, 2))]


def pair(seed: int, step: int, index: int = 0, law: KernelLaw = LAW) -> Pair:
    return draw_pair(PICTURES, law, 2, 8, step_generator(seed, step, index))


def task(pictures: list[Tensor], law: KernelLaw, step: int, *, side: int = 48, same_image: bool) -> Task:
    generator = step_generator(0, step)
    return draw_task(
        pictures, law, 3, side, generator, kind=draw_kind(law, generator), same_image=same_image
    )  # fmt: skip


def content(drawn: Pair) -> list[Tensor]:
    """Return all that a batch is, as tensors."""
    d = drawn.degradation
    compression = d.jpeg.tables if d.jpeg else torch.zeros(0)
    facts = torch.tensor([d.scale, d.subsample == "bicubic", *phase(d)])
    return [drawn.lr, drawn.hr, d.kernel, torch.as_tensor(d.noise), compression, facts]


def same(a: Pair, b: Pair) -> bool:
    return all(torch.equal(x, y) for x, y in zip(content(a), content(b), strict=True))


def codes(images: Tensor) -> Tensor:
    """Round to 8 bits, as files hold it."""
    return (images.clamp(0, 1) * 255).round()


@given(order=st.permutations([(0, 0), (0, 1), (1, 0), (1, 1), (7, 2)]), global_seed=st.integers(0, 100))
def test_a_batch_depends_on_seed_step_and_index_alone(order: list[tuple[int, int]], global_seed: int) -> None:
    """Not on what was drawn before it, nor on the global random state, nor does drawing move that."""
    expected = {at: pair(3, *at) for at in sorted(order)}
    torch.manual_seed(global_seed)
    state = torch.get_rng_state()
    assert all(same(pair(3, *at), expected[at]) for at in order)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("same_image", [True, False])
def test_a_task_depends_on_its_generator_alone(pictures: list[Tensor], same_image: bool) -> None:
    expected = [task(pictures, LAW, step, same_image=same_image) for step in range(4)]
    for step in (2, 0, 3, 1):
        again = task(pictures, LAW, step, same_image=same_image)
        assert same(again.support, expected[step].support)
        assert same(again.query, expected[step].query)


def test_seeds_steps_and_indices_do_not_repeat_each_other() -> None:
    """Neither step + 1 of one seed nor (1, 11, 1) and (11, 1, 1) share their numbers."""
    first = {
        (seed, step, index): int(torch.randint(2**60, (), generator=step_generator(seed, step, index)))
        for seed in range(12)
        for step in range(12)
        for index in (-1, 0, 1, 11)
    }
    assert len(set(first.values())) == len(first)


def test_generator_is_the_same_for_good() -> None:
    """A run that was started with this version must go on with the same patches under the next.

    Golden: `torch.randint(10**6, (3,), generator=step_generator(0, 7, index))`, torch 2.13.0, mzsr 0.1.0.
    """
    drawn = [torch.randint(10**6, (3,), generator=step_generator(0, 7, index)).tolist() for index in (0, 1)]
    assert drawn == [[391991, 789377, 539747], [411781, 104418, 644149]]


def orientation(patch: Tensor) -> tuple[int, int, int, bool, bool, bool]:
    """Return (picture, top, left, transposed, rows run backwards, columns run backwards); fails if it is no crop."""
    codes = (patch * 255).round().long()
    assert torch.equal(codes.float() / 255, patch), "a patch must hold 8-bit values exactly"
    red, row, column = codes
    assert int(red.min()) == int(red.max()), "a patch must be of one picture"
    transposed = bool(row[0, 0] == row[1, 0])
    down, across = (column, row) if transposed else (row, column)
    backwards = bool(down[0, 0] > down[1, 0]), bool(across[0, 0] > across[0, 1])
    top, left = int(row.min()), int(column.min())
    source = PICTURES[int(red[0, 0])][:, top : top + patch.shape[1], left : left + patch.shape[2]].long()
    restored = codes.flip([1 + i for i in (0, 1) if backwards[i]])
    assert torch.equal(restored.transpose(1, 2) if transposed else restored, source)
    return int(red[0, 0]), top, left, transposed, *backwards


def test_patches_are_crops_in_all_eight_orientations(generator: torch.Generator) -> None:
    """Lossless, from every place of every picture, each of the eight ways equally often."""
    count, side = 4000, 8
    found = [orientation(patch) for patch in draw_patches(PICTURES, count, side, generator)]
    ways = [sum(f[3:] == way for f in found) for way in {f[3:] for f in found}]
    assert len(ways) == 8
    assert max(abs(way - count / 8) for way in ways) < 5 * math.sqrt(count / 8)
    places = {f[:3] for f in found}
    expected = {
        (i, top, left)
        for i, picture in enumerate(PICTURES)
        for top in range(picture.shape[1] - side + 1)
        for left in range(picture.shape[2] - side + 1)
    }
    assert places == expected


def test_a_picture_of_the_size_of_a_patch_will_do(generator: torch.Generator) -> None:
    picture = coded(8, 8, 5)
    for patch in draw_patches([picture], 20, 8, generator):
        assert sorted((patch * 255).round().int().flatten().tolist()) == sorted(picture.int().flatten().tolist())


def test_law_bicubic_is_plain_bicubic(generator: torch.Generator) -> None:
    """Nothing else of the law has a say."""
    law = LAW.model_copy(update={"name": "bicubic", "scales": {2: 1.0, 3: 1.0}})
    for _ in range(40):
        true, told = draw_degradations(law, draw_kind(law, generator), 3, generator)
        assert true is told
        assert (true.subsample, true.noise, true.jpeg) == ("bicubic", 0, None)
        assert torch.equal(true.kernel, kernels.delta())
        assert phase(true) == ((true.scale - 1) / 2,) * 2


def share(hits: int, count: int, expected: float) -> None:
    """Assert a share within four standard errors."""
    assert hits / count == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / count))


def test_kinds_keep_their_shares(generator: torch.Generator) -> None:
    count = 3000
    drawn = [draw_kind(LAW, generator) for _ in range(count)]
    for name, shares in (("scale", LAW.scales), ("family", LAW.families)):
        found = Counter(getattr(kind, name) for kind in drawn)
        assert found.keys() == shares.keys()
        for value, expected in shares.items():
            share(found[value], count, expected)
    share(sum(kind.subsample == "bicubic" for kind in drawn), count, LAW.bicubic_share)
    share(sum(kind.middle > 0 for kind in drawn), count, LAW.centred_share)
    share(sum(kind.compressed for kind in drawn), count, LAW.jpeg_share)
    share(sum(kind.misjudged for kind in drawn), count, LAW.error_share)
    assert {(kind.subsample, kind.middle) for kind in drawn if kind.scale == 3} == {
        ("direct", 0.0), ("direct", 1.0), ("bicubic", 0.0),
    }  # fmt: skip


def test_noise_is_of_some_patches_and_uniform(generator: torch.Generator) -> None:
    true, _ = draw_degradations(LAW, Kind(2, "direct", 0.0, "disk"), 2000, generator)
    assert isinstance(true.noise, Tensor)
    noisy = true.noise[true.noise > 0]
    share(len(noisy), 2000, LAW.noise_share)
    assert float(noisy.max()) <= LAW.noise
    for quantile in (0.25, 0.5, 0.75):
        assert float(noisy.quantile(quantile)) == pytest.approx(LAW.noise * quantile, abs=0.1 * LAW.noise)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("bicubic", [False, True])
def test_variances_are_log_uniform(scale: int, bicubic: bool, generator: torch.Generator) -> None:
    """Half of them lie below the geometric mean; bicubic subsampling, which blurs by itself, gets half of each."""
    law = KernelLaw(variance=(0.3, 1.0))
    kind = Kind(scale, "bicubic" if bicubic else "direct", 0.0, "gaussian")
    drawn = draw_degradations(law, kind, 1000, generator)[0].kernel
    found = torch.linalg.eigvalsh(kernels.moments(drawn)[1])
    low, high = (0.3, scale) if not bicubic else (0.15, scale / 2)
    assert float(found.max()) < high * 1.01
    # Sampling a Gaussian narrower than a pixel changes its variance: only the wider half is exact
    for quantile in (0.6, 0.8):
        expected = low * (high / low) ** quantile
        assert float(found.flatten().quantile(quantile)) == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
@pytest.mark.parametrize("scale", [2, 4])
def test_kernels_of_the_paper(scale: int, subsample: str, generator: torch.Generator) -> None:
    """l1 ~ U(1, 2.5 s) and l2 ~ U(1, l1), whatever the subsampling; E l1 = (1 + 2.5 s) / 2, E l2 = (1 + E l1) / 2."""
    law = META["paper"].law
    kind = Kind(scale, "bicubic" if subsample == "bicubic" else "direct", 0.0, "uniform")
    drawn = draw_degradations(law, kind, 1000, generator)[0].kernel
    smaller, larger = torch.linalg.eigvalsh(kernels.moments(drawn)[1]).unbind(1)
    mean = (1 + 2.5 * scale) / 2
    assert float(smaller.min()) > 0.98
    assert float(larger.max()) < 2.5 * scale * 1.01
    assert float(larger.mean()) == pytest.approx(mean, rel=0.05)
    assert float(smaller.mean()) == pytest.approx((1 + mean) / 2, rel=0.05)


def test_kinds_of_the_paper(generator: torch.Generator) -> None:
    """Direct x2 on the corner grid, no noise, no JPEG, told as it is."""
    kinds = {draw_kind(META["paper"].law, generator) for _ in range(50)}
    assert kinds == {Kind(2, "direct", 0.0, "uniform")}
    true, told = draw_degradations(META["paper"].law, next(iter(kinds)), 50, generator)
    assert true is told
    assert float(torch.as_tensor(true.noise).max()) == 0


@pytest.mark.parametrize("family", RANDOM)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_grid_is_that_of_every_kernel(scale: int, family: str, generator: torch.Generator) -> None:
    """The phase, which is told for the whole batch, is the centroid of each kernel, of a misjudged one too."""
    half = (scale - 1) / 2
    grids = {"direct": Kind(scale, "direct", 0.0, family), "centred": Kind(scale, "direct", half, family),
             "bicubic": Kind(scale, "bicubic", 0.0, family)}  # fmt: skip
    for name, kind in grids.items():
        for d in draw_degradations(LAW, replace(kind, misjudged=True), 24, generator):
            assert d.grid == phase(d) == ((0.0,) * 2 if name == "direct" else (half,) * 2)
            assert float((d.kernel[0] - d.kernel[1]).abs().max()) > 1e-4, "each patch has a kernel of its own"
            for kernel in d.kernel:
                computed = phase(Degradation(kernel, scale, d.subsample))
                assert computed == pytest.approx(d.grid, abs=0.02), (name, family)


@pytest.mark.parametrize("family", RANDOM)
def test_a_misjudged_kernel_has_another_shape_on_the_same_grid(family: str, generator: torch.Generator) -> None:
    law = CLEAN.model_copy(update={"error_share": 1.0, "error": 0.3})
    kind = replace(draw_kind(law, generator), family=family)
    assert kind.misjudged
    true, told = draw_degradations(law, kind, 16, generator)
    assert replace(told, kernel=true.kernel) == true  # nothing else is told wrongly
    difference = (told.kernel - true.kernel).abs().sum((1, 2))
    assert float(difference.min()) > 1e-3
    torch.testing.assert_close(kernels.moments(told.kernel)[0], kernels.moments(true.kernel)[0], atol=0.02, rtol=0)


def test_what_is_told_is_not_what_happened(pictures: list[Tensor]) -> None:
    """Low resolution comes from the true kernel, the network hears of the other."""
    law = CLEAN.model_copy(update={"error_share": 1.0, "error": 0.5})
    for step in range(6):
        drawn = draw_pair(pictures, law, 2, 48, step_generator(0, step))
        generator = step_generator(0, step)
        true, told = draw_degradations(law, draw_kind(law, generator), 2, generator)
        assert torch.equal(drawn.degradation.kernel, told.kernel)
        torch.testing.assert_close(drawn.lr * 255, codes(degrade(drawn.hr, true)), atol=1e-4, rtol=0)
        assert float((drawn.lr - degrade(drawn.hr, told)).abs().max()) > 1 / 255


def test_low_resolution_is_the_degraded_patch_in_8_bits() -> None:
    law = LAW.model_copy(update={"jpeg_share": 0, "error_share": 0})
    for step in range(30):
        drawn = pair(0, step, law=law)
        scale = drawn.degradation.scale
        assert drawn.hr.shape[2] == 8 - 8 % scale == scale * drawn.lr.shape[2]
        torch.testing.assert_close(drawn.lr * 255, codes(drawn.lr), atol=1e-4, rtol=0)
        assert 0 <= float(drawn.lr.min()) <= float(drawn.lr.max()) <= 1
        clean = torch.as_tensor(drawn.degradation.noise).expand(2) == 0
        error = (drawn.lr - degrade(drawn.hr, drawn.degradation).clamp(0, 1))[clean]
        assert bool((error.abs() <= 0.5 / 255 + 1e-6).all())


def test_noise_has_the_level_that_is_told(generator: torch.Generator) -> None:
    """A grey picture shows the noise alone; rounding adds 1/12 of a step squared."""
    grey = [torch.full((3, 64, 64), 128, dtype=torch.uint8)]
    law = KernelLaw(scales={2: 1}, noise_share=1, noise=0.1)
    drawn = draw_pair(grey, law, 16, 64, generator)
    assert isinstance(drawn.degradation.noise, Tensor)
    found = (drawn.lr - 128 / 255).square().mean((1, 2, 3)).sqrt()
    expected = (drawn.degradation.noise.square() + 1 / 12 / 255**2).sqrt()
    torch.testing.assert_close(found, expected, rtol=0.06, atol=0)  # 3072 samples: 1.3 % standard error


def test_compressed_patches_went_through_jpeg(pictures: list[Tensor]) -> None:
    """Each through its own quality of the law, which is told, and it shows."""
    law = CLEAN.model_copy(update={"jpeg_share": 1.0, "jpeg": (30, 33)})
    known = {q: tables(q)[0] for q in (30, 31, 32, 33)}
    found, laid = set(), list[Jpeg]()
    for step in range(8):
        drawn = draw_pair(pictures, law, 3, 48, step_generator(0, step))
        d = drawn.degradation
        assert d.jpeg is not None
        found |= {q for one in d.jpeg.tables for q, table in known.items() if torch.equal(one, table)}
        torch.testing.assert_close(drawn.lr * 255, codes(degrade(drawn.hr, d)), atol=1e-4, rtol=0)
        uncompressed = degrade(drawn.hr, replace(d, jpeg=None))
        assert float((drawn.lr - uncompressed).abs().amax((1, 2, 3)).min()) > 3 / 255
        laid.append(d.jpeg)
    assert found == {30, 31, 32, 33}, "both ends are drawn too"
    assert {jpeg.chroma for jpeg in laid} == {"4:2:0", "4:4:4"}
    assert all(len({jpeg.offset[axis] for jpeg in laid}) > 4 for axis in (0, 1)), "blocks begin anywhere"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_episode_of_the_same_image(pictures: list[Tensor], scale: int, compressed: bool) -> None:
    """The father of D_tr is the picture that D_te starts from, and its son went through the same once more."""
    law = CLEAN.model_copy(update={"scales": {scale: 1.0}, "jpeg_share": float(compressed)})
    for step in range(4):
        drawn = task(pictures, law, step, side=53, same_image=True)
        support, query = drawn.support, drawn.query
        assert query.hr.shape[2] == 53 - 53 % scale**2 == scale * query.lr.shape[2] == scale**2 * support.lr.shape[2]
        assert torch.equal(support.hr, crop(query.lr, scale))
        assert support.degradation is query.degradation
        assert query.degradation.kernel.ndim == 2, "one kernel for all patches"
        assert (query.degradation.jpeg is not None) == compressed
        assert torch.equal(support.lr, degrade(support.hr, query.degradation))
        torch.testing.assert_close(query.lr * 255, codes(degrade(query.hr, query.degradation)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_episode_as_published(scale: int) -> None:
    """One kernel, but D_tr and D_te are of different patches of the pictures, none of them of both."""
    large = [coded(90, 120, 0), coded(100, 80, 1)]
    law = CLEAN.model_copy(update={"scales": {scale: 1.0}})
    for step in range(4):
        drawn = task(large, law, step, side=23, same_image=False)
        d = drawn.query.degradation
        assert drawn.support.degradation.kernel is d.kernel
        assert d.kernel.ndim == 2
        for one in (drawn.support, drawn.query):
            assert one.hr.shape[2] == 23 - 23 % scale == scale * one.lr.shape[2]
            torch.testing.assert_close(one.lr * 255, codes(degrade(one.hr, d)), atol=1e-4, rtol=0)
        places = [{tuple(patch[:, 0, 0].tolist()) for patch in one.hr} for one in (drawn.support, drawn.query)]
        assert len(places[0]) == len(places[1]) == 3
        assert not places[0] & places[1]


@pytest.mark.parametrize("same_image", [True, False])
def test_a_task_of_misjudged_kernels(pictures: list[Tensor], same_image: bool) -> None:
    """Both sets are told the same wrong kernel; a son is made with it, since the true one is not known at meta-test."""
    law = CLEAN.model_copy(update={"error_share": 1.0, "error": 0.5})
    for step in range(4):
        drawn = task(pictures, law, step, same_image=same_image)
        told = drawn.query.degradation
        assert torch.equal(drawn.support.degradation.kernel, told.kernel)
        assert float((drawn.query.lr - degrade(drawn.query.hr, told)).abs().max()) > 1 / 255
        if same_image:
            assert torch.equal(drawn.support.lr, degrade(drawn.support.hr, told))


def test_a_same_image_task_is_of_one_photograph() -> None:
    """As at meta-test: steps that two photographs share would be learned otherwise, and no photograph be adapted to."""
    photographs = [coded(40, 40, red) for red in range(9)]
    found = []
    for step in range(12):
        drawn = task(photographs, CLEAN, step, side=32, same_image=True)
        found.append((255 * drawn.query.hr[:, 0]).round().unique().tolist())
    assert all(len(reds) == 1 for reds in found)
    assert len(set(map(tuple, found))) > 3


def test_the_son_gets_noise_as_its_father_did(generator: torch.Generator) -> None:
    """A grey picture: that of the father, blurred by the kernel, and new noise of the same level."""
    grey = [torch.full((3, 96, 96), 128, dtype=torch.uint8)]
    law = CLEAN.model_copy(update={"noise_share": 1.0, "noise": 0.1})
    drawn = draw_task(grey, law, 8, 96, generator, kind=Kind(2, "direct", 0.0, "gaussian"), same_image=True)
    level = torch.as_tensor(drawn.query.degradation.noise)
    assert level.shape == (1,), "one level for the whole task"
    new = drawn.support.lr - degrade(drawn.support.hr, drawn.query.degradation)
    assert float(new.std()) == pytest.approx(float(level), rel=0.05)  # 13,824 samples: 0.6 % standard error


def test_tasks_of_one_kind_have_one_shape(pictures: list[Tensor]) -> None:
    """Kernels, noise and patches of tasks that are computed at once differ in nothing but their numbers."""
    for step in range(6):
        kind = draw_kind(LAW, step_generator(0, step))
        tasks = [
            draw_task(pictures, LAW, 2, 48, step_generator(0, step, index), kind=kind, same_image=True)
            for index in range(3)
        ]
        for one in tasks[1:]:
            for drawn, first in ((one.support, tasks[0].support), (one.query, tasks[0].query)):
                assert [t.shape for t in content(drawn)] == [t.shape for t in content(first)]
                assert drawn.degradation.grid == first.degradation.grid
            assert not torch.equal(one.query.degradation.kernel, tasks[0].query.degradation.kernel)
            assert not torch.equal(one.query.hr, tasks[0].query.hr)


@pytest.mark.parametrize("law", [PRETRAIN["flagship"].law, PRETRAIN["paper"].law], ids=["flagship", "paper"])
def test_indices_of_an_iteration_differ(law: KernelLaw) -> None:
    drawn = [pair(0, 5, index, law) for index in range(4)]
    assert not any(same(a, b) for i, a in enumerate(drawn) for b in drawn[:i])

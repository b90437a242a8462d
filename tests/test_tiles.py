"""Tests of tiling: tiled equals untiled, the halo is needed and measured right, memory that runs out."""

import copy
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mzsr.config import NetworkConfig
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.data_step import data_step
from mzsr.imaging.degrade import Degradation, upsample
from mzsr.inference import tiles
from mzsr.inference.tiles import SMALLEST_TILE, TAIL, enhance, halo, steps_reach
from mzsr.learning.networks import Network, Stage, Unfolded, build
from mzsr.learning.weights import load_weights
from mzsr.shapes import Images, Params

NARROW, WIDE = kernels.gaussian((0.2, 0.2)), kernels.gaussian((2.0, 2.0))
DEGRADATIONS = {
    "g0.2": Degradation(NARROW),
    "g2.0": Degradation(WIDE),
    "g_ani": Degradation(kernels.gaussian((4.0, 1.0), -0.5)),
    "bicubic": Degradation(kernels.delta(), subsample="bicubic"),
    "wide": Degradation(kernels.gaussian((16.0, 16.0), size=25)),
    "centred": Degradation(kernels.gaussian((1.0, 1.0), size=17, offset=(0.5, 0.5))),
    "noisy": Degradation(WIDE, noise=10 / 255),
    "x3": Degradation(kernels.gaussian((3.0, 3.0)), 3),
    "x4": Degradation(kernels.gaussian((4.0, 2.0), 1.0, size=21), 4),
}


SOME = ("g2.0", "noisy", "x3")  # of them for what is slower; all are held by a smaller network


@pytest.fixture(scope="module")
def shipped() -> Network:
    return load_weights("mzsr")[0].requires_grad_(False)


def network(name: str) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build(NetworkConfig.parse({"name": name, "channels": 8, "blocks": 1}))
        if isinstance(built, Unfolded):  # untrained it would be the data step alone
            for stage in built.stages:
                assert isinstance(stage, Stage)
                for name, parameter in stage.named_parameters():
                    if name.endswith(("tail.weight", "second.weight")):
                        nn.init.normal_(parameter, std=0.03)
    return built.requires_grad_(False)


def theta(of: Network) -> Params:
    return dict(of.named_parameters())


def picture(photo: Tensor, height: int, width: int) -> Tensor:
    """Repeat and mirror the photograph until it is large enough."""
    whole = torch.cat([photo, photo.flip(2)], 2).repeat(1, 1, 3, 1)
    return torch.cat([whole, whole.flip(3)], 3).repeat(1, 1, 1, 2)[:, :, :height, :width]


def largest_difference(of: Network, lr: Images, d: Degradation, tile: int) -> float:
    whole = enhance(of, theta(of), lr, d, tile=0)
    return float((enhance(of, theta(of), lr, d, tile=tile) - whole).abs().max())


@pytest.mark.parametrize(("height", "width", "tile"), [(75, 41, 32), (33, 97, 33), (65, 66, 50)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_tiled_equals_untiled_for_the_paper(photo: Tensor, height: int, width: int, tile: int, scale: int) -> None:
    d = Degradation(WIDE, scale)
    assert largest_difference(network("paper"), picture(photo, height, width), d, tile) < 1e-5


@pytest.mark.parametrize("d", DEGRADATIONS.values(), ids=DEGRADATIONS.keys())
def test_tiled_equals_untiled_for_the_flagship(photo: Tensor, d: Degradation) -> None:
    built = network("unfolded")
    lr = picture(photo, 131, 41)
    residual = enhance(built, theta(built), lr, d, tile=0) - upsample(lr, d)
    assert float(residual.std()) > 0.005, "the network must do something for this to be a test"
    assert largest_difference(built, lr, d, 32) < 1e-3


@pytest.mark.parametrize("name", SOME)
def test_tiled_equals_untiled_for_the_shipped_weights(photo: Tensor, name: str, shipped: Network) -> None:
    assert largest_difference(shipped, picture(photo, 43, 131), DEGRADATIONS[name], 32) < 1e-3


def test_a_quarter_of_the_halo_is_not_enough(photo: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    paper, d = network("paper"), DEGRADATIONS["g2.0"]
    monkeypatch.setattr(tiles, "halo", lambda network, d, **how: halo(network, d, **how) // 4)
    assert largest_difference(paper, picture(photo, 75, 41), d, 32) > 1e-5


@pytest.mark.gpu
def test_tiles_on_an_accelerator(photo: Tensor, shipped: Network) -> None:
    d, lr = DEGRADATIONS["g2.0"], picture(photo, 100, 110)
    on_cpu = enhance(shipped, theta(shipped), lr, d, tile=64)
    there = copy.deepcopy(shipped).cuda()
    torch.testing.assert_close(
        enhance(there, theta(there), lr.cuda(), d.to("cuda"), tile=64).cpu(), on_cpu, atol=1e-3, rtol=0
    )


def test_the_halo_is_even_and_covers_all_parts() -> None:
    paper, flagship = network("paper"), network("unfolded")
    for d in DEGRADATIONS.values():
        assert halo(paper, d) in (paper.reach(d), paper.reach(d) + 1)
        parts = flagship.reach(d) + steps_reach(d, flagship.alphas(d))
        assert halo(flagship, d) in (parts, parts + 1)
        assert halo(flagship, d) % 2 == halo(paper, d) % 2 == 0


@pytest.mark.parametrize("d", [DEGRADATIONS[name] for name in ("g2.0", "g_ani", "bicubic", "x3")])
@pytest.mark.parametrize("alphas", [[0.01], [0.1, 0.1], [0.001, 0.01, 0.1]])
def test_data_steps_reach_as_far_as_is_said(d: Degradation, alphas: list[float]) -> None:
    """Change a single pixel of the first prior, and let them hand it on: little arrives beyond, more beyond half."""
    side = 128
    lr, change = torch.zeros(1, 1, side, side).double(), torch.zeros(1, 1, side * d.scale, side * d.scale).double()
    centre = side // 2 * d.scale
    change[0, 0, centre, centre] = 1.0
    for alpha in alphas:
        change = (data_step(lr, change, d, alpha) - change).abs()  # what the step adds, so that nothing cancels
    reach, away = steps_reach(d, alphas), (torch.arange(side * d.scale) - centre).abs()
    share = []
    for radius in (reach, reach // 2):
        far = away > radius * d.scale
        share.append(max(float(change[0, 0][far].sum()), float(change[0, 0][:, far].sum())) / float(change.sum()))
    assert share[0] < 2 * TAIL
    assert share[1] > 2 * TAIL
    assert reach <= sum(steps_reach(d, [alpha]) for alpha in alphas)


def test_the_reach_grows_with_the_blur_and_shrinks_with_alpha() -> None:
    by_blur = [steps_reach(Degradation(kernels.gaussian((v, v), size=25)), [0.01]) for v in (0.2, 1.0, 4.0, 16.0)]
    by_alpha = [steps_reach(DEGRADATIONS["g2.0"], [alpha]) for alpha in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]
    assert by_blur == sorted(by_blur)
    assert by_alpha == sorted(by_alpha, reverse=True)
    assert by_blur[0] < by_blur[-1]
    assert by_alpha[0] > by_alpha[-1]
    assert steps_reach(Degradation(kernels.delta()), [0.01]) <= 1  # A Aᵀ is the identity: nothing spreads
    assert steps_reach(DEGRADATIONS["g2.0"], []) == 0


class Bicubic(Network):
    """Bicubic, in a memory that holds `room` pixels, counting what it was asked for."""

    def __init__(self, room: float, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.room, self.error, self.asked = room, error, list[int]()

    def forward(self, lr: Images, d: Degradation) -> Images:
        self.asked.append(max(lr.shape[2:]))
        if self.asked[-1] > self.room:
            raise self.error()
        return upsample(lr, d)

    def reach(self, d: Degradation, *, log_var: bool = False) -> int:
        return 3


def cpu_error() -> Exception:
    return RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: 9 bytes.")


@pytest.mark.parametrize("error", [cpu_error, lambda: torch.OutOfMemoryError("CUDA out of memory.")])
def test_tiles_are_halved_while_memory_runs_out(photo: Tensor, error: Callable[[], Exception]) -> None:
    d, lr = Degradation(kernels.delta()), picture(photo, 140, 150)
    small = Bicubic(60, error)
    result = enhance(small, {}, lr, d)
    assert torch.allclose(result, upsample(lr, d), atol=1e-6)
    assert small.asked[0] == 150
    assert max(small.asked[-16:]) == 38 + 2 * 4  # 150 → 75 → 37, in four equal tiles, and the halo of 3, made even


def test_memory_that_runs_out_at_the_smallest_tile_is_said(photo: Tensor) -> None:
    none = Bicubic(0, cpu_error)
    with pytest.raises(InputError, match=r"76x60, and memory ran out with tiles of 32 pixels; close other programs"):
        enhance(none, {}, photo, Degradation(kernels.delta()))
    assert none.asked[-1] <= SMALLEST_TILE + 2 * 4


@pytest.mark.parametrize(("tile", "words"), [(0, "the whole picture at once"), (64, "tiles of 64 pixels")])
def test_a_tile_that_was_asked_for_is_not_halved(photo: Tensor, tile: int, words: str) -> None:
    small = Bicubic(50, cpu_error)
    with pytest.raises(InputError, match=f"{words}; take tiles of 32 pixels"):
        enhance(small, {}, photo, Degradation(kernels.delta()), tile=tile)
    assert len(small.asked) == 1


def test_another_error_passes_through(photo: Tensor) -> None:
    broken = Bicubic(0, lambda: RuntimeError("a size mismatch"))
    with pytest.raises(RuntimeError, match="a size mismatch"):
        enhance(broken, {}, photo, Degradation(kernels.delta()))
    assert len(broken.asked) == 1


def test_progress_rises_to_one(photo: Tensor) -> None:
    told: list[float] = []
    enhance(network("paper"), theta(network("paper")), photo, Degradation(WIDE), tile=32, progress=told.append)
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])  # 60 x 76: two rows of three
    assert told[-1] == 1.0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room on a disk")
def test_a_large_result_lies_in_a_file_without_a_name(
    photo: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = []

    def reserve(handle: int, start: int, size: int) -> None:
        reserved.append((os.fstat(handle).st_size, start, size))
        os.truncate(handle, size)

    lr, of = photo[:, :, :24, :32], network("unfolded")
    expected = enhance(of, theta(of), lr, Degradation(WIDE), tile=32)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    monkeypatch.setattr(tiles, "LARGE", expected.numel() * 4 + 1)
    assert torch.equal(enhance(of, theta(of), lr, Degradation(WIDE), tile=32), expected)
    assert not reserved
    monkeypatch.setattr(tiles, "LARGE", expected.numel() * 4)
    result = enhance(of, theta(of), lr, Degradation(WIDE), tile=32)
    assert reserved == [(0, 0, expected.numel() * 4)]
    assert torch.equal(result, expected)
    assert torch.equal(result.clamp_(0, 1), expected.clamp(0, 1)), "it may be changed like any other tensor"
    assert list(tmp_path.iterdir()) == []


def test_a_large_result_lies_in_memory_where_the_disk_is_full(photo: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    lr, of = photo[:, :, :24, :32], network("unfolded")
    expected = enhance(of, theta(of), lr, Degradation(WIDE), tile=32)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(tiles, "LARGE", 1)
    assert torch.equal(enhance(of, theta(of), lr, Degradation(WIDE), tile=32), expected)

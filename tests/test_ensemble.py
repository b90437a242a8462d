"""Tests of the self-ensemble: turning commutes with the degradation, and with everything that keeps to its grid."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.data_step import back_project
from mzsr.imaging.degrade import Degradation, Subsample, adjoint, linear, phase, upsample
from mzsr.imaging.jpeg import Jpeg, tables
from mzsr.inference.ensemble import SYMMETRIES, Enhance, Reduce, Symmetry, ensemble, symmetries
from mzsr.shapes import Images


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lopsided(*batch: int) -> Tensor:
    """Return kernels that no symmetry maps onto themselves, their centroids far from the middle."""
    taps = draw(*batch, 7, 7, seed=1) ** 4
    return taps / taps.sum((-2, -1), keepdim=True)


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "each"])
@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_turning_commutes_with_degrading(
    symmetry: Symmetry, scale: int, subsample: Subsample, batch: tuple[int, ...]
) -> None:
    """A(T d) T = T A(d), its adjoint and the enlargement too: borders, phases and batches included."""
    hr = draw(2, 3, 5 * scale, 8 * scale)
    d = Degradation(lopsided(*batch), scale, subsample, noise=0.1)
    turned = symmetry.degradation(d)
    lr = linear(hr, d)
    torch.testing.assert_close(linear(symmetry.turn(hr), turned), symmetry.turn(lr), rtol=0, atol=1e-12)
    torch.testing.assert_close(adjoint(symmetry.turn(lr), turned), symmetry.turn(adjoint(lr, d)), rtol=0, atol=1e-12)
    # Phases are rounded to four digits, by which an enlargement is off
    torch.testing.assert_close(upsample(symmetry.turn(lr), turned), symmetry.turn(upsample(lr, d)), rtol=0, atol=1e-3)
    assert turned.noise == 0.1
    assert turned.kernel.shape[:-2] == d.kernel.shape[:-2]


@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_phases_turn_as_pixels_do(symmetry: Symmetry, scale: int, subsample: Subsample) -> None:
    """Low-resolution pixel 0 sits at p; from the other end of its s pixels that is s - 1 - p."""
    d = Degradation(lopsided(), scale, subsample)
    row, column = phase(d)
    row, column = (column, row) if symmetry.transposed else (row, column)
    expected = (scale - 1 - row if symmetry.rows else row, scale - 1 - column if symmetry.columns else column)
    assert phase(symmetry.degradation(d)) == pytest.approx(expected, abs=2e-4)
    known = Degradation(d.kernel, scale, subsample, grid=phase(d))  # the same grid, given and not worked out
    assert symmetry.degradation(known).grid == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_turning_back_is_the_inverse(symmetry: Symmetry) -> None:
    images = draw(2, 3, 4, 6)
    assert torch.equal(symmetry.turn_back(symmetry.turn(images)), images)
    assert symmetry.turn(images).shape[2:] == ((6, 4) if symmetry.transposed else (4, 6))


def test_turns_are_the_group_of_the_square() -> None:
    """Eight different arrangements, and any two turns after one another are a third."""
    images = draw(1, 1, 3, 3)
    turned = [symmetry.turn(images) for symmetry in SYMMETRIES]
    twice = [symmetry.turn(first) for symmetry in SYMMETRIES for first in turned]
    assert len({tuple(picture.flatten().tolist()) for picture in turned}) == 8
    assert {tuple(p.flatten().tolist()) for p in twice} == {tuple(p.flatten().tolist()) for p in turned}
    assert torch.equal(turned[0], images)
    assert any(torch.equal(picture, images.rot90(1, (2, 3))) for picture in turned)


@pytest.mark.parametrize("reduce", ["mean", "median"])
@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
def test_ensemble_of_an_equivariant_operation_is_the_operation(subsample: Subsample, reduce: Reduce) -> None:
    d = Degradation(kernels.gaussian((3.0, 1.0), 0.4).double(), 3, subsample)
    lr = draw(2, 3, 10, 7)

    def larger(lr: Images, d: Degradation) -> Images:
        return back_project(upsample(lr, d), lr, d, 2)

    torch.testing.assert_close(ensemble(larger, lr, d, reduce=reduce), larger(lr, d), rtol=0, atol=1e-9)


def test_enhance_sees_eight_positions_with_their_degradations() -> None:
    """Each call can explain its picture with its degradation, and no two pictures are the same."""
    hr, d = draw(1, 1, 8, 12), Degradation(lopsided(), 2)
    lr = linear(hr, d)
    seen: list[Tensor] = []

    def remember(turned: Images, of: Degradation) -> Images:
        truth = [symmetry.turn(hr) for symmetry in SYMMETRIES if symmetry.turn(hr).shape[2] == 2 * turned.shape[2]]
        assert min(float((linear(t, of) - turned).abs().max()) for t in truth) < 1e-12
        seen.append(turned)
        return turned

    assert torch.equal(ensemble(remember, lr, d, reduce="median"), lr)
    assert len(seen) == 8
    assert len({(tuple(p.shape), *p.flatten().tolist()) for p in seen}) == 8


def test_mean_and_median_of_eight_known_numbers() -> None:
    """0, 1, …, 6 and 100: the mean is 121 / 8, the median lies between 3 and 4."""
    lr, d = torch.zeros(1, 3, 2, 4), Degradation(kernels.delta())

    def count() -> Enhance:
        numbers = iter([100.0, 0.0, 6.0, 1.0, 5.0, 2.0, 4.0, 3.0])
        return lambda lr, d: lr + next(numbers)

    assert ensemble(count(), lr, d).unique().tolist() == [121 / 8]
    assert ensemble(count(), lr, d, reduce="median").unique().tolist() == [3.5]


@pytest.mark.parametrize(("d", "count"), [
    (Degradation(kernels.gaussian((2.0, 1.0)), 2), 2),
    (Degradation(kernels.gaussian((2.0, 2.0), offset=(0.5, 0.5), size=17), 2), 8),
    (Degradation(kernels.delta(), 3, "bicubic"), 8),
    (Degradation(kernels.delta(), 4), 2),
])  # fmt: skip
def test_a_network_that_is_not_told_of_the_grid_sees_it_where_it_was(d: Degradation, count: int) -> None:
    assert symmetries(d, told=True) == SYMMETRIES
    kept = symmetries(d, told=False)
    assert len(kept) == count
    assert kept[0] == Symmetry()
    for each in kept:
        assert phase(each.degradation(d)) == pytest.approx(phase(d), abs=1e-3)
    lr = draw(1, 2, 5, 6)
    torch.testing.assert_close(ensemble(lambda lr, d: lr + 1, lr, d, over=kept), lr + 1)


def test_the_mean_removes_what_is_odd_under_turning() -> None:
    """f = a ramp along the columns, in the position of the caller: its turns cancel, and the mean is its mean."""
    lr, d = torch.zeros(1, 1, 4, 4, dtype=torch.float64), Degradation(kernels.delta(), 1)
    ramp = torch.arange(4, dtype=torch.float64).expand(1, 1, 4, 4)
    torch.testing.assert_close(ensemble(lambda lr, d: lr + ramp, lr, d), torch.full_like(lr, 1.5))


def test_jpeg_stays_as_it_is() -> None:
    d = Degradation(lopsided(), 2, jpeg=Jpeg(tables(75)))
    assert all(symmetry.degradation(d).jpeg is d.jpeg for symmetry in SYMMETRIES)


def test_another_way_to_combine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as everywhere but in these tests
    with pytest.raises(InputError, match=r"reduce is 'max'; .*It must be one of mean, median"):
        ensemble(upsample, draw(1, 3, 4, 4), Degradation(kernels.delta()), reduce="max")  # pyright: ignore


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_some_rows_are_turned_back_alone(symmetry: Symmetry) -> None:
    images = draw(1, 2, 5, 7)
    for top, bottom in ((0, 2), (2, 5)):
        assert torch.equal(symmetry.rows_back(symmetry.turn(images), top, bottom), images[:, :, top:bottom])


def test_bands_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def lopsided(lr: Images, d: Degradation) -> Images:
        return lr + torch.linspace(0, 1, lr.shape[3], dtype=lr.dtype)

    images, d = draw(1, 3, 10, 7), Degradation(kernels.delta(), 1)
    whole = ensemble(lopsided, images, d)
    monkeypatch.setattr("mzsr.inference.ensemble.BAND", 3)
    assert torch.equal(ensemble(lopsided, images, d), whole)
    assert torch.equal(images, draw(1, 3, 10, 7)), "what was given is not what is added up in"

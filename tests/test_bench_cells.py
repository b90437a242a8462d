"""Sets, kernels and conditions of the benchmark: what is done to a picture is what was asked for."""

from pathlib import Path

import pytest
import torch
from commands import run

from mzsr.benchmark import cells
from mzsr.benchmark.cells import Cell, Source, make, read_set
from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import Degradation, degrade, effective_kernel
from mzsr.imaging.picture import Picture


@pytest.fixture
def source(photo: torch.Tensor, tmp_path: Path) -> Source:
    folder = tmp_path / "Some"
    folder.mkdir()
    files.write(folder / "a.png", Picture(photo))
    files.write(folder / "b.png", Picture(photo.flip(3)))
    return read_set(folder)[0][1]


@pytest.mark.parametrize("name", list(cells.NAMED))
def test_a_named_kernel_degrades_by_the_rules_of_the_paper(source: Source, name: str) -> None:
    kernel, subsample = cells.NAMED[name]
    case = make(source, Cell(2, name))
    expected = degrade(case.truth, Degradation(kernel(), 2, subsample)).clamp(0, 1)
    torch.testing.assert_close(case.lr, (expected * 255).round() / 255)
    assert case.on_corner == (subsample == "direct")


@pytest.mark.parametrize("name", list(cells.RANDOM))
@pytest.mark.parametrize("scale", [2, 4])
def test_random_kernels_sit_on_the_centred_grid_and_depend_on_the_place_alone(
    source: Source, name: str, scale: int
) -> None:
    case, again = make(source, Cell(scale, name)), make(source, Cell(scale, name))
    other = make(Source(source.set, source.path, source.index + 1, ""), Cell(scale, name))
    kernel = case.degradation.kernel
    assert torch.equal(kernel, again.degradation.kernel)
    assert not torch.equal(kernel, other.degradation.kernel)
    assert kernels.centroid(kernel) == pytest.approx(((scale - 1) / 2,) * 2, abs=1e-3)
    assert not case.on_corner
    low, high = cells.RANDOM_VARIANCE
    variances = torch.linalg.eigvalsh(kernels.covariance(kernel))
    assert float(variances.max()) < high * scale**2 + 0.5
    assert float(variances.max()) > low / 2


def test_noise_is_that_which_was_asked_for_and_the_same_every_time(source: Source) -> None:
    clean, noisy = (make(source, Cell(2, "bicubic", noise)) for noise in (0.0, 10 / 255))
    assert torch.equal(noisy.lr, make(source, Cell(2, "bicubic", 10 / 255)).lr)
    assert float((noisy.lr - clean.lr).std()) == pytest.approx(10 / 255, rel=0.1)
    assert noisy.degradation.noise == 10 / 255


def test_jpeg_is_done_and_told_as_a_file_tells_it(source: Source) -> None:
    clean, packed = (make(source, Cell(2, "bicubic", 0.0, quality)) for quality in (None, 50))
    assert 0.002 < float((packed.lr - clean.lr).abs().mean()) < 0.05
    assert clean.degradation.jpeg is None
    assert packed.degradation.jpeg is not None
    true = (packed.lr - clean.lr).square().mean().sqrt()
    assert 0.6 < float(packed.degradation.jpeg.error / true) < 1.5  # estimated: nobody tells the truth


@pytest.mark.parametrize(
    ("cell", "head", "folder"),
    [
        (Cell(2, "g2.0d"), "x2 g2.0d", "x2_g2.0d"),
        (Cell(4, "disks", 5 / 255), "x4 disks, noise 5/255", "x4_disks_noise_5_255"),
        (Cell(3, "bicubic", 0.0, 80), "x3 bicubic, JPEG 80", "x3_bicubic_JPEG_80"),
        (Cell(2, "bicubic", 2 / 255, 80), "x2 bicubic, noise 2/255 and JPEG 80", "x2_bicubic_noise_2_255_and_JPEG_80"),
    ],
)
def test_a_cell_is_named_by_what_it_does(cell: Cell, head: str, folder: str) -> None:
    assert (str(cell), cell.folder) == (head, folder)


def test_a_folder_of_kernels_pairs_by_number(source: Source, tmp_path: Path) -> None:
    """kernel_2 comes before kernel_10, and x2/ is taken at x2; each is moved to the centred grid."""
    folder = tmp_path / "kernels" / "x2"
    folder.mkdir(parents=True)
    kernel_files.save(folder / "kernel_2.mat", kernels.gaussian((1.0, 1.0)))
    kernel_files.save(folder / "kernel_10.mat", kernels.gaussian((3.0, 3.0)))
    (folder / "._kernel_2.mat").write_bytes(b"what macOS leaves there")
    cell = Cell(2, str(folder.parent))
    kernel = make(source, cell).degradation.kernel  # the second picture
    assert float(kernels.covariance(kernel)[0, 0]) == pytest.approx(3.0, abs=0.05)
    assert kernels.centroid(kernel) == pytest.approx((0.5, 0.5), abs=1e-3)
    assert cell.kernel_name == "kernels"
    assert cells.has_kernel(cell, source)
    assert not cells.has_kernel(cell, Source("Some", source.path, 2, ""))


def test_a_file_is_taken_as_it_is_and_a_folder_is_moved(source: Source, tmp_path: Path) -> None:
    """As --help says."""
    kernel_files.save(tmp_path / "k.npy", kernels.gaussian((1.0, 1.0)))
    for kernel, place in ((tmp_path / "k.npy", 0.0), (tmp_path, 0.5)):
        found = cells.kernel_of(Source("Some", source.path, 0, ""), Cell(2, str(kernel)))
        assert kernels.centroid(found) == pytest.approx((place, place), abs=1e-3)
    said = " ".join(run("bench", "quality", "--help").stdout.split())
    assert "a kernel file, taken as it is; or a folder of kernels" in said
    assert "moved to the grid of photographs" in said


def test_a_kernel_in_words_or_in_a_file(source: Source, tmp_path: Path) -> None:
    kernel_files.save(tmp_path / "k.npy", kernels.gaussian((4.0, 1.0), 0.3))
    for spec in ("gauss:4.0,1.0,0.3", str(tmp_path / "k.npy")):
        case = make(source, Cell(2, spec))
        torch.testing.assert_close(effective_kernel(case.degradation), kernels.gaussian((4.0, 1.0), 0.3))


@pytest.mark.parametrize(("kernel", "told"), [("g2d", "did you mean 'g2.0d'"), ("disk", "did you mean 'disks'")])
def test_an_unknown_kernel_is_answered_with_the_nearest(kernel: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        cells.check(Cell(2, kernel))


def test_a_folder_without_kernels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no kernels; \.mat or \.npy files are required"):
        cells.check(Cell(2, str(tmp_path)))


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(source: Source) -> None:
    (source.path.parent / "c.png").write_bytes(b"no picture")
    found, problems = read_set(source.path.parent)
    assert [s.path.name for s in found] == ["a.png", "b.png"]
    assert len(problems) == 1
    assert "c.png" in problems[0]


def test_hidden_files_are_none_of_a_set(source: Source) -> None:
    """Kernels and noise go by the place of a picture, and macOS leaves such files beside each."""
    before = read_set(source.path.parent)
    (source.path.parent / "._a.png").write_bytes(b"resource fork")
    assert read_set(source.path.parent) == before


def test_every_second_picture_is_a_set_of_its_own_name(source: Source) -> None:
    found, _ = read_set(source.path.parent, 2)
    assert [(s.set, s.path.name, s.index) for s in found] == [("Some/2", "a.png", 0)]


def test_a_folder_without_pictures_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no ground truth" in read_set(tmp_path / "empty")[1][0]
    assert "is no folder" in read_set(tmp_path / "missing")[1][0]


def test_the_hash_of_a_set_changes_with_its_pictures(source: Source) -> None:
    before = cells.set_hash(read_set(source.path.parent)[0])
    source.path.unlink()
    assert cells.set_hash(read_set(source.path.parent)[0]) != before

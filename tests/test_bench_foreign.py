"""Results of other programs, and networks that spandrel reads, are scored by the same rules."""

from pathlib import Path

import pytest
import torch

from mzsr.benchmark import foreign
from mzsr.benchmark.cells import Cell, Source, make, read_set
from mzsr.benchmark.foreign import Foreign, Results
from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.picture import Picture

CELL, OTHER = Cell(2, "g2.0d"), Cell(2, "bicubic")


@pytest.fixture
def sources(photo: torch.Tensor, tmp_path: Path) -> list[Source]:
    folder = tmp_path / "Some"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        files.write(folder / name, Picture(photo[:, :, :59, :75]))  # odd sides: results have those of the cropped truth
    return read_set(folder)[0]


def put(folder: Path, name: str, picture: torch.Tensor) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / name, Picture(picture))
    return folder / name


@pytest.mark.parametrize("name", ["a.png", "a_x2.png", "ax2.webp"])
@pytest.mark.parametrize("place", ["Some/x2_g2.0d", "x2_g2.0d", "Some", "."])
def test_results_are_found_where_they_may_lie(sources: list[Source], tmp_path: Path, name: str, place: str) -> None:
    case = make(sources[0], CELL)
    path = put(tmp_path / "theirs" / place, name, case.truth)
    theirs = Results("theirs", tmp_path / "theirs", single=True)
    assert theirs.find(sources[0], CELL) == path
    if path.suffix == ".png":
        (output,) = theirs(case, sources[0], CELL)
        torch.testing.assert_close(output.picture, case.truth, rtol=0, atol=0.5 / 255 + 1e-6)


def test_among_several_cells_a_result_must_say_whose_it_is(sources: list[Source], tmp_path: Path) -> None:
    put(tmp_path / "theirs", "a.png", make(sources[0], CELL).truth)
    theirs = Results("theirs", tmp_path / "theirs", single=False)
    assert theirs.find(sources[0], CELL) is None
    path = put(tmp_path / "theirs" / "x2_bicubic", "a.png", make(sources[0], CELL).truth)
    assert theirs.find(sources[0], OTHER) == path
    assert theirs.find(sources[0], CELL) is None


def test_a_missing_result_is_named_with_the_place_it_should_have(sources: list[Source], tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with pytest.raises(InputError, match=r"no result for a\.png; .*theirs/Some/x2_g2\.0d/a\.png is required"):
        list(Results("theirs", tmp_path / "theirs", True)(make(sources[0], CELL), sources[0], CELL))


def test_a_result_of_another_size_is_named_with_both(sources: list[Source], tmp_path: Path) -> None:
    put(tmp_path / "theirs", "a.png", torch.rand(1, 3, 59, 75))
    with pytest.raises(InputError, match=r"is 75x59; 74x58 is required"):
        list(Results("theirs", tmp_path / "theirs", True)(make(sources[0], CELL), sources[0], CELL))


def test_a_corrupt_result_is_named(sources: list[Source], tmp_path: Path) -> None:
    put(tmp_path / "theirs", "a.png", torch.rand(1, 3, 58, 74)).write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        list(Results("theirs", tmp_path / "theirs", True)(make(sources[0], CELL), sources[0], CELL))


def test_pictures_that_belong_to_nobody_are_found(sources: list[Source], tmp_path: Path) -> None:
    put(tmp_path / "theirs", "a.png", torch.rand(1, 3, 58, 74))
    put(tmp_path / "theirs", "._a.png", torch.rand(1, 3, 58, 74))  # hidden, as macOS leaves it
    put(tmp_path / "theirs", "b.png", torch.rand(1, 3, 58, 74))
    (sources[0].path.parent / "b.gif").touch()  # a truth of a kind that is read, but not written
    stray = put(tmp_path / "theirs", "c.png", torch.rand(1, 3, 58, 74))
    assert Results("theirs", tmp_path / "theirs", True).extra(sources, [CELL]) == [stray]


def test_results_of_two_sets_may_lie_in_one_folder(sources: list[Source], photo: torch.Tensor, tmp_path: Path) -> None:
    (tmp_path / "More").mkdir()
    files.write(tmp_path / "More" / "d.png", Picture(photo))
    both = [*sources, *read_set(tmp_path / "More")[0]]
    for name in ("a.png", "d.png"):
        put(tmp_path / "theirs" / "x2_g2.0d", name, torch.rand(1, 3, 58, 74))
    stray = put(tmp_path / "theirs" / "x2_g2.0d", "c.png", torch.rand(1, 3, 58, 74))
    assert Results("theirs", tmp_path / "theirs", False).extra(both, [CELL, OTHER]) == [stray]


class Twice:
    """Stands for a network that spandrel has read."""

    scale = 2

    def __call__(self, lr: torch.Tensor) -> torch.Tensor:
        return lr.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_foreign_network_is_given_low_resolution_alone(
    sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "_network", lambda file: Twice())
    (tmp_path / "n.pth").write_bytes(b"1")
    network = Foreign("twice", tmp_path / "n.pth")
    case = make(sources[0], CELL)
    (output,) = network(case, sources[0], CELL)
    torch.testing.assert_close(output.picture[:, :, ::2, ::2], case.lr)
    assert network.refuses(CELL) == ""
    assert network.refuses(Cell(4, "g2.0d")) == "it enlarges 2 times"
    before = network.identity(sources[0], CELL)
    (tmp_path / "n.pth").write_bytes(b"2")
    assert network.identity(sources[0], CELL) != before


def test_a_network_of_spandrel(sources: list[Source], tmp_path: Path) -> None:
    """The real library on a real file: a small RRDBNet with random weights, as tensors alone."""
    try:
        from spandrel.architectures.ESRGAN import ESRGAN  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs spandrel, of the extra `compare` ({error})")
    torch.manual_seed(0)
    theirs = ESRGAN(num_filters=8, num_blocks=1, scale=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "n.pth")
    case = make(sources[0], Cell(4, "g2.0d"))
    (output,) = Foreign("rrdb", tmp_path / "n.pth")(case, sources[0], Cell(4, "g2.0d"))
    with torch.no_grad():
        torch.testing.assert_close(output.picture, theirs(case.lr).clamp(0, 1))
    (tmp_path / "bad.pth").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"bad\.pth cannot be read"):
        Foreign("bad", tmp_path / "bad.pth").refuses(CELL)

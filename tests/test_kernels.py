"""Tests of kernels: closed forms of their moments, files there and back, and one line for each broken one."""

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from mzsr.errors import InputError
from mzsr.imaging import kernels

angles = st.floats(-math.pi, math.pi)
variances = st.floats(0.5, 5.0)  # below, a sampled Gaussian has no longer the variance of the continuous one
shifts = st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))


@pytest.mark.parametrize(
    ("spec", "trace"),
    [("gauss:2.0", 4.0), ("gauss:4.0,1.0,-0.5", 5.0)],
)
def test_a_family_has_its_moments(spec: str, trace: float) -> None:
    """The trace of the covariance has a closed form; tails cut off and pixels sampled cost less than two percent."""
    kernel = kernels.parse(spec)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert kernels.centroid(kernel) == pytest.approx((0, 0), abs=1e-6)
    assert float(kernels.covariance(kernel).trace()) == pytest.approx(trace, rel=0.02)


@given(l1=variances, l2=variances, theta=angles, offset=shifts)
def test_gaussian_has_the_moments_it_is_asked_for(l1: float, l2: float, theta: float, offset: tuple) -> None:
    """Σ = V diag(l1, l2) Vᵀ with l1 along (cos, sin) on (column, row)."""
    kernel = kernels.gaussian((l1, l2), theta, size=31, offset=offset)
    along = np.array([math.sin(theta), math.cos(theta)])
    across = np.array([math.cos(theta), -math.sin(theta)])
    expected = l1 * np.outer(along, along) + l2 * np.outer(across, across)
    np.testing.assert_allclose(kernels.covariance(kernel).numpy(), expected, atol=5e-3)
    assert kernels.centroid(kernel) == pytest.approx(offset, abs=1e-3)


def test_gaussian_is_its_formula() -> None:
    """exp(-pᵀ Σ⁻¹ p / 2) tap by tap, for the anisotropic kernel of the paper."""
    turn = np.array([[math.cos(-0.5), -math.sin(-0.5)], [math.sin(-0.5), math.cos(-0.5)]])  # (column, row)
    precision = np.linalg.inv(turn @ np.diag([4.0, 1.0]) @ turn.T)
    points = [(np.array([column, row])) for row in range(-7, 8) for column in range(-7, 8)]
    taps = np.array([math.exp(-0.5 * p @ precision @ p) for p in points]).reshape(15, 15)
    found = kernels.gaussian((4.0, 1.0), -0.5).numpy()
    np.testing.assert_allclose(found, taps / taps.sum(), atol=2e-8)


@given(theta=angles)
def test_a_quarter_turn_swaps_the_variances_and_a_half_turn_nothing(theta: float) -> None:
    kernel = kernels.gaussian((3.0, 0.7), theta)
    torch.testing.assert_close(kernel, kernels.gaussian((0.7, 3.0), theta + math.pi / 2), rtol=0, atol=1e-7)
    torch.testing.assert_close(kernel, kernels.gaussian((3.0, 0.7), theta + math.pi), rtol=0, atol=1e-7)
    torch.testing.assert_close(kernel.T, kernels.gaussian((3.0, 0.7), math.pi / 2 - theta), rtol=0, atol=1e-7)


def test_a_very_narrow_gaussian_is_one_tap() -> None:
    """Also between the pixels, where every tap would underflow."""
    narrow = kernels.gaussian((1e-4, 1e-4), size=5, offset=(0.3, -0.6))
    assert torch.equal(narrow, torch.roll(kernels.delta(5), -1, 1))


def test_gaussians_are_gaussians() -> None:
    pairs, angle = torch.tensor([[2.0, 1.0], [0.3, 4.0], [1.0, 1.0]]), torch.tensor([0.4, -1.0, 2.0])
    batch = kernels.gaussians(pairs, angle, size=9, offset=(0.5, 0.5))
    for kernel, (l1, l2), theta in zip(batch, pairs.tolist(), angle.tolist(), strict=True):
        alone = kernels.gaussian((l1, l2), theta, size=9, offset=(0.5, 0.5))
        torch.testing.assert_close(kernel, alone, rtol=1e-4, atol=1e-8)


def test_gaussians_are_differentiable() -> None:
    """Estimation and its refinement descend on the variances and the angle."""
    pairs = torch.tensor([[2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, t: kernels.gaussians(v, t, size=5), (pairs, theta))


def test_random_gaussians_are_log_uniform(generator: torch.Generator) -> None:
    """Both variances within the bounds, their logarithms uniform around the middle, every direction as likely."""
    drawn = kernels.random_gaussians(600, variance=(0.5, 4.0), size=25, generator=generator)
    covariances = torch.stack([kernels.covariance(kernel) for kernel in drawn])
    eigenvalues = torch.linalg.eigvalsh(covariances)
    assert 0.49 < eigenvalues.min() < 0.6
    assert 3.7 < eigenvalues.max() < 4.01
    logs = eigenvalues.log()
    # Of a uniform law on a length of log 8: mean at the middle, variance a twelfth of the square; 4 standard errors
    assert float(logs.mean()) == pytest.approx(math.log(0.5 * 4.0) / 2, abs=4 * math.log(8) / math.sqrt(12 * 1200))
    assert float(logs.var()) == pytest.approx(math.log(8) ** 2 / 12, rel=0.1)
    spread = eigenvalues[:, 1] - eigenvalues[:, 0]
    sine = 2 * covariances[:, 0, 1] / spread  # of twice the angle of the longer axis
    cosine = (covariances[:, 1, 1] - covariances[:, 0, 0]) / spread
    for mean in (sine.mean(), cosine.mean(), (sine * cosine).mean()):
        assert float(mean) == pytest.approx(0, abs=4 / math.sqrt(2 * 600))


def test_random_gaussians_repeat_with_their_generator() -> None:
    one, two, other = (
        kernels.random_gaussians(3, variance=(0.2, 5), generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.0, 1.0),), "variances are 0 and 1 pixels²; both must be above 0"),
        (((1.0, -1.0),), "variances are 1 and -1"),
        (((1.0, math.nan),), "variances are 1 and nan"),
        (((math.inf, 1.0),), "variances are inf and 1"),
        (((1.0, 1.0), math.nan), "angle is nan"),
    ],
)
def test_bad_gaussian(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernels.gaussian(*arguments)


@pytest.mark.parametrize("size", [0, -3, 4])
def test_bad_gaussian_size(size: int) -> None:
    with pytest.raises(InputError, match=f"size is {size}; it must be odd"):
        kernels.gaussian((1.0, 1.0), size=size)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_moments_of_a_box(size: int) -> None:
    """A box of n taps has variance (n² - 1) / 12; a delta is the box of one."""
    box = torch.full((size, size), 3.0)  # moments are of the normalised kernel
    assert kernels.centroid(box) == pytest.approx((0, 0), abs=1e-12)
    expected = torch.eye(2, dtype=torch.float64) * (size**2 - 1) / 12
    torch.testing.assert_close(kernels.covariance(box), expected, rtol=0, atol=1e-12)


@given(row=st.integers(-3, 3), column=st.integers(-3, 3))
def test_moments_of_a_moved_kernel(row: int, column: int) -> None:
    """The centroid moves along, the covariance stays."""
    small = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    large = torch.zeros(9, 9)
    large[3 + row : 6 + row, 3 + column : 6 + column] = small
    before = kernels.centroid(small)
    assert kernels.centroid(large) == pytest.approx((before[0] + row, before[1] + column), abs=1e-9)
    torch.testing.assert_close(kernels.covariance(large), kernels.covariance(small), rtol=0, atol=1e-9)


def test_moments_of_a_kernel_that_is_being_fitted() -> None:
    """A kernel that wants a gradient gives plain numbers, without a warning."""
    assert kernels.centroid(kernels.delta(3).requires_grad_()) == (0.0, 0.0)
    assert not kernels.covariance(kernels.delta(3).requires_grad_()).requires_grad


@given(rows=st.integers(1, 7), columns=st.integers(1, 7), to=shifts, seed=st.integers(0, 9))
def test_centre_puts_the_centroid_where_it_should_be(rows: int, columns: int, to: tuple, seed: int) -> None:
    """Of any kernel: even, oblong, ending abruptly, a single tap."""
    kernel = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
    moved = kernels.centre(kernel, to)
    assert moved.shape[0] == moved.shape[1]
    assert moved.shape[0] % 2 == 1
    assert float(moved.sum()) == pytest.approx(1, abs=1e-5)
    assert kernels.centroid(moved) == pytest.approx(to, abs=1.1e-3)


@given(l1=st.floats(1.5, 5.0), l2=st.floats(1.5, 5.0), theta=angles, to=shifts)
def test_centre_moves_a_gaussian_as_a_whole(l1: float, l2: float, theta: float, to: tuple) -> None:
    moved = kernels.centre(kernels.gaussian((l1, l2), theta, size=25, offset=(0.4, -0.2)), to)
    expected = kernels.gaussian((l1, l2), theta, size=moved.shape[0], offset=to)
    torch.testing.assert_close(moved, expected, rtol=0, atol=0.015 * float(expected.max()))


def test_centre_copies_where_nothing_has_to_move() -> None:
    """By whole pixels, and an even kernel to between its middle taps."""
    taps = torch.tensor([[1.0, 2.0], [2.0, 1.0]]) / 6
    assert kernels.centroid(kernels.centre(taps, (0.5, 0.5))) == pytest.approx((0.5, 0.5), abs=1e-9)
    for to in ((0.5, 0.5), (-0.5, 1.5)):
        moved = kernels.centre(taps, to)
        torch.testing.assert_close(moved[moved > 1e-6].reshape(2, 2), taps, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.zeros(3, 3), "sums to 0; the sum must be above 0"),
        (torch.full((2, 3), math.nan), "6 values that are NaN or infinite"),
        (torch.tensor([[1.0, -0.9, 0.0]]), "centroid at .* outside itself"),
    ],
)
def test_centre_refuses_what_has_no_centre(kernel: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernels.centre(kernel)


def test_check_normalises() -> None:
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernels.check(7 * kernel), kernel / kernel.sum())
    ringing = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 8.0, -1.0], [0.0, -1.0, 0.0]])  # negative taps are allowed
    torch.testing.assert_close(kernels.check(ringing), ringing / 4)


@pytest.mark.parametrize("suffix", [".mat", ".npy", ".MAT"])
@pytest.mark.parametrize("size", [1, 3, 15])
def test_files_there_and_back(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"kernel{suffix}"
    kernels.save(path, kernels.delta(3))  # and over what is there
    kernel = kernels.check(torch.rand(size, size, generator=torch.Generator().manual_seed(size)) - 0.2)
    kernels.save(path, kernel)
    torch.testing.assert_close(kernels.load(path), kernel, rtol=0, atol=1e-7)
    assert torch.equal(kernels.parse(str(path)), kernels.load(path))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def mat(**variables: object) -> Callable[[Path], object]:
    return lambda path: savemat(path, variables, appendmat=False)


def npy(array: np.ndarray, pickled: bool = False) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with path.open("wb") as file:  # given a name, numpy completes its suffix
            np.save(file, array, allow_pickle=pickled)

    return write


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, kernel=np.ones((3, 3)))


ONES = np.ones((3, 3))


def test_a_mat_may_hold_more_than_its_kernel(tmp_path: Path) -> None:
    """Scalars, texts and stacks beside it do no harm; integers and booleans are numbers."""
    savemat(
        tmp_path / "k.mat", {"anything": ONES.astype(np.uint8), "scale": 2, "note": "x2", "stack": np.ones((3, 3, 2))}
    )
    torch.testing.assert_close(kernels.load(tmp_path / "k.mat"), torch.full((3, 3), 1 / 9))
    np.save(tmp_path / "k.npy", ONES.astype(bool))
    torch.testing.assert_close(kernels.load(str(tmp_path / "k.npy")), torch.full((3, 3), 1 / 9))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("k.mat", mat(a=ONES, b=ONES), r"has 2 2-D variables \(a, b\); exactly one is required"),
        ("k.mat", mat(a=1, b=2), r"has 2 2-D variables \(a, b\)"),
        ("k.mat", mat(), r"has 0 2-D variables \(none\)"),
        ("k.mat", mat(a=np.ones((3, 3, 2))), r"has 0 2-D variables \(none\)"),
        ("k.mat", mat(a=ONES * 1j), "holds complex128; real numbers are required"),
        ("k.mat", mat(a=np.array([["x", ONES]], object)), "holds object; real"),
        ("k.mat", mat(a=np.ones((4, 4))), "is 4x4; it must be square and odd — pad it with mzsr.kernels.centre"),
        ("k.mat", mat(a=np.ones((3, 5))), "is 3x5; it must be square and odd"),
        ("k.mat", mat(a=np.ones(5)), "is 1x5; it must be square and odd"),
        ("k.mat", mat(a=np.zeros((0, 0))), "is 0x0; it must be square and odd"),
        ("k.mat", mat(a=ONES * np.nan), "has 9 values that are NaN or infinite"),
        ("k.mat", mat(a=-ONES), "sums to -9; the sum must be above 0"),
        ("k.mat", raw(b""), "cannot be read .*; it may be damaged"),
        ("k.mat", raw(b"1 2 3\n4 5 6\n7 8 9\n" * 20), "cannot be read"),
        ("k.mat", npy(ONES), "cannot be read"),
        ("k.npy", npy(np.ones((3, 3, 2))), "is 3x3x2; it must be square and odd"),
        ("k.npy", npy(np.ones(())), "it must be square and odd"),
        ("k.npy", npy(ONES * 1j), "holds complex128; real"),
        ("k.npy", npy(np.array([["a", "b"]])), "holds <U1; real"),
        ("k.npy", npy(np.array([[1, None]], object), pickled=True), "cannot be read"),
        ("k.npy", npy(np.ones((4, 4))), "is 4x4; it must be square and odd"),
        ("k.npy", npy(np.array([[np.inf]])), "has 1 values that are NaN or infinite"),
        ("k.npy", npy(ONES * 0), "sums to 0; the sum must be above 0"),
        ("k.npy", raw(b""), "cannot be read"),
        ("k.npy", raw(b"0.1 0.2\n0.3 0.4\n"), "cannot be read"),
        ("k.npy", raw(b"\x93NUMPY\x02\x00\xff\xff\x01\x00" + b" " * 0x1FFFF), "cannot be read"),
        ("k.npy", mat(a=ONES), "cannot be read"),
        ("k.npy", archive, "cannot be read"),
        ("k.png", raw(b"x"), "ends in '.png'; .mat and .npy files are read"),
        ("k", raw(b"x"), "ends in ''; .mat and .npy"),
        ("k.mat", lambda path: path.mkdir(), "is a folder; give a .mat or .npy file"),
        ("k.mat", lambda path: None, "does not exist; give a .mat or .npy file"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, name: str, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError, match=message) as error:
        kernels.load(path)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize("suffix", [".mat", ".npy"])
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    """Cut off anywhere, or with any one byte changed: a kernel, or one line, but nothing else."""
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"damaged{suffix}"
    if suffix == ".mat":  # compressed, as MATLAB writes it: a check sum guards scipy's reader, which trusts plain bytes
        savemat(whole, {"Kernel": np.eye(5)}, do_compression=True)
    else:
        np.save(whole, np.eye(5))
    content = whole.read_bytes()
    cuts = [content[:length] for length in range(len(content))]
    changes = [content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :] for i in range(len(content))]
    refused = []
    for damaged in cuts + changes:
        path.write_bytes(damaged)
        try:
            kernel = kernels.load(path)
        except InputError as error:
            refused.append(str(error))
        else:
            assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert len(refused) >= len(cuts)
    assert not any("\n" in line for line in refused)


def test_bad_places_to_save(tmp_path: Path) -> None:
    (tmp_path / "folder.mat").mkdir()
    (tmp_path / "file").write_text("kept")
    for path, message in [
        (tmp_path / "k.txt", "ends in '.txt'; use .mat or .npy"),
        (tmp_path / "folder.mat", "is a folder; name a file"),
        (tmp_path / "missing" / "k.npy", "cannot be written .* choose another place"),
        (tmp_path / "file" / "k.npy", "cannot be written"),
        (tmp_path / ("x" * 300 + ".npy"), "cannot be written"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            kernels.save(path, kernels.delta())
        assert "\n" not in str(error.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.mat"]


@pytest.mark.parametrize("suffix", [".mat", ".npy"])
def test_a_disk_that_fills_up_keeps_the_old_file(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: BinaryIO, *arguments: object, **options: object) -> None:
        file.write(b"half a ker")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"k{suffix}"
    kernels.save(path, kernels.delta(3))
    monkeypatch.setattr("scipy.io.savemat" if suffix == ".mat" else "numpy.save", half)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\).* choose another place"):
        kernels.save(path, kernels.delta(5))
    assert torch.equal(kernels.load(path), kernels.delta(3))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_parse() -> None:
    assert torch.equal(kernels.parse("bicubic"), kernels.delta())
    assert torch.equal(kernels.parse("gauss:0.2"), kernels.gaussian((0.2, 0.2)))
    assert torch.equal(kernels.parse("gauss:4,1"), kernels.gaussian((4.0, 1.0)))
    assert torch.equal(kernels.parse("gauss: 4.0, 1e0, -0.5"), kernels.gaussian((4.0, 1.0), -0.5))
    wide = kernels.parse("gauss:16")
    assert float(kernels.covariance(wide).trace()) == pytest.approx(32, rel=0.03)  # the square grows with the blur


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "is a folder"),
        ("gauss", "write gauss:VARIANCE,VARIANCE2,THETA"),
        ("gauss:", "kernel is 'gauss:'; write gauss:"),
        ("gauss:two", "kernel is 'gauss:two'; write gauss:"),
        ("gauss:1,2,3,4", "kernel is 'gauss:1,2,3,4'; write gauss:"),
        ("gauss:1;2", "write gauss:"),
        ("gauss:nan", "every number in it must be finite"),
        ("gauss:1,1,inf", "every number in it must be finite"),
        ("gauss:0", "variances are 0 and 0 pixels²; both must be above 0"),
        ("gauss:2,-1", "variances are 2 and -1"),
        ("gauss:1e9", "variance is 1e\\+09 pixels²; it must be at most 400"),
        ("Gauss:2", "Gauss:2 does not exist"),
        ("bicubic:2", "bicubic:2 does not exist"),
        ("no/such/kernel.mat", "kernel.mat does not exist"),
    ],
)
def test_bad_spec(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        kernels.parse(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [2, 4])
def test_kernels_of_a_public_set(data: Path, scale: int) -> None:
    """The 50 random kernels of DIV2KRK are read, and centre() puts them onto the centre-aligned grid."""
    folder = data / "bench" / "kernels" / f"x{scale}"
    to = ((scale - 1) / 2, (scale - 1) / 2)
    paths = sorted(folder.glob("*.mat"))
    assert len(paths) == 50
    for path in paths:
        kernel = kernels.load(path)
        moved = kernels.centre(kernel, to)
        assert kernels.centroid(moved) == pytest.approx(to, abs=1.1e-3)
        assert moved.shape[0] <= kernel.shape[0] + 10  # room for the move, no more
        torch.testing.assert_close(kernels.covariance(moved), kernels.covariance(kernel), rtol=0.02, atol=0.02)

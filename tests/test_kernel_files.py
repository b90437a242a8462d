"""Tests of kernels as people write them: families, files there and back, and one line for each broken one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from mzsr.errors import InputError
from mzsr.imaging import kernel_files, kernels


@pytest.mark.parametrize(
    ("spec", "trace"),
    [("gauss:2.0", 4.0), ("gauss:4.0,1.0,-0.5", 5.0)],
)
def test_a_family_has_its_moments(spec: str, trace: float) -> None:
    """The trace of the covariance has a closed form; tails cut off and pixels sampled cost less than two percent."""
    kernel = kernel_files.parse(spec)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert kernels.centroid(kernel) == pytest.approx((0, 0), abs=1e-6)
    assert float(kernels.covariance(kernel).trace()) == pytest.approx(trace, rel=0.02)


@pytest.mark.parametrize("suffix", [".mat", ".npy", ".MAT"])
@pytest.mark.parametrize("size", [1, 3, 15])
def test_files_there_and_back(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"kernel{suffix}"
    kernel_files.save(path, kernels.delta(3))  # and over what is there
    kernel = kernels.check(torch.rand(size, size, generator=torch.Generator().manual_seed(size)) - 0.2)
    kernel_files.save(path, kernel)
    torch.testing.assert_close(kernel_files.load(path), kernel, rtol=0, atol=1e-7)
    assert torch.equal(kernel_files.parse(str(path)), kernel_files.load(path))
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
    torch.testing.assert_close(kernel_files.load(tmp_path / "k.mat"), torch.full((3, 3), 1 / 9))
    np.save(tmp_path / "k.npy", ONES.astype(bool))
    torch.testing.assert_close(kernel_files.load(str(tmp_path / "k.npy")), torch.full((3, 3), 1 / 9))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("k.mat", mat(a=ONES, b=ONES), r"has 2 2-D variables \(a, b\); exactly one is required"),
        ("k.mat", mat(a=1, b=2), r"has 2 2-D variables \(a, b\)"),
        ("k.mat", mat(), r"has 0 2-D variables \(none\)"),
        ("k.mat", mat(a=np.ones((3, 3, 2))), r"has 0 2-D variables \(none\)"),
        ("k.mat", mat(a=ONES * 1j), "holds complex128; real numbers are required"),
        ("k.mat", mat(a=np.array([["x", ONES]], object)), "has 0 2-D variables .none."),
        ("k.mat", mat(a=np.ones((4, 4))), "is 4x4; it must be square and odd — pad it with mzsr.kernels.centre"),
        ("k.mat", mat(a=np.ones((3, 5))), "is 3x5; it must be square and odd"),
        ("k.mat", mat(a=np.ones(5)), "is 1x5; it must be square and odd"),
        ("k.mat", mat(a=np.zeros((0, 0))), "is 0x0; it must be square and odd"),
        ("k.mat", mat(a=ONES * np.nan), "has 9 values that are NaN or infinite"),
        ("k.mat", mat(a=-ONES), "sums to -9; the sum must be above 0"),
        ("k.mat", raw(b""), "cannot be read: it is no MATLAB file of version 5 to 7"),
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
        kernel_files.load(path)
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
            kernel = kernel_files.load(path)
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
            kernel_files.save(path, kernels.delta())
        assert "\n" not in str(error.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.mat"]


def test_parse() -> None:
    assert torch.equal(kernel_files.parse("bicubic"), kernels.delta())
    assert torch.equal(kernel_files.parse("gauss:0.2"), kernels.gaussian((0.2, 0.2)))
    assert torch.equal(kernel_files.parse("gauss:4,1"), kernels.gaussian((4.0, 1.0)))
    assert torch.equal(kernel_files.parse("gauss: 4.0, 1e0, -0.5"), kernels.gaussian((4.0, 1.0), -0.5))
    wide = kernel_files.parse("gauss:16")
    assert float(kernels.covariance(wide).trace()) == pytest.approx(32, rel=0.03)  # the square grows with the blur


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tests", "kernel file tests is a folder"),
        ("gauss", "write gauss:VARIANCE,VARIANCE2,THETA"),
        ("gauss:", "kernel is 'gauss:'; write gauss:"),
        ("gauss:two", "kernel is 'gauss:two'; write gauss:"),
        ("gauss:1,2,3,4", "kernel is 'gauss:1,2,3,4'; write gauss:"),
        ("gauss:1;2", "write gauss:"),
        ("gauss:nan", "every number in it must be finite"),
        ("gauss:1,1,inf", "every number in it must be finite"),
        ("gauss:3,0.5,54", "angle is 54 radians, more than a turn; 54 degrees are 0.9425"),
        ("gauss:0", "variances are 0 and 0 pixels²; both must be above 0"),
        ("gauss:2,-1", "variances are 2 and -1"),
        ("gauss:1e9", "variance is 1e\\+09 pixels²; it must be at most 400"),
        (
            "Gauss:2",
            "kernel is 'Gauss'; did you mean 'gauss'\\? It must be one of bicubic, gauss",
        ),
        ("gaus:2", "did you mean 'gauss'.*, or a .mat or .npy file"),
        ("Bicubic", "did you mean 'bicubic'"),
        ("bicubic:3", "kernel is 'bicubic:3'; did you mean 'bicubic'"),
        ("x" * 300, "or a .mat or .npy file"),
        ("no/such/kernel.mat", "kernel.mat does not exist"),
    ],
)
def test_bad_spec(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        kernel_files.parse(spec)
    assert "\n" not in str(error.value)

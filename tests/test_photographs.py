"""Tests of the photographs in memory: lossless, in order, what is passed over and why, the licences beside them."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import coded
from torch import Tensor

from mzsr.apps.training import check_lines
from mzsr.errors import InputError
from mzsr.learning.photographs import FolderSummary, find_licence, load_photographs, shrunk


def save(path: Path, pixels: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy()).save(path)
    return path


def digest(*folders: Path) -> str:
    return load_photographs(folders, 8).digest


def test_photographs_are_read_losslessly_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Below every folder; grey pictures become three equal channels; what is no picture is not looked at."""
    b = save(tmp_path / "one" / "b.png", coded(12, 9, 2))
    grey = save(tmp_path / "one" / "a" / "grey.png", coded(10, 10, 0)[1:2])
    other = save(tmp_path / "two" / "a.png", coded(9, 13, 3))
    (tmp_path / "one" / "LICENCE.txt").write_text("free")
    loaded = load_photographs([tmp_path / "one", tmp_path / "two"], 9)
    assert loaded.skipped == []
    expected = [np.asarray(Image.open(path).convert("RGB")) for path in (grey, b, other)]
    assert len(loaded.pictures) == 3
    for picture, array in zip(loaded.pictures, expected, strict=True):
        assert torch.equal(picture, torch.from_numpy(array.copy()).permute(2, 0, 1))


def test_a_summary_counts_what_is_used(tmp_path: Path) -> None:
    """Smallest and largest by their pixels, whatever their names and shapes; what is passed over does not count."""
    for name, (height, width) in {"a": (30, 20), "b": (16, 16), "c": (10, 40), "d": (25, 40), "e": (7, 99)}.items():
        save(tmp_path / "set" / f"{name}.png", coded(height, width, 0))
    save(tmp_path / "other" / "a.png", coded(9, 9, 0))
    loaded = load_photographs([tmp_path / "set", tmp_path / "other"], 9)
    pixels = (30 * 20 + 16 * 16 + 10 * 40 + 25 * 40) / 1e6
    assert loaded.folders == [
        FolderSummary("set", 4, (16, 16), (25, 40), pixels, None),
        FolderSummary("other", 1, (9, 9), (9, 9), 81 / 1e6, None),
    ]


def test_unusable_files_are_named_and_passed_over(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", coded(20, 20, 1))
    save(tmp_path / "small.png", coded(30, 15, 1))
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    save(tmp_path / "folder.png" / ".thumbnails" / "hidden.png", coded(20, 20, 2))
    save(tmp_path / "._a.png", coded(20, 20, 3))
    (tmp_path / "phone.heic").write_bytes(b"no picture")
    frames = [Image.fromarray(np.full((20, 20, 3), value, np.uint8)) for value in (0, 200)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    loaded = load_photographs([tmp_path], 16)
    assert len(loaded.pictures) == 1
    reasons = {
        "cut.png": "damaged or cut short",
        "empty.jpg": "is empty",
        "moving.webp": "animated",
        "phone.heic": "is no image",
        "small.png": "is 15x30; at least 16x16 is required",
        "text.png": "is no image",
    }
    assert len(loaded.skipped) == len(reasons)
    for line, (name, reason) in zip(loaded.skipped, reasons.items(), strict=True):
        assert line.startswith(str(tmp_path / name))
        assert reason in line
        assert "\n" not in line


def test_folders_that_are_not_entered_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without permission (which an administrator always has, hence the patch), and one behind a link."""
    save(tmp_path / "set" / "a.png", coded(9, 9, 0))
    save(tmp_path / "set" / "locked" / "b.png", coded(9, 9, 1))
    save(tmp_path / "elsewhere" / "c.png", coded(9, 9, 2))
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    locked, scan = str(tmp_path / "set" / "locked"), os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path) == locked:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    loaded = load_photographs([tmp_path / "set"], 9)
    assert [int(picture[0, 0, 0]) for picture in loaded.pictures] == [0]
    assert loaded.skipped == [
        f"{tmp_path / 'set' / 'link'} is a link to a folder, which is not followed; give that folder itself",
        f"folder {locked} cannot be read (Permission denied); read permission is required",
    ]


def test_every_folder_must_hold_a_usable_picture(tmp_path: Path) -> None:
    save(tmp_path / "good" / "a.png", coded(20, 20, 1))
    bad = tmp_path / "bad"
    bad.mkdir()
    with pytest.raises(InputError, match=rf"no usable picture in {bad} \(0 passed over\).*at least 16x16"):
        load_photographs([tmp_path / "good", bad], 16)
    small = save(bad / "small.png", coded(15, 15, 1))
    with pytest.raises(InputError, match=rf"\(1 passed over, the first: {small} is 15x15"):
        load_photographs([tmp_path / "good", bad], 16)

    summary = load_photographs([tmp_path / "good", bad], 16, empty=True)
    assert [(folder.count, folder.megapixels) for folder in summary.folders] == [(1, 0.0004), (0, 0)]
    assert check_lines(summary)[1:] == [
        "bad: no usable picture", "total: 1 photograph (0.0004 megapixels), 1 file passed over",
        f"passed over: {small} is 15x15; at least 16x16 is required",
    ]  # fmt: skip


def test_missing_folder_and_a_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", save(tmp_path / "a.png", coded(20, 20, 1))):
        with pytest.raises(InputError, match=f"data folder {path} does not exist or is a file; give a folder"):
            load_photographs([tmp_path, path], 16)


def test_no_picture_is_given_twice(tmp_path: Path) -> None:
    """The same folder by another name, or one inside another; a name that only begins alike is another folder."""
    inner = save(tmp_path / "set" / "inner" / "a.png", coded(20, 20, 1)).parent
    save(tmp_path / "set-2" / "a.png", coded(20, 20, 1))
    folder = inner.parent
    link = tmp_path / "link"
    link.symlink_to(folder)
    for other, said in ((folder, "are the same"), (link, "are the same"), (inner, "lie one in the other")):
        for both in ([folder, other], [other, folder]):
            with pytest.raises(InputError, match=f"data folders {both[0]} and {both[1]} {said}"):
                load_photographs(both, 16)
    assert len(load_photographs([folder, tmp_path / "set-2"], 16).pictures) == 2


def test_digest_is_of_sizes_and_pixels_in_order(tmp_path: Path) -> None:
    """Anyone can compute it again: SHA-256 over `HxW;` and the planes R, G, B of each picture."""
    a, b = coded(12, 9, 2), coded(10, 10, 0)[1:2]
    save(tmp_path / "a.png", a)
    save(tmp_path / "b.png", b)
    expected = b"12x9;" + a.numpy().tobytes() + b"10x10;" + 3 * b.numpy().tobytes()
    assert digest(tmp_path) == hashlib.sha256(expected).hexdigest()[:16]


def test_digest_changes_with_the_pictures_and_with_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    a, b = torch.full((3, 16, 20), 7, dtype=torch.uint8), coded(9, 9, 1)
    save(first / "a.png", a)
    save(second / "b.png", b)
    found = digest(first, second)
    assert digest(second, first) != found
    save(first / "a.png", a.reshape(3, 20, 16))  # the same bytes
    assert digest(first, second) != found
    a[2, 15, 19] += 1
    save(first / "a.png", a)
    assert digest(first, second) != found
    a[2, 15, 19] -= 1
    os.remove(first / "a.png")
    save(first / "renamed.tif", a)
    (first / "broken.png").write_text("")
    (first / "LICENSE").write_text("CC0")
    assert digest(first, second) == found


def test_to_moves_the_pictures_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "a.png", coded(9, 12, 1))
    (tmp_path / "broken.png").write_text("")
    loaded = load_photographs([tmp_path], 9)
    moved = loaded.to(torch.device("meta"))
    assert [(p.device.type, p.shape) for p in moved.pictures] == [("meta", p.shape) for p in loaded.pictures]
    assert (moved.skipped, moved.folders, moved.digest) == (loaded.skipped, loaded.folders, loaded.digest)
    assert loaded.pictures[0].device.type == "cpu"


def test_shrunk_pictures_are_what_a_program_that_shrinks_makes_of_them() -> None:
    """Antialiased, rounded, as 8 bits; one set for each factor, in order; what would be too small is left out."""
    grating = torch.zeros(3, 40, 60, dtype=torch.uint8)
    grating[:, :, ::2] = 255  # no smaller size can hold it
    flat, small = torch.full((3, 48, 40), 77, dtype=torch.uint8), torch.zeros(3, 31, 90, dtype=torch.uint8)
    half = shrunk([grating, flat, small], [0.8, 0.5], 20)
    assert [tuple(p.shape) for p in half] == [(3, 32, 48), (3, 39, 32), (3, 25, 72), (3, 20, 30), (3, 24, 20)]
    assert all(picture.dtype == torch.uint8 for picture in half)
    assert half[1].unique().tolist() == half[4].unique().tolist() == [77]
    inside = half[3][:, :, 3:-3].float()
    assert (inside - 127.5).abs().max() < 3
    assert shrunk([grating], [], 8) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("LICENSE", "\n=====\n  CC BY-SA   4.0\t(Cloudinary)\nmore", "CC BY-SA 4.0 (Cloudinary)"),
        ("licence.TXT", "\ufeffPublic domain.\r\nmore", "Public domain"),
        ("Copying.md", "# GNU General Public License", "GNU General Public License"),
        ("LICENSE-CC-BY-4.0", "Attribution 4.0 International", "Attribution 4.0 International"),
        ("LICENSE.md", "## Licence\n\n**CC0**", "CC0"),
        ("LICENSE.txt", "Creative Commons Legal Code\n\nCC0 1.0 Universal", "CC0 1.0 Universal"),
        ("LICENSE.txt", "Licence", "Licence"),
        ("LICENSE.txt", "a \x1b[2Jtrick", "a ?[2Jtrick"),
        ("LICENSE.txt", "x" * 300, "x" * 119 + "…"),
        ("README.md", "# Bees\n\nSilent.\n- License: Unsplash\nCC0", "License: Unsplash"),
        ("ReadMe", "# Bees\n# Licence:\n\nUse them as you like.", "Use them as you like"),
        ("readme.txt", "bees\nThey are in the public\ndomain: Public Domain!", "domain: Public Domain!"),
        ("README", "CC bypasses, acc0\nunder cc-by 2.0", "under cc-by 2.0"),
    ],
)
def test_the_line_that_tells_the_licence(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert find_licence(tmp_path, []) == f"{line} ({name})"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("LICENSE", b""),
        ("LICENSE.txt", b" \n---\n***\n"),
        ("LICENSE.png", b"CC0"),
        ("LICENSE.json", b"CC0"),
        ("UNLICENSE", b"CC0"),
        ("README", b"200 photographs of bees"),
        ("README", b"x" * 65536 + b"\nlicence: CC0"),
        ("notes.txt", b"licence: CC0"),
    ],
)
def test_what_tells_no_licence(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert find_licence(tmp_path, []) is None


@pytest.mark.parametrize("name", ["LICENSE", "README.md"])
@pytest.mark.parametrize("data", ["Licence: für alle".encode("latin-1"), "Licence: CC0".encode("utf-16-le"), b"CC\xff"])
def test_what_is_no_utf8_is_unreadable(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert find_licence(tmp_path, []) == f"unreadable ({name})"


def test_a_character_on_the_limit_does_no_harm(tmp_path: Path) -> None:
    """The first of its two bytes is the last one read."""
    text = "CC0\n".ljust(65535, "x") + "é"
    assert len(text.encode()) == 65537
    (tmp_path / "LICENSE").write_text(text, "utf-8")
    assert find_licence(tmp_path, []) == "CC0 (LICENSE)"


def test_licences_of_sub_folders(tmp_path: Path) -> None:
    """Of those that lead to pictures; what says the same is said once, and READMEs only where there is no other."""
    texts = {
        "README.md": "licence: see the folders",
        "a/LICENSE": "CC0",
        "a/README": "licence: CC0, but in many words",
        "b/LICENSE": "CC BY 4.0",
        "b/deep/COPYING": "CC0",
        "empty/LICENSE": "secret",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for place in ("a", "b/deep"):
        save(tmp_path / place / "1.png", coded(9, 9, 0))
    expected = "licence: see the folders (README.md); CC0 (a/LICENSE); CC BY 4.0 (b/LICENSE)"
    assert load_photographs([tmp_path], 9).folders[0].licence == expected


def test_folders_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "in" / "a.png", coded(9, 9, 0))
    (tmp_path / "LICENSE").write_text("of another folder")
    (tmp_path / "set" / "in" / "LICENSE").write_text("CC0")
    for place, folder in ((tmp_path, "set"), (tmp_path / "set", "."), (tmp_path / "set" / "in", "..")):
        monkeypatch.chdir(place)
        summary = load_photographs([Path(folder)], 9).folders[0]
        assert (summary.name, summary.licence) == ("set", "CC0 (in/LICENSE)")


def test_no_file_outside_is_read(tmp_path: Path) -> None:
    """Nor a pipe, nor a folder; a link to a file inside will do."""
    folder = tmp_path / "set"
    (folder / "texts").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "LICENSE").symlink_to(tmp_path / "secret")
    (folder / "LICENSES").mkdir()
    (folder / "LICENSE.txt").symlink_to(folder / "gone")
    (folder / "LICENCE").symlink_to(folder / "LICENCE")
    os.mkfifo(folder / "COPYING")
    assert find_licence(folder, []) is None
    (folder / "texts" / "by.txt").write_text("CC BY 4.0")
    (folder / "licence.md").symlink_to(folder / "texts" / "by.txt")
    assert find_licence(folder, []) == "CC BY 4.0 (licence.md)"
    (tmp_path / "link").symlink_to(folder)
    assert find_licence(tmp_path / "link", []) == "CC BY 4.0 (licence.md)"


def test_check_lines(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for i in range(2):
        save(one / f"{i}.png", coded(512, 1024, i))
    (one / "LICENSE.txt").write_text("CC BY-SA 4.0\n")
    save(two / "a.png", coded(30, 20, 0))
    save(two / "b.png", coded(20, 40, 0))
    loaded = load_photographs([one, two], 16)
    first = "one: 2 photographs, 1024x512 (1.0 megapixels), licence: CC BY-SA 4.0 (LICENSE.txt)"
    assert check_lines(loaded) == [
        first,
        "two: 2 photographs, 20x30 to 40x20 (0.0014 megapixels), licence: no licence file found",
        "total: 4 photographs (1.0 megapixels), 0 files passed over",
    ]
    save(two / "b.png", coded(15, 40, 0))
    (two / "c\n.png").write_text("")
    save(one / "z.png", coded(9, 40, 0))
    assert check_lines(load_photographs([one, two], 16)) == [
        first,
        "two: 1 photograph, 20x30 (0.0006 megapixels), licence: no licence file found",
        "total: 3 photographs (1.0 megapixels), 3 files passed over",
        f"passed over: {one / 'z.png'} is 40x9; at least 16x16 is required",
        f"passed over: {two / 'b.png'} is 40x15; at least 16x16 is required",
        f"passed over: {two}/c\n.png is empty (0 bytes); a picture file is required — copy it again",
    ]

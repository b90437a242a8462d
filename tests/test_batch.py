"""Tests of long lists: structure, what is done and what is not, what is ours."""

import errno
import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from albums import FAST, outputs, write
from commands import run
from PIL import Image, ImageOps

from mzsr.apps.batch import HIDDEN, Records, Task, each, read_record
from mzsr.apps.work import Order
from mzsr.errors import InputError
from mzsr.inference.upscale import Upscaler


def test_structure_is_kept_and_nothing_is_done_twice(album: Path, tiny_weights: Path, worked_on: list[str]) -> None:
    command = ["upscale", "in", "-o", "made/out", "--recursive", "-n", tiny_weights, *FAST]
    first = run(*command)
    assert first.exit_code == 1
    found = outputs(album / "made/out")
    assert sorted(found) == ["a_x2.png", "one/b_x2.jpg", "one/two/c_x2.webp"]
    assert first.stderr.splitlines()[-1] == "mzsr: 1 of 4 pictures failed, 3 are done: in/one/two/d.png"
    assert worked_on == ["a.png", "b.jpg", "c.webp", "d.png"]
    worked_on.clear()
    again = run(*command)
    assert worked_on == ["d.png"]
    assert again.stderr.splitlines()[-1].endswith("failed, 3 are done, 3 of them before: in/one/two/d.png")
    assert outputs(album / "made/out") == found


def test_json_speaks_of_every_picture_also_of_those_done_before(album: Path, tiny_weights: Path) -> None:
    command = ["upscale", "in", "-o", "out", "-r", "-n", tiny_weights, "--json", *FAST]
    first, again = ([json.loads(line) for line in run(*command).stdout.splitlines()] for _ in range(2))
    assert [record["input"] for record in first] == [f"in/{name}" for name in ("a.png", "one/b.jpg", "one/two/c.webp",
                                                                              "one/two/d.png")]  # fmt: skip
    assert [record if "error" in record else record | {"skipped": True} for record in first] == again
    assert ["error" in record for record in first] == [False, False, False, True]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: None, []),
        (lambda: os.utime("in/a.png"), []),  # only the clock has moved
        (lambda: shutil.copy("in/one/b.jpg", "in/a.png"), ["a.png"]),
        (lambda: Path("out/one/b_x2.jpg").unlink(), ["b.jpg"]),
        (lambda: Path("out/.mzsr/done/a_x2.png.json").write_text("{"), []),  # not ours any more: see below
        (lambda: shutil.rmtree("in/one"), []),
    ],
    ids=["nothing", "time", "input", "output", "record", "inputs gone"],
)
def test_what_has_changed_is_done_again(
    album: Path, tiny_weights: Path, worked_on: list[str], change: Any, expected: list[str]
) -> None:
    (album / "in/one/two/d.png").unlink()
    command = ["upscale", "in", "-o", "out", "-r", "-n", tiny_weights, *FAST]
    assert run(*command).exit_code == 0
    before = outputs(album / "out")
    worked_on.clear()
    change()
    run(*command)
    assert worked_on == expected
    assert outputs(album / "out").keys() == before.keys()


@pytest.mark.parametrize("options", [["--steps", "1"], ["--quality", "50"], ["--kernel", "gauss:1.0"], ["--seed", "1"]])
def test_other_settings_are_other_work(
    album: Path, tiny_weights: Path, worked_on: list[str], options: list[str]
) -> None:
    command = ["upscale", "in", "-o", "out", "-n", tiny_weights, *FAST]
    assert run(*command).exit_code == 0
    worked_on.clear()
    assert run(*command, *options).exit_code == 0  # our own output is replaced without --overwrite
    assert run(*command, *options).exit_code == 0
    assert worked_on == ["a.png"]


def test_the_same_settings_in_other_words_are_the_same_work(
    album: Path, tiny_weights: Path, worked_on: list[str]
) -> None:
    command = ["upscale", "in", "-o", "out", "-n", tiny_weights, "--device", "cpu"]
    assert run(*command, "--mode", "fast").exit_code == 0
    worked_on.clear()
    assert run(*command, "--steps", "0", "--mode", "balanced").exit_code == 0
    assert worked_on == []


def test_what_mzsr_did_not_write_stays(album: Path, tiny_weights: Path) -> None:
    command = ["upscale", "in", "-o", "out", "-r", "-n", tiny_weights, *FAST]
    run(*command)
    made = outputs(album / "out")
    retouched = album / "out/a_x2.png"
    retouched.write_bytes(b"hours of work")
    (album / "out/one/b_x2.jpg").unlink()
    result = run(*command)
    assert result.exit_code == 1
    assert "out/a_x2.png exists, and is not what mzsr wrote there; add --overwrite to replace it" in result.stderr
    assert outputs(album / "out") == made | {"a_x2.png": b"hours of work"}
    Path("out/a_x2.png").chmod(0o600)
    run(*command, "--overwrite")
    assert stat.S_IMODE(Path("out/a_x2.png").stat().st_mode) == 0o600, "a private picture stays private"
    assert outputs(album / "out") == made
    shutil.rmtree(album / "out" / HIDDEN)  # without records nothing is ours
    refused = run(*command)
    assert refused.exit_code == 1
    assert all(f"{name} exists; add --overwrite" in refused.stderr for name in ("out/a_x2.png", "out/one/b_x2.jpg"))
    assert outputs(album / "out") == made


def test_the_folder_of_the_outputs_is_no_input(album: Path, tiny_weights: Path, worked_on: list[str]) -> None:
    for _ in range(2):
        run("upscale", "in", "-o", "in/out", "-r", "-n", tiny_weights, *FAST)
    assert worked_on == ["a.png", "b.jpg", "c.webp", "d.png", "d.png"]


def test_format_of_the_results(album: Path, tiny_weights: Path) -> None:
    run("upscale", "in", "-o", "out", "-r", "--format", "avif", "-n", tiny_weights, *FAST)
    assert sorted(outputs(album / "out")) == ["a_x2.avif", "one/b_x2.avif", "one/two/c_x2.avif"]


def test_a_result_stays_that_of_its_picture(album: Path, tiny_weights: Path, worked_on: list[str]) -> None:
    """Which of a.bmp and a.png comes first depends on what else is there; a finished result does not change hands."""
    shutil.rmtree("in/one")
    with Image.open("in/a.png") as image:
        ImageOps.invert(image).save("in/a.bmp")
    command = ["upscale", "in", "-o", "out", "--format", "jpg", "-n", tiny_weights, *FAST]
    run(*command)
    before = outputs(album / "out")
    assert sorted(before) == ["a.png_x2.jpg", "a_x2.jpg"]
    Path("in/a.bmp").unlink()
    run(*command)
    assert outputs(album / "out") == before
    with Image.open("in/a.png") as image:
        image.save("in/a.avif")
    run(*command)
    assert {name: data for name, data in outputs(album / "out").items() if name in before} == before
    assert worked_on == ["a.bmp", "a.png", "a.avif"]


def test_a_result_is_not_replaced_by_that_of_a_picture_of_the_same_name(album: Path, tiny_weights: Path) -> None:
    """Cameras begin at DSC_0001 on every card; the same picture from another place is the same work."""
    for card, shift in (("card1", 0), ("card2", 4), ("copy of card1", 0)):
        (album / card).mkdir()
        with Image.open("in/a.png") as image:
            image.crop((shift, 0, shift + 36, 32)).save(album / card / "DSC_0001.png")
    command = ["-o", "out", "-n", tiny_weights, *FAST]
    assert run("upscale", "card1", *command).exit_code == 0
    before = outputs(album / "out")
    refused = run("upscale", "card2", *command)
    assert refused.exit_code == 1
    told = f"out/DSC_0001_x2.png is the result of {album}/card1/DSC_0001.png; add --overwrite to replace it, or choose"
    assert told in refused.stderr
    again = run("upscale", "copy of card1", *command, "--json")
    assert json.loads(again.stdout)["skipped"]
    assert outputs(album / "out") == before
    assert run("upscale", "card2", *command, "--overwrite").exit_code == 0
    assert outputs(album / "out") != before


def test_a_link_beside_what_it_points_to_is_a_picture_of_its_own(album: Path, tiny_weights: Path) -> None:
    Path("in/c.png").symlink_to("a.png")
    run("upscale", "in", "-o", "out", "-n", tiny_weights, *FAST)
    found = outputs(album / "out")
    assert found["a_x2.png"] == found["c_x2.png"]


def test_a_link_to_a_folder_is_named_and_the_rest_is_done(album: Path, tiny_weights: Path) -> None:
    Path("elsewhere").mkdir()
    Path("in/far").symlink_to(Path("elsewhere").resolve())
    done = run("upscale", "in", "-o", "out", "--recursive", "-n", tiny_weights, *FAST)
    assert done.exit_code == 1
    assert "in/far is a link to a folder, which is not followed; give that folder itself" in done.stderr
    assert "a_x2.png" in outputs(album / "out")


def test_a_folder_of_the_results_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename from .mzsr/parts cannot reach it; what a link points to is replaced, and the link stays."""
    (tmp_path / "a").write_text("input")
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a_x2").write_text("old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a_x2").symlink_to("../far/a_x2")
    original = os.replace

    def replace(this: Any, that: Any) -> None:
        if Path(this).parent != Path(that).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        original(this, that)

    monkeypatch.setattr(os, "replace", replace)
    records = Records(tmp_path / "out", "", overwrite=True)
    records.finish(records.task(tmp_path / "a", tmp_path / "out/a_x2"), write("new"))
    assert (tmp_path / "out/a_x2").is_symlink()
    assert (tmp_path / "far/a_x2").read_text() == "new"
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["a_x2"]
    assert records.task(tmp_path / "a", tmp_path / "out/a_x2").told == {"said": "new"}


def test_what_was_overwritten_once_does_not_become_ours(tmp_path: Path) -> None:
    """Somebody brings his file back, and gives the same command without --overwrite."""
    source, target = tmp_path / "a", tmp_path / "out/a_x2"
    target.parent.mkdir()
    source.write_text("input")
    target.write_text("mine")
    Records(target.parent, "", overwrite=True).finish(Task(source, target, "0", "1", None), write("result"))
    target.write_text("mine")
    with pytest.raises(InputError, match="is not what mzsr wrote there"):
        Records(target.parent, "").task(source, target)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_while_a_picture_is_at_work_stays(tmp_path: Path, overwrite: bool) -> None:
    source, target = tmp_path / "a", tmp_path / "out/a_x2"
    source.write_text("input")
    records = Records(target.parent, "", overwrite=overwrite)

    def work(part: Path) -> dict[str, Any]:
        target.write_text("mine")
        return write("result")(part)

    task = records.task(source, target)
    if overwrite:
        records.finish(task, work)
    else:
        with pytest.raises(InputError, match="was written by somebody else meanwhile; it stays as it is"):
            records.finish(task, work)
        assert read_record(target.parent, target) is None
    assert target.read_text() == ("result" if overwrite else "mine")


def test_the_same_result_of_another_run_is_ours(tmp_path: Path) -> None:
    """Of the same picture and settings alone."""
    source, target = tmp_path / "a", tmp_path / "out/a_x2"
    source.write_text("input")
    records, others = (Records(target.parent, settings) for settings in ("", "other"))

    def work(part: Path) -> dict[str, Any]:
        records.finish(task, write("same"))
        return write("same")(part) | {"said": "later"}

    task = records.task(source, target)
    assert records.finish(task, work) == {"said": "same"}
    target.unlink()
    with pytest.raises(InputError, match="was written by somebody else meanwhile"):
        others.finish(others.task(source, target), work)
    assert records.task(source, target).told == {"said": "same"}


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of this kind")
def test_two_runs_share_a_list(
    album: Path, tiny_weights: Path, worked_on: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first is at a.png, which it leaves for last, and does too, as nobody ends it here."""
    (album / "in/one/two/d.png").unlink()
    command = ["upscale", "in", "-o", "out", "-r", "-n", tiny_weights, "--json", *FAST]
    original, second = Upscaler.__call__, []

    def meanwhile(self: Upscaler, image: Any, **options: Any) -> Any:
        result = original(self, image, **options)
        if not second:
            second.append(None)
            second.append(run(*command))
        return result

    monkeypatch.setattr(Upscaler, "__call__", meanwhile)
    first = run(*command)
    assert first.exit_code == second[1].exit_code == 0
    assert worked_on == ["a.png", "b.jpg", "c.webp", "a.png"]
    told = [json.loads(line) for line in first.stdout.splitlines()]
    assert [record.get("skipped", False) for record in told] == [False, True, True]
    assert sorted(outputs(album / "out")) == ["a_x2.png", "one/b_x2.jpg", "one/two/c_x2.webp"]


def test_a_fault_in_one_picture_does_not_stop_the_others() -> None:
    def work(source: Path, target: Path) -> None:
        if source.name == "b.png":
            raise InputError("too small")
        if source.name == "c.png":
            raise ZeroDivisionError("division\nby zero")

    said: dict[Path, str] = {}
    jobs = [(Path(name), Path()) for name in ("a.png", "b.png", "c.png", "d.png")]
    assert each(jobs, work, said.__setitem__) == [Path("b.png"), Path("c.png")] == list(said)
    assert said[Path("b.png")] == "b.png: too small"
    assert said[Path("c.png")].startswith("c.png: ZeroDivisionError: division by zero; please report")


def test_a_scale_of_two_is_the_one_that_nobody_named(album: Path, tiny_weights: Path, worked_on: list[str]) -> None:
    command = ["upscale", "in", "-o", "out", "-r", "-n", str(tiny_weights), *FAST]
    run(*command)
    worked_on.clear()
    run(*command, "-s", 2)
    assert worked_on == ["d.png"]  # which cannot be done


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    records, target = Records(tmp_path, ""), tmp_path / "a"
    records.finish(Task(tmp_path / "s", target, "0", None, None), write("x"))
    place = tmp_path / HIDDEN / "done/a.json"
    assert read_record(tmp_path, target) is not None
    untold = json.dumps({**json.loads(place.read_text()), "told": []})
    for text in ("", "[]", "{}", '{"source": 1}', '{"unknown": 1}', untold):
        place.write_text(text)
        assert read_record(tmp_path, target) is None


def test_all_that_bytes_depend_on_is_in_the_fingerprint(
    tiny_weights: Path, doubting_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all weights and version: after an update nothing of before counts as done."""
    usual = {"kernel": "auto", "fit": "stretch", "subsample": None, "noise": "auto", "jpeg": "auto",
             "enlarged": "auto", "mode": "balanced", "steps": None, "x8": None, "seed": 0, "scale": 2,
             "back_projection": True}  # fmt: skip
    order = Order("tiny", "cpu", None, usual, False, 10**6, 95)
    tiny, doubting = (Upscaler(path, device="cpu") for path in (tiny_weights, doubting_weights))
    before = order.fingerprint(tiny)
    assert order.fingerprint(doubting) != before
    others = {"fit": "inside", "subsample": "direct", "noise": 0.1, "jpeg": "off", "enlarged": "off", "x8": True,
              "steps": 2, "seed": 1, "scale": 3, "kernel": "bicubic", "mode": "best",
              "back_projection": False}  # fmt: skip
    for name, value in others.items():
        assert replace(order, options=usual | {name: value}).fingerprint(tiny) != before, name
    assert replace(order, quality=50).fingerprint(tiny) != before
    assert replace(order, tile=64).fingerprint(tiny) != before
    assert replace(order, max_pixels=1, uncertainty=True).fingerprint(tiny) == before  # which move no pixel
    monkeypatch.setattr("mzsr.apps.work.__version__", "9")
    assert order.fingerprint(tiny) != before

"""Tests of training states that no run may go on from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from training import Clock, Run, configured, go, left_behind

from mzsr.errors import InputError
from mzsr.learning.state import load_state, save_state
from mzsr.learning.weights import load_weights


@pytest.mark.parametrize("processes", [2, 1])
def test_a_run_goes_on_with_as_many_processes(folder: Path, tmp_path: Path, processes: int) -> None:
    """Others would see other batches, and the card would tell of the last ones alone."""
    go(configured(), folder, tmp_path, time_limit=0)
    groups, facts = load_state(tmp_path / "state.safetensors")
    save_state(tmp_path / "state.safetensors", groups, facts | {"processes": str(processes)})
    if processes == 1:
        assert go(configured(), folder, tmp_path, resume=True).step == 8
        return
    with pytest.raises(InputError, match=r"made by 2 processes, this is 1.*--nproc-per-node 2"):
        go(configured(), folder, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch": 3}, r"another configuration \(batch\)"),
        ({"network": {"channels": 8, "stages": 1, "blocks": 0}}, r"another configuration \(network\)"),
        ({"seed": 1, "clip": 1.0}, r"another configuration \(clip, seed\)"),
        ({"iterations": 13}, r"another configuration \(iterations\)"),
        ({"stage": "meta"}, "is a state of PretrainConfig, this is MetaConfig"),
    ],
)
def test_a_state_of_another_run_is_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    go(configured(), folder, tmp_path, time_limit=0)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match=named):
        go(configured(**changes), folder, tmp_path, resume=True)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_a_run_that_cannot_be_lengthened_is_told_the_way(folder: Path, tmp_path: Path) -> None:
    """The schedule goes by the length, so a longer run is another one; where there are weights, it may begin there."""
    done = go(configured(iterations=2), folder, tmp_path / "run")
    way = f"(iterations); repeat that one, or begin another run with --from {done.weights} --out ANOTHER"
    with pytest.raises(InputError, match=re.escape(way)):
        go(configured(iterations=3), folder, tmp_path / "run", resume=True)
    assert go(configured(iterations=3), folder, tmp_path / "more", start_from=done.weights).step == 3


def test_what_changes_no_update_may_change(wholes: dict[str, Run], folder: Path, tmp_path: Path, clock: Clock) -> None:
    """More checkpoints and another licence: the same bits, and the card has the licence."""
    go(configured(), folder, tmp_path, time_limit=4, progress=clock.tick)
    done = go(configured(save_every=1, licences={folder.name: "CC0"}), folder, tmp_path, resume=True)
    tensors, log, _ = left_behind(tmp_path)
    assert [name for name, tensor in wholes["pretrain"][0].items() if not torch.equal(tensors[name], tensor)] == []
    assert log == wholes["pretrain"][1]
    assert load_weights(done.weights)[1].data == (f"{folder.name} (CC0)",)


def test_shares_in_another_order_are_another_run(folder: Path, tmp_path: Path) -> None:
    """What is drawn goes by the order; equal mappings would give other batches."""
    shares = {"families": {"disk": 0.5, "box": 0.5}}
    go(configured(law=shares), folder, tmp_path, time_limit=0)
    with pytest.raises(InputError, match=r"another configuration \(law\)"):
        go(configured(law={"families": {"box": 0.5, "disk": 0.5}}), folder, tmp_path, resume=True)
    go(configured(law=shares), folder, tmp_path, resume=True, time_limit=0)


def test_a_run_is_overwritten_only_by_itself(folder: Path, tmp_path: Path) -> None:
    """Neither by a new one nor with other data: its end would not be the same, nor its card true."""
    go(configured(), folder, tmp_path / "run", time_limit=0)
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match="run already holds a run; add --resume to go on with it"):
        go(configured(), folder, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(
        InputError, match=r"was made with 2 pictures, \w{16}, this is 1 pictures, \w{16}; give the same"
    ):
        go(configured(), tmp_path / "other", tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def foreign(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, metadata={"format": "pt"})


def changed(
    path: Path, name: Callable[[str], str] = str, tensor: Callable[[Tensor], Tensor] = torch.clone, **fact: str
):
    groups, facts = load_state(path)
    save_file({f"{g}/{name(n)}": tensor(t) for g, m in groups.items() for n, t in m.items()}, path, facts | fact)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "truncated"),
        (foreign, "is no training state of mzsr"),
        (lambda path: changed(path, name=lambda name: name.replace("head", "neck")), "another version of the network"),
        (lambda path: changed(path, tensor=lambda t: t[:1] if t.ndim else t), "another version of the network"),
        (lambda path: changed(path, format="1"), "has format 1, this version reads 3; begin anew, or use the version"),
        (lambda path: changed(path, format="4", novelty="1"), "has format 4, this version reads 3; update mzsr"),
        (lambda path: changed(path, config='{"novelty": 1}'), "state.safetensors has an unknown key 'novelty'"),
    ],
)
def test_unusable_state_is_refused(folder: Path, tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    go(configured(), folder, tmp_path, time_limit=0)
    state = tmp_path / "state.safetensors"
    damage(state)
    before = state.read_bytes()
    with pytest.raises(InputError, match=why):
        go(configured(), folder, tmp_path, resume=True)
    assert state.read_bytes() == before


def test_weights_without_their_state_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    """A state is written before its weights, so they are of a run that somebody has tidied up."""
    go(configured(), folder, tmp_path)
    (tmp_path / "state.safetensors").unlink()
    before = (tmp_path / "weights.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(InputError, match="holds weights without the state of their run; choose another folder"):
            go(configured(), folder, tmp_path, resume=resume)
    assert (tmp_path / "weights.safetensors").read_bytes() == before

"""Tests of where to compute: the precision that a processor is faster in, and its name."""

import platform
import threading

import pytest
import torch

from mzsr.learning.devices import best_precision, exact, name_of, one_thread

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R) Platinum 8481C"}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R) Platinum 8380H"}, torch.float32),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC 9654"}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False, "cpu_name": "AMD EPYC 7763"}, torch.float32),
        ({}, torch.float32),  # another architecture
    ],
)
def test_best_precision_is_the_faster_one(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, bool | str], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert best_precision(CPU) == expected


@pytest.mark.parametrize(("has", "name"), [({"cpu_name": " AMD EPYC "}, "AMD EPYC"), ({}, platform.machine())])
def test_a_processor_has_a_name(monkeypatch: pytest.MonkeyPatch, has: dict[str, str], name: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert name_of(CPU) == name


def test_pictures_are_made_in_float32_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
        with exact():
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32 is before


def test_of_several_threads_one_at_a_time_computes_alone() -> None:
    inside = threading.Event()

    def another() -> None:
        with one_thread():
            inside.set()

    with one_thread(), one_thread():
        waiting = threading.Thread(target=another)
        waiting.start()
        assert not inside.wait(0.2)
    waiting.join(10)
    assert inside.is_set()

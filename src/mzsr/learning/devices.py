"""Where to compute, in which precision, and how much memory it takes."""

import math
import os
import platform
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from mzsr.errors import InputError, one_of

PRECISIONS = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}
_alone = threading.RLock()


def pick_device(name: str) -> torch.device:
    """Return the device of a name, `auto` being the accelerator where there is one; InputError if it is not there."""
    torch.backends.cudnn.allow_tf32 = False  # PyTorch's own choice is 10 bits of mantissa where float32 is asked for
    if check_device(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device is cuda, and PyTorch finds none here; take auto or cpu")
    return torch.device(name)


def check_device(name: str) -> str:
    """Return a name that a device may have, whether it is there or not; InputError for another."""
    return one_of("device", name, ("auto", "cpu", "cuda"))


def train_fast(device: torch.device) -> None:
    """Let what stays in float32 run in TF32 where convolutions are trained; `exact` takes that back for a while.

    Matrix products stay as they are: those of JPEG round to whole numbers, and a bit decides.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


@contextmanager
def exact() -> Iterator[None]:
    """Convolve in float32 as it is inside: where pictures are made, ten bits of mantissa are too few."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def best_precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the processor multiplies it faster than float32, else float32.

    On CPUs that means matrix tiles (AMX), or vector instructions (avx512_bf16) that do twice the work of float32, as
    AMD's do since Zen 4: 64-channel convolutions run at 2.0 times the float32 rate there, with AMX at five times.
    Intel's without tiles do not: at 0.6 to 0.8 of the float32 rate on a Xeon whose tiles were hidden (LOG.md).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        if has.get("amx_bf16") or (has.get("avx512_bf16") and str(has.get("cpu_name")).startswith("AMD")):
            return torch.bfloat16
    return torch.float32


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of a name, `auto` being the best one of the device; InputError if it is none."""
    return PRECISIONS[one_of("precision", name, PRECISIONS)] or best_precision(device)


def precision_name(precision: torch.dtype) -> str:
    """Return the name of a precision, as `precision_of` reads it.

    >>> precision_name(torch.bfloat16)
    'bfloat16'
    """
    return str(precision).removeprefix("torch.")


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: where a process has one core, or where several would add up in another order.

    The number is in part of the process: of several threads that want this, one does it at a time.
    """
    with _alone:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def check_compiler() -> None:
    """Raise InputError where `torch.compile` would find no C++ compiler."""
    known = [os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in known if name):
        raise InputError(
            "compile is true, and no C++ compiler (g++, clang++ or $CXX) is here; install one, or leave it out"
        )


def name_of(device: torch.device) -> str:
    """Return the name of a processor, `AMD EPYC` or `NVIDIA H100 80GB HBM3`; at least its architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine()).strip()


def out_of_memory(error: Exception) -> bool:
    """Tell PyTorch's two ways of saying it: a class on accelerators, a sentence on CPUs."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def forget_peak(device: torch.device) -> None:
    """Begin anew with the peak that `peak_mb` tells."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux alone has it; elsewhere the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device) -> float | None:
    """Return MiB: of the accelerator, or of this process; None where nobody counts.

    Linux's ru_maxrss begins with the peak of the process that started this one, so its VmHWM is read where there is one
    (gVisor has none).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if (peak := _kilobytes("/proc/self/status", "VmHWM")) is not None:
        return peak / 2**10
    if sys.platform == "win32":
        return None
    import resource  # Windows has none

    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def free_mb(device: torch.device) -> float:
    """Return MiB that can still be had; infinity where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    available = _kilobytes("/proc/meminfo", "MemAvailable")
    return math.inf if available is None else available / 2**10


def _kilobytes(path: str, name: str) -> int | None:
    """Return a number that Linux tells of itself; None where it does not."""
    with suppress(OSError, IndexError, ValueError):
        return int(re.findall(rf"^{name}:\s*(\d+) kB", Path(path).read_text(), re.MULTILINE)[0])
    return None

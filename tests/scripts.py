"""The scripts of runs/, which no package holds, as modules for tests."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

RUNS = Path(__file__).resolve().parent.parent / "runs"


def script_of(name: str) -> ModuleType:
    """Return runs/NAME.py; it finds its neighbours."""
    sys.path.insert(0, str(RUNS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(RUNS))

"""Data flows down one list: a file imports only from files above it. See `The house` in README.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "mzsr"

# Top to bottom. `__init__.py` is a façade and exempt; everything else that exists is in this list, and the reverse.
ORDER = [
    "mzsr.version",
    "mzsr.shapes",
    "mzsr.errors",
    "mzsr.atomic",
    "mzsr.pages",
    "mzsr.commands",
    "mzsr.config",
    "mzsr.card",
    "mzsr.presets",
    "mzsr.settings",
    "mzsr.imaging.captions",
    "mzsr.imaging.metadata",
    "mzsr.imaging.alpha",
    "mzsr.imaging.picture",
    "mzsr.imaging.encode",
    "mzsr.imaging.code_points",
    "mzsr.imaging.files",
    "mzsr.imaging.folders",
    "mzsr.imaging.preview",
    "mzsr.imaging.color",
    "mzsr.imaging.borders",
    "mzsr.imaging.resize",
    "mzsr.imaging.blocks",
    "mzsr.imaging.strides",
    "mzsr.imaging.kernels",
    "mzsr.imaging.mat",
    "mzsr.imaging.kernel_files",
    "mzsr.imaging.random_kernels",
    "mzsr.imaging.jpeg",
    "mzsr.imaging.degrade",
    "mzsr.imaging.data_step",
    "mzsr.imaging.metrics",
    "mzsr.learning.devices",
    "mzsr.learning.contract",
    "mzsr.learning.backbones",
    "mzsr.learning.networks",
    "mzsr.learning.spectrum",
    "mzsr.learning.estimator",
    "mzsr.learning.losses",
    "mzsr.learning.photographs",
    "mzsr.learning.patches",
    "mzsr.learning.estimation",
    "mzsr.learning.inner",
    "mzsr.learning.weights",
    "mzsr.learning.parallel",
    "mzsr.learning.journal",
    "mzsr.learning.cards",
    "mzsr.learning.optimiser",
    "mzsr.learning.objective",
    "mzsr.learning.state",
    "mzsr.learning.loop",
    "mzsr.learning.pretrain",
    "mzsr.learning.metatrain",
    "mzsr.inference.compression",
    "mzsr.inference.enlargement",
    "mzsr.inference.families",
    "mzsr.inference.spectra",
    "mzsr.inference.fits",
    "mzsr.inference.estimate",
    "mzsr.inference.adapt",
    "mzsr.inference.uncertainty",
    "mzsr.inference.tiles",
    "mzsr.inference.ensemble",
    "mzsr.inference.zssr",
    "mzsr.inference.request",
    "mzsr.inference.result",
    "mzsr.inference.intake",
    "mzsr.inference.upscale",
    "mzsr.benchmark.rows",
    "mzsr.benchmark.timings",
    "mzsr.benchmark.published",
    "mzsr.benchmark.cells",
    "mzsr.benchmark.methods",
    "mzsr.benchmark.foreign",
    "mzsr.benchmark.measure",
    "mzsr.benchmark.tables",
    "mzsr.benchmark.plots",
    "mzsr.benchmark.page",
    "mzsr.benchmark.crops",
    "mzsr.benchmark.publication",
    "mzsr.benchmark.references",
    "mzsr.benchmark.stages",
    "mzsr.benchmark.speed",
    "mzsr.apps.charts",
    "mzsr.apps.error_map",
    "mzsr.apps.report",
    "mzsr.apps.usage",
    "mzsr.apps.present",
    "mzsr.apps.batch",
    "mzsr.apps.work",
    "mzsr.apps.worker",
    "mzsr.apps.foreman",
    "mzsr.apps.cluster",
    "mzsr.apps.jobs",
    "mzsr.service.settings",
    "mzsr.service.store",
    "mzsr.service.names",
    "mzsr.service.sessions",
    "mzsr.service.options",
    "mzsr.service.processes",
    "mzsr.service.look",
    "mzsr.service.work",
    "mzsr.service.pool",
    "mzsr.service.counters",
    "mzsr.service.server",
    "mzsr.service.answers",
    "mzsr.service.refusals",
    "mzsr.service.form",
    "mzsr.service.intake",
    "mzsr.service.body",
    "mzsr.service.guard",
    "mzsr.service.api",
    "mzsr.service.listen",
    "mzsr.apps.training",
    "mzsr.apps.requests",
    "mzsr.apps.bench",
    "mzsr.apps.serve",
    "mzsr.apps.cli",
    "mzsr.__main__",
]


def modules_on_disk() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        if path.name != "__init__.py":
            found[".".join(("mzsr", *path.relative_to(SOURCE).with_suffix("").parts))] = path
    return found


def imported_modules(tree: ast.AST) -> list[tuple[int, str]]:
    """Return (line, module of mzsr) for every import, those inside functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import with its full name, mzsr..."
            base = node.module or ""
            # `from mzsr.imaging import resize` names a module; `from mzsr.imaging.resize import resize` a function
            found += [(node.lineno, full if (full := f"{base}.{n.name}") in ORDER else base) for n in node.names]
    return [(line, name) for line, name in found if name == "mzsr" or name.startswith("mzsr.")]


def misplaced(module: str, source: str) -> list[str]:
    """Return one sentence for each import that does not point up the list."""
    above = ORDER[: ORDER.index(module)]
    return [
        f"{module}, line {line}: imports {name}, which is not above it"
        for line, name in imported_modules(ast.parse(source))
        if name not in above
    ]


def test_the_list_is_the_house() -> None:
    found = modules_on_disk().keys()
    missing, unlisted = sorted(set(ORDER) - found), sorted(found - set(ORDER))
    assert not missing, f"listed in ORDER but not on disk: {missing}"
    assert not unlisted, f"on disk but not listed in ORDER: {unlisted}"


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_up(module: str) -> None:
    path = modules_on_disk().get(module)
    if path is None:
        pytest.fail(f"{module} is listed in ORDER but not on disk")
    assert not (found := misplaced(module, path.read_text(encoding="utf-8"))), "\n".join(found)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from mzsr.imaging.borders import pad_symmetric", False),
        ("from mzsr.imaging import borders", False),
        ("import torch", False),
        ("from mzsr.imaging import degrade", True),
        ("import mzsr.imaging.degrade", True),
        ("def later():\n    from mzsr.imaging.degrade import degrade", True),
        ("from mzsr.imaging import degrade_typo", True),
        ("from mzsr import upscale", True),  # the façade stands below everything
        ("import mzsr", True),
    ],
)
def test_the_rule_catches_what_it_should(source: str, wrong: bool) -> None:
    assert bool(misplaced("mzsr.imaging.kernels", source)) is wrong


def test_help_starts_without_torch() -> None:
    # Importing torch takes seconds; `mzsr --help` must not
    code = (
        "import sys; sys.argv = ['mzsr', '--help']\n"
        "from mzsr.apps.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

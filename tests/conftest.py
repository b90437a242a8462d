"""What tests share: the image packs, a seeded generator, small pictures, weights, a browser, the markers' conditions.

Imports nothing of mzsr at the top: the shape checks hook into its first import, which comes after this file.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import torch
from browser import Browser, chromium
from PIL import Image
from visitor import DESK, SHOTS, Page

if TYPE_CHECKING:
    from training import Clock, Run

    from mzsr.inference.upscale import Upscaler
    from mzsr.learning.photographs import Photographs

ROOT = Path(__file__).resolve().parent.parent

# Two threads of one process, or one thread of each of several; more of them than cores wait for one another
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
# No test depends on the clock or on a random seed: the same examples every time, however slow the machine
hypothesis.settings.register_profile("mzsr", deadline=None, derandomize=True, max_examples=25, database=None)
hypothesis.settings.load_profile("mzsr")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of the image packs: MZSR_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("MZSR_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"image packs not found in {folder}; set MZSR_DATA to their folder")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def photo() -> torch.Tensor:
    """Return (1, 3, 60, 76) in [0.05, 0.95] with what photographs have: a 1/f spectrum, edges, a fine texture."""
    height, width = 60, 76
    row = torch.arange(height, dtype=torch.float32)[:, None]
    column = torch.arange(width, dtype=torch.float32)[None, :]
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :])
    falloff = 1 / radius.clamp(min=1 / width)
    picture = torch.fft.irfft2(torch.fft.rfft2(noise) * falloff, s=(height, width))
    picture = picture / picture.std()
    disk = ((row - 24) ** 2 + (column - 30) ** 2 < 15**2).float()
    stripes = torch.sin(0.9 * row + 0.4 * column) * (column > 48)
    picture = picture + 2.0 * disk - 1.5 * (row > 44) + 0.7 * stripes
    low, high = picture.amin(), picture.amax()
    return 0.05 + 0.9 * (picture - low) / (high - low)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that the process is in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def picture(here: Path, photo: torch.Tensor) -> Path:
    """Return a.png there: the photo in 8 bits."""
    Image.fromarray((photo[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(here / "a.png")
    return here / "a.png"


@pytest.fixture
def some(tmp_path: Path, photo: torch.Tensor) -> Path:
    """Return a set of two pictures, for `mzsr bench`."""
    from mzsr.imaging import files
    from mzsr.imaging.picture import Picture

    folder = tmp_path / "Some"
    folder.mkdir()
    for index, name in enumerate(("a.png", "b.png")):
        files.write(folder / name, Picture(photo.roll(7 * index, 3)))
    return folder


@pytest.fixture
def album(tmp_path: Path, photo: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures in three folders, one of them broken, and things that are none."""
    monkeypatch.chdir(tmp_path)
    whole = Image.fromarray((photo[0].permute(1, 2, 0) * 255).round().byte().numpy())
    for index, name in enumerate(("a.png", "one/b.jpg", "one/two/c.webp", "one/two/d.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.crop((index, 0, index + 40, 32)).save(path)
    broken = tmp_path / "in/one/two/d.png"
    broken.write_bytes(broken.read_bytes()[:200])
    for name in (".hidden.png", ".cache/e.png", "notes.txt", "one/._b.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture")
    return tmp_path


@pytest.fixture
def dozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Eleven pictures in two folders, and a broken one."""
    from albums import draw

    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers have
    for index in range(12):
        draw(tmp_path / "in" / ("one" if index % 2 == 0 and index else ".") / f"{index:02}.png", index)
    (tmp_path / "in" / "05.png").write_bytes(b"broken")
    yield tmp_path
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained flagship: it gives the data-consistent solution, and learns like any other."""
    return _tiny(tmp_path_factory.mktemp("weights"), log_var=False)


@pytest.fixture(scope="session")
def tiny_upscaler(tiny_weights: Path) -> "Upscaler":
    """Return an Upscaler of these weights."""
    from mzsr.inference.upscale import Upscaler

    return Upscaler(tiny_weights, device="cpu")


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of the pictures that are worked on."""
    from mzsr.inference.upscale import Upscaler

    names: list[str] = []
    original = Upscaler.__call__

    def noted(self: Upscaler, image: Any, **options: Any) -> Any:
        names.append(Path(image).name)
        return original(self, image, **options)

    monkeypatch.setattr(Upscaler, "__call__", noted)
    return names


@pytest.fixture(scope="session")
def doubting_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with a head for the log-variance, as if trained by ESU."""
    return _tiny(tmp_path_factory.mktemp("doubting"), log_var=True)


def _tiny(folder: Path, *, log_var: bool) -> Path:
    from mzsr.card import Card
    from mzsr.config import NetworkConfig
    from mzsr.learning.networks import build
    from mzsr.learning.weights import save_weights

    config = NetworkConfig(channels=8, stages=1, blocks=1, log_var=log_var)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(config)
        if network.variance is not None:  # as they begin s is flat and steps leave it alone, which would hide mistakes
            named = dict(network.named_parameters())
            for index in (0, 2, 4, 6):
                torch.nn.init.kaiming_normal_(named[f"variance.{index}.weight"])
            torch.nn.init.normal_(named["variance.8.weight"], std=1.0)
            torch.nn.init.normal_(named["stages.0.tail.weight"], std=0.03)
    recipe = {"loss": {"name": "esu"}} if log_var else {}
    card = Card(
        name="tiny", summary="untrained", network=config, scales=(2,), step_sizes=(0.01,), crops=2, data=(),
        recipe=recipe, command="", commit="", iterations=0, hours=0, machine="", sha256="",
    )  # fmt: skip
    path = folder / "tiny.safetensors"
    save_weights(path, dict(network.named_parameters()), card)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two photographs that a patch of the smoke presets fits into; nothing may write there."""
    folder = tmp_path_factory.mktemp("set")
    pixels = torch.randint(256, (2, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for name, picture in zip("ab", pixels, strict=True):
        Image.fromarray(picture.numpy()).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def wholes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, "Run"]:
    """Return what runs of both stages leave behind that nothing stopped."""
    from training import STAGES, configured, go, left_behind

    runs = {}
    for stage in STAGES:
        out = tmp_path_factory.mktemp(stage) / "a" / "run"  # folders are made
        outcome = go(configured(stage), folder, out)
        assert (outcome.step, outcome.weights) == (8, out / "weights.safetensors")
        runs[stage] = left_behind(out)
    return runs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    """Return the clock that the training loop goes by."""
    from training import Clock

    from mzsr.learning import loop

    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


@pytest.fixture(scope="module")
def photographs() -> "Photographs":
    """Return three small pictures in memory that tasks are drawn from."""
    from tasks import disks

    from mzsr.learning.photographs import Photographs

    generator = torch.Generator().manual_seed(0)
    return Photographs([disks(48, 56, generator) for _ in range(3)], [], [], "")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(SHOTS) if SHOTS else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser, doubting_weights: Path) -> Iterator[str]:
    from servers import running

    with running(tmp_path_factory.mktemp("served"), doubting_weights, max_pixels=50_000) as client:
        yield f"{client.base_url}/"
        browser.driver.get("about:blank")  # or it would still be asking while the server stops


@pytest.fixture
def page(browser: Browser, address: str, shots: Path) -> Iterator[Page]:
    browser.screen(*DESK)
    browser.tell("Network.enable")
    browser.complaints()
    yield Page(browser, address, shots)
    said = [entry["message"] for entry in browser.complaints() if entry["source"] != "network"]
    assert said == [], "the console must stay empty"


@pytest.fixture(scope="module")
def finished(browser: Browser, address: str, shots: Path) -> str:
    """Return the anchor of a job that is done: the noisy cat, 225 x 150 → 450 x 300."""
    page = Page(browser, address, shots)
    browser.screen(*DESK)
    page.open()
    page.click("#examples li:nth-child(3) button")
    page.until_state("done")
    return browser.run("return location.hash")


@pytest.fixture
def done(page: Page, finished: str) -> Page:
    """Return the page with that job on it, as if just opened."""
    if page.browser.driver.current_url.startswith(page.address):
        page.browser.run("document.activeElement.blur(); history.replaceState(null, '', '/')")
        page.browser.run(f"location.hash = '{finished}'")
        page.until("document.activeElement.id === 'outcome-title'")
    else:
        page.open(finished)
    page.until_state("done")
    page.until("document.querySelector('#before').complete && document.querySelector('#after').naturalWidth > 0")
    return page


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small JPEG, 90 x 60, that names its photographer."""
    from mzsr.service.api import WEB

    path = tmp_path_factory.mktemp("mine") / "holiday & <b>.jpg"
    exif = Image.Exif()
    exif[0x013B] = "Ansel"
    with Image.open(WEB / "examples" / "coffee.png") as picture:
        picture.convert("RGB").crop((90, 60, 180, 120)).save(path, exif=exif, quality=90)
    return path

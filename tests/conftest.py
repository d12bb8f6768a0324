"""What several test files share: small converted models and a picture.

The models are the golden checkpoints of tests/goldens, converted once per run, however
many workers it has. All of it works without torch, without a network and without a GPU.
"""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image, ImageDraw

import fastvlm_mlx
from convert import convert_checkpoint
from fastvlm_mlx.device.setup import configure

GOLDENS = Path(__file__).parent / "goldens"

# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts
# from one: those that are to be stopped would run for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Compiled kernels from the beginning, as in long runs, and none in the user's caches.
os.environ.setdefault("FASTVLM_MLX_COMPILE", "1")
os.environ.setdefault("TMPDIR", tempfile.gettempdir())

configure()  # tests of single operations load no model, which would do it

# The same examples in every run, and no clock: the machine may be busy.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker of pytest-xdist one core: it inherits this environment."""
    if getattr(config.option, "numprocesses", None):
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see; lock what you write there."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (folder / "shared").mkdir(exist_ok=True)
    return folder / "shared"


@pytest.fixture(scope="session")
def golden_source() -> Callable[[str], Path]:
    """The PyTorch folder of a golden checkpoint, by name; not to be written to."""
    return lambda name: GOLDENS / name


@pytest.fixture(scope="session")
def converted_golden(shared_folder: Path) -> Callable[[str], Path]:
    """The converted folder of a golden checkpoint, by name; not to be written to."""

    def get(name: str) -> Path:
        with FileLock(shared_folder / f"{name}.lock"):
            if not (shared_folder / name).is_dir():
                convert_checkpoint(GOLDENS / name, shared_folder / name)
        return shared_folder / name

    return get


@pytest.fixture(scope="session")
def load_golden(
    converted_golden: Callable[[str], Path],
) -> Callable[[str], fastvlm_mlx.FastVLM]:
    """A golden checkpoint, loaded once per run, by name."""
    loaded: dict[str, fastvlm_mlx.FastVLM] = {}

    def get(name: str) -> fastvlm_mlx.FastVLM:
        if name not in loaded:
            loaded[name] = fastvlm_mlx.load(converted_golden(name), dtype="float32")
        return loaded[name]

    return get


@pytest.fixture(scope="session")
def vlm(load_golden: Callable[[str], fastvlm_mlx.FastVLM]) -> fastvlm_mlx.FastVLM:
    """The golden with room for 512 positions; a 128x128 picture takes 4 of them."""
    return load_golden("fast_vlm-train")


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A red disc on a ramp, wider than high; unlike itself under any symmetry."""
    image = Image.linear_gradient("L").resize((150, 100)).convert("RGB")
    ImageDraw.Draw(image).ellipse((10, 20, 60, 70), fill="red")
    return image


@pytest.fixture(scope="session")
def picture_file(
    picture: Image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The picture as a PNG file."""
    path = tmp_path_factory.mktemp("picture") / "disc.png"
    picture.save(path)
    return path

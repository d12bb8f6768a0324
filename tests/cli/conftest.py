"""What the tests of several verbs share: a question that works, and its answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx.planning.measure import Parts
from tests.cli.command_line import QUESTION


@pytest.fixture
def model(converted_golden: Callable[[str], Path]) -> str:
    """The folder of a converted golden."""
    return str(converted_golden("fast_vlm-train"))


@pytest.fixture
def ask(model: str, picture_file: Path) -> list[str]:
    """A question about a picture that works."""
    words = ["generate", "--model", model, "--image", str(picture_file)]
    return [*words, "--prompt", QUESTION, "--max-tokens", "6"]


@pytest.fixture
def answer(vlm: fastvlm_mlx.FastVLM, picture: Image.Image) -> str:
    """What `ask` is answered with."""
    return vlm.generate(picture, QUESTION, max_tokens=6).text


@pytest.fixture
def measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates and parts that nobody has to wait for."""
    rates = {"float32": 1e11, "bfloat16": 5e9, "float16": 3e9, "memory": 1e10}
    monkeypatch.setattr(
        "fastvlm_mlx.planning.doctor.rates", lambda: iter(rates.items())
    )

    def parts(_: Any, config: Any, size: Any, runs: int) -> Any:
        return Parts(size, 280, 0.05, 0.1166, 0.0505, 0.01)

    monkeypatch.setattr("fastvlm_mlx.planning.measure.measure", parts)

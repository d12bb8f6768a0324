"""How much memory may be taken, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import FastVLM, weights
from fastvlm_mlx.device.memory import host_memory, memory_size
from fastvlm_mlx.errors import MemoryBudgetError, OptionError
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.planning.budget import LIMIT_VARIABLE, memory_limit


def test_the_machine_has_memory() -> None:
    assert memory_size() == host_memory() > 1 << 28


def test_a_container_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "123456789\n")
    assert host_memory() == 123456789
    monkeypatch.setattr(Path, "read_text", lambda _: "max\n")
    assert host_memory() > 123456789


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (5_000_000, 5_000_000),
        ("5000000", 5_000_000),
        ("6GB", 6 * 10**9),
        ("1.5 gb", 1_500_000_000),
        ("800MB", 8 * 10**8),
        ("2GiB", 2 << 30),
    ],
)
def test_amounts(
    monkeypatch: pytest.MonkeyPatch, chosen: int | str, expected: int
) -> None:
    assert memory_limit(chosen) == expected
    monkeypatch.setenv(LIMIT_VARIABLE, str(chosen))
    assert memory_limit() == expected
    assert memory_limit("1GB") == 10**9  # what is said aloud counts more


@pytest.mark.parametrize("chosen", ["", "GB", "6 apples", "-1GB", 0, "0", "1e9", None])
def test_what_is_no_amount(monkeypatch: pytest.MonkeyPatch, chosen: Any) -> None:
    if chosen is None:
        monkeypatch.setenv(LIMIT_VARIABLE, "much")
    with pytest.raises(OptionError, match="expected bytes, or an amount such as 6GB"):
        memory_limit(chosen)


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(
    converted_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_read", None)
    with pytest.raises(MemoryBudgetError, match="the limit is 1 MB"):
        fastvlm_mlx.load(converted_golden("apple-train"), memory_limit="1MB")


def test_a_request_that_does_not_fit_is_refused_before_a_picture_is_opened(
    converted_golden: Callable[[str], Path], picture: Image.Image
) -> None:
    vlm: FastVLM = fastvlm_mlx.load(
        converted_golden("apple-train"), memory_limit="18MB"
    )
    vlm.generate(picture, "What is it?", max_tokens=1)
    with pytest.raises(MemoryBudgetError, match="512x512.* fit: resolution 384x384"):
        vlm.generate("missing.png", "What is it?", resolution=512, max_tokens=1)


def test_a_limit_decides_whether_weights_are_unpacked(tmp_path: Path) -> None:
    import convert

    source = Path(__file__).parents[1] / "goldens" / "apple-train"
    recipe = convert.Recipe(4, 32)
    convert.convert_checkpoint(source, tmp_path / "model", recipe=recipe)
    packed = weights.load_model(
        tmp_path / "model", load_config(tmp_path / "model"), limit=1000
    ).weights_bytes
    assert (
        packed
        < weights.load_model(
            tmp_path / "model", load_config(tmp_path / "model")
        ).weights_bytes
    )

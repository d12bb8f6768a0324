"""Models of the published sizes, without their weights."""

from dataclasses import replace

import pytest

from benchmarks.memory import narrow
from fastvlm_mlx.config import FASTVITHD
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import OptionError
from fastvlm_mlx.planning.geometry import (
    GEOMETRIES,
    published_config,
    random_model,
    whole_bytes,
)
from fastvlm_mlx.planning.memory_plan import Machine, precision_bytes

# Parameters of Qwen2 (arXiv 2407.10671, table 1) and of FastViTHD with its projector.
LANGUAGE = {"0.5b": 494e6, "1.5b": 1544e6, "7b": 7616e6}
TOWER = 125e6


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_published_numbers_of_parameters(geometry: str) -> None:
    config = published_config(geometry)
    assert config.vision_config is FASTVITHD
    hidden = config.text_config.hidden_size
    projector = (3072 + hidden + 2) * hidden
    expected = LANGUAGE[geometry] + TOWER + projector
    assert whole_bytes(config, 1) == pytest.approx(expected, rel=0.005)


def test_layers_are_counted_and_not_built() -> None:
    config = narrow()
    text = replace(config.text_config, num_hidden_layers=10**6)
    whole = whole_bytes(replace(config, text_config=text), 1)
    text = replace(text, num_hidden_layers=10**6 - 1)
    layer = whole - whole_bytes(replace(config, text_config=text), 1)
    three = replace(config.text_config, num_hidden_layers=3)
    model = random_model(replace(config, text_config=three), mx.float16)
    assert model.weights_bytes == 2 * (whole - (10**6 - 3) * layer)


def test_another_geometry_is_refused() -> None:
    with pytest.raises(OptionError, match="'3b'; expected one of 0.5b, 1.5b, 7b"):
        published_config("3b")


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_a_random_model_takes_the_bytes_reckoned(bits: int | None) -> None:
    config = narrow(bits)
    model = random_model(config, mx.float16)
    machine = Machine(10**12, 2, unpacks=False, fused_attention=True)
    whole = whole_bytes(config, 2)
    expected = precision_bytes(config, whole, bits or 16, machine)
    assert model.weights_bytes == pytest.approx(expected, rel=1e-6)


def test_a_random_model_computes_ordinary_numbers() -> None:
    model = random_model(narrow(4), mx.float32)
    features = model.encode_image(mx.random.uniform(shape=(1, 64, 64, 3)))
    logits = model.prefill(model.project(features), model.make_cache())
    assert logits.shape == (1, 8192)
    assert mx.isfinite(logits).all() and mx.abs(features).max() > 1e-30

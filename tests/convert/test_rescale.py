"""Powers of two in the residual streams: nothing lost in float32, room in float16."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.architecture import vision_config_from
from convert.layout import Weights
from convert.names import rename
from convert.rescale import Peaks, measure, rescale
from convert.source import Source
from convert.tower import fuse_tower
from fastvlm_mlx.config import VisionConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.vision import FastViTHD

GOLDENS = Path(__file__).parents[1] / "goldens"
SIZE = (128, 192)

Tower = tuple[Weights, VisionConfig]


@pytest.fixture(scope="module", params=["apple-train", "fast_vlm-fused"])
def tower(request: pytest.FixtureRequest) -> Tower:
    tensors, _ = rename(Source(GOLDENS / request.param).tensors())
    config = vision_config_from(tensors, (128, 128))
    return fuse_tower(tensors, config), config


def encode(
    weights: Weights, config: VisionConfig, dtype: mx.Dtype = mx.float32
) -> list[mx.array]:
    model = FastViTHD(config)
    model.load_weights(
        [
            (name.removeprefix("vision_tower."), array.astype(dtype))
            for name, array in weights.items()
        ]
    )
    pixel_values = mx.random.uniform(shape=(1, *SIZE, 3), key=mx.random.key(7))
    return model.stage_outputs(pixel_values.astype(dtype))


def scaled(tower: Tower, shifts: tuple[int, ...]) -> Tower:
    weights, config = tower
    eps = replace(config, stream_shifts=shifts) if min(shifts) >= 0 else config
    return rescale(weights, config, shifts), eps


@pytest.fixture(scope="module")
def overflowing(tower: Tower) -> Tower:
    """The same function with streams 2^17 times as large, beyond float16's range."""
    weights, config = tower
    grown = rescale(weights, config, (-17,) * 5)
    return grown, replace(config, layer_norm_eps=config.layer_norm_eps * 4.0**17)


def test_float32_features_are_the_same_to_the_bit(tower: Tower) -> None:
    expected = encode(*tower)[-1]
    found = encode(*scaled(tower, (1, 2, 3, 4, 5)))[-1]
    assert mx.array_equal(found, expected).item()


def test_every_stream_is_carried_at_its_scale(tower: Tower) -> None:
    shifts = (1, 2, 3, 4, 5)
    plain, small = encode(*tower), encode(*scaled(tower, shifts))
    for index, shift in enumerate(shifts):
        expected = plain[1 + index] * 2.0**-shift
        assert mx.array_equal(small[1 + index], expected).item(), f"stage {index}"


def test_a_plain_float16_forward_overflows(overflowing: Tower) -> None:
    assert not mx.isfinite(encode(*overflowing, dtype=mx.float16)[-1]).all().item()


def test_the_rescaled_tower_is_right_in_float16(overflowing: Tower) -> None:
    weights, config = overflowing
    shifts = measure(weights, config).shifts
    expected = encode(weights, config)[-1]
    found = encode(*scaled(overflowing, shifts), dtype=mx.float16)[-1]
    error = mx.abs(found.astype(mx.float32) - expected).max() / mx.abs(expected).max()
    assert float(np.array(error)) <= 1e-2


def test_shifts_leave_room_and_are_not_larger_than_needed() -> None:
    peaks = Peaks((0.0, 2047.0, 2048.0, 60_900.0), others=1.0, scalable=(True,) * 4)
    assert peaks.shifts == (0, 0, 1, 5)


@pytest.mark.parametrize(("others", "fits"), [(16_000.0, True), (17_000.0, False)])
def test_what_is_outside_the_streams_decides_about_float16(
    others: float, fits: bool
) -> None:
    assert Peaks((1e6,), others, scalable=(True,)).fits_float16 is fits


def test_a_stream_that_cannot_be_scaled_decides_about_float16_too() -> None:
    peaks = Peaks((60_000.0,), others=1.0, scalable=(False,))
    assert peaks.shifts == (0,)
    assert not peaks.fits_float16


def test_an_attention_stage_may_lack_a_position_conv(tower: Tower) -> None:
    """Then no linear map begins its stream, and the stream is left as it is."""
    weights, config = tower
    bare = replace(config, pos_embs=(False,) * 5)
    kept = {name: array for name, array in weights.items() if "pos_emb" not in name}
    peaks = measure(kept, bare)
    assert peaks.scalable == (True, True, True, False, False)
    assert rescale(kept, bare, peaks.shifts).keys() == kept.keys()

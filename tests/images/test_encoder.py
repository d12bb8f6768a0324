"""Pictures to embeddings: views of one picture follow one another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import FastVLM
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import MAX_ASPECT
from fastvlm_mlx.images.encoder import ENCODED_AT_ONCE, at_once, fill_up
from fastvlm_mlx.images.image import OpenedImage
from fastvlm_mlx.images.preprocessing import Preprocessing
from fastvlm_mlx.images.resize import prepare
from fastvlm_mlx.model import ops
from fastvlm_mlx.model.ops import _Activations
from fastvlm_mlx.options import GenerationOptions
from tests.probes import noise

ANYRES = Preprocessing((64, 128), "pad", anyres=True)


@pytest.fixture
def runs(vlm: FastVLM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many views each run of the tower had."""
    seen: list[int] = []
    encode = vlm.engine.model.encode_image

    def counted(pixel_values: mx.array) -> mx.array:
        seen.append(len(pixel_values))
        return encode(pixel_values)

    monkeypatch.setattr(vlm.engine.model, "encode_image", counted)
    return seen


def embeds(vlm: FastVLM, image: Image.Image, **asked: Any) -> np.ndarray[Any, Any]:
    """What the language model gets of a picture, (N, D)."""
    picture = vlm.engine.open_image(image, GenerationOptions.of(**asked))
    made = vlm.engine.encoder.encode([picture], False, lambda _: None)
    return np.array(made[picture.digest].image_embeds)


def assembled(vlm: FastVLM, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One view of (H, W, 3) through tower and projector, nothing in between."""
    pixel_values = mx.array(pixels)[None].astype(mx.float32) / 255
    return np.array(
        vlm.engine.model.project(vlm.engine.model.encode_image(pixel_values))[0]
    )


@pytest.mark.parametrize("mode", ["pad", "crop"])
def test_anyres_is_the_overview_and_then_the_tiles(vlm: FastVLM, mode: Any) -> None:
    image = noise(1, 200, 150)
    whole = prepare(image, (128, 256), mode)
    views = [
        prepare(image, (64, 128), mode),
        whole[:64, :128],
        whole[:64, 128:],
        whole[64:, :128],
        whole[64:, 128:],
    ]
    expected = np.concatenate([assembled(vlm, view) for view in views])
    found = embeds(vlm, image, resolution="64x128", anyres=True, image_mode=mode)
    assert found.shape == expected.shape == (10, 64)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for other in (expected[::-1], np.roll(expected, 2, axis=0)):  # order is seen at all
        assert np.abs(found - other).max() > 1e-3


def test_a_frame_of_the_pictures_shape_is_one_plain_resize(vlm: FastVLM) -> None:
    """Tokens row by row: 2 rows of 3."""
    image = noise(2, 200, 130)
    pixels = np.asarray(image.resize((192, 128), Image.Resampling.BICUBIC))
    found = embeds(vlm, image, resolution=192, keep_aspect=True)
    np.testing.assert_allclose(found, assembled(vlm, pixels), atol=1e-5)
    assert len(found) == 6


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.sampled_from(["auto", "auto:256", 64, 192]),
    st.booleans(),
    st.booleans(),
)
@example((10_000, 1), 64, True, True)
@example((1, 10_000), "auto", True, False)
@example((1, 100), 192, True, True)
@example((1, 1), "auto:256", False, True)
def test_a_picture_of_any_size(
    vlm: FastVLM,
    size: tuple[int, int],
    resolution: str | int,
    keep_aspect: bool,
    anyres: bool,
) -> None:
    """What the prompt reserves is what the encoder gives, or it is no picture."""
    image = Image.new("RGB", size, "teal")
    asked: dict[str, Any] = {"keep_aspect": keep_aspect, "anyres": anyres}
    asked["resolution"] = resolution
    if max(size) > MAX_ASPECT * min(size):
        with pytest.raises(ImageError, match="the long side may be at most 100 times"):
            embeds(vlm, image, **asked)
        return
    result = vlm.generate(image, "Why?", max_tokens=1, **asked)
    (seen,) = result.images
    found = embeds(vlm, image, **asked)
    assert len(found) == seen.tokens == result.image_tokens
    assert seen.views * seen.resolution[0] * seen.resolution[1] == 64**2 * seen.tokens
    assert np.isfinite(found).all()


def test_half_precision_takes_frames_and_views(
    vlm: FastVLM, converted_golden: Callable[[str], Path]
) -> None:
    half = fastvlm_mlx.load(converted_golden("fast_vlm-train"), dtype="float16")
    for asked in (
        {"resolution": 192, "keep_aspect": True},
        {"resolution": 320, "keep_aspect": True, "anyres": True},
    ):
        found = embeds(half, noise(2, 280, 90), **asked).astype(np.float32)
        expected = embeds(vlm, noise(2, 280, 90), **asked)
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_views_go_together_where_memory_allows(vlm: FastVLM, runs: list[int]) -> None:
    together = embeds(vlm, noise(3, 90, 90), anyres=True)
    assert runs == [5]
    vlm.engine.encoder._together = lambda look: 1
    try:
        apart = embeds(vlm, noise(3, 90, 90), anyres=True)
    finally:
        vlm.engine.encoder._together = vlm.engine._views_together
    assert runs == [5, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(apart, together, atol=1e-5)


def test_a_small_memory_takes_views_one_by_one(
    converted_golden: Callable[[str], Path],
) -> None:
    """Room for one view of 512x512 and the weights, and not for five."""
    small = fastvlm_mlx.load(
        converted_golden("fast_vlm-train"), dtype="float32", memory_limit="100MB"
    )
    assert (
        small.engine._views_together(Preprocessing((512, 512), "pad", anyres=True)) == 1
    )
    assert small.engine._views_together(ANYRES) == 5


def test_pictures_of_several_views_share_a_run(vlm: FastVLM, runs: list[int]) -> None:
    options = GenerationOptions.of(resolution=64, anyres=True)
    pictures = [
        vlm.engine.open_image(noise(seed, 90, 70), options) for seed in range(3)
    ]
    made = vlm.engine.encoder.encode(pictures, False, lambda _: None)
    assert runs == [15]
    for seed, picture in enumerate(pictures):
        alone = embeds(vlm, noise(seed, 90, 70), resolution=64, anyres=True)
        found = np.array(made[picture.digest].image_embeds)
        np.testing.assert_allclose(found, alone, atol=1e-5)


def unopened(name: str, look: Preprocessing) -> OpenedImage:
    return OpenedImage(name, look, None, None)


def test_only_images_of_one_shape_share_a_run() -> None:
    plain = Preprocessing((64, 128), "pad")
    looks = [plain, ANYRES, Preprocessing((128, 64), "pad"), plain, ANYRES]
    images = [unopened(str(n), look) for n, look in enumerate(looks)]
    assert [each.digest for each in fill_up(images[:1], images)] == ["0", "3"]
    assert [each.digest for each in fill_up(images[1:2], images)] == ["1", "4"]
    assert at_once(ANYRES) == ENCODED_AT_ONCE // (5 * 64 * 128)
    assert at_once(Preprocessing((1024, 1024), "pad", anyres=True)) == 1


def test_a_run_of_the_tower_is_filled_up_and_never_longer() -> None:
    square = Preprocessing((256, 256), "pad")
    most = ENCODED_AT_ONCE // 256**2
    others = [unopened(f"{n}", square) for n in range(40)]
    others.append(unopened("other", Preprocessing((64, 64), "pad")))
    chosen = fill_up([unopened("first", square)], others)
    assert [each.digest for each in chosen] == ["first", *map(str, range(most - 1))]
    assert len(fill_up(others[:-1], [])) == most


def test_one_trace_serves_frames_of_every_shape(
    vlm: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled is compiled without shapes, so a new frame costs no trace."""
    traced: list[tuple[int, ...]] = []

    def gelu(x: mx.array) -> mx.array:
        traced.append(x.shape)
        return x * mx.sigmoid(1.702 * x)

    fresh = _Activations(gelu)
    monkeypatch.setattr(ops, "_activations", lambda _: fresh)
    frames = [(64 * rows, 64 * columns) for rows in (1, 2, 3) for columns in (1, 2, 5)]
    for height, width in frames:
        assembled(vlm, np.zeros((height, width, 3), np.uint8))
        if (height, width) == frames[0]:
            first = len(traced)
    assert 0 < len(traced) == first <= 6

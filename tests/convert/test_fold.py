"""Every layout that is published, against the golden folder that it was made from.

The golden folders themselves are held against PyTorch in tests/test_goldens.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert import convert_checkpoint
from convert.fold import fold
from convert.source import Source
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError, FastVLMError, OptionError
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.weights import load_model
from tests.convert import published
from tests.convert.folders import GOLDENS, Arrays, arrays_of, edit_json
from tests.parity import runtime

GOLDEN = "apple-fused"
ENCODERS = ("mobileclip", "open_clip", "timm")
LANGUAGE = "language_model. lm_head"
EIGHT = {"bits": 8, "group_size": 64}
MIXED = {
    "bits": 4,
    "group_size": 64,
    "mode": "affine",
    "language_model.lm_head": {"bits": 8, "group_size": 32},
    "language_model.model.layers.1.mlp.up_proj": False,
}
FLOATS = {"bits": 4, "group_size": 32, "mode": "mxfp4"}


@pytest.fixture(scope="module")
def golden() -> Arrays:
    """The tensors of a golden folder whose tower is in inference form."""
    return arrays_of(GOLDENS / GOLDEN)


def golden_arrays() -> Arrays:
    """What PyTorch says of the golden folder."""
    arrays: Any = mx.load(str(GOLDENS / GOLDEN / "expected.safetensors"))
    return {key: np.array(array) for key, array in arrays.items()}


def logits(folder: Path) -> Any:
    """What a converted folder says to the golden prompt and picture, float32."""
    expected = golden_arrays()
    model = load_model(folder, load_config(folder), dtype="float32")
    pixels = expected["wide.pixels"].astype(np.float32) / np.float32(255)
    ids = expected["wide.input_ids"].tolist()
    image = model.project(model.encode_image(runtime.channels_last(pixels)))
    spans = runtime.image_spans(ids, [-200], image.shape[1])
    return np.array(model(model.splice(ids, spans, [image[0]])))


def golden_error(folder: Path) -> float:
    """How far a converted folder is from what PyTorch says of its golden one."""
    return runtime.relative_error(logits(folder), golden_arrays()["wide.logits"])


def same_weights(first: Path, second: Path) -> bool:
    one, other = Source(first).tensors(), Source(second).tensors()
    assert one.keys() == other.keys()
    return all(mx.allclose(one[key], other[key], 1e-6, 1e-6).item() for key in one)


# --- mlx-vlm and mlx-community ----------------------------------------------------


@pytest.mark.parametrize("axes", ["mlx", "torch"])
@pytest.mark.parametrize("vision", [None, {}, published.MLX_VLM_VISION_CONFIG])
def test_mlx_vlm(
    golden: Arrays, tmp_path: Path, vision: dict[str, Any] | None, axes: str
) -> None:
    arrays = published.mlx_vlm_arrays(golden, axes)
    source = published.write(
        tmp_path / "source",
        arrays,
        GOLDEN,
        vision_config=vision,
        image_token_index=-200,
    )
    report = convert_checkpoint(source, tmp_path / "out")
    assert golden_error(tmp_path / "out") <= runtime.LOGIT_TOLERANCE
    assert not report.packings
    assert report.tensors_read == len(arrays)


def test_mlx_vlm_with_the_sizes_in_text_config(golden: Arrays, tmp_path: Path) -> None:
    source = published.write(
        tmp_path / "source",
        published.mlx_vlm_arrays(golden),
        GOLDEN,
        text_config={"model_type": "llava_qwen2", "hidden_size": 64},
        model_type="fastvlm",
    )
    convert_checkpoint(source, tmp_path / "out")
    assert golden_error(tmp_path / "out") <= runtime.LOGIT_TOLERANCE


@pytest.mark.parametrize("flag", [True, None])
def test_mlx_vlm_tied(golden: Arrays, tmp_path: Path, flag: bool | None) -> None:
    """mlx-vlm leaves the head out where the flag says tied, and ties without a flag."""
    tied = {key: array for key, array in golden.items() if key != "lm_head.weight"}
    for name, arrays in (("a", tied), ("b", published.mlx_vlm_arrays(tied))):
        source = published.write(tmp_path / name, arrays, GOLDEN)
        edit_json(source / "config.json", tie_word_embeddings=flag)
        convert_checkpoint(source, tmp_path / f"out-{name}")
    assert load_config(tmp_path / "out-b").text_config.tie_word_embeddings
    assert same_weights(tmp_path / "out-a", tmp_path / "out-b")


def test_a_vision_config_of_another_tower_is_refused(
    golden: Arrays, tmp_path: Path
) -> None:
    vision = published.MLX_VLM_VISION_CONFIG | {"layers": [2, 12, 24, 4, 2]}
    arrays = published.mlx_vlm_arrays(golden)
    source = published.write(tmp_path / "s", arrays, GOLDEN, vision_config=vision)
    with pytest.raises(CheckpointError, match="states layers"):
        convert_checkpoint(source, tmp_path / "out")


# --- packed already ---------------------------------------------------------------


@pytest.mark.parametrize("quantization", [EIGHT, MIXED, FLOATS])
def test_packed_layers_stay_as_they_are(
    golden: Arrays, tmp_path: Path, quantization: dict[str, Any]
) -> None:
    arrays = published.mlx_vlm_arrays(golden)
    false = [path for path, each in quantization.items() if each is False]
    whole = {f"{path}.weight": arrays.pop(f"{path}.weight") for path in false}
    packed = published.quantize(arrays, quantization, LANGUAGE + " mm_projector")
    packed |= whole
    source = published.write(
        tmp_path / "packed", packed, GOLDEN, quantization=quantization
    )
    report = convert_checkpoint(source, tmp_path / "out")
    written = Source(tmp_path / "out").tensors()
    for layer in report.packings:
        path = layer.replace("linear_1", "0").replace("linear_2", "2")
        for part in ("weight", "scales"):
            found = np.array(written[f"{layer}.{part}"])
            assert np.array_equal(found, packed[f"{path}.{part}"])
    numbers = published.unpacked(packed, quantization)
    published.write(tmp_path / "plain", numbers, GOLDEN)
    convert_checkpoint(tmp_path / "plain", tmp_path / "out-plain")
    found, expected = logits(tmp_path / "out"), logits(tmp_path / "out-plain")
    assert runtime.relative_error(found, expected) <= runtime.LOGIT_TOLERANCE
    assert golden_error(tmp_path / "out") > 1e-3  # packed indeed


def test_a_packed_head_equal_to_the_embedding_is_tied(
    golden: Arrays, tmp_path: Path
) -> None:
    arrays = dict(golden)
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"]
    packed = published.quantize(published.mlx_vlm_arrays(arrays), EIGHT, LANGUAGE)
    source = published.write(tmp_path / "s", packed, GOLDEN, quantization=EIGHT)
    report = convert_checkpoint(source, tmp_path / "out")
    assert report.config.text_config.tie_word_embeddings
    assert sum("lm_head" in name for name in report.dropped) == 3
    assert "language_model.lm_head" not in report.packings


def test_a_packed_tower_is_folded_from_what_its_bits_stand_for(
    golden: Arrays, tmp_path: Path
) -> None:
    quantization = {"bits": 8, "group_size": 32}
    arrays = published.mlx_vlm_arrays(golden)
    packed = published.quantize(arrays, quantization, "qkv token_mixer.proj")
    assert any(name.endswith("qkv.scales") for name in packed)
    published.write(tmp_path / "a", packed, GOLDEN, quantization=quantization)
    published.write(tmp_path / "b", published.unpacked(packed, quantization), GOLDEN)
    reports = [
        convert_checkpoint(tmp_path / name, tmp_path / f"out-{name}") for name in "ab"
    ]
    assert same_weights(tmp_path / "out-a", tmp_path / "out-b")
    assert not reports[0].packings


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (None, "does not say how"),
        ({"bits": 4, "group_size": 64}, "not 4 bits"),
        ({"bits": 8, "group_size": 32}, "groups of 32"),
        ({"bits": 8, "group_size": 48}, "groups of 48"),
        ({"bits": 7, "group_size": 64}, "7 bits"),
        ({"bits": 8}, None),
        ({"group_size": 64}, "bits"),
        ({"bits": 8, "group_size": 32, "mode": "mxfp8"}, None),
        ("8bit", "does not say how"),
        (EIGHT | {"language_model.lm_head": {"bits": 3, "group_size": 64}}, "lm_head"),
    ],
)
def test_packed_otherwise_than_config_says(
    golden: Arrays, tmp_path: Path, quantization: Any, message: str | None
) -> None:
    packed = published.quantize(published.mlx_vlm_arrays(golden), EIGHT, LANGUAGE)
    source = published.write(tmp_path / "s", packed, GOLDEN, quantization=quantization)
    if message is None and quantization == {"bits": 8}:
        convert_checkpoint(source, tmp_path / "out")  # 64 is the usual group
        return
    with pytest.raises((CheckpointError, ConfigError), match=message):
        convert_checkpoint(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["weight", "scales", "biases"])
def test_a_part_of_a_packed_layer_is_missing(
    golden: Arrays, tmp_path: Path, part: str
) -> None:
    packed = published.quantize(published.mlx_vlm_arrays(golden), EIGHT, LANGUAGE)
    layer = "language_model.model.layers.0.mlp.up_proj"
    del packed[f"{layer}.{part}"]
    source = published.write(tmp_path / "s", packed, GOLDEN, quantization=EIGHT)
    with pytest.raises(FastVLMError, match=layer):
        convert_checkpoint(source, tmp_path / "out")


# --- Apple's MLX exports ----------------------------------------------------------


@pytest.fixture
def export(golden: Arrays, tmp_path: Path) -> Path:
    """A language model and a projector in 8 bits, as in FastVLM-1.5B-int8."""
    arrays = published.export_arrays(golden)
    packed = published.quantize(arrays, EIGHT, LANGUAGE + " multi_modal_projector")
    return published.write(
        tmp_path / "export",
        packed,
        GOLDEN,
        quantization=EIGHT,
        vision_config={},
        tie_word_embeddings=False,
    )


def test_an_export_with_the_tower_of_another_folder(
    golden: Arrays, export: Path, tmp_path: Path
) -> None:
    report = convert_checkpoint(export, tmp_path / "out", tower=GOLDENS / GOLDEN)
    assert {"mm_projector.linear_1", "language_model.lm_head"} <= report.packings.keys()
    convert_checkpoint(GOLDENS / GOLDEN, tmp_path / "golden")
    mine, tower = (
        Source(tmp_path / "out").tensors(),
        Source(tmp_path / "golden").tensors(),
    )
    for name in tower:
        if name.startswith("vision_tower."):
            assert mx.array_equal(mine[name], tower[name]).item()
    numbers = published.unpacked(arrays_of(export), EIGHT)
    published.write(tmp_path / "plain", numbers, GOLDEN)
    convert_checkpoint(
        tmp_path / "plain", tmp_path / "out-plain", tower=GOLDENS / GOLDEN
    )
    found, expected = logits(tmp_path / "out"), logits(tmp_path / "out-plain")
    assert runtime.relative_error(found, expected) <= runtime.LOGIT_TOLERANCE


def test_an_export_without_few_bits(golden: Arrays, tmp_path: Path) -> None:
    """FastVLM-0.5B-fp16."""
    arrays = published.export_arrays(golden)
    source = published.write(tmp_path / "export", arrays, GOLDEN)
    convert_checkpoint(source, tmp_path / "out", tower=GOLDENS / GOLDEN)
    assert golden_error(tmp_path / "out") <= runtime.LOGIT_TOLERANCE


@pytest.mark.parametrize("width", [64, 896, 1536, 3584])
def test_an_export_alone_says_where_its_tower_is(export: Path, width: int) -> None:
    edit_json(export / "config.json", hidden_size=width)
    sizes = {896: "0.5B", 1536: "1.5B", 3584: "7B"}
    with pytest.raises(CheckpointError, match="--tower apple/FastVLM-") as error:
        convert_checkpoint(export, export.parent / "out")
    assert sizes.get(width, "…") in str(error.value)


def test_a_tower_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="its own vision tower"):
        convert_checkpoint(GOLDENS / GOLDEN, tmp_path / "o", tower=GOLDENS / GOLDEN)


def test_a_tower_that_does_not_fit_the_projector(export: Path, tmp_path: Path) -> None:
    edit_json(export / "config.json", mm_hidden_size=None)
    with pytest.raises(CheckpointError, match="linear_0"):
        convert_checkpoint(export, tmp_path / "o", tower=GOLDENS / "fast_vlm-fused")


def test_a_tower_out_of_a_folded_folder_is_refused(
    export: Path, tmp_path: Path
) -> None:
    convert_checkpoint(GOLDENS / GOLDEN, tmp_path / "folded")
    with pytest.raises(CheckpointError, match="converted already"):
        convert_checkpoint(export, tmp_path / "out", tower=tmp_path / "folded")


def test_an_export_has_no_tower_to_give(export: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no vision tower to take"):
        convert_checkpoint(export, tmp_path / "out", tower=export)


# --- encoders alone ---------------------------------------------------------------


@pytest.mark.parametrize("layout", ENCODERS)
def test_an_encoder_alone_can_be_the_tower(tmp_path: Path, layout: str) -> None:
    """Its text encoder and its heads are left where they are."""
    encoder = published.encoder(tmp_path / "encoder", layout)
    golden = "apple-train" if layout == "mobileclip" else "fast_vlm-train"
    arrays = published.export_arrays(arrays_of(GOLDENS / "apple-train"))
    width = {"apple-train": 128, "fast_vlm-train": 64}[golden]
    arrays["multi_modal_projector.linear_0.weight"] = np.ones((64, width), np.float16)
    source = published.write(tmp_path / "s", arrays, "apple-train", mm_hidden_size=None)
    folded = fold(Source(source), Source(encoder), "source")
    expected = fold(Source(GOLDENS / golden), None, "golden")
    for name, array in expected.weights.items():
        if name.startswith("vision_tower."):
            assert mx.array_equal(folded.weights[name], array).item(), name


@pytest.mark.parametrize("layout", ENCODERS)
def test_an_encoder_alone_is_no_model(tmp_path: Path, layout: str) -> None:
    encoder = published.encoder(tmp_path / "encoder", layout)
    edit_json(encoder / "config.json", model_type="llava_qwen2")
    with pytest.raises(CheckpointError, match="an image encoder and no language model"):
        convert_checkpoint(encoder, tmp_path / "out")


# --- folders of our own -----------------------------------------------------------


def test_a_converted_folder_takes_another_dtype(tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / GOLDEN, tmp_path / "full")
    report = convert_checkpoint(tmp_path / "full", tmp_path / "half", dtype="bfloat16")
    dtypes = {array.dtype for array in Source(tmp_path / "half").tensors().values()}
    assert dtypes == {mx.bfloat16}
    assert report.peaks is None
    assert report.config.source == GOLDEN


def test_a_converted_folder_that_is_damaged(tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / GOLDEN, tmp_path / "full")
    config = tmp_path / "full" / "config.json"
    edit_json(config, text_config=None)
    with pytest.raises(ConfigError, match="text_config"):
        convert_checkpoint(tmp_path / "full", tmp_path / "half", dtype="bfloat16")

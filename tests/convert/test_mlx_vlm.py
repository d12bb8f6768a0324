"""What is written for mlx-vlm; that it loads it is shown in tests/peers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert import Recipe, convert_checkpoint
from convert.fold import fold
from convert.layout import interleaved, one_after_another
from convert.mlx_vlm import as_mlx_vlm
from convert.rescale import rescale
from convert.source import Source
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, OptionError
from tests.convert.folders import GOLDENS, NAMES


def same(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
    assert one.keys() == other.keys()
    return all(mx.allclose(one[key], other[key], 1e-4, 1e-4).item() for key in one)


def test_there_and_back(name: str, tmp_path: Path) -> None:
    """Unfolding is undone by folding: nothing is lost on the way to mlx-vlm."""
    convert_checkpoint(GOLDENS / name, tmp_path / "ours", dtype="float32")
    convert_checkpoint(tmp_path / "ours", tmp_path / "peer", to="mlx-vlm")
    convert_checkpoint(tmp_path / "peer", tmp_path / "back")
    # a bias of the keys means nothing, and is all that need not come back
    found, expected = (Source(tmp_path / each).tensors() for each in ("back", "ours"))
    assert same(found, expected)


def test_norms_and_scales_change_nothing(tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / "apple-train", tmp_path / "peer", to="mlx-vlm")
    arrays = Source(tmp_path / "peer").tensors()
    assert all(
        mx.array_equal(array, mx.ones_like(array)).item()
        for name, array in arrays.items()
        if ".layer_scale" in name or name.endswith("running_var")
    )
    assert not any("num_batches" in name for name in arrays)


def test_streams_are_carried_whole_again(tmp_path: Path) -> None:
    """mlx-vlm's LayerNorm has one eps, whatever the scale of a stream."""
    folded = fold(Source(GOLDENS / "apple-fused"), None, "x")
    vision = folded.config.vision_config
    shifts = (1, 2, 3, 4, 5)
    scaled = rescale(folded.weights, vision, shifts)
    config = replace(folded.config, vision_config=replace(vision, stream_shifts=shifts))
    assert same(as_mlx_vlm(scaled, config), as_mlx_vlm(folded.weights, folded.config))


def test_config_says_what_both_readers_need(tmp_path: Path) -> None:
    """mlx-swift-lm fails without a key of vision_config, mlx-vlm with another id."""
    convert_checkpoint(GOLDENS / "apple-fused", tmp_path / "peer", to="mlx-vlm")
    values = json.loads((tmp_path / "peer" / "config.json").read_text())
    assert values["model_type"] == "llava_qwen2"
    assert values["image_token_index"] == -200
    assert values["tie_word_embeddings"] is False
    assert values["mm_hidden_size"] == 128
    assert values["vision_config"]["layers"] == [1, 2, 1, 2, 1]
    assert values["vision_config"]["cls_ratio"] == 2.0
    assert values["vision_config"]["pos_embs_shapes"] == [None] * 3 + [[7, 7]] * 2
    assert "quantization" not in values
    preprocessor = (tmp_path / "peer" / "preprocessor_config.json").read_text()
    assert json.loads(preprocessor)["crop_size"] == {"height": 128, "width": 128}


def test_packed_layers_are_stated_under_their_names(tmp_path: Path) -> None:
    recipe = Recipe(bits=4, projector_bits=8)
    source = GOLDENS / "apple-fused"
    convert_checkpoint(source, tmp_path / "peer", to="mlx-vlm", recipe=recipe)
    values = json.loads((tmp_path / "peer" / "config.json").read_text())
    packed = {name for name in Source(tmp_path / "peer").tensors() if "scales" in name}
    assert "mm_projector.0.scales" in packed
    stated = values["quantization"]
    assert stated["mm_projector.0"] == stated["mm_projector.2"]
    assert {stated["bits"], stated["mm_projector.0"]["bits"]} == {4, 8}


def test_an_export_may_be_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        convert_checkpoint(
            GOLDENS / "apple-fused", tmp_path / "peer", to="mlx-vlm", overwrite=True
        )


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("vision_config", {"se_dim": 4}),
        ("vision_config", {"head_dim": 16}),
        ("vision_config", {"mlp_dims": (16, 16, 32, 64, 128)}),
        ("text_config", {"model_type": "llama"}),
        ("text_config", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    ],
)
def test_what_mlx_vlm_cannot_express(part: str, change: dict[str, Any]) -> None:
    folded = fold(Source(GOLDENS / "apple-fused"), None, "x")
    other = replace(getattr(folded.config, part), **change)
    config = replace(folded.config, **{part: other})
    with pytest.raises(CheckpointError, match="does not know"):
        as_mlx_vlm(folded.weights, config)


def test_a_bias_that_no_norm_makes() -> None:
    folded = fold(Source(GOLDENS / "apple-fused"), None, "x")
    name = "vision_tower.stages.3.blocks.0.token_mixer.qkv.bias"
    noise = mx.array(np.random.default_rng(0).normal(size=96), mx.float32)
    weights = {**folded.weights, name: folded.weights[name] + noise}
    with pytest.raises(CheckpointError, match="that no LayerNorm makes"):
        as_mlx_vlm(weights, folded.config)


def test_a_packed_tower_is_refused(tmp_path: Path) -> None:
    recipe = Recipe(tower_bits=8, group_size=32)
    with pytest.raises(OptionError, match="--tower-bits"):
        convert_checkpoint(
            GOLDENS / "apple-fused", tmp_path / "o", to="mlx-vlm", recipe=recipe
        )
    assert not (tmp_path / "o").exists()


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="fused, mlx-vlm"):
        convert_checkpoint(GOLDENS / NAMES[0], tmp_path / "o", to="gguf")  # type: ignore[arg-type]


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_interleaved_undoes_one_after_another(multiplier: int) -> None:
    array = mx.arange(24).reshape(2, 12)
    there = one_after_another(array, multiplier)
    assert mx.array_equal(interleaved(there, multiplier), array).item()

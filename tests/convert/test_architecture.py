"""What a checkpoint's files and tensors say about its model."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from convert.architecture import describe, image_size, text_config_from, tied_head
from convert.names import rename
from convert.source import Source, Tensors
from convert.tokenizer import SpecialTokens, read_tokenizer
from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError, FastVLMError
from tests.convert.folders import copy_golden, edit_json

HEAD, EMBEDDING = "language_model.lm_head.weight", "language_model.model.embed_tokens"
LAYERS, WIDTHS = (2, 12, 24, 4, 2), (96, 192, 384, 768, 1536)
ATTENTION = (3, 4)  # stages of FastViTHD that attend

TEXT = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "vocab_size": 384,
}

# Apple's own files, not part of this repository.
CONFIGS = Path(
    os.environ.get("FASTVLM_CONFIGS")
    or Path(__file__).parents[3] / "shared" / "data" / "configs"
)


def read(folder: Path) -> FastVLMConfig:
    """Describe a folder as the converter does."""
    tensors, _ = rename(Source(folder).tensors())
    return describe(
        Source(folder), tensors, read_tokenizer(Source(folder)).tokens, "name"
    )


def fastvithd() -> Tensors:
    """The tensors that the real tower's sizes are read from; none is computed."""
    shapes: dict[str, tuple[int, ...]] = {"final_conv.se.fc1.weight": (192, 3072, 1, 1)}
    for stage, (count, width) in enumerate(zip(LAYERS, WIDTHS, strict=True)):
        mixer = "qkv" if stage in ATTENTION else "reparam_conv"
        for block in range(count):
            name = f"stages.{stage}.blocks.{block}"
            shapes[f"{name}.mlp.fc1.weight"] = (4 * width, width, 1, 1)
            shapes[f"{name}.token_mixer.{mixer}.weight"] = (width,)
        if stage in ATTENTION:
            shapes[f"stages.{stage}.pos_emb.reparam_conv.weight"] = (width,)
    arrays = {f"vision_tower.{name}": mx.zeros(shape) for name, shape in shapes.items()}
    return Tensors(arrays, origin=lambda name: f"file.{name}")


def fastvithd_without(part: str) -> Tensors:
    tensors = fastvithd()
    for name in [name for name in tensors.arrays if part in name]:
        del tensors.arrays[name]
    return tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose config.json is that of a 0.5B, as documented."""
    sizes = {"hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864}
    rest = {"num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936}
    values = {"model_type": "llava_qwen2", "mm_vision_tower": "mobileclip_l_1024"}
    edit_json(tmp_path / "config.json", **sizes, **rest, **values)
    return tmp_path


TOKENS = SpecialTokens(image=151646, ends=(151643, 151645), max_length=None)


# --- the tower --------------------------------------------------------------------


def test_fastvithd_from_its_tensors(folder: Path) -> None:
    vision = describe(Source(folder), fastvithd(), TOKENS, "").vision_config
    assert (vision.layers, vision.embed_dims) == (LAYERS, WIDTHS)
    assert vision.mlp_dims == (384, 768, 1536, 3072, 6144)
    assert vision.token_mixers == ("repmixer",) * 3 + ("attention",) * 2
    assert vision.pos_embs == (False, False, False, True, True)
    assert (vision.hidden_size, vision.se_dim) == (3072, 192)
    assert vision.num_tokens(vision.image_size) == 256


@pytest.mark.parametrize(
    "lost",
    [
        "stages.0.blocks.1.",
        "stages.2.blocks.23.",  # the last of a stage: no gap in the numbers
        "stages.2.blocks.7.",
        "stages.1.",
        "stages.3.pos_emb.",
        "stages.",
    ],
)
def test_parts_lost_from_fastvithd(folder: Path, lost: str) -> None:
    with pytest.raises(CheckpointError):
        describe(Source(folder), fastvithd_without(lost), TOKENS, "")


@pytest.mark.parametrize(
    "name", ["stages.2.blocks.0.mlp.fc1.weight", "final_conv.se.fc1.weight"]
)
@pytest.mark.parametrize("shape", [(), (96,), (96, 3, 1)])
def test_a_tensor_that_states_no_size(
    folder: Path, name: str, shape: tuple[int, ...]
) -> None:
    tensors = fastvithd()
    tensors.arrays[f"vision_tower.{name}"] = mx.zeros(shape)
    with pytest.raises(CheckpointError, match=name):
        describe(Source(folder), tensors, TOKENS, "")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("apple-fused", {"mm_hidden_size": 3072}),
        ("fast_vlm-fused", {"vision_config": {"hidden_size": 3072}}),
        ("fast_vlm-fused", {"vision_config": {"model_args": {"layers": [2, 2, 2]}}}),
        ("fast_vlm-fused", {"vision_config": {"model_args": {"embed_dims": [8]}}}),
    ],
)
def test_a_config_that_describes_another_tower(
    tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    folder = copy_golden(name, tmp_path / name)
    edit_json(folder / "config.json", **change)
    with pytest.raises(CheckpointError, match="its tensors say"):
        read(folder)


# --- the head ---------------------------------------------------------------------


def language(*, head: str) -> Tensors:
    embedding = mx.arange(12.0).reshape(4, 3)
    heads = {"equal": embedding * 1, "other": embedding + 1, "smaller": embedding[:2]}
    arrays = {f"{EMBEDDING}.weight": embedding}
    if head in heads:
        arrays[HEAD] = heads[head]
    return Tensors(arrays, origin=lambda name: f"file.{name}")


@pytest.mark.parametrize("flag", [True, False, None])
@pytest.mark.parametrize(
    ("head", "tied"), [("equal", True), ("other", False), ("smaller", False)]
)
def test_the_tensors_decide_about_the_head(
    head: str, tied: bool, flag: bool | None
) -> None:
    tensors = language(head=head)
    values = {} if flag is None else {"tie_word_embeddings": flag}
    assert tied_head(tensors, values, values) is tied
    assert (HEAD in tensors) is not tied
    assert list(tensors.dropped) == ([f"file.{HEAD}"] if tied else [])


@pytest.mark.parametrize(
    ("values", "text", "tied"),
    [
        ({"tie_word_embeddings": True}, {}, True),
        ({}, {"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False}, {"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False}, {}, False),
        ({}, {"tie_word_embeddings": False}, False),
        ({}, {}, True),  # nothing else could be the head
    ],
)
def test_without_a_head_the_flag_decides(
    values: dict[str, bool], text: dict[str, bool], tied: bool
) -> None:
    assert tied_head(language(head="none"), values, text) is tied


def test_without_an_embedding_there_is_an_error() -> None:
    tensors = language(head="other")
    del tensors.arrays[f"{EMBEDDING}.weight"]
    with pytest.raises(CheckpointError, match=f"lacks file.{EMBEDDING}"):
        tied_head(tensors, {}, {})


# --- tokens -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, 151646),
        ({"image_token_index": 151665}, 151665),
        ({"image_token_id": 151665}, 151665),
        ({"image_token_index": 0}, 0),
        ({"image_token_index": -200}, 151646),  # LLaVA's sentinel is no id
    ],
)
def test_image_token(folder: Path, stated: dict[str, int], expected: int) -> None:
    edit_json(folder / "config.json", **stated)
    config = describe(Source(folder), fastvithd(), TOKENS, "")
    assert config.image_token_index == expected


def test_end_tokens_come_from_all_places(tmp_path: Path) -> None:
    folder = copy_golden("fast_vlm-fused", tmp_path / "source")
    assert read(folder).eos_token_ids == (309, 311)  # the tokenizer's
    values = json.loads((folder / "config.json").read_text())
    text = values["text_config"] | {"eos_token_id": 2}
    edit_json(folder / "config.json", eos_token_id=[1, 3], text_config=text)
    edit_json(folder / "generation_config.json", eos_token_id=[3, 4])
    assert read(folder).eos_token_ids == (1, 2, 3, 4, 309, 311)


@pytest.mark.parametrize(
    ("model", "tokenizer", "positions", "expected"),
    [
        (8192, 4096, 32768, 4096),
        (2048, 4096, 32768, 2048),
        (8192, 8192, 1024, 1024),
        (None, None, 1024, 1024),
        (8192, 10**30, 32768, 8192),  # how transformers says "no limit"
    ],
)
def test_max_length_is_the_smallest_stated(
    folder: Path,
    model: int | None,
    tokenizer: int | None,
    positions: int,
    expected: int,
) -> None:
    edit_json(
        folder / "config.json",
        tokenizer_model_max_length=model,
        max_position_embeddings=positions,
    )
    tokens = SpecialTokens(image=1, ends=(), max_length=tokenizer)
    assert describe(Source(folder), fastvithd(), tokens, "").max_length == expected


# --- the resolution ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("tower", "processor", "expected"),
    [
        ("mobileclip_l_384", None, (384, 384)),
        ("/models/mobileclip_l_1024", None, (1024, 1024)),
        ("mobileclip_l_512", {"crop_size": 768}, (512, 512)),
        ("mobileclip_l", None, (1024, 1024)),
        (None, None, (1024, 1024)),
        (None, {"crop_size": {"height": 512, "width": 768}}, (512, 768)),
        (None, {"size": {"shortest_edge": 768}}, (768, 768)),
        (None, {"crop_size": 256, "size": 512}, (256, 256)),
        (None, {"do_resize": True}, (1024, 1024)),
    ],
)
def test_resolution(
    tmp_path: Path,
    tower: str | None,
    processor: dict[str, Any] | None,
    expected: tuple[int, int],
) -> None:
    if processor is not None:
        edit_json(tmp_path / "preprocessor_config.json", **processor)
    edit_json(tmp_path / "config.json", mm_vision_tower=tower)
    assert image_size(Source(tmp_path)) == expected


def test_resolutions_of_training(folder: Path) -> None:
    tokens = SpecialTokens(image=1, ends=(), max_length=99)
    found = describe(Source(folder), fastvithd(), tokens, "").vision_config
    assert found.trained_sizes == {found.image_size}
    edit_json(folder / "config.json", trained_resolutions=[128, 512])
    found = describe(Source(folder), fastvithd(), tokens, "").vision_config
    assert found.trained_sizes == {found.image_size, (128, 128), (512, 512)}
    for wrong, message in ((100, "a list of sides"), ([100], "does not fit")):
        edit_json(folder / "config.json", trained_resolutions=wrong)
        with pytest.raises(ConfigError, match=message):
            describe(Source(folder), fastvithd(), tokens, "")


@pytest.mark.parametrize("tower", ["mobileclip_l_100", "mobileclip_l_0"])
def test_a_resolution_that_does_not_fit(folder: Path, tower: str) -> None:
    edit_json(folder / "config.json", mm_vision_tower=tower)
    with pytest.raises(ConfigError):
        describe(Source(folder), fastvithd(), TOKENS, "")


# --- the language model -----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({}, "num_key_value_heads", 4),
        ({"num_key_value_heads": 2}, "num_key_value_heads", 2),
        ({"num_key_value_heads": None}, "num_key_value_heads", 4),
        ({}, "rope_theta", 1e4),
        ({"rope_theta": 1e6}, "rope_theta", 1e6),
        ({"rope_parameters": {"rope_theta": 5e5}}, "rope_theta", 5e5),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_scaling", None),
        ({"rope_scaling": None}, "rope_scaling", None),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling",
            {"type": "linear", "factor": 2.0},
        ),
        ({"head_dim": 32}, "head_dim", 32),
        ({"attention_bias": True}, "attention_bias", True),
    ],
)
def test_text_config(given: dict[str, Any], field: str, expected: object) -> None:
    config = text_config_from({**TEXT, **given}, tied=False)
    assert getattr(config, field) == expected


@pytest.mark.parametrize("tied", [True, False])
def test_the_text_config_takes_the_decision_about_the_head(tied: bool) -> None:
    values = {**TEXT, "tie_word_embeddings": not tied}
    assert text_config_from(values, tied).tie_word_embeddings is tied


@pytest.mark.parametrize("key", sorted(TEXT.keys() - {"model_type"}))
def test_a_size_that_config_json_does_not_state(key: str) -> None:
    for values in ({k: v for k, v in TEXT.items() if k != key}, {**TEXT, key: None}):
        with pytest.raises(ConfigError, match=key):
            text_config_from(values, tied=False)


def test_sliding_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match="sliding"):
        text_config_from({**TEXT, "use_sliding_window": True}, tied=False)


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="qwen2_vl")
    with pytest.raises(ConfigError, match="qwen2_vl"):
        describe(Source(folder), fastvithd(), TOKENS, "")


NONSENSE: tuple[object, ...] = ("x", [1], {}, -1, 0, 1.5, 10**30, None)


@pytest.mark.parametrize(
    "key",
    [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rope_theta",
        "rope_scaling",
        "max_position_embeddings",
        "image_token_index",
        "eos_token_id",
        "tokenizer_model_max_length",
        "mm_vision_tower",
        "mm_hidden_size",
        "vision_config",
        "text_config",
    ],
)
def test_nonsense_in_config_json(
    folder: Path, key: str, subtests: pytest.Subtests
) -> None:
    """A config or an error of the family, whatever is written there."""
    values = json.loads((folder / "config.json").read_text())
    for value in NONSENSE:
        (folder / "config.json").write_text(json.dumps(values | {key: value}))
        with subtests.test(value=value):
            try:
                config = describe(Source(folder), fastvithd(), TOKENS, "")
            except FastVLMError as error:
                assert str(error)
            else:
                assert 0 < config.max_length <= 32768


# --- Apple's own files ------------------------------------------------------------

# hidden, inner, layers, heads, KV heads, rows of the vocabulary, <image>
SIZES = {
    "FastVLM-0.5B": (896, 4864, 24, 14, 2, 151936, 151646),
    "llava-fastvithd_1.5b_stage3": (1536, 8960, 28, 12, 2, 151936, 151646),
    "FastVLM-0.5B-fp16": (896, 4864, 24, 14, 2, 151936, 151646),
    "FastVLM-1.5B-int8": (1536, 8960, 28, 12, 2, 151936, 151646),
    "FastVLM-7B-int4": (3584, 18944, 28, 28, 4, 152064, 151665),
}


@pytest.mark.parametrize("model", SIZES)
def test_published_configs(model: str) -> None:
    if not (CONFIGS / model).is_dir():
        pytest.skip("Apple's configuration files are not on this machine")
    config = describe(Source(CONFIGS / model), fastvithd(), TOKENS, model)
    text = config.text_config
    assert SIZES[model] == (
        text.hidden_size,
        text.intermediate_size,
        text.num_hidden_layers,
        text.num_attention_heads,
        text.num_key_value_heads,
        text.vocab_size,
        config.image_token_index,
    )
    assert (text.model_type, text.rope_theta, text.rms_norm_eps) == ("qwen2", 1e6, 1e-6)
    assert config.vision_config.image_size == (1024, 1024)
    assert (config.max_length, config.eos_token_ids) == (8192, (151643, 151645))

"""config.json: what is written is read again, and nothing impossible gets in."""

import dataclasses
import json
from typing import Any

import pytest

from fastvlm_mlx.config import (
    FASTVITHD,
    FORMAT_VERSION,
    STAMP,
    FastVLMConfig,
    Packing,
    QuantizationConfig,
    TextConfig,
    VisionConfig,
)
from fastvlm_mlx.errors import ConfigError

VISION = VisionConfig(
    image_size=(128, 192),
    layers=(1, 2, 1),
    embed_dims=(8, 16, 32),
    mlp_dims=(16, 32, 64),
    token_mixers=("repmixer", "repmixer", "attention"),
    pos_embs=(False, False, True),
    hidden_size=64,
    se_dim=4,
)
TEXT = TextConfig(
    model_type="qwen2",
    hidden_size=64,
    num_hidden_layers=2,
    intermediate_size=128,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=320,
)
CONFIG = FastVLMConfig(
    vision_config=VISION,
    text_config=TEXT,
    image_token_index=319,
    eos_token_ids=(1, 2),
    max_length=512,
    quantization=QuantizationConfig(
        bits=4,
        layers={
            "language_model.lm_head": Packing(6, 128),
            "mm_projector.linear_1": Packing(4, 32, "mxfp4"),
        },
    ),
    source="made up",
    license="mit",
)


def values(**changes: Any) -> dict[str, Any]:
    return CONFIG.to_dict() | changes


def part(name: str, **changes: Any) -> dict[str, Any]:
    """The values with one part changed."""
    return values(**{name: values()[name] | changes})


# --- round trip -------------------------------------------------------------------


def test_a_config_survives_its_file() -> None:
    assert FastVLMConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_what_is_written_is_what_json_gives_back() -> None:
    assert json.loads(json.dumps(CONFIG.to_dict())) == CONFIG.to_dict()


def test_packings_stand_as_in_a_config_of_mlx_lm() -> None:
    """mlx-lm's loader looks a layer's path up beside the general numbers."""
    assert CONFIG.to_dict()["quantization"] == {
        "bits": 4,
        "group_size": 64,
        "mode": "affine",
        "language_model.lm_head": {"bits": 6, "group_size": 128, "mode": "affine"},
        "mm_projector.linear_1": {"bits": 4, "group_size": 32, "mode": "mxfp4"},
    }


def test_what_has_a_default_may_be_left_out() -> None:
    short = values()
    for key in ("image_mode", "quantization", "source", "license"):
        del short[key]
    config = FastVLMConfig.from_dict(short)
    assert (config.image_mode, config.quantization) == ("pad", None)


def test_unknown_keys_are_ignored() -> None:
    """A later version may say more."""
    later = part("vision_config", taste="sweet") | {"colour": "red"}
    assert FastVLMConfig.from_dict(later) == CONFIG


def test_a_config_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.max_length = 1  # type: ignore[misc]


# --- faults -----------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [None, FORMAT_VERSION + 1, str(FORMAT_VERSION)])
def test_another_stamp_is_refused(stamp: object) -> None:
    with pytest.raises(ConfigError, match=f"{STAMP} .*; this version reads .*again"):
        FastVLMConfig.from_dict(values(**{STAMP: stamp}))


@pytest.mark.parametrize(
    "key",
    ["vision_config", "text_config", "image_token_index", "eos_token_ids"],
)
def test_a_missing_key_is_named(key: str) -> None:
    incomplete = values()
    del incomplete[key]
    with pytest.raises(ConfigError, match=f"FastVLMConfig lacks the key '{key}'"):
        FastVLMConfig.from_dict(incomplete)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vision_config", "layers"),
        ("vision_config", "se_dim"),
        ("text_config", "vocab_size"),
        ("text_config", "model_type"),
        ("quantization", "bits"),
    ],
)
def test_a_missing_key_of_a_part_is_named(name: str, key: str) -> None:
    incomplete = values()
    del incomplete[name][key]
    with pytest.raises(ConfigError, match=f"Config lacks the key '{key}'"):
        FastVLMConfig.from_dict(incomplete)


@pytest.mark.parametrize("name", ["vision_config", "text_config", "quantization"])
def test_a_part_must_be_an_object(name: str, subtests: pytest.Subtests) -> None:
    message = "Config needs a JSON object, found "
    others: tuple[object, ...] = (5, "x", [], True)
    for value in others:
        with subtests.test(value=value), pytest.raises(ConfigError, match=message):
            FastVLMConfig.from_dict(values(**{name: value}))


SIZES = [0, -1, 1 << 24, 10**30, 1.5, "8", True, [8], {}]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vision_config", "hidden_size"),
        ("vision_config", "se_dim"),
        ("vision_config", "mlp_kernel"),
        ("vision_config", "head_dim"),
        ("text_config", "vocab_size"),
        ("text_config", "num_hidden_layers"),
        ("text_config", "num_key_value_heads"),
        ("text_config", "max_position_embeddings"),
    ],
)
def test_an_impossible_size_is_named(
    name: str, key: str, subtests: pytest.Subtests
) -> None:
    for value in (*SIZES, None):
        with subtests.test(value=value), pytest.raises(ConfigError, match=key):
            FastVLMConfig.from_dict(part(name, **{key: value}))


def test_an_impossible_head_width_is_named(subtests: pytest.Subtests) -> None:
    for value in SIZES:
        with subtests.test(value=value), pytest.raises(ConfigError, match="head_dim"):
            FastVLMConfig.from_dict(part("text_config", head_dim=value))


@pytest.mark.parametrize("key", ["layers", "embed_dims", "mlp_dims", "image_size"])
def test_an_impossible_size_in_a_list_is_named(
    key: str, subtests: pytest.Subtests
) -> None:
    for entry in (0, -1, 1 << 24, 1.5, "8", None, [8], True):
        listed = [entry, *values()["vision_config"][key][1:]]
        with subtests.test(entry=entry), pytest.raises(ConfigError, match=key):
            FastVLMConfig.from_dict(part("vision_config", **{key: listed}))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vision_config", "layer_norm_eps"),
        ("text_config", "rms_norm_eps"),
        ("text_config", "rope_theta"),
    ],
)
def test_an_impossible_number_is_named(
    name: str, key: str, subtests: pytest.Subtests
) -> None:
    for value in (float("nan"), float("inf"), 0, -1e-6, "1e-6", None):
        with subtests.test(value=value), pytest.raises(ConfigError, match=key):
            FastVLMConfig.from_dict(part(name, **{key: value}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [1, 2]}, "unequal stage counts.*'layers': 2"),
        ({"layers": 3}, "layers"),
        ({"token_mixers": ["repmixer"] * 2 + ["conv"]}, "unknown token mixer 'conv'"),
        ({"token_mixers": ["repmixer"] * 2 + [3]}, "token_mixers is .*3.*str"),
        (
            {"embed_dims": [8, 16, 48], "hidden_size": 96},
            "48 channels wide, not a multiple of head_dim",
        ),
        (
            {"embed_dims": [8, 12, 32]},
            "from 8 channels to 12; expected a multiple of 8",
        ),
        ({"hidden_size": 80}, "from 32 channels to 80; expected a multiple of 32"),
        ({"image_size": [128, 200]}, "128x200 does not fit.*multiples of 16"),
        ({"trained_resolutions": [64, 100]}, "100x100 does not fit"),
        ({"trained_resolutions": 64}, "trained_resolutions is 64"),
        ({"trained_resolutions": [0]}, "trained_resolutions"),
        ({"image_size": [128]}, "image_size"),
        ({"image_size": [128, 128, 128]}, "image_size"),
        ({"image_size": 128}, "image_size"),
    ],
)
def test_a_tower_that_cannot_be_built_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FastVLMConfig.from_dict(part("vision_config", **changes))


def test_a_tower_without_stages_is_refused() -> None:
    keys = ("layers", "embed_dims", "mlp_dims", "token_mixers", "pos_embs")
    with pytest.raises(ConfigError, match="no stages"):
        FastVLMConfig.from_dict(part("vision_config", **{key: [] for key in keys}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 3}, "4 attention heads and 3 key-value heads"),
        ({"hidden_size": 66}, "hidden_size 66 is not a multiple.*heads 4"),
        ({"model_type": 7}, "model_type"),
        ({"rope_scaling": "linear"}, "rope_scaling"),
    ],
)
def test_a_language_model_that_cannot_be_built_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FastVLMConfig.from_dict(part("text_config", **changes))


@pytest.mark.parametrize("bits", [0, 1, 7, 16, "4", None])
def test_an_unknown_quantization_is_refused(bits: object) -> None:
    with pytest.raises(ConfigError, match="bits in groups of 64; expected"):
        FastVLMConfig.from_dict(part("quantization", bits=bits))


@pytest.mark.parametrize(
    ("packing", "message"),
    [
        ({}, "lacks the key 'bits'"),
        ({"bits": 1}, "1 bits in groups of 64"),
        ({"bits": 4, "group_size": 32, "mode": "nvfp4"}, "nvfp4 with 4 bits in groups"),
        ({"bits": 8, "group_size": 32, "mode": "mxfp4"}, "8 bits in groups of 32"),
        ({"bits": 4, "group_size": True}, "4 bits in groups of True"),
    ],
)
def test_an_unknown_packing_of_a_layer_is_refused(
    packing: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FastVLMConfig.from_dict(part("quantization", **{"some.layer": packing}))


@pytest.mark.parametrize("mode", ["mystery", None, ["affine"]])
def test_an_unknown_quantization_mode_is_refused(mode: object) -> None:
    with pytest.raises(ConfigError, match="mode"):
        FastVLMConfig.from_dict(part("quantization", mode=mode))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vision_config", None),
        ("text_config", None),
        ("max_length", 0),
        ("max_length", 1 << 24),
        ("max_length", "many"),
        ("max_length", None),
        ("max_length", 12.5),
        ("image_mode", "stretch"),
        ("image_mode", None),
        ("image_token_index", -200),
        ("image_token_index", "<image>"),
        ("image_token_index", None),
        ("eos_token_ids", 5),
        ("eos_token_ids", None),
        ("eos_token_ids", ["<|im_end|>"]),
        ("license", 5),
        ("source", None),
    ],
)
def test_an_impossible_value_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        FastVLMConfig.from_dict(values(**{key: value}))


def test_a_message_repeats_no_more_than_the_ends_of_a_value() -> None:
    with pytest.raises(ConfigError) as caught:
        FastVLMConfig.from_dict(values(image_mode="x" * 5000))
    assert len(str(caught.value)) < 200
    with pytest.raises(ConfigError) as caught:
        FastVLMConfig.from_dict(values(vision_config=["x"] * 5000))
    assert len(str(caught.value)) < 200


# --- what follows from the sizes --------------------------------------------------


def test_each_stage_after_the_first_halves_the_picture() -> None:
    assert VISION.stride == 16
    five = dataclasses.replace(
        VISION,
        layers=(1,) * 5,
        embed_dims=(32,) * 5,
        mlp_dims=(8,) * 5,
        token_mixers=("repmixer",) * 5,
        pos_embs=(False,) * 5,
    )
    assert five.stride == 64
    assert five.num_tokens((1024, 1024)) == 256
    assert five.token_grid((512, 768)) == (8, 12)


@pytest.mark.parametrize("size", [(0, 64), (64, -64), (64, 65), (1, 1)])
def test_a_resolution_off_the_grid_is_refused(size: tuple[int, int]) -> None:
    message = f"{size[0]}x{size[1]} does not fit: both sides must be positive"
    with pytest.raises(ConfigError, match=message):
        VISION.token_grid(size)


def test_a_frame_may_not_be_a_strip() -> None:
    """A strip would ask for the original's whole width times the strip's length."""
    with pytest.raises(ConfigError, match="at most 16 times"):
        VISION.token_grid((64, 64 * 17))


def test_the_width_of_a_head_follows_from_the_model_where_it_is_not_stated() -> None:
    assert TEXT.head_width == 16
    assert dataclasses.replace(TEXT, head_dim=24).head_width == 24


def test_sizes_of_training() -> None:
    """Its own, and the squares that are listed."""
    assert FASTVITHD.trained_sizes == {(1024, 1024)}
    several = dataclasses.replace(FASTVITHD, trained_resolutions=(256, 1024))
    assert several.trained_sizes == {(256, 256), (1024, 1024)}

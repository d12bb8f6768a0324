"""What model a checkpoint holds: its config files and tensors in, our config out.

Sizes of the tower are read from the tensors, since Apple's config.json has none of
them; sizes of the language model from config.json, against which its tensors are
then checked. Where a config states the tower too, both must agree.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fastvlm_mlx.config import FASTVITHD, FastVLMConfig, TextConfig, VisionConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError, quoted
from fastvlm_mlx.model_folder import CONFIG_FILE

from .names import LANGUAGE, TOWER
from .source import Json, Source, Tensors
from .tokenizer import SpecialTokens

_PREPROCESSOR = "preprocessor_config.json"

DEFAULT_RESOLUTION = 1024
"""Every released FastVLM was trained at 1024x1024 pixels."""

_LANGUAGE_MODELS = {
    "llava_qwen2": "qwen2",
    "fastvlm": "qwen2",  # how mlx-vlm calls the same
    "llava_llama": "llama",
    "llava": "llama",
}

# What a config may say of things that are done in one way only here.
_SETTINGS: dict[str, tuple[object, ...]] = {
    "image_aspect_ratio": ("pad",),
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_use_im_start_end": (False,),
    "mm_use_im_patch_token": (False,),
    "projector_hidden_act": ("gelu",),
    "multimodal_projector_bias": (True,),
    "vision_feature_select_strategy": ("full",),
}
_TEXT_SETTINGS: dict[str, tuple[object, ...]] = {"hidden_act": ("silu",)}
_PIXEL_SETTINGS: dict[str, tuple[object, ...]] = {
    "image_mean": ([0.0, 0.0, 0.0],),  # 0 == 0.0
    "image_std": ([1.0, 1.0, 1.0],),
}

_TEXT_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
)


def read_text_config(source: Source) -> TextConfig:
    """The language model that config.json states; no weights are needed for it.

    Whether its head is tied is not known before the tensors are seen.

    Raises:
        ConfigError: it is damaged, of another kind, or states impossible sizes.
    """
    with _sense(source):
        text = _text_values(source.config)
        _check_settings(source, text)
        return text_config_from(text, tied=False)


def describe(
    source: Source, tensors: Tensors, tokens: SpecialTokens, name: str
) -> FastVLMConfig:
    """Build the config of a checkpoint; decides about the head (`tied_head`).

    Args:
        tensors: under the converter's names.
        name: what the config calls the source.
    """
    with _sense(source):
        return _config(source, tensors, tokens, name)


@contextlib.contextmanager
def _sense(source: Source) -> Iterator[None]:
    """Values of a wrong type surface as these, wherever they are first used."""
    try:
        yield
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{source.folder / CONFIG_FILE} makes no sense: {error}"
        ) from None


def _config(
    source: Source, tensors: Tensors, tokens: SpecialTokens, name: str
) -> FastVLMConfig:
    values = source.config
    text = _text_values(values)
    _check_settings(source, text)
    text_config = text_config_from(text, tied_head(tensors, values, text))
    vision_config = replace(
        vision_config_from(tensors, image_size(source)),
        trained_resolutions=trained_resolutions(values),
    )
    _check_stated(vision_config, values)
    return FastVLMConfig(
        vision_config=vision_config,
        text_config=text_config,
        image_token_index=_image_token(values, tokens),
        eos_token_ids=tuple(sorted({*_stated_ends(source, text), *tokens.ends})),
        max_length=_max_length(values, tokens, text_config),
        source=name,
        license=source.license,
    )


def vision_config_from(tensors: Tensors, size: tuple[int, int]) -> VisionConfig:
    """Read the tower's sizes from its tensors."""
    layers = _layers(tensors)
    fc1 = [
        tensors.shape(f"{TOWER}stages.{stage}.blocks.0.mlp.fc1.weight", 4)
        for stage in range(len(layers))
    ]
    se_dim, hidden_size = tensors.shape(f"{TOWER}final_conv.se.fc1.weight", 4)[:2]
    config = VisionConfig(
        image_size=size,
        layers=layers,
        embed_dims=tuple(shape[1] for shape in fc1),
        mlp_dims=tuple(shape[0] for shape in fc1),
        token_mixers=tuple(
            _token_mixer(tensors, stage) for stage in range(len(layers))
        ),
        pos_embs=tuple(
            _has(tensors, rf"stages\.{stage}\.pos_emb\.")
            for stage in range(len(layers))
        ),
        hidden_size=hidden_size,
        se_dim=se_dim,
    )
    _check_known(config)
    return config


def text_config_from(values: Json, tied: bool) -> TextConfig:
    """Read the language model's sizes from its part of config.json."""
    for key in _TEXT_SIZES:
        if values.get(key) is None:
            raise ConfigError(
                f"config.json does not state the {key} of the language model."
            )
    if values.get("use_sliding_window"):
        raise ConfigError("config.json asks for sliding-window attention, unsupported.")
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    scaled = rope.get("rope_type", rope.get("type", "default")) != "default"
    return TextConfig(
        model_type=str(values["model_type"]),
        **{key: values[key] for key in _TEXT_SIZES},
        num_key_value_heads=values.get("num_key_value_heads")
        or values["num_attention_heads"],
        rms_norm_eps=float(values.get("rms_norm_eps", 1e-6)),
        rope_theta=float(values.get("rope_theta") or rope.get("rope_theta") or 1e4),
        rope_scaling=dict(rope) if scaled else None,
        max_position_embeddings=values.get("max_position_embeddings", 32768),
        head_dim=values.get("head_dim"),
        attention_bias=bool(values.get("attention_bias", False)),
        mlp_bias=bool(values.get("mlp_bias", False)),
        tie_word_embeddings=tied,
    )


def tied_head(tensors: Tensors, values: Json, text: Json) -> bool:
    """Whether the head is the embedding. The tensors decide; the flag is often wrong.

    A head equal to the embedding is dropped from the tensors here.
    """
    head, embedding = f"{LANGUAGE}lm_head", f"{LANGUAGE}model.embed_tokens"
    if f"{head}.weight" not in tensors:
        flags = (values.get("tie_word_embeddings"), text.get("tie_word_embeddings"))
        # without a head and without a flag there is nothing else to be the head
        return any(flags) or flags == (None, None)
    if not _same(tensors, head, embedding):
        return False
    for name in tensors.layer(head):
        tensors.drop(name, "equal to the embedding, so the head is tied to it")
    return True


def _same(tensors: Tensors, head: str, embedding: str) -> bool:
    """Whether two layers hold the same numbers, packed or not."""
    tensors.shape(f"{embedding}.weight", 2)
    tensors.shape(f"{head}.weight", 2)
    parts = [name.removeprefix(head) for name in tensors.layer(head)]
    if parts != [name.removeprefix(embedding) for name in tensors.layer(embedding)]:
        return False
    return all(
        mx.array_equal(
            tensors.arrays[head + part], tensors.arrays[embedding + part]
        ).item()
        for part in parts
    )


def image_size(source: Source) -> tuple[int, int]:
    """The (height, width) that images are brought to, in pixels."""
    tower = re.search(r"_(\d+)$", str(source.config.get("mm_vision_tower", "")))
    if tower:
        return int(tower[1]), int(tower[1])
    stated = source.json(_PREPROCESSOR)
    crop = stated.get("crop_size") or stated.get("size") or DEFAULT_RESOLUTION
    if isinstance(crop, Mapping):
        side = crop.get("shortest_edge")
        return crop.get("height", side), crop.get("width", side)
    return crop, crop


def trained_resolutions(values: Json) -> tuple[int, ...]:
    """Sides of the squares that training saw, where config.json lists them."""
    stated = values.get("trained_resolutions") or ()
    if not isinstance(stated, list | tuple):
        raise ConfigError(
            f"config.json has trained_resolutions {quoted(stated)}; expected a list "
            "of sides in pixels."
        )
    return tuple(stated)


def _text_values(values: Json) -> Json:
    """The language model's part of config.json, with mlx-lm's name for its kind."""
    stated = values.get("text_config")
    if values.get("model_type") == "fast_vlm" and isinstance(stated, Mapping):
        return {"model_type": "qwen2", **stated}
    kind = str(values.get("model_type"))
    if kind not in _LANGUAGE_MODELS:
        raise ConfigError(
            f"config.json has model_type {quoted(kind)}; "
            f"expected fast_vlm or one of {', '.join(_LANGUAGE_MODELS)}."
        )
    # mlx-vlm's folders have the sizes at the top, in text_config, or in both
    inner = stated if isinstance(stated, Mapping) else {}
    return {**values, **inner, "model_type": _LANGUAGE_MODELS[kind]}


def _check_settings(source: Source, text: Json) -> None:
    """Refuse what would change the numbers and what this engine does not do."""
    for values, accepted in (
        (source.config, _SETTINGS),
        (text, _TEXT_SETTINGS),
        (source.json(_PREPROCESSOR), _PIXEL_SETTINGS),
    ):
        for key, known in accepted.items():
            stated = values.get(key)
            if stated is not None and stated not in known:
                raise ConfigError(
                    f"The checkpoint asks for {key} {quoted(stated)}; FastVLM as this "
                    f"engine runs it has {' or '.join(map(repr, known))}."
                )
    _check_heads(text)


def _check_heads(text: Json) -> None:
    """mlx-lm's Qwen2 takes head_dim from the width, whatever a config says."""
    heads, head_dim = text.get("num_attention_heads"), text.get("head_dim")
    if text["model_type"] != "qwen2" or heads is None or head_dim is None:
        return
    if heads * head_dim != text.get("hidden_size"):
        raise ConfigError(
            f"{heads} heads of {head_dim} do not make up the hidden_size "
            f"{text.get('hidden_size')}, as they must in Qwen2."
        )


def _layers(tensors: Tensors) -> tuple[int, ...]:
    found = {
        (int(match[1]), int(match[2]))
        for match in tensors.names(rf"{TOWER}stages\.(\d+)\.blocks\.(\d+)\.")
    }
    if not found:
        raise CheckpointError("The vision tower has no stages with blocks.")
    stages = max(stage for stage, _ in found) + 1
    counts = [sum(stage == each for each, _ in found) for stage in range(stages)]
    for stage, count in enumerate(counts):
        for block in range(max(count, 1)):
            if (stage, block) not in found:
                raise CheckpointError(
                    f"The vision tower lacks block {block} of stage {stage}."
                )
    return tuple(counts)


def _token_mixer(tensors: Tensors, stage: int) -> str:
    attends = _has(tensors, rf"stages\.{stage}\.blocks\.0\.token_mixer\.(qkv|proj)\.")
    return "attention" if attends else "repmixer"


def _has(tensors: Tensors, pattern: str) -> bool:
    return bool(tensors.names(TOWER + pattern))


def _check_known(config: VisionConfig) -> None:
    """A whole part lost from the real tower leaves no gap that shapes would show."""
    if config.embed_dims != FASTVITHD.embed_dims:
        return
    if config.layers != FASTVITHD.layers:
        raise CheckpointError(
            f"The vision tower has {config.layers} blocks per stage; "
            f"FastViTHD has {FASTVITHD.layers}."
        )
    if config.pos_embs != FASTVITHD.pos_embs:
        raise CheckpointError(
            "The vision tower lacks a position embedding (RepCPE): stages have "
            f"{config.pos_embs}, FastViTHD {FASTVITHD.pos_embs}."
        )


def _check_stated(config: VisionConfig, values: Json) -> None:
    """Where config.json describes the tower, it must describe this one."""
    vision = values.get("vision_config")
    stated = dict(vision) if isinstance(vision, Mapping) else {}
    stated |= stated.get("model_args") or {}
    if values.get("model_type") != "fast_vlm":
        stated.pop("hidden_size", None)  # mlx-vlm means something else by it
    if "mm_hidden_size" in values:
        stated["hidden_size"] = values["mm_hidden_size"]
    for key in ("layers", "embed_dims", "hidden_size"):
        found = getattr(config, key)
        expected = found if stated.get(key) is None else stated[key]
        expected = tuple(expected) if isinstance(expected, list) else expected
        if expected != found:
            raise CheckpointError(
                f"config.json states {key} {expected} for the vision tower; "
                f"its tensors say {found}."
            )


def _image_token(values: Json, tokens: SpecialTokens) -> int:
    stated = values.get("image_token_index", values.get("image_token_id"))
    return tokens.image if stated is None or stated < 0 else int(stated)


def _stated_ends(source: Source, text: Json) -> set[int]:
    ends: set[int] = set()
    for values in (source.config, text, source.json("generation_config.json")):
        stated = values.get("eos_token_id")
        listed = stated if isinstance(stated, list) else [stated]
        ends |= {end for end in listed if isinstance(end, int)}
    return ends


def _max_length(values: Json, tokens: SpecialTokens, text: TextConfig) -> int:
    stated = [values.get("tokenizer_model_max_length"), tokens.max_length]
    limits = [int(limit) for limit in stated if limit and limit < 1 << 24]
    return min([*limits, text.max_position_embeddings])

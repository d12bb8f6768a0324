"""Our weights in the layout of mlx-vlm, which mlx-swift-lm reads too.

Their network has BatchNorm, layer scales and a LayerNorm with weights where ours has
folded them away, so these are written as what changes nothing: BatchNorm as identity,
scales as ones. What cannot be left to a one, the bias that LayerNorm and Linear make
together, is given back to LayerNorm. Facts: mlx-vlm 0.7.10 `models/fastvlm`,
mlx-swift-lm `MLXVLM/Models/FastVLM.swift`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastvlm_mlx.config import FastVLMConfig, TextConfig, VisionConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, OptionError

from .layout import Weights, convolution, interleaved
from .names import PROJECTOR, TOWER
from .reparameterize import BATCH_NORM_EPS
from .rescale import rescale
from .tokenizer import END_TOKENS, TokenizerFiles
from .write import EXPORT_MARK, write_json

IMAGE_TOKEN = -200
"""LLaVA's sentinel, which the processors of both programs write into a prompt."""

CLIP_DIM = 768
"""Columns of the CLIP head, which is loaded and never used: zeros here."""

HEAD_DIM, MLP_RATIO, SE_RATIO = 32, 4, 16
"""What their network has fixed."""

LARGEST_RESIDUAL = 1e-4
"""How much of the queries' bias may be lost, as a share of the largest bias."""


def as_mlx_vlm(weights: Weights, config: FastVLMConfig) -> Weights:
    """Rename and unfold a model; `weights` is not changed.

    Args:
        weights: of the runtime; projector and language model may be packed.

    Raises:
        CheckpointError: their network cannot express this one.
        OptionError: the tower is packed.
    """
    _check_expressible(config)
    _check_whole(weights)
    vision = config.vision_config
    streams = tuple(-shift for shift in vision.stream_shifts)
    weights = rescale(weights, vision, streams)
    tower = {
        name.removeprefix(TOWER): array
        for name, array in weights.items()
        if name.startswith(TOWER)
    }
    rest = {
        _projector(name): array
        for name, array in weights.items()
        if not name.startswith(TOWER)
    }
    prefix = f"{TOWER}vision_model."
    unfolded = _tower(tower, vision)
    return {**{prefix + name: array for name, array in unfolded.items()}, **rest}


def write_mlx_vlm(config: FastVLMConfig, files: TokenizerFiles, folder: Path) -> None:
    """Write config.json and the processor's files, over ours."""
    processor = {
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "num_additional_image_tokens": 0,
        "patch_size": config.vision_config.stride,
    }
    write_json(folder / "config.json", config_values(config, files))
    preprocessor = preprocessor_values(config.vision_config.image_size)
    write_json(folder / "preprocessor_config.json", preprocessor)
    write_json(folder / "processor_config.json", processor)


def preprocessor_values(size: tuple[int, int]) -> dict[str, Any]:
    """preprocessor_config.json as the published checkpoints have it.

    Args:
        size: height and width that images are brought to, in pixels.
    """
    height, width = size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "size": {"shortest_edge": min(height, width)},
        "crop_size": {"height": height, "width": width},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "resample": 3,
        "rescale_factor": 1 / 255,
    }


def config_values(config: FastVLMConfig, files: TokenizerFiles) -> dict[str, Any]:
    """Their config.json: the language model's sizes lie at the top."""
    text, vision = config.text_config, config.vision_config
    values = {
        "architectures": ["LlavaQwen2ForCausalLM"],
        "model_type": "llava_qwen2",
        EXPORT_MARK: config.source or True,
        **_text_values(text),
        "eos_token_id": _end(config, files),
        "image_aspect_ratio": config.image_mode,
        "image_token_index": IMAGE_TOKEN,
        "mm_hidden_size": vision.hidden_size,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_tower": f"mobileclip_l_{vision.image_size[0]}",
        "tokenizer_model_max_length": config.max_length,
        "tokenizer_padding_side": "right",
        "vision_config": _vision_values(vision),
    }
    if config.quantization:
        stated = config.quantization.to_dict()
        renamed = {_projector(f"{path}."): each for path, each in stated.items()}
        stated = {path.removesuffix("."): each for path, each in renamed.items()}
        values |= {"quantization": stated, "quantization_config": stated}
    return values


def _text_values(text: TextConfig) -> dict[str, Any]:
    return {
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "max_position_embeddings": text.max_position_embeddings,
        "num_attention_heads": text.num_attention_heads,
        "num_hidden_layers": text.num_hidden_layers,
        "num_key_value_heads": text.num_key_value_heads,
        "rms_norm_eps": text.rms_norm_eps,
        "rope_theta": text.rope_theta,
        "tie_word_embeddings": text.tie_word_embeddings,
        "use_sliding_window": False,
        "vocab_size": text.vocab_size,
    }


def _vision_values(vision: VisionConfig) -> dict[str, Any]:
    """mlx-vlm 0.7.10 has these built in, mlx-swift-lm reads them."""
    kernel = vision.pos_emb_kernel
    return {
        "model_type": "llava_qwen2",
        "cls_ratio": vision.hidden_size / vision.embed_dims[-1],
        "down_patch_size": vision.down_kernel,
        "down_stride": 2,
        "downsamples": [True] * len(vision.layers),
        "embed_dims": list(vision.embed_dims),
        "hidden_size": 1024,
        "image_size": vision.image_size[0],
        "intermediate_size": vision.hidden_size,
        "layer_scale_init_value": 1e-5,
        "layers": list(vision.layers),
        "mlp_ratios": [MLP_RATIO] * len(vision.layers),
        "num_classes": 1000,
        "patch_size": vision.stride,
        "pos_embs_shapes": [[kernel] * 2 if has else None for has in vision.pos_embs],
        "projection_dim": CLIP_DIM,
        "repmixer_kernel_size": vision.repmixer_kernel,
        "token_mixers": list(vision.token_mixers),
    }


def _check_expressible(config: FastVLMConfig) -> None:
    vision, kind = config.vision_config, config.text_config.model_type
    facts = {
        f"a {kind} decoder": kind == "qwen2" and not config.text_config.rope_scaling,
        f"attention heads of {vision.head_dim}": vision.head_dim == HEAD_DIM,
        f"an SE bottleneck of {vision.se_dim}": (
            vision.se_dim == vision.hidden_size // SE_RATIO
        ),
        f"hidden layers of {vision.mlp_dims}": vision.mlp_dims
        == tuple(MLP_RATIO * width for width in vision.embed_dims),
    }
    for fact, expressible in facts.items():
        if not expressible:
            raise CheckpointError(
                f"This model has {fact}, which mlx-vlm's FastVLM does not know. Write "
                "the fused format instead."
            )


def _check_whole(weights: Weights) -> None:
    """Their tower has convs where ours has Linears, and its bias must be exact."""
    for name in weights:
        if name.startswith(TOWER) and name.endswith(".scales"):
            raise OptionError(
                f"{name.removesuffix('.scales')} is quantized; mlx-vlm has the vision "
                "tower whole. Leave --tower-bits out, or convert the original."
            )


def _projector(name: str) -> str:
    for ours, theirs in (("linear_1.", "0."), ("linear_2.", "2.")):
        if name.startswith(PROJECTOR + ours):
            return PROJECTOR + theirs + name.removeprefix(PROJECTOR + ours)
    return name


def _tower(tower: Weights, config: VisionConfig) -> Weights:
    """By their names; the list `network` has a place for every part of every stage."""
    weights = {
        **_conv(tower, "stem.conv", "patch_embed.blocks.0.reparam_conv"),
        **_conv(tower, "stem.depthwise", "patch_embed.blocks.1.reparam_conv"),
        **_conv(tower, "stem.pointwise", "patch_embed.blocks.2.reparam_conv"),
    }
    for (ours, theirs), index in _places(config):
        if ours.endswith("downsample"):
            before, width = config.embed_dims[index - 1], config.embed_dims[index]
            weights |= _downsample(tower, ours, theirs, width // before)
        elif ours.endswith("pos_emb"):
            weights |= _conv(tower, ours, f"{theirs}.reparam_conv")
        else:
            unfold = _attention if config.token_mixers[index] == "attention" else _mixer
            for number in range(config.layers[index]):
                weights |= unfold(tower, f"{ours}.{number}", f"{theirs}.{number}")
    return weights | _conv_exp(tower, config)


def _places(config: VisionConfig) -> Iterator[tuple[tuple[str, str], int]]:
    """Our name and theirs for each part, and its stage."""
    position = 0
    for index, has_position in enumerate(config.pos_embs):
        parts = ["downsample"] * (index > 0) + ["pos_emb"] * has_position + ["blocks"]
        for part in parts:
            yield (f"stages.{index}.{part}", f"network.{position}"), index
            position += 1


def _conv(tower: Weights, ours: str, theirs: str) -> Weights:
    return {
        f"{theirs}.weight": convolution(tower[f"{ours}.weight"]),
        f"{theirs}.bias": tower[f"{ours}.bias"],
    }


def _downsample(tower: Weights, ours: str, theirs: str, multiplier: int) -> Weights:
    """Outputs by group again, as they were before `layout.one_after_another`."""
    pointwise = interleaved(tower[f"{ours}.pointwise.weight"], multiplier)
    bias = interleaved(tower[f"{ours}.conv.bias"], multiplier)
    return {
        f"{theirs}.proj.0.lkb_reparam.weight": _grouped(tower, f"{ours}.conv"),
        f"{theirs}.proj.0.lkb_reparam.bias": bias,
        f"{theirs}.proj.1.reparam_conv.weight": convolution(pointwise),
        f"{theirs}.proj.1.reparam_conv.bias": tower[f"{ours}.pointwise.bias"],
    }


def _grouped(tower: Weights, ours: str) -> mx.array:
    """(C·m, k, k, 1): channel c owns outputs c·m … c·m + m - 1."""
    parts = [name for name in tower if name.startswith(f"{ours}.weight.")]
    ordered = [tower[f"{ours}.weight.{number}"] for number in range(len(parts))]
    return mx.stack(ordered, axis=1).flatten(0, 1)


def _mixer(tower: Weights, ours: str, theirs: str) -> Weights:
    return {
        **_conv(tower, f"{ours}.token_mixer", f"{theirs}.token_mixer.reparam_conv"),
        **_conv_ffn(tower, f"{ours}.convffn", f"{theirs}.convffn"),
        f"{theirs}.layer_scale": _ones(tower, ours),
    }


def _attention(tower: Weights, ours: str, theirs: str) -> Weights:
    mixer = f"{theirs}.token_mixer"
    shift, qkv, proj_bias = _norm_again(tower, f"{ours}.token_mixer")
    return {
        f"{theirs}.norm.weight": mx.ones_like(shift),
        f"{theirs}.norm.bias": shift,
        f"{mixer}.qkv.weight": qkv,
        f"{mixer}.proj.weight": tower[f"{ours}.token_mixer.proj.weight"],
        f"{mixer}.proj.bias": proj_bias,
        **_conv_ffn(tower, f"{ours}.convffn", f"{theirs}.convffn"),
        f"{theirs}.layer_scale_1": _ones(tower, ours),
        f"{theirs}.layer_scale_2": _ones(tower, ours),
    }


def _norm_again(tower: Weights, ours: str) -> tuple[mx.array, mx.array, mx.array]:
    """LayerNorm's bias, qkv without bias, and the bias of proj.

    Their qkv has no bias, so LayerNorm's must make it: the shift s with W s = b, which
    is there exactly where b was made of one. A rest in the values passes through the
    attention, whose weights sum to 1, into proj; one in the keys moves all scores of a
    query alike and means nothing; one in the queries would.
    """
    stored = tower[f"{ours}.qkv.weight"]
    weight, bias = _numbers(stored), _numbers(tower[f"{ours}.qkv.bias"])
    width = weight.shape[1]
    weight[:width] *= HEAD_DIM**0.5
    bias[:width] *= HEAD_DIM**0.5
    shift = np.linalg.lstsq(weight, bias, rcond=None)[0]
    rest = bias - weight @ shift
    if np.abs(rest[:width]).max() > LARGEST_RESIDUAL * np.abs(bias).max():
        raise CheckpointError(
            f"{TOWER}{ours}.qkv has a bias that no LayerNorm makes, so mlx-vlm cannot "
            "have it. Write the fused format instead."
        )
    proj = _numbers(tower[f"{ours}.proj.weight"])
    proj_bias = _numbers(tower[f"{ours}.proj.bias"]) + proj @ rest[2 * width :]
    numbers = (shift, weight, proj_bias)
    made = [mx.array(each.astype(np.float32)).astype(stored.dtype) for each in numbers]
    return made[0], made[1], made[2]


def _numbers(array: mx.array) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.array(array.astype(mx.float32)).astype(np.float64)


def _conv_ffn(tower: Weights, ours: str, theirs: str) -> Weights:
    kernel = tower[f"{ours}.conv.weight"]
    ones, zeros = mx.ones(kernel.shape[0]), mx.zeros(kernel.shape[0])
    norm = {
        "weight": ones * (1 + BATCH_NORM_EPS) ** 0.5,  # eps and this cancel
        "bias": zeros,
        "running_mean": zeros,
        "running_var": ones,
    }
    return {
        f"{theirs}.conv.conv.weight": kernel,
        **{
            f"{theirs}.conv.bn.{part}": array.astype(kernel.dtype)
            for part, array in norm.items()
        },
        **_conv(tower, f"{ours}.fc1", f"{theirs}.fc1"),
        **_conv(tower, f"{ours}.fc2", f"{theirs}.fc2"),
    }


def _conv_exp(tower: Weights, config: VisionConfig) -> Weights:
    """The bias of the conv leaves `reduce`, whose input has it here."""
    reduce, bias = tower["conv_exp.se.reduce.weight"], tower["conv_exp.conv.bias"]
    se = _conv(tower, "conv_exp.se.reduce", "conv_exp.se.reduce")
    se["conv_exp.se.reduce.bias"] -= reduce @ bias
    return {
        "conv_exp.reparam_conv.weight": _grouped(tower, "conv_exp.conv"),
        "conv_exp.reparam_conv.bias": bias,
        **se,
        **_conv(tower, "conv_exp.se.expand", "conv_exp.se.expand"),
        "head.proj": mx.zeros((config.hidden_size, CLIP_DIM), bias.dtype),
    }


def _ones(tower: Weights, block: str) -> mx.array:
    """A layer scale that does nothing: (1, 1, C)."""
    kernel = tower[f"{block}.convffn.conv.weight"]
    return mx.ones((1, 1, kernel.shape[0]), kernel.dtype)


def _end(config: FastVLMConfig, files: TokenizerFiles) -> int:
    """The end of a turn; the others are in generation_config.json."""
    named = [files.tokenizer.token_to_id(name) for name in END_TOKENS]
    known = [end for end in named if end in config.eos_token_ids]
    return known[0] if known else config.eos_token_ids[-1]

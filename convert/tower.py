"""The vision tower: every branch, norm and scale folded into the runtime's weights.

One function per block of `fastvlm_mlx/model/vision.py`, in its order. Each takes its
tensors from the checkpoint, in train form (branches and BatchNorm) or in inference
form (`reparam_conv`), whichever is there.
"""

import re

from fastvlm_mlx.config import VisionConfig
from fastvlm_mlx.device.backend import mx

from .layout import Weights, dense, depthwise, grouped, one_after_another, pointwise
from .names import TOWER
from .reparameterize import (
    BatchNorm,
    Conv,
    add_skip,
    fuse_batch_norm,
    identity_kernel,
    rep_mixer,
    scale_outputs,
    sum_branches,
)
from .source import Tensors

_BRANCHES = ("conv_kxk", "conv_scale", "identity")


def fuse_tower(tensors: Tensors, config: VisionConfig) -> Weights:
    """All weights of the tower, by the runtime's names, lazily and in float32."""
    fused = _nested("stem", _stem(tensors, config))
    for index in range(len(config.layers)):
        fused |= _nested(f"stages.{index}", _stage(tensors, config, index))
    fused |= _nested("conv_exp", _conv_exp(tensors, config))
    return _nested("vision_tower", fused)


def _stem(tensors: Tensors, config: VisionConfig) -> Weights:
    width, kernel = config.embed_dims[0], config.stem_kernel
    first = _mobileone(tensors, "stem.0", 3, width, kernel, groups=1, stride=2)
    second = _mobileone(tensors, "stem.1", width, width, kernel, groups=width, stride=2)
    third = _mobileone(tensors, "stem.2", width, width, 1, groups=1)
    return {
        **_nested("conv", dense(first)),
        **_nested("depthwise", depthwise(second)),
        **_nested("pointwise", pointwise(third)),
    }


def _stage(tensors: Tensors, config: VisionConfig, index: int) -> Weights:
    weights: Weights = {}
    name, width = f"stages.{index}", config.embed_dims[index]
    if index:
        before = config.embed_dims[index - 1]
        weights |= _downsample(
            tensors, f"{name}.downsample.proj", before, config, index
        )
    if config.pos_embs[index]:
        conv = _position(tensors, f"{name}.pos_emb", width, config.pos_emb_kernel)
        weights |= _nested("pos_emb", depthwise(conv))
    block = (
        _attention_block if config.token_mixers[index] == "attention" else _rep_block
    )
    for number in range(config.layers[index]):
        fused = block(tensors, f"{name}.blocks.{number}", config, index)
        weights |= _nested(f"blocks.{number}", fused)
    return weights


def _downsample(
    tensors: Tensors, name: str, before: int, config: VisionConfig, index: int
) -> Weights:
    width = config.embed_dims[index]
    large = _large_kernel(tensors, f"{name}.0", before, width, config.down_kernel)
    linear = pointwise(_mobileone(tensors, f"{name}.1", width, width, 1, groups=1))
    multiplier = width // before
    conv = grouped(large, multiplier)
    conv["bias"] = one_after_another(conv["bias"], multiplier)
    linear["weight"] = one_after_another(linear["weight"], multiplier)
    return {
        **_nested("downsample.conv", conv),
        **_nested("downsample.pointwise", linear),
    }


def _position(tensors: Tensors, name: str, width: int, kernel: int) -> Conv:
    """RepCPE: conv(x) + x."""
    if _has(tensors, f"{name}.reparam_conv"):
        return _conv(tensors, f"{name}.reparam_conv", width, 1, kernel)
    return add_skip(_conv(tensors, f"{name}.pos_enc", width, 1, kernel))


def _rep_block(
    tensors: Tensors, name: str, config: VisionConfig, index: int
) -> Weights:
    width = config.embed_dims[index]
    mixer = _rep_mixer(tensors, f"{name}.token_mixer", width, config.repmixer_kernel)
    scale = _take(tensors, f"{name}.layer_scale.gamma", width, 1, 1).flatten()
    return {
        **_nested("token_mixer", depthwise(mixer)),
        **_nested("convffn", _conv_ffn(tensors, f"{name}.mlp", scale, config, index)),
    }


def _rep_mixer(tensors: Tensors, name: str, width: int, kernel: int) -> Conv:
    if not _has(tensors, f"{name}.mixer"):
        return _conv(tensors, f"{name}.reparam_conv", width, 1, kernel)
    mixer = _mobileone(
        tensors, f"{name}.mixer", width, width, kernel, groups=width, scale_branch=True
    )
    skip = _batch_norm(tensors, f"{name}.norm.identity", width)
    return rep_mixer(
        mixer=mixer,
        norm=fuse_batch_norm(identity_kernel(width, 1, kernel), skip),
        layer_scale=_take(tensors, f"{name}.layer_scale.gamma", width, 1, 1).flatten(),
    )


def _attention_block(
    tensors: Tensors, name: str, config: VisionConfig, index: int
) -> Weights:
    width = config.embed_dims[index]
    scale_1 = _take(tensors, f"{name}.layer_scale_1.gamma", width, 1, 1).flatten()
    scale_2 = _take(tensors, f"{name}.layer_scale_2.gamma", width, 1, 1).flatten()
    return {
        **_nested("token_mixer.qkv", _qkv(tensors, name, width, config.head_dim)),
        **_nested("token_mixer.proj", _proj(tensors, name, width, scale_1)),
        **_nested("convffn", _conv_ffn(tensors, f"{name}.mlp", scale_2, config, index)),
    }


def _qkv(tensors: Tensors, name: str, width: int, head_dim: int) -> Weights:
    """LayerNorm's weight and bias go into the Linear, the attention scale into q."""
    gain = _take(tensors, f"{name}.norm.weight", width)
    shift = _take(tensors, f"{name}.norm.bias", width)
    weight = _take(tensors, f"{name}.token_mixer.qkv.weight", 3 * width, width)
    is_q = mx.arange(3 * width) < width
    scale = mx.where(is_q, head_dim**-0.5, 1.0)
    return {
        "weight": weight * gain * scale[:, None],
        "bias": (weight @ shift) * scale,
    }


def _proj(tensors: Tensors, name: str, width: int, layer_scale: mx.array) -> Weights:
    weight = _take(tensors, f"{name}.token_mixer.proj.weight", width, width)
    bias = _take(tensors, f"{name}.token_mixer.proj.bias", width)
    return {"weight": weight * layer_scale[:, None], "bias": bias * layer_scale}


def _conv_ffn(
    tensors: Tensors, name: str, scale: mx.array, config: VisionConfig, index: int
) -> Weights:
    """BatchNorm goes into the conv before it, the layer scale into fc2.

    What BatchNorm adds passes through fc1 unchanged by padding, so it goes there.
    """
    width, hidden = config.embed_dims[index], config.mlp_dims[index]
    conv = _conv_norm(tensors, f"{name}.conv", width, 1, config.mlp_kernel)
    fc1 = pointwise(_conv(tensors, f"{name}.fc1", hidden, width, 1))
    fc2 = scale_outputs(_conv(tensors, f"{name}.fc2", width, hidden, 1), scale)
    return {
        "conv.weight": depthwise(conv)["weight"],
        "fc1.weight": fc1["weight"],
        "fc1.bias": fc1["bias"] + fc1["weight"] @ conv.bias,
        **_nested("fc2", pointwise(fc2)),
    }


def _conv_exp(tensors: Tensors, config: VisionConfig) -> Weights:
    width, out, hidden = config.embed_dims[-1], config.hidden_size, config.se_dim
    conv = _mobileone(
        tensors,
        "final_conv",
        width,
        out,
        config.final_kernel,
        groups=width,
        scale_branch=True,
    )
    reduce = pointwise(_conv(tensors, "final_conv.se.fc1", hidden, out, 1))
    expand = _conv(tensors, "final_conv.se.fc2", out, hidden, 1)
    return {
        **_nested("conv", grouped(conv, out // width)),
        "se.reduce.weight": reduce["weight"],
        "se.reduce.bias": reduce["bias"] + reduce["weight"] @ conv.bias,
        **_nested("se.expand", pointwise(expand)),
    }


def _mobileone(
    tensors: Tensors,
    name: str,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    groups: int,
    stride: int = 1,
    scale_branch: bool = False,
) -> Conv:
    """k x k branches, a 1x1 branch and a skip, each with its BatchNorm.

    What a block must have is not read from what is there: a sum that lost a
    branch would go unnoticed.
    """
    per_group = inputs // groups
    if not any(_has(tensors, f"{name}.{part}") for part in _BRANCHES):
        return _conv(tensors, f"{name}.reparam_conv", outputs, per_group, kernel)
    branches = [
        _conv_norm(tensors, f"{name}.conv_kxk.{number}", outputs, per_group, kernel)
        for number in range(max(1, _count(tensors, f"{name}.conv_kxk")))
    ]
    if scale_branch or _has(tensors, f"{name}.conv_scale"):
        branches.append(
            _conv_norm(tensors, f"{name}.conv_scale", outputs, per_group, 1)
        )
    # every block whose shapes allow a skip has one
    if inputs == outputs and stride == 1:
        skip = identity_kernel(outputs, per_group, kernel)
        norm = _batch_norm(tensors, f"{name}.identity", outputs)
        branches.append(fuse_batch_norm(skip, norm))
    return sum_branches(*branches)


def _large_kernel(
    tensors: Tensors, name: str, inputs: int, outputs: int, kernel: int
) -> Conv:
    """A large and a small kernel side by side, one group per input channel."""
    if not _has(tensors, f"{name}.large_conv"):
        return _conv(tensors, f"{name}.reparam_conv", outputs, 1, kernel)
    large = _conv_norm(tensors, f"{name}.large_conv", outputs, 1, kernel)
    small = _conv_norm(tensors, f"{name}.small_conv", outputs, 1, 3)
    return sum_branches(large, small)


def _conv_norm(
    tensors: Tensors, name: str, outputs: int, per_group: int, kernel: int
) -> Conv:
    weight = _take(tensors, f"{name}.conv.weight", outputs, per_group, kernel, kernel)
    return fuse_batch_norm(weight, _batch_norm(tensors, f"{name}.bn", outputs))


def _batch_norm(tensors: Tensors, name: str, channels: int) -> BatchNorm:
    return BatchNorm(
        *(_take(tensors, f"{name}.{part}", channels) for part in BatchNorm._fields)
    )


def _conv(
    tensors: Tensors, name: str, outputs: int, per_group: int, kernel: int
) -> Conv:
    return Conv(
        _take(tensors, f"{name}.weight", outputs, per_group, kernel, kernel),
        _take(tensors, f"{name}.bias", outputs),
    )


def _take(tensors: Tensors, name: str, *shape: int) -> mx.array:
    return tensors.take(TOWER + name, *shape).astype(mx.float32)


def _has(tensors: Tensors, name: str) -> bool:
    return bool(tensors.names(re.escape(f"{TOWER}{name}.")))


def _count(tensors: Tensors, name: str) -> int:
    """How many numbered branches there are."""
    pattern = re.escape(f"{TOWER}{name}.") + r"(\d+)\."
    return len({found[1] for found in tensors.names(pattern)})


def _nested(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}.{name}": array for name, array in weights.items()}

"""The encoders that FastViTHD is compared with, against timm's: counts and numbers."""

import dataclasses
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

pytest.importorskip("torch")

from benchmarks.nano import torchvision_stub  # noqa: E402, F401

pytest.importorskip("timm")

import timm  # noqa: E402
import torch  # noqa: E402

from benchmarks.paper.encoders.convnext import (  # noqa: E402
    CONVNEXT_L,
    CONVNEXT_XXL,
    ConvNeXt,
    ConvNeXtConfig,
)
from benchmarks.paper.encoders.dinov2 import DINOV2_L_518  # noqa: E402
from benchmarks.paper.encoders.eva import (  # noqa: E402
    EVA02,
    EVA02_L_336,
    EVA_G_224,
)
from benchmarks.paper.encoders.fastvit import (  # noqa: E402
    FASTVITHD_CLIP_DIM,
    FASTVITHD_HEAD,
    MCI0,
    MCI1,
    MCI2,
    FastViT,
    mobile_clip,
    published_parameters,
)
from benchmarks.paper.encoders.internvit import INTERNVIT_300M_448  # noqa: E402
from benchmarks.paper.encoders.random_weights import count_parameters  # noqa: E402
from benchmarks.paper.encoders.siglip import SO400M_384  # noqa: E402
from benchmarks.paper.encoders.vit import (  # noqa: E402
    VIT_H_378,
    VIT_L_336,
    VisionTransformer,
    ViTConfig,
)
from convert.layout import one_after_another  # noqa: E402
from convert.names import TOWER  # noqa: E402
from convert.source import Tensors  # noqa: E402
from convert.tower import fuse_tower  # noqa: E402
from fastvlm_mlx.config import FASTVITHD, VisionConfig  # noqa: E402
from fastvlm_mlx.device.backend import mx  # noqa: E402
from fastvlm_mlx.model.vision import FastViTHD  # noqa: E402
from tests.parity.runtime import (  # noqa: E402
    TOWER_TOLERANCE,
    channels_last,
    relative_error,
)

pytestmark = pytest.mark.parity

State = dict[str, torch.Tensor]


def published(name: str, **arguments: Any) -> int:
    """Parameters of timm's network, which is not filled."""
    with torch.device("meta"):
        model = timm.create_model(name, **arguments)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("config", "name", "million"),
    [
        (VIT_L_336, "vit_large_patch14_clip_336", 304),
        (VIT_H_378, "vit_huge_patch14_clip_378", 633),
        (SO400M_384, "vit_so400m_patch14_siglip_384", 428),
        (DINOV2_L_518, "vit_large_patch14_dinov2", 304),
        (INTERNVIT_300M_448, "vit_intern300m_patch14_448", 304),
    ],
)
def test_parameters_of_vits(config: ViTConfig, name: str, million: int) -> None:
    headless = published(name, num_classes=0)
    found = count_parameters(VisionTransformer(config))
    assert found == headless + config.width * config.clip_dim
    assert round(found / 1e6) == million


@pytest.mark.parametrize(
    ("config", "kind", "name", "million"),
    [
        (EVA_G_224, VisionTransformer, "eva_giant_patch14_clip_224", 1013),
        (EVA02_L_336, EVA02, "eva02_large_patch14_clip_336", 304),
    ],
)
def test_parameters_of_eva(
    config: ViTConfig, kind: type[VisionTransformer], name: str, million: int
) -> None:
    """Exact but for the bias of keys, which EVA does not have and ours keeps zero."""
    found = count_parameters(kind(config))
    biases = config.depth * config.width
    heads = config.width * config.clip_dim
    assert found == published(name, num_classes=0) + heads + biases
    assert round(found / 1e6) == million


@pytest.mark.parametrize(
    ("config", "name", "million"),
    [(CONVNEXT_L, "convnext_large_mlp", 200), (CONVNEXT_XXL, "convnext_xxlarge", 847)],
)
def test_parameters_of_convnexts(
    config: ConvNeXtConfig, name: str, million: int
) -> None:
    found = count_parameters(ConvNeXt(config))
    assert found == published(name, num_classes=config.clip_dim)
    assert round(found / 1e6) == million


@pytest.mark.parametrize(
    ("config", "name"),
    [(MCI0, "fastvit_mci0"), (MCI1, "fastvit_mci1"), (MCI2, "fastvit_mci2")],
)
def test_parameters_of_fastvits(config: VisionConfig, name: str) -> None:
    expected = published(name, num_classes=0, inference_mode=True)
    assert published_parameters(FastViT(config), config) == expected


def test_parameters_of_fastvithd() -> None:
    found = published_parameters(FastViTHD(FASTVITHD), FASTVITHD)
    arguments = {"inference_mode": True}
    assert found == published("fastvit_mci3", num_classes=0, **arguments)
    with_head = published("fastvit_mci3", num_classes=FASTVITHD_CLIP_DIM, **arguments)
    assert found + FASTVITHD_HEAD == with_head - FASTVITHD_CLIP_DIM  # timm's bias
    assert (found, found + FASTVITHD_HEAD) == (122_714_208, 125_073_504)


def randomized(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every tensor drawn anew, none of them zero or one."""
    generator = torch.Generator().manual_seed(seed)
    model.eval().requires_grad_(False)
    for tensor in model.state_dict().values():
        if not tensor.is_floating_point():
            continue
        if tensor.ndim > 1:
            fan_in = max(1, tensor[0].numel())
            tensor.normal_(0.0, fan_in**-0.5, generator=generator)
        else:
            tensor.uniform_(0.3, 1.0, generator=generator)
    return model


def pictures(side: int, seed: int) -> torch.Tensor:
    """Two noisy pictures: (2, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, side, side, generator=generator)


def load(module: nn.Module, weights: dict[str, mx.array]) -> None:
    """All of a module's weights and none besides."""
    expected = dict(tree_flatten(module.parameters()))
    assert weights.keys() == expected.keys()
    module.load_weights(list(weights.items()))


def converted(tensor: torch.Tensor) -> mx.array:
    """Convs channels last, everything else as it is."""
    array = mx.array(tensor.numpy())
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


VITS = {
    "CLIP": dict(norms_embeddings=True, activation="quick_gelu", eps=1e-5),
    "SigLIP": dict(class_token=False, attention_pool=True, activation="tanh_gelu"),
    "DINOv2": dict(layer_scale=True),
    "InternViT": dict(layer_scale=True, final_norm=False),
}
THEIR_VITS: dict[str, dict[str, Any]] = {
    "CLIP": dict(model_name="vit_large_patch14_clip_336", act_layer="quick_gelu"),
    "SigLIP": dict(model_name="vit_so400m_patch14_siglip_384", act_layer="gelu_tanh"),
    "DINOv2": dict(model_name="vit_large_patch14_dinov2"),
    "InternViT": dict(
        model_name="vit_intern300m_patch14_448",
        dynamic_img_size=False,  # which asks for multiples of 14
    ),
}


def narrow_vit(kind: str) -> tuple[VisionTransformer, Any]:
    """Ours and timm's with the same weights: 36 channels, three layers, 45 pixels."""
    config = ViTConfig(
        side=45,
        width=36,
        depth=3,
        heads=3,
        hidden=100,
        **VITS[kind],  # type: ignore[arg-type]
    )
    theirs = timm.create_model(
        **THEIR_VITS[kind],
        img_size=config.side,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=config.hidden / config.width,
        num_classes=0,
    )
    randomized(theirs, seed=41)
    ours = VisionTransformer(config)
    load(ours, {name: converted(each) for name, each in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("kind", VITS)
@torch.no_grad()
def test_narrow_vit(kind: str) -> None:
    ours, theirs = narrow_vit(kind)
    x = pictures(45, seed=42)
    expected = theirs.forward_features(x)[:, theirs.num_prefix_tokens :].numpy()
    found = ours(channels_last(x.numpy()))
    assert expected.shape == (2, 9, 36)
    assert relative_error(found, expected) <= TOWER_TOLERANCE


EVAS: dict[str, tuple[type[VisionTransformer], str, str]] = {
    "EVA-CLIP": (VisionTransformer, "gelu", "eva_giant_patch14_clip_224"),
    "EVA-02": (EVA02, "silu", "eva02_large_patch14_clip_336"),
}


def joined_qkv(state: State) -> State:
    """EVA's tensors with q, k and v as one Linear whose keys have a bias of zero."""
    state = dict(state)
    for name in [name for name in state if name.endswith("attn.proj.weight")]:
        attention = name.removesuffix("proj.weight")
        if attention + "q_proj.weight" in state:
            kinds = [attention + f"{kind}_proj." for kind in "qkv"]
            weights = [state.pop(kind + "weight") for kind in kinds]
            state[attention + "qkv.weight"] = torch.cat(weights)
            q, v = (state.pop(kinds[index] + "bias") for index in (0, 2))
        else:
            q, v = (state.pop(attention + f"{kind}_bias") for kind in "qv")
        state[attention + "qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return state


@pytest.mark.parametrize("kind", EVAS)
@torch.no_grad()
def test_narrow_eva(kind: str) -> None:
    """Three patches a side, heads of 12 channels."""
    network, activation, name = EVAS[kind]
    config = ViTConfig(
        side=45, width=36, depth=3, heads=3, hidden=100, activation=activation
    )
    theirs = timm.create_model(
        name, img_size=45, embed_dim=36, depth=3, num_heads=3, mlp_ratio=100 / 36
    )
    theirs.reset_classifier(0)
    randomized(theirs, seed=44)
    ours = network(config)
    state = joined_qkv(theirs.state_dict())
    load(ours, {name: converted(each) for name, each in state.items()})
    x = pictures(45, seed=45)
    expected = theirs.forward_features(x)[:, 1:].numpy()
    found = ours(channels_last(x.numpy()))
    assert expected.shape == (2, 9, 36)
    assert relative_error(found, expected) <= TOWER_TOLERANCE


@torch.no_grad()
def test_attention_pool_of_siglip() -> None:
    ours, theirs = narrow_vit("SigLIP")
    x = pictures(45, seed=43)
    expected = theirs(x).numpy()
    found = ours.attn_pool(ours(channels_last(x.numpy())))
    assert relative_error(found, expected) <= TOWER_TOLERANCE


CONVNEXTS = {
    "L": (ConvNeXtConfig((1, 2, 3, 1), (8, 16, 24, 32), 20, 12), "convnext_large_mlp"),
    "XXL": (
        ConvNeXtConfig((1, 1, 2, 1), (12, 16, 20, 24), 0, 10, 1e-5),
        "convnext_xxlarge",
    ),
}


def convnext_name(name: str) -> str:
    """Our name of timm's tensor."""
    for theirs, ours in (
        ("stem.0", "stem.conv"),
        ("stem.1", "stem.norm"),
        ("downsample.0", "downsample.norm"),
        ("downsample.1", "downsample.conv"),
        ("head.pre_logits.fc", "head.hidden"),
    ):
        name = name.replace(theirs, ours)
    return name


@pytest.mark.parametrize("kind", CONVNEXTS)
@torch.no_grad()
def test_narrow_convnext(kind: str) -> None:
    config, name = CONVNEXTS[kind]
    theirs = timm.create_model(
        name,
        depths=config.depths,
        dims=config.dims,
        num_classes=config.clip_dim,
        **({"head_hidden_size": config.head_hidden} if config.head_hidden else {}),
    )
    randomized(theirs, seed=51)
    ours = ConvNeXt(config)
    state = theirs.state_dict()
    load(ours, {convnext_name(name): converted(each) for name, each in state.items()})
    x = pictures(96, seed=52)
    expected = theirs.forward_features(x)
    found = ours(channels_last(x.numpy()))
    tokens = expected.flatten(2).transpose(1, 2).numpy()
    assert tokens.shape == (2, 9, config.dims[-1])
    assert relative_error(found, tokens) <= TOWER_TOLERANCE
    head = theirs.forward_head(expected).numpy()
    assert relative_error(ours.head(found.mean(axis=1)), head) <= TOWER_TOLERANCE


NARROW_FASTVIT = dataclasses.replace(mobile_clip((1, 2, 2, 2), 16), image_size=(64, 64))


def as_layer_norm(state: State) -> State:
    """Attention's BatchNorm as the weight and bias that it amounts to."""
    state = dict(state)
    for name in [name for name in state if name.endswith(".norm.running_var")]:
        norm = name.removesuffix("running_var")
        factor = state[norm + "weight"] / (state.pop(name) + 1e-5).sqrt()
        state[norm + "weight"] = factor
        moved = state.pop(norm + "running_mean") * factor
        state[norm + "bias"] = state[norm + "bias"] - moved
        del state[norm + "num_batches_tracked"]
    return state


def fused_fastvit(state: State, config: VisionConfig) -> dict[str, mx.array]:
    """timm's tensors as ours: the converter does all but the gates."""
    state = as_layer_norm(state)
    arrays = {TOWER + name: mx.array(each.numpy()) for name, each in state.items()}
    weights = fuse_tower(Tensors(arrays, origin=str), config)
    fused = {name.removeprefix("vision_tower."): w for name, w in weights.items()}
    for stage in (2, 3):
        fused |= fused_gate(state, f"stages.{stage}.downsample", fused)
    return fused


def fused_gate(
    state: State, name: str, fused: dict[str, mx.array]
) -> dict[str, mx.array]:
    """A gate whose channels are in our order, and that reads a conv without bias."""
    their = {
        part: mx.array(state[f"{name}.proj.0.se.{part}"].flatten(1).squeeze().numpy())
        if part.endswith("weight")
        else mx.array(state[f"{name}.proj.0.se.{part}"].numpy())
        for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    }
    reduce = one_after_another(their["fc1.weight"], 2)
    return {
        f"{name}.se.reduce.weight": reduce,
        f"{name}.se.reduce.bias": (
            their["fc1.bias"] + reduce @ fused[f"{name}.conv.bias"]
        ),
        f"{name}.se.expand.weight": one_after_another(their["fc2.weight"].T, 2).T,
        f"{name}.se.expand.bias": one_after_another(their["fc2.bias"], 2),
    }


@torch.no_grad()
def test_narrow_fastvit() -> None:
    config = NARROW_FASTVIT
    theirs = timm.create_model(
        "fastvit_mci2",
        layers=config.layers,
        embed_dims=config.embed_dims,
        num_classes=0,
        inference_mode=True,
    )
    randomized(theirs, seed=61)
    ours = FastViT(config)
    load(ours, fused_fastvit(theirs.state_dict(), config))
    x = pictures(96, seed=62)
    expected = theirs.forward_features(x).flatten(2).transpose(1, 2).numpy()
    found = ours(channels_last(x.numpy()))
    assert expected.shape == (2, 9, config.hidden_size)
    assert np.abs(expected).max() > 0.1  # something comes through
    assert relative_error(found, expected) <= TOWER_TOLERANCE

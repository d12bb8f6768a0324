"""The encoders by name: how each is built, what it costs in parameters and tokens."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import mlx.nn as nn

from benchmarks.paper.encoders.convnext import (
    CONVNEXT_L,
    CONVNEXT_XXL,
    ConvNeXt,
    ConvNeXtConfig,
)
from benchmarks.paper.encoders.dinov2 import DINOV2_L_518
from benchmarks.paper.encoders.eva import EVA02, EVA02_L_336, EVA_G_224
from benchmarks.paper.encoders.fastvit import (
    FASTVITHD_CLIP_DIM,
    MCI0,
    MCI1,
    MCI2,
    MOBILECLIP_DIM,
    FastViT,
    published_parameters,
)
from benchmarks.paper.encoders.internvit import INTERNVIT_300M_448
from benchmarks.paper.encoders.random_weights import count_parameters
from benchmarks.paper.encoders.siglip import SO400M_384
from benchmarks.paper.encoders.vit import (
    VIT_H_378,
    VIT_L_336,
    VisionTransformer,
    ViTConfig,
)
from fastvlm_mlx.config import FASTVITHD, VisionConfig
from fastvlm_mlx.device.backend import current
from fastvlm_mlx.model.vision import FastViTHD


@dataclass(frozen=True)
class Encoder:
    """One encoder; `parameters` as papers count them, with its CLIP head."""

    build: Callable[[int], nn.Module]  # for a side in pixels
    stride: int  # pixels per token along one side
    width: int  # channels of a token
    parameters: int

    def tokens(self, side: int) -> int:
        """Tokens of a square picture."""
        return (side // self.stride) ** 2


def _vit(
    config: ViTConfig, kind: type[VisionTransformer] = VisionTransformer
) -> Encoder:
    def build(side: int) -> nn.Module:
        sized = dataclasses.replace(config, side=side)
        if current() == "cpu":  # rivals get the GELU that is fast here, too
            sized = dataclasses.replace(sized, activation="gelu")
        return kind(sized)

    parameters = count_parameters(kind(config))
    return Encoder(build, config.patch, config.width, parameters)


def _convnext(config: ConvNeXtConfig) -> Encoder:
    parameters = count_parameters(ConvNeXt(config))
    return Encoder(
        lambda _: ConvNeXt(config), config.stride, config.dims[-1], parameters
    )


def _fastvit(config: VisionConfig, kind: type[FastViTHD], clip_dim: int) -> Encoder:
    head = config.hidden_size * clip_dim
    parameters = published_parameters(kind(config), config) + head
    return Encoder(
        lambda _: kind(config), config.stride, config.hidden_size, parameters
    )


ENCODERS: dict[str, Encoder] = {
    "FastViTHD": _fastvit(FASTVITHD, FastViTHD, FASTVITHD_CLIP_DIM),
    "FastViT MCi0": _fastvit(MCI0, FastViT, MOBILECLIP_DIM),
    "FastViT MCi1": _fastvit(MCI1, FastViT, MOBILECLIP_DIM),
    "FastViT MCi2": _fastvit(MCI2, FastViT, MOBILECLIP_DIM),
    "ViT-L/14": _vit(VIT_L_336),
    "ViT-H/14": _vit(VIT_H_378),
    "ViT-g/14": _vit(EVA_G_224),
    "EVA-02-L/14": _vit(EVA02_L_336, EVA02),
    "InternViT-300M": _vit(INTERNVIT_300M_448),
    "SigLIP-SO400M": _vit(SO400M_384),
    "DINOv2-L": _vit(DINOV2_L_518),
    "ConvNeXt-L": _convnext(CONVNEXT_L),
    "ConvNeXt-XXL": _convnext(CONVNEXT_XXL),
}

"""FastViT as MobileCLIP has it (MCi0 to MCi2), and FastViTHD in the same terms.

FastViT (arXiv 2303.14189, arXiv 2311.17049) is the runtime's FastViTHD by its config,
but for two things: the late downsamplings squeeze and excite, and attention is normed
by BatchNorm, which disappears into `qkv` when it is fused.
"""

from benchmarks.paper.encoders.random_weights import count_parameters
from fastvlm_mlx.config import FASTVITHD, VisionConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.ops import bias_gelu, gate_gelu, matmul
from fastvlm_mlx.model.vision import (
    AttentionBlock,
    Downsample,
    FastViTHD,
    SqueezeExcite,
)

GATED_STAGES = (2, 3)
"""Stages whose downsampling squeezes and excites, in MCi0 to MCi2."""

GATE_RATIO = 4
"""Channels of such a downsampling to one channel of its bottleneck."""

FASTVITHD_CLIP_DIM = 768
"""Columns of FastViTHD's CLIP head, a matrix without bias that no VLM uses."""


class GatedDownsample(Downsample):
    """With squeeze-and-excite between the large conv and its GELU.

    As everywhere in the runtime, the bias of the conv is in `se.reduce` already.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(channels, out_channels, kernel)
        self.se = SqueezeExcite(out_channels, out_channels // GATE_RATIO)

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.concatenate(self.conv(x), axis=-1)  # (B, H/2, W/2, C_out)
        gate = self.se(x.mean(axis=(1, 2)))[:, None, None]
        x = gate_gelu(x, self.conv.bias, gate)
        return bias_gelu(matmul(x, self.pointwise), self.pointwise.bias)


class BatchNormedAttentionBlock(AttentionBlock):
    """Its BatchNorm is in `qkv`, so nothing is left to do before it."""

    def norm(self, tokens: mx.array) -> mx.array:
        """(T, C) as it is."""
        return tokens


class FastViT(FastViTHD):
    """The whole encoder: (B, H, W, 3) -> (B, H/32 · W/32, hidden_size)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__(config)
        for index, stage in enumerate(self.stages):
            width, hidden = config.embed_dims[index], config.mlp_dims[index]
            if index in GATED_STAGES:
                before = config.embed_dims[index - 1]
                stage.downsample = GatedDownsample(before, width, config.down_kernel)
            if config.token_mixers[index] == "attention":
                stage.blocks = [
                    BatchNormedAttentionBlock(width, hidden, index, config)
                    for _ in stage.blocks
                ]


def published_parameters(tower: FastViTHD, config: VisionConfig) -> int:
    """Parameters before folding, as papers count them, without a CLIP head.

    Each ConvFFN has a BatchNorm and each residual a layer scale; attention has a norm
    and, unlike the fused form, no bias of q, k and v.
    """
    folded = 0
    for mixer, blocks, width in zip(
        config.token_mixers, config.layers, config.embed_dims, strict=True
    ):
        per_channel = 2 + 2 + 2 - 3 if mixer == "attention" else 2 + 1
        folded += per_channel * blocks * width
    return count_parameters(tower) + folded


def mobile_clip(layers: tuple[int, ...], width: int) -> VisionConfig:
    """A FastViT of MobileCLIP by its depths and the width of its first stage."""
    widths = tuple(width << index for index in range(4))
    return VisionConfig(
        image_size=(256, 256),
        layers=layers,
        embed_dims=widths,
        mlp_dims=tuple(3 * each for each in widths),
        token_mixers=("repmixer",) * 3 + ("attention",),
        pos_embs=(False,) * 3 + (True,),
        hidden_size=2 * widths[-1],
        se_dim=widths[-1] // 8,
    )


MCI0 = mobile_clip((2, 6, 10, 2), 64)
MCI1 = mobile_clip((4, 12, 20, 4), 64)
MCI2 = mobile_clip((4, 12, 24, 4), 80)

MOBILECLIP_DIM = 512
"""Columns of the CLIP head of MCi0 to MCi2."""

FASTVITHD_HEAD = FASTVITHD.hidden_size * FASTVITHD_CLIP_DIM
"""Parameters of that head."""

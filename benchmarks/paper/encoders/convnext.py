"""ConvNeXt (arXiv 2201.03545), the convolutional rival: ConvLLaVA and Cambrian-1.

Depthwise convs and the exact GELU come in the same CPU forms as FastViTHD's.

Shapes: B batch, H and W pixels, C channels (last), N tokens.
"""

from dataclasses import dataclass

import mlx.nn as nn

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model import ops


@dataclass(frozen=True)
class ConvNeXtConfig:
    """One entry per stage, and the head of CLIP, which a VLM has no use for."""

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    head_hidden: int = 0  # 0: no hidden layer
    clip_dim: int = 0
    eps: float = 1e-6

    @property
    def stride(self) -> int:
        """Pixels per token along one side: 32 for four stages."""
        return 4 << (len(self.depths) - 1)


class DepthwiseConv(nn.Module):
    """A 7x7 kernel per channel: (B, H, W, C) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = mx.zeros((channels, 7, 7, 1))
        self.bias = mx.zeros((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        return ops.add_bias(ops.depthwise_conv(x, self.weight), self.bias)


class MLP(nn.Module):
    """Two Linears over channels: (T, C) -> (T, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def __call__(self, tokens: mx.array) -> mx.array:
        hidden = ops.bias_gelu(ops.matmul(tokens, self.fc1), self.fc1.bias)
        mixed: mx.array = self.fc2(hidden)
        return mixed


class Block(nn.Module):
    """Mix pixels, then channels: (B, H, W, C) -> the same."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.conv_dw = DepthwiseConv(channels)
        self.norm = nn.LayerNorm(channels, eps)
        self.mlp = MLP(channels)
        self.gamma = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        tokens = self.norm(self.conv_dw(x)).reshape(-1, x.shape[-1])  # (B·N, C)
        return x + (self.mlp(tokens) * self.gamma).reshape(x.shape)


class Downsample(nn.Module):
    """LayerNorm and a 2x2 conv: (B, H, W, C) -> (B, H/2, W/2, C_out)."""

    def __init__(self, channels: int, out_channels: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps)
        self.conv = nn.Conv2d(channels, out_channels, 2, stride=2)

    def __call__(self, x: mx.array) -> mx.array:
        halved: mx.array = self.conv(self.norm(x))
        return halved


class Stage(nn.Module):
    """Halve the resolution (not in stage 0), then the blocks."""

    def __init__(self, index: int, config: ConvNeXtConfig) -> None:
        super().__init__()
        channels = config.dims[index]
        self.downsample = (
            Downsample(config.dims[index - 1], channels, config.eps)
            if index
            else nn.Identity()
        )
        self.blocks = [Block(channels, config.eps) for _ in range(config.depths[index])]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class Stem(nn.Module):
    """Patches of 4x4 pixels, normed: (B, H, W, 3) -> (B, H/4, W/4, C)."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 4, stride=4)
        self.norm = nn.LayerNorm(channels, eps)

    def __call__(self, x: mx.array) -> mx.array:
        patches: mx.array = self.norm(self.conv(x))
        return patches


class Head(nn.Module):
    """CLIP's head: mean over the picture (B, C) -> (B, clip_dim)."""

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__()
        channels, hidden = config.dims[-1], config.head_hidden
        self.norm = nn.LayerNorm(channels, config.eps)
        self.hidden = nn.Linear(channels, hidden) if hidden else None
        self.fc = nn.Linear(hidden or channels, config.clip_dim)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.norm(x)
        return self.fc(ops.gelu(self.hidden(x)) if self.hidden else x)


class ConvNeXt(nn.Module):
    """The whole encoder."""

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__()
        self.stem = Stem(config.dims[0], config.eps)
        self.stages = [Stage(index, config) for index in range(len(config.depths))]
        if config.clip_dim:
            self.head = Head(config)

    def __call__(self, pixel_values: mx.array) -> mx.array:
        """(B, H, W, 3), sides multiples of 32 -> (B, H/32 · W/32, C)."""
        x = self.stem(pixel_values)
        for stage in self.stages:
            x = stage(x)
        return x.flatten(1, 2)


CONVNEXT_L = ConvNeXtConfig(
    depths=(3, 3, 27, 3),
    dims=(192, 384, 768, 1536),
    head_hidden=1536,
    clip_dim=768,
)
"""OpenCLIP's ConvNeXt-L with its MLP head (`convnext_large_mlp` in timm)."""

CONVNEXT_XXL = ConvNeXtConfig(
    depths=(3, 4, 30, 3),
    dims=(384, 768, 1536, 3072),
    clip_dim=1024,
    eps=1e-5,
)
"""OpenCLIP's ConvNeXt-XXL."""

"""EVA-CLIP (arXiv 2303.15389): ViT-g/14 at 224 pixels and EVA-02-L/14 at 336.

ViT-g is a plain ViT. EVA-02 (arXiv 2303.11331) rotates queries and keys by the row and
the column of their patch, gates its MLP and norms inside attention and MLP; timm's form
is followed. Neither has a bias of keys; here it is zero, as q, k and v are one Linear.

Shapes: B batch, L positions (a class token and N patches), D width, d width of a head.
"""

import mlx.nn as nn

from benchmarks.paper.encoders.vit import (
    ACTIVATIONS,
    Attention,
    Block,
    VisionTransformer,
    ViTConfig,
    attend,
    split_heads,
)
from fastvlm_mlx.device.backend import mx

TRAINED_GRID = 16
"""Patches along a side at 224 pixels; a finer grid spreads over the same angles."""

TEMPERATURE = 10000.0


class RotaryAttention(Attention):
    """Attention among rotated patches, normed before the projection out."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config.width, config.heads)
        self.norm = nn.LayerNorm(config.width, config.eps)
        self._cos, self._sin = angles(config.grid, config.width // config.heads)

    def __call__(self, x: mx.array) -> mx.array:
        q, k, v = split_heads(self.qkv(x), 3 * self._heads).split(3, axis=1)
        return self.proj(self.norm(attend(self._rotate(q), self._rotate(k), v)))

    def _rotate(self, x: mx.array) -> mx.array:
        """(B, heads, L, d) -> the same; the class token stays as it is."""
        patches = x.shape[2] - 1
        cos, sin = (table[:patches].astype(x.dtype) for table in (self._cos, self._sin))
        return mx.concatenate([x[:, :, :1], rotate(x[:, :, 1:], cos, sin)], axis=2)


class GatedMLP(nn.Module):
    """SwiGLU, normed before the Linear down: (B, L, D) -> (B, L, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(config.width, config.hidden)
        self.fc1_x = nn.Linear(config.width, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.eps)
        self.fc2 = nn.Linear(config.hidden, config.width)
        self._activation = ACTIVATIONS[config.activation]

    def __call__(self, x: mx.array) -> mx.array:
        gated = self._activation(self.fc1_g(x)) * self.fc1_x(x)
        lowered: mx.array = self.fc2(self.norm(gated))
        return lowered


class EVA02Block(Block):
    """As in every ViT, with EVA-02's attention and MLP."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.attn = RotaryAttention(config)
        self.mlp = GatedMLP(config)


class EVA02(VisionTransformer):
    """The whole encoder: (B, side, side, 3) -> (B, N, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.blocks = [EVA02Block(config) for _ in range(config.depth)]


def angles(grid: int, width: int) -> tuple[mx.array, mx.array]:
    """Cosines and sines by patch and pair of channels, each (grid², d / 2).

    The first half of the pairs turns with the row, the other with the column.
    """
    speeds = TEMPERATURE ** -(mx.arange(width // 4) / (width // 4))
    places = mx.arange(grid) / grid * TRAINED_GRID
    turns = places[:, None] * speeds  # (grid, d / 4)
    shape = (grid, grid, width // 4)
    rows = mx.broadcast_to(turns[:, None], shape)
    columns = mx.broadcast_to(turns[None], shape)
    both = mx.concatenate([rows, columns], axis=-1).reshape(grid**2, width // 2)
    return mx.cos(both), mx.sin(both)


@mx.compile
def rotate(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Turn neighbouring channels of (..., N, d) by angles (N, d / 2)."""
    even, odd = x[..., ::2], x[..., 1::2]
    turned = mx.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
    return turned.reshape(x.shape)


EVA_G_224 = ViTConfig(
    side=224,
    width=1408,
    depth=40,
    heads=16,
    hidden=6144,
    clip_dim=1024,
)
"""EVA01-CLIP's ViT-g/14: BLIP-2, MiniGPT-4, which leave out its last block."""

EVA02_L_336 = ViTConfig(
    side=336,
    width=1024,
    depth=24,
    heads=16,
    hidden=2730,
    clip_dim=768,
    activation="silu",
)
"""EVA02-CLIP's ViT-L/14, fine-tuned at 336 pixels."""

"""The vision transformer, as CLIP, SigLIP, DINOv2, EVA and InternViT have it.

The network is that of Dosovitskiy et al. (arXiv 2010.11929), with what CLIP (arXiv
2103.00020) and others changed. Its parts have the names that timm gives them.

Shapes: B batch, N patches, L positions (N and perhaps a class token), D width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.nn as nn

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model import ops

ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "gelu": ops.gelu,
    "quick_gelu": nn.gelu_fast_approx,
    "silu": nn.silu,
    "tanh_gelu": nn.gelu_approx,
}


@dataclass(frozen=True)
class ViTConfig:
    """One vision transformer; `side` is in pixels and need not be a multiple of 14."""

    side: int
    width: int
    depth: int
    heads: int
    hidden: int  # of the MLP
    patch: int = 14
    class_token: bool = True
    norms_embeddings: bool = False  # CLIP; its patches then have no bias
    layer_scale: bool = False  # DINOv2, InternViT
    final_norm: bool = True  # all but InternViT
    attention_pool: bool = False  # SigLIP; a CLIP head has clip_dim instead
    clip_dim: int = 0
    activation: str = "gelu"
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along one side; what is left over at the edge is not seen."""
        return self.side // self.patch


class PatchEmbed(nn.Module):
    """(B, H, W, 3) -> (B, N, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        bias = not config.norms_embeddings
        patch = config.patch
        self.proj = nn.Conv2d(3, config.width, patch, stride=patch, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        patches: mx.array = self.proj(x)  # (B, H/14, W/14, D)
        return patches.flatten(1, 2)


class Attention(nn.Module):
    """Every position attends to every other: (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self._heads = heads

    def __call__(self, x: mx.array) -> mx.array:
        q, k, v = split_heads(self.qkv(x), 3 * self._heads).split(3, axis=1)
        return self.proj(attend(q, k, v))


class MLP(nn.Module):
    """Two Linears with an activation between: (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self._activation = ACTIVATIONS[activation]

    def __call__(self, x: mx.array) -> mx.array:
        return self.fc2(self._activation(self.fc1(x)))


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = mx.ones((width,))

    def __call__(self, x: mx.array) -> mx.array:
        return x * self.gamma


class Block(nn.Module):
    """Attention, then MLP, each on normed input and added to the stream: (B, L, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, config.eps)
        self.attn = Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width, config.eps)
        self.mlp: nn.Module = MLP(width, config.hidden, config.activation)
        self.ls1 = LayerScale(width) if config.layer_scale else nn.Identity()
        self.ls2 = LayerScale(width) if config.layer_scale else nn.Identity()

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class AttentionPool(nn.Module):
    """SigLIP's head: one learned query asks all patches; (B, N, D) -> (B, D)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.latent = mx.zeros((1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, config.eps)
        self.mlp = MLP(width, config.hidden, config.activation)
        self._heads = config.heads

    def __call__(self, x: mx.array) -> mx.array:
        latent = mx.broadcast_to(self.latent, (x.shape[0], *self.latent.shape[1:]))
        q = split_heads(self.q(latent), self._heads)
        k, v = split_heads(self.kv(x), 2 * self._heads).split(2, axis=1)
        pooled = self.proj(attend(q, k, v))[:, 0]
        return pooled + self.mlp(self.norm(pooled))


class VisionTransformer(nn.Module):
    """The whole encoder, and the head that a VLM has no use for."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        positions = config.grid**2 + config.class_token
        self.patch_embed = PatchEmbed(config)
        if config.class_token:
            self.cls_token = mx.zeros((1, 1, config.width))
        self.pos_embed = mx.zeros((1, positions, config.width))
        if config.norms_embeddings:
            self.norm_pre = nn.LayerNorm(config.width, config.eps)
        self.blocks = [Block(config) for _ in range(config.depth)]
        if config.final_norm:
            self.norm = nn.LayerNorm(config.width, config.eps)
        if config.attention_pool:
            self.attn_pool = AttentionPool(config)
        if config.clip_dim:
            self.head = nn.Linear(config.width, config.clip_dim, bias=False)

    def __call__(self, pixel_values: mx.array) -> mx.array:
        """Encode pictures.

        Args:
            pixel_values: (B, side, side, 3).

        Returns:
            (B, N, D), rows of patches from the top, without the class token.
        """
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        normed: mx.array = self.norm(x) if "norm" in self else x
        return normed[:, 1:] if "cls_token" in self else normed

    def embed(self, pixel_values: mx.array) -> mx.array:
        """What the first block sees: (B, L, D)."""
        x = self.patch_embed(pixel_values)  # (B, N, D)
        if "cls_token" in self:
            first = mx.broadcast_to(self.cls_token, (x.shape[0], 1, x.shape[2]))
            x = mx.concatenate([first, x], axis=1)  # (B, N + 1, D)
        x = x + self.pos_embed
        if "norm_pre" in self:
            x = self.norm_pre(x)
        return x


def split_heads(x: mx.array, heads: int) -> mx.array:
    """(B, L, heads · d) -> (B, heads, L, d)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def attend(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """Heads (B, heads, L, d) -> (B, L of q, heads · d), in FastViTHD's fast form."""
    x = ops.attention(q * q.shape[-1] ** -0.5, k, v)
    return x.transpose(0, 2, 1, 3).flatten(2)


VIT_L_336 = ViTConfig(
    side=336,
    width=1024,
    depth=24,
    heads=16,
    hidden=4096,
    norms_embeddings=True,
    clip_dim=768,
    activation="quick_gelu",
    eps=1e-5,
)
"""OpenAI's CLIP ViT-L/14 at 336 pixels, the encoder of LLaVA-1.5 and LLaVA-NeXT."""

VIT_H_378 = ViTConfig(
    side=378,
    width=1280,
    depth=32,
    heads=16,
    hidden=5120,
    norms_embeddings=True,
    clip_dim=1024,
    eps=1e-5,
)
"""DFN's CLIP ViT-H/14 (arXiv 2309.17425), which MM1 starts from."""

"""FastViTHD, the hybrid vision encoder of FastVLM, in its fused inference form.

Pixels in, visual tokens out: arrays and a VisionConfig only. The order is that of
the paper's figure 2 (arXiv 2412.13303), leaf first and the whole encoder last.

What training has and this file has not, because `convert/` folds it into weights:
the branches of MobileOne, RepMixer, RepCPE and large-kernel convs, BatchNorm,
layer scale, the attention scale, and LayerNorm's weight and bias. 1x1 convs are
Linears. A conv with two outputs per group is two depthwise convs, even outputs
and odd outputs, since only one output per group takes MLX's fast Metal kernel.

Shapes: B batch, H and W pixels, C channels (last), N = H·W tokens, D head width.
"""

import mlx.nn as nn

from .backend import mx
from .config import VisionConfig
from .ops import depthwise_conv, gelu


class DepthwiseConv(nn.Module):
    """One k x k kernel per channel, bias included: (B, H, W, C) -> the same."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = mx.zeros((channels, kernel, kernel, 1))
        self.bias = mx.zeros((channels,))
        self._stride = stride

    def __call__(self, x: mx.array) -> mx.array:
        return depthwise_conv(x, self.weight, self.bias, self._stride)


class GroupedConv(nn.Module):
    """C groups of several outputs each, as that many depthwise convs.

    Output m of every group comes from `weight[m]`. The results are returned as a
    list, and whoever follows decides whether they have to be interleaved.
    """

    def __init__(
        self, channels: int, multiplier: int, kernel: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.weight = mx.zeros((multiplier, channels, kernel, kernel, 1))
        self.bias = mx.zeros((multiplier, channels))
        self._stride = stride

    def __call__(self, x: mx.array) -> list[mx.array]:
        return [
            depthwise_conv(x, weight, bias, self._stride)
            for weight, bias in zip(self.weight, self.bias, strict=True)
        ]


class Stem(nn.Module):
    """Three MobileOne convs: (B, H, W, 3) -> (B, H/4, W/4, C)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, kernel, stride=2, padding=kernel // 2)
        self.depthwise = DepthwiseConv(channels, kernel, stride=2)
        self.pointwise = nn.Linear(channels, channels)

    def __call__(self, x: mx.array) -> mx.array:
        x = gelu(self.conv(x))  # (B, H/2, W/2, C)
        x = gelu(self.depthwise(x))  # (B, H/4, W/4, C)
        return gelu(self.pointwise(x))


class Downsample(nn.Module):
    """A large-kernel conv and a 1x1: (B, H, W, C) -> (B, H/2, W/2, C_out).

    The depthwise results are joined one after another, not interleaved; the
    converter has permuted the input channels of `pointwise` to match.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = GroupedConv(channels, out_channels // channels, kernel, stride=2)
        self.pointwise = nn.Linear(out_channels, out_channels)

    def __call__(self, x: mx.array) -> mx.array:
        x = gelu(mx.concatenate(self.conv(x), axis=-1))  # (B, H/2, W/2, C_out)
        return gelu(self.pointwise(x))


class ConvFFN(nn.Module):
    """A depthwise conv and a two-layer MLP over channels, residual included."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels, kernel)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.fc2(gelu(self.fc1(self.conv(x))))


class RepMixerBlock(nn.Module):
    """Mix pixels by one depthwise conv, then channels; (B, H, W, C) -> the same."""

    def __init__(self, channels: int, hidden: int, config: VisionConfig) -> None:
        super().__init__()
        self.token_mixer = DepthwiseConv(channels, config.repmixer_kernel)
        self.convffn = ConvFFN(channels, hidden, config.mlp_kernel)

    def __call__(self, x: mx.array) -> mx.array:
        return self.convffn(self.token_mixer(x))


class Attention(nn.Module):
    """Multi-head self-attention over all pixels: (B, H, W, C) -> the same.

    No mask and no position table: position comes from the convs around it.
    """

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self._head_dim = head_dim

    def __call__(self, x: mx.array) -> mx.array:
        B, H, W, C = x.shape
        qkv = self.qkv(x).reshape(B, H * W, 3, -1, self._head_dim)  # (B, N, 3, h, D)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each (B, h, N, D)
        # scale 1: the converter multiplied the rows of q by D ** -0.5
        x = mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.proj(x.transpose(0, 2, 1, 3).reshape(B, H, W, C))


class AttentionBlock(nn.Module):
    """Mix pixels by attention, then channels; (B, H, W, C) -> the same."""

    def __init__(self, channels: int, hidden: int, config: VisionConfig) -> None:
        super().__init__()
        self.token_mixer = Attention(channels, config.head_dim)
        self.convffn = ConvFFN(channels, hidden, config.mlp_kernel)
        self._eps = config.layer_norm_eps

    def __call__(self, x: mx.array) -> mx.array:
        normed = mx.fast.layer_norm(x, None, None, self._eps)
        return self.convffn(x + self.token_mixer(normed))


class Stage(nn.Module):
    """Halve the resolution (not in stage 0), add position, then the blocks."""

    def __init__(self, index: int, config: VisionConfig) -> None:
        super().__init__()
        channels, hidden = config.embed_dims[index], config.mlp_dims[index]
        block = {"repmixer": RepMixerBlock, "attention": AttentionBlock}
        self.downsample = (
            Downsample(config.embed_dims[index - 1], channels, config.down_kernel)
            if index
            else None
        )
        self.pos_emb = (
            DepthwiseConv(channels, config.pos_emb_kernel)
            if config.pos_embs[index]
            else None
        )
        self.blocks = [
            block[config.token_mixers[index]](channels, hidden, config)
            for _ in range(config.layers[index])
        ]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in (self.downsample, self.pos_emb, *self.blocks):
            x = layer(x) if layer is not None else x
        return x


class SqueezeExcite(nn.Module):
    """Weigh channels by what the whole picture holds; (B, H, W, C) -> the same."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def __call__(self, x: mx.array) -> mx.array:
        # float32: a mean over many pixels loses digits in half precision
        pooled = x.astype(mx.float32).mean(axis=(1, 2), keepdims=True)
        gate = self.expand(nn.relu(self.reduce(pooled.astype(x.dtype))))
        return x * mx.sigmoid(gate)  # (B, 1, 1, C) over (B, H, W, C)


class ConvExpand(nn.Module):
    """The last conv: (B, H, W, C) -> (B, H, W, hidden_size)."""

    def __init__(self, channels: int, config: VisionConfig) -> None:
        super().__init__()
        multiplier = config.hidden_size // channels
        self.conv = GroupedConv(channels, multiplier, config.final_kernel)
        self.se = SqueezeExcite(config.hidden_size, config.se_dim)

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.stack(self.conv(x), axis=-1)  # (B, H, W, C, multiplier)
        x = x.flatten(-2)  # interleaved again: image_features keep their order
        return gelu(self.se(x))


class FastViTHD(nn.Module):
    """The whole encoder."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stem = Stem(config.embed_dims[0], config.stem_kernel)
        self.stages = [Stage(index, config) for index in range(len(config.layers))]
        self.conv_exp = ConvExpand(config.embed_dims[-1], config)

    def __call__(self, pixel_values: mx.array) -> mx.array:
        """Encode pictures.

        Args:
            pixel_values: (B, H, W, 3), values in [0, 1], H and W multiples of 64.

        Returns:
            (B, H/64 · W/64, hidden_size), rows of tokens from the top.
        """
        return self.stage_outputs(pixel_values)[-1].flatten(1, 2)

    def stage_outputs(self, pixel_values: mx.array) -> list[mx.array]:
        """What each part hands to the next: stem, stages, last conv; (B, h, w, C)."""
        outputs = [self.stem(pixel_values)]
        for part in (*self.stages, self.conv_exp):
            outputs.append(part(outputs[-1]))
        return outputs

"""FastViTHD, the hybrid vision encoder of FastVLM, in its fused inference form.

Pixels in, visual tokens out: arrays and a VisionConfig only. The order is that of
the paper's figure 2 (arXiv 2412.13303), leaf first and the whole encoder last.

What training has and this file has not, because `convert/` folds it into weights:
the branches of MobileOne, RepMixer, RepCPE and large-kernel convs, BatchNorm,
layer scale, the attention scale, and LayerNorm's weight and bias. 1x1 convs are
Linears. A conv with two outputs per group is two depthwise convs, even outputs
and odd outputs, since only one output per group takes MLX's fast Metal kernel.

Biases and residuals ride along: with the next activation, or as what the next matmul
accumulates onto (`ops.py`), so that no pass over memory is made for them alone.

Shapes: B batch, H and W pixels, C channels (last), N = H·W tokens, D head width.
"""

import mlx.nn as nn

from ..config import VisionConfig
from ..device.backend import mx
from .ops import (
    add_bias,
    add_biases,
    add_matmul,
    attention,
    bias_gelu,
    conv_ffn,
    depthwise_conv,
    gate_gelu,
    matmul,
)


class Linear(nn.Linear):
    """nn.Linear that keeps the transposed view of its weight from call to call."""

    @property
    def transposed(self) -> mx.array:
        """The weight as (in, out): a view, made again only when the weight changes."""
        if self.get("_viewed") is not self.weight:
            self._viewed, self._view = self.weight, self.weight.T
        return self._view


class DepthwiseConv(nn.Module):
    """One k x k kernel per channel: (B, H, W, C) -> the same.

    The bias is not added here: whoever follows adds it in a pass of its own.
    """

    def __init__(
        self, channels: int, kernel: int, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = mx.zeros((channels, kernel, kernel, 1))
        if bias:
            self.bias = mx.zeros((channels,))
        self._stride = stride

    def __call__(self, x: mx.array) -> mx.array:
        return depthwise_conv(x, self.weight, self._stride)


class GroupedConv(nn.Module):
    """C groups of several outputs each, as that many depthwise convs.

    Output m of every group comes from `weight[m]`. The results are returned one by
    one, without bias, and whoever follows decides in which order they are joined.
    """

    def __init__(
        self, channels: int, multiplier: int, kernel: int, stride: int = 1
    ) -> None:
        super().__init__()
        shape = (channels, kernel, kernel, 1)
        self.weight = [mx.zeros(shape) for _ in range(multiplier)]
        self.bias = mx.zeros((multiplier * channels,))
        self._stride = stride

    def __call__(self, x: mx.array) -> list[mx.array]:
        return [depthwise_conv(x, weight, self._stride) for weight in self.weight]


class Stem(nn.Module):
    """Three MobileOne convs: (B, H, W, 3) -> (B, H/4, W/4, C)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, kernel, stride=2, padding=kernel // 2)
        self.depthwise = DepthwiseConv(channels, kernel, stride=2)
        self.pointwise = Linear(channels, channels)

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.conv2d(x, self.conv.weight, self.conv.stride, self.conv.padding)
        x = bias_gelu(x, self.conv.bias)  # (B, H/2, W/2, C)
        x = bias_gelu(self.depthwise(x), self.depthwise.bias)  # (B, H/4, W/4, C)
        return bias_gelu(matmul(x, self.pointwise), self.pointwise.bias)


class Downsample(nn.Module):
    """A large-kernel conv and a 1x1: (B, H, W, C) -> (B, H/2, W/2, C_out).

    The depthwise results are joined one after another, not interleaved; the
    converter has permuted the input channels of `pointwise` to match.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = GroupedConv(channels, out_channels // channels, kernel, stride=2)
        self.pointwise = Linear(out_channels, out_channels)

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.concatenate(self.conv(x), axis=-1)  # (B, H/2, W/2, C_out)
        x = bias_gelu(x, self.conv.bias)
        return bias_gelu(matmul(x, self.pointwise), self.pointwise.bias)


class ConvFFN(nn.Module):
    """A depthwise conv and a two-layer MLP over channels.

    The conv has no bias: the converter has put it into the bias of `fc1`.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels, kernel, bias=False)
        self.fc1 = Linear(channels, hidden)
        self.fc2 = Linear(hidden, channels)

    def __call__(self, x: mx.array, residual: mx.array) -> mx.array:
        """Both (B, H, W, C); `residual` has the bias of `fc2` in it already."""
        return conv_ffn(x, residual, self.conv.weight, self.fc1, self.fc2)


class RepMixerBlock(nn.Module):
    """Mix pixels by one depthwise conv, then channels; (B, H, W, C) -> the same."""

    def __init__(self, channels: int, hidden: int, index: int, config: VisionConfig):
        super().__init__()
        self.token_mixer = DepthwiseConv(channels, config.repmixer_kernel)
        self.convffn = ConvFFN(channels, hidden, config.mlp_kernel)

    def __call__(self, x: mx.array) -> mx.array:
        return self.convffn(*self.mix(x))

    def mix(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """What enters the ConvFFN: the mixed pixels, and its residual."""
        biases = self.token_mixer.bias, self.convffn.fc2.bias
        return add_biases(self.token_mixer(x), *biases)


class Attention(nn.Module):
    """Multi-head self-attention over all pixels.

    No mask and no position table: position comes from the convs around it.
    """

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)
        self._head_dim = head_dim

    def __call__(self, tokens: mx.array, residual: mx.array, batch: int) -> mx.array:
        """Both (B·N, C); `residual` has the bias of `proj` in it already."""
        q, k, v = self.heads(tokens, batch)
        x = attention(q, k, v)  # the rows of q hold D ** -0.5, from the converter
        x = x.transpose(0, 2, 1, 3).reshape(tokens.shape)
        return add_matmul(residual, x, self.proj)

    def heads(
        self, tokens: mx.array, batch: int
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Queries, keys and values, each (B, h, N, D)."""
        qkv = add_matmul(self.qkv.bias, tokens, self.qkv)
        heads = qkv.shape[1] // self._head_dim  # of q, k and v together
        qkv = qkv.reshape(batch, -1, heads, self._head_dim).swapaxes(1, 2)
        q, k, v = mx.split(qkv, 3, axis=1)
        return q, k, v


class AttentionBlock(nn.Module):
    """Mix pixels by attention, then channels; (B, H, W, C) -> the same."""

    def __init__(self, channels: int, hidden: int, index: int, config: VisionConfig):
        super().__init__()
        self.token_mixer = Attention(channels, config.head_dim)
        self.convffn = ConvFFN(channels, hidden, config.mlp_kernel)
        self._eps = config.stream_eps(index)

    def __call__(self, x: mx.array) -> mx.array:
        return self.convffn(*self.mix(x))

    def mix(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """What enters the ConvFFN: the mixed pixels, and its residual."""
        tokens = x.reshape(-1, x.shape[-1])  # (B·N, C)
        residual = add_bias(tokens, self.token_mixer.proj.bias)
        tokens = self.token_mixer(self.norm(tokens), residual, batch=x.shape[0])
        tokens = tokens.reshape(x.shape)
        return tokens, add_bias(tokens, self.convffn.fc2.bias)

    def norm(self, tokens: mx.array) -> mx.array:
        """LayerNorm over channels; its weight and bias are in `qkv`."""
        return mx.fast.layer_norm(tokens, None, None, self._eps)


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
            block[config.token_mixers[index]](channels, hidden, index, config)
            for _ in range(config.layers[index])
        ]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return x

    def enter(self, x: mx.array) -> mx.array:
        """What the first block sees."""
        if self.downsample is not None:
            x = self.downsample(x)
        if self.pos_emb is not None:
            x = add_bias(self.pos_emb(x), self.pos_emb.bias)
        return x


class SqueezeExcite(nn.Module):
    """How much each channel counts, by what the whole image holds.

    It reads the conv before its bias, which the converter has put into `reduce`.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = Linear(channels, hidden)
        self.expand = Linear(hidden, channels)

    def __call__(self, pooled: mx.array) -> mx.array:
        """Means over the image (B, C) -> gates before the sigmoid (B, C)."""
        hidden = nn.relu(add_matmul(self.reduce.bias, pooled, self.reduce))
        return add_matmul(self.expand.bias, hidden, self.expand)


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
        # float32: a mean over many pixels loses digits in half precision
        pooled = x.astype(mx.float32).mean(axis=(1, 2)).astype(x.dtype)
        return gate_gelu(x, self.conv.bias, self.se(pooled)[:, None, None])


class FastViTHD(nn.Module):
    """The whole encoder."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stem = Stem(config.embed_dims[0], config.stem_kernel)
        self.stages = [Stage(index, config) for index in range(len(config.layers))]
        self.conv_exp = ConvExpand(config.embed_dims[-1], config)

    def __call__(self, pixel_values: mx.array) -> mx.array:
        """Encode images.

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

"""Projections that read the same input, as one matmul: fewer kernels on a GPU.

mlx-lm keeps q, k and v apart, and the gate and up of its MLP, as checkpoints do. A
small model's decoding step on a GPU is bound by how many kernels it starts, so they are
joined after loading: 3 fewer in every layer. What attention and MLP do is mlx-lm's, its
caches and masks included, so this file follows its `qwen2.py` and `llama.py`.

Shapes: B batch, L positions, D hidden size.
"""

from collections.abc import Sequence
from typing import Any, cast

import mlx.nn as nn

from ..device.backend import mx
from .lazy_mlx_lm import mlx_lm


def join_projections(model: nn.Module) -> None:
    """Join what can be joined in every layer of an mlx-lm Qwen2 or Llama."""
    for layer in model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        if _alike(attention.q_proj, attention.k_proj, attention.v_proj):
            layer.self_attn = JoinedAttention(attention)
        if _alike(mlp.gate_proj, mlp.up_proj):
            layer.mlp = JoinedMLP(mlp)


class JoinedAttention(nn.Module):
    """mlx-lm's attention with one projection for q, k and v."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        self.qkv_proj = _joined(parts)
        self.o_proj = attention.o_proj
        self.rope = attention.rope
        self.scale = attention.scale
        self._heads = (attention.n_heads, attention.n_kv_heads, attention.n_kv_heads)

    def __call__(
        self, x: mx.array, mask: Any = None, cache: Any | None = None
    ) -> mx.array:
        """(B, L, D) -> the same; `cache` is one of mlx-lm's and is filled in place."""
        queries, keys, values = self._split(self.qkv_proj(x))
        offset = 0 if cache is None else cache.offset
        queries, keys = (self.rope(each, offset=offset) for each in (queries, keys))
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        attend = mlx_lm("models.base").scaled_dot_product_attention
        mixed = attend(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
        batch, length, _ = x.shape
        mixed = mixed.transpose(0, 2, 1, 3).reshape(batch, length, -1)
        output: mx.array = self.o_proj(mixed)
        return output

    def _split(self, qkv: mx.array) -> Sequence[mx.array]:
        """(B, L, all heads · head size) -> q, k, v as (B, heads, L, head size)."""
        batch, length, _ = qkv.shape
        heads = qkv.reshape(batch, length, sum(self._heads), -1).transpose(0, 2, 1, 3)
        queries, keys, _ = self._heads
        parts = mx.split(heads, [queries, queries + keys], axis=1)
        return cast(Sequence[mx.array], parts)


class JoinedMLP(nn.Module):
    """mlx-lm's gated MLP with one projection for gate and up."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.gate_up_proj = _joined([mlp.gate_proj, mlp.up_proj])
        self.down_proj = mlp.down_proj

    def __call__(self, x: mx.array) -> mx.array:
        """(B, L, D) -> the same."""
        gate, up = mx.split(self.gate_up_proj(x), 2, axis=-1)
        mixed = mlx_lm("models.activations").swiglu(gate, up)
        output: mx.array = self.down_proj(mixed)
        return output


def _alike(*layers: nn.Module) -> bool:
    """Whether layers differ in nothing but their rows."""

    def kind(layer: nn.Module) -> tuple[object, ...]:
        packing = [
            getattr(layer, name, None) for name in ("bits", "group_size", "mode")
        ]
        return type(layer), "bias" in layer, *packing

    return len({kind(layer) for layer in layers}) == 1


def _joined(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer whose outputs are those of several, one after another.

    Packed or not, every array of a Linear has its outputs along the first axis.
    """
    whole = layers[0]
    for name in list(whole.parameters()):
        whole[name] = mx.concatenate([layer[name] for layer in layers], axis=0)
    return whole

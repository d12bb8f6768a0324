"""FastVLM: encoder, projector and language model, and the splice between them.

Shapes: B batch, H and W pixels, N visual tokens, D hidden size of the language
model, L positions of a prompt with its images expanded, V vocabulary.
"""

import functools
from collections.abc import Sequence

import mlx.nn as nn
from mlx.utils import tree_flatten

from ..config import FastVLMConfig
from ..device.backend import mx
from ..device.compiling import kernels, sparing
from . import language
from .language import KVCache
from .ops import gelu
from .vision import FastViTHD


class Projector(nn.Module):
    """From the encoder's channels to the language model's: `mlp2x_gelu`."""

    def __init__(self, in_dims: int, out_dims: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dims, out_dims)
        self.linear_2 = nn.Linear(out_dims, out_dims)

    def __call__(self, image_features: mx.array) -> mx.array:
        return self.linear_2(gelu(self.linear_1(image_features)))


class FastVLMModel(nn.Module):
    """The network. It sees arrays and a config; it knows no file and no text."""

    def __init__(self, config: FastVLMConfig) -> None:
        super().__init__()
        dims = config.text_config.hidden_size
        self.vision_tower = FastViTHD(config.vision_config)
        self.mm_projector = Projector(config.vision_config.hidden_size, dims)
        self.language_model = language.build_language_model(config.text_config)

    def __call__(
        self, inputs_embeds: mx.array, cache: KVCache | None = None
    ) -> mx.array:
        """Logits of every position: (B, L, D) -> (B, L, V)."""
        hidden = language.hidden_states(self.language_model, inputs_embeds, cache)
        return self.head(hidden)

    def pixel_values(self, pixels: mx.array) -> mx.array:
        """Prepared pixels (B, H, W, 3) uint8 to what `encode_image` takes."""
        return pixels.astype(self.embed_dtype) / 255

    def encode_image(self, pixel_values: mx.array) -> mx.array:
        """(B, H, W, 3) in [0, 1] -> image_features (B, N, vision hidden_size)."""
        kernels.count(self._tower_parameters, pixel_values[..., 0].size)
        return self._encoded(pixel_values)

    @sparing
    def _encoded(self, pixel_values: mx.array) -> mx.array:
        features: mx.array = self.vision_tower(pixel_values)
        return features

    @functools.cached_property
    def _tower_parameters(self) -> int:
        weights: dict[str, mx.array] = dict(
            tree_flatten(self.vision_tower.parameters())
        )
        return sum(array.size for array in weights.values())

    @sparing
    def project(self, image_features: mx.array) -> mx.array:
        """(B, N, vision hidden_size) -> (B, N, D)."""
        projected: mx.array = self.mm_projector(image_features)
        return projected

    def embed(self, token_ids: Sequence[int] | mx.array) -> mx.array:
        """L token ids -> (1, L, D)."""
        ids = (
            token_ids if isinstance(token_ids, mx.array) else mx.array(list(token_ids))
        )
        # mxfp4 and its like give bfloat16, whatever the model computes in
        return language.embed(self.language_model, ids[None]).astype(self.embed_dtype)

    def splice(
        self,
        token_ids: Sequence[int],
        spans: Sequence[tuple[int, int]],
        image_embeds: Sequence[mx.array],
    ) -> mx.array:
        """Embed a prompt, with each image's embeddings in its own place.

        The places are known on the host since tokenizing, so nothing is read
        back from the device here.

        Args:
            token_ids: L ids; those inside a span are placeholders, never embedded.
            spans: (start, length) of each image, in order, not overlapping.
            image_embeds: one (length, D) array per span.

        Returns:
            (1, L, D).
        """
        parts, end = [], 0
        for (start, length), embeds in zip(spans, image_embeds, strict=True):
            if embeds.shape[0] != length:
                raise ValueError(
                    f"a span of {length} positions got {embeds.shape[0]} embeddings"
                )
            if start > end:
                parts.append(self.embed(token_ids[end:start]))
            parts.append(embeds[None].astype(self.embed_dtype))
            end = start + length
        if end < len(token_ids):
            parts.append(self.embed(token_ids[end:]))
        return mx.concatenate(parts, axis=1)

    def hidden_states(self, inputs_embeds: mx.array, cache: KVCache) -> mx.array:
        """Run every layer and fill the cache: (B, L, D) -> (B, L, D), normed."""
        return language.hidden_states(self.language_model, inputs_embeds, cache)

    def head(self, hidden: mx.array) -> mx.array:
        """Hidden states to logits: (B, L, D) -> (B, L, V)."""
        return language.apply_head(self.language_model, hidden)

    def prefill(self, inputs_embeds: mx.array, cache: KVCache) -> mx.array:
        """Fill the cache with prompts; logits of the last position, (B, V).

        The head is the largest matrix of all and only one row of it is wanted.
        """
        return self.head(self.hidden_states(inputs_embeds, cache)[:, -1:])[:, -1]

    def decode(self, token: mx.array, cache: KVCache) -> mx.array:
        """One more token for each row, (B,) -> logits (B, V)."""
        return self.prefill(self.embed(token).swapaxes(0, 1), cache)

    def make_cache(self) -> KVCache:
        """Empty KV caches, one per layer."""
        return language.make_cache(self.language_model)

    @property
    def embed_dtype(self) -> mx.Dtype:
        """The dtype that the language model computes in."""
        dtype: mx.Dtype = self.language_model.model.norm.weight.dtype
        return dtype

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights, read already or not."""
        return bytes_of(self)


def bytes_of(part: nn.Module, exclude: str | None = None) -> int:
    """Bytes of the weights of a part, without those with `exclude` in their name."""
    weights: dict[str, mx.array] = dict(tree_flatten(part.parameters()))
    counted = (name for name in weights if exclude is None or exclude not in name)
    return sum(weights[name].nbytes for name in counted)

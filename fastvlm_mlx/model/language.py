"""The language model, as mlx-lm keeps it: Qwen2 in FastVLM, Llama in LLaVA-1.5.

What mlx-lm lacks is here: embeddings in, and the head on chosen positions only.
Shapes: B batch, L positions, D hidden size, V vocabulary.
"""

from dataclasses import asdict
from typing import Any

import mlx.nn as nn

from ..config import TextConfig
from ..device.backend import mx
from ..device.compiling import sparing
from ..errors import ConfigError
from .lazy_mlx_lm import mlx_lm

SUPPORTED = ("qwen2", "llama")

KVCache = list[Any]
"""One mlx-lm cache per layer."""


def build_language_model(config: TextConfig) -> nn.Module:
    """Make mlx-lm's model with unset weights."""
    if config.model_type not in SUPPORTED:
        raise ConfigError(
            f"text_config.model_type is {config.model_type!r}; "
            f"expected one of {', '.join(SUPPORTED)}."
        )
    module = mlx_lm(f"models.{config.model_type}")
    try:
        model: nn.Module = module.Model(module.ModelArgs.from_dict(asdict(config)))
    except (ValueError, KeyError, TypeError) as error:  # an unknown rope, for example
        raise ConfigError(f"text_config cannot be built: {error}") from None
    return model


def embed(model: nn.Module, token_ids: mx.array) -> mx.array:
    """Embed token ids: (B, L) -> (B, L, D)."""
    embedded: mx.array = model.model.embed_tokens(token_ids)
    return embedded


@sparing
def hidden_states(
    model: nn.Module, inputs_embeds: mx.array, cache: KVCache | None
) -> mx.array:
    """Run every layer: (B, L, D) -> (B, L, D), normed, ready for the head."""
    hidden: mx.array = model.model(None, cache, inputs_embeds)
    return hidden


def causal_mask(hidden: mx.array) -> Any:
    """What a layer of the model takes as its mask for (B, L, D) without a cache."""
    return mlx_lm("models.base").create_attention_mask(hidden)


def apply_head(model: nn.Module, hidden: mx.array) -> mx.array:
    """Hidden states to logits: (B, L, D) -> (B, L, V)."""
    if model.args.tie_word_embeddings:
        logits: mx.array = model.model.embed_tokens.as_linear(hidden)
    else:
        logits = model.lm_head(hidden)
    return logits


def make_cache(model: nn.Module) -> KVCache:
    """Empty KV caches, one per layer."""
    caches: KVCache = mlx_lm("models.cache").make_prompt_cache(model)
    return caches

"""The nano FastVLM: FastVLM's architecture at a small width, in train form.

The sizes come from a `Preset` and end up in config.json. The network itself is
transformers' `FastVlmForConditionalGeneration` around timm's `fastvit_mci3`, which is
FastViTHD; `inference_mode=False` keeps its branches and BatchNorms apart.
"""

from benchmarks.nano import torchvision_stub  # noqa: F401  # Before transformers.

# isort: split
from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    GenerationConfig,
    Qwen2Config,
    TimmWrapperConfig,
)

from benchmarks.nano.presets import Preset, image_tokens
from benchmarks.nano.prompt import Conversations
from benchmarks.nano.tokenizer import END, END_OF_TEXT, IMAGE, token_id

NanoFastVLM: TypeAlias = FastVlmForConditionalGeneration


def _vision_config(preset: Preset) -> TimmWrapperConfig:
    model_arguments: dict[str, Any] = {
        "layers": list(preset.layers),
        "embed_dims": list(preset.widths),
        "inference_mode": False,
        # From 1e-5, the value for deep towers, a short training does not get away.
        "layer_scale_init_value": 0.5,
    }
    return TimmWrapperConfig(
        architecture="fastvit_mci3",
        hidden_size=preset.vision_width,
        num_labels=0,  # No CLIP head.
        model_args=model_arguments,
    )


def _text_config(preset: Preset, tokenizer: Tokenizer) -> Qwen2Config:
    padding = token_id(tokenizer, END_OF_TEXT)
    return Qwen2Config(
        vocab_size=preset.vocabulary,
        hidden_size=preset.hidden,
        intermediate_size=preset.feed_forward,
        num_hidden_layers=preset.decoder_layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.key_value_heads,
        head_dim=64,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=padding,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=padding,
    )


def nano_config(preset: Preset, tokenizer: Tokenizer, resolution: int) -> FastVlmConfig:
    """Return the configuration of a nano model for a tokenizer's ids.

    Args:
        preset: the sizes.
        tokenizer: the nano tokenizer, of `preset.vocabulary` tokens.
        resolution: the side of the pictures it is used with, in pixels.
    """
    if tokenizer.get_vocab_size() != preset.vocabulary:
        raise ValueError(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the preset wants "
            f"{preset.vocabulary}; train the tokenizer for this preset"
        )
    return FastVlmConfig(
        text_config=_text_config(preset, tokenizer),
        vision_config=_vision_config(preset),
        image_token_index=token_id(tokenizer, IMAGE),
        image_seq_length=image_tokens(resolution),
        tie_word_embeddings=True,
    )


def build_model(preset: Preset, tokenizer: Tokenizer, resolution: int) -> NanoFastVLM:
    """Return a nano model with random weights."""
    model = NanoFastVLM(nano_config(preset, tokenizer, resolution))
    end, padding = token_id(tokenizer, END), token_id(tokenizer, END_OF_TEXT)
    model.generation_config = GenerationConfig(
        eos_token_id=[end, padding], pad_token_id=padding, do_sample=False
    )
    return model


def encode_pictures(model: NanoFastVLM, pixel_values: Tensor) -> Tensor:
    """Run the vision tower: (B, 3, S, S) to (B, C, S / 64, S / 64)."""
    features: Tensor = model.model.vision_tower(pixel_values).last_hidden_state
    return features


def encode_and_watch(
    model: NanoFastVLM, pixel_values: Tensor, stages: Iterable[int]
) -> tuple[Tensor, list[Tensor]]:
    """Run the vision tower and keep what some of its stages gave.

    Args:
        model: the nano model.
        pixel_values: (B, 3, S, S).
        stages: their indices.

    Returns:
        The tower's output (B, C, S / 64, S / 64), and each stage's.
    """
    kept: list[Tensor] = []
    tower = model.model.vision_tower.timm_model
    hooks = [
        tower.stages[stage].register_forward_hook(lambda *given: kept.append(given[-1]))
        for stage in stages
    ]
    try:
        return encode_pictures(model, pixel_values), kept
    finally:
        for hook in hooks:
            hook.remove()


def read(
    model: NanoFastVLM, features: Tensor, conversations: Conversations
) -> tuple[Tensor, Tensor, Tensor]:
    """Read conversations about encoded pictures.

    The same arithmetic as the model's own forward, but what several questions share,
    the picture above all, is computed once.

    Args:
        model: the nano model.
        features: (P, C, h, w), the pictures.
        conversations: what is asked about them.

    Returns:
        The decoder's hidden states (P, L, D), after half of its layers, after three
        quarters and after all; normed.
    """
    ids = conversations.input_ids
    tokens = features.flatten(2).transpose(1, 2)  # (P, N, C)
    tokens = model.model.multi_modal_projector(tokens)  # (P, N, D)
    embeds = model.get_input_embeddings()(ids)  # (P, L, D)
    places = (ids == model.config.image_token_index)[:, :, None]
    hidden = embeds.masked_scatter(places, tokens.to(embeds.dtype))
    decoder = model.model.language_model
    turns = decoder.rotary_emb(hidden, conversations.position_ids)
    mask = conversations.attention_mask()
    states: list[Tensor] = []
    for layer in decoder.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=turns)
        states.append(hidden)
    half, late = states[(len(states) - 1) // 2], states[(3 * len(states) - 1) // 4]
    return decoder.norm(half), decoder.norm(late), decoder.norm(hidden)


def use_channels_last(model: NanoFastVLM) -> None:
    """Keep the tower's tensors channels last, the faster order on a CPU."""
    model.model.vision_tower.to(memory_format=torch.channels_last)

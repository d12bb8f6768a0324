"""The nano FastVLM: FastVLM's architecture at a small width, in train form.

It is transformers' `FastVlmForConditionalGeneration` around timm's `fastvit_mci3`, that
is FastViTHD; `inference_mode=False` keeps its branches and BatchNorms separate.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    GenerationConfig,
    Qwen2Config,
    TimmWrapperConfig,
)

from ..data.conversations import Conversations
from ..data.square import image_tokens
from ..data.tokenizer import END, END_OF_TEXT, IMAGE, token_id
from .options import Preset

NanoFastVLM: TypeAlias = FastVlmForConditionalGeneration

# CPU features for bfloat16; without them torch takes twice as long as for float32.
BFLOAT16 = ("amx_bf16", "avx512_bf16")


def _vision_config(preset: Preset) -> TimmWrapperConfig:
    model_arguments: dict[str, Any] = {
        "layers": list(preset.layers),
        "embed_dims": list(preset.widths),
        "inference_mode": False,
        # 1e-5, timm's value for deep towers, hardly learns in a short training.
        "layer_scale_init_value": 0.5,
    }
    return TimmWrapperConfig(
        architecture="fastvit_mci3",
        hidden_size=preset.vision_width,
        num_labels=0,  # no CLIP head
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
    """The configuration of a nano model for images of a side in pixels.

    Raises:
        ValueError: the tokenizer has another size than `preset.vocabulary`.
    """
    if tokenizer.get_vocab_size() != preset.vocabulary:
        raise ValueError(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the preset "
            f"expects {preset.vocabulary}; train the tokenizer for this preset"
        )
    return FastVlmConfig(
        text_config=_text_config(preset, tokenizer),
        vision_config=_vision_config(preset),
        image_token_index=token_id(tokenizer, IMAGE),
        image_seq_length=image_tokens(resolution),
        tie_word_embeddings=True,
    )


def build_model(preset: Preset, tokenizer: Tokenizer, resolution: int) -> NanoFastVLM:
    """A nano model with random weights, the tower's channels last: faster on a CPU."""
    model = NanoFastVLM(nano_config(preset, tokenizer, resolution))
    end, padding = token_id(tokenizer, END), token_id(tokenizer, END_OF_TEXT)
    model.generation_config = GenerationConfig(
        eos_token_id=[end, padding], pad_token_id=padding, do_sample=False
    )
    model.model.vision_tower.to(memory_format=torch.channels_last)
    return model


def to_pixel_values(pixels: Tensor) -> Tensor:
    """Scale uint8 images (P, 3, S, S) to float32 in [0, 1]; no mean, no deviation."""
    # Reordered as bytes, a quarter of the size of the floats.
    return pixels.contiguous(memory_format=torch.channels_last).float().div_(255)


def encode_images(
    model: NanoFastVLM, pixel_values: Tensor, stages: Iterable[int] = ()
) -> list[Tensor]:
    """Run the vision tower on (P, 3, S, S).

    Returns:
        The outputs of some stages, and last the tower's, (P, C, S / 64, S / 64).
    """
    kept: list[Tensor] = []
    tower = model.model.vision_tower.timm_model
    hooks = [
        tower.stages[stage].register_forward_hook(lambda *given: kept.append(given[-1]))
        for stage in stages
    ]
    try:
        features = model.model.vision_tower(pixel_values).last_hidden_state
        return [*kept, features]
    finally:
        for hook in hooks:
            hook.remove()


class HiddenStates(NamedTuple):
    """The decoder's normed hidden states (P, L, D)."""

    half: Tensor  # after half of its layers
    late: Tensor  # after three quarters
    last: Tensor  # after all


def read(
    model: NanoFastVLM, features: Tensor, conversations: Conversations
) -> HiddenStates:
    """Run the decoder on conversations about encoded images (P, C, h, w).

    The model's own arithmetic, but what questions share is computed once.
    """
    ids = conversations.input_ids
    tokens = features.flatten(2).transpose(1, 2)  # (P, N, C)
    tokens = model.model.multi_modal_projector(tokens)  # (P, N, D)
    embeds = model.get_input_embeddings()(ids)  # (P, L, D)
    places = (ids == model.config.image_token_index)[:, :, None]
    hidden = embeds.masked_scatter(places, tokens.to(embeds.dtype))
    decoder = model.model.language_model
    rotary = decoder.rotary_emb(hidden, conversations.position_ids)
    mask = conversations.attention_mask()
    states: list[Tensor] = []
    for layer in decoder.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        states.append(hidden)
    half, late = states[(len(states) - 1) // 2], states[(3 * len(states) - 1) // 4]
    return HiddenStates(decoder.norm(half), decoder.norm(late), decoder.norm(hidden))


def precision_of(device: torch.device) -> AbstractContextManager[None]:
    """Autocast to bfloat16 where the device multiplies it, float32 elsewhere."""
    has = torch.cpu.get_capabilities()
    enabled = device.type != "cpu" or any(has.get(name) for name in BFLOAT16)
    chosen: AbstractContextManager[None] = torch.autocast(
        device.type, torch.bfloat16, enabled=enabled
    )
    return chosen


def attention_of(device: torch.device) -> AbstractContextManager[None]:
    """Plain attention on a CPU: 0.67 seconds per step, with flash attention 0.97."""
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain if device.type == "cpu" else nullcontext()

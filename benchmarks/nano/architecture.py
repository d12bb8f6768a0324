"""The nano FastVLM: FastVLM's architecture at a small width, in train form.

Every size is in this file and ends up in config.json. The network itself is
transformers' `FastVlmForConditionalGeneration` around timm's `fastvit_mci3`, which is
FastViTHD; `inference_mode=False` keeps its branches and BatchNorms apart.
"""

from benchmarks.nano import torchvision_stub  # noqa: F401  # Before transformers.

# isort: split
from typing import Any, TypeAlias

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    GenerationConfig,
    Qwen2Config,
    TimmWrapperConfig,
)

from benchmarks.nano.data import COLORS, SHAPES
from benchmarks.nano.prompt import IGNORED, Batch
from benchmarks.nano.tokenizer import END, END_OF_TEXT, IMAGE, token_id

NanoFastVLM: TypeAlias = FastVlmForConditionalGeneration

STRIDE = 64  # Pixels of the picture's side that one visual token covers.
VISION_WIDTH = 512  # Channels of a visual token: the last width times cls_ratio 2.

VISION_ARGUMENTS: dict[str, Any] = {
    "architecture": "fastvit_mci3",
    "hidden_size": VISION_WIDTH,
    "num_labels": 0,  # No CLIP head.
    "model_args": {
        "layers": [1, 1, 2, 1, 1],
        "embed_dims": [16, 32, 64, 128, 256],
        "inference_mode": False,
        # From 1e-5, the value for deep towers, a short training does not get away.
        "layer_scale_init_value": 0.5,
    },
}
TEXT_ARGUMENTS: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "tie_word_embeddings": True,
}


def image_tokens(resolution: int) -> int:
    """Return how many visual tokens a square picture of this side becomes."""
    return (resolution // STRIDE) ** 2


def nano_config(tokenizer: Tokenizer, resolution: int) -> FastVlmConfig:
    """Return the configuration of the nano model for a tokenizer's ids."""
    end, padding = token_id(tokenizer, END), token_id(tokenizer, END_OF_TEXT)
    text_config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        bos_token_id=padding,
        eos_token_id=end,
        pad_token_id=padding,
        **TEXT_ARGUMENTS,
    )
    return FastVlmConfig(
        text_config=text_config,
        vision_config=TimmWrapperConfig(**VISION_ARGUMENTS),
        image_token_index=token_id(tokenizer, IMAGE),
        image_seq_length=image_tokens(resolution),
        tie_word_embeddings=True,
    )


def build_model(tokenizer: Tokenizer, resolution: int) -> NanoFastVLM:
    """Return a nano model with random weights."""
    model = NanoFastVLM(nano_config(tokenizer, resolution))
    end, padding = token_id(tokenizer, END), token_id(tokenizer, END_OF_TEXT)
    model.generation_config = GenerationConfig(
        eos_token_id=[end, padding], pad_token_id=padding, do_sample=False
    )
    return model


class AttributeHeads(nn.Module):
    """Names shape and color from the mean visual token; used in training only.

    One-word answers alone teach the tower little in a short training, labels a lot.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Linear(VISION_WIDTH, len(SHAPES))
        self.color = nn.Linear(VISION_WIDTH, len(COLORS))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Score the attributes.

        Args:
            features: float32 (B, C, h, w), the tower's output.

        Returns:
            Shape logits (B, 3) and color logits (B, 8).
        """
        mean = features.mean(dim=(2, 3))  # (B, C)
        return self.shape(mean), self.color(mean)


def encode_pictures(model: NanoFastVLM, pixel_values: Tensor) -> Tensor:
    """Run the vision tower: (B, 3, S, S) to (B, C, S / 64, S / 64)."""
    features: Tensor = model.model.vision_tower(pixel_values).last_hidden_state
    return features


def answer_logits(model: NanoFastVLM, features: Tensor, batch: Batch) -> Tensor:
    """Read conversations about encoded pictures and score the labelled next tokens.

    The same arithmetic as the model's own forward, but what several questions share,
    the picture above all, is computed once.

    Args:
        model: the nano model.
        features: (P, C, h, w), the pictures.
        batch: the conversations about them, with K labelled places.

    Returns:
        Logits (K, vocabulary).
    """
    tokens = features.flatten(2).transpose(1, 2)  # (P, N, C)
    tokens = model.model.multi_modal_projector(tokens)  # (P, N, D)
    embeds = model.get_input_embeddings()(batch.input_ids)  # (P, L, D)
    places = (batch.input_ids == model.config.image_token_index)[:, :, None]
    hidden = model.model.language_model(
        inputs_embeds=embeds.masked_scatter(places, tokens.to(embeds.dtype)),
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask(),
    ).last_hidden_state  # (P, L, D)
    logits: Tensor = model.lm_head(hidden[batch.labels != IGNORED])
    return logits


def use_channels_last(model: NanoFastVLM) -> None:
    """Keep the tower's tensors channels last, the faster order on a CPU."""
    model.model.vision_tower.to(memory_format=torch.channels_last)

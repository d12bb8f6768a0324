"""The sizes of the published FastVLM models, and models of those sizes without weights.

A model made of random numbers computes as fast and takes as much memory as a trained
one, so both can be measured without a download.
"""

from dataclasses import replace

import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

from ..config import FASTVITHD, FastVLMConfig, QuantizationConfig, TextConfig
from ..device.backend import mx
from ..errors import OptionError
from ..model.fastvlm import FastVLMModel

_SIZES = {
    # hidden, intermediate, layers, heads, key-value heads, vocabulary, tied
    "0.5b": (896, 4864, 24, 14, 2, 151_936, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151_936, True),
    "7b": (3584, 18_944, 28, 28, 4, 152_064, False),
}
"""Qwen2's, as in the config.json of apple/FastVLM-0.5B, -1.5B and -7B."""

GEOMETRIES = tuple(_SIZES)

_CONTEXT = 8192
"""`tokenizer_model_max_length` of the published models."""


def published_config(geometry: str, bits: int | None = None) -> FastVLMConfig:
    """The config of a published model, its language model in `bits` if given.

    Raises:
        OptionError: no such geometry.
    """
    if geometry not in _SIZES:
        known = ", ".join(GEOMETRIES)
        raise OptionError(f"geometry is {geometry!r}; expected one of {known}.")
    hidden, intermediate, layers, heads, kv_heads, vocabulary, tied = _SIZES[geometry]
    text = TextConfig(
        model_type="qwen2",
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )
    return FastVLMConfig(
        vision_config=FASTVITHD,
        text_config=text,
        image_token_index=0,
        eos_token_ids=(1,),
        max_length=_CONTEXT,
        quantization=None if bits is None else QuantizationConfig(bits),
        source=f"random weights of FastVLM-{geometry.upper()}'s geometry",
    )


def random_model(config: FastVLMConfig, dtype: mx.Dtype) -> FastVLMModel:
    """A network of random numbers, computed when they are first needed.

    Where the config says so, the matrices of the language model are quantized.
    """
    model = FastVLMModel(config)
    model.set_dtype(dtype)
    model.update(tree_map(_random, model.parameters()))
    if config.quantization is not None:
        _quantize(model.language_model, config.quantization)
    model.eval()
    return model


def whole_bytes(config: FastVLMConfig, item_bytes: int) -> int:
    """Bytes of all weights of a network, nothing quantized.

    Its layers of language are equal, so one and two of them tell what all take.
    """
    one, two = (_count_weights(config, layers) for layers in (1, 2))
    return item_bytes * (one + (config.text_config.num_hidden_layers - 1) * (two - one))


def _count_weights(config: FastVLMConfig, layers: int) -> int:
    text = replace(config.text_config, num_hidden_layers=layers)
    model = FastVLMModel(replace(config, text_config=text))
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    return sum(array.size for array in weights.values())


def _random(array: mx.array) -> mx.array:
    """Small enough that activations stay normal numbers; vectors stay as they are."""
    if array.ndim < 2:
        return array
    return mx.random.normal(array.shape, array.dtype, scale=0.02)


def _quantize(model: nn.Module, quantization: QuantizationConfig) -> None:
    nn.quantize(
        model,
        group_size=quantization.group_size,
        bits=quantization.bits,
        mode=quantization.mode,
    )

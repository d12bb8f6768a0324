"""Models of the true sizes with random weights, so that nothing is downloaded.

Speed does not depend on the values. The sizes are those of the config files of
apple/FastVLM-0.5B, -1.5B and -7B, whose language models are Qwen2's.
"""

import mlx.nn as nn
from mlx.utils import tree_map

from fastvlm_mlx.backend import current, mx, pick_dtype
from fastvlm_mlx.config import FASTVITHD, TextConfig
from fastvlm_mlx.dequantize import prepare
from fastvlm_mlx.joined import join_projections
from fastvlm_mlx.language import build_language_model
from fastvlm_mlx.model import Projector
from fastvlm_mlx.vision import FastViTHD


def _qwen2(
    hidden: int, layers: int, intermediate: int, heads: int, kv_heads: int, tied: bool
) -> TextConfig:
    return TextConfig(
        model_type="qwen2",
        hidden_size=hidden,
        num_hidden_layers=layers,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=151936 if tied else 152064,
        tie_word_embeddings=tied,
    )


LANGUAGE_MODELS = {
    "0.5B": _qwen2(896, 24, 4864, 14, 2, tied=True),
    "1.5B": _qwen2(1536, 28, 8960, 12, 2, tied=True),
    "7B": _qwen2(3584, 28, 18944, 28, 4, tied=False),
}

DENSE = 0
"""In place of a number of bits: weights that are not quantized."""


def random_tower() -> FastViTHD:
    """FastViTHD, 125 M parameters, in the backend's own dtype."""
    tower = FastViTHD(FASTVITHD)
    _fill(tower)
    return tower


def random_projector(size: str) -> Projector:
    """The projector to the language model of that size."""
    hidden = LANGUAGE_MODELS[size].hidden_size
    projector = Projector(FASTVITHD.hidden_size, hidden)
    _fill(projector)
    return projector


def random_language_model(size: str, bits: int) -> nn.Module:
    """As `load` leaves it: made dense or joined, as the backend likes it."""
    model = packed_language_model(size, bits)
    if current() == "cpu":
        prepare(model)
    else:
        join_projections(model)
    mx.eval(model.parameters())
    return model


def packed_language_model(size: str, bits: int) -> nn.Module:
    """As mlx-lm runs it: packed where it was quantized, in groups of 64."""
    model = build_language_model(LANGUAGE_MODELS[size])
    _fill(model)
    if bits != DENSE:
        nn.quantize(model, group_size=64, bits=bits)
    mx.eval(model.parameters())
    return model


def _fill(module: nn.Module) -> None:
    """Small numbers; lazily, so that a quantized layer is never dense in memory."""
    dtype = pick_dtype()

    def random(array: mx.array) -> mx.array:
        return (0.02 * mx.random.normal(array.shape)).astype(dtype)

    module.update(tree_map(random, module.parameters()))
    module.eval()

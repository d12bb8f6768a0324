"""Models of the true sizes with random weights, so that nothing is downloaded.

Speed does not depend on the values. The sizes are those of `fastvlm_mlx.geometry`.
"""

import mlx.nn as nn
from mlx.utils import tree_map

from fastvlm_mlx.config import FASTVITHD
from fastvlm_mlx.device.backend import current, mx, pick_dtype
from fastvlm_mlx.device.memory import memory_size
from fastvlm_mlx.model.dequantize import prepare
from fastvlm_mlx.model.fastvlm import Projector
from fastvlm_mlx.model.fused_projections import join_projections
from fastvlm_mlx.model.language import build_language_model
from fastvlm_mlx.model.vision import FastViTHD
from fastvlm_mlx.planning.geometry import GEOMETRIES, published_config

LANGUAGE_MODELS = {
    name.upper(): published_config(name).text_config for name in GEOMETRIES
}

DENSE = 0
"""In place of a number of bits: weights that are not quantized."""


def random_tower() -> FastViTHD:
    """FastViTHD, 125 M parameters, in the backend's own dtype."""
    tower = FastViTHD(FASTVITHD)
    _fill(tower)
    # drawn in the first encode, they would lie between activations, and the second
    # would find no room for its own: two encodes, not one, would have to warm up
    mx.eval(tower.parameters())
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
        prepare(model, pick_dtype(), memory_size())
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

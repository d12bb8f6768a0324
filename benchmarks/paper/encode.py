"""How long an encoder takes for one picture.

Tiles are encoded one after another, as the paper counts them, so one is measured.
"""

import mlx.nn as nn

from benchmarks.paper.effort import Effort
from benchmarks.paper.encoders.catalogue import ENCODERS
from benchmarks.paper.encoders.random_weights import randomize
from benchmarks.paper.encoders.vit import VisionTransformer
from fastvlm_mlx.device.backend import mx, pick_dtype


def encode_seconds(encoder: str, side: int, effort: Effort) -> float:
    """Time of one picture (1, side, side, 3), random weights."""
    mx.clear_cache()  # of the network before
    network = ENCODERS[encoder].build(side)
    randomize(network, pick_dtype())
    compile_operations(network)
    pixel_values = mx.random.uniform(shape=(1, side, side, 3)).astype(pick_dtype())
    return effort.seconds(lambda: mx.eval(network(pixel_values)))


def compile_operations(network: nn.Module) -> None:
    """Have MLX compile what it will need, which on the CPU takes seconds.

    A convolutional network takes any size; a ViT only its own, but its blocks are alike
    and take any number of positions.
    """
    if isinstance(network, VisionTransformer):
        x = mx.zeros((1, 2, network.pos_embed.shape[-1]), dtype=pick_dtype())
        mx.eval(network.blocks[0](x))
    else:
        mx.eval(network(mx.zeros((1, 128, 128, 3), dtype=pick_dtype())))

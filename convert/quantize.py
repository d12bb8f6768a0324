"""Which weights are stored in few bits, and the storing."""

from dataclasses import dataclass

from fastvlm_mlx.backend import mx
from fastvlm_mlx.config import QuantizationConfig
from fastvlm_mlx.errors import OptionError

from .layout import Weights
from .names import LANGUAGE


@dataclass(frozen=True)
class Recipe:
    """The tower and the projector keep full precision; the language model does not.

    Raises:
        OptionError: bits or group size that MLX has no kernel for.
    """

    bits: int
    group_size: int = 64
    embeddings: bool = True  # the embedding and the head too

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.group_size not in (32, 64, 128):
            raise OptionError(
                f"{self.bits} bits in groups of {self.group_size}; "
                "expected 4 or 8 bits in groups of 32, 64 or 128."
            )

    @property
    def config(self) -> QuantizationConfig:
        """What config.json says about it."""
        return QuantizationConfig(self.bits, self.group_size)

    def covers(self, name: str, array: mx.array) -> bool:
        """Whether a weight is quantized: the matrices of the language model."""
        if not name.startswith(LANGUAGE) or array.ndim != 2:
            return False
        outer = name.endswith(("embed_tokens.weight", "lm_head.weight"))
        return self.embeddings or not outer


def quantize(weights: Weights, recipe: Recipe) -> Weights:
    """Replace each covered `name.weight` by its packed form, scales and biases."""
    quantized: Weights = {}
    for name, array in weights.items():
        if recipe.covers(name, array):
            quantized |= _quantize(name, array, recipe)
        else:
            quantized[name] = array
    return quantized


def _quantize(name: str, array: mx.array, recipe: Recipe) -> Weights:
    if array.shape[1] % recipe.group_size:
        raise OptionError(
            f"{name} has rows of {array.shape[1]}, which groups of "
            f"{recipe.group_size} do not divide; choose a smaller --group-size."
        )
    packed, scales, biases = mx.quantize(array, recipe.group_size, recipe.bits)
    module = name.removesuffix("weight")
    return {name: packed, f"{module}scales": scales, f"{module}biases": biases}

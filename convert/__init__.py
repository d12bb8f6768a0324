"""PyTorch checkpoint in, folder of fused MLX weights out.

Installed as `fastvlm_mlx.convert`; inside a checkout it is the folder `convert`.
"""

from .checkpoint import ConversionReport, convert_checkpoint
from .recipe import Recipe

__all__ = ["ConversionReport", "Recipe", "convert_checkpoint"]

"""Checkpoint of any published layout in, folder of fused MLX weights out.

Installed as `fastvlm_mlx.convert`; inside a checkout it is the folder `convert`.
"""

from .checkpoint import ConversionReport, convert_checkpoint
from .hub import download, downloads_of, upload
from .inspection import Inspection, inspect_folder
from .quality import Quality, compare_folders
from .questions import check_samples
from .recipe import Recipe
from .write import remove_folder

__all__ = [
    "ConversionReport",
    "Inspection",
    "Quality",
    "Recipe",
    "check_samples",
    "compare_folders",
    "convert_checkpoint",
    "download",
    "downloads_of",
    "inspect_folder",
    "remove_folder",
    "upload",
]

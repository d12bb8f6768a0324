"""How lmms-eval finds us: its entry point "lmms_eval.models" in pyproject.toml.

With both packages installed, `--model fastvlm_mlx` is known there. This file is read
whenever lmms-eval starts, so it imports nothing of a model.
"""

from typing import Any


def manifest() -> Any:
    """The model's name and home, as lmms-eval 0.7 wants to be told."""
    from lmms_eval.models.registry_v2 import ModelManifest

    home = f"{__package__}.lmms_model.FastVLMForLmms"
    return ModelManifest(model_id="fastvlm_mlx", simple_class_path=home)

"""Lets timm and transformers' timm models be imported without torchvision.

Both import torchvision for image transforms and feature extraction, which nano does not
use; a CPU build that matches the installed torch is not always available. Importing
this module registers empty modules under the names that the two import, unless a real
torchvision works. Import it before timm: transformers has timm models only where it
finds torchvision.
"""

import importlib
import sys
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import nn

MODULES = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.io",
    "torchvision.models",
    "torchvision.models.feature_extraction",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.transforms.v2",
    "torchvision.transforms.v2.functional",
)


class InterpolationMode(Enum):
    """The names that timm and transformers put into tables while they are imported."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _StubModule(ModuleType):
    """A module in which every other public name is an empty layer class.

    timm subclasses some of these names and tests others with `isinstance`; one of them
    is a normalization layer.
    """

    __version__ = "0.0"  # older than any feature that transformers asks about
    InterpolationMode = InterpolationMode

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"the torchvision stub has no {name!r}")
        stub = type(name, (nn.Module,), {})
        setattr(self, name, stub)
        return stub


def torchvision_works() -> bool:
    """Whether a real torchvision (or the stub) can be imported."""
    try:
        importlib.import_module("torchvision.transforms.functional")
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        return False
    return True


def install() -> None:
    """Register the stub modules, unless torchvision can be imported."""
    if torchvision_works():
        return
    for name in MODULES:
        module = _StubModule(name)
        # `importlib.util.find_spec` refuses modules without a spec.
        module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
        module.__path__ = []
        sys.modules[name] = module
    for name in MODULES[1:]:
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, sys.modules[name])
    _forget_absence()


def _forget_absence() -> None:
    """Clear what transformers has cached about installed packages."""
    module = sys.modules.get("transformers.utils.import_utils")
    for name in ("is_torchvision_available", "is_timm_available"):
        if module is not None:
            getattr(module, name).cache_clear()


install()

"""Stands in for torchvision, so that timm can be imported without it.

timm 1.0 imports torchvision for augmentations, data sets and one BatchNorm class;
transformers 5 asks only whether it is there. FastViTHD uses none of it, so
`install()` answers every `torchvision.*` import with an empty module whose
attributes are empty classes. Where the real package is installed, nothing happens.
"""

import enum
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

# timm builds a table from these members when it is imported.
InterpolationMode = enum.Enum(
    "InterpolationMode", "NEAREST NEAREST_EXACT BILINEAR BICUBIC BOX HAMMING LANCZOS"
)


class _StubModule(ModuleType):
    """A module in which every public name is an empty class."""

    __path__: list[str] = []
    __version__ = "0.0.0"  # transformers compares it; old enough to switch nothing on

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        known: dict[str, object] = {"InterpolationMode": InterpolationMode}
        value = known.get(name) or type(name, (), {})
        setattr(self, name, value)  # the same class at every look-up
        return value


class _StubLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module is empty."""


class _StubFinder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "torchvision":
            return None
        return ModuleSpec(fullname, _StubLoader(), is_package=True)


def install() -> None:
    """Answer `import torchvision` with the stub, unless the real one is there."""
    if find_spec("torchvision") is None:
        sys.meta_path.append(_StubFinder())
        _forget_absence()


def _forget_absence() -> None:
    """Let transformers look again, if it has already looked and remembers."""
    module = sys.modules.get("transformers.utils.import_utils")
    for name in ("is_torchvision_available", "is_timm_available"):
        if module is not None:
            getattr(module, name).cache_clear()

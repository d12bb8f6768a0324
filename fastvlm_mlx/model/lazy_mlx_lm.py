"""mlx-lm's models, caches and samplers, without opening its front door.

`import mlx_lm` imports transformers and the whole of its server side, two seconds
that would stand before every first token. The models need none of it. So the
package is entered in `sys.modules` unexecuted, and its own `__init__` runs, in the
same module object, when somebody asks for a name that only it defines.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_DEFINED = ("__version__", "__all__")


def mlx_lm(submodule: str) -> ModuleType:
    """Import `mlx_lm.<submodule>`, for example "models.qwen2"."""
    if "mlx_lm" not in sys.modules:
        sys.modules["mlx_lm"] = _unexecuted("mlx_lm")
    return importlib.import_module(f"mlx_lm.{submodule}")


def _unexecuted(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def execute_then_get(attribute: str) -> Any:
        dunder = attribute.startswith("__") and attribute not in _DEFINED
        if dunder:  # other code probes modules for such names
            raise AttributeError(attribute)
        vars(module).pop("__getattr__", None)
        loader.exec_module(module)
        return getattr(module, attribute)

    vars(module)["__getattr__"] = execute_then_get
    return module

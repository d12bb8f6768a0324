"""Which model this is: a digest over its config, its weights and this version.

By content and not by name, since a folder may be converted anew under its old name.
Reading every weight takes about a second per gigabyte, so it is asked for only where
something is to outlive the process.
"""

import hashlib
import json
from collections.abc import Iterable

import mlx.nn as nn
from mlx.utils import tree_flatten

from ..config import FastVLMConfig
from ..device.array_file import content_digest
from ..device.backend import current
from ..version import __version__


def model_identity(config: FastVLMConfig, parts: Iterable[nn.Module]) -> str:
    """SHA-256 over what these parts of a model compute.

    Device and version belong to it: other code may round otherwise.
    """
    digest = hashlib.sha256(f"{__version__} {current()} ".encode())
    digest.update(json.dumps(config.to_dict(), sort_keys=True).encode())
    for part in parts:
        parameters = dict(tree_flatten(part.parameters()))
        digest.update(content_digest(parameters).encode())
    return digest.hexdigest()

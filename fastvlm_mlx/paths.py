"""A path as somebody typed it, and the folder for what can be made again."""

import os
from pathlib import Path

from .errors import CheckpointError

CACHE_VARIABLE = "FASTVLM_MLX_CACHE"
"""Environment variable that moves the cache folder."""

KERNELS = "kernels"
"""The folder in the cache folder for kernels that MLX compiled."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """Replace a `~` or `~user` that the path begins with by that home folder.

    Only a text knows how it was typed: `./~/x` is a folder called `~` here, and a Path
    made of it has lost the `./`. So texts are given to this function unchanged. What
    it returns never begins with `~`, so giving it back changes nothing.

    >>> expanded("~/models/nano")
    PosixPath('/home/me/models/nano')
    >>> expanded("./~/models")
    PosixPath('/the/current/folder/~/models')
    """
    found = Path(os.path.expanduser(os.fspath(path)))
    return Path.cwd() / found if str(found).startswith("~") else found


def cache_folder() -> Path:
    """Where converted models and kernels are kept; FASTVLM_MLX_CACHE moves it.

    Raises:
        CheckpointError: it is in a home folder, and the user has none.
    """
    stated = os.environ.get(CACHE_VARIABLE)
    base = stated or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = expanded(base)
    if base.startswith("~") and os.path.expanduser(base) == base:
        raise CheckpointError(  # a user without a home, as in some containers
            f"{base} does not exist; set {CACHE_VARIABLE} to a folder for models."
        )
    return folder if stated else folder / "fastvlm-mlx"

"""A path as somebody typed it, and the file that it means."""

import os
from pathlib import Path


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

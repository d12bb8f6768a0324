"""Images as a person types them, drags them onto a terminal, or pipes them in."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

from ..errors import ImageError, shortened
from ..paths import expanded

STDIN = "-"

_SHELL_WORD = re.compile(r"""\s*((?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s\\'"])+)""")
"""One word as a shell reads it: what a terminal writes for a file that is dragged."""

_ESCAPED = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)\"""")

_NAME = re.compile(
    r"\.(apng|avifs?|bmp|bw|cur|dib|gif|hei[cf]s?|hif|icb|ico|j2[ck]|jfif|jp2|jp[cfx]"
    r"|jpe?g?|mpo|p[bgnp]m|pcx|png|qoi|rgba?|sgi|tga|tiff?|vda|vst|webp)$",
    re.IGNORECASE,
)
"""What the names of image files end with, as in images/formats, which takes a while to
import: a file that is missing is known by it."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.IGNORECASE)


def image_source(typed: str) -> str:
    """What stands for an image, as the engine takes it.

    Args:
        typed: a path, a path as a terminal writes it (`my\\ photo.jpg`, in quotes,
            or `file://…`), or a URL.

    Returns:
        The file's path if there is one; else what was typed, to be refused by name.
    """
    if is_there(typed):
        return str(expanded(typed))
    found = _SHELL_WORD.fullmatch(typed.rstrip())
    dragged = _unescaped(found[1]) if found else typed
    return str(expanded(dragged)) if is_there(dragged) else typed


def leading_images(line: str) -> tuple[list[str], str]:
    """Images that a line begins with, and the rest of it.

    >>> leading_images("my\\\\ photo.jpg what is this?")
    (['my photo.jpg'], 'what is this?')
    """
    line = line.strip()
    if line and is_there(line):
        return [str(expanded(line))], ""
    images, rest = [], line
    while found := _SHELL_WORD.match(rest):
        name = _unescaped(found[1])
        if not is_there(name):
            break
        images.append(str(expanded(name)))
        rest = rest[found.end() :]
    return images, rest.strip()


def split_words(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Images and the question among words of a command line, in any order.

    Words that are no images are the question, which need not be in quotes.
    """
    images = [word for word in words if _is_meant_as_image(word, words)]
    question = " ".join(word for word in words if word not in images)
    return images, question or None


def _is_meant_as_image(word: str, words: Sequence[str]) -> bool:
    """A file here by its name or place; a missing one by its name alone."""
    alone = len(words) == 1
    if is_there(image_source(word)):
        return alone or word != words[-1] or os.sep in word or looks_like_image(word)
    return looks_like_image(word) and (alone or " " not in word)


def looks_like_image(word: str) -> bool:
    """Whether a word is meant as an image, whether it is there or not."""
    name = word.rstrip().rstrip("'\"")
    return word == STDIN or bool(_URL.match(word) or _NAME.search(name))


def check_image(source: str) -> None:
    """Read an image's header, so that what is no image is refused at once.

    Raises:
        ImageError: there is no such file, or it is no image.
    """
    from ..images.decode import upright_size

    refuse_folder(source)
    upright_size(source)


def refuse_folder(source: str) -> None:
    """Refuse a folder where one image is expected, and say what takes folders.

    Raises:
        ImageError: it is a folder.
    """
    if not _URL.match(source) and os.path.isdir(expanded(source)):
        raise ImageError(
            f"{shortened(source)} is a folder; expected an image file. "
            "fastvlm-mlx batch asks about all images of a folder."
        )


def is_there(typed: str) -> bool:
    """Whether there is such a file or folder; what no system can name is none."""
    if _URL.match(typed):
        return False
    try:
        return bool(typed) and os.path.exists(expanded(typed))
    except (OSError, ValueError):
        return False


def _unescaped(word: str) -> str:
    """A shell's word without its quotes and backslashes, or a file: URL's path."""

    def plain(found: re.Match[str]) -> str:
        if found[3] is not None:
            return re.sub(r'\\(["\\$`])', r"\1", found[3])
        return found[1] or found[2] or ""

    name = _ESCAPED.sub(plain, word)
    if name.startswith("file://"):
        return str(Path(unquote(urlparse(name).path)))
    return name

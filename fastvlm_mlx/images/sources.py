"""What may stand for an image, and the bytes of those that are files."""

import base64
import binascii
import inspect
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError, shortened
from ..paths import expanded
from .arrays import ArrayLike, as_numpy, is_array


class BinaryFile(Protocol):
    """Anything opened for reading bytes."""

    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class ImageFile:
    """An encoded image as it was read, and what to call it in errors."""

    data: bytes
    name: str


ImageSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | BinaryFile
    | Image.Image
    | NDArray[Any]
    | ArrayLike
    | ImageFile
    | Future[Image.Image]
)

MAX_FILE_BYTES = 1 << 30
"""No encoded image of MAX_PIXELS is larger; a larger file is not read."""

_READ_AT_ONCE = 1 << 20

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path makes one slash of two
_DATA_URL = re.compile(r"data:", re.IGNORECASE)
_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)


def read_file(source: object) -> ImageFile | None:
    """The bytes of an image file, undecoded; None if the source is no file.

    Args:
        source: a path, a data: URL, bytes, or an open file. That is read from its
            beginning, wherever it stands, and left as it was; one that cannot go back
            (a pipe) is read on from where it stands.

    Raises:
        ImageError: the file cannot be read.
    """
    if isinstance(source, ImageFile):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return ImageFile(bytes(source), "the image data")
    if isinstance(source, str) and is_data_url(source):
        return ImageFile(_data_of(source), shortened(source))
    if isinstance(source, str | os.PathLike):
        return ImageFile(_read(source), shortened(os.fspath(source)))
    if callable(getattr(source, "read", None)):
        return _read_opened(source)
    return None


def is_data_url(text: str) -> bool:
    """Whether a text holds an image itself (RFC 2397), where a path may stand."""
    return bool(_DATA_URL.match(text))


def is_url(text: str) -> bool:
    """Whether a text is a URL of any kind."""
    return bool(_URL.match(text)) or is_data_url(text)


def taken(source: Any) -> Any:
    """A source that any thread may open later.

    Values of arrays are had in the thread that made them, and an open file is read
    while it is open.

    Raises:
        ImageError: as `read_file`, and of arrays as `as_numpy`.
    """
    if is_array(source):
        return as_numpy(source)
    is_open = not isinstance(source, Image.Image) and hasattr(source, "read")
    return read_file(source) if is_open else source


def check_file(path: str | os.PathLike[str]) -> Path | str:
    """Find a file that may be an image, without reading it.

    Returns:
        Where it is; a data: URL as it was given.

    Raises:
        ImageError: there is none, or it is too large or no file at all.
    """
    if isinstance(path, str) and is_data_url(path):
        _data_of(path)
        return path
    return _found(path)


def _found(path: str | os.PathLike[str]) -> Path:
    name = shortened(os.fspath(path))
    if is_data_url(str(path)):
        raise ImageError(f"{name} is a data: URL in a Path; give it as a text.")
    if _URL.match(str(path)):
        raise ImageError(f"{name} is a URL; download the image and give its path.")
    try:
        file = expanded(path)
        size = file.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; expected an image file.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}.") from None
    if size > MAX_FILE_BYTES or not (file.is_file() or file.is_dir()):
        raise ImageError(
            f"{name} is not a file of at most {MAX_FILE_BYTES:,} bytes; "
            "expected an image file."
        )
    return file


def _read(path: str | os.PathLike[str]) -> bytes:
    name = shortened(os.fspath(path))
    try:
        return _found(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; expected an image file.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}.") from None


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


def _data_of(url: str) -> bytes:
    """The bytes in a data: URL (RFC 2397), in base64 or percent-encoded."""
    name = shortened(url)
    head, comma, body = url.partition(",")
    if not comma:
        raise ImageError(f"{name} has no comma; expected data:image/png;base64,…")
    data = unquote_to_bytes(body)
    if not _BASE64.search(head):
        return data
    digits = b"".join(data.split()).translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"{name} is not base64 ({error}); was it cut off? Expected "
            "data:image/png;base64,…"
        ) from None


def _read_opened(file: Any) -> ImageFile:
    name = getattr(file, "name", None)
    name = shortened(name) if isinstance(name, str) else "the open file"
    if inspect.iscoroutinefunction(file.read):
        raise ImageError(f"{name} has to be awaited; give the bytes that it reads.")
    try:
        before = file.tell() if _can_seek(file) else None
        if before is not None:
            file.seek(0)
        parts = [*_parts(file)]
        if before is not None:
            file.seek(before)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}.") from None
    if not all(isinstance(part, bytes) for part in parts):
        kind = type(parts[-1]).__name__
        raise ImageError(f'{name} gives {kind}, not bytes; open it with mode "rb".')
    if sum(map(len, parts)) > MAX_FILE_BYTES:
        raise ImageError(f"{name} has more than {MAX_FILE_BYTES:,} bytes.")
    return ImageFile(b"".join(parts), name)


def _parts(file: Any) -> Iterator[Any]:
    """To the end, or a little beyond what is allowed; a pipe gives little at a time."""
    left = MAX_FILE_BYTES
    while left >= 0 and (part := file.read(_READ_AT_ONCE)):
        yield part
        left -= len(part)


def _can_seek(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if callable(seekable) else hasattr(file, "seek")

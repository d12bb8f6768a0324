"""A picture in, an upright RGB image out, of whatever it was made as.

One thing is not exact unless asked for: a JPEG many times larger than the model's input
is decoded smaller. With frame.py, which brings the image to that input's size, this is
the only file that knows PIL.
"""

import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import ImageError
from .preprocessing import Fit
from .resize import Pixels, covering, framed, prepare

ImageSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | Image.Image
    | NDArray[np.generic]
    | Future[Image.Image]
)


@dataclass(frozen=True)
class PictureFile:
    """An encoded picture as it was read, and what to call it in errors."""

    data: bytes
    name: str


MAX_PIXELS = 178_956_970
"""Pillow's own bound for a decompression bomb: half a gigabyte of RGB."""

MAX_FILE_BYTES = 1 << 30
"""No encoded picture of MAX_PIXELS is larger; a larger file is not read."""

MAX_ASPECT = 100
"""A longer strip would leave next to nothing of its short side."""

DECODE_MARGIN = 1.75
"""How many times larger than the model's input a JPEG must still be when it is
decoded smaller. On photographs the pixels then differ from those of the whole picture
by less than 1 of 255 on average, and 99.9 % of them by at most 8
(benchmarks/README.md)."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")  # Path makes one slash of two

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_ON_ITS_SIDE = tuple(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
"""Turns that exchange height and width."""


def read_file(source: ImageSource | PictureFile) -> PictureFile | None:
    """The bytes of a picture file, undecoded; None if the source is no file.

    Raises:
        ImageError: the file cannot be read.
    """
    if isinstance(source, PictureFile):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return PictureFile(bytes(source), "the image data")
    if isinstance(source, str | os.PathLike):
        return PictureFile(_read(Path(source)), str(source))
    return None


def open_image(
    source: ImageSource | PictureFile,
    size: tuple[int, int] | None = None,
    mode: Fit = "pad",
) -> Image.Image:
    """Decode a picture, turn it upright and make it RGB.

    Args:
        source: a path, the bytes of a picture file, what `read_file` gave, a PIL
            image, or a NumPy array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of
            uint8, or of floats in [0, 1]; or a future of `open_ahead`, which is
            waited for.
        size: (H, W) that the picture will be brought to by `prepare`, with `mode`.
            A JPEG much larger is then decoded at a half, a quarter or an eighth of
            its sides, which is several times faster and nearly the same picture
            (DECODE_MARGIN); if it lies on its side, it comes back at `size`, since
            turning is cheap then. None decodes every pixel.

    Raises:
        ImageError: no picture can be read from the source, or it is too large or
            too narrow to be used.
    """
    with warnings.catch_warnings():  # Pillow's, about metadata; what matters is raised
        warnings.simplefilter("ignore")
        return _open(source, size, mode)


def upright_size(source: ImageSource | PictureFile) -> tuple[int, int]:
    """(H, W) of a picture in pixels, by its header; nothing is decoded.

    Raises:
        ImageError: as `open_image`, where the header shows it.
    """
    with warnings.catch_warnings():  # Pillow's, about metadata
        warnings.simplefilter("ignore")
        file = read_file(source)
        if file is not None:
            image = _header(file)
        elif isinstance(source, Image.Image):
            image = _checked(source, "the image")
        else:
            image = _open(source, None, "pad")
        width, height = image.size
        return (width, height) if _turn(image) in _ON_ITS_SIDE else (height, width)


def open_ahead(
    sources: Sequence[ImageSource],
    frame: Callable[[ImageSource | PictureFile], tuple[tuple[int, int], Fit]],
    exact: bool = False,
) -> list[Future[Image.Image]]:
    """Bring pictures to the model's size in a thread, while the model is loaded.

    Args:
        frame: (H, W) in pixels for a picture, and how it comes to fill that.
        exact: decode even the largest JPEG in full.

    Returns:
        One for each source, in order; each may stand wherever a source may, and what
        is wrong with a picture is raised when it is opened there.
    """
    futures: list[Future[Image.Image]] = [Future() for _ in sources]

    def run() -> None:
        for source, future in zip(sources, futures, strict=True):
            try:
                file = read_file(source) or source
                size, mode = frame(file)
                image = open_image(file, None if exact else size, mode)
                future.set_result(Image.fromarray(prepare(image, size, mode)))
            except Exception as error:
                future.set_exception(error)

    # a daemon, so that a command that is stopped does not wait for it
    threading.Thread(target=run, daemon=True).start()
    return futures


def _open(
    source: ImageSource | PictureFile, size: tuple[int, int] | None, mode: Fit
) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _checked(_from_array(source), "the array")
    if isinstance(source, Image.Image):
        return _upright_rgb(_checked(source, "the image"), "the image")
    if isinstance(source, Future):
        return source.result()
    file = read_file(source)
    if file is not None:
        return _decoded(_header(file), file.name, size, mode)
    raise ImageError(
        f"An image cannot be a {type(source).__name__}; "
        "expected a path, bytes, a PIL image or a NumPy array."
    )


def check_file(path: str | os.PathLike[str]) -> Path:
    """Find a file that may be a picture, without reading it.

    Raises:
        ImageError: there is none, or it is too large or no file at all.
    """
    if _URL.match(str(path)):
        raise ImageError(f"{path} is a URL; download the picture and give its path.")
    try:
        file = Path(os.path.expanduser(path))
        size = file.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; expected a picture file.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {_reason(error)}.") from None
    if size > MAX_FILE_BYTES or not (file.is_file() or file.is_dir()):
        raise ImageError(
            f"{path} is not a file of at most {MAX_FILE_BYTES:,} bytes; "
            "expected a picture file."
        )
    return file


def _read(path: Path) -> bytes:
    try:
        return check_file(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; expected a picture file.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {_reason(error)}.") from None


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


def _header(file: PictureFile) -> Image.Image:
    """A picture of which only the header was read, and its size found usable."""
    data, name = file.data, file.name
    if not data:
        raise ImageError(f"{name} is empty; expected a picture file.")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ImageError(
            f"{name} is not a picture that Pillow can read; "
            "expected for example PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large: {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged headers
        raise ImageError(f"{name} has a damaged header: {error}.") from None
    return _checked(image, name)


def _decoded(
    image: Image.Image, name: str, size: tuple[int, int] | None, mode: Fit
) -> Image.Image:
    """Decode, no larger than the frame needs, and turn upright."""
    if size is None or not _decode_smaller(image, size, mode):
        return _upright_rgb(image, name)
    turn = _turn(image)
    if turn in _ON_ITS_SIDE and _symmetric(image.size, size[::-1], mode):
        lying = prepare(_to_rgb(_loaded(image, name), name), size[::-1], mode)
        return Image.fromarray(lying).transpose(turn)
    return _upright_rgb(image, name)


def _symmetric(image_size: tuple[int, int], size: tuple[int, int], mode: Fit) -> bool:
    """Whether as much is cut on the left as on the right, and above as below.

    Black is: a share is only taken if it divides what is left of and above the picture.

    Args:
        image_size: (W, H) of the picture.
        size: (H, W) of the frame.
    """
    width, height = covering(*image_size, *size)
    odd = (width - size[1]) % 2 or (height - size[0]) % 2
    return mode != "crop" or not odd


def _decode_smaller(image: Image.Image, size: tuple[int, int], mode: Fit) -> bool:
    """Let a JPEG's decoder drop what the frame has no room for.

    It leaves out the higher frequencies of each 8x8 block, which costs nothing;
    decoders of other formats take no notice. Only a share that divides the picture
    and the black around it is taken, so that the smaller one lies exactly where the
    whole one would.

    Returns:
        Whether the decoder takes notice.
    """
    on_its_side = _turn(image) in _ON_ITS_SIDE
    width, height = image.size[::-1] if on_its_side else image.size
    ratios = (width / size[1], height / size[0])
    ratio = max(ratios) if mode == "pad" else min(ratios)
    frame = framed(width, height, *size) if mode == "pad" else ()
    for share in (8, 4, 2):
        fits = not any(side % share for side in (width, height, *frame))
        if fits and ratio >= share * DECODE_MARGIN:
            smaller = image.width // share, image.height // share
            return image.draft(None, smaller) is not None
    return False


def _checked(image: Image.Image, name: str) -> Image.Image:
    """Refuse by the size in the header, before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width}x{height} pixels; at most {MAX_PIXELS:,} are decoded. "
            "Make it smaller first."
        )
    if min(width, height) == 0 or max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{name} has {width}x{height} pixels; the long side may be at most "
            f"{MAX_ASPECT} times the short one. Cut it into parts."
        )
    return image


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    return _to_rgb(_upright(_loaded(image, name)), name)


def _loaded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise ImageError(f"{name} is damaged or cut off: {error}.") from None
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation.

    PIL's own exif_transpose also writes the metadata anew, and gives up on the
    orientation when any other tag is damaged.
    """
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes it upright; damaged metadata does not spoil a good picture."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the parser raises nearly anything on damaged metadata
        return None


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_array(_sixteen_to_eight(np.asarray(image), name))
    if image.mode == "F":
        raise ImageError(f"{name} holds floating-point pixels; save it with 8 bits.")
    try:
        if image.has_transparency_data:
            return _on_white(image)
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise ImageError(
            f"{name} has the mode {image.mode!r}, which cannot become RGB; save it "
            "as RGB."
        ) from None


def _on_white(image: Image.Image) -> Image.Image:
    """Show what is transparent as white paper, as transformers' image processors do."""
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _sixteen_to_eight(values: NDArray[np.generic], name: str) -> Pixels:
    """16-bit grey to 8 bits. PIL's convert("RGB") would clip it to white."""
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise ImageError(f"{name} holds 32-bit pixels; save it with 8 or 16 bits.")
    return ((wide + 128) // 257).astype(np.uint8)


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ImageError(
            f"An image array has the shape {array.shape}; expected (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4)."
        )
    if 0 in array.shape:
        raise ImageError(f"An image array has the shape {array.shape}: no pixels.")
    return _to_rgb(Image.fromarray(_to_bytes(array)), "the array")


def _to_bytes(array: NDArray[np.generic]) -> Pixels:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"An image array holds {array.dtype}; expected uint8, or floats in [0, 1]."
        )
    floats = array.astype(np.float64)
    if not (np.isfinite(floats).all() and floats.min() >= 0 and floats.max() <= 1):
        raise ImageError("An image array of floats must stay within [0, 1].")
    return np.round(floats * 255).astype(np.uint8)

"""An image in, an upright RGB image out, of whatever it was made as.

One thing is not exact unless asked for: a JPEG many times larger than the model's input
is decoded smaller.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from PIL import Image

from ..errors import ImageError, shortened
from .arrays import as_numpy, image_from, is_array
from .callers import header_of_callers
from .colours import to_rgb
from .formats import NAMES, format_of
from .formats.header import Damaged, Header, Unreadable, header_of
from .preprocessing import Fit
from .resize import covering, framed, prepare
from .sources import (
    MAX_FILE_BYTES,
    ImageFile,
    ImageSource,
    check_file,
    read_file,
)

__all__ = [
    "MAX_FILE_BYTES",
    "ImageSource",
    "ImageFile",
    "check_file",
    "open_ahead",
    "open_image",
    "read_file",
    "upright_size",
]

MAX_PIXELS = 178_956_970
"""Pillow's own bound for a decompression bomb: half a gigabyte of RGB."""

MAX_ASPECT = 100
"""A longer strip would leave next to nothing of its short side."""

DECODE_MARGIN = 1.75
"""How many times larger than the model's input a JPEG must still be when it is
decoded smaller. On photographs the pixels then differ from those of the whole image
by less than 1 of 255 on average, and 99.9 % of them by at most 8
(benchmarks/README.md)."""

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

_ON_ITS_SIDE = (5, 6, 7, 8)
"""Orientations that exchange height and width."""


def open_image(
    source: ImageSource,
    size: tuple[int, int] | None = None,
    mode: Fit = "pad",
) -> Image.Image:
    """Decode an image, turn it upright and make it RGB.

    Args:
        source: a path, a data: URL, the bytes of an image file, an open file, what
            `read_file` gave, a PIL image, or an array, of NumPy or another library:
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8, or of floats in
            [0, 1]; or a future of `open_ahead`, which is waited for.
        size: (H, W) that the image will be brought to by `prepare`, with `mode`.
            A JPEG much larger is then decoded at a half, a quarter or an eighth of
            its sides, which is several times faster and nearly the same image
            (DECODE_MARGIN); if it lies on its side, it comes back at `size`, since
            turning is cheap then. None decodes every pixel.

    Raises:
        ImageError: no whole image can be read from the source, or it is too large or
            too narrow to be used.
    """
    if isinstance(source, Future):
        return source.result()
    header, name = _header(source)
    return _decoded(header, name, size, mode)


def upright_size(source: ImageSource) -> tuple[int, int]:
    """(H, W) of an image in pixels, by its header; nothing is decoded.

    Raises:
        ImageError: as `open_image`, where the file shows it undecoded.
    """
    if isinstance(source, Future):
        width, height = source.result().size
        return height, width
    header, _ = _header(source)
    width, height = header.size
    return (width, height) if header.orientation in _ON_ITS_SIDE else (height, width)


def open_ahead(
    sources: Sequence[ImageSource],
    frame: Callable[[ImageSource], tuple[tuple[int, int], Fit]],
    exact: bool = False,
) -> list[Future[Image.Image]]:
    """Bring images to the model's size in a thread, while the model is loaded.

    Args:
        frame: (H, W) in pixels for an image, and how it comes to fill that.
        exact: decode even the largest JPEG in full.

    Returns:
        One for each source, in order; each may stand wherever a source may, and what
        is wrong with an image is raised when it is opened there.
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


def _header(source: ImageSource) -> tuple[Header, str]:
    """What decodes a source, and what to call it in errors."""
    file = read_file(source)
    if file is not None:
        return _checked(_header_of_file(file), file.name), file.name
    if isinstance(source, Image.Image):
        try:
            header = header_of_callers(source)
        except Damaged as error:
            raise _damaged("the image", error) from None
        return _checked(header, "the image"), "the image"
    if is_array(source):
        image = image_from(as_numpy(source))
        return _checked(header_of(image), "the array"), "the array"
    raise ImageError(
        f"An image cannot be a {type(source).__name__}; expected a path, a data: URL, "
        "bytes, an open file, a PIL image or an array."
    )


def _header_of_file(file: ImageFile) -> Header:
    data, name = file.data, file.name
    if not data:
        raise ImageError(f"{name} is empty; expected an image file.")
    found = format_of(data)
    if found is None:
        raise ImageError(f"{name} is not an image that is read here; expected {NAMES}.")
    try:
        return found.read(data)
    except Damaged as error:
        raise _damaged(name, error) from None
    except Unreadable as error:
        raise ImageError(f"{name} {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged headers
        raise ImageError(
            f"{name} has a damaged {found.name} header: {shortened(error)}."
        ) from None


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is damaged or cut off: {shortened(error)}.")


def _checked(header: Header, name: str) -> Header:
    """Refuse by the size in the header, before any pixel is decoded."""
    width, height = header.size
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
    return header


def _decoded(
    header: Header, name: str, size: tuple[int, int] | None, mode: Fit
) -> Image.Image:
    """Decode, no larger than the frame needs, and turn upright."""
    smaller = size is not None and _decode_smaller(header, size, mode)
    image = to_rgb(_loaded(header, name, smaller), name)
    turn = _UPRIGHT.get(header.orientation)
    if turn is None:
        return image
    if smaller and size is not None and header.orientation in _ON_ITS_SIDE:
        lying = size[::-1]
        if _symmetric(image.size, lying, mode):
            image = Image.fromarray(prepare(image, lying, mode))
    return image.transpose(turn)


def _loaded(header: Header, name: str, smaller: bool) -> Image.Image:
    try:
        image = header.decode()
    except Unreadable as error:
        raise ImageError(f"{name} {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise _damaged(name, error) from None
    if image.size != header.size and not smaller:
        sizes = [f"{width}x{height}" for width, height in (image.size, header.size)]
        raise ImageError(
            f"{name} is damaged: it has {sizes[0]} pixels, not {sizes[1]}."
        )
    return image


def _symmetric(image_size: tuple[int, int], size: tuple[int, int], mode: Fit) -> bool:
    """Whether as much is cut on the left as on the right, and above as below.

    Black is: a share is only taken if it divides what is left of and above the image.

    Args:
        image_size: (W, H) of the image.
        size: (H, W) of the frame.
    """
    width, height = covering(*image_size, *size)
    odd = (width - size[1]) % 2 or (height - size[0]) % 2
    return mode != "crop" or not odd


def _decode_smaller(header: Header, size: tuple[int, int], mode: Fit) -> bool:
    """Let a JPEG's decoder drop what the frame has no room for.

    It leaves out the higher frequencies of each 8x8 block, which costs nothing;
    decoders of other formats take no notice. Only a share that divides the image
    and the black around it is taken, so that the smaller one lies exactly where the
    whole one would.

    Returns:
        Whether the decoder takes notice.
    """
    on_its_side = header.orientation in _ON_ITS_SIDE
    width, height = header.size[::-1] if on_its_side else header.size
    ratios = (width / size[1], height / size[0])
    ratio = max(ratios) if mode == "pad" else min(ratios)
    frame = framed(width, height, *size) if mode == "pad" else ()
    for share in (8, 4, 2):
        fits = not any(side % share for side in (width, height, *frame))
        if fits and ratio >= share * DECODE_MARGIN:
            return header.draft((header.size[0] // share, header.size[1] // share))
    return False

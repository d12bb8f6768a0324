"""Images in arrays: of NumPy, and of whatever becomes one (torch, MLX, JAX).

Those libraries are not imported; an array that a caller has is asked for its values.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError, shortened
from .resize import Pixels


class ArrayLike(Protocol):
    """An array of another library, which gives its values as one of NumPy's."""

    def __array__(self) -> NDArray[Any]: ...


def is_array(source: object) -> bool:
    """Whether it has values, and is not an image of PIL, which may be a file."""
    known = any(hasattr(source, name) for name in ("__array__", "__dlpack__"))
    return known and not isinstance(source, Image.Image | type)


def as_numpy(source: Any) -> NDArray[Any]:
    """The values of an array, computed in the caller's thread if they were not yet.

    Raises:
        ImageError: they cannot be had, as those of a type that NumPy does not know.
    """
    if isinstance(source, np.ndarray):
        return source
    try:
        for step in ("detach", "cpu"):  # of torch, which gives no others away
            source = getattr(source, step, lambda same=source: same)()
        return np.asarray(source)
    except Exception as error:  # each library has its own
        kind = f"{type(source).__module__}.{type(source).__name__}"
        held = getattr(source, "dtype", "something")
        raise ImageError(
            f"An image array of {kind} holds {held}, which NumPy does not read "
            f"({shortened(error)}); convert it to uint8, or to float32 in [0, 1]."
        ) from None


def image_from(array: NDArray[Any]) -> Image.Image:
    """An image of mode L, RGB or RGBA from (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Args:
        array: uint8, bool, or floats in [0, 1].

    Raises:
        ImageError: another shape or type.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ImageError(
            f"An image array has the shape {array.shape}; expected (H, W), (H, W, 1), "
            f"(H, W, 3) or (H, W, 4){_advice(array)}."
        )
    if 0 in array.shape:
        raise ImageError(f"An image array has the shape {array.shape}: no pixels.")
    return Image.fromarray(np.ascontiguousarray(_to_bytes(array)))


def _advice(array: NDArray[Any]) -> str:
    if array.ndim == 4:
        return "; give the images of a batch one by one, such as array[0]"
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return (
            "; the channels come first here, so transpose it: np.transpose(array, "
            "(1, 2, 0)), or tensor.permute(1, 2, 0)"
        )
    return ""


def _to_bytes(array: NDArray[Any]) -> Pixels:
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
        raise ImageError(
            "An image array of floats must stay within [0, 1]; divide it by 255, or "
            "convert it to uint8."
        )
    return np.round(floats * 255).astype(np.uint8)

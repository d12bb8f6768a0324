"""Images that a caller opened with PIL, loaded or not."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from tests.images.formats.corpus import FILES
from tests.images.samples import encoded, noise


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_page_of_eps_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading it would start Ghostscript."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("another program was started")

    monkeypatch.setattr(subprocess, "Popen", refused)
    image = opened(encoded(noise(9, 9), "EPS"))
    for read in (open_image, upright_size):
        with pytest.raises(
            ImageError, match="format EPS, which is not read here; call"
        ):
            read(image)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_half_an_image_is_refused(format: str) -> None:
    data = encoded(noise(64, 64), format)
    image = opened(data[: len(data) // 2] + bytes(len(data) // 2))
    with pytest.raises(ImageError, match="the image is damaged or cut off"):
        open_image(image)


@pytest.mark.parametrize("name", ["PNG", "TIFF, LZW", "GIF", "WebP", "AVIF"])
@pytest.mark.parametrize("loaded", [False, True])
def test_it_is_what_its_file_is_and_left_alone(name: str, loaded: bool) -> None:
    image = opened(FILES[name])
    if loaded:
        image.load()
    expected = open_image(FILES[name])
    for _ in range(2):
        assert open_image(image).tobytes() == expected.tobytes()
        assert upright_size(image) == expected.size[::-1]
    image.load()


def test_another_frame_that_was_chosen() -> None:
    first, second = noise(8, 8), noise(8, 8, 1)
    data = encoded(first, "TIFF", save_all=True, append_images=[second])
    image = opened(data)
    image.seek(1)
    assert np.array_equal(np.asarray(open_image(image)), np.asarray(second))


def test_a_smaller_size_that_was_chosen() -> None:
    image = opened(encoded(noise(160, 160), "JPEG"))
    image.draft("RGB", (20, 20))
    assert open_image(image).size == (20, 20)


def test_it_is_turned_upright_too() -> None:
    image = noise(6, 4)
    image.getexif()[ExifTags.Base.Orientation] = 6
    assert np.array_equal(
        np.asarray(open_image(image)), np.rot90(np.asarray(image), -1)
    )


def test_one_whose_file_is_closed(picture_file: Path) -> None:
    with Image.open(picture_file) as image:
        pass
    with pytest.raises(ImageError, match=r"closed before it was loaded.*load\(\)"):
        open_image(image)

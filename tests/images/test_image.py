"""Pictures known by digest: of what the model sees, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastvlm_mlx.images import image as picture_module
from fastvlm_mlx.images.image import ImageOpener, OpenedImage, pixel_digest
from fastvlm_mlx.images.preprocessing import Preprocessing

LOOK = Preprocessing((64, 64), "pad")


def digest(source: Any, look: Preprocessing = LOOK) -> str:
    return ImageOpener().open(source, look, lambda _: None).digest


def test_equal_pixels_are_one_picture(picture: Image.Image, tmp_path: Path) -> None:
    """Whatever they come in."""
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    sources = (picture, np.asarray(picture), tmp_path / "a.png", tmp_path / "b.bmp")
    assert len({digest(source) for source in sources}) == 1


@pytest.mark.parametrize(
    "look", [Preprocessing((64, 64), "crop"), Preprocessing((64, 128), "pad")]
)
def test_another_look_is_another_picture(
    picture: Image.Image, look: Preprocessing
) -> None:
    assert digest(picture, look) != digest(picture)


def test_a_jpeg_decoded_in_full_is_another_picture(tmp_path: Path) -> None:
    """And the file's bytes, which are the same, do not hide that."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    pictures = ImageOpener()
    digests = {
        pictures.open(tmp_path / "a.jpg", look, lambda _: None).digest
        for look in (LOOK, Preprocessing((64, 64), "pad", exact=True)) * 2
    }
    assert len(digests) == 2


def test_the_shape_is_in_the_digest() -> None:
    pixels = np.zeros((2, 8, 3), np.uint8)
    assert pixel_digest(pixels) != pixel_digest(pixels.reshape(8, 2, 3))


def test_a_look_never_mixes_with_another_of_the_same_file(picture_file: Path) -> None:
    pictures = ImageOpener()
    looks = [LOOK, Preprocessing((64, 64), "crop"), Preprocessing((128, 128), "pad")]
    for _ in range(2):
        for look in looks:
            opened = pictures.open(picture_file, look, lambda _: None)
            assert opened.digest == digest(picture_file, look)
            assert opened.pixels(lambda _: None).shape == (*look.size, 3)


def test_a_known_file_is_decoded_when_pixels_are_asked_for(picture_file: Path) -> None:
    pictures, laps = ImageOpener(), list[str]()
    first = pictures.open(picture_file, LOOK, laps.append)
    again = pictures.open(picture_file, LOOK, laps.append)
    assert laps == ["load_image", "load_image", "preprocess", "load_image"]
    assert np.array_equal(first.pixels(laps.append), again.pixels(laps.append))
    assert laps[4:] == ["load_image", "preprocess"]


def test_only_so_many_files_are_remembered(
    picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_module, "_REMEMBERED_FILES", 2)
    pictures = ImageOpener()
    for number in range(5):
        picture.crop((0, 0, 50 + number, 50)).save(tmp_path / f"{number}.png")
        pictures.open(tmp_path / f"{number}.png", LOOK, lambda _: None)
    assert len(pictures._digests) == 2


def test_pixels_prepared_before_are_the_same_picture(picture: Image.Image) -> None:
    opened = ImageOpener().open(picture, LOOK, lambda _: None)
    again = OpenedImage.of_pixels(opened.pixels(lambda _: None).copy(), LOOK)
    assert again.digest == opened.digest

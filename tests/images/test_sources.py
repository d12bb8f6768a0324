"""What may stand for an image, and what is said of what may not."""

import base64
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from fastvlm_mlx.images.sources import (
    MAX_FILE_BYTES,
    ImageFile,
    check_file,
    read_file,
    taken,
)
from tests.images.samples import Array, encoded, noise

DATA = encoded(noise(6, 4))
BASE64 = base64.b64encode(DATA).decode()


def pixels(source: Any) -> Array:
    return np.asarray(open_image(source))


# --- paths ------------------------------------------------------------------------


def test_whatever_it_comes_in_it_is_the_same_image(
    picture: Image.Image, picture_file: Path
) -> None:
    data = picture_file.read_bytes()
    sources = [picture_file, str(picture_file), data, bytearray(data), memoryview(data)]
    sources += [io.BytesIO(data), "data:;base64," + base64.b64encode(data).decode()]
    for source in (*sources, picture, np.asarray(picture)):
        assert np.array_equal(pixels(source), np.asarray(picture)), type(source)


def test_home_is_found(picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(picture_file.parent))
    for path in (f"~/{picture_file.name}", Path("~") / picture_file.name):
        assert open_image(path).size == (150, 100)


def test_a_folder_called_like_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is what was typed; other tools leave such folders behind."""
    home = tmp_path / "home"
    for folder, color in ((tmp_path / "~", "red"), (home, "blue")):
        folder.mkdir()
        Image.new("RGB", (2, 2), color).save(folder / "a.png")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert pixels("./~/a.png")[0, 0].tolist() == [255, 0, 0]
    assert pixels("~/a.png")[0, 0].tolist() == [0, 0, 255]
    found = check_file("./~/a.png")
    assert pixels(found)[0, 0].tolist() == [255, 0, 0]
    assert pixels(str(found))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "missing.png does not exist; expected an image file"),
        (".", "cannot be read: Is a directory"),
        ("a\0b", "cannot be read: embedded null byte"),
        ("x" * 5000, "cannot be read: File name too long"),
    ],
)
def test_a_path_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as error:
        open_image(os.path.join(tmp_path, name))
    assert len(str(error.value)) < 250


def test_an_unknown_home_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="~nobody-here/x.png does not exist"):
        open_image("~nobody-here/x.png")


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "http://a/b", "ftp://a/b", "s3://a/b"]
)
def test_a_url_is_refused_with_what_to_do_instead(url: str) -> None:
    for source in (url, Path(url)):
        with pytest.raises(ImageError, match="is a URL; download the image"):
            open_image(source)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty; expected an image file"),
        (b"What is this?\n", "not an image that is read here; expected PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "the image data is damaged or cut off"),
        (b"GIF89a", "the image data is damaged or cut off"),
        (b"%PDF-1.7\n", "not an image that is read here"),
    ],
)
def test_data_that_is_no_image(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(data)
    (tmp_path / "file.png").write_bytes(data)
    with pytest.raises(ImageError, match="file.png"):
        open_image(tmp_path / "file.png")


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    with file.open("wb") as opened:
        opened.truncate(MAX_FILE_BYTES + 1)  # sparse: it takes no room
    with pytest.raises(ImageError, match="at most 1,073,741,824 bytes"):
        open_image(file)


def test_a_device_is_no_image() -> None:
    with pytest.raises(ImageError, match="expected an image file"):
        open_image("/dev/zero")


@pytest.mark.parametrize("source", [None, 3, [], object()])
def test_other_objects_are_refused(source: Any) -> None:
    with pytest.raises(ImageError, match=f"{type(source).__name__}; expected a path"):
        open_image(source)


# --- files, undecoded -------------------------------------------------------------


def test_a_file_is_read_once_and_decoded_later(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (3, 2), "red").save(path)
    file = read_file(path)
    assert file is not None
    assert (file.data, file.name) == (path.read_bytes(), str(path))
    path.unlink()
    assert open_image(file).size == (3, 2)
    assert read_file(file.data) == ImageFile(file.data, "the image data")


@pytest.mark.parametrize("source", [Image.new("RGB", (1, 1)), np.zeros((1, 1, 3)), 5])
def test_what_is_no_file_is_not_read(source: Any) -> None:
    assert read_file(source) is None


def test_a_damaged_file_is_called_by_its_name() -> None:
    with pytest.raises(ImageError, match="photo.png is not an image"):
        open_image(ImageFile(b"junk", "photo.png"))


# --- data: URLs -------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:image/png;charset=x;BASE64,{BASE64}",
        f"data:;base64,{BASE64.rstrip('=')}",
        "data:image/png;base64," + BASE64.replace("+", "-").replace("/", "_"),
        "data:image/png;base64," + quote(BASE64, safe=""),
        "data:image/png;base64,"
        + "\n".join(BASE64[i : i + 9] for i in range(0, 999, 9)),
        "data:image/png," + quote(DATA),
        "data:," + quote(DATA),
    ],
)
def test_a_data_url(url: str) -> None:
    assert np.array_equal(pixels(url), np.asarray(noise(6, 4)))
    assert upright_size(url) == (4, 6)
    assert check_file(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64", "has no comma; expected data:image/png;base64,"),
        (f"data:image/png;base64,{BASE64[:-9]}!", "is not base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:,x", "is not an image that is read here"),
        ("data:image/png;base64," + "A" * 300_000, "is not an image"),
        (Path("data:image/png;base64,AA"), "data: URL in a Path; give it as a text"),
    ],
)
def test_a_data_url_that_is_no_image(url: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message) as error:
        open_image(url)
    assert len(str(error.value)) < 300


# --- open files -------------------------------------------------------------------


def test_an_open_file_is_read_from_its_beginning_and_left_where_it_stood(
    tmp_path: Path,
) -> None:
    """Whoever has just written it stands at its end."""
    (tmp_path / "a.png").write_bytes(DATA)
    with (tmp_path / "a.png").open("rb") as file:
        buffer = io.BytesIO(DATA)
        for opened in (file, buffer):
            opened.seek(7)
            for _ in range(2):
                assert np.array_equal(pixels(opened), np.asarray(noise(6, 4)))
                assert opened.tell() == 7


def test_a_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(DATA)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        assert np.array_equal(pixels(pipe), np.asarray(noise(6, 4)))


class Awaited:
    name = "upload"

    async def read(self, size: int = -1) -> bytes:
        return DATA


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (io.StringIO("text"), 'gives str, not bytes; open it with mode "rb"'),
        (Awaited(), "upload has to be awaited; give the bytes"),
        (io.BytesIO(b"junk"), "the open file is not an image"),
    ],
)
def test_an_open_file_that_is_no_image(file: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(file)


def test_a_closed_file_is_refused() -> None:
    file = io.BytesIO(DATA)
    file.close()
    with pytest.raises(ImageError, match="the open file cannot be read"):
        open_image(file)


def test_what_belongs_to_the_caller_is_taken_at_once() -> None:
    """A request may be opened later, in another thread."""
    file = taken(io.BytesIO(DATA))
    assert isinstance(file, ImageFile) and file.data == DATA
    assert isinstance(taken(np.zeros((2, 2))), np.ndarray)
    image = Image.new("RGB", (2, 2))
    assert taken(image) is image and taken("a.png") == "a.png"

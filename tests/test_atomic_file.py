"""Files that are read only if whole."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvlm_mlx.atomic_file import (
    DamagedFileError,
    content_digest,
    read_arrays,
    write_arrays,
)
from fastvlm_mlx.device.backend import mx

ARRAYS = {
    "a": mx.arange(6).reshape(2, 3),
    "b": mx.array([1.5, -2.0], dtype=mx.bfloat16),
    "pixels": mx.zeros((2, 2, 3), dtype=mx.uint8),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    write_arrays(path, ARRAYS, {"made": "here"})
    return path


def test_what_is_written_is_read(file: Path) -> None:
    arrays, metadata = read_arrays(file)
    assert metadata == {"made": "here"}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert mx.array_equal(arrays[name], array)


def test_nothing_else_is_left_in_the_folder(file: Path) -> None:
    write_arrays(file, ARRAYS, {})
    assert list(file.parent.iterdir()) == [file]


def test_a_missing_file_is_no_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_arrays(tmp_path / "none" / "file", ARRAYS, {})


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_byte_may_differ(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    """Padding in the header is the one thing that says nothing."""
    path = tmp_path_factory.mktemp("flip") / "file.safetensors"
    write_arrays(path, ARRAYS, {"made": "here"})
    data = bytearray(path.read_bytes())
    index = int(place * len(data))
    data[index] ^= flip
    path.write_bytes(bytes(data))
    try:
        arrays, metadata = read_arrays(path)
    except DamagedFileError:
        return
    assert metadata == {"made": "here"}
    assert content_digest(arrays, metadata) == content_digest(ARRAYS, metadata)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_off_is_damaged(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DamagedFileError):
        read_arrays(file)


def test_another_kind_of_file_is_damaged(file: Path) -> None:
    mx.save_safetensors(str(file), ARRAYS)
    with pytest.raises(DamagedFileError, match="do not have the digest"):
        read_arrays(file)


@pytest.mark.parametrize(
    "other",
    [
        {"a": mx.array([1, 2])},
        {"b": mx.array([1, 2, 3])},
        {"a": mx.array([1, 2, 4])},
        {"a": mx.array([1.0, 2, 3])},
        {"a": mx.array([[1, 2, 3]])},
    ],
)
def test_a_digest_tells_arrays_apart(other: dict[str, mx.array]) -> None:
    one = {"a": mx.array([1, 2, 3])}
    assert content_digest(one) != content_digest(other)
    assert content_digest(one) != content_digest(one, {"made": "here"})


def test_a_digest_sees_through_strides() -> None:
    array = mx.arange(12).reshape(3, 4)
    assert content_digest({"a": array.T}) == content_digest(
        {"a": mx.contiguous(array.T)}
    )

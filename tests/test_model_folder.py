"""The JSON files of a model's folder: read, or named with their fault."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx.errors import ConfigError
from fastvlm_mlx.model_folder import is_converted, load_config, read_json


def test_a_converted_folder_is_known_by_its_stamp(
    converted_golden: Callable[[str], Path], golden_source: Callable[[str], Path]
) -> None:
    assert is_converted(converted_golden("apple-train"))
    assert not is_converted(golden_source("apple-train"))


def test_a_byte_order_mark_is_no_part_of_the_json(
    converted_golden: Callable[[str], Path], tmp_path: Path
) -> None:
    """As Windows editors write it."""
    before = load_config(converted_golden("apple-train"))
    text = json.dumps(before.to_dict())
    (tmp_path / "config.json").write_text(text, encoding="utf-8-sig")
    assert (tmp_path / "config.json").read_bytes().startswith(b"\xef\xbb\xbf")
    assert load_config(tmp_path) == before
    assert is_converted(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"a": 1', "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[1]", "holds list, not a JSON object"),
        (b"null", "holds NoneType, not a JSON object"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"config.json {message}"):
        read_json(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config.json is missing"):
        load_config(tmp_path)
    assert not is_converted(tmp_path)


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="config.json cannot be read"):
        read_json(tmp_path / "config.json")

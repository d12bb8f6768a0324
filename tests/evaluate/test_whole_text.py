"""A file that is there whole or as it was."""

from pathlib import Path

import pytest

from fastvlm_mlx.errors import WriteError
from fastvlm_mlx.evaluate.whole_text import write_whole


def test_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")
    write_whole(path, "neu \ud83d")  # half a character
    assert path.read_bytes() == b"neu \\ud83d"
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        write_whole(tmp_path / "no" / "a.json", "")

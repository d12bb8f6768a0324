"""`~` means the home folder where it is typed first, and nowhere else."""

import os
from pathlib import Path

import pytest

from fastvlm_mlx.paths import expanded


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another folder that is the current one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("form", [str, Path])
def test_a_tilde_at_the_beginning_is_the_home_folder(
    here: Path, form: type[str] | type[Path]
) -> None:
    assert expanded(form("~/a/b")) == here / "home" / "a" / "b"
    assert expanded(form("~")) == here / "home"


def test_a_folder_called_tilde_is_that_folder(here: Path) -> None:
    found = expanded("./~/a")
    assert os.path.abspath(found) == str(here / "here" / "~" / "a")
    assert expanded("a/~/b") == Path("a/~/b")


def test_nothing_is_expanded_twice() -> None:
    for typed in ("./~/a", "./~", "~/a", "~nobody-of-this-name/a"):
        once = expanded(typed)
        assert expanded(once) == expanded(str(once)) == once


def test_other_paths_are_as_typed() -> None:
    for typed in ("a", "/a/b", "../a", "a~", ".", "ä b"):
        assert expanded(typed) == Path(typed)


def test_an_unknown_user_is_a_folder_here(here: Path) -> None:
    assert expanded("~nobody-of-this-name/a") == (
        here / "here" / "~nobody-of-this-name" / "a"
    )

"""What pyproject.toml promises, against what is in the tree."""

import importlib
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

import fastvlm_mlx

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]

# Folders with an __init__.py that are not installed.
NOT_SHIPPED = {"benchmarks", "tests"}


def packages_in_the_tree() -> set[str]:
    """By the names that they have once installed."""
    places = {path: name for name, path in SETUPTOOLS["package-dir"].items()}
    found = set()
    for top in ROOT.iterdir():
        if top.name not in NOT_SHIPPED and (top / "__init__.py").is_file():
            for file in top.rglob("__init__.py"):
                parts = file.parent.relative_to(ROOT).parts
                found.add(".".join([places.get(parts[0], parts[0]), *parts[1:]]))
    return found


def test_every_package_is_shipped() -> None:
    assert set(SETUPTOOLS["packages"]) == packages_in_the_tree()


def test_nothing_else_lands_in_site_packages() -> None:
    for name in SETUPTOOLS["packages"]:
        assert name.split(".")[0] == "fastvlm_mlx"


@pytest.mark.parametrize("name", SETUPTOOLS["package-dir"])
def test_mapped_folders_are_flat(name: str) -> None:
    """A folder inside would need a line of its own in pyproject.toml."""
    folder = ROOT / SETUPTOOLS["package-dir"][name]
    inside = {path.name for path in folder.iterdir() if path.is_dir()}
    assert inside <= {"__pycache__"}


def test_every_file_of_the_package_is_shipped() -> None:
    """py.typed and the embedded model too."""
    package = ROOT / "fastvlm_mlx"
    patterns = SETUPTOOLS["package-data"]["fastvlm_mlx"]
    data = [
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert Path("py.typed") in data
    for file in data:
        depth = len(file.parts)
        fitting = [p for p in patterns if len(Path(p).parts) == depth]
        assert any(fnmatch(file.as_posix(), pattern) for pattern in fitting), file


def test_the_version_has_one_home() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    module, _, name = SETUPTOOLS["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(importlib.import_module(module), name) == fastvlm_mlx.__version__


def test_the_changelog_begins_with_this_version() -> None:
    changelog = ROOT / "CHANGELOG.md"
    text = changelog.read_text("utf-8") if changelog.is_file() else ""
    versions = re.findall(r"^## \[?(\d[^\] ]*)", text, re.MULTILINE)
    assert not text or versions[0] == fastvlm_mlx.__version__


def test_extras() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    expected = {"benchmark", "data", "dev", "evaluate", "nano", "parity"}
    assert set(extras) == expected
    assert all(extras.values())


def test_running_needs_no_torch() -> None:
    names = {
        re.split(r"[\[<>=;~! ]", line)[0].lower()
        for line in PROJECT["project"]["dependencies"]
    }
    assert not names & {"torch", "torchvision", "timm", "transformers", "coremltools"}


def test_the_licence_is_there() -> None:
    for file in PROJECT["project"]["license-files"]:
        assert (ROOT / file).is_file()


@pytest.mark.parametrize("command", PROJECT["project"]["scripts"])
def test_entry_points_resolve(command: str) -> None:
    module, _, name = PROJECT["project"]["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("module", "expected"),
    [("fastvlm_mlx", "usage: fastvlm-mlx"), ("convert", "usage: fastvlm-mlx convert")],
)
def test_packages_run_as_commands(module: str, expected: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(expected)

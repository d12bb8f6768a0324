"""The README is true: every command and every line of Python in it runs."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from fastvlm_mlx.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PICTURE = ROOT / "docs" / "pictures" / "demo.png"
CHECKPOINT = ROOT / "tests" / "goldens" / "apple-train"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """Each command with the output that stands below it, if any."""
    found = []
    for block in blocks("console"):
        for part in block.removeprefix("$ ").split("\n$ "):
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder with a photo, a cache of its own, and a hub without network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTVLM_MLX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photo.jpg").write_bytes(PICTURE.read_bytes())
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    converter = importlib.import_module("fastvlm_mlx.convert")
    monkeypatch.setattr(converter, "download", lambda *_, **__: CHECKPOINT)


@pytest.mark.usefixtures("at_home")
def test_every_command_of_ours_runs(capsys: pytest.CaptureFixture[str]) -> None:
    ours = [each for each in commands() if each[0].startswith("fastvlm-mlx")]
    assert len(ours) >= 4
    for command, output in ours:
        # the golden checkpoint's rows are shorter than the usual group of 64
        assert main([*shlex.split(command)[1:]]) == 0, command
        printed = capsys.readouterr().out
        if output:
            assert printed == output


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"\bmake (\w+)", README))
    assert {"demo", "test", "parity", "evaluate"} <= targets
    for target in targets:
        subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True
        )


@pytest.mark.usefixtures("at_home")
def test_the_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}  # a later block goes on from an earlier one
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)  # the README's own words
    answers = capsys.readouterr().out
    assert answers.startswith("red ")
    assert "circle CacheStats(images_encoded=1, " in answers


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links), links

"""`~` is the home folder where a path begins with it, and nowhere else."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from fastvlm_mlx import cli

DEMO = Path(__file__).parents[2] / "docs" / "pictures" / "demo.png"
COLOUR = "what color is the circle?"

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A red circle at home, a blue one in a folder here that is called `~`."""
    home, here = tmp_path / "home", tmp_path / "here"
    (here / "~").mkdir(parents=True)
    home.mkdir()
    with Image.open(DEMO) as image:
        red, green, blue = image.convert("RGB").split()
    for folder, bands in ((home, (red, green, blue)), (here / "~", (blue, green, red))):
        Image.merge("RGB", bands).save(folder / "a.png")
        requests = {"images": "a.png", "prompt": COLOUR}
        (folder / "requests.jsonl").write_text(json.dumps(requests) + "\n")
        question = {"image": "a.png", "question": COLOUR, "answer": "red"}
        (folder / "questions.jsonl").write_text(json.dumps(question) + "\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return here


def run(*words: str) -> int:
    return cli.main([*words, "--quiet"])


def listed(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


@pytest.mark.parametrize(
    ("path", "colour"),
    [("~/a.png", "red"), ("./~/a.png", "blue"), ("../here/~/a.png", "blue")],
)
def test_an_image(path: str, colour: str, capsys: Captured) -> None:
    assert run("generate", f"--image={path}", "--prompt", COLOUR) == 0
    assert run(path, COLOUR) == 0
    assert run("batch", path, "out.jsonl", "--prompt", COLOUR) == 0
    assert capsys.readouterr().out == f"{colour}\n" * 2
    assert json.loads(Path("out.jsonl").read_text())["text"] == colour


@pytest.mark.parametrize(
    ("folder", "colour"), [("~", "red"), ("./~", "blue"), ("~/*.png", "red")]
)
def test_a_folder_of_images(folder: str, colour: str) -> None:
    assert run("batch", folder, "out.jsonl", "--prompt", COLOUR) == 0
    (line,) = Path("out.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == colour


@pytest.mark.parametrize(("folder", "colour"), [("~", "red"), ("./~", "blue")])
def test_files_of_requests_and_of_answers(here: Path, folder: str, colour: str) -> None:
    assert run("batch", f"{folder}/requests.jsonl", f"{folder}/out.jsonl") == 0
    found = (here.parent / "home" if colour == "red" else here / "~") / "out.jsonl"
    assert json.loads(found.read_text())["text"] == colour


@pytest.mark.parametrize(
    ("image", "colour"),
    [("~/a.png", "red"), ("./~/a.png", "blue"), ("../here/~/a.png", "blue")],
)
@pytest.mark.parametrize("source", ["here.jsonl", "../here/here.jsonl"])
def test_an_image_in_a_file_of_requests(source: str, image: str, colour: str) -> None:
    Path("here.jsonl").write_text(json.dumps({"images": image, "prompt": COLOUR}))
    assert run("batch", source, "out.jsonl") == 0
    assert json.loads(Path("out.jsonl").read_text())["text"] == colour


def test_an_image_of_a_file_elsewhere(here: Path) -> None:
    """What is relative is so to the folder of the file, `~` here to nothing."""
    lines: Iterable[dict[str, str]] = (
        {"images": each, "prompt": COLOUR} for each in ("./~/a.png", "~/a.png", "a.png")
    )
    (here / "sub" / "~").mkdir(parents=True)
    for name in ("~/a.png", "a.png"):
        shutil.copy(here / "~" / "a.png", here / "sub" / name)
    Path("sub/in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run("batch", "sub/in.jsonl", "out.jsonl", "--batch-size", "1") == 0
    found = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert {line["id"]: line["text"] for line in found} == {
        1: "blue",
        2: "red",
        3: "blue",
    }


@pytest.mark.parametrize("folder", ["~", "./~"])
def test_evaluate(here: Path, folder: str) -> None:
    words = ["evaluate", "--task", "plain", f"--data={folder}/questions.jsonl"]
    assert run(*words, f"--out={folder}/out", f"--images={folder}") == 0
    found = here.parent / "home" if folder == "~" else here / "~"
    summary = json.loads((found / "out" / "summary.json").read_text())
    assert summary["score"] == (100 if folder == "~" else 0)


@pytest.mark.parametrize("folder", ["~", "./~"])
def test_caches(here: Path, folder: str) -> None:
    words = ["generate", f"--image={folder}/a.png", "--prompt", COLOUR]
    caches = [f"--feature-cache={folder}/features", f"--prompt-cache={folder}/prompt"]
    assert run(*words, *caches) == 0
    found = here.parent / "home" if folder == "~" else here / "~"
    assert {"features", "prompt"} <= listed(found)
    assert len(listed(found / "features")) == 1


def test_nothing_is_left_in_a_folder_called_tilde(here: Path) -> None:
    shutil.rmtree(here / "~")
    words = ["generate", "--image=~/a.png", "--prompt", "hi", "--max-tokens", "1"]
    assert run(*words, "--feature-cache=~/features", "--prompt-cache=~/prompt") == 0
    assert run("batch", "--prompt", "hi", "~/a.png", "~/out.jsonl") == 0
    assert run("batch", "~/requests.jsonl", "~/out2.jsonl") == 0
    task = ["evaluate", "--task", "plain", "--data=~/questions.jsonl"]
    assert run(*task, "--out=~/out") == 0
    assert listed(here) == set()
    assert os.environ["HOME"] == str(here.parent / "home")

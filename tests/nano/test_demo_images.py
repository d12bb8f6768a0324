"""The images to try in docs/: where their page says nano is right, it is."""

from pathlib import Path

import pytest

from fastvlm_mlx import FastVLM, load

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


def rows() -> list[tuple[str, str, str]]:
    """Image, question and answer of each row in which nano's is the right one."""
    text = (FOLDER / "README.md").read_text("utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    shown = [each for each in cells if (FOLDER / f"{each[0]}.png").exists()]
    return [(name, asked, said) for name, asked, right, said in shown if right == said]


@pytest.fixture(scope="module")
def vlm() -> FastVLM:
    return load("nano", dtype="float32")


def test_there_are_some_of_several_pictures() -> None:
    assert len({name for name, _, _ in rows()}) >= 4


@pytest.mark.parametrize(("name", "question", "answer"), rows())
def test_nano_is_right_where_the_page_says_so(
    vlm: FastVLM, name: str, question: str, answer: str
) -> None:
    assert vlm.generate(FOLDER / f"{name}.png", question).text == answer

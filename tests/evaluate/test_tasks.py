"""Every task on a row of its own form: the prompt, the truth, the scores."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvlm_mlx.errors import JobError, OptionError
from fastvlm_mlx.evaluate.paper import ROWS
from fastvlm_mlx.evaluate.questions import read_questions
from fastvlm_mlx.evaluate.table import ListedRows
from fastvlm_mlx.evaluate.tasks import LETTER, ONE_WORD, SHORT, TASKS, find_task

DOCS = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")

ABC = ["wire", "rod", "band"]
LETTERED = "A. wire\nB. rod\nC. band"
SEED = dict(zip(("choice_a", "choice_b", "choice_c", "choice_d"), "wxyz", strict=True))

# task, a row, its prompt, a right answer, a wrong one
CASES: list[tuple[str, dict[str, Any], str, str, str]] = [
    (
        "textvqa",
        {"question": "what is THE brand?", "answers": ["nokia"] * 10},
        f"What is the brand?{SHORT}",
        "Nokia",
        "apple",
    ),
    (
        "vqav2",
        {"question": "How many?", "answers": [{"answer": "2"}] * 10},
        f"How many?{SHORT}",
        "two",
        "three",
    ),
    (
        "docvqa",
        {"question": "Date?", "answers": ["1 May 1995"]},
        f"Date?{SHORT}",
        "1 may 1995",
        "June",
    ),
    (
        "infovqa",
        {"question": "Share?", "answers": ["12%"]},
        f"Share?{SHORT}",
        "12%",
        "40",
    ),
    (
        "chartqa",
        {"question": "Value?", "answer": "100", "type": "human_test"},
        f"Value?{ONE_WORD}",
        "103",
        "120",
    ),
    (
        "ocrbench",
        {
            "question": " what is written? ",
            "answer": ["EXIT"],
            "dataset": "IIIT5K",
            "question_type": "Regular Text Recognition",
        },
        "what is written?",
        "It says exit",
        "enter",
    ),
    (
        "ocrbench",
        {"question": "Formula?", "answer": "x^2", "dataset": "HME100k"},
        "Formula?",
        "x ^ 2",
        "X^2",
    ),
    (
        "mmmu",
        {
            "id": "validation_Art_Theory_3",
            "question": "Which? <image 1>",
            "options": str(ABC),
            "question_type": "multiple-choice",
            "answer": "B",
        },
        f"Which? <image 1>\n{LETTERED}\n{LETTER}",
        "(B)",
        "A",
    ),
    (
        "mmmu",
        {
            "id": "validation_Math_1",
            "question": "How much?",
            "options": "[]",
            "question_type": "open",
            "answer": "['12', 'twelve']",
        },
        f"How much?\n{SHORT}",
        "It is twelve",
        "11",
    ),
    (
        "seedbench",
        {"question": "Which?", "answer": "D", "data_type": "image", **SEED},
        f"Which?\nA. w\nB. x\nC. y\nD. z{LETTER}",
        "D. z",
        "A",
    ),
    (
        "ai2d",
        {"question": "Which?", "options": ABC, "answer": "2"},
        f"Which?\n{LETTERED}{LETTER}",
        "C",
        "B",
    ),
    (
        "scienceqa",
        {"question": "Which?", "hint": "Look.", "choices": ABC, "answer": 0},
        f"Context: Look.\nWhich?\n{LETTERED}{LETTER}",
        "A",
        "B",
    ),
    (
        "scienceqa",
        {"question": "Which?", "hint": "", "choices": ABC, "answer": 1},
        f"Which?\n{LETTERED}{LETTER}",
        "B.",
        "A.",
    ),
    (
        "gqa",
        {"question": "Is it red?", "answer": "yes"},
        f"Is it red?{SHORT}",
        "Yes.",
        "no",
    ),
    (
        "pope",
        {"question": "Is there a dog? ", "answer": "no", "category": "random"},
        f"Is there a dog?{SHORT}",
        "No",
        "yes",
    ),
    (
        "realworldqa",
        {"question": "Which way?\nA. left\nB. right ", "answer": "B"},
        "Which way?\nA. left\nB. right",
        "B.",
        "A.",
    ),
    (
        "easy_vqa",
        {"question": "what color?", "answer": "red"},
        "what color?",
        "red",
        "Red",
    ),
    ("exact", {"question": "Who?", "answer": "Ann"}, "Who?", "Ann", "ann"),
    ("exact", {"question": "Who?", "answer": "Ann"}, "Who?", "Ann", "Ann "),
    ("plain", {"question": "Who?", "answers": ["Ann", "Bo"]}, "Who?", "bo.", "Cy"),
    ("plain", {"question": "Who?", "answer": "Ann"}, "Who?", "ann", "Bo"),
]


@pytest.mark.parametrize(("name", "row", "prompt", "right", "wrong"), CASES)
def test_a_row(
    name: str, row: dict[str, Any], prompt: str, right: str, wrong: str
) -> None:
    task = TASKS[name]
    truth = task.truth(row)
    assert task.keep(row)
    assert task.ask(row) == prompt
    assert task.score(right, truth) == 1.0
    assert task.score(wrong, truth) == 0.0


def test_every_task_has_a_case() -> None:
    assert {case[0] for case in CASES} == TASKS.keys()


def test_the_table_in_docs_is_true() -> None:
    for task in TASKS.values():
        (line,) = (each for each in DOCS.splitlines() if f"| `{task.name}` |" in each)
        cells = [cell.strip() for cell in line.split("|")]
        where, metric, columns = cells[3:6]
        assert metric == task.metric
        told = where.removesuffix(", images only")
        assert told == ", ".join(filter(None, (task.folder, task.split)))
        assert set(task.columns) <= set(re.findall(r"`(\w+)`", columns))


def test_every_figure_of_the_paper_has_a_task() -> None:
    assert {name for row in ROWS for name in {**row.scores, **row.card}} <= TASKS.keys()


def test_the_pictures_of_mmmu_are_those_that_are_named() -> None:
    row = {
        "question": "<image 2> or <image 1>?",
        "options": "['<image 2>', 'x']",
        "question_type": "multiple-choice",
    }
    assert TASKS["mmmu"].image_columns(row) == ("image_1", "image_2")


def test_videos_of_seedbench_are_left_out() -> None:
    assert not TASKS["seedbench"].keep({"data_type": "video"})


@pytest.mark.parametrize("name", ["easy-vqa", "EASY_VQA", "TextVQA"])
def test_names_are_forgiving(name: str) -> None:
    assert find_task(name).name == name.lower().replace("-", "_")


def test_an_unknown_task() -> None:
    with pytest.raises(OptionError, match="task is 'vqa'; expected one of textvqa"):
        find_task("vqa")


@given(case=st.sampled_from(CASES), answer=st.text() | st.floats().map(str))
def test_any_answer_has_a_score(
    case: tuple[str, dict[str, Any], str, str, str], answer: str
) -> None:
    name, row, _, right, _ = case
    score, truth = TASKS[name].score, TASKS[name].truth(row)
    assert 0 <= score(answer, truth) <= 1
    assert 0 <= score(f"{right} {answer}", truth) <= 1


@given(
    name=st.sampled_from(sorted(TASKS)),
    row=st.dictionaries(
        st.sampled_from(sorted({c for task in TASKS.values() for c in task.columns})),
        st.none() | st.text() | st.integers() | st.lists(st.text() | st.integers()),
    ),
)
def test_any_row_is_asked_or_refused(name: str, row: dict[str, Any]) -> None:
    table = ListedRows("rows", [{"image": None, "imageId": "1", **row}], Path())
    try:
        (question,) = read_questions(TASKS[name], table).listed
    except JobError as error:
        assert "row 0" in str(error) or "rows " in str(error)
    else:
        assert isinstance(question.prompt, str)
        assert 0 <= TASKS[name].score("yes", question.truth) <= 1

"""Rows as questions, and what is wrong with those that are none."""

from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx.errors import JobError
from fastvlm_mlx.evaluate.questions import read_questions
from fastvlm_mlx.evaluate.table import ListedRows
from fastvlm_mlx.evaluate.tasks import TASKS

HERE = Path("/data")

MMMU = {
    "id": "test_Math_1",
    "question": "?",
    "question_type": "multiple-choice",
    "options": "['x', 'y']",
}
SCIENCE = {"question": "?", "hint": "", "choices": ["a", "b"]}
SEED = {"question": "?", "data_type": "image", "choice_a": "", "choice_b": ""}
SEED |= {"choice_c": "", "choice_d": ""}


def table(*rows: dict[str, Any]) -> ListedRows:
    return ListedRows("rows.jsonl", rows, HERE)


def plain(image: Any) -> dict[str, Any]:
    return {"question": "?", "answer": "a", "image": image}


@pytest.mark.parametrize(
    ("cell", "pictures"),
    [
        ("a.jpg", [str(HERE / "a.jpg")]),
        ("/data/in/a.jpg", ["/data/in/a.jpg"]),
        ("in/../a.jpg", [str(HERE / "a.jpg")]),
        ("https://a.b/c.jpg", ["https://a.b/c.jpg"]),  # refused where it is opened
        (["a.jpg", "b.jpg"], [str(HERE / "a.jpg"), str(HERE / "b.jpg")]),
        (b"GIF", [b"GIF"]),
        ({"bytes": b"GIF", "path": "a.gif"}, [b"GIF"]),
        ({"bytes": None, "path": "a.gif"}, [str(HERE / "a.gif")]),
        ([], []),
        ("data:image/png;base64,AA//", ["data:image/png;base64,AA//"]),
        ("./~/a.jpg", [str(HERE / "~" / "a.jpg")]),
    ],
)
def test_cells(cell: Any, pictures: list[Any]) -> None:
    questions = read_questions(TASKS["plain"], table(plain(cell)))
    ((question, found),) = questions.with_images({0})
    assert found == pictures
    assert (question.row, question.prompt, question.truth) == (0, "?", ["a"])


def test_a_cell_that_is_no_picture() -> None:
    questions = read_questions(TASKS["plain"], table(plain("a.jpg"), plain(7)))
    with pytest.raises(JobError, match="rows.jsonl, row 1: an image is int"):
        list(questions.with_images({0, 1}))


@pytest.mark.parametrize(
    "cell",
    [
        *("../a.jpg", "/etc/a.jpg", "~/a.jpg", "in/../../data2/a.jpg"),
        {"bytes": None, "path": "/x/a.jpg"},
        ["a.jpg", "../b.jpg"],
    ],
)
def test_a_path_out_of_the_folder(cell: Any) -> None:
    questions = read_questions(TASKS["plain"], table(plain(cell)))
    with pytest.raises(JobError, match="row 0: the image .* is outside /data; give"):
        list(questions.with_images({0}))


def test_another_folder_of_pictures() -> None:
    row = plain("/photos/a.jpg")
    folder = Path("/photos")
    questions = read_questions(TASKS["plain"], table(row), folder=folder)
    ((_, found),) = questions.with_images({0})
    assert found == ["/photos/a.jpg"]


@pytest.mark.parametrize("cell", [None, []])
def test_a_benchmark_has_pictures(cell: Any) -> None:
    questions = read_questions(TASKS["gqa"], table(plain(cell)))
    with pytest.raises(JobError, match="row 0: there is no image in column image"):
        list(questions.with_images({0}))


@pytest.mark.parametrize("task", ["plain", "scienceqa"])
@pytest.mark.parametrize("image", [None, "", " ", {}, [None], ["a.jpg", None], [""]])
def test_an_empty_cell_is_not_asked_as_if_there_were_no_picture(
    task: str, image: Any
) -> None:
    """It may be a mistake; [] says that there is none."""
    row = {**SCIENCE, **plain(image)} | ({"answer": 0} if task == "scienceqa" else {})
    questions = read_questions(TASKS[task], table({**row, "image": []}, row))
    assert [found for _, found in questions.with_images({0})] == [[]]
    with pytest.raises(JobError, match="row 1: .*image"):
        list(questions.with_images({1}))


def test_a_line_with_a_slip_is_not_asked_blind() -> None:
    rows = table(plain([]), {"question": "?", "answer": "a", "img": "a.jpg"})
    questions = read_questions(TASKS["plain"], rows)
    with pytest.raises(JobError, match=r"row 1: there is no image.*expected \[\] if"):
        list(questions.with_images({1}))


def test_a_message_does_not_repeat_a_whole_image() -> None:
    questions = read_questions(TASKS["plain"], table(plain("../" + "x" * 100_000)))
    with pytest.raises(JobError, match="is outside") as error:
        list(questions.with_images({0}))
    assert len(str(error.value)) < 300


def test_only_what_is_wanted_is_opened() -> None:
    questions = read_questions(TASKS["plain"], table(plain(7), plain("b.jpg")))
    assert [q.row for q, _ in questions.with_images({1})] == [1]


def test_a_limit_counts_what_is_kept() -> None:
    seed = {**SEED, **plain("a.jpg"), "answer": "A"}
    kinds = ("video", "image", "image", "image")
    rows = [{**seed, "data_type": kind} for kind in kinds]
    questions = read_questions(TASKS["seedbench"], table(*rows), limit=2)
    assert [q.row for q in questions.listed] == [1, 2]
    assert not questions.whole
    assert read_questions(TASKS["seedbench"], table(*rows), limit=3).whole


def test_pictures_by_id() -> None:
    rows = table({"question": "?", "answer": "a", "imageId": "n7"})
    pictures = table({"id": "n7", "image": "7.jpg"})
    questions = read_questions(TASKS["gqa"], rows, pictures)
    ((_, found),) = questions.with_images({0})
    assert found == [str(HERE / "7.jpg")]
    missing = read_questions(TASKS["gqa"], rows, table({"id": "n8", "image": "8.jpg"}))
    with pytest.raises(JobError, match="row 0: there is no image 'n7' in the"):
        list(missing.with_images({0}))
    empty = read_questions(TASKS["gqa"], rows, table({"id": "n7", "image": None}))
    with pytest.raises(JobError, match="row 0: there is no image 'n7' in the"):
        list(empty.with_images({0}))
    out = read_questions(TASKS["gqa"], rows, table({"id": "n7", "image": "../a.jpg"}))
    with pytest.raises(JobError, match="rows.jsonl, row 0: .* outside /data; .*images"):
        list(out.with_images({0}))
    with pytest.raises(JobError, match="no column image; expected a table of images"):
        list(read_questions(TASKS["gqa"], rows, table({"id": 1})).with_images({0}))


def test_gqa_with_its_own_pictures() -> None:
    questions = read_questions(TASKS["gqa"], table(plain("a.jpg")))
    ((_, found),) = questions.with_images({0})
    assert found == [str(HERE / "a.jpg")]


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("docvqa", {"question": "?"}, "has no column answers; task docvqa needs"),
        ("gqa", {"question": "?", "answer": "a"}, "has no column imageId"),
        ("gqa", {"question": "", "answer": "", "imageId": 1}, "give the table of its"),
        ("docvqa", {"question": "?", "answers": None}, "row 0: it is no question"),
        ("docvqa", {"question": "?", "answers": []}, "A split without answers"),
        ("pope", {"question": "?", "answer": "maybe"}, "one of yes, no should be"),
        # what test splits of challenges hold
        ("textvqa", {"question": "?", "answers": [""] * 10}, "A split without"),
        ("chartqa", {"question": "?", "answer": " "}, "A split without"),
        ("vqav2", {"question": "?", "answers": ["yes"]}, "A split without"),
        ("mmmu", MMMU | {"answer": "?"}, "one of A, B should be"),
        ("mmmu", MMMU | {"answer": None}, "None where a text"),
        ("ai2d", {"question": "?", "options": ["a"], "answer": "-1"}, "no choice -1"),
        ("scienceqa", SCIENCE | {"answer": -1}, "there is no choice -1"),
        ("seedbench", SEED | {"answer": "AB"}, "one of A, B, C, D should be"),
        # what people write
        ("plain", {"question": "?", "answer": 3}, "3 where a text or texts"),
        ("plain", {"question": None, "answer": "a"}, "None where a question should be"),
        ("plain", {"question": "?"}, "row 0: it is no question of task plain"),
        ("plain", {"question": "?", "answer": "a"}, "no column image, and row 0"),
        (
            "ai2d",
            {"question": "?", "options": ["a"], "answer": "4"},
            "row 0: .*IndexError",
        ),
    ],
)
def test_refusals(task: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        read_questions(TASKS[task], table(row))


def test_no_rows() -> None:
    with pytest.raises(JobError, match="has no column question"):
        read_questions(TASKS["plain"], table())

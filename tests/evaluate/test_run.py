"""A whole evaluation with nano: asked, ended early, gone on with, refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx.config import QuantizationConfig
from fastvlm_mlx.errors import ImageError, JobError, MemoryBudgetError, WriteError
from fastvlm_mlx.evaluate.easy_vqa_rows import easy_vqa_rows
from fastvlm_mlx.evaluate.questions import Questions, read_questions
from fastvlm_mlx.evaluate.run import ANSWERS, RECORDS, SUMMARY, Run, evaluate
from fastvlm_mlx.evaluate.table import ListedRows
from fastvlm_mlx.evaluate.tasks import TASKS

COUNT = 12


class Stopped(BaseException):
    """As a Ctrl-C would, from within."""


@pytest.fixture(scope="module")
def nano() -> fastvlm_mlx.FastVLM:
    return fastvlm_mlx.load("nano", dtype="float32")


@pytest.fixture(scope="module")
def questions() -> Questions:
    return read_questions(TASKS["easy_vqa"], easy_vqa_rows("test"), limit=COUNT)


def run(nano: fastvlm_mlx.FastVLM, **given: Any) -> Run:
    return Run(
        **{"vlm": nano, "model": "nano", "options": {}, "batch_size": 5, **given}
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def done(
    nano: fastvlm_mlx.FastVLM,
    questions: Questions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("out") / "in" / "there"
    evaluate(run(nano), questions, out)
    return out


def test_records_and_summary(done: Path, questions: Questions) -> None:
    records, summary = lines(done / RECORDS), json.loads((done / SUMMARY).read_text())
    assert [record["row"] for record in records] == list(range(COUNT))
    for record, question in zip(records, questions.listed, strict=True):
        assert record["prompt"] == question.prompt
        assert record["score"] == float(record["answer"] == question.truth)
    right = sum(record["score"] for record in records)
    assert summary["right"] == right and right >= COUNT - 1  # nano is 99.99 % right
    assert summary["questions"] == COUNT and summary["failed"] == 0
    assert summary["options"]["max_tokens"] == summary["max_tokens"] == 8
    assert summary["split"] == "test" and not summary["whole"]
    assert summary["paper"] is None and summary["resolution"] == [384, 384]
    assert set(summary["groups"]) <= {"yes/no", "words"}


def test_nothing_is_asked_twice(
    done: Path, nano: fastvlm_mlx.FastVLM, questions: Questions
) -> None:
    before = (done / ANSWERS).read_bytes()
    told: list[tuple[int, int]] = []
    evaluate(run(nano, progress=lambda *each: told.append(each)), questions, done)
    assert (done / ANSWERS).read_bytes() == before
    assert told == [(COUNT, COUNT)]


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_that_ended_early_is_gone_on_with(
    torn: bool,
    tmp_path: Path,
    done: Path,
    nano: fastvlm_mlx.FastVLM,
    questions: Questions,
) -> None:
    def stop_at_seven(count: int, total: int) -> None:
        if count == 7:
            raise Stopped

    with pytest.raises(Stopped):
        evaluate(run(nano, progress=stop_at_seven), questions, tmp_path)
    assert not (tmp_path / SUMMARY).exists()
    kept = lines(tmp_path / ANSWERS)
    assert len(kept) == 7
    if torn:  # the mains went while the next line was written
        with (tmp_path / ANSWERS).open("a") as file:
            file.write('{"id": 11, "requ')
    evaluate(run(nano), questions, tmp_path)
    answers = lines(tmp_path / ANSWERS)
    assert answers[:7] == kept
    assert sorted(line["id"] for line in answers) == list(range(COUNT))
    for name in (RECORDS, SUMMARY):
        assert (tmp_path / name).read_bytes() == (done / name).read_bytes()


def test_more_questions_go_on_and_fewer_do_not(
    tmp_path: Path, nano: fastvlm_mlx.FastVLM
) -> None:
    first, more = (
        read_questions(TASKS["easy_vqa"], easy_vqa_rows("test"), limit=limit)
        for limit in (2, 3)
    )
    evaluate(run(nano), first, tmp_path)
    assert evaluate(run(nano), more, tmp_path)["questions"] == 3
    with pytest.raises(JobError, match="there is no request 2"):
        evaluate(run(nano), first, tmp_path)


def test_every_picture_at_its_own_resolution(
    nano: fastvlm_mlx.FastVLM, questions: Questions, tmp_path: Path
) -> None:
    """A summary does not name one for all."""
    options = {"resolution": "auto", "keep_aspect": True}
    summary = evaluate(run(nano, options=options), questions, tmp_path)
    assert summary["resolution"] is None and summary["options"]["keep_aspect"]
    assert summary["right"] >= COUNT - 1


@pytest.mark.parametrize("options", [{"resolution": 192}, {"max_tokens": 3}])
def test_another_run_is_refused(
    options: dict[str, Any],
    done: Path,
    nano: fastvlm_mlx.FastVLM,
    questions: Questions,
) -> None:
    with pytest.raises(JobError, match="belongs to another job"):
        evaluate(run(nano, options=options), questions, done)


def test_other_data_is_refused(
    done: Path, nano: fastvlm_mlx.FastVLM, questions: Questions
) -> None:
    other = read_questions(TASKS["easy_vqa"], easy_vqa_rows("train"), limit=COUNT)
    with pytest.raises(JobError, match="belongs to another job"):
        evaluate(run(nano), other, done)


def test_other_pictures_of_the_same_questions_are_refused(
    tmp_path: Path, nano: fastvlm_mlx.FastVLM, picture_file: Path
) -> None:
    copy = picture_file.with_name("copy.png")
    copy.write_bytes(picture_file.read_bytes())
    first, other = (
        read_questions(
            TASKS["plain"],
            ListedRows(
                "rows",
                [{"question": "?", "answer": "a", "image": path.name}],
                picture_file.parent,
            ),
        )
        for path in (picture_file, copy)
    )
    evaluate(run(nano), first, tmp_path)
    with pytest.raises(JobError, match="belongs to another job"):
        evaluate(run(nano), other, tmp_path)


@pytest.mark.parametrize(("task", "score"), [("plain", 100.0), ("exact", 0.0)])
def test_answers_are_judged_anew(
    task: str,
    score: float,
    tmp_path: Path,
    nano: fastvlm_mlx.FastVLM,
    picture_file: Path,
) -> None:
    """Here with a blank, which counts only to the letter."""
    row = {"question": "?", "answer": "red", "image": picture_file.name}
    table = ListedRows("rows", [row], picture_file.parent)
    asked = read_questions(TASKS[task], table)
    evaluate(run(nano), asked, tmp_path)
    (line,) = lines(tmp_path / ANSWERS)
    text = json.dumps({**line, "text": " red\n"}) + "\n"
    (tmp_path / ANSWERS).write_text(text)
    assert evaluate(run(nano), asked, tmp_path)["score"] == score


def test_the_bits_of_the_weights_are_told(
    tmp_path: Path,
    nano: fastvlm_mlx.FastVLM,
    questions: Questions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, packed in enumerate((None, QuantizationConfig(bits=4))):
        config = dataclasses.replace(nano.engine.config, quantization=packed)
        monkeypatch.setattr(nano.engine, "config", config)
        summary = evaluate(run(nano), questions, tmp_path / str(number))
        assert summary["bits"] == (packed and packed.bits)


def test_a_damaged_picture_is_named_and_the_rest_is_kept(
    tmp_path: Path, nano: fastvlm_mlx.FastVLM, picture_file: Path
) -> None:
    (picture_file.parent / "torn.png").write_bytes(b"no image")
    names = (picture_file.name, "torn.png")
    rows = [{"question": "?", "answer": "a", "image": name} for name in names]
    table = ListedRows("rows", rows, picture_file.parent)
    asked = read_questions(TASKS["plain"], table)
    with pytest.raises(ImageError, match="rows, row 1: .*torn.png"):
        evaluate(run(nano, batch_size=1), asked, tmp_path)
    assert [line["id"] for line in lines(tmp_path / ANSWERS)] == [0]


def test_too_little_memory_is_no_wrong_answer(
    tmp_path: Path, questions: Questions
) -> None:
    """Of this machine, and so not the model's to answer for."""
    cramped = fastvlm_mlx.load("nano", dtype="float32", memory_limit="80MB")
    large = {"resolution": 2048}
    with pytest.raises(MemoryBudgetError, match="easy-vqa's test split, row [0-9]+: "):
        evaluate(run(cramped, options=large), questions, tmp_path)
    assert not (tmp_path / ANSWERS).exists()


def test_what_does_not_fit_is_wrong_and_says_so(
    tmp_path: Path, nano: fastvlm_mlx.FastVLM
) -> None:
    long = "is there a red circle? " * 5000
    rows: list[dict[str, Any]]
    rows = [{"question": long, "answer": "yes"}, {"question": "hi?", "answer": "yes"}]
    rows = [{**row, "image": []} for row in rows]
    asked = read_questions(TASKS["plain"], ListedRows("rows", rows, Path()))
    summary = evaluate(run(nano), asked, tmp_path)
    assert summary["failed"] == 1 and summary["questions"] == 2
    record = lines(tmp_path / RECORDS)[0]
    assert record["answer"] is None and record["score"] == 0.0
    assert "positions" in record["error"]


def test_a_place_that_is_no_folder(
    tmp_path: Path, nano: fastvlm_mlx.FastVLM, questions: Questions
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be made"):
        evaluate(run(nano), questions, tmp_path / "file")

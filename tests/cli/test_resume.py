"""What batch and evaluate say: where results go, what was resumed, what failed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from fastvlm_mlx import cli

DEMO = Path(__file__).parents[2] / "docs" / "pictures" / "demo.png"
COLOUR = "what color is the circle?"

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DEMO, tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def batch(count: int, missing: set[int]) -> int:
    """A job of many lines, some of whose images are missing."""
    lines = [
        {"images": "gone.png" if n in missing else "a.png", "prompt": COLOUR}
        for n in range(1, count + 1)
    ]
    Path("in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return cli.main(["batch", "in.jsonl", "out.jsonl", "--batch-size", "1"])


def test_a_batch_names_the_lines_that_failed(capsys: Captured) -> None:
    assert batch(12, {7, 3}) == 1
    err = capsys.readouterr().err
    assert "12 lines, 2 with an error; 12 in" in err
    assert err.endswith("fastvlm-mlx: 2 of 12 lines failed: 3, 7\n")
    assert "resumed" not in err


def test_a_batch_without_failures_names_none(capsys: Captured) -> None:
    assert batch(2, set()) == 0
    assert "failed" not in capsys.readouterr().err


def test_many_failures_are_named_in_part(capsys: Captured) -> None:
    assert batch(13, set(range(1, 14))) == 1
    said = "13 of 13 lines failed: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_batch_says_what_it_resumes(capsys: Captured) -> None:
    assert batch(2, {2}) == 1
    capsys.readouterr()
    assert batch(3, {2}) == 1
    err = capsys.readouterr().err
    assert "fastvlm-mlx: resumed: 2 of 3 lines were answered before\n" in err
    assert err.endswith("fastvlm-mlx: 1 of 3 lines failed: 2\n")


def test_quiet_is_quiet(capsys: Captured) -> None:
    Path("in.jsonl").write_text('{"prompt": "x", "images": "gone.png"}')
    for _ in range(2):
        assert cli.main(["batch", "in.jsonl", "out.jsonl", "--quiet"]) == 1
    assert capsys.readouterr() == ("", "")


def test_an_image_is_no_output(capsys: Captured) -> None:
    assert cli.main(["batch", "--prompt", "x", "a.png", "b.png"]) == 2
    assert "The output is b.png; expected the name of a .jsonl" in (
        capsys.readouterr().err
    )
    assert not Path("b.png").exists()


# --- evaluate ---------------------------------------------------------------------


def evaluate(*more: str) -> int:
    rows = [
        {"image": "a.png", "question": COLOUR, "answer": "red"},
        {"image": "a.png", "question": "is it? " * 20_000, "answer": "yes"},
        {"image": "a.png", "question": "what shape?", "answer": "circle"},
    ]
    Path("data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["evaluate", "--task", "plain", "--data", "data.jsonl", *more]
    return cli.main([*words, "--out", "results"])


def test_evaluate_says_where_results_go_and_what_failed(capsys: Captured) -> None:
    assert evaluate("--limit", "1") == 0
    err = capsys.readouterr().err
    assert "answers, records and summary go to the folder results\n" in err
    assert "resumed" not in err and "failed" not in err
    assert evaluate() == 0
    err = capsys.readouterr().err
    assert "resumed: 1 of 3 questions were answered before\n" in err
    assert err.endswith("fastvlm-mlx: 1 of 3 questions failed: rows 1\n")
    summary = json.loads(Path("results/summary.json").read_text())
    assert (summary["failed"], summary["failed_rows"]) == (1, [1])


@pytest.mark.parametrize("name", ["records.jsonl", "summary.json"])
@pytest.mark.parametrize("text", ["mine\n", '{"score": 3}\n', "[]", '{"row": 1}\n{"'])
def test_results_of_somebody_else_are_not_replaced(
    name: str, text: str, capsys: Captured
) -> None:
    Path("results").mkdir()
    (Path("results") / name).write_text(text)
    assert evaluate("--quiet") == 2
    err = capsys.readouterr().err
    assert f"results/{name} is there and was not written by evaluate; choose" in err
    assert (Path("results") / name).read_text() == text
    assert [each.name for each in Path("results").iterdir()] == [name]


def test_results_of_evaluate_are_replaced() -> None:
    assert evaluate("--quiet", "--limit", "1") == 0
    Path("results/records.jsonl").write_text("")  # as a killed editor leaves it
    assert evaluate("--quiet") == 0
    assert len(Path("results/records.jsonl").read_text().splitlines()) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(here: Path, capsys: Captured) -> None:
    (here / "results").mkdir(mode=0o500)
    assert evaluate("--quiet") == 1
    assert "cannot be written: Permission denied" in capsys.readouterr().err

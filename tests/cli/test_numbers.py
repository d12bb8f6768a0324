"""Numbers of any size on the command line: an answer or one line, at no cost."""

import itertools
import json
from pathlib import Path

import pytest

from fastvlm_mlx import cli

DEMO = Path(__file__).parents[2] / "docs" / "pictures" / "demo.png"

Captured = pytest.CaptureFixture[str]

BIG = str(10**12)
HUGE = ["1" + "0" * zeros for zeros in (13, 30, 400)]


def typed(*words: str) -> int:
    try:
        return cli.main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize(
    "words",
    [
        ["--context", BIG],
        ["--batch", BIG],
        ["--resolution", "999999936"],
        ["--resolution", "999999936", "--anyres", "--context", BIG, "--batch", BIG],
        ["--memory-limit", "999999999999999GB"],
    ],
)
@pytest.mark.parametrize("model", ["7b", "nano"])
def test_columns_keep_their_width(
    words: list[str], model: str, capsys: Captured
) -> None:
    assert typed("plan", model, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    tables = [[*group] for rows, group in itertools.groupby(lines, _is_row) if rows]
    assert [len(table) for table in tables] == [5, 5]
    for table in tables:
        assert len({len(line) for line in table}) == 1
        for line in table[1:]:
            assert all(float(cell) > 0 for cell in line.split()[1:6])
    assert typed("plan", model, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["mac"]["4"]["total"] > 0


def _is_row(line: str) -> bool:
    return line.split(" ")[0] == "bits" or line.strip()[:2].strip() in ("16", *"864")


@pytest.mark.parametrize("option", ["--context", "--batch", "--resolution"])
@pytest.mark.parametrize("number", [*HUGE, "0", "-1", "1" * 5000])
def test_what_no_machine_will_see_is_refused(
    option: str, number: str, capsys: Captured
) -> None:
    assert typed("plan", "0.5b", f"{option}={number}") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and len(err) < 300


@pytest.mark.parametrize(
    "option",
    [
        *("--max-tokens", "--top-k", "--prefill-step", "--max-kv-size", "--seed"),
        *("--max-visual-tokens", "--temperature", "--min-p", "--resolution"),
    ],
)
@pytest.mark.parametrize("number", HUGE)
def test_options_of_an_answer(option: str, number: str, capsys: Captured) -> None:
    words = ["generate", "--prompt", "what color is it?", "--quiet", option, number]
    code = typed(*words)
    out, err = capsys.readouterr()
    assert code in (0, 2) and "(--debug shows where)" not in err
    assert err.count("\n") == (code == 2) and len(err) < 1200
    assert bool(out) == (code == 0)


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("option", ["--limit", "--batch-size"])
def test_numbers_of_questions(number: str, option: str, tmp_path: Path) -> None:
    row = {"question": "what color is it?", "answer": "red", "image": DEMO.name}
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps(row))
    words = ["evaluate", "--task", "plain", "--data", str(data), option, number]
    places = ["--images", str(DEMO.parent), "--out", str(tmp_path / "out")]
    assert typed(*words, *places, "--quiet") == 0

"""Our scorers and prompts beside lmms-eval's own, on the same rows and answers."""

import copy
import importlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx.evaluate.scorers.mmmu import chosen_letter
from fastvlm_mlx.evaluate.summary import Judged, summarize
from fastvlm_mlx.evaluate.tasks import TASKS

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # theirs
]

pytest.importorskip("lmms_eval")
yaml = pytest.importorskip("yaml")

DOCS = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")

ANSWERS = [
    *("", "yes", "Yes.", "no", "No, there is not", "maybe", "A", "B", "C", "D", "E"),
    *("a", "b.", "(C)", "D)", "B: two", "B. two", "b. two", "A or B", "(A) or (C)"),
    *("The answer is B", "The correct answer is (D).", "Not A, but C", "I choose C."),
    *("My choice is A because B is wrong", "Answer is A. The answer is B, surely"),
    *("a glass rod", "I would say it is a glass rod for sure", "答案是C", "Apple"),
    *("12", "12%", "0.12", "12.3", "1,200", "1200.0", "1.2e3", "-5", "0", "3.14159"),
    *("so the total is 3.14", "x = 7", "is = 9", "it could be 4\nso the sum is 5."),
    *("The two dogs", "2 dogs", "dont know", "don't know", "Coca-Cola", "coca cola"),
    *("1995", "199S", "19", "Joe's", "joe 's", "new\nyork", "New  York", "ＡＢＣ１"),
    *("x ^ 2 + 1", "X^2+1", "nan", "inf", "three-quarters", "St. Louis", "a; b / c"),
    *("=", "the result is :", "downhill.", "Downhill", "[red]", "red_blue", "1.5."),
]
PHRASES = ["yes", "no", "12", "0.12", "1200", "3.14", "B", "two dogs", "abc1", "7", "c"]
PHRASES += ["coca cola", "don't know", "1995", "Joe's", "new york", "x^2 + 1", "0"]
PHRASES += ["1.5", "st louis", "3-quarters", "red blue", "downhill", "nan", "b c", "5"]
CHOICES = ["a copper wire", "a glass rod", "a rubber band", "an iron nail"]


def theirs(task: str, name: str = "utils") -> Any:
    return importlib.import_module(f"lmms_eval.tasks.{task}.{name}")


def pairs() -> Iterator[tuple[str, str]]:
    return ((answer, right) for answer in ANSWERS for right in PHRASES)


def ours(task: str, answer: str, row: dict[str, Any]) -> float:
    return TASKS[task].score(answer.strip(), TASKS[task].truth(row))


def people(right: str) -> list[str]:
    """Ten people who agree more or less, drawn by what they agree on."""
    chance = random.Random(right)
    return [chance.choice([right, right, chance.choice(ANSWERS)]) for _ in range(10)]


def test_textvqa() -> None:
    for answer, right in pairs():
        row = {"question": "?", "question_id": 0, "answers": people(right)}
        them = theirs("textvqa").textvqa_process_results(
            copy.deepcopy(row), [answer.strip()]
        )
        assert ours("textvqa", answer, row) == pytest.approx(them["exact_match"])


def test_vqav2() -> None:
    for answer, right in pairs():
        said = [
            {"answer": each, "answer_id": place}
            for place, each in enumerate(people(right))
        ]
        row = {"question_id": 0, "answers": said}
        them = theirs("vqav2").vqav2_process_results(
            copy.deepcopy(row), [answer.strip()]
        )
        assert ours("vqav2", answer, row) == pytest.approx(them["exact_match"])


@pytest.mark.parametrize("task", ["docvqa", "infovqa"])
def test_anls(task: str) -> None:
    from lmms_eval.api.metrics import anls

    for answer, right in pairs():
        row = {"answers": [right, "another"]}
        them = anls(references=row["answers"], predictions=[answer.strip()])["anls"]
        assert ours(task, answer, row) == pytest.approx(them)


def test_chartqa() -> None:
    for answer, right in pairs():
        row = {"answer": right, "type": "human_test"}
        them = theirs("chartqa").chartqa_process_results(row, [answer.strip()])
        assert ours("chartqa", answer, row) == them["relaxed_overall"]


@pytest.mark.parametrize("dataset", ["IIIT5K", "HME100k"])
@pytest.mark.parametrize("several", [False, True])
def test_ocrbench(dataset: str, several: bool) -> None:
    for answer, right in pairs():
        row = {"answer": [right, "Q"] if several else right, "dataset": dataset}
        row["question_type"] = "Doc-oriented VQA"
        them = theirs("ocrbench").ocrbench_process_results(row, [answer])
        assert ours("ocrbench", answer, row) == them["ocrbench_accuracy"]["score"]


def exact_match(answer: str, right: str) -> float:
    """As tasks have it that name it with ignore_case and ignore_punctuation."""
    from lmms_eval.api.metrics import exact_match_hf_evaluate

    found = exact_match_hf_evaluate(
        predictions=[answer],
        references=[right],
        ignore_case=True,
        ignore_punctuation=True,
    )
    return float(found["exact_match"])


def test_gqa() -> None:
    for answer, right in pairs():
        them = exact_match(answer.strip(), right)
        assert ours("gqa", answer, {"answer": right}) == them


def test_ai2d() -> None:
    letter = theirs("ai2d").MultiChoiceRegexFilter()
    for answer in ANSWERS:
        for place in range(4):
            row = {"question": "?", "options": CHOICES, "answer": str(place)}
            (said,) = letter.apply([[answer]], [row])
            them = exact_match(
                said.strip(), theirs("ai2d").ai2d_doc_to_target(row, "mcq")
            )
            assert ours("ai2d", answer, row) == them


def test_scienceqa() -> None:
    for answer in ANSWERS:
        for place in range(4):
            row = {"choices": CHOICES, "answer": place}
            them = theirs("scienceqa").sqa_process_results(row, [answer])
            assert ours("scienceqa", answer, row) == them["exact_match"]


def test_seedbench() -> None:
    seed = theirs("seedbench")
    for answer in ANSWERS:
        for right in "ABCD":
            row = {"answer": right, "data_type": "image", "question_id": 0}
            them = seed.seed_process_result(row, [answer])["seed_all"]
            assert ours("seedbench", answer, row) == seed.seed_aggregation_result(
                [them]
            )


def test_realworldqa() -> None:
    for answer in ANSWERS:
        for right in [*"ABCD", "Downhill", "2", "yes"]:
            row = {"question": "?", "answer": right}
            them = theirs("realworldqa").realworldqa_process_results(
                row, [answer.strip()]
            )
            assert ours("realworldqa", answer, row) == them["exact_match"], answer


def test_pope() -> None:
    """All but the share of yes, which there is that of the true answers."""
    pope = theirs("pope")
    rows, told = [], []
    for place, answer in enumerate(ANSWERS * 2):
        row = {"question_id": place, "answer": "yes" if place % 3 else "no"}
        them = pope.pope_process_results(row, [answer])
        rows.append(them["pope_accuracy"])
        said, truth = answer.strip(), TASKS["pope"].truth(row)
        score = TASKS["pope"].score(said, truth)
        told.append(Judged(place, "?", truth, said, score, None))
        assert score == them["pope_accuracy"]["score"]
    found = summarize(TASKS["pope"], told)
    for name, figure in {
        "accuracy": pope.pope_aggregate_accuracy,
        "precision": pope.pope_aggregate_precision,
        "recall": pope.pope_aggregate_recall,
    }.items():
        assert found[name] == pytest.approx(100 * figure(rows), abs=0.006), name
    assert found["score"] == pytest.approx(
        100 * pope.pope_aggregate_f1_score(rows), abs=0.006
    )


def test_mmmu_choices() -> None:
    """Where no choice is named a letter is drawn there, and none is right here."""
    choices = dict(zip("ABCD", CHOICES, strict=True))
    named = 0
    for answer in ANSWERS:
        mine = chosen_letter(answer, choices)
        if mine is not None:
            them = theirs("mmmu").parse_multi_choice_response(
                answer, list(choices), choices
            )
            assert mine == them, answer
            named += 1
        else:
            seen = {
                theirs("mmmu").parse_multi_choice_response(
                    answer, list(choices), choices
                )
                for _ in range(50)
            }
            assert len(seen) > 1, answer
    assert named > 15


def test_mmmu_open() -> None:
    for answer, right in pairs():
        row = {"id": "validation_Math_1", "question_type": "open", "answer": right}
        row |= {"options": "[]", "question": "?"}
        told = theirs("mmmu").mmmu_process_results(row, [answer.strip()])["mmmu_acc"]
        _, found = theirs("mmmu").evaluate_mmmu([told])
        assert ours("mmmu", answer, row) == found["acc"], (answer, right)


# --- prompts --------------------------------------------------------------------------

QUESTION = " What IS it? <image 1> "
SEED = {
    f"choice_{letter}": choice for letter, choice in zip("abcd", CHOICES, strict=True)
}
OPEN, CHOOSE = {"question_type": "open"}, {"question_type": "multiple-choice"}

# task, their file of it, their function of prompts, what else a row has
PROMPTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("textvqa", "textvqa/textvqa_val.yaml", "textvqa_doc_to_text", {}),
    ("vqav2", "vqav2/vqav2_val.yaml", "vqav2_doc_to_text", {}),
    ("docvqa", "docvqa/docvqa_val.yaml", "docvqa_doc_to_text", {}),
    ("infovqa", "infovqa/infovqa_val.yaml", "infovqa_doc_to_text", {}),
    ("chartqa", "chartqa/chartqa.yaml", "chartqa_doc_to_text", {}),
    ("ocrbench", "ocrbench/ocrbench.yaml", "ocrbench_doc_to_text", {}),
    ("gqa", "gqa/gqa.yaml", "gqa_doc_to_text", {}),
    ("pope", "pope/pope.yaml", "pope_doc_to_text", {}),
    ("realworldqa", "realworldqa/realworldqa.yaml", "realworldqa_doc_to_text", {}),
    ("seedbench", "seedbench/seedbench.yaml", "seed_doc_to_text", SEED),
    ("ai2d", "ai2d/ai2d.yaml", "ai2d_doc_to_text", {}),
    ("scienceqa", "scienceqa/scienceqa_img.yaml", "sqa_doc_to_text", {}),
    ("scienceqa", "scienceqa/scienceqa_img.yaml", "sqa_doc_to_text", {"hint": ""}),
    ("mmmu", "mmmu/mmmu_val.yaml", "mmmu_doc_to_text", CHOOSE),
    ("mmmu", "mmmu/mmmu_val.yaml", "mmmu_doc_to_text", OPEN),
]


LOADER: Any = type("Loader", (yaml.SafeLoader,), {})
LOADER.add_constructor("!function", lambda *_: None)  # code is not read


def their_task(file: str) -> dict[str, Any]:
    """A YAML file of theirs, with those that it includes."""
    home = Path(importlib.import_module("lmms_eval.tasks").__file__ or "").parent
    found: dict[str, Any] = yaml.load((home / file).read_text("utf-8"), LOADER)
    if "include" in found:
        return their_task(str(Path(file).parent / found["include"])) | found
    return found


@pytest.mark.parametrize(("task", "file", "name", "more"), PROMPTS)
def test_prompts(task: str, file: str, name: str, more: dict[str, Any]) -> None:
    options: Any = str(CHOICES) if task == "mmmu" else CHOICES
    row = {"question": QUESTION, "options": options, "choices": CHOICES, "hint": "H"}
    row |= more
    given = their_task(file).get("lmms_eval_specific_kwargs")
    asked = getattr(theirs(file.partition("/")[0]), name)
    them = asked(row, given["default"]) if given else asked(row)
    assert TASKS[task].ask(row) == them


@pytest.mark.parametrize(("task", "file"), {case[:2]: None for case in PROMPTS})
def test_lengths_splits_and_folders(task: str, file: str) -> None:
    """Two of theirs set no length of an answer."""
    them = their_task(file)
    length = them["generation_kwargs"].get("max_new_tokens")
    assert length in (None, TASKS[task].max_tokens)
    assert (length is None) == (task in ("textvqa", "seedbench"))
    assert TASKS[task].split == them["test_split"]
    assert TASKS[task].folder == them.get("dataset_name")
    assert f"| `{task}` | `{them['dataset_path']}` |" in DOCS


def test_every_task_of_theirs_is_compared() -> None:
    here = {"easy_vqa", "exact", "plain"}
    assert {case[0] for case in PROMPTS} == TASKS.keys() - here

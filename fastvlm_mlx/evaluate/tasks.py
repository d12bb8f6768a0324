"""The tasks: whose columns, which prompt, which scorer.

Prompts, lengths of answers and names of columns are those of lmms-eval 0.7.3's tasks
of the same names (form "default"), which are LLaVA's; tests/peers holds prompts and
scores against it.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import OptionError
from .scorers import mmmu
from .scorers.anls import anls
from .scorers.contains import contains, contains_formula
from .scorers.exact import any_same_words, same_text, same_words, same_yes_or_no
from .scorers.letters import ai2d, realworldqa, scienceqa, seedbench
from .scorers.relaxed import relaxed
from .scorers.vqa import vqa_accuracy, vqav2_accuracy
from .task import Judging, Row, Task, letter_of, lettered, letters

SHORT = "\nAnswer the question using a single word or phrase."
ONE_WORD = "\nAnswer the question with a single word."
LETTER = "\nAnswer with the option's letter from the given choices directly."

_SEED_CHOICES = tuple(f"choice_{letter}" for letter in "abcd")

_MMMU_IMAGE = re.compile(r"<image \d+>")


def find_task(name: str) -> Task:
    """A task by its name, in any case and with "-" or "_".

    Raises:
        OptionError: there is none of that name.
    """
    known = name.lower().replace("-", "_")
    if known not in TASKS:
        raise OptionError(f"task is {name!r}; expected one of {', '.join(TASKS)}.")
    return TASKS[known]


def _plain(row: Row) -> str:
    question = row["question"]
    if not isinstance(question, str):
        raise ValueError(f"{question!r} where a question should be")
    return question


def _with(suffix: str) -> Callable[[Row], str]:
    return lambda row: _plain(row) + suffix


def _texts(value: Any) -> list[str]:
    """One right answer or several; hidden ones are none, or blank."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not _are_answers(texts):
        raise ValueError(f"{value!r} where a text or texts that are right should be")
    return list(texts)


def _are_answers(texts: Sequence[Any]) -> bool:
    return all(isinstance(text, str) for text in texts) and any(map(str.strip, texts))


def _answers(row: Row) -> list[str]:
    return _texts(row["answers"])


def _answer(row: Row) -> str:
    (answer,) = _texts(row["answer"])
    return answer


def _either(row: Row) -> list[str]:
    """Plain JSONL may say "answer" or "answers"."""
    return _texts(row["answer"] if row.get("answer") is not None else row["answers"])


def _vqav2_people(row: Row) -> list[str]:
    return _texts([each["answer"] for each in row["answers"]])


def _capitalized(row: Row) -> str:
    return _plain(row).capitalize() + SHORT


def _stripped(suffix: str) -> Callable[[Row], str]:
    return lambda row: _plain(row).strip() + suffix


def _yes_or_no(row: Row) -> str:
    return _one_of(("yes", "no"), _answer(row).lower().strip())


def _ask_ai2d(row: Row) -> str:
    return f"{_plain(row)}\n{lettered(row['options'])}{LETTER}"


def _ask_scienceqa(row: Row) -> str:
    hint = f"Context: {row['hint']}\n" if row["hint"] else ""
    return f"{hint}{_plain(row)}\n{lettered(row['choices'])}{LETTER}"


def _ask_seedbench(row: Row) -> str:
    choices = [row[column] for column in _SEED_CHOICES]
    return f"{_plain(row)}\n{lettered(choices)}{LETTER}"


def _mmmu_choices(row: Row) -> list[str] | None:
    """None for an open question; the choices are a Python list in a text."""
    if row["question_type"] != "multiple-choice":
        return None
    given = row["options"]
    found = ast.literal_eval(given) if isinstance(given, str) else given
    return [str(choice) for choice in found]


def _ask_mmmu(row: Row) -> str:
    choices = _mmmu_choices(row)
    if choices is None:
        return f"{_plain(row)}\n{SHORT}"
    return f"{_plain(row)}\n{lettered(choices)}\n{LETTER}"


def _mmmu_truth(row: Row) -> dict[str, Any]:
    given, choices = _answer(row), _mmmu_choices(row)
    if choices is None:
        listed = given.startswith("[")  # several right answers, as a Python list
        return {"answers": _texts(ast.literal_eval(given) if listed else given)}
    return {
        "answer": _one_of(letters(choices), given),
        "choices": dict(zip(letters(choices), choices, strict=True)),
    }


def _one_of(known: Sequence[str], given: str) -> str:
    """A letter among those of the choices; a hidden one is "?"."""
    if given not in known:
        raise ValueError(f"answer {given!r} where one of {', '.join(known)} should be")
    return given


def _score_mmmu(answer: str, truth: Mapping[str, Any]) -> float:
    if "choices" in truth:
        return mmmu.multiple_choice(answer, truth["choices"], truth["answer"])
    return mmmu.open_question(answer, truth["answers"])


def _mmmu_images(row: Row) -> tuple[str, ...]:
    """In the order of their names, each once."""
    found = set(_MMMU_IMAGE.findall(_ask_mmmu(row)))
    return tuple(sorted(each.strip("<>").replace(" ", "_") for each in found))


def _mmmu_subject(row: Row) -> str:
    """ "validation_Art_Theory_12" is about Art_Theory."""
    return "_".join(str(row["id"]).split("_")[1:-1])


def _ocr_truth(row: Row) -> dict[str, Any]:
    return {"answers": _texts(row["answer"]), "dataset": row["dataset"]}


def _score_ocr(answer: str, truth: Mapping[str, Any]) -> float:
    rule = contains_formula if truth["dataset"] == "HME100k" else contains
    return rule(answer, truth["answers"])


def _kind(row: Row) -> str:
    return "yes/no" if row["answer"] in ("yes", "no") else "words"


def _column(name: str) -> Callable[[Row], str | None]:
    return lambda row: None if row.get(name) is None else str(row[name])


_ALL = (
    Task(
        name="textvqa",
        title="TextVQA",
        metric="VQA accuracy",
        columns=("question", "answers"),
        ask=_capitalized,
        truth=_answers,
        score=vqa_accuracy,
        max_tokens=64,
        judging=Judging.GRADED,
        split="validation",
    ),
    Task(
        name="vqav2",
        title="VQAv2",
        metric="VQA accuracy",
        columns=("question", "answers"),
        ask=_with(SHORT),
        truth=_vqav2_people,
        score=vqav2_accuracy,
        max_tokens=16,
        judging=Judging.GRADED,
        group=_column("answer_type"),
        split="validation",
    ),
    Task(
        name="docvqa",
        title="DocVQA",
        metric="ANLS",
        columns=("question", "answers"),
        ask=_with(SHORT),
        truth=_answers,
        score=anls,
        max_tokens=32,
        judging=Judging.GRADED,
        split="validation",
        folder="DocVQA",
    ),
    Task(
        name="infovqa",
        title="InfoVQA",
        metric="ANLS",
        columns=("question", "answers"),
        ask=_with(SHORT),
        truth=_answers,
        score=anls,
        max_tokens=32,
        judging=Judging.GRADED,
        split="validation",
        folder="InfographicVQA",
    ),
    Task(
        name="chartqa",
        title="ChartQA",
        metric="relaxed accuracy",
        columns=("question", "answer"),
        ask=_with(ONE_WORD),
        truth=_answer,
        score=relaxed,
        max_tokens=16,
        group=_column("type"),
    ),
    Task(
        name="ocrbench",
        title="OCRBench",
        metric="accuracy",
        columns=("question", "answer", "dataset"),
        ask=_stripped(""),
        truth=_ocr_truth,
        score=_score_ocr,
        max_tokens=128,
        group=_column("question_type"),
    ),
    Task(
        name="mmmu",
        title="MMMU",
        metric="accuracy",
        columns=("id", "question", "options", "question_type", "answer"),
        ask=_ask_mmmu,
        truth=_mmmu_truth,
        score=_score_mmmu,
        max_tokens=128,
        group=_mmmu_subject,
        image_columns=_mmmu_images,
        split="validation",
    ),
    Task(
        name="seedbench",
        title="SeedBench (images)",
        metric="accuracy",
        columns=("question", "answer", "data_type", *_SEED_CHOICES),
        ask=_ask_seedbench,
        truth=lambda row: _one_of(tuple("ABCD"), _answer(row)),
        score=seedbench,
        max_tokens=16,
        keep=lambda row: bool(row["data_type"] == "image"),
    ),
    Task(
        name="ai2d",
        title="AI2D",
        metric="accuracy",
        columns=("question", "options", "answer"),
        ask=_ask_ai2d,
        truth=lambda row: letter_of(row["options"], row["answer"]),
        score=ai2d,
        max_tokens=16,
    ),
    Task(
        name="scienceqa",
        title="ScienceQA (with images)",
        metric="accuracy",
        columns=("hint", "question", "choices", "answer"),
        ask=_ask_scienceqa,
        truth=lambda row: letter_of(row["choices"], row["answer"]),
        score=scienceqa,
        max_tokens=16,
        group=_column("subject"),
        needs_image=False,
        folder="ScienceQA-IMG",
    ),
    Task(
        name="gqa",
        title="GQA",
        metric="accuracy",
        columns=("question", "answer"),
        ask=_with(SHORT),
        truth=_answer,
        score=same_words,
        max_tokens=16,
        image_id="imageId",
        split="testdev",
        folder="testdev_balanced_instructions",
        images_folder="testdev_balanced_images",
    ),
    Task(
        name="pope",
        title="POPE",
        metric="F1",
        columns=("question", "answer"),
        ask=_stripped(SHORT),
        truth=_yes_or_no,
        score=same_yes_or_no,
        max_tokens=128,
        judging=Judging.YES_OR_NO,
        group=_column("category"),
    ),
    Task(
        name="realworldqa",
        title="RealWorldQA",
        metric="accuracy",
        columns=("question", "answer"),
        ask=_stripped(""),
        truth=_answer,
        score=realworldqa,
        max_tokens=16,
    ),
    Task(
        name="easy_vqa",
        title="easy-vqa",
        metric="accuracy",
        columns=("question", "answer"),
        ask=_plain,
        truth=_answer,
        score=same_text,
        max_tokens=8,
        group=_kind,
        strips=False,
    ),
    Task(
        name="exact",
        title="questions with one exact answer",
        metric="accuracy",
        columns=("question", "answer"),
        ask=_plain,
        truth=_answer,
        score=same_text,
        max_tokens=64,
        group=_column("group"),
        strips=False,
    ),
    Task(
        name="plain",
        title="questions of your own",
        metric="accuracy",
        columns=("question",),
        ask=_plain,
        truth=_either,
        score=any_same_words,
        max_tokens=64,
        group=_column("group"),
        needs_image=False,
    ),
)

TASKS = {task.name: task for task in _ALL}

"""Ask a model a task's questions, and judge what it says.

Answers go to `answers.jsonl`, a line each, on the disk before the next one is written.
A run that ended early, by whatever means, is gone on with; what is there is not asked
again. When all are answered, `records.jsonl` and `summary.json` are written anew from
them, so that another scorer needs no other answers.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..answer_file import LONGEST_ERROR, AnswerFile, JobLine
from ..atomic_file import write_text
from ..errors import FastVLMError, JobError, PromptError, WriteError, shortened
from ..fastvlm import FastVLM
from ..options import Auto, GenerationOptions
from ..request import Outcome, Request
from ..timings import Progress, unreported
from .comparison import Conditions, beside_paper
from .paper import paper_row
from .questions import Question, Questions
from .summary import Judged, summarize
from .task import Task

ANSWERS, RECORDS, SUMMARY = "answers.jsonl", "records.jsonl", "summary.json"

_KEYS = {
    RECORDS: {"row", "prompt", "truth", "answer", "score"},
    SUMMARY: {"task", "metric", "score", "model_identity"},
}
"""By which results of an earlier run are known."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A model, and how it is to answer.

    Attributes:
        model: what the caller called it.
        options: fields of GenerationOptions; the task's `max_tokens` is added.
    """

    vlm: FastVLM
    model: str
    options: Mapping[str, Any]
    batch_size: int = 8
    progress: Progress = unreported


def evaluate(run: Run, questions: Questions, out: Path) -> dict[str, Any]:
    """Answer what is not answered yet, judge all, and write the files of `out`.

    Returns:
        The summary, as it is in `summary.json`.

    Raises:
        JobError: `out` holds answers of another run, files that no run wrote, or is
            being written; or a row has no image.
        FastVLMError: a row cannot be answered for another reason than that its prompt
            does not fit the model: its image cannot be opened, or there is too
            little memory. It says which row.
        WriteError: `out` cannot be written.
    """
    _make(out)
    _require_ours(out)
    answers = _answers(run, questions, out / ANSWERS)
    judged = [_judged(questions, q, answers[q.row]) for q in questions.listed]
    lines = (json.dumps(asdict(each), ensure_ascii=False) for each in judged)
    write_text(out / RECORDS, "".join(f"{line}\n" for line in lines))
    summary = _summary(run, questions, judged)
    write_text(out / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{out} cannot be made: {error.strerror or error}.") from None


def _require_ours(out: Path) -> None:
    """Refuse to replace what no evaluation wrote, before anything is asked.

    Raises:
        JobError: a file has the name of a result, and is none.
    """
    for name, keys in _KEYS.items():
        found = _first_object(out / name)
        if found is not None and not keys <= found.keys():
            raise JobError(
                f"{out / name} is there and was not written by evaluate; choose "
                "another folder with --out."
            )


def _first_object(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds or begins with, in a line; {} if it holds
    something else, None if it holds nothing or is not there.

    Raises:
        JobError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror or error}.") from None
    for part in (data, data.split(b"\n", 1)[0]):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(part)
            return found if isinstance(found, dict) else {}
    return {} if data.strip() else None


def _answers(run: Run, questions: Questions, path: Path) -> dict[int, dict[str, Any]]:
    """Lines of the answers' file by row, all of them."""
    lines = _lines(run, questions)
    with AnswerFile(path, lines.values()) as file:
        run.progress(len(file.done), len(lines))
        todo = {row for row in lines if row not in file.done}
        for row, outcome in _ask(run, questions, todo):
            file.append(lines[row], outcome)
            run.progress(len(file.done), len(lines))
        written = path.read_bytes().split(b"\n")
        return {line["id"]: line for line in map(json.loads, filter(None, written))}


def _unfair(outcome: Outcome, where: str) -> FastVLMError | None:
    """A prompt too long is the model's failure; all else is the data's or the host's.

    Counted as wrong, a damaged copy or a small memory would pass for a worse model.
    """
    error = outcome.error
    if error is None or isinstance(error, PromptError):
        return None
    why = shortened(error, LONGEST_ERROR)
    if isinstance(error, FastVLMError):
        return type(error)(f"{where}: {why}")
    return FastVLMError(f"{where}: {type(error).__name__}: {why}")


def _lines(run: Run, questions: Questions) -> dict[int, JobLine]:
    """What each line of answers must belong to: this model, data, task and options."""
    data = [questions.table.digest()]
    if questions.images is not None:
        data.append(questions.images.digest())
    decisive = [run.vlm.engine.identity, data, asdict(_options(run, questions))]
    return {q.row: JobLine(q.row, {}, _digest(decisive, q)) for q in questions.listed}


def _digest(decisive: list[Any], question: Question) -> str:
    text = json.dumps([decisive, question.row, question.prompt])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _options(run: Run, questions: Questions) -> GenerationOptions:
    return GenerationOptions.of(
        **{"max_tokens": questions.task.max_tokens, **run.options}
    )


def _ask(
    run: Run, questions: Questions, todo: Set[int]
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes by row; after a failure nothing more is asked.

    Raises:
        FastVLMError: the first failure, when all that was under way is answered.
    """
    rows: list[int] = []
    failures: list[FastVLMError] = []
    options = {"max_tokens": questions.task.max_tokens, **run.options}

    def requests() -> Iterator[Request]:
        for question, images in questions.with_images(todo):
            if failures:
                return
            rows.append(question.row)
            yield Request(question.prompt, images, **options)

    if todo:
        size = run.batch_size
        for outcome in run.vlm.batch_as_finished(requests(), batch_size=size):
            row = rows[outcome.index]
            failure = _unfair(outcome, f"{questions.table.name}, row {row}")
            if failure is None:
                yield row, outcome
            else:
                failures.append(failure)
    if failures:
        raise failures[0]


def _judged(questions: Questions, question: Question, line: dict[str, Any]) -> Judged:
    """An answer that failed is wrong, and says why."""
    answer, error = line.get("text"), line.get("error")
    task = questions.task
    return Judged(
        row=question.row,
        prompt=question.prompt,
        truth=question.truth,
        answer=answer,
        score=0.0 if answer is None else _score(task, answer, question.truth),
        group=question.group,
        error=error,
    )


def _score(task: Task, answer: str, truth: Any) -> float:
    return task.score(answer.strip() if task.strips else answer, truth)


def _summary(
    run: Run, questions: Questions, judged: Sequence[Judged]
) -> dict[str, Any]:
    config, task = run.vlm.engine.config, questions.task
    options, here = _options(run, questions), _conditions(run, questions)
    found = summarize(task, judged)
    row = paper_row([run.model, config.source])
    return {
        **found,
        "failed_rows": [each.row for each in judged if each.error is not None],
        "confidence": 0.95,
        "paper": beside_paper(task, found["score"], row, here),
        "model": run.model,
        "model_source": config.source,
        "model_identity": run.vlm.engine.identity,
        "resolution": here.resolution and list(here.resolution),
        "image_mode": here.image_mode,
        "bits": here.bits,
        "max_tokens": options.max_tokens,
        "options": asdict(options),
        "data": questions.table.name,
        "split": here.split,
        "whole": here.whole,
        "data_digest": questions.table.digest(),
    }


def _conditions(run: Run, questions: Questions) -> Conditions:
    config, options = run.vlm.engine.config, _options(run, questions)
    quantized, size = config.quantization, options.resolution
    settings = {"keep_aspect": options.keep_aspect, "anyres": options.anyres}
    return Conditions(
        resolution=None
        if isinstance(size, Auto)
        else size or config.vision_config.image_size,
        settings=tuple(name for name, is_on in settings.items() if is_on),
        image_mode=options.image_mode or config.image_mode,
        bits=None if quantized is None else quantized.bits,
        split=questions.table.split,
        whole=questions.whole,
    )

"""Jobs on disk: what is read, what is written, and what a kill leaves."""

import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx import FastVLM, FastVLMError
from fastvlm_mlx.answer_file import AnswerFile, JobLine
from fastvlm_mlx.errors import JobError, WriteError
from fastvlm_mlx.images.formats import SUFFIXES
from fastvlm_mlx.jobs import (
    JobReport,
    left_out,
    lines_from_images,
    lines_from_jsonl,
    run_job,
)

QUESTION = "What is in this picture?"

Run = Callable[..., JobReport]


def write_lines(path: Path, lines: list[Any]) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def tasks_of(path: Path, **defaults: Any) -> list[JobLine]:
    return lines_from_jsonl(path, defaults, "model")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@pytest.fixture
def answer(vlm: FastVLM, output: Path) -> Run:
    """Run a job to its end."""

    def run(tasks: list[JobLine], **options: Any) -> JobReport:
        return run_job(lambda: vlm, tasks, output, **{"batch_size": 4, **options})

    return run


def many(tmp_path: Path, count: int = 20) -> list[JobLine]:
    lines = [{"prompt": f"Number {n}?", "max_tokens": 1 + n % 4} for n in range(count)]
    return tasks_of(write_lines(tmp_path / "in.jsonl", lines))


# --- reading ----------------------------------------------------------------------


def test_a_line_is_a_request(tmp_path: Path) -> None:
    lines = [
        {"prompt": "One?", "id": "first", "max_tokens": 3},
        "",
        {"prompt": "Two?", "images": "a.png"},
        {"images": ["b.png", "/c.png"], "system": "Be brief."},
    ]
    tasks = tasks_of(
        write_lines(tmp_path / "in.jsonl", lines), prompt="Hm?", temperature=0.5
    )
    assert [task.id for task in tasks] == ["first", 3, 4]
    assert tasks[0].arguments == {
        "prompt": "One?",
        "temperature": 0.5,
        "max_tokens": 3,
        "images": [],
    }
    assert tasks[1].arguments["images"] == [str(tmp_path / "a.png")]
    assert tasks[2].arguments["images"] == [str(tmp_path / "b.png"), "/c.png"]
    assert tasks[2].arguments["prompt"] == "Hm?"


def test_images_in_a_line_are_paths_from_its_folder_or_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    images = ["~/a.png", "./~/a.png", "data:image/png;base64,A//B", "https://a.b/c.png"]
    path = write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "images": images}])
    expected = ["/home/me/a.png", f"{tmp_path}/~/a.png", *images[2:]]
    assert tasks_of(path)[0].arguments["images"] == expected
    monkeypatch.chdir(tmp_path)
    assert tasks_of(Path("in.jsonl"))[0].arguments["images"] == [
        "/home/me/a.png",
        "./~/a.png",
        *images[2:],
    ]


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b"}')
    assert [task.arguments["prompt"] for task in tasks_of(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: it is not JSON"),
        ("[" * 100_000, "line 2: it is not JSON"),
        ("3", "line 2: it is a JSON int"),
        ('"prompt"', "line 2: it is a JSON str"),
        ({"promt": "a"}, "line 2: A request has no promt; expected .*prompt"),
        ({"images": []}, 'line 2: A request has no "prompt"'),
        ({"prompt": 3}, "line 2: prompt is int"),
        ({"prompt": "a", "images": 3}, "line 2: images is 3"),
        ({"prompt": "a", "images": [3]}, r"line 2: images is \[3\]"),
        ({"prompt": "a", "images": None}, "line 2: images is None; .* no images for"),
        ({"prompt": "a", "images": ""}, r"line 2: images is \[''\]"),
        ({"prompt": "a", "images": ["a.png", None]}, "line 2: images is .*None"),
        ({"prompt": "a", "id": 1.5}, "line 2: id is 1.5"),
        ({"prompt": "a", "id": True}, "line 2: id is True"),
        ({"prompt": "a", "id": "same"}, "line 2: the id 'same' is that of line 1"),
        ({"prompt": "a", "temperature": -1}, "line 2: temperature is -1; expected 0"),
        ('{"prompt": "a", "top_p": NaN}', "line 2: top_p is nan"),
    ],
)
def test_a_line_that_is_no_request_is_named(
    tmp_path: Path, line: Any, message: str
) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "id": "same"}, line])
    with pytest.raises(JobError, match=message):
        tasks_of(path)


def test_several_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", ["x"] * 9)
    with pytest.raises(JobError, match=r"line 1: .*line 5: .*; and 4 more lines"):
        tasks_of(path)


def test_an_input_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file"):
        tasks_of(tmp_path / "in.jsonl")
    (tmp_path / "in.jsonl").write_bytes(b"\n")
    with pytest.raises(JobError, match="holds no request"):
        tasks_of(tmp_path / "in.jsonl")
    (tmp_path / "in.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(JobError, match="line 1: it is not JSON"):
        tasks_of(tmp_path / "in.jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "more/c.jpg", "[d].jpg", ".hidden.jpg", "notes.txt"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["."], ["[d].jpg", "a.PNG", "b.jpg"]),
        (["*.jpg"], ["[d].jpg", "b.jpg"]),
        (["**/*.jpg"], ["[d].jpg", "b.jpg", "more/c.jpg"]),
        (["b.jpg", "*.jpg"], ["b.jpg", "[d].jpg"]),
        (["[d].jpg", "notes.txt"], ["[d].jpg", "notes.txt"]),
    ],
)
def test_pictures_by_folder_name_and_pattern(
    folder: Path, patterns: list[str], expected: list[str]
) -> None:
    given = [str(folder / pattern) for pattern in patterns]
    tasks = lines_from_images(given, {"prompt": QUESTION}, "model")
    assert [task.id for task in tasks] == [str(folder / name) for name in expected]
    assert [task.arguments["images"] for task in tasks] == [[t.id] for t in tasks]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_folders_images_are_of_every_format_that_is_read(
    tmp_path: Path, suffix: str
) -> None:
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        (tmp_path / name).touch()
    tasks = lines_from_images([str(tmp_path)], {"prompt": QUESTION}, "model")
    assert [Path(str(task.id)).stem for task in tasks] == ["a", "b"]


def test_what_a_folder_holds_besides_is_listed(folder: Path) -> None:
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / ".secret").mkdir()
    found = [str(Path(each).relative_to(folder)) for each in left_out([str(folder)])]
    assert found == [".hidden.jpg", ".secret", "gone.png", "more", "notes.txt"]
    assert f"{folder}/more/" in left_out([str(folder)] * 2)
    tasks = lines_from_images([str(folder)], {"prompt": QUESTION}, "model")
    seen = {str(task.id) for task in tasks} | {*left_out([str(folder)])}
    assert len(seen) == len(list(folder.iterdir()))


def test_a_pattern_leaves_out_folders(folder: Path) -> None:
    assert left_out([str(folder / "*")]) == [f"{folder}/more/"]
    assert left_out([str(folder / "b.jpg"), str(folder / "*.jpg")]) == []


def test_a_folder_called_like_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    for pattern in ("./~", "./~/a.png", "./~/*.png"):
        tasks = lines_from_images([pattern], {"prompt": QUESTION}, "model")
        assert [task.id for task in tasks] == ["./~/a.png"]


def test_no_pictures(folder: Path) -> None:
    with pytest.raises(JobError, match="holds no image"):
        lines_from_images([str(folder / "*.gif")], {"prompt": "a"}, "model")


def test_a_bad_question_about_pictures_is_refused(folder: Path) -> None:
    with pytest.raises(FastVLMError, match="top_p is 7"):
        lines_from_images([str(folder)], {"prompt": "a", "top_p": 7}, "model")


def test_a_report_says_what_was_left_out(tmp_path: Path, answer: Run) -> None:
    report = answer(many(tmp_path, 1), left_out=["notes.txt"])
    assert report.left_out == ("notes.txt",)


# --- writing ----------------------------------------------------------------------


def test_an_answer_is_a_line(
    answer: Run, output: Path, vlm: FastVLM, picture_file: Path, tmp_path: Path
) -> None:
    lines = [
        {"prompt": QUESTION, "images": str(picture_file), "id": "é\ud800"},
        {"prompt": QUESTION, "images": "lost.png"},
    ]
    tasks = tasks_of(write_lines(tmp_path / "in.jsonl", lines), max_tokens=5)
    assert answer(tasks) == JobReport(lines=2, failed=1, found=0)
    expected = vlm.generate(picture_file, QUESTION, max_tokens=5)
    good, bad = sorted(read_lines(output), key=lambda line: "error" in line)
    assert good == {
        "id": "é\ud800",
        "request": tasks[0].digest,
        "text": expected.text,
        "finish_reason": expected.finish_reason,
        "stop": expected.stop,
        "prompt_tokens": expected.prompt_tokens,
        "image_tokens": 4,
        "images": [
            {
                "resolution": [128, 128],
                "views": 1,
                "tokens": 4,
                "outside_training": False,
            }
        ],
        "outside_training": False,
        "tokens": len(expected.token_ids),
    }
    assert (bad["id"], bad["error_type"]) == (2, "ImageError")
    assert "lost.png does not exist" in bad["error"]


def test_a_line_is_on_the_disk_before_the_next(
    answer: Run, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    answer(many(tmp_path, 6))
    lengths = [len(line) + 1 for line in output.read_bytes().split(b"\n")[:-1]]
    assert sizes == [sum(lengths[: count + 1]) for count in range(6)]


def test_progress_counts_lines(answer: Run, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    answer(many(tmp_path, 3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_output_that_cannot_be_written(answer: Run, output: Path) -> None:
    output.mkdir()
    with pytest.raises(WriteError, match="cannot be written: Is a directory"):
        answer([])


def test_an_output_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="not a plain file"):
        AnswerFile(Path(os.devnull), [])


def test_a_full_disk(
    answer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError, match="No space left"):
        answer(many(tmp_path, 3))


def test_two_runs_do_not_write_one_file(
    answer: Run, tmp_path: Path, output: Path
) -> None:
    with output.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(JobError, match="written by another run"):
            answer(many(tmp_path))


def test_a_file_system_without_locks_is_no_other_run(
    answer: Run, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    answer(many(tmp_path, 2))
    assert len(read_lines(output)) == 2


# --- going on ---------------------------------------------------------------------


def by_id(path: Path) -> dict[object, dict[str, Any]]:
    lines = read_lines(path)
    found = {line["id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


@pytest.fixture
def whole(answer: Run, tmp_path: Path, output: Path) -> bytes:
    """The lines of a job that nobody disturbed."""
    answer(many(tmp_path))
    data = output.read_bytes()
    output.unlink()
    return data


def test_from_wherever_it_was_cut(
    answer: Run, tmp_path: Path, output: Path, whole: bytes
) -> None:
    tasks = many(tmp_path)
    draw = random.Random(0)
    ends = [0, 1, whole.index(b"\n"), whole.index(b"\n") + 1, len(whole) - 1]
    for end in [*ends, *draw.sample(range(len(whole)), 12)]:
        output.write_bytes(whole[:end])
        report = answer(tasks)
        assert report == JobReport(lines=20, failed=0, found=whole[:end].count(b"\n"))
        assert sorted(output.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_job_that_is_done_loads_no_model(
    tmp_path: Path, output: Path, whole: bytes
) -> None:
    output.write_bytes(whole)

    def load() -> FastVLM:
        raise AssertionError

    report = run_job(load, many(tmp_path), output, batch_size=4)
    assert report == JobReport(lines=20, failed=0, found=20)
    assert output.read_bytes() == whole


def test_an_error_is_an_answer_too(answer: Run, tmp_path: Path, output: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "images": "lost.png"}])
    assert answer(tasks_of(path)) == JobReport(lines=1, failed=1, found=0)
    assert answer(tasks_of(path)) == JobReport(lines=1, failed=1, found=1)
    assert len(read_lines(output)) == 1


def test_requests_may_be_added(
    answer: Run, tmp_path: Path, output: Path, whole: bytes
) -> None:
    output.write_bytes(whole)
    assert answer(many(tmp_path, 23)) == JobReport(lines=23, failed=0, found=20)
    assert output.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [b"my diary", *lines], "line 1: it is no answer"),
        (lambda lines: [*lines, b'{"id": {}}'], "line 21: it is no answer"),
        (lambda lines: [*lines, lines[0]], "line 21: request .* is answered twice"),
        (lambda lines: [b'{"id": "x", "request": ""}'], "there is no request 'x'"),
        (lambda lines: [b'{"id": 2, "request": ""}'], "request 2 is now another one"),
    ],
)
def test_answers_to_something_else_are_left_alone(
    answer: Run,
    tmp_path: Path,
    output: Path,
    whole: bytes,
    change: Callable[[list[bytes]], list[bytes]],
    message: str,
) -> None:
    data = b"".join(line + b"\n" for line in change(whole.splitlines()))
    output.write_bytes(data)
    with pytest.raises(JobError, match=f"belongs to another job: .*{message}"):
        answer(many(tmp_path))
    assert output.read_bytes() == data


def test_a_text_without_an_end_of_line_is_not_cut_off(
    answer: Run, tmp_path: Path, output: Path
) -> None:
    output.write_text("my diary")
    with pytest.raises(JobError, match="line 1: it is no answer"):
        answer(many(tmp_path))
    assert output.read_text() == "my diary"


@pytest.mark.parametrize("change", [{"max_tokens": 9}, {"prompt": "b"}, {"top_k": 1}])
def test_another_request_is_another_job(
    answer: Run, tmp_path: Path, change: dict[str, Any]
) -> None:
    line = {"prompt": "a", "max_tokens": 2}
    answer(tasks_of(write_lines(tmp_path / "in.jsonl", [line])))
    path = write_lines(tmp_path / "in.jsonl", [line | change])
    with pytest.raises(JobError, match="request 1 is now another one"):
        answer(tasks_of(path))


def test_another_model_is_another_job(answer: Run, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "max_tokens": 2}])
    answer(tasks_of(path))
    with pytest.raises(JobError, match="another one"):
        answer(lines_from_jsonl(path, {}, "other model"))


# --- kill -9 ----------------------------------------------------------------------


def command(model: Path, source: Path, output: Path) -> list[str]:
    words = [sys.executable, "-m", "fastvlm_mlx", "batch", str(source), str(output)]
    return [*words, "--model", str(model), "--batch-size", "16", "--quiet"]


def wait_for_lines(process: "subprocess.Popen[bytes]", output: Path, more: int) -> None:
    began = output.read_bytes().count(b"\n") if output.exists() else 0
    while process.poll() is None:
        lines = output.read_bytes().count(b"\n") if output.exists() else 0
        if lines >= began + more:
            return
        time.sleep(0.005)


def kill_now_and_then(
    words: list[str], output: Path, kills: int, most: int
) -> Iterator[int]:
    """Start the job and kill it, several times; the lines that each kill left."""
    draw = random.Random(0)
    for _ in range(kills):
        with subprocess.Popen(words) as process:
            wait_for_lines(process, output, draw.randint(1, most))
            process.send_signal(signal.SIGKILL)
        yield output.read_bytes().count(b"\n")


@pytest.mark.parametrize(
    ("requests", "kills"), [(150, 2), pytest.param(1000, 4, marks=pytest.mark.drills)]
)
def test_requests_outlive_every_kill(
    converted_golden: Callable[[str], Path],
    vlm: FastVLM,
    picture_file: Path,
    tmp_path: Path,
    output: Path,
    requests: int,
    kills: int,
) -> None:
    """Exactly one line for each, with the text of a run that nobody disturbed."""
    lines = [
        {
            "prompt": f"Number {n}?",
            "max_tokens": 1 + n % 3,
            "images": [str(picture_file)] if n % 4 == 0 else [],
            "resolution": 64,
        }
        for n in range(requests)
    ]
    source = write_lines(tmp_path / "in.jsonl", lines)
    words = command(converted_golden("fast_vlm-train"), source, output)
    left = list(kill_now_and_then(words, output, kills, requests // 7))
    assert 0 < left[0] < left[-1] < requests
    assert subprocess.run(words).returncode == 0
    found = by_id(output)
    assert found.keys() == set(range(1, requests + 1))
    undisturbed = vlm.batch([json.loads(json.dumps(line)) for line in lines])
    assert [found[n]["text"] for n in range(1, requests + 1)] == [
        outcome.text for outcome in undisturbed
    ]

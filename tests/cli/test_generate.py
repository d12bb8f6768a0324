"""`fastvlm-mlx generate`: answers, options, standard input and what is refused."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx import FastVLM, cli, fastvlm
from fastvlm_mlx.errors import HubError
from fastvlm_mlx.images.decode import open_ahead
from fastvlm_mlx.model_folder import ModelFolder
from fastvlm_mlx.resolve import find_model
from tests.cli.command_line import QUESTION

Captured = pytest.CaptureFixture[str]


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)


def test_the_answer_and_nothing_else_is_on_standard_output(
    ask: list[str], answer: str, capsys: Captured
) -> None:
    assert cli.main(ask) == 0
    assert capsys.readouterr() == (f"{answer}\n", "")


def test_pieces_are_shown_as_they_come(
    ask: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    out = io.StringIO()
    monkeypatch.setattr(out, "flush", lambda: flushed.append(out.getvalue()))
    monkeypatch.setattr(sys, "stdout", out)
    pieces = list(fastvlm_mlx.load(ask[2]).stream(ask[4], QUESTION, max_tokens=6))
    assert cli.main(ask) == 0
    assert len(pieces) > 1
    for end in range(1, len(pieces) + 1):
        assert "".join(pieces[:end]) in flushed


def test_json_is_one_object(ask: list[str], answer: str, capsys: Captured) -> None:
    assert cli.main([*ask, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0])
    assert found["text"] == answer
    assert (found["finish_reason"], found["stop"]) == ("length", None)
    assert (found["image_tokens"], len(found["token_ids"])) == (4, 6)
    assert found["timings"]["time_to_first_token"] > found["timings"]["encode"] > 0
    assert found["generation_tps"] > 0 and found["prompt_tps"] > 0


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_stats_go_to_standard_error(
    ask: list[str], answer: str, capsys: Captured, form: list[str]
) -> None:
    assert cli.main([*ask, *form, "--stats"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["text"] if form else out.removesuffix("\n")) == answer
    for part in ("4 visual", "encode", "time to first token", "6 tokens", "length"):
        assert part in err
    assert err.count("decode") == 1


@pytest.mark.parametrize(
    ("option", "value", "name", "expected"),
    [
        ("--max-tokens", "3", "max_tokens", 3),
        ("--temperature", "0.5", "temperature", 0.5),
        ("--top-p", "0.9", "top_p", 0.9),
        ("--min-p", "0.1", "min_p", 0.1),
        ("--top-k", "5", "top_k", 5),
        ("--seed", "7", "seed", 7),
        ("--stop", "x", "stop", ["x"]),
        ("--resolution", "64x128", "resolution", "64x128"),
        ("--image-mode", "crop", "image_mode", "crop"),
        ("--system", "Be brief.", "system", "Be brief."),
    ],
)
def test_every_option_arrives(
    ask: list[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    value: str,
    name: str,
    expected: object,
) -> None:
    seen: dict[str, Any] = {}
    stream = FastVLM.stream

    def spy(vlm: FastVLM, *inputs: Any, **options: Any) -> Any:
        seen.update(options)
        return stream(vlm, *inputs, **options)

    monkeypatch.setattr(FastVLM, "stream", spy)
    assert cli.main([*ask, option, value]) == 0
    assert seen[name] == expected


def test_exact_pixels_is_a_word_alone(
    ask: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def spy(sources: Any, frame: Any, exact: bool) -> Any:
        seen.append(exact)
        return open_ahead(sources, frame, exact)

    monkeypatch.setattr("fastvlm_mlx.images.decode.open_ahead", spy)
    assert cli.main(ask) == cli.main([*ask, "--exact-pixels"]) == 0
    assert seen == [False, True]


def _parsed(value: str) -> Any:
    return {"": True}.get(value, int(value) if value.isdigit() else value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "image at 128x128, 4 visual tokens\n"),
        ("--resolution 64", "image at 64x64, 1 visual tokens, outside training"),
        ("--anyres", "image at 128x128 in 5 views, 20 visual tokens, outside tr"),
        ("--keep-aspect --resolution 192", "image at 128x192, 6 visual tokens, outs"),
        ("--resolution auto --max-visual-tokens 4", "image at 128x128, 4 visual"),
        ("--resolution auto:256", "image at 192x192, 9 visual tokens, outside tr"),
    ],
)
def test_the_dial(
    ask: list[str],
    model: str,
    picture_file: Path,
    capsys: Captured,
    words: str,
    said: str,
) -> None:
    """Though the command has its pictures prepared before the model is there."""
    assert cli.main([*ask, *words.split(), "--json", "--stats"]) == 0
    out, err = capsys.readouterr()
    assert said in err
    found = json.loads(out)
    assert found["outside_training"] is ("outside training" in err)
    (image,) = found["images"]
    assert image["tokens"] == found["image_tokens"]
    assert "x".join(map(str, image["resolution"])) in said
    given = {
        word.removeprefix("--").replace("-", "_"): value
        for word, value in re.findall(r"(--\S+)(?: ([^-]\S*))?", words)
    }
    options = {name: _parsed(value) for name, value in given.items()}
    vlm = fastvlm_mlx.load(model)
    expected = vlm.generate(picture_file, QUESTION, max_tokens=6, **options)
    assert found["text"] == expected.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resolution auto:100", "auto:100; expected a positive multiple of 64"),
        ("--resolution autos", "'autos'; expected auto, or"),
        ("--max-visual-tokens 4", "expected resolution auto, which keeps to it"),
        ("--resolution auto --max-visual-tokens 3", "takes 4 at the smallest"),
        ("--resolution 64x128 --keep-aspect", "expected one of them"),
        ("--image-mode crop --keep-aspect", "keep_aspect fills the frame"),
        ("--resolution 640 --anyres", "527 positions, 500 of them images"),
    ],
)
def test_a_dial_that_cannot_be(
    ask: list[str], capsys: Captured, words: str, message: str
) -> None:
    assert cli.main([*ask, *words.split()]) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err), err


def test_several_pictures(ask: list[str], picture_file: Path, capsys: Captured) -> None:
    assert cli.main([*ask, "--image", str(picture_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image_tokens"] == 8


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a command wants resolved and loaded; it gets no further."""
    seen: list[Any] = []

    nano = find_model("nano")

    def find(model: str, revision: str | None = None) -> ModelFolder:
        seen.append((model, revision))
        return nano

    def load(model: ModelFolder, **options: Any) -> Any:
        seen.append((model.path.name, options))
        raise HubError("enough")

    monkeypatch.setattr("fastvlm_mlx.resolve.find_model", find)
    monkeypatch.setattr(fastvlm, "load", load)
    return seen


def test_dtype_and_model_arrive(asked_for: list[Any]) -> None:
    words = ["generate", "--prompt", "x", "--model", "a/b", "--revision", "v2"]
    words += ["--dtype", "bfloat16", "--feature-cache", "there"]
    assert cli.main(words) == 1
    assert asked_for == [
        ("a/b", "v2"),
        (
            "nano",
            {"dtype": "bfloat16", "cache_folder": "there", "memory_limit": None},
        ),
    ]


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_without_a_model_nano_is_used_and_said(
    asked_for: list[Any], capsys: Captured, quiet: list[str]
) -> None:
    cli.main(["generate", "--prompt", "x", *quiet])
    assert asked_for[0] == ("nano", None)
    assert ("using the embedded nano" in capsys.readouterr().err) == (not quiet)


# --- standard input ---------------------------------------------------------------


def test_the_prompt_from_standard_input(
    ask: list[str], answer: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    give_stdin(monkeypatch, f"{QUESTION}\n".encode())
    assert cli.main(["-" if word == QUESTION else word for word in ask]) == 0
    assert capsys.readouterr().out == f"{answer}\n"


def test_the_picture_from_standard_input(
    ask: list[str],
    answer: str,
    picture_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    give_stdin(monkeypatch, picture_file.read_bytes())
    assert cli.main(["-" if word == str(picture_file) else word for word in ask]) == 0
    assert capsys.readouterr().out == f"{answer}\n"


@pytest.mark.parametrize("image", [["-"], ["a.png", "-"]])
def test_both_from_standard_input_is_an_error(
    image: list[str], capsys: Captured
) -> None:
    images = [word for path in image for word in ("--image", path)]
    assert cli.main(["generate", "--prompt", "-", *images]) == 2
    assert "Only one of --prompt and --image can be -" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "data", "message"),
    [
        (["--prompt", "-"], b"", "prompt is empty"),
        (
            ["--prompt", "-"],
            b"caf\xe9",
            "standard input is not valid UTF-8; expected text",
        ),
        (["--prompt", "x", "--image", "-"], b"", "the image data is empty"),
        (["--prompt", "x", "--image", "-"], b"text", "the image data is not an image"),
    ],
)
def test_bad_standard_input_is_bad_input(
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    words: list[str],
    data: bytes,
    message: str,
) -> None:
    give_stdin(monkeypatch, data)
    assert cli.main(["generate", "--model", model, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--max-tokens", "0"],
        ["--temperature", "-1"],
        ["--top-p", "0"],
        ["--seed", "-1"],
        ["--stop", ""],
        ["--resolution", "100"],
        ["--resolution", "big"],
        ["--image", "missing.png"],
        ["--image", "https://example.org/a.png"],
        ["--prompt", ""],
        ["--prompt", "caf\udce9"],
        ["--prompt", "<image> <image>"],
        ["--model", "missing"],
        ["--model", "/dev/null"],
    ],
)
def test_bad_input_is_two_and_one_line(
    ask: list[str], capsys: Captured, words: list[str]
) -> None:
    assert cli.main([*ask, *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastvlm-mlx: ")
    assert err.count("\n") == 1


def test_a_failed_download_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    assert cli.main(["generate", "--prompt", "x", "--model", "some/model"]) == 1
    assert "could not be fetched" in capsys.readouterr().err.splitlines()[-1]


def test_the_first_picture_that_is_wrong_is_named(
    ask: list[str], tmp_path: Path, capsys: Captured
) -> None:
    """Though a thread opens them all before the model is there."""
    for name in ("first.png", "second.png"):
        (tmp_path / name).write_bytes(b"no image")
    images = [
        w for n in ("first", "second") for w in ("--image", f"{tmp_path}/{n}.png")
    ]
    assert cli.main([*ask, *images]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "first.png is not an image" in err


def test_a_wrong_prompt_comes_before_a_wrong_picture(
    ask: list[str], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert cli.main([*ask, "--image", f"{tmp_path}/bad.png", "--prompt", ""]) == 2
    assert "prompt is empty" in capsys.readouterr().err


@pytest.mark.parametrize("resolution", ["100", "64000"])
def test_no_picture_is_opened_for_a_resolution_that_does_not_fit(
    ask: list[str], resolution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64,000 pixels a side would be 12 GB of picture."""
    monkeypatch.setattr("fastvlm_mlx.images.decode.open_ahead", None)
    assert cli.main([*ask, "--resolution", resolution]) == 2


def test_a_model_larger_than_its_limit_is_refused(
    ask: list[str], capsys: Captured
) -> None:
    assert cli.main([*ask, "--memory-limit", "1MB"]) == 2
    assert "the limit is 1 MB" in capsys.readouterr().err

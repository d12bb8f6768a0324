"""The command as a person types it: streams, exit codes, and never a traceback."""

import dataclasses
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten
from PIL import Image

import fastvlm_mlx
from benchmarks.memory import narrow
from fastvlm_mlx import cli, engine
from fastvlm_mlx.backend import mx
from fastvlm_mlx.cli.benchmark import _at_best
from fastvlm_mlx.errors import HubError
from fastvlm_mlx.geometry import random_model
from fastvlm_mlx.image import open_ahead
from fastvlm_mlx.measure import Parts
from fastvlm_mlx.roofline import PEAKS, Peak

QUESTION = "What is in this picture?"

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def model(converted_golden: Callable[[str], Path]) -> str:
    """The folder of a converted golden."""
    return str(converted_golden("fast_vlm-train"))


@pytest.fixture
def ask(model: str, picture_file: Path) -> list[str]:
    """A question about a picture that works."""
    words = ["generate", "--model", model, "--image", str(picture_file)]
    return [*words, "--prompt", QUESTION, "--max-tokens", "6"]


@pytest.fixture
def answer(vlm: fastvlm_mlx.FastVLM, picture: Image.Image) -> str:
    """What `ask` is answered with."""
    return vlm.generate(picture, QUESTION, max_tokens=6).text


def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastvlm_mlx", *arguments],
        text=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **options,
    )


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)


# --- what starting costs ----------------------------------------------------------


@pytest.mark.parametrize("module", ["fastvlm_mlx", "fastvlm_mlx.cli"])
def test_importing_does_not_wait_for_libraries(module: str) -> None:
    """`--help` is asked for more often than anything else."""
    heavy = "{'mlx', 'mlx.core', 'numpy', 'PIL', 'jinja2', 'tokenizers', 'tqdm'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["generate"],
        ["chat"],
        ["convert"],
        ["plan"],
        ["doctor"],
        ["benchmark"],
    ],
)
def test_help_goes_to_standard_output(verb: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*verb, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: fastvlm-mlx")


def test_version(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"{fastvlm_mlx.__version__}\n"


# --- generate ---------------------------------------------------------------------


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
    stream = engine.FastVLM.stream

    def spy(vlm: engine.FastVLM, *inputs: Any, **options: Any) -> Any:
        seen.update(options)
        return stream(vlm, *inputs, **options)

    monkeypatch.setattr(engine.FastVLM, "stream", spy)
    assert cli.main([*ask, option, value]) == 0
    assert seen[name] == expected


def test_exact_pixels_is_a_word_alone(
    ask: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def spy(sources: Any, frame: Any, exact: bool) -> Any:
        seen.append(exact)
        return open_ahead(sources, frame, exact)

    monkeypatch.setattr("fastvlm_mlx.image.open_ahead", spy)
    assert cli.main(ask) == cli.main([*ask, "--exact-pixels"]) == 0
    assert seen == [False, True]


def _parsed(value: str) -> Any:
    return {"": True}.get(value, int(value) if value.isdigit() else value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "picture at 128x128, 4 visual tokens\n"),
        ("--resolution 64", "picture at 64x64, 1 visual tokens, outside training"),
        ("--anyres", "picture at 128x128 in 5 views, 20 visual tokens, outside tr"),
        ("--keep-aspect --resolution 192", "picture at 128x192, 6 visual tokens, outs"),
        ("--resolution auto --max-visual-tokens 4", "picture at 128x128, 4 visual"),
        ("--resolution auto:256", "picture at 192x192, 9 visual tokens, outside tr"),
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
        ("--resolution 640 --anyres", "527 positions, 500 of them pictures"),
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

    def resolve(model: str, revision: str | None = None) -> Path:
        seen.append((model, revision))
        return Path(fastvlm_mlx.__file__).parent / "assets" / "nano"

    def load(folder: Path, **options: Any) -> Any:
        seen.append((folder.name, options))
        raise HubError("enough")

    monkeypatch.setattr("fastvlm_mlx.resolve.resolve", resolve)
    monkeypatch.setattr(engine, "load", load)
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
        (["--prompt", "x", "--image", "-"], b"text", "the image data is not a picture"),
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


# --- errors -----------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["speak"],
        ["chat", "--prompt", "x"],
        ["generate"],
        ["generate", "--prompt", "x", "--max-tokens", "many"],
        ["generate", "--prompt", "x", "--dtype", "int4"],
        ["generate", "--prompt", "x", "--image-mode", "stretch"],
        ["generate", "--prompt", "x", "--frobnicate"],
        ["convert", "a", "b", "--bits", "7"],
    ],
)
def test_a_wrong_argument_is_two_and_its_last_line_says_why(
    words: list[str], capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert ": error: " in capsys.readouterr().err.splitlines()[-1]


def test_a_failed_download_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    assert cli.main(["generate", "--prompt", "x", "--model", "some/model"]) == 1
    assert "could not be fetched" in capsys.readouterr().err.splitlines()[-1]


def test_our_own_mistake_is_one_and_names_itself(
    ask: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(engine, "load", fail)
    assert cli.main(ask) == 1
    assert capsys.readouterr().err == (
        "fastvlm-mlx: KeyError: 'lost' (--debug shows where)\n"
    )


def test_debug_raises(ask: list[str]) -> None:
    with pytest.raises(fastvlm_mlx.ImageError):
        cli.main([*ask, "--image", "missing.png", "--debug"])


def test_the_first_picture_that_is_wrong_is_named(
    ask: list[str], tmp_path: Path, capsys: Captured
) -> None:
    """Though a thread opens them all before the model is there."""
    for name in ("first.png", "second.png"):
        (tmp_path / name).write_bytes(b"no picture")
    images = [
        w for n in ("first", "second") for w in ("--image", f"{tmp_path}/{n}.png")
    ]
    assert cli.main([*ask, *images]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "first.png is not a picture" in err


def test_a_wrong_prompt_comes_before_a_wrong_picture(
    ask: list[str], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert cli.main([*ask, "--image", f"{tmp_path}/bad.png", "--prompt", ""]) == 2
    assert "prompt is empty" in capsys.readouterr().err


@pytest.mark.parametrize("resolution", ["100", "64000"])
def test_no_picture_is_opened_for_a_resolution_that_does_not_fit(
    ask: list[str], resolution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64,000 pixels a side would be 12 GB of picture."""
    monkeypatch.setattr("fastvlm_mlx.image.open_ahead", None)
    assert cli.main([*ask, "--resolution", resolution]) == 2


def test_no_traceback_in_a_process_of_its_own(model: str) -> None:
    words = ["generate", "--model", model, "--prompt", "x", "--image", "missing.png"]
    done = run(*words, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fastvlm-mlx: missing.png does not exist; expected a picture file.\n"
    )


# --- being stopped ----------------------------------------------------------------


def test_ctrl_c_is_130_without_a_traceback(model: str) -> None:
    """The signal comes when the first words are there."""
    words = ["generate", "--model", model, "--prompt", "x", "--max-tokens", "400"]
    process = subprocess.Popen(
        # a stop that never comes, and no end token, so that there is time
        [sys.executable, "-c", ENDLESS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"fastvlm-mlx: stopped\n")


def test_ctrl_c_does_not_wait_for_a_picture(model: str, picture_file: Path) -> None:
    """A picture that takes for ever, and a model that is loaded before it."""
    words = ["generate", "--model", model, "--prompt", "x", "--image"]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *words, str(picture_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"loaded\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"fastvlm-mlx: stopped\n")


STUCK = """
import sys, time
from fastvlm_mlx import cli, engine, picture
picture.prepare = lambda *_: time.sleep(1000)
load = engine.load
def loaded(*arguments, **options):
    vlm = load(*arguments, **options)
    print("loaded", flush=True)
    return vlm
engine.load = loaded
sys.exit(cli.main())
"""

ENDLESS = """
import itertools, sys
from fastvlm_mlx import cli, engine
engine.generate_step = lambda *_: itertools.cycle([70])
engine.FastVLM._tokens = lambda *_: itertools.cycle([70])
sys.exit(cli.main())
"""


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_left_is_no_reason_for_a_traceback(
    ask: list[str], form: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*ask, *form, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


# --- terminals --------------------------------------------------------------------


class Terminal(io.StringIO):
    """Standard output that is looked at by a person."""

    def isatty(self) -> bool:
        return True


ESCAPES = "a\x1b[2Jb\x07c\x9bd\x7fe\rf\x00g\n\th"


@pytest.fixture
def escaping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that writes what a picture may have told it to."""
    result = fastvlm_mlx.GenerationResult(
        text=ESCAPES,
        token_ids=(1,),
        finish_reason="stop",
        stop="\x1b[2J",
        prompt_tokens=1,
        image_tokens=0,
        timings=fastvlm_mlx.Timings(),
        peak_memory=1,
    )

    class Stream(list[str]):
        pass

    stream: Any = Stream([ESCAPES])
    stream.result = result
    counts = {field.name: 0 for field in dataclasses.fields(fastvlm_mlx.CacheStats)}
    contents = {
        "stream": lambda *_, **__: stream,
        "cache_stats": fastvlm_mlx.CacheStats(**counts),
    }
    vlm: Any = type("Fake", (), contents)()
    monkeypatch.setattr(engine, "load", lambda *_, **__: vlm)


@pytest.mark.usefixtures("escaping")
def test_a_terminal_gets_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert cli.main(["generate", "--prompt", "x", "--quiet"]) == 0
    shown = terminal.getvalue()
    assert shown == "a\ufffd[2Jb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg\n\th\n"


@pytest.mark.usefixtures("escaping")
def test_json_on_a_terminal_has_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert cli.main(["generate", "--prompt", "x", "--quiet", "--json"]) == 0
    shown = terminal.getvalue()
    assert shown.removesuffix("\n").isprintable()
    assert json.loads(shown)["text"] == ESCAPES


@pytest.mark.usefixtures("escaping")
def test_a_file_gets_what_the_model_wrote(capsys: Captured) -> None:
    words = ["generate", "--prompt", "x", "--quiet", "--stats"]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert out == f"{ESCAPES}\n"
    assert "\x1b" not in err  # the stop string is quoted


# --- convert ----------------------------------------------------------------------


def test_convert_says_what_it_did(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    output = tmp_path / "out"
    assert cli.main(["convert", str(golden_source("apple-train")), str(output)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{output}\n  read ")
    for part in ("dropped", "written", "M parameters", "bits per weight"):
        assert part in out
    assert err == ""
    assert fastvlm_mlx.load(output).config.source.endswith("apple-train")


def test_convert_quantizes(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    options = ["--bits", "4", "--group-size", "32", "--head-bits", "16"]
    assert cli.main([*words, *options, "--dtype", "float16"]) == 0
    quantization = fastvlm_mlx.load(tmp_path / "out").config.quantization
    assert quantization is not None
    assert (quantization.bits, quantization.group_size) == (4, 32)
    out = capsys.readouterr().out
    assert re.search(r"quality +KL divergence \S+ nats per token, \S+ at most\n", out)
    assert "in 32 answers about pictures" in out


def test_convert_says_what_it_did_not_quantize_or_judge(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--tower-bits", "8", "--no-quality"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"left +\d+ matrices whole, whose rows the groups do not", out)
    assert "- vision_tower.stem.pointwise.weight: rows of 8, groups of 64" in out
    assert "quality   not measured: switched off" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group-size", "32"], "Nothing would be quantized"),
        (["--bits", "4", "--recipe", "mixed-4-6"], "--recipe has its own bits"),
        (["--recipe", "best"], "expected one of mixed-2-6"),
        (["--recipe", "mixed-3-4", "--llm-bits", "4"], "its own bits"),
        (["--mode", "mxfp4", "--bits", "8"], "mxfp4 has 4"),
        (["--mode", "nvfp4", "--group-size", "64"], "nvfp4 has groups of 16"),
        (["--mode", "mxfp8", "--calibrate"], "Calibrating is for"),
        (["--calibrate"], "Calibrating is for"),
        (["--bits", "4", "--quality-samples", "0"], "0 samples; expected 1 to 256"),
        (["--bits", "4", "--quality-samples", "999"], "999 samples; expected 1 to"),
    ],
)
def test_convert_refuses_contradictions_before_anything_is_read(
    tmp_path: Path, capsys: Captured, options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert cli.main(["convert", "some/hub-id", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_quality_of_two_folders(
    converted_golden: Callable[[str], Path], capsys: Captured
) -> None:
    folder = str(converted_golden("apple-train"))
    assert cli.main(["quality", folder, folder, "--samples", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("KL divergence 0 nats per token, 0 at most\n")
    assert "same first choice at 100.0% of" in out
    assert err == ""
    assert cli.main(["quality", folder, folder, "--samples", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kl_divergence"] == 0 and found["samples"] == 1


def test_quality_needs_two_forms_of_one_model(
    converted_golden: Callable[[str], Path], capsys: Captured
) -> None:
    assert cli.main(["quality", "nano", str(converted_golden("apple-train"))]) == 2
    assert "have different tokenizers" in capsys.readouterr().err
    assert cli.main(["quality", "nano", "nano", "--samples", "0"]) == 2
    assert "0 samples; expected 1 to 256" in capsys.readouterr().err


def test_convert_does_not_overwrite_unasked(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert "is there already. Choose another folder, or --overwrite it" in err
    assert cli.main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "source", ["missing", "/missing/model", "/dev/null", "~nobody-here"]
)
def test_convert_needs_a_checkpoint(
    tmp_path: Path, capsys: Captured, source: str
) -> None:
    assert cli.main(["convert", source, str(tmp_path / "out")]) == 2
    assert "is not a folder; expected a checkpoint folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_convert_fetches_hub_ids(
    golden_source: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def download(repo_id: str, **options: Any) -> Path:
        asked[repo_id] = options
        return golden_source("apple-train")

    converter = importlib.import_module("fastvlm_mlx.convert")
    monkeypatch.setattr(converter, "download", download)
    words = ["convert", "some/model", str(tmp_path / "out"), "--revision", "v2"]
    assert cli.main([*words, "--tower", "some/tower", "--offline"]) == 2
    assert asked == {
        "some/model": {"offline": True, "revision": "v2"},
        "some/tower": {"offline": True, "only_tower": True},
    }
    assert cli.main(words) == 0


def test_convert_without_writing(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--dry-run"]) == 0
    assert "(nothing is written)" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_convert_to_mlx_vlm(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--to", "mlx-vlm"]) == 0
    assert (tmp_path / "out" / "processor_config.json").is_file()
    assert cli.main(["inspect", str(tmp_path / "out")]) == 0
    assert "layout      mlx_vlm: mlx-vlm" in capsys.readouterr().out


def test_convert_uploads(
    golden_source: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    converter = importlib.import_module("fastvlm_mlx.convert")
    monkeypatch.setattr(
        converter, "upload", lambda folder, repo: f"{repo}/{folder.name}"
    )
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--upload", "me/mine"]) == 0
    assert "uploaded  me/mine/out" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["nobody"], ["a/b", "--dry-run"]])
def test_convert_refuses_an_upload_that_cannot_be(
    tmp_path: Path, capsys: Captured, options: list[str]
) -> None:
    words = ["convert", "some/model", str(tmp_path / "out"), "--upload"]
    assert cli.main([*words, *options]) == 2
    assert "--upload" in capsys.readouterr().err


# --- inspect ----------------------------------------------------------------------


def test_inspect_in_words(
    golden_source: Callable[[str], Path], capsys: Captured
) -> None:
    assert cli.main(["inspect", str(golden_source("apple-train"))]) == 0
    out = capsys.readouterr().out
    for line in (
        "layout      llava_qwen2",
        "language    qwen2, 2 layers of 64, 384 tokens, tied head",
        "to fold     44 BatchNorms",
        "tower stage 4",
    ):
        assert line in out


def test_inspect_as_json(capsys: Captured) -> None:
    assert cli.main(["inspect", "nano", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layout"] == "fused"
    assert found["tokens"]["256"] == 16
    assert found["parts"][0]["name"] == "tower stem"
    assert found["missing"] is None


def test_inspect_what_is_no_model(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert "has no model.safetensors" in capsys.readouterr().err


# --- plan -------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["0.5b", "7B", "nano"])
def test_plan_shows_every_precision_on_every_mac(model: str, capsys: Captured) -> None:
    assert cli.main(["plan", model]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for mac in ("8 GB", "16 GB", "24 GB", "32 GB", "64 GB"):
        assert mac in out
    for bits in (16, 8, 6, 4):
        assert len(re.findall(rf"^ +{bits}  ", out, re.MULTILINE)) == 2


def test_plan_says_where_the_largest_model_fits(capsys: Captured) -> None:
    assert cli.main(["plan", "7b"]) == 0
    macs = capsys.readouterr().out.split("On this machine")[0].splitlines()
    fits = {line.split()[0]: line.split()[-5:] for line in macs if "yes" in line}
    assert fits["16"] == ["no", "no", "yes", "yes", "yes"]
    assert fits["4"] == ["yes"] * 5


def test_plan_as_json_follows_its_settings(capsys: Captured) -> None:
    words = ["plan", "0.5b", "--json", "--memory-limit", "1GB"]
    totals = []
    for more in ([], ["--resolution", "2048"], ["--context", "9999", "--batch", "9"]):
        assert cli.main([*words, *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["limit"] == 10**9
        totals.append(found["mac"]["4"]["total"])
    assert totals[0] < min(totals[1:])
    assert found["work"] == {
        "resolution": [1024, 1024],
        "views": 1,
        "positions": 9999,
        "batch": 9,
    }


@pytest.mark.parametrize(
    "words",
    [
        ["missing"],
        ["0.5b", "--resolution", "100"],
        ["0.5b", "--context", "0"],
        ["0.5b", "--batch", "-1"],
        ["0.5b", "--memory-limit", "much"],
    ],
)
def test_plan_refuses_in_one_line(words: list[str], capsys: Captured) -> None:
    assert cli.main(["plan", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


def test_a_model_larger_than_its_limit_is_refused(
    ask: list[str], capsys: Captured
) -> None:
    assert cli.main([*ask, "--memory-limit", "1MB"]) == 2
    assert "the limit is 1 MB" in capsys.readouterr().err


# --- doctor and benchmark ---------------------------------------------------------


@pytest.fixture
def measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates and parts that nobody has to wait for."""
    rates = {"float32": 1e11, "bfloat16": 5e9, "float16": 3e9, "memory": 1e10}
    monkeypatch.setattr("fastvlm_mlx.doctor.rates", lambda: iter(rates.items()))

    def parts(_: Any, config: Any, size: Any, runs: int) -> Any:
        return Parts(size, 280, 0.05, 0.1166, 0.0505, 0.01)

    monkeypatch.setattr("fastvlm_mlx.measure.measure", parts)


@pytest.mark.usefixtures("measured_at_once")
def test_doctor_says_what_runs_here(capsys: Captured) -> None:
    assert cli.main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("machine", "MLX 0.", "memory", "100.0 GFLOP/s", "10.0 GB/s"):
        assert part in out


@pytest.mark.usefixtures("measured_at_once")
def test_doctor_as_json(capsys: Captured) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"]["float32"] == 1e11
    assert found["memory"] > 0 and isinstance(found["advice"], list)


def test_benchmark_measures_a_model(model: str, capsys: Captured) -> None:
    words = ["benchmark", "--model", model, "--resolutions", "64", "128x64"]
    assert cli.main([*words, "--runs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["64x64", "128x64"]
    assert all(float(cell) > 0 for cell in lines[2].split()[1:])


@pytest.mark.usefixtures("measured_at_once")
def test_benchmark_stands_beside_the_paper_and_the_bound(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(
        "fastvlm_mlx.geometry.published_config", lambda *_: narrow(bits=4)
    )
    monkeypatch.setattr("fastvlm_mlx.cli.benchmark._machine", lambda: "Apple M1 Max")
    assert cli.main(["benchmark", "--resolutions", "1024", "--bits", "4"]) == 0
    out = capsys.readouterr().out
    ours, bound, paper, ultra, max_, *notes = out.splitlines()[2:]
    assert ours.split()[2:] == ["50.0", "116.6", "50.5", "217.1", "10.0"]
    assert bound.split()[1:3] == ["at", "best"]
    assert paper.split()[1:] == ["M1", "Max", "*", "116.3", "50.5", "166.8"]
    assert ultra.split()[1:] == ["M1", "Ultra", "+", "171.8", "3.5"]
    assert max_.split()[1:] == ["M5", "Max", "#", "107.1", "2.5"]
    assert [note.split(":")[0] for note in notes] == [
        "* Apple's paper",
        "+ mlxcel",
        "# mlxcel",
    ]
    assert all("2025" in note or "September 2026" in note for note in notes)


@pytest.mark.parametrize("tied", [True, False])
def test_the_bound_reads_every_weight_once(
    tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of endless arithmetic and a byte per second. A table of embeddings
    that is no head is not read whole."""
    config = narrow()
    text = dataclasses.replace(config.text_config, tie_word_embeddings=tied)
    config = dataclasses.replace(config, text_config=text)
    model = random_model(config, mx.float32)
    monkeypatch.setattr("fastvlm_mlx.cli.benchmark._machine", lambda: "endless")
    monkeypatch.setitem(PEAKS, "endless", Peak(1e30, 1.0, "nobody's"))
    found = _at_best(config, model, Parts((64, 64), 25, 0.0, 0.0, 0.0, 0.0))
    table = 0 if tied else 4 * text.vocab_size * text.hidden_size
    sizes = [0, 0]
    for place, part in enumerate((model.vision_tower, model.language_model)):
        weights: dict[str, mx.array] = dict(tree_flatten(part.parameters()))
        sizes[place] = sum(array.nbytes for array in weights.values())
    assert found == (sizes[0], sizes[1] - table)


@pytest.mark.usefixtures("measured_at_once")
def test_benchmark_as_json_is_one_object(model: str, capsys: Captured) -> None:
    words = ["benchmark", "--model", model, "--resolutions", "64", "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"][0]["encode"] == 0.1166
    assert found["published"] == []  # nobody published times of this model


@pytest.mark.parametrize(
    "words",
    [
        ["--runs", "0"],
        ["--resolutions", "100"],
        ["--model", "missing"],
        ["--model", "nano", "--bits", "4"],
        ["--memory-limit", "100MB"],
    ],
)
def test_benchmark_refuses_in_one_line(words: list[str], capsys: Captured) -> None:
    assert cli.main(["benchmark", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


@pytest.mark.usefixtures("measured_at_once")
def test_benchmark_can_be_stopped(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastvlm_mlx.measure.measure", stopped)
    assert cli.main(["benchmark", "--model", model]) == 130
    assert capsys.readouterr().err == "fastvlm-mlx: stopped\n"

"""What a model writes reaches a terminal without control characters."""

import dataclasses
import io
import json
import sys
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx import cli, fastvlm
from fastvlm_mlx.caches.caches import CacheStats
from fastvlm_mlx.timings import Timings

Captured = pytest.CaptureFixture[str]


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
        timings=Timings(),
        peak_memory=1,
    )

    class Stream(list[str]):
        pass

    stream: Any = Stream([ESCAPES])
    stream.result = result
    counts = {field.name: 0 for field in dataclasses.fields(CacheStats)}
    contents = {
        "stream": lambda *_, **__: stream,
        "cache_stats": CacheStats(**counts),
    }
    vlm: Any = type("Fake", (), contents)()
    monkeypatch.setattr(fastvlm, "load", lambda *_, **__: vlm)


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

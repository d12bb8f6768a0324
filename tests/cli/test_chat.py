"""`fastvlm-mlx chat` and `--prompt-cache`, as a person or a script uses them."""

import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import cli
from tests.cli.person import PATIENCE, Terminal, terminals

Captured = pytest.CaptureFixture[str]
Talk = Callable[..., int]

DEMO = str(Path(__file__).parents[2] / "docs" / "pictures" / "demo.png")
COLOUR, SHAPE = "what color is the circle?", "what shape is in the image?"


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Pipe lines into a conversation with nano; its exit code."""

    def run(*lines: str, arguments: tuple[str, ...] = ()) -> int:
        data = "".join(f"{line}\n" for line in lines).encode()
        stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stdin)
        return cli.main(["chat", "--model", "nano", "--quiet", *arguments])

    return run


# --- piped in ---------------------------------------------------------------------


def test_questions_in_answers_out(talk: Talk, capsys: Captured) -> None:
    assert talk(COLOUR, "", SHAPE, arguments=("--image", DEMO)) == 0
    assert capsys.readouterr().out == "red\ncircle\n"


def test_a_picture_may_come_later(talk: Talk, capsys: Captured) -> None:
    assert talk(f"/image {DEMO}", COLOUR, "/quit", "not asked") == 0
    assert capsys.readouterr().out == "red\n"


def test_stats_tell_of_what_was_saved(talk: Talk, capsys: Captured) -> None:
    assert talk("/stats", COLOUR, SHAPE, "/stats", arguments=("--image", DEMO)) == 0
    err = capsys.readouterr().err
    assert "0 images encoded, 0 found" in err
    assert "1 images encoded, 0 found" in err
    assert "positions reused in 1 prompts of 2" in err
    assert "read before" in err and "time to first token" in err


def test_help_names_every_command(talk: Talk, capsys: Captured) -> None:
    assert talk("/help") == 0
    out = capsys.readouterr().out
    for command in ("image", "undo", "reset", "save", "load", "stats", "help", "quit"):
        assert f"/{command}" in out


def test_reset_and_undo_forget(talk: Talk, capsys: Captured) -> None:
    lines = (COLOUR, "/undo", "/reset", f"/image {DEMO}", SHAPE, "/undo", SHAPE)
    assert talk(*lines, arguments=("--image", DEMO)) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["red", "circle"]


def test_save_and_load(talk: Talk, capsys: Captured, tmp_path: Path) -> None:
    file = str(tmp_path / "a talk")
    assert talk(COLOUR, f"/save {file}", arguments=("--image", DEMO)) == 0
    assert talk(f"/load {file}", SHAPE) == 0
    assert capsys.readouterr().out == "red\ncircle\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/bogus", "/bogus is no command here; /help lists them."),
        ("/image", "/image needs the path of an image"),
        ("/image missing.png", "missing.png does not exist"),
        ("/load missing", "missing does not exist"),
        ("Is <image> it?", "1 <image> markers for 0 images"),
    ],
)
def test_a_script_ends_with_its_first_mistake(
    talk: Talk, capsys: Captured, line: str, message: str
) -> None:
    assert talk(line, COLOUR) == 2
    captured = capsys.readouterr()
    assert captured.out in ("", "\n")
    assert message in captured.err


def test_what_is_piped_in_must_be_text(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert cli.main(["chat", "--quiet"]) == 2
    assert "is not valid UTF-8; expected text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-tokens", "0"], "max_tokens is 0"),
        (["--image", "missing.png"], "missing.png does not exist"),
        (["--prompt-cache", "f", "--no-cache"], "--no-cache exclude each other"),
        (["--kv-bits", "4", "--max-kv-size", "9"], "a window cannot be quantized"),
    ],
)
def test_what_is_wrong_is_refused_before_a_model_is_loaded(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    assert cli.main(["chat", "--model", "no such model", *arguments]) == 2
    assert message in capsys.readouterr().err


# --- a prompt in a file -----------------------------------------------------------


def ask(*arguments: str, image: str = DEMO, prompt: str = COLOUR) -> int:
    words = ["generate", "--image", image, "--prompt", prompt, "--stats", "--quiet"]
    return cli.main([*words, *arguments])


def test_a_prompt_outlives_the_command(capsys: Captured, tmp_path: Path) -> None:
    file = str(tmp_path / "prompt")
    for is_known in (False, True):
        assert ask("--prompt-cache", file) == 0
        captured = capsys.readouterr()
        assert captured.out == "red\n"
        prompt, read_before = re.findall(r"(\d+) (?:prompt|read)", captured.err)[:2]
        # the last position is read anew: it says what comes next
        assert int(read_before) == (int(prompt) - 1 if is_known else 0)
    assert "0 images encoded" in captured.err
    assert ask("--prompt-cache", file, prompt=SHAPE) == 0
    captured = capsys.readouterr()
    assert captured.out == "circle\n"
    assert "0 images encoded" in captured.err


def test_another_picture_is_not_answered_from_the_file(
    capsys: Captured, tmp_path: Path
) -> None:
    with Image.open(DEMO) as image:
        red, green, blue = image.convert("RGB").split()
    Image.merge("RGB", (blue, green, red)).save(tmp_path / "other.png")
    for path in (DEMO, str(tmp_path / "other.png")):
        assert ask("--prompt-cache", str(tmp_path / "prompt"), image=path) == 0
    assert capsys.readouterr().out == "red\nblue\n"


def test_a_file_of_another_model_is_refused(
    converted_golden: Callable[[str], Path], capsys: Captured, tmp_path: Path
) -> None:
    model, file = str(converted_golden("fast_vlm-train")), str(tmp_path / "prompt")
    assert ask("--model", model, "--max-tokens", "1", "--prompt-cache", file) == 0
    before = Path(file).read_bytes()
    assert ask("--prompt-cache", file) == 2
    assert "was made by another model" in capsys.readouterr().err
    assert Path(file).read_bytes() == before


def test_a_folder_of_encoded_pictures(capsys: Captured, tmp_path: Path) -> None:
    for encoded in (1, 0):
        assert ask("--feature-cache", str(tmp_path / "folder")) == 0
        captured = capsys.readouterr()
        assert captured.out == "red\n"
        assert f"{encoded} images encoded, {1 - encoded} found" in captured.err


def test_no_cache(capsys: Captured) -> None:
    assert ask("--no-cache") == 0
    assert (
        "0.0 MB kept\n0 positions reused in 0 prompts of 0" in capsys.readouterr().err
    )


# --- at a terminal ----------------------------------------------------------------

ENDLESS = """
import sys, time
from fastvlm_mlx import cli
from fastvlm_mlx.generation.decode import DecodeOne
DecodeOne.step = lambda self: [(self.keys[0], 70)] if not time.sleep(0.01) else []
sys.exit(cli.main())
"""


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens terminals, and closes them all."""
    with terminals() as start:
        yield start


def test_a_person_asks_and_leaves(terminal: Callable[..., Terminal]) -> None:
    person = terminal("-m", "fastvlm_mlx", "chat", "--image", DEMO)
    person.read_until("/help lists the commands, /quit ends")
    person.read_until("> ")
    person.type(COLOUR + "\n")
    person.read_until("red")
    person.read_until("> ")
    person.type("/bogus\n")
    person.read_until("/bogus is no command here")
    person.read_until("> ")
    person.type(SHAPE + "\n")
    person.read_until("circle")
    person.read_until("> ")
    person.type("\x04")
    assert person.process.wait(PATIENCE) == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(
    terminal: Callable[..., Terminal],
) -> None:
    person = terminal("-c", ENDLESS, "chat", "--quiet", "--max-tokens", "9999")
    person.read_until("> ")
    for _ in range(2):
        person.type("Why?\n")
        person.read_until("ggg")  # the answer, which would never end
        person.type("\x03")
        person.read_until("> ")
    person.type("half a line")
    person.read_until("half a line")
    person.interrupt()
    person.read_until("> ")
    assert person.process.poll() is None
    person.interrupt()
    assert person.process.wait(PATIENCE) == 0


def test_a_conversation_is_an_object_too() -> None:
    chat = fastvlm_mlx.load("nano").chat()
    assert isinstance(chat, fastvlm_mlx.Chat)

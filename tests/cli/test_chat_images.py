"""Images in a conversation: typed, quoted, dragged, refused, taken back."""

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastvlm_mlx import cli
from tests.cli.person import PATIENCE, Terminal, terminals

DEMO = Path(__file__).parents[2] / "docs" / "pictures" / "demo.png"
COLOUR = "what color is the circle?"

Captured = pytest.CaptureFixture[str]
Talk = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the conversation is held: good images, a bad one, and a text."""
    here = tmp_path / "here"
    (here / "~").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    for name in ("my pic.png", "it's.png", "~/a.png"):
        shutil.copy(DEMO, here / name)
    shutil.copy(DEMO, tmp_path / "home" / "b.png")
    (here / "cut.png").write_bytes(DEMO.read_bytes()[:300])
    (here / "notes.txt").write_text("no image")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return here


@pytest.fixture
def talk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Pipe lines into a conversation with nano; its exit code."""

    def run(*lines: str, arguments: tuple[str, ...] = ("--quiet",)) -> int:
        data = "".join(f"{line}\n" for line in lines).encode()
        stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stdin)
        return cli.main(["chat", "--model", "nano", *arguments])

    return run


@pytest.mark.parametrize(
    "line",
    [
        "/image my pic.png",
        r"/image my\ pic.png",
        "/image 'my pic.png'",
        '/image "my pic.png" ',
        r"/image 'it'\''s.png'",
        "/image ./~/a.png",
        "/image ~/b.png",
        "/image file://{here}/my%20pic.png",
        r"my\ pic.png",
        "'my pic.png'",
        r"{here}/my\ pic.png",
        "~/b.png",
    ],
)
def test_a_path_as_it_is_typed_or_dragged(
    talk: Talk, folder: Path, capsys: Captured, line: str
) -> None:
    assert talk(line.replace("{here}", str(folder)), COLOUR) == 0
    assert capsys.readouterr() == ("red\n", "")


@pytest.mark.parametrize(
    "line",
    [
        f"/image my pic.png\n{COLOUR}",
        rf"/image my\ pic.png {COLOUR}",
        rf"my\ pic.png {COLOUR}",
        rf"my\ pic.png 'it'\''s.png' {COLOUR}",
    ],
)
def test_a_question_may_follow_on_the_line(
    talk: Talk, capsys: Captured, line: str
) -> None:
    assert talk(line) == 0
    assert capsys.readouterr() == ("red\n", "")


def test_a_question_that_begins_with_the_name_of_a_file(
    talk: Talk, folder: Path, capsys: Captured
) -> None:
    (folder / "what").touch()
    assert talk(f"/image my pic.png\n{COLOUR}") == 0
    assert capsys.readouterr() == ("red\n", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/image", "/image needs the path of an image; type one or drag a file here."),
        ("/image .", ". is a folder; expected an image file"),
        ("/image notes.txt", "notes.txt is not a"),
        ("/image nowhere.png", "nowhere.png does not exist"),
        ("{here}/notes.txt", "notes.txt is not a"),
        ("{here}/nowhere.png", "nowhere.png is no command here; /help lists them."),
        ("/save", "/save needs the name of a file."),
        ("/load", "/load needs the name of a file."),
        ("/" + "x" * 500, "x is no command here; /help lists them."),
    ],
)
def test_what_is_no_image_is_refused_at_once(
    talk: Talk, folder: Path, capsys: Captured, line: str, message: str
) -> None:
    assert talk(line.replace("{here}", str(folder))) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err
    assert err.count("\n") == 1 and len(err) < 300


@pytest.mark.parametrize("image", [".", "notes.txt", "nowhere.png"])
def test_images_of_the_command_are_checked_before_a_model_is_loaded(
    folder: Path, capsys: Captured, image: str
) -> None:
    assert cli.main(["chat", "--model", "no such model", "--image", image]) == 2
    assert cli.main(["chat", "--model", "no such model", image]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second and image in first


def test_images_may_be_named_without_an_option(talk: Talk, capsys: Captured) -> None:
    assert talk(COLOUR, arguments=(r"my\ pic.png", "--quiet")) == 0
    assert capsys.readouterr().out == "red\n"


@pytest.mark.parametrize("end", ["exit", "quit", "/exit", "/quit", "Quit"])
def test_words_that_end_a_conversation(talk: Talk, capsys: Captured, end: str) -> None:
    assert talk(end, "not asked") == 0
    assert capsys.readouterr() == ("", "")


def test_that_there_is_no_image_is_said_once(talk: Talk, capsys: Captured) -> None:
    assert talk(COLOUR, COLOUR, "/reset", COLOUR, arguments=()) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 3
    assert err.count("no image yet: /image PATH shows one") == 2


def test_an_image_was_shown(talk: Talk, capsys: Captured) -> None:
    assert talk("my pic.png", COLOUR, COLOUR, arguments=()) == 0
    assert "no image yet" not in capsys.readouterr().err


def test_undo_takes_back_what_waits_first(talk: Talk, capsys: Captured) -> None:
    lines = ("my pic.png", COLOUR, "/image ~/b.png", "/undo", "/undo", "/undo", COLOUR)
    assert talk(*lines, arguments=()) == 0
    out, err = capsys.readouterr()
    assert out.startswith("red\n")
    assert "b.png is not shown\n" in err
    assert "there is nothing to take back\n" in err
    assert err.endswith("no image yet: /image PATH shows one, or drag a file here\n")


def test_load_drops_what_waits(talk: Talk, capsys: Captured) -> None:
    assert talk("my pic.png", COLOUR, "/save talk") == 0
    lines = ("/image ~/b.png", "/load talk", "/image", COLOUR)
    assert talk(*lines) == 2
    assert "For the next question" not in capsys.readouterr().err
    assert talk("/image ~/b.png", "/image") == 2
    assert "For the next question: " in capsys.readouterr().err


def test_save_and_load_expand_a_home_folder(
    talk: Talk, folder: Path, capsys: Captured
) -> None:
    assert talk("my pic.png", COLOUR, "/save ~/talk", "/save ./~/talk") == 0
    assert (folder.parent / "home" / "talk").is_file()
    assert (folder / "~" / "talk").is_file()
    assert talk("/load ~/talk", COLOUR) == 0


# --- at a terminal ----------------------------------------------------------------


@pytest.fixture
def person(folder: Path) -> Iterator[Terminal]:
    """Somebody who talks with nano."""
    with terminals() as start:
        someone = start("-m", "fastvlm_mlx", "chat", "--model", "nano", cwd=folder)
        someone.read_until("> ")
        yield someone


def ask(person: Terminal, line: str) -> str:
    """What is shown after a line, up to the next prompt."""
    person.type(line + "\n")
    person.read_until("\n")  # the terminal's echo
    return person.read_until("> ")


def test_an_image_that_is_refused_does_not_stay(person: Terminal, folder: Path) -> None:
    assert "cut.png is damaged or cut off" in ask(person, "/image cut.png")
    assert ask(person, "/image my pic.png") == "> "
    assert ask(person, "/image it's.png") == "> "
    (folder / "it's.png").unlink()
    assert "it's.png does not exist" in ask(person, COLOUR)
    assert ask(person, COLOUR) == "red\r\n> "  # the good one stayed
    assert "is a folder" in ask(person, "/image .")
    assert ask(person, "what shape is in the image?") == "circle\r\n> "
    assert ask(person, "/undo") == "> "
    assert ask(person, COLOUR) == "red\r\n> "
    person.type("exit\n")
    assert person.process.wait(PATIENCE) == 0


def test_save_asks_before_it_replaces(person: Terminal, folder: Path) -> None:
    ask(person, "my\\ pic.png")
    assert ask(person, "/save talk") == "> "
    before = (folder / "talk").read_bytes()
    ask(person, COLOUR)
    for said, replaced in (("", False), ("n", False), ("y", True)):
        person.type("/save talk\n")
        person.read_until("talk is there; replace it? [y/N] ")
        assert ask(person, said) == "> "
        assert ((folder / "talk").read_bytes() != before) == replaced

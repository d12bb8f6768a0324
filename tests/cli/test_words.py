"""What a stranger types, and the line that says what would have been right."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx import cli
from fastvlm_mlx.cli.typed_images import looks_like_image
from fastvlm_mlx.images.formats import SUFFIXES
from fastvlm_mlx.resolve import published_model, resolve

DEMO = Path(__file__).parents[2] / "docs" / "pictures" / "demo.png"
COLOUR = "what color is the circle?"

VERBS = (
    *("generate", "chat", "batch", "convert", "inspect", "quality", "evaluate"),
    *("plan", "doctor", "benchmark", "completion"),
)

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, and a file whose name is a verb."""
    for name in ("photo.jpg", "my pic.png", "photo"):
        shutil.copy(DEMO, tmp_path / name)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*words: str) -> int:
    """Run the command here; its exit code, however it ends."""
    try:
        return cli.main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


# --- an image and a question ------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["photo.jpg", COLOUR], "red"),
        (["photo.jpg", *COLOUR.split()], "red"),
        ([COLOUR, "photo.jpg"], "red"),
        (["--model", "nano", "photo.jpg", COLOUR], "red"),
        (["photo.jpg", "--model", "nano", COLOUR], "red"),
        (["photo.jpg", COLOUR, "--max-tokens", "5"], "red"),
        (["generate", "photo.jpg", COLOUR], "red"),
        (["generate", "--image", "photo.jpg", COLOUR], "red"),
        (["photo.jpg", "--prompt", COLOUR], "red"),
        (["my pic.png", COLOUR], "red"),
        ([r"my\ pic.png", COLOUR], "red"),
        (["'my pic.png'", COLOUR], "red"),
        (["generate", "--image", r"my\ pic.png", "--prompt", COLOUR], "red"),
        (["photo", COLOUR], "red"),
        (["photo"], "A red circle."),
        (["photo.jpg"], "A red circle."),
        (["generate", "--image", "photo.jpg"], "A red circle."),
    ],
)
def test_an_image_and_a_question(
    words: list[str], answer: str, capsys: Captured
) -> None:
    assert typed(*words, "--quiet") == 0
    assert capsys.readouterr() == (f"{answer}\n", "")


def test_without_an_image_it_is_said_and_answered(capsys: Captured) -> None:
    for words in ([COLOUR], ["generate", "--prompt", COLOUR]):
        assert typed(*words, "--model", "nano") == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 1
        assert err == "fastvlm-mlx: no image was given; --image PATH shows one\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["nowhere.jpg", COLOUR], "nowhere.jpg does not exist"),
        (["my nowhere.jpg"], "my nowhere.jpg does not exist"),
        (["folder"], "folder is a folder; expected an image file. fastvlm-mlx batch"),
        (["generate", "--image", "folder", "--prompt", "x"], "folder is a folder;"),
        (["https://example.org/a.png"], "https://example.org/a.png is a URL"),
        (["photo.jpg", "hm", "--prompt", "x"], "two questions, 'x' and 'hm'"),
        (["generate"], 'neither an image nor a question; expected IMAGE "QUESTION"'),
        (["x" * 300 + ".png"], ""),
    ],
)
def test_what_is_refused_in_one_line(
    words: list[str], message: str, capsys: Captured
) -> None:
    assert typed(*words, "--quiet") == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err
    assert err.startswith("fastvlm-mlx: ")
    assert err.count("\n") == 1 and len(err) < 300


def test_the_names_of_images() -> None:
    for suffix in SUFFIXES:
        assert looks_like_image(f"missing{suffix}"), suffix


# --- help -------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]])
def test_the_help_lists_commands_and_shows_an_example(
    words: list[str], capsys: Captured
) -> None:
    assert typed(*words) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("usage: fastvlm-mlx IMAGE ")
    assert 'fastvlm-mlx photo.jpg "What is in this picture?"' in out
    for verb in VERBS:
        assert re.search(rf"^    {verb} ", out, re.MULTILINE), verb


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb(verb: str, capsys: Captured) -> None:
    for words in (["help", verb], [verb, "--help"], [verb, "-h"]):
        assert typed(*words) == 0
        out, err = capsys.readouterr()
        assert err == "" and out.startswith(f"usage: fastvlm-mlx {verb} ")


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_the_version(word: str, capsys: Captured) -> None:
    assert typed(word) == 0
    assert capsys.readouterr() == (f"{fastvlm_mlx.__version__}\n", "")


# --- misspelt ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["genrate"], ": there is no command 'genrate'; did you mean generate?"),
        (["Chat"], ": there is no command 'Chat'; did you mean chat?"),
        (["evalute", "--task"], "'evalute'; did you mean evaluate?"),
        (["help", "plna"], ": there is no command 'plna'; did you mean plan?"),
        (["hello"], "no command 'hello'; expected a command, or IMAGE \"QUESTION\""),
        (["generate", "--modle", "x"], "no option --modle; did you mean --model?"),
        (["--modle", "x", "photo.jpg"], "no option --modle; did you mean --model?"),
        (["generate", "--max_tokens", "5"], "--max_tokens; did you mean --max-tokens?"),
        (["generate", "--max_tokens=5"], "--max_tokens; did you mean --max-tokens?"),
        (["generate", "-image", "photo.jpg"], "-image; did you mean --image?"),
        (["photo.jpg", "hm", "--strem"], "no option --strem"),
        (["evaluate", "--tsak", "plain"], "no option --tsak; did you mean --task?"),
        (["chat", "--prompt", "x"], "no option --prompt"),
        (["plan", "--resolutoin", "64"], "did you mean --resolution?"),
        (["batch", "--frobnicate"], "--frobnicate; see fastvlm-mlx help batch"),
        (["plan", "nano", "more"], "no place for 'more'; see fastvlm-mlx help plan"),
        (["generate", "--max-tokens", "many"], "--max-tokens: invalid int value"),
        (["generate", "--dtype", "int4"], "--dtype: invalid choice: 'int4'"),
        (["generate", "--" + "x" * 5000], "there is no option --xxx"),
        (["generate", "--max-tokens", "x" * 5000], "invalid int value: 'xxx"),
        (["generate", "--kv-bits", "1" * 3000], "--kv-bits: invalid choice: 111"),
        (["plan", "nano", "x" * 5000], "there is no place for 'xxx"),
        (["x" * 5000], "there is no command 'xxx"),
        (["help", "x" * 5000], "there is no command 'xxx"),
    ],
)
def test_a_misspelt_word_gets_one_line(
    words: list[str], said: str, capsys: Captured
) -> None:
    assert typed(*words) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err
    assert err.startswith("fastvlm-mlx") and ": error: " in err
    assert err.count("\n") == 1 and len(err) < 300


# --- names of models --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("0.5b", ("apple/FastVLM-0.5B", None)),
        ("1.5B", ("apple/FastVLM-1.5B", None)),
        ("7b", ("apple/FastVLM-7B", None)),
        ("0.5b-4bit", ("apple/FastVLM-0.5B", 4)),
        ("7b-8bit", ("apple/FastVLM-7B", 8)),
        ("0.5b-7bit", None),
        ("05b", None),
        ("nano", None),
        ("apple/FastVLM-0.5B", None),
    ],
)
def test_short_names(name: str, meant: tuple[str, int | None] | None) -> None:
    assert published_model(name) == meant


@pytest.fixture
def hub(
    golden_source: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[Any]:
    """What is asked of the hub, which has one small model under every name."""
    asked: list[Any] = []

    def download(repo_id: str, revision: str | None = None, **_: Any) -> Path:
        asked.append((repo_id, revision))
        return golden_source("apple-train")

    monkeypatch.setattr("fastvlm_mlx.convert.download", download)
    monkeypatch.setenv("FASTVLM_MLX_CACHE", str(tmp_path / "cache"))
    return asked


def test_a_short_name_is_fetched_converted_and_quantized(
    hub: list[Any], tmp_path: Path, capsys: Captured
) -> None:
    ask = ["photo.jpg", COLOUR, "--quiet", "--max-tokens", "1", "--model"]
    assert typed(*ask, "0.5b") == typed(*ask, "0.5b-4bit") == 0
    assert hub == [("apple/FastVLM-0.5B", None)] * 2
    plain, small = sorted(each.parent for each in tmp_path.glob("cache/*/config.json"))
    if "4bit" in plain.name:
        plain, small = small, plain
    assert "4bit" in small.name and "4bit" not in plain.name
    assert '"bits": 4' in (small / "config.json").read_text()
    assert '"bits"' not in (plain / "config.json").read_text()


def test_a_folder_comes_before_a_short_name(
    hub: list[Any], converted_golden: Callable[[str], Path], here: Path
) -> None:
    (here / "0.5b").symlink_to(converted_golden("apple-train"))
    assert resolve("0.5b") == Path("0.5b")
    assert not hub


# --- completion -------------------------------------------------------------------


def completed(script: str, *words: str) -> set[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in ("fastvlm-mlx", *words))
    code = (
        f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
        '_fastvlm_mlx; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    return set(done.stdout.split("\n")) - {""}


def test_bash_completes_words(capsys: Captured) -> None:
    assert typed("completion", "bash") == 0
    script = capsys.readouterr().out
    assert completed(script, "ge") == {"generate"}
    assert completed(script, "") >= {*VERBS, "help", "photo.jpg", "my pic.png"}
    assert completed(script, "help", "pl") == {"plan"}
    assert completed(script, "completion", "") == {"bash", "zsh", "fish"}
    assert completed(script, "generate", "--max-t") == {"--max-tokens"}
    assert completed(script, "photo.jpg", "--max-t") == {"--max-tokens"}
    assert completed(script, "chat", "--prompt") == {"--prompt-cache"}
    assert completed(script, "generate", "--dtype", "b") == {"bfloat16"}
    assert completed(script, "generate", "--model", "0") == {"0.5b", "0.5b-4bit"}
    assert completed(script, "generate", "--image", "ph") == {"photo", "photo.jpg"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_told_of_every_verb_and_option(
    shell: str, capsys: Captured
) -> None:
    assert typed("completion", shell) == 0
    script = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", script), verb
    for option in ("max-tokens", "quantized-kv-start", "head-bits", "geometry"):
        assert option in script, option
    program = shutil.which(shell)
    if program is None:
        return  # the script cannot be tried here
    done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_verb_waits_for_mlx() -> None:
    code = (
        "import sys; from fastvlm_mlx import cli\n"
        "for words in (['help'], ['completion', 'zsh'], ['genrate'], ['-V']):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit: pass\n"
        "heavy = {'mlx.core', 'numpy', 'PIL', 'tokenizers', 'tqdm', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""A checkpoint's tokenizer files in, the runtime's tokenizer out."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import fastvlm_mlx
from convert.source import Source
from convert.tokenizer import QWEN2_TEMPLATE, read_tokenizer
from fastvlm_mlx.errors import CheckpointError, FastVLMError
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.text.chat_template import compile_template
from fastvlm_mlx.text.prompt import Message
from fastvlm_mlx.text.tokenizer import ChatTokenizer
from tests.convert.folders import GOLDENS, copy_golden, edit_json
from tests.goldens.tokenizer import write_llama

APPLE, FAST_VLM = GOLDENS / "apple-train", GOLDENS / "fast_vlm-train"
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FIRST_FREE = 309  # after the bytes and merges of the golden vocabulary

# the 7B's list is longer, and not all of it is special
MORE = ("<|object_ref_start|>", "<tool_call>", "</tool_call>")

TEXT = st.lists(
    st.text() | st.sampled_from([*SPECIALS, "You are", " a helpful assistant", "'LL\r"])
).map("".join)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def added(token: str, special: bool = True) -> dict[str, Any]:
    """An entry of added_tokens_decoder, as transformers writes it."""
    plain = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": token, "special": special, **plain}


def decoder(tokens: Sequence[str], first: int = FIRST_FREE) -> dict[str, Any]:
    return {str(first + index): added(token) for index, token in enumerate(tokens)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """vocab.json and merges.txt, nothing else."""
    for file in ("vocab.json", "merges.txt"):
        shutil.copyfile(APPLE / file, tmp_path / file)
    return tmp_path


@pytest.fixture(scope="module")
def both() -> list[Tokenizer]:
    """The same vocabulary from two files and from one."""
    return [read_tokenizer(Source(folder)).tokenizer for folder in (APPLE, FAST_VLM)]


@given(text=TEXT)
def test_two_files_and_one_give_the_same_ids(both: list[Tokenizer], text: str) -> None:
    first, second = both
    assert ids(first, text) == ids(second, text)


@given(text=st.text())
def test_ids_give_the_text_back(both: list[Tokenizer], text: str) -> None:
    """In the normal form that Qwen2's tokenizer brings text to."""
    for tokenizer in both:
        normal = tokenizer.normalizer.normalize_str(text)
        assert tokenizer.decode(ids(tokenizer, text), False) == normal


@pytest.mark.parametrize("folder", [APPLE, FAST_VLM])
def test_special_tokens(folder: Path) -> None:
    files = read_tokenizer(Source(folder))
    found = [files.tokenizer.token_to_id(token) for token in SPECIALS]
    assert found == [309, 310, 311]
    assert files.tokens.image == 312
    assert files.tokens.ends == (309, 311)
    assert files.tokens.max_length == 8192


@pytest.mark.parametrize("tokens", [SPECIALS, SPECIALS + MORE])
@pytest.mark.parametrize("listed_in", ["tokenizer_config.json", "added_tokens.json"])
def test_added_tokens_keep_their_ids(
    folder: Path, tokens: Sequence[str], listed_in: str
) -> None:
    """And `<image>` takes the first free one: 151646 in the 0.5B, 151665 in the 7B."""
    numbers = {token: FIRST_FREE + index for index, token in enumerate(tokens)}
    if listed_in == "added_tokens.json":
        edit_json(folder / listed_in, **numbers)
    else:
        edit_json(folder / listed_in, added_tokens_decoder=decoder(tokens))
    files = read_tokenizer(Source(folder))
    assert {token: files.tokenizer.token_to_id(token) for token in tokens} == numbers
    assert files.tokens.image == FIRST_FREE + len(tokens)
    assert ids(files.tokenizer, "".join(tokens)) == list(numbers.values())


@pytest.mark.parametrize(
    "numbers",
    [
        {"<|im_start|>": 309, "<|im_end|>": 311},  # a gap
        {"<|im_start|>": 400},
        {"<|im_start|>": 0, "<|im_end|>": 309},  # a number that is taken
    ],
)
def test_an_id_that_cannot_be_kept(folder: Path, numbers: dict[str, int]) -> None:
    """A token on another row of the embedding would be another word."""
    edit_json(folder / "added_tokens.json", **numbers)
    with pytest.raises(CheckpointError, match="<|im_"):
        read_tokenizer(Source(folder))


def test_an_added_token_may_be_ordinary_text(folder: Path) -> None:
    """<tool_call> of the 7B is shown to the user; <|im_end|> is not."""
    tokens = {"309": added("<|im_start|>"), "310": added("<tool_call>", special=False)}
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder=tokens)
    tokenizer = read_tokenizer(Source(folder)).tokenizer
    assert tokenizer.decode([309, 310], skip_special_tokens=True) == "<tool_call>"


def test_image_is_one_token_and_never_twice(tmp_path: Path) -> None:
    for folder in (APPLE, FAST_VLM):
        read_tokenizer(Source(folder)).write(tmp_path)
        again = read_tokenizer(Source(tmp_path))
        names = [
            token.content
            for token in again.tokenizer.get_added_tokens_decoder().values()
        ]
        assert names.count("<image>") == 1
        assert again.tokens.image == 312
        assert ids(again.tokenizer, "a<image>b").count(312) == 1


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    for folder in (APPLE, FAST_VLM):
        files = read_tokenizer(Source(folder))
        files.write(tmp_path)
        again = read_tokenizer(Source(tmp_path))
        assert again.tokenizer.to_str() == files.tokenizer.to_str()
        assert (again.config, again.tokens) == (files.config, files.tokens)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_tokenizer(Source(APPLE)).write(tmp_path / "nowhere")


# --- the chat template ------------------------------------------------------------


def test_the_template_of_a_file_comes_first(tmp_path: Path) -> None:
    folder = copy_golden("apple-train", tmp_path / "source")
    assert "turn.role" in read_tokenizer(Source(folder)).config["chat_template"]
    (folder / "chat_template.jinja").write_text("from the file")
    assert read_tokenizer(Source(folder)).config["chat_template"] == "from the file"


def test_a_qwen2_tokenizer_has_a_template_without_one(folder: Path) -> None:
    edit_json(folder / "added_tokens.json", **{"<|im_start|>": FIRST_FREE})
    assert read_tokenizer(Source(folder)).config["chat_template"] == QWEN2_TEMPLATE


def test_another_tokenizer_needs_a_template(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no chat template"):
        read_tokenizer(Source(folder))


# --- end tokens -------------------------------------------------------------------


@pytest.mark.parametrize("eos", ["Ġpicture", {"content": "Ġpicture"}])
def test_the_end_token_of_the_config_is_one_of_the_ends(
    tmp_path: Path, eos: object
) -> None:
    folder = copy_golden("apple-train", tmp_path / "source")
    edit_json(folder / "tokenizer_config.json", eos_token=eos)
    end = json.loads((folder / "vocab.json").read_text("utf-8"))["Ġpicture"]
    assert set(read_tokenizer(Source(folder)).tokens.ends) == {309, 311, end}


@pytest.mark.parametrize("eos", [None, {}, {"content": None}, 7])
def test_the_word_none_ends_no_answer(folder: Path, eos: object) -> None:
    """It is a token of Qwen2's, and what Python calls a missing one."""
    tokens = {"<|im_start|>": 309, "None": 310}
    edit_json(folder / "added_tokens.json", **tokens)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
    assert read_tokenizer(Source(folder)).tokens.ends == ()


# --- damage -----------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["vocab.json", "merges.txt"])
def test_half_a_tokenizer(folder: Path, lost: str) -> None:
    (folder / lost).unlink()
    with pytest.raises(CheckpointError, match="not both"):
        read_tokenizer(Source(folder))


@pytest.mark.parametrize("file", ["vocab.json", "merges.txt", "tokenizer.json"])
@pytest.mark.parametrize("content", ["{", "[]", "a b c", '{"a": "b"}', "null"])
def test_damaged_files(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError):
        read_tokenizer(Source(folder))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_tokenizer_cut_off(tmp_path: Path, share: float) -> None:
    whole = (FAST_VLM / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="damaged"):
        read_tokenizer(Source(tmp_path))


@pytest.mark.parametrize("value", [None, [], {}, 1, -1, True, "x", float("nan"), 1e400])
@pytest.mark.parametrize(
    "key", ["added_tokens_decoder", "chat_template", "eos_token", "model_max_length"]
)
def test_nonsense_in_the_config(tmp_path: Path, key: str, value: object) -> None:
    """A tokenizer or an error of the family, whatever is written there."""
    folder = copy_golden("apple-train", tmp_path / "source")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    try:
        files = read_tokenizer(Source(folder))
    except FastVLMError as error:
        assert str(error)
    else:
        assert files.tokens.image == 312


# --- Llama, as in LLaVA-1.5 -------------------------------------------------------

ASKED = (
    "A chat between a curious user and an artificial intelligence assistant. The "
    "assistant gives helpful, detailed, and polite answers to the user's questions."
)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A tokenizer of SentencePiece's kind, and no template."""
    write_llama(tmp_path)
    return tmp_path


def test_a_llama_is_asked_as_vicuna_was(llama: Path) -> None:
    """LLaVA tokenizes what stands around a picture apart, each with its own space."""
    files = read_tokenizer(Source(llama))
    files.write(llama)
    tiny = Tokenizer.from_file(str(llama / "tokenizer.json"))
    config = load_config(Path(fastvlm_mlx.__file__).parent / "assets" / "nano")
    config = replace(config, image_token_index=files.tokens.image, max_length=4096)
    turns = [Message("user", "What is it?", images=1), Message("assistant", "A cat.")]
    turns.append(Message("user", "Where?"))
    prompt = ChatTokenizer(llama, config).build(turns, [3])
    before = ids(tiny, f"{ASKED} USER: ")
    after = ids(tiny, "\nWhat is it? ASSISTANT: A cat.</s>USER: Where? ASSISTANT:")
    assert list(prompt.token_ids) == [1, *before, *[files.tokens.image] * 3, *after]
    assert prompt.image_spans == ((1 + len(before), 3),)


def test_a_system_turn_replaces_that_of_vicuna(llama: Path) -> None:
    template = compile_template(read_tokenizer(Source(llama)).config["chat_template"])
    turns = [{"role": "system", "content": "Be brief."}]
    turns.append({"role": "user", "content": "Hi"})
    said = template.render(messages=turns, add_generation_prompt=True)
    assert said == "<s>Be brief. USER: Hi ASSISTANT:"


def test_the_tokens_of_a_llama(llama: Path) -> None:
    tokens = read_tokenizer(Source(llama)).tokens
    assert tokens.ends == (2,)
    assert tokens.max_length == 256


def test_a_sentencepiece_model_alone_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"pieces")
    with pytest.raises(CheckpointError, match="Save one with transformers"):
        read_tokenizer(Source(tmp_path))

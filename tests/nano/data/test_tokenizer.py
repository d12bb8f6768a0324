"""The tokenizer: Qwen's special tokens at their own ids, and letters as a way out."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from benchmarks.nano.data.tokenizer import (
    END,
    END_OF_TEXT,
    IMAGE,
    SPECIAL_TOKENS,
    START,
    save_tokenizer,
    token_id,
    train_tokenizer,
)

TEXTS = ["what color is the circle?", "how many shapes are there?", "red", "yes"] * 40
SIZE = 448


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, SIZE)


def test_special_tokens_follow_the_merges(tokenizer: Tokenizer) -> None:
    ids = [token_id(tokenizer, token) for token in SPECIAL_TOKENS]
    assert ids == [SIZE - 4, SIZE - 3, SIZE - 2, SIZE - 1]
    assert set(SPECIAL_TOKENS) == {END_OF_TEXT, START, END, IMAGE}
    assert tokenizer.get_vocab_size() == SIZE


@pytest.mark.parametrize("text", ["Xylophon", "€57.50", "ž\n\t😀", " spelled  out"])
def test_anything_can_be_spelled(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("12045").ids) == 5


def test_common_answers_are_one_token(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("yes").ids) == 1


def test_too_few_texts_for_the_size() -> None:
    with pytest.raises(ValueError, match="expected 4096; give more texts"):
        train_tokenizer(TEXTS, 4096)


def test_the_runtime_reads_its_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "what color is <|im_end|>?"
    assert again.encode(text).ids == tokenizer.encode(text).ids

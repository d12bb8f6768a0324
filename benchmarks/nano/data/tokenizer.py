"""The nano model's own byte-level BPE tokenizer, built like Qwen2's but small.

Special tokens follow the merges, as in Qwen2. Merges are learned from questions and
common answers, not from words in images, so that an unseen word is as easy to spell as
any other.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

END_OF_TEXT, IMAGE = "<|endoftext|>", "<image>"
START, END = "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, START, END, IMAGE)

# Qwen2's pre-tokenization: contractions, words, single digits, signs, blanks.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SYSTEM_PROMPT = "You are a helpful assistant."

# A message's content is a string that holds the image marker, or a list of parts, where
# an image part becomes the marker and a line break.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n" + SYSTEM_PROMPT + "<|im_end|>\\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Frequent English words, so that other text is not cut into letters.
ENGLISH = """
the of and to in is it you that he was for on are with as his they be at one have this
from or had by not but what all were we when your can said there use an each which she
do how their if will up other about out many then them these so some her would make
like him into time has look two more write go see number no way could people my than
first water been call who now find long down day did get come made may part over new
sound take only little work know place year live me back give most very after thing
our just name good sentence man think say great where help through much before line
right too mean old any same tell boy follow came want show also around form three
small set put end does another well large must big even such because turn here why ask
went men read need land different home us move try kind hand picture again change off
play spell air away animal house point page letter mother answer found study still
learn should world describe image photo color shape left top bottom square round above
below under between near far light dark white orange pink purple black blue brown gray
green red teal yellow circle rectangle triangle person woman child dog cat car tree
text word sign street sky sun says number digits written chart bar pie
slice value highest lowest difference total date shop receipt form name amount screen
button label toggle highlighted selected setting many more fewer left right
""".split()


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE.

    Args:
        texts: what the model will read and write, as often as each counts.
        vocabulary: tokens: all 256 bytes, the merges, then `SPECIAL_TOKENS`. A multiple
            of 64 needs no padding rows.

    Raises:
        ValueError: the texts have too few pairs for that many tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator([*texts, *_english_text()], _bpe_trainer(vocabulary))
    tokenizer.add_special_tokens([_special(token) for token in SPECIAL_TOKENS])
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(
            f"the texts gave {tokenizer.get_vocab_size()} tokens, expected "
            f"{vocabulary}; give more texts or choose a smaller vocabulary"
        )
    return tokenizer


def _english_text() -> list[str]:
    """Frequent words after a blank, as within a sentence, and the chat's roles."""
    roles = ["system\n", "user\n", "assistant\n", SYSTEM_PROMPT]
    return [" " + word for word in ENGLISH] * 2 + roles * 100


def _bpe_trainer(vocabulary: int) -> trainers.BpeTrainer:
    return trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token.

    Raises:
        ValueError: it is not in the vocabulary.
    """
    index: int | None = tokenizer.token_to_id(token)
    if index is None:
        raise ValueError(
            f"the tokenizer has no token {token!r}; expected one that "
            "`python -m benchmarks.nano.train` made"
        )
    return index


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer files of a Qwen2 checkpoint, and the chat template."""
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    special_ids = {token: token_id(tokenizer, token) for token in SPECIAL_TOKENS}
    _write_json(folder / "added_tokens.json", special_ids)
    _write_json(
        folder / "special_tokens_map.json",
        {
            "additional_special_tokens": [START, END, IMAGE],
            "eos_token": END,
            "pad_token": END_OF_TEXT,
        },
    )
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(special_ids))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def _tokenizer_config(special_ids: dict[str, int]) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(index): {"content": token, **flags, "special": True}
            for token, index in special_ids.items()
        },
        "additional_special_tokens": [START, END, IMAGE],
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "errors": "replace",
        "image_token": IMAGE,
        "model_max_length": 2048,
        "pad_token": END_OF_TEXT,
        "padding_side": "right",
        "processor_class": "LlavaProcessor",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

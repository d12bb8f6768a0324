"""A tokenizer of three hundred ids with the shape of Qwen2's.

In: nothing. Out: the files of a checkpoint folder, in either of the two forms that
FastVLM repositories carry. Byte-level BPE whose merges spell the few words of the
prompt, then the special tokens: Qwen's three, and `<image>` only in transformers'
layout (Apple's PyTorch folders have none; there an image is the sentinel -200).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE = "<image>"
SPACE = "\u2581"  # how SentencePiece writes a space

# The words of FastVLM's prompt, each one id after its merges; Ġ is a space.
WORDS = (
    "system user assistant You Ġare Ġa Ġhelpful Ġassistant What Ġis Ġin Ġthis Ġpicture"
).split()

# How Qwen2 cuts text before merging: contractions, words, single digits, marks, space.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# One turn after another, a default system turn first where none is given.
APPLE_TEMPLATE = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for turn in messages %}"
    "{{ '<|im_start|>' ~ turn.role ~ '\\n' ~ turn.content ~ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# transformers' form: content is a list of parts, all images are said before the text.
FAST_VLM_TEMPLATE = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for turn in messages %}{{ '<|im_start|>' ~ turn.role ~ '\\n' }}"
    "{% if turn.content is string %}{{ turn.content }}{% else %}"
    "{% for part in turn.content if part.type == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for part in turn.content if part.type == 'text' %}"
    "{{ '\\n' ~ part.text }}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer(specials: Sequence[str]) -> Tokenizer:
    """The tokenizer, with `specials` on the ids after the last merge."""
    merges = _merges()
    pieces = sorted(ByteLevel.alphabet()) + [left + right for left, right in merges]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = Steps(
        [
            Split(Regex(WORD_PATTERN), behavior="isolated"),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in specials]
    )
    return tokenizer


def write_apple(folder: Path) -> Tokenizer:
    """The files of Apple's repositories: vocab.json, merges.txt, added_tokens.json."""
    specials = (END_OF_TEXT, TURN_START, TURN_END)
    tokenizer = build_tokenizer(specials)
    pieces = tokenizer.get_vocab(with_added_tokens=False)
    in_order = dict(sorted(pieces.items(), key=lambda item: item[1]))
    write_json(folder / "vocab.json", in_order, ascii_only=False)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in _merges())]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "added_tokens.json", _ids(tokenizer, specials))
    write_json(folder / "special_tokens_map.json", _special_roles())
    values = _tokenizer_config(tokenizer, specials, APPLE_TEMPLATE)
    write_json(folder / "tokenizer_config.json", values)
    return tokenizer


def write_fast_vlm(folder: Path) -> Tokenizer:
    """The files of transformers' repositories: tokenizer.json and its config."""
    specials = (END_OF_TEXT, TURN_START, TURN_END, IMAGE)
    tokenizer = build_tokenizer(specials)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    values = _tokenizer_config(tokenizer, specials, FAST_VLM_TEMPLATE)
    write_json(folder / "tokenizer_config.json", values | {"image_token": IMAGE})
    return tokenizer


def write_llama(folder: Path) -> Tokenizer:
    """Llama's form: pieces of SentencePiece, a space before every text, byte pieces."""
    specials = ["<unk>", "<s>", "</s>"]
    byte_pieces = [f"<0x{number:02X}>" for number in range(256)]
    letters = [chr(number) for number in range(ord("!"), ord("~") + 1)]
    pieces = [*specials, *byte_pieces, SPACE, *letters]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    bpe = BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in specials])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    values = {"tokenizer_class": "LlamaTokenizer", "model_max_length": 256}
    values |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(folder / "tokenizer_config.json", values)
    return tokenizer


def write_json(path: Path, values: object, ascii_only: bool = True) -> None:
    """Write JSON as Hugging Face's libraries do."""
    text = json.dumps(values, indent=2, ensure_ascii=ascii_only)
    path.write_text(text + "\n", encoding="utf-8")


def _merges() -> list[tuple[str, str]]:
    """Pairs that build each word from left to right, in order of first use."""
    pairs: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for end in range(1, len(word)):
            pairs[word[:end], word[end]] = None
    return list(pairs)


def _ids(tokenizer: Tokenizer, specials: Sequence[str]) -> dict[str, int]:
    vocabulary = tokenizer.get_vocab()
    return {token: vocabulary[token] for token in specials}


def _special_roles() -> dict[str, object]:
    return {
        "additional_special_tokens": [TURN_START, TURN_END],
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
    }


def _tokenizer_config(
    tokenizer: Tokenizer, specials: Sequence[str], template: str
) -> dict[str, object]:
    plain = {"lstrip": False, "normalized": False, "rstrip": False}
    flags = plain | {"single_word": False, "special": True}
    return _special_roles() | {
        "added_tokens_decoder": {
            str(index): {"content": token} | flags
            for token, index in _ids(tokenizer, specials).items()
        },
        "add_prefix_space": False,
        "bos_token": None,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "model_max_length": 8192,
        "padding_side": "right",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }

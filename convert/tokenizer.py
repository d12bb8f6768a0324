"""The tokenizer and chat template of a checkpoint, as files the runtime reads.

Apple's PyTorch repositories have Qwen2's vocab.json and merges.txt, the exports and
transformers a tokenizer.json. Written is always tokenizer.json, with `<image>` as a
token, and tokenizer_config.json with the chat template.
"""

import json
from dataclasses import dataclass
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
)

from fastvlm_mlx.errors import CheckpointError
from fastvlm_mlx.field_checks import LARGEST_SIZE
from fastvlm_mlx.model_folder import read_json
from fastvlm_mlx.text.chat_template import compile_template
from fastvlm_mlx.text.prompt import IMAGE_MARKER
from fastvlm_mlx.text.tokenizer import read_tokenizer_file

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")

END_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""Both end a FastVLM answer; a checkpoint's config names only the first."""

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenizer, a published constant of the model."""

QWEN2_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""LLaVA's conversation `qwen_2`, for a checkpoint that ships no template."""

VICUNA_TEMPLATE = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] }}{% set turns = messages[1:] %}{% else %}"
    "{{ 'A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user\\'s "
    "questions.' }}{% set turns = messages %}{% endif %}{{ ' ' }}"
    "{% for turn in turns %}{% if turn['role'] == 'assistant' %}"
    "{{ 'ASSISTANT:' + turn['content'] + '</s>' }}{% else %}"
    "{{ 'USER: ' + turn['content'] + ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""LLaVA's conversation `vicuna_v1`, for a Llama that ships no template.

No space before an answer: answers are tokenized apart, and Llama's tokenizer begins
every text with one.
"""


@dataclass(frozen=True)
class SpecialTokens:
    """What a tokenizer says about the model."""

    image: int  # the id of <image>
    ends: tuple[int, ...]  # ids that end an answer
    max_length: int | None


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer ready to be written."""

    tokenizer: Tokenizer
    config: dict[str, Any]
    tokens: SpecialTokens

    def write(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        # not `save`, whose errors are no OSErrors
        text = self.tokenizer.to_str(pretty=True)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        text = json.dumps(self.config, indent=2, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """Read whatever tokenizer files a checkpoint has.

    Raises:
        CheckpointError: none, or damaged ones.
    """
    config_file = folder / "tokenizer_config.json"
    config = read_json(config_file) if config_file.is_file() else {}
    tokenizer = _read(folder, config)
    if tokenizer.token_to_id(IMAGE_MARKER) is None:
        # the id that Apple's exporter gives it too: the first one free
        tokenizer.add_special_tokens([AddedToken(IMAGE_MARKER, normalized=False)])
    config = {**config, "chat_template": _template(folder, config, tokenizer)}
    return TokenizerFiles(tokenizer, config, _special_tokens(tokenizer, config))


def _read(folder: Path, config: dict[str, Any]) -> Tokenizer:
    try:
        if (folder / "tokenizer.json").is_file():
            return read_tokenizer_file(folder / "tokenizer.json")
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return _qwen2(folder, config)
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(
            f"The tokenizer of {folder} is damaged: {error}"
        ) from None
    if (folder / "tokenizer.model").is_file():
        raise CheckpointError(
            f"{folder} has tokenizer.model only; expected tokenizer.json. Save one "
            "with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)."
        )
    raise CheckpointError(
        f"{folder} has no tokenizer.json, and not both vocab.json and merges.txt."
    )


def _qwen2(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """Qwen2's byte-level BPE from its two files (transformers' Qwen2Tokenizer)."""
    bpe = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # by rising id, the order that gives them their ids again
    for number, token in sorted(_added_tokens(folder, config).items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != number:
            raise ValueError(f"{token.content} cannot have the id {number}")
    return tokenizer


def _added_tokens(folder: Path, config: dict[str, Any]) -> dict[int, AddedToken]:
    listed = config.get("added_tokens_decoder")
    if listed and isinstance(listed, dict):
        return {int(number): _added_token(**token) for number, token in listed.items()}
    if (folder / "added_tokens.json").is_file():
        added = read_json(folder / "added_tokens.json")
        return {int(number): _added_token(name) for name, number in added.items()}
    return {}


def _added_token(content: str, special: bool = True, **_: Any) -> AddedToken:
    return AddedToken(content, special=special, normalized=False)


def _template(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> str:
    """The chat template, wherever a checkpoint keeps it."""
    source = _template_file(folder) or _named_template(config.get("chat_template"))
    if source is None:
        source = _known_template(tokenizer)
    if source is None:
        raise CheckpointError(
            f"{folder} has no chat template ({', '.join(_TEMPLATE_FILES)}, or "
            "chat_template in tokenizer_config.json), and its tokenizer is neither "
            "Qwen2's nor Llama's."
        )
    compile_template(source)  # refused now, not when the model is loaded
    return source


def _known_template(tokenizer: Tokenizer) -> str | None:
    """The conversation that FastVLM was trained with, told by the tokenizer's marks."""
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    if "<|im_start|>" in added:
        return QWEN2_TEMPLATE
    return VICUNA_TEMPLATE if {"<s>", "</s>"} <= added else None


def _template_file(folder: Path) -> str | None:
    jinja, json_file = (folder / name for name in _TEMPLATE_FILES)
    try:
        if jinja.is_file():
            return jinja.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{jinja} is not UTF-8: {error}") from None
    if json_file.is_file():
        return _named_template(read_json(json_file).get("chat_template"))
    return None


def _named_template(stated: Any) -> str | None:
    """Older files have a list of named templates; "default" is the one for chat."""
    if isinstance(stated, list):
        named = {each.get("name"): each.get("template") for each in stated}
        stated = named.get("default")
    return stated if isinstance(stated, str) else None


def _special_tokens(tokenizer: Tokenizer, config: dict[str, Any]) -> SpecialTokens:
    image = tokenizer.token_to_id(IMAGE_MARKER)
    assert image is not None  # added when it was read
    ends = [tokenizer.token_to_id(name) for name in (*END_TOKENS, *_eos(config))]
    return SpecialTokens(
        image=image,
        ends=tuple(sorted({end for end in ends if end is not None})),
        max_length=_max_length(config),
    )


def _max_length(config: dict[str, Any]) -> int | None:
    """The stated limit; transformers writes a very large number for none."""
    limit = config.get("model_max_length")
    if isinstance(limit, int | float) and 0 < limit < LARGEST_SIZE:
        return int(limit)
    return None


def _eos(config: dict[str, Any]) -> list[str]:
    """The end token that the config names, if it does."""
    eos = config.get("eos_token")
    name = eos.get("content") if isinstance(eos, dict) else eos
    return [name] if isinstance(name, str) else []

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
from fastvlm_mlx.text.chat_template import compile_template
from fastvlm_mlx.text.prompt import IMAGE_MARKER
from fastvlm_mlx.text.tokenizer import read_tokenizer_file

from .source import Json, Source

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


def read_tokenizer(source: Source) -> TokenizerFiles:
    """Read whatever tokenizer files a checkpoint has.

    Raises:
        CheckpointError: none, or damaged ones.
    """
    config = source.json("tokenizer_config.json")
    tokenizer = _read(source)
    if tokenizer.token_to_id(IMAGE_MARKER) is None:
        # the id that Apple's exporter gives it too: the first one free
        tokenizer.add_special_tokens([AddedToken(IMAGE_MARKER, normalized=False)])
    config = {**config, "chat_template": _template(source, tokenizer)}
    return TokenizerFiles(tokenizer, config, _special_tokens(tokenizer, config))


def _read(source: Source) -> Tokenizer:
    try:
        if source.has("tokenizer.json"):
            return read_tokenizer_file(source.folder / "tokenizer.json")
        if source.has("vocab.json") and source.has("merges.txt"):
            return _qwen2(source)
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(
            f"The tokenizer of {source.folder} is damaged: {error}"
        ) from None
    if source.has("tokenizer.model"):
        raise CheckpointError(
            f"{source.folder} has tokenizer.model only; expected tokenizer.json. Save "
            "one with transformers: "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…)."
        )
    raise CheckpointError(
        f"{source.folder} has no tokenizer.json, and not both vocab.json and "
        "merges.txt."
    )


def _qwen2(source: Source) -> Tokenizer:
    """Qwen2's byte-level BPE from its two files (transformers' Qwen2Tokenizer)."""
    folder = source.folder
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
    for number, token in sorted(_added_tokens(source).items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != number:
            raise ValueError(f"{token.content} cannot have the id {number}")
    return tokenizer


def _added_tokens(source: Source) -> dict[int, AddedToken]:
    listed = source.json("tokenizer_config.json").get("added_tokens_decoder")
    if listed and isinstance(listed, dict):
        return {int(number): _added_token(**token) for number, token in listed.items()}
    added = source.json("added_tokens.json")
    return {int(number): _added_token(name) for name, number in added.items()}


def _added_token(content: str, special: bool = True, **_: Any) -> AddedToken:
    return AddedToken(content, special=special, normalized=False)


def _template(source: Source, tokenizer: Tokenizer) -> str:
    """The chat template, wherever a checkpoint keeps it."""
    template = _template_file(source) or _known_template(tokenizer)
    if template is None:
        raise CheckpointError(
            f"{source.folder} has no chat template ({', '.join(_TEMPLATE_FILES)}, or "
            "chat_template in tokenizer_config.json), and its tokenizer is neither "
            "Qwen2's nor Llama's."
        )
    compile_template(template)  # refused now, not when the model is loaded
    return template


def _known_template(tokenizer: Tokenizer) -> str | None:
    """The conversation that FastVLM was trained with, told by the tokenizer's marks."""
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    if "<|im_start|>" in added:
        return QWEN2_TEMPLATE
    return VICUNA_TEMPLATE if {"<s>", "</s>"} <= added else None


def _template_file(source: Source) -> str | None:
    jinja, *json_files = _TEMPLATE_FILES
    stated = source.text(jinja)
    if stated:
        return stated
    for name in (*json_files, "tokenizer_config.json"):
        if found := _named_template(source.json(name).get("chat_template")):
            return found
    return None


def _named_template(stated: Any) -> str | None:
    """Older files have a list of named templates; "default" is the one for chat."""
    if isinstance(stated, list):
        named = {each.get("name"): each.get("template") for each in stated}
        stated = named.get("default")
    return stated if isinstance(stated, str) else None


def _special_tokens(tokenizer: Tokenizer, config: Json) -> SpecialTokens:
    image = tokenizer.token_to_id(IMAGE_MARKER)
    assert image is not None  # added when it was read
    ends = [tokenizer.token_to_id(name) for name in (*END_TOKENS, *_eos(config))]
    return SpecialTokens(
        image=image,
        ends=tuple(sorted({end for end in ends if end is not None})),
        max_length=_max_length(config),
    )


def _max_length(config: Json) -> int | None:
    """The stated limit; transformers writes a very large number for none."""
    limit = config.get("model_max_length")
    if isinstance(limit, int | float) and 0 < limit < LARGEST_SIZE:
        return int(limit)
    return None


def _eos(config: Json) -> list[str]:
    """The end token that the config names, if it does."""
    eos = config.get("eos_token")
    name = eos.get("content") if isinstance(eos, dict) else eos
    return [name] if isinstance(name, str) else []
